package supply

import (
	"cmp"
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/persistent"
	"casebook/domain/study"
)

// shelfKey names a shelf: the kits of one arm or type, of one lot, that expire on the same day.
type shelfKey struct {
	kind   study.Kind
	expiry domain.Date
	lot    string
}

// Compare puts the shelves of an arm or type in the order in which their kits are to be used.
func (k shelfKey) Compare(other shelfKey) int {
	return cmp.Or(cmp.Compare(k.kind, other.kind), cmp.Compare(k.expiry, other.expiry), cmp.Compare(k.lot, other.lot))
}

// Compare puts kits in the order of their numbers.
func (n KitNumber) Compare(other KitNumber) int { return cmp.Compare(n, other) }

// kitSet is a set of kits in the order of their numbers.
type kitSet = persistent.Sorted[KitNumber, struct{}]

// shelf holds the available kits of a kind: those that are held for patients, and the free ones.
type shelf struct{ free, held kitSet }

// shelves are the available kits of a location, in order. They follow from the kits, their contents and the holds. With them a kit
// is found without a look at all the others.
type shelves struct {
	byKey persistent.Sorted[shelfKey, shelf]
	// holders is for how many patients each kit is held.
	holders persistent.Map[KitNumber, int]
	// sealed says that this program cannot open the contents of a kit, or a hold.
	sealed bool
}

// onShelf says on which shelf a kit lies, and whether it is held; false if the kit lies on none.
func (s Stock) onShelf(n KitNumber) (key shelfKey, held, lies bool) {
	k, _ := s.Kits.Get(n)
	c, known := s.contents.Get(n)
	if k.Status != KitAvailable || !known {
		return shelfKey{}, false, false
	}
	holders, _ := s.shelves.holders.Get(n)
	return shelfKey{c.kind(), c.Expiry, c.Lot}, holders > 0, true
}

// changed returns the kits that an event names, or those of the shipment that it names.
func (s Stock) changed(event StockEvent) (kits []KitNumber) {
	if e, names := event.(OfKits); names {
		_, kits = e.OfKits()
	} else if e, is := event.(OfShipment); is {
		_, id := e.OfShipment()
		sent, _ := s.Sent.Get(id)
		kits = sent.Kits
	}
	return kits
}

// arranged returns the stock with kits where they belong after a change; was is the stock before it.
func (s Stock) arranged(was Stock, kits []KitNumber) Stock {
	for _, n := range kits {
		before, heldBefore, lay := was.onShelf(n)
		after, held, lies := s.onShelf(n)
		if lay == lies && before == after && heldBefore == held {
			continue
		}
		if lay {
			of, _ := s.shelves.byKey.Get(before)
			of.free, of.held = of.free.Delete(n), of.held.Delete(n)
			s.shelves.byKey = s.shelves.byKey.Set(before, of)
			if of.free.Len()+of.held.Len() == 0 {
				s.shelves.byKey = s.shelves.byKey.Delete(before)
			}
		}
		if lies {
			of, _ := s.shelves.byKey.Get(after)
			if held {
				of.held = of.held.Set(n, struct{}{})
			} else {
				of.free = of.free.Set(n, struct{}{})
			}
			s.shelves.byKey = s.shelves.byKey.Set(after, of)
		}
	}
	return s
}

// withHold returns the stock with one more or one less holder of the kits of a hold, and these kits.
func (s Stock) withHold(hold StockHeld, by int) (Stock, []KitNumber) {
	kits, open := hold.kits()
	s.shelves.sealed = s.shelves.sealed || !open
	for _, n := range kits {
		holders, _ := s.shelves.holders.Get(n)
		if holders += by; holders > 0 {
			s.shelves.holders = s.shelves.holders.Set(n, holders)
		} else {
			s.shelves.holders = s.shelves.holders.Delete(n)
		}
	}
	return s, kits
}

// holding returns the stock with the hold of a patient, nil for none, in place of the one before, and the kits of both.
func (s Stock) holding(p domain.PatientID, hold *StockHeld) (Stock, []KitNumber) {
	var before, after []KitNumber
	if former, held := s.Holds.Get(p); held {
		s, before = s.withHold(former, -1)
		s.Holds = s.Holds.Delete(p)
	}
	if hold != nil {
		s, after = s.withHold(*hold, 1)
		s.Holds = s.Holds.Set(p, *hold)
	}
	return s, append(before, after...)
}

