package supply_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// conditions are those of a simulated study with one site.
type conditions struct {
	patients int
	// perArm is how many kits of each arm the depot gets. Expiries are the days on which kits expire, in equal shares.
	perArm   int
	expiries []domain.Date
	rule     supply.ResupplyRule
	// transit is after how many enrolments a shipment arrives.
	transit int
	// probing says that a coordinator tries to send back every kit while patients are on the way to their draw.
	probing bool
	// apart says that the delivery has one lot for each arm, each with its expiry, and that they are released one after the
	// other.
	apart bool
	// managing says that a supply manager asks for each kit of the depot by itself and changes the rules again and again.
	managing bool
	// visits is how many patients come to a visit after each enrolment; with 0, one after every third.
	visits int
	// sites are the sites; only A if there are none.
	sites []domain.SiteID
}

// seenEvent is an event as blinded people may see it, or the answer to an attempt to send a kit from a location.
type seenEvent struct {
	event supply.StockEvent
	from  supply.LocationID
	tried supply.KitNumber
	code  string
	// first says that it is the first of the attempts that were made together.
	first bool
}

// course is what a simulated study shows to blinded people, and which arm each patient is in.
type course struct {
	seen []seenEvent
	arms map[domain.PatientID]domain.ArmID
}

// studied is a study while it is simulated.
type studied struct {
	conditions
	random   *rand.Rand
	supply   supply.Supply
	study    study.Study
	depot    supply.Stock
	stocks   map[domain.SiteID]supply.Stock
	now      domain.Call
	underway map[supply.ShipmentID]arriving
	waiting  map[domain.SiteID][]supply.Slot
	// siteOf is where each patient is.
	siteOf map[domain.PatientID]domain.SiteID
	course
}

// arriving is where a shipment goes, and after how many enrolments it arrives.
type arriving struct {
	to  domain.SiteID
	due int
}

// simulate lets patients enrol whose arms are drawn by a fair coin, so that whatever tells more than a coin about two
// patients comes from the supply.
func simulate(t *testing.T, seed uint64, c conditions) course {
	t.Helper()
	s := &studied{conditions: c, random: rand.New(rand.NewPCG(seed, 4711)), now: call, underway: map[supply.ShipmentID]arriving{},
		study: study.Decider.Evolve(theStudy(nil), study.SiteActivated{Study: pain, Site: "B"}), stocks: map[domain.SiteID]supply.Stock{},
		waiting: map[domain.SiteID][]supply.Slot{}, siteOf: map[domain.PatientID]domain.SiteID{},
		course: course{arms: map[domain.PatientID]domain.ArmID{}}}
	if len(s.sites) == 0 {
		s.sites = []domain.SiteID{"A"}
	}
	s.register(t)
	for _, at := range s.sites {
		s.resupply(t, at)
	}
	s.deliver(t, math.MaxInt)
	for i := 0; i < c.patients; {
		// Now and then the enrolments of several patients overlap.
		together := min(1+s.random.IntN(3), c.patients-i)
		at := s.sites[s.random.IntN(len(s.sites))]
		var held []domain.PatientID
		for range together {
			p := domain.NewPatientID(pain, fmt.Sprintf("S-%03d", i))
			s.siteOf[p] = at
			if i++; s.hold(t, p) {
				held = append(held, p)
			}
		}
		if c.probing {
			s.probe(t, supply.LocationID(at), s.stocks[at], "D")
		}
		for _, p := range held {
			s.arms[p] = []domain.ArmID{x, y}[s.random.IntN(2)]
			s.allocate(t, p, "")
		}
		visits := c.visits
		if visits == 0 && s.random.IntN(3) == 0 {
			visits = 1
		}
		for v := range visits {
			if drawn := slices.Sorted(maps.Keys(s.arms)); len(drawn) > 0 {
				s.allocate(t, drawn[s.random.IntN(len(drawn))], fmt.Sprint("v", i, "-", v))
			}
		}
		if s.random.IntN(10) == 0 {
			s.lose(t, at)
		}
		if c.managing && s.random.IntN(4) == 0 {
			s.manage(t)
		}
		s.deliver(t, i)
	}
	return s.course
}

