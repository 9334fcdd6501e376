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
	// Version 1 has no moments.
	domain.Stored[RefusalsRepeated]("RefusalsRepeated", domain.Unchanged).ForReaders().InNoView("the audit trail shows it"),
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
// action and with the same code. It also counts those that could not be recorded in full when they happened.
type RefusalsRepeated struct {
	Actor  domain.UserID `json:"actor"`
	Action string        `json:"action"`
	Code   string        `json:"code"`
	Count  int           `json:"count"`
	// First and Last are when the first and the last of the counted refusals happened; zero in what earlier programs recorded.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
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
