package domain

// Scope is what a command, a query or an event is about. Empty parts are left open: a scope without a site means the
// whole study, the empty scope what belongs to no study.
type Scope struct {
	Study   StudyID
	Site    SiteID
	Patient PatientID
}

// String names the scope for a refusal's sentence.
func (s Scope) String() string {
	switch {
	case s.Patient != "":
		return "on patient " + string(s.Patient)
	case s.Site != "":
		return "at site " + string(s.Site) + " of study " + string(s.Study)
	case s.Study != "":
		return "in study " + string(s.Study)
	}
	return "here"
}
