package supply_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

const theDepot = supply.LocationID("D")

var (
	theSites  = []supply.LocationID{"A", "B", "C"}
	thePlaces = append([]supply.LocationID{theDepot}, theSites...)
	theArms   = []domain.ArmID{"arm-1", "arm-2", "arm-3"}
	theLots   = []string{"L1", "L2", "L3"}
	theVisits = []string{"", "", "week-4", "week-8", "week-12"}
)

// person is one who takes part, as far as the supply knows.
type person struct {
	id   domain.PatientID
	site supply.LocationID
	arm  domain.ArmID // as it will be drawn, or has been
	// drawn and left say how far it went.
	drawn, left bool
}

// world is a small study: a depot, three sites, a handful of patients, and all that happened.
type world struct {
	t       *rapid.T
	study   study.Study
	now     time.Time
	arms    []domain.ArmID
	supply  []supply.Supply // every version, the last is the present
	stocks  map[supply.LocationID][]supply.Stock
	people  []*person
	account *account
	// supplyEvents and stockEvents are all that was recorded.
	supplyEvents []supply.Event
	stockEvents  map[supply.LocationID][]supply.StockEvent
	numbers      int
	events       int
	seen         map[string]int
}

func newWorld(t *rapid.T, seen map[string]int) *world {
	keep := evenly([]int{0, 10}).Draw(t, "days before expiry")
	arms := theArms[:between(2, 3).Draw(t, "arms")]
	p := study.Protocol{Version: 1, Treatment: &study.Treatment{Randomised: true, Kits: true, ForcedAllocation: rapid.Bool().Draw(t, "forced"), DoNotDispenseDays: keep}}
	for _, a := range arms {
		p.Arms = append(p.Arms, study.Arm{ID: string(a)})
	}
	events := []study.Event{study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: p}}
	for _, s := range theSites {
		events = append(events, study.SiteAdded{Study: pain, Site: domain.SiteID(s)}, study.SiteActivated{Study: pain, Site: domain.SiteID(s)})
	}
	opening := supply.DepotOpened{Study: pain, Depot: theDepot, Name: "Central"}
	opened := supply.Decider.Fold(opening) // nobody knows of a shipment and not of the depot
	w := &world{t: t, study: study.Decider.Fold(events...), now: call.At, arms: arms, supply: []supply.Supply{opened}, stocks: map[supply.LocationID][]supply.Stock{},
		account: newAccount(keep, domain.DateOf(call.At)), seen: seen,
		supplyEvents: []supply.Event{opening}, stockEvents: map[supply.LocationID][]supply.StockEvent{}}
	for _, l := range thePlaces {
		w.stocks[l] = []supply.Stock{{}}
	}
	for range 6 {
		w.screen()
	}
	return w
}

// screen adds a person, some of them drawn already.
func (w *world) screen() {
	n := len(w.people)
	w.people = append(w.people, &person{id: domain.NewPatientID(pain, fmt.Sprint("S-", n)), site: theSites[n%len(theSites)], arm: evenly(w.arms).Draw(w.t, "arm"), drawn: rapid.Bool().Draw(w.t, "drawn")})
}

// evenly picks one with the same chance for each; rapid's own generators prefer the first ones, and little would happen.
func evenly[T any](all []T) *rapid.Generator[T] {
	const bits = 10
	return rapid.Custom(func(t *rapid.T) T {
		n := 0
		for range bits {
			if n *= 2; rapid.Bool().Draw(t, "") {
				n++
			}
		}
		return all[n*len(all)>>bits]
	})
}

// between picks a number from least to most, each with the same chance.
func between(least, most int) *rapid.Generator[int] {
	all := make([]int, most-least+1)
	for i := range all {
		all[i] = least + i
	}
	return evenly(all)
}

func (w *world) call() domain.Call { return domain.Call{At: w.now, Actor: "somebody"} }

func last[T any](all []T) T { return all[len(all)-1] }

// behind returns a version that is up to a few events old, and whether it is the present.
func behind[T any](t *rapid.T, all []T) (T, bool) {
	n := max(0, evenly([]int{0, 0, 0, 1, 3, 8}).Draw(t, "behind"))
	return all[max(0, len(all)-1-n)], n == 0
}

