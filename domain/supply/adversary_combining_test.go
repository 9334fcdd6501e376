package supply_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"casebook/domain/supply"
)

// balance is what an adversary knows of a shipment: it brought as many kits of each arm as were used, or one more of each
// for every two that it brought beyond them. So with 1 for one arm and -1 for the other, what came and what was used have one
// sum.
type balance struct{ came, used []int }

// balances are those of all shipments of a course. The variables are the arms of the patients, who come first in the order of
// observed.kits, and of the kits that no patient got.
func balances(c course, o observed) (all []balance, variables int) {
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
	used := map[supply.LocationID][]int{}
	for _, seen := range c.seen {
		switch e := seen.event.(type) {
		case supply.ShipmentCreated:
			b := balance{used: used[e.To]}
			for _, n := range e.Kits {
				b.came = append(b.came, variable(n))
			}
			all = append(all, b)
			delete(used, e.To)
		case supply.KitLost:
			used[e.Location] = append(used[e.Location], variable(e.Kit))
		case supply.KitAllocated:
			used[e.Location] = append(used[e.Location], variable(e.Kit))
		}
	}
	return all, variables
}

// combining is an adversary who takes all pairs and all shipments together: it draws assignments of the arms that fit what was
// seen, the better the likelier, and says of two patients what holds in most of them. It returns how many pairs more it is
// right about than wrong, and how many pairs there are.
func combining(c course, seed uint64) (gain, pairs int) {
	const sweeps, rejected = 600, 200
	o, random := observe(c), rand.New(rand.NewPCG(seed, 8))
	all, variables := balances(c, o)
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
				after := off[t.balance] - 2*t.weight*arms[v]
				worse += after*after - off[t.balance]*off[t.balance]
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
	const most, count = 0.56, 30
	for name, change := range map[string]func(*conditions){
		"the rule of most sites":        func(*conditions) {},
		"a site with a small stock":     func(c *conditions) { c.rule.Trigger, c.rule.Target = 1, 3 },
		"a manager with tight rules":    func(c *conditions) { c.managing = true },
		"a small stock and tight rules": func(c *conditions) { c.managing, c.rule.Trigger, c.rule.Target = true, 1, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			conditions := resupplied()
			change(&conditions)
			gain, pairs := 0, 0
			for seed := range uint64(count) {
				g, n := combining(simulate(t, seed, conditions), seed)
				gain, pairs = gain+g, pairs+n
			}
			right := 0.5 + float64(gain)/float64(pairs)/2
			t.Logf("right about %.1f %% of the pairs", 100*right)
			if right > most {
				t.Errorf("right about %.1f %% of the pairs, more than %.0f %%", 100*right, 100*most)
			}
		})
	}
}
