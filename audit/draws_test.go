package audit_test

import (
	"strings"
	"testing"
	"time"

	"casebook/audit"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// TestVerifyFindsAnAlteredDraw records the draws of two studies, one of which does not follow from the seed. Somebody with all
// keys could do that: the hash chain and the ids are as they should be.
func TestVerifyFindsAnAlteredDraw(t *testing.T) {
	log := sealedLog(t, randomisation.Streams)
	for _, id := range []domain.StudyID{"HONEST", "ALTERED"} {
		tail := eventlog.EmptyTail
		for _, e := range drawsOf(t, id) {
			if drawn, is := e.(randomisation.PatientRandomised); is && id == "ALTERED" {
				arm, _ := drawn.Arm.Open()
				other := map[domain.ArmID]domain.ArmID{"a": "b", "b": "a"}[arm]
				drawn.Arm = blind.Of(other)
				e = drawn
			}
			command := uuid.New()
			out, err := log.Append(t.Context(), randomisation.Decider.Stream(string(id)), tail, command,
				eventlog.Metadata{Actor: "somebody", Study: id, RecordedAt: time.Now()}, e)
			if err != nil {
				t.Fatal(err)
			}
			tail = out.Tail
		}
	}
	var findings []audit.Finding
	summary, err := audit.Verify(t.Context(), log, func(f audit.Finding) { findings = append(findings, f) })
	if err != nil {
		t.Fatal(err)
	}
	if summary.Studies != 2 || len(findings) != 1 || findings[0].Check != audit.Draws || findings[0].Stream != "randomisation-ALTERED" ||
		!strings.Contains(findings[0].Problem, "comes out differently") {
		t.Errorf("%+v, %+v", summary, findings)
	}
}

// drawsOf returns the events of a study's randomisation up to the first draw.
func drawsOf(t *testing.T, id domain.StudyID) (events []randomisation.Event) {
	t.Helper()
	treated := study.Decider.Fold(study.Created{Study: id, Title: "Pain", Sponsor: "Nobody"},
		study.ProtocolVersionPublished{Study: id, Protocol: study.Protocol{Version: 1, ConsentVersion: "1",
			Arms: []study.Arm{{ID: "a"}, {ID: "b"}}, Treatment: &study.Treatment{Randomised: true,
				Factors: []study.Factor{{ID: "sex", Levels: []string{"m", "f"}}}}}})
	state, call := randomisation.Decider.Initial, domain.Call{At: time.Now(), Actor: "somebody"}
	add := func(decided []randomisation.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, decided...)
		state = randomisation.Decider.Fold(events...)
	}
	in := domain.ForStudy(id)
	add(randomisation.Minimise(state, treated, randomisation.DefineMinimisation{InStudy: in, Scheme: "m",
		Ratio: map[domain.ArmID]int{"a": 1, "b": 1}, Metric: randomisation.MetricRange, P: 0.8, Seed: strings.Repeat("07", 32)}, call))
	add(randomisation.Activate(state, treated, randomisation.ActivateRandomisation{InStudy: in, Scheme: "m",
		SHA256: events[0].(randomisation.MinimisationDefined).SeedCommitment}, call))
	add(randomisation.Randomise(state, randomisation.Facts{Study: treated}, randomisation.RandomisePatient{InStudy: in, Site: "01",
		OfPatient: domain.ForPatient(domain.NewPatientID(id, "S-1")), Factors: map[string]string{"sex": "m"}, Request: 1}, call))
	return events
}
