package supply_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/supply"
)

// givenKit is the first kit of a patient with all that was public when it was allocated, and the kits of later visits.
type givenKit struct {
	patient domain.PatientID
	kit     supply.KitNumber
	at      supply.LocationID
	// after counts the kits that were given before.
	after int
	// available are the kits that lay at the site, this one included, in the order of their numbers.
	available []supply.KitNumber
	// triggered says that a shipment was made right after it; afterRefusal that somebody had found no kit shortly before.
	triggered, afterRefusal bool
	// tried holds the answers to attempts to send kits back while the patient was on the way to the draw.
	tried map[supply.KitNumber]string
	// later are the kits of later visits, whose arm is the same.
	later []givenKit
}

// all returns the patient's kits, the first one in front.
func (k givenKit) all() []givenKit { return append([]givenKit{k}, k.later...) }

// arrival is where a kit was in which shipment, and how many kits were in it.
type arrival struct{ shipment, position, of int }

// observed is what somebody concludes from a course without having to guess.
type observed struct {
	kits     []*givenKit
	arrivals map[supply.KitNumber]arrival
	// replaced has the shipment that was made next for the site after the kit was used there, with kits of the same arms as
	// those that were used.
	replaced map[supply.KitNumber]int
	// asked holds the answers of the depot about kits, by attempt.
	asked []map[supply.KitNumber]string
}

// observe reads a course as a blinded person can.
func observe(c course) observed {
	o := observed{arrivals: map[supply.KitNumber]arrival{}, replaced: map[supply.KitNumber]int{}}
	here, used := map[supply.LocationID]map[supply.KitNumber]bool{}, map[supply.LocationID][]supply.KitNumber{}
	tried, answers := map[domain.PatientID]map[supply.KitNumber]string{}, map[supply.KitNumber]string{}
	of := map[domain.PatientID]*givenKit{}
	given, refused, shipments := 0, math.MinInt/2, 0
	var latest *givenKit
	take := func(at supply.LocationID, n supply.KitNumber) {
		delete(here[at], n)
		used[at] = append(used[at], n)
	}
	for _, seen := range c.seen {
		switch e := seen.event.(type) {
		case nil:
			if seen.from != "D" {
				answers[seen.tried] = seen.code
				continue
			}
			if seen.first {
				o.asked = append(o.asked, map[supply.KitNumber]string{})
			}
			o.asked[len(o.asked)-1][seen.tried] = seen.code
		case supply.StockHeld:
			answers = map[supply.KitNumber]string{}
			tried[e.Patient] = answers
		case supply.StockRefused, supply.AllocationFailed:
			refused = given
		case supply.ShipmentCreated:
			if shipments++; latest != nil && latest.at == e.To {
				latest.triggered = true
			}
			for i, n := range e.Kits {
				o.arrivals[n] = arrival{shipments, i, len(e.Kits)}
			}
			for _, n := range used[e.To] {
				o.replaced[n] = shipments
			}
			delete(used, e.To)
		case supply.ShipmentReceived:
			if here[e.Location] == nil {
				here[e.Location] = map[supply.KitNumber]bool{}
			}
			for _, n := range e.Available {
				here[e.Location][n] = true
			}
		case supply.KitLost:
			take(e.Location, e.Kit)
		case supply.KitAllocated:
			k := givenKit{patient: e.Patient, kit: e.Kit, at: e.Location, after: given, afterRefusal: given-refused <= 2, tried: tried[e.Patient]}
			k.available = slices.Sorted(maps.Keys(here[e.Location]))
			take(e.Location, e.Kit)
			given++
			if first := of[e.Patient]; first != nil {
				first.later = append(first.later, k)
				latest = &first.later[len(first.later)-1]
				continue
			}
			latest = &k
			of[e.Patient] = latest
			o.kits = append(o.kits, latest)
		}
	}
	return o
}

// feature is what an adversary looks at in two patients, the earlier one first. It has a few values.
type feature struct {
	name string
	of   func(o observed, a, b givenKit) int
}

