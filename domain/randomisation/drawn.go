package randomisation

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Correct records the true levels of a patient who was drawn with wrong ones. The assignment does not change, and the
// draw keeps its own levels in the record. Later draws by minimisation and the caps of levels count the patient under
// the true levels. Correct refuses reason_required, value_too_long, patient_not_randomised, invalid_factors and
// stratum_unchanged.
func Correct(r Randomisation, cmd CorrectStratum, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	d, err := r.mustBeDrawn(cmd.Study, cmd.Patient)
	if err != nil {
		return nil, err
	}
	s := r.schemes[r.Active(d.event.Stage)] // which may have superseded the scheme of the draw
	if s == nil {
		s = r.schemes[d.event.Scheme]
	}
	if s != nil {
		if _, wrong := s.stratum(cmd.Factors); wrong != "" {
			return nil, refuse.Because("invalid_factors", "%s", wrong).At("factors").
				Do("give the true level of every factor, as the scheme has them")
		}
	}
	if maps.Equal(d.factors, cmd.Factors) {
		return nil, refuse.WrongState("stratum_unchanged", "patient %s counts under these levels already", cmd.Patient).At("factors").
			Do("there is nothing to correct")
	}
	return []Event{StratumCorrected{Study: cmd.Study, Patient: cmd.Patient, Was: maps.Clone(d.factors), Factors: maps.Clone(cmd.Factors),
		Reason: cmd.Reason}}, nil
}

// mustBeDrawn returns the drawn patient, or refuses patient_not_randomised.
func (r Randomisation) mustBeDrawn(study domain.StudyID, p domain.PatientID) (*drawn, error) {
	d, ok := r.drawn.Get(p)
	if !ok {
		return nil, refuse.WrongState("patient_not_randomised", "patient %s has not been randomised in study %s", p, study).At("patient").
			Do("check the id: the patient has no arm")
	}
	return d, nil
}

// Changed implements domain.Changing.
func (e StratumCorrected) Changed() (all []domain.ChangedValue) {
	for _, factor := range slices.Sorted(maps.Keys(e.Factors)) {
		all = append(all, domain.ChangedText("factors."+factor, e.Was[factor], e.Factors[factor])...)
	}
	return all
}
