package patient_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// stratified is a study with two criteria, whose draw is stratified by what the record has.
func stratified() study.Study {
	return study.Decider.Evolve(withTwoSites(), study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1,
		ConsentVersion: "1.0", Arms: []study.Arm{{ID: "x"}, {ID: "y"}},
		Visits:   []study.Visit{{ID: "week-4", Day: 28, DaysBefore: 3, DaysAfter: 3}},
		Criteria: []study.Criterion{{ID: "adult"}, {ID: "pregnant", Exclusion: true}},
		Treatment: &study.Treatment{Randomised: true, Factors: []study.Factor{
			{ID: "age", Levels: []string{"under-40", "40-to-59", "60-or-more"}, DerivedFrom: study.FromAge, Bounds: []int{40, 60}},
			{ID: "sex", Levels: []string{"F", "M"}, DerivedFrom: study.FromSex},
			{ID: "site", Levels: []string{"A", "B"}, DerivedFrom: study.FromSite},
			{ID: "severity", Levels: []string{"mild", "severe"}}}}}})
}

func correcting[C any](decide func(patient.Patient, C, domain.Call) ([]patient.Event, error), cmd C) decision {
	return scenario.Sent(decide, cmd, call)
}

func correctingIn[C any](decide func(patient.Patient, study.Study, C, domain.Call) ([]patient.Event, error), cmd C) decision {
	return scenario.SentWithFacts(decide, stratified(), cmd, call)
}

func correctingEnrolment(s study.Study, from, to domain.Date) decision {
	return scenario.SentWithFacts(patient.CorrectEnrollment, patient.Redating{Study: s}, patient.CorrectEnrollmentDate{OfPatient: ofAnna,
		From: from, To: to, Reasoned: domain.Because("mistyped")}, call)
}

// Levels that follow from the record are not typed, and one that contradicts the record is refused.
func TestFactorsFollowFromTheRecord(t *testing.T) {
	enrol := func(factors map[string]string) decision {
		return scenario.SentWithFacts(patient.RequestEnrollment, stratified(), patient.EnrollPatient{OfPatient: ofAnna, On: "2026-02-03",
			Criteria: map[string]bool{"adult": true, "pregnant": false}, Factors: factors}, call)
	}
	want := requestedOn("2026-02-03", 1, "1.0")
	want.Criteria, want.Randomise = map[string]bool{"adult": true, "pregnant": false}, true
	want.Factors = map[string]string{"age": "40-to-59", "sex": "F", "site": "A", "severity": "mild"}
	given := in(t, patient.StatusConsented)
	given.When(enrol(map[string]string{"severity": "mild"})).Then(want)
	given.When(enrol(want.Factors)).Then(want)
	given.When(enrol(map[string]string{"severity": "mild", "age": "under-40"})).ThenRefused("factor_contradicts_record")
	given.When(enrol(map[string]string{"severity": "mild", "site": "B"})).ThenRefused("factor_contradicts_record")
	given.When(enrol(nil)).ThenRefused("unknown_factor_level")
	given.When(enrol(map[string]string{"severity": "mild", "colour": "red"})).ThenRefused("unknown_factor")
	unknown := screened
	unknown.AgeYears = 0
	refusal := scenario.For(t, patient.Decider).Strict().Given(unknown, consented).When(enrol(map[string]string{"severity": "mild"})).
		ThenRefused("factor_not_derivable")
	if !strings.Contains(refusal.Remedy, "CorrectAge") {
		t.Errorf("who enrols without an age is told: %s", refusal.Remedy)
	}
	// A transferred patient is of the new site.
	want.Site, want.Factors = "B", map[string]string{"age": "40-to-59", "sex": "F", "site": "B", "severity": "mild"}
	given.Given(transferred).When(enrol(map[string]string{"severity": "mild"})).Then(want)
}

