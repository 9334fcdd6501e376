// Package identity holds who a patient is: name, birth date, and how to reach the patient, also on which devices. Nothing else in the
// program holds that. It is apart from clinical data, so that only the patient's site sees it, and so that it can be erased while the
// clinical record stays.
package identity

import (
	"net/mail"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Event is an event of a patient's identity.
type Event interface{ identityEvent() }

// Decider is the decider of patients' identities.
var Decider = domain.Decider[Identity, Event]{Category: "identity", Key: domain.ByPatient, Evolve: evolve, Events: []domain.EventType{
	domain.Stored[Recorded]("IdentityRecorded").InNoView(shownOnRequest),
	domain.Stored[Corrected]("IdentityCorrected").ForReaders().InNoView(shownOnRequest),
	domain.Stored[Read]("IdentityRead").ForReaders().InNoView("the audit trail shows it"),
	domain.Stored[PushSubscribed]("PushSubscribed").InNoView(forTheProcess),
	domain.Stored[PushEnded]("PushEnded").InNoView(forTheProcess),
}}

const forTheProcess = "the process that sends notifications reads it from the log"

const shownOnRequest = "ReadIdentity shows it to the site; the audit trail shows that it happened"

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Details are who a patient is. Only the name is required.
type Details struct {
	Name      string      `json:"name" minLength:"1" maxLength:"200" doc:"The patient's full name"`
	BirthDate domain.Date `json:"birthDate,omitempty" doc:"The day of birth"`
	Email     string      `json:"email,omitempty" maxLength:"254" doc:"E-mail address"`
	Phone     string      `json:"phone,omitempty" maxLength:"40" doc:"Telephone number with the country's code"`
	Address   string      `json:"address,omitempty" maxLength:"500" doc:"Postal address"`
}

// Recorded says who a patient is.
type Recorded struct {
	Patient domain.PatientID `json:"patient"`
	// Key is the key of the patient's data.
	Key     personal.KeyID          `json:"key"`
	Details personal.Value[Details] `json:"details"`
	At      time.Time               `json:"at"`
	By      domain.UserID           `json:"by"`
}

// Corrected says who a patient is, in place of what was recorded before.
type Corrected struct {
	Patient domain.PatientID        `json:"patient"`
	Details personal.Value[Details] `json:"details"`
	// Changed are the names of the fields of the details that differ from before.
	Changed []string `json:"changed"`
	// Reason may name people, as every text that somebody writes about a patient.
	Reason personal.Value[string] `json:"reason"`
	At     time.Time              `json:"at"`
	By     domain.UserID          `json:"by"`
}

// Read says that somebody was shown who a patient is.
type Read struct {
	Patient domain.PatientID `json:"patient"`
	Purpose Purpose          `json:"purpose"`
}

func (Recorded) identityEvent()  {}
func (Corrected) identityEvent() {}
func (Read) identityEvent()      {}

// About implements domain.Described.
func (e Corrected) About() string { return "changed: " + strings.Join(e.Changed, ", ") }

// About implements domain.Described.
func (e Read) About() string { return "purpose: " + string(e.Purpose) }

// Purpose is what somebody reads a patient's identity for.
type Purpose string

// The purposes.
const (
	ToContact   Purpose = "contact"      // to call, write to or visit the patient
	ToIdentify  Purpose = "identify"     // to check that a person is this patient
	InEmergency Purpose = "emergency"    // to help the patient, or those who treat the patient
	ToVerify    Purpose = "verification" // to compare it with the source, or to correct it
)

// Purposes are all purposes.
var Purposes = []Purpose{ToContact, ToIdentify, InEmergency, ToVerify}

// Schema implements domain.HasSchema.
func (Purpose) Schema() domain.Schema { return domain.OneOf(Purposes...) }

// Identity is the state of a patient's identity. It holds nothing of it, because states are kept in memory.
type Identity struct {
	// Key is the key of the patient's data; empty if nothing is recorded.
	Key personal.KeyID
	// Recorded says that it is recorded who the patient is.
	Recorded bool
	// Push are the devices that are sent notifications, in the order of their subscriptions.
	Push []PushDevice
	// Subscriptions counts those that there ever were.
	Subscriptions int
}

func evolve(i Identity, e Event) Identity {
	switch e := e.(type) {
	case Recorded:
		i.Key, i.Recorded = e.Key, true
	case PushSubscribed:
		i.Key, i.Subscriptions = e.Key, e.Number
		i.Push = append(i.without(e.Device), PushDevice{Device: e.Device, Number: e.Number, By: e.By})
	case PushEnded:
		i.Push = i.without(e.Device)
	}
	return i
}

// RecordIdentity says who a patient is.
type RecordIdentity struct {
	domain.OfPatient
	Details
	// Key is a new key of the patient's data, for a patient who has none.
	Key personal.KeyID `json:"-"`
}

// CorrectIdentity says who a patient is, in place of what was recorded before: a field that is not given is removed.
type CorrectIdentity struct {
	domain.OfPatient
	Details
	// Reason is no domain.Reasoned, because that becomes part of the metadata, which everybody reads who may see the audit trail.
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"Why; it is stored like the details"`
}

// ReadIdentity shows who a patient is to the sender. Each reading is recorded.
type ReadIdentity struct {
	domain.OfPatient
	Purpose Purpose `json:"purpose" doc:"What for"`
}

// Record decides about RecordIdentity. It refuses identity_recorded, and what Details.check refuses.
func Record(i Identity, cmd RecordIdentity, call domain.Call) ([]Event, error) {
	if i.Recorded {
		return nil, refuse.WrongState("identity_recorded", "who the patient is has been recorded").Do("correct it with CorrectIdentity")
	}
	if err := cmd.check(call); err != nil {
		return nil, err
	}
	key := i.Key
	if key == "" {
		key = cmd.Key
	}
	return []Event{Recorded{Patient: cmd.Patient, Key: key, Details: personal.Of(key, cmd.Details), At: call.At, By: call.Actor}}, nil
}

// Correct decides about CorrectIdentity. before are the details that are in force. It refuses reason_required, identity_not_recorded,
// nothing_to_correct, and what Details.check refuses.
func Correct(i Identity, before Details, cmd CorrectIdentity, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(personal.Text(cmd.Reason)), i.mustBeRecorded(), cmd.check(call)); err != nil {
		return nil, err
	}
	changed := cmd.changedFrom(before)
	if len(changed) == 0 {
		return nil, refuse.Because("nothing_to_correct", "this is what is recorded already").Do("nothing is left to do")
	}
	return []Event{Corrected{Patient: cmd.Patient, Details: personal.Of(i.Key, cmd.Details), Changed: changed,
		Reason: personal.Of(i.Key, cmd.Reason), At: call.At, By: call.Actor}}, nil
}

// Show decides about ReadIdentity. It refuses unknown_code and identity_not_recorded.
func Show(i Identity, cmd ReadIdentity, _ domain.Call) ([]Event, error) {
	if !slices.Contains(Purposes, cmd.Purpose) {
		return nil, refuse.Malformed("unknown_code", "%.40q is no purpose", string(cmd.Purpose)).At("purpose").
			Do("use contact, identify, emergency or verification")
	}
	if err := i.mustBeRecorded(); err != nil {
		return nil, err
	}
	return []Event{Read{Patient: cmd.Patient, Purpose: cmd.Purpose}}, nil
}

// mustBeRecorded refuses identity_not_recorded.
func (i Identity) mustBeRecorded() error {
	if !i.Recorded {
		return refuse.NotFound("identity_not_recorded", "who the patient is has not been recorded").Do("record it with RecordIdentity")
	}
	return nil
}

// check refuses value_missing, value_too_long, value_unprintable, malformed_date, captured_in_future, malformed_email and
// malformed_phone. Its sentences never repeat what was given, because refusals are logged.
func (d Details) check(call domain.Call) error {
	err := domain.First(domain.Text("name", d.Name, 200), domain.OptionalText("address", d.Address, 500),
		domain.OptionalText("email", d.Email, 254), domain.OptionalText("phone", d.Phone, 40))
	if err != nil {
		return err
	}
	if d.BirthDate != "" && d.BirthDate.Validate() != nil {
		return refuse.Malformed("malformed_date", "the day of birth is not a date").At("birthDate").Do("write it as YYYY-MM-DD")
	}
	if d.BirthDate != "" && d.BirthDate.NotAfterToday("birthDate", call) != nil {
		return refuse.Because("captured_in_future", "the day of birth lies in the future").At("birthDate").Do("check the date")
	}
	if address, err := mail.ParseAddress(d.Email); d.Email != "" && (err != nil || address.Address != d.Email) {
		return refuse.Malformed("malformed_email", "the e-mail address is not one").At("email").Do("write it as in name@example.org, alone")
	}
	if d.Phone != "" && !isPhone(d.Phone) {
		return refuse.Malformed("malformed_phone", "the telephone number is not one").At("phone").
			Do("write it with the country's code, such as +49 30 1234567")
	}
	return nil
}

// isPhone says whether a text is an international number (ITU-T E.164: at most 15 digits), in groups or not.
func isPhone(text string) bool {
	digits := 0
	for i, r := range text {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '+' && i > 0, !strings.ContainsRune("+ -/().", r):
			return false
		}
	}
	return text[0] == '+' && digits >= 5 && digits <= 15
}

// changedFrom returns the names of the fields that differ.
func (d Details) changedFrom(before Details) (changed []string) {
	for _, field := range []struct {
		name   string
		differ bool
	}{
		{"name", d.Name != before.Name}, {"birthDate", d.BirthDate != before.BirthDate}, {"email", d.Email != before.Email},
		{"phone", d.Phone != before.Phone}, {"address", d.Address != before.Address},
	} {
		if field.differ {
			changed = append(changed, field.name)
		}
	}
	return changed
}