// onSupply takes a decision on the study's supply as a whole.
func (w *world) onSupply(decide func(supply.Supply) ([]supply.Event, error)) {
	s := last(w.supply)
	events, err := decide(s)
	w.refusedOrDecided(len(events), err)
	for _, e := range events {
		s = w.evolveSupply(s, e)
		w.supply, w.supplyEvents = append(w.supply, s), append(w.supplyEvents, e)
		w.account.followSupply(e)
		w.seen[fmt.Sprintf("%T", e)]++
	}
}

func (w *world) evolveSupply(s supply.Supply, e supply.Event) supply.Supply {
	if w.events++; w.events%5 == 0 {
		return scenario.Evolve(w.t, supply.Decider, s, e)
	}
	return supply.Decider.Evolve(s, e)
}

func (w *world) evolveStock(s supply.Stock, e supply.StockEvent) supply.Stock {
	if w.events++; w.events%5 == 0 {
		return scenario.Evolve(w.t, supply.StockDecider, s, e)
	}
	return supply.StockDecider.Evolve(s, e)
}

// refusedOrDecided fails on anything but events or a refusal that says what to do.
func (w *world) refusedOrDecided(events int, err error) {
	if err == nil {
		return
	}
	r, refused := refuse.As(err)
	if !refused || events > 0 || r.Remedy == "" || r.Field == "" {
		w.t.Fatalf("%d events and the error %v", events, err)
	}
	w.seen[r.Code]++
	for _, a := range theArms {
		if strings.Contains(err.Error(), string(a)) {
			w.t.Fatalf("the refusal names an arm: %v", err)
		}
	}
}

// on takes a decision on the present of a place, with facts that may be behind, and holds what follows against the account.
// It returns the events.
func on[C any](w *world, at, other supply.LocationID, who *person, decide func(supply.Stock, supply.Facts, C, domain.Call) ([]supply.StockEvent, error), cmd C) []supply.StockEvent {
	known, exact := behind(w.t, w.supply)
	f := supply.Facts{Study: w.study, Supply: known}
	if other != "" {
		there, present := behind(w.t, w.stocks[other])
		f.Other, exact = there, exact && present
	}
	if who != nil {
		f.Participating = !who.left
		if who.drawn {
			f.Arm = who.arm
		}
	}
	s := last(w.stocks[at])
	events, err := decide(s, f, cmd, w.call())
	w.refusedOrDecided(len(events), err)
	again, errAgain := decide(s, f, cmd, w.call())
	if fmt.Sprint(events, err) != fmt.Sprint(again, errAgain) {
		w.t.Fatalf("%+v is answered with %v, %v, and then with %v, %v", cmd, events, err, again, errAgain)
	}
	for _, e := range events {
		s = w.evolveStock(s, e)
		w.stocks[at], w.stockEvents[at] = append(w.stocks[at], s), append(w.stockEvents[at], e)
		w.account.follow(w.t, e, exact)
		w.seen[fmt.Sprintf("%T", e)]++
		w.account.agrees(w.t, w.present())
	}
	return events
}

func onFacts[C any](decide func(supply.Stock, C, domain.Call) ([]supply.StockEvent, error)) func(supply.Stock, supply.Facts, C, domain.Call) ([]supply.StockEvent, error) {
	return func(s supply.Stock, _ supply.Facts, c C, call domain.Call) ([]supply.StockEvent, error) {
		return decide(s, c, call)
	}
}

func (w *world) present() map[supply.LocationID]supply.Stock {
	all := map[supply.LocationID]supply.Stock{}
	for l, versions := range w.stocks {
		all[l] = last(versions)
	}
	return all
}

// some are a few kits of a place, most of them in one of the statuses.
func (w *world) some(at supply.LocationID, most int, statuses ...supply.KitStatus) []supply.KitNumber {
	var fitting, all []supply.KitNumber
	for n, k := range last(w.stocks[at]).Kits.All() {
		if all = append(all, n); slices.Contains(statuses, k.Status) {
			fitting = append(fitting, n)
		}
	}
	slices.Sort(fitting)
	slices.Sort(all)
	if any := between(0, 19).Draw(w.t, "any kits") == 0; any || len(fitting) == 0 && between(0, 4).Draw(w.t, "none") == 0 {
		fitting = all
	}
	if len(fitting) == 0 {
		return []supply.KitNumber{"unknown"}
	}
	picked := rapid.SliceOfNDistinct(evenly(fitting), 1, min(most, len(fitting)), rapid.ID[supply.KitNumber]).Draw(w.t, "kits")
	if between(0, 29).Draw(w.t, "twice") == 0 {
		picked = append(picked, picked[0])
	}
	return picked
}

