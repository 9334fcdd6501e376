package commands_test

import (
	"fmt"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
)

// TestR37_ARecallIsSeenAtOnce lets one process recall lots, and another one send kits of them right after each recall.
func TestR37_ARecallIsSeenAtOnce(t *testing.T) {
	const lots = 12
	keys := blindingKeys(t)
	one, other := runWith(t, keys), runWith(t, keys)
	id := domain.StudyID(fmt.Sprintf("R%d", time.Now().UnixNano()%1_000_000_000))
	in, manager := domain.ForStudy(id), access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: id}}}
	supplier := access.Principal{User: "supplier", Grants: []user.Grant{{Role: user.UnblindedSupplyManager, Study: id}}}
	one.must(manager, study.CreateStudy{InStudy: in, Title: "Relief of pain", Sponsor: "Nobody"})
	one.must(manager, study.PublishProtocolVersion{InStudy: in, Protocol: study.Protocol{Version: 1, ConsentVersion: "1",
		Arms:      []study.Arm{{ID: "a", Title: "A"}, {ID: "b", Title: "B"}},
		Treatment: &study.Treatment{Randomised: true, Kits: true}}})
	one.must(manager, study.AddSite{AtSite: domain.ForSite(in.Study, "01"), Name: "Charite", Country: "DE", Zone: "Europe/Berlin"})
	one.must(supplier, supply.OpenDepot{InStudy: in, Depot: "D", Name: "Depot"})
	from := supply.FromLocation{Study: id, From: "D"}
	var shipments []supply.ShipmentID
	for i := range lots {
		lot, kit := fmt.Sprint("L", i), supply.KitNumber(fmt.Sprint("K", i))
		one.must(supplier, supply.RegisterKits{InStudy: in, Depot: "D", CSV: fmt.Sprintf("kit,arm,lot,expiry\n%s,a,%s,2027-01-01\n", kit, lot)})
		one.must(supplier, supply.ReleaseBatch{InStudy: in, Lot: lot, Certificate: "c"})
		one.must(access.Process("test"), supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: id, Depot: "D"}, Delivery: i + 1})
		made := other.must(supplier, supply.CreateShipment{FromLocation: from, To: "01", Kits: []supply.KitNumber{kit},
			Reasoned: domain.Because("initial supply")})
		shipments = append(shipments, made.Events[0].Data.(supply.ShipmentCreated).Shipment)
	}
	for i, shipment := range shipments {
		one.must(supplier, supply.RecallLot{InStudy: in, Lot: fmt.Sprint("L", i), Reasoned: domain.Because("impurity")})
		other.refused("kits_not_sendable", supplier, supply.DispatchShipment{FromLocation: from, Shipment: shipment, On: "2026-03-10"})
	}
}
