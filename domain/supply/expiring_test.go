package supply_test

import (
	"fmt"
	"testing"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/supply"
)

func TestShowExpiringKits(t *testing.T) {
	show := func(through domain.Date, at supply.LocationID) supplyDecision {
		return scenario.SentWithFacts(supply.ShowExpiring, theStudy(nil), supply.ShowExpiringKits{InStudy: domain.ForStudy(pain),
			Through: through, Location: at}, call)
	}
	given := withDepot(t)
	given.When(show("soon", "")).ThenRefused("malformed_date")
	given.When(show("2027-01-01", "Z")).ThenRefused("location_not_found")
	given.When(show("2027-01-01", "A")).Then(supply.ExpiringKitsShown{Study: pain, Through: "2027-01-01", Location: "A"})
}

// A kit is listed once, where it is, as long as somebody may still need it or has to take it out.
func TestExpiringKitsAreThoseInStock(t *testing.T) {
	created := shipmentCreated(depot, "D-0001", "A", "K2", "K3")
	dispatched := supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0001", To: "A"}
	from := stockAt(t, depot, "K1", "K2", "K3").Given(created, dispatched)
	to := stockAt(t, site)
	listed := func() (all []string) {
		t.Helper()
		kits, err := supply.Expiring(map[supply.LocationID]supply.Stock{"D": from.State(), "A": to.State()}, "2030-01-01")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kits {
			all = append(all, fmt.Sprintf("%s %s %s", k.Kit, k.Location, k.Status))
		}
		return all
	}
	if got := fmt.Sprint(listed()); got != "[K2 D in_transit K1 D available K3 D in_transit]" {
		t.Errorf("in transit, there are %s", got)
	}
	to = to.Given(supply.ShipmentReceived{OfStock: site, Shipment: "D-0001", From: "D", Available: kits("K2", "K3"),
		Contents: contentsOf("K2", "K3")}, kitAllocated(anna, "K2"), kitDispensed(anna, "K2", "2026-03-01"),
		supply.KitsExpired{OfStock: site, Kits: kits("K3"), Through: "2027-01-01"})
	if got := fmt.Sprint(listed()); got != "[K3 A expired K1 D available]" {
		t.Errorf("after the receipt, there are %s", got)
	}
	none, err := supply.Expiring(map[supply.LocationID]supply.Stock{"D": from.State()}, "2026-01-01")
	if err != nil || len(none) > 0 {
		t.Errorf("before their expiry, there are %v, %v", none, err)
	}
}
