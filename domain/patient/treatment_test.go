package patient_test

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"github.com/google/go-cmp/cmp"
)

// onTreatment is an enrolled patient who is being treated.
func onTreatment(t *testing.T) scenario.Given[patient.Patient, patient.Event] {
	t.Helper()
	return in(t, patient.StatusEnrolled)
}

func is(t *testing.T, p patient.Patient, status patient.Status, treatment patient.Treatment, phase patient.Phase) {
	t.Helper()
	if got := p.Phase(); p.Status != status || p.Treatment != treatment || got != phase {
		t.Errorf("the patient is %s, treatment %s, phase %q; want %s, %s, %q", p.Status, p.Treatment, got, status, treatment, phase)
	}
}

// A log from before the treatment was an axis of its own means the same as before: who is enrolled is treated, and who leaves is
// not treated any more.
func TestOldLogsSayWhoIsTreated(t *testing.T) {
	for status, want := range map[patient.Status]patient.Treatment{
		patient.StatusScreened: patient.TreatmentNotStarted, patient.StatusConsented: patient.TreatmentNotStarted,
		patient.StatusScreenFailed: patient.TreatmentNotStarted, patient.StatusEnrolling: patient.TreatmentNotStarted,
		patient.StatusEnrollmentFailed: patient.TreatmentNotStarted, patient.StatusEnrolled: patient.TreatmentOn,
		patient.StatusWithdrawn: patient.TreatmentEnded, patient.StatusDiscontinued: patient.TreatmentEnded,
		patient.StatusCompleted: patient.TreatmentEnded,
	} {
		if got := in(t, status).State(); got.Treatment != want || (want == patient.TreatmentEnded) != (got.TreatmentEndedOn != "") {
			t.Errorf("%s: the treatment is %q, its end %q", status, got.Treatment, got.TreatmentEndedOn)
		}
	}
}

// The treatment ends, and the participation goes on: the patient comes to visits, and leaves the study later.
func TestTreatmentEndsBeforeTheParticipation(t *testing.T) {
	s := withVisits()
	onTreatment(t).When(stopping("2026-03-01", patient.EndedByDeath, "")).ThenRefused("death_ends_participation")
	after := onTreatment(t).When(stopping("2026-03-01", patient.EndedByAdverseEvent, "nausea")).Then(stopped)
	p := after.State()
	is(t, p, patient.StatusEnrolled, patient.TreatmentEnded, patient.PhaseFollowUp)
	if p.MayGetKits() || !p.Participating() || p.LastDoseOn() != "2026-03-01" || p.EndedOn != "" {
		t.Errorf("the patient is %+v", p)
	}
	// The visit would have dispensed a kit, and takes place without one.
	after.When(visiting(s, "week-4", "2026-03-03")).Then(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-03",
		WouldDispense: true})
	after.When(stopping("2026-03-02", patient.EndedByDeath, "")).ThenRefused("treatment_not_under_way")
	after.When(holding("2026-03-02", "nausea")).ThenRefused("treatment_not_under_way")
	after.When(completing("2026-02-27")).ThenRefused("ended_before_treatment")
	left := after.When(ending("2026-03-09", patient.EndedByLossToFollowUp, "")).
		Then(patient.ParticipationEnded{Patient: anna, On: "2026-03-09", Reason: patient.EndedByLossToFollowUp}).State()
	is(t, left, patient.StatusDiscontinued, patient.TreatmentEnded, "")
	if left.EndedOn != "2026-03-09" || left.TreatmentEndedOn != "2026-03-01" || left.LastDoseOn() != "2026-03-01" {
		t.Errorf("the patient is %+v", left)
	}
}

func TestReasonsOfAnEndAreTermsOfCDISC(t *testing.T) {
	given := onTreatment(t)
	given.When(stopping("2026-03-01", "nausea", "")).ThenRefused("unknown_code")
	given.When(ending("2026-03-01", "SCREEN FAILURE", "")).ThenRefused("unknown_code")
	given.When(ending("2026-03-01", patient.EndedByOther, " ")).ThenRefused("reason_required")
	given.When(ending("2026-03-12", patient.EndedByDeath, "")).ThenRefused("captured_in_future")
	for _, reason := range patient.EndReasons {
		left := given.When(ending("2026-03-01", reason, "detail")).
			Then(patient.ParticipationEnded{Patient: anna, On: "2026-03-01", Reason: reason, Detail: "detail"}).State()
		is(t, left, reason.Status(), patient.TreatmentEnded, "")
	}
	if got := (patient.EndParticipation{Reason: patient.EndedByOther, Detail: "moved"}).GivenReason(); got != "OTHER: moved" {
		t.Errorf("the reason in the metadata is %q", got)
	}
}