// shipment is one that stands like this, or any.
func (w *world) shipment(status supply.ShipmentStatus) (supply.ShipmentID, *way) {
	ids := slices.Sorted(maps.Keys(w.account.shipments))
	fitting := slices.DeleteFunc(slices.Clone(ids), func(id supply.ShipmentID) bool { return w.account.shipments[id].status != status })
	if len(fitting) == 0 || between(0, 9).Draw(w.t, "any shipment") == 0 {
		fitting = ids
	}
	if len(fitting) == 0 {
		return "D-0009", &way{from: theDepot, to: "A"}
	}
	id := evenly(fitting).Draw(w.t, "shipment")
	return id, w.account.shipments[id]
}

func (w *world) place() supply.LocationID { return evenly(thePlaces).Draw(w.t, "place") }

func (w *world) site() supply.LocationID { return evenly(theSites).Draw(w.t, "site") }

// person is one of the last few.
func (w *world) person() *person {
	return evenly(w.people[max(0, len(w.people)-8):]).Draw(w.t, "patient")
}

// kitOf is a kit of the patient at the patient's site, or a kit of anybody.
func (w *world) kitOf(p *person) supply.KitNumber {
	kits := last(w.stocks[p.site]).KitsOf(p.id)
	if len(kits) == 0 || between(0, 9).Draw(w.t, "any kit") == 0 {
		return w.some(p.site, 1)[0]
	}
	return evenly(kits).Draw(w.t, "kit")
}

func (w *world) register() {
	var text strings.Builder
	text.WriteString("kit,arm,lot,expiry,units\n")
	for range between(1, 80).Draw(w.t, "kits") {
		if between(0, 99).Draw(w.t, "same") > 0 { // or the number of the kit before
			w.numbers++
		}
		fmt.Fprintf(&text, "%05d,%s,%s,%s,%d\n", w.numbers, evenly(w.arms).Draw(w.t, "arm"), evenly(theLots).Draw(w.t, "lot"),
			domain.DateOf(w.now).AddDays(between(5, 250).Draw(w.t, "days")), between(1, 3).Draw(w.t, "units"))
	}
	w.onSupply(scenario.SentWithFacts(supply.Register, w.study, supply.RegisterKits{InStudy: domain.ForStudy(pain), Depot: theDepot, CSV: text.String()}, w.call()))
}

func (w *world) takeIn() {
	n := len(w.account.taken) + 1 // the next one, or any
	if between(0, 9).Draw(w.t, "any delivery") == 0 {
		n = between(0, len(last(w.supply).Deliveries)+1).Draw(w.t, "delivery")
	}
	on(w, theDepot, "", nil, supply.AcceptDelivery, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: pain, Depot: theDepot}, Delivery: n})
}

func (w *world) lot() string { return evenly(theLots).Draw(w.t, "lot") }

func (w *world) setLotAside() {
	at, lot := w.place(), w.lot()
	if !w.account.recalled[lot] {
		return
	}
	cmd := supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: at}, Lot: lot, Reasoned: domain.Because("impurity")}
	on(w, at, "", nil, onFacts(supply.QuarantineKitsOfLot), cmd)
	for n, k := range w.account.kits {
		if k.at == at && k.Lot == lot && (k.status() == supply.KitAvailable || k.status() == supply.KitIsAllocated) {
			w.t.Fatalf("kit %s of the recalled lot is %s", n, k.status())
		}
	}
	if events := on(w, at, "", nil, onFacts(supply.QuarantineKitsOfLot), cmd); len(events) > 0 {
		w.t.Fatalf("set aside a second time: %v", events)
	}
}

func (w *world) ship() {
	from, to := w.place(), w.place()
	if from != theDepot {
		to = evenly([]supply.LocationID{theDepot, theDepot, theDepot, to}).Draw(w.t, "to")
	}
	statuses := []supply.KitStatus{supply.KitIsReturned, supply.KitExpired, supply.KitDamaged}
	if from == theDepot || between(0, 4).Draw(w.t, "good ones") == 0 {
		statuses = append(statuses, supply.KitAvailable)
	}
	kits := w.some(from, 10, statuses...)
	on(w, from, "", nil, supply.Create, supply.CreateShipment{FromLocation: supply.FromLocation{Study: pain, From: from}, To: to, Kits: kits, Reasoned: domain.Because("r")})
}

