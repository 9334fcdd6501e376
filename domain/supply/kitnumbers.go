package supply

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/refuse"
)

// falseAlarms bounds how often numbers that were dealt out at random are refused.
const falseAlarms = 1.0 / 2000

// tellNothing refuses kit numbers that give their arms away: by their form, because kits of one arm lie side by side when
// all are put in order by any of their digits, or because the order of the arms repeats itself. Fewer runs of arms than
// chance would make are found by the runs test of Wald and Wolfowitz (1940), for each arm against the others. More runs
// than chance would make are no fault: kits numbered in permuted blocks have them.
func tellNothing(numbers []KitNumber, contents KitContents) error {
	reveals := func(how string) error {
		return refuse.Because("kit_numbers_reveal_arm", "the kit numbers tell the arms: %s", how).At("csv").
			Do("number the kits in random order over all arms, all in the same form")
	}
	count := map[domain.ArmID]int{}
	for _, n := range numbers {
		count[contents[n].Arm]++
	}
	if len(count) < 2 {
		return nil
	}
	form := numbers[0].form()
	if slices.ContainsFunc(numbers, func(n KitNumber) bool { return n.form() != form }) {
		return reveals("they do not all have the same form")
	}
	ways := orders(numbers)
	tests := len(ways) * len(count)
	if len(count) == 2 {
		tests = len(ways) // what one arm's runs say, the other's say too
	}
	for _, order := range ways {
		for arm, n := range count {
			runs := 1
			for i := 1; i < len(order); i++ {
				if (contents[order[i]].Arm == arm) != (contents[order[i-1]].Arm == arm) {
					runs++
				}
			}
			if chanceOfRuns(runs, n, len(order)-n) < falseAlarms/2/float64(tests) {
				return reveals("in the order of their numbers, or of one digit of them, kits of one arm lie together")
			}
		}
	}
	arms := make([]domain.ArmID, len(numbers))
	for i, n := range numbers {
		arms[i] = contents[n].Arm
	}
	if p, repeats := period(arms); repeats && chanceOfPeriod(p, count) < falseAlarms/2 {
		return reveals("in the order of their numbers, the arms repeat themselves")
	}
	return nil
}

// form is the number with every digit alike. Letters stay: one that differs may stand for an arm.
func (n KitNumber) form() string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '9'
		}
		return r
	}, string(n))
}

// orders puts numbers of one form in order by each digit that differs, those with the same digit in ascending order: so
// that a last digit that stands for the arm shows as a first one does.
func orders(numbers []KitNumber) [][]KitNumber {
	var all [][]KitNumber
	for i := range len(numbers[0]) {
		if slices.ContainsFunc(numbers, func(n KitNumber) bool { return n[i] != numbers[0][i] }) {
			all = append(all, slices.SortedStableFunc(slices.Values(numbers), func(a, b KitNumber) int { return cmp.Compare(a[i], b[i]) }))
		}
	}
	return all
}

// chanceOfRuns is how likely so few runs, or fewer, are when kits of an arm and others lie in random order. It is exact,
// because the normal distribution is far off where an arm has few kits.
func chanceOfRuns(runs, arm, others int) float64 {
	chance, all := 0.0, logChoose(arm+others, arm)
	of := func(runsOfArm, runsOfOthers int) float64 {
		return math.Exp(logChoose(arm-1, runsOfArm-1) + logChoose(others-1, runsOfOthers-1) - all)
	}
	for r := 2; r <= runs; r++ {
		chance += of(r/2, (r+1)/2) + of((r+1)/2, r/2) // either may come first
	}
	return chance
}

// period is after how many kits the order of the arms repeats itself, where it does so at least once.
func period(arms []domain.ArmID) (kits int, repeats bool) {
	for p := 1; p <= len(arms)/2; p++ {
		if slices.Equal(arms[p:], arms[:len(arms)-p]) {
			return p, true
		}
	}
	return 0, false
}

// chanceOfPeriod bounds how likely a random order repeats itself after so many kits, or fewer: it is told by its beginning.
func chanceOfPeriod(period int, count map[domain.ArmID]int) float64 {
	n, logOrders := 0, 0.0
	for _, of := range count {
		n += of
		logOrders += logChoose(n, of)
	}
	arms := float64(len(count))
	// arms + arms^2 + ... + arms^period
	return math.Exp(float64(period)*math.Log(arms) + math.Log(arms/(arms-1)) - logOrders)
}

func logChoose(n, k int) float64 {
	if k < 0 || k > n {
		return math.Inf(-1)
	}
	whole, _ := math.Lgamma(float64(n + 1))
	part, _ := math.Lgamma(float64(k + 1))
	rest, _ := math.Lgamma(float64(n - k + 1))
	return whole - part - rest
}
