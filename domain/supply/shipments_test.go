package supply_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// firstShipment creates and dispatches the sender's first shipment, and returns the sender's stock afterwards.
func firstShipment(from stock, sender supply.OfStock, to supply.LocationID, kits ...supply.KitNumber) stock {
	id := supply.ShipmentID(sender.Location + "-0001")
	return from.When(createShipment(sender.Location, to, "r", kits...)).Then(shipmentCreated(sender, id, to, kits...)).
		When(dispatchShipment(facts(nil), sender.Location, id, "2026-03-09")).Then(shipmentDispatched(sender, id, to, "2026-03-09"))
}

func TestAcceptDelivery(t *testing.T) {
	delivery := func(depot supply.LocationID, n int, kits ...supply.KitNumber) supply.KitsRegistered {
		return supply.KitsRegistered{Study: pain, Depot: depot, Delivery: n, Kits: kits, Contents: contentsOf(kits...)}
	}
	known := []supply.Event{delivery("D", 1, "K1", "K2"), delivery("E", 2, "K3", "K4")}
	accept := func(n int, more ...supply.Event) stockDecision {
		f := facts(func(f *supply.Facts) { f.Supply = theSupply(append(known, more...)...) })
		return decisionWith(supply.AcceptDelivery, f, supply.TakeInDelivery{AtDepot: atDepot, Delivery: n})
	}
	nothing := scenario.For(t, supply.StockDecider).Strict()
	in := supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: kits("K1", "K2"), Contents: contentsOf("K1", "K2")}
	nothing.When(accept(1)).Then(in).When(accept(1)).Then()
	for _, n := range []int{-1, 0, 2, 3} { // 2 is a delivery to another depot
		nothing.When(accept(n)).ThenRefused("delivery_not_found")
	}
	// Kits that arrive after the recall of their lot are quarantined at once.
	recall := supply.LotRecalled{Study: pain, Lot: "L1", Reason: "impurity"}
	quarantined := supply.KitsQuarantined{OfStock: depot, Kits: kits("K1"), Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1"}
	nothing.When(accept(1, recall)).Then(in, quarantined).When(accept(1, recall)).Then()
	nothing.When(accept(1, supply.LotRecalled{Study: pain, Lot: "L9"})).Then(in)
}

func TestCreateShipment(t *testing.T) {
	given := strictStockAt(t, depot, "K1", "K3")
	given.When(createShipment("D", "A", "", "K1")).ThenRefused("reason_required")
	given.When(createShipment("D", "A", strings.Repeat("r", 501), "K1")).ThenRefused("value_too_long")
	given.When(createShipment("D", "A", "r")).ThenRefused("value_out_of_range")
	given.When(createShipment("D", "A", "r", make([]supply.KitNumber, 1001)...)).ThenRefused("value_out_of_range")
	// A site that is not active can be supplied, because it needs kits before it is activated.
	given.When(createShipment("D", "B", "r", "K1")).Then(shipmentCreated(depot, "D-0001", "B", "K1")).
		When(createShipment("D", "A", "r", "K3")).Then(shipmentCreated(depot, "D-0002", "A", "K3"))

	atSite := strictStockAt(t, site, "K1", "K2", "K3", "K4", "K6")
	atSite.When(createShipment("A", "B", "r", "K1")).ThenRefused("shipment_between_sites")
	// While kits are held, the answer is the same for those that are and for those that are not.
	for _, kit := range kits("K1", "K2") {
		atSite.Given(stockHeld(anna, kitsByArm{x: "K1", y: "K3"})).When(createShipment("A", "D", "r", kit)).ThenRefused("enrollment_under_way")
	}
	allocated := atSite.Given(kitAllocated(anna, "K1"))
	allocated.When(createShipment("A", "D", "r", "K1")).ThenRefused("kit_status")
	dispensed := allocated.Given(kitDispensed(anna, "K1", ""))
	dispensed.When(createShipment("A", "D", "r", "K1")).ThenRefused("kit_status")
	returned := dispensed.Given(kitReturned(anna, "K1", ""))
	returned.When(createShipment("A", "D", "r", "K1")).ThenRefused("kit_not_reconciled")
	// A site sends back used, expired and damaged kits, kits that expire soon, and kits of an unreleased lot.
	back := kits("K1", "K2", "K3", "K5", "K6")
	returned.Given(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1"}, supply.KitsExpired{OfStock: site, Kits: kits("K2")},
		supply.ShipmentReceived{OfStock: site, Shipment: "D-0002", Available: kits("K5"), Damaged: kits("K3"), Contents: contentsOf("K5")}).
		When(createShipment("A", "D", "r", "K6", "K5", "K3", "K2", "K1")).
		Then(shipmentCreated(site, "A-0001", "D", back...))
}

