package user

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
)

const (
	// suspectAfter is after how many failures in a row the alarm is raised (21 CFR 11.300(d)).
	suspectAfter = 5
	// suspectAgainAfter is after which time the alarm about an account may be raised again, because people are told of it.
	suspectAgainAfter = time.Hour
)

// The reasons for a failed sign-in, as SignInFailed records them. Callers learn of too_many_devices alone.
const (
	wrongPassword      = "wrong_password"
	wrongCode          = "wrong_code"
	codeMissing        = "code_missing"
	noPassword         = "no_password"
	accountLocked      = "account_locked"
	accountDeactivated = "account_deactivated"
	// wrongActivationCode is also that of a code that was used, or is no longer good.
	wrongActivationCode = "wrong_activation_code"
)

// Register opens an account. Whoever opens it may be able to use it: by the password, or as the subject of an identity
// provider. So it has to be confirmed before it can sign, unblind or administer. Register refuses user_exists,
// malformed_id, value_missing and value_too_long. The id of a deactivated account still exists, because an id is never
// given to another person (21 CFR 11.100(a)).
func Register(u User, cmd RegisterUser, call domain.Call) ([]Event, error) {
	if err := domain.First(cmd.User.Validate(), domain.Text("name", cmd.Name, 200)); err != nil {
		return nil, err
	}
	if u.Exists() {
		return nil, refuse.WrongState("user_exists", "the user id %s is taken", cmd.User).At("user").
			Do("choose another id; an id is never given to another person")
	}
	events := []Event{Registered{User: cmd.User, Name: cmd.Name}}
	if cmd.PasswordDigest != "" {
		events = append(events, PasswordSet{User: cmd.User, Digest: cmd.PasswordDigest},
			PasswordHandedOut{User: cmd.User, By: call.Actor, Confirm: true})
	}
	if cmd.PasswordDigest == "" || !isPerson(call.Actor) {
		events = append(events, toBeConfirmed(cmd.User, cmd.Administrators, call))
	}
	return events, nil
}

// toBeConfirmed says that the account is not in its owner's hands without doubt, because of what the caller does. The
// operator of the machine is not counted as a person, because the record cannot tell the operator from one of the
// administrators. So two administrators have to confirm what the operator has handled, where there are two others.
func toBeConfirmed(id domain.UserID, administrators Administrators, call domain.Call) Event {
	people := 1
	if !isPerson(call.Actor) && administrators.besides(id) > 1 {
		people = 2
	}
	return ConfirmationRequired{User: id, By: call.Actor, People: people}
}

// isPerson says whether the actor of a command is a person: the ids of process managers are not those of people.
func isPerson(id domain.UserID) bool { return id.Validate() == nil }

// SetPassword sets a new password and ends all sessions. Where somebody else than the owner sets it, the owner has to
// change it before anything else, and a second person has to confirm the account. A locked account stays locked.
// SetPassword refuses user_not_found, account_deactivated, value_missing and password_unchanged.
func SetPassword(u User, cmd ChangePassword, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	if cmd.PasswordDigest == "" { // an empty digest would remove the account's password
		return nil, domain.Text("password", "", 1)
	}
	events := []Event{PasswordSet{User: cmd.User, Digest: cmd.PasswordDigest}}
	if call.Actor == cmd.User {
		if cmd.CurrentPassword != "" && cmd.CurrentPassword == cmd.Password {
			return nil, refuse.Because("password_unchanged", "the new password is the old one").At("password").Do("choose another one")
		}
		return append(events, u.endSessions(cmd.User, PasswordChanged, call)), nil
	}
	events = append(events, PasswordHandedOut{User: cmd.User, By: call.Actor, Confirm: true})
	if !isPerson(call.Actor) {
		events = append(events, toBeConfirmed(cmd.User, cmd.Administrators, call))
	}
	return append(events, u.endSessions(cmd.User, PasswordWasAssigned, call)), nil
}

func (u User) endSessions(id domain.UserID, cause EndCause, call domain.Call) Event {
	return SessionsEnded{User: id, Version: u.Sessions + 1, At: call.At, Cause: cause}
}

