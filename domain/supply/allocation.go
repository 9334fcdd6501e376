package supply

import (
	"cmp"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Hold keeps a kit of every arm for a patient until the draw, so that no draw is made for whose outcome there is no kit.
// Where the protocol allows a forced allocation, kits of some arms are enough. It always answers: StockHeld, or
// StockRefused with the code no_stock or site_not_active. Who has a hold is answered with it again; who has a kit gets no
// hold.
func Hold(s Stock, f Facts, cmd HoldStock, call domain.Call) ([]StockEvent, error) {
	place := OfStock{cmd.Study, LocationID(cmd.Site)}
	if hold, held := s.Holds.Get(cmd.Patient); held {
		return []StockEvent{hold}, nil // who asks again, such as for a second attempt, is answered again
	}
	if _, has := s.Allocated.Get(Slot{Patient: cmd.Patient}); has {
		return nil, nil
	}
	refused := func(code, reason string) ([]StockEvent, error) {
		return []StockEvent{StockRefused{OfStock: place, Patient: cmd.Patient, Code: code, Reason: reason}}, nil
	}
	if !f.Study.SiteIsActive(cmd.Site) || f.Study.Protocol == nil || f.Study.Protocol.Treatment == nil {
		return refused("site_not_active", "the site is not active")
	}
	by, seeding, err := s.choosing(place, cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	usable, err := s.usableFor(cmd.Patient, f, by)
	if err != nil {
		return nil, err
	}
	kits := HeldKits{}
	for _, arm := range f.Study.Protocol.Arms {
		if of := usable[domain.ArmID(arm.ID)]; len(of) > 0 {
			kits[domain.ArmID(arm.ID)] = of[0]
		}
	}
	if len(kits) == 0 || len(kits) < len(f.Study.Protocol.Arms) && !f.Study.Protocol.Treatment.ForcedAllocation {
		return refused("no_stock", "the site has not enough kits for another patient")
	}
	return append(seeding, StockHeld{OfStock: place, Patient: cmd.Patient, Kits: blind.Of(kits), Choice: blind.Of(by.choice)}), nil
}

// usableFor lists the kits of every arm that could be given to the patient now, in the order of the choice.
func (s Stock) usableFor(p domain.PatientID, f Facts, by chooser) (map[domain.ArmID][]KitNumber, error) {
	held, err := s.held(p)
	if err != nil {
		return nil, err
	}
	return s.usableInOrder(f.Supply, by, held)
}

// ReleaseHeld ends a hold. It may be sent twice, or where nothing is held.
func ReleaseHeld(s Stock, cmd ReleaseHold, _ domain.Call) ([]StockEvent, error) {
	if _, held := s.Holds.Get(cmd.Patient); !held {
		return nil, nil
	}
	return []StockEvent{HoldReleased{OfStock: OfStock{cmd.Study, LocationID(cmd.Site)}, Patient: cmd.Patient, Reason: cmd.Reason}}, nil
}

// Allocate gives a patient a kit of the patient's arm: the one held, or else one of those that expire first, by chance. It always
// answers: KitAllocated, or AllocationFailed with the code no_stock, not_randomised or patient_ended. Who has a kit for the
// visit gets no second one, unless it was never given out and cannot be any more: then it is replaced.
func Allocate(s Stock, f Facts, cmd AllocateKit, call domain.Call) ([]StockEvent, error) {
	place := OfStock{cmd.Study, LocationID(cmd.Site)}
	slot := Slot{cmd.Patient, cmd.Visit}
	replaces, got := s.Allocated.Get(slot)
	if got {
		k, _ := s.Kits.Get(replaces)
		if k.Dispensed || k.Status == KitIsAllocated || k.Status == KitIsReturned {
			return nil, nil
		}
	}
	failed := func(code, reason string) ([]StockEvent, error) {
		// Where nothing was drawn, an enrolment without a kit is given up; everybody else waits for one.
		waits := code == "no_stock" && (f.Study.Treatment().Randomised || cmd.Visit != "" || got)
		return []StockEvent{AllocationFailed{OfStock: place, Patient: cmd.Patient, Visit: cmd.Visit, Code: code, Reason: reason, Waits: waits}}, nil
	}
	switch {
	case !f.Participating:
		return failed("patient_ended", "the patient does not take part any more")
	case f.Arm == "":
		return failed("not_randomised", "the patient has not been randomised")
	}
	by, seeding, err := s.choosing(place, cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	usable, err := s.usableFor(cmd.Patient, f, by)
	if err != nil {
		return nil, err
	}
	of := s.firstHeld(cmd.Patient, f.Arm, usable[f.Arm])
	if len(of) == 0 {
		return failed("no_stock", "the site has no kit for the patient")
	}
	return append(seeding, KitAllocated{OfStock: place, Patient: cmd.Patient, Kit: of[0], Visit: cmd.Visit, Replaces: replaces,
		Choice: blind.Of(by.choice)}), nil
}

// firstHeld returns the usable kits of an arm, or only the one that is held for the patient if it is still among them.
func (s Stock) firstHeld(p domain.PatientID, arm domain.ArmID, usable []KitNumber) []KitNumber {
	hold, _ := s.Holds.Get(p)
	kits, _ := hold.Kits.Open()
	if n, some := kits[arm]; some && slices.Contains(usable, n) {
		return []KitNumber{n}
	}
	return usable
}

// SetAside takes allocated kits that were never given out from a patient who has left, and ends a hold. It may be sent
// twice.
func SetAside(s Stock, cmd SetKitsAside, _ domain.Call) ([]StockEvent, error) {
	place := OfStock{cmd.Study, LocationID(cmd.Site)}
	var events []StockEvent
	if _, held := s.Holds.Get(cmd.Patient); held {
		events = append(events, HoldReleased{OfStock: place, Patient: cmd.Patient, Reason: cmd.Reason})
	}
	var kits []KitNumber
	for n, k := range s.Kits.All() {
		if k.Patient == cmd.Patient && k.Status == KitIsAllocated {
			kits = append(kits, n)
		}
	}
	if len(kits) > 0 {
		slices.Sort(kits)
		events = append(events, KitsSetAside{OfStock: place, Patient: cmd.Patient, Kits: kits, Reason: cmd.Reason})
	}
	return events, nil
}

// Dispense hands a patient the allocated kit. It refuses malformed_date, captured_in_future, kit_not_at_location,
// kit_not_allocated_to_patient, kit_status, patient_ended, lot_recalled, kit_expired and kit_expires_soon: a kit of which
// the time has run out, or nearly has, goes to nobody (R37; ICH E6(R3) 3.15.3(c)), and nothing is dispensed before it is
// drawn and allocated (R8).
func Dispense(s Stock, f Facts, cmd DispenseKit, call domain.Call) ([]StockEvent, error) {
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	k, err := s.ofPatient(cmd.Kit, cmd.Patient, "dispensing it", KitIsAllocated)
	if err != nil {
		return nil, err
	}
	if !f.Participating {
		return nil, refuse.WrongState("patient_ended", "patient %s does not take part any more", cmd.Patient).At("patient").Do("set the kit aside")
	}
	c, known := s.contents.Get(cmd.Kit)
	daysLeft := c.Expiry.DaysSince(max(cmd.On, today(call)))
	switch {
	case !known:
		return nil, errSealed
	case f.Supply.Lots[c.Lot].Recalled:
		return nil, refuse.WrongState("lot_recalled", "kit %s is recalled", cmd.Kit).At("kit").Do("set it aside; the patient gets another one")
	case daysLeft <= 0:
		return nil, refuse.Because("kit_expired", "the time of kit %s has run out", cmd.Kit).At("kit").Do("set it aside; the patient gets another one")
	case daysLeft <= keepDays(f.Study):
		return nil, refuse.Because("kit_expires_soon", "kit %s expires too soon to be given out", cmd.Kit).At("kit").Do("set it aside; the patient gets another one")
	}
	return []StockEvent{KitDispensed{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient, Kit: cmd.Kit, Visit: k.Visit, On: cmd.On}}, nil
}

// ofPatient returns a kit that is in the status and was allocated to the patient.
func (s Stock) ofPatient(n KitNumber, p domain.PatientID, what string, want ...KitStatus) (Kit, error) {
	k, here := s.Kits.Get(n)
	switch {
	case !here:
		return k, refuse.NotFound("kit_not_at_location", "kit %.40s is not at this site", n).At("kit").Do("check the number on the label")
	case k.Patient != p:
		// Whose it is, is not told.
		return k, refuse.Because("kit_not_allocated_to_patient", "kit %s is not allocated to patient %s", n, p).At("kit").Do("give only the kit that was allocated to the patient")
	case !slices.Contains(want, k.Status):
		return k, refuse.WrongState("kit_status", "kit %s is %s; %s is not possible", n, k.Status, what).At("kit").Do("check the kit's status")
	}
	return k, nil
}

// KitsOf lists the kits that were ever allocated to the patient here, in order.
func (s Stock) KitsOf(p domain.PatientID) []KitNumber {
	var all []KitNumber
	for n, k := range s.Kits.All() {
		if k.Patient == p {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// ArmOfAll returns the only arm of a protocol that does not randomise.
func ArmOfAll(p *study.Protocol) domain.ArmID {
	if p == nil || p.Treatment == nil || p.Treatment.Randomised || len(p.Arms) != 1 {
		return ""
	}
	return domain.ArmID(p.Arms[0].ID)
}

// slotsOf lists to whom the kits were allocated, in order.
func (s Stock) slotsOf(kits []KitNumber) []Slot {
	var all []Slot
	for _, n := range kits {
		if k, _ := s.Kits.Get(n); k.Patient != "" {
			all = append(all, Slot{k.Patient, k.Visit})
		}
	}
	slices.SortFunc(all, func(a, b Slot) int { return cmp.Or(cmp.Compare(a.Patient, b.Patient), cmp.Compare(a.Visit, b.Visit)) })
	return slices.Compact(all)
}
