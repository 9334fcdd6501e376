package supply_test

import (
	"cmp"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/study"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

// account is a simple account of a study's kits, kept from the events alone. It checks for every event whether it may
// happen, and to these kits.
type account struct {
	today    domain.Date
	keepDays int
	// paused says that nothing may be given out.
	paused   bool
	kits     map[supply.KitNumber]*entry
	released map[string]bool
	// kinds are the arms, or types with their arms, of all versions of the protocol; raised is by how many kits each site's stock was
	// raised.
	kinds  map[study.Kind]domain.ArmID
	raised map[supply.LocationID]int
	// ended are the types and arms of which the rule of a site sends no more kits.
	ended map[domain.SiteID]map[study.Kind]bool
	// lotsOf are the lots of each delivery.
	lotsOf    map[int]map[string]bool
	recalled  map[string]bool
	rules     map[domain.SiteID]supply.ResupplyRule
	taken     map[int]bool
	shipments map[supply.ShipmentID]*shipmentEntry
	holds     map[supply.LocationID]map[domain.PatientID]held
	extended  map[string]domain.Date
	// greenLights says that the protocol asks for green lights; lights are the sites and countries that have them. shipDays are the
	// do-not-ship days of the study, and typeDays those of types.
	greenLights bool
	lights      map[string]bool
	shipDays    int
	typeDays    map[study.Kind]int
}

// entry is one kit. It is in a delivery, at a location or in transit. It can be packed and quarantined in addition to
// its base status.
type entry struct {
	supply.Content
	delivery    int
	at          supply.LocationID // "" in a delivery that was not taken in, and in transit
	inTransit   supply.ShipmentID // the shipment that the kit is in transit with
	packed      supply.ShipmentID // the shipment that the kit is to leave with
	quarantined bool
	base        supply.KitStatus   // the status if it were not packed or quarantined
	patients    []domain.PatientID // all that it was ever allocated to
	doses       int                // accounted for
	back        int                // counted when they came back
	given       bool               // the patient will not bring it back
	dispensed   bool
	// recalled says that its patient had it when its lot was recalled, and wanted that another kit was asked for instead.
	recalled, wanted bool
	// quarantine is the status while it is quarantined, before that before it was lost or chosen to be destroyed.
	quarantine supply.KitStatus
	before     supply.KitStatus
	// sentAs is the status in which it was packed.
	sentAs supply.KitStatus
}

// held is what is held for a patient: the first kit of each arm, and the further ones.
type held struct {
	first kitsByArm
	more  supply.MoreKits
}

// shipmentEntry is one shipment.
type shipmentEntry struct {
	from, to supply.LocationID
	kits     []supply.KitNumber
	status   supply.ShipmentStatus
	resupply bool
}

// useless are the statuses of kits that nobody needs any more, or that wait for a decision.
var useless = []supply.KitStatus{supply.KitIsReturned, supply.KitSentBack, supply.KitUnavailable, supply.KitExpired, supply.KitDamaged,
	supply.KitQuarantined, supply.KitIsRecalled}

func newAccount(keepDays int, today domain.Date) *account {
	return &account{
		today: today, keepDays: keepDays, kinds: map[study.Kind]domain.ArmID{}, typeDays: map[study.Kind]int{},
		ended: map[domain.SiteID]map[study.Kind]bool{}, kits: map[supply.KitNumber]*entry{}, shipments: map[supply.ShipmentID]*shipmentEntry{},
		released: map[string]bool{}, lotsOf: map[int]map[string]bool{}, raised: map[supply.LocationID]int{},
		recalled: map[string]bool{}, extended: map[string]domain.Date{}, lights: map[string]bool{},
		rules: map[domain.SiteID]supply.ResupplyRule{}, taken: map[int]bool{}, holds: map[supply.LocationID]map[domain.PatientID]held{},
	}
}

// status returns the status that the kit should have in its stock.
func (e *entry) status() supply.KitStatus {
	switch {
	case e.quarantined:
		return cmp.Or(e.quarantine, supply.KitQuarantined)
	case e.packed != "":
		return supply.KitPacked
	}
	return e.base
}

// usable says whether the lot and the expiry of a kit allow it to be given out today.
func (a *account) usable(e *entry) bool {
	return a.inUse(e) && e.Expiry.DaysSince(a.today) > a.keepDays
}

// inUse says whether the kit's lot is in use: no lot of its delivery waits for a decision, and its own was not recalled.
func (a *account) inUse(e *entry) bool {
	for lot := range a.lotsOf[e.delivery] {
		if !a.released[lot] && !a.recalled[lot] {
			return false
		}
	}
	return a.released[e.Lot] && !a.recalled[e.Lot]
}

// of returns the kits of an event. They must be at the location in one of the statuses, and named in ascending order.
func (a *account) of(t *rapid.T, event any, at supply.LocationID, kits []supply.KitNumber, statuses ...supply.KitStatus) []*entry {
	if !slices.IsSorted(kits) || len(slices.Compact(slices.Clone(kits))) != len(kits) {
		t.Fatalf("%T names the kits %v, which are not in ascending order", event, kits)
	}
	var all []*entry
	for _, n := range kits {
		e := a.kits[n]
		if e == nil || e.at != at || !slices.Contains(statuses, e.status()) {
			t.Fatalf("%+v is about the kit %s: %+v", event, n, e)
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
			if a.lotsOf[e.Delivery] == nil {
				a.lotsOf[e.Delivery] = map[string]bool{}
			}
			a.lotsOf[e.Delivery][contents[n].Lot] = true
		}
	case supply.BatchReleased:
		a.released[e.Lot] = true
	case supply.LotRecalled:
		a.recalled[e.Lot] = true
	case supply.LotRecallWithdrawn:
		delete(a.recalled, e.Lot)
	case supply.LotExpiryExtended:
		a.extended[e.Lot], _ = e.To.Open()
	case supply.ResupplyRuleSet:
		a.rules[e.Rule.Site] = e.Rule
	case supply.ShippingApproved:
		a.lights[e.Country+string(e.Site)] = true
	case supply.ShippingApprovalWithdrawn:
		delete(a.lights, e.Country+string(e.Site))
	case supply.DoNotShipDaysSet:
		a.shipDays = e.Days
	case supply.DoNotShipDaysOfTypeSet:
		kind, _ := e.Type.Open()
		a.typeDays[study.Kind(kind)] = e.Days
	case supply.ResupplyOfKitTypesEnded:
		types, _ := e.Types.Open()
		a.end(e.Sites, types, true)
	case supply.ResupplyOfKitTypesResumed:
		types, _ := e.Types.Open()
		a.end(e.Sites, types, false)
	case supply.ResupplyOfArmEnded:
		arm, _ := e.Arm.Open()
		a.end(e.Sites, []study.Kind{arm}, true)
	case supply.ResupplyOfArmResumed:
		arm, _ := e.Arm.Open()
		a.end(e.Sites, []study.Kind{arm}, false)
	}
}

// end notes that rules send no more kits of types or arms, or send them again.
func (a *account) end(sites []domain.SiteID, kinds []study.Kind, ended bool) {
	for _, site := range sites {
		if a.ended[site] == nil {
			a.ended[site] = map[study.Kind]bool{}
		}
		for _, kind := range kinds {
			a.ended[site][kind] = ended
		}
	}
}

// sends says whether the rule of a site sends kits of a kind.
func (a *account) sends(to supply.LocationID, kind study.Kind) bool {
	of := a.ended[domain.SiteID(to)]
	return !of[kind] && !of[a.kinds[kind]]
}

// kind is what the kit has in common with those that can replace it.
func (e *entry) kind() study.Kind { return cmp.Or(study.Kind(e.Type), e.Arm) }

// noLaterThan returns the do-not-ship days of a kit. All types look alike, so that people wait for the longest days of any; what a rule
// has packed leaves whatever its type.
func (a *account) noLaterThan(e *entry, resupply, leaves bool) int {
	days := a.shipDays
	for kind, of := range a.typeDays {
		if e.Type != "" && (!resupply || !leaves && kind == e.kind()) {
			days = max(days, of)
		}
	}
	return days
}

// mayGo says whether the protocol lets kits go to a location now.
func (a *account) mayGo(to supply.LocationID) bool {
	return to == theDepot || !a.greenLights || a.lights[theCountry] && a.lights[string(to)]
}

// follow checks an event of a stock and enters it. exact says that the facts of the decision were not outdated.
func (a *account) follow(t *rapid.T, event supply.StockEvent, exact bool) { //nolint:gocyclo // one case for every event
	end := func(all []*entry, status supply.KitStatus) {
		for _, e := range all {
			e.base, e.quarantined, e.packed = status, false, ""
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
			if k.delivery != e.Delivery || k.at != "" || k.base != "" {
				t.Fatalf("kit %s, %+v, arrives with delivery %d", n, k, e.Delivery)
			}
			k.at, k.base = e.Location, supply.KitAvailable
		}
	case supply.ShipmentCreated:
		if a.shipments[e.Shipment] != nil {
			t.Fatalf("there are two shipments %s", e.Shipment)
		}
		statuses := []supply.KitStatus{supply.KitAvailable}
		if e.Location != theDepot {
			statuses = append(statuses, supply.KitIsReturned, supply.KitUnavailable, supply.KitExpired, supply.KitDamaged, supply.KitIsRecalled,
				supply.KitQuarantined)
		}
		for i, k := range a.of(t, e, e.Location, e.Kits, statuses...) {
			// A held kit that has expired meanwhile may leave: it cannot be given out any more.
			if k.status() == supply.KitAvailable && a.heldFor(e.Location, e.Kits[i], "") {
				t.Fatalf("kit %s is held and packed", e.Kits[i])
			}
			if e.Location == theDepot && exact && (!a.usable(k) || k.Expiry.DaysSince(a.today) <= a.noLaterThan(k, e.Resupply, false)) {
				t.Fatalf("kit %s, %+v, is sent to a site", e.Kits[i], k)
			}
			k.sentAs = k.status()
			k.packed, k.quarantined = e.Shipment, false
		}
		a.shipments[e.Shipment] = &shipmentEntry{from: e.Location, to: e.To, kits: e.Kits, status: supply.ShipmentPacked, resupply: e.Resupply}
		if exact && !a.mayGo(e.To) {
			t.Fatalf("kits are packed for %s, which has no green light", e.To)
		}
		if e.Resupply && exact {
			a.mustKeepTarget(t, e)
		}
		a.raised[e.To] += e.Raises
	case supply.ShipmentCancelled:
		s := a.advance(t, e.Shipment, supply.ShipmentPacked, supply.ShipmentIsCancelled)
		for _, n := range s.kits {
			if k := a.kits[n]; k.packed == e.Shipment {
				k.packed, k.quarantined = "", k.quarantined || k.sentAs.InQuarantine()
			}
		}
	case supply.ShipmentDispatched:
		s := a.advance(t, e.Shipment, supply.ShipmentPacked, supply.ShipmentOnItsWay)
		if exact && !a.mayGo(e.To) {
			t.Fatalf("kits leave for %s, which has no green light", e.To)
		}
		for i, k := range a.of(t, e, e.Location, s.kits, supply.KitPacked) {
			tooLate := !a.usable(k) || k.Expiry.DaysSince(a.today) <= a.noLaterThan(k, s.resupply, true)
			if k.packed != e.Shipment || exact && e.Location == theDepot && tooLate {
				t.Fatalf("kit %s, %+v, leaves with shipment %s", s.kits[i], k, e.Shipment)
			}
			k.at, k.packed, k.inTransit = "", "", e.Shipment
		}
	case supply.ShipmentReceived:
		s := a.advance(t, e.Shipment, supply.ShipmentOnItsWay, supply.ShipmentArrived)
		found := 0
		for is, kits := range map[supply.KitStatus][]supply.KitNumber{supply.KitAvailable: e.Available, supply.KitQuarantined: e.Quarantined,
			supply.KitDamaged: e.Damaged, supply.KitLostInTransit: e.Missing, supply.KitSentBack: e.Returned} {
			found += len(kits)
			for i, k := range a.arrived(t, e, e.Shipment, kits) {
				if e.Location == theDepot && is == supply.KitQuarantined && (len(k.patients) > 0 || k.base != supply.KitAvailable) {
					t.Fatalf("kit %s, %+v, comes back as unused", kits[i], k)
				}
				k.at, k.inTransit, k.base, k.quarantined, k.quarantine = e.Location, "", is, false, ""
				switch is {
				case supply.KitQuarantined:
					k.base, k.quarantined = supply.KitAvailable, true
				case supply.KitLostInTransit:
					k.before = k.found(s.from)
				}
				if is == supply.KitAvailable && (e.Location == theDepot || e.Excursion || exact && a.recalled[k.Lot]) {
					t.Fatalf("kit %s, %+v, arrives and is available", kits[i], k)
				}
			}
		}
		if found != len(s.kits) {
			t.Fatalf("%d kits were sent with shipment %s, and %d arrived", len(s.kits), e.Shipment, found)
		}
	case supply.ShipmentLost:
		s := a.advance(t, e.Shipment, supply.ShipmentOnItsWay, supply.ShipmentIsLost)
		for _, k := range a.arrived(t, e, e.Shipment, s.kits) {
			k.at, k.inTransit, k.base, k.quarantined, k.quarantine = e.Location, "", supply.KitLostInTransit, false, ""
			k.before = k.found(s.from)
		}
	case supply.KitsQuarantined:
		may := []supply.KitStatus{supply.KitAvailable, supply.KitIsAllocated, supply.KitPacked}
		if e.Cause == supply.CauseOther {
			may = append(may, supply.KitExpired) // one that got a new label
		}
		for i, k := range a.of(t, e, e.Location, e.Kits, may...) {
			expired := k.base == supply.KitExpired // its patient was named when it expired
			if expired {
				k.base, k.before = cmp.Or(k.before, supply.KitExpired), ""
			}
			k.quarantined, k.quarantine = true, ""
			if e.Cause == supply.CauseRecall {
				k.quarantine = supply.KitIsRecalled
			}
			if e.Cause == supply.CauseRecall && k.Lot != e.Lot {
				t.Fatalf("kit %s is of lot %s, and %s is recalled", e.Kits[i], k.Lot, e.Lot)
			}
			for _, p := range k.patients {
				if !expired && !slices.ContainsFunc(e.Affected, func(s supply.Slot) bool { return s.Patient == p }) {
					t.Fatalf("%s has kit %s, and %+v does not name the patient", p, e.Kits[i], e)
				}
			}
		}
		for i, k := range a.of(t, e, e.Location, e.AtHome, supply.KitIsDispensed, supply.KitLostByPatient) {
			k.recalled = true
			if k.status() == supply.KitLostByPatient && !k.given {
				t.Fatalf("kit %s, %+v, is lost, and at home: %+v", e.AtHome[i], k, e)
			}
			if k.Lot != e.Lot || !slices.Contains(e.Holders, k.patients[0]) {
				t.Fatalf("kit %s, %+v, is at home: %+v", e.AtHome[i], k, e)
			}
		}
	case supply.LotRecallEnded:
		for _, n := range e.AtHome {
			k := a.kits[n]
			if !k.recalled || k.Lot != e.Lot || !slices.Contains(e.Holders, k.patients[0]) || exact && a.recalled[e.Lot] {
				t.Fatalf("the recall of kit %s, %+v, ends: %+v", n, k, e)
			}
			k.recalled = false
		}
	case supply.KitsReleased:
		for i, k := range a.of(t, e, e.Location, e.Kits, supply.KitQuarantined, supply.KitIsRecalled) {
			k.quarantined, k.quarantine = false, ""
			if exact && a.recalled[k.Lot] {
				t.Fatalf("kit %s is released, and its lot is recalled", e.Kits[i])
			}
		}
	case supply.StockHeld:
		first, open := e.Kits.Open()
		more, _ := e.More.Open()
		before, again := a.holds[e.Location][e.Patient]
		if !open || len(first) == 0 || again && !maps.Equal(first, before.first) {
			t.Fatalf("%s has another hold", e.Patient)
		}
		seen := map[supply.KitNumber]bool{}
		for arm, n := range first {
			for _, n := range append([]supply.KitNumber{n}, more[arm]...) {
				if a.heldFor(e.Location, n, e.Patient) || seen[n] {
					t.Fatalf("kit %s is held twice", n)
				}
				if seen[n] = true; again {
					continue // the kits of a repeated answer may have become unusable
				}
				k := a.of(t, e, e.Location, kits(n), supply.KitAvailable)[0]
				if k.Arm != arm || len(k.patients) > 0 || exact && !a.usable(k) {
					t.Fatalf("kit %s, %+v, is held for %s", n, k, e.Patient)
				}
			}
		}
		if a.holds[e.Location] == nil {
			a.holds[e.Location] = map[domain.PatientID]held{}
		}
		a.holds[e.Location][e.Patient] = held{first, more}
	case supply.HoldReleased:
		delete(a.holds[e.Location], e.Patient)
	case supply.AllocationFailed:
		delete(a.holds[e.Location], e.Patient)
	case supply.KitAllocated:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitAvailable, supply.KitUnavailable)[0]
		again := k.status() == supply.KitUnavailable && slices.Equal(k.patients, []domain.PatientID{e.Patient}) && !k.dispensed
		if len(k.patients) > 0 && !again || a.heldFor(e.Location, e.Kit, e.Patient) {
			t.Fatalf("kit %s was allocated to %v or is held, and is allocated to %s", e.Kit, k.patients, e.Patient)
		}
		if exact && !a.usable(k) || k.Expiry.DaysSince(a.today) <= a.keepDays {
			t.Fatalf("kit %s, %+v, is allocated on %s", e.Kit, k, a.today)
		}
		if old := a.kits[e.Replaces]; e.Replaces != "" {
			useless := old.wanted || old.recalled || old.status() == supply.KitLostByPatient && !old.given
			if old.dispensed && !useless || !slices.Contains(old.patients, e.Patient) ||
				old.status() == supply.KitIsAllocated && old.inTransit == "" {
				t.Fatalf("kit %s, %+v, is replaced", e.Replaces, old)
			}
		}
		k.base, k.patients = supply.KitIsAllocated, []domain.PatientID{e.Patient}
		delete(a.holds[e.Location], e.Patient)
	case supply.KitsSetAside:
		for i, k := range a.of(t, e, e.Location, e.Kits, supply.KitIsAllocated) {
			if !slices.Contains(k.patients, e.Patient) {
				t.Fatalf("kit %s of %v is taken from %s", e.Kits[i], k.patients, e.Patient)
			}
			k.base = supply.KitUnavailable
		}
	case supply.KitPutBack:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsAllocated)[0]
		if !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("kit %s of %v is put back by %s", e.Kit, k.patients, e.Patient)
		}
		k.base = supply.KitUnavailable
	case supply.KitReplacementAsked:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsAllocated, supply.KitIsDispensed, supply.KitIsReturned, supply.KitLostByPatient)[0]
		if k.wanted || !slices.Equal(k.patients, []domain.PatientID{e.Patient}) || e.Cause == supply.LostByPatient && !k.dispensed {
			t.Fatalf("another kit is asked for in place of %s, %+v: %+v", e.Kit, k, e)
		}
		k.wanted = true
		switch {
		case e.Cause == supply.LostByPatient:
			k.before = cmp.Or(k.before, k.base)
			k.base = supply.KitLostByPatient
		case e.Cause == supply.KitWasDamaged:
			k.base = supply.KitDamaged
		case k.base == supply.KitIsAllocated:
			k.quarantined, k.quarantine = true, ""
		}
	case supply.KitFound:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitLostByPatient, supply.KitLostAtSite, supply.KitLostInTransit)[0]
		if k.base = k.before; k.base != supply.KitIsDispensed {
			k.quarantined, k.quarantine = true, ""
		} else {
			k.doses, k.given = 0, false // they are accounted for again
		}
		k.before = ""
	case supply.KitsRelabelled:
		to, _ := e.To.Open()
		for n, expiry := range to {
			k := a.of(t, e, e.Location, kits(n), supply.KitAvailable, supply.KitIsAllocated, supply.KitQuarantined, supply.KitUnavailable,
				supply.KitPacked, supply.KitExpired)[0]
			if expiry <= k.Expiry || exact && expiry != a.extended[k.Lot] {
				t.Fatalf("kit %s of lot %s expires on %s, and has %s on its new label", n, k.Lot, k.Expiry, expiry)
			}
			k.Expiry = expiry
		}
	case supply.RecallActionRecorded:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsDispensed, supply.KitLostByPatient, supply.KitIsReturned)[0]
		if !k.recalled || !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("%+v is about %+v", e, k)
		}
	case supply.DestructionApproved:
		for _, k := range a.of(t, e, e.Location, e.Kits, useless...) {
			k.before = k.base
			k.base, k.quarantined, k.quarantine, k.packed = supply.KitPendingDestruction, false, "", ""
		}
	case supply.KitDispensed:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsAllocated)[0]
		// Another lot of its delivery may wait for a decision again, when its recall was withdrawn.
		tooLate := k.Expiry.DaysSince(a.today) <= a.keepDays || exact && a.recalled[k.Lot]
		if a.paused || k.dispensed || tooLate || !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("kit %s, %+v, is dispensed to %s on %s", e.Kit, k, e.Patient, a.today)
		}
		k.base, k.dispensed = supply.KitIsDispensed, true
	case supply.KitReturned:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsDispensed)[0]
		if !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("kit %s of %v comes back from %s", e.Kit, k.patients, e.Patient)
		}
		k.base = supply.KitIsReturned
		a.comesBack(t, e.Kit, e.Units)
	case supply.KitPartlyReturned:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsDispensed, supply.KitIsReturned)[0]
		if !slices.Equal(k.patients, []domain.PatientID{e.Patient}) || e.Units == 0 || k.doses > 0 {
			t.Fatalf("%d doses of kit %s, %+v, come back from %s", e.Units, e.Kit, k, e.Patient)
		}
		a.comesBack(t, e.Kit, e.Units)
	case supply.KitNotReturned:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsDispensed)[0]
		if !slices.Equal(k.patients, []domain.PatientID{e.Patient}) {
			t.Fatalf("kit %s of %v is given up by %s", e.Kit, k.patients, e.Patient)
		}
		k.before, k.base, k.given = k.base, supply.KitLostByPatient, true
	case supply.KitRecounted:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsReturned, supply.KitDamaged, supply.KitLostByPatient,
			supply.KitPendingDestruction)[0]
		if to := e.To; !k.dispensed || k.doses != k.Units || to.Returned+to.Used+to.Lost != k.Units || to == e.From {
			t.Fatalf("kit %s, %+v, is recounted: %+v", e.Kit, k, e)
		}
	case supply.KitReconciled:
		k := a.of(t, e, e.Location, kits(e.Kit), supply.KitIsReturned, supply.KitDamaged, supply.KitLostByPatient)[0]
		if k.doses += e.Returned + e.Used + e.Lost; !k.dispensed || k.doses != k.Units || e.Returned < 0 || e.Used < 0 || e.Lost < 0 {
			t.Fatalf("kit %s held %d doses, and %d are accounted for: %+v", e.Kit, k.Units, k.doses, e)
		}
	case supply.KitsExpired:
		all := a.of(t, e, e.Location, e.Kits, supply.KitAvailable, supply.KitPacked, supply.KitIsAllocated, supply.KitQuarantined,
			supply.KitIsRecalled)
		for i, k := range all {
			if k.Expiry > e.Through {
				t.Fatalf("kit %s expires on %s, after %s", e.Kits[i], k.Expiry, e.Through)
			}
			if k.before = k.base; k.base == supply.KitIsAllocated {
				k.before = supply.KitUnavailable
			}
		}
		end(all, supply.KitExpired)
	case supply.KitsDestroyed:
		may := []supply.KitStatus{supply.KitPendingDestruction}
		if e.Location == theDepot {
			may = append(may, useless...)
		}
		all := a.of(t, e, e.Location, e.Kits, may...)
		for i, k := range all {
			if k.dispensed && k.doses != k.Units {
				t.Fatalf("kit %s is destroyed, and %d of %d doses are accounted for", e.Kits[i], k.doses, k.Units)
			}
		}
		end(all, supply.KitDestroyed)
	case supply.KitLost:
		all := a.of(t, e, e.Location, kits(e.Kit), supply.KitAvailable, supply.KitPacked, supply.KitIsAllocated, supply.KitIsDispensed,
			supply.KitIsReturned, supply.KitQuarantined, supply.KitIsRecalled, supply.KitUnavailable, supply.KitSentBack,
			supply.KitPendingDestruction, supply.KitDamaged, supply.KitExpired)
		before, lost := all[0].base, supply.KitLostAtSite
		if before == supply.KitPendingDestruction {
			before = all[0].before
		}
		if before == supply.KitIsDispensed {
			lost = supply.KitLostByPatient
		}
		end(all, lost)
		all[0].before = before
	case supply.ResupplyWithheld:
		if exact && a.mayGo(e.To) {
			t.Fatalf("the resupply of %s is withheld, which has its green lights", e.To)
		}
	case supply.StockSeedRecorded, supply.StockRefused, supply.ResupplyFellShort, supply.UnscheduledKitAsked:
	default:
		t.Fatalf("the account does not handle %T", e)
	}
}

