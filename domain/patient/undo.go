package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Step is a step that can be undone if it was recorded in error, such as for the wrong patient.
type Step string

// The steps that can be undone.
const (
	StepScreenFailure    Step = "screen_failure"
	StepWithdrawal       Step = "withdrawal"
	StepCompletion       Step = "completion"
	StepParticipationEnd Step = "participation_end"
	StepTreatmentEnd     Step = "treatment_end"
	StepRegistration     Step = "void_registration"
)

// UndoableSteps are all steps that can be undone.
var UndoableSteps = []Step{StepScreenFailure, StepWithdrawal, StepCompletion, StepParticipationEnd, StepTreatmentEnd, StepRegistration}

// Schema implements domain.HasSchema.
func (Step) Schema() domain.Schema { return domain.OneOf(UndoableSteps...) }

// UndoPatientStep undoes the last step of a patient that ended something. The step and its undoing are both kept.
type UndoPatientStep struct {
	domain.OfPatient
	Step            Step `json:"step" doc:"The step, which has to be the last one that ended something"`
	domain.Reasoned `doc:"Why it was wrong"`
}

// undoable is a step that can be undone, with what the patient was before it.
type undoable struct {
	step Step
	on   domain.Date
	// status and treatment are what they were before the step; "" if the step did not change them.
	status           Status
	treatment        Treatment
	endedOn          domain.Date
	treatmentEndedOn domain.Date
	withdrawn        []Extent
	// drawing says that the step broke off a draw.
	drawing bool
	// candidates are what a voided registration has ended.
	candidates Candidates
}

// Undoing is the facts of Undo: the earlier record of a person, for the registration of a later one that was voided in error.
type Undoing struct{ Earlier Patient }

// Undo decides about UndoPatientStep. A draw that the step broke off is requested again. It refuses reason_required,
// value_too_long, unknown_code, patient_not_found, nothing_to_undo, later_step if another step has to be undone first, and
// patient_rescreened for the screen failure of a person who goes on under another record. The registration of a person whose
// earlier record goes on is refused too (earlier_record_open if that one is open itself): nobody takes part twice.
func Undo(p Patient, facts Undoing, cmd UndoPatientStep, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if !slices.Contains(UndoableSteps, cmd.Step) {
		return nil, refuse.Malformed("unknown_code", "%.40q is no step that can be undone", string(cmd.Step)).At("step").
			Do("use " + domain.Either(UndoableSteps...))
	}
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if !slices.ContainsFunc(p.undoable, func(u undoable) bool { return u.step == cmd.Step }) {
		return nil, refuse.WrongState("nothing_to_undo", "there is no %s of the patient", cmd.Step.words()).At("step").
			Do("check the patient's history")
	}
	last := p.undoable[len(p.undoable)-1]
	if last.step != cmd.Step {
		return nil, refuse.WrongState("later_step", "a %s was recorded after it, on %s", last.step.words(), last.on).At("step").
			Do("undo that one first")
	}
	if cmd.Step == StepScreenFailure {
		if err := p.mustBeTheLastRecord("step"); err != nil {
			return nil, err
		}
	}
	if cmd.Step == StepRegistration && p.RescreeningOf != "" {
		if err := facts.Earlier.mayGoOnAs(p.ID); err != nil {
			return nil, err
		}
	}
	undone := StepUndone{Patient: cmd.Patient, Step: cmd.Step, On: last.on, From: p.Status,
		FromTreatment: p.Treatment, Status: p.Status, Treatment: p.Treatment,
		EndedOn: last.endedOn, TreatmentEndedOn: last.treatmentEndedOn, Withdrawn: last.withdrawn, Reason: cmd.Reason}
	if last.status != "" {
		undone.Status = last.status
	}
	switch signed := len(p.Consents) > 0; { // a consent may have been recorded or voided since
	case undone.Status == StatusScreened && signed:
		undone.Status = StatusConsented
	case undone.Status == StatusConsented && !signed:
		undone.Status = StatusScreened
	}
	if undone.Status == StatusEnrolling { // the process has given up; the enrolment may be requested again
		undone.Status = StatusEnrollmentFailed
	}
	if last.treatment != "" {
		undone.Treatment = last.treatment
	}
	events := []Event{undone}
	if last.drawing { // what answers the request that was broken off does not answer this one
		again := p.drawRequest
		again.Site, again.Attempt = p.Site, p.Draws+1
		events = append(events, again)
	}
	for _, c := range last.candidates {
		events = append(events, DeviationCandidateJudgedAgain{Patient: p.ID, Candidate: c.ID, What: c.What, On: p.dayOfCandidate(c.ID)})
	}
	return events, nil
}

// mayGoOnAs refuses a later record of the person unless this one has ended, and goes on as no other.
func (p Patient) mayGoOnAs(later domain.PatientID) error {
	switch {
	case p.Status != StatusScreenFailed:
		return refuse.WrongState("earlier_record_open", "patient %s, whose screening was repeated, is %s", p.ID, p.Status).At("step").
			Do("go on with that record, or record its screen failure first")
	case p.RescreenedAs != later:
		return p.mustBeTheLastRecord("step")
	}
	return nil
}

// stepOf returns the step that an event is, or "" for an event that cannot be undone by UndoPatientStep.
func stepOf(e Event) (Step, domain.Date) {
	switch e := e.(type) {
	case ScreenFailureRecorded:
		return StepScreenFailure, e.On
	case ConsentWithdrawn:
		return StepWithdrawal, e.On
	case Completed:
		return StepCompletion, e.On
	case Discontinued:
		return StepParticipationEnd, e.On
	case ParticipationEnded:
		if e.Reason == EndedAsPlanned {
			return StepCompletion, e.On
		}
		return StepParticipationEnd, e.On
	case TreatmentDiscontinued:
		return StepTreatmentEnd, e.On
	case RegistrationVoided:
		return StepRegistration, e.ScreenedOn
	}
	return "", ""
}

// remembering returns the steps that can be undone after an event that turns the patient p into next.
func (p Patient) remembering(e Event, next Patient) []undoable {
	switch e.(type) {
	case StepUndone:
		return p.undoable[:max(0, len(p.undoable)-1):max(0, len(p.undoable)-1)]
	case EndDateCorrected:
		return next.undoable
	}
	step, on := stepOf(e)
	if step == "" {
		return p.undoable
	}
	u := undoable{step: step, on: on, endedOn: p.EndedOn, treatmentEndedOn: p.TreatmentEndedOn, withdrawn: p.Withdrawn,
		drawing: p.Drawing && !next.Drawing}
	if step == StepRegistration {
		u.candidates = p.Candidates
	}
	if next.Status != p.Status {
		u.status = p.Status
	}
	if next.Treatment != p.Treatment {
		u.treatment = p.Treatment
	}
	return append(slices.Clone(p.undoable), u)
}

// words is the step as a sentence has it.
func (s Step) words() string {
	switch s {
	case StepScreenFailure:
		return "screen failure"
	case StepParticipationEnd:
		return "end of the participation"
	case StepTreatmentEnd:
		return "end of the treatment"
	case StepRegistration:
		return "void registration"
	default:
		return string(s)
	}
}