func TestDosesAreHeldAndResumed(t *testing.T) {
	held := patient.DoseHeld{Patient: anna, On: "2026-03-01", Reason: "neutrophils low"}
	given := onTreatment(t)
	given.When(resuming("2026-03-01", "better")).ThenRefused("treatment_not_under_way")
	given.When(holding("2026-03-01", "")).ThenRefused("reason_required")
	pause := given.When(holding("2026-03-01", "neutrophils low")).Then(held)
	is(t, pause.State(), patient.StatusEnrolled, patient.TreatmentHeld, patient.PhaseTreatment)
	if pause.State().MayGetKits() {
		t.Error("a patient whose dose is held may get kits")
	}
	// A kit is due at the visit all the same: the patient gets it when the dose is resumed.
	pause.When(visiting(withVisits(), "week-4", "2026-03-03")).
		Then(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-03", Dispense: true})
	pause.When(holding("2026-03-02", "again")).ThenRefused("treatment_not_under_way")
	pause.When(resuming("2026-02-27", "better")).ThenRefused("resumed_before_hold")
	back := pause.When(resuming("2026-03-04", "better")).Then(patient.DoseResumed{Patient: anna, On: "2026-03-04", Reason: "better"})
	is(t, back.State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
	// A treatment may end while it is held.
	pause.When(stopping("2026-03-05", patient.EndedByAdverseEvent, "nausea")).
		Then(patient.TreatmentDiscontinued{Patient: anna, On: "2026-03-05", Reason: patient.EndedByAdverseEvent, Detail: "nausea"})
}

// A patient who withdraws from the treatment alone is followed up, and may withdraw from the rest later, also after the end.
func TestConsentIsWithdrawnInParts(t *testing.T) {
	given := onTreatment(t)
	given.When(withdrawingFrom("2026-03-01", "kits")).ThenRefused("unknown_code")
	part := func(on domain.Date, ends bool, extent ...patient.Extent) patient.ConsentWithdrawn {
		return patient.ConsentWithdrawn{Patient: anna, On: on, Extent: extent, EndsParticipation: ends,
			EndsTreatment: slices.Contains(extent, patient.ExtentTreatment)}
	}
	untreated := given.When(withdrawingFrom("2026-03-01", patient.ExtentTreatment)).
		Then(part("2026-03-01", false, patient.ExtentTreatment))
	is(t, untreated.State(), patient.StatusEnrolled, patient.TreatmentEnded, patient.PhaseFollowUp)
	untreated.When(withdrawingFrom("2026-03-02", patient.ExtentTreatment)).ThenRefused("consent_withdrawn")
	left := untreated.When(withdrawingFrom("2026-03-02", patient.ExtentContact)).
		Then(part("2026-03-02", true, patient.ExtentProcedures, patient.ExtentContact))
	is(t, left.State(), patient.StatusWithdrawn, patient.TreatmentEnded, "")
	left.When(withdrawingFrom("2026-03-03", patient.ExtentFutureUse)).Then(part("2026-03-03", false, patient.ExtentFutureUse))
	left.When(withdrawing("2026-03-03", "")).ThenRefused("consent_withdrawn")

	// The use of data beyond the study changes neither axis.
	is(t, given.When(withdrawingFrom("2026-03-01", patient.ExtentFutureUse)).Then(part("2026-03-01", false, patient.ExtentFutureUse)).State(),
		patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
	// There is nothing to follow up in a patient who was never treated.
	in(t, patient.StatusConsented).When(withdrawingFrom("2026-03-01", patient.ExtentTreatment)).
		Then(part("2026-03-01", true, patient.ExtentTreatment, patient.ExtentProcedures))
	// A patient who was lost to follow-up comes back and withdraws: the end stays as it is.
	lost := given.When(ending("2026-03-01", patient.EndedByLossToFollowUp, "")).
		Then(patient.ParticipationEnded{Patient: anna, On: "2026-03-01", Reason: patient.EndedByLossToFollowUp}).
		When(withdrawing("2026-03-05", "")).Then(part("2026-03-05", false, everything...)).State()
	is(t, lost, patient.StatusDiscontinued, patient.TreatmentEnded, "")
	if lost.EndedOn != "2026-03-01" {
		t.Errorf("the participation ended on %s", lost.EndedOn)
	}
	given.Given(died).When(withdrawing("2026-03-05", "")).ThenRefused("patient_died")
}

// What was recorded in error is undone, and the patient is as before.
func TestStepsAreUndone(t *testing.T) {
	for name, x := range map[string]struct {
		before []patient.Event
		step   patient.Step
		end    patient.Event
		undone patient.StepUndone
	}{
		"screen failure": {[]patient.Event{screened, consented}, patient.StepScreenFailure, screenFailed,
			patient.StepUndone{From: patient.StatusScreenFailed, FromTreatment: patient.TreatmentNotStarted,
				Status: patient.StatusConsented, Treatment: patient.TreatmentNotStarted}},
		"withdrawal": {histories[patient.StatusEnrolled], patient.StepWithdrawal, withdrawn,
			patient.StepUndone{From: patient.StatusWithdrawn, FromTreatment: patient.TreatmentEnded,
				Status: patient.StatusEnrolled, Treatment: patient.TreatmentOn}},
		"completion": {histories[patient.StatusEnrolled], patient.StepCompletion, completed,
			patient.StepUndone{From: patient.StatusCompleted, FromTreatment: patient.TreatmentEnded,
				Status: patient.StatusEnrolled, Treatment: patient.TreatmentOn}},
		"death of another": {histories[patient.StatusEnrolled], patient.StepParticipationEnd, died,
			patient.StepUndone{From: patient.StatusDiscontinued, FromTreatment: patient.TreatmentEnded,
				Status: patient.StatusEnrolled, Treatment: patient.TreatmentOn}},
		"end of the treatment": {histories[patient.StatusEnrolled], patient.StepTreatmentEnd, stopped,
			patient.StepUndone{From: patient.StatusEnrolled, FromTreatment: patient.TreatmentEnded,
				Status:    patient.StatusEnrolled,
				Treatment: patient.TreatmentOn}},
		"completion after the treatment": {append(histories[patient.StatusEnrolled][:4:4], stopped), patient.StepCompletion, completed,
			patient.StepUndone{From: patient.StatusCompleted, FromTreatment: patient.TreatmentEnded,
				Status: patient.StatusEnrolled, Treatment: patient.TreatmentEnded,
				TreatmentEndedOn: "2026-03-01"}},
		// The process of the enrolment has given up meanwhile.
		"withdrawal during the enrolment": {histories[patient.StatusEnrolling], patient.StepWithdrawal, withdrawn,
			patient.StepUndone{From: patient.StatusWithdrawn, FromTreatment: patient.TreatmentNotStarted,
				Status:    patient.StatusEnrollmentFailed,
				Treatment: patient.TreatmentNotStarted}},
	} {
		t.Run(name, func(t *testing.T) {
			before := scenario.For(t, patient.Decider).Strict().Given(x.before...)
			want := x.undone
			want.Patient, want.Step, want.On, want.Reason = anna, x.step, "2026-03-01", "the wrong patient"
			ended := before.Given(x.end)
			ended.When(undoing(x.step, "")).ThenRefused("reason_required")
			ended.When(undoing("visit", "the wrong patient")).ThenRefused("unknown_code")
			again := ended.When(undoing(x.step, "the wrong patient")).Then(want).State()
			was := before.State()
			if want.Status == patient.StatusEnrollmentFailed {
				was.Status = want.Status
			}
			if diff := cmp.Diff(scenario.Picture(was), scenario.Picture(again)); diff != "" {
				t.Errorf("the patient is not as before (-before +now):\n%s", diff)
			}
			before.When(undoing(x.step, "the wrong patient")).ThenRefused("nothing_to_undo")
		})
	}
	in(t, "").When(undoing(patient.StepCompletion, "x")).ThenRefused("patient_not_found")
	onTreatment(t).Given(stopped, died).When(undoing(patient.StepTreatmentEnd, "x")).ThenRefused("later_step")
}

// An undone withdrawal of the future use must not undo what happened to the treatment since.
func TestUndoingLeavesLaterStepsAlone(t *testing.T) {
	after := onTreatment(t).
		Given(patient.ConsentWithdrawn{Patient: anna, On: "2026-03-01", Extent: []patient.Extent{patient.ExtentFutureUse}}).
		Given(patient.DoseHeld{Patient: anna, On: "2026-03-02", Reason: "nausea"}).
		When(undoing(patient.StepWithdrawal, "the wrong patient")).
		Then(patient.StepUndone{Patient: anna, Step: patient.StepWithdrawal, On: "2026-03-01", From: patient.StatusEnrolled,
			FromTreatment: patient.TreatmentHeld, Status: patient.StatusEnrolled, Treatment: patient.TreatmentHeld,
			Reason: "the wrong patient"}).State()
	if len(after.Withdrawn) > 0 || after.Treatment != patient.TreatmentHeld {
		t.Errorf("the patient is %+v", after)
	}
	onTreatment(t).When(withdrawingFrom("2026-03-01", []patient.Extent{}...)).ThenRefused("value_missing")
}

// A person is screened again under a new number, which names the record of the failure.
func TestRescreeningNamesTheEarlierRecord(t *testing.T) {
	failed := in(t, patient.StatusScreenFailed).State()
	again := func(earlier patient.Patient, of domain.PatientID, on domain.Date) decision {
		cmd := patient.ScreenPatient{AtSite: domain.ForSite(pain, "A"), ScreeningNumber: "S-2", On: on, RescreeningOf: of}
		return scenario.SentWithFacts(patient.Screen, patient.Screening{Study: theStudy(), Earlier: earlier}, cmd, call)
	}
	nothing := in(t, "")
	nothing.When(again(failed, anna, "2026-03-05")).Then(patient.Screened{Patient: "PAIN1.S-2", Study: pain, Site: "A", ScreeningNumber: "S-2",
		On: "2026-03-05", Zone: "Europe/Berlin", RescreeningOf: anna})
	nothing.When(again(failed, anna, "2026-02-27")).ThenRefused("rescreened_before_failure")
	nothing.When(again(patient.Patient{}, "PAIN1.S-9", "2026-03-05")).ThenRefused("earlier_record_not_found")
	nothing.When(again(failed, "OTHER.S-1", "2026-03-05")).ThenRefused("earlier_record_not_found")
	elsewhere := failed
	elsewhere.Site = "B"
	nothing.When(again(elsewhere, anna, "2026-03-05")).ThenRefused("earlier_record_not_found")
	nothing.When(again(onTreatment(t).State(), anna, "2026-03-05")).ThenRefused("earlier_record_open")
}

func TestTransfer(t *testing.T) {
	s := withTwoSites()
	given := onTreatment(t)
	moved := given.When(transferring(s, "B", "2026-03-01")).Then(transferred).State()
	if moved.Site != "B" || !moved.MayGetKits() {
		t.Errorf("the patient is %+v", moved)
	}
	given.When(transferring(s, "A", "2026-03-01")).ThenRefused("same_site")
	given.When(transferring(s, "X", "2026-03-01")).ThenRefused("site_not_found")
	given.When(transferring(theStudy(), "B", "2026-03-01")).ThenRefused("site_not_active")
	given.When(transferring(s, "B", "2026-01-31")).ThenRefused("transferred_before_screening")
	given.When(transferring(s, "B", "2026-03-12")).ThenRefused("captured_in_future")
}

// withVisits is theStudy with a visit that dispenses.
func withVisits() study.Study {
	return study.Decider.Evolve(theStudy(), study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1,
		ConsentVersion: "1.0", Arms: []study.Arm{{ID: "x"}},
		Visits:    []study.Visit{{ID: "screening", Day: -7}, {ID: "week-4", Day: 28}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"week-4"}}}})
}

