// Package security holds the security log: what was refused to whom. It has its own streams, one a day, so that
// refusals never mix with the record of a patient.
package security

import (
	"casebook/domain"
)

// Event is what the security log can hold.
type Event interface{ securityEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[AccessRefused]("AccessRefused").ForReaders(),
	domain.Stored[RefusalsDropped]("RefusalsDropped").ForReaders(),
}

// AccessRefused records that somebody was refused a command or a query (21 CFR 11.10(d) and (g)).
type AccessRefused struct {
	// Actor is the user, or empty where the identity was not proven.
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

// ShownIn implements domain.ShownElsewhere: a refusal is shown where access was wanted, not where it was recorded.
func (e AccessRefused) ShownIn(domain.Scope) []domain.Scope {
	return []domain.Scope{{Study: e.Study, Site: e.Site, Patient: e.Patient}}
}

// RefusalsDropped says how many refusals were not recorded one by one, because they came faster than the log takes.
type RefusalsDropped struct {
	Count int `json:"count"`
}

func (AccessRefused) securityEvent()   {}
func (RefusalsDropped) securityEvent() {}
