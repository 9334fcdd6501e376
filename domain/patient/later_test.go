package patient_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// What took place until the end is recorded after it, and nothing that took place later.
func TestWhatTookPlaceBeforeTheEndIsTypedAfterIt(t *testing.T) {
	s := withVisits()
	left := onTreatment(t).Given(discontinued) // on 1 March
	visited := patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-01", WouldDispense: true}
	left.When(visiting(s, "week-4", "2026-03-01")).Then(visited)
	left.When(visiting(s, "week-4", "2026-03-02")).ThenRefused("patient_ended")
	left.When(consenting(theStudy(), "1.0", "2026-03-02")).ThenRefused("patient_ended")
	in(t, patient.StatusScreenFailed).When(visiting(s, "week-4", "2026-03-01")).ThenRefused("consent_missing")

	// A consent that is typed after the screen failure counts when the failure is undone.
	failed := in(t, patient.StatusScreenFailed).When(consenting(theStudy(), "1.0", "2026-02-02")).Then(consented)
	failed.When(visiting(s, "week-4", "2026-03-01")).ThenRefused("patient_ended")
	undone, err := undoing(patient.StepScreenFailure, "wrong patient")(failed.State())
	if err != nil {
		t.Fatal(err)
	}
	if after := patient.Decider.Evolve(failed.State(), undone[0]); after.Status != patient.StatusConsented {
		t.Errorf("the patient is %s", after.Status)
	}
	voided := in(t, patient.StatusScreenFailed).Given(patient.RegistrationVoided{Patient: anna, ScreenedOn: "2026-02-01",
		From: patient.StatusScreenFailed})
	voided.When(consenting(theStudy(), "1.0", "2026-02-01")).ThenRefused("patient_ended")
}

// A treatment does not end before the enrolment, whoever ends it, and a later signature does not hinder that.
func TestWithdrawalsFromTheTreatmentHaveADay(t *testing.T) {
	given := onTreatment(t) // since 3 February
	given.When(withdrawingFrom("2026-02-02", patient.ExtentTreatment)).ThenRefused("ended_before_enrollment")
	again := patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-05", Protocol: 2}
	given.Given(again).When(withdrawingFrom("2026-03-02", patient.ExtentTreatment)).
		Then(patient.ConsentWithdrawn{Patient: anna, On: "2026-03-02", Extent: []patient.Extent{patient.ExtentTreatment}, EndsTreatment: true})
	given.Given(again).When(withdrawing("2026-03-02", "")).ThenRefused("withdrawn_before_consent")
}

func voidingConsent(s study.Study, version string) decision {
	return scenario.SentWithFacts(patient.VoidSigned, s, patient.VoidConsent{OfPatient: ofAnna, ConsentVersion: version,
		Reasoned: domain.Because("another patient's form")}, call)
}

