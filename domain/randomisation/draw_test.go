package randomisation_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// refused is the event of a draw that was refused; each code has its own reasons.
func refused(who int, code, reason string) randomisation.RandomisationRefused {
	return randomisation.RandomisationRefused{Study: pain, Site: "A", Patient: patient(who), Code: code, Reason: personal.Text(reason)}
}

func skipped(who, number, row int, arm domain.ArmID) randomisation.EntrySkipped {
	return randomisation.EntrySkipped{Study: pain, Patient: patient(who), Number: number,
		Skipped: blind.Of(randomisation.Skipped{Scheme: "one", Row: row, Arm: arm})}
}

// drawnFromList is the event of a draw that used a row of the list.
func drawnFromList(who, number, row int, arm domain.ArmID, change func(*randomisation.Draw),
	levels ...string) randomisation.PatientRandomised {
	d := randomisation.Draw{Method: randomisation.MethodList, Scheme: "one", Number: number, Arms: two, InStock: two, Row: row, Arm: arm}
	if change != nil {
		change(&d)
	}
	return randomisation.PatientRandomised{Study: pain, Site: "A", Patient: patient(who), Scheme: "one", Number: number,
		Factors: factorsOf(levels...), Arm: blind.Of(arm), Draw: blind.Of(d)}
}

// wasForced is what is told after a draw among the arms in stock, and exhausted after one for which the list has no entry.
func wasForced(who, number int) randomisation.AllocationForced {
	return randomisation.AllocationForced{Study: pain, Site: "A", Patient: patient(who), Number: number}
}

func exhausted(levels ...string) randomisation.ListRanLow {
	return randomisation.ListRanLow{Study: pain, Scheme: "one", Factors: factorsOf(levels...), Exhausted: true, Few: true, Tell: true}
}

