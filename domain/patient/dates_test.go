package patient_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

func correctingScreening(facts patient.Rescreening, from, to domain.Date) decision {
	return scenario.SentWithFacts(patient.CorrectScreening, facts, patient.CorrectScreeningDate{OfPatient: ofAnna, From: from, To: to,
		Reasoned: domain.Because("mistyped")}, call)
}

func correctingEnd(facts patient.Rescreening, step patient.Step, from, to domain.Date) decision {
	return scenario.SentWithFacts(patient.CorrectEnd, facts, patient.CorrectEndDate{OfPatient: ofAnna, Step: step, From: from, To: to,
		Reasoned: domain.Because("mistyped")}, call)
}

// The day of the screening is held to everything that was held to it.
func TestScreeningDatesAreCorrected(t *testing.T) {
	facts := patient.Rescreening{Study: theStudy()}
	corrected := patient.ScreeningDateCorrected{Patient: anna, From: "2026-02-01", To: "2026-02-02", Reason: "mistyped"}
	correct := func(to domain.Date) decision { return correctingScreening(facts, "2026-02-01", to) }
	for status := range histories {
		if status == "" {
			in(t, "").When(correct("2026-02-02")).ThenRefused("patient_not_found")
			continue
		}
		if p := in(t, status).When(correct("2026-02-02")).Then(corrected).State(); p.ScreenedOn != "2026-02-02" || p.Status != status {
			t.Errorf("the patient is %+v", p)
		}
	}
	given := in(t, patient.StatusEnrolled)
	given.When(correct("2026-02-04")).ThenRefused("enrolled_before_screening")
	in(t, patient.StatusEnrolling).When(correct("2026-02-04")).ThenRefused("enrolled_before_screening")
	in(t, patient.StatusScreenFailed).When(correct("2026-03-02")).ThenRefused("ended_before_screening")
	in(t, patient.StatusConsented).Given(transferred).When(correct("2026-03-02")).ThenRefused("transferred_before_screening")
	found := patient.ProtocolDeviationRecorded{Patient: anna, What: patient.DeviationOther, FoundOn: "2026-02-02", Reason: "x"}
	in(t, patient.StatusConsented).Given(found).When(correct("2026-02-03")).ThenRefused("found_before_screening")
	given.When(correct("2026-03-12")).ThenRefused("captured_in_future")
	given.When(correct("2026-02-01")).ThenRefused("nothing_to_correct")
	given.When(correctingScreening(facts, "2026-01-31", "2026-02-02")).ThenRefused("other_value_recorded")
	given.When(scenario.SentWithFacts(patient.CorrectScreening, facts, patient.CorrectScreeningDate{OfPatient: ofAnna, From: "2026-02-01",
		To: "2026-02-02"}, call)).ThenRefused("reason_required")
	voided := patient.RegistrationVoided{Patient: anna, ScreenedOn: "2026-02-01", From: patient.StatusConsented, Reason: "twice"}
	in(t, patient.StatusConsented).Given(voided).When(correct("2026-02-02")).ThenRefused("patient_ended")

	// The site that has screened the patient counts the day.
	moved := corrected
	moved.Site = "A"
	given.Given(transferred).When(correct("2026-02-02")).Then(moved)

	// Who is screened again was not screened before the screening had failed.
	facts.Earlier = in(t, patient.StatusScreenFailed).State()
	given.When(correctingScreening(facts, "2026-02-01", "2026-02-02")).ThenRefused("rescreened_before_failure")
}