// A consent of the wrong patient, or with a wrong version or signer, is taken back, and the right one recorded.
func TestAConsentIsTakenBack(t *testing.T) {
	s := theStudy()
	voided := patient.ConsentVoided{Patient: anna, ConsentVersion: "1.0", On: "2026-02-02", Reason: "another patient's form"}
	after := in(t, patient.StatusConsented).When(voidingConsent(s, "1.0")).Then(voided)
	is(t, after.State(), patient.StatusScreened, patient.TreatmentNotStarted, patient.PhaseScreening)
	after.When(enrolling(s, "2026-02-03")).ThenRefused("consent_missing")
	after.When(voidingConsent(s, "1.0")).ThenRefused("consent_not_recorded")
	after.When(consenting(s, "1.0", "2026-02-02")).Then(consented)
	in(t, patient.StatusEnrolling).When(voidingConsent(s, "1.0")).ThenRefused("enrollment_in_progress")
	in(t, "").When(voidingConsent(s, "1.0")).ThenRefused("patient_not_found")

	// Who was enrolled stays, and a person says whether it is a deviation. Nothing more is recorded without a consent.
	voided.Candidate = patient.DeviationConsent
	enrolled := in(t, patient.StatusEnrolled).When(voidingConsent(withVisits(), "1.0")).Then(voided)
	is(t, enrolled.State(), patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
	enrolled.When(visiting(withVisits(), "week-4", "2026-03-03")).ThenRefused("consent_missing")
	enrolled.When(withdrawing("2026-03-01", "")).Then(withdrawn)

	// One of several leaves the others, and what it had lifted is blocked again.
	amendment := amendedAt("2026-03-02", nil)
	signed := patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-06", Protocol: 2, Again: true}
	asked := applied("2026-03-05")
	again := patient.ConsentVoided{Patient: anna, ConsentVersion: "2.0", On: "2026-03-06", Reason: "another patient's form", Last: "1.0",
		LastOn: "2026-02-02", Reconsent: asked.Reconsent}
	blocked := in(t, patient.StatusEnrolled).Given(asked, signed).When(voidingConsent(amendment, "2.0")).Then(again)
	if p := blocked.State(); !p.Blocked(study.BlocksVisits) || p.ConsentVersion != "1.0" {
		t.Errorf("the patient is %+v", p)
	}
	// Who has left is not asked again.
	again.Left = true
	in(t, patient.StatusEnrolled).Given(asked, signed, patient.Completed{Patient: anna, On: "2026-03-07"}).
		When(voidingConsent(amendment, "2.0")).Then(again)
}

// A correction of a day has everything judged again that depends on the day.
func TestCorrectionsJudgeOtherDaysAgain(t *testing.T) {
	enrolment := func(to domain.Date) decision {
		return correctingEnrolment(stratified(), "2026-02-03", to)
	}
	moved := func(to domain.Date) patient.EnrollmentDateCorrected {
		return patient.EnrollmentDateCorrected{Patient: anna, From: "2026-02-03", To: to, Reason: "mistyped"}
	}
	judged := func(id patient.CandidateID, on domain.Date, what patient.DeviationKind) patient.DeviationCandidateJudgedAgain {
		return patient.DeviationCandidateJudgedAgain{Patient: anna, Candidate: id, On: on, What: what}
	}
	given := in(t, patient.StatusEnrolled) // day 28 is 3 March, and the window has three days before and after it
	inTime := patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-03"}
	after := given.Given(inTime).When(enrolment("2026-02-08")).
		Then(moved("2026-02-08"), judged("visit/week-4", "2026-03-03", patient.DeviationVisit))
	if c := after.State().Candidates; len(c) != 1 || c[0].ID != "visit/week-4" {
		t.Errorf("%v waits", c)
	}
	late := patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-08", Candidate: patient.DeviationVisit}
	after = given.Given(late).When(enrolment("2026-02-06")).Then(moved("2026-02-06"), judged("visit/week-4", "2026-03-08", ""))
	if c := after.State().Candidates; len(c) != 0 {
		t.Errorf("%v waits", c)
	}
	// What somebody has decided is not asked again.
	given.Given(late, patient.DeviationCandidateDismissed{Patient: anna, Candidate: "visit/week-4"}).When(enrolment("2026-02-06")).
		Then(moved("2026-02-06"))

	// A visit in the time in which the consent was not signed again.
	asked, signed := applied("2026-03-02"), patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-02", Protocol: 2,
		Again: true}
	asked.Reconsent.Since = "2026-03-02"
	visit := patient.VisitRecorded{Patient: anna, Visit: "week-6", On: "2026-03-05"}
	correct := scenario.SentWithFacts(patient.CorrectConsent, amendedAt("2026-03-02", nil), patient.CorrectConsentDate{OfPatient: ofAnna,
		ConsentVersion: "2.0", From: "2026-03-02", To: "2026-03-09", Reasoned: domain.Because("mistyped")}, call)
	given.Given(asked, signed, visit).When(correct).Then(patient.ConsentDateCorrected{Patient: anna, ConsentVersion: "2.0",
		From: "2026-03-02", To: "2026-03-09", Reason: "mistyped"}, judged("visit/week-6", "2026-03-05", patient.DeviationConsent))
}