func (s *studied) register(t *testing.T) {
	t.Helper()
	past := []supply.Event{supply.DepotOpened{Study: pain, Depot: "D"}}
	for _, at := range s.sites {
		rule := s.rule
		rule.Site = at
		past = append(past, supply.ResupplyRuleSet{Study: pain, Rule: rule})
	}
	s.supply = supply.Decider.Fold(past...)
	registered, err := []supply.Event(nil), error(nil)
	for attempt := 0; attempt == 0 || err != nil; attempt++ { // one random order in two thousand tells the arms by itself
		if attempt > 3 {
			t.Fatal(err)
		}
		registered, err = supply.Register(s.supply, s.study, supply.RegisterKits{InStudy: domain.ForStudy(pain), Depot: "D",
			CSV: s.delivery()}, call)
	}
	for _, e := range registered {
		s.supply = supply.Decider.Evolve(s.supply, e)
	}
	s.depot = record(t, s, s.depot, supply.AcceptDelivery, supply.Facts{Supply: s.supply},
		supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Delivery: 1})
	for lot := range s.expiries {
		if s.managing { // looks at each kit after each release, and whether a rule sends anything
			s.probe(t, "D", s.depot, supply.LocationID(s.sites[0]))
			s.resupply(t, s.sites[0])
		}
		s.supply = s.decided(t, scenario.Sent(supply.Release, supply.ReleaseBatch{InStudy: domain.ForStudy(pain), Lot: fmt.Sprint("LOT-", lot),
			Certificate: "c"}, call))
	}
}

// decided returns the study's supply after a decision, or as it was if the decision is a refusal.
func (s *studied) decided(t *testing.T, decide supplyDecision) supply.Supply {
	t.Helper()
	events, err := decide(s.supply)
	if _, refused := refuse.As(err); err != nil && !refused {
		t.Fatal(err)
	}
	after := s.supply
	for _, e := range events {
		after = supply.Decider.Evolve(after, e)
	}
	return after
}

// manage lets a supply manager ask for each kit of the depot by itself, and set the tightest rule that is allowed for a site.
func (s *studied) manage(t *testing.T) {
	t.Helper()
	at := s.sites[s.random.IntN(len(s.sites))]
	s.probe(t, "D", s.depot, supply.LocationID(at))
	rule := s.rule
	rule.Site, rule.Target = at, s.rule.Target+s.random.IntN(3)
	for rule.Trigger = rule.Target; rule.Trigger > 0; rule.Trigger-- {
		before := s.supply.Events
		if s.supply = s.decided(t, settingRule(rule)); s.supply.Events > before {
			break
		}
	}
	s.resupply(t, at)
}

// delivery is the list of a delivery, in random order over the arms.
func (s *studied) delivery() string {
	var csv strings.Builder
	csv.WriteString("kit,arm,lot,expiry,units\n")
	for i, drawn := range s.random.Perm(2 * s.perArm) {
		lot := drawn / 2 % len(s.expiries)
		if s.apart {
			lot = drawn % 2
		}
		fmt.Fprintf(&csv, "%06d,%s,LOT-%d,%s,28\n", 310_000+i, []domain.ArmID{x, y}[drawn%2], lot, s.expiries[lot])
	}
	return csv.String()
}

// record decides about a command and lets blinded people see what follows. It returns the stock.
func record[C any](t *testing.T, s *studied, stock supply.Stock, decide decisionWithFacts[C], f supply.Facts, command C) supply.Stock {
	t.Helper()
	if seed := reflect.ValueOf(&command).Elem().FieldByName("Seed"); seed.IsValid() {
		bytes := make([]byte, 32)
		for i := range bytes {
			bytes[i] = byte(s.random.Uint32())
		}
		seed.SetString(hex.EncodeToString(bytes))
	}
	events, err := decide(stock, f, command, s.now)
	if err != nil {
		t.Fatalf("%T: %v", command, err)
	}
	for _, e := range events {
		stock = supply.StockDecider.Evolve(stock, e)
		s.seen = append(s.seen, seenEvent{event: blinded(t, e)})
	}
	return stock
}

// blinded returns the event as a program without the keys reads it.
func blinded(t *testing.T, e supply.StockEvent) supply.StockEvent {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	read := reflect.New(reflect.TypeOf(e))
	if err := json.Unmarshal(text, read.Interface()); err != nil {
		t.Fatal(err)
	}
	return read.Elem().Interface().(supply.StockEvent)
}

func (s *studied) facts() supply.Facts {
	return supply.Facts{Study: s.study, Supply: s.supply, Participating: true}
}