// Who does not satisfy a criterion is enrolled only after an override, which the request names.
func TestEligibilityIsOverriddenByCriterion(t *testing.T) {
	criteria := map[string]bool{"adult": false, "pregnant": false}
	enrol := scenario.SentWithFacts(patient.RequestEnrollment, stratified(), patient.EnrollPatient{OfPatient: ofAnna, On: "2026-02-03",
		Criteria: criteria, Factors: map[string]string{"severity": "mild"}}, call)
	override := func(reason string, ids ...string) decision {
		return correcting(patient.Override, patient.OverrideEligibility{OfPatient: ofAnna, Criteria: ids, Reasoned: domain.Because(reason)})
	}
	given := in(t, patient.StatusConsented)
	given.When(enrol).ThenRefused("not_eligible")
	given.When(override("", "adult")).ThenRefused("reason_required")
	given.When(override("agreed")).ThenRefused("value_out_of_range")
	given.When(override("agreed", "")).ThenRefused("value_missing")
	in(t, patient.StatusEnrolled).When(override("agreed", "adult")).ThenRefused("patient_status")
	given.When(override("agreed", "pregnant")).
		Then(patient.EligibilityOverridden{Patient: anna, Criteria: []string{"pregnant"}, Reason: "agreed"}).
		When(enrol).ThenRefused("not_eligible")
	want := requestedOn("2026-02-03", 1, "1.0")
	want.Criteria, want.Randomise, want.Overridden = criteria, true, []string{"adult"}
	want.Factors = map[string]string{"age": "40-to-59", "sex": "F", "site": "A", "severity": "mild"}
	given.When(override("agreed", "adult")).Then(patient.EligibilityOverridden{Patient: anna, Criteria: []string{"adult"}, Reason: "agreed"}).
		When(enrol).Then(want)
}

// A violation that is found later is a deviation, and the patient stays in the study.
func TestDeviationsAreRecorded(t *testing.T) {
	deviate := func(what patient.DeviationKind, on domain.Date, reason string) decision {
		return correcting(patient.Deviate, patient.RecordProtocolDeviation{OfPatient: ofAnna, What: what, Important: true, FoundOn: on,
			Reasoned: domain.Because(reason)})
	}
	given := in(t, patient.StatusEnrolled)
	found := patient.ProtocolDeviationRecorded{Patient: anna, What: patient.DeviationEligibility, Important: true, FoundOn: "2026-03-05",
		Reason: "opioids"}
	is(t, given.When(deviate(patient.DeviationEligibility, "2026-03-05", "opioids")).Then(found).State(), patient.StatusEnrolled,
		patient.TreatmentOn, patient.PhaseTreatment)
	given.Given(died).When(deviate(patient.DeviationEligibility, "2026-03-05", "opioids")).Then(found)
	given.When(deviate("luck", "2026-03-05", "opioids")).ThenRefused("unknown_code")
	given.When(deviate(patient.DeviationVisit, "2026-03-05", "")).ThenRefused("reason_required")
	given.When(deviate(patient.DeviationVisit, "2026-01-31", "x")).ThenRefused("found_before_screening")
	given.When(deviate(patient.DeviationVisit, "2026-03-12", "x")).ThenRefused("captured_in_future")
	in(t, "").When(deviate(patient.DeviationVisit, "2026-03-05", "x")).ThenRefused("patient_not_found")
}

// A visit outside of its window is recorded, and proposed as a deviation.
func TestVisitsOutsideTheirWindowAreCandidates(t *testing.T) {
	visit := func(on domain.Date) decision { return visiting(stratified(), "week-4", on) }
	given := in(t, patient.StatusEnrolled) // on 3 February, so that day 28 is 3 March
	for on, candidate := range map[domain.Date]patient.DeviationKind{"2026-02-27": patient.DeviationVisit, "2026-02-28": "",
		"2026-03-06": "", "2026-03-07": patient.DeviationVisit} {
		given.When(visit(on)).Then(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: on, Candidate: candidate})
	}
}

