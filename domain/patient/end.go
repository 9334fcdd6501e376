package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// EndReason is why a treatment or a participation ended: a term of the code list NCOMPLT of CDISC, as SDTM's DSDECOD has it.
type EndReason string

// The terms of NCOMPLT that are used.
const (
	EndedByAdverseEvent     EndReason = "ADVERSE EVENT"
	EndedAsPlanned          EndReason = "COMPLETED"
	EndedByDeath            EndReason = "DEATH"
	EndedByRelapse          EndReason = "DISEASE RELAPSE"
	EndedByFailedCriteria   EndReason = "FAILURE TO MEET RANDOMIZATION CRITERIA"
	EndedByLackOfEfficacy   EndReason = "LACK OF EFFICACY"
	EndedByLossToFollowUp   EndReason = "LOST TO FOLLOW-UP"
	EndedByNonCompliance    EndReason = "NON-COMPLIANCE WITH STUDY DRUG"
	EndedByOther            EndReason = "OTHER"
	EndedByPhysician        EndReason = "PHYSICIAN DECISION"
	EndedByPregnancy        EndReason = "PREGNANCY"
	EndedByProgression      EndReason = "PROGRESSIVE DISEASE"
	EndedByDeviation        EndReason = "PROTOCOL DEVIATION"
	EndedByViolation        EndReason = "PROTOCOL VIOLATION"
	EndedByRecovery         EndReason = "RECOVERY"
	EndedBySponsorAtSite    EndReason = "SITE TERMINATED BY SPONSOR"
	EndedBySponsor          EndReason = "STUDY TERMINATED BY SPONSOR"
	EndedByTechnicalProblem EndReason = "TECHNICAL PROBLEMS"
	EndedByGuardian         EndReason = "WITHDRAWAL BY PARENT/GUARDIAN"
	EndedBySubject          EndReason = "WITHDRAWAL BY SUBJECT"
)

// EndReasons are all reasons for which a treatment or a participation ends.
var EndReasons = []EndReason{EndedByAdverseEvent, EndedAsPlanned, EndedByDeath, EndedByRelapse, EndedByFailedCriteria,
	EndedByLackOfEfficacy, EndedByLossToFollowUp, EndedByNonCompliance, EndedByOther, EndedByPhysician, EndedByPregnancy,
	EndedByProgression, EndedByDeviation, EndedByViolation, EndedByRecovery, EndedBySponsorAtSite, EndedBySponsor,
	EndedByTechnicalProblem, EndedByGuardian, EndedBySubject}

// Schema implements domain.HasSchema.
func (EndReason) Schema() domain.Schema { return domain.OneOf(EndReasons...) }

// Status returns the status of a patient whose participation ended for the reason.
func (r EndReason) Status() Status {
	switch r {
	case EndedAsPlanned:
		return StatusCompleted
	case EndedBySubject, EndedByGuardian:
		return StatusWithdrawn
	default:
		return StatusDiscontinued
	}
}

// validate refuses a reason that is no term of NCOMPLT (unknown_code), OTHER without a detail (reason_required), and a detail
// that is too long (value_too_long).
func (r EndReason) validate(detail personal.Text) error {
	if !slices.Contains(EndReasons, r) {
		return refuse.Malformed("unknown_code", "%.60q is not a term of CDISC NCOMPLT", string(r)).At("reason").
			Do("use a term of the list, such as ADVERSE EVENT or LOST TO FOLLOW-UP")
	}
	if r == EndedByOther {
		return domain.At("detail", domain.Reason(detail))
	}
	return domain.OptionalText("detail", detail, 500)
}

// EndParticipation ends a patient's participation for a coded reason.
type EndParticipation struct {
	domain.OfPatient
	On     domain.Date   `json:"on" doc:"Last day of the participation; the day of death for DEATH"`
	Reason EndReason     `json:"reason" doc:"Why, a term of CDISC NCOMPLT"`
	Detail personal.Text `json:"detail,omitempty" maxLength:"500" doc:"Why, in the site's own words; needed for OTHER"`
}

