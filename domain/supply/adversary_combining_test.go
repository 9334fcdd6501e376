package supply_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"casebook/domain/supply"
)

// balance is what an adversary knows of a shipment. With 1 for a kit of one arm and -1 for one of the other, what came less
// what was used has a sum of a known size. An empty site got as many kits of each arm: the sum is 0. A shipment that raised the
// stock was made because less than the trigger would be left of one arm, and brought this arm up to the target: all kits
// beyond the targets are of the other arm.
type balance struct {
	came, used []int
	size       int
}

// balances are those of all shipments of a course that tell something. The variables are the arms of the patients, who come
// first in the order of observed.kits, and of the kits that no patient got.
func balances(c course, o observed, target int) (all []balance, variables int) {
	of := map[supply.KitNumber]int{}
	for i, k := range o.kits {
		for _, one := range k.all() {
			of[one.kit] = i
		}
	}
	variables = len(o.kits)
	variable := func(n supply.KitNumber) int {
		if _, known := of[n]; !known {
			of[n] = variables
			variables++
		}
		return of[n]
	}
	sites := map[supply.LocationID]balance{}
	use := func(at supply.LocationID, n supply.KitNumber) {
		b := sites[at]
		b.used = append(b.used, variable(n))
		sites[at] = b
	}
	for _, seen := range c.seen {
		switch e := seen.event.(type) {
		case supply.ShipmentCreated:
			b := sites[e.To]
			empty := len(b.came) == len(b.used)
			for _, n := range e.Kits {
				b.came = append(b.came, variable(n))
			}
			sites[e.To] = b
			if empty || e.Raises > 0 {
				all = append(all, balance{slices.Clone(b.came), slices.Clone(b.used), max(0, len(b.came)-len(b.used)-2*target)})
			}
		case supply.KitLost:
			use(e.Location, e.Kit)
		case supply.KitAllocated:
			use(e.Location, e.Kit)
		}
	}
	return all, variables
}

// misfit says how badly a sum fits.
func (b balance) misfit(sum int) int {
	off := max(sum, -sum) - b.size
	return off * off
}

// combining is an adversary who takes all pairs and all shipments together: it draws assignments of the arms that fit what was
// seen, the better the likelier, and says of two patients what holds in most of them. It returns how many pairs more it is
// right about than wrong, and how many pairs there are.
func combining(c course, target int, seed uint64) (gain, pairs int) {
	const sweeps, rejected = 600, 200
	o, random := observe(c), rand.New(rand.NewPCG(seed, 8))
	all, variables := balances(c, o, target)
	type term struct{ balance, weight int }
	terms, off := make([][]term, variables), make([]int, len(all))
	for i, b := range all {
		weights := map[int]int{}
		for _, v := range b.came {
			weights[v]++
		}
		for _, v := range b.used {
			weights[v]--
		}
		for v := range variables {
			if w := weights[v]; w != 0 {
				terms[v] = append(terms[v], term{i, w})
			}
		}
	}
	arms := make([]int, variables)
	for v := range arms {
		arms[v] = 2*random.IntN(2) - 1
		for _, t := range terms[v] {
			off[t.balance] += t.weight * arms[v]
		}
	}
	same := make([]int, len(o.kits)*len(o.kits))
	for sweep := range sweeps {
		sharpness := 0.5 * min(1, float64(sweep+1)/rejected)
		for v := range arms {
			worse := 0
			for _, t := range terms[v] {
				worse += all[t.balance].misfit(off[t.balance]-2*t.weight*arms[v]) - all[t.balance].misfit(off[t.balance])
			}
			if random.Float64() < 1/(1+math.Exp(sharpness*float64(worse))) {
				for _, t := range terms[v] {
					off[t.balance] -= 2 * t.weight * arms[v]
				}
				arms[v] = -arms[v]
			}
		}
		if sweep < rejected {
			continue
		}
		for i := range o.kits {
			for j := range i {
				same[i*len(o.kits)+j] += arms[i] * arms[j]
			}
		}
	}
	for i := range o.kits {
		for j := range i {
			pairs++
			if n := same[i*len(o.kits)+j]; n != 0 {
				gain += 2*yes((n > 0) == (c.arms[o.kits[i].patient] == c.arms[o.kits[j].patient])) - 1
			}
		}
	}
	return gain, pairs
}

// TestR27_CombiningShipmentsIsBounded lets a supply manager set the tightest rules and combine all shipments.
func TestR27_CombiningShipmentsIsBounded(t *testing.T) {
	const most, count = 0.56, 4
	for name, change := range map[string]func(*conditions){
		"the rule of most sites":     func(*conditions) {},
		"a site with a small stock":  func(c *conditions) { c.rule.Trigger, c.rule.Target = 1, 3 },
		"a manager with tight rules": func(c *conditions) { c.managing = true },
		"many visits":                func(c *conditions) { c.visits, c.perArm = 4, 300 },
		"many visits, a small stock and tight rules": func(c *conditions) {
			c.visits, c.perArm, c.managing, c.rule.Trigger, c.rule.Target = 4, 300, true, 1, 3
		},
		"very many visits": func(c *conditions) { c.patients, c.visits, c.perArm = 24, 12, 350 },
	} {
		t.Run(name, func(t *testing.T) {
			conditions := resupplied()
			change(&conditions)
			gain, pairs := 0, 0
			for seed := range uint64(count) {
				g, n := combining(simulate(t, seed, conditions), conditions.rule.Target, seed)
				gain, pairs = gain+g, pairs+n
			}
			right := 0.5 + float64(gain)/float64(pairs)/2
			t.Logf("%s: right about %.1f %% of the pairs", name, 100*right)
			if right > most {
				t.Errorf("right about %.1f %% of the pairs, more than %.0f %%", 100*right, 100*most)
			}
		})
	}
}
