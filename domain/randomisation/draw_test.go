package randomisation_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
)

// refused is the answer to an ask for a draw that was not made; each code has its sentences.
func refused(who int, code, reason string) randomisation.RandomisationRefused {
	return randomisation.RandomisationRefused{Study: pain, Site: "A", Patient: patient(who), Code: code, Reason: reason}
}

func skipped(who, number, row int, arm domain.ArmID) randomisation.EntrySkipped {
	return randomisation.EntrySkipped{Study: pain, Patient: patient(who), Number: number,
		Skipped: blind.Of(randomisation.Skipped{Scheme: "one", Row: row, Arm: arm})}
}

// placed is a draw of the list's row.
func placed(who, number, row int, arm domain.ArmID, change func(*randomisation.Draw), levels ...string) randomisation.PatientRandomised {
	d := randomisation.Draw{Method: randomisation.MethodList, Scheme: "one", Number: number, Arms: two, InStock: two, Row: row, Arm: arm}
	if change != nil {
		change(&d)
	}
	return randomisation.PatientRandomised{Study: pain, Site: "A", Patient: patient(who), Scheme: "one", Number: number,
		Factors: factorsOf(levels...), Arm: blind.Of(arm), Draw: blind.Of(d)}
}

func TestRandomiseByList(t *testing.T) {
	s := studyWith(two, bySex)
	start(t).When(drawing(s, two, 1, "sex", "m")).Then(refused(1, "no_active_scheme", "no scheme of randomisation is active in the study"))

	list := must(t, randomisation.Randomisation{}, uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo", "f,verum"))
	start(t).Given(list...).When(drawing(s, two, 1, "sex", "m")).
		Then(refused(1, "no_active_scheme", "no scheme of randomisation is active in the study"))

	given := start(t).Given(begun(t, s, uploading(s, "one", "sex,arm", "m,verum", "f,placebo", "m,placebo", "f,verum"))...)
	inM := func(d *randomisation.Draw) { d.Stratum = 1 }
	one := given.When(drawing(s, two, 1, "sex", "m")).Then(placed(1, 1, 1, verum, inM, "sex", "m"))
	one.When(drawing(s, two, 1, "sex", "m")).Then() // a second ask
	one.When(drawing(s, two, 1, "sex", "f")).Then() // even with other levels
	one.When(drawing(s, nil, 1)).Then()             // and whatever else has changed
	full := one.When(drawing(s, two, 2, "sex", "m")).Then(placed(2, 2, 3, placebo, inM, "sex", "m")).
		When(drawing(s, two, 3, "sex", "m")).
		Then(refused(3, "list_exhausted", "the list has no place left that the patient could be given")).
		When(drawing(s, two, 3, "sex", "f")).Then(placed(3, 3, 2, placebo, nil, "sex", "f"))
	if s := full.State(); s.LastNumber != 3 || s.Active != "one" {
		t.Errorf("the state is at draw %d of %q", s.LastNumber, s.Active)
	}
	// A study without kits has nothing in stock, and draws.
	given.When(drawing(s, nil, 1, "sex", "m")).Then(placed(1, 1, 1, verum, func(d *randomisation.Draw) { d.Stratum, d.InStock = 1, nil }, "sex", "m"))
}

// An ask that was refused has had everything given back: a late one before it must not draw.
func TestRandomiseAnswersTheLastAsk(t *testing.T) {
	s := studyWith(two)
	ask := func(n int, left bool, inStock ...domain.ArmID) decision {
		return scenario.AskedKnowing(randomisation.Randomise, randomisation.Facts{Study: s, InStock: inStock, Left: left},
			randomisation.RandomisePatient{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient(patient(1)), Ask: n}, call)
	}
	no := func(n int, code, reason string) randomisation.RandomisationRefused {
		r := refused(1, code, reason)
		r.Ask = n
		return r
	}
	given := start(t).Given(begun(t, s, uploading(s, "one", "arm", "verum", "placebo"))...)
	out := given.When(ask(2, false, verum)).Then(no(2, "no_stock", "kits are not in stock for every arm that the patient could be drawn into"))
	out.When(ask(1, false, two...)).Then()
	out.When(ask(2, false, two...)).Then()
	drawn := out.When(ask(3, false, two...)).Then(placed(1, 1, 1, verum, nil))
	drawn.When(ask(4, true, two...)).Then() // who has left after the draw stays drawn
	given.When(ask(1, true, two...)).Then(no(1, "patient_ended", "the patient does not take part any more"))
}

func TestRandomiseChecksTheFactors(t *testing.T) {
	s := studyWith(two, bySex, byGrade)
	given := start(t).Given(begun(t, s, uploading(s, "one", "sex,grade,arm", "m,mild,verum", "f,mild,placebo"))...)
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
		"study":   {InStudy: domain.ForStudy(""), Site: "A", OfPatient: domain.ForPatient("PAIN1.1")},
		"site":    {InStudy: domain.ForStudy(pain), Site: "x y", OfPatient: domain.ForPatient("PAIN1.1")},
		"patient": {InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient("1")},
	} {
		if r := start(t).When(scenario.AskedKnowing(randomisation.Randomise, facts, cmd, call)).ThenRefused("malformed_id"); r.Field != field {
			t.Errorf("the fault is said to be in %s", r.Field)
		}
	}
	other := randomisation.RandomisePatient{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient("OTHER.1")}
	start(t).When(scenario.AskedKnowing(randomisation.Randomise, facts, other, call)).ThenRefused("malformed_id")
}

