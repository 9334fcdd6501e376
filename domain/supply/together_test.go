package supply_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/supply"
)

// lotsOfArms are the kits of a delivery with one lot for each arm, and with other expiries in each: kits with an even number
// are of arm x, whose lot LX expires first.
func lotsOfArms(perArm int) supply.KitContents {
	of := supply.KitContents{}
	for i := range 2 * perArm {
		c := supply.Content{Arm: x, Lot: "LX", Expiry: "2026-06-30", Units: 1}
		if i%2 == 1 {
			c.Arm, c.Lot, c.Expiry = y, "LY", "2026-12-31"
		}
		of[supply.KitNumber(fmt.Sprintf("%04d", i))] = c
	}
	return of
}

// delivered is the depot's stock after a delivery, and the facts of decisions about it after more events of the supply.
func delivered(of supply.KitContents, together bool, more ...supply.Event) (supply.Stock, supply.Facts, []supply.KitNumber) {
	numbers := make([]supply.KitNumber, 0, len(of))
	for n := range of {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	registered := supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: numbers, Contents: blind.Of(of), Together: together}
	f := facts(func(f *supply.Facts) {
		f.Supply = supply.Decider.Fold(append([]supply.Event{supply.DepotOpened{Study: pain, Depot: "D"}, registered}, more...)...)
	})
	return supply.StockDecider.Fold(supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: numbers, Contents: blind.Of(of)}), f, numbers
}

// releasedNow is a release as it is recorded now.
func releasedNow(lot string) supply.Event {
	return supply.BatchReleased{Study: pain, Lot: lot, Certificate: "c", Together: true}
}

// answers sends every kit by itself to the site, and returns the answers: the refusal without what the sender named, or that
// it was sent.
func answers(t *testing.T, s supply.Stock, f supply.Facts, numbers []supply.KitNumber, at domain.Call) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, n := range numbers {
		_, err := supply.Create(s, f, supply.CreateShipment{FromLocation: fromLocation("D"), To: "A", Kits: kits(n),
			Reasoned: domain.Because("r")}, at)
		answer := "sent"
		if r := (*refuse.Refusal)(nil); errors.As(err, &r) {
			answer = r.Code + ": " + r.Sentence + "; " + r.Remedy
		} else if err != nil {
			t.Fatal(err)
		}
		all[answer]++
	}
	return all
}

// TestR27_NoReleaseTellsTheArms: somebody who asks for each kit of a delivery by itself gets the same answer about all of
// them, whichever of its lots are released, recalled before they were released, or close to their expiry.
func TestR27_NoReleaseTellsTheArms(t *testing.T) {
	late := call
	for name, c := range map[string]struct {
		more []supply.Event
		day  domain.Date
		want string
	}{
		"no lot is released":          {nil, "2026-03-10", "kits_not_sendable"},
		"one lot is released":         {[]supply.Event{releasedNow("LX")}, "2026-03-10", "kits_not_sendable"},
		"the other lot is released":   {[]supply.Event{releasedNow("LY")}, "2026-03-10", "kits_not_sendable"},
		"both are released":           {[]supply.Event{releasedNow("LX"), releasedNow("LY")}, "2026-03-10", "sent"},
		"kits of one expire soon":     {[]supply.Event{releasedNow("LX"), releasedNow("LY")}, "2026-06-25", "kits_not_sendable"},
		"kits of another expire soon": {[]supply.Event{releasedNow("LX"), releasedNow("LY")}, "2026-12-28", "kits_not_sendable"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, numbers := delivered(lotsOfArms(10), true, c.more...)
			if late.At, _ = c.day.Time(); c.day > "2026-06-30" { // what has expired was taken out
				numbers = slices.DeleteFunc(numbers, func(n supply.KitNumber) bool { return (n[3]-'0')%2 == 0 })
			}
			got := answers(t, s, f, numbers, late)
			if len(got) != 1 {
				t.Fatalf("the kits are answered differently: %v", got)
			}
			for answer := range got {
				if answer[:min(len(answer), len(c.want))] != c.want {
					t.Errorf("the answer is %s", answer)
				}
			}
			// Nor does a rule send kits of one arm alone.
			f.Supply = supply.Decider.Evolve(f.Supply, supply.ResupplyRuleSet{Study: pain,
				Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 5, OverdueDays: 7}})
			events, err := supply.Resupply(s, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed}, call)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if sent, is := e.(supply.ShipmentCreated); is && len(sent.Kits) != 10 {
					t.Errorf("the rule sends %v", sent.Kits)
				}
			}
		})
	}
}

// A lot that will never be released is recalled. Then the rest of its delivery can be used.
func TestARecalledLotDoesNotStopItsDelivery(t *testing.T) {
	s, f, _ := delivered(lotsOfArms(2), true, releasedNow("LX"), supply.LotRecalled{Study: pain, Lot: "LY", Reason: "failed its test"})
	for n, c := range lotsOfArms(2) {
		_, err := supply.Create(s, f, supply.CreateShipment{FromLocation: fromLocation("D"), To: "A", Kits: kits(n),
			Reasoned: domain.Because("r")}, call)
		if usable := c.Lot == "LX"; usable != (err == nil) {
			t.Errorf("kit %s of lot %s: %v", n, c.Lot, err)
		}
	}
}

// Lots that an earlier program released stay in use alone, because patients depend on their kits; in deliveries that are
// registered since, and for lots that are released since, all lots are waited for.
func TestLotsInUseStayInUse(t *testing.T) {
	alone := supply.BatchReleased{Study: pain, Lot: "LX", Certificate: "c"}
	for name, c := range map[string]struct {
		together bool
		release  supply.Event
		want     int
	}{
		"a delivery and a release of an earlier program": {false, alone, 2},
		"a delivery of an earlier program":               {false, releasedNow("LX"), 0},
		"a release of an earlier program":                {true, alone, 0},
		"neither":                                        {true, releasedNow("LX"), 0},
	} {
		s, f, _ := delivered(lotsOfArms(2), c.together, c.release, supply.ResupplyRuleSet{Study: pain,
			Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 5, OverdueDays: 7}})
		events, err := supply.Resupply(s, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed}, call)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, e := range events {
			if sent, is := e.(supply.ShipmentCreated); is {
				got = len(sent.Kits)
			}
		}
		if got != c.want {
			t.Errorf("%s: %d kits are sent, want %d", name, got, c.want)
		}
	}
}
