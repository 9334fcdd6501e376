package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// MaxSpoilt is how many kits of a site, since kits have arrived from a depot, can be replaced at once that were allocated and then lost,
// broken or quarantined before they were given out. The patient of the next one waits until supply allows it. Whoever could have own
// patients' kits replaced until the site has none of an arm would see who else gets one, and so who is of the same arm; a shipment fills
// the shelves up again. Three are more than a site spoils by mistake, and few for that: rules keep more kits of each arm. It depends on
// what people report alone, and neither on arms nor on stock.
const MaxSpoilt = 3

// ReplacementNotAllowed is the code of an allocation that waits for AllowReplacements.
const ReplacementNotAllowed = "replacement_not_allowed"

// AllowReplacements lets kits be replaced again that a site has lost before they were given out.
type AllowReplacements struct {
	AtLocation      `doc:"The site"`
	domain.Reasoned `doc:"What was found out about the kits"`
}

// ReplacementsAllowed says that a person of supply has looked at the kits that a site had lost before they were given out. Patients who
// waited for others get them.
type ReplacementsAllowed struct {
	OfStock
	Kits   []KitNumber   `json:"kits"`
	Reason personal.Text `json:"reason"`
}

func (ReplacementsAllowed) stockEvent() {}

// Allow decides about AllowReplacements. It refuses reason_required, value_too_long and no_replacement_waits.
func Allow(s Stock, cmd AllowReplacements, _ domain.Call) ([]StockEvent, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	spoilt := s.spoiltSince(func(LocationID) bool { return false })
	if len(spoilt) == 0 {
		return nil, refuse.WrongState("no_replacement_waits", "no kit of site %s was lost before it was given out", cmd.Location).At("location").
			Do("nothing is left to do")
	}
	return []StockEvent{ReplacementsAllowed{OfStock: cmd.stock(), Kits: kitsOf(spoilt), Reason: cmd.Reason}}, nil
}

// spoilt is a kit that its patient was never given, and cannot be given any more; or one from the shelf of a site with patients, of whom
// those who get the rest would show what the arms are.
type spoilt struct {
	kit     KitNumber
	patient domain.PatientID
}

func kitsOf(all []spoilt) (kits []KitNumber) {
	for _, one := range all {
		kits = append(kits, one.kit)
	}
	return kits
}

// spoiling returns the stock after an event that may have taken kits from patients before they were given out, or brought some. before is
// the stock before it.
func (s Stock) spoiling(before Stock, event StockEvent) Stock {
	var kits []KitNumber
	switch e := event.(type) {
	case KitLost:
		kits = []KitNumber{e.Kit}
	case KitReplacementAsked:
		kits = []KitNumber{e.Kit}
	case KitsQuarantined:
		if e.Cause != CauseRecall {
			kits = e.Kits
		}
	case ShipmentReceived:
		s.arrivals = with(s.arrivals, e.From, len(s.spoilt))
	case ReplacementsAllowed:
		for _, n := range e.Kits {
			s.allowed = with(s.allowed, n, true)
		}
	}
	for _, n := range kits {
		k, _ := before.Kits.Get(n)
		allocated := k.Patient != "" && !k.Dispensed && (k.Status == KitIsAllocated || k.Status == KitUnavailable)
		if allocated || k.Status == KitAvailable && before.Newest.Len() > 0 {
			s.spoilt = append(slices.Clip(s.spoilt), spoilt{n, k.Patient})
			if s.allowed[n] { // it was found meanwhile
				s.allowed = with(s.allowed, n, false)
			}
		}
	}
	return s
}

// spoiltSince lists the kits that were spoilt since a shipment has arrived from one of these places, or supply has looked at them. One that
// was released does not count.
func (s Stock) spoiltSince(from func(LocationID) bool) (all []spoilt) {
	since := 0
	for at, n := range s.arrivals {
		if from(at) {
			since = max(since, n)
		}
	}
	for i, one := range s.spoilt[since:] {
		if slices.ContainsFunc(s.spoilt[since+i+1:], func(later spoilt) bool { return later.kit == one.kit }) {
			continue // a kit that was found, and is gone again, counts once
		}
		k, _ := s.Kits.Get(one.kit)
		again := k.Dispensed || k.Status == KitAvailable || k.Status == KitIsAllocated || k.Status == KitUnavailable
		if !again && !s.allowed[one.kit] {
			all = append(all, one)
		}
	}
	return all
}

// mayReplace says whether a patient gets another kit without a decision of supply. Sites that send each other kits fill nothing up.
func (s Stock) mayReplace(f Facts, p domain.PatientID) bool {
	if !f.Study.Treatment().Randomised {
		return true // there is no arm to find out
	}
	for i, one := range s.spoiltSince(func(at LocationID) bool { _, depot := f.Supply.Depots[at]; return depot }) {
		if i >= MaxSpoilt && one.patient == p {
			return false
		}
	}
	return true
}

// again lists the kits that were spoilt, with those of the event, if it is one more and not the first.
func (s Stock) again(event StockEvent) []KitNumber {
	after := evolveStock(s, event)
	if all := after.spoiltSince(func(LocationID) bool { return true }); len(after.spoilt) > len(s.spoilt) && len(all) > 1 {
		return kitsOf(all)
	}
	return nil
}
