package safety

import (
	"time"

	"casebook/domain/safety"
	"casebook/projections"
	safetyviews "casebook/readmodels/safety"
)

type alert = safetyviews.Alert

// Alerts makes one document per alert.
var Alerts = projections.New(safetyviews.Alerts, projections.ByStream,
	projections.Begin(func(a *alert, e safety.AlertRaised, at projections.Envelope) {
		a.Alert, a.Study, a.Patient, a.Kind, a.Severity = e.Alert, e.Study, e.Patient, e.Kind, e.Severity
		a.At(e.Site, e.Sites)
		a.Cause = safetyviews.Cause{Instrument: e.Instrument, Window: e.Window, Rule: e.Rule, Message: e.Message}
		a.Summary, a.OccurredAt, a.RaisedAt, a.ReviewBy = e.Summary, e.OccurredAt.UTC(), at.Metadata.RecordedAt, timeIfAny(e.ReviewBy)
		a.Become(safetyviews.AlertOpen)
	}),
	projections.On(func(a *alert, e safety.AlertReviewed, at projections.Envelope) {
		a.ReviewedBy, a.ReviewedAt, a.Note, a.ReviewBy = at.Metadata.Actor, &at.Metadata.RecordedAt, string(e.Note), nil
		a.Become(safetyviews.AlertReviewed)
	}),
	projections.On(func(a *alert, e safety.AlertEscalated, _ projections.Envelope) {
		a.Level, a.ReviewBy = e.Level, timeIfAny(e.ReviewBy)
	}),
	projections.On(func(a *alert, e safety.AlertClosed, at projections.Envelope) {
		a.ClosedBy, a.ClosedAt, a.Outcome = at.Metadata.Actor, &at.Metadata.RecordedAt, string(e.Outcome)
		a.Become(safetyviews.AlertClosed)
	}),
	projections.On(func(a *alert, e safety.NotificationSent, at projections.Envelope) {
		a.Notified(safetyviews.Notification{Channel: e.Channel, Level: e.Level, Sent: true, At: at.Metadata.RecordedAt})
	}),
	projections.On(func(a *alert, e safety.NotificationFailed, at projections.Envelope) {
		a.Notified(safetyviews.Notification{Channel: e.Channel, Level: e.Level, Reason: string(e.Reason), At: at.Metadata.RecordedAt})
	}),
)

func timeIfAny(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