const noStock = "kits are not in stock for every arm that the patient could be drawn into"

// Without forced allocation, what is refused for want of stock never depends on the place that would have been used: a
// site that has only one arm in stock cannot learn from a refusal which arm it would have been, nor ask until it is that.
func TestWithoutAllArmsInStockNobodyIsDrawn(t *testing.T) {
	s := studyWith(two)
	for _, list := range [][]string{{"arm", "verum", "placebo"}, {"arm", "placebo", "verum"}} {
		given := start(t).Given(begun(t, s, uploading(s, "one", list...))...)
		for _, inStock := range [][]domain.ArmID{{verum}, {placebo}, {}, {comparator}} {
			given.When(drawing(s, inStock, 1)).Then(refused(1, "no_stock", noStock))
		}
	}
	m := studyWith(two, bySex)
	given := start(t).Given(begun(t, m, minimising(m, randomisation.DefineMinimisation{
		Scheme: "one", Ratio: equally, Metric: randomisation.MetricRange, P: 0.9, Seed: theSeed}))...)
	for _, inStock := range [][]domain.ArmID{{verum}, {placebo}, {}} {
		given.When(drawing(m, inStock, 1, "sex", "f")).Then(refused(1, "no_stock", noStock))
	}
}

// A draw may be forced among the arms in stock where the protocol says so. Places that are passed over are recorded, once,
// and come before all later ones as soon as they can be had.
func TestForcedAllocationSkipsAndBalancesLater(t *testing.T) {
	s := forcing(two)
	forced := func(d *randomisation.Draw) { d.Forced, d.InStock = true, []domain.ArmID{placebo} }
	given := start(t).Given(begun(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo", "placebo", "verum", "placebo"))...)
	given.When(drawing(s, []domain.ArmID{}, 1)).Then(refused(1, "no_stock", noStock))
	given.When(drawing(s, []domain.ArmID{placebo}, 1)).
		Then(skipped(1, 1, 1, verum), skipped(1, 1, 2, verum), placed(1, 1, 3, placebo, forced)).
		When(drawing(s, []domain.ArmID{placebo}, 2)).Then(placed(2, 2, 4, placebo, forced)). // 1 and 2 wait already
		When(drawing(s, []domain.ArmID{placebo}, 3)).Then(skipped(3, 3, 5, verum), placed(3, 3, 6, placebo, forced)).
		When(drawing(s, []domain.ArmID{placebo}, 4)).Then(refused(4, "list_exhausted", "the list has no place left that the patient could be given")).
		When(drawing(s, two, 4)).Then(placed(4, 4, 1, verum, nil)).
		When(drawing(s, two, 5)).Then(placed(5, 5, 2, verum, nil)).
		When(drawing(s, nil, 6)).Then(placed(6, 6, 5, verum, func(d *randomisation.Draw) { d.InStock = nil })).
		When(drawing(s, two, 7)).Then(refused(7, "list_exhausted", "the list has no place left that the patient could be given"))
	// With all arms in stock nothing is forced.
	given.When(drawing(s, two, 1)).Then(placed(1, 1, 1, verum, nil))
}

func TestSetCaps(t *testing.T) {
	s := studyWith(two, bySex)
	given := start(t)
	given.When(capping(s, randomisation.CohortCap{Arm: verum, Most: 3}, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 0})).
		Then(randomisation.CohortCapsSet{Study: pain, Levels: []randomisation.CohortCap{{Factor: "sex", Level: "m"}},
			Arms: blind.Of([]randomisation.CohortCap{{Arm: verum, Most: 3}}), Reason: "dose cohort"})
	given.When(capping(s)).Then(randomisation.CohortCapsSet{Study: pain, Arms: blind.Of([]randomisation.CohortCap{}), Reason: "dose cohort"})
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
	given.When(capping(s, randomisation.CohortCap{Arm: verum, Most: 1}, randomisation.CohortCap{Arm: verum, Most: 2})).ThenRefused("invalid_caps")
	given.When(scenario.AskedKnowing(randomisation.SetCaps, s, randomisation.SetCohortCaps{InStudy: domain.ForStudy(pain)}, call)).ThenRefused("reason_required")
}

func TestAFullLevelStopsItsPatients(t *testing.T) {
	s := studyWith(two, bySex)
	capped := begun(t, s, uploading(s, "one", "sex,arm", "m,verum", "m,placebo", "f,verum", "f,placebo"))
	capped = append(capped, must(t, randomisation.Randomisation{}, capping(s, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 1}))...)
	full := refused(2, "cap_reached", "the cohort of one of the patient's levels is full")
	inM := func(d *randomisation.Draw) { d.Stratum = 1 }
	one := start(t).Given(capped...).When(drawing(s, two, 1, "sex", "m")).Then(placed(1, 1, 1, verum, inM, "sex", "m"))
	one.When(drawing(s, two, 2, "sex", "m")).Then(full)
	one.When(drawing(s, two, 2, "sex", "f")).Then(placed(2, 2, 3, verum, nil, "sex", "f"))
	// A correction moves a patient into the cohort, or out of it.
	out := one.Given(must(t, one.State(), correcting(1, "sex", "f"))...)
	out.When(drawing(s, two, 2, "sex", "m")).Then(placed(2, 2, 2, placebo, inM, "sex", "m"))
	// Caps may be raised, and lifted.
	one.Given(must(t, one.State(), capping(s, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 2}))...).
		When(drawing(s, two, 2, "sex", "m")).Then(placed(2, 2, 2, placebo, inM, "sex", "m"))
	one.Given(must(t, one.State(), capping(s))...).When(drawing(s, two, 2, "sex", "m")).Then(placed(2, 2, 2, placebo, inM, "sex", "m"))
}