// Confirm confirms that an account which somebody else has opened, or whose password somebody else has chosen, is in its
// owner's hands. Where two people have to confirm it, the first confirmation alone changes nothing. Confirm refuses
// user_not_found, account_deactivated, account_confirmed, password_not_changed and second_person_required.
func Confirm(u User, cmd ConfirmAccount, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	switch {
	case !u.Unconfirmed:
		return nil, refuse.WrongState("account_confirmed", "the account %s needs no confirmation", cmd.User).At("user").
			Do("nothing is left to do")
	case u.MustChangePassword:
		return nil, passwordNotChanged(cmd.User)
	}
	others := slices.Concat(u.HandledBy, u.ConfirmedBy, []domain.UserID{cmd.User})
	if err := secondPerson(call.Actor, others...); err != nil {
		return nil, err
	}
	if len(u.ConfirmedBy)+1 < u.Confirmers {
		return []Event{ConfirmationGiven{User: cmd.User, By: call.Actor}}, nil
	}
	return []Event{AccountConfirmed{User: cmd.User}}, nil
}

func passwordNotChanged(id domain.UserID) error {
	return refuse.WrongState("password_not_changed", "%s still has the password that somebody else chose", id).At("user").
		Do("have the owner change it first")
}

// secondPerson refuses an actor who is one of the others, because two people have to decide, or who is no person.
func secondPerson(actor domain.UserID, others ...domain.UserID) error {
	if isPerson(actor) && !slices.Contains(others, actor) {
		return nil
	}
	return refuse.Because("second_person_required", "%s cannot be the second person here", actor).At("user").
		Do("ask an administrator who has no part in it")
}

// EnteredSecrets is the facts of EnterPassword: which of the entered secrets are right.
type EnteredSecrets struct {
	// Password says that the entered password is that of the account.
	Password bool
	// CodeMissing says that no code of a second factor was entered.
	CodeMissing bool
	// Step is the time step of the entered code, if it is one of the second factor; otherwise 0.
	Step int
	// RecoveryCode is the digest of the entered code.
	RecoveryCode string
}

// EnterPassword records a sign-in or a failed sign-in. Failures never lock the account, because then anybody could lock
// out anybody; they raise an alarm, and the caller delays further attempts. It refuses only user_not_found and
// malformed_id: recording these would start a stream for every name that somebody enters, and the security log records
// them. A patient's sign-in that names a device enrols it; the caller has validated the device.
func EnterPassword(u User, entered EnteredSecrets, cmd SignIn, call domain.Call) ([]Event, error) {
	failed := func(code string) ([]Event, error) { return []Event{SignInFailed{User: cmd.User, Code: code}}, nil }
	switch {
	case !u.Exists():
		return nil, userNotFound(cmd.User)
	case u.Deactivated:
		return failed(accountDeactivated)
	case u.Locked:
		return failed(accountLocked)
	case u.Digest == "":
		return failed(noPassword)
	case !entered.Password:
		return u.guessed(cmd.User, wrongPassword, call), nil
	}
	proven := []Event{SignedIn{User: cmd.User}}
	switch {
	case !u.HasSecondFactor():
	case entered.Step > u.LastStep:
		proven = append(proven, SecondFactorUsed{User: cmd.User, Step: entered.Step})
	case slices.Contains(u.RecoveryCodes, entered.RecoveryCode):
		proven = append(proven, RecoveryCodeUsed{User: cmd.User, Digest: entered.RecoveryCode})
	case entered.CodeMissing:
		return u.guessed(cmd.User, codeMissing, call), nil
	default:
		return u.guessed(cmd.User, wrongCode, call), nil
	}
	if u.enrols(cmd.Device) && !u.hasRoomFor(cmd.Device.ID) {
		return failed(TooManyDevices)
	}
	return append(proven, u.devicesEnrolled(cmd.User, cmd.Device)...), nil
}

// guessed records a wrong password, or a wrong or missing code, and the alarm when it is due.
func (u User) guessed(id domain.UserID, code string, call domain.Call) []Event {
	events := []Event{SignInFailed{User: id, Code: code}}
	failures := u.FailedSignIns + 1
	if failures >= suspectAfter && call.At.Sub(u.SuspectedAt) >= suspectAgainAfter {
		events = append(events, PasswordGuessingSuspected{User: id, Failures: failures, At: call.At})
	}
	return events
}

// maxTokenLife bounds tokens for which nobody signs in.
const maxTokenLife = 24 * time.Hour

