package patient

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/eventlog"
	"casebook/sagas"
)

// rescreening is what the process remembers of a person's later record.
type rescreening struct {
	// Earlier is the record that it goes on from.
	Earlier domain.PatientID `json:"earlier,omitempty"`
}

// Rescreening is the process that notes in a person's earlier record which record goes on with the person, so that nobody takes part
// twice: the earlier record is not opened again, and no second record goes on from it.
var Rescreening = sagas.Define("rescreening",
	sagas.Sends(patient.NoteRescreening{}),
	sagas.On(again, rescreening.screened),
	sagas.On[patient.RegistrationVoided](sagas.ByPatient, rescreening.voided),
	sagas.On[patient.StepUndone](sagas.ByPatient, rescreening.undone),
)

// again names the instance of a record that goes on from another.
func again(e patient.Screened, _ eventlog.Recorded) []string {
	if e.RescreeningOf == "" {
		return nil
	}
	return sagas.Instance(e.Patient)
}

func (s rescreening) screened(e patient.Screened, _ sagas.Occurrence) (sagas.Reaction[rescreening], bool) {
	s.Earlier = e.RescreeningOf
	return s.note(patient.NoteRescreening{As: e.Patient}, "noted in the earlier record")
}

// voided opens the earlier record: the later one is about nobody.
func (s rescreening) voided(e patient.RegistrationVoided, _ sagas.Occurrence) (sagas.Reaction[rescreening], bool) {
	return s.note(patient.NoteRescreening{Not: e.Patient}, "the earlier record is open again")
}

// undone notes again what a voided registration had opened. Whatever was undone, the record goes on with the person.
func (s rescreening) undone(e patient.StepUndone, _ sagas.Occurrence) (sagas.Reaction[rescreening], bool) {
	return s.note(patient.NoteRescreening{As: e.Patient}, "noted in the earlier record")
}

func (s rescreening) note(command patient.NoteRescreening, stage string) (sagas.Reaction[rescreening], bool) {
	if s.Earlier == "" {
		return sagas.Reaction[rescreening]{}, false
	}
	command.OfPatient = domain.ForPatient(s.Earlier)
	return sagas.Reaction[rescreening]{State: s, Stage: stage, Outcome: process.Completed, Commands: []any{command}}, true
}
