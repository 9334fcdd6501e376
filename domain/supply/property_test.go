package supply_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

// machine is a study with a depot and two sites, driven by the decisions alone, and an account of every kit that is kept
// from the events in the plainest way.
type machine struct {
	t      *rapid.T
	supply supply.Supply
	stocks map[supply.LocationID]supply.Stock
	// behind are the stocks as somebody knows them who is some events late.
	behind map[supply.LocationID]supply.Stock
	now    time.Time
	number int

	hands   map[supply.KitNumber]string
	content supply.KitContents
	patient map[supply.KitNumber]domain.PatientID
	got     map[supply.Slot]supply.KitNumber
	sent    map[supply.ShipmentID][]supply.KitNumber
	held    map[domain.PatientID]map[domain.ArmID]supply.KitNumber
	recalls map[string]bool
	given   map[supply.KitNumber]bool
}

var (
	places   = []supply.LocationID{"D", "A", "B"}
	patients = []domain.PatientID{"PAIN1.1", "PAIN1.2", "PAIN1.3", "PAIN1.4", "PAIN1.5"}
	lots     = []string{"L1", "L2"}
)

func (m *machine) call() domain.Call { return domain.Call{At: m.now, Actor: "somebody"} }

// facts are what a decision at a place knows; what it knows of another place may be late.
func (m *machine) facts(other supply.LocationID) supply.Facts {
	f := supply.Facts{Study: theStudy(nil), Supply: m.supply, Participating: true, Other: m.stocks[other]}
	if rapid.Bool().Draw(m.t, "late") {
		f.Other = m.behind[other]
	}
	return f
}

// decided books the events of a decision, or holds it to a refusal.
func (m *machine) decided(at supply.LocationID, events []supply.StockEvent, err error) {
	m.t.Helper()
	if _, refused := refuse.As(err); err != nil && !refused {
		m.t.Fatalf("failed: %v", err)
	}
	if err != nil && len(events) > 0 {
		m.t.Fatalf("refused, and decided %v", events)
	}
	if rapid.IntRange(0, 3).Draw(m.t, "noticed") > 0 {
		m.behind = maps.Clone(m.stocks)
	}
	for _, e := range events {
		m.stocks[at] = scenario.Evolve(m.t, supply.StockDecider, m.stocks[at], e)
		m.book(at, e)
	}
}

// move takes kits from where they have to be to somewhere else.
func (m *machine) move(e any, kits []supply.KitNumber, from, to string) {
	m.t.Helper()
	for _, k := range kits {
		if m.hands[k] != from {
			m.t.Fatalf("%T: kit %s is with %q, not with %q", e, k, m.hands[k], from)
		}
		m.hands[k] = to
	}
}

