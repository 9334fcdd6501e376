package supply

import (
	"errors"
	"maps"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/chance"
	"casebook/domain/persistent"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Stock is the state of the kits of one location.
type Stock struct {
	// Kits are the kits that this stream decides about, and those that it sent away.
	Kits persistent.Map[KitNumber, Kit]
	// Holds reserve kits for patients until their draw.
	Holds persistent.Map[domain.PatientID, StockHeld]
	// Sent are the shipments that this location created. Arrived has the outcome of those that other locations sent to it.
	Sent    persistent.Map[ShipmentID, Sent]
	Arrived persistent.Map[ShipmentID, ShipmentStatus]
	// Allocated are the patients' kits by patient and visit, each at its place, without those that were replaced. One that was put
	// back is "".
	Allocated persistent.Map[Slot, []KitNumber]
	// Newest is the visit for which each patient was allocated a kit last, and Kept are the kits that can go to nobody but their
	// patient.
	Newest persistent.Map[domain.PatientID, latest]
	Kept   persistent.Map[domain.PatientID, []KitNumber]
	// Waiting are the visits, by patient, for which there was no kit, or it was withheld, when one was asked for last.
	Waiting persistent.Map[domain.PatientID, []string]
	// Superseded are the slots that had kits, or waited for some, when the patient was drawn again.
	Superseded persistent.Map[Slot, bool]
	// Unscheduled counts the kits that were asked for between the visits of the protocol.
	Unscheduled persistent.Map[domain.PatientID, int]
	// Delivered are the deliveries that were taken in, Recalled the lots whose recall was handled.
	Delivered map[int]bool
	Recalled  map[string]bool
	// LastShipment is the running number of the last shipment that this location created.
	LastShipment int
	// Raised is by how many kits, of all arms together, the stocks are raised that this location's resupplies keep.
	Raised map[LocationID]int
	// Withheld are the sites whose resupply was withheld last, with the number of changes to approvals that were known.
	Withheld map[LocationID]int
	// spoilt are the kits that were taken from patients, or from the shelf, before they were given out, the oldest first. arrivals are
	// how many of them there were when a shipment arrived last from a place, and allowed are those that supply has looked at.
	spoilt   []spoilt
	arrivals map[LocationID]int
	allowed  map[KitNumber]bool
	contents persistent.Map[KitNumber, Content]
	shelves  shelves
	// seed is that of the choices among equal kits; nil as long as none was recorded, or if it is sealed. choices counts
	// the choices.
	seed       *chance.Seed
	seedSealed bool
	choices    int
}

// StockDecider decides on the stream of a location's kits. StockID makes the stream's id.
var StockDecider = domain.Decider[Stock, StockEvent]{Category: "stock", Key: byLocation, Events: stockEvents, Evolve: evolveStock}

// StockID returns the id of a location's stream.
func StockID(of domain.StudyID, at LocationID) string { return string(of) + "." + string(at) }

// Facts are what decisions about a stock need to know from other streams.
type Facts struct {
	Study  study.Study
	Supply Supply
	// Other is the stock of the location that a shipment comes from or goes to.
	Other Stock
	// Arm is the patient's arm; "" before the draw.
	Arm domain.ArmID
	// Closed are the arms that nobody is drawn into any more. Their patients get kits as before.
	Closed []domain.ArmID
	// Drawn are the arms of the scheme by which the patient is to be drawn; nil where there is none.
	Drawn []domain.ArmID
	// Participating says whether the patient is enrolled, or is being enrolled.
	Participating bool
	// Enrolled says whether the patient is enrolled.
	Enrolled bool
	// Screening says that the patient has consented and is not enrolled, and may get kits before the draw. Treated says that the
	// treatment has begun, and that the patient gets none of the screening any more.
	Screening, Treated bool
	// Dosing is what of the patient decides about the kits, and EnrolledOn day 0 of the visits, "" before it.
	Dosing     study.Dosing
	EnrolledOn domain.Date
	// Withheld is why a patient who takes part gets no kit; "" if the patient does. PatientsSite is where the patient is now.
	Withheld     Withholding
	PatientsSite domain.SiteID
	// DrawnFor are the stages for which the patient was drawn or is being drawn; nil where a decision does not need them.
	DrawnFor []string
	// Unconfirmed is the stage that the patient was drawn for last, until the draw is confirmed; nil otherwise, and for the draw of an
	// enrolment. Arm is that of the stage already.
	Unconfirmed *string
	// Visits are the recorded visits of the patient by their ids; nil where a decision does not need them.
	Visits map[string]domain.Date
	// Former are the stocks of the sites that the patient was at before.
	Former []Stock
	// Patients are those of the site that a resupply looks ahead for.
	Patients []Scheduled
	// WitnessAtSite says whether the witness of a destruction is a member of the site's staff.
	WitnessAtSite bool
}

// Withholding is why a patient who takes part gets no kit.
type Withholding string

// Why kits are withheld: the treatment has ended, or is interrupted, or the patient belongs to another site by now.
const (
	TreatmentHasEnded    Withholding = "treatment_ended"
	DoseIsHeld           Withholding = "dose_held"
	PatientIsTransferred Withholding = "patient_transferred"
	// ReconsentIsDue says that the protocol gives out nothing before the patient signs the consent again.
	ReconsentIsDue Withholding = "reconsent_due"
	// ConsentIsMissing says that the only consent was recorded in error.
	ConsentIsMissing Withholding = "consent_missing"
	// DrawIsNotConfirmed says that the patient was drawn for a stage, and first gets the kits that come with it.
	DrawIsNotConfirmed Withholding = "draw_not_confirmed"
)

// ForConsent says whether the patient gets the kit as soon as a consent is signed.
func (w Withholding) ForConsent() bool { return w == ReconsentIsDue || w == ConsentIsMissing }

// words is the reason as a sentence has it.
func (w Withholding) words() string {
	switch w {
	case DoseIsHeld:
		return "the patient's treatment is interrupted"
	case PatientIsTransferred:
		return "the patient was transferred to another site"
	case ReconsentIsDue:
		return "the patient has not signed the consent again"
	case ConsentIsMissing:
		return "the patient has signed no consent"
	case DrawIsNotConfirmed:
		return "the patient was drawn, and the kits that come with the draw are given first"
	default:
		return "the patient's treatment has ended"
	}
}

func evolveStock(s Stock, event StockEvent) Stock {
	was, kits := s, s.changed(event)
	s, held := s.after(event, kits)
	return s.arranged(was, append(slices.Clip(kits), held...))
}

// after returns the stock after an event, which is about the kits, and the kits that are held or not held any more.
func (s Stock) after(event StockEvent, kits []KitNumber) (_ Stock, held []KitNumber) {
	s = s.moved(event, kits).spoiling(s, event)
	switch e := event.(type) {
	case StockSeedRecorded:
		s = s.seeded(e)
	case DeliveryTakenIn:
		s.Delivered = with(s.Delivered, e.Delivery, true)
		s = s.take(e.Contents)
	case ShipmentCreated:
		s.LastShipment++
		s = s.chosen(e.Choice)
		if e.Raises > 0 {
			s.Raised = with(s.Raised, e.To, s.Raised[e.To]+e.Raises)
		}
		s.Sent = s.Sent.Set(e.Shipment, Sent{ShipmentCreated: e, Status: ShipmentStatus("").After(e)})
	case ResupplyWithheld:
		s.Withheld = with(s.Withheld, e.To, e.Changes)
	case ShipmentCancelled:
		s = s.sentAfter(e, e.Shipment, "")
	case ShipmentDispatched:
		s = s.sentAfter(e, e.Shipment, e.On)
	case ShipmentReceived:
		s.Arrived = s.Arrived.Set(e.Shipment, ShipmentStatus("").After(e))
		s = s.take(e.Contents)
	case ShipmentLost:
		s.Arrived = s.Arrived.Set(e.Shipment, ShipmentStatus("").After(e))
		if !e.Contents.Sealed() {
			s = s.take(e.Contents)
		}
	case KitsQuarantined:
		if e.Cause == CauseRecall {
			s.Recalled = with(s.Recalled, e.Lot, true)
		}
	case LotRecallEnded:
		s.Recalled = withValue(s.Recalled, e.Lot, false)
	case StockHeld:
		s, held = s.holding(e.Patient, &e)
		s = s.chosen(e.Choice)
	case HoldReleased:
		s, held = s.holding(e.Patient, nil)
	case KitAllocated:
		s, held = s.holding(e.Patient, nil)
		s = s.allocated(Slot{e.Patient, e.Visit}, e).waiting(Slot{e.Patient, e.Visit}, false)
		s = s.chosen(e.Choice)
	case KitsSetAside:
		s = s.keeping(e.Patient, e.Kits...)
	case KitPutBack:
		if !e.Shelved {
			s = s.keeping(e.Patient, e.Kit)
		}
		s = s.putBack(Slot{e.Patient, e.Visit}, e.Kit)
	case UnscheduledKitAsked:
		n, _ := s.Unscheduled.Get(e.Patient)
		s.Unscheduled = s.Unscheduled.Set(e.Patient, n+1)
	case KitsRelabelled:
		s, held = s.relabelled(e)
	case AllocationFailed:
		if e.Withheld == DrawIsNotConfirmed { // the hold is that of the draw, and who waited before it does not get the kits after it
			break
		}
		s, held = s.holding(e.Patient, nil)
		s = s.waiting(Slot{e.Patient, e.Visit}, e.waiting())
	}
	return s, held
}

// moved returns the stock after an event has changed its kits.
func (s Stock) moved(event StockEvent, kits []KitNumber) Stock {
	for _, n := range kits {
		k, _ := s.Kits.Get(n)
		s.Kits = s.Kits.Set(n, k.After(n, event))
	}
	return s
}

// keeping returns the stock with more kits that can go to nobody but their patient.
func (s Stock) keeping(p domain.PatientID, kits ...KitNumber) Stock {
	kept, _ := s.Kept.Get(p)
	for _, n := range kits {
		if !slices.Contains(kept, n) {
			kept = append(slices.Clip(kept), n)
		}
	}
	s.Kept = s.Kept.Set(p, kept)
	return s
}

// latest is the visit for which a patient was allocated a kit last. planned is the last one of the protocol.
type latest struct{ visit, planned string }

// waiting returns the stock with a patient who waits for the kits of a visit, or does not any more.
func (s Stock) waiting(slot Slot, waits bool) Stock {
	visits, _ := s.Waiting.Get(slot.Patient)
	if slices.Contains(visits, slot.Visit) == waits {
		return s
	}
	if visits = slices.Clone(visits); waits {
		visits = append(visits, slot.Visit)
	} else {
		visits = slices.DeleteFunc(visits, func(v string) bool { return v == slot.Visit })
	}
	s.Waiting = s.Waiting.Set(slot.Patient, visits)
	return s
}

// allocated returns the stock with a kit for a patient and visit, at its place among those of the visit.
func (s Stock) allocated(slot Slot, e KitAllocated) Stock {
	before, _ := s.Allocated.Get(slot)
	remain := s.ofSameSet(before, e)
	kits := make([]KitNumber, max(len(remain), e.Item+1))
	copy(kits, remain)
	kits[e.Item] = e.Kit
	s.Allocated = s.Allocated.Set(slot, kits)
	was, got := s.Newest.Get(slot.Patient)
	if got && len(before) > 0 {
		return s // it is one of several, or replaces one: nothing newer was given out
	}
	if slot.Visit != "" && IsKitOfStage(slot.Visit) && len(before) == 0 {
		for of := range s.Allocated.All() {
			if of.Patient == slot.Patient && of != slot {
				s.Superseded = s.Superseded.Set(of, true)
			}
		}
		waiting, _ := s.Waiting.Get(slot.Patient)
		for _, visit := range waiting {
			if visit != slot.Visit {
				s.Superseded = s.Superseded.Set(Slot{slot.Patient, visit}, true)
			}
		}
	}
	now := latest{visit: slot.Visit, planned: slot.Visit}
	if IsUnscheduled(slot.Visit) {
		now.planned = was.planned
	}
	s.Newest = s.Newest.Set(slot.Patient, now)
	return s
}

// ofSameSet returns those kits of a visit that still have a place in it beside one that is allocated now: none where it is the first of a
// set that takes the place of all of them, such as after a change of the dose.
func (s Stock) ofSameSet(kits []KitNumber, e KitAllocated) []KitNumber {
	if e.Item > 0 || !slices.ContainsFunc(kits, func(n KitNumber) bool {
		k, _ := s.Kits.Get(n)
		return n != "" && n != e.Kit && k.ofOther(e.Step, e.Plan)
	}) {
		return kits
	}
	return nil
}

// putBack returns the stock without a kit for a patient and visit.
func (s Stock) putBack(slot Slot, n KitNumber) Stock {
	kits, _ := s.Allocated.Get(slot)
	kits = slices.Clone(kits)
	for i := range kits {
		if kits[i] == n {
			kits[i] = ""
		}
	}
	if !slices.ContainsFunc(kits, func(n KitNumber) bool { return n != "" }) {
		s.Allocated = s.Allocated.Delete(slot)
		return s
	}
	s.Allocated = s.Allocated.Set(slot, kits)
	return s
}

// kits lists the kits of a hold, each once; false if this program cannot open it.
func (e StockHeld) kits() (all []KitNumber, open bool) {
	first, open := e.Kits.Open()
	if !open {
		return nil, false
	}
	more, _ := e.More.Open()
	for _, arm := range slices.Sorted(maps.Keys(first)) {
		for _, n := range append([]KitNumber{first[arm]}, more[arm]...) {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all, true
}

// relabelled returns the stock with the new expiries of kits, and these kits.
func (s Stock) relabelled(e KitsRelabelled) (Stock, []KitNumber) {
	expiries, open := e.To.Open()
	s.shelves.sealed = s.shelves.sealed || !open
	for n, expiry := range expiries {
		c, _ := s.contents.Get(n)
		c.Expiry = expiry
		s.contents = s.contents.Set(n, c)
	}
	return s, slices.Collect(maps.Keys(expiries))
}

// sentAfter returns the stock after an event has changed a shipment that this location created.
func (s Stock) sentAfter(event StockEvent, id ShipmentID, dispatchedOn domain.Date) Stock {
	sent, _ := s.Sent.Get(id)
	sent.Status = sent.Status.After(event)
	if dispatchedOn != "" {
		sent.DispatchedOn = dispatchedOn
	}
	s.Sent = s.Sent.Set(id, sent)
	return s
}

// with returns a copy of a map in which a key has a value.
func with[K comparable, V any](m map[K]V, key K, value V) map[K]V {
	next := make(map[K]V, len(m)+1)
	maps.Copy(next, m)
	next[key] = value
	return next
}

// take stores the contents of kits. A program without the blinding keys stores none, and cannot decide about the kits.
func (s Stock) take(contents Contents) Stock {
	plain, open := contents.Open()
	s.shelves.sealed = s.shelves.sealed || !open
	for n, c := range plain {
		s.contents = s.contents.Set(n, c)
	}
	return s
}

// ErrKeysMissing says that contents or a seed are sealed, and needed.
var ErrKeysMissing = errors.New("what the kits hold is sealed: this program runs without the blinding keys")

// contentsOf returns the contents of kits. It returns ErrKeysMissing if the program cannot open them.
func (s Stock) contentsOf(kits []KitNumber) (KitContents, error) {
	all := make(KitContents, len(kits))
	for _, n := range kits {
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		all[n] = c
	}
	return all, nil
}

// held returns the kits that are held for patients other than the given one. It returns ErrKeysMissing if the program cannot
// open the holds.
func (s Stock) held(except domain.PatientID) (map[KitNumber]bool, error) {
	all := map[KitNumber]bool{}
	for patient, hold := range s.Holds.All() {
		if patient == except {
			continue
		}
		kits, open := hold.kits()
		if !open {
			return nil, ErrKeysMissing
		}
		for _, n := range kits {
			all[n] = true
		}
	}
	return all, nil
}

// HeldArms lists the arms of which a kit is held for the patient, in ascending order.
func (s Stock) HeldArms(p domain.PatientID) ([]domain.ArmID, error) {
	hold, found := s.Holds.Get(p)
	if !found {
		return []domain.ArmID{}, nil
	}
	kits, open := hold.Kits.Open()
	if !open {
		return nil, ErrKeysMissing
	}
	arms := []domain.ArmID{}
	for arm := range kits {
		arms = append(arms, arm)
	}
	slices.Sort(arms)
	return arms, nil
}

// usable lists, for every arm or type, the kits that could be given out on the day, without the held ones and in no order. A kit
// with keepDays or fewer days left until its expiry is not given out any more.
func (s Stock) usable(in Supply, on domain.Date, keepDays int, held map[KitNumber]bool) (map[study.Kind][]KitNumber, error) {
	all := map[study.Kind][]KitNumber{}
	for n, k := range s.Kits.All() {
		if k.Status != KitAvailable || held[n] {
			continue
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		if in.usable(n, c.Lot) && c.Expiry.DaysSince(on) > keepDays {
			all[c.kind()] = append(all[c.kind()], n)
		}
	}
	return all, nil
}

// usableInOrder lists, for every arm, the kits that could be given out, in the order in which the chooser takes them.
func (s Stock) usableInOrder(in Supply, by chooser, held map[KitNumber]bool) (map[domain.ArmID][]KitNumber, error) {
	all, err := s.usable(in, by.choice.On, by.choice.KeepDays, held)
	for arm, kits := range all {
		all[arm] = by.inOrder(kits, s.expiryOf)
	}
	return all, err
}

// expiryOf returns the expiry of a kit whose content is known.
func (s Stock) expiryOf(n KitNumber) domain.Date {
	c, _ := s.contents.Get(n)
	return c.Expiry
}

// today returns the day of a decision in UTC. The location's own zone would move it by hours, and the margins are days.
func today(call domain.Call) domain.Date { return domain.DateOf(call.At.In(time.UTC)) }

func keepDays(in study.Study) int {
	if in.Protocol == nil || in.Protocol.Treatment == nil {
		return 0
	}
	return in.Protocol.Treatment.DoNotDispenseDays
}

// eachOnce refuses kits that are not in this stock, are named twice, or do not satisfy the condition (codes
// kit_not_at_location, kit_named_twice, kit_status).
func (s Stock) eachOnce(field, what string, kits []KitNumber, may func(Kit) bool) error {
	seen := map[KitNumber]bool{}
	for _, n := range kits {
		k, here := s.Kits.Get(n)
		switch {
		case !here:
			return refuse.NotFound("kit_not_at_location", "kit %.40s is not at this location", n).At(field).Do("check the number and the location")
		case seen[n]:
			return refuse.Malformed("kit_named_twice", "kit %s is named twice", n).At(field).Do("name every kit once")
		case !may(k):
			return refuse.WrongState("kit_status", "kit %s is %s; %s is not possible", n, k.Status, what).At(field).Do("check the kit's status")
		}
		seen[n] = true
	}
	return nil
}
