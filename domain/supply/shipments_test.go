package supply_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

type stockDecision = func(supply.Stock) ([]supply.StockEvent, error)

// strictlyAt is a place with these kits available, whose refusals have to say what to do and where the fault is.
func strictlyAt(t *testing.T, p supply.OfStock, kits ...supply.KitNumber) stock {
	return at(t, p, kits...).Strict()
}

func creating(from, to supply.LocationID, reason string, kits ...supply.KitNumber) stockDecision {
	return asked(supply.Create, facts(nil), supply.CreateShipment{FromLocation: supply.FromLocation{Study: pain, From: from}, To: to, Kits: kits, Reasoned: domain.Because(reason)})
}

// sending creates and dispatches a shipment from a place, and returns the place afterwards.
func sending(from stock, p supply.OfStock, to supply.LocationID, kits ...supply.KitNumber) stock {
	made := supply.ShipmentCreated{OfStock: p, Shipment: supply.ShipmentID(p.Location + "-0001"), To: to, Kits: kits, Reason: "r", Contents: holding(kits...)}
	return from.When(creating(p.Location, to, "r", kits...)).Then(made).
		When(asked(supply.Dispatch, facts(nil), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: p.Location}, Shipment: made.Shipment, On: "2026-03-09", Carrier: "van 7"})).
		Then(supply.ShipmentDispatched{OfStock: p, Shipment: made.Shipment, To: to, On: "2026-03-09", Carrier: "van 7"})
}

func from(sender stock) supply.Facts {
	return facts(func(f *supply.Facts) { f.Other = sender.State() })
}

func receiving(f supply.Facts, p supply.OfStock, sender supply.LocationID, change func(*supply.ReceiveShipment)) stockDecision {
	c := supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: pain, Location: p.Location}, From: sender, Shipment: supply.ShipmentID(sender + "-0001"), On: "2026-03-10", Temperature: supply.TemperatureInRange}
	if change != nil {
		change(&c)
	}
	return asked(supply.Receive, f, c)
}

func TestTakeIn(t *testing.T) {
	delivery := func(depot supply.LocationID, n int, kits ...supply.KitNumber) supply.KitsRegistered {
		return supply.KitsRegistered{Study: pain, Depot: depot, Delivery: n, Kits: kits, Contents: holding(kits...)}
	}
	known := []supply.Event{delivery("D", 1, "K1", "K2"), delivery("E", 2, "K3", "K4")}
	taking := func(n int, more ...supply.Event) stockDecision {
		f := facts(func(f *supply.Facts) { f.Supply = theSupply(append(known, more...)...) })
		return asked(supply.AcceptDelivery, f, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Delivery: n})
	}
	nothing := scenario.For(t, supply.StockDecider).Strict()
	in := supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: []supply.KitNumber{"K1", "K2"}, Contents: holding("K1", "K2")}
	nothing.When(taking(1)).Then(in).When(taking(1)).Then()
	for _, n := range []int{-1, 0, 2, 3} { // 2 is another depot's
		nothing.When(taking(n)).ThenRefused("delivery_not_found")
	}
	// What comes in after the recall of its lot is set aside at once.
	recall := supply.LotRecalled{Study: pain, Lot: "L1", Reason: "impurity"}
	aside := supply.KitsQuarantined{OfStock: depot, Kits: []supply.KitNumber{"K1"}, Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1"}
	nothing.When(taking(1, recall)).Then(in, aside).When(taking(1, recall)).Then()
	nothing.When(taking(1, supply.LotRecalled{Study: pain, Lot: "L9"})).Then(in)
}

