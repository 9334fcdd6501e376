package supply

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
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

// Hold reserves, until the draw, a kit of every arm that the patient can be drawn into, so that the site has a kit for every outcome of
// the draw: of the arms of the patient's version of the protocol that the scheme has and that are not closed. If the protocol
// allows a forced allocation, kits of some arms are enough. The answer is StockHeld, or StockRefused with the code no_stock,
// activity_paused or site_not_active. A patient who has a hold already gets the same hold again. For a patient who has the kit of
// the draw already it records nothing, and the draw goes on without a hold.
func Hold(s Stock, f Facts, cmd HoldStock, call domain.Call) ([]StockEvent, error) {
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	if hold, held := s.Holds.Get(cmd.Patient); held {
		return []StockEvent{hold}, nil // the enrolment process may ask again, for example in a second attempt
	}
	if s.hasKitsFor(Slot{Patient: cmd.Patient, Visit: KitOfStage(cmd.Stage)}) {
		return nil, nil
	}
	refused := func(code string, reason personal.Text) ([]StockEvent, error) {
		return []StockEvent{StockRefused{OfStock: at, Patient: cmd.Patient, Code: code, Reason: reason}}, nil
	}
	arms, known := f.Study.ArmsOf(cmd.Stage)
	active := f.Study.SiteIsActive(cmd.Site) || f.Enrolled && f.Study.SiteIsSupplied(cmd.Site) // its patients stay supplied
	if !active || !known || f.Study.Protocol.Treatment == nil {
		return refused("site_not_active", "the site is not active")
	}
	if f.Study.PausedFor(cmd.Site, f.Dosing.Levels, study.ActivityRandomisation) {
		return refused("activity_paused", "randomisation is paused for the time being")
	}
	by, seeding, err := s.choosing(at, cmd.Seed, f, call)
	if err != nil {
		return nil, err
	}
	if s.shelves.sealed {
		return nil, ErrKeysMissing
	}
	by.choice.Method = ByPlace
	due := map[domain.ArmID][][]study.Kind{}
	arms = slices.DeleteFunc(arms, func(a domain.ArmID) bool {
		return slices.Contains(f.Closed, a) || f.Drawn != nil && !slices.Contains(f.Drawn, a)
	})
	for _, arm := range arms {
		due[arm] = f.Study.Due("", arm, f.Dosing).Sets // the first kits of a stage are planned as those of the enrolment
		for _, set := range due[arm] {
			for _, kind := range set { // the longest of all kinds, because there is one choice
				by.choice.KeepDays = max(by.choice.KeepDays, f.keepDays(cmd.Site, kind, "", by.choice.On))
			}
		}
	}
	kits, more := HeldKits{}, MoreKits{}
	for arm, sets := range due {
		for _, set := range sets {
			if chosen, all := s.chooseSet(f.Supply, by, set); all {
				if kits[arm] = chosen[0]; len(chosen) > 1 {
					more[arm] = chosen[1:]
				}
				break
			}
		}
	}
	if len(kits) == 0 || len(kits) < len(arms) && !f.Study.Protocol.Treatment.ForcedAllocation {
		return refused("no_stock", "the site has not enough kits for another patient")
	}
	held := StockHeld{OfStock: at, Patient: cmd.Patient, Kits: blind.Of(kits), Choice: blind.Of(by.choice)}
	if len(more) > 0 {
		held.More = blind.Of(more)
	}
	return append(seeding, held), nil
}

// ReleaseHeld ends a hold. Without a hold it has no effect.
func ReleaseHeld(s Stock, cmd ReleaseHold, _ domain.Call) ([]StockEvent, error) {
	if _, held := s.Holds.Get(cmd.Patient); !held {
		return nil, nil
	}
	return []StockEvent{HoldReleased{OfStock: OfStock{cmd.Study, LocationID(cmd.Site)}, Patient: cmd.Patient, Reason: cmd.Reason}}, nil
}

