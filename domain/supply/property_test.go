package supply_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

// machine is a study with a depot and two sites, and an account of every kit. The stocks change only by decisions; the
// account is kept from their events in the simplest way.
type machine struct {
	t      *rapid.T
	supply supply.Supply
	stocks map[supply.LocationID]supply.Stock
	// outdated are the stocks without the latest events.
	outdated map[supply.LocationID]supply.Stock
	now      time.Time
	number   int

	// holder is where each kit is: "delivery 1", a location, "way D-0001", "destroyed" or "lost".
	holder  map[supply.KitNumber]string
	content supply.KitContents
	patient map[supply.KitNumber]domain.PatientID
	got     map[supply.Slot]supply.KitNumber
	sent    map[supply.ShipmentID][]supply.KitNumber
	held    map[domain.PatientID]kitsByArm
	recalls map[string]bool
	given   map[supply.KitNumber]bool
}

var (
	locations = []supply.LocationID{"D", "A", "B"}
	patients  = []domain.PatientID{"PAIN1.1", "PAIN1.2", "PAIN1.3", "PAIN1.4", "PAIN1.5"}
	lots      = []string{"L1", "L2"}
	reason    = domain.Because("r")
)

func (m *machine) call() domain.Call { return domain.Call{At: m.now, Actor: "somebody"} }

// facts returns the facts of a decision. The stock of the other location may be outdated.
func (m *machine) facts(other supply.LocationID) supply.Facts {
	f := supply.Facts{Study: theStudy(nil), Supply: m.supply, Participating: true, Other: m.stocks[other]}
	if rapid.Bool().Draw(m.t, "outdated") {
		f.Other = m.outdated[other]
	}
	return f
}

// decided applies the events of a decision and enters them into the account. It fails on an error that is not a
// refusal.
func (m *machine) decided(at supply.LocationID, events []supply.StockEvent, err error) {
	m.t.Helper()
	if _, refused := refuse.As(err); err != nil && !refused {
		m.t.Fatalf("failed: %v", err)
	}
	if err != nil && len(events) > 0 {
		m.t.Fatalf("refused, but with the events %v", events)
	}
	if rapid.IntRange(0, 3).Draw(m.t, "noticed") > 0 {
		m.outdated = maps.Clone(m.stocks)
	}
	for _, e := range events {
		m.stocks[at] = scenario.Evolve(m.t, supply.StockDecider, m.stocks[at], e)
		m.book(at, e)
		if err := supply.CompareShelves(m.stocks[at], m.supply, domain.DateOf(m.now), 7); err != nil {
			m.t.Fatalf("after %T: %v", e, err)
		}
	}
}

