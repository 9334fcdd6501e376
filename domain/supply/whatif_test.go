package supply_test

import (
	"fmt"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/study"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

// demanded is a history of demand at site A in a study of one arm, whose depot has plenty of kits that expire late.
func demanded(t *rapid.T) supply.SiteHistory {
	h := supply.SiteHistory{Site: "A", Depot: "D", From: "2026-01-01", Through: "2026-02-28", LeadDays: rapid.IntRange(1, 10).Draw(t, "lead"),
		Pool: supply.KitContents{}, PoolOf: map[supply.KitNumber]domain.Date{}}
	for i := range 60 {
		n := supply.KitNumber(fmt.Sprintf("K-%02d", i))
		h.Pool[n], h.PoolOf[n] = supply.Content{Arm: x, Lot: "L1", Expiry: "2030-01-01", Units: 1}, "2025-12-01"
	}
	for i, day := range slices.Sorted(slices.Values(rapid.SliceOfN(rapid.IntRange(0, 58), 0, 15).Draw(t, "days"))) {
		who := domain.NewPatientID(pain, fmt.Sprint("P-", i))
		h.Wishes = append(h.Wishes, supply.Wish{On: h.From.AddDays(day), Slot: supply.Slot{Patient: who}, Arm: x})
	}
	return h
}

// On the same demand, no rule has fewer stock-outs than one that keeps a kit ready for everybody. Of two other rules, the one that keeps
// more may have more of them: sites are sent kits at other times, and may be at their least when many patients come.
func TestAmpleStockHasTheFewestStockOuts(t *testing.T) {
	in := ofOneArm()
	rapid.Check(t, func(t *rapid.T) {
		h := demanded(t)
		rule := supply.ResupplyRule{Depot: "D", Trigger: rapid.IntRange(1, 5).Draw(t, "trigger"), OverdueDays: 5}
		rule.Target = rule.Trigger + rapid.IntRange(0, 5).Draw(t, "spare")
		more, by := rule, len(h.Wishes)
		more.Trigger, more.Target = more.Trigger+by, more.Target+by
		less, with := supply.WhatIf(h, in, rule), supply.WhatIf(h, in, more)
		if with.StockOuts > less.StockOuts {
			t.Fatalf("%+v gives %+v, and %+v gives %+v", rule, less, more, with)
		}
		if again := supply.WhatIf(h, in, rule); again != less {
			t.Fatalf("the same rule gives %+v and %+v", less, again)
		}
		if less.Kits > len(h.Pool) || less.Kits < len(h.Wishes)-less.StockOuts || less.Expired != 0 || less.Short != 0 {
			t.Fatalf("the outcome is %+v, of %d wishes", less, len(h.Wishes))
		}
	})
}

// With a kit for everybody at once, nobody waits.
func TestAmpleStockHasNoStockOuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := demanded(t)
		h.From = "2025-12-01"
		out := supply.WhatIf(h, ofOneArm(), supply.ResupplyRule{Depot: "D", Trigger: 16, Target: 16, OverdueDays: 5})
		if out.StockOuts != 0 {
			t.Fatalf("the outcome is %+v", out)
		}
	})
}

// What the site's own rule did comes out again: in a study of one arm, where nothing is lost and each shipment takes the same time, it
// is the same to the kit. The history is made by the decisions themselves.
func TestReplayOfTheOwnRuleGivesWhatHappened(t *testing.T) {
	in := ofOneArm()
	rapid.Check(t, func(t *rapid.T) {
		h := demanded(t)
		rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: rapid.IntRange(1, 4).Draw(t, "trigger"), OverdueDays: 5}
		rule.Target = rule.Trigger + rapid.IntRange(0, 4).Draw(t, "spare")
		past, lead := lived(t, h, rule, in)
		got, err := past.Of("A", "")
		if err != nil {
			t.Fatal(err)
		}
		if got.LeadDays != lead && got.Actual.Shipments > 0 {
			if arrived := got.Actual.Shipments > 1; arrived {
				t.Fatalf("the shipments take %d days, and took %d", got.LeadDays, lead)
			}
			got.LeadDays = lead // nothing has arrived
		}
		if simulated := supply.WhatIf(got, in, rule); simulated != got.Actual {
			t.Fatalf("simulated is %+v, happened is %+v, of %d wishes", simulated, got.Actual, len(got.Wishes))
		}
	})
}