// Allocate gives a patient the kits that are due at a visit: the held ones, or else, by chance, those that expire first. The answer is
// KitAllocated for each of them, or AllocationFailed with the code no_stock, replacement_not_allowed, not_randomised,
// nothing_planned, patient_ended, treatment_started for a visit of the screening, draw_not_confirmed, drawn_again,
// visit_not_recorded, treatment_ended, dose_held, reconsent_due, consent_missing or patient_transferred: a patient gets all of
// them, or waits. A patient who has the kits of the visit gets no others, unless one was never given out and no longer can be, or
// is of no use any more: then it is replaced. What was given out for the visit at a former site counts. A kit that was set aside
// when the patient left in error is the patient's again.
func Allocate(s Stock, f Facts, cmd AllocateKit, call domain.Call) ([]StockEvent, error) {
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	slot := Slot{cmd.Patient, cmd.Visit}
	f = f.forSlot(cmd.Visit)
	kits, has := s.placesOf(slot, f)
	if has {
		return nil, nil
	}
	failed := func(code string, reason personal.Text) ([]StockEvent, error) {
		// An enrolment without a draw fails if there is no kit. In all other cases the patient waits for one.
		waits := code == ReplacementNotAllowed ||
			code == "no_stock" && (f.Study.Treatment().Randomised || cmd.Visit != "" || len(kits) > 0 || f.Enrolled)
		return []StockEvent{AllocationFailed{OfStock: at, Patient: cmd.Patient, Visit: cmd.Visit, Code: code, Reason: reason,
			Waits: waits, Withheld: f.withheldAs(code)}}, nil
	}
	sets, planned := s.due(f, slot, kits), s.plannedFor(cmd.Patient, cmd.Visit)
	switch {
	case !f.takesPart(planned):
		return failed("patient_ended", "the patient does not take part any more")
	case s.isSuperseded(cmd.Patient, cmd.Visit),
		slices.ContainsFunc(f.Former, func(at Stock) bool { return at.isSuperseded(cmd.Patient, cmd.Visit) }):
		return failed("drawn_again", "the patient was drawn again since, and got kits then")
	case !f.drawnFor(cmd.Visit):
		return failed("draw_not_confirmed", "the draw that the kit comes with was not confirmed")
	case !f.tookPlace(cmd.Visit):
		return failed("visit_not_recorded", "the visit was recorded in error")
	case f.Withheld != "":
		return failed(string(f.Withheld), personal.Text(f.Withheld.words()))
	case f.Treated && f.Study.InScreening(planned):
		return failed("treatment_started", "the treatment of the patient has begun")
	case f.Arm == "" && len(sets) == 0:
		return failed("not_randomised", "the patient has not been randomised")
	case len(sets) == 0:
		return failed("nothing_planned", "the protocol plans no kit for the patient at this visit")
	case !s.mayReplace(f, cmd.Patient):
		return failed(ReplacementNotAllowed, "kits were lost before they were given out again and again; supply decides about another one")
	}
	for _, set := range sets {
		if events, all, err := s.allocate(f, cmd, set, call); all || err != nil {
			return events, err
		}
	}
	return failed("no_stock", "the site has no kit for the patient")
}

// wanted is a kit that a patient is to get: its place among those of the visit, its kind, and the one that it replaces.
type wanted struct {
	item     int
	kind     study.Kind
	replaces KitNumber
}

// place is one of the places of a visit's kits: the kit that this site allocated last for it, if any, whether the patient needs no other
// one, and whether the one that the patient has is of another step of the titration.
type place struct {
	kit               KitNumber
	serves, otherStep bool
}

