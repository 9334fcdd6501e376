package patient

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Treatment is the status of a patient's treatment with study drug; "" before the screening. It is separate from the
// participation: a patient whose treatment has ended still takes part (ICH E9(R1), A.3.1).
type Treatment string

// The statuses of a treatment.
const (
	TreatmentNotStarted Treatment = "not_started"
	TreatmentOn         Treatment = "on"
	TreatmentHeld       Treatment = "held"
	TreatmentEnded      Treatment = "ended"
)

// Treatments are all statuses of a treatment.
var Treatments = []Treatment{TreatmentNotStarted, TreatmentOn, TreatmentHeld, TreatmentEnded}

// Schema implements domain.HasSchema.
func (Treatment) Schema() domain.Schema { return domain.OneOf(Treatments...) }

// After returns the treatment after one more event. Decisions and views both use it.
func (t Treatment) After(event Event) Treatment {
	switch e := event.(type) {
	case Screened:
		return TreatmentNotStarted
	case Enrolled:
		if !e.RunIn {
			return TreatmentOn
		}
	case RandomisationConfirmed:
		if t == TreatmentNotStarted {
			return TreatmentOn
		}
	case DoseHeld:
		return TreatmentHeld
	case DoseResumed:
		return TreatmentOn
	case TreatmentDiscontinued, Discontinued, Completed, ParticipationEnded:
		return t.ended()
	case ConsentWithdrawn:
		if e.EndsTreatment {
			return t.ended()
		}
	case StepUndone:
		return e.Treatment
	}
	return t
}

// ended returns the treatment after its end. A treatment that never started does not end.
func (t Treatment) ended() Treatment {
	if t.underWay() {
		return TreatmentEnded
	}
	return t
}

func (t Treatment) underWay() bool { return t == TreatmentOn || t == TreatmentHeld }

// DiscontinueTreatment ends a patient's treatment with study drug. The participation goes on.
type DiscontinueTreatment struct {
	domain.OfPatient
	On     domain.Date   `json:"on" doc:"Day on which the treatment ended"`
	Reason EndReason     `json:"reason" doc:"Why, a term of CDISC NCOMPLT"`
	Detail personal.Text `json:"detail,omitempty" maxLength:"500" doc:"Why, in the site's own words; needed for OTHER"`
}

// HoldDose interrupts a patient's treatment.
type HoldDose struct {
	domain.OfPatient
	On              domain.Date `json:"on" doc:"First day without study drug"`
	domain.Reasoned `doc:"Why it is interrupted"`
}

// ResumeDose ends the interruption of a patient's treatment.
type ResumeDose struct {
	domain.OfPatient
	On              domain.Date `json:"on" doc:"First day with study drug again"`
	domain.Reasoned `doc:"Why it goes on"`
}

// GivenReason returns the coded reason with its detail.
func (c DiscontinueTreatment) GivenReason() personal.Text { return c.Reason.With(c.Detail) }

// StopTreatment decides about DiscontinueTreatment. It refuses unknown_code, reason_required, value_too_long,
// patient_not_found, patient_ended, treatment_not_under_way, malformed_date, captured_in_future and
// ended_before_enrollment, and death_ends_participation: nobody is followed up, or reminded of a diary, after death.
func StopTreatment(p Patient, cmd DiscontinueTreatment, call domain.Call) ([]Event, error) {
	err := domain.First(cmd.Reason.validate(cmd.Detail), p.mustBeTreated("discontinue the treatment", TreatmentOn, TreatmentHeld),
		p.mayEndOn(cmd.On, call))
	if err != nil {
		return nil, err
	}
	if cmd.Reason == EndedByDeath {
		return nil, refuse.Because("death_ends_participation", "who has died is not followed up").At("reason").
			Do("record the end of the participation, with the reason DEATH")
	}
	return []Event{TreatmentDiscontinued{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason, Detail: cmd.Detail}}, nil
}

// Hold decides about HoldDose. It refuses reason_required, value_too_long, patient_not_found, patient_ended,
// treatment_not_under_way, malformed_date, captured_in_future and ended_before_enrollment.
func Hold(p Patient, cmd HoldDose, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), p.mustBeTreated("hold the dose", TreatmentOn), p.mayEndOn(cmd.On, call)); err != nil {
		return nil, err
	}
	return []Event{DoseHeld{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason}}, nil
}

// Resume decides about ResumeDose. It refuses reason_required, value_too_long, patient_not_found, patient_ended,
// treatment_not_under_way, malformed_date, captured_in_future and resumed_before_hold.
func Resume(p Patient, cmd ResumeDose, call domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), p.mustBeTreated("resume the dose", TreatmentHeld),
		cmd.On.NotAfterToday("on", call), cmd.On.NotBefore(p.HeldOn, "resumed_before_hold", "on", "the resumption", "the hold"))
	if err != nil {
		return nil, err
	}
	return []Event{DoseResumed{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason}}, nil
}

// mustBeTreated refuses a step that the status of the treatment does not allow (codes patient_not_found, patient_ended and
// treatment_not_under_way).
func (p Patient) mustBeTreated(step string, allowed ...Treatment) error {
	if err := p.mustNotHaveEnded(); err != nil {
		return err
	}
	for _, t := range allowed {
		if p.Treatment == t {
			return nil
		}
	}
	return refuse.WrongState("treatment_not_under_way", "the treatment is %s; it is not possible to %s now", p.Treatment.words(), step).
		At("patient").Do("check the patient's treatment")
}

// words is the treatment as a sentence has it.
func (t Treatment) words() string {
	if t == TreatmentNotStarted {
		return "not started"
	}
	return string(t)
}
