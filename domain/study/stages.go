package study

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Stage is a later draw of the protocol, such as a second randomisation or an open extension. Patients who are treated are
// drawn again, into one of its arms.
type Stage struct {
	ID    string `json:"id" minLength:"1"`
	Title string `json:"title"`
	// Arms are the arms of the stage. Patients are assigned to a single arm without a scheme.
	Arms []string `json:"arms" minItems:"1" doc:"The arms that patients are drawn into; everybody gets the only one"`
	// OpenExtension says that the patients of the stage are in a phase of their own, until their treatment ends.
	OpenExtension bool `json:"openExtension,omitempty" doc:"Whether the stage is an open extension: its patients are in the phase open_extension instead of treatment"`
}

// ArmsOf returns the arms of a draw in the protocol's order; "" is the first draw. It returns false if the protocol in force
// does not have the stage.
func (s Study) ArmsOf(stage string) ([]domain.ArmID, bool) {
	if s.Protocol == nil {
		return nil, false
	}
	t := s.Treatment()
	in := t.FirstArms
	if stage != "" {
		i := slices.IndexFunc(t.Stages, func(one Stage) bool { return one.ID == stage })
		if i < 0 {
			return nil, false
		}
		in = t.Stages[i].Arms
	}
	var arms []domain.ArmID
	for _, a := range s.Protocol.Arms {
		if len(in) == 0 || slices.Contains(in, a.ID) {
			arms = append(arms, domain.ArmID(a.ID))
		}
	}
	return arms, true
}

// IsOpenExtension says whether a stage of the protocol in force is an open extension.
func (s Study) IsOpenExtension(stage string) bool {
	return slices.ContainsFunc(s.Treatment().Stages, func(one Stage) bool { return one.ID == stage && one.OpenExtension })
}

// MustHaveStage returns the arms of a draw, and refuses a stage that the protocol in force does not have (code stage_not_found).
func (s Study) MustHaveStage(id domain.StudyID, stage string) ([]domain.ArmID, error) {
	arms, known := s.ArmsOf(stage)
	if !known {
		return nil, refuse.NotFound("stage_not_found", "the protocol of study %s has no stage %.80q", id, stage).At("stage").
			Do(s.stagesInWords())
	}
	return arms, nil
}

// stagesInWords says which draws can be named.
func (s Study) stagesInWords() string {
	var ids []string
	for _, one := range s.Treatment().Stages {
		ids = append(ids, one.ID)
	}
	if len(ids) == 0 {
		return "leave it out: there is only the first draw"
	}
	return "use " + domain.Either(ids...) + "; leave it out for the first draw"
}

// maxStages bounds the later draws of a protocol.
const maxStages = 10

func (p Protocol) validateStages() error {
	t := p.Treatment
	if !t.Randomised && (t.DrawnLater || len(t.FirstArms) > 0 || len(t.Stages) > 0) {
		return invalidProtocol("treatment", "there are draws, and patients are not randomised").
			Do("set randomised, or leave drawnLater, firstArms and stages out")
	}
	if err := domain.First(atMost("treatment.stages", len(t.Stages), maxStages),
		uniqueIDs("treatment.stages", t.Stages, func(s Stage) (string, string) { return s.ID, s.Title }),
		p.haveArms("treatment.firstArms", t.FirstArms)); err != nil {
		return err
	}
	if len(t.FirstArms) == 1 {
		return invalidProtocol("treatment.firstArms", "patients are first drawn among a single arm").Do("name two arms or more, or none for all")
	}
	for _, s := range t.Stages {
		if len(s.Arms) == 0 {
			return invalidProtocol("treatment.stages", "stage %s has no arm", s.ID).Do("name the arms of the stage")
		}
		if err := p.haveArms("treatment.stages.arms", s.Arms); err != nil {
			return err
		}
	}
	return nil
}

// haveArms refuses arms that the protocol does not have, or that are named twice.
func (p Protocol) haveArms(list string, arms []string) error {
	for i, id := range arms {
		if slices.Contains(arms[:i], id) || !p.HasArm(id) {
			return invalidProtocol(list, "%.80q is no arm of the protocol, or is named twice", id).Do("name each arm once")
		}
	}
	return nil
}