func (m *machine) book(at supply.LocationID, event supply.StockEvent) {
	m.t.Helper()
	here := string(at)
	switch e := event.(type) {
	case supply.DeliveryTakenIn:
		m.move(e, e.Kits, fmt.Sprint("delivery ", e.Delivery), here)
	case supply.ShipmentCreated:
		m.sent[e.Shipment] = e.Kits
		m.move(e, e.Kits, here, here)
		if !slices.IsSorted(e.Kits) {
			m.t.Fatalf("the kits of a shipment are in the order %v", e.Kits)
		}
	case supply.ShipmentDispatched:
		m.move(e, m.sent[e.Shipment], here, "way "+string(e.Shipment))
	case supply.ShipmentReceived:
		all := slices.Concat(e.Available, e.Quarantined, e.Damaged, e.Missing, e.Returned)
		if len(all) != len(m.sent[e.Shipment]) {
			m.t.Fatalf("of %d kits %d arrived", len(m.sent[e.Shipment]), len(all))
		}
		m.move(e, all, "way "+string(e.Shipment), here)
	case supply.ShipmentLost:
		m.move(e, e.Kits, "way "+string(e.Shipment), here)
	case supply.StockHeld:
		kits, _ := e.Kits.Open()
		for other, theirs := range m.held {
			for _, k := range theirs {
				if other != e.Patient && slices.Contains(slices.Collect(maps.Values(kits)), k) {
					m.t.Fatalf("kit %s is held for %s and %s", k, other, e.Patient)
				}
			}
		}
		m.held[e.Patient] = kits
	case supply.HoldReleased:
		delete(m.held, e.Patient)
	case supply.AllocationFailed:
		delete(m.held, e.Patient)
	case supply.KitAllocated:
		if of := m.patient[e.Kit]; of != "" {
			m.t.Fatalf("kit %s of %s is allocated to %s", e.Kit, of, e.Patient)
		}
		for other, theirs := range m.held {
			for _, k := range theirs {
				if other != e.Patient && k == e.Kit {
					m.t.Fatalf("kit %s is held for %s and allocated to %s", k, other, e.Patient)
				}
			}
		}
		c := m.content[e.Kit]
		if c.Arm != armOf(e.Patient) || m.recalls[c.Lot] || c.Expiry.DaysSince(domain.DateOf(m.now)) <= 7 {
			m.t.Fatalf("on %s, %s of arm %s is given %+v", m.now, e.Patient, armOf(e.Patient), c)
		}
		if before := m.got[supply.Slot{Patient: e.Patient, Visit: e.Visit}]; before != e.Replaces {
			m.t.Fatalf("%s has %q for %q, and gets %s in place of %q", e.Patient, before, e.Visit, e.Kit, e.Replaces)
		}
		if m.given[e.Replaces] {
			m.t.Fatalf("%s has had %s in hand, and gets %s in its place", e.Patient, e.Replaces, e.Kit)
		}
		delete(m.held, e.Patient)
		m.patient[e.Kit], m.got[supply.Slot{Patient: e.Patient, Visit: e.Visit}] = e.Patient, e.Kit
		m.move(e, []supply.KitNumber{e.Kit}, here, here)
	case supply.KitDispensed:
		c := m.content[e.Kit]
		if m.patient[e.Kit] != e.Patient || m.recalls[c.Lot] || c.Expiry <= domain.DateOf(m.now) {
			m.t.Fatalf("on %s, %s is given %s of %s: %+v", m.now, e.Patient, e.Kit, m.patient[e.Kit], c)
		}
		m.given[e.Kit] = true
		m.move(e, []supply.KitNumber{e.Kit}, here, here)
	case supply.KitsQuarantined:
		m.move(e, e.Kits, here, here)
	case supply.KitsExpired:
		m.move(e, e.Kits, here, here)
	case supply.KitsDestroyed:
		m.move(e, e.Kits, here, "destroyed")
	case supply.KitLost:
		m.move(e, []supply.KitNumber{e.Kit}, here, "lost")
	}
}

// armOf is the arm that a patient was drawn into.
func armOf(p domain.PatientID) domain.ArmID { return []domain.ArmID{x, y}[p[len(p)-1]%2] }

// balance holds the account to the states: every registered kit is in exactly one place's hands, or on one way.
func (m *machine) balance() {
	m.t.Helper()
	for kit, hand := range m.hands {
		holders := 0
		for at, stock := range m.stocks {
			k, here := stock.Kits.Get(kit)
			if !here || k.Status == supply.KitInTransit {
				continue
			}
			holders++
			gone := k.Status == supply.KitDestroyed || k.Status == supply.KitIsLost && (hand == "lost" || hand == string(at))
			if !gone && hand != string(at) {
				m.t.Fatalf("kit %s is with %q, and stands as %s at %s", kit, hand, k.Status, at)
			}
		}
		if onItsWay := hand[0] == 'w' || hand[0] == 'd' && hand != "destroyed"; holders > 1 || holders == 0 && !onItsWay {
			m.t.Fatalf("kit %s, with %q, stands in %d places", kit, hand, holders)
		}
	}
}

