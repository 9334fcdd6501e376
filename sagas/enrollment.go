package sagas

import (
	"fmt"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// Enrollment leads a patient from the request to a confirmed enrolment: it reserves the study's place, then confirms.
// Randomisation and the patient's first kit stand between the two in studies that have them: the place is held by then,
// so whatever is refused before the draw only has to give it back.
var Enrollment = Process{
	Name:       "enrollment",
	Categories: []string{patient.Decider.Category, enrollment.Decider.Category},
	React:      reactToEnrollment,
	Refused:    makeUpForEnrollment,
}

func reactToEnrollment(event any) []any {
	switch e := event.(type) {
	case patient.EnrollmentRequested:
		return []any{enrollment.ReservePlace{Study: e.Study, Site: e.Site, Patient: e.Patient}}
	case enrollment.PlaceReserved:
		return []any{patient.ConfirmEnrollment{Patient: e.Patient, PatientNumber: patientNumber(e.Study, e.Number)}}
	case enrollment.PlaceRefused:
		return []any{patient.FailEnrollment{Patient: e.Patient, Code: e.Code, Reason: e.Reason}}
	}
	return nil
}

// makeUpForEnrollment tells the patient's record when no place could even be asked for, and gives the place back when
// the patient cannot be confirmed any more, such as after a withdrawal that came in between.
func makeUpForEnrollment(command any, refusal *refuse.Refusal) []any {
	switch c := command.(type) {
	case enrollment.ReservePlace:
		return []any{patient.FailEnrollment{Patient: c.Patient, Code: refusal.Code, Reason: refusal.Sentence}}
	case patient.ConfirmEnrollment:
		return []any{enrollment.ReleasePlace{Study: c.Patient.Study(), Patient: c.Patient, Reason: refusal.Sentence}}
	}
	return nil
}

// patientNumber is the study's running number, as labels and lists show it.
func patientNumber(study domain.StudyID, n int) string { return fmt.Sprintf("%s-%05d", study, n) }
