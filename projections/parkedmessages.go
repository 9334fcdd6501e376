package projections

import (
	"casebook/domain/process"
	"casebook/readmodels"
)

type parked = readmodels.ParkedMessage

// ParkedMessages makes a document a message that a process could not deal with.
var ParkedMessages = New(readmodels.ParkedMessages, func(at Envelope) []string {
	var p process.Parked
	switch e := at.Event.(type) {
	case process.MessageParked:
		p = e.Parked
	case process.ParkedMessageRetried:
		p = e.Parked
	case process.ParkedMessageAbandoned:
		p = e.Parked
	}
	return []string{p.String()}
},
	On(func(m *parked, e process.MessageParked, at Envelope) {
		m.Process, m.Event, m.Study, m.Type, m.Stream, m.Revision = e.Process, e.Event, e.Study, e.Type, e.Stream, int64(e.Revision)
		m.Reason, m.Status, m.Since = e.Reason, readmodels.ParkedWaiting, at.Metadata.RecordedAt
		m.Times++
	}),
	On(func(m *parked, e process.ParkedMessageRetried, at Envelope) {
		decided(m, readmodels.ParkedRetried, e.Reason, at)
	}),
	On(func(m *parked, e process.ParkedMessageAbandoned, at Envelope) {
		decided(m, readmodels.ParkedAbandoned, e.Reason, at)
	}),
)

func decided(m *parked, status readmodels.ParkedStatus, reason string, at Envelope) {
	m.Status, m.DecidedBy, m.DecidedAt, m.Decision = status, at.Metadata.Actor, &at.Metadata.RecordedAt, reason
}