// kit is some kit of a place, or one that is not there.
func (m *machine) kit(at supply.LocationID) supply.KitNumber {
	var all []supply.KitNumber
	for n := range m.stocks[at].Kits.All() {
		all = append(all, n)
	}
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	return rapid.SampledFrom(all).Draw(m.t, "kit")
}

// kitOf is the patient's own kit, or some other.
func (m *machine) kitOf(who domain.PatientID, at supply.LocationID) supply.KitNumber {
	if own, got := m.got[supply.Slot{Patient: who}]; got && rapid.IntRange(0, 4).Draw(m.t, "own") > 0 {
		return own
	}
	return m.kit(at)
}

func (m *machine) shipment(from supply.LocationID) (supply.ShipmentID, supply.LocationID) {
	var all []supply.ShipmentID
	for id := range m.stocks[from].Sent.All() {
		all = append(all, id)
	}
	if len(all) == 0 {
		return "none", "A"
	}
	slices.Sort(all)
	id := rapid.SampledFrom(all).Draw(m.t, "shipment")
	sent, _ := m.stocks[from].Sent.Get(id)
	return id, sent.To
}

// act does one thing at random.
func (m *machine) act() {
	t, call := m.t, m.call()
	at := rapid.SampledFrom(places).Draw(t, "place")
	who := rapid.SampledFrom(patients).Draw(t, "patient")
	site, there := domain.SiteID("A"), supply.LocationID("A") // a patient is of one site
	if who[len(who)-1] == '5' {
		site, there = "B", "B"
	}
	facts := m.facts(at)
	switch n := rapid.IntRange(0, 25).Draw(t, "act"); n {
	case 0:
		m.register()
	case 1:
		if len(m.supply.Deliveries) > 0 {
			delivery := rapid.IntRange(1, len(m.supply.Deliveries)).Draw(t, "delivery")
			events, err := supply.AcceptDelivery(m.stocks["D"], facts, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Delivery: delivery}, call)
			m.decided("D", events, err)
		}
	case 2, 3:
		to := rapid.SampledFrom(places).Draw(t, "to")
		kits := []supply.KitNumber{m.kit(at), m.kit(at)}[:rapid.IntRange(1, 2).Draw(t, "kits")]
		events, err := supply.Create(m.stocks[at], facts, supply.CreateShipment{FromLocation: supply.FromLocation{Study: pain, From: at}, To: to, Kits: kits, Reasoned: domain.Because("r")}, call)
		m.decided(at, events, err)
	case 4:
		events, err := supply.Resupply(m.stocks["D"], m.facts(there), supply.PlanResupply{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Site: site, Seed: theSeed}, call)
		m.decided("D", events, err)
	case 5:
		id, _ := m.shipment(at)
		events, err := supply.Cancel(m.stocks[at], supply.CancelShipment{FromLocation: supply.FromLocation{Study: pain, From: at}, Shipment: id, Reasoned: domain.Because("r")}, call)
		m.decided(at, events, err)
	case 6, 7:
		id, _ := m.shipment(at)
		events, err := supply.Dispatch(m.stocks[at], facts, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: at}, Shipment: id, On: domain.DateOf(m.now)}, call)
		m.decided(at, events, err)
	case 8, 9:
		id, to := m.shipment(at)
		c := supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: pain, Location: to}, From: at, Shipment: id, On: domain.DateOf(m.now), Temperature: supply.TemperatureInRange}
		if rapid.IntRange(0, 4).Draw(t, "warm") == 0 {
			c.Temperature = supply.TemperatureUnknown
		}
		if kits := m.sent[id]; len(kits) > 0 && rapid.IntRange(0, 3).Draw(t, "damage") == 0 {
			c.Damaged = kits[:1]
			c.Missing = kits[1:min(2, len(kits))]
		}
		events, err := supply.Receive(m.stocks[to], facts, c, call)
		m.decided(to, events, err)
	case 10:
		id, to := m.shipment(at)
		if rapid.IntRange(0, 3).Draw(t, "lost") == 0 {
			events, err := supply.RecordShipmentLoss(m.stocks[to], facts, supply.ReportShipmentLost{AtLocation: supply.AtLocation{Study: pain, Location: to}, From: at, Shipment: id, Reasoned: domain.Because("r")}, call)
			m.decided(to, events, err)
		}
	case 11:
		events, err := supply.Hold(m.stocks[there], facts, supply.HoldStock{Study: pain, Site: site, OfPatient: domain.ForPatient(who), Seed: theSeed}, call)
		m.decided(there, events, err)
	case 12, 20, 21, 22:
		facts.Arm = armOf(who)
		visit := rapid.SampledFrom([]string{"", "week-4"}).Draw(t, "visit")
		events, err := supply.Allocate(m.stocks[there], facts, supply.AllocateKit{Study: pain, Site: site, OfPatient: domain.ForPatient(who), Visit: visit, Seed: theSeed}, call)
		m.decided(there, events, err)
	case 13, 23, 24, 25:
		events, err := supply.Dispense(m.stocks[there], facts, supply.DispenseKit{Site: site, OfPatient: domain.ForPatient(who), Kit: m.kitOf(who, there), On: domain.DateOf(m.now)}, call)
		m.decided(there, events, err)
	case 14:
		kit := m.kitOf(who, there)
		events, err := supply.Return(m.stocks[there], supply.ReturnKit{Site: site, OfPatient: domain.ForPatient(who), Kit: kit, On: domain.DateOf(m.now)}, call)
		m.decided(there, events, err)
		events, err = supply.Reconcile(m.stocks[there], supply.ReconcileKit{Site: site, OfPatient: domain.ForPatient(who), Kit: kit, Used: 2}, call)
		m.decided(there, events, err)
	case 15:
		events, err := supply.Quarantine(m.stocks[at], supply.QuarantineKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Kits: []supply.KitNumber{m.kit(at)}, Cause: supply.CauseOther, Reasoned: domain.Because("r")}, call)
		m.decided(at, events, err)
	case 16:
		events, err := supply.ReleaseFromQuarantine(m.stocks[at], facts, supply.ReleaseKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Kits: []supply.KitNumber{m.kit(at)}, Reasoned: domain.Because("r")}, call)
		m.decided(at, events, err)
	case 17:
		lot := rapid.SampledFrom(lots).Draw(t, "lot")
		if rapid.IntRange(0, 2).Draw(t, "recall") == 0 && !m.recalls[lot] {
			m.recalls[lot] = true
			m.supply = supply.Decider.Evolve(m.supply, supply.LotRecalled{Study: pain, Lot: lot})
		}
		if m.recalls[lot] {
			events, err := supply.QuarantineKitsOfLot(m.stocks[at], supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: at}, Lot: lot, Reasoned: domain.Because("r")}, call)
			m.decided(at, events, err)
		}
	case 18:
		m.now = m.now.AddDate(0, 0, rapid.IntRange(0, 9).Draw(t, "days"))
		events, err := supply.Expire(m.stocks[at], supply.ExpireKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Through: domain.DateOf(m.now)}, call)
		m.decided(at, events, err)
	case 19:
		var events []supply.StockEvent
		var err error
		switch rapid.IntRange(0, 3).Draw(t, "end") {
		case 0:
			events, err = supply.ReleaseHeld(m.stocks[there], supply.ReleaseHold{Study: pain, Site: site, OfPatient: domain.ForPatient(who), Reasoned: domain.Because("r")}, call)
			at = there
		case 1:
			events, err = supply.SetAside(m.stocks[there], supply.SetKitsAside{Study: pain, Site: site, OfPatient: domain.ForPatient(who), Reasoned: domain.Because("r")}, call)
			at = there
		case 2:
			events, err = supply.Destroy(m.stocks[at], supply.DestroyKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Kits: []supply.KitNumber{m.kit(at)}, On: domain.DateOf(m.now), Certificate: "c"}, call)
		default:
			events, err = supply.RecordKitLoss(m.stocks[at], supply.ReportKitLost{AtLocation: supply.AtLocation{Study: pain, Location: at}, Kit: m.kit(at), Reasoned: domain.Because("r")}, call)
		}
		m.decided(at, events, err)
	}
}

