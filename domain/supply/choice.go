package supply

import (
	"cmp"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/chance"
)

// Choice says from what kits were chosen, so that the choice can be repeated (see ReplayStock). Of the kits of an arm that
// could be given out, those that expire first are equal for the rules, and chance decides among them: a rule that took,
// say, the lowest number would let blinded people split the kits of a site into arms by the order in which they are used.
type Choice struct {
	// Number is the running number of the choice at the location, from 1.
	Number int `json:"number"`
	// On is the day, and KeepDays how long before its expiry a kit was not given out any more.
	On       domain.Date `json:"on"`
	KeepDays int         `json:"keepDays"`
	// Supply counts the events of the study's supply that were known: they say which lots could be used.
	Supply int `json:"supply"`
	// Country is that of the site that a resupply goes to: labels and do-not-ship days depend on it. Earlier resupplies name none, and
	// there were neither.
	Country string `json:"country,omitempty"`
	// Method says how chance decided.
	Method ChoiceMethod `json:"method,omitempty"`
}

// ChoiceMethod is how chance decides among equal kits. Without a name, it puts all of them in a random order, and takes the first
// ones: so resupplies are chosen, and so earlier programs chose everything.
type ChoiceMethod string

// ByPlace draws one number below their count, and takes the kit at this place, in the order of lots and kit numbers.
const ByPlace ChoiceMethod = "place"

// chooser makes one choice among the kits of a location.
type chooser struct {
	seed   chance.Seed
	choice Choice
}

// choosing returns the chooser of the location's next choice. At a location that has no seed yet, the seed that came with
// the command is recorded first; so locations with a past before there were seeds get theirs when they need it.
func (s Stock) choosing(at OfStock, newSeed string, f Facts, call domain.Call) (chooser, []StockEvent, error) {
	c := chooser{choice: Choice{Number: s.choices + 1, On: today(call), KeepDays: keepDays(f.Study), Supply: f.Supply.Events}}
	switch {
	case s.seed != nil:
		c.seed = *s.seed
		return c, nil, nil
	case s.seedSealed:
		return c, nil, ErrKeysMissing
	}
	seed, err := chance.Parse(newSeed)
	if err != nil {
		return c, nil, err
	}
	c.seed = seed
	return c, []StockEvent{StockSeedRecorded{OfStock: at, Commitment: seed.Commitment(), Seed: blind.Of(seed.String())}}, nil
}

// inOrder puts kits in the order in which they are to be used: the earliest expiry first (first expired, first out), and
// in random order those that expire on the same day.
func (c chooser) inOrder(kits []KitNumber, expiry func(KitNumber) domain.Date) []KitNumber {
	type place struct {
		kit    KitNumber
		expiry domain.Date
		chance uint64
	}
	places := make([]place, len(kits))
	for i, n := range kits {
		places[i] = place{n, expiry(n), c.seed.Number("kit/"+string(n), c.choice.Number)}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.expiry, b.expiry), cmp.Compare(a.chance, b.chance), cmp.Compare(a.kit, b.kit))
	})
	ordered := make([]KitNumber, len(kits))
	for i, p := range places {
		ordered[i] = p.kit
	}
	return ordered
}

// chosen returns the stock after a recorded choice.
func (s Stock) chosen(choice blind.Value[Choice]) Stock {
	// A hold that is answered again is recorded again, with the number of its first time.
	if c, open := choice.Open(); open {
		s.choices = max(s.choices, c.Number)
	}
	return s
}

// seeded returns the stock after its seed was recorded.
func (s Stock) seeded(e StockSeedRecorded) Stock {
	text, open := e.Seed.Open()
	if seed, err := chance.Parse(text); open && err == nil {
		s.seed = &seed
		return s
	}
	s.seedSealed = true
	return s
}
