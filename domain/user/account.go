package user

import (
	"strings"
	"unicode/utf8"

	"casebook/domain"
	"casebook/domain/refuse"
)

const (
	// minPassword and maxPassword bound a password's length in characters. NIST SP 800-63B-4, section 3.1.1, requires 15,
	// or 8 with a second factor.
	minPassword = 12
	maxPassword = 200
	// lockAfter is how many failures in a row lock an account (21 CFR 11.300(d)).
	lockAfter = 5
)

// The reasons for a failed sign-in, as SignInFailed records them. Callers do not learn the reason.
const (
	wrongPassword      = "wrong_password"
	noPassword         = "no_password"
	accountLocked      = "account_locked"
	accountDeactivated = "account_deactivated"
)

// Register opens an account. It refuses user_exists, malformed_id, value_missing and value_too_long. The id of a
// deactivated account still exists, because an id is never given to another person (21 CFR 11.100(a)).
func Register(u User, cmd RegisterUser, _ domain.Call) ([]Event, error) {
	if err := domain.First(cmd.User.Validate(), domain.Text("name", cmd.Name, 200)); err != nil {
		return nil, err
	}
	if u.Exists() {
		return nil, refuse.WrongState("user_exists", "the user id %s is taken", cmd.User).At("user").
			Do("choose another id; an id is never given to another person")
	}
	events := []Event{Registered{User: cmd.User, Name: cmd.Name}}
	if cmd.PasswordDigest != "" {
		events = append(events, PasswordSet{User: cmd.User, Digest: cmd.PasswordDigest})
	}
	return events, nil
}

// CheckPassword refuses a password that is too easy to guess (code weak_password).
func (cmd RegisterUser) CheckPassword() error { return checkPassword(cmd.User, cmd.Password) }

// CheckPassword refuses a password that is too easy to guess (code weak_password).
func (cmd ChangePassword) CheckPassword() error { return checkPassword(cmd.User, cmd.Password) }

func checkPassword(id domain.UserID, password string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case n < minPassword:
		return weakPassword("the password has %d characters", n)
	case n > maxPassword:
		return weakPassword("the password has %d characters", n)
	case strings.Contains(strings.ToLower(password), string(id)) && n < minPassword+len(id):
		return weakPassword("the password is little more than the user id")
	case isOneCharacter(password):
		return weakPassword("the password repeats one character")
	}
	return nil
}

// isOneCharacter says whether the password repeats one character. It compares characters, not bytes, because most
// characters have several bytes.
func isOneCharacter(password string) bool {
	first, _ := utf8.DecodeRuneInString(password)
	return strings.Trim(password, string(first)) == ""
}

func weakPassword(format string, args ...any) error {
	return refuse.Because("weak_password", format, args...).At("password").Do("use 12 to 200 characters that nobody can guess")
}

// SetPassword sets a new password. If the account is locked, an administrator's new password also unlocks it; the owner
// cannot unlock it. SetPassword refuses user_not_found, account_deactivated, value_missing and account_locked.
func SetPassword(u User, cmd ChangePassword, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	if cmd.PasswordDigest == "" { // an empty digest would remove the account's password
		return nil, domain.Text("password", "", maxPassword)
	}
	events := []Event{PasswordSet{User: cmd.User, Digest: cmd.PasswordDigest}}
	if !u.Locked {
		return events, nil
	}
	if call.Actor == cmd.User {
		return nil, refuse.WrongState(accountLocked, "the account %s is locked", cmd.User).At("user").
			Do("ask an administrator to set a new password")
	}
	return append(events, Unlocked{User: cmd.User}), nil
}

// PasswordCheck is the facts of EnterPassword.
type PasswordCheck struct {
	// Matches says that the entered password is that of the account.
	Matches bool
}

// EnterPassword records a sign-in or a failed sign-in. The fifth wrong password in a row locks the account. It refuses
// only user_not_found and malformed_id: recording these would start a stream for every name that somebody enters, and
// the security log records them. An account without a password is never locked: there is no password to guess, and a
// lock would prevent its owner from signing in through the identity provider.
func EnterPassword(u User, check PasswordCheck, cmd SignIn, _ domain.Call) ([]Event, error) {
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
	case check.Matches:
		return []Event{SignedIn(cmd)}, nil
	case u.FailedSignIns+1 >= lockAfter:
		return []Event{SignInFailed{User: cmd.User, Code: wrongPassword}, Locked(cmd)}, nil
	}
	return failed(wrongPassword)
}

// Deactivate deactivates an account for ever. It refuses user_not_found, account_deactivated, reason_required,
// value_too_long and not_oneself.
func Deactivate(u User, cmd DeactivateUser, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason), notOneself(cmd.User, call)); err != nil {
		return nil, err
	}
	return []Event{Deactivated{User: cmd.User, Reason: cmd.Reason}}, nil
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

// notOneself refuses administrators who act on their own account, so that at least one administrator always remains.
func notOneself(id domain.UserID, call domain.Call) error {
	if call.Actor == id {
		return refuse.Because("not_oneself", "administrators cannot take away their own account or role").At("user").
			Do("ask another administrator")
	}
	return nil
}