// move changes the holder of kits, which must be the given one before.
func (m *machine) move(e any, kits []supply.KitNumber, from, to string) {
	m.t.Helper()
	for _, k := range kits {
		if m.holder[k] != from {
			m.t.Fatalf("%T: the holder of kit %s is %q, not %q", e, k, m.holder[k], from)
		}
		m.holder[k] = to
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
			m.t.Fatalf("%d kits were sent, and %d arrived", len(m.sent[e.Shipment]), len(all))
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
		if of := m.patient[e.Kit]; of != "" && of != e.Patient || m.given[e.Kit] {
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
		if before := m.got[supply.Slot{Patient: e.Patient, Visit: e.Visit}]; before != e.Replaces && !(before == e.Kit && e.Replaces == "") {
			m.t.Fatalf("%s has %q for %q, and gets %s as a replacement of %q", e.Patient, before, e.Visit, e.Kit, e.Replaces)
		}
		if m.given[e.Replaces] && m.holder[e.Replaces] != "lost" && !m.recalls[m.content[e.Replaces].Lot] {
			m.t.Fatalf("%s got %s before, and %s replaces it", e.Patient, e.Replaces, e.Kit)
		}
		delete(m.held, e.Patient)
		for slot, kit := range m.got { // a kit that was kept can be given out for another visit
			if kit == e.Kit {
				delete(m.got, slot)
			}
		}
		m.patient[e.Kit], m.got[supply.Slot{Patient: e.Patient, Visit: e.Visit}] = e.Patient, e.Kit
		m.move(e, kits(e.Kit), here, here)
	case supply.KitDispensed:
		c := m.content[e.Kit]
		if m.patient[e.Kit] != e.Patient || m.recalls[c.Lot] || c.Expiry <= domain.DateOf(m.now) {
			m.t.Fatalf("on %s, %s is given %s of %s: %+v", m.now, e.Patient, e.Kit, m.patient[e.Kit], c)
		}
		m.given[e.Kit] = true
		m.move(e, kits(e.Kit), here, here)
	case supply.KitsQuarantined:
		m.move(e, e.Kits, here, here)
	case supply.KitsExpired:
		m.move(e, e.Kits, here, here)
	case supply.KitsDestroyed:
		m.move(e, e.Kits, here, "destroyed")
	case supply.KitLost:
		m.move(e, kits(e.Kit), here, "lost")
	}
}

// armOf returns the arm that a patient was drawn into.
func armOf(p domain.PatientID) domain.ArmID { return []domain.ArmID{x, y}[p[len(p)-1]%2] }

// balance compares the account with the stocks: every registered kit is in exactly one stock, one shipment or one
// delivery.
func (m *machine) balance() {
	m.t.Helper()
	for kit, holder := range m.holder {
		found := 0
		for at, stock := range m.stocks {
			k, here := stock.Kits.Get(kit)
			if !here || k.Status == supply.KitInTransit {
				continue
			}
			found++
			gone := k.Status == supply.KitDestroyed || k.Status.Lost() && (holder == "lost" || holder == string(at))
			if !gone && holder != string(at) {
				m.t.Fatalf("the holder of kit %s is %q, but it is %s at %s", kit, holder, k.Status, at)
			}
		}
		onItsWay := strings.HasPrefix(holder, "way") || strings.HasPrefix(holder, "delivery")
		if found > 1 || found == 0 && !onItsWay {
			m.t.Fatalf("kit %s, whose holder is %q, is in %d stocks", kit, holder, found)
		}
	}
}

// kit draws a kit of a location, or returns an unknown number if it has none.
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

// kitOf returns the patient's own kit, or draws another one.
func (m *machine) kitOf(who domain.PatientID, at supply.LocationID) supply.KitNumber {
	if own, got := m.got[supply.Slot{Patient: who}]; got && rapid.IntRange(0, 4).Draw(m.t, "own") > 0 {
		return own
	}
	return m.kit(at)
}

// shipment draws a shipment of the sender, and returns it with its receiver.
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

// act sends one random command.
func (m *machine) act() {
	t, call := m.t, m.call()
	at := rapid.SampledFrom(locations).Draw(t, "location")
	who := rapid.SampledFrom(patients).Draw(t, "patient")
	site, ownSite := domain.SiteID("A"), supply.LocationID("A") // each patient belongs to one site
	if who[len(who)-1] == '5' {
		site, ownSite = "B", "B"
	}
	of, today := domain.ForPatient(who), domain.DateOf(m.now)
	facts := m.facts(at)
	switch n := rapid.IntRange(0, 25).Draw(t, "act"); n {
	case 0:
		m.register()
	case 1:
		if len(m.supply.Deliveries) > 0 {
			delivery := rapid.IntRange(1, len(m.supply.Deliveries)).Draw(t, "delivery")
			cmd := supply.TakeInDelivery{AtDepot: atDepot, Delivery: delivery}
			events, err := supply.AcceptDelivery(m.stocks["D"], facts, cmd, call)
			m.decided("D", events, err)
		}
	case 2, 3:
		to := rapid.SampledFrom(locations).Draw(t, "to")
		kits := []supply.KitNumber{m.kit(at), m.kit(at)}[:rapid.IntRange(1, 2).Draw(t, "kits")]
		cmd := supply.CreateShipment{FromLocation: fromLocation(at), To: to, Kits: kits, Reasoned: reason}
		events, err := supply.Create(m.stocks[at], facts, cmd, call)
		m.decided(at, events, err)
	case 4:
		events, err := supply.Resupply(m.stocks["D"], m.facts(ownSite), supply.PlanResupply{AtDepot: atDepot, Site: site, Seed: theSeed}, call)
		m.decided("D", events, err)
	case 5:
		id, _ := m.shipment(at)
		cmd := supply.CancelShipment{FromLocation: fromLocation(at), Shipment: id, Reasoned: reason}
		events, err := supply.Cancel(m.stocks[at], cmd, call)
		m.decided(at, events, err)
	case 6, 7:
		id, _ := m.shipment(at)
		cmd := supply.DispatchShipment{FromLocation: fromLocation(at), Shipment: id, On: today}
		events, err := supply.Dispatch(m.stocks[at], facts, cmd, call)
		m.decided(at, events, err)
	case 8, 9:
		id, to := m.shipment(at)
		c := supply.ReceiveShipment{AtLocation: atLocation(to), From: at, Shipment: id, On: today, Temperature: supply.TemperatureInRange}
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
			cmd := supply.ReportShipmentLost{AtLocation: atLocation(to), From: at, Shipment: id, Reasoned: reason}
			events, err := supply.RecordShipmentLoss(m.stocks[to], facts, cmd, call)
			m.decided(to, events, err)
		}
	case 11:
		events, err := supply.Hold(m.stocks[ownSite], facts, supply.HoldStock{Study: pain, Site: site, OfPatient: of, Seed: theSeed}, call)
		m.decided(ownSite, events, err)
	case 12, 20, 21, 22:
		facts.Arm = armOf(who)
		visit := rapid.SampledFrom([]string{"", "week-4"}).Draw(t, "visit")
		cmd := supply.AllocateKit{Study: pain, Site: site, OfPatient: of, Visit: visit, Seed: theSeed}
		events, err := supply.Allocate(m.stocks[ownSite], facts, cmd, call)
		m.decided(ownSite, events, err)
	case 13, 23, 24, 25:
		cmd := supply.DispenseKit{Site: site, OfPatient: of, Kit: m.kitOf(who, ownSite), On: today}
		events, err := supply.Dispense(m.stocks[ownSite], facts, cmd, call)
		m.decided(ownSite, events, err)
	case 14:
		kit := m.kitOf(who, ownSite)
		events, err := supply.Return(m.stocks[ownSite], supply.ReturnKit{Site: site, OfPatient: of, Kit: kit, On: today}, call)
		m.decided(ownSite, events, err)
		cmd := supply.ReconcileKit{Site: site, OfPatient: of, Kit: kit, Used: 2}
		events, err = supply.Reconcile(m.stocks[ownSite], cmd, call)
		m.decided(ownSite, events, err)
	case 15:
		cmd := supply.QuarantineKits{AtLocation: atLocation(at), Kits: kits(m.kit(at)), Cause: supply.CauseOther, Reasoned: reason}
		events, err := supply.Quarantine(m.stocks[at], cmd, call)
		m.decided(at, events, err)
	case 16:
		cmd := supply.ReleaseKits{AtLocation: atLocation(at), Kits: kits(m.kit(at)), Reasoned: reason}
		events, err := supply.ReleaseFromQuarantine(m.stocks[at], facts, cmd, call)
		m.decided(at, events, err)
	case 17:
		lot := rapid.SampledFrom(lots).Draw(t, "lot")
		if rapid.IntRange(0, 2).Draw(t, "recall") == 0 && !m.recalls[lot] {
			m.recalls[lot] = true
			m.supply = supply.Decider.Evolve(m.supply, supply.LotRecalled{Study: pain, Lot: lot})
		}
		if m.recalls[lot] {
			cmd := supply.QuarantineLot{AtLocation: atLocation(at), Lot: lot, Reasoned: reason}
			events, err := supply.QuarantineKitsOfLot(m.stocks[at], cmd, call)
			m.decided(at, events, err)
		}
	case 18:
		m.now = m.now.AddDate(0, 0, rapid.IntRange(0, 9).Draw(t, "days"))
		cmd := supply.ExpireKits{AtLocation: atLocation(at), Through: domain.DateOf(m.now)}
		events, err := supply.Expire(m.stocks[at], cmd, call)
		m.decided(at, events, err)
	case 19:
		var events []supply.StockEvent
		var err error
		switch rapid.IntRange(0, 3).Draw(t, "end") {
		case 0:
			cmd := supply.ReleaseHold{Study: pain, Site: site, OfPatient: of, Reasoned: reason}
			events, err = supply.ReleaseHeld(m.stocks[ownSite], cmd, call)
			at = ownSite
		case 1:
			cmd := supply.SetKitsAside{Study: pain, Site: site, OfPatient: of, Reasoned: reason}
			events, err = supply.SetAside(m.stocks[ownSite], supply.Facts{}, cmd, call)
			at = ownSite
		case 2:
			cmd := supply.DestroyKits{AtLocation: atLocation(at), Kits: kits(m.kit(at)), On: today, Certificate: "c"}
			events, err = supply.Destroy(m.stocks[at], asDepot(at), cmd, call)
		default:
			cmd := supply.ReportKitLost{AtLocation: atLocation(at), Kit: m.kit(at), Reasoned: reason}
			events, err = supply.RecordKitLoss(m.stocks[at], cmd, call)
		}
		m.decided(at, events, err)
	}
}