func (w *world) planResupply() {
	site := w.site()
	cmd := supply.PlanResupply{AtDepot: supply.AtDepot{Study: pain, Depot: theDepot}, Site: domain.SiteID(site), Seed: theSeed}
	on(w, theDepot, site, nil, supply.Resupply, cmd)
	f := supply.Facts{Study: w.study, Supply: last(w.supply), Other: last(w.stocks[site])}
	s := last(w.stocks[theDepot])
	for range 3 { // asked again and again, knowing everything, it sends what is missing once
		events, err := supply.Resupply(s, f, cmd, w.call())
		if err != nil {
			w.t.Fatal(err)
		}
		for i, e := range events {
			made, ok := e.(supply.ShipmentCreated)
			if !ok {
				continue
			}
			if s.LastShipment > last(w.stocks[theDepot]).LastShipment {
				t := events[:i+1]
				w.t.Fatalf("asked again it sends %v and then %v", made.Shipment, t)
			}
			s = supply.StockDecider.Evolve(s, e)
		}
	}
}

func (w *world) receive() {
	id, s := w.shipment(supply.ShipmentOnItsWay)
	cmd := supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: pain, Location: s.to}, From: s.from, Shipment: id, On: domain.DateOf(w.now), Temperature: supply.TemperatureInRange}
	if between(0, 5).Draw(w.t, "excursion") == 0 {
		cmd.Temperature = evenly([]supply.Temperature{supply.TemperatureExcursion, supply.TemperatureUnknown}).Draw(w.t, "temperature")
	}
	for _, n := range s.kits {
		switch between(0, 19).Draw(w.t, "arrives") {
		case 0:
			cmd.Damaged = append(cmd.Damaged, n)
		case 1:
			cmd.Missing = append(cmd.Missing, n)
		}
	}
	on(w, s.to, s.from, nil, supply.Receive, cmd)
}

func (w *world) hold() {
	p := w.person()
	events := on(w, p.site, "", p, supply.Hold, supply.HoldStock{Study: pain, Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Seed: theSeed})
	for _, e := range events {
		if held, ok := e.(supply.StockHeld); ok && !p.drawn && !p.left && rapid.Bool().Draw(w.t, "is drawn") {
			kits, _ := held.Kits.Open()
			if _, some := kits[p.arm]; !some { // the draw is among what is held
				p.arm = slices.Sorted(maps.Keys(kits))[0]
			}
			p.drawn = true
		}
	}
}

// allocate asks for a kit, and holds the answer to what is promised: always one, and never a second kit.
func (w *world) allocate() {
	p, visit := w.person(), evenly(theVisits).Draw(w.t, "visit")
	before := last(w.stocks[p.site])
	has, got := before.Allocated.Get(supply.Slot{Patient: p.id, Visit: visit})
	events := on(w, p.site, "", p, supply.Allocate, supply.AllocateKit{Study: pain, Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Visit: visit, Seed: theSeed})
	if n := len(withoutChoices(events)); n > 1 || n == 0 && !got {
		w.t.Fatalf("%s is answered with %v", p.id, events)
	}
	if len(events) == 0 {
		return
	}
	if e, ok := events[0].(supply.KitAllocated); ok {
		if (p.left || !p.drawn || w.account.kits[e.Kit].Arm != p.arm) || e.Replaces != has {
			w.t.Fatalf("%+v is answered with %+v", p, e)
		}
		// Nothing of the arm that expires earlier stays behind, unless another one was held.
		if hold, held := before.Holds.Get(p.id); held {
			if kits, _ := hold.Kits.Open(); kits[p.arm] == e.Kit {
				return
			}
		}
		for n, k := range w.account.kits {
			if mine := w.account.kits[e.Kit]; k.at == p.site && k.status() == supply.KitAvailable && k.Arm == p.arm && w.account.fit(k) && !w.account.heldFor(p.site, n, p.id) &&
				k.Expiry < mine.Expiry && !w.wasUnknown(k) {
				w.t.Fatalf("kit %s is allocated, and %s expires earlier", e.Kit, n)
			}
		}
	}
}

// wasUnknown says whether a decision that was behind could not know that the kit's lot is released.
func (w *world) wasUnknown(k *entry) bool {
	for _, s := range w.supply[max(0, len(w.supply)-9):] {
		if !s.Lots[k.Lot].Released {
			return true
		}
	}
	return false
}

