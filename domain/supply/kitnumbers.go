package supply

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// maxFalseAlarms bounds the share of randomly assigned numbers that are refused.
const maxFalseAlarms = 1.0 / 2000

// mustNotRevealKinds refuses kit numbers that reveal what the kits hold, among all kits of a label group: others look different, and
// those whose label says what they hold need no secret (code kit_numbers_reveal_arm).
func mustNotRevealKinds(numbers []KitNumber, contents KitContents, in study.Study) error {
	groups := map[string][]KitNumber{}
	for _, n := range numbers {
		if group, blinded := contents[n].lookalikes(in); blinded {
			groups[group] = append(groups[group], n)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		if err := mustNotRevealArms(groups[group], contents); err != nil {
			return err
		}
	}
	return nil
}

// lookalikes returns the label group of a kit, and whether its label keeps what the kit holds.
func (c Content) lookalikes(in study.Study) (group string, blinded bool) {
	return lookalikes(in, study.Kind(c.Type))
}

// lookalikes returns the label group of kits of a type, and whether their labels keep what they hold. Kits without a type all look alike.
func lookalikes(in study.Study, kind study.Kind) (group string, blinded bool) {
	is, _ := in.TypeOf(string(kind))
	return is.LabelGroup, !is.Open
}

// marksMustNotRevealArms refuses kits with something that people see and that is not on kits of every arm among those that look alike:
// it would tell the arms of the others.
func marksMustNotRevealArms(contents KitContents, in study.Study, code, what string, mark func(KitNumber) string) error {
	type seen struct{ group, mark string }
	arms, marked := map[string]map[domain.ArmID]bool{}, map[seen]map[domain.ArmID]bool{}
	for n, c := range contents {
		group, blinded := c.lookalikes(in)
		if !blinded {
			continue
		}
		as := seen{group, mark(n)}
		arms[group], marked[as] = with(arms[group], c.Arm, true), with(marked[as], c.Arm, true)
	}
	for as, some := range marked {
		if len(some) < len(arms[as.group]) {
			return refuse.Because(code, "%s is not on kits of every arm", what).At("csv").
				Do("give kits of every arm the same, or register the delivery in parts that have all arms")
		}
	}
	return nil
}

// mustNotRevealArms refuses kit numbers that reveal the arms: because the numbers of an arm have another form, because
// kits of one arm are next to each other when the kits are sorted by a digit of their numbers, or because the sequence
// of the arms is periodic. The runs test of Wald and Wolfowitz (1940), for each arm against the others, finds sequences
// with fewer runs than chance would produce. More runs than by chance are accepted: kits numbered in permuted blocks
// have them.
func mustNotRevealArms(numbers []KitNumber, contents KitContents) error {
	refused := func(how string) error {
		return refuse.Because("kit_numbers_reveal_arm", "the kit numbers tell the arms: %s", how).At("csv").
			Do("number the kits in random order over all arms, all in the same form")
	}
	count := map[study.Kind]int{}
	for _, n := range numbers {
		count[contents[n].kind()]++
	}
	if len(count) < 2 {
		return nil
	}
	form := numbers[0].form()
	if slices.ContainsFunc(numbers, func(n KitNumber) bool { return n.form() != form }) {
		return refused("they do not all have the same form")
	}
	orders := sortedByEachDigit(numbers)
	tests := len(orders) * len(count)
	if len(count) == 2 {
		tests = len(orders) // the runs of one arm determine those of the other
	}
	for _, order := range orders {
		for arm, n := range count {
			runs := 1
			for i := 1; i < len(order); i++ {
				if (contents[order[i]].kind() == arm) != (contents[order[i-1]].kind() == arm) {
					runs++
				}
			}
			if chanceOfRuns(runs, n, len(order)-n) < maxFalseAlarms/2/float64(tests) {
				return refused("in the order of their numbers, or of one digit of them, kits of one arm lie together")
			}
		}
	}
	arms := make([]domain.ArmID, len(numbers))
	for i, n := range numbers {
		arms[i] = contents[n].kind()
	}
	if p, repeats := period(arms); repeats && chanceOfPeriod(p, count) < maxFalseAlarms/2 {
		return refused("in the order of their numbers, the arms repeat themselves")
	}
	return nil
}

// form returns the number with every digit replaced by 9. Letters stay, because a letter may stand for an arm.
func (n KitNumber) form() string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '9'
		}
		return r
	}, string(n))
}

// sortedByEachDigit returns the numbers, which have one form, once for each digit that is not the same in all of them:
// sorted by this digit, and otherwise in ascending order. So a last digit that stands for the arm is found like a
// first.
func sortedByEachDigit(numbers []KitNumber) [][]KitNumber {
	var all [][]KitNumber
	for i := range len(numbers[0]) {
		if slices.ContainsFunc(numbers, func(n KitNumber) bool { return n[i] != numbers[0][i] }) {
			all = append(all, slices.SortedStableFunc(slices.Values(numbers), func(a, b KitNumber) int { return cmp.Compare(a[i], b[i]) }))
		}
	}
	return all
}

// chanceOfRuns returns the probability of so few runs, or fewer, when kits of an arm and other kits are in random
// order. It is exact, because the approximation by the normal distribution is poor for an arm with few kits.
func chanceOfRuns(runs, arm, others int) float64 {
	chance, all := 0.0, logChoose(arm+others, arm)
	of := func(runsOfArm, runsOfOthers int) float64 {
		return math.Exp(logChoose(arm-1, runsOfArm-1) + logChoose(others-1, runsOfOthers-1) - all)
	}
	for r := 2; r <= runs; r++ {
		chance += of(r/2, (r+1)/2) + of((r+1)/2, r/2) // the first run is of the others, or of the arm
	}
	return chance
}

// period returns the number of kits after which the sequence of the arms repeats, if it repeats at least once.
func period(arms []domain.ArmID) (kits int, repeats bool) {
	for p := 1; p <= len(arms)/2; p++ {
		if slices.Equal(arms[p:], arms[:len(arms)-p]) {
			return p, true
		}
	}
	return 0, false
}

// chanceOfPeriod bounds the probability that a random sequence repeats after so many kits, or fewer. Such a sequence is
// determined by its first kits.
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
