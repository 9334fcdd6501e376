package patient_test

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// withDoses is the study with the titration, and visits whose windows are strict.
func withDoses(t study.Treatment) study.Study {
	return study.Decider.Evolve(theStudy(), study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 2,
		ConsentVersion: "1.0", Arms: []study.Arm{{ID: "drug"}}, Treatment: &t,
		Visits: []study.Visit{{ID: "run-in", Day: -7}, {ID: "week-4", Day: 28, DaysBefore: 2, DaysAfter: 2, OutOfWindow: study.RefuseVisit},
			{ID: "week-8", Day: 56}}}})
}

func changingDose(s study.Study, direction patient.DoseDirection, on domain.Date, reason string) decision {
	return scenario.SentWithFacts(patient.ChangeDose, s, patient.RecordDoseChange{OfPatient: ofAnna, Direction: direction, On: on,
		Reasoned: domain.Because(reason)}, call)
}

func TestChangeDose(t *testing.T) {
	s := withDoses(study.Treatment{Titration: &study.Titration{Steps: 3, Start: 2, Rescue: true}})
	changed := func(direction patient.DoseDirection, from, step int, rescue bool) patient.DoseChanged {
		return patient.DoseChanged{Patient: anna, On: "2026-03-01", Direction: direction, Step: step, Rescue: rescue, Reason: "r",
			FromStep: from}
	}
	given := onTreatment(t)
	up := given.When(changingDose(s, patient.DoseUp, "2026-03-01", "r")).Then(changed(patient.DoseUp, 2, 3, false))
	up.When(changingDose(s, patient.DoseUp, "2026-03-01", "r")).ThenRefused("dose_at_limit")
	rescued := up.When(changingDose(s, patient.DoseRescue, "2026-03-01", "r")).Then(changed(patient.DoseRescue, 3, 3, true))
	rescued.When(changingDose(s, patient.DoseRescue, "2026-03-01", "r")).ThenRefused("dose_at_limit")
	// Down ends the rescue first.
	down := rescued.When(changingDose(s, patient.DoseDown, "2026-03-01", "r")).Then(changed(patient.DoseDown, 3, 3, false)).
		When(changingDose(s, patient.DoseDown, "2026-03-01", "r")).Then(changed(patient.DoseDown, 3, 2, false)).
		When(changingDose(s, patient.DoseDown, "2026-03-01", "r")).Then(changed(patient.DoseDown, 2, 1, false))
	down.When(changingDose(s, patient.DoseDown, "2026-03-01", "r")).ThenRefused("dose_at_limit")
	if p := down.State(); p.Dosing(nil).Step != 1 || p.Treatment != patient.TreatmentOn {
		t.Errorf("the patient is %+v", p)
	}
	for _, c := range []struct {
		e    patient.DoseChanged
		want []domain.ChangedValue
	}{
		{changed(patient.DoseUp, 2, 3, false), []domain.ChangedValue{{Field: "doseStep", Old: 2, New: 3}}},
		{changed(patient.DoseRescue, 3, 3, true), []domain.ChangedValue{{Field: "rescue", Old: false, New: true}}},
		{changed(patient.DoseDown, 3, 3, false), []domain.ChangedValue{{Field: "rescue", Old: true, New: false}}},
		{changed(patient.DoseUp, 0, 3, false), nil}, // by an earlier program
	} {
		if got := c.e.Changed(); !slices.Equal(got, c.want) {
			t.Errorf("%+v has changed %+v", c.e, got)
		}
	}
	for code, d := range map[string]decision{
		"no_titration":            changingDose(theStudy(), patient.DoseUp, "2026-03-01", "r"),
		"unknown_code":            changingDose(s, "sideways", "2026-03-01", "r"),
		"reason_required":         changingDose(s, patient.DoseUp, "2026-03-01", ""),
		"captured_in_future":      changingDose(s, patient.DoseUp, "2026-03-12", "r"),
		"ended_before_enrollment": changingDose(s, patient.DoseUp, "2026-02-02", "r"),
	} {
		given.When(d).ThenRefused(code)
	}
	given.When(stopping("2026-03-01", patient.EndedByAdverseEvent, "nausea")).Then(stopped).
		When(changingDose(s, patient.DoseUp, "2026-03-01", "r")).ThenRefused("treatment_not_under_way")
}