func (w *world) leave() {
	p := w.person()
	p.left = true
	w.screen()
	on(w, p.site, "", p, onFacts(supply.SetAside), supply.SetKitsAside{Study: pain, Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Reasoned: domain.Because("left")})
	if s := last(w.stocks[p.site]); slices.ContainsFunc(s.KitsOf(p.id), func(n supply.KitNumber) bool { k, _ := s.Kits.Get(n); return k.Status == supply.KitIsAllocated }) {
		w.t.Fatalf("%s has left, and a kit is still allocated", p.id)
	}
}

func (w *world) dispense() {
	p := w.person()
	on(w, p.site, "", p, supply.Dispense, supply.DispenseKit{Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Kit: w.kitOf(p), On: domain.DateOf(w.now)})
}

func (w *world) reconcile() {
	p := w.person()
	n := w.kitOf(p)
	units := 2
	if k := w.account.kits[n]; k != nil {
		units = k.Units
	}
	used := between(0, units).Draw(w.t, "used")
	back := between(0, units-used).Draw(w.t, "returned")
	wrong := evenly([]int{0, 0, 0, 1}).Draw(w.t, "wrong")
	on(w, p.site, "", p, onFacts(supply.Reconcile), supply.ReconcileKit{Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Kit: n, Used: used, Returned: back, Lost: units - used - back + wrong})
}

func (w *world) destroy() {
	at := w.place()
	on(w, at, "", nil, onFacts(supply.Destroy), supply.DestroyKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, On: domain.DateOf(w.now), Certificate: "c",
		Kits: w.some(at, 3, supply.KitIsReturned, supply.KitExpired, supply.KitDamaged, supply.KitQuarantined)})
}

func (w *world) expire() {
	at := w.place()
	on(w, at, "", nil, onFacts(supply.Expire), supply.ExpireKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Through: domain.DateOf(w.now)})
	for n, k := range w.account.kits {
		if k.at == at && k.Expiry <= w.account.today && (k.status() == supply.KitAvailable || k.status() == supply.KitIsAllocated || k.status() == supply.KitQuarantined) {
			w.t.Fatalf("kit %s has expired, and is %s", n, k.status())
		}
	}
}

func (w *world) rule(site supply.LocationID) {
	trigger := between(1, 3).Draw(w.t, "trigger")
	w.onSupply(scenario.SentWithFacts(supply.SetRule, w.study, supply.SetResupplyRule{InStudy: domain.ForStudy(pain), Rule: supply.ResupplyRule{Site: domain.SiteID(site), Depot: theDepot,
		Trigger: trigger, Target: trigger + between(0, 2).Draw(w.t, "more"), OverdueDays: 5}}, w.call()))
}

