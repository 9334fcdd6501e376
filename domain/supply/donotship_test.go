package supply_test

import (
	"fmt"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// theKinds are the types of thePlan.
var theKinds = []study.Kind{xLow, xHigh, yLow, yHigh, "open"}

// shipDaysOf are do-not-ship days of a type.
func shipDaysOf(kind study.Kind, days int) supply.DoNotShipDaysOfTypeSet {
	return supply.DoNotShipDaysOfTypeSet{Study: pain, Type: blind.Of(string(kind)), Days: days, Reason: "r"}
}

func TestSetDoNotShipDaysOfAType(t *testing.T) {
	setting := func(in study.Study, kind study.Kind, lot string, days int) supplyDecision {
		return scenario.SentWithFacts(supply.SetShipDays, in, supply.SetDoNotShipDays{InStudy: domain.ForStudy(pain), Type: string(kind),
			Lot: lot, Days: days, Reasoned: domain.Because("r")}, call)
	}
	typed := theStudy(thePlan)
	given := withDepot(t).Given(supply.BatchReleased{Study: pain, Lot: "L1"})
	given.When(setting(typed, "none", "", 90)).ThenRefused("unknown_kit_type")
	given.When(setting(theStudy(nil), xLow, "", 90)).ThenRefused("unknown_kit_type")
	given.When(setting(typed, xLow, "L9", 90)).ThenRefused("lot_not_found")
	ofLot := shipDaysOf(xLow, 60)
	ofLot.Lot = "L1"
	set := given.When(setting(typed, xLow, "", 90)).Then(shipDaysOf(xLow, 90)).When(setting(typed, xLow, "L1", 60)).Then(ofLot)
	set.When(setting(typed, xLow, "", 90)).ThenRefused("days_unchanged")
	set.When(setting(typed, "", "", 90)).Then(supply.DoNotShipDaysSet{Study: pain, Days: 90, Reason: "r"}) // for all types, as before
	set.When(setting(typed, xLow, "", 0)).Then(shipDaysOf(xLow, 0)).When(setting(typed, xLow, "", 0)).ThenRefused("days_unchanged")
}

// typedDelivery is the depot's stock after a delivery for each of some types, all of lot L1, and the facts of a study with the plan whose
// types look the same, except the open one, after more events of the supply. The kits expire 297 days after the day of the call.
func typedDelivery(perType int, deliveries [][]study.Kind, more ...supply.Event) (s supply.Stock, f supply.Facts, all []supply.KitNumber) {
	events := []supply.Event{supply.DepotOpened{Study: pain, Depot: "D"}}
	var taken []supply.StockEvent
	for i, kinds := range deliveries {
		of, numbers := supply.KitContents{}, []supply.KitNumber{}
		for _, kind := range kinds {
			for j := range perType {
				n := supply.KitNumber(fmt.Sprintf("%s-%d-%d", kind, i, j))
				of[n], numbers = supply.Content{Type: string(kind), Lot: "L1", Expiry: "2027-01-01", Units: 1}, append(numbers, n)
			}
		}
		slices.Sort(numbers)
		all = append(all, numbers...)
		events = append(events, supply.KitsRegistered{Study: pain, Depot: "D", Delivery: i + 1, Kits: numbers, Contents: blind.Of(of),
			Together: true})
		taken = append(taken, supply.DeliveryTakenIn{OfStock: depot, Delivery: i + 1, Kits: numbers, Contents: blind.Of(of)})
	}
	f = withPlan(func(f *supply.Facts) {
		f.Supply = supply.Decider.Fold(append(append(events, releasedNow("L1")), more...)...)
	})
	return supply.StockDecider.Fold(taken...), f, all
}

// The days of a type hold for this type where a rule sends kits.
func TestARuleKeepsKitsOfATypeWithItsDays(t *testing.T) {
	rule := supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 7}}
	for name, c := range map[string]struct {
		limits []supply.Event
		kept   []study.Kind
	}{
		"no limit":                   {nil, nil},
		"one day less":               {[]supply.Event{shipDaysOf(xLow, 296)}, nil},
		"of one type":                {[]supply.Event{shipDaysOf(xLow, 297)}, []study.Kind{xLow}},
		"of two":                     {[]supply.Event{shipDaysOf(xLow, 297), shipDaysOf("open", 400)}, []study.Kind{xLow, "open"}},
		"taken away":                 {[]supply.Event{shipDaysOf(xLow, 297), shipDaysOf(xLow, 0)}, nil},
		"taken away for all, not it": {[]supply.Event{shipDaysOf(xLow, 297), supply.DoNotShipDaysSet{Study: pain}}, []study.Kind{xLow}},
		"the longest of two":         {[]supply.Event{shipDaysOf(xLow, 297), supply.DoNotShipDaysSet{Study: pain, Days: 10}}, []study.Kind{xLow}},
		"the longest, of all kits":   {[]supply.Event{shipDaysOf(xLow, 10), supply.DoNotShipDaysSet{Study: pain, Days: 297}}, theKinds},
		"of another lot or country":  {[]supply.Event{inLot(shipDaysOf(xLow, 297), "L2"), inCountry(shipDaysOf(yLow, 297), "FR")}, nil},
		"of the lot":                 {[]supply.Event{inLot(shipDaysOf(xLow, 297), "L1"), shipDaysOf(yLow, 297)}, []study.Kind{xLow, yLow}},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, _ := typedDelivery(10, [][]study.Kind{theKinds}, append(c.limits, rule)...)
			events, err := decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(s)
			if err != nil {
				t.Fatal(err)
			}
			kept := slices.Clone(theKinds)
			for _, e := range events {
				if made, is := e.(supply.ShipmentCreated); is {
					contents, _ := made.Contents.Open()
					kept = slices.DeleteFunc(kept, func(kind study.Kind) bool {
						return slices.ContainsFunc(made.Kits, func(n supply.KitNumber) bool { return contents[n].Type == string(kind) })
					})
				}
			}
			if !slices.Equal(kept, c.kept) {
				t.Errorf("the rule keeps %v, want %v, by %v", kept, c.kept, events)
			}
		})
	}
}

