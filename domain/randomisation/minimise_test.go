package randomisation_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/study"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestMinimise(t *testing.T) {
	s := studyWith(two, bySex, byGrade)
	cmd := randomisation.DefineMinimisation{Scheme: "one", Ratio: map[domain.ArmID]int{verum: 2, placebo: 1},
		Weights: map[string]float64{"grade": 0.5}, Metric: randomisation.MetricVariance, P: 0.8, Seed: theSeed}
	start(t).When(minimising(s, cmd)).Then(randomisation.MinimisationDefined{Study: pain, Scheme: "one",
		Factors: []randomisation.Factor{{ID: "sex", Levels: []string{"f", "m"}},
			{ID: "grade", Levels: []string{"mild", "severe", "worst"}}},
		SeedCommitment: "72cd6e8422c407fb6d098690f1130b7ded7ec2f7f5e1d30bd9d521f015363793", Seed: blind.Of(theSeed),
		Minimisation: blind.Of(randomisation.Minimisation{Shares: []randomisation.Share{{Arm: verum, Ratio: 2}, {Arm: placebo, Ratio: 1}},
			Weights: []float64{1, 0.5}, Metric: randomisation.MetricVariance, P: 0.8})})
	type define = randomisation.DefineMinimisation
	weighing := func(factor string, weight float64) func(*define) {
		return func(c *define) { c.Weights = map[string]float64{factor: weight} }
	}
	for _, x := range []struct {
		code, field string
		change      func(*define)
	}{
		{"invalid_minimisation", "metric", func(c *define) { c.Metric = "" }},
		{"invalid_minimisation", "metric", func(c *define) { c.Metric = "entropy" }},
		{"invalid_minimisation", "p", func(c *define) { c.P = 0.49 }},
		{"invalid_minimisation", "p", func(c *define) { c.P = 1 }},
		{"invalid_minimisation", "p", func(c *define) { c.P = math.NaN() }},
		{"invalid_minimisation", "weights", weighing("grade", 0)},
		{"invalid_minimisation", "weights", weighing("grade", -1)},
		{"invalid_minimisation", "weights", weighing("grade", math.Inf(1))},
		{"invalid_minimisation", "weights", weighing("grade", math.NaN())},
		{"invalid_minimisation", "weights", weighing("age", 1)},
		{"invalid_ratio", "ratio", func(c *define) { c.Ratio = map[domain.ArmID]int{verum: 1} }},
	} {
		changed := cmd
		x.change(&changed)
		if r := start(t).When(minimising(s, changed)).ThenRefused(x.code); r.Field != x.field {
			t.Errorf("the refusal names the field %s, want %s", r.Field, x.field)
		}
	}
	start(t).When(minimising(studyWith(two), cmd)).ThenRefused("no_factors")
	cmd.Seed = ""
	if _, refused := refuse.As(errorOf(minimising(s, cmd))); refused || errorOf(minimising(s, cmd)) == nil {
		t.Error("a missing seed is not a failure")
	}
}

func errorOf(decide decision) error {
	_, err := decide(randomisation.Randomisation{})
	return err
}

// minimised returns the events of a study with minimisation that has assigned the patients to their arms.
func minimised(t testing.TB, s study.Study, cmd randomisation.DefineMinimisation, patients []assigned) []randomisation.Event {
	t.Helper()
	cmd.Scheme, cmd.Seed = "one", theSeed
	past := activated(t, s, minimising(s, cmd))
	for i, p := range patients {
		past = append(past, randomisation.PatientRandomised{Study: pain, Site: "A", Patient: patient(1000 + i), Scheme: "one", Number: i + 1,
			Factors: p.factors, Arm: blind.Of(p.arm), Draw: blind.Of(randomisation.Draw{})})
	}
	return past
}

type assigned struct {
	arm     domain.ArmID
	factors map[string]string
}

