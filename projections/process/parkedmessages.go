package process

import (
	"casebook/domain/process"
	"casebook/projections"
	processviews "casebook/readmodels/process"
)

type parked = processviews.ParkedMessage

// ParkedMessages makes one document per message that a process could not deal with.
var ParkedMessages = projections.New(processviews.ParkedMessages, projections.ByStream,
	projections.On(func(m *parked, e process.MessageParked, at projections.Envelope) {
		m.Process, m.Event, m.Study, m.Type, m.Stream, m.Revision = e.Process, e.Event, e.Study, e.Type, e.Stream, int64(e.Revision)
		m.Reason, m.Status, m.Since = e.Reason, processviews.ParkedWaiting, at.Metadata.RecordedAt
		m.Times++
	}),
	projections.On(func(m *parked, e process.ParkedMessageRetried, at projections.Envelope) {
		decided(m, processviews.ParkedRetried, string(e.Reason), at)
	}),
	projections.On(func(m *parked, e process.ParkedMessageAbandoned, at projections.Envelope) {
		decided(m, processviews.ParkedAbandoned, string(e.Reason), at)
	}),
)

func decided(m *parked, status processviews.ParkedStatus, reason string, at projections.Envelope) {
	m.Status, m.DecidedBy, m.DecidedAt, m.Decision = status, at.Metadata.Actor, &at.Metadata.RecordedAt, reason
}
