package patient

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// NoteRescreening notes in the earlier record of a person which record goes on with the person. The process of re-screenings sends it.
type NoteRescreening struct {
	domain.OfPatient
	// As is the later record; "" if that record was registered in error.
	As domain.PatientID `json:"as,omitempty"`
	// Not is the record that was registered in error; another one that goes on with the person stays. Steps of earlier programs name none.
	Not domain.PatientID `json:"not,omitempty"`
}

// Rescreened says which record goes on with a person whose screening had failed.
type Rescreened struct {
	Patient domain.PatientID `json:"patient"`
	// As is the later record; "" if none is left.
	As domain.PatientID `json:"as,omitempty"`
}

func (Rescreened) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e Rescreened) AboutPatient() domain.PatientID { return e.Patient }

// Rescreen decides about NoteRescreening. It records nothing that is noted already. It refuses patient_not_found.
func Rescreen(p Patient, cmd NoteRescreening, _ domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if p.RescreenedAs == cmd.As || cmd.As == "" && cmd.Not != "" && p.RescreenedAs != cmd.Not {
		return nil, nil
	}
	return []Event{Rescreened{Patient: p.ID, As: cmd.As}}, nil
}

// mustBeTheLastRecord refuses (code patient_rescreened) what would have a person take part twice.
func (p Patient) mustBeTheLastRecord(field string) error {
	if p.RescreenedAs == "" {
		return nil
	}
	return refuse.WrongState("patient_rescreened", "patient %s goes on as %s", p.ID, p.RescreenedAs).At(field).
		Do("go on with that record; void its registration first if it is about somebody else")
}