func visiting(s study.Study, visit string, on domain.Date) decision {
	return scenario.SentWithFacts(patient.RecordAttendance, s, patient.RecordVisit{OfPatient: ofAnna, Visit: visit, On: on}, call)
}

// Who was drawn and waits for the first kit can die or be lost, but has completed nothing. Nobody withdraws a dead patient's consent,
// whichever command has recorded the death.
func TestWhoIsBeingEnrolledCanLeave(t *testing.T) {
	given := in(t, patient.StatusEnrolling)
	given.When(ending("2026-03-01", patient.EndedAsPlanned, "")).ThenRefused("patient_status")
	given.When(ending("2026-02-01", patient.EndedByDeath, "")).ThenRefused("ended_before_enrollment")
	lost := patient.ParticipationEnded{Patient: anna, On: "2026-03-01", Reason: patient.EndedByLossToFollowUp}
	left := given.When(ending("2026-03-01", patient.EndedByLossToFollowUp, "")).Then(lost)
	is(t, left.State(), patient.StatusDiscontinued, patient.TreatmentNotStarted, "")
	left.When(failingEnrolment()).Then()
	undone := left.When(undoing(patient.StepParticipationEnd, "she called")).Then(patient.StepUndone{Patient: anna,
		Step: patient.StepParticipationEnd, On: "2026-03-01", From: patient.StatusDiscontinued, FromTreatment: patient.TreatmentNotStarted,
		Status: patient.StatusEnrollmentFailed, Treatment: patient.TreatmentNotStarted, Reason: "she called"})
	is(t, undone.State(), patient.StatusEnrollmentFailed, patient.TreatmentNotStarted, patient.PhaseScreening)
	for _, status := range []patient.Status{patient.StatusEnrolling, patient.StatusEnrolled} {
		dead := in(t, status).When(discontinuing("2026-03-01", "DEATH")).
			Then(patient.Discontinued{Patient: anna, On: "2026-03-01", Reason: "DEATH", Code: patient.EndedByDeath})
		dead.When(withdrawing("2026-03-02", "")).ThenRefused("patient_died")
	}
}

