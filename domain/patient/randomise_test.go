package patient_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// drawnLater is a study that draws patients after a run-in, and again in two stages.
func drawnLater() study.Study {
	s := withVisits()
	p := *s.Protocol
	p.Arms = []study.Arm{{ID: "drug"}, {ID: "placebo"}}
	p.Treatment = &study.Treatment{Randomised: true, Kits: true, DrawnLater: true,
		Stages: []study.Stage{{ID: "second", Arms: []string{"drug", "placebo"}}}}
	p.Version++
	return study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: s.ID, Protocol: p})
}

func requestingDraw(s study.Study, stage string) func(patient.Patient) ([]patient.Event, error) {
	return scenario.SentWithFacts(patient.RequestDraw, s,
		patient.RequestRandomisation{OfPatient: domain.ForPatient(anna), Stage: stage}, call)
}

// drawRequest is the event of a request that is accepted.
func drawRequest(t *testing.T, given scenario.Given[patient.Patient, patient.Event], s study.Study, stage string) patient.Event {
	t.Helper()
	events, err := requestingDraw(s, stage)(given.State())
	if err != nil || len(events) != 1 {
		t.Fatalf("the request is answered with %v, %v", events, err)
	}
	return events[0]
}

func confirmingDraw(s study.Study, stage string) func(patient.Patient) ([]patient.Event, error) {
	// Late in the evening, it is the next day already where the patient lives.
	return scenario.SentWithFacts(patient.ConfirmDraw, s, patient.ConfirmRandomisation{OfPatient: domain.ForPatient(anna), Stage: stage,
		DrawnAt: time.Date(2026, 3, 9, 23, 30, 0, 0, time.UTC)}, call)
}

func failingDraw(stage string) func(patient.Patient) ([]patient.Event, error) {
	return scenario.Sent(patient.FailDraw, patient.FailRandomisation{OfPatient: domain.ForPatient(anna), Stage: stage,
		Code: "randomisation_not_possible", Reasoned: domain.Because("not possible")}, call)
}

// The enrolment and the draw are steps with days of their own. A patient who cannot be drawn has not failed.
func TestDrawAfterARunIn(t *testing.T) {
	s := drawnLater()
	runIn := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-10", Attempt: 1, DrawnLater: true},
		patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1", RunIn: true})
	is(t, runIn.State(), patient.StatusEnrolled, patient.TreatmentNotStarted, patient.PhaseRunIn)
	if runIn.State().MayGetKits() {
		t.Error("the patient may get kits before the draw")
	}
	runIn.When(requestingDraw(withVisits(), "")).ThenRefused("study_not_randomised")
	runIn.When(requestingDraw(s, "third")).ThenRefused("stage_not_found")
	runIn.When(requestingDraw(s, "second")).ThenRefused("not_randomised")
	asked := runIn.Given(drawRequest(t, runIn, s, ""))
	asked.When(requestingDraw(s, "")).ThenRefused("randomisation_requested")
	if !asked.State().MayGetKits() {
		t.Error("the patient may not be drawn")
	}
	notPossible := asked.When(failingDraw("")).Then(patient.RandomisationNotPossible{Patient: anna, Code: "randomisation_not_possible",
		Reason: "not possible"})
	is(t, notPossible.State(), patient.StatusEnrolled, patient.TreatmentNotStarted, patient.PhaseRunIn)
	notPossible.When(failingDraw("")).Then()

	again := notPossible.Given(drawRequest(t, notPossible, s, ""))
	if n := again.State().Draws; n != 2 {
		t.Errorf("%d draws were requested", n)
	}
	drawn := again.When(confirmingDraw(s, "")).Then(patient.RandomisationConfirmed{Patient: anna, On: "2026-03-10"})
	is(t, drawn.State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
	drawn.When(confirmingDraw(s, "")).Then()
	drawn.When(requestingDraw(s, "")).ThenRefused("already_randomised")

	// A treated patient is drawn for a later stage, and one whose treatment has ended is not.
	second := drawn.Given(drawRequest(t, drawn, s, "second"))
	if second.State().Treatment != patient.TreatmentOn {
		t.Error("the treatment is interrupted by a draw")
	}
	second.When(stopping("2026-03-09", patient.EndedByAdverseEvent, "nausea")).
		Then(patient.TreatmentDiscontinued{Patient: anna, On: "2026-03-09", Reason: patient.EndedByAdverseEvent, Detail: "nausea"}).
		When(failingDraw("second")).Then()
	drawn.Given(stopped).When(requestingDraw(s, "second")).ThenRefused("treatment_not_under_way")
	in(t, patient.StatusConsented).When(requestingDraw(s, "")).ThenRefused("patient_status")
}

// Who is drawn for an open extension is in a phase of its own until the treatment ends, also after the end was undone.
func TestOpenExtensionIsAPhase(t *testing.T) {
	s := drawnLater()
	s.Protocol.Treatment.Stages = append(s.Protocol.Treatment.Stages, study.Stage{ID: "open", Arms: []string{"drug"}, OpenExtension: true})
	drawn := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-10", Attempt: 1, DrawnLater: true},
		patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1", RunIn: true},
		patient.RandomisationConfirmed{Patient: anna, On: "2026-02-10"})
	second := drawn.Given(drawRequest(t, drawn, s, "second")).When(confirmingDraw(s, "second")).
		Then(patient.RandomisationConfirmed{Patient: anna, Stage: "second", On: "2026-03-10"})
	is(t, second.State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
	open := second.Given(drawRequest(t, second, s, "open")).When(confirmingDraw(s, "open")).
		Then(patient.RandomisationConfirmed{Patient: anna, Stage: "open", On: "2026-03-10", OpenExtension: true})
	is(t, open.State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseOpenExtension)
	ended := open.Given(stopped)
	is(t, ended.State(), patient.StatusEnrolled, patient.TreatmentEnded, patient.PhaseFollowUp)
	events, err := undoing(patient.StepTreatmentEnd, "another patient's")(ended.State())
	if err != nil {
		t.Fatal(err)
	}
	is(t, ended.Given(events...).State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseOpenExtension)
}

// A draw comes with a kit where the dispensing plan has one for it.
func TestDrawWithoutAKit(t *testing.T) {
	s := drawnLater()
	runIn := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-10", Attempt: 1, DrawnLater: true},
		patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1", RunIn: true})
	for visit, want := range map[string]bool{study.AtEnrollment: true, "week-4": false} {
		p := *s.Protocol
		treatment := *p.Treatment
		treatment.DispensingVisits = []string{"week-4"}
		treatment.Plan = &study.DispensingPlan{Kits: []study.PlannedKits{{Visits: []string{visit}}}}
		p.Treatment, p.Version = &treatment, p.Version+1
		planned := study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: s.ID, Protocol: p})
		if e, is := drawRequest(t, runIn, planned, "").(patient.RandomisationRequested); !is || e.Kits != want {
			t.Errorf("with a plan for %s, the draw is requested with %+v", visit, e)
		}
	}
}