func TestCreateShipment(t *testing.T) {
	given := strictlyAt(t, depot, "K1", "K3")
	given.When(creating("D", "A", "", "K1")).ThenRefused("reason_required")
	given.When(creating("D", "A", strings.Repeat("r", 501), "K1")).ThenRefused("value_too_long")
	given.When(creating("D", "A", "r")).ThenRefused("value_out_of_range")
	given.When(creating("D", "A", "r", make([]supply.KitNumber, 1001)...)).ThenRefused("value_out_of_range")
	// A site that is not active can be supplied: it has to be before it opens.
	given.When(creating("D", "B", "r", "K1")).Then(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "B", Kits: []supply.KitNumber{"K1"}, Reason: "r", Contents: holding("K1")}).
		When(creating("D", "A", "r", "K3")).Then(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0002", To: "A", Kits: []supply.KitNumber{"K3"}, Reason: "r", Contents: holding("K3")})

	here := strictlyAt(t, site, "K1", "K2", "K3", "K4", "K6")
	here.When(creating("A", "B", "r", "K1")).ThenRefused("shipment_between_sites")
	// While kits are held, the answer is the same for those that are and for those that are not.
	for _, kit := range []supply.KitNumber{"K1", "K2"} {
		here.Given(held(supply.HeldKits{x: "K1", y: "K3"})).When(creating("A", "D", "r", kit)).ThenRefused("enrollment_under_way")
	}
	given2 := here.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"})
	given2.When(creating("A", "D", "r", "K1")).ThenRefused("kit_status")
	dispensed := given2.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1"})
	dispensed.When(creating("A", "D", "r", "K1")).ThenRefused("kit_status")
	returned := dispensed.Given(supply.KitReturned{OfStock: site, Patient: anna, Kit: "K1"})
	returned.When(creating("A", "D", "r", "K1")).ThenRefused("kit_not_reconciled")
	// A site sends back what is used, expired or broken, and what is near its expiry or of a lot that nobody may use.
	back := []supply.KitNumber{"K1", "K2", "K3", "K5", "K6"}
	returned.Given(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1"}, supply.KitsExpired{OfStock: site, Kits: []supply.KitNumber{"K2"}},
		supply.ShipmentReceived{OfStock: site, Shipment: "D-0002", Available: []supply.KitNumber{"K5"}, Damaged: []supply.KitNumber{"K3"}, Contents: holding("K5")}).
		When(creating("A", "D", "r", "K6", "K5", "K3", "K2", "K1")).
		Then(supply.ShipmentCreated{OfStock: site, Shipment: "A-0001", To: "D", Kits: back, Reason: "r", Contents: holding(back...)})
}