func TestDispatchAndCancel(t *testing.T) {
	packed := strictStockAt(t, depot, "K1", "K3").When(createShipment("D", "A", "r", "K1", "K3")).
		Then(shipmentCreated(depot, "D-0001", "A", "K1", "K3"))
	dispatching := func(id supply.ShipmentID, on domain.Date, carrier string) stockDecision {
		cmd := supply.DispatchShipment{FromLocation: fromLocation("D"), Shipment: id, On: on, Carrier: carrier}
		return decisionWith(supply.Dispatch, facts(nil), cmd)
	}
	packed.When(dispatching("D-0002", "2026-03-10", "")).ThenRefused("shipment_not_found")
	packed.When(dispatching("D-0001", "today", "")).ThenRefused("malformed_date")
	packed.When(dispatching("D-0001", "2026-03-12", "")).ThenRefused("captured_in_future")
	packed.When(dispatching("D-0001", "2026-03-10", strings.Repeat("c", 201))).ThenRefused("value_too_long")
	left := shipmentDispatched(depot, "D-0001", "A", "2026-03-10")
	packed.When(dispatching("D-0001", "2026-03-10", "")).Then(left).
		When(dispatching("D-0001", "2026-03-10", "")).ThenRefused("shipment_status")

	byVan := left
	byVan.Carrier = "van 7"
	packed.When(dispatching("D-0001", "2026-03-10", "van 7")).Then(byVan)

	packed.When(cancelShipment("D-0001", "")).ThenRefused("reason_required")
	packed.When(cancelShipment("D-0001", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	packed.When(cancelShipment("D-0002", "r")).ThenRefused("shipment_not_found")

	// A shipment with a kit that was quarantined, lost or expired in the meantime does not leave. When the shipment is
	// cancelled, this kit keeps its new status, and the others can be sent.
	quarantined := supply.KitsQuarantined{OfStock: depot, Kits: kits("K1"), Cause: supply.CauseOther}
	for want, e := range map[supply.KitStatus]supply.StockEvent{
		supply.KitQuarantined: quarantined,
		supply.KitLostAtSite:  supply.KitLost{OfStock: depot, Kit: "K1"},
		supply.KitExpired:     supply.KitsExpired{OfStock: depot, Kits: kits("K1")},
	} {
		changed := packed.Given(e)
		changed.When(dispatching("D-0001", "2026-03-10", "")).ThenRefused("kit_status")
		cancelled := changed.When(cancelShipment("D-0001", "r")).Then(supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "r"})
		if k, _ := cancelled.State().Kits.Get("K1"); k.Status != want {
			t.Errorf("a kit that is %s is %s after its shipment was cancelled", want, k.Status)
		}
		cancelled.When(dispatching("D-0001", "2026-03-10", "")).ThenRefused("shipment_status")
		cancelled.When(createShipment("D", "A", "r", "K3")).Then(shipmentCreated(depot, "D-0002", "A", "K3"))
	}
	release := releaseKits(facts(nil), "D", "good", "K1")
	released := supply.KitsReleased{OfStock: depot, Kits: kits("K1"), Reason: "good"}
	// A kit that is released in time leaves with its shipment. After the cancellation, it can be sent again.
	packed.Given(quarantined).When(release).Then(released).When(dispatching("D-0001", "2026-03-10", "")).Then(left)
	packed.Given(quarantined, supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001"}).When(release).Then(released).
		When(createShipment("D", "A", "r", "K1")).Then(shipmentCreated(depot, "D-0002", "A", "K1"))
}

// A suspension of shipping stops what goes to sites. Drug still comes back to a depot, as it does while one site is paused: a recall may
// be why the study is suspended.
func TestASuspensionOfShippingLetsDrugComeBack(t *testing.T) {
	suspended := func(f *supply.Facts) {
		f.Study = study.Decider.Evolve(f.Study, study.Suspended{Study: pain, Activities: []study.Activity{study.ActivityShipping}})
		f.Supply = theSupply(supply.DepotOpened{Study: pain, Depot: "E"})
	}
	create := func(from, to supply.LocationID, f supply.Facts) stockDecision {
		return decisionWith(supply.Create, f, supply.CreateShipment{FromLocation: fromLocation(from), To: to, Kits: kits("K1"),
			Reasoned: domain.Because("r")})
	}
	atDepot, atSite := strictStockAt(t, depot, "K1"), strictStockAt(t, site, "K1")
	atDepot.When(create("D", "A", facts(suspended))).ThenRefused("activity_paused")
	packed := atDepot.When(create("D", "A", facts(nil))).Then(shipmentCreated(depot, "D-0001", "A", "K1"))
	packed.When(dispatchShipment(facts(suspended), "D", "D-0001", "2026-03-10")).ThenRefused("activity_paused")

	atDepot.When(create("D", "E", facts(suspended))).Then(shipmentCreated(depot, "D-0001", "E", "K1")).
		When(dispatchShipment(facts(suspended), "D", "D-0001", "2026-03-10")).Then(shipmentDispatched(depot, "D-0001", "E", "2026-03-10"))
	atSite.When(create("A", "D", facts(suspended))).Then(shipmentCreated(site, "A-0001", "D", "K1")).
		When(dispatchShipment(facts(suspended), "A", "A-0001", "2026-03-10")).Then(shipmentDispatched(site, "A-0001", "D", "2026-03-10"))
}

// A kit that expired while it was packed can be packed for another shipment. It leaves with the second shipment,
// whether or not the first is cancelled.
func TestAKitLeavesWithItsLastShipment(t *testing.T) {
	made := func(id supply.ShipmentID) supply.ShipmentCreated {
		return shipmentCreated(site, id, "D", "K1")
	}
	dispatching := func(id supply.ShipmentID) stockDecision {
		return dispatchShipment(facts(nil), "A", id, "2026-03-10")
	}
	twice := strictStockAt(t, site, "K1").When(createShipment("A", "D", "r", "K1")).Then(made("A-0001")).
		Given(supply.KitsExpired{OfStock: site, Kits: kits("K1")}).When(createShipment("A", "D", "r", "K1")).Then(made("A-0002"))
	twice.When(dispatching("A-0001")).ThenRefused("kit_status")
	left := shipmentDispatched(site, "A-0002", "D", "2026-03-10")
	twice.When(dispatching("A-0002")).Then(left)
	twice.Given(supply.ShipmentCancelled{OfStock: site, Shipment: "A-0001"}).When(dispatching("A-0002")).Then(left)
}

func TestReceiveRefusals(t *testing.T) {
	sent := senderFacts(firstShipment(strictStockAt(t, depot, "K1", "K3"), depot, "A", "K1", "K3"))
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
		{"value_too_long", "note", func(c *supply.ReceiveShipment) { c.Note = personal.Text(strings.Repeat("n", 501)) }},
		{"unknown_code", "temperature", func(c *supply.ReceiveShipment) { c.Temperature = "" }},
		{"kit_not_in_shipment", "damaged", func(c *supply.ReceiveShipment) { c.Damaged = kits("K2") }},
		{"kit_not_in_shipment", "missing", func(c *supply.ReceiveShipment) { c.Missing = kits("") }},
		{"kit_named_twice", "damaged", func(c *supply.ReceiveShipment) { c.Damaged = kits("K1", "K1") }},
		{"kit_named_twice", "missing", func(c *supply.ReceiveShipment) {
			c.Damaged, c.Missing = kits("K1"), kits("K1")
		}},
	} {
		for range 5 { // the answer does not depend on the order of a map
			if r := nothing.When(receiveShipment(sent, site, "D", c.change)).ThenRefused(c.code); r.Field != c.field {
				t.Errorf("%s: the field is %s, not %s", c.code, r.Field, c.field)
			}
		}
	}
	nothing.When(reportShipmentLost(sent, "D-0001", "")).ThenRefused("reason_required")
	nothing.When(reportShipmentLost(sent, "D-0001", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	nothing.When(reportShipmentLost(sent, "D-0002", "r")).ThenRefused("shipment_not_found")
}

// After a shipment was lost, its receiver can still quarantine a recalled lot.
func TestALostShipmentDoesNotPreventARecall(t *testing.T) {
	sent := firstShipment(stockAt(t, depot, "K1", "K3"), depot, "A", "K1", "K3")
	lost := stockAt(t, site, "K7").When(reportShipmentLost(senderFacts(sent), "D-0001", "theft")).
		Then(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", From: "D", Kits: kits("K1", "K3"), Reason: "theft",
			Contents: contentsOf("K1", "K3")})
	lost.When(quarantineLot("A", "L1", "impurity")).
		Then(supply.KitsQuarantined{OfStock: site, Kits: kits("K7"), Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1"})
}

// Kits that come back to a depot wait for a decision if no patient had them. All others go to no patient any more, and can be destroyed.
func TestR36_KitsThatComeBackAreAccountedFor(t *testing.T) {
	sender := firstShipment(stockAt(t, site, "K1", "K3"), site, "D", "K1", "K3")
	withDamage := func(c *supply.ReceiveShipment) { c.Damaged = kits("K3") }
	back := strictStockAt(t, depot, "K2").When(receiveShipment(senderFacts(sender), depot, "A", withDamage)).
		Then(supply.ShipmentReceived{OfStock: depot, Shipment: "A-0001", From: "A", On: "2026-03-10",
			Damaged: kits("K3"), Quarantined: kits("K1"), Contents: contentsOf("K1", "K3")})
	back.When(createShipment("D", "A", "r", "K1")).ThenRefused("kit_status")
	back.When(createShipment("D", "A", "r", "K3")).ThenRefused("kit_status")
	back.When(destroy("D", "K3", "K1")).
		Then(supply.KitsDestroyed{OfStock: depot, Kits: kits("K1", "K3"), On: "2026-03-10", Certificate: "c"})
	sender.When(reportKitLost("K1", "r")).ThenRefused("kit_status")
	back.When(releaseKits(facts(nil), "D", "r", "K1")).Then(supply.KitsReleased{OfStock: depot, Kits: kits("K1"), Reason: "r"}).
		When(createShipment("D", "A", "r", "K1")).Then(shipmentCreated(depot, "D-0001", "A", "K1"))

	used := stockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), kitReturned(anna, "K1", ""),
		supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1"})
	unused := func(c *supply.ReceiveShipment) {}
	strictStockAt(t, depot).When(receiveShipment(senderFacts(firstShipment(used, site, "D", "K1", "K2")), depot, "A", unused)).
		Then(supply.ShipmentReceived{OfStock: depot, Shipment: "A-0001", From: "A", On: "2026-03-10",
			Returned: kits("K1"), Quarantined: kits("K2"), Contents: contentsOf("K1", "K2")})
}

// A used kit that is lost on its way back, and found, can go to nobody.
func TestAUsedKitIsNeverAvailableAgain(t *testing.T) {
	used := stockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), kitReturned(anna, "K1", ""),
		supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1"})
	sent := senderFacts(firstShipment(used, site, "D", "K1", "K2"))
	kept := supply.Keeping{{Status: supply.KitLostInTransit, Before: supply.KitSentBack, Kits: kits("K1")}}
	lost := supply.ReportShipmentLost{AtLocation: atLocation("D"), From: "A", Shipment: "A-0001", Reasoned: domain.Because("r")}
	missing := func(c *supply.ReceiveShipment) { c.Missing = kits("K1", "K2") }
	for name, gone := range map[string]stock{
		"lost": strictStockAt(t, depot).When(decisionWith(supply.RecordShipmentLoss, sent, lost)).Then(supply.ShipmentLost{OfStock: depot,
			Shipment: "A-0001", From: "A", Kits: kits("K1", "K2"), Reason: "r", Contents: contentsOf("K1", "K2"), Kept: kept}),
		"missing": strictStockAt(t, depot).When(receiveShipment(sent, depot, "A", missing)).Then(supply.ShipmentReceived{OfStock: depot,
			Shipment: "A-0001", From: "A", On: "2026-03-10", Missing: kits("K1", "K2"), Contents: contentsOf("K1", "K2"), Kept: kept}),
	} {
		found := gone.Given(supply.KitFound{OfStock: depot, Kit: "K1"}, supply.KitFound{OfStock: depot, Kit: "K2"}).
			When(releaseKits(facts(nil), "D", "r", "K1", "K2")).
			Then(supply.KitsReleased{OfStock: depot, Kits: kits("K1", "K2"), Reason: "r"})
		if k, _ := found.State().Kits.Get("K1"); k.Status != supply.KitSentBack {
			t.Errorf("%s: the used kit is %+v", name, k)
		}
		if k, _ := found.State().Kits.Get("K2"); k.Status != supply.KitAvailable {
			t.Errorf("%s: the kit that nobody had is %+v", name, k)
		}
		found.When(createShipment("D", "A", "r", "K1")).ThenRefused("kit_status")
	}
}

// A depot sends another one every kit, whatever its status, and the kit keeps it.
func TestKitsBetweenDepotsKeepTheirStatus(t *testing.T) {
	second := supply.OfStock{Study: pain, Location: "E"}
	two := facts(func(f *supply.Facts) { f.Supply = theSupply(supply.DepotOpened{Study: pain, Depot: "E"}) })
	all := kits("K1", "K2", "K3", "K4", "K5", "K6") // K5 is of a lot that is not released, K6 expires within days
	from := stockAt(t, depot, all...).Given(
		supply.KitsQuarantined{OfStock: depot, Kits: kits("K1"), Cause: supply.CauseOther},
		supply.KitsQuarantined{OfStock: depot, Kits: kits("K2"), Cause: supply.CauseRecall, Lot: "L2"},
		supply.KitsExpired{OfStock: depot, Kits: kits("K4")})
	from.When(createShipment("D", "A", "r", "K1")).ThenRefused("kit_status")
	create := supply.CreateShipment{FromLocation: fromLocation("D"), To: "E", Kits: all, Reasoned: domain.Because("r")}
	packed := from.When(decisionWith(supply.Create, two, create)).Then(shipmentCreated(depot, "D-0001", "E", all...))
	sent := packed.When(dispatchShipment(two, "D", "D-0001", "2026-03-09")).Then(shipmentDispatched(depot, "D-0001", "E", "2026-03-09"))
	arriving := two
	arriving.Other = sent.State()
	there := scenario.For(t, supply.StockDecider).When(receiveShipment(arriving, second, "D", func(c *supply.ReceiveShipment) {
		c.Missing = kits("K2")
	})).Then(supply.ShipmentReceived{OfStock: second, Shipment: "D-0001", From: "D", On: "2026-03-10", Available: kits("K3", "K5", "K6"),
		Missing: kits("K2"), Contents: contentsOf(all...), Kept: supply.Keeping{
			{Status: supply.KitQuarantined, Before: supply.KitAvailable, Kits: kits("K1")},
			{Status: supply.KitExpired, Before: supply.KitAvailable, Kits: kits("K4")}}})
	for n, status := range map[supply.KitNumber]supply.KitStatus{"K1": supply.KitQuarantined, "K2": supply.KitLostInTransit,
		"K3": supply.KitAvailable, "K4": supply.KitExpired, "K5": supply.KitAvailable} {
		if k, _ := there.State().Kits.Get(n); k.Status != status {
			t.Errorf("kit %s is %+v", n, k)
		}
	}
}

// A site sends back what is in quarantine. If no patient had it, it still waits for a decision at the depot.
func TestQuarantinedKitsGoBack(t *testing.T) {
	given := stockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K2"),
		supply.KitsQuarantined{OfStock: site, Kits: kits("K1", "K2"), Cause: supply.CauseExcursion})
	sent := senderFacts(firstShipment(given, site, "D", "K1", "K2"))
	strictStockAt(t, depot).When(receiveShipment(sent, depot, "A", func(*supply.ReceiveShipment) {})).
		Then(supply.ShipmentReceived{OfStock: depot, Shipment: "A-0001", From: "A", On: "2026-03-10", Returned: kits("K2"),
			Quarantined: kits("K1"), Contents: contentsOf("K1", "K2")})
}

// A shipment that was packed in time does not leave when its kits expire too soon by then.
func TestDoNotShipDaysHoldAtTheDispatch(t *testing.T) {
	packed := stockAt(t, depot, "K7").Given(shipmentCreated(depot, "D-0001", "A", "K7"))
	packed.When(dispatchShipment(facts(nil), "D", "D-0001", "2026-03-09")).Then(shipmentDispatched(depot, "D-0001", "A", "2026-03-09"))
	limited := facts(func(f *supply.Facts) { f.Supply = theSupply(supply.DoNotShipDaysSet{Study: pain, Days: 90}) })
	packed.When(dispatchShipment(limited, "D", "D-0001", "2026-03-09")).ThenRefused("kits_not_sendable")
	tooLate := domain.Call{At: call.At.AddDate(0, 0, 1)}
	cmd := supply.DispatchShipment{FromLocation: fromLocation("D"), Shipment: "D-0001", On: "2026-03-09"}
	packed.When(scenario.SentWithFacts(supply.Dispatch, facts(nil), cmd, tooLate)).ThenRefused("kits_not_sendable")
}

// What goes from depot to depot stays what it is.
func TestKitsBetweenDepotsCanBeUsed(t *testing.T) {
	second := supply.OfStock{Study: pain, Location: "E"}
	two := facts(func(f *supply.Facts) { f.Supply = theSupply(supply.DepotOpened{Study: pain, Depot: "E"}) })
	create := supply.CreateShipment{FromLocation: fromLocation("D"), To: "E", Kits: kits("K1", "K3"), Reasoned: domain.Because("r")}
	from := two
	from.Other = stockAt(t, depot, "K1", "K3").When(decisionWith(supply.Create, two, create)).
		Then(shipmentCreated(depot, "D-0001", "E", "K1", "K3")).
		When(dispatchShipment(two, "D", "D-0001", "2026-03-09")).Then(shipmentDispatched(depot, "D-0001", "E", "2026-03-09")).State()
	strictStockAt(t, second).When(receiveShipment(from, second, "D", func(c *supply.ReceiveShipment) { c.Damaged = kits("K3") })).
		Then(supply.ShipmentReceived{OfStock: second, Shipment: "D-0001", From: "D", On: "2026-03-10",
			Damaged: kits("K3"), Available: kits("K1"), Contents: contentsOf("K1", "K3")})
}

// Neither an expiry date nor a recall keeps used and expired kits from being sent back.
func TestExpiryAndRecallDoNotStopReturns(t *testing.T) {
	given := stockAt(t, site, "K1", "K2", "K3").Given(
		kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), kitReturned(anna, "K1", ""),
		supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1"}, supply.KitsExpired{OfStock: site, Kits: kits("K2")})
	recalled := func(kits ...supply.KitNumber) supply.KitsQuarantined {
		return supply.KitsQuarantined{OfStock: site, Kits: append([]supply.KitNumber{}, kits...), Cause: supply.CauseRecall, Reason: "r",
			Lot: "L1", Affected: []supply.Slot{{Patient: anna}}}
	}
	packed := given.When(createShipment("A", "D", "r", "K1", "K2")).Then(shipmentCreated(site, "A-0001", "D", "K1", "K2")).
		When(expire("A", "2027-06-01")).Then(supply.KitsExpired{OfStock: site, Kits: kits("K3"), Through: "2027-06-01"}).
		When(quarantineLot("A", "L1", "r")).Then(recalled())
	sent := packed.When(dispatchShipment(facts(nil), "A", "A-0001", "2026-03-10")).
		Then(shipmentDispatched(site, "A-0001", "D", "2026-03-10"))
	sent.When(quarantineLot("A", "L2", "r")).Then()
	// The event names the patient who had a kit of the lot, although the kit has left.
	given.When(createShipment("A", "D", "r", "K1")).Then(shipmentCreated(site, "A-0001", "D", "K1")).
		Given(shipmentDispatched(site, "A-0001", "D", "")).
		When(quarantineLot("A", "L1", "r")).Then(recalled("K3"))
}

// Held kits count as the site's stock, because most of them are free again after the draw. Kits that are lost, of a
// cancelled shipment or unusable do not count.
func TestResupplyCounts(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 2, OverdueDays: 5}
	plan := func(siteStock stock, in study.Study, r supply.ResupplyRule) stockDecision {
		f := supply.Facts{Study: in, Supply: theSupply(supply.ResupplyRuleSet{Study: pain, Rule: r}), Other: siteStock.State()}
		return decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A"})
	}
	full := stockAt(t, site, "K1", "K2", "K3", "K4")
	extra := func() stock {
		in := supply.DeliveryTakenIn{OfStock: depot, Delivery: 1, Kits: kits("M1", "M2"), Contents: blind.Of(more)}
		return scenario.For(t, supply.StockDecider).Given(in)
	}
	extra().When(plan(full, theStudy(nil), rule)).Then()
	extra().When(plan(full.Given(stockHeld(anna, kitsByArm{x: "K1", y: "K3"})), theStudy(nil), rule)).Then()
	one := supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "A", Kits: kits("M1"), Resupply: true, Reason: "resupply",
		Contents: blind.Of(supply.KitContents{"M1": more["M1"]})}
	low := full.Given(kitAllocated(anna, "K1"))
	both := one // chance decides for arm y, and one kit more of arm x keeps it at the trigger
	both.Kits, both.Contents, both.Raises = kits("M1", "M2"), blind.Of(more), 1
	made := extra().When(plan(low, theStudy(nil), rule)).Then(both)
	made.When(plan(low, theStudy(nil), rule)).Then()
	again, second := both, one
	again.Shipment, second.Shipment = "D-0002", "D-0002"
	again.Raises = 0 // the stock has been raised already
	made.Given(supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001"}).When(plan(low, theStudy(nil), rule)).Then(again)
	short := supply.ResupplyFellShort{OfStock: depot, To: "A", Missing: blind.Of(supply.MissingKits{x: 1, y: 1})}
	lost := low.Given(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", Kits: one.Kits})
	made.Given(shipmentDispatched(depot, "D-0001", "A", "")).When(plan(lost, theStudy(nil), rule)).Then(short)
	// The rule does not apply to another depot, or to a site that is not active. A shipment to another site does not
	// count.
	other := rule
	other.Depot = "E"
	extra().When(plan(low, theStudy(nil), other)).Then()
	extra().When(plan(low, study.Decider.Evolve(theStudy(nil), study.SiteClosed{Study: pain, Site: "A"}), rule)).Then()
	toAnotherSite := supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "B", Kits: kits("M2")}
	extra().Given(toAnotherSite).When(plan(low, theStudy(nil), rule)).Then(second)
}

// more are other kits, one of each arm.
var more = supply.KitContents{
	"M1": {Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 10}, "M2": {Arm: y, Lot: "L1", Expiry: "2027-01-01", Units: 10},
}
