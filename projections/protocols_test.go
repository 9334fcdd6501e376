package projections_test

import (
	"testing"

	"casebook/domain/instrument"
	"casebook/domain/study"
	"casebook/eventlog"
	"casebook/projections"
	studyprojections "casebook/projections/study"

	"github.com/google/go-cmp/cmp"
)

// TestWhatAProtocolAsksForTellsNoArm: two protocols that differ in all that they say of their arms are shown alike.
func TestWhatAProtocolAsksForTellsNoArm(t *testing.T) {
	protocol := func(arm, other string, kits int, dose float64) study.Protocol {
		return study.Protocol{Version: 1, ConsentVersion: "1.0",
			Arms:     []study.Arm{{ID: arm, Title: arm, Dose: arm, InEmergency: arm}, {ID: other, Title: other}},
			Visits:   []study.Visit{{ID: "week-1", Title: "Week 1", Day: 7}},
			Forms:    []study.Form{{ID: "crf", Title: arm, Definition: []byte(`"` + arm + `"`)}},
			Criteria: []study.Criterion{{ID: "adult", Title: "18 or older"}},
			Treatment: &study.Treatment{Randomised: true, Kits: true, DispensingVisits: []string{"week-1"}, FirstArms: []string{arm},
				Factors: []study.Factor{{ID: "age", Title: "Age", Levels: []string{"young", "old"}}}, InEmergency: arm,
				Stages:    []study.Stage{{ID: "extension", Title: arm, Arms: []string{arm}}},
				Titration: &study.Titration{Steps: 2, Start: kits},
				Plan: &study.DispensingPlan{Types: []study.KitType{{ID: arm, Arm: arm, Strength: arm, LabelGroup: arm}}, Factor: "age",
					Kits: []study.PlannedKits{{Arm: arm, Level: "old", DosesPerDay: dose, Kits: []study.KitsOf{{Type: arm, Count: kits}}}}},
				DoNotDispense:   []study.DoNotDispenseRule{{Type: arm, Days: kits}},
				AfterUnblinding: &study.AfterUnblinding{}, DosingLimits: &study.DosingLimits{MinPercent: kits}},
			Instruments: []instrument.Definition{{ID: "evening", Version: 1, Title: "Evening diary"}}}
	}
	shown := func(p study.Protocol) any {
		documents := fold(t, studyprojections.Protocols, []projections.Envelope{
			envelope("study-S", study.ProtocolVersionPublished{Study: "S", Protocol: p}, eventlog.Metadata{Study: "S", RecordedAt: recordedAt})})
		return documents["S/000001"]
	}
	one, other := shown(protocol("active", "placebo", 1, 2)), shown(protocol("sham", "verum", 2, 1))
	if one == nil {
		t.Fatal("the version has no document")
	}
	if diff := cmp.Diff(one, other); diff != "" {
		t.Errorf("what a protocol asks for tells of its arms: %s", diff)
	}
}