// The draw of a later stage takes over the levels of the factors that the protocol still has. Those that follow from the record are
// derived again.
func TestLaterDrawTakesOverLevels(t *testing.T) {
	s := drawnLater()
	p := *s.Protocol
	treatment := *p.Treatment
	treatment.Factors = []study.Factor{{ID: "site", Levels: []string{"A", "B"}, DerivedFrom: study.FromSite},
		{ID: "grade", Levels: []string{"1", "2"}}}
	p.Treatment, p.Version = &treatment, p.Version+1
	s = study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: s.ID, Protocol: p})
	drawn := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-10", Attempt: 1, DrawnLater: true},
		patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1", RunIn: true},
		patient.RandomisationRequested{Patient: anna, Attempt: 1, Factors: map[string]string{"site": "B", "grade": "2", "dropped": "x"}},
		patient.RandomisationConfirmed{Patient: anna, On: "2026-02-10"})
	if e, is := drawRequest(t, drawn, s, "second").(patient.RandomisationRequested); !is || e.Factors["site"] != "A" ||
		e.Factors["grade"] != "2" || len(e.Factors) != 2 {
		t.Errorf("the draw is requested with %+v", e)
	}
}

// Who gets no kit before the consent is signed again is not drawn before, where the draw comes with a kit.
func TestNobodyIsDrawnWithAKitBeforeSigningAgain(t *testing.T) {
	s := drawnLater()
	runIn := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-10", Attempt: 1, DrawnLater: true},
		patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1", RunIn: true}, applied("2026-03-05"))
	runIn.When(requestingDraw(s, "")).ThenRefused("reconsent_required")
	drawRequest(t, runIn.Given(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-08", Protocol: 2, Again: true}),
		s, "")
	p := *s.Protocol
	treatment := *p.Treatment
	treatment.Kits, p.Treatment, p.Version = false, &treatment, p.Version+1
	drawRequest(t, runIn, study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: s.ID, Protocol: p}), "")
}

// A draw that an end broke off is under way again when the end is undone. Who waits in a draw for the consent is told what to do.
func TestADrawGoesOnAfterAnUndoing(t *testing.T) {
	s := drawnLater()
	asked := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-10", Attempt: 1, DrawnLater: true},
		patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1", RunIn: true})
	again := drawRequest(t, asked, s, "").(patient.RandomisationRequested)
	asked = asked.Given(again)
	again.Attempt = 2
	if got := asked.State().DrawnFor(); !slices.Equal(got, []string{""}) {
		t.Errorf("the patient is drawn for %v", got)
	}
	left := asked.When(ending("2026-03-01", patient.EndedByLossToFollowUp, "")).Then(
		patient.ParticipationEnded{Patient: anna, On: "2026-03-01", Reason: patient.EndedByLossToFollowUp})
	if got := left.State(); got.Drawing || len(got.DrawnFor()) != 0 {
		t.Errorf("who has left is drawn for %v", got.DrawnFor())
	}
	undone := left.When(undoing(patient.StepParticipationEnd, "another's")).Then(patient.StepUndone{Patient: anna,
		Step: patient.StepParticipationEnd, On: "2026-03-01", From: patient.StatusDiscontinued, FromTreatment: patient.TreatmentNotStarted,
		Status: patient.StatusEnrolled, Treatment: patient.TreatmentNotStarted, Reason: "another's"}, again)
	late := patient.FailRandomisation{OfPatient: domain.ForPatient(anna), Attempt: 1, Code: "patient_ended", Reasoned: domain.Because("left")}
	undone.When(scenario.Sent(patient.FailDraw, late, call)).Then()
	undone.When(requestingDraw(s, "")).ThenRefused("randomisation_requested")
	without := undone.Given(patient.ConsentVoided{Patient: anna, ConsentVersion: "1.0"})
	_, err := transferring(s, "B", "2026-03-01")(without.State())
	if refusal, _ := refuse.As(err); refusal == nil || !strings.Contains(refusal.Sentence, "consent") {
		t.Errorf("the transfer is answered %v", err)
	}
}
