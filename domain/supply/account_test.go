package supply_test

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

// account is a plain account of a study's kits, kept from the events alone, and judge of every event: what it may do, and to
// which kits.
type account struct {
	today     domain.Date
	keepDays  int
	kits      map[supply.KitNumber]*entry
	released  map[string]bool
	recalled  map[string]bool
	rules     map[domain.SiteID]supply.ResupplyRule
	taken     map[int]bool
	shipments map[supply.ShipmentID]*way
	holds     map[supply.LocationID]map[domain.PatientID]map[domain.ArmID]supply.KitNumber
}

// entry is one kit. It is in a delivery, at a place or on a way; packed and aside lie over what it is otherwise.
type entry struct {
	supply.Content
	delivery int
	at       supply.LocationID  // "" in a delivery that was not taken in, and on the way
	way      supply.ShipmentID  // the shipment that it is on the way with
	packed   supply.ShipmentID  // the shipment that it is to leave with
	aside    bool               // in quarantine
	is       supply.KitStatus   // without packed and aside
	patients []domain.PatientID // all that ever had it, or had it promised
	doses    int                // accounted for
	handed   bool
}

// way is one shipment.
type way struct {
	from, to supply.LocationID
	kits     []supply.KitNumber
	status   supply.ShipmentStatus
	resupply bool
}

func newAccount(keepDays int, today domain.Date) *account {
	return &account{today: today, keepDays: keepDays, kits: map[supply.KitNumber]*entry{}, released: map[string]bool{}, recalled: map[string]bool{},
		rules: map[domain.SiteID]supply.ResupplyRule{}, taken: map[int]bool{}, shipments: map[supply.ShipmentID]*way{},
		holds: map[supply.LocationID]map[domain.PatientID]map[domain.ArmID]supply.KitNumber{}}
}

// status is how the kit's place should show it.
func (e *entry) status() supply.KitStatus {
	switch {
	case e.aside:
		return supply.KitQuarantined
	case e.packed != "":
		return supply.KitPacked
	}
	return e.is
}

// fit says whether a kit could be given out today, as far as lot and expiry go.
func (a *account) fit(e *entry) bool {
	return a.released[e.Lot] && !a.recalled[e.Lot] && e.Expiry.DaysSince(a.today) > a.keepDays
}

// of returns the kits of an event, which have to be at its place in one of the statuses, in ascending order.
func (a *account) of(t *rapid.T, event any, at supply.LocationID, kits []supply.KitNumber, statuses ...supply.KitStatus) []*entry {
	if !slices.IsSorted(kits) || len(slices.Compact(slices.Clone(kits))) != len(kits) {
		t.Fatalf("%T names the kits %v, which are not in ascending order", event, kits)
	}
	var all []*entry
	for _, n := range kits {
		e := a.kits[n]
		if e == nil || e.at != at || !slices.Contains(statuses, e.status()) {
			t.Fatalf("%+v is about kit %s, which is %+v", event, n, e)
		}
		all = append(all, e)
	}
	return all
}

func (a *account) followSupply(e supply.Event) {
	switch e := e.(type) {
	case supply.KitsRegistered:
		contents, _ := e.Contents.Open()
		for _, n := range e.Kits {
			a.kits[n] = &entry{Content: contents[n], delivery: e.Delivery}
		}
	case supply.BatchReleased:
		a.released[e.Lot] = true
	case supply.LotRecalled:
		a.recalled[e.Lot] = true
	case supply.ResupplyRuleSet:
		a.rules[e.Rule.Site] = e.Rule
	}
}

