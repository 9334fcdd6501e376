// Package security holds the security log: who was refused what. It has one stream for each day, so that refusals are
// kept apart from the record of a patient. A stream of its own records the blinding key.
package security

import (
	"time"

	"casebook/domain"
)

// Event is an event of the security log.
type Event interface{ securityEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[AccessRefused]("AccessRefused").ForReaders().InNoView("the audit trail shows it"),
	// Version 1 has no moments, version 2 does not say what the refused requests were about.
	domain.Stored[RefusalsRepeated]("RefusalsRepeated", domain.Unchanged, domain.Unchanged).ForReaders().InNoView("the audit trail shows it"),
	domain.Stored[RefusalsDropped]("RefusalsDropped").ForReaders().InNoView("the audit trail shows it"),
	domain.Stored[ClockStepped]("ClockStepped").ForReaders().InNoView("the audit trail shows it"),
}

// AccessRefused records that somebody was refused a command or a query (21 CFR 11.10(d) and (g)).
type AccessRefused struct {
	// Actor is the user; it is empty if the identity was not proven.
	Actor domain.UserID `json:"actor,omitempty"`
	// Action is the command's or the query's name.
	Action  string           `json:"action"`
	Study   domain.StudyID   `json:"study,omitempty"`
	Site    domain.SiteID    `json:"site,omitempty"`
	Patient domain.PatientID `json:"patient,omitempty"`
	Code    string           `json:"code"`
	Reason  string           `json:"reason"`
	Address string           `json:"address,omitempty"`
}

// RefusalsRepeated counts the refusals that a user got within a minute after one that is recorded in full, for the same
// action, with the same code, and about subjects of the same kind in the same study. It also counts those that could not be recorded
// in full when they happened.
type RefusalsRepeated struct {
	Actor  domain.UserID `json:"actor"`
	Action string        `json:"action"`
	Code   string        `json:"code"`
	Count  int           `json:"count"`
	// First and Last are when the first and the last of the counted refusals happened; zero in what earlier programs recorded.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Study is the study of the refused requests; empty for those outside of studies. What follows is about what the requests were
	// about; it is empty in what earlier programs recorded.
	Study domain.StudyID `json:"study,omitempty"`
	// Kind is the kind of the subjects, and Subjects how many different ones there were; at least as many if AtLeast is true.
	Kind     SubjectKind `json:"kind,omitempty"`
	Subjects int         `json:"subjects,omitempty"`
	AtLeast  bool        `json:"atLeast,omitempty"`
	// Named are the ids of the first subjects, at most MaxNamed.
	Named []string `json:"named,omitempty"`
}

// Several is the Action and the Code of RefusalsRepeated where a user had so many kinds of refusals at a time that the further ones are
// counted together.
const Several = "several"

// MaxNamed bounds RefusalsRepeated.Named.
const MaxNamed = 50

// SubjectKind is the kind of what a request is about.
type SubjectKind string

// The kinds of subjects.
const (
	AboutPatients SubjectKind = "patient"
	AboutSites    SubjectKind = "site"
	AboutStudies  SubjectKind = "study"
	AboutNothing  SubjectKind = "none"
)

// SubjectOf returns the kind and the id of what a request in a scope is about.
func SubjectOf(s domain.Scope) (kind SubjectKind, id string) {
	switch {
	case s.Patient != "":
		return AboutPatients, string(s.Patient)
	case s.Site != "":
		return AboutSites, string(s.Site)
	case s.Study != "":
		return AboutStudies, string(s.Study)
	}
	return AboutNothing, ""
}

// RefusalsDropped says how many refusals were not recorded singly, because they came faster than the log could take
// them.
type RefusalsDropped struct {
	Count int `json:"count"`
}

// ClockStepped records that the clock of a server was set: it went from one time to another at once (ICH E6(R3) 4.2.2: the
// audit trail's times are to be trusted).
type ClockStepped struct {
	// Host is the machine whose clock it is.
	Host string `json:"host"`
	// From is the time that the clock would have shown without the step, To the time that it showed.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func (AccessRefused) securityEvent()    {}
func (RefusalsRepeated) securityEvent() {}
func (RefusalsDropped) securityEvent()  {}
func (ClockStepped) securityEvent()     {}
