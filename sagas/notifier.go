package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/safety"
	"casebook/eventlog"
	"casebook/notify"

	"github.com/google/uuid"
)

// AlertTopic is the broker topic of messages about alerts.
const AlertTopic = "casebook.alerts"

// ReminderTopic is the broker topic of messages that remind patients: a push service of the ePRO app takes them.
const ReminderTopic = "casebook.reminders"

// notifierTypes are the events that are told of.
var notifierTypes = []string{"AlertRaised", "AlertEscalated", "DiaryReminderDue"}

func notifierName(c notify.Channel) string { return "notify-" + c.Name() }

// notifier tells one channel of alerts. It looks whether the channel has been told, tells it, and records that: a crash in
// between tells it again under the same id, by which the receiver knows the message.
type notifier struct {
	channel notify.Channel
	handler *commands.Handler
	now     func() time.Time
	// fault is called at every point at which a crash would matter; nil outside of tests.
	fault func(point string) error
}

// AlertMessage is what programs are told of an alert. It leaves the system, so it has no answers, no arm and no identity.
type AlertMessage struct {
	Alert      safety.AlertID   `json:"alert"`
	Study      domain.StudyID   `json:"study"`
	Site       domain.SiteID    `json:"site,omitempty"`
	Patient    domain.PatientID `json:"patient,omitempty"`
	Kind       safety.Kind      `json:"kind"`
	Severity   safety.Severity  `json:"severity"`
	Summary    string           `json:"summary"`
	Level      int              `json:"level"`
	OccurredAt time.Time        `json:"occurredAt"`
	ReviewBy   time.Time        `json:"reviewBy"`
}

func (n *notifier) deal(ctx context.Context, e eventlog.Recorded) error {
	var id safety.AlertID
	level := 0
	switch event := e.Event.(type) {
	case diary.ReminderDue:
		return n.remind(ctx, e, event)
	case safety.AlertRaised:
		id = event.Alert
	case safety.AlertEscalated:
		id, level = event.Alert, event.Level
	default:
		return nil
	}
	alert, err := commands.Newest(ctx, n.handler.LookAfter(e.Position.Commit), safety.Decider, string(id))
	if err != nil {
		return fmt.Errorf("notify of alert %s: %w", id, err)
	}
	if alert.Told(safety.Notice{Level: level, Channel: n.channel.Name()}) {
		return nil
	}
	m, err := n.compose(alert, level, e)
	if err != nil {
		return permanent(err)
	}
	if err := n.at("before the message"); err != nil {
		return err
	}
	record := safety.RecordNotification{OfAlert: safety.OfAlert{Alert: id}, Level: level, Channel: n.channel.Name(), Message: m.ID}
	if err := n.channel.Send(ctx, m); errors.Is(err, notify.ErrRejected) {
		record.Refused = err.Error()
	} else if err != nil {
		return fmt.Errorf("notify of alert %s: %w", id, err)
	}
	if err := n.at("after the message"); err != nil {
		return err
	}
	body, err := json.Marshal(record)
	if err != nil {
		return permanent(err)
	}
	_, err = n.handler.Do(ctx, commands.Request{Name: "RecordNotification", Body: body, Key: m.ID, Principal: access.Process(notifierName(n.channel)),
		CorrelationID: e.Metadata.CorrelationID, CausationID: e.ID.String(), TraceID: e.Metadata.TraceID})
	return err
}

// brokerChannel is the name of the channel that reminders go to; patients are not written to.
const brokerChannel = "broker"

// remind sends a reminder, unless its window has closed meanwhile.
func (n *notifier) remind(ctx context.Context, e eventlog.Recorded, r diary.ReminderDue) error {
	if n.channel.Name() != brokerChannel || r.Window.Closes.Before(n.now()) {
		return nil
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return permanent(err)
	}
	err = n.channel.Send(ctx, notify.Message{ID: e.ID.String(), Topic: ReminderTopic, Subject: "Your diary is open", Text: "Your diary is open.",
		Payload: payload, OccurredAt: e.Metadata.RecordedAt, TraceID: e.Metadata.TraceID, CorrelationID: e.Metadata.CorrelationID})
	if errors.Is(err, notify.ErrRejected) {
		return permanent(err)
	}
	return err
}

func (n *notifier) at(point string) error {
	if n.fault == nil {
		return nil
	}
	return n.fault(point)
}

// compose makes the message; its id is the same however often it is made.
func (n *notifier) compose(a safety.Alert, level int, e eventlog.Recorded) (notify.Message, error) {
	payload, err := json.Marshal(AlertMessage{Alert: a.Alert, Study: a.Study, Site: a.Site, Patient: a.Patient, Kind: a.Kind, Severity: a.Severity,
		Summary: a.Summary, Level: level, OccurredAt: a.OccurredAt, ReviewBy: a.ReviewBy})
	if err != nil {
		return notify.Message{}, err
	}
	subject := fmt.Sprintf("[%s] %s alert: %s", a.Study, a.Severity, a.Summary)
	if level > 0 {
		subject = fmt.Sprintf("[%s] escalated: %s", a.Study, a.Summary)
	}
	return notify.Message{ID: uuid.NewSHA1(alerts, fmt.Appendf(nil, "%s/%d/%s", a.Alert, level, n.channel.Name())).String(),
		Topic: AlertTopic, Subject: subject, Text: fmt.Sprintf("%s\n\nAlert %s of study %s, recorded %s.\nPlease look at it by %s.\n",
			a.Summary, a.Alert, a.Study, a.OccurredAt.Format(time.RFC3339), a.ReviewBy.Format(time.RFC3339)),
		Payload: payload, OccurredAt: a.OccurredAt, TraceID: e.Metadata.TraceID, CorrelationID: e.Metadata.CorrelationID}, nil
}
