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
	// Voided says that the registration was recorded in error, as the log has it at At.
	Voided bool   `json:"voided,omitempty"`
	At     uint64 `json:"at,omitempty"`
}

// Rescreening is the process that notes in a person's earlier record which record goes on with the person, so that nobody takes part
// twice: the earlier record is not opened again, and no second record goes on from it.
var Rescreening = sagas.Define("rescreening",
	sagas.Sends(patient.NoteRescreening{}),
	sagas.On(again, rescreening.screened),
	sagas.On[patient.RegistrationVoided](sagas.ByPatient, rescreening.voided),
	sagas.On[patient.StepUndone](sagas.ByPatient, rescreening.undone),
	// Version 1 knew of no voided registration.
).OfPatients().Upcast(domain.Unchanged)

// again names the instance of a record that goes on from another.
func again(e patient.Screened, _ eventlog.Recorded) []string {
	if e.RescreeningOf == "" {
		return nil
	}
	return sagas.Instance(e.Patient)
}

func (s rescreening) screened(e patient.Screened, _ sagas.Occurrence) (sagas.Reaction[rescreening], bool) {
	s.Earlier = e.RescreeningOf
	if s.Voided {
		return sagas.Reaction[rescreening]{State: s, Stage: stageVoided, Outcome: process.Completed}, true
	}
	return s.note(patient.NoteRescreening{As: e.Patient}, "noted in the earlier record")
}

// voided opens the earlier record: the later one is about nobody.
func (s rescreening) voided(e patient.RegistrationVoided, o sagas.Occurrence) (sagas.Reaction[rescreening], bool) {
	if o.Position < s.At {
		return sagas.Reaction[rescreening]{}, false
	}
	s.Voided, s.At = true, o.Position
	if s.Earlier == "" { // the record may be one that goes on from another: the screening is told of late
		return sagas.Reaction[rescreening]{State: s, Stage: stageVoided, Outcome: process.Completed}, true
	}
	return s.note(patient.NoteRescreening{Not: e.Patient}, stageVoided)
}

const stageVoided = "the earlier record is open again"

// undone notes again what a voided registration had opened. Whatever was undone, the record goes on with the person.
func (s rescreening) undone(e patient.StepUndone, o sagas.Occurrence) (sagas.Reaction[rescreening], bool) {
	if e.Step != patient.StepRegistration && s.Voided || o.Position < s.At {
		return sagas.Reaction[rescreening]{}, false
	}
	s.Voided, s.At = false, o.Position
	if s.Earlier == "" && e.Step == patient.StepRegistration {
		return sagas.Reaction[rescreening]{State: s, Stage: "registered", Outcome: process.Completed}, true
	}
	return s.note(patient.NoteRescreening{As: e.Patient}, "noted in the earlier record")
}

func (s rescreening) note(command patient.NoteRescreening, stage string) (sagas.Reaction[rescreening], bool) {
	if s.Earlier == "" {
		return sagas.Reaction[rescreening]{}, false
	}
	command.OfPatient = domain.ForPatient(s.Earlier)
	return sagas.Reaction[rescreening]{State: s, Stage: stage, Outcome: process.Completed, Commands: []any{command}}, true
}
