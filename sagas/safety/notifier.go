package safety

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/safety"
	"casebook/eventlog"
	"casebook/notify"
	"casebook/sagas"

	"github.com/google/uuid"
)

// AlertTopic is the broker topic of messages about alerts.
const AlertTopic = "casebook.alerts"

// ReminderTopic is the broker topic of messages that remind patients: a push service of the ePRO app takes them.
const ReminderTopic = "casebook.reminders"

// Notifier is the process that sends the messages of one channel: about alerts, and to the broker reminders too. It reads
// whether the message was sent, sends it, and records that. After a crash in between, it sends the message again under the
// same id, by which the receiver knows it. A channel that is added later is sent nothing about the past.
func Notifier(channel notify.Channel) sagas.Process {
	n := notifier{channel}
	return sagas.DefineRelay("notify-"+channel.Name(),
		sagas.Sends(safety.RecordNotification{}),
		sagas.Pass(n.alertRaised),
		sagas.Pass(n.alertEscalated),
		sagas.Pass(n.reminderDue),
	).FromEnd()
}

type notifier struct{ channel notify.Channel }

// AlertMessage is what programs receive about an alert. It leaves the system, so it has no answers, no arm and no identity.
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

func (n notifier) alertRaised(ctx context.Context, d *sagas.Desk, e safety.AlertRaised, at eventlog.Recorded) error {
	return n.notify(ctx, d, e.Alert, 0, at)
}

func (n notifier) alertEscalated(ctx context.Context, d *sagas.Desk, e safety.AlertEscalated, at eventlog.Recorded) error {
	return n.notify(ctx, d, e.Alert, e.Level, at)
}

// notify sends the message about a level of an alert.
func (n notifier) notify(ctx context.Context, d *sagas.Desk, id safety.AlertID, level int, at eventlog.Recorded) error {
	alert, err := commands.ReadNewest(ctx, d.ReaderAfter(at), safety.Decider, string(id))
	if err != nil {
		return fmt.Errorf("notify of alert %s: %w", id, err)
	}
	if alert.Settled(safety.Notification{Level: level, Channel: n.channel.Name()}) {
		return nil
	}
	m, err := n.compose(alert, level, at)
	if err != nil {
		return sagas.Permanent(err)
	}
	if err := d.Fault("before the message"); err != nil {
		return err
	}
	record := safety.RecordNotification{OfAlert: safety.OfAlert{Alert: id}, Level: level, Channel: n.channel.Name(), Message: m.ID}
	if err := n.channel.Send(ctx, m); errors.Is(err, notify.ErrRejected) {
		record.Refused = err.Error()
	} else if err != nil {
		return fmt.Errorf("notify of alert %s: %w", id, err)
	}
	if err := d.Fault("after the message"); err != nil {
		return err
	}
	_, err = d.Send(ctx, record, m.ID, &at)
	return err
}

// messages derives the ids of messages.
var messages = uuid.MustParse("a3a3f2de-7c43-4c07-8f43-a5fdb8b05a1e")

// brokerChannel is the name of the channel that reminders go to; patients are not written to.
const brokerChannel = "broker"

// reminderDue sends a reminder, unless its window has closed meanwhile.
func (n notifier) reminderDue(ctx context.Context, d *sagas.Desk, r diary.ReminderDue, at eventlog.Recorded) error {
	if n.channel.Name() != brokerChannel || r.Window.Closes.Before(d.Now()) {
		return nil
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return sagas.Permanent(err)
	}
	err = n.channel.Send(ctx, notify.Message{ID: at.ID.String(), Topic: ReminderTopic,
		Subject: "Your diary is open", Text: "Your diary is open.", Payload: payload, OccurredAt: at.Metadata.RecordedAt,
		TraceID: at.Metadata.TraceID, CorrelationID: at.Metadata.CorrelationID})
	if errors.Is(err, notify.ErrRejected) {
		return sagas.Permanent(err)
	}
	return err
}

// compose makes the message; its id is the same however often it is made.
func (n notifier) compose(a safety.Alert, level int, at eventlog.Recorded) (notify.Message, error) {
	payload, err := json.Marshal(AlertMessage{Alert: a.Alert, Study: a.Study, Site: a.Site, Patient: a.Patient, Kind: a.Kind,
		Severity: a.Severity, Summary: a.Summary, Level: level, OccurredAt: a.OccurredAt, ReviewBy: a.ReviewBy})
	if err != nil {
		return notify.Message{}, err
	}
	subject := fmt.Sprintf("[%s] %s alert: %s", a.Study, a.Severity, a.Summary)
	if level > 0 {
		subject = fmt.Sprintf("[%s] escalated: %s", a.Study, a.Summary)
	}
	return notify.Message{ID: uuid.NewSHA1(messages, fmt.Appendf(nil, "%s/%d/%s", a.Alert, level, n.channel.Name())).String(),
		Topic: AlertTopic, Subject: subject, Text: fmt.Sprintf("%s\n\nAlert %s of study %s, recorded %s.\nPlease look at it by %s.\n",
			a.Summary, a.Alert, a.Study, a.OccurredAt.Format(time.RFC3339), a.ReviewBy.Format(time.RFC3339)),
		Payload: payload, OccurredAt: a.OccurredAt, TraceID: at.Metadata.TraceID, CorrelationID: at.Metadata.CorrelationID}, nil
}