func TestSkipVisit(t *testing.T) {
	s := withDoses(study.Treatment{})
	skip := func(visit, reason string) decision {
		return scenario.SentWithFacts(patient.Skip, s, patient.SkipVisit{OfPatient: ofAnna, Visit: visit, Reasoned: domain.Because(reason)}, call)
	}
	void := func(visit string) decision {
		return correctingIn(patient.Void, patient.VoidVisit{OfPatient: ofAnna, Visit: visit, Reasoned: domain.Because("r")})
	}
	given := onTreatment(t)
	skipped := given.When(skip("week-8", "abroad")).
		Then(patient.VisitSkipped{Patient: anna, Visit: "week-8", Reason: "abroad", Candidate: patient.DeviationVisit})
	skipped.When(skip("week-8", "abroad")).ThenRefused("visit_skipped")
	skipped.When(visiting(s, "week-8", "2026-03-09")).ThenRefused("visit_skipped")
	skipped.When(void("week-8")).Then(patient.VisitVoided{Patient: anna, Visit: "week-8", Reason: "r"}).
		When(visiting(s, "week-8", "2026-03-09")).Then(patient.VisitRecorded{Patient: anna, Visit: "week-8", On: "2026-03-09"}).
		When(skip("week-8", "abroad")).ThenRefused("visit_recorded")
	given.When(skip("week-8", " ")).ThenRefused("reason_required")
	given.When(skip("week-9", "r")).ThenRefused("unknown_visit")
	in(t, patient.StatusDiscontinued).When(skip("week-8", "r")).ThenRefused("patient_ended")
}

// A protocol may refuse visits outside of their windows. Day 0 is 3 February.
func TestVisitsOutsideOfTheirWindowsAreRefused(t *testing.T) {
	s := withDoses(study.Treatment{})
	given := onTreatment(t)
	given.When(visiting(s, "week-4", "2026-02-28")).ThenRefused("visit_too_early")
	given.When(visiting(s, "week-4", "2026-03-06")).ThenRefused("visit_too_late")
	for _, on := range []domain.Date{"2026-03-01", "2026-03-05"} {
		given.When(visiting(s, "week-4", on)).Then(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: on})
	}
}

// What a patient gets may depend on the weight, which is recorded with a visit.
func TestWeightDecidesAboutKits(t *testing.T) {
	treatment := study.Treatment{Kits: true, DispensingVisits: []string{"run-in", "week-8"}, Plan: &study.DispensingPlan{
		Types: []study.KitType{{ID: "small"}}, Kits: []study.PlannedKits{
			{Visits: []string{"run-in"}, Kits: []study.KitsOf{{Type: "small", Count: 1}}},
			{BelowKg: 60, Kits: []study.KitsOf{{Type: "small", Count: 1}}}, {FromKg: 60, Kits: []study.KitsOf{{Type: "small", Count: 2}}}}}}
	s := withDoses(treatment)
	weighed := func(visit string, on domain.Date, kg float64) decision {
		return scenario.SentWithFacts(patient.RecordAttendance, s, patient.RecordVisit{OfPatient: ofAnna, Visit: visit, On: on,
			WeightKg: kg}, call)
	}
	consented := in(t, patient.StatusConsented)
	consented.When(enrolling(s, "2026-02-03")).ThenRefused("weight_missing")
	consented.When(weighed("run-in", "2026-02-02", 1001)).ThenRefused("value_out_of_range")
	// Who has consented gets kits of the run-in before the enrolment.
	p := consented.When(weighed("run-in", "2026-02-02", 58.5)).
		Then(patient.VisitRecorded{Patient: anna, Visit: "run-in", On: "2026-02-02", Dispense: true, WeightKg: 58.5})
	if got := p.State(); got.WeightKg() != 58.5 || got.Dosing(nil).WeightKg != 58.5 || got.Treatment != patient.TreatmentNotStarted {
		t.Errorf("the patient is %+v", got)
	}
	requested := requestedOn("2026-02-03", 1, "1.0")
	requested.Kits, requested.Protocol = true, 2
	p.When(enrolling(s, "2026-02-03")).Then(requested)

	given := onTreatment(t)
	given.When(weighed("week-8", "2026-03-09", 0)).ThenRefused("weight_missing")
	first := given.Given(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-01", WeightKg: 61})
	later := first.When(weighed("week-8", "2026-03-09", 62)).
		Then(patient.VisitRecorded{Patient: anna, Visit: "week-8", On: "2026-03-09", Dispense: true, WeightKg: 62})
	if got := later.State().WeightKg(); got != 62 {
		t.Errorf("the weight is %g", got)
	}
	// The weight of a visit that was another patient's does not count.
	if got := later.Given(patient.VisitVoided{Patient: anna, Visit: "week-8", On: "2026-03-09", Reason: "r"}).State().WeightKg(); got != 61 {
		t.Errorf("the weight is %g", got)
	}
}