// The example of Pocock, Clinical Trials: A Practical Approach (1983), chapter 5: 80 patients with advanced breast
// cancer, 40 in each arm, with the factors performance status, age, disease-free interval and dominant metastatic
// lesion. The next patient is ambulatory, under 50, with an interval of two years or more and a visceral lesion. The
// sums of the four levels are 30+18+9+19 = 76 for A and 31+17+8+21 = 77 for B, so that A is preferred. By the range
// both are equal: with the patient in A, the levels differ by 0+2+2+1, with the patient in B, by 2+0+0+3.
func TestPocock1983(t *testing.T) {
	const a, b = domain.ArmID("A"), domain.ArmID("B")
	type cells map[string][2]int // how many patients in A and in B have the level
	table := []struct {
		factor string
		levels []string
		counts cells
	}{
		{"status", []string{"ambulatory", "non-ambulatory"}, cells{"ambulatory": {30, 31}, "non-ambulatory": {10, 9}}},
		{"age", []string{"<50", ">=50"}, cells{"<50": {18, 17}, ">=50": {22, 23}}},
		{"interval", []string{"<2", ">=2"}, cells{"<2": {31, 32}, ">=2": {9, 8}}},
		{"lesion", []string{"visceral", "osseous", "soft tissue"}, cells{"visceral": {19, 21}, "osseous": {8, 7}, "soft tissue": {13, 12}}},
	}
	patients := make([]assigned, 80)
	var factors []study.Factor
	for i := range patients {
		patients[i] = assigned{[]domain.ArmID{a, b}[i%2], map[string]string{}}
	}
	for _, row := range table {
		factors = append(factors, study.Factor{ID: row.factor, Levels: row.levels})
		next := [2]int{}
		for _, level := range row.levels {
			for arm, n := range row.counts[level] {
				for range n {
					patients[2*next[arm]+arm].factors[row.factor] = level
					next[arm]++
				}
			}
		}
	}
	s := studyWith([]domain.ArmID{a, b}, factors...)
	for _, x := range []struct {
		metric    randomisation.Metric
		scores    []float64
		preferred []domain.ArmID
		likely    []float64
	}{
		{randomisation.MetricMarginalSum, []float64{76, 77}, []domain.ArmID{a}, []float64{0.75, 0.25}},
		{randomisation.MetricRange, []float64{5, 5}, []domain.ArmID{a, b}, []float64{0.5, 0.5}},
		// Half the squares of the differences: 0+4+4+1 and 4+0+0+9.
		{randomisation.MetricVariance, []float64{4.5, 6.5}, []domain.ArmID{a}, []float64{0.75, 0.25}},
	} {
		t.Run(string(x.metric), func(t *testing.T) {
			past := minimised(t, s, randomisation.DefineMinimisation{Ratio: map[domain.ArmID]int{a: 1, b: 1}, Metric: x.metric, P: 0.75}, patients)
			_, draw := theDraw(t, must(t, randomisation.Decider.Fold(past...), drawing(s, nil, 1,
				"status", "ambulatory", "age", "<50", "interval", ">=2", "lesion", "visceral")))
			if diff := cmp.Diff([][]int{{30, 31}, {18, 17}, {9, 8}, {19, 21}}, draw.Counts); diff != "" {
				t.Errorf("the counts (-want +got):\n%s", diff)
			}
			if !slices.Equal(draw.Scores, x.scores) || !slices.Equal(draw.Preferred, x.preferred) || !slices.Equal(draw.Probabilities, x.likely) {
				t.Errorf("scores %v, preferred %v, probabilities %v", draw.Scores, draw.Preferred, draw.Probabilities)
			}
		})
	}
}