// placesOf returns the places of the kits of a slot, and whether the patient needs no others. Where a former site has given one out, it
// keeps its place.
func (s Stock) placesOf(slot Slot, f Facts) (places []place, has bool) {
	step, plan := s.doseFor(slot, f)
	kits, _ := s.Allocated.Get(slot)
	newest, later := s.Newest.Get(slot.Patient)
	for _, n := range kits {
		k, _ := s.Kits.Get(n)
		serves := s.serves(n, slot.Visit, newest.visit == slot.Visit)
		if k.Visit != slot.Visit { // it was given out for another visit, where its own place is
			n = ""
		}
		places = append(places, place{kit: n, serves: serves, otherStep: k.ofOther(step, plan)})
	}
	later = later && newest.visit != slot.Visit
	for _, at := range f.Former {
		kits, _ := at.Allocated.Get(slot)
		newest, _ := at.Newest.Get(slot.Patient)
		for i, n := range kits {
			if i == len(places) {
				places = append(places, place{})
			}
			if k, _ := at.Kits.Get(n); !places[i].serves && k.Dispensed && at.serves(n, slot.Visit, newest.visit == slot.Visit && !later) {
				places[i] = place{serves: true, otherStep: k.ofOther(step, plan)}
			}
		}
	}
	return places, len(places) > 0 && !slices.ContainsFunc(places, func(p place) bool { return !p.serves })
}

// due lists what a patient can be given at a visit, in the order of preference, beside the kits that the patient has for it. If one of
// several can no longer be used, another one of the same kind replaces it; after a change of the dose, all that are planned by now do.
// Between the visits of the protocol, a patient gets what was planned for the last one.
func (s Stock) due(f Facts, slot Slot, has []place) (sets [][]wanted) {
	served := slices.ContainsFunc(has, func(p place) bool { return p.serves && !p.otherStep })
	var gone []KitNumber
	for _, p := range has {
		if !p.serves && p.kit != "" {
			gone = append(gone, p.kit)
		}
	}
	for _, kinds := range f.Study.Due(s.plannedFor(slot.Patient, slot.Visit), f.Arm, f.Dosing).Sets {
		var set []wanted
		for item, kind := range kinds {
			want := wanted{item: item, kind: kind}
			switch {
			case !served:
				if item < len(gone) {
					want.replaces = gone[item]
				}
				set = append(set, want)
			case item < len(has) && !has[item].serves:
				want.replaces = has[item].kit
				if c, known := s.contents.Get(want.replaces); known {
					want.kind = c.kind()
				}
				set = append(set, want)
			}
		}
		if len(set) > 0 {
			sets = append(sets, set)
		}
	}
	return sets
}

// plannedFor returns the visit as whose kits those of a visit are planned, "" for the enrolment: the last one of the protocol for what
// was asked for between its visits, and the enrolment for the kits of a draw.
func (s Stock) plannedFor(p domain.PatientID, visit string) string {
	if IsUnscheduled(visit) {
		newest, _ := s.Newest.Get(p)
		visit = newest.planned
	}
	if IsKitOfStage(visit) {
		return ""
	}
	return visit
}

// allocate allocates all kits of a set, and none if the site lacks one of them.
func (s Stock) allocate(f Facts, cmd AllocateKit, set []wanted, call domain.Call) (events []StockEvent, all bool, err error) {
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	step, rescue := f.dose()
	_, plan := s.doseFor(Slot{cmd.Patient, cmd.Visit}, f)
	for i, want := range set {
		by, seeding, err := s.choosing(at, cmd.Seed, f, call)
		if err != nil {
			return nil, false, err
		}
		if s.shelves.sealed {
			return nil, false, ErrKeysMissing
		}
		by.choice.Method, by.choice.KeepDays = ByPlace, f.keepDays(cmd.Site, want.kind, cmd.Visit, by.choice.On)
		kit, some := s.kitOf(cmd.Patient, f.Supply, by.choice, want.kind)
		if !some {
			kit, some = s.choose(f.Supply, by, want.kind)
		}
		if !some {
			return nil, false, nil
		}
		if want.replaces == kit { // it was put back, and is given out after all
			want.replaces = ""
		}
		e := KitAllocated{OfStock: at, Patient: cmd.Patient, Kit: kit, Visit: cmd.Visit, Item: want.item, Replaces: want.replaces,
			Step: step, Rescue: rescue, Plan: plan, Choice: blind.Of(by.choice)}
		events = append(append(events, seeding...), e)
		if i < len(set)-1 {
			for _, e := range append(seeding, e) {
				s = evolveStock(s, e)
			}
		}
	}
	return events, true, nil
}

