package enrollment

import (
	"casebook/domain"
)

// OpenEnrollment lets patients enter the study.
type OpenEnrollment struct {
	domain.InStudy
	Caps Caps `json:"caps" doc:"Target and caps"`
}

// CloseEnrollment ends the entry of patients.
type CloseEnrollment struct {
	domain.InStudy
	domain.Reasoned `doc:"Why it is closed"`
}

// SetEnrollmentTarget changes target and caps while enrolment is open.
type SetEnrollmentTarget struct {
	domain.InStudy
	Caps Caps `json:"caps" doc:"Target and caps"`
}

// ReservePlace asks for a patient's place. The enrolment process sends it; it is answered with PlaceReserved or
// PlaceRefused, never with a refusal that would stop the process.
type ReservePlace struct {
	domain.InStudy
	Site domain.SiteID `json:"site" doc:"The patient's site"`
	domain.OfPatient
}

// ReleasePlace gives a place back when an enrolment fails after its reservation.
type ReleasePlace struct {
	domain.InStudy
	domain.OfPatient
	domain.Reasoned `doc:"Why the place is free again"`
}