// The age counts from the screening, so that another day may make a consent one of a minor.
func TestMinorsConsentsAreJudgedByTheCorrectedScreening(t *testing.T) {
	s := study.Decider.Fold(
		study.Created{Study: pain, Title: "Pain", Sponsor: "Nobody"},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
			Minors: &study.Minors{AgeOfMajority: 18, AssentFrom: 12}}},
		study.SiteAdded{Study: pain, Site: "A", Zone: "Europe/Berlin"}, study.SiteActivated{Study: pain, Site: "A"})
	minor := screened
	minor.On, minor.AgeYears = "2025-02-01", 17 // 18 years on 2 February 2026, a full year later
	judged := func(what patient.DeviationKind) patient.DeviationCandidateJudgedAgain {
		return patient.DeviationCandidateJudgedAgain{Patient: anna, Candidate: "consent/1.0", What: what, On: "2026-02-02"}
	}
	correct := func(from, to domain.Date) decision {
		return correctingScreening(patient.Rescreening{Study: s}, from, to)
	}
	given := scenario.For(t, patient.Decider).Strict().Given(minor, consented)
	later := given.When(correct("2025-02-01", "2026-02-01")).Then(patient.ScreeningDateCorrected{Patient: anna, From: "2025-02-01",
		To: "2026-02-01", Reason: "mistyped"}, judged(patient.DeviationConsent))
	back := later.When(correct("2026-02-01", "2025-02-01")).Then(patient.ScreeningDateCorrected{Patient: anna, From: "2026-02-01",
		To: "2025-02-01", Reason: "mistyped"}, judged(""))
	if c := back.State().Candidates; len(c) != 0 {
		t.Errorf("%v wait", c)
	}
	age := func(from, to int) decision {
		return scenario.SentWithFacts(patient.CorrectAgeAtScreening, s, patient.CorrectAge{OfPatient: ofAnna, From: from, To: to,
			Reasoned: domain.Because("mistyped")}, call)
	}
	given.When(age(17, 15)).Then(patient.AgeCorrected{Patient: anna, From: 17, To: 15, Reason: "mistyped"}, judged(patient.DeviationConsent))
	given.When(age(17, 21)).Then(patient.AgeCorrected{Patient: anna, From: 17, To: 21, Reason: "mistyped"})
	// With the representative's signature and the assent, it was valid at any age.
	signed := consented
	signed.Signers, signed.Assent = []patient.Signer{patient.SignedByPatient, patient.SignedByRepresentative}, true
	scenario.For(t, patient.Decider).Strict().Given(minor, signed).When(correct("2025-02-01", "2026-02-01")).
		Then(patient.ScreeningDateCorrected{Patient: anna, From: "2025-02-01", To: "2026-02-01", Reason: "mistyped"})
}

