package patient

import (
	"slices"

	"casebook/domain"
)

// Patient is the state of a patient's stream.
type Patient struct {
	ID              domain.PatientID
	Study           domain.StudyID
	Site            domain.SiteID
	Zone            string
	ScreeningNumber string
	PatientNumber   string
	// Sex and AgeYears are as recorded at screening; "" and 0 if they were not.
	Sex      Sex
	AgeYears int
	// Status is the participation, and Treatment is separate from it.
	Status         Status
	Treatment      Treatment
	ConsentVersion string
	ScreenedOn     domain.Date
	ConsentedOn    domain.Date
	// Consents are all signatures, in the order in which they were recorded.
	Consents []Signature
	// FirstConsentOn is the day of the first signature.
	FirstConsentOn domain.Date
	// RequestedOn is the day of enrolment in the last request.
	RequestedOn domain.Date
	// Factors are the levels in the last request, and Overridden the criteria that the patient need not satisfy.
	Factors    map[string]string
	Overridden []string
	// Attempts counts the requests of an enrolment.
	Attempts   int
	EnrolledOn domain.Date
	// EndedOn is the last day of the participation, and TreatmentEndedOn that of the treatment. HeldOn is the first day of
	// the last interruption of the treatment.
	EndedOn, TreatmentEndedOn, HeldOn domain.Date
	// Died says that the participation ended by death.
	Died bool
	// Withdrawn is everything that the patient no longer consents to.
	Withdrawn []Extent
	// RescreeningOf is the same person's earlier record.
	RescreeningOf domain.PatientID
	// Visits are the days of the visits that took place.
	Visits map[string]domain.Date
	// unblindedAssessors are those who know the arm, where the protocol has others assess the patient.
	unblindedAssessors []domain.UserID

	// Candidates are what may be a deviation, and waits for somebody to look at.
	Candidates Candidates

	// undoable are the steps that can be undone, the last one at the end.
	undoable []undoable
}

// Decider decides on a patient's stream.
var Decider = domain.Decider[Patient, Event]{Category: "patient", Key: domain.ByPatient, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Exists says whether the patient has been screened.
func (p Patient) Exists() bool { return p.ID != "" }

// Participating says whether the patient is enrolled and the participation has not ended.
func (p Patient) Participating() bool { return p.Status == StatusEnrolled }

// MayGetKits says whether the patient may be assigned to an arm and get kits: during the enrolment, and while the treatment is
// under way and not interrupted.
func (p Patient) MayGetKits() bool {
	return p.Status == StatusEnrolling || p.Status == StatusEnrolled && p.Treatment == TreatmentOn
}

// LastDoseOn returns the last day for which the patient is asked about doses: that of the treatment, or of the
// participation; "" while both go on.
func (p Patient) LastDoseOn() domain.Date {
	if p.TreatmentEndedOn != "" && (p.EndedOn == "" || p.TreatmentEndedOn < p.EndedOn) {
		return p.TreatmentEndedOn
	}
	return p.EndedOn
}

func evolve(before Patient, e Event) Patient {
	p := before
	p.Status, p.Treatment = p.Status.After(e), p.Treatment.After(e)
	switch e := e.(type) {
	case Screened:
		p.ID, p.Study, p.Site, p.Zone, p.ScreeningNumber = e.Patient, e.Study, e.Site, e.Zone, e.ScreeningNumber
		p.ScreenedOn, p.RescreeningOf, p.Sex, p.AgeYears = e.On, e.RescreeningOf, e.Sex, e.AgeYears
	case ConsentRecorded:
		p = p.signed(append(slices.Clone(p.Consents), Signature{Version: e.ConsentVersion, On: e.On}))
	case ScreenFailureRecorded:
		p.EndedOn = e.On
	case EnrollmentRequested:
		p.RequestedOn, p.Factors = e.On, e.Factors
		p.Attempts++
	case Enrolled:
		p.EnrolledOn, p.PatientNumber = e.On, e.PatientNumber
	case VisitRecorded:
		p = p.visited(e.Visit, e.On)
	case ConsentWithdrawn:
		p.Withdrawn = append(slices.Clone(p.Withdrawn), e.Extent...)
		if e.EndsParticipation {
			p.EndedOn = e.On
		}
		p = p.treatedUntil(before, e.On)
	case TreatmentDiscontinued:
		p = p.treatedUntil(before, e.On)
	case DoseHeld:
		p.HeldOn = e.On
	case Discontinued:
		p.EndedOn = e.On
		p = p.treatedUntil(before, e.On)
	case Completed:
		p.EndedOn = e.On
		p = p.treatedUntil(before, e.On)
	case ParticipationEnded:
		p.EndedOn, p.Died = e.On, e.Reason == EndedByDeath
		p = p.treatedUntil(before, e.On)
	case RegistrationVoided:
		p.EndedOn = e.ScreenedOn
	case StepUndone:
		p.EndedOn, p.TreatmentEndedOn, p.Withdrawn, p.Died = e.EndedOn, e.TreatmentEndedOn, e.Withdrawn, false
	case Transferred:
		p.Site = e.To
	case EligibilityOverridden:
		p.Overridden = append(slices.Clone(p.Overridden), e.Criteria...)
	case VisitDateCorrected, VisitVoided, ConsentDateCorrected, EnrollmentDateCorrected, AgeCorrected, SexCorrected:
		p = p.corrected(e)
	case Unblinded:
		if e.AssessmentsByOthers {
			p.unblindedAssessors = append(slices.Clone(p.unblindedAssessors), e.KnownTo...)
		}
	case EnrollmentFailed, DoseResumed: // change only the status or the treatment
	case ProtocolDeviationRecorded, DeviationCandidateDismissed: // answer a candidate, or nothing
	}
	p.Candidates = p.Candidates.After(e)
	p.undoable = before.remembering(e, p)
	return p
}

// treatedUntil sets the last day of the treatment, if the treatment has just ended.
func (p Patient) treatedUntil(before Patient, on domain.Date) Patient {
	if before.Treatment.underWay() && p.Treatment == TreatmentEnded {
		p.TreatmentEndedOn = on
	}
	return p
}
