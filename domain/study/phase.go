package study

import "casebook/domain"

// Phase is a part of the study to which the protocol assigns instruments. Its values are those of patient.Phase with the same names,
// which package domain/patient derives from a patient's participation and treatment.
type Phase string

// The phases to which instruments can be assigned: diaries begin with the enrolment.
const (
	PhaseRunIn         Phase = "run_in"
	PhaseTreatment     Phase = "treatment"
	PhaseOpenExtension Phase = "open_extension"
	PhaseFollowUp      Phase = "follow_up"
)

// Schema implements domain.HasSchema.
func (Phase) Schema() domain.Schema { return domain.OneOf(assignable...) }

var assignable = []Phase{PhaseRunIn, PhaseTreatment, PhaseOpenExtension, PhaseFollowUp}
