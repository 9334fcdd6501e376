// Package identity declares the commands of the context identity: which decision, which facts, which roles.
package identity

import (
	"context"
	"errors"
	"slices"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/identity"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// Commands are the commands on who a patient is. They are open to the patient's site alone: what they hold may not be with the sponsor
// (ICH E6(R3) 2.12.4 and 3.16.1: confidentiality of participants). Their bodies are secret, because a hash of a name and a birth date can
// be guessed, also when the key of the data is destroyed.
var Commands = []commands.Command{
	commands.Handle(identity.Decider, identity.Record).
		AllowedTo(access.SiteStaff).
		PreparedWith(makeKey(func(c *identity.RecordIdentity) (domain.PatientID, *personal.KeyID) { return c.Patient, &c.Key })).
		Secret().
		Described("Record who a patient is, apart from clinical data",
			identity.RecordIdentity{OfPatient: domain.ForPatient("PAIN1.S-0001"), Details: exampleDetails}),
	commands.HandleWithFacts(identity.Decider, inForce, identity.Correct).
		AllowedTo(access.SiteStaff).
		Secret().
		Described("Correct who a patient is; a field that is not given is removed",
			identity.CorrectIdentity{OfPatient: domain.ForPatient("PAIN1.S-0001"), Details: exampleDetails, Reason: "Moved house"}),
	commands.Handle(identity.Decider, identity.Show).
		AllowedTo(access.SiteStaff).
		Revealing(commands.Shown(shown)).
		ShownAgain(showAgainFor, func(c identity.ReadIdentity) identity.ReadIdentity { return c }).
		Described("Show who a patient is; each reading is recorded",
			identity.ReadIdentity{OfPatient: domain.ForPatient("PAIN1.S-0001"), Purpose: identity.ToContact}),
}

// CommandsOfPush are the commands on the devices that are sent notifications. Where a device is reached is as secret as a name.
var CommandsOfPush = []commands.Command{
	commands.HandleWithFacts(identity.Decider, subscribedBefore, identity.Subscribe).
		AllowedTo(access.ThePatient, access.Caregivers).
		PreparedWith(ownDevice).
		Secret().
		Described("Have notifications sent to a device by its push service",
			identity.SubscribePush{OfPatient: domain.ForPatient("PAIN1.S-0001"), Device: exampleDevice, Subscription: exampleSubscription}),
	commands.Handle(identity.Decider, identity.Unsubscribe).
		AllowedTo(access.ThePatient, access.Caregivers, access.SiteStaff).
		Described("End the notifications to a device",
			identity.UnsubscribePush{OfPatient: domain.ForPatient("PAIN1.S-0001"), Device: exampleDevice}),
	commands.Handle(identity.Decider, identity.End).
		AllowedTo(access.Processes),
}

const exampleDevice = "3f2b8c1e-6d0a-4b57-9a43-c5e1f07d2b88"

// exampleSubscription has the keys of RFC 8291, appendix A.
var exampleSubscription = identity.Subscription{Endpoint: "https://push.example.net/send/dGhpcyBpcyBub3QgYSByZWFsIG9uZQ",
	P256DH: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", Auth: "BTBZMqHH6r4Tts7J_aSIgg"}

var exampleDetails = identity.Details{Name: "Erika Mustermann", BirthDate: "1964-08-12", Email: "erika@example.org",
	Phone: "+49 30 1234567", Address: "Heidestrasse 17, 51147 Koeln"}

// showAgainFor is how long a repeat of ReadIdentity shows again what a lost answer held.
const showAgainFor = 10 * time.Minute

// makeKey makes the key of the patient's data, if the patient has none. It is stored before anything is sealed with it. A key whose
// command is then refused, or comes second, protects nothing, and stays unused.
func makeKey[C any](of func(*C) (domain.PatientID, *personal.KeyID)) func(context.Context, *commands.Handler, commands.Request, *C) error {
	return func(ctx context.Context, h *commands.Handler, _ commands.Request, c *C) error {
		reader := h.Reader()
		who, key := of(c)
		recorded, err := commands.Read(ctx, reader, identity.Decider, string(who))
		if err != nil || recorded.Key != "" {
			return err
		}
		keys := reader.PersonalKeys()
		if keys == nil {
			return refusalOf(personal.ErrNoKeys)
		}
		*key, err = keys.Create(ctx)
		return refusalOf(err)
	}
}

var makePushKey = makeKey(func(c *identity.SubscribePush) (domain.PatientID, *personal.KeyID) { return c.Patient, &c.Key })

// ownDevice says whether the device is the sender's, and makes the key of the patient's data if there is none.
func ownDevice(ctx context.Context, h *commands.Handler, r commands.Request, c *identity.SubscribePush) error {
	account, err := commands.Read(ctx, h.Reader(), user.Decider, string(r.Principal.User))
	if err != nil {
		return err
	}
	session := r.Principal.Device.ID
	if c.Foreign = session != "" && session != c.Device || !account.Trusts(c.Device); c.Foreign {
		return nil // it is refused
	}
	return makePushKey(ctx, h, r, c)
}

// subscribedBefore returns the subscription of the device that is in force; the zero value if there is none.
func subscribedBefore(ctx context.Context, reader commands.Reader, c identity.SubscribePush) (identity.Subscription, error) {
	events, err := commands.ReadEvents(ctx, reader, identity.Decider, string(c.Patient))
	if err != nil {
		return identity.Subscription{}, err
	}
	for _, event := range slices.Backward(events) {
		if e, is := event.(identity.PushSubscribed); is && e.Device == c.Device {
			return reveal(ctx, reader, e.Subscription)
		}
	}
	return identity.Subscription{}, nil
}

// inForce returns the details that a correction replaces.
func inForce(ctx context.Context, reader commands.Reader, c identity.CorrectIdentity) (identity.Details, error) {
	all, err := recorded(ctx, reader, c.Patient)
	if err != nil || len(all) == 0 {
		return identity.Details{}, err
	}
	return all[0].Details, nil
}

// Shown is who a patient is, and how it was corrected.
type Shown struct {
	Recorded
	Former []Recorded `json:"former,omitempty" doc:"What was recorded before, the newest first"`
}

// Recorded is who a patient is, as it was recorded at a time.
type Recorded struct {
	identity.Details
	RecordedAt time.Time     `json:"recordedAt" doc:"When it was recorded"`
	RecordedBy domain.UserID `json:"recordedBy" doc:"Who recorded it"`
	Reason     string        `json:"reason,omitempty" doc:"Why it was corrected; absent where it is what was recorded first"`
}

// shown returns what ReadIdentity shows.
func shown(ctx context.Context, reader commands.Reader, _ identity.Identity, c identity.ReadIdentity) (*Shown, error) {
	all, err := recorded(ctx, reader, c.Patient)
	if err != nil {
		return nil, err
	}
	return &Shown{Recorded: all[0], Former: all[1:]}, nil
}

// recorded returns all that was recorded of a patient, the newest first. It reads the log, because states do not hold it.
func recorded(ctx context.Context, reader commands.Reader, who domain.PatientID) (all []Recorded, err error) {
	events, err := commands.ReadEvents(ctx, reader, identity.Decider, string(who))
	if err != nil {
		return nil, err
	}
	for _, event := range events {
		var r Recorded
		switch e := event.(type) {
		case identity.Recorded:
			r.RecordedAt, r.RecordedBy = e.At, e.By
			r.Details, err = reveal(ctx, reader, e.Details)
		case identity.Corrected:
			r.RecordedAt, r.RecordedBy = e.At, e.By
			if r.Details, err = reveal(ctx, reader, e.Details); err == nil {
				r.Reason, err = reveal(ctx, reader, e.Reason)
			}
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.Reverse(all)
	return all, nil
}

func reveal[T any](ctx context.Context, reader commands.Reader, v personal.Value[T]) (T, error) {
	content, err := personal.Reveal(ctx, reader.PersonalKeys(), v)
	return content, refusalOf(err)
}

// refusalOf makes of an error of the keys the refusal identity_erased, identity_unavailable or identity_key_missing.
func refusalOf(err error) error {
	switch {
	case errors.Is(err, personal.ErrDestroyed):
		return refuse.WrongState("identity_erased", "who the patient is was erased").Do("ask the site's own source documents")
	case errors.Is(err, personal.ErrNoKeys):
		return refuse.Overload("identity_unavailable", "this server has no keys of personal data").
			Do("tell those who run the system; the server needs the store of personal keys")
	case errors.Is(err, personal.ErrUnknownKey):
		return refuse.Overload("identity_key_missing", "the store of personal keys does not have the key of this patient").
			Do("tell those who run the system; the store may be the wrong one, or restored from an old backup")
	}
	return err
}
