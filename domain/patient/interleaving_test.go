package patient_test

import (
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

// amending is a study that draws patients after a run-in, and again in a second stage, with some of its versions: the second one ends
// the treatment of who was unblinded in an emergency, and the third one has to be signed again.
func amending(versions int) study.Study {
	s := theStudy()
	for n, consent := range []string{"1.0", "1.0", "2.0"}[:versions] {
		p := study.Protocol{Version: n + 1, ConsentVersion: consent, PublishedOn: domain.Date("2026-02-01").AddDays(10 * n),
			Arms: []study.Arm{{ID: "drug"}, {ID: "placebo"}}, Visits: []study.Visit{{ID: "screening", Day: -7}, {ID: "week-1", Day: 7}},
			Treatment: &study.Treatment{Randomised: true, Kits: true, DrawnLater: true, DispensingVisits: []string{"week-1"},
				Stages: []study.Stage{{ID: "second", Arms: []string{"drug", "placebo"}}}}}
		if n > 0 {
			p.Treatment.AfterUnblinding = &study.AfterUnblinding{EndsTreatment: []study.Unblinding{study.UnblindedInEmergency}}
		}
		if n > 1 {
			p.Reconsent = &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 14,
				Blocks: []study.Blocked{study.BlocksVisits, study.BlocksDispensing}}
		}
		s = study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: pain, Protocol: p, ByPatient: true})
	}
	return s
}

// versionsAndDraws are the commands on a patient of whom versions, draws and unblindings are the matter.
func versionsAndDraws(t *rapid.T, s study.Study) decision {
	on := domain.Date("2026-02-01").AddDays(rapid.IntRange(0, 36).Draw(t, "day"))
	at := time.Date(2026, 2, 1, 9, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 36).Draw(t, "moment"))
	stage := rapid.SampledFrom([]string{"", "", "second"}).Draw(t, "stage")
	confirm := patient.ConfirmRandomisation{OfPatient: ofAnna, Stage: stage, DrawnAt: at}
	return []decision{
		enrolling(s, on),
		confirming("1"),
		applying(s, rapid.IntRange(2, 3).Draw(t, "version"), on),
		consenting(s, rapid.SampledFrom([]string{"1.0", "2.0"}).Draw(t, "form"), on),
		refusing(on),
		requestingDraw(s, stage),
		scenario.SentWithFacts(patient.ConfirmDraw, s, confirm, call),
		failingDraw(stage),
		visiting(s, rapid.SampledFrom([]string{"screening", "week-1"}).Draw(t, "visit"), on),
		unblinded(s, rapid.SampledFrom(study.Unblindings).Draw(t, "kind"), at, "dr.one"),
		holding(on, "nausea"), resuming(on, "better"),
		stopping(on, patient.EndedByAdverseEvent, ""),
		ending(on, rapid.SampledFrom(patient.EndReasons).Draw(t, "why"), "detail"),
		discontinuing(on, "DEATH"),
		withdrawingFrom(on, rapid.SampledFrom(patient.Extents).Draw(t, "extent")),
		undoing(rapid.SampledFrom(patient.UndoableSteps).Draw(t, "step"), "wrong patient"),
	}[rapid.SampledFrom([]int{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 6, 6, 7, 8, 8, 9, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16,
		16}).Draw(t, "command")]
}

// In every order of amendments, draws and unblindings: a version is never older than the one before, nobody is drawn twice for a stage,
// before the first draw, without taking part, or for a kit that waits for a signature, and no kit is due to who is not treated.
func TestVersionsDrawsAndUnblindingsInEveryOrder(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		p, versions := patient.Patient{}, 1
		begun := []patient.Event{screened, consented}
		if rapid.Bool().Draw(t, "enrolled") {
			begun = append(begun, patient.EnrollmentRequested{Patient: anna, Study: pain, Site: "A", On: "2026-02-03", Attempt: 1, Protocol: 1,
				ConsentVersion: "1.0", DrawnLater: true},
				patient.Enrolled{Patient: anna, On: "2026-02-03", PatientNumber: "1", RunIn: true})
		}
		for _, e := range begun {
			p = scenario.Evolve(t, patient.Decider, p, e)
		}
		for range rapid.IntRange(50, 120).Draw(t, "commands") {
			if rapid.IntRange(0, 5).Draw(t, "published") == 0 {
				versions = min(versions+1, 3)
			}
			s := amending(versions)
			events, err := versionsAndDraws(t, s)(p)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("an error that is not a refusal: %v", err)
			}
			for _, e := range events {
				before := p
				p = scenario.Evolve(t, patient.Decider, p, e)
				reached[mustFollow(t, s, before, p, e)]++
			}
		}
	})
	for _, what := range []string{"applied", "drawn", "drawn for another stage"} {
		if reached[what] == 0 {
			t.Errorf("no order has had a patient %s", what)
		}
	}
}

// mustFollow fails if an event must not follow from what the patient was. It returns what has happened, if it matters.
func mustFollow(t *rapid.T, s study.Study, before, p patient.Patient, event patient.Event) string {
	waits := before.Blocked(study.BlocksDispensing)
	switch e := event.(type) {
	case patient.EnrollmentRequested:
		if e.Protocol != s.InForceAt("A", "") {
			t.Fatalf("the enrolment is requested by version %d", e.Protocol)
		}
	case patient.ProtocolVersionApplied:
		if e.To <= before.ProtocolIn(s) || p.ProtocolIn(s) != e.To || e.Reconsent != nil && e.To != 3 {
			t.Fatalf("%+v is applied to a patient of version %d", e, before.ProtocolIn(s))
		}
		return "applied"
	case patient.ConsentRecorded:
		if e.Again {
			return "signed again"
		}
	case patient.RandomisationRequested:
		switch {
		case waits && before.Draws == 0 || before.Drawing || !before.Participating() || slices.Contains(before.Stages, e.Stage):
			t.Fatalf("%+v is requested for %+v", e, before)
		case (e.Stage == "") != (before.Treatment == patient.TreatmentNotStarted):
			t.Fatalf("stage %q is requested while the treatment is %s", e.Stage, before.Treatment)
		}
	case patient.RandomisationConfirmed:
		if slices.Contains(before.Stages, e.Stage) || !before.Participating() {
			t.Fatalf("%+v is confirmed for %+v", e, before)
		}
		if e.Stage != "" {
			return "drawn for another stage"
		}
		return "drawn"
	case patient.VisitRecorded:
		if e.Dispense && before.Treatment != patient.TreatmentOn && before.Treatment != patient.TreatmentHeld {
			t.Fatalf("a kit is due at %s to a patient whose treatment is %s", e.Visit, before.Treatment)
		}
	case patient.TreatmentDiscontinued:
		if e.Reason == patient.EndedByOther {
			return "ended by an unblinding"
		}
	}
	if p.Drawing && (!p.Participating() || p.Treatment == patient.TreatmentEnded) {
		t.Fatalf("a patient is to be drawn who is not treated any more: %+v", p)
	}
	return ""
}