// takesPart says whether the patient may get kits at a visit: while taking part, and before it where the protocol has it, as in a
// run-in.
func (f Facts) takesPart(visit string) bool {
	return f.Participating || f.Screening && f.Study.GivesBeforeDraw(visit)
}

// tookPlace says whether kits can be due at a visit: it is recorded, or is none of the protocol's.
func (f Facts) tookPlace(visit string) bool {
	_, recorded := f.Visits[visit]
	return recorded || f.Visits == nil || visit == "" || IsKitOfStage(visit) || IsUnscheduled(visit)
}

// drawnFor says whether the patient was drawn, or is being drawn, for the stage whose kit this is. A draw that was broken off between
// the arm and the kit has an arm, and brings no kit before it is asked for again.
func (f Facts) drawnFor(visit string) bool {
	return f.DrawnFor == nil || !f.Study.Treatment().Randomised || !IsKitOfStage(visit) ||
		slices.Contains(f.DrawnFor, strings.TrimPrefix(visit, stageSlot))
}

// forSlot returns the facts of a decision about the kits of a slot. From a draw to its confirmation there are only those that come with
// it: the patient's arm is the new one already, and would show in what is given out for other slots, or double the dose.
func (f Facts) forSlot(visit string) Facts {
	if f.Unconfirmed != nil && visit != KitOfStage(*f.Unconfirmed) && f.Withheld != TreatmentHasEnded && f.Withheld != PatientIsTransferred {
		f.Withheld = DrawIsNotConfirmed // whatever else there is: it lasts until the draw is confirmed
	}
	return f
}

// dose returns the step of the titration that the patient is on, and whether there is a rescue medication; 0 where the protocol has no
// titration.
func (f Facts) dose() (step int, rescue bool) {
	titration := f.Study.Treatment().Titration
	switch {
	case titration == nil:
		return 0, false
	case f.Dosing.Step == 0:
		return titration.First(), f.Dosing.Rescue
	}
	return f.Dosing.Step, f.Dosing.Rescue
}

// isSuperseded says whether a patient was drawn again after kits were allocated for a visit. They may be of another arm than the patient's
// by now; whether they are must not show, so none of them is given out any more.
func (s Stock) isSuperseded(p domain.PatientID, visit string) bool {
	superseded, _ := s.Superseded.Get(Slot{p, visit})
	return superseded
}

// ofOtherDose says whether a kit was allocated for another dose than the patient is on now, or for another plan. A rescue that has begun
// since comes with the next kits: without it, the patient would have none where the rescue is out of stock. The dose of a run-in is not
// changed.
func (s Stock) ofOtherDose(k Kit, f Facts) bool {
	step, plan := s.doseFor(Slot{k.Patient, k.Visit}, f)
	_, rescue := f.dose()
	return k.ofOther(step, plan) || k.Step != 0 && step != 0 && k.Rescue && !rescue
}

// ofOther says whether a kit was allocated for another step of the titration or another plan; not where one of them is not known.
func (k Kit) ofOther(step int, plan string) bool {
	return k.Step != 0 && step != 0 && k.Step != step || k.Plan != "" && plan != "" && k.Plan != plan
}

// doseFor returns the step of the titration and the mark of what is planned for the kits of a slot now: after a change of the weight, of a
// level or of the protocol, other kits may be. They are not known for kits of a run-in, and the plan is not between visits, where it is
// that of the last visit.
func (s Stock) doseFor(slot Slot, f Facts) (step int, plan string) {
	planned := s.plannedFor(slot.Patient, slot.Visit)
	if f.Study.InScreening(planned) {
		return 0, ""
	}
	if step, _ = f.dose(); !IsUnscheduled(slot.Visit) {
		plan = f.Study.PlanFor(planned, f.Dosing)
	}
	return step, plan
}