// Issue records that a token is made for a program that acts as the user. Nobody signs in for such a token, so whoever makes
// it acts as the user: accounts that administer, or whose roles need two people, have none, and it lasts a day at most. It
// refuses user_not_found, account_deactivated, user_locked, password_not_changed, confirmation_pending, role_needs_sign_in and
// value_out_of_range.
func Issue(u User, cmd IssueToken, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	switch {
	case u.Locked:
		return nil, refuse.WrongState("user_locked", "the account %s is locked", cmd.User).At("user").Do("unlock it first")
	case u.MustChangePassword:
		return nil, passwordNotChanged(cmd.User)
	case u.Unconfirmed:
		return nil, refuse.WrongState("confirmation_pending", "the account %s waits for a confirmation", cmd.User).At("user").
			Do("have an administrator send ConfirmAccount first")
	}
	for _, g := range u.Grants {
		if g.Role == Admin || g.Role.NeedsTwoPeople() {
			return nil, refuse.WrongState("role_needs_sign_in", "the account %s has the role %s, for which people sign in themselves",
				cmd.User, g.Role).At("user").Do("make an account for the program, with the role that it needs")
		}
	}
	if cmd.Until.Sub(call.At) > maxTokenLife {
		return nil, refuse.Malformed("value_out_of_range", "the token would last until %s", cmd.Until.Format(time.RFC3339)).At("until").
			Do("make one for a day at most")
	}
	return []Event{TokenIssued{User: cmd.User, By: call.Actor, Until: cmd.Until}}, nil
}

// EndSessions ends all sessions of the account. It refuses user_not_found and account_deactivated.
func EndSessions(u User, cmd SignOut, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	return []Event{u.endSessions(cmd.User, SignedOut, call)}, nil
}

// Lock locks an account, and ends its sessions, until an administrator unlocks it. It refuses user_not_found,
// account_deactivated, user_locked, reason_required, value_too_long and not_oneself.
func Lock(u User, cmd LockUser, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason), notOneself(cmd.User, call)); err != nil {
		return nil, err
	}
	if u.Locked {
		return nil, refuse.WrongState("user_locked", "the account %s is locked already", cmd.User).At("user").Do("nothing is left to do")
	}
	return []Event{Locked{User: cmd.User, Reason: cmd.Reason}, u.endSessions(cmd.User, AccountLocked, call)}, nil
}

// Unlock unlocks an account. What the operator of the machine has unlocked has to be confirmed, because somebody may have
// locked it for good reasons. Unlock refuses user_not_found, account_deactivated, user_not_locked, reason_required,
// value_too_long and not_oneself.
func Unlock(u User, cmd UnlockUser, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason), notOneself(cmd.User, call)); err != nil {
		return nil, err
	}
	if !u.Locked {
		return nil, refuse.WrongState("user_not_locked", "the account %s is not locked", cmd.User).At("user").Do("nothing is left to do")
	}
	events := []Event{Unlocked{User: cmd.User, Reason: cmd.Reason}}
	if !isPerson(call.Actor) {
		events = append(events, toBeConfirmed(cmd.User, cmd.Administrators, call))
	}
	return events, nil
}

// Deactivate deactivates an account for ever. It refuses user_not_found, account_deactivated, reason_required,
// value_too_long and not_oneself.
func Deactivate(u User, cmd DeactivateUser, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason), notOneself(cmd.User, call)); err != nil {
		return nil, err
	}
	return []Event{Deactivated{User: cmd.User, Reason: cmd.Reason}, u.endSessions(cmd.User, AccountDeactivated, call)}, nil
}

// mustBeActive refuses user_not_found, malformed_id and account_deactivated.
func (u User) mustBeActive(id domain.UserID) error {
	if !u.Exists() {
		return userNotFound(id)
	}
	if u.Deactivated {
		return refuse.WrongState(accountDeactivated, "the account %s is deactivated", id).At("user").Do("register a new account")
	}
	return nil
}

func userNotFound(id domain.UserID) error {
	if err := id.Validate(); err != nil {
		return err
	}
	return refuse.NotFound("user_not_found", "there is no user %s", id).At("user").Do("check the id, or register the user first")
}

// notOneself refuses administrators who act on their own account: at least one administrator always remains, and nobody
// gives a role to oneself.
func notOneself(id domain.UserID, call domain.Call) error {
	if call.Actor == id {
		return refuse.Because("not_oneself", "administrators cannot act on their own account or role").At("user").
			Do("ask another administrator")
	}
	return nil
}
