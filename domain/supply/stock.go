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

// Stock is the state of one place's kits.
type Stock struct {
	// Kits that are, or were last, in this place's hands.
	Kits persistent.Map[KitNumber, Kit]
	// Holds are kept for patients until their draw.
	Holds persistent.Map[domain.PatientID, StockHeld]
	// Sent are the shipments made here; Arrived says of those made elsewhere how they ended here.
	Sent    persistent.Map[ShipmentID, Sent]
	Arrived persistent.Map[ShipmentID, ShipmentStatus]
	// Allocated are the kits of patients by patient and visit: the ones that count, without those that were replaced.
	Allocated persistent.Map[Slot, KitNumber]
	// Delivered are the deliveries that were taken in, Recalled the lots that were set aside.
	Delivered map[int]bool
	Recalled  map[string]bool
	// LastShipment is the running number of the last shipment made here.
	LastShipment int
	contents     persistent.Map[KitNumber, Content]
	// seed is that of the choices among equal kits; nil as long as none was recorded, or where it is sealed. choices
	// counts the choices.
	seed       *chance.Seed
	seedSealed bool
	choices    int
}

// StockDecider is how the stream of a place's kits works; its id is made by StockID.
var StockDecider = domain.Decider[Stock, StockEvent]{Category: "stock", Key: byLocation, Events: stockEvents, Evolve: evolveStock}

// StockID is the id of a place's stream.
func StockID(of domain.StudyID, at LocationID) string { return string(of) + "." + string(at) }

// Facts are what decisions about a place's kits know besides.
type Facts struct {
	Study  study.Study
	Supply Supply
	// Other is the stock of the place that a shipment comes from, or goes to.
	Other Stock
	// Arm is the patient's arm, where it has been drawn.
	Arm domain.ArmID
	// Participating says whether the patient is enrolled, or on the way to be.
	Participating bool
}

func evolveStock(s Stock, event StockEvent) Stock {
	s = s.moved(event)
	switch e := event.(type) {
	case StockSeedRecorded:
		s = s.seeded(e)
	case DeliveryTakenIn:
		s.Delivered = with(s.Delivered, e.Delivery)
		s = s.take(e.Contents)
	case ShipmentCreated:
		s.LastShipment++
		s = s.chosen(e.Choice)
		s.Sent = s.Sent.Set(e.Shipment, Sent{ShipmentCreated: e, Status: ShipmentStatus("").After(e)})
	case ShipmentCancelled:
		s = s.sentAfter(e, e.Shipment, "")
	case ShipmentDispatched:
		s = s.sentAfter(e, e.Shipment, e.On)
	case ShipmentReceived:
		s.Arrived = s.Arrived.Set(e.Shipment, ShipmentStatus("").After(e))
		s = s.take(e.Contents)
	case ShipmentLost:
		s.Arrived = s.Arrived.Set(e.Shipment, ShipmentStatus("").After(e))
	case KitsQuarantined:
		if e.Cause == CauseRecall {
			s.Recalled = with(s.Recalled, e.Lot)
		}
	case StockHeld:
		s.Holds = s.Holds.Set(e.Patient, e)
		s = s.chosen(e.Choice)
	case HoldReleased:
		s.Holds = s.Holds.Delete(e.Patient)
	case KitAllocated:
		s.Holds = s.Holds.Delete(e.Patient)
		s.Allocated = s.Allocated.Set(Slot{e.Patient, e.Visit}, e.Kit)
		s = s.chosen(e.Choice)
	case AllocationFailed:
		s.Holds = s.Holds.Delete(e.Patient)
	}
	return s
}

// moved returns the stock with the kits after an event that is about them: those that it names, or those of a shipment that
// was made here.
func (s Stock) moved(event StockEvent) Stock {
	var kits []KitNumber
	if e, names := event.(OfKits); names {
		_, kits = e.OfKits()
	} else if e, is := event.(OfShipment); is {
		_, id := e.OfShipment()
		sent, _ := s.Sent.Get(id)
		kits = sent.Kits
	}
	for _, n := range kits {
		k, _ := s.Kits.Get(n)
		s.Kits = s.Kits.Set(n, k.After(n, event))
	}
	return s
}

// sentAfter returns the stock with a shipment that was made here after an event.
func (s Stock) sentAfter(event StockEvent, id ShipmentID, dispatchedOn domain.Date) Stock {
	sent, _ := s.Sent.Get(id)
	sent.Status = sent.Status.After(event)
	if dispatchedOn != "" {
		sent.DispatchedOn = dispatchedOn
	}
	s.Sent = s.Sent.Set(id, sent)
	return s
}