// An arm at its cap is left out, and the draws go on among the others: a refusal would tell whose turn it was.
func TestAFullArmIsLeftOut(t *testing.T) {
	s := studyWith(two)
	past := begun(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo", "placebo"))
	past = append(past, must(t, randomisation.Randomisation{}, capping(s, randomisation.CohortCap{Arm: verum, Most: 1}))...)
	rest := func(d *randomisation.Draw) { d.Arms = []domain.ArmID{placebo} }
	one := start(t).Given(past...).When(drawing(s, two, 1)).Then(placed(1, 1, 1, verum, nil))
	second := one.When(drawing(s, two, 2)).Then(skipped(2, 2, 2, verum), placed(2, 2, 3, placebo, rest))
	// Only arms that can be drawn have to be in stock.
	second.When(drawing(s, []domain.ArmID{placebo}, 3)).
		Then(placed(3, 3, 4, placebo, func(d *randomisation.Draw) { d.Arms, d.InStock = []domain.ArmID{placebo}, []domain.ArmID{placebo} }))
	second.When(drawing(s, []domain.ArmID{verum}, 3)).Then(refused(3, "no_stock", noStock))
	// The place that was passed over is used once the cap is raised.
	second.Given(must(t, second.State(), capping(s))...).When(drawing(s, two, 3)).Then(placed(3, 3, 2, verum, nil))
	// When all arms are full there is nothing to draw.
	second.Given(must(t, second.State(), capping(s, randomisation.CohortCap{Arm: verum, Most: 1}, randomisation.CohortCap{Arm: placebo, Most: 1}))...).
		When(drawing(s, two, 3)).Then(refused(3, "cap_reached", "all cohorts that the patient could be drawn into are full"))
}
