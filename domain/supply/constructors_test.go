package supply_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

const (
	pain = domain.StudyID("PAIN1")
	anna = domain.PatientID("PAIN1.S-1")
	ben  = domain.PatientID("PAIN1.S-2")
	x    = domain.ArmID("XQ-7")
	y    = domain.ArmID("YW-4")
)

var (
	call    = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "somebody"}
	depot   = supply.OfStock{Study: pain, Location: "D"}
	site    = supply.OfStock{Study: pain, Location: "A"}
	atDepot = supply.AtDepot{Study: pain, Depot: "D"}
)

func atLocation(l supply.LocationID) supply.AtLocation {
	return supply.AtLocation{Study: pain, Location: l}
}

func fromLocation(l supply.LocationID) supply.FromLocation {
	return supply.FromLocation{Study: pain, From: l}
}

func kits(numbers ...supply.KitNumber) []supply.KitNumber { return numbers }

type kitsByArm = supply.HeldKits

// theStudy has two arms, the active site A and the site B, which is not active.
func theStudy(change func(*study.Treatment)) study.Study {
	t := study.Treatment{Randomised: true, Kits: true, DoNotDispenseDays: 7}
	if change != nil {
		change(&t)
	}
	arms := []study.Arm{{ID: string(x)}, {ID: string(y)}}
	if !t.Randomised {
		arms = arms[:1]
	}
	return study.Decider.Fold(
		study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, Arms: arms, Treatment: &t}},
		study.SiteAdded{Study: pain, Site: "A"}, study.SiteActivated{Study: pain, Site: "A"}, study.SiteAdded{Study: pain, Site: "B"})
}

// closedAt is the study after the site A was closed.
func closedAt(s study.Study) study.Study {
	s = study.Decider.Evolve(s, study.SiteActivated{Study: pain, Site: "A", On: "2026-01-01"})
	return study.Decider.Evolve(s, study.SiteClosed{Study: pain, Site: "A"})
}

// theSupply has the depot D and the released lots L1 and L2. L3 is not released.
func theSupply(more ...supply.Event) supply.Supply {
	events := []supply.Event{
		supply.DepotOpened{Study: pain, Depot: "D"}, supply.BatchReleased{Study: pain, Lot: "L1"}, supply.BatchReleased{Study: pain, Lot: "L2"},
	}
	return supply.Decider.Fold(append(events, more...)...)
}

func facts(change func(*supply.Facts)) supply.Facts {
	f := supply.Facts{Study: theStudy(nil), Supply: theSupply(), Participating: true}
	if change != nil {
		change(&f)
	}
	return f
}

// inArm returns the facts about a patient who was drawn into the arm.
func inArm(arm domain.ArmID) supply.Facts { return facts(func(f *supply.Facts) { f.Arm = arm }) }

// withRecalled changes facts: the lot was recalled.
func withRecalled(lot string) func(*supply.Facts) {
	return func(f *supply.Facts) { f.Supply = theSupply(supply.LotRecalled{Study: pain, Lot: lot}) }
}

// notParticipating changes facts: the patient has left.
func withheld(why supply.Withholding) func(*supply.Facts) {
	return func(f *supply.Facts) { f.Withheld = why }
}

func notParticipating(f *supply.Facts) { f.Participating = false }

// senderFacts are the facts of the receiver of a shipment from this stock.
func senderFacts(sender stock) supply.Facts {
	return facts(func(f *supply.Facts) { f.Other = sender.State() })
}

// contents of the kits of these tests, by number: 1 and 2 are of arm x, 3 and 4 of arm y, and the even ones expire
// first.
// 5 is of an unreleased lot, 6 expires in a week, 7 in eight days.
var contents = supply.KitContents{
	"K1": {Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 10}, "K2": {Arm: x, Lot: "L2", Expiry: "2026-06-01", Units: 10},
	"K3": {Arm: y, Lot: "L1", Expiry: "2027-01-01", Units: 10}, "K4": {Arm: y, Lot: "L2", Expiry: "2026-06-01", Units: 10},
	"K5": {Arm: x, Lot: "L3", Expiry: "2027-01-01", Units: 10}, "K6": {Arm: x, Lot: "L1", Expiry: "2026-03-17", Units: 10},
	"K7": {Arm: x, Lot: "L1", Expiry: "2026-03-18", Units: 10},
}

// contentsOf returns the contents of these kits.
func contentsOf(kits ...supply.KitNumber) supply.Contents {
	all := supply.KitContents{}
	for _, n := range kits {
		all[n] = contents[n]
	}
	return blind.Of(all)
}

