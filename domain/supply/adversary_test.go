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
}

// seenEvent is an event as blinded people may see it, or the answer to a coordinator's attempt to send back a kit.
type seenEvent struct {
	event supply.StockEvent
	tried supply.KitNumber
	code  string
}

// course is what a simulated study shows to blinded people, and which arm each patient is in.
type course struct {
	seen []seenEvent
	arms map[domain.PatientID]domain.ArmID
}

// studied is a study while it is simulated.
type studied struct {
	conditions
	random      *rand.Rand
	supply      supply.Supply
	study       study.Study
	depot, site supply.Stock
	now         domain.Call
	underway    map[supply.ShipmentID]int
	waiting     []supply.Slot
	course
}

// simulate lets patients enrol whose arms are drawn by a fair coin, so that whatever tells more than a coin about two
// patients comes from the supply.
func simulate(t *testing.T, seed uint64, c conditions) course {
	t.Helper()
	s := &studied{conditions: c, random: rand.New(rand.NewPCG(seed, 4711)), now: call, underway: map[supply.ShipmentID]int{},
		study: theStudy(nil), course: course{arms: map[domain.PatientID]domain.ArmID{}}}
	s.register(t)
	s.resupply(t)
	s.deliver(t, math.MaxInt)
	for i := 0; i < c.patients; {
		// Now and then the enrolments of several patients overlap.
		together := min(1+s.random.IntN(3), c.patients-i)
		var held []domain.PatientID
		for range together {
			p := domain.NewPatientID(pain, fmt.Sprintf("S-%03d", i))
			if i++; s.hold(t, p) {
				held = append(held, p)
			}
		}
		if c.probing {
			s.probe(t)
		}
		for _, p := range held {
			s.arms[p] = []domain.ArmID{x, y}[s.random.IntN(2)]
			s.allocate(t, p, "")
		}
		if len(s.arms) > 0 && s.random.IntN(3) == 0 { // somebody comes to a visit
			drawn := slices.Sorted(maps.Keys(s.arms))
			s.allocate(t, drawn[s.random.IntN(len(drawn))], fmt.Sprint("v", i))
		}
		if s.random.IntN(10) == 0 {
			s.lose(t)
		}
		s.deliver(t, i)
	}
	return s.course
}

func (s *studied) register(t *testing.T) {
	t.Helper()
	past := []supply.Event{supply.DepotOpened{Study: pain, Depot: "D"}, supply.ResupplyRuleSet{Study: pain, Rule: s.rule}}
	for lot := range s.expiries {
		past = append(past, supply.BatchReleased{Study: pain, Lot: fmt.Sprint("LOT-", lot)})
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
}

// delivery is the list of a delivery, in random order over the arms.
func (s *studied) delivery() string {
	var csv strings.Builder
	csv.WriteString("kit,arm,lot,expiry,units\n")
	for i, drawn := range s.random.Perm(2 * s.perArm) {
		lot := drawn / 2 % len(s.expiries)
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
	s.site = record(t, s, s.site, supply.Hold, s.facts(), supply.HoldStock{Study: pain, Site: "A", OfPatient: domain.ForPatient(p)})
	_, held := s.site.Holds.Get(p)
	if !held {
		s.resupply(t)
	}
	return held
}

func (s *studied) allocate(t *testing.T, p domain.PatientID, visit string) {
	t.Helper()
	f := s.facts()
	f.Arm = s.arms[p]
	before := len(s.seen)
	s.site = record(t, s, s.site, supply.Allocate, f, supply.AllocateKit{Study: pain, Site: "A", OfPatient: domain.ForPatient(p),
		Visit: visit})
	if len(s.seen) > before {
		if failed, is := s.seen[len(s.seen)-1].event.(supply.AllocationFailed); is && failed.Waits {
			s.waiting = append(s.waiting, supply.Slot{Patient: p, Visit: visit})
		}
	}
	s.resupply(t)
}

// probe tries to send back every available kit; nothing is sent.
func (s *studied) probe(t *testing.T) {
	t.Helper()
	for _, n := range available(s.site) {
		_, err := supply.Create(s.site, s.facts(), supply.CreateShipment{FromLocation: supply.FromLocation{Study: pain, From: "A"}, To: "D",
			Kits: []supply.KitNumber{n}, Reasoned: domain.Because("r")}, s.now)
		seen := seenEvent{tried: n}
		if r, refused := refuse.As(err); refused {
			seen.code = r.Code
		} else if err != nil {
			t.Fatal(err)
		}
		s.seen = append(s.seen, seen)
	}
}

func (s *studied) lose(t *testing.T) {
	t.Helper()
	if kits := available(s.site); len(kits) > 0 {
		s.site = record(t, s, s.site, withoutFacts(supply.RecordKitLoss), s.facts(),
			supply.ReportKitLost{AtLocation: supply.AtLocation{Study: pain, Location: "A"},
				Kit: kits[s.random.IntN(len(kits))], Reasoned: domain.Because("r")})
		s.resupply(t)
	}
}

func (s *studied) resupply(t *testing.T) {
	t.Helper()
	f := s.facts()
	f.Other = s.site
	before := s.depot.LastShipment
	s.depot = record(t, s, s.depot, supply.Resupply, f, supply.PlanResupply{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Site: "A"})
	if s.depot.LastShipment > before {
		id := supply.ShipmentID(fmt.Sprintf("D-%04d", s.depot.LastShipment))
		s.underway[id] = len(s.arms) + s.transit
		s.depot = record(t, s, s.depot, supply.Dispatch, f, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain,
			From: "D"}, Shipment: id,
			On: domain.DateOf(s.now.At)})
	}
}

// deliver lets shipments arrive that are due, and serves those who wait.
func (s *studied) deliver(t *testing.T, drawn int) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(s.underway)) {
		if drawn < s.underway[id] {
			continue
		}
		delete(s.underway, id)
		f := s.facts()
		f.Other = s.depot
		s.site = record(t, s, s.site, supply.Receive, f, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: pain, Location: "A"},
			From: "D", Shipment: id,
			On: domain.DateOf(s.now.At), Temperature: supply.TemperatureInRange})
		waiting := s.waiting
		s.waiting = nil
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