// actions are all that can happen, by how often it does.
func (w *world) actions() []func() {
	often := func(n int, act func()) []func() { return slices.Repeat([]func(){act}, n) }
	return slices.Concat(
		often(2, w.register), often(2, w.takeIn), often(3, w.ship), often(8, w.planResupply), often(1, func() { w.rule(w.site()) }), often(10, w.receive), often(5, w.hold), often(8, w.allocate),
		often(8, w.dispense), often(1, w.leave), often(5, w.reconcile), often(1, w.destroy), often(1, w.expire), often(2, w.setLotAside),
		often(1, func() {
			w.onSupply(scenario.Sent(supply.Release, supply.ReleaseBatch{InStudy: domain.ForStudy(pain), Lot: w.lot(), Certificate: "c"}, w.call()))
		}),
		often(1, func() {
			if between(0, 3).Draw(w.t, "recall") == 0 {
				w.onSupply(scenario.SentWithFacts(supply.Recall, w.study, supply.RecallLot{InStudy: domain.ForStudy(pain), Lot: w.lot(), Reasoned: domain.Because("impurity")}, w.call()))
			}
		}),
		often(10, func() {
			id, s := w.shipment(supply.ShipmentPacked)
			on(w, s.from, "", nil, supply.Dispatch, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: s.from}, Shipment: id, On: domain.DateOf(w.now)})
		}),
		often(1, func() {
			id, s := w.shipment(supply.ShipmentPacked)
			on(w, s.from, "", nil, onFacts(supply.Cancel), supply.CancelShipment{FromLocation: supply.FromLocation{Study: pain, From: s.from}, Shipment: id, Reasoned: domain.Because("r")})
		}),
		often(1, func() {
			id, s := w.shipment(supply.ShipmentOnItsWay)
			on(w, s.to, s.from, nil, supply.RecordShipmentLoss, supply.ReportShipmentLost{AtLocation: supply.AtLocation{Study: pain, Location: s.to}, From: s.from, Shipment: id, Reasoned: domain.Because("r")})
		}),
		often(1, func() {
			p := w.person()
			on(w, p.site, "", p, onFacts(supply.ReleaseHeld), supply.ReleaseHold{Study: pain, Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Reasoned: domain.Because("r")})
		}),
		often(5, func() {
			p := w.person()
			on(w, p.site, "", p, onFacts(supply.Return), supply.ReturnKit{Site: domain.SiteID(p.site), OfPatient: domain.ForPatient(p.id), Kit: w.kitOf(p), On: domain.DateOf(w.now)})
		}),
		often(2, func() {
			at := w.place()
			on(w, at, "", nil, onFacts(supply.Quarantine), supply.QuarantineKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Cause: supply.CauseExcursion, Reasoned: domain.Because("r"),
				Kits: w.some(at, 3, supply.KitAvailable, supply.KitIsAllocated, supply.KitPacked)})
		}),
		often(2, func() {
			at := w.place()
			on(w, at, "", nil, supply.ReleaseFromQuarantine, supply.ReleaseKits{AtLocation: supply.AtLocation{Study: pain, Location: at}, Reasoned: domain.Because("r"), Kits: w.some(at, 2, supply.KitQuarantined)})
		}),
		often(1, func() {
			at := w.place()
			on(w, at, "", nil, onFacts(supply.RecordKitLoss), supply.ReportKitLost{AtLocation: supply.AtLocation{Study: pain, Location: at}, Reasoned: domain.Because("r"), Kit: w.some(at, 1,
				supply.KitAvailable, supply.KitIsAllocated, supply.KitIsDispensed, supply.KitPacked, supply.KitQuarantined)[0]})
		}),
		often(2, func() {
			w.now = w.now.AddDate(0, 0, between(1, 20).Draw(w.t, "days"))
			w.account.today = domain.DateOf(w.now)
		}),
	)
}

// R36, R37: whatever happens at a depot and its sites, in any order, and however far behind the facts of a decision are: a
// kit is in one place's hands at most, or in one delivery, or on one way, and the places' states say where, as a plain
// account does; it never has two patients, nor is it held for two; what is unreleased, recalled or near its expiry goes to
// nobody; doses add up; a rule never lifts a site above its target; and
// every choice of kits comes out the same when it is repeated.
func TestR36_R37_KitsAreAccountedForWhateverHappens(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, seen)
		for _, lot := range theLots[:between(2, len(theLots)).Draw(t, "lots")] {
			w.onSupply(scenario.Sent(supply.Release, supply.ReleaseBatch{InStudy: domain.ForStudy(pain), Lot: lot, Certificate: "c"}, w.call()))
		}
		w.register()
		w.takeIn()
		for _, site := range theSites {
			w.rule(site)
			w.planResupply()
		}
		act := evenly(w.actions())
		for range evenly([]int{30, 300, 700}).Draw(t, "steps") {
			act.Draw(t, "act")()
			w.account.agrees(t, w.present())
		}
		for at, events := range w.stockEvents {
			if err := supply.ReplayStock(w.supplyEvents, events); err != nil {
				t.Fatalf("the choices at %s are repeated: %v", at, err)
			}
		}
	})
	if t.Failed() {
		return
	}
	for _, e := range []any{supply.DeliveryTakenIn{}, supply.ShipmentCreated{}, supply.ResupplyFellShort{}, supply.ShipmentCancelled{}, supply.ShipmentDispatched{},
		supply.ShipmentReceived{}, supply.ShipmentLost{}, supply.KitsQuarantined{}, supply.KitsReleased{}, supply.StockHeld{}, supply.StockRefused{}, supply.HoldReleased{},
		supply.KitAllocated{}, supply.AllocationFailed{}, supply.KitsSetAside{}, supply.KitDispensed{}, supply.KitReturned{}, supply.KitReconciled{}, supply.KitsExpired{},
		supply.KitsDestroyed{}, supply.KitLost{}, supply.LotRecalled{}} {
		if name := fmt.Sprintf("%T", e); seen[name] == 0 {
			t.Errorf("%s never happened: the runs are too short to prove anything of it", name)
		}
	}
	t.Logf("what happened: %v", seen)
}
