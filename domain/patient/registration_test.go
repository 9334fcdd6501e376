package patient_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
)

func voiding(reason string) decision {
	cmd := patient.VoidRegistration{OfPatient: ofAnna, Reasoned: domain.Because(reason)}
	return scenario.Sent(patient.VoidRegistered, cmd, call)
}

// A person who was never meant leaves the figures, and the record stays. Who was enrolled once stays in the study.
func TestARegistrationInErrorIsVoided(t *testing.T) {
	for _, status := range []patient.Status{patient.StatusScreened, patient.StatusConsented, patient.StatusEnrollmentFailed,
		patient.StatusScreenFailed} {
		before := in(t, status).State()
		after := in(t, status).When(voiding("typed in twice")).Then(patient.RegistrationVoided{Patient: anna, ScreenedOn: before.ScreenedOn,
			From: status, EndedOn: before.EndedOn, Reason: "typed in twice"})
		is(t, after.State(), patient.StatusRegisteredInError, patient.TreatmentNotStarted, "")
		after.When(voiding("typed in twice")).ThenRefused("patient_ended")
		after.When(withdrawing("2026-03-01", "")).ThenRefused("patient_ended")
		after.When(enrolling(theStudy(), "2026-02-03")).ThenRefused("patient_ended")
		undone := after.When(undoing(patient.StepRegistration, "it was the right patient")).Then(patient.StepUndone{Patient: anna,
			Step: patient.StepRegistration, On: before.ScreenedOn, From: patient.StatusRegisteredInError,
			FromTreatment: patient.TreatmentNotStarted, Status: status, Treatment: patient.TreatmentNotStarted, EndedOn: before.EndedOn,
			Reason: "it was the right patient"}).State()
		if undone.Status != status || undone.EndedOn != before.EndedOn {
			t.Errorf("after the undoing the patient is %+v", undone)
		}
	}
	// What waited for somebody to decide waits again.
	late := patient.ConsentDateCorrected{Patient: anna, ConsentVersion: "1.0", From: "2026-02-02", To: "2026-02-03", Reason: "mistyped",
		Candidate: patient.DeviationConsent}
	waiting := in(t, patient.StatusConsented).Given(late).When(voiding("typed in twice")).Then(patient.RegistrationVoided{Patient: anna,
		ScreenedOn: "2026-02-01", From: patient.StatusConsented, Candidates: []patient.CandidateID{"consent/1.0"}, Reason: "typed in twice"})
	again := waiting.When(undoing(patient.StepRegistration, "it was the right patient")).Then(patient.StepUndone{Patient: anna,
		Step: patient.StepRegistration, On: "2026-02-01", From: patient.StatusRegisteredInError, FromTreatment: patient.TreatmentNotStarted,
		Status: patient.StatusConsented, Treatment: patient.TreatmentNotStarted, Reason: "it was the right patient"},
		patient.DeviationCandidateJudgedAgain{Patient: anna, Candidate: "consent/1.0", What: patient.DeviationConsent, On: "2026-02-03"})
	if c := again.State().Candidates; len(c) != 1 {
		t.Errorf("%v waits", c)
	}
	in(t, patient.StatusEnrolling).When(voiding("typed in twice")).ThenRefused("patient_status")
	in(t, patient.StatusEnrolled).When(voiding("typed in twice")).ThenRefused("patient_status")
	in(t, patient.StatusWithdrawn).When(voiding("typed in twice")).ThenRefused("patient_ended")
	in(t, patient.StatusScreened).When(voiding("")).ThenRefused("reason_required")
}

// What waited for a decision about somebody who was never meant waits no more.
func TestAVoidedRegistrationHasNoCandidates(t *testing.T) {
	skipped := patient.VisitSkipped{Patient: anna, Visit: "screening", Reason: "abroad", Candidate: patient.DeviationVisit}
	voided := in(t, patient.StatusConsented).Given(skipped).When(voiding("typed in twice")).Then(patient.RegistrationVoided{Patient: anna,
		ScreenedOn: "2026-02-01", From: patient.StatusConsented, Candidates: []patient.CandidateID{"visit/screening"}, Reason: "typed in twice"})
	if waiting := voided.State().Candidates; len(waiting) > 0 {
		t.Errorf("%v wait", waiting)
	}
}

// A candidate waits until a person decides, or the record no longer proposes it.
func TestCandidatesWaitForAPerson(t *testing.T) {
	proposed := func() scenario.Given[patient.Patient, patient.Event] {
		return scenario.For(t, patient.Decider).Strict().Given(append(append([]patient.Event{}, histories[patient.StatusEnrolled]...),
			patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-20", Candidate: patient.DeviationVisit})...)
	}
	waiting := func(p patient.Patient, want int) {
		t.Helper()
		if len(p.Candidates) != want {
			t.Errorf("%v wait, want %d", p.Candidates, want)
		}
	}
	waiting(proposed().State(), 1)
	confirm := patient.RecordProtocolDeviation{OfPatient: ofAnna, What: patient.DeviationVisit, FoundOn: "2026-03-09",
		Candidate: "visit/week-4", Reasoned: domain.Because("came late")}
	recorded := patient.ProtocolDeviationRecorded{Patient: anna, What: patient.DeviationVisit, FoundOn: "2026-03-09",
		Candidate: "visit/week-4", Reason: "came late"}
	confirmed := proposed().When(correcting(patient.Deviate, confirm)).Then(recorded)
	waiting(confirmed.State(), 0)
	confirmed.When(correcting(patient.Deviate, confirm)).ThenRefused("candidate_not_found")

	dismiss := patient.DismissDeviationCandidate{OfPatient: ofAnna, Candidate: "visit/week-4", Reasoned: domain.Because("allowed")}
	dismissed := proposed().When(correcting(patient.Dismiss, dismiss)).
		Then(patient.DeviationCandidateDismissed{Patient: anna, Candidate: "visit/week-4", Reason: "allowed"})
	waiting(dismissed.State(), 0)
	dismissed.When(correcting(patient.Dismiss, dismiss)).ThenRefused("candidate_not_found")
	in(t, patient.StatusEnrolled).When(correcting(patient.Dismiss, dismiss)).ThenRefused("candidate_not_found")

	// A corrected day takes the place of the former candidate, or ends it.
	correct := func(to domain.Date, what patient.DeviationKind) patient.Event {
		return patient.VisitDateCorrected{Patient: anna, Visit: "week-4", From: "2026-03-20", To: to, Candidate: what}
	}
	waiting(patient.Decider.Evolve(proposed().State(), correct("2026-03-21", patient.DeviationVisit)), 1)
	waiting(patient.Decider.Evolve(proposed().State(), correct("2026-03-03", "")), 0)
	waiting(patient.Decider.Evolve(proposed().State(), patient.VisitVoided{Patient: anna, Visit: "week-4"}), 0)
	waiting(patient.Decider.Evolve(proposed().State(), patient.EnrollmentRequested{Patient: anna, On: "2026-03-20",
		Overridden: []string{"adult"}}), 2)
}