// supplySites sends five kits to each site.
func (m *machine) supplySites() {
	var all []supply.KitNumber
	for n := range m.stocks["D"].Kits.All() {
		all = append(all, n)
	}
	slices.Sort(all)
	for i, to := range locations[1:] {
		f := supply.Facts{Study: theStudy(nil), Supply: m.supply}
		create := supply.CreateShipment{FromLocation: fromLocation("D"), To: to, Kits: all[i*5 : i*5+5], Reasoned: reason}
		events, err := supply.Create(m.stocks["D"], f, create, m.call())
		m.decided("D", events, err)
		id, today := events[0].(supply.ShipmentCreated).Shipment, domain.DateOf(m.now)
		dispatch := supply.DispatchShipment{FromLocation: fromLocation("D"), Shipment: id, On: today}
		events, err = supply.Dispatch(m.stocks["D"], f, dispatch, m.call())
		m.decided("D", events, err)
		f.Other = m.stocks["D"]
		receive := supply.ReceiveShipment{AtLocation: atLocation(to), From: "D", Shipment: id, On: today, Temperature: supply.TemperatureInRange}
		events, err = supply.Receive(m.stocks[to], f, receive, m.call())
		m.decided(to, events, err)
	}
}

// register registers twelve kits.
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
	registered := supply.KitsRegistered{Study: pain, Depot: "D", Delivery: delivery, Kits: numbers, Contents: blind.Of(kits)}
	m.supply = scenario.Evolve[supply.Supply, supply.Event](m.t, supply.Decider, m.supply, registered)
	for n, c := range kits {
		m.holder[n], m.content[n] = fmt.Sprint("delivery ", delivery), c
	}
}

// In every order of commands, each kit is in one stock, one shipment or one delivery at any time, no kit has two
// patients, no unusable kit is given out, and a held kit goes to no other patient.
func TestR36_KitsAddUpInEveryOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 3, OverdueDays: 1}
		m := &machine{
			t: t, now: call.At, supply: theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule}),
			stocks: map[supply.LocationID]supply.Stock{}, outdated: map[supply.LocationID]supply.Stock{},
			holder: map[supply.KitNumber]string{}, content: supply.KitContents{},
			patient: map[supply.KitNumber]domain.PatientID{}, got: map[supply.Slot]supply.KitNumber{},
			sent: map[supply.ShipmentID][]supply.KitNumber{}, held: map[domain.PatientID]kitsByArm{},
			recalls: map[string]bool{}, given: map[supply.KitNumber]bool{},
		}
		m.register()
		events, err := supply.AcceptDelivery(m.stocks["D"], m.facts("D"), supply.TakeInDelivery{AtDepot: atDepot, Delivery: 1}, m.call())
		m.decided("D", events, err)
		m.supplySites()
		for range rapid.IntRange(20, 120).Draw(t, "steps") {
			m.act()
			m.balance()
		}
	})
}