func TestVisitDatesAreCorrected(t *testing.T) {
	visit := patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-03"}
	given := in(t, patient.StatusEnrolled).Given(visit)
	correct := func(visit string, from, to domain.Date) decision {
		return correctingIn(patient.CorrectVisit, patient.CorrectVisitDate{OfPatient: ofAnna, Visit: visit, From: from, To: to,
			Reasoned: domain.Because("mistyped")})
	}
	corrected := func(to domain.Date, candidate patient.DeviationKind) patient.VisitDateCorrected {
		return patient.VisitDateCorrected{Patient: anna, Visit: "week-4", From: "2026-03-03", To: to, Reason: "mistyped", Candidate: candidate}
	}
	given.When(correct("week-8", "2026-03-03", "2026-03-04")).ThenRefused("visit_not_recorded")
	given.When(correct("week-4", "2026-03-02", "2026-03-04")).ThenRefused("other_value_recorded")
	given.When(correct("week-4", "2026-03-03", "2026-03-03")).ThenRefused("nothing_to_correct")
	given.When(correct("week-4", "2026-03-03", "2026-03-12")).ThenRefused("captured_in_future")
	p := given.When(correct("week-4", "2026-03-03", "2026-03-04")).Then(corrected("2026-03-04", "")).State()
	if p.Visits["week-4"] != "2026-03-04" {
		t.Errorf("the visits are %v", p.Visits)
	}
	// The truth is recorded, even if it is a deviation.
	given.When(correct("week-4", "2026-03-03", "2026-02-10")).Then(corrected("2026-02-10", patient.DeviationVisit))
	given.When(correct("week-4", "2026-03-03", "2026-02-01")).Then(corrected("2026-02-01", patient.DeviationConsent))

	void := correctingIn(patient.Void, patient.VoidVisit{OfPatient: ofAnna, Visit: "week-4", Reasoned: domain.Because("another patient")})
	given.When(void).Then(patient.VisitVoided{Patient: anna, Visit: "week-4", On: "2026-03-03", Reason: "another patient"}).
		When(visiting(stratified(), "week-4", "2026-03-05")).Then(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-05"})
	in(t, patient.StatusEnrolled).When(void).ThenRefused("visit_not_recorded")
}

func TestConsentDatesAreCorrected(t *testing.T) {
	again := patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-02", Protocol: 2}
	given := in(t, patient.StatusEnrolled).Given(again)
	correct := func(version string, from, to domain.Date) decision {
		return correctingIn(patient.CorrectConsent, patient.CorrectConsentDate{OfPatient: ofAnna, ConsentVersion: version, From: from, To: to,
			Reasoned: domain.Because("mistyped")})
	}
	corrected := func(version string, from, to domain.Date, candidate patient.DeviationKind) patient.ConsentDateCorrected {
		return patient.ConsentDateCorrected{Patient: anna, ConsentVersion: version, From: from, To: to, Reason: "mistyped", Candidate: candidate}
	}
	given.When(correct("3.0", "2026-03-02", "2026-03-01")).ThenRefused("consent_not_recorded")
	given.When(correct("2.0", "2026-03-03", "2026-03-01")).ThenRefused("other_value_recorded")
	p := given.When(correct("1.0", "2026-02-02", "2026-02-01")).Then(corrected("1.0", "2026-02-02", "2026-02-01", "")).State()
	if p.FirstConsentOn != "2026-02-01" || p.ConsentedOn != "2026-03-02" || p.ConsentVersion != "2.0" {
		t.Errorf("the patient is %+v", p)
	}
	p = given.When(correct("2.0", "2026-03-02", "2026-03-05")).Then(corrected("2.0", "2026-03-02", "2026-03-05", "")).State()
	if p.ConsentedOn != "2026-03-05" {
		t.Errorf("the patient is %+v", p)
	}
	given.When(correct("1.0", "2026-02-02", "2026-02-04")).Then(corrected("1.0", "2026-02-02", "2026-02-04", patient.DeviationConsent))
}

func TestEnrolmentDatesAreCorrected(t *testing.T) {
	given := in(t, patient.StatusEnrolled)
	correct := func(from, to domain.Date) decision {
		return correctingEnrolment(stratified(), from, to)
	}
	p := given.When(correct("2026-02-03", "2026-02-04")).
		Then(patient.EnrollmentDateCorrected{Patient: anna, From: "2026-02-03", To: "2026-02-04", Reason: "mistyped"}).State()
	if p.EnrolledOn != "2026-02-04" {
		t.Errorf("the patient is %+v", p)
	}
	given.When(correct("2026-02-03", "2026-02-01")).Then(patient.EnrollmentDateCorrected{Patient: anna, From: "2026-02-03", To: "2026-02-01",
		Reason: "mistyped", Candidate: patient.DeviationConsent})
	given.When(correct("2026-02-03", "2026-01-31")).ThenRefused("enrolled_before_screening")
	given.When(correct("2026-02-04", "2026-02-05")).ThenRefused("other_value_recorded")
	given.Given(stopped).When(correct("2026-02-03", "2026-03-02")).ThenRefused("ended_before_enrollment")
	in(t, patient.StatusConsented).When(correct("2026-02-03", "2026-02-04")).ThenRefused("patient_not_enrolled")
	// No kit was given out before the enrolment.
	withKit := func(to domain.Date) decision {
		return scenario.SentWithFacts(patient.CorrectEnrollment, patient.Redating{Study: stratified(), GivenOn: "2026-02-05"},
			patient.CorrectEnrollmentDate{OfPatient: ofAnna, From: "2026-02-03", To: to, Reasoned: domain.Because("mistyped")}, call)
	}
	given.When(withKit("2026-02-06")).ThenRefused("dispensed_before_enrollment")
	given.When(withKit("2026-02-05")).Then(patient.EnrollmentDateCorrected{Patient: anna, From: "2026-02-03", To: "2026-02-05",
		Reason: "mistyped"})
}

// An age or a sex that was wrong at the draw is a stratum error. The assignment stays.
func TestAgeAndSexAreCorrected(t *testing.T) {
	drawn := requested
	drawn.Factors = map[string]string{"age": "40-to-59", "sex": "F", "site": "A", "severity": "mild"}
	given := scenario.For(t, patient.Decider).Strict().Given(screened, consented, drawn, enrolled)
	age := func(from, to int) decision {
		return correctingIn(patient.CorrectAgeAtScreening, patient.CorrectAge{OfPatient: ofAnna, From: from, To: to,
			Reasoned: domain.Because("transposed")})
	}
	sex := func(from, to patient.Sex) decision {
		return correctingIn(patient.CorrectRecordedSex, patient.CorrectSex{OfPatient: ofAnna, From: from, To: to,
			Reasoned: domain.Because("mistyped")})
	}
	given.When(age(44, 45)).Then(patient.AgeCorrected{Patient: anna, From: 44, To: 45, Reason: "transposed"})
	given.When(age(44, 64)).Then(patient.AgeCorrected{Patient: anna, From: 44, To: 64, Reason: "transposed",
		Candidate: patient.DeviationRandomisation})
	given.When(age(45, 64)).ThenRefused("other_value_recorded")
	given.When(age(44, 131)).ThenRefused("value_out_of_range")
	is := given.When(sex(patient.Female, patient.Male)).Then(patient.SexCorrected{Patient: anna, From: patient.Female, To: patient.Male,
		Reason: "mistyped", Candidate: patient.DeviationRandomisation}).State()
	if is.Sex != patient.Male {
		t.Errorf("the sex is %s", is.Sex)
	}
	given.When(sex(patient.Female, "X")).ThenRefused("unknown_code")
	given.When(sex(patient.Female, "")).ThenRefused("value_missing")
	// Before the draw nothing depends on them.
	in(t, patient.StatusConsented).When(age(44, 64)).Then(patient.AgeCorrected{Patient: anna, From: 44, To: 64, Reason: "transposed"})
}