// Figures of a site keep the patient who was enrolled there and has moved.
func TestCorrectionsAfterATransferNameTheFormerSite(t *testing.T) {
	moved := in(t, patient.StatusEnrolled).Given(transferred)
	moved.When(correctingEnrolment(stratified(), "2026-02-03", "2026-02-04")).
		Then(patient.EnrollmentDateCorrected{Patient: anna, From: "2026-02-03", To: "2026-02-04", Reason: "mistyped", Site: "A"})
	moved.When(correctingIn(patient.CorrectConsent, patient.CorrectConsentDate{OfPatient: ofAnna, ConsentVersion: "1.0", From: "2026-02-02",
		To: "2026-02-01", Reasoned: domain.Because("mistyped")})).
		Then(patient.ConsentDateCorrected{Patient: anna, ConsentVersion: "1.0", From: "2026-02-02", To: "2026-02-01", Reason: "mistyped",
			Site: "A"})
}

// A person takes part once: the record whose screening failed is closed as long as another goes on with the person.
func TestAPersonTakesPartOnce(t *testing.T) {
	note := func(as, not domain.PatientID) decision {
		return scenario.Sent(patient.Rescreen, patient.NoteRescreening{OfPatient: ofAnna, As: as, Not: not}, call)
	}
	given := in(t, patient.StatusScreenFailed)
	later := given.When(note("PAIN1.S-2", "")).Then(patient.Rescreened{Patient: anna, As: "PAIN1.S-2"})
	later.When(note("PAIN1.S-2", "")).Then()
	later.When(note("", "PAIN1.S-1b")).Then()
	later.When(undoing(patient.StepScreenFailure, "met after all")).ThenRefused("patient_rescreened")
	again := patient.ScreenPatient{AtSite: domain.ForSite(pain, "A"), ScreeningNumber: "S-3", On: "2026-03-05", RescreeningOf: anna}
	screen := func(earlier patient.Patient) decision {
		return scenario.SentWithFacts(patient.Screen, patient.Screening{Study: theStudy(), Earlier: earlier}, again, call)
	}
	in(t, "").When(screen(later.State())).ThenRefused("patient_rescreened")
	// The later record was about nobody.
	free := later.When(note("", "PAIN1.S-2")).Then(patient.Rescreened{Patient: anna})
	in(t, "").When(screen(free.State())).Then(patient.Screened{Patient: "PAIN1.S-3", Study: pain, Site: "A", ScreeningNumber: "S-3",
		On: "2026-03-05", Zone: "Europe/Berlin", RescreeningOf: anna})
	in(t, "").When(note("PAIN1.S-2", "")).ThenRefused("patient_not_found")

	// Nor is that undone while the earlier record is open, or goes on as another one.
	second := patient.Screened{Patient: "PAIN1.S-2", Study: pain, Site: "A", ScreeningNumber: "S-2", On: "2026-03-02", Zone: "Europe/Berlin",
		RescreeningOf: anna}
	nobody := in(t, "").Given(second, patient.RegistrationVoided{Patient: "PAIN1.S-2", ScreenedOn: "2026-03-02", From: patient.StatusScreened})
	undo := func(earlier patient.Patient) decision {
		return scenario.SentWithFacts(patient.Undo, patient.Undoing{Earlier: earlier}, patient.UndoPatientStep{
			OfPatient: domain.ForPatient("PAIN1.S-2"), Step: patient.StepRegistration, Reasoned: domain.Because("right after all")}, call)
	}
	valid := patient.StepUndone{Patient: "PAIN1.S-2", Step: patient.StepRegistration, On: "2026-03-02", From: patient.StatusRegisteredInError,
		FromTreatment: patient.TreatmentNotStarted, Status: patient.StatusScreened, Treatment: patient.TreatmentNotStarted,
		Reason: "right after all"}
	nobody.When(undo(free.State())).Then(valid)
	nobody.When(undo(later.State())).Then(valid)
	nobody.When(undo(free.When(note("PAIN1.S-3", "")).Then(patient.Rescreened{Patient: anna, As: "PAIN1.S-3"}).State())).
		ThenRefused("patient_rescreened")
	nobody.When(undo(in(t, patient.StatusScreened).State())).ThenRefused("earlier_record_open")
}