// hidden are the features that must tell nothing.
var hidden = []feature{
	{"whether the numbers fall", func(_ observed, a, b givenKit) int { return yes(b.kit < a.kit) }},
	{"whether the numbers are near", func(_ observed, a, b givenKit) int { return yes(nearNumbers(a.kit, b.kit) < 10) }},
	{"whether positions fall", func(o observed, a, b givenKit) int {
		return yes(o.arrivals[b.kit].position < o.arrivals[a.kit].position)
	}},
	{"the time between", func(_ observed, a, b givenKit) int { return clamp(b.after-a.after, 1, 6) }},
	{"the earlier number among those there", func(_ observed, a, _ givenKit) int { return rank(a) }},
	{"the later number among those there", func(_ observed, _, b givenKit) int { return rank(b) }},
	{"the answer about the later kit", func(_ observed, a, b givenKit) int { return answerCode(a, b.kit) }},
	{"the last digits", func(_ observed, a, b givenKit) int { return yes(a.kit[len(a.kit)-1]%2 == b.kit[len(b.kit)-1]%2) }},
	{"the depot's answers about the two", depotAnswers},
	{"whether the two are at one site", func(_ observed, a, b givenKit) int { return yes(a.at == b.at) }},
	{"whether the numbers of the last kits fall", func(_ observed, a, b givenKit) int { return yes(lastOf(b).kit < lastOf(a).kit) }},
	{"whether the positions of the last kits fall", func(o observed, a, b givenKit) int {
		return yes(o.arrivals[lastOf(b).kit].position < o.arrivals[lastOf(a).kit].position)
	}},
	{"how many later kits there are", func(_ observed, a, b givenKit) int { return min(len(a.later), 3) + 4*min(len(b.later), 3) }},
}

// listed are the features that docs/adr/0025 says cannot be hidden: they follow from what is in stock.
var listed = []feature{
	{"whether the later kit was there", func(_ observed, a, b givenKit) int { return yes(slices.Contains(a.available, b.kit)) }},
	{"the shipments", func(o observed, a, b givenKit) int {
		return clamp(o.arrivals[b.kit].shipment-o.arrivals[a.kit].shipment, -2, 2) + 2
	}},
	{"shipments made", func(_ observed, a, b givenKit) int { return yes(a.triggered) + 2*yes(b.triggered) }},
	{"refusals", func(_ observed, a, b givenKit) int { return yes(a.afterRefusal) + 2*yes(b.afterRefusal) }},
	{"how many kits were there", func(_ observed, a, b givenKit) int {
		return clamp(len(a.available)/3, 0, 3) + 4*clamp(len(b.available)/3, 0, 3)
	}},
	{"whether kits of earlier shipments were left", func(o observed, a, b givenKit) int { return yes(older(o, a)) + 2*yes(older(o, b)) }},
	{"whether the later kit was left of an earlier shipment", func(o observed, a, b givenKit) int {
		return yes(slices.Contains(a.available, b.kit) && o.arrivals[b.kit].shipment < o.arrivals[a.kit].shipment)
	}},
	{"whether a kit of one lay there when the other got one", lay},
	{"the shipment that replaced a kit of one and brought one of the other", replacement},
	{"the smallest shipment that brought kits of both", together},
}

func yes(is bool) int {
	if is {
		return 1
	}
	return 0
}

func clamp(n, least, most int) int { return max(least, min(most, n)) }

func nearNumbers(a, b supply.KitNumber) int {
	var n, m int
	_, _ = fmt.Sscan(string(a), &n)
	_, _ = fmt.Sscan(string(b), &m)
	return max(n-m, m-n)
}

// rank is where the kit lay among those that were there: first, second, last or elsewhere.
func rank(k givenKit) int {
	switch i := slices.Index(k.available, k.kit); {
	case i < 2:
		return i
	case i == len(k.available)-1:
		return 2
	}
	return 3
}

// older says that kits of an earlier shipment lay there when the kit was taken.
func older(o observed, k givenKit) bool {
	return slices.ContainsFunc(k.available, func(n supply.KitNumber) bool { return o.arrivals[n].shipment < o.arrivals[k.kit].shipment })
}

func lastOf(k givenKit) givenKit { all := k.all(); return all[len(all)-1] }

// depotAnswers compares what the depot answered about the kits of two patients: never about both, always the same, or not.
func depotAnswers(o observed, a, b givenKit) int {
	is := 0
	for _, answers := range o.asked {
		for _, one := range a.all() {
			for _, other := range b.all() {
				first, about := answers[one.kit]
				second, both := answers[other.kit]
				if about && both {
					is = max(is, 1+yes(first != second))
				}
			}
		}
	}
	return is
}

// lay counts when kits of one patient lay there while the other got another kit.
func lay(_ observed, a, b givenKit) int {
	count := func(one, other givenKit) (n int) {
		for _, k := range one.all() {
			for _, l := range other.all() {
				n += yes(k.kit != l.kit && slices.Contains(k.available, l.kit))
			}
		}
		return min(n, 3)
	}
	return count(a, b) + 4*count(b, a)
}

// replacement is the size of the smallest shipment that replaced a kit of one patient and brought a kit of the other.
func replacement(o observed, a, b givenKit) int {
	smallest := 0
	for _, pair := range [][2]givenKit{{a, b}, {b, a}} {
		for _, k := range pair[0].all() {
			for _, l := range pair[1].all() {
				if by := o.arrivals[l.kit]; by.shipment > 0 && o.replaced[k.kit] == by.shipment && (smallest == 0 || by.of < smallest) {
					smallest = by.of
				}
			}
		}
	}
	return min(smallest, 15)
}