// Three arms and two factors, the second with twice the weight, computed by hand from the definitions of Pocock and
// Simon, Sequential Treatment Assignment with Balancing for Prognostic Factors in the Controlled Clinical Trial,
// Biometrics 31 (1975). The counts of the new patient's levels are (2, 1, 0) and (1, 2, 1). With the patient in the
// first arm they are (3, 1, 0) and (2, 2, 1): ranges 3 and 1, variances 7/3 and 1/3. In the second arm: (2, 2, 0) and
// (1, 3, 1), ranges 2 and 2, variances 4/3 and 4/3. In the third arm: (2, 1, 1) and (1, 2, 2), ranges 1 and 1,
// variances 1/3 and 1/3.
func TestPocockAndSimon1975(t *testing.T) {
	s := studyWith(three, bySex, byGrade)
	var patients []assigned
	add := func(n int, arm domain.ArmID, levels ...string) {
		patients = append(patients, slices.Repeat([]assigned{{arm, factorsOf(levels...)}}, n)...)
	}
	add(2, verum, "sex", "m", "grade", "worst")
	add(1, verum, "sex", "f", "grade", "mild")
	add(1, placebo, "sex", "m", "grade", "mild")
	add(1, placebo, "sex", "f", "grade", "mild")
	add(1, comparator, "sex", "f", "grade", "mild")
	equal := map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 1}
	for metric, want := range map[randomisation.Metric][]float64{
		randomisation.MetricRange:       {3 + 2*1, 2 + 2*2, 1 + 2*1},
		randomisation.MetricVariance:    {3, 4, 1}, // 7/3 + 2/3, 4/3 + 8/3, 1/3 + 2/3
		randomisation.MetricMarginalSum: {2 + 2*1, 1 + 2*2, 0 + 2*1},
	} {
		past := minimised(t, s, randomisation.DefineMinimisation{Ratio: equal, Metric: metric, P: 0.8,
			Weights: map[string]float64{"grade": 2}}, patients)
		_, draw := theDraw(t, must(t, randomisation.Decider.Fold(past...), drawing(s, nil, 1, "sex", "m", "grade", "mild")))
		if !slices.Equal(draw.Scores, want) || !slices.Equal(draw.Preferred, []domain.ArmID{comparator}) ||
			!slices.Equal(draw.Probabilities, []float64{0.1, 0.1, 0.8}) {
			t.Errorf("%s: scores %v, preferred %v, probabilities %v", metric, draw.Scores, draw.Preferred, draw.Probabilities)
		}
	}
}

// Counts are divided by the ratio: with the ratio 1:2, arms with one and two patients are balanced.
func TestCountsAreAdjustedToTheRatio(t *testing.T) {
	s := studyWith(two, bySex)
	male := factorsOf("sex", "m")
	patients := []assigned{{verum, male}, {placebo, male}, {placebo, male}}
	for metric, want := range map[randomisation.Metric][]float64{
		randomisation.MetricRange:       {1, 0.5}, // 2/1 and 2/2, or 1/1 and 3/2
		randomisation.MetricVariance:    {0.5, 0.125},
		randomisation.MetricMarginalSum: {1, 1},
	} {
		past := minimised(t, s, randomisation.DefineMinimisation{Ratio: map[domain.ArmID]int{verum: 1, placebo: 2},
			Metric: metric, P: 0.8}, patients)
		_, draw := theDraw(t, must(t, randomisation.Decider.Fold(past...), drawing(s, nil, 1, "sex", "m")))
		if !slices.Equal(draw.Scores, want) {
			t.Errorf("%s: scores %v", metric, draw.Scores)
		}
	}
}

// A float64 cannot hold weights such as 0.1 exactly. Scores that are equal by the written weights are equal
// nevertheless.
func TestTiesAreExact(t *testing.T) {
	levels := []string{"x", "y"}
	factors := []study.Factor{{ID: "a", Levels: levels}, {ID: "b", Levels: levels}, {ID: "c", Levels: levels}}
	s := studyWith(two, factors...)
	// The scores are 0.1 + 0.2 and 0.3.
	patients := []assigned{{verum, factorsOf("a", "x", "b", "x", "c", "y")}, {placebo, factorsOf("a", "y", "b", "y", "c", "x")}}
	past := minimised(t, s, randomisation.DefineMinimisation{Ratio: equally, Metric: randomisation.MetricMarginalSum, P: 0.8,
		Weights: map[string]float64{"a": 0.1, "b": 0.2, "c": 0.3}}, patients)
	_, draw := theDraw(t, must(t, randomisation.Decider.Fold(past...), drawing(s, nil, 1, "a", "x", "b", "x", "c", "x")))
	if !slices.Equal(draw.Scores, []float64{0.3, 0.3}) || !slices.Equal(draw.Preferred, two) {
		t.Errorf("scores %v, preferred %v", draw.Scores, draw.Preferred)
	}
}