// Revise decides about ReviseKits. It leaves the kits of a visit alone of which one was given out for another dose. Kits from before a
// later draw are set aside, and nothing replaces them: others came with the draw. Where the patient waits for the kits of a visit, they
// are asked for again: those of the present dose may be there. It may be sent again.
func Revise(s Stock, f Facts, cmd ReviseKits, call domain.Call) ([]StockEvent, error) {
	wrong := map[string][]KitNumber{}
	for _, n := range s.waitingFor(cmd.Patient, func(k Kit) bool { return s.ofOtherDose(k, f) || s.isSuperseded(k.Patient, k.Visit) }) {
		k, _ := s.Kits.Get(n)
		wrong[k.Visit] = append(wrong[k.Visit], n)
	}
	var events []StockEvent
	take := func(more ...StockEvent) {
		for _, e := range more {
			s = evolveStock(s, e)
		}
		events = append(events, more...)
	}
	for _, visit := range slices.Sorted(maps.Keys(wrong)) {
		kits, _ := s.Allocated.Get(Slot{cmd.Patient, visit})
		superseded := s.isSuperseded(cmd.Patient, visit)
		if !superseded && slices.ContainsFunc(kits, func(n KitNumber) bool { k, _ := s.Kits.Get(n); return k.Dispensed }) {
			continue
		}
		aside := KitsSetAside{OfStock: OfStock{cmd.Study, LocationID(cmd.Site)}, Patient: cmd.Patient, Kits: wrong[visit],
			Reason: "the dose or the plan was changed", Affected: s.slotsOf(wrong[visit])}
		if superseded {
			aside.Reason = "the patient was drawn again"
			take(aside)
			continue
		}
		others, err := s.allocatedAfter(aside, f, cmd.Patient, cmd.Site, visit, cmd.Seed, call)
		if err != nil {
			return nil, err
		}
		take(others...)
	}
	waiting, _ := s.Waiting.Get(cmd.Patient)
	for _, visit := range waiting {
		if _, exchanged := wrong[visit]; exchanged {
			continue
		}
		others, err := Allocate(s, f, AllocateKit{Study: cmd.Study, Site: cmd.Site, OfPatient: cmd.OfPatient, Visit: visit, Seed: cmd.Seed}, call)
		if err != nil {
			return nil, err
		}
		waits := slices.ContainsFunc(others, func(e StockEvent) bool { failed, is := e.(AllocationFailed); return is && failed.waiting() })
		if waits { // as before
			continue
		}
		take(others...)
	}
	return events, nil
}

// keepDays returns how many days before its expiry a kit of a kind is not given out any more at a site.
func (f Facts) keepDays(at domain.SiteID, kind study.Kind, visit string, on domain.Date) int {
	return f.Study.KeepDays(kind, visit, f.Study.Sites[at].Country, on, f.EnrolledOn)
}

// IsUnscheduled says whether a slot is a kit that was asked for between the visits of the protocol.
func IsUnscheduled(visit string) bool { return strings.HasPrefix(visit, unscheduledVisit) }

// unscheduledVisit begins the names of the occasions between the visits of the protocol.
const unscheduledVisit = "unscheduled-"

// withheldAs returns why a kit is withheld if that is the reason with the code.
func (f Facts) withheldAs(code string) Withholding {
	if code == string(f.Withheld) {
		return f.Withheld
	}
	return ""
}

// hasKitsFor says whether the patient needs no other kits for a slot than those that were allocated last for it.
func (s Stock) hasKitsFor(slot Slot) bool {
	kits, got := s.Allocated.Get(slot)
	newest, _ := s.Newest.Get(slot.Patient)
	return got && !slices.ContainsFunc(kits, func(n KitNumber) bool { return !s.serves(n, slot.Visit, newest.visit == slot.Visit) })
}