func inLot(e supply.DoNotShipDaysOfTypeSet, lot string) supply.DoNotShipDaysOfTypeSet {
	e.Lot = lot
	return e
}

func inCountry(e supply.DoNotShipDaysOfTypeSet, country string) supply.DoNotShipDaysOfTypeSet {
	e.Country = country
	return e
}

// TestR27_DaysOfATypeTellNoArm: who asks for each kit by itself gets the same answer about all kits that look alike, also of deliveries
// that have kits of one arm only, when kits are packed and when they leave. Kits whose label says what they hold are answered for
// themselves.
func TestR27_DaysOfATypeTellNoArm(t *testing.T) {
	deliveries := [][]study.Kind{{xLow, yLow}, {xLow}, {yLow, yHigh}, {"open"}}
	before, free, numbers := typedDelivery(2, deliveries)
	_, limited, _ := typedDelivery(2, deliveries, shipDaysOf(xLow, 297))
	open := func(n supply.KitNumber) bool { return n[:4] == "open" }
	blinded := slices.DeleteFunc(slices.Clone(numbers), open)
	if got := answers(t, before, free, numbers, call); len(got) != 1 || got["sent"] != len(numbers) {
		t.Errorf("without days, the kits are answered %v", got)
	}
	if got := answers(t, before, limited, blinded, call); len(got) != 1 || got["sent"] > 0 {
		t.Errorf("with days of a type, kits that look alike are answered %v", got)
	}
	if got := answers(t, before, limited, []supply.KitNumber{"open-3-0", "open-3-1"}, call); got["sent"] != 2 {
		t.Errorf("kits that look different are answered %v", got)
	}

	// Each kit was packed by itself in time.
	for _, resupply := range []bool{false, true} {
		left := map[bool]int{}
		for _, n := range blinded {
			content, _ := limited.Supply.Deliveries[0].Contents.Open()
			packed := supply.StockDecider.Evolve(before, supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "A", Kits: kits(n),
				Contents: blind.Of(content), Resupply: resupply})
			_, err := supply.Dispatch(packed, limited, supply.DispatchShipment{FromLocation: fromLocation("D"), Shipment: "D-0001",
				On: "2026-03-09"}, call)
			left[err == nil]++
		}
		// What a rule has chosen in time leaves: people chose none of its kits, and learn nothing of them.
		if left[resupply] != len(blinded) {
			t.Errorf("a resupply: %t; the kits leave %v", resupply, left)
		}
	}
}