func TestDispatchAndCancel(t *testing.T) {
	packed := strictlyAt(t, depot, "K1", "K3").When(creating("D", "A", "r", "K1", "K3")).
		Then(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "A", Kits: []supply.KitNumber{"K1", "K3"}, Reason: "r", Contents: holding("K1", "K3")})
	dispatching := func(id supply.ShipmentID, on domain.Date, carrier string) stockDecision {
		return asked(supply.Dispatch, facts(nil), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: "D"}, Shipment: id, On: on, Carrier: carrier})
	}
	packed.When(dispatching("D-0002", "2026-03-10", "")).ThenRefused("shipment_not_found")
	packed.When(dispatching("D-0001", "today", "")).ThenRefused("malformed_date")
	packed.When(dispatching("D-0001", "2026-03-12", "")).ThenRefused("captured_in_future")
	packed.When(dispatching("D-0001", "2026-03-10", strings.Repeat("c", 201))).ThenRefused("value_too_long")
	packed.When(dispatching("D-0001", "2026-03-10", "")).Then(supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0001", To: "A", On: "2026-03-10"}).
		When(dispatching("D-0001", "2026-03-10", "")).ThenRefused("shipment_status")

	cancelling := func(id supply.ShipmentID, reason string) stockDecision {
		return scenario.Sent(supply.Cancel, supply.CancelShipment{FromLocation: supply.FromLocation{Study: pain, From: "D"}, Shipment: id, Reasoned: domain.Because(reason)}, call)
	}
	packed.When(cancelling("D-0001", "")).ThenRefused("reason_required")
	packed.When(cancelling("D-0001", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	packed.When(cancelling("D-0002", "r")).ThenRefused("shipment_not_found")

	// A kit that was set aside, lost or expired meanwhile does not leave. After the shipment is cancelled, it is what it has
	// become, and the others can be sent.
	quarantine := supply.KitsQuarantined{OfStock: depot, Kits: []supply.KitNumber{"K1"}, Cause: supply.CauseOther}
	for want, e := range map[supply.KitStatus]supply.StockEvent{
		supply.KitQuarantined: quarantine, supply.KitIsLost: supply.KitLost{OfStock: depot, Kit: "K1"}, supply.KitExpired: supply.KitsExpired{OfStock: depot, Kits: []supply.KitNumber{"K1"}},
	} {
		apart := packed.Given(e)
		apart.When(dispatching("D-0001", "2026-03-10", "")).ThenRefused("kit_status")
		put := apart.When(cancelling("D-0001", "r")).Then(supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "r"})
		if k, _ := put.State().Kits.Get("K1"); k.Status != want {
			t.Errorf("a kit that is %s is %s after its shipment was cancelled", want, k.Status)
		}
		put.When(dispatching("D-0001", "2026-03-10", "")).ThenRefused("shipment_status")
		put.When(creating("D", "A", "again", "K3")).Then(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0002", To: "A", Kits: []supply.KitNumber{"K3"}, Reason: "again", Contents: holding("K3")})
	}
	release := asked(supply.ReleaseFromQuarantine, facts(nil), supply.ReleaseKits{AtLocation: supply.AtLocation{Study: pain, Location: "D"}, Kits: []supply.KitNumber{"K1"}, Reasoned: domain.Because("good")})
	freed := supply.KitsReleased{OfStock: depot, Kits: []supply.KitNumber{"K1"}, Reason: "good"}
	// Released in time, the kit leaves with its shipment; released later, it can be sent again.
	packed.Given(quarantine).When(release).Then(freed).When(dispatching("D-0001", "2026-03-10", "")).Then(supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0001", To: "A", On: "2026-03-10"})
	packed.Given(quarantine, supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001"}).When(release).Then(freed).
		When(creating("D", "A", "r", "K1")).Then(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0002", To: "A", Kits: []supply.KitNumber{"K1"}, Reason: "r", Contents: holding("K1")})
}

// A kit that expired while it was packed can be packed with another shipment. It leaves with that one, and what becomes of
// the first does not touch it.
func TestAKitLeavesWithTheShipmentThatItWasPackedWithLast(t *testing.T) {
	made := func(id supply.ShipmentID) supply.ShipmentCreated {
		return supply.ShipmentCreated{OfStock: site, Shipment: id, To: "D", Kits: kits("K1"), Reason: "r", Contents: holding("K1")}
	}
	dispatching := func(id supply.ShipmentID) stockDecision {
		return asked(supply.Dispatch, facts(nil), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: "A"}, Shipment: id, On: "2026-03-10"})
	}
	twice := strictlyAt(t, site, "K1").When(creating("A", "D", "r", "K1")).Then(made("A-0001")).
		Given(supply.KitsExpired{OfStock: site, Kits: kits("K1")}).When(creating("A", "D", "r", "K1")).Then(made("A-0002"))
	twice.When(dispatching("A-0001")).ThenRefused("kit_status")
	left := supply.ShipmentDispatched{OfStock: site, Shipment: "A-0002", To: "D", On: "2026-03-10"}
	twice.When(dispatching("A-0002")).Then(left)
	twice.Given(supply.ShipmentCancelled{OfStock: site, Shipment: "A-0001"}).When(dispatching("A-0002")).Then(left)
}

func TestReceiveRefusals(t *testing.T) {
	sent := from(sending(strictlyAt(t, depot, "K1", "K3"), depot, "A", "K1", "K3"))
	nothing := scenario.For(t, supply.StockDecider).Strict()
	for _, c := range []struct {
		code, field string
		change      func(*supply.ReceiveShipment)
	}{
		{"shipment_not_found", "shipment", func(c *supply.ReceiveShipment) { c.Shipment = "D-0002" }},
		{"shipment_not_found", "shipment", func(c *supply.ReceiveShipment) { c.Location = "B" }},
		{"malformed_date", "on", func(c *supply.ReceiveShipment) { c.On = "10.3." }},
		{"captured_in_future", "on", func(c *supply.ReceiveShipment) { c.On = "2026-03-12" }},
		{"received_before_dispatch", "on", func(c *supply.ReceiveShipment) { c.On = "2026-03-08" }},
		{"value_too_long", "note", func(c *supply.ReceiveShipment) { c.Note = strings.Repeat("n", 501) }},
		{"unknown_code", "temperature", func(c *supply.ReceiveShipment) { c.Temperature = "" }},
		{"kit_not_in_shipment", "damaged", func(c *supply.ReceiveShipment) { c.Damaged = []supply.KitNumber{"K2"} }},
		{"kit_not_in_shipment", "missing", func(c *supply.ReceiveShipment) { c.Missing = []supply.KitNumber{""} }},
		{"kit_named_twice", "damaged", func(c *supply.ReceiveShipment) { c.Damaged = []supply.KitNumber{"K1", "K1"} }},
		{"kit_named_twice", "missing", func(c *supply.ReceiveShipment) {
			c.Damaged, c.Missing = []supply.KitNumber{"K1"}, []supply.KitNumber{"K1"}
		}},
	} {
		for range 5 { // the same answer every time
			if r := nothing.When(receiving(sent, site, "D", c.change)).ThenRefused(c.code); r.Field != c.field {
				t.Errorf("%s: the fault is said to be in %s, not %s", c.code, r.Field, c.field)
			}
		}
	}
	losing := func(id supply.ShipmentID, reason string) stockDecision {
		return asked(supply.RecordShipmentLoss, sent, supply.ReportShipmentLost{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, From: "D", Shipment: id, Reasoned: domain.Because(reason)})
	}
	nothing.When(losing("D-0001", "")).ThenRefused("reason_required")
	nothing.When(losing("D-0001", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	nothing.When(losing("D-0002", "r")).ThenRefused("shipment_not_found")
}

// After a shipment was lost on its way, the place that waited for it can still set a recalled lot aside.
func TestALostShipmentIsNotInTheWayOfARecall(t *testing.T) {
	sent := sending(at(t, depot, "K1", "K3"), depot, "A", "K1", "K3")
	lost := at(t, site, "K7").When(asked(supply.RecordShipmentLoss, from(sent), supply.ReportShipmentLost{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, From: "D", Shipment: "D-0001", Reasoned: domain.Because("theft")})).
		Then(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", From: "D", Kits: []supply.KitNumber{"K1", "K3"}, Reason: "theft"})
	lost.When(scenario.Sent(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Lot: "L1", Reasoned: domain.Because("impurity")}, call)).
		Then(supply.KitsQuarantined{OfStock: site, Kits: []supply.KitNumber{"K7"}, Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1"})
}

// What comes back to a depot goes to nobody any more, and can be destroyed.
func TestR36_KitsThatComeBackAreAccountedFor(t *testing.T) {
	sender := sending(at(t, site, "K1", "K3"), site, "D", "K1", "K3")
	back := at(t, depot, "K2").Strict().When(receiving(from(sender), depot, "A", func(c *supply.ReceiveShipment) { c.Damaged = []supply.KitNumber{"K3"} })).
		Then(supply.ShipmentReceived{OfStock: depot, Shipment: "A-0001", From: "A", On: "2026-03-10", Damaged: []supply.KitNumber{"K3"}, Returned: []supply.KitNumber{"K1"}, Contents: holding("K1", "K3")})
	back.When(creating("D", "A", "r", "K1")).ThenRefused("kit_status")
	back.When(creating("D", "A", "r", "K3")).ThenRefused("kit_status")
	back.When(scenario.Sent(supply.Destroy, supply.DestroyKits{AtLocation: supply.AtLocation{Study: pain, Location: "D"}, Kits: []supply.KitNumber{"K3", "K1"}, On: "2026-03-10", Certificate: "c"}, call)).
		Then(supply.KitsDestroyed{OfStock: depot, Kits: []supply.KitNumber{"K1", "K3"}, On: "2026-03-10", Certificate: "c"})
	sender.When(scenario.Sent(supply.RecordKitLoss, supply.ReportKitLost{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Kit: "K1", Reasoned: domain.Because("r")}, call)).ThenRefused("kit_status")
}

// A shipment that takes used and expired kits back is not held up by what would be done with fresh ones.
func TestReturnsAreNotHeldUp(t *testing.T) {
	given := at(t, site, "K1", "K2", "K3").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"}, supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1"},
		supply.KitReturned{OfStock: site, Patient: anna, Kit: "K1"}, supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1"}, supply.KitsExpired{OfStock: site, Kits: []supply.KitNumber{"K2"}})
	packed := given.When(creating("A", "D", "r", "K1", "K2")).
		Then(supply.ShipmentCreated{OfStock: site, Shipment: "A-0001", To: "D", Kits: []supply.KitNumber{"K1", "K2"}, Reason: "r", Contents: holding("K1", "K2")}).
		When(scenario.Sent(supply.Expire, supply.ExpireKits{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Through: "2027-06-01"}, call)).
		Then(supply.KitsExpired{OfStock: site, Kits: []supply.KitNumber{"K3"}, Through: "2027-06-01"}).
		When(scenario.Sent(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Lot: "L1", Reasoned: domain.Because("r")}, call)).
		Then(supply.KitsQuarantined{OfStock: site, Kits: []supply.KitNumber{}, Cause: supply.CauseRecall, Reason: "r", Lot: "L1", Affected: []supply.Slot{{Patient: anna}}})
	sent := packed.When(asked(supply.Dispatch, facts(nil), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: "A"}, Shipment: "A-0001", On: "2026-03-10"})).
		Then(supply.ShipmentDispatched{OfStock: site, Shipment: "A-0001", To: "D", On: "2026-03-10"})
	// Who had a kit of the lot is named, though the kit is gone.
	sent.When(scenario.Sent(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Lot: "L2", Reasoned: domain.Because("r")}, call)).Then()
	given.When(creating("A", "D", "r", "K1")).Then(supply.ShipmentCreated{OfStock: site, Shipment: "A-0001", To: "D", Kits: []supply.KitNumber{"K1"}, Reason: "r", Contents: holding("K1")}).
		Given(supply.ShipmentDispatched{OfStock: site, Shipment: "A-0001", To: "D"}).
		When(scenario.Sent(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Lot: "L1", Reasoned: domain.Because("r")}, call)).
		Then(supply.KitsQuarantined{OfStock: site, Kits: []supply.KitNumber{"K3"}, Cause: supply.CauseRecall, Reason: "r", Lot: "L1", Affected: []supply.Slot{{Patient: anna}}})
}

// What is held for patients counts as there, because most of it is free again after the draw; what is lost, cancelled or
// cannot be used does not.
func TestResupplyCounts(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 2, OverdueDays: 5}
	plan := func(there stock, in study.Study, r supply.ResupplyRule) stockDecision {
		f := supply.Facts{Study: in, Supply: theSupply(supply.ResupplyRuleSet{Study: pain, Rule: r}), Other: there.State()}
		return asked(supply.Resupply, f, supply.PlanResupply{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Site: "A"})
	}
	full := at(t, site, "K1", "K2", "K3", "K4")
	extra := func() stock {
		return scenario.For(t, supply.StockDecider).Given(supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: []supply.KitNumber{"M1", "M2"}, Contents: blind.Of(more)})
	}
	extra().When(plan(full, theStudy(nil), rule)).Then()
	extra().When(plan(full.Given(held(supply.HeldKits{x: "K1", y: "K3"})), theStudy(nil), rule)).Then()
	one := supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "A", Kits: []supply.KitNumber{"M1"}, Resupply: true, Reason: "resupply", Contents: blind.Of(supply.KitContents{"M1": more["M1"]})}
	low := full.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"})
	made := extra().When(plan(low, theStudy(nil), rule)).Then(one)
	made.When(plan(low, theStudy(nil), rule)).Then()
	second := one
	second.Shipment = "D-0002"
	made.Given(supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001"}).When(plan(low, theStudy(nil), rule)).Then(second)
	short := supply.ResupplyFellShort{OfStock: depot, To: "A", Missing: blind.Of(supply.MissingKits{x: 1})}
	made.Given(supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0001", To: "A"}).When(plan(low.Given(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", Kits: one.Kits}), theStudy(nil), rule)).Then(short)
	// What comes from elsewhere, or for another place, is none of this rule's; neither is a site that is not active.
	other := rule
	other.Depot = "E"
	extra().When(plan(low, theStudy(nil), other)).Then()
	extra().When(plan(low, study.Decider.Evolve(theStudy(nil), study.SiteClosed{Study: pain, Site: "A"}), rule)).Then()
	extra().Given(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "B", Kits: []supply.KitNumber{"M2"}}).When(plan(low, theStudy(nil), rule)).Then(second)
}

// more kits of the two arms.
var more = supply.KitContents{
	"M1": {Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 10}, "M2": {Arm: y, Lot: "L1", Expiry: "2027-01-01", Units: 10},
}
