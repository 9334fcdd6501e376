package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
)

// VoidRegistration takes back the registration of a person who was never meant, such as somebody else's number or a patient
// who was typed in twice. The record stays, and its screening number is not used again.
type VoidRegistration struct {
	domain.OfPatient
	domain.Reasoned `doc:"Why the registration was wrong"`
}

// RegistrationVoided says that a person was registered in error. Figures no longer count the registration.
type RegistrationVoided struct {
	Patient domain.PatientID `json:"patient"`
	// ScreenedOn is the day of the registration, and From the status before. EndedOn is the day of the screen failure, if
	// the registration had ended with one.
	ScreenedOn domain.Date `json:"screenedOn"`
	From       Status      `json:"from"`
	EndedOn    domain.Date `json:"endedOn,omitempty"`
	// Candidates are those that waited for somebody to decide. They wait no more.
	Candidates []CandidateID `json:"candidates,omitempty"`
	Reason     personal.Text `json:"reason"`
}

func (RegistrationVoided) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e RegistrationVoided) AboutPatient() domain.PatientID { return e.Patient }

// VoidRegistered decides about VoidRegistration. A patient who was ever enrolled stays in the study whoever it was, as the
// intention-to-treat principle requires (ICH E9 5.2.1), and so does one who is just being enrolled. It refuses
// reason_required, value_too_long, patient_not_found, patient_ended and patient_status.
func VoidRegistered(p Patient, cmd VoidRegistration, _ domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason),
		p.mustBe("void the registration", StatusScreened, StatusConsented, StatusEnrollmentFailed, StatusScreenFailed))
	if err != nil {
		return nil, err
	}
	voided := RegistrationVoided{Patient: cmd.Patient, ScreenedOn: p.ScreenedOn, From: p.Status, EndedOn: p.EndedOn, Reason: cmd.Reason}
	for _, c := range p.Candidates {
		voided.Candidates = append(voided.Candidates, c.ID)
	}
	return []Event{voided}, nil
}

// Counted says whether the figures of a study count the patient as screened.
func (s Status) Counted() bool { return !slices.Contains([]Status{"", StatusRegisteredInError}, s) }
