package user

import (
	"crypto/elliptic"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// ActivationDays is for how many days an activation code is good. A patient who leaves the site with it has a week to begin.
const ActivationDays = 7

// OpenPatientAccount opens the account of a patient at the sender's site. It has no name and no password: who the patient is, the
// identity says alone, and the patient chooses the password with the activation code. The answer shows the code once.
type OpenPatientAccount struct {
	domain.OfUser `doc:"Id to sign in with; it must not tell who the patient is"`
	domain.OfPatient
	// Code is what the answer shows, and CodeDigest what is recorded. The declaration sets both.
	Code       string `json:"-"`
	CodeDigest string `json:"-"`
}

// IssueActivationCode makes another activation code for a patient's account, such as for a new phone. The answer shows it once.
type IssueActivationCode struct {
	domain.OfUser `doc:"The patient's account"`
	domain.OfPatient
	// PhoneLost ends the sessions of the devices that are enrolled. What they captured and send later is not lost.
	PhoneLost       bool `json:"phoneLost,omitempty" doc:"Whether the devices that were enrolled so far are revoked"`
	domain.Reasoned `doc:"Why another code is needed"`
	// Code is what the answer shows, and CodeDigest what is recorded. The declaration sets both.
	Code       string `json:"-"`
	CodeDigest string `json:"-"`
}

// Activation is an attempt to activate an account. What of it is right, the caller has found out.
type Activation struct {
	domain.OfUser
	// CodeRight says that the entered code is that of the account.
	CodeRight bool `json:"codeRight"`
	// PasswordDigest is the argon2id digest of the password that the patient has chosen.
	PasswordDigest string         `json:"passwordDigest"`
	Device         DeviceAtSignIn `json:"device"`
}

// ActivationCodeIssued says that somebody of the site can hand a patient a code, which activates the account once. The code itself is
// never recorded.
type ActivationCodeIssued struct {
	User    domain.UserID    `json:"user"`
	Patient domain.PatientID `json:"patient"`
	Digest  string           `json:"digest"`
	Until   time.Time        `json:"until"`
	Reason  personal.Text    `json:"reason,omitempty"`
}

// AccountActivated says that the activation code was used, and the password was chosen by whoever had it.
type AccountActivated struct {
	User domain.UserID `json:"user"`
}

func (ActivationCodeIssued) userEvent() {}
func (AccountActivated) userEvent()     {}

// activationCode is a code that can still be used.
type activationCode struct {
	digest string
	until  time.Time
}

// ActivationDigest returns the digest of the code that activates the account until a moment; "" if there is none.
func (u User) ActivationDigest(at time.Time) string {
	if u.Deactivated || u.Locked || !at.Before(u.activation.until) {
		return ""
	}
	return u.activation.digest
}

// OpenForPatient decides about OpenPatientAccount. It refuses malformed_id and user_exists.
func OpenForPatient(u User, cmd OpenPatientAccount, call domain.Call) ([]Event, error) {
	if err := domain.First(cmd.User.Validate(), cmd.Patient.Validate()); err != nil {
		return nil, err
	}
	if u.Exists() {
		return nil, refuse.WrongState("user_exists", "the user id %s is taken", cmd.User).At("user").
			Do("choose another id; an id is never given to another person")
	}
	return []Event{Registered{User: cmd.User},
		RoleGranted{User: cmd.User, Grant: Grant{Role: PatientRole, Study: cmd.Patient.Study(), Patient: cmd.Patient}},
		ActivationCodeIssued{User: cmd.User, Patient: cmd.Patient, Digest: cmd.CodeDigest, Until: activationEnds(call)}}, nil
}

// IssueCode decides about IssueActivationCode. An earlier code is no longer good. It refuses reason_required, value_too_long,
// user_not_found, account_deactivated, and not_a_patients_account if the account is not that of this patient alone.
func IssueCode(u User, cmd IssueActivationCode, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), u.mustBeActive(cmd.User)); err != nil {
		return nil, err
	}
	if len(u.Grants) != 1 || u.Grants[0].Role != PatientRole || u.Grants[0].Patient != cmd.Patient {
		return nil, refuse.Because("not_a_patients_account", "%s is not the account of patient %s", cmd.User, cmd.Patient).At("user").
			Do("take the account of this patient; staff get new passwords from an administrator")
	}
	events := []Event{ActivationCodeIssued{User: cmd.User, Patient: cmd.Patient, Digest: cmd.CodeDigest, Until: activationEnds(call),
		Reason: cmd.Reason}}
	if cmd.PhoneLost {
		for _, id := range u.known() {
			events = append(events, DeviceRevoked{User: cmd.User, Device: id, Reason: cmd.Reason})
		}
	}
	return events, nil
}

// known lists the devices whose entries are taken: those that are enrolled, and those that were until all sessions ended. One of them
// may be the lost one.
func (u User) known() []DeviceID {
	all := slices.Clone(u.Former)
	for _, d := range u.Devices {
		all = append(all, d.ID)
	}
	return all
}

func activationEnds(call domain.Call) time.Time { return call.At.AddDate(0, 0, ActivationDays) }

// Activate decides about an Activation: it sets the password and enrols the device. Other sessions of the account end, because whoever
// has the code owns it now. It records a failed sign-in where the code is wrong or no longer good, and refuses only user_not_found and
// malformed_id. The caller has validated the device.
func Activate(u User, cmd Activation, call domain.Call) ([]Event, error) {
	switch {
	case !u.Exists():
		return nil, userNotFound(cmd.User)
	case u.Deactivated:
		return []Event{SignInFailed{User: cmd.User, Code: accountDeactivated}}, nil
	case u.Locked:
		return []Event{SignInFailed{User: cmd.User, Code: accountLocked}}, nil
	case !cmd.CodeRight || cmd.PasswordDigest == "" || u.ActivationDigest(call.At) == "":
		return u.guessed(cmd.User, wrongActivationCode, call), nil
	case !u.enrols(cmd.Device):
		return []Event{SignInFailed{User: cmd.User, Code: wrongActivationCode}}, nil
	}
	events := []Event{AccountActivated{User: cmd.User}, PasswordSet{User: cmd.User, Digest: cmd.PasswordDigest}}
	if u.Digest != "" {
		events = append(events, u.endSessions(cmd.User, PasswordChanged, call))
		u.Devices = nil
	}
	events = append(events, SignedIn{User: cmd.User})
	if !u.hasRoomFor(cmd.Device.ID) { // revoked ones make room
		return []Event{SignInFailed{User: cmd.User, Code: TooManyDevices}}, nil
	}
	return append(events, u.devicesEnrolled(cmd.User, cmd.Device)...), nil
}

// DeviceKey is the public key of a device: an ECDSA key on the curve P-256 as base64 of its SubjectPublicKeyInfo (RFC 5480), as Web
// Crypto exports it in the format spki.
type DeviceKey string

// Validate refuses what is no such key (code malformed_key). Older apps have none.
func (k DeviceKey) Validate() error {
	if k == "" {
		return nil
	}
	malformed := refuse.Malformed("malformed_key", "the public key of the device is not an ECDSA key on the curve P-256").At("device.key").
		Do("send the base64 of its SubjectPublicKeyInfo")
	if key := k.public(); key == nil || key.Curve != elliptic.P256() {
		return malformed
	}
	return nil
}
