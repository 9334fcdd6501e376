package patient

import (
	"slices"

	"casebook/domain"
)

// Patient is the state of a patient's stream.
type Patient struct {
	ID    domain.PatientID
	Study domain.StudyID
	Site  domain.SiteID
	// Zone is the IANA time zone at the screening. See ZoneOn.
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
	// Protocol is the version of the protocol that the last request was decided by, or that was applied since; 0 before it, and in
	// older logs. EnrolledBy is that of the request. ProtocolIn has the version that the patient follows.
	Protocol, EnrolledBy int
	// AppliedOn is the day since which the patient follows the version that was applied last.
	AppliedOn domain.Date
	// Reconsent is the consent that the patient has to sign again; nil for none. ReconsentRefusedOn is the day on which the patient
	// refused to.
	Reconsent          *Reconsent
	ReconsentRefusedOn domain.Date
	// Factors are the levels in the last request, and Overridden the criteria that the patient need not satisfy.
	Factors    map[string]string
	Overridden []string
	// DrawnLater says that the patient is enrolled without a draw. Drawing says that a draw is requested and not answered,
	// Draws counts these requests, and Stages are the stages for which the patient was drawn; "" is the first draw.
	DrawnLater, Drawing bool
	Draws               int
	// drawRequest is the last of these requests.
	drawRequest RandomisationRequested
	Stages      []string
	// DrawnOn is the day of the first draw; "" without one, and in older logs.
	DrawnOn domain.Date
	// Extended says that the last draw was for an open extension.
	Extended bool
	// Attempts counts the requests of an enrolment.
	Attempts   int
	EnrolledOn domain.Date
	// EnrolledAt is the site that the patient was at then.
	EnrolledAt domain.SiteID
	// EndedOn is the last day of the participation, and TreatmentEndedOn that of the treatment. HeldOn is the first day of
	// the last interruption of the treatment.
	EndedOn, TreatmentEndedOn, HeldOn domain.Date
	// Died says that the participation ended by death.
	Died bool
	// Withdrawn is everything that the patient no longer consents to.
	Withdrawn []Extent
	// RescreeningOf is the same person's earlier record.
	RescreeningOf domain.PatientID
	// RescreenedAs is the same person's later record.
	RescreenedAs domain.PatientID
	// Visits are the days of the visits that took place, Skipped the visits that did not.
	Visits  map[string]domain.Date
	Skipped []string
	// DoseStep is the step of the titration; 0 as long as the dose was never changed. Rescue says that the patient gets rescue
	// medication besides.
	DoseStep int
	Rescue   bool
	// unblindedAssessors are those who know the arm, where the protocol has others assess the patient.
	unblindedAssessors []domain.UserID

	// randomise says that the last requested enrolment has a draw.
	randomise bool
	// Candidates are what may be a deviation, and waits for somebody to look at.
	Candidates Candidates

	// zones are the later zones, in the order of their days.
	zones []zoneSince
	// doses are what was judged of the doses between two visits.
	doses []judgedDoses
	// former are the sites that the patient was at before, the oldest first.
	former []formerSite
	// weights are the recorded body weights, the last one at the end.
	weights []weight
	// firstFoundOn is the earliest day on which a recorded deviation was found.
	firstFoundOn domain.Date
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

// DrawnFor lists the stages of the protocol for which the patient was drawn or is being drawn, "" for the first draw.
func (p Patient) DrawnFor() []string {
	stages := slices.Clone(p.Stages)
	if p.Drawing {
		stages = append(stages, p.drawRequest.Stage)
	}
	if !p.DrawnLater { // the first draw, if there is one, is part of the enrolment
		stages = append(stages, "")
	}
	return stages
}

// AwaitsConfirmation says that a draw of a stage, for which the patient has an arm, is not confirmed. The draw of an enrolment is confirmed
// with the enrolment.
func (p Patient) AwaitsConfirmation(stage string) bool {
	return p.Status == StatusEnrolled && (stage != "" || p.DrawnLater) && !slices.Contains(p.Stages, stage)
}

// InStudy says whether the patient has been screened and has not left.
func (p Patient) InStudy() bool { return p.Phase() != "" }

// MayGetKits says whether the patient may be assigned to an arm and get kits: during the enrolment, during the first draw, and
// while the treatment is under way and not interrupted.
func (p Patient) MayGetKits() bool {
	return p.Status == StatusEnrolling || p.Status == StatusEnrolled &&
		(p.Treatment == TreatmentOn || p.Treatment == TreatmentNotStarted && p.Drawing)
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
	p.Status, p.Treatment, p.Extended = p.Status.After(e), p.Treatment.After(e), Extended(p.Extended, e)
	switch e := e.(type) {
	case Screened:
		p.ID, p.Study, p.Site, p.Zone, p.ScreeningNumber = e.Patient, e.Study, e.Site, e.Zone, e.ScreeningNumber
		p.ScreenedOn, p.RescreeningOf, p.Sex, p.AgeYears = e.On, e.RescreeningOf, e.Sex, e.AgeYears
	case ConsentRecorded:
		p = p.signed(p.with(e)).signedAgain(e)
	case ScreenFailureRecorded:
		p.EndedOn = e.On
	case EnrollmentRequested:
		p.RequestedOn, p.Factors, p.Protocol, p.EnrolledBy = e.On, e.Factors, e.Protocol, e.Protocol
		p.DrawnLater, p.randomise = e.DrawnLater, e.Randomise
		p.Attempts++
	case Enrolled:
		p.EnrolledOn, p.EnrolledAt, p.PatientNumber, p.DrawnOn = e.On, p.Site, e.PatientNumber, e.RandomisedOn
		if p.randomise {
			p.Stages = append(slices.Clone(p.Stages), "")
		}
	case RandomisationRequested:
		p.Factors, p.Drawing, p.Draws = e.Factors, true, e.Attempt
		p.drawRequest = e
	case RandomisationConfirmed:
		if p.Stages, p.Drawing = append(slices.Clone(p.Stages), e.Stage), false; e.Stage == "" {
			p.DrawnOn = e.On
		}
	case RandomisationNotPossible:
		p.Drawing = false
	case VisitRecorded:
		p = p.visited(e.Visit, e.On).weighed(e.Visit, e.WeightKg)
	case VisitSkipped:
		p.Skipped = append(slices.Clone(p.Skipped), e.Visit)
	case DoseChanged:
		p.DoseStep, p.Rescue = e.Step, e.Rescue
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
	case Discontinued: // the reason is free text, and may be a term
		p.EndedOn, p.Died = e.On, e.CodedReason() == EndedByDeath
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
		p.former = append(slices.Clip(p.former), formerSite{site: p.Site, until: e.On})
		p.Site = e.To
	case ProtocolVersionApplied:
		p.Protocol, p.AppliedOn = e.To, e.On
		if e.Reconsent != nil {
			p.Reconsent, p.ReconsentRefusedOn = e.Reconsent, ""
		}
	case ReconsentRefused:
		p.ReconsentRefusedOn = e.On
	case EligibilityOverridden:
		p.Overridden = append(slices.Clone(p.Overridden), e.Criteria...)
	case ConsentVoided:
		p = p.withoutConsent(e)
	case Rescreened:
		p.RescreenedAs = e.As
	case VisitDateCorrected, VisitVoided, ConsentDateCorrected, EnrollmentDateCorrected, AgeCorrected, SexCorrected:
		p = p.corrected(e)
	case Unblinded:
		if e.AssessmentsByOthers {
			p.unblindedAssessors = append(slices.Clone(p.unblindedAssessors), e.KnownTo...)
		}
	case ZoneChanged:
		p = p.inZone(e.To, e.On)
	case ScreeningDateCorrected:
		p.ScreenedOn = e.To
	case EndDateCorrected:
		p = p.endedOnAnotherDay(e)
		p.EndedOn, p.TreatmentEndedOn = e.EndedOn, e.TreatmentEndedOn
	case ProtocolDeviationRecorded:
		if p.firstFoundOn == "" || e.FoundOn < p.firstFoundOn {
			p.firstFoundOn = e.FoundOn
		}
	case EnrollmentFailed, DoseResumed: // change only the status or the treatment
	case DeviationCandidateDismissed, DeviationCandidateJudgedAgain, DosingJudged: // answer a candidate, or nothing
	}
	if p.ended() || p.Treatment == TreatmentEnded { // nobody is drawn any more
		p.Drawing = false
	}
	p.Candidates, p.doses = p.Candidates.After(e), p.dosesAfter(e)
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