// Each end can be corrected, and no day becomes possible that could not be recorded.
func TestDaysOfEndsAreCorrected(t *testing.T) {
	none := patient.Rescreening{}
	for _, c := range []struct {
		step   patient.Step
		status patient.Status
	}{{patient.StepScreenFailure, patient.StatusScreenFailed}, {patient.StepWithdrawal, patient.StatusWithdrawn},
		{patient.StepParticipationEnd, patient.StatusDiscontinued}, {patient.StepCompletion, patient.StatusCompleted}} {
		want := patient.EndDateCorrected{Patient: anna, Step: c.step, From: "2026-03-01", To: "2026-03-04", Reason: "mistyped", Status: c.status,
			EndedOn: "2026-03-04", TreatmentEndedOn: "2026-03-04"}
		if c.step == patient.StepScreenFailure {
			want.TreatmentEndedOn = ""
		}
		p := in(t, c.status).When(correctingEnd(none, c.step, "2026-03-01", "2026-03-04")).Then(want).State()
		if p.Status != c.status || p.EndedOn != "2026-03-04" || p.TreatmentEndedOn != want.TreatmentEndedOn {
			t.Errorf("the patient is %+v", p)
		}
		in(t, c.status).When(correctingEnd(none, c.step, "2026-03-01", "2026-03-12")).ThenRefused("captured_in_future")
		in(t, c.status).When(correctingEnd(none, c.step, "2026-03-02", "2026-03-04")).ThenRefused("other_value_recorded")
		in(t, c.status).When(correctingEnd(none, c.step, "2026-03-01", "2026-03-01")).ThenRefused("nothing_to_correct")
		in(t, c.status).When(correctingEnd(none, patient.StepTreatmentEnd, "2026-03-01", "2026-03-04")).ThenRefused("end_not_recorded")
		in(t, c.status).When(correctingEnd(none, patient.StepRegistration, "2026-03-01", "2026-03-04")).ThenRefused("unknown_code")
		early := map[bool]string{true: "ended_before_screening", false: "ended_before_enrollment"}[c.step == patient.StepScreenFailure]
		in(t, c.status).When(correctingEnd(none, c.step, "2026-03-01", "2026-01-31")).ThenRefused(early)
	}
	in(t, "").When(correctingEnd(none, patient.StepWithdrawal, "2026-03-01", "2026-03-04")).ThenRefused("patient_not_found")

	// The treatment ends before the participation, and what is undone brings back the corrected day.
	left := in(t, patient.StatusEnrolled).Given(stopped, patient.ParticipationEnded{Patient: anna, On: "2026-03-05",
		Reason: patient.EndedByLossToFollowUp})
	left.When(correctingEnd(none, patient.StepParticipationEnd, "2026-03-05", "2026-02-28")).ThenRefused("ended_before_treatment")
	left.When(correctingEnd(none, patient.StepTreatmentEnd, "2026-03-01", "2026-03-06")).ThenRefused("ended_before_treatment")
	moved := left.When(correctingEnd(none, patient.StepTreatmentEnd, "2026-03-01", "2026-03-03")).
		Then(patient.EndDateCorrected{Patient: anna, Step: patient.StepTreatmentEnd, From: "2026-03-01", To: "2026-03-03", Reason: "mistyped",
			EndedOn: "2026-03-05", TreatmentEndedOn: "2026-03-03"})
	undone := moved.When(undoing(patient.StepParticipationEnd, "another patient")).Then(patient.StepUndone{Patient: anna,
		Step: patient.StepParticipationEnd, On: "2026-03-05", From: patient.StatusDiscontinued, FromTreatment: patient.TreatmentEnded,
		Status: patient.StatusEnrolled, Treatment: patient.TreatmentEnded, TreatmentEndedOn: "2026-03-03", Reason: "another patient"})
	if p := undone.State(); p.TreatmentEndedOn != "2026-03-03" || p.EndedOn != "" {
		t.Errorf("the patient is %+v", p)
	}

	// A withdrawal after the end moves no other day; nobody withdraws before the first signature.
	future := patient.ConsentWithdrawn{Patient: anna, On: "2026-03-05", Extent: []patient.Extent{patient.ExtentFutureUse}}
	after := in(t, patient.StatusCompleted).Given(future)
	after.When(correctingEnd(none, patient.StepWithdrawal, "2026-03-05", "2026-03-06")).Then(patient.EndDateCorrected{Patient: anna,
		Step: patient.StepWithdrawal, From: "2026-03-05", To: "2026-03-06", Reason: "mistyped", EndedOn: "2026-03-01",
		TreatmentEndedOn: "2026-03-01"})
	after.When(correctingEnd(none, patient.StepWithdrawal, "2026-03-05", "2026-02-01")).ThenRefused("withdrawn_before_consent")

	// Who was screened again was not screened before the screening had failed.
	again := patient.Rescreening{Later: in(t, patient.StatusScreened).State()}
	in(t, patient.StatusScreenFailed).When(correctingEnd(again, patient.StepScreenFailure, "2026-03-01", "2026-02-02")).
		ThenRefused("rescreened_before_failure")
	again.Later.Status = patient.StatusRegisteredInError
	in(t, patient.StatusScreenFailed).When(correctingEnd(again, patient.StepScreenFailure, "2026-03-01", "2026-02-02")).
		Then(patient.EndDateCorrected{Patient: anna, Step: patient.StepScreenFailure, From: "2026-03-01", To: "2026-02-02", Reason: "mistyped",
			Status: patient.StatusScreenFailed, EndedOn: "2026-02-02"})
}

// endedBy has the step that ends a participation with a status.
var endedBy = map[patient.Status]patient.Step{patient.StatusScreenFailed: patient.StepScreenFailure,
	patient.StatusWithdrawn: patient.StepWithdrawal, patient.StatusDiscontinued: patient.StepParticipationEnd,
	patient.StatusCompleted: patient.StepCompletion}