// The probabilities of Han, Enas and McEntegart, Randomization by minimization for unbalanced treatment allocation,
// Statistics in Medicine 28 (2009). The values are those of the tests of RANDI2, a public randomisation system.
func TestHan2009(t *testing.T) {
	for _, x := range []struct {
		ratio []int
		p     float64
		// likely has the probabilities of all arms, for each arm that may be preferred.
		likely [][]float64
	}{
		{[]int{10, 20, 30}, 0.7, [][]float64{{0.7, 0.12, 0.18}, {0.06, 0.76, 0.18}, {0.06, 0.12, 0.82}}},
		{[]int{10, 20, 30}, 0.8, [][]float64{{0.8, 0.08, 0.12}, {0.04, 0.84, 0.12}, {0.04, 0.08, 0.88}}},
		{[]int{10, 20, 30}, 0.6, [][]float64{{0.6, 0.16, 0.24}, {0.08, 0.68, 0.24}, {0.08, 0.16, 0.76}}},
		{[]int{10, 10, 10}, 0.6, [][]float64{{0.6, 0.2, 0.2}, {0.2, 0.6, 0.2}, {0.2, 0.2, 0.6}}},
		{[]int{1, 2, 2, 4}, 0.8, [][]float64{{0.8, 0.05, 0.05, 0.1}, {0.025, 0.825, 0.05, 0.1}, {0.025, 0.05, 0.825, 0.1},
			{0.025, 0.05, 0.05, 0.875}}},
		// The order of the arms does not matter.
		{[]int{3, 1, 2}, 0.7, [][]float64{{0.82, 0.06, 0.12}, {0.18, 0.7, 0.12}, {0.18, 0.06, 0.76}}},
	} {
		var arms []domain.ArmID
		ratio := map[domain.ArmID]int{}
		for i, part := range x.ratio {
			arms = append(arms, domain.ArmID(fmt.Sprint("arm", i)))
			ratio[arms[i]] = part
		}
		s := studyWith(arms, bySex)
		for preferred, want := range x.likely {
			var patients []assigned
			for i, part := range x.ratio {
				n := 2 * part
				if i == preferred { // by having fewer patients than the ratio says
					n = part
				}
				patients = append(patients, slices.Repeat([]assigned{{arms[i], factorsOf("sex", "f")}}, n)...)
			}
			past := minimised(t, s, randomisation.DefineMinimisation{Ratio: ratio, Metric: randomisation.MetricMarginalSum, P: x.p}, patients)
			_, draw := theDraw(t, must(t, randomisation.Decider.Fold(past...), drawing(s, nil, 1, "sex", "f")))
			if !slices.Equal(draw.Preferred, arms[preferred:preferred+1]) || !slices.Equal(draw.Probabilities, want) {
				t.Errorf("%v with p %v: preferred %v, probabilities %v", x.ratio, x.p, draw.Preferred, draw.Probabilities)
			}
		}
		// Before the first draw all arms are preferred, and the probabilities are the ratio.
		past := minimised(t, s, randomisation.DefineMinimisation{Ratio: ratio, Metric: randomisation.MetricMarginalSum, P: x.p}, nil)
		_, draw := theDraw(t, must(t, randomisation.Decider.Fold(past...), drawing(s, nil, 1, "sex", "f")))
		sum := 0
		for _, part := range x.ratio {
			sum += part
		}
		for i, part := range x.ratio {
			if want, _ := big.NewRat(int64(part), int64(sum)).Float64(); draw.Probabilities[i] != want {
				t.Errorf("%v with p %v: the first probabilities are %v", x.ratio, x.p, draw.Probabilities)
			}
		}
	}
}