// follow judges an event of a place and enters it. exact says that it was decided knowing everything.
func (a *account) follow(t *rapid.T, event supply.StockEvent, exact bool) { //nolint:gocyclo // one case for every event
	ends := func(all []*entry, is supply.KitStatus) {
		for _, e := range all {
			e.is, e.aside, e.packed = is, false, ""
		}
	}
	switch e := event.(type) {
	case supply.DeliveryTakenIn:
		if a.taken[e.Delivery] {
			t.Fatalf("delivery %d is taken in twice", e.Delivery)
		}
		a.taken[e.Delivery] = true
		for _, n := range e.Kits {
			k := a.kits[n]
			if k.delivery != e.Delivery || k.at != "" || k.is != "" {
				t.Fatalf("kit %s, which is %+v, comes in with delivery %d", n, k, e.Delivery)
			}
			k.at, k.is = e.Location, supply.KitAvailable
		}
	case supply.ShipmentCreated:
		if a.shipments[e.Shipment] != nil {
			t.Fatalf("there are two shipments %s", e.Shipment)
		}
		statuses := []supply.KitStatus{supply.KitAvailable}
		if e.Location != theDepot {
			statuses = append(statuses, supply.KitIsReturned, supply.KitExpired, supply.KitDamaged)
		}
		for i, k := range a.of(t, e, e.Location, e.Kits, statuses...) {
			if a.heldFor(e.Location, e.Kits[i], "") {
				t.Fatalf("kit %s is held and packed", e.Kits[i])
			}
			if e.Location == theDepot && exact && !a.fit(k) {
				t.Fatalf("kit %s, %+v, is sent to a site", e.Kits[i], k)
			}
			k.packed = e.Shipment
		}
		a.shipments[e.Shipment] = &way{from: e.Location, to: e.To, kits: e.Kits, status: supply.ShipmentPacked, resupply: e.Resupply}
		if e.Resupply && exact {
			a.targetKept(t, e)
		}
	case supply.ShipmentCancelled:
		s := a.step(t, e.Shipment, supply.ShipmentPacked, supply.ShipmentIsCanceled)
		for _, n := range s.kits {
			if k := a.kits[n]; k.packed == e.Shipment {
				k.packed = ""
			}
		}
	case supply.ShipmentDispatched:
		s := a.step(t, e.Shipment, supply.ShipmentPacked, supply.ShipmentOnItsWay)
		for i, k := range a.of(t, e, e.Location, s.kits, supply.KitPacked) {
			if k.packed != e.Shipment || exact && e.Location == theDepot && (!a.released[k.Lot] || a.recalled[k.Lot]) {
				t.Fatalf("kit %s, %+v, leaves with shipment %s", s.kits[i], k, e.Shipment)
			}
			k.at, k.packed, k.way = "", "", e.Shipment
		}
	case supply.ShipmentReceived:
		s := a.step(t, e.Shipment, supply.ShipmentOnItsWay, supply.ShipmentArrived)
		found := 0
		for is, kits := range map[supply.KitStatus][]supply.KitNumber{supply.KitAvailable: e.Available, supply.KitQuarantined: e.Quarantined,
			supply.KitDamaged: e.Damaged, supply.KitIsLost: e.Missing, supply.KitIsReturned: e.Returned} {
			found += len(kits)
			for i, k := range a.arrived(t, e, e.Shipment, kits) {
				k.at, k.way, k.is = e.Location, "", is
				if is == supply.KitQuarantined {
					k.is, k.aside = supply.KitAvailable, true
				}
				if is == supply.KitAvailable && (e.Location == theDepot || e.Excursion || exact && a.recalled[k.Lot]) {
					t.Fatalf("kit %s, %+v, arrives as if nothing had happened", kits[i], k)
				}
			}
		}
		if found != len(s.kits) {
			t.Fatalf("%d kits were sent with %s, and %d arrive", len(s.kits), e.Shipment, found)
		}
	case supply.ShipmentLost:
		s := a.step(t, e.Shipment, supply.ShipmentOnItsWay, supply.ShipmentIsLost)
		for _, k := range a.arrived(t, e, e.Shipment, s.kits) {
			k.at, k.way, k.is = e.Location, "", supply.KitIsLost
		}
	case supply.KitsQuarantined:
		for i, k := range a.of(t, e, e.Location, e.Kits, supply.KitAvailable, supply.KitIsAllocated, supply.KitPacked) {
			k.aside = true
			if e.Cause == supply.CauseRecall && k.Lot != e.Lot {
				t.Fatalf("kit %s is of lot %s, and %s is recalled", e.Kits[i], k.Lot, e.Lot)
			}
			for _, p := range k.patients {
				if !slices.ContainsFunc(e.Affected, func(s supply.Slot) bool { return s.Patient == p }) {
					t.Fatalf("%s has kit %s, and %+v does not name the patient", p, e.Kits[i], e)
				}
			}
		}
	case supply.KitsReleased:
		for i, k := range a.of(t, e, e.Location, e.Kits, supply.KitQuarantined) {
			k.aside = false
			if exact && a.recalled[k.Lot] {
				t.Fatalf("kit %s is released, and its lot is recalled", e.Kits[i])
			}
		}
	case supply.StockHeld:
		kits, open := e.Kits.Open()
		if _, again := a.holds[e.Location][e.Patient]; !open || len(kits) == 0 || again && fmt.Sprint(kits) != fmt.Sprint(a.holds[e.Location][e.Patient]) {
			t.Fatalf("%s has another hold", e.Patient)
		}
		for arm, n := range kits {
			if a.heldFor(e.Location, n, e.Patient) {
				t.Fatalf("kit %s is held for two", n)
			}
			if _, again := a.holds[e.Location][e.Patient]; again {
				continue // what is answered once more may have become unfit
			}
			if k := a.of(t, e, e.Location, []supply.KitNumber{n}, supply.KitAvailable)[0]; k.Arm != arm || len(k.patients) > 0 || exact && !a.fit(k) {
				t.Fatalf("kit %s, %+v, is held for %s", n, k, e.Patient)
			}
		}
		if a.holds[e.Location] == nil {
			a.holds[e.Location] = map[domain.PatientID]map[domain.ArmID]supply.KitNumber{}
		}
		a.holds[e.Location][e.Patient] = kits
	case supply.HoldReleased:
		delete(a.holds[e.Location], e.Patient)
	case supply.AllocationFailed:
		delete(a.holds[e.Location], e.Patient)
	case supply.KitAllocated:
		k := a.of(t, e, e.Location, []supply.KitNumber{e.Kit}, supply.KitAvailable)[0]
		if len(k.patients) > 0 || a.heldFor(e.Location, e.Kit, e.Patient) {
			t.Fatalf("kit %s was promised to %v or is held, and goes to %s", e.Kit, k.patients, e.Patient)
		}
		if exact && !a.fit(k) || k.Expiry.DaysSince(a.today) <= a.keepDays {
			t.Fatalf("kit %s, %+v, is allocated on %s", e.Kit, k, a.today)
		}
		if old := a.kits[e.Replaces]; e.Replaces != "" && (old.handed || !slices.Contains(old.patients, e.Patient) || old.status() == supply.KitIsAllocated) {
			t.Fatalf("kit %s, %+v, is replaced", e.Replaces, old)
		}
		k.is, k.patients = supply.KitIsAllocated, append(k.patients, e.Patient)
		delete(a.holds[e.Location], e.Patient)
	case supply.KitsSetAside:
		for i, k := range a.of(t, e, e.Location, e.Kits, supply.KitIsAllocated) {
			if !slices.Contains(k.patients, e.Patient) {
				t.Fatalf("kit %s of %v is set aside for %s", e.Kits[i], k.patients, e.Patient)
			}
			k.is = supply.KitIsReturned
		}
	case supply.KitDispensed:
		k := a.of(t, e, e.Location, []supply.KitNumber{e.Kit}, supply.KitIsAllocated)[0]
		if k.handed || exact && !a.fit(k) || k.Expiry.DaysSince(a.today) <= a.keepDays || !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("kit %s, %+v, is handed to %s on %s", e.Kit, k, e.Patient, a.today)
		}
		k.is, k.handed = supply.KitIsDispensed, true
	case supply.KitReturned:
		k := a.of(t, e, e.Location, []supply.KitNumber{e.Kit}, supply.KitIsDispensed)[0]
		if !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("kit %s of %v comes back from %s", e.Kit, k.patients, e.Patient)
		}
		k.is = supply.KitIsReturned
	case supply.KitReconciled:
		k := a.of(t, e, e.Location, []supply.KitNumber{e.Kit}, supply.KitIsReturned)[0]
		if k.doses += e.Returned + e.Used + e.Lost; !k.handed || k.doses != k.Units || e.Returned < 0 || e.Used < 0 || e.Lost < 0 {
			t.Fatalf("kit %s held %d doses, and %d are accounted for: %+v", e.Kit, k.Units, k.doses, e)
		}
	case supply.KitsExpired:
		all := a.of(t, e, e.Location, e.Kits, supply.KitAvailable, supply.KitPacked, supply.KitIsAllocated, supply.KitQuarantined)
		for i, k := range all {
			if k.Expiry > e.Through {
				t.Fatalf("kit %s expires on %s, after %s", e.Kits[i], k.Expiry, e.Through)
			}
		}
		ends(all, supply.KitExpired)
	case supply.KitsDestroyed:
		all := a.of(t, e, e.Location, e.Kits, supply.KitIsReturned, supply.KitExpired, supply.KitDamaged, supply.KitQuarantined)
		for i, k := range all {
			if k.handed && k.doses != k.Units {
				t.Fatalf("kit %s is destroyed, and %d of %d doses are accounted for", e.Kits[i], k.doses, k.Units)
			}
		}
		ends(all, supply.KitDestroyed)
	case supply.KitLost:
		ends(a.of(t, e, e.Location, []supply.KitNumber{e.Kit}, supply.KitAvailable, supply.KitPacked, supply.KitIsAllocated, supply.KitIsDispensed,
			supply.KitIsReturned, supply.KitQuarantined, supply.KitDamaged, supply.KitExpired), supply.KitIsLost)
	case supply.StockSeedRecorded, supply.StockRefused, supply.ResupplyFellShort:
	default:
		t.Fatalf("the account does not know %T", e)
	}
}

