package supply

import (
	"fmt"

	"casebook/domain"
)

// CompareShelves compares what the shelves of a stock say with what a look at every kit says, and returns the difference.
func CompareShelves(s Stock, in Supply, on domain.Date, keepDays int) error {
	usable, err := s.usable(in, on, keepDays, nil)
	if err != nil {
		return err
	}
	counts, err := s.countUsable(in, on, keepDays)
	if err != nil {
		return err
	}
	held, err := s.held("")
	if err != nil {
		return err
	}
	for arm, kits := range usable {
		if counts[arm] != len(kits) {
			return fmt.Errorf("%d kits of %s are usable, and the shelves say %d", len(kits), arm, counts[arm])
		}
	}
	onShelves := 0
	for key, of := range s.shelves.byKey.All() {
		for n := range of.free.All() {
			if k, _ := s.Kits.Get(n); k.Status != KitAvailable || held[n] {
				return fmt.Errorf("kit %s is not free, and lies on the shelf %v", n, key)
			}
		}
		for n := range of.held.All() {
			if k, _ := s.Kits.Get(n); k.Status != KitAvailable || !held[n] {
				return fmt.Errorf("kit %s is not held, and lies on the shelf %v", n, key)
			}
		}
		onShelves += of.free.Len() + of.held.Len()
	}
	available := 0
	for _, k := range s.Kits.All() {
		if k.Status == KitAvailable {
			available++
		}
	}
	if available != onShelves {
		return fmt.Errorf("%d kits are available, and %d lie on shelves", available, onShelves)
	}
	return nil
}
