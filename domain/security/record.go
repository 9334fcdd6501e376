package security

import (
	"casebook/domain"
)

// Log is the state of a day's security log. It is empty, because no decision depends on it.
type Log struct{}

// Decider is the decider of the security log.
var Decider = domain.Decider[Log, Event]{Category: "security", Key: byDay, Events: events, Evolve: func(l Log, _ Event) Log { return l }}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams(), KeyDecider.Streams()}

// RecordAccessRefused records refusals of access. The product itself sends it.
type RecordAccessRefused struct {
	// Day is the UTC day whose log records them.
	Day      domain.Date     `json:"day"`
	Refusals []AccessRefused `json:"refusals"`
	// Repeated are refusals that repeat one that is recorded in full.
	Repeated []RefusalsRepeated `json:"repeated,omitempty"`
	// Dropped is how many refusals came faster than the log could take them.
	Dropped int `json:"dropped"`
}

// Record records every refusal, and the numbers of repeated and dropped ones. It refuses malformed_date.
func Record(_ Log, cmd RecordAccessRefused, _ domain.Call) ([]Event, error) {
	if err := cmd.Day.Validate(); err != nil {
		return nil, domain.At("day", err)
	}
	events := make([]Event, 0, len(cmd.Refusals)+len(cmd.Repeated)+1)
	for _, r := range cmd.Refusals {
		events = append(events, r)
	}
	for _, r := range cmd.Repeated {
		events = append(events, r)
	}
	if cmd.Dropped > 0 {
		events = append(events, RefusalsDropped{Count: cmd.Dropped})
	}
	return events, nil
}

// RecordClockStep records that the clock of a server was set. The product itself sends it.
type RecordClockStep struct {
	// Day is the UTC day whose log records it.
	Day  domain.Date  `json:"day"`
	Step ClockStepped `json:"step"`
}

// RecordStep records a step of the clock. It refuses malformed_date.
func RecordStep(_ Log, cmd RecordClockStep, _ domain.Call) ([]Event, error) {
	if err := cmd.Day.Validate(); err != nil {
		return nil, domain.At("day", err)
	}
	return []Event{cmd.Step}, nil
}

// byDay is the Key of Decider.
func byDay(command any) (id string, ok bool) {
	switch c := command.(type) {
	case RecordAccessRefused:
		return string(c.Day), true
	case RecordClockStep:
		return string(c.Day), true
	}
	return "", false
}
