package supply

import (
	"errors"
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/chance"
)

// ReplayStock repeats all choices of kits at a location from its recorded seed, and compares them with the recorded events.
// It needs the events of the study's supply too, because they say which lots could be used. The error names the first
// event that differs, by its number in the stock's stream from 0 and by its type, and never an arm. Choices from before the
// location had a seed are taken as they are. The error is ErrKeysMissing if a value is sealed.
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

// again returns what could have been chosen from, in the order of the choice; nothing for a choice from before there was
// a seed.
func (r *stockReplay) again(choice Choice, recorded bool, patient domain.PatientID) (map[domain.ArmID][]KitNumber, error) {
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
	held, err := r.state.held(patient)
	if err != nil {
		return nil, err
	}
	return r.state.usableInOrder(r.supplies[choice.Supply], chooser{seed: *r.state.seed, choice: choice}, held)
}

func (r *stockReplay) checkHold(e StockHeld) error {
	kits, open := e.Kits.Open()
	if !open {
		return ErrKeysMissing
	}
	choice, recorded := e.Choice.Open()
	usable, err := r.again(choice, recorded, e.Patient)
	if err != nil || usable == nil {
		return err
	}
	for arm, n := range kits {
		if of := usable[arm]; len(of) == 0 || of[0] != n {
			return errOtherKit
		}
	}
	return nil
}

func (r *stockReplay) checkAllocation(e KitAllocated) error {
	choice, recorded := e.Choice.Open()
	usable, err := r.again(choice, recorded, e.Patient)
	if err != nil || usable == nil {
		return err
	}
	content, known := r.state.contents.Get(e.Kit)
	if !known {
		return ErrKeysMissing
	}
	of := r.state.firstHeld(e.Patient, content.Arm, usable[content.Arm])
	if len(of) == 0 || of[0] != e.Kit {
		return errOtherKit
	}
	return nil
}

func (r *stockReplay) checkResupply(e ShipmentCreated) error {
	choice, recorded := e.Choice.Open()
	usable, err := r.again(choice, recorded, "")
	if err != nil || usable == nil {
		return err
	}
	contents, open := e.Contents.Open()
	if !open {
		return ErrKeysMissing
	}
	sent := map[domain.ArmID]int{}
	for _, n := range e.Kits {
		sent[contents[n].Arm]++
	}
	for arm, count := range sent {
		of := usable[arm]
		if count > len(of) || slices.ContainsFunc(of[:count], func(n KitNumber) bool { return !slices.Contains(e.Kits, n) }) {
			return errOtherKit
		}
	}
	return nil
}
