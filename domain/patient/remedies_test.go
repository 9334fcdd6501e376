package patient_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// TestRemediesNameWhatTheProtocolHas: whoever gets an id wrong is told the right ones.
func TestRemediesNameWhatTheProtocolHas(t *testing.T) {
	s := study.Decider.Fold(study.Created{Study: "S"}, study.SiteAdded{Study: "S", Site: "A"}, study.SiteActivated{Study: "S", Site: "A"},
		study.ProtocolVersionPublished{Study: "S", Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
			Visits:   []study.Visit{{ID: "baseline"}, {ID: "week-1", Day: 7}},
			Criteria: []study.Criterion{{ID: "pain-4"}, {ID: "opioids", Exclusion: true}},
			Treatment: &study.Treatment{Randomised: true, Titration: &study.Titration{Steps: 2},
				Factors: []study.Factor{{ID: "age", Levels: []string{"under-50", "50-or-more"}}}}}})
	consented := patient.Patient{ID: "S.1", Study: "S", Site: "A", Status: patient.StatusConsented, ConsentVersion: "1.0",
		ConsentedOn: "2026-02-01", FirstConsentOn: "2026-02-01", ScreenedOn: "2026-02-01"}
	treated := consented
	treated.Status, treated.Treatment, treated.EnrolledOn = patient.StatusEnrolled, patient.TreatmentOn, "2026-02-03"
	enrol := func(criteria map[string]bool) error {
		_, err := patient.RequestEnrollment(consented, s, patient.EnrollPatient{OfPatient: domain.ForPatient("S.1"), On: "2026-02-03",
			Criteria: criteria}, call)
		return err
	}
	change := func(to patient.DoseDirection) error {
		_, err := patient.ChangeDose(treated, s, patient.RecordDoseChange{OfPatient: domain.ForPatient("S.1"), Direction: to, On: "2026-02-10",
			Reasoned: domain.Because("pain")}, call)
		return err
	}
	_, unknownVisit := patient.Skip(treated, s, patient.SkipVisit{OfPatient: domain.ForPatient("S.1"), Visit: "week-9",
		Reasoned: domain.Because("holiday")}, call)
	_, noStep := patient.Undo(treated, patient.Undoing{}, patient.UndoPatientStep{OfPatient: domain.ForPatient("S.1"),
		Step: "TreatmentDiscontinued", Reasoned: domain.Because("mistyped")}, call)
	for _, c := range []struct {
		err        error
		code, says string
	}{
		{enrol(nil), "criterion_unanswered", "pain-4 (inclusion) and opioids (exclusion)"},
		{enrol(map[string]bool{"pain-4": true, "opioids": true}), "not_eligible", "OverrideEligibility"},
		{enrol(map[string]bool{"pain-4": true, "opioids": false, "x": true}), "unknown_criterion", "pain-4 (inclusion)"},
		{enrol(map[string]bool{"pain-4": true, "opioids": false}), "unknown_factor_level", "under-50 or 50-or-more"},
		{change(patient.DoseRescue), "no_rescue_medication", "up or down"},
		{unknownVisit, "unknown_visit", "baseline or week-1"},
		{noStep, "unknown_code", string(patient.StepTreatmentEnd)},
	} {
		refusal, ok := refuse.As(c.err)
		if !ok || refusal.Code != c.code || !strings.Contains(refusal.Remedy, c.says) {
			t.Errorf("got %v, want %s with a remedy that says %q", c.err, c.code, c.says)
		}
	}
}
