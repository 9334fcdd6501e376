package patient

import "casebook/domain"

// Status is the status of a patient in the study; "" before the screening.
type Status string

// The statuses of a patient.
const (
	StatusScreened         Status = "screened"
	StatusConsented        Status = "consented"
	StatusScreenFailed     Status = "screen_failed"
	StatusEnrolling        Status = "enrolling"
	StatusEnrolled         Status = "enrolled"
	StatusEnrollmentFailed Status = "enrollment_failed"
	StatusWithdrawn        Status = "withdrawn"
	StatusDiscontinued     Status = "discontinued"
	StatusCompleted        Status = "completed"
	// StatusRegisteredInError is that of a record that is about nobody.
	StatusRegisteredInError Status = "registered_in_error"
)

// Statuses are all statuses of a patient.
var Statuses = []Status{StatusScreened, StatusConsented, StatusScreenFailed, StatusEnrolling, StatusEnrolled, StatusEnrollmentFailed,
	StatusWithdrawn, StatusDiscontinued, StatusCompleted, StatusRegisteredInError}

// Schema implements domain.HasSchema.
func (Status) Schema() domain.Schema { return domain.OneOf(Statuses...) }

// After returns the status after one more event. Decisions and views both use it.
func (s Status) After(event Event) Status {
	switch e := event.(type) {
	case Screened:
		return StatusScreened
	case ConsentRecorded:
		if s == StatusScreened { // a later signature of a new version does not change the status
			return StatusConsented
		}
	case ConsentVoided:
		if s == StatusConsented && e.Last == "" {
			return StatusScreened
		}
	case ScreenFailureRecorded:
		return StatusScreenFailed
	case EnrollmentRequested:
		return StatusEnrolling
	case Enrolled:
		return StatusEnrolled
	case EnrollmentFailed:
		return StatusEnrollmentFailed
	case ConsentWithdrawn:
		if e.EndsParticipation { // otherwise the patient stays in the study, or has left it before
			return StatusWithdrawn
		}
	case Discontinued:
		return StatusDiscontinued
	case Completed:
		return StatusCompleted
	case ParticipationEnded:
		return e.Reason.Status()
	case StepUndone:
		return e.Status
	case RegistrationVoided:
		return StatusRegisteredInError
	case RandomisationRequested, RandomisationConfirmed, RandomisationNotPossible:
		// The phase follows from the treatment.
	case VisitRecorded, TreatmentDiscontinued, DoseHeld, DoseResumed, Transferred, EligibilityOverridden, ProtocolDeviationRecorded,
		DeviationCandidateDismissed, VisitSkipped, DoseChanged,
		ProtocolVersionApplied, ReconsentRefused, VisitDateCorrected, VisitVoided, ConsentDateCorrected, EnrollmentDateCorrected,
		ScreeningDateCorrected, EndDateCorrected, AgeCorrected, SexCorrected, ZoneChanged, Unblinded, DeviationCandidateJudgedAgain,
		Rescreened, DosingJudged: // change no status
	}
	return s
}

// Phase is the part of the study that a patient is in; "" before the screening and after the participation.
type Phase string

// The phases, as they follow from the participation and the treatment.
const (
	PhaseScreening     Phase = "screening"
	PhaseRunIn         Phase = "run_in"
	PhaseTreatment     Phase = "treatment"
	PhaseOpenExtension Phase = "open_extension"
	PhaseFollowUp      Phase = "follow_up"
)

// Phases are all phases.
var Phases = []Phase{PhaseScreening, PhaseRunIn, PhaseTreatment, PhaseOpenExtension, PhaseFollowUp}

// Schema implements domain.HasSchema.
func (Phase) Schema() domain.Schema { return domain.OneOf(Phases...) }

// Extended says whether a patient's last draw was for an open extension, after one more event.
func Extended(before bool, e Event) bool {
	if drawn, is := e.(RandomisationConfirmed); is {
		return drawn.OpenExtension
	}
	return before
}

// Phase returns the phase that the patient is in.
func (p Patient) Phase() Phase { return PhaseOf(p.Status, p.Treatment, p.Extended) }

// PhaseOf returns the phase of a patient with this status and this treatment; extended is as Extended has it.
func PhaseOf(s Status, t Treatment, extended bool) Phase {
	switch s {
	case StatusScreened, StatusConsented, StatusEnrolling, StatusEnrollmentFailed:
		return PhaseScreening
	case StatusEnrolled:
		switch t {
		case TreatmentNotStarted:
			return PhaseRunIn
		case TreatmentOn, TreatmentHeld:
			if extended {
				return PhaseOpenExtension
			}
			return PhaseTreatment
		case TreatmentEnded:
			return PhaseFollowUp
		}
	case StatusScreenFailed, StatusWithdrawn, StatusDiscontinued, StatusCompleted, StatusRegisteredInError: // in no phase any more
	}
	return ""
}
