package randomisation

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/chance"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Bounds of minimisation. With a P of 1, everybody who knows the counts could predict the arm: deterministic allocation
// should be avoided (ICH E9, section 2.3.2). Existing trial systems allow 0.6 to 0.95. Below 0.5 the preferred one of
// two arms would be drawn less often than the other.
const (
	minP, maxP           = 0.5, 0.99
	minWeight, maxWeight = 0.001, 1_000
)

// Minimise defines a scheme that draws patients by minimisation. It refuses study_not_found, no_protocol,
// study_not_randomised, stage_not_found, value_missing, value_too_long, scheme_exists, no_factors, invalid_ratio and
// invalid_minimisation.
func Minimise(r Randomisation, s study.Study, cmd DefineMinimisation, _ domain.Call) ([]Event, error) {
	factors, arms, err := r.newScheme(s, cmd.Study, cmd.Stage, cmd.Scheme)
	if err != nil {
		return nil, err
	}
	if len(factors) == 0 {
		return nil, refuse.Because("no_factors", "minimisation balances factors, and the protocol has none").At("scheme").Do("use a list")
	}
	shares, err := sharesOf(cmd.Ratio, arms)
	if err != nil {
		return nil, err
	}
	m := Minimisation{Shares: shares, Metric: cmd.Metric, P: cmd.P}
	known := 0
	for _, f := range factors {
		weight, given := cmd.Weights[f.ID]
		if !given {
			weight = 1
		} else {
			known++
		}
		m.Weights = append(m.Weights, weight)
	}
	if len(cmd.Weights) > known {
		return nil, invalidMinimisation("weights", "there is a weight of a factor that the protocol does not have").
			Do("use the ids of the protocol's factors")
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	from, err := chance.Parse(cmd.Seed)
	if err != nil {
		return nil, err
	}
	return []Event{MinimisationDefined{Study: cmd.Study, Scheme: cmd.Scheme, Factors: factors, SeedCommitment: from.Commitment(),
		Seed: blind.Of(from.String()), Minimisation: blind.Of(m)}}, nil
}

func (m Minimisation) validate() error {
	switch m.Metric {
	case MetricRange, MetricVariance, MetricMarginalSum:
	default:
		return invalidMinimisation("metric", "%.40q is no metric", string(m.Metric)).Do("use range, variance or marginal_sum")
	}
	if !(m.P >= minP && m.P <= maxP) { // written so that NaN is refused too
		return invalidMinimisation("p", "the probability is %v", m.P).Do(fmt.Sprintf("use %v to %v", minP, maxP))
	}
	for _, w := range m.Weights {
		if !(w >= minWeight && w <= maxWeight) {
			return invalidMinimisation("weights", "a weight is %v", w).Do(fmt.Sprintf("use %v to %v", minWeight, maxWeight))
		}
	}
	return nil
}

func invalidMinimisation(field, format string, args ...any) *refuse.Refusal {
	return refuse.Because("invalid_minimisation", format, args...).At(field)
}

// minimise draws by minimisation and fills in the record of the draw. It computes with fractions, so that equal scores
// are exactly equal and every machine draws the same arm.
func (c choice) minimise(record *Draw) error {
	m, open := c.scheme.minimisation.Open()
	text, seedOpen := c.scheme.seed.Open()
	if !open || !seedOpen {
		return ErrKeysMissing
	}
	from, err := chance.Parse(text)
	if err != nil {
		return err
	}
	// Arms at their cap are left out. Their counts do not grow any more, and would hide the imbalance of the other arms.
	var ratio []int
	var available []bool
	for i, below := range c.belowCap {
		if below {
			ratio, available = append(ratio, m.Shares[i].Ratio), append(available, c.available[i])
		}
	}
	for _, f := range c.scheme.factors {
		var counts []int
		for i, n := range c.stage.counts(c.scheme, level{f.ID, c.factors[f.ID]}) {
			if c.belowCap[i] {
				counts = append(counts, n)
			}
		}
		record.Counts = append(record.Counts, counts)
	}
	scores := imbalance(m.Metric, record.Counts, ratio, m.Weights)
	preferred := lowest(scores, available)
	probabilities := biasedCoin(m.P, ratio, preferred, available)
	record.U = from.Unit("draw", record.Number)
	chosen := pick(probabilities, record.U)
	for i, arm := range record.Arms {
		record.Scores, record.Probabilities = append(record.Scores, float(scores[i])), append(record.Probabilities, float(probabilities[i]))
		if preferred[i] {
			record.Preferred = append(record.Preferred, arm)
		}
		if i == chosen {
			record.Arm = arm
		}
	}
	return nil
}

// imbalance returns the score of each arm by the metric. counts hold, for each factor, how many patients of each arm
// have the new patient's level. They are divided by the arm's part of the ratio, so that a balanced study has equal
// numbers (Han, Enas and McEntegart 2009).
func imbalance(metric Metric, counts [][]int, ratio []int, weights []float64) []*big.Rat {
	scores := make([]*big.Rat, len(ratio))
	for arm := range ratio {
		scores[arm] = new(big.Rat)
		for factor, n := range counts {
			adjusted := make([]*big.Rat, len(ratio))
			for i := range ratio {
				with := n[i]
				if i == arm && metric != MetricMarginalSum {
					with++
				}
				adjusted[i] = big.NewRat(int64(with), int64(ratio[i]))
			}
			var score *big.Rat
			switch metric {
			case MetricRange:
				score = new(big.Rat).Sub(slices.MaxFunc(adjusted, (*big.Rat).Cmp), slices.MinFunc(adjusted, (*big.Rat).Cmp))
			case MetricVariance:
				score = variance(adjusted)
			default:
				score = adjusted[arm]
			}
			scores[arm].Add(scores[arm], new(big.Rat).Mul(fraction(weights[factor]), score))
		}
	}
	return scores
}

// variance returns the sample variance; 0 for a single number.
func variance(of []*big.Rat) *big.Rat {
	n := int64(len(of))
	if n < 2 {
		return new(big.Rat)
	}
	mean := new(big.Rat)
	for _, x := range of {
		mean.Add(mean, x)
	}
	mean.Mul(mean, big.NewRat(1, n))
	sum := new(big.Rat)
	for _, x := range of {
		d := new(big.Rat).Sub(x, mean)
		sum.Add(sum, d.Mul(d, d))
	}
	return sum.Mul(sum, big.NewRat(1, n-1))
}

// lowest marks the available arms with the lowest score.
func lowest(scores []*big.Rat, available []bool) []bool {
	var least *big.Rat
	for i, score := range scores {
		if available[i] && (least == nil || score.Cmp(least) < 0) {
			least = score
		}
	}
	marked := make([]bool, len(scores))
	for i, score := range scores {
		marked[i] = available[i] && score.Cmp(least) == 0
	}
	return marked
}

// biasedCoin returns the probability of each arm (Han, Enas and McEntegart 2009). Let R be the sum of the ratio r, and
// r_1 its smallest part. The preferred arm j is drawn with the probability 1 - (1-p) (R - r_j) / (R - r_1), which is p
// for the smallest arm and more for larger arms. The other arms share the rest by their ratio: arm i gets (1-p) r_i /
// (R - r_1). If each arm is preferred as often as the ratio says, each is also drawn as often as the ratio says. One p
// for all arms would not achieve that.
//
// If several arms are preferred, one of them is chosen by the ratio first; the result combines both steps. If all arms
// are preferred, the probabilities are the ratio itself. An arm that is not available gets 0, and the available arms
// share its probability.
func biasedCoin(p float64, ratio []int, preferred, available []bool) []*big.Rat {
	sum, amongPreferred := 0, 0
	for i, part := range ratio {
		sum += part
		if preferred[i] {
			amongPreferred += part
		}
	}
	others := sum - slices.Min(ratio)
	if others == 0 { // only one arm is left
		return []*big.Rat{big.NewRat(1, 1)}
	}
	rest := new(big.Rat).Sub(big.NewRat(1, 1), fraction(p)) // 1-p
	share := func(part int) *big.Rat { return new(big.Rat).Mul(rest, big.NewRat(int64(part), int64(others))) }
	probabilities, total := make([]*big.Rat, len(ratio)), new(big.Rat)
	for i := range ratio {
		probabilities[i] = new(big.Rat)
		if !available[i] {
			continue
		}
		for j, part := range ratio {
			if !preferred[j] {
				continue
			}
			given := share(ratio[i])
			if i == j {
				given = new(big.Rat).Sub(big.NewRat(1, 1), share(sum-part))
			}
			probabilities[i].Add(probabilities[i], given.Mul(given, big.NewRat(int64(part), int64(amongPreferred))))
		}
		total.Add(total, probabilities[i])
	}
	for _, probability := range probabilities {
		probability.Quo(probability, total)
	}
	return probabilities
}

// pick returns the number of the first arm whose probability, added to those before it, exceeds u.
func pick(probabilities []*big.Rat, u float64) int {
	at, end, last := new(big.Rat).SetFloat64(u), new(big.Rat), 0
	for i, probability := range probabilities {
		if probability.Sign() == 0 {
			continue
		}
		last = i
		if end.Add(end, probability); at.Cmp(end) < 0 {
			break
		}
	}
	return last
}

// fraction returns the number as the decimal fraction that was written: 1/10 for 0.1, which a float64 cannot hold
// exactly.
func fraction(x float64) *big.Rat {
	r, _ := new(big.Rat).SetString(strconv.FormatFloat(x, 'g', -1, 64))
	return r
}

func float(r *big.Rat) float64 {
	f, _ := r.Float64()
	return f
}