// usability says whether the kits of a lot may be shipped and given out: all of them, none, or those of some deliveries.
type usability int

const (
	allUsable usability = iota
	noneUsable
	someUsable
)

// usabilityOf looks at the deliveries that the lot came in.
func (s Supply) usabilityOf(lot string) usability {
	of := s.Lots[lot]
	if !of.Released || of.Recalled {
		return noneUsable
	}
	usable, deliveries := 0, 0
	for _, in := range s.within {
		if !slices.Contains(in.lots, lot) {
			continue
		}
		deliveries++
		if of.Alone && !in.together || s.decidedLots(in) {
			usable++
		}
	}
	switch usable {
	case deliveries:
		return allUsable
	case 0:
		return noneUsable
	}
	return someUsable
}

// usableOf returns those of some kits that may be given out.
func (s Supply) usableOf(kits kitSet, lot string) kitSet {
	switch s.usabilityOf(lot) {
	case allUsable:
		return kits
	case someUsable:
		var some kitSet
		for n := range kits.All() {
			if s.usable(n, lot) {
				some = some.Set(n, struct{}{})
			}
		}
		return some
	case noneUsable:
	}
	return kitSet{}
}

// choose returns the kit of an arm or type that the chooser takes from the free ones that could be given out, and false if there is
// none: of those that expire first, each is equally likely. It leaves out kits that were taken in the same choice.
func (s Stock) choose(in Supply, by chooser, kind study.Kind, taken ...KitNumber) (KitNumber, bool) {
	var equal []kitSet
	var expiry domain.Date
	count := 0
	for key, of := range s.shelves.byKey.From(shelfKey{kind: kind}) {
		if key.kind != kind || count > 0 && key.expiry != expiry {
			break
		}
		if key.expiry.DaysSince(by.choice.On) <= by.choice.KeepDays {
			continue
		}
		usable := in.usableOf(of.free, key.lot)
		for _, n := range taken {
			usable = usable.Delete(n)
		}
		equal, expiry, count = append(equal, usable), key.expiry, count+usable.Len()
	}
	if count == 0 {
		return "", false
	}
	name := fmt.Sprintf("kit of %s/%d", kind, by.choice.Number)
	if len(taken) > 0 {
		name += fmt.Sprintf("/%d", len(taken))
	}
	i := by.seed.Numbers(name).Below(count)
	for _, usable := range equal {
		if n, _, found := usable.At(i); found {
			return n, true
		}
		i -= usable.Len()
	}
	return "", false
}

// chooseSet chooses kits of several kinds, and false if there are not enough.
func (s Stock) chooseSet(in Supply, by chooser, set []study.Kind) (kits []KitNumber, all bool) {
	for _, kind := range set {
		n, some := s.choose(in, by, kind, kits...)
		if !some {
			return nil, false
		}
		kits = append(kits, n)
	}
	return kits, len(kits) > 0
}

// heldFor returns a kit of an arm or type that is held for a patient alone, if it could be given out.
func (s Stock) heldFor(p domain.PatientID, in Supply, choice Choice, kind study.Kind) (KitNumber, bool) {
	hold, _ := s.Holds.Get(p)
	kits, _ := hold.kits()
	for _, n := range kits {
		key, _, lies := s.onShelf(n)
		holders, _ := s.shelves.holders.Get(n)
		if lies && holders == 1 && key.kind == kind && in.usable(n, key.lot) && key.expiry.DaysSince(choice.On) > choice.KeepDays {
			return n, true
		}
	}
	return "", false
}

// countUsable counts, for every arm or type, the kits that could be given out on the day, held ones included.
func (s Stock) countUsable(in Supply, on domain.Date, keepDays int) (map[study.Kind]int, error) {
	if s.shelves.sealed {
		return nil, ErrKeysMissing
	}
	counts := map[study.Kind]int{}
	for key, of := range s.shelves.byKey.All() {
		if key.expiry.DaysSince(on) > keepDays {
			counts[key.kind] += in.usableOf(of.free, key.lot).Len() + in.usableOf(of.held, key.lot).Len()
		}
	}
	return counts, nil
}