// GivenReason returns the coded reason with its detail.
func (c EndParticipation) GivenReason() personal.Text { return c.Reason.With(c.Detail) }

// With returns the reason with its detail, for people.
func (r EndReason) With(detail personal.Text) personal.Text {
	if detail == "" {
		return personal.Text(r)
	}
	return personal.Text(r) + ": " + detail
}

// End decides about EndParticipation. Who is being enrolled can leave too, such as by death between the draw and the first kit, but
// has completed nothing. It refuses unknown_code, reason_required, value_too_long, patient_not_found,
// patient_ended, patient_status, malformed_date, captured_in_future, ended_before_enrollment, ended_before_treatment, and
// withdrawn_before_consent for a withdrawal.
func End(p Patient, cmd EndParticipation, call domain.Call) ([]Event, error) {
	from := []Status{StatusEnrolled}
	if cmd.Reason != EndedAsPlanned {
		from = append(from, StatusEnrolling)
	}
	err := domain.First(cmd.Reason.validate(cmd.Detail), p.mustBe("end the participation", from...), p.mayLeaveOn(cmd.On, call),
		p.notBeforeRequest(cmd.On))
	if err != nil {
		return nil, err
	}
	if cmd.Reason.Status() == StatusWithdrawn {
		if err := cmd.On.NotBefore(p.ConsentedOn, "withdrawn_before_consent", "on", "the withdrawal", "the consent"); err != nil {
			return nil, err
		}
	}
	return []Event{ParticipationEnded{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason, Detail: cmd.Detail}}, nil
}

// Discontinue ends the participation early, for another reason than a withdrawn consent. It refuses reason_required,
// value_too_long, patient_not_found, patient_ended, patient_status, malformed_date, captured_in_future,
// ended_before_enrollment and ended_before_treatment.
func Discontinue(p Patient, cmd DiscontinuePatient, call domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), p.mustBe("discontinue", StatusEnrolled, StatusEnrolling), p.mayLeaveOn(cmd.On, call),
		p.notBeforeRequest(cmd.On))
	if err != nil {
		return nil, err
	}
	return []Event{Discontinued{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason, Code: codeOf(cmd.Reason)}}, nil
}

// Complete ends the participation as planned. It refuses patient_not_found, patient_ended, patient_status,
// malformed_date, captured_in_future, ended_before_enrollment and ended_before_treatment.
func Complete(p Patient, cmd CompletePatient, call domain.Call) ([]Event, error) {
	if err := domain.First(p.mustBe("complete", StatusEnrolled), p.mayLeaveOn(cmd.On, call)); err != nil {
		return nil, err
	}
	return []Event{Completed{Patient: cmd.Patient, On: cmd.On}}, nil
}

// mayEndOn refuses a day after today or before the enrolment.
func (p Patient) mayEndOn(on domain.Date, call domain.Call) error {
	if err := on.NotAfterToday("on", call); err != nil {
		return err
	}
	return on.NotBefore(p.EnrolledOn, "ended_before_enrollment", "on", "the end", "the enrolment")
}

// notBeforeRequest refuses a day before that of the enrolment, also while it is under way (code ended_before_enrollment).
func (p Patient) notBeforeRequest(on domain.Date) error {
	return on.NotBefore(p.DayZero(), "ended_before_enrollment", "on", "the end", "the enrolment")
}

// mayLeaveOn refuses a day after today, or before the enrolment or the end of the treatment.
func (p Patient) mayLeaveOn(on domain.Date, call domain.Call) error {
	if err := p.mayEndOn(on, call); err != nil {
		return err
	}
	return on.NotBefore(p.TreatmentEndedOn, "ended_before_treatment", "on", "the end of the participation", "the end of the treatment")
}
