package enrollment

import (
	"casebook/domain"
)

// OpenEnrollment lets patients enter the study.
type OpenEnrollment struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Caps  Caps           `json:"caps" doc:"Target and caps"`
}

// CloseEnrollment ends the entry of patients.
type CloseEnrollment struct {
	Study  domain.StudyID `json:"study" doc:"The study"`
	Reason string         `json:"reason" minLength:"1" maxLength:"500" doc:"Why it is closed"`
}

// SetEnrollmentTarget changes target and caps while enrolment is open.
type SetEnrollmentTarget struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Caps  Caps           `json:"caps" doc:"Target and caps"`
}

// ReservePlace asks for a patient's place. The enrolment process sends it; it is answered with PlaceReserved or
// PlaceRefused, never with a refusal that would stop the process.
type ReservePlace struct {
	Study   domain.StudyID   `json:"study" doc:"The study"`
	Site    domain.SiteID    `json:"site" doc:"The patient's site"`
	Patient domain.PatientID `json:"patient" doc:"The patient"`
}

// ReleasePlace gives a place back when an enrolment fails after its reservation.
type ReleasePlace struct {
	Study   domain.StudyID   `json:"study" doc:"The study"`
	Patient domain.PatientID `json:"patient" doc:"The patient"`
	Reason  string           `json:"reason" minLength:"1" maxLength:"500" doc:"Why the place is free again"`
}
