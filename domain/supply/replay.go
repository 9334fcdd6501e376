package supply

import (
	"errors"
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/chance"
	"casebook/domain/study"
)

// ReplayStock repeats all choices of kits at a location from its recorded seed, and compares them with the recorded events.
// It needs the events of the study's supply too, because they say which lots could be used. The error names the first
// event that differs, by its number in the stock's stream from 0 and by its type, and never an arm. Choices from before the
// location had a seed are taken as they are. ReplayStock fails if a value is sealed.
func ReplayStock(supply []Event, stock []StockEvent) error {
	r := stockReplay{supplies: []Supply{Decider.Initial}}
	for _, e := range supply {
		r.supplies = append(r.supplies, evolve(r.supplies[len(r.supplies)-1], e))
	}
	for i, e := range stock {
		if err := r.check(e); err != nil {
			return fmt.Errorf("event %d, %T: %w", i, e, err)
		}
		r.state = evolveStock(r.state, e)
	}
	return nil
}

// stockReplay is the progress of ReplayStock.
type stockReplay struct {
	state Stock
	// supplies are the states of the study's supply after each number of its events.
	supplies []Supply
}

var (
	errOtherKit    = errors.New("the choice comes out differently")
	errOtherNumber = errors.New("the choices are not numbered one after the other")
	errOtherSeed   = errors.New("the seed does not match its commitment")
	errSeedTwice   = errors.New("the location has a seed already")
	errNoChoice    = errors.New("the event does not say how the kits were chosen")
)

func (r *stockReplay) check(e StockEvent) error {
	switch e := e.(type) {
	case StockSeedRecorded:
		text, open := e.Seed.Open()
		if !open {
			return ErrKeysMissing
		}
		if r.state.seed != nil {
			return errSeedTwice
		}
		if seed, err := chance.Parse(text); err != nil || seed.Commitment() != e.Commitment {
			return errOtherSeed
		}
	case StockHeld:
		if hold, again := r.state.Holds.Get(e.Patient); again && hold.Kits.Equal(e.Kits) {
			return nil
		}
		return r.checkHold(e)
	case KitAllocated:
		return r.checkAllocation(e)
	case ShipmentCreated:
		if e.Resupply {
			return r.checkResupply(e)
		}
	}
	return nil
}

// repeated is a choice that is made again.
type repeated struct {
	choice Choice
	by     chooser
	supply Supply
}

// again returns a choice that was recorded; nil for one from before there was a seed.
func (r *stockReplay) again(choice Choice, recorded bool) (*repeated, error) {
	switch {
	case r.state.seedSealed:
		return nil, ErrKeysMissing
	case r.state.seed == nil && !recorded:
		return nil, nil
	case r.state.seed == nil || !recorded:
		return nil, errNoChoice
	case choice.Number != r.state.choices+1:
		return nil, errOtherNumber
	case choice.Supply < 0 || choice.Supply >= len(r.supplies):
		return nil, errOtherKit
	}
	return &repeated{choice: choice, by: chooser{seed: *r.state.seed, choice: choice}, supply: r.supplies[choice.Supply]}, nil
}

// first returns the kit of an arm or type that the choice takes for a patient, without regard to what is held for that one.
func (r *stockReplay) first(c *repeated, patient domain.PatientID, arm study.Kind, taken ...KitNumber) (KitNumber, error) {
	if c.choice.Method == ByPlace {
		n, _ := r.state.choose(c.supply, c.by, arm, taken...)
		return n, nil
	}
	held, err := r.state.held(patient)
	if err != nil {
		return "", err
	}
	usable, err := r.state.usableInOrder(c.supply, c.by, held)
	if err != nil || len(usable[arm]) == 0 {
		return "", err
	}
	return usable[arm][0], nil
}

func (r *stockReplay) checkHold(e StockHeld) error {
	kits, open := e.Kits.Open()
	if !open {
		return ErrKeysMissing
	}
	choice, recorded := e.Choice.Open()
	c, err := r.again(choice, recorded)
	if err != nil || c == nil {
		return err
	}
	more, _ := e.More.Open() // sealed with the same key as the others
	for arm, n := range kits {
		var taken []KitNumber
		for _, n := range append([]KitNumber{n}, more[arm]...) {
			content, known := r.state.contents.Get(n)
			if !known {
				return ErrKeysMissing
			}
			first, err := r.first(c, e.Patient, content.kind(), taken...)
			if err != nil {
				return err
			}
			if first != n || content.Type == "" && content.Arm != arm {
				return errOtherKit
			}
			taken = append(taken, n)
		}
	}
	return nil
}

func (r *stockReplay) checkAllocation(e KitAllocated) error {
	choice, recorded := e.Choice.Open()
	c, err := r.again(choice, recorded)
	if err != nil || c == nil {
		return err
	}
	content, known := r.state.contents.Get(e.Kit)
	if !known {
		return ErrKeysMissing
	}
	kit, some := r.state.kitOf(e.Patient, c.supply, choice, content.kind())
	if !some {
		if kit, err = r.first(c, e.Patient, content.kind()); err != nil {
			return err
		}
	}
	if kit != e.Kit {
		return errOtherKit
	}
	return nil
}

func (r *stockReplay) checkResupply(e ShipmentCreated) error {
	choice, recorded := e.Choice.Open()
	c, err := r.again(choice, recorded)
	if err != nil || c == nil {
		return err
	}
	usable, err := r.state.shippable(c.supply, choice)
	if err != nil {
		return err
	}
	contents, open := e.Contents.Open()
	if !open {
		return ErrKeysMissing
	}
	sent := map[study.Kind]int{}
	for _, n := range e.Kits {
		sent[contents[n].kind()]++
	}
	for arm, count := range sent {
		of := c.by.inOrder(usable[arm], r.state.expiryOf)
		if count > len(of) || slices.ContainsFunc(of[:count], func(n KitNumber) bool { return !slices.Contains(e.Kits, n) }) {
			return errOtherKit
		}
	}
	return nil
}
