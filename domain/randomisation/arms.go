package randomisation

import (
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// CloseArm closes an arm: nobody is drawn into it any more.
type CloseArm struct {
	domain.InStudy
	Arm             domain.ArmID `json:"arm" minLength:"1" maxLength:"50" doc:"The arm"`
	domain.Reasoned `doc:"Why the arm is closed; do not name the arm or a result"`
}

// ArmClosed closes an arm. Its patients stay in it, and stay supplied. The arm is blinded, because the decision may come from
// an interim analysis that only the unblinded statistician knows.
type ArmClosed struct {
	Study  domain.StudyID            `json:"study"`
	Arm    blind.Value[domain.ArmID] `json:"arm"`
	Reason personal.Text             `json:"reason"`
}

// closedArms are the arms that nobody is drawn into any more. sealed says that this program cannot read one of them.
type closedArms struct {
	arms   *[]domain.ArmID
	sealed bool
}

func (c *closedArms) with(arm domain.ArmID, open bool) *closedArms {
	next := closedArms{arms: new([]domain.ArmID), sealed: !open}
	if c != nil {
		*next.arms, next.sealed = slices.Clone(*c.arms), c.sealed || !open
	}
	*next.arms = append(*next.arms, arm)
	return &next
}

func (c *closedArms) has(arm domain.ArmID) bool { return c != nil && slices.Contains(*c.arms, arm) }

func (c *closedArms) sealedFor() bool { return c != nil && c.sealed }

// Closed returns the arms that are closed. It fails with ErrKeysMissing.
func (r Randomisation) Closed() ([]domain.ArmID, error) {
	switch {
	case r.closed == nil:
		return nil, nil
	case r.closed.sealed:
		return nil, ErrKeysMissing
	}
	return slices.Clone(*r.closed.arms), nil
}

// DropArm decides about CloseArm. Nobody is drawn into the arm any more, by any scheme; its patients stay in it, and get
// kits. The last open arm of a draw, or of a later stage that draws, cannot be closed: the enrolment is closed instead, or the stage
// left out of the protocol. The only arm of a stage may be closed. DropArm refuses reason_required,
// value_too_long, study_not_found, no_protocol, study_not_randomised, arm_not_found, arm_closed and last_arm. It fails with
// ErrKeysMissing.
func DropArm(r Randomisation, s study.Study, cmd CloseArm, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if _, _, err := factorsAndArms(s, cmd.Study, ""); err != nil {
		return nil, err
	}
	if r.closed.sealedFor() {
		return nil, ErrKeysMissing
	}
	if !s.Protocol.HasArm(string(cmd.Arm)) && !r.drawnInto(cmd.Arm) {
		return nil, refuse.NotFound("arm_not_found", "neither the protocol nor a scheme has the arm").At("arm").Do("use the id of an arm")
	}
	if r.closed.has(cmd.Arm) {
		return nil, refuse.WrongState("arm_closed", "the arm is closed already").At("arm").Do("there is nothing to do")
	}
	if r.isLast(s, "", cmd.Arm) {
		return nil, refuse.WrongState("last_arm", "it is the last open arm").At("arm").Do("close the enrolment instead")
	}
	for _, stage := range s.Protocol.Treatment.Stages {
		if len(stage.Arms) > 1 && r.isLast(s, stage.ID, cmd.Arm) {
			return nil, refuse.WrongState("last_arm", "it is the last open arm of the stage %s", stage.ID).At("arm").
				Do("publish a version of the protocol without the stage instead")
		}
	}
	return []Event{ArmClosed{Study: cmd.Study, Arm: blind.Of(cmd.Arm), Reason: cmd.Reason}}, nil
}

// isLast says whether the arm is the only one of a draw that is still open.
func (r Randomisation) isLast(s study.Study, stage string, arm domain.ArmID) bool {
	arms, _ := s.ArmsOf(stage)
	return slices.Contains(arms, arm) && !slices.ContainsFunc(arms, func(a domain.ArmID) bool { return a != arm && !r.closed.has(a) })
}

// drawnInto says whether a scheme has the arm.
func (r Randomisation) drawnInto(arm domain.ArmID) bool {
	for _, s := range r.schemes {
		if slices.Contains(s.arms, arm) {
			return true
		}
	}
	return false
}