// In the long run the arms are drawn in the ratio, at every level of every factor, with every metric and probability.
// This is the purpose of Han's probabilities. The levels of the patients follow a fixed uneven pattern.
func TestBiasedCoinKeepsTheRatio(t *testing.T) {
	const draws = 1_200
	for _, ratio := range [][]int{{1, 1}, {1, 2}, {1, 2, 3}} {
		for _, p := range []float64{0.7, 0.8, 0.9} {
			for _, metric := range metrics {
				t.Run(fmt.Sprintf("%v %v %s", ratio, p, metric), func(t *testing.T) {
					arms, parts, sum := three[:len(ratio)], map[domain.ArmID]int{}, 0
					for i, part := range ratio {
						parts[arms[i]] = part
						sum += part
					}
					s := studyWith(arms, bySex, byGrade)
					state := randomisation.Decider.Fold(minimised(t, s, randomisation.DefineMinimisation{Ratio: parts, Metric: metric, P: p}, nil)...)
					count := map[string]map[domain.ArmID]int{}
					for i := range draws {
						sex, grade := bySex.Levels[(i*i/3)%2], byGrade.Levels[(i*7/4+i/5)%3]
						events := must(t, state, drawing(s, nil, i, "sex", sex, "grade", grade))
						_, draw := theDraw(t, events)
						state = randomisation.Decider.Evolve(state, events[0])
						for _, cohort := range []string{"all", sex, grade} {
							if count[cohort] == nil {
								count[cohort] = map[domain.ArmID]int{}
							}
							count[cohort][draw.Arm]++
						}
					}
					for cohort, of := range count {
						n := 0
						for _, k := range of {
							n += k
						}
						for _, arm := range arms {
							// Without balancing, deviations of 2% among all patients and of 4% at a level would be common.
							want := float64(n*parts[arm]) / float64(sum)
							if off := math.Abs(float64(of[arm]) - want); off > 0.02*float64(n)+4 {
								t.Errorf("of %d patients (%s), %d are in %s, not %.0f", n, cohort, of[arm], arm, want)
							}
						}
					}
				})
			}
		}
	}
}

// If not all arms are available, the available arms share the probability of the others, and the arm with the lowest
// score among them is preferred.
func TestMinimisationAmongTheArmsInStock(t *testing.T) {
	s := studyThatForces(three, bySex)
	male := factorsOf("sex", "m")
	patients := []assigned{{verum, male}, {verum, male}, {placebo, male}}
	past := minimised(t, s, randomisation.DefineMinimisation{Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 1},
		Metric: randomisation.MetricMarginalSum, P: 0.8}, patients)
	state := randomisation.Decider.Fold(past...)
	for _, x := range []struct {
		inStock, preferred []domain.ArmID
		likely             []float64
		forced             bool
	}{
		{nil, []domain.ArmID{comparator}, []float64{0.1, 0.1, 0.8}, false},
		{three, []domain.ArmID{comparator}, []float64{0.1, 0.1, 0.8}, false},
		{two, []domain.ArmID{placebo}, []float64{1. / 9, 8. / 9, 0}, true},
		{[]domain.ArmID{verum}, []domain.ArmID{verum}, []float64{1, 0, 0}, true},
	} {
		_, draw := theDraw(t, must(t, state, drawing(s, x.inStock, 1, "sex", "m")))
		likely := cmp.Equal(draw.Probabilities, x.likely, cmpopts.EquateApprox(0, 1e-15))
		if !slices.Equal(draw.Preferred, x.preferred) || !likely || draw.Forced != x.forced {
			t.Errorf("in stock %v: preferred %v, probabilities %v, forced %v", x.inStock, draw.Preferred, draw.Probabilities, draw.Forced)
		}
		if len(x.inStock) == 1 && draw.Arm != verum {
			t.Errorf("drawn into %s, which is not in stock", draw.Arm)
		}
	}
	// An arm at its cap is not compared with the others.
	capped := randomisation.Decider.Fold(append(past, must(t, state, capping(s, randomisation.CohortCap{Arm: comparator, Most: 0}))...)...)
	_, draw := theDraw(t, must(t, capped, drawing(s, two, 1, "sex", "m")))
	want := randomisation.Draw{Method: randomisation.MethodMinimisation, Scheme: "one", Number: 4, Stratum: 1, Arms: two, InStock: two,
		Counts: [][]int{{2, 1}}, Scores: []float64{2, 1}, Preferred: []domain.ArmID{placebo}, Probabilities: []float64{0.2, 0.8},
		U: draw.U, Arm: draw.Arm}
	if diff := cmp.Diff(want, draw); diff != "" {
		t.Errorf("the draw differs (-want +got):\n%s", diff)
	}
	last := randomisation.Decider.Fold(append(past, must(t, state, capping(s, randomisation.CohortCap{Arm: comparator, Most: 0},
		randomisation.CohortCap{Arm: placebo, Most: 1}))...)...)
	_, draw = theDraw(t, must(t, last, drawing(s, []domain.ArmID{verum}, 1, "sex", "m")))
	if draw.Arm != verum || !slices.Equal(draw.Probabilities, []float64{1}) {
		t.Errorf("the last arm below its cap is drawn with the probabilities %v", draw.Probabilities)
	}
}

