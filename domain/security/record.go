package security

import (
	"casebook/domain"
)

// Log is the state of a day's security log; nothing is decided on it.
type Log struct{}

// Decider is how a day's security log works.
var Decider = domain.Decider[Log, Event]{Category: "security", Key: byDay, Events: events, Evolve: func(l Log, _ Event) Log { return l }}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// RecordAccessRefused records refusals of access. The product itself sends it.
type RecordAccessRefused struct {
	// Day is the UTC day whose log takes them.
	Day      domain.Date     `json:"day"`
	Refusals []AccessRefused `json:"refusals"`
	// Dropped is how many came faster than the log takes.
	Dropped int `json:"dropped"`
}

// Record records every refusal, and the number of those that were dropped. It refuses malformed_date.
func Record(_ Log, cmd RecordAccessRefused, _ domain.Call) ([]Event, error) {
	if err := cmd.Day.Validate(); err != nil {
		return nil, domain.At("day", err)
	}
	events := make([]Event, 0, len(cmd.Refusals)+1)
	for _, r := range cmd.Refusals {
		events = append(events, r)
	}
	if cmd.Dropped > 0 {
		events = append(events, RefusalsDropped{Count: cmd.Dropped})
	}
	return events, nil
}

// byDay is the key of the streams of the security log.
func byDay(command any) (id string, ok bool) {
	c, ok := command.(RecordAccessRefused)
	return string(c.Day), ok
}
