package study

import "casebook/domain"

// Phase is the part of the study that a patient is in; "" before the screening and after the participation. Package
// domain/patient says in which phase a patient is.
type Phase string

// The phases.
const (
	PhaseScreening Phase = "screening"
	PhaseRunIn     Phase = "run_in"
	PhaseTreatment Phase = "treatment"
	PhaseFollowUp  Phase = "follow_up"
)

// Phases are all phases.
var Phases = []Phase{PhaseScreening, PhaseRunIn, PhaseTreatment, PhaseFollowUp}

// Schema implements domain.HasSchema.
func (Phase) Schema() domain.Schema { return domain.OneOf(Phases...) }