// NeedsNone says that nothing is due for a slot: the patient has the kits, was drawn again since, or the visit did not take place.
func (s Stock) NeedsNone(slot Slot, visits map[string]domain.Date) bool {
	if visits == nil {
		visits = map[string]domain.Date{}
	}
	return s.hasKitsFor(slot) || s.isSuperseded(slot.Patient, slot.Visit) || !Facts{Visits: visits}.tookPlace(slot.Visit)
}

// serves says that a patient needs no other kit for a visit in place of this one, which may have been given out at another visit after
// it was put back. newest says that none was allocated for a later visit.
func (s Stock) serves(n KitNumber, visit string, newest bool) bool {
	k, _ := s.Kits.Get(n)
	return k.Visit == visit && k.serves(newest)
}

// kitOf returns the kit of an arm or type that can go to no other patient: one that was put back, or that is held for this one.
func (s Stock) kitOf(p domain.PatientID, in Supply, choice Choice, kind study.Kind) (KitNumber, bool) {
	kept, _ := s.Kept.Get(p)
	for _, n := range kept {
		k, _ := s.Kits.Get(n)
		c, known := s.contents.Get(n)
		if known && k.Status == KitUnavailable && !k.Wanted && !s.isSuperseded(p, k.Visit) && c.kind() == kind && in.usable(n, c.Lot) &&
			c.Expiry.DaysSince(choice.On) > choice.KeepDays {
			return n, true
		}
	}
	return s.heldFor(p, in, choice, kind)
}

// waitingFor lists those of the kits that are allocated to a patient and not given out, in ascending order.
func (s Stock) waitingFor(p domain.PatientID, which func(Kit) bool) []KitNumber {
	var kits []KitNumber
	for n, k := range s.Kits.All() {
		if k.Patient == p && k.Status == KitIsAllocated && which(k) {
			kits = append(kits, n)
		}
	}
	slices.Sort(kits)
	return kits
}

// SetAside takes allocated kits that were never given out from a patient who has left, and ends the patient's hold; or those of a visit
// that did not take place. It may be sent again, and late: who is treated here by now keeps the kits.
func SetAside(s Stock, f Facts, cmd SetKitsAside, _ domain.Call) ([]StockEvent, error) {
	if cmd.Visit == "" && f.Enrolled && f.Withheld != TreatmentHasEnded && f.PatientsSite == cmd.Site {
		return nil, nil
	}
	if _, again := f.Visits[cmd.Visit]; again { // it was recorded again meanwhile
		return nil, nil
	}
	at := OfStock{cmd.Study, LocationID(cmd.Site)}
	var events []StockEvent
	if _, held := s.Holds.Get(cmd.Patient); held && cmd.Visit == "" {
		events = append(events, HoldReleased{OfStock: at, Patient: cmd.Patient, Reason: cmd.Reason})
	}
	if kits := s.waitingFor(cmd.Patient, func(k Kit) bool { return cmd.Visit == "" || k.Visit == cmd.Visit }); len(kits) > 0 {
		events = append(events, KitsSetAside{OfStock: at, Patient: cmd.Patient, Kits: kits, Reason: cmd.Reason, Affected: s.slotsOf(kits)})
	}
	return events, nil
}

