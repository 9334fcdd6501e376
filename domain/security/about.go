package security

import "casebook/domain"

// About implements domain.Described.
func (e AccessRefused) About() string { return e.Action + ": " + e.Code }

// Scope implements domain.Scoped: a refusal belongs to what somebody was kept from.
func (e AccessRefused) Scope() (domain.StudyID, domain.SiteID, domain.PatientID) {
	return e.Study, e.Site, e.Patient
}

// DoneBy implements domain.Attributed. The metadata name the program that records refusals.
func (e AccessRefused) DoneBy() (actor domain.UserID, address string) { return e.Actor, e.Address }