// comesBack counts doses that came back: never more than the kit held.
func (a *account) comesBack(t *rapid.T, n supply.KitNumber, units int) {
	k := a.kits[n]
	if k.back += units; k.back > k.Units {
		t.Fatalf("%d of %d doses of kit %s came back", k.back, k.Units, n)
	}
}

// advance changes the status of a shipment, which must be from.
func (a *account) advance(t *rapid.T, id supply.ShipmentID, from, to supply.ShipmentStatus) *shipmentEntry {
	s := a.shipments[id]
	if s == nil || s.status != from {
		t.Fatalf("shipment %s, %+v, becomes %s", id, s, to)
	}
	s.status = to
	return s
}

// arrived returns kits that are in transit with a shipment.
func (a *account) arrived(t *rapid.T, event any, id supply.ShipmentID, kits []supply.KitNumber) []*entry {
	for _, n := range kits {
		if k := a.kits[n]; k == nil || k.inTransit != id {
			t.Fatalf("kit %s, %+v, arrives with %+v", n, k, event)
		}
	}
	for _, n := range kits {
		a.kits[n].inTransit = "arrived" // so that no kit arrives twice
	}
	return a.of(t, event, "", kits, a.statuses(kits)...)
}

func (a *account) statuses(kits []supply.KitNumber) (all []supply.KitStatus) {
	for _, n := range kits {
		all = append(all, a.kits[n].status())
	}
	return all
}