var metrics = []randomisation.Metric{randomisation.MetricRange, randomisation.MetricVariance, randomisation.MetricMarginalSum}

// With any counts: only arms in stock have a probability above 0, the probabilities sum to 1, the draw's number picks
// the arm, and no arm in stock has a lower score than the preferred ones.
func TestProbabilitiesSumToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := studyThatForces(three, bySex, byGrade)
		ratio := map[domain.ArmID]int{}
		for _, arm := range three {
			ratio[arm] = rapid.IntRange(1, 100).Draw(t, string(arm))
		}
		cmd := randomisation.DefineMinimisation{Scheme: "one", Ratio: ratio, P: rapid.Float64Range(0.5, 0.99).Draw(t, "p"),
			Seed: fmt.Sprintf("%064x", rapid.Uint64().Draw(t, "seed")), Metric: rapid.SampledFrom(metrics).Draw(t, "metric")}
		state := randomisation.Decider.Fold(activated(t, s, minimising(s, cmd))...)
		for i := range rapid.IntRange(1, 20).Draw(t, "patients") {
			inStock := rapid.SliceOfNDistinct(rapid.SampledFrom(three), 1, 3, rapid.ID).Draw(t, "in stock")
			events := must(t, state, drawing(s, inStock, i, "sex", rapid.SampledFrom(bySex.Levels).Draw(t, "sex"),
				"grade", rapid.SampledFrom(byGrade.Levels).Draw(t, "grade")))
			_, draw := theDraw(t, events)
			sum, picked := 0., domain.ArmID("")
			for j, p := range draw.Probabilities {
				if p < 0 || (p > 0) != slices.Contains(inStock, draw.Arms[j]) {
					t.Fatalf("in stock %v, and probabilities %v", inStock, draw.Probabilities)
				}
				if sum += p; picked == "" && draw.U < sum {
					picked = draw.Arms[j]
				}
			}
			if math.Abs(sum-1) > 1e-12 || picked != draw.Arm || draw.U < 0 || draw.U >= 1 {
				t.Fatalf("probabilities %v, number %v, drawn %s of %v", draw.Probabilities, draw.U, draw.Arm, draw.Arms)
			}
			for _, arm := range draw.Preferred {
				j := slices.Index(draw.Arms, arm)
				for k, score := range draw.Scores {
					if slices.Contains(inStock, draw.Arms[k]) && score < draw.Scores[j] {
						t.Fatalf("scores %v, preferred %v", draw.Scores, draw.Preferred)
					}
				}
			}
			state = randomisation.Decider.Evolve(state, events[0])
		}
	})
}