type stock = scenario.Given[supply.Stock, supply.StockEvent]

// stockAt is a stock in which these kits are available.
func stockAt(t *testing.T, at supply.OfStock, kits ...supply.KitNumber) stock {
	t.Helper()
	received := supply.ShipmentReceived{OfStock: at, Shipment: "Z-0001", From: "Z", Available: kits, Contents: contentsOf(kits...)}
	return scenario.For(t, supply.StockDecider).Given(received)
}

// strictStockAt is stockAt, where every refusal must have a remedy and a field.
func strictStockAt(t *testing.T, at supply.OfStock, kits ...supply.KitNumber) stock {
	return stockAt(t, at, kits...).Strict()
}

type stockDecision = func(supply.Stock) ([]supply.StockEvent, error)

type decisionWithFacts[C any] = func(supply.Stock, supply.Facts, C, domain.Call) ([]supply.StockEvent, error)

func decision[C any](decide func(supply.Stock, C, domain.Call) ([]supply.StockEvent, error), command C) stockDecision {
	return scenario.Sent(decide, command, call)
}

// decisionWith decides about a command that needs facts. Seeds and the records of choices are left out of the events;
// choice_test.go is about them.
func decisionWith[C any](decide decisionWithFacts[C], f supply.Facts, command C) stockDecision {
	if seed := reflect.ValueOf(&command).Elem().FieldByName("Seed"); seed.IsValid() {
		seed.SetString(theSeed)
	}
	return func(s supply.Stock) ([]supply.StockEvent, error) {
		events, err := scenario.SentWithFacts(decide, f, command, call)(s)
		return withoutChoices(events), err
	}
}

// theSeed is what commands bring for a location that has no seed.
var theSeed = strings.Repeat("5e", 32)

// withoutChoices returns the events without seeds and records of choices.
func withoutChoices(events []supply.StockEvent) []supply.StockEvent {
	var all []supply.StockEvent
	for _, event := range events {
		switch e := event.(type) {
		case supply.StockSeedRecorded:
			continue
		case supply.StockHeld:
			e.Choice = blind.Value[supply.Choice]{}
			event = e
		case supply.KitAllocated:
			e.Choice = blind.Value[supply.Choice]{}
			event = e
		case supply.ShipmentCreated:
			e.Choice = blind.Value[supply.Choice]{}
			event = e
		}
		all = append(all, event)
	}
	return all
}

// The commands that many tests send. Those on a patient's kits are about Anna and the site A, unless they have a
// parameter for the patient.

func hold(f supply.Facts) stockDecision {
	return decisionWith(supply.Hold, f, supply.HoldStock{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna)})
}

func releaseHold() stockDecision {
	cmd := supply.ReleaseHold{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna), Reasoned: domain.Because("r")}
	return decision(supply.ReleaseHeld, cmd)
}

func setAside() stockDecision {
	cmd := supply.SetKitsAside{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna), Reasoned: domain.Because("left")}
	return decisionWith(supply.SetAside, supply.Facts{}, cmd)
}

func allocate(f supply.Facts, p domain.PatientID, visit string) stockDecision {
	return decisionWith(supply.Allocate, f, supply.AllocateKit{Study: pain, Site: "A", OfPatient: domain.ForPatient(p), Visit: visit})
}

func dispenseKit(p domain.PatientID, kit supply.KitNumber, on domain.Date) supply.DispenseKit {
	return supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(p), Kit: kit, On: on}
}

func returnKit(p domain.PatientID, kit supply.KitNumber, on domain.Date) stockDecision {
	return decision(supply.Return, supply.ReturnKit{Site: "A", OfPatient: domain.ForPatient(p), Kit: kit, On: on})
}

func quarantine(cause supply.Cause, reason string, kits ...supply.KitNumber) stockDecision {
	cmd := supply.QuarantineKits{AtLocation: atLocation("A"), Kits: kits, Cause: cause, Reasoned: domain.Because(reason)}
	return decision(supply.Quarantine, cmd)
}

func quarantineLot(l supply.LocationID, lot, reason string) stockDecision {
	return decision(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: atLocation(l), Lot: lot, Reasoned: domain.Because(reason)})
}

func releaseKits(f supply.Facts, l supply.LocationID, reason string, kits ...supply.KitNumber) stockDecision {
	cmd := supply.ReleaseKits{AtLocation: atLocation(l), Kits: kits, Reasoned: domain.Because(reason)}
	return decisionWith(supply.ReleaseFromQuarantine, f, cmd)
}