// ofOneArm is the study, without a draw.
func ofOneArm() study.Study {
	return theStudy(func(t *study.Treatment) { t.Randomised = false })
}

// lived plays the demand of a history with the decisions of the depot and the site, under a rule, and collects the events.
func lived(t *rapid.T, h supply.SiteHistory, rule supply.ResupplyRule, in study.Study) (*supply.Past, int) {
	past := supply.NewPast()
	var all supply.Supply
	ofSupply := func(on domain.Date, events ...supply.Event) {
		for _, e := range events {
			all = supply.Decider.Evolve(all, e)
			past.Note(e, on)
		}
	}
	numbers := make([]supply.KitNumber, 0, len(h.Pool))
	for n := range h.Pool {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	ofSupply(h.From, supply.DepotOpened{Study: pain, Depot: "D"}, supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: numbers,
		Contents: blind.Of(h.Pool), Together: true}, releasedNow("L1"), supply.ResupplyRuleSet{Study: pain, Rule: rule})
	stocks := map[supply.LocationID]supply.Stock{"D": {}, "A": {}}
	f := func() supply.Facts {
		return supply.Facts{Study: in, Supply: all, Other: stocks["A"], Participating: true, Enrolled: true, Arm: x}
	}
	decided := func(at supply.LocationID, on domain.Date, events []supply.StockEvent, err error) []supply.StockEvent {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			stocks[at] = supply.StockDecider.Evolve(stocks[at], e)
			past.Note(e, on)
		}
		return events
	}
	var arriving []supply.ShipmentCreated
	arrival := map[supply.ShipmentID]domain.Date{}
	wishes := h.Wishes
	var waiting []supply.Wish
	for day := h.From; day <= h.Through; day = day.AddDays(1) {
		at, _ := day.Time()
		call := domain.Call{At: at, Actor: "somebody"}
		if day == h.From {
			events, err := supply.AcceptDelivery(stocks["D"], f(), supply.TakeInDelivery{AtDepot: atDepot, Delivery: 1}, call)
			decided("D", day, events, err)
		}
		plan := func() {
			events, err := supply.Resupply(stocks["D"], f(), supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed}, call)
			for _, e := range decided("D", day, events, err) {
				if made, is := e.(supply.ShipmentCreated); is {
					arriving, arrival[made.Shipment] = append(arriving, made), day.AddDays(h.LeadDays)
					events, err := supply.Dispatch(stocks["D"], f(), supply.DispatchShipment{FromLocation: fromLocation("D"), Shipment: made.Shipment,
						On: day}, call)
					decided("D", day, events, err)
				}
			}
		}
		give := func(w supply.Wish) bool {
			events, err := supply.Allocate(stocks["A"], f(), supply.AllocateKit{Study: pain, Site: "A", OfPatient: domain.ForPatient(w.Slot.Patient),
				Seed: theSeed}, call)
			for _, e := range decided("A", day, events, err) {
				if _, is := e.(supply.KitAllocated); is {
					return true
				}
			}
			return false
		}
		arriving = slices.DeleteFunc(arriving, func(made supply.ShipmentCreated) bool {
			if arrival[made.Shipment] > day {
				return false
			}
			facts := f()
			facts.Other = stocks["D"]
			events, err := supply.Receive(stocks["A"], facts, supply.ReceiveShipment{AtLocation: atLocation("A"), From: "D", Shipment: made.Shipment,
				On: day, Temperature: supply.TemperatureInRange}, call)
			decided("A", day, events, err)
			return true
		})
		waiting = slices.DeleteFunc(waiting, give)
		plan()
		for len(wishes) > 0 && wishes[0].On <= day {
			if !give(wishes[0]) {
				waiting = append(waiting, wishes[0])
			}
			wishes = wishes[1:]
			plan()
		}
		past.Note(nil, day)
	}
	return past, h.LeadDays
}
