// Package identity holds the process that reminds patients on their devices and by e-mail.
package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/identity"
	"casebook/domain/personal"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/notify"
	"casebook/sagas"

	"github.com/google/uuid"
)

// Senders are by what patients are reminded; nil for what is not configured.
type Senders struct {
	// Push sends to devices.
	Push *notify.Push
	// Mail sends e-mail.
	Mail notify.Channel
}

// Processes are the processes of this context: none, if nothing is configured by which patients could be reminded.
func Processes(by Senders) []sagas.Process {
	if by.Push == nil && by.Mail == nil {
		return nil
	}
	return []sagas.Process{Reminders(by)}
}

// Reminders is the process that sends a reminder to each device that has subscribed, and, if none has taken it and the patient has chosen
// so, by e-mail. It is the only process that opens personal data. What it sends names neither the trial nor what is to be filled in,
// because others look at telephones and mailboxes. What leads nowhere is ended; what fails is tried again, until the window closes, and by
// e-mail as well when it has failed for mailAfter. The past is not made up for.
func Reminders(by Senders) sagas.Process {
	return sagas.DefineRelay("patient-reminders", sagas.Sends(identity.EndPush{}), sagas.Pass(by.remind)).FromEnd()
}

// messages derives the ids of reminders.
var messages = uuid.MustParse("c7c9b7e2-6f0e-4a39-9d39-0f5d3a6c1f04")

// Notification is what a device gets: the app shows it as it is.
type Notification struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	// Language is that of the texts.
	Language string `json:"lang"`
	// Tag is the same for repeats of a notification, which then takes the place of the one before.
	Tag string `json:"tag"`
}

// remind sends a reminder by all ways that the patient has, unless its window has closed meanwhile.
func (by Senders) remind(ctx context.Context, d *sagas.Desk, r diary.ReminderDue, at eventlog.Recorded) error {
	if !r.Window.Closes.After(d.Now()) {
		return nil
	}
	reader := d.ReaderAfter(at)
	state, err := commands.ReadNewest(ctx, reader, diary.Decider, string(r.Patient))
	if err != nil {
		return fmt.Errorf("read the diary: %w", err)
	}
	events, err := commands.ReadEvents(ctx, reader, identity.Decider, string(r.Patient))
	if err != nil {
		return fmt.Errorf("read how the patient is reached: %w", err)
	}
	m := reminder{desk: d, at: at, patient: r.Patient, until: r.Window.Closes, keys: reader.PersonalKeys(),
		id: uuid.NewSHA1(messages, []byte(at.ID.String())).String(), text: reminderIn(state.Language())}
	taken, err := by.push(ctx, m, reader, events)
	if taken == 0 && state.RemindsByEmail() && by.Mail != nil && mayBeMailed(err, at.Metadata.RecordedAt, d.Now(), m.until) {
		mailed, failed := by.mail(ctx, m, events)
		if mailed && hasOther(err) {
			return nil // the patient is reminded, and not again by a device that can be reached later
		}
		err = errors.Join(err, failed)
	}
	return outcome(err)
}

// mailAfter is how long devices may fail to be reached before an e-mail takes their place. Few outages of push services last longer.
const mailAfter = 15 * time.Minute

// mayBeMailed says whether a reminder that no device has taken is sent by e-mail: at once, unless a device may take it yet; then when that
// has failed for mailAfter, or when the window closes before long.
func mayBeMailed(pushed error, due, now, closes time.Time) bool {
	return pushed == nil || !hasOther(pushed) || now.Sub(due) >= mailAfter || closes.Sub(now) <= mailAfter
}

// outcome returns the error of a reminder as the engine needs it: it is permanent only if nothing in it may succeed later. Otherwise it is
// tried until the window closes.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, notify.ErrRejected) && !hasOther(err):
		return sagas.Permanent(err)
	default:
		return sagas.TryOn(err)
	}
}

// hasOther says whether one of the joined errors may be gone when it is tried again.
func hasOther(err error) bool {
	joined, is := err.(interface{ Unwrap() []error })
	if _, problem := err.(*notify.Problem); is && !problem { //nolint:errorlint // the problem's own causes are not joined errors
		return slices.ContainsFunc(joined.Unwrap(), hasOther)
	}
	return !errors.Is(err, notify.ErrRejected)
}