func (s *studied) hold(t *testing.T, p domain.PatientID) bool {
	t.Helper()
	at := s.siteOf[p]
	s.stocks[at] = record(t, s, s.stocks[at], supply.Hold, s.facts(), supply.HoldStock{Study: pain, Site: at, OfPatient: domain.ForPatient(p)})
	_, held := s.stocks[at].Holds.Get(p)
	if !held {
		s.resupply(t, at)
	}
	return held
}

func (s *studied) allocate(t *testing.T, p domain.PatientID, visit string) {
	t.Helper()
	f := s.facts()
	f.Arm = s.arms[p]
	before, at := len(s.seen), s.siteOf[p]
	s.stocks[at] = record(t, s, s.stocks[at], supply.Allocate, f, supply.AllocateKit{Study: pain, Site: at, OfPatient: domain.ForPatient(p),
		Visit: visit})
	if len(s.seen) > before {
		if failed, is := s.seen[len(s.seen)-1].event.(supply.AllocationFailed); is && failed.Waits {
			s.waiting[at] = append(s.waiting[at], supply.Slot{Patient: p, Visit: visit})
		}
	}
	s.resupply(t, at)
}

// probe tries to send every available kit of a location by itself; nothing is sent.
func (s *studied) probe(t *testing.T, from supply.LocationID, stock supply.Stock, to supply.LocationID) {
	t.Helper()
	for i, n := range available(stock) {
		_, err := supply.Create(stock, s.facts(), supply.CreateShipment{FromLocation: supply.FromLocation{Study: pain, From: from}, To: to,
			Kits: []supply.KitNumber{n}, Reasoned: domain.Because("r")}, s.now)
		seen := seenEvent{from: from, tried: n, first: i == 0}
		if r, refused := refuse.As(err); refused {
			seen.code = strings.ReplaceAll(r.Code+r.Sentence+r.Remedy, string(n), "")
		} else if err != nil {
			t.Fatal(err)
		}
		s.seen = append(s.seen, seen)
	}
}

func (s *studied) lose(t *testing.T, at domain.SiteID) {
	t.Helper()
	if kits := available(s.stocks[at]); len(kits) > 0 {
		s.stocks[at] = record(t, s, s.stocks[at], withoutFacts(supply.RecordKitLoss), s.facts(),
			supply.ReportKitLost{AtLocation: supply.AtLocation{Study: pain, Location: supply.LocationID(at)},
				Kit: kits[s.random.IntN(len(kits))], Reasoned: domain.Because("r")})
		s.resupply(t, at)
	}
}

func (s *studied) resupply(t *testing.T, at domain.SiteID) {
	t.Helper()
	f := s.facts()
	f.Other = s.stocks[at]
	before := s.depot.LastShipment
	s.depot = record(t, s, s.depot, supply.Resupply, f, supply.PlanResupply{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Site: at})
	if s.depot.LastShipment > before {
		id := supply.ShipmentID(fmt.Sprintf("D-%04d", s.depot.LastShipment))
		s.underway[id] = arriving{at, len(s.arms) + s.transit}
		s.depot = record(t, s, s.depot, supply.Dispatch, f, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain,
			From: "D"}, Shipment: id,
			On: domain.DateOf(s.now.At)})
	}
}

// deliver lets shipments arrive that are due, and serves those who wait.
func (s *studied) deliver(t *testing.T, drawn int) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(s.underway)) {
		if drawn < s.underway[id].due {
			continue
		}
		at := s.underway[id].to
		delete(s.underway, id)
		f := s.facts()
		f.Other = s.depot
		s.stocks[at] = record(t, s, s.stocks[at], supply.Receive, f, supply.ReceiveShipment{
			AtLocation: supply.AtLocation{Study: pain, Location: supply.LocationID(at)}, From: "D", Shipment: id,
			On: domain.DateOf(s.now.At), Temperature: supply.TemperatureInRange})
		waiting := s.waiting[at]
		delete(s.waiting, at)
		for _, slot := range waiting {
			s.allocate(t, slot.Patient, slot.Visit)
		}
	}
}

func available(s supply.Stock) []supply.KitNumber {
	var kits []supply.KitNumber
	for n, k := range s.Kits.All() {
		if k.Status == supply.KitAvailable {
			kits = append(kits, n)
		}
	}
	slices.Sort(kits)
	return kits
}