// step moves a shipment on.
func (a *account) step(t *rapid.T, id supply.ShipmentID, from, to supply.ShipmentStatus) *way {
	s := a.shipments[id]
	if s == nil || s.status != from {
		t.Fatalf("shipment %s, %+v, becomes %s", id, s, to)
	}
	s.status = to
	return s
}

// arrived returns kits that are on the way with a shipment.
func (a *account) arrived(t *rapid.T, event any, id supply.ShipmentID, kits []supply.KitNumber) []*entry {
	for _, n := range kits {
		if k := a.kits[n]; k == nil || k.way != id {
			t.Fatalf("kit %s, %+v, arrives with %+v", n, k, event)
		}
	}
	for _, n := range kits {
		a.kits[n].way = "landing" // so that no kit arrives twice
	}
	return a.of(t, event, "", kits, a.statuses(kits)...)
}

func (a *account) statuses(kits []supply.KitNumber) (all []supply.KitStatus) {
	for _, n := range kits {
		all = append(all, a.kits[n].status())
	}
	return all
}

// heldFor says whether the kit is held for anybody but one.
func (a *account) heldFor(at supply.LocationID, n supply.KitNumber, but domain.PatientID) bool {
	for p, kits := range a.holds[at] {
		for _, held := range kits {
			if p != but && held == n {
				return true
			}
		}
	}
	return false
}

