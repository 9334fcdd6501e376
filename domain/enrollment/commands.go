package enrollment

import (
	"casebook/domain"
)

// OpenEnrollment lets patients enrol in the study, up to the caps.
type OpenEnrollment struct {
	domain.InStudy
	Caps Caps `json:"caps" doc:"Target and caps"`
}

// CloseEnrollment stops the enrolment of patients.
type CloseEnrollment struct {
	domain.InStudy
	domain.Reasoned `doc:"Why it is closed"`
}

// SetEnrollmentTarget changes target and caps while enrolment is open.
type SetEnrollmentTarget struct {
	domain.InStudy
	Caps Caps `json:"caps" doc:"Target and caps"`
}

// ReservePlace reserves a place for a patient. The enrolment process sends it. The answer is PlaceReserved or
// PlaceRefused, never a refusal, which would stop the process.
type ReservePlace struct {
	domain.InStudy
	Site domain.SiteID `json:"site" doc:"The patient's site"`
	domain.OfPatient
}

// ReleasePlace gives a place back if an enrolment fails after the place was reserved.
type ReleasePlace struct {
	domain.InStudy
	domain.OfPatient
	domain.Reasoned `doc:"Why the place is free again"`
}