// heldFor says whether the kit is held for another patient than the given one.
func (a *account) heldFor(at supply.LocationID, n supply.KitNumber, except domain.PatientID) bool {
	for p, of := range a.holds[at] {
		for arm, first := range of.first {
			if p != except && slices.Contains(append([]supply.KitNumber{first}, of.more[arm]...), n) {
				return true
			}
		}
	}
	return false
}

// mustKeepTarget fails if a shipment that a rule demanded takes the site above the rule's target, of all arms together, and
// above what it was raised by.
func (a *account) mustKeepTarget(t *rapid.T, e supply.ShipmentCreated) {
	there, sent := 0, 0
	for kind := range a.kinds {
		sent += yes(a.sends(e.To, kind))
	}
	for _, n := range e.Kits {
		if k := a.kits[n]; !a.sends(e.To, k.kind()) {
			t.Fatalf("kit %s, %+v, is sent to site %s, whose rule sends no more of it", n, k, e.To)
		}
	}
	for _, k := range a.kits {
		there += yes(a.sends(e.To, k.kind()) && k.at == e.To && k.status() == supply.KitAvailable && a.usable(k))
	}
	for _, s := range a.shipments {
		if s.to != e.To || s.status != supply.ShipmentPacked && s.status != supply.ShipmentOnItsWay {
			continue
		}
		for _, n := range s.kits {
			there += yes(a.sends(e.To, a.kits[n].kind()) && a.inUse(a.kits[n]))
		}
	}
	level := sent*a.rules[domain.SiteID(e.To)].Target + a.raised[e.To]
	if most := max(level, there-len(e.Kits)) + e.Raises; there > most {
		t.Fatalf("site %s gets up to %d kits, above %d", e.To, there, most)
	}
}