// targetKept fails where a shipment that a rule asked for lifts the site above the rule's target.
func (a *account) targetKept(t *rapid.T, e supply.ShipmentCreated) {
	have, sent := map[domain.ArmID]int{}, map[domain.ArmID]bool{}
	for _, n := range e.Kits {
		sent[a.kits[n].Arm] = true
	}
	for _, k := range a.kits {
		if k.at == e.To && k.status() == supply.KitAvailable && a.fit(k) {
			have[k.Arm]++
		}
	}
	for _, s := range a.shipments {
		if s.to != e.To || s.status != supply.ShipmentPacked && s.status != supply.ShipmentOnItsWay {
			continue
		}
		for _, n := range s.kits {
			if k := a.kits[n]; a.released[k.Lot] && !a.recalled[k.Lot] {
				have[k.Arm]++
			}
		}
	}
	rule := a.rules[domain.SiteID(e.To)]
	for arm := range sent {
		if have[arm] > rule.Target {
			t.Fatalf("%s is sent kits up to %d of one arm, above its target %d", e.To, have[arm], rule.Target)
		}
	}
}

// agrees fails where a place's state differs from the account, or where a kit is at two places, or at none.
func (a *account) agrees(t *rapid.T, stocks map[supply.LocationID]supply.Stock) {
	found := map[supply.KitNumber]supply.LocationID{}
	for at, s := range stocks {
		for n, k := range s.Kits.All() {
			if k.Status == supply.KitInTransit {
				continue // it was here last
			}
			if other, twice := found[n]; twice {
				t.Fatalf("kit %s is at %s and at %s", n, other, at)
			}
			found[n] = at
			e := a.kits[n]
			if e.at != at || e.status() != k.Status {
				t.Fatalf("at %s, kit %s is %s; by the account it is %s at %q", at, n, k.Status, e.status(), e.at)
			}
			if want := append(slices.Clone(e.patients), "")[0]; at != theDepot && k.Patient != want {
				t.Fatalf("at %s, kit %s is for %q, and by the account for %v", at, n, k.Patient, e.patients)
			}
		}
	}
	for n, e := range a.kits {
		if len(e.patients) > 1 {
			t.Fatalf("kit %s had the patients %v", n, e.patients)
		}
		waits := !a.taken[e.delivery]
		if at, here := found[n]; here && (at != e.at || e.way != "" || waits) || !here && e.at != "" || !here && e.way == "" && !waits {
			t.Fatalf("kit %s is at %q; by the account, %+v", n, at, e)
		}
	}
}
