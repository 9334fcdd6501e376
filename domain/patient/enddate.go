package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// CorrectEndDate corrects the day of a step that ended something, such as a withdrawal or a screen failure.
type CorrectEndDate struct {
	domain.OfPatient
	Step            Step        `json:"step" doc:"The step; a registration that was recorded in error has no day of its own"`
	From            domain.Date `json:"from" doc:"The day as it was recorded"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

// EndDateCorrected says which day of a step that ended something is right.
type EndDateCorrected struct {
	Patient domain.PatientID `json:"patient"`
	Step    Step             `json:"step"`
	From    domain.Date      `json:"from"`
	To      domain.Date      `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// Status is the one with which the step ended the participation; "" for a step that did not end it.
	Status Status `json:"status,omitempty"`
	// EndedOn and TreatmentEndedOn are the last days of the participation and of the treatment from now on.
	EndedOn          domain.Date `json:"endedOn,omitempty"`
	TreatmentEndedOn domain.Date `json:"treatmentEndedOn,omitempty"`
}

func (EndDateCorrected) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e EndDateCorrected) AboutPatient() domain.PatientID { return e.Patient }

// Changed implements domain.Changing.
func (e EndDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("steps."+string(e.Step), e.From, e.To)
}

// CorrectEnd decides about CorrectEndDate. The day has to be possible for the step as if it were recorded now. What the end has stopped
// stays stopped. It refuses reason_required, value_too_long, unknown_code, malformed_date, captured_in_future, patient_not_found,
// patient_ended for a record that is about nobody, end_not_recorded, other_value_recorded, nothing_to_correct, ended_before_screening,
// ended_before_enrollment, ended_before_treatment, withdrawn_before_consent, and rescreened_before_failure for a screen failure after
// the screening of the record that goes on with the person.
func CorrectEnd(p Patient, facts Rescreening, cmd CorrectEndDate, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.To.NotAfterToday("to", call)); err != nil {
		return nil, err
	}
	if !slices.Contains(UndoableSteps, cmd.Step) || cmd.Step == StepRegistration {
		return nil, refuse.Malformed("unknown_code", "%.40q is no step with a day that can be corrected", string(cmd.Step)).At("step").
			Do("use screen_failure, withdrawal, completion, participation_end or treatment_end")
	}
	if err := p.mustBeOfSomebody(); err != nil {
		return nil, err
	}
	i := p.stepThatEnded(cmd.Step, cmd.From)
	if i < 0 {
		return nil, refuse.WrongState("end_not_recorded", "no %s of the patient is recorded", cmd.Step.words()).At("step").
			Do("check the patient's history")
	}
	step := p.undoable[i]
	if err := domain.First(domain.MayCorrect(step.on, cmd.From, cmd.To), p.mayHaveEnded(step, cmd.To, facts)); err != nil {
		return nil, err
	}
	corrected := EndDateCorrected{Patient: p.ID, Step: cmd.Step, From: cmd.From, To: cmd.To, Reason: cmd.Reason}
	if step.status != "" {
		corrected.Status = p.Status
	}
	after := p.endedOnAnotherDay(corrected)
	corrected.EndedOn, corrected.TreatmentEndedOn = after.EndedOn, after.TreatmentEndedOn
	return []Event{corrected}, nil
}

// stepThatEnded returns the index of the last step of a kind, on a day if there is one; -1 if there was no such step.
func (p Patient) stepThatEnded(what Step, on domain.Date) int {
	found := -1
	for i, u := range p.undoable {
		if u.step == what && (u.on == on || found < 0 || p.undoable[found].on != on) {
			found = i
		}
	}
	return found
}

// mayHaveEnded refuses a day on which a step could not have been recorded.
func (p Patient) mayHaveEnded(u undoable, on domain.Date, facts Rescreening) error {
	if u.step == StepScreenFailure {
		if err := on.NotBefore(p.ScreenedOn, "ended_before_screening", "to", "the screen failure", "the screening"); err != nil {
			return err
		}
		if again := facts.Later.ScreenedOn; again != "" && facts.Later.Status.Counted() {
			return again.NotBefore(on, "rescreened_before_failure", "to", "the new screening", "the screen failure")
		}
		return nil
	}
	var enrolled, treated, consented domain.Date
	switch {
	case u.status == StatusEnrolling:
		enrolled = p.RequestedOn
	case u.status != "":
		enrolled, treated = p.EnrolledOn, u.treatmentEndedOn
	case u.treatment != "":
		enrolled = p.EnrolledOn
	}
	switch {
	case u.status != "" && p.Status == StatusWithdrawn: // by a coded reason too
		consented = p.ConsentedOn
	case u.step == StepWithdrawal:
		consented = p.FirstConsentOn
	}
	err := domain.First(on.NotBefore(enrolled, "ended_before_enrollment", "to", "the end", "the enrolment"),
		on.NotBefore(treated, "ended_before_treatment", "to", "the end of the participation", "the end of the treatment"),
		on.NotBefore(consented, "withdrawn_before_consent", "to", "the withdrawal", "the consent"))
	if err == nil && u.status == "" && u.treatment != "" && p.EndedOn != "" {
		err = p.EndedOn.NotBefore(on, "ended_before_treatment", "to", "the end of the participation", "the end of the treatment")
	}
	return err
}

// endedOnAnotherDay returns the patient with another day of a step that ended something.
func (p Patient) endedOnAnotherDay(e EndDateCorrected) Patient {
	i := p.stepThatEnded(e.Step, e.From)
	if i < 0 {
		return p
	}
	p.undoable = slices.Clone(p.undoable)
	p.undoable[i].on = e.To
	participation, treatment := p.undoable[i].status != "", p.undoable[i].treatment != ""
	for j := i + 1; j < len(p.undoable); j++ { // an undone step brings back the days before it
		if participation {
			p.undoable[j].endedOn = e.To
		}
		if treatment {
			p.undoable[j].treatmentEndedOn = e.To
		}
	}
	if participation {
		p.EndedOn = e.To
	}
	if treatment {
		p.TreatmentEndedOn = e.To
	}
	return p
}
