package supply

import "casebook/domain"

// The sizes to which blinded contents are filled up before they are sealed. They hold the longest ASCII names, so that the
// size of a value tells how many kits or arms it is about, which is public, and nothing else.
const (
	// sealedKit is the JSON of a kit with a number of 32, an arm of 50 and a lot of 50 characters.
	sealedKit = 208
	// sealedArms is that of a number for each of the 20 arms that a protocol may have.
	sealedArms   = 2048
	sealedChoice = 128
)

// KitContents are the contents of kits by their numbers.
type KitContents map[KitNumber]Content

// PaddedTo implements blind.Padded. How many kits an event is about is public.
func (c KitContents) PaddedTo() int { return sealedKit * max(1, len(c)) }

// HeldKits are the kits that are held for a patient, by arm.
type HeldKits map[domain.ArmID]KitNumber

// PaddedTo implements blind.Padded.
func (HeldKits) PaddedTo() int { return sealedArms }

// MissingKits counts kits that a depot does not have, by arm.
type MissingKits map[domain.ArmID]int

// PaddedTo implements blind.Padded.
func (MissingKits) PaddedTo() int { return sealedArms }

// PaddedTo implements blind.Padded.
func (Choice) PaddedTo() int { return sealedChoice }