// Who has no arm yet gets the kits that the plan has for everybody: at visits of the screening and, in a run-in, after the enrolment.
// Who is treated gets none of the screening any more, however late its visit is typed.
func TestKitsBeforeTheDraw(t *testing.T) {
	s := drawnLater()
	p := *s.Protocol
	treatment := *p.Treatment
	treatment.DispensingVisits = []string{"screening", "lead-in", "week-4"}
	leadIn := []study.KitsOf{{Type: "lead-in", Count: 1}}
	treatment.Plan = &study.DispensingPlan{Kits: []study.PlannedKits{{Visits: []string{"screening", "lead-in"}, Kits: leadIn},
		{Arm: "drug", Kits: leadIn}, {Arm: "placebo", Kits: leadIn}}}
	p.Treatment, p.Version = &treatment, p.Version+1
	p.Visits = []study.Visit{{ID: "screening", Day: -7}, {ID: "lead-in", Day: 7}, {ID: "week-4", Day: 28}}
	s = study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: pain, Protocol: p})
	runIn := in(t, patient.StatusConsented).Given(
		patient.EnrollmentRequested{Patient: anna, On: "2026-02-03", Attempt: 1, DrawnLater: true, Protocol: p.Version},
		patient.Enrolled{Patient: anna, On: "2026-02-03", PatientNumber: "1", RunIn: true})
	treated := runIn.Given(patient.RandomisationConfirmed{Patient: anna, On: "2026-02-12"})
	for name, c := range map[string]struct {
		given    scenario.Given[patient.Patient, patient.Event]
		visit    string
		on       domain.Date
		dispense bool
	}{
		"in the screening":              {in(t, patient.StatusConsented), "screening", "2026-02-02", true},
		"in the run-in":                 {runIn, "lead-in", "2026-02-10", true},
		"of an arm, in the run-in":      {runIn, "week-4", "2026-03-03", false},
		"of the screening, typed late":  {treated, "screening", "2026-02-02", false},
		"of an arm, after the draw":     {treated, "week-4", "2026-03-03", true},
		"of the screening, in a run-in": {runIn, "screening", "2026-02-02", true},
	} {
		t.Run(name, func(t *testing.T) {
			c.given.When(visiting(s, c.visit, c.on)).
				Then(patient.VisitRecorded{Patient: anna, Visit: c.visit, On: c.on, Dispense: c.dispense})
		})
	}
}