// found returns the status that a kit has after it was lost on the way and was found, once somebody has decided about it: it is
// available if nobody ever had it, and was not sent back because nobody could get it any more.
func (e *entry) found(from supply.LocationID) supply.KitStatus {
	if from != theDepot && (len(e.patients) > 0 || e.sentAs != supply.KitAvailable && e.sentAs != supply.KitQuarantined) {
		return supply.KitSentBack
	}
	return supply.KitAvailable
}

// mustAgree fails if a stock differs from the account, or if a kit is in two stocks, or in none although it should be.
func (a *account) mustAgree(t *rapid.T, stocks map[supply.LocationID]supply.Stock) {
	found := map[supply.KitNumber]supply.LocationID{}
	for at, s := range stocks {
		for n, k := range s.Kits.All() {
			if k.Status == supply.KitInTransit {
				continue // it has left this location
			}
			if other, twice := found[n]; twice {
				t.Fatalf("kit %s is at %s and at %s", n, other, at)
			}
			found[n] = at
			e := a.kits[n]
			if e.at != at || e.status() != k.Status {
				t.Fatalf("at %s, kit %s is %s; in the account it is %s at %q", at, n, k.Status, e.status(), e.at)
			}
			if k.Status == supply.KitAvailable && len(e.patients) > 0 {
				t.Fatalf("at %s, kit %s is available, and was the kit of %v", at, n, e.patients)
			}
			if want := append(slices.Clone(e.patients), "")[0]; at != theDepot && k.Patient != want {
				t.Fatalf("at %s, kit %s is for %q; in the account it is for %v", at, n, k.Patient, e.patients)
			}
		}
	}
	for n, e := range a.kits {
		if len(e.patients) > 1 {
			t.Fatalf("kit %s had the patients %v", n, e.patients)
		}
		notTakenIn := !a.taken[e.delivery]
		at, inStock := found[n]
		if inStock && (at != e.at || e.inTransit != "" || notTakenIn) || !inStock && (e.at != "" || e.inTransit == "" && !notTakenIn) {
			t.Fatalf("kit %s is at %q; in the account it is %+v", n, at, e)
		}
	}
}