// together is the size of the smallest shipment that brought a kit of each patient.
func together(o observed, a, b givenKit) int {
	smallest := 0
	for _, k := range a.all() {
		for _, l := range b.all() {
			if by := o.arrivals[l.kit]; by.shipment == o.arrivals[k.kit].shipment && (smallest == 0 || by.of < smallest) {
				smallest = by.of
			}
		}
	}
	return min(smallest, 15)
}

// answerCode says whether the answer about a kit that lay there was another one than about the kit that the patient got.
func answerCode(k givenKit, n supply.KitNumber) int {
	code, tried := k.tried[n]
	return yes(tried && code != k.tried[k.kit])
}

// pairOf is two patients of one study: what their features are, hidden ones before listed ones, and whether their arms are
// the same.
type pairOf struct {
	features []int
	same     bool
}

// everything are all features.
var everything = slices.Concat(hidden, listed)

// pairs lists all pairs of patients with kits.
func pairs(c course) []pairOf {
	o := observe(c)
	var all []pairOf
	for j, b := range o.kits {
		for _, a := range o.kits[:j] {
			p := pairOf{same: c.arms[a.patient] == c.arms[b.patient]}
			for _, f := range everything {
				p.features = append(p.features, f.of(o, *a, *b))
			}
			all = append(all, p)
		}
	}
	return all
}

// adversary knows the program, and has simulated studies like the one that it attacks: for each combination of some
// features it has learned whether patients who show them are rather in one arm or in two.
type adversary struct {
	// looksAt are the numbers of its features.
	looksAt []int
	// same counts, for each combination, the pairs of one arm less the others.
	same []int
}

// maxValues bounds the values of a feature.
const maxValues = 16

// cell numbers the combinations of up to three features.
func (a adversary) cell(p pairOf) (cell int) {
	for _, f := range a.looksAt {
		cell = maxValues*cell + p.features[f]
	}
	return cell
}

func (a adversary) String() string {
	names := make([]string, len(a.looksAt))
	for i, f := range a.looksAt {
		names[i] = everything[f].name
	}
	return strings.Join(names, ", ")
}

// trained returns the adversary who has learned from the studies to look at some features, and how often it was right.
func trained(studies [][]pairOf, looksAt ...int) (adversary, int) {
	a := adversary{looksAt: looksAt, same: make([]int, maxValues*maxValues*maxValues)}
	for _, study := range studies {
		for _, p := range study {
			a.same[a.cell(p)] += 2*yes(p.same) - 1
		}
	}
	right := 0
	for _, n := range a.same {
		right += max(n, -n)
	}
	return a, right
}

// strongest returns the adversary who did best in the studies, of those who look at three of the features.
func strongest(studies [][]pairOf, features []int) adversary {
	var best adversary
	most := -1
	for i := range features {
		for j := range i {
			for k := range j {
				if a, right := trained(studies, features[k], features[j], features[i]); right > most {
					best, most = a, right
				}
			}
		}
	}
	return best
}

// gains returns, for each study, by how many pairs the adversary is more often right than wrong.
func (a adversary) gains(studies [][]pairOf) []float64 {
	all := make([]float64, len(studies))
	for i, study := range studies {
		for _, p := range study {
			if guess := a.same[a.cell(p)]; guess != 0 {
				all[i] += float64(2*yes(p.same == (guess > 0)) - 1)
			}
		}
	}
	return all
}

// share returns the part of the pairs about which the adversary is right.
func share(gains []float64, studies [][]pairOf) float64 {
	gain, all := 0.0, 0
	for i, study := range studies {
		gain, all = gain+gains[i], all+len(study)
	}
	return 0.5 + gain/float64(all)/2
}

// deviations returns by how many standard errors the mean differs from 0.
func deviations(values []float64) float64 {
	sum, squares, n := 0.0, 0.0, float64(len(values))
	for _, v := range values {
		sum, squares = sum+v, squares+v*v
	}
	if sum == 0 {
		return 0
	}
	// Whoever is right about every pair of every study is infinitely far from a coin.
	return sum / n / math.Sqrt(max(0, squares/n-sum*sum/n/n)/n)
}

// studies returns simulated studies to learn from, and as many others to attack.
func studies(t *testing.T, c conditions, count uint64) (learned, attacked [][]pairOf) {
	t.Helper()
	for seed := range count {
		p := pairs(simulate(t, seed, c))
		if seed%2 == 0 {
			learned = append(learned, p)
		} else {
			attacked = append(attacked, p)
		}
	}
	return learned, attacked
}

