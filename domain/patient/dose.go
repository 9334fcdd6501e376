package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// DoseDirection says how a dose is changed.
type DoseDirection string

// The directions of a dose change.
const (
	DoseUp     DoseDirection = "up"
	DoseDown   DoseDirection = "down"
	DoseRescue DoseDirection = "rescue" // the patient gets rescue medication besides
)

// DoseDirections are all directions of a dose change.
var DoseDirections = []DoseDirection{DoseUp, DoseDown, DoseRescue}

// Schema implements domain.HasSchema.
func (DoseDirection) Schema() domain.Schema { return domain.OneOf(DoseDirections...) }

// RecordDoseChange changes what the patient gets at the next dispensing, within the steps of the protocol.
type RecordDoseChange struct {
	domain.OfPatient
	Direction       DoseDirection `json:"direction" doc:"One step up or down, or rescue medication besides; down ends a rescue before it lowers the step"`
	On              domain.Date   `json:"on" doc:"First day of the new dose"`
	domain.Reasoned `doc:"Why it is changed"`
}

// Dosing returns what of the patient decides about the kits. levels are those of the patient's draw, with later corrections; nil for a
// patient who was not drawn, for whom those of the last request count.
func (p Patient) Dosing(levels map[string]string) study.Dosing {
	if levels == nil {
		levels = p.Factors
	}
	return study.Dosing{Step: p.DoseStep, Rescue: p.Rescue, WeightKg: p.WeightKg(), Levels: levels}
}

// DayZero returns the day from which the planned days of visits count: that of the enrolment, also while it is under way; "" before
// it was requested.
func (p Patient) DayZero() domain.Date {
	if p.EnrolledOn == "" && p.Status == StatusEnrolling {
		return p.RequestedOn
	}
	return p.EnrolledOn
}

// weight is the body weight at a visit.
type weight struct {
	visit string
	kg    float64
}

// WeightKg returns the body weight that was recorded last; 0 if none was.
func (p Patient) WeightKg() float64 {
	if len(p.weights) == 0 {
		return 0
	}
	return p.weights[len(p.weights)-1].kg
}

// weighed returns the patient with another weight at a visit; 0 for none.
func (p Patient) weighed(visit string, kg float64) Patient {
	p.weights = slices.DeleteFunc(slices.Clone(p.weights), func(w weight) bool { return w.visit == visit })
	if kg > 0 {
		p.weights = append(p.weights, weight{visit, kg})
	}
	return p
}

// ChangeDose decides about RecordDoseChange. All arms have the same steps, so that neither an answer nor a refusal tells the arm. It
// refuses reason_required, value_too_long, unknown_code, patient_not_found, patient_ended, treatment_not_under_way, malformed_date,
// captured_in_future, ended_before_enrollment, no_titration, no_rescue_medication
// and dose_at_limit.
func ChangeDose(p Patient, s study.Study, cmd RecordDoseChange, call domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), cmd.Direction.validate(),
		p.mustBeTreated("change the dose", TreatmentOn, TreatmentHeld), p.mayEndOn(cmd.On, call))
	if err != nil {
		return nil, err
	}
	titration := p.Follows(s).Treatment().Titration
	if titration == nil {
		return nil, refuse.Because("no_titration", "the protocol does not say how doses are changed").At("direction").
			Do("record a protocol deviation if the patient took another dose")
	}
	changed := DoseChanged{Patient: p.ID, On: cmd.On, Direction: cmd.Direction, Step: p.DoseStep, Rescue: p.Rescue, Reason: cmd.Reason}
	if changed.Step == 0 {
		changed.Step = titration.First()
	}
	changed.FromStep = changed.Step
	switch {
	case cmd.Direction == DoseUp && changed.Step < titration.Steps:
		changed.Step++
	case cmd.Direction == DoseDown && changed.Rescue:
		changed.Rescue = false
	case cmd.Direction == DoseDown && changed.Step > 1:
		changed.Step--
	case cmd.Direction == DoseRescue && titration.Rescue && !changed.Rescue:
		changed.Rescue = true
	case cmd.Direction == DoseRescue && !titration.Rescue:
		return nil, refuse.Because("no_rescue_medication", "the protocol has no rescue medication").At("direction").
			Do("use up or down, hold the dose, or discontinue the treatment")
	case cmd.Direction == DoseRescue:
		return nil, refuse.Because("dose_at_limit", "the patient gets rescue medication already").At("direction").
			Do("nothing is left to do; down ends it")
	default:
		return nil, refuse.Because("dose_at_limit", "step %d of %d is in force, and the protocol does not allow to change it that way",
			changed.Step, titration.Steps).At("direction").Do("hold the dose, or discontinue the treatment")
	}
	return []Event{changed}, nil
}

func (d DoseDirection) validate() error {
	if slices.Contains(DoseDirections, d) {
		return nil
	}
	return refuse.Malformed("unknown_code", "%.40q is no direction of a dose change", string(d)).At("direction").Do("use up, down or rescue")
}
