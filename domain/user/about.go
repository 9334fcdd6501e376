package user

import "casebook/domain"

// About implements domain.Described.
func (e SignInFailed) About() string { return e.Code }

// About implements domain.Described.
func (e RoleGranted) About() string { return string(e.Grant.Role) }

// About implements domain.Described.
func (e RoleRevoked) About() string { return string(e.Grant.Role) }

// Scope implements domain.Scoped, so that the auditor of a study sees who could act in it.
func (e RoleGranted) Scope() (domain.StudyID, domain.SiteID, domain.PatientID) {
	return e.Grant.scope()
}

// Scope implements domain.Scoped.
func (e RoleRevoked) Scope() (domain.StudyID, domain.SiteID, domain.PatientID) {
	return e.Grant.scope()
}

func (g Grant) scope() (domain.StudyID, domain.SiteID, domain.PatientID) {
	return g.Study, g.Site, g.Patient
}