// numbersUpTo returns the numbers from one to below another.
func numbersUpTo(from, to int) (all []int) {
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// chanceLimit is how many standard errors from a coin an adversary may be. The best of many adversaries is chosen in other
// studies than it attacks, so that it exceeds 4 by chance once in thirty thousand runs.
const chanceLimit = 4

// suppliedOnce are the conditions of a study whose site gets all kits at once, all with one expiry.
func suppliedOnce() conditions {
	return conditions{patients: 40, perArm: 70, expiries: []domain.Date{"2027-06-30"}, transit: 2, probing: true,
		rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 70, OverdueDays: 7}}
}

// apart gives each arm a lot and an expiry of its own.
func apart(c *conditions) {
	c.apart, c.expiries = true, []domain.Date{"2027-06-30", "2027-12-31"}
}

// resupplied are the conditions of a study whose site is sent kits as it uses them, and whose depot has enough.
func resupplied() conditions {
	c := suppliedOnce()
	c.perArm, c.rule.Trigger, c.rule.Target = 60, 4, 10
	return c
}

// TestR27_WhatBlindedPeopleSeeOfKitsIsNoBetterThanACoin attacks studies with all that blinded people can see: numbers,
// positions, times, and the answers to a coordinator who tries to send kits back and to a supply manager who asks for each kit
// of the depot by itself, between the releases of the lots of the two arms and after them.
func TestR27_WhatBlindedPeopleSeeOfKitsIsNoBetterThanACoin(t *testing.T) {
	of := suppliedOnce()
	apart(&of)
	of.managing = true
	learned, attacked := studies(t, of, 40)
	a := strongest(learned, numbersUpTo(0, len(everything)))
	gains := a.gains(attacked)
	t.Logf("right about %.2f %% of the pairs, %.1f standard errors from a coin, by %s", 100*share(gains, attacked), deviations(gains), a)
	if deviations(gains) > chanceLimit {
		t.Errorf("by %s, an adversary is right about %.1f %% of the pairs, %.1f standard errors from a coin", a, 100*share(gains, attacked),
			deviations(gains))
	}
}

// TestR27_HiddenFeaturesAddNothingToListedOnes shows that who looks at what cannot be hidden learns nothing more from
// numbers, positions, times and answers.
func TestR27_HiddenFeaturesAddNothingToListedOnes(t *testing.T) {
	learned, attacked := studies(t, resupplied(), 60)
	var best adversary
	with, without, most := []float64(nil), []float64(nil), math.MinInt
	for i := len(hidden); i < len(everything); i++ {
		for j := len(hidden); j < i; j++ {
			alone, right := trained(learned, j, i)
			for k := range hidden {
				if a, more := trained(learned, k, j, i); more-right > most {
					best, most, with, without = a, more-right, a.gains(attacked), alone.gains(attacked)
				}
			}
		}
	}
	more := make([]float64, len(with))
	for i := range with {
		more[i] = with[i] - without[i]
	}
	t.Logf("by %s: %.2f %%, %.2f %% without the first", best, 100*share(with, attacked), 100*share(without, attacked))
	if deviations(more) > chanceLimit {
		t.Errorf("by %s, an adversary is right about %.1f %% of the pairs, and about %.1f %% without the first", best, 100*share(with,
			attacked), 100*share(without, attacked))
	}
}

// TestR27_WhatCannotBeHiddenIsBounded measures what docs/adr/0025 lists, all of it together, against one bound.
func TestR27_WhatCannotBeHiddenIsBounded(t *testing.T) {
	const most = 0.56
	for name, change := range map[string]func(*conditions){
		"resupply":                  func(*conditions) {},
		"resupply of two expiries":  func(c *conditions) { c.expiries = append(c.expiries, "2027-12-31") },
		"a depot that runs out":     func(c *conditions) { c.perArm = 22 },
		"a site with a small stock": func(c *conditions) { c.rule.Trigger, c.rule.Target = 1, 3 },
		"a lot for each arm, and a manager who tries everything": func(c *conditions) { apart(c); c.managing = true },
		"two sites that are compared":                            func(c *conditions) { apart(c); c.sites = []domain.SiteID{"A", "B"} },
	} {
		t.Run(name, func(t *testing.T) {
			conditions := resupplied()
			change(&conditions)
			learned, attacked := studies(t, conditions, 30)
			a := strongest(learned, numbersUpTo(0, len(everything)))
			right := share(a.gains(attacked), attacked)
			t.Logf("right about %.1f %% of the pairs, by %s", 100*right, a)
			if right > most {
				t.Errorf("by %s, an adversary is right about %.1f %% of the pairs, more than %.0f %%", a, 100*right, 100*most)
			}
		})
	}
}
