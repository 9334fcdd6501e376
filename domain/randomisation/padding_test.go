package randomisation_test

import (
	"fmt"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
)

// TestR27_SealedDrawsHaveOneSize compares what is sealed about a draw in the smallest protocol with the largest one that a
// protocol may have: twenty arms with names of 50 characters, and ten factors.
func TestR27_SealedDrawsHaveOneSize(t *testing.T) {
	long := func(i int) domain.ArmID { return domain.ArmID(fmt.Sprintf("%050d", i)) }
	var arms []domain.ArmID
	var shares []randomisation.Share
	var caps randomisation.ArmCaps
	numbers := make([]float64, 20)
	counts := make([][]int, 10)
	for i := range 20 {
		arms, shares = append(arms, long(i)), append(shares, randomisation.Share{Arm: long(i), Ratio: 1000})
		caps, numbers[i] = append(caps, randomisation.CohortCap{Arm: long(i), Most: 1_000_000}), 0.123456789012345678
	}
	for i := range counts {
		for range 20 {
			counts[i] = append(counts[i], 99_999)
		}
	}
	scheme := strings.Repeat("s", 50)
	scenario.SealedAlike(t, map[string][2]blind.Sealer{
		"arms": {blind.Of(domain.ArmID("a")), blind.Of(long(1))},
		"draws": {blind.Of(randomisation.Draw{}), blind.Of(randomisation.Draw{Method: randomisation.MethodMinimisation, Scheme: scheme,
			Number:  1_000_000,
			Stratum: 9999, Arms: arms, InStock: arms, Forced: true, Row: 40_000, Counts: counts, Scores: numbers, Preferred: arms,
			Probabilities: numbers, U: 0.123456789012345678, Arm: long(1)})},
		"skipped entries": {blind.Of(randomisation.Skipped{}), blind.Of(randomisation.Skipped{Scheme: scheme, Row: 40_000, Arm: long(1)})},
		"minimisations": {blind.Of(randomisation.Minimisation{}), blind.Of(randomisation.Minimisation{Shares: shares, Weights: numbers[:10],
			Metric: randomisation.MetricMarginalSum, P: 0.99})},
		"plans": {blind.Of(randomisation.Plan{}), blind.Of(randomisation.Plan{Shares: shares, BlockSizes: make([]int, 50), PerStratum: 40_000})},
		"caps":  {blind.Of(randomisation.ArmCaps{}), blind.Of(caps)},
		"parts of a list": {blind.Of(randomisation.ListPart{Rows: []randomisation.Row{{0, 0}}}),
			blind.Of(randomisation.ListPart{SHA256: strings.Repeat("0", 64), Arms: arms, Rows: []randomisation.Row{{9999, 19}}})},
	})
}