// stepsAndCorrections draws a step of a patient, or a correction of a day that was recorded or of another one.
func stepsAndCorrections(t *rapid.T, s study.Study, p patient.Patient) decision {
	days := func(label string) domain.Date {
		return domain.Date("2026-02-01").AddDays(rapid.IntRange(0, 39).Draw(t, label))
	}
	recorded := func(is domain.Date) domain.Date { // mostly the day that is recorded
		if rapid.IntRange(0, 9).Draw(t, "mistaken") == 0 {
			return days("from")
		}
		return is
	}
	on, facts := days("day"), patient.Rescreening{Study: s}
	step, ended := rapid.SampledFrom(patient.UndoableSteps).Draw(t, "step"), p.EndedOn
	if is, ends := endedBy[p.Status]; ends && rapid.IntRange(0, 3).Draw(t, "another step") > 0 {
		step = is
	}
	if step == patient.StepTreatmentEnd {
		ended = p.TreatmentEndedOn
	}
	why := rapid.SampledFrom([]patient.EndReason{patient.EndedAsPlanned, patient.EndedByDeath, patient.EndedBySubject}).Draw(t, "why")
	return []decision{
		consenting(s, "1.0", on), failingScreening(on, "criterion 3"), enrolling(s, on), confirming("1"),
		stopping(on, patient.EndedByAdverseEvent, "nausea"), ending(on, why, "detail"),
		withdrawingFrom(on, rapid.SampledFrom(patient.Extents).Draw(t, "extent")), undoing(step, "wrong patient"),
		transferring(s, rapid.SampledFrom([]domain.SiteID{"A", "B"}).Draw(t, "to"), on),
		correcting(patient.Deviate, patient.RecordProtocolDeviation{OfPatient: ofAnna, What: patient.DeviationOther, FoundOn: on,
			Reasoned: domain.Because("x")}),
		correctingEnrolment(s, recorded(p.EnrolledOn), on),
		scenario.SentWithFacts(patient.CorrectConsent, s, patient.CorrectConsentDate{OfPatient: ofAnna, ConsentVersion: "1.0",
			From: recorded(p.FirstConsentOn), To: on, Reasoned: domain.Because("mistyped")}, call),
		correctingScreening(facts, recorded(p.ScreenedOn), on), correctingEnd(facts, step, recorded(ended), on),
	}[rapid.SampledFrom([]int{0, 0, 0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 13, 13,
		13}).Draw(t, "command")]
}

// In every order of steps and corrections, the days of a patient stay in the order in which they may be recorded. The order alone that
// the truth may contradict is that of the consent, and it then waits for somebody to decide about it.
func TestDaysStayInOrder(t *testing.T) {
	corrections := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := withTwoSites()
		var found, moved []domain.Date
		p := patient.Patient{}
		for _, e := range histories[rapid.SampledFrom([]patient.Status{patient.StatusScreened, patient.StatusEnrolled}).Draw(t, "begins")] {
			p = scenario.Evolve(t, patient.Decider, p, e)
		}
		for range rapid.IntRange(60, 120).Draw(t, "commands") {
			events, err := stepsAndCorrections(t, s, p)(p)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("an error that is not a refusal: %v", err)
			}
			for _, e := range events {
				p = scenario.Evolve(t, patient.Decider, p, e)
				switch e := e.(type) {
				case patient.ProtocolDeviationRecorded:
					found = append(found, e.FoundOn)
				case patient.Transferred:
					moved = append(moved, e.On)
				case patient.ScreeningDateCorrected:
					corrections["screening"]++
				case patient.EndDateCorrected:
					corrections[string(e.Step)]++
				}
			}
			inOrder(t, "screening and enrolment", p.ScreenedOn, p.DayZero())
			inOrder(t, "enrolment and the end", p.EnrolledOn, p.EndedOn)
			inOrder(t, "enrolment and the end of the treatment", p.EnrolledOn, p.TreatmentEndedOn)
			inOrder(t, "the ends", p.TreatmentEndedOn, p.EndedOn)
			if p.Status == patient.StatusScreenFailed {
				inOrder(t, "screening and its failure", p.ScreenedOn, p.EndedOn)
			}
			for _, on := range append(found, moved...) {
				inOrder(t, "screening and a later step", p.ScreenedOn, on)
			}
			if p.EnrolledOn != "" && p.FirstConsentOn > p.EnrolledOn && len(p.Candidates) == 0 {
				t.Fatalf("a consent after the enrolment is no candidate of %+v", p)
			}
		}
	})
	for _, what := range append([]patient.Step{"screening"}, patient.UndoableSteps[:5]...) {
		if corrections[string(what)] == 0 {
			t.Errorf("no order has had a corrected day of a %s", what)
		}
	}
}

func inOrder(t *rapid.T, what string, first, then domain.Date) {
	if then != "" && then < first {
		t.Fatalf("%s: %s lies before %s", what, then, first)
	}
}
