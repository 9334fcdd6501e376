package randomisation

// The sizes to which blinded contents are filled up before they are sealed. They hold the longest ASCII names of the most
// arms and factors that a protocol may have, so that all values of a field have one size, whatever the arm.
const (
	sealedDraw    = 8192
	sealedSkipped = 768
	sealedPlan    = 4096
	// A row of a list is at most as long as [9999,19] with a comma.
	sealedRow      = 10
	sealedListHead = 2048
)

// PaddedTo implements blind.Padded.
func (Draw) PaddedTo() int { return sealedDraw }

// PaddedTo implements blind.Padded.
func (Skipped) PaddedTo() int { return sealedSkipped }

// PaddedTo implements blind.Padded.
func (Plan) PaddedTo() int { return sealedPlan }

// PaddedTo implements blind.Padded.
func (Minimisation) PaddedTo() int { return sealedPlan }

// PaddedTo implements blind.Padded. How many rows a part has is public.
func (p ListPart) PaddedTo() int { return sealedListHead + sealedRow*len(p.Rows) }

// ArmCaps are the caps of arms.
type ArmCaps []CohortCap

// PaddedTo implements blind.Padded.
func (ArmCaps) PaddedTo() int { return sealedPlan }