func with[K comparable](set map[K]bool, key K) map[K]bool {
	next := map[K]bool{key: true}
	maps.Copy(next, set)
	return next
}

// take keeps what kits hold. Sealed contents are left out: who cannot open them cannot decide about the kits either.
func (s Stock) take(contents Contents) Stock {
	plain, _ := contents.Open()
	for n, c := range plain {
		s.contents = s.contents.Set(n, c)
	}
	return s
}

// errSealed says that a decision needs to know what kits hold.
var errSealed = errors.New("what the kits hold is sealed: this program runs without the blinding keys")

// contentsOf returns what kits hold, for an event that hands them on.
func (s Stock) contentsOf(kits []KitNumber) (KitContents, error) {
	all := make(KitContents, len(kits))
	for _, n := range kits {
		c, known := s.contents.Get(n)
		if !known {
			return nil, errSealed
		}
		all[n] = c
	}
	return all, nil
}

// held are the kits that are kept for patients, other than one.
func (s Stock) held(except domain.PatientID) (map[KitNumber]bool, error) {
	all := map[KitNumber]bool{}
	for patient, hold := range s.Holds.All() {
		if patient == except {
			continue
		}
		kits, open := hold.Kits.Open()
		if !open {
			return nil, errSealed
		}
		for _, n := range kits {
			all[n] = true
		}
	}
	return all, nil
}

// HeldArms lists the arms of which a kit is held for the patient, in order.
func (s Stock) HeldArms(p domain.PatientID) ([]domain.ArmID, error) {
	hold, found := s.Holds.Get(p)
	if !found {
		return []domain.ArmID{}, nil
	}
	kits, open := hold.Kits.Open()
	if !open {
		return nil, errSealed
	}
	arms := []domain.ArmID{}
	for arm := range kits {
		arms = append(arms, arm)
	}
	slices.Sort(arms)
	return arms, nil
}

// usable lists the kits of every arm that could be given out on the day, in no order. keepDays is how long before its
// expiry a kit is not given out any more; held kits are left out.
func (s Stock) usable(in Supply, on domain.Date, keepDays int, held map[KitNumber]bool) (map[domain.ArmID][]KitNumber, error) {
	all := map[domain.ArmID][]KitNumber{}
	for n, k := range s.Kits.All() {
		if k.Status != KitAvailable || held[n] {
			continue
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, errSealed
		}
		if in.usable(c.Lot) && c.Expiry.DaysSince(on) > keepDays {
			all[c.Arm] = append(all[c.Arm], n)
		}
	}
	return all, nil
}

// usableInOrder lists the kits that could be given out, in the order in which the chooser takes them.
func (s Stock) usableInOrder(in Supply, by chooser, held map[KitNumber]bool) (map[domain.ArmID][]KitNumber, error) {
	all, err := s.usable(in, by.choice.On, by.choice.KeepDays, held)
	for arm, kits := range all {
		all[arm] = by.inOrder(kits, func(n KitNumber) domain.Date {
			c, _ := s.contents.Get(n)
			return c.Expiry
		})
	}
	return all, err
}

// today is the calendar day of a decision. A place's own zone would shift it by hours, which margins are not about.
func today(call domain.Call) domain.Date { return domain.DateOf(call.At.In(time.UTC)) }

func keepDays(in study.Study) int {
	if in.Protocol == nil || in.Protocol.Treatment == nil {
		return 0
	}
	return in.Protocol.Treatment.DoNotDispenseDays
}

// eachOnce refuses kits that are named twice or are not here in one of the statuses (codes kit_not_at_location, kit_named_twice,
// kit_status).
func (s Stock) eachOnce(field, what string, kits []KitNumber, may func(Kit) bool) error {
	seen := map[KitNumber]bool{}
	for _, n := range kits {
		k, here := s.Kits.Get(n)
		switch {
		case !here:
			return refuse.NotFound("kit_not_at_location", "kit %.40s is not here", n).At(field).Do("check number and place")
		case seen[n]:
			return refuse.Malformed("kit_named_twice", "kit %s is named twice", n).At(field).Do("name every kit once")
		case !may(k):
			return refuse.WrongState("kit_status", "kit %s is %s; %s is not possible", n, k.Status, what).At(field).Do("check the kit's status")
		}
		seen[n] = true
	}
	return nil
}
