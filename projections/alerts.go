package projections

import (
	"time"

	"casebook/domain/safety"
	"casebook/readmodels"
)

type alert = readmodels.Alert

// Alerts makes a document an alert.
var Alerts = New(readmodels.Alerts, byAlert,
	On(func(a *alert, e safety.AlertRaised, at Envelope) {
		a.Alert, a.Study, a.Site, a.Patient, a.Kind, a.Severity = e.Alert, e.Study, e.Site, e.Patient, e.Kind, e.Severity
		a.Summary, a.OccurredAt, a.RaisedAt, a.ReviewBy = e.Summary, e.OccurredAt.UTC(), at.Metadata.RecordedAt, timeIfAny(e.ReviewBy)
		a.Notifications = []readmodels.Notification{}
		a.Become(readmodels.AlertOpen)
	}),
	On(func(a *alert, e safety.AlertReviewed, at Envelope) {
		a.ReviewedBy, a.ReviewedAt, a.Note, a.ReviewBy = at.Metadata.Actor, &at.Metadata.RecordedAt, e.Note, nil
		a.Become(readmodels.AlertReviewed)
	}),
	On(func(a *alert, e safety.AlertEscalated, _ Envelope) {
		a.Level, a.ReviewBy = e.Level, timeIfAny(e.ReviewBy)
	}),
	On(func(a *alert, e safety.AlertClosed, at Envelope) {
		a.ClosedBy, a.ClosedAt, a.Outcome = at.Metadata.Actor, &at.Metadata.RecordedAt, e.Outcome
		a.Become(readmodels.AlertClosed)
	}),
	On(func(a *alert, e safety.NotificationSent, at Envelope) {
		a.Notified(readmodels.Notification{Channel: e.Channel, Level: e.Level, Sent: true, At: at.Metadata.RecordedAt})
	}),
	On(func(a *alert, e safety.NotificationFailed, at Envelope) {
		a.Notified(readmodels.Notification{Channel: e.Channel, Level: e.Level, Reason: e.Reason, At: at.Metadata.RecordedAt})
	}),
).BegunBy(func(at Envelope) bool {
	_, raised := at.Event.(safety.AlertRaised)
	return raised
})

func byAlert(at Envelope) []string {
	var id safety.AlertID
	switch e := at.Event.(type) {
	case safety.AlertRaised:
		id = e.Alert
	case safety.AlertReviewed:
		id = e.Alert
	case safety.AlertEscalated:
		id = e.Alert
	case safety.AlertClosed:
		id = e.Alert
	case safety.NotificationSent:
		id = e.Alert
	case safety.NotificationFailed:
		id = e.Alert
	}
	return []string{string(id)}
}

func timeIfAny(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
