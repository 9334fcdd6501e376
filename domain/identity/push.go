package identity

import (
	"crypto/ecdh"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// maxPushDevices is how many devices of a patient, and of those who care for the patient, may be sent notifications.
const maxPushDevices = 20

// maxEndpointChars bounds the address of a subscription. Those of push services have a few hundred characters.
const maxEndpointChars = 1000

// Subscription is where a push service takes notifications for one device, and what they are encrypted with (W3C Push API; RFC 8291).
// Who has it can find the device, and through the service its owner.
type Subscription struct {
	Endpoint string `json:"endpoint" minLength:"1" maxLength:"1000" doc:"Address at the push service, as the browser has it" example:"https://push.example.net/send/dGhpcyBpcyBub3QgYSByZWFsIG9uZQ"`
	P256DH   string `json:"p256dh" minLength:"1" maxLength:"100" doc:"Public key of the device for messages: the browser's getKey(\"p256dh\"), in base64url" example:"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"`
	Auth     string `json:"auth" minLength:"1" maxLength:"30" doc:"Secret of the device for messages: the browser's getKey(\"auth\"), in base64url" example:"BTBZMqHH6r4Tts7J_aSIgg"`
}

// PushSubscribed says that a device of the patient, or of a caregiver, is sent notifications.
type PushSubscribed struct {
	Patient domain.PatientID `json:"patient"`
	Device  user.DeviceID    `json:"device"`
	// Number counts the subscriptions of the patient. A later one of the same device takes the place of the former.
	Number int `json:"number"`
	// Key is the key of the patient's data.
	Key          personal.KeyID               `json:"key"`
	Subscription personal.Value[Subscription] `json:"subscription"`
	At           time.Time                    `json:"at"`
	By           domain.UserID                `json:"by"`
}

// PushEnded says that a device is sent no notifications any more.
type PushEnded struct {
	Patient domain.PatientID `json:"patient"`
	Device  user.DeviceID    `json:"device"`
	Number  int              `json:"number"`
	Why     EndOfPush        `json:"why"`
}

func (PushSubscribed) identityEvent() {}
func (PushEnded) identityEvent()      {}

// About implements domain.Described.
func (e PushSubscribed) About() string { return string(e.Device) }

// About implements domain.Described.
func (e PushEnded) About() string { return string(e.Device) + ": " + string(e.Why) }

// EndOfPush is why a device is sent no notifications any more.
type EndOfPush string

// The ends of subscriptions.
const (
	PushUnsubscribed EndOfPush = "unsubscribed" // somebody has asked for it
	PushGone         EndOfPush = "gone"         // the push service does not know the subscription any more
	PushRevoked      EndOfPush = "revoked"      // the account does not have the device any more
)

// Schema implements domain.HasSchema.
func (EndOfPush) Schema() domain.Schema { return domain.OneOf(PushUnsubscribed, PushGone, PushRevoked) }

// PushDevice is a device that is sent notifications. Where it is reached is in the log alone.
type PushDevice struct {
	Device user.DeviceID
	// Number is that of its subscription.
	Number int
	// By is the account that has subscribed.
	By domain.UserID
}

// SubscribePush has notifications sent to a device of the sender.
type SubscribePush struct {
	domain.OfPatient
	Device user.DeviceID `json:"device" doc:"The device, as the app names it at the sign-in"`
	Subscription
	// Key is a new key of the patient's data, for a patient who has none.
	Key personal.KeyID `json:"-"`
	// Foreign says that the sender's account has not enrolled the device, or has revoked it, or that the session is that of another one.
	Foreign bool `json:"-"`
}

// UnsubscribePush ends the notifications to a device.
type UnsubscribePush struct {
	domain.OfPatient
	Device user.DeviceID `json:"device" doc:"The device, as the app names it at the sign-in"`
}

// EndPush ends a subscription that leads nowhere. The process that sends notifications sends it.
type EndPush struct {
	domain.OfPatient
	Device user.DeviceID `json:"device"`
	Number int           `json:"number"`
	Why    EndOfPush     `json:"why"`
}

// Subscribe decides about SubscribePush. before is the subscription of the device that is in force; an app may send the same one as often
// as it likes. It refuses malformed_id, malformed_subscription, device_not_enrolled,
// device_of_another_account and too_many_devices.
func Subscribe(i Identity, before Subscription, cmd SubscribePush, call domain.Call) ([]Event, error) {
	if err := domain.First(cmd.Device.Validate(), cmd.Subscription.check()); err != nil {
		return nil, err
	}
	if cmd.Foreign {
		return nil, refuse.Because("device_not_enrolled", "%s is not the device of this session", refuse.Shortened(string(cmd.Device))).
			At("device").Do("name the device that this sign-in has enrolled")
	}
	at := i.pushDevice(cmd.Device)
	if at >= 0 && i.Push[at].By != call.Actor {
		return nil, refuse.WrongState("device_of_another_account", "another account has notifications sent to device %s", cmd.Device).
			At("device").
			Do("name the device of this session, or have the other account end it with UnsubscribePush")
	}
	if at >= 0 && before == cmd.Subscription {
		return nil, nil
	}
	if at < 0 && len(i.Push) >= maxPushDevices {
		return nil, refuse.WrongState("too_many_devices", "%d devices are sent notifications about this patient", len(i.Push)).
			At("device").Do("end those of devices that are not used any more, with UnsubscribePush")
	}
	key := i.Key
	if key == "" {
		key = cmd.Key
	}
	return []Event{PushSubscribed{Patient: cmd.Patient, Device: cmd.Device, Number: i.Subscriptions + 1, Key: key,
		Subscription: personal.Of(key, cmd.Subscription), At: call.At, By: call.Actor}}, nil
}

// Unsubscribe decides about UnsubscribePush. Where nothing is sent to the device, it records nothing. It refuses malformed_id.
func Unsubscribe(i Identity, cmd UnsubscribePush, _ domain.Call) ([]Event, error) {
	if err := cmd.Device.Validate(); err != nil {
		return nil, err
	}
	return i.ended(cmd.Patient, cmd.Device, PushUnsubscribed), nil
}

// End decides about EndPush. It leaves alone what has been subscribed after the subscription that it is about.
func End(i Identity, cmd EndPush, _ domain.Call) ([]Event, error) {
	if at := i.pushDevice(cmd.Device); at < 0 || i.Push[at].Number != cmd.Number {
		return nil, nil
	}
	return i.ended(cmd.Patient, cmd.Device, cmd.Why), nil
}

func (i Identity) ended(patient domain.PatientID, device user.DeviceID, why EndOfPush) []Event {
	at := i.pushDevice(device)
	if at < 0 {
		return nil
	}
	return []Event{PushEnded{Patient: patient, Device: device, Number: i.Push[at].Number, Why: why}}
}

// pushDevice returns where a device is among those that are sent notifications; -1 if it is not.
func (i Identity) pushDevice(device user.DeviceID) int {
	return slices.IndexFunc(i.Push, func(d PushDevice) bool { return d.Device == device })
}

// without returns the devices that are sent notifications, without one of them.
func (i Identity) without(device user.DeviceID) []PushDevice {
	return slices.DeleteFunc(slices.Clone(i.Push), func(d PushDevice) bool { return d.Device == device })
}

// check refuses malformed_subscription. Its sentences never repeat what was given, because refusals are logged.
func (s Subscription) check() error {
	malformed := func(field, what string) error {
		return refuse.Malformed("malformed_subscription", "%s", what).At(field).Do("send what the browser's PushSubscription has")
	}
	address, err := url.Parse(s.Endpoint)
	if err != nil || len(s.Endpoint) > maxEndpointChars || address.Scheme != "https" || address.Hostname() == "" || address.User != nil ||
		address.Fragment != "" {
		return malformed("endpoint", "the address at the push service is no https URL, or is too long")
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s.P256DH, "="))
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(key)
	}
	if err != nil {
		return malformed("p256dh", "the key for messages is no public key of P-256 in base64url")
	}
	if secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s.Auth, "=")); err != nil || len(secret) != 16 {
		return malformed("auth", "the secret for messages is not 16 bytes in base64url")
	}
	return nil
}