// Dispense hands a patient the allocated kit. It refuses malformed_date, captured_in_future, kit_not_at_location,
// kit_not_allocated_to_patient, kit_status, patient_ended, treatment_ended, dose_held, patient_transferred, reconsent_required,
// consent_missing, draw_not_confirmed, visit_not_recorded, drawn_again, dose_changed, dispensed_before_receipt,
// dispensed_before_enrollment, lot_recalled,
// kit_expired and kit_expires_soon. No patient gets a kit that has expired or soon will (R37; ICH E6(R3) 3.15.3(c)), and none is
// dispensed before the draw and the allocation (R8).
func Dispense(s Stock, f Facts, cmd DispenseKit, call domain.Call) ([]StockEvent, error) {
	if err := cmd.On.NotAfterToday("on", call); err != nil {
		return nil, err
	}
	k, err := s.ofPatient(cmd.Kit, cmd.Patient, "dispensing it", KitIsAllocated)
	if err != nil {
		return nil, err
	}
	planned := s.plannedFor(cmd.Patient, k.Visit)
	f = f.forSlot(k.Visit)
	if err := domain.First(f.mustGetKits(cmd.Patient, planned),
		f.Study.MustNotBePausedFor(cmd.Site, f.Dosing.Levels, study.ActivityDispensing, "site")); err != nil {
		return nil, err
	}
	switch {
	case !f.tookPlace(k.Visit):
		return nil, refuse.WrongState("visit_not_recorded", "the visit that kit %s was for was recorded in error", cmd.Kit).At("kit").
			Do("record the visit first")
	case s.isSuperseded(cmd.Patient, k.Visit):
		return nil, refuse.WrongState("drawn_again", "the patient was drawn again after kit %s was allocated", cmd.Kit).At("kit").
			Do("give out the kit that came with the draw; set this one aside")
	case s.ofOtherDose(k, f):
		return nil, refuse.WrongState("dose_changed",
			"the patient's dose, or what is planned for it, was changed after kit %s was allocated", cmd.Kit).At("kit").
			Do("wait a moment and look which kit is allocated now; replace this one if it stays")
	}
	if err := cmd.On.NotBefore(k.ArrivedOn, "dispensed_before_receipt", "on", "giving the kit out", "its receipt"); err != nil {
		return nil, err
	}
	if !f.Study.GivesBeforeDraw(planned) {
		if err := cmd.On.NotBefore(f.EnrolledOn, "dispensed_before_enrollment", "on", "giving the kit out", "the enrolment"); err != nil {
			return nil, err
		}
	}
	c, known := s.contents.Get(cmd.Kit)
	on := max(cmd.On, today(call))
	daysLeft := c.Expiry.DaysSince(on)
	switch {
	case !known:
		return nil, ErrKeysMissing
	case f.Supply.Lots[c.Lot].Recalled:
		return nil, refuse.WrongState("lot_recalled", "kit %s is recalled", cmd.Kit).At("kit").Do("set it aside; the patient gets another one")
	case daysLeft <= 0:
		return nil, refuse.Because("kit_expired", "the time of kit %s has run out", cmd.Kit).
			At("kit").Do("set it aside; the patient gets another one")
	case daysLeft <= f.keepDays(cmd.Site, c.kind(), k.Visit, on):
		return nil, refuse.Because("kit_expires_soon", "kit %s expires too soon to be given out", cmd.Kit).
			At("kit").Do("set it aside; the patient gets another one")
	}
	at := OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}
	return []StockEvent{KitDispensed{OfStock: at, Patient: cmd.Patient, Kit: cmd.Kit, Visit: k.Visit, On: cmd.On,
		DosesPerDay: f.Study.Due(planned, f.Arm, f.Dosing).DosesPerDay}}, nil
}

// mustGetKits refuses a patient who gets no kits now (codes patient_ended, treatment_ended, patient_transferred, dose_held,
// reconsent_required, consent_missing, draw_not_confirmed).
func (f Facts) mustGetKits(p domain.PatientID, visit string) error {
	if !f.takesPart(visit) {
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
	case ConsentIsMissing:
		return refuse.Because("consent_missing", "patient %s has signed no consent", p).At("patient").
			Do("record the signature first; keep the kit until then")
	case ReconsentIsDue:
		return refuse.WrongState("reconsent_required", "patient %s has not signed the consent again", p).At("patient").
			Do("record the signature first; keep the kit until then")
	case DrawIsNotConfirmed:
		return refuse.WrongState("draw_not_confirmed", "patient %s was drawn, and the draw is not confirmed", p).At("patient").
			Do("give out the kit that comes with the draw, as soon as there is one")
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

// backBy lists the patients and visits whose kits are among these, and that need no others after the event.
func (s Stock) backBy(event StockEvent, kits []KitNumber) []Slot {
	after := evolveStock(s, event)
	return slices.DeleteFunc(s.slotsOf(kits), func(slot Slot) bool {
		return !after.hasKitsFor(slot)
	})
}