// supplySites gives both sites some kits to begin with.
func (m *machine) supplySites() {
	var all []supply.KitNumber
	for n := range m.stocks["D"].Kits.All() {
		all = append(all, n)
	}
	slices.Sort(all)
	for i, to := range places[1:] {
		f := supply.Facts{Study: theStudy(nil), Supply: m.supply}
		events, err := supply.Create(m.stocks["D"], f, supply.CreateShipment{FromLocation: supply.FromLocation{Study: pain, From: "D"}, To: to, Kits: all[i*5 : i*5+5], Reasoned: domain.Because("r")}, m.call())
		m.decided("D", events, err)
		id := events[0].(supply.ShipmentCreated).Shipment
		events, err = supply.Dispatch(m.stocks["D"], f, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: "D"}, Shipment: id, On: domain.DateOf(m.now)}, m.call())
		m.decided("D", events, err)
		f.Other = m.stocks["D"]
		events, err = supply.Receive(m.stocks[to], f, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: pain, Location: to}, From: "D", Shipment: id, On: domain.DateOf(m.now), Temperature: supply.TemperatureInRange}, m.call())
		m.decided(to, events, err)
	}
}

// register makes a dozen kits known.
func (m *machine) register() {
	kits := supply.KitContents{}
	for range 12 {
		m.number++
		n := supply.KitNumber(fmt.Sprintf("%04d", m.number))
		kits[n] = supply.Content{Arm: rapid.SampledFrom([]domain.ArmID{x, y}).Draw(m.t, "arm"), Lot: rapid.SampledFrom(lots).Draw(m.t, "lot"),
			Expiry: rapid.SampledFrom([]domain.Date{"2026-03-25", "2026-06-01", "2027-01-01"}).Draw(m.t, "expiry"), Units: 2}
	}
	numbers := slices.Sorted(maps.Keys(kits))
	delivery := len(m.supply.Deliveries) + 1
	m.supply = scenario.Evolve[supply.Supply, supply.Event](m.t, supply.Decider, m.supply, supply.KitsRegistered{Study: pain, Depot: "D", Delivery: delivery, Kits: numbers, Contents: blind.Of(kits)})
	for n, c := range kits {
		m.hands[n], m.content[n] = fmt.Sprint("delivery ", delivery), c
	}
}

// Whatever happens in whatever order: at every moment each kit is in one place's hands or on one way, none has two
// patients, nothing unfit is given out, and holds keep what they hold.
func TestR36_KitsAddUpWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{t: t, now: call.At, stocks: map[supply.LocationID]supply.Stock{}, behind: map[supply.LocationID]supply.Stock{},
			supply: theSupply(supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 3, OverdueDays: 1}}),
			hands:  map[supply.KitNumber]string{}, content: supply.KitContents{}, patient: map[supply.KitNumber]domain.PatientID{},
			got: map[supply.Slot]supply.KitNumber{}, sent: map[supply.ShipmentID][]supply.KitNumber{}, held: map[domain.PatientID]map[domain.ArmID]supply.KitNumber{}, recalls: map[string]bool{}, given: map[supply.KitNumber]bool{}}
		m.register()
		events, err := supply.AcceptDelivery(m.stocks["D"], m.facts("D"), supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Delivery: 1}, m.call())
		m.decided("D", events, err)
		m.supplySites()
		for range rapid.IntRange(20, 120).Draw(t, "steps") {
			m.act()
			m.balance()
		}
	})
}
