// Package user holds the processes that send messages about accounts to the outside.
package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/notify"
	"casebook/sagas"

	"github.com/google/uuid"
)

// AccountTopic is the broker topic of messages about accounts.
const AccountTopic = "casebook.accounts"

// newsFor is how old an event may be that is sent as a message: on an old record, this process begins with its first event.
const newsFor = 24 * time.Hour

// messages derives the ids of messages from the events and the channels.
var messages = uuid.MustParse("5d2c8a1e-3c55-4c1f-9e0b-8c1f6b6f2a77")

// AccountMessage is what programs receive about an account.
type AccountMessage struct {
	User domain.UserID `json:"user"`
	// Event is PasswordGuessingSuspected, FirstAdministratorAppointed or AdministrationRecovered.
	Event      string    `json:"event"`
	Summary    string    `json:"summary"`
	OccurredAt time.Time `json:"occurredAt"`
}

// Processes are the processes of this context; there is a notifier for each channel.
func Processes(channels []notify.Channel) []sagas.Process {
	var all []sagas.Process
	for _, c := range channels {
		all = append(all, Notifier(c))
	}
	return all
}

// Notifier is the process that sends the messages of one channel about accounts: that somebody may be guessing a password,
// which is raised once an hour for an account, and what the operator of the machine has done alone. After a crash it sends
// a message again under the same id, by which the receiver knows it.
func Notifier(channel notify.Channel) sagas.Process {
	n := notifier{channel}
	return sagas.DefineRelay("notify-accounts-"+channel.Name(), sagas.Sends(),
		sagas.Pass(func(ctx context.Context, d *sagas.Desk, e user.PasswordGuessingSuspected, at eventlog.Recorded) error {
			return n.send(ctx, d, at, e.User, fmt.Sprintf("%d sign-ins in a row to the account %s have failed. Somebody may be guessing its "+
				"password, or know it and not have the second factor. The audit trail of accounts says from where.", e.Failures, e.User))
		}),
		sagas.Pass(func(ctx context.Context, d *sagas.Desk, e user.FirstAdministratorAppointed, at eventlog.Recorded) error {
			return n.send(ctx, d, at, e.User, fmt.Sprintf("%s has made the first administrator, %s, alone.", e.By, e.User))
		}),
		sagas.Pass(func(ctx context.Context, d *sagas.Desk, e user.AdministrationRecovered, at eventlog.Recorded) error {
			return n.send(ctx, d, at, e.User,
				fmt.Sprintf("%s has confirmed the administrator %s alone. The audit trail of accounts says why.", e.By, e.User))
		}),
	)
}

type notifier struct{ channel notify.Channel }

func (n notifier) send(ctx context.Context, d *sagas.Desk, at eventlog.Recorded, id domain.UserID, summary string) error {
	if d.Now().Sub(at.Metadata.RecordedAt) > newsFor {
		return nil
	}
	payload, err := json.Marshal(AccountMessage{User: id, Event: at.Type, Summary: summary, OccurredAt: at.Metadata.RecordedAt})
	if err != nil {
		return fmt.Errorf("describe an event of the account %s: %w", id, err)
	}
	err = n.channel.Send(ctx, notify.Message{ID: uuid.NewSHA1(messages, []byte(at.ID.String()+"/"+n.channel.Name())).String(),
		Topic: AccountTopic, Subject: "Account " + string(id) + ": " + summary, Text: summary + "\n", Payload: payload,
		OccurredAt: at.Metadata.RecordedAt, TraceID: at.Metadata.TraceID, CorrelationID: at.Metadata.CorrelationID})
	if errors.Is(err, notify.ErrRejected) { // it belongs to no study in which somebody could look at parked messages
		d.Logger().Error("a message about an account was refused", "user", id, "error", err)
		return nil
	}
	return err
}
