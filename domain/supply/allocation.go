package supply

import (
	"cmp"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// KitOfStage names the slot of the kit that a patient gets with the draw of a stage; "" is the first draw.
func KitOfStage(stage string) string {
	if stage == "" {
		return ""
	}
	return stageSlot + stage
}

// IsKitOfStage says whether a slot is the kit of a draw.
func IsKitOfStage(slot string) bool { return slot == "" || strings.HasPrefix(slot, stageSlot) }

const stageSlot = "stage:"

// Hold reserves a kit of every arm that is not closed for a patient until the draw, so that the site has a kit for every
// outcome of the draw. If the protocol allows a forced allocation, kits of some arms are enough. The answer is StockHeld, or
// StockRefused with the code no_stock or site_not_active. A patient who has a hold already gets the same hold again;
// for a patient who has a kit already, it does nothing.
func Hold(s Stock, f Facts, cmd HoldStock, call domain.Call) ([]StockEvent, error) {
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	if hold, held := s.Holds.Get(cmd.Patient); held {
		return []StockEvent{hold}, nil // the enrolment process may ask again, for example in a second attempt
	}
	if _, _, has := s.kitFor(Slot{Patient: cmd.Patient, Visit: KitOfStage(cmd.Stage)}); has {
		return nil, nil
	}
	refused := func(code, reason string) ([]StockEvent, error) {
		return []StockEvent{StockRefused{OfStock: at, Patient: cmd.Patient, Code: code, Reason: reason}}, nil
	}
	arms, known := f.Study.ArmsOf(cmd.Stage)
	active := f.Study.SiteIsActive(cmd.Site) || f.Enrolled && f.Study.SiteIsSupplied(cmd.Site) // its patients stay supplied
	if !active || !known || f.Study.Protocol.Treatment == nil {
		return refused("site_not_active", "the site is not active")
	}
	by, seeding, err := s.choosing(at, cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	if s.shelves.sealed {
		return nil, ErrKeysMissing
	}
	by.choice.Method = ByPlace
	kits := HeldKits{}
	arms = slices.DeleteFunc(arms, func(a domain.ArmID) bool { return slices.Contains(f.Closed, a) })
	for _, arm := range arms {
		if n, some := s.choose(f.Supply, by, arm); some {
			kits[arm] = n
		}
	}
	if len(kits) == 0 || len(kits) < len(arms) && !f.Study.Protocol.Treatment.ForcedAllocation {
		return refused("no_stock", "the site has not enough kits for another patient")
	}
	return append(seeding, StockHeld{OfStock: at, Patient: cmd.Patient, Kits: blind.Of(kits), Choice: blind.Of(by.choice)}), nil
}

// ReleaseHeld ends a hold. Without a hold it has no effect.
func ReleaseHeld(s Stock, cmd ReleaseHold, _ domain.Call) ([]StockEvent, error) {
	if _, held := s.Holds.Get(cmd.Patient); !held {
		return nil, nil
	}
	return []StockEvent{HoldReleased{OfStock: OfStock{cmd.Study, LocationID(cmd.Site)}, Patient: cmd.Patient, Reason: cmd.Reason}}, nil
}

// Allocate gives a patient a kit of the patient's arm: the held one, or else, by chance, one that expires first. The answer is
// KitAllocated, or AllocationFailed with the code no_stock, not_randomised, patient_ended, treatment_ended, dose_held,
// reconsent_due or patient_transferred. A patient who has a kit for the visit gets no second one, unless the first was never given out and
// no longer can be: then it is replaced. A kit that was set aside when the patient left in error is the patient's again.
func Allocate(s Stock, f Facts, cmd AllocateKit, call domain.Call) ([]StockEvent, error) {
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	slot := Slot{cmd.Patient, cmd.Visit}
	replaces, got, has := s.kitFor(slot)
	if has {
		return nil, nil
	}
	failed := func(code, reason string) ([]StockEvent, error) {
		// An enrolment without a draw fails if there is no kit. In all other cases the patient waits for one.
		waits := code == "no_stock" && (f.Study.Treatment().Randomised || cmd.Visit != "" || got || f.Enrolled)
		return []StockEvent{AllocationFailed{OfStock: at, Patient: cmd.Patient, Visit: cmd.Visit, Code: code, Reason: reason,
			Waits: waits, Withheld: f.withheldAs(code)}}, nil
	}
	switch {
	case !f.Participating:
		return failed("patient_ended", "the patient does not take part any more")
	case f.Withheld != "":
		return failed(string(f.Withheld), f.Withheld.words())
	case f.Arm == "":
		return failed("not_randomised", "the patient has not been randomised")
	}
	by, seeding, err := s.choosing(at, cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	if s.shelves.sealed {
		return nil, ErrKeysMissing
	}
	by.choice.Method = ByPlace
	kit, some := s.kitOf(cmd.Patient, f.Supply, by.choice, f.Arm)
	if !some {
		kit, some = s.choose(f.Supply, by, f.Arm)
	}
	if !some {
		return failed("no_stock", "the site has no kit for the patient")
	}
	if replaces == kit { // it was put back, and is given out after all
		replaces = ""
	}
	return append(seeding, KitAllocated{OfStock: at, Patient: cmd.Patient, Kit: kit, Visit: cmd.Visit, Replaces: replaces,
		Choice: blind.Of(by.choice)}), nil
}

// withheldAs returns why a kit is withheld if that is the reason with the code.
func (f Facts) withheldAs(code string) Withholding {
	if code == string(f.Withheld) {
		return f.Withheld
	}
	return ""
}

// kitFor returns the kit that was allocated last for a slot. got says that there was one, and has that the patient needs no other.
func (s Stock) kitFor(slot Slot) (n KitNumber, got, has bool) {
	n, got = s.Allocated.Get(slot)
	k, _ := s.Kits.Get(n)
	newest, _ := s.Newest.Get(slot.Patient)
	return n, got, got && k.serves(n == newest)
}

// kitOf returns the kit of an arm that can go to no other patient: one that was put back, or that is held for this one.
func (s Stock) kitOf(p domain.PatientID, in Supply, choice Choice, arm domain.ArmID) (KitNumber, bool) {
	kept, _ := s.Kept.Get(p)
	for _, n := range kept {
		k, _ := s.Kits.Get(n)
		c, known := s.contents.Get(n)
		if known && k.Status == KitUnavailable && !k.Wanted && c.Arm == arm && in.usable(n, c.Lot) &&
			c.Expiry.DaysSince(choice.On) > choice.KeepDays {
			return n, true
		}
	}
	return s.heldFor(p, in, choice, arm)
}

// SetAside takes allocated kits that were never given out from a patient who has left, and ends the patient's hold. It
// may be sent again.
func SetAside(s Stock, cmd SetKitsAside, _ domain.Call) ([]StockEvent, error) {
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	var events []StockEvent
	if _, held := s.Holds.Get(cmd.Patient); held {
		events = append(events, HoldReleased{OfStock: at, Patient: cmd.Patient, Reason: cmd.Reason})
	}
	var kits []KitNumber
	for n, k := range s.Kits.All() {
		if k.Patient == cmd.Patient && k.Status == KitIsAllocated {
			kits = append(kits, n)
		}
	}
	if len(kits) > 0 {
		slices.Sort(kits)
		events = append(events, KitsSetAside{OfStock: at, Patient: cmd.Patient, Kits: kits, Reason: cmd.Reason, Affected: s.slotsOf(kits)})
	}
	return events, nil
}

// Dispense hands a patient the allocated kit. It refuses malformed_date, captured_in_future, kit_not_at_location,
// kit_not_allocated_to_patient, kit_status, patient_ended, treatment_ended, dose_held, patient_transferred, reconsent_required,
// lot_recalled, kit_expired and kit_expires_soon. No patient gets a kit that has expired or soon will (R37; ICH E6(R3)
// 3.15.3(c)), and none is dispensed before the draw and the allocation (R8).
func Dispense(s Stock, f Facts, cmd DispenseKit, call domain.Call) ([]StockEvent, error) {
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	k, err := s.ofPatient(cmd.Kit, cmd.Patient, "dispensing it", KitIsAllocated)
	if err != nil {
		return nil, err
	}
	if err := domain.First(f.mustGetKits(cmd.Patient), f.Study.MustNotBePausedFor(cmd.Site, f.Levels, study.ActivityDispensing, "site")); err != nil {
		return nil, err
	}
	c, known := s.contents.Get(cmd.Kit)
	daysLeft := c.Expiry.DaysSince(max(cmd.On, today(call)))
	switch {
	case !known:
		return nil, ErrKeysMissing
	case f.Supply.Lots[c.Lot].Recalled:
		return nil, refuse.WrongState("lot_recalled", "kit %s is recalled", cmd.Kit).At("kit").Do("set it aside; the patient gets another one")
	case daysLeft <= 0:
		return nil, refuse.Because("kit_expired", "the time of kit %s has run out", cmd.Kit).
			At("kit").Do("set it aside; the patient gets another one")
	case daysLeft <= keepDays(f.Study):
		return nil, refuse.Because("kit_expires_soon", "kit %s expires too soon to be given out", cmd.Kit).
			At("kit").Do("set it aside; the patient gets another one")
	}
	at := OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}
	return []StockEvent{KitDispensed{OfStock: at, Patient: cmd.Patient, Kit: cmd.Kit, Visit: k.Visit, On: cmd.On}}, nil
}

// mustGetKits refuses a patient who gets no kits now (codes patient_ended, treatment_ended, patient_transferred,
// dose_held, reconsent_required).
func (f Facts) mustGetKits(p domain.PatientID) error {
	if !f.Participating {
		return refuse.WrongState("patient_ended", "patient %s does not take part any more", p).At("patient").Do("set the kit aside")
	}
	switch f.Withheld {
	case TreatmentHasEnded:
		return refuse.WrongState("treatment_ended", "the treatment of patient %s has ended", p).At("patient").Do("set the kit aside")
	case PatientIsTransferred:
		return refuse.WrongState("patient_transferred", "patient %s was transferred to another site", p).At("patient").
			Do("set the kit aside; the other site gives the patient one")
	case DoseIsHeld:
		return refuse.WrongState("dose_held", "the treatment of patient %s is interrupted", p).At("patient").
			Do("keep the kit until the dose is resumed")
	case ReconsentIsDue:
		return refuse.WrongState("reconsent_required", "patient %s has not signed the consent again", p).At("patient").
			Do("record the signature first; keep the kit until then")
	}
	return nil
}

// ofPatient returns a kit that is in the status and was allocated to the patient.
func (s Stock) ofPatient(n KitNumber, p domain.PatientID, what string, want ...KitStatus) (Kit, error) {
	k, here := s.Kits.Get(n)
	switch {
	case !here:
		return k, refuse.NotFound("kit_not_at_location", "kit %.40s is not at this site", n).At("kit").Do("check the number on the label")
	case k.Patient != p:
		// The refusal does not say whose kit it is.
		return k, refuse.Because("kit_not_allocated_to_patient", "kit %s is not allocated to patient %s", n, p).
			At("kit").Do("give only the kit that was allocated to the patient")
	case !slices.Contains(want, k.Status):
		return k, refuse.WrongState("kit_status", "kit %s is %s; %s is not possible", n, k.Status, what).At("kit").Do("check the kit's status")
	}
	return k, nil
}

// KitsOf lists the kits that were ever allocated to the patient at this location, in ascending order.
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

// ArmOfAll returns the only arm of a protocol that does not randomise, and "" for any other protocol.
func ArmOfAll(p *study.Protocol) domain.ArmID {
	if p == nil || p.Treatment == nil || p.Treatment.Randomised || len(p.Arms) != 1 {
		return ""
	}
	return domain.ArmID(p.Arms[0].ID)
}

// slotsOf lists the patients and visits that the kits were allocated to, in ascending order.
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