// reminder is one reminder on its way.
type reminder struct {
	desk    *sagas.Desk
	at      eventlog.Recorded
	patient domain.PatientID
	until   time.Time
	keys    personal.Keys
	id      string
	text    reminderText
}

// push sends a reminder to the devices, and returns how many have taken it.
func (by Senders) push(ctx context.Context, m reminder, reader commands.Reader, events []identity.Event) (taken int, err error) {
	if by.Push == nil {
		return 0, nil
	}
	payload, err := json.Marshal(Notification{Title: m.text.subject, Body: m.text.body, Language: m.text.language, Tag: m.id})
	if err != nil {
		return 0, sagas.Permanent(err)
	}
	for _, device := range identity.Decider.Fold(events...).Push {
		sent, failed := by.pushTo(ctx, m, reader, device, events, payload)
		if sent {
			taken++
		}
		err = errors.Join(err, failed)
	}
	return taken, err
}

// pushTo sends a reminder to one device. It ends the subscription of a device that the account does not have any more, or that the push
// service does not know, and of an account that is not the patient's or a caregiver's any more.
func (by Senders) pushTo(ctx context.Context, m reminder, reader commands.Reader, device identity.PushDevice, events []identity.Event,
	payload []byte) (sent bool, err error) {
	owner, err := commands.ReadNewest(ctx, reader, user.Decider, string(device.By))
	if err != nil {
		return false, fmt.Errorf("read the account of a device: %w", err)
	}
	if owner.Deactivated || slices.Contains(owner.Revoked, device.Device) || !slices.ContainsFunc(owner.Grants, func(g user.Grant) bool {
		return g.Patient == m.patient && g.Role.IsOfOnePatient()
	}) {
		return false, m.end(ctx, device, identity.PushRevoked)
	}
	to, err := subscription(ctx, m.keys, device, events)
	if errors.Is(err, personal.ErrDestroyed) {
		return false, nil // the patient is erased
	}
	if err != nil {
		return false, err
	}
	err = by.Push.Send(ctx, notify.PushSubscription{Endpoint: to.Endpoint, P256DH: to.P256DH, Auth: to.Auth},
		notify.PushMessage{ID: m.id, Payload: payload, Until: m.until})
	if errors.Is(err, notify.ErrGone) {
		return false, m.end(ctx, device, identity.PushGone)
	}
	return err == nil, err
}

// end ends a subscription.
func (m reminder) end(ctx context.Context, device identity.PushDevice, why identity.EndOfPush) error {
	cmd := identity.EndPush{OfPatient: domain.ForPatient(m.patient), Device: device.Device, Number: device.Number, Why: why}
	_, err := m.desk.Send(ctx, cmd, fmt.Sprintf("%s/push/%d", m.patient, device.Number), &m.at)
	return err
}

// subscription opens the subscription of a device.
func subscription(ctx context.Context, keys personal.Keys, device identity.PushDevice, events []identity.Event,
) (to identity.Subscription, err error) {
	for _, event := range events {
		if e, is := event.(identity.PushSubscribed); is && e.Number == device.Number {
			return personal.Reveal(ctx, keys, e.Subscription)
		}
	}
	return to, fmt.Errorf("subscription %d is not in the log", device.Number)
}

// mail sends a reminder to the patient's e-mail address, if there is one, and says whether the server has taken it.
func (by Senders) mail(ctx context.Context, m reminder, events []identity.Event) (mailed bool, err error) {
	var details personal.Value[identity.Details]
	for _, event := range events {
		switch e := event.(type) {
		case identity.Recorded:
			details = e.Details
		case identity.Corrected:
			details = e.Details
		}
	}
	if details.Key() == "" {
		return false, nil
	}
	known, err := personal.Reveal(ctx, m.keys, details)
	if errors.Is(err, personal.ErrDestroyed) || err == nil && known.Email == "" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = by.Mail.Send(ctx, notify.Message{ID: m.id, Subject: m.text.subject, Text: m.text.body + "\n", To: []string{known.Email},
		OccurredAt: m.at.Metadata.RecordedAt, TraceID: m.at.Metadata.TraceID, CorrelationID: m.at.Metadata.CorrelationID})
	return err == nil, err
}
