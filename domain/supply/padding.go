package supply

import "casebook/domain"

// The sizes to which blinded contents are filled up before they are sealed. They hold the longest ASCII names, so that the
// size of a value tells how many kits or arms it is about, which is public, and nothing else.
const (
	// sealedKit is the JSON of a kit with a number of 32, an arm of 50 and a lot of 50 characters.
	sealedKit = 208
	// sealedTypedKit is sealedKit with a type of 50 characters.
	sealedTypedKit = 272
	// sealedArms is that of a number for each of the 20 arms that a protocol may have.
	sealedArms   = 2048
	sealedChoice = 128
	// sealedTypes is that of as many ids of types as one command may name.
	sealedTypes   = 5376
	maxEndedTypes = 100
)

// KitContents are the contents of kits by their numbers.
type KitContents map[KitNumber]Content

// PaddedTo implements blind.Padded. How many kits an event is about is public, and so is whether the protocol has types of kits.
func (c KitContents) PaddedTo() int {
	for _, one := range c {
		if one.Type != "" {
			return sealedTypedKit * len(c)
		}
	}
	return sealedKit * max(1, len(c))
}

// HeldKits are the kits that are held for a patient, by arm.
type HeldKits map[domain.ArmID]KitNumber

// PaddedTo implements blind.Padded.
func (HeldKits) PaddedTo() int { return sealedArms }

// MoreKits are the further kits that are held for a patient, by arm.
type MoreKits map[domain.ArmID][]KitNumber

// PaddedTo implements blind.Padded. How many kits a patient gets is public.
func (m MoreKits) PaddedTo() int {
	most := 1
	for _, kits := range m {
		most = max(most, len(kits))
	}
	return sealedArms * most
}

// MissingKits counts kits that a depot does not have, by arm.
type MissingKits map[domain.ArmID]int

// PaddedTo implements blind.Padded.
func (MissingKits) PaddedTo() int { return sealedArms }

// PaddedTo implements blind.Padded.
func (Choice) PaddedTo() int { return sealedChoice }