func expire(l supply.LocationID, through domain.Date) stockDecision {
	return decision(supply.Expire, supply.ExpireKits{AtLocation: atLocation(l), Through: through})
}

// destroy destroys kits as a depot does. What a site needs for it is the matter of TestASiteDestroysWithApprovalAndWitness.
func destroy(l supply.LocationID, kits ...supply.KitNumber) stockDecision {
	return decisionWith(supply.Destroy, asDepot(l), supply.DestroyKits{AtLocation: atLocation(l), Kits: kits, On: "2026-03-10",
		Certificate: "c"})
}

// asDepot are facts in which a location is a depot.
func asDepot(l supply.LocationID) supply.Facts {
	return facts(func(f *supply.Facts) { f.Supply = theSupply(supply.DepotOpened{Study: pain, Depot: l}) })
}

func reportKitLost(kit supply.KitNumber, reason string) stockDecision {
	return decision(supply.RecordKitLoss, supply.ReportKitLost{AtLocation: atLocation("A"), Kit: kit, Reasoned: domain.Because(reason)})
}

func createShipment(from, to supply.LocationID, reason string, kits ...supply.KitNumber) stockDecision {
	cmd := supply.CreateShipment{FromLocation: fromLocation(from), To: to, Kits: kits, Reasoned: domain.Because(reason)}
	return decisionWith(supply.Create, facts(nil), cmd)
}

func cancelShipment(id supply.ShipmentID, reason string) stockDecision {
	return decision(supply.Cancel, supply.CancelShipment{FromLocation: fromLocation("D"), Shipment: id, Reasoned: domain.Because(reason)})
}

func dispatchShipment(f supply.Facts, from supply.LocationID, id supply.ShipmentID, on domain.Date) stockDecision {
	return decisionWith(supply.Dispatch, f, supply.DispatchShipment{FromLocation: fromLocation(from), Shipment: id, On: on})
}

// receiveShipment sends that the sender's first shipment arrived well on 10 March, after a change.
func receiveShipment(f supply.Facts, at supply.OfStock, from supply.LocationID, change func(*supply.ReceiveShipment)) stockDecision {
	c := supply.ReceiveShipment{AtLocation: atLocation(at.Location), From: from, Shipment: supply.ShipmentID(from + "-0001"),
		On: "2026-03-10", Temperature: supply.TemperatureInRange}
	if change != nil {
		change(&c)
	}
	return decisionWith(supply.Receive, f, c)
}

// reportShipmentLost sends that a shipment from the depot to the site A was lost.
func reportShipmentLost(f supply.Facts, id supply.ShipmentID, reason string) stockDecision {
	cmd := supply.ReportShipmentLost{AtLocation: atLocation("A"), From: "D", Shipment: id, Reasoned: domain.Because(reason)}
	return decisionWith(supply.RecordShipmentLoss, f, cmd)
}

// The events that many tests expect. Those of a patient happen at the site A, for the kit of the enrolment.

func stockHeld(p domain.PatientID, kits kitsByArm) supply.StockHeld {
	return supply.StockHeld{OfStock: site, Patient: p, Kits: blind.Of(kits)}
}

func kitAllocated(p domain.PatientID, kit supply.KitNumber) supply.KitAllocated {
	return supply.KitAllocated{OfStock: site, Patient: p, Kit: kit}
}

func kitDispensed(p domain.PatientID, kit supply.KitNumber, on domain.Date) supply.KitDispensed {
	return supply.KitDispensed{OfStock: site, Patient: p, Kit: kit, On: on}
}

func kitReturned(p domain.PatientID, kit supply.KitNumber, on domain.Date) supply.KitReturned {
	return supply.KitReturned{OfStock: site, Patient: p, Kit: kit, On: on}
}

func shipmentCreated(at supply.OfStock, id supply.ShipmentID, to supply.LocationID, kits ...supply.KitNumber) supply.ShipmentCreated {
	return supply.ShipmentCreated{OfStock: at, Shipment: id, To: to, Kits: kits, Reason: "r", Contents: contentsOf(kits...)}
}

func shipmentDispatched(at supply.OfStock, id supply.ShipmentID, to supply.LocationID, on domain.Date) supply.ShipmentDispatched {
	return supply.ShipmentDispatched{OfStock: at, Shipment: id, To: to, On: on}
}