// A suspension stops the draws that were requested before it, for the whole study, a country, a site or a cohort. The patient can be
// drawn when it is over.
func TestNobodyIsDrawnWhileRandomisationIsPaused(t *testing.T) {
	stop := []study.Activity{study.ActivityRandomisation}
	s := studyWith(two, bySex)
	s = study.Decider.Evolve(s, study.SiteAdded{Study: pain, Site: "A", Country: "DE"})
	given := start(t).Given(activated(t, s, uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo", "f,verum"))...)
	notNow := refused(1, "activity_paused", "randomisation is paused for the time being")
	for _, paused := range []study.Event{
		study.Suspended{Study: pain, Activities: stop},
		study.Suspended{Study: pain, Country: "DE", Activities: stop},
		study.Suspended{Study: pain, Cohort: study.Cohort{"sex": "m"}, Activities: stop},
		study.SitePaused{Study: pain, Site: "A", Activities: stop},
	} {
		during := study.Decider.Evolve(s, paused)
		given.When(drawing(during, two, 1, "sex", "m")).Then(notNow).
			When(drawing(during, two, 1, "sex", "m")).Then(notNow).
			When(drawing(s, two, 1, "sex", "m")).
			Then(drawnFromList(1, 1, 1, verum, func(d *randomisation.Draw) { d.Stratum = 1 }, "sex", "m")).
			When(drawing(during, two, 1, "sex", "m")).Then() // a draw stands
	}
	elsewhere := study.Decider.Evolve(s, study.Suspended{Study: pain, Cohort: study.Cohort{"sex": "f"}, Activities: stop})
	given.When(drawing(elsewhere, two, 1, "sex", "m")).
		Then(drawnFromList(1, 1, 1, verum, func(d *randomisation.Draw) { d.Stratum = 1 }, "sex", "m"))
	// Nobody is assigned to the only arm of a later stage either.
	single := studyTreating(two, study.Treatment{Randomised: true, Stages: []study.Stage{{ID: "extension", Arms: []string{string(verum)}}}})
	single = study.Decider.Evolve(single, study.Suspended{Study: pain, Activities: stop})
	start(t).When(scenario.SentWithFacts(randomisation.Randomise, randomisation.Facts{Study: single},
		randomisation.RandomisePatient{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient(patient(1)),
			Stage: "extension"}, call)).Then(notNow)
}

func TestRandomiseByList(t *testing.T) {
	s := studyWith(two, bySex)
	start(t).When(drawing(s, two, 1, "sex", "m")).Then(refused(1, "no_active_scheme", "no scheme of randomisation is active in the study"))

	list := must(t, randomisation.Randomisation{}, uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo", "f,verum"))
	start(t).Given(list...).When(drawing(s, two, 1, "sex", "m")).
		Then(refused(1, "no_active_scheme", "no scheme of randomisation is active in the study"))

	given := start(t).Given(activated(t, s, uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo", "f,verum"))...)
	inM := func(d *randomisation.Draw) { d.Stratum = 1 }
	one := given.When(drawing(s, two, 1, "sex", "m")).Then(drawnFromList(1, 1, 1, verum, inM, "sex", "m"))
	one.When(drawing(s, two, 1, "sex", "m")).Then() // a second request
	one.When(drawing(s, two, 1, "sex", "f")).Then() // with other levels
	one.When(drawing(s, nil, 1)).Then()             // without levels and stock
	full := one.When(drawing(s, two, 2, "sex", "m")).Then(drawnFromList(2, 2, 3, placebo, inM, "sex", "m")).
		When(drawing(s, two, 3, "sex", "m")).
		Then(refused(3, "list_exhausted", listExhausted), exhausted("sex", "m")).
		When(drawing(s, two, 3, "sex", "f")).Then(drawnFromList(3, 3, 2, placebo, nil, "sex", "f"))
	if s := full.State(); s.LastNumber != 3 || s.Active("") != "one" {
		t.Errorf("the state has the last number %d and the active scheme %q", s.LastNumber, s.Active(""))
	}
	// In a study without kits, a draw needs no stock.
	withoutKits := func(d *randomisation.Draw) { d.Stratum, d.InStock = 1, nil }
	given.When(drawing(s, nil, 1, "sex", "m")).Then(drawnFromList(1, 1, 1, verum, withoutKits, "sex", "m"))
}

// After a request was refused, the enrolment process releases everything: an earlier request that arrives late must not
// draw.
func TestRandomiseIgnoresRequestsBeforeARefusedOne(t *testing.T) {
	s := studyWith(two)
	request := func(n int, left bool, inStock ...domain.ArmID) decision {
		return scenario.SentWithFacts(randomisation.Randomise, randomisation.Facts{Study: s, InStock: inStock, Ended: left},
			randomisation.RandomisePatient{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient(patient(1)), Request: n}, call)
	}
	refusedRequest := func(n int, code, reason string) randomisation.RandomisationRefused {
		r := refused(1, code, reason)
		r.Request = n
		return r
	}
	given := start(t).Given(activated(t, s, uploading(s, "one", "arm", "verum", "placebo"))...)
	out := given.When(request(2, false, verum)).Then(refusedRequest(2, "no_stock", noStock))
	out.When(request(1, false, two...)).Then()
	out.When(request(2, false, two...)).Then()
	drawn := out.When(request(3, false, two...)).Then(drawnFromList(1, 1, 1, verum, nil))
	drawn.When(request(4, true, two...)).Then() // the assignment of a patient who has left does not change
	given.When(request(1, true, two...)).Then(refusedRequest(1, "patient_ended", "the patient does not take part any more"))
}

func TestRandomiseChecksTheFactors(t *testing.T) {
	s := studyWith(two, bySex, byGrade)
	given := start(t).Given(activated(t, s, uploading(s, "one", "sex,grade,arm", "m,mild,verum", "f,mild,placebo"))...)
	for wrong, reason := range map[string]string{
		"":                         "the level of factor sex is missing",
		"sex m":                    "the level of factor grade is missing",
		"sex m grade bad":          "the level of factor grade is not one of the scheme's",
		"sex M grade mild":         "the level of factor sex is not one of the scheme's",
		"sex m grade mild age old": "there is a factor that the scheme does not have",
		"Sex m grade mild sex x":   "the level of factor sex is not one of the scheme's",
	} {
		given.When(drawing(s, two, 1, strings.Fields(wrong)...)).Then(refused(1, "invalid_factors", reason))
	}
}

func TestRandomiseRefusesMalformedIDs(t *testing.T) {
	facts := randomisation.Facts{Study: studyWith(two)}
	for field, cmd := range map[string]randomisation.RandomisePatient{
		"study":   {InStudy: domain.ForStudy("a b"), Site: "A", OfPatient: domain.ForPatient("PAIN1.1")},
		"site":    {InStudy: domain.ForStudy(pain), Site: "x y", OfPatient: domain.ForPatient("PAIN1.1")},
		"patient": {InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient("1")},
	} {
		if r := start(t).When(scenario.SentWithFacts(randomisation.Randomise, facts, cmd, call)).ThenRefused("malformed_id"); r.Field != field {
			t.Errorf("the refusal names the field %s, want %s", r.Field, field)
		}
	}
	other := randomisation.RandomisePatient{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient("OTHER.1")}
	start(t).When(scenario.SentWithFacts(randomisation.Randomise, facts, other, call)).ThenRefused("malformed_id")
}

// Reasons of refused draws, as they are recorded.
const (
	noStock       = "kits are not in stock for every arm that the patient could be drawn into"
	listExhausted = "the list has no place left that the patient could be given"
)

// Without forced allocation, a refusal for lack of stock never depends on the entry that would have been used. So a
// site with only one arm in stock cannot learn from a refusal which arm would have been drawn, and cannot repeat its
// requests until it gets its arm.
func TestNobodyIsDrawnWithoutAllArmsInStock(t *testing.T) {
	s := studyWith(two)
	for _, list := range [][]string{{"arm", "verum", "placebo"}, {"arm", "placebo", "verum"}} {
		given := start(t).Given(activated(t, s, uploading(s, "one", list...))...)
		for _, inStock := range [][]domain.ArmID{{verum}, {placebo}, {}, {comparator}} {
			given.When(drawing(s, inStock, 1)).Then(refused(1, "no_stock", noStock))
		}
	}
	m := studyWith(two, bySex)
	given := start(t).Given(activated(t, m, minimising(m, randomisation.DefineMinimisation{
		Scheme: "one", Ratio: equally, Metric: randomisation.MetricRange, P: 0.9, Seed: theSeed}))...)
	for _, inStock := range [][]domain.ArmID{{verum}, {placebo}, {}} {
		given.When(drawing(m, inStock, 1, "sex", "f")).Then(refused(1, "no_stock", noStock))
	}
}

// If the protocol allows it, a draw is forced among the arms in stock. Each skipped entry is recorded once, and is used
// before all later entries as soon as its arm is in stock.
func TestForcedAllocationSkipsAndBalancesLater(t *testing.T) {
	s := studyThatForces(two)
	forced := func(d *randomisation.Draw) { d.Forced, d.InStock = true, []domain.ArmID{placebo} }
	given := start(t).Given(activated(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo", "placebo", "verum", "placebo"))...)
	given.When(drawing(s, []domain.ArmID{}, 1)).Then(refused(1, "no_stock", noStock))
	given.When(drawing(s, []domain.ArmID{placebo}, 1)).
		Then(skipped(1, 1, 1, verum), skipped(1, 1, 2, verum), drawnFromList(1, 1, 3, placebo, forced), wasForced(1, 1)).
		When(drawing(s, []domain.ArmID{placebo}, 2)).Then(drawnFromList(2, 2, 4, placebo, forced), wasForced(2, 2)). // 1 and 2 wait already
		When(drawing(s, []domain.ArmID{placebo}, 3)).
		Then(skipped(3, 3, 5, verum), drawnFromList(3, 3, 6, placebo, forced), wasForced(3, 3)).
		When(drawing(s, []domain.ArmID{placebo}, 4)).Then(refused(4, "list_exhausted", listExhausted), exhausted()).
		When(drawing(s, []domain.ArmID{placebo}, 4)).Then(refused(4, "list_exhausted", listExhausted)). // it is told once
		When(drawing(s, two, 4)).Then(drawnFromList(4, 4, 1, verum, nil)).
		When(drawing(s, two, 5)).Then(drawnFromList(5, 5, 2, verum, nil)).
		When(drawing(s, nil, 6)).Then(drawnFromList(6, 6, 5, verum, func(d *randomisation.Draw) { d.InStock = nil })).
		When(drawing(s, two, 7)).Then(refused(7, "list_exhausted", listExhausted))
	// With all arms in stock nothing is forced.
	given.When(drawing(s, two, 1)).Then(drawnFromList(1, 1, 1, verum, nil))
}

func TestSetCaps(t *testing.T) {
	s := studyWith(two, bySex)
	given := start(t)
	given.When(capping(s, randomisation.CohortCap{Arm: verum, Most: 3}, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 0})).
		Then(randomisation.CohortCapsSet{Study: pain, Levels: []randomisation.CohortCap{{Factor: "sex", Level: "m"}},
			Arms: blind.Of(randomisation.ArmCaps{{Arm: verum, Most: 3}}), Reason: "dose cohort"})
	given.When(capping(s)).Then(randomisation.CohortCapsSet{Study: pain, Arms: blind.Of(randomisation.ArmCaps{}), Reason: "dose cohort"})
	for what, c := range map[string]randomisation.CohortCap{
		"nothing":           {Most: 1},
		"a negative cap":    {Arm: verum, Most: -1},
		"a cap too high":    {Arm: verum, Most: 1_000_001},
		"an unknown arm":    {Arm: comparator, Most: 1},
		"an arm and level":  {Arm: verum, Factor: "sex", Level: "m", Most: 1},
		"an unknown factor": {Factor: "age", Level: "m", Most: 1},
		"an unknown level":  {Factor: "sex", Level: "x", Most: 1},
		"no level":          {Factor: "sex", Most: 1},
	} {
		t.Run(what, func(*testing.T) { given.When(capping(s, c)).ThenRefused("invalid_caps") })
	}
	given.When(capping(s, randomisation.CohortCap{Arm: verum, Most: 1}, randomisation.CohortCap{Arm: verum, Most: 2})).
		ThenRefused("invalid_caps")
	withoutReason := randomisation.SetCohortCaps{InStudy: domain.ForStudy(pain)}
	given.When(scenario.SentWithFacts(randomisation.SetCaps, s, withoutReason, call)).ThenRefused("reason_required")
}

func TestPatientsOfAFullLevelAreNotDrawn(t *testing.T) {
	s := studyWith(two, bySex)
	capped := activated(t, s, uploading(s, "one", "sex,arm", "m,verum", "m,placebo", "f,verum", "f,placebo"))
	capped = append(capped, must(t, randomisation.Randomisation{}, capping(s, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 1}))...)
	full := refused(2, "cap_reached", "the cohort of one of the patient's levels is full")
	inM := func(d *randomisation.Draw) { d.Stratum = 1 }
	one := start(t).Given(capped...).When(drawing(s, two, 1, "sex", "m")).Then(drawnFromList(1, 1, 1, verum, inM, "sex", "m"))
	one.When(drawing(s, two, 2, "sex", "m")).Then(full)
	one.When(drawing(s, two, 2, "sex", "f")).Then(drawnFromList(2, 2, 3, verum, nil, "sex", "f"))
	// A correction moves a patient into the cohort, or out of it.
	out := one.Given(must(t, one.State(), correcting(1, "sex", "f"))...)
	out.When(drawing(s, two, 2, "sex", "m")).Then(drawnFromList(2, 2, 2, placebo, inM, "sex", "m"))
	// Caps may be raised, and lifted.
	one.Given(must(t, one.State(), capping(s, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 2}))...).
		When(drawing(s, two, 2, "sex", "m")).Then(drawnFromList(2, 2, 2, placebo, inM, "sex", "m"))
	one.Given(must(t, one.State(), capping(s))...).When(drawing(s, two, 2, "sex", "m")).Then(drawnFromList(2, 2, 2, placebo, inM, "sex", "m"))
}

// An arm at its cap is left out, and draws continue among the others: a refusal would reveal which arm was next.
func TestFullArmIsLeftOut(t *testing.T) {
	s := studyWith(two)
	past := activated(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo", "placebo"))
	past = append(past, must(t, randomisation.Randomisation{}, capping(s, randomisation.CohortCap{Arm: verum, Most: 1}))...)
	onlyPlacebo := func(d *randomisation.Draw) { d.Arms = []domain.ArmID{placebo} }
	one := start(t).Given(past...).When(drawing(s, two, 1)).Then(drawnFromList(1, 1, 1, verum, nil))
	second := one.When(drawing(s, two, 2)).Then(skipped(2, 2, 2, verum), drawnFromList(2, 2, 3, placebo, onlyPlacebo))
	// Only the arms below their cap have to be in stock.
	second.When(drawing(s, []domain.ArmID{placebo}, 3)).
		Then(drawnFromList(3, 3, 4, placebo, func(d *randomisation.Draw) {
			d.Arms, d.InStock = []domain.ArmID{placebo}, []domain.ArmID{placebo}
		}))
	second.When(drawing(s, []domain.ArmID{verum}, 3)).Then(refused(3, "no_stock", noStock))
	// The skipped entry is used once the cap is raised.
	second.Given(must(t, second.State(), capping(s))...).When(drawing(s, two, 3)).Then(drawnFromList(3, 3, 2, verum, nil))
	// If all arms are full, nobody is drawn.
	bothFull := capping(s, randomisation.CohortCap{Arm: verum, Most: 1}, randomisation.CohortCap{Arm: placebo, Most: 1})
	second.Given(must(t, second.State(), bothFull)...).
		When(drawing(s, two, 3)).Then(refused(3, "cap_reached", "all cohorts that the patient could be drawn into are full"))
}
