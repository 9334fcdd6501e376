package user

import (
	"strings"
	"unicode/utf8"

	"casebook/domain"
	"casebook/domain/refuse"
)

const (
	// minPassword is the least length of a password in characters; length is what protects it (NIST SP 800-63B-4,
	// section 3.1.1, asks for 15, or 8 beside a second factor).
	minPassword = 12
	maxPassword = 200
	// lockAfter is how many failures in a row lock an account (21 CFR 11.300(d)).
	lockAfter = 5
)

// Why a sign-in failed, as SignInFailed records it. Callers are never told which it was.
const (
	wrongPassword      = "wrong_password"
	noPassword         = "no_password"
	accountLocked      = "account_locked"
	accountDeactivated = "account_deactivated"
)

// Register opens an account. It refuses user_exists, also for an account that has been deactivated: an id is never
// given to another person (21 CFR 11.100(a)). It also refuses malformed_id, value_missing and value_too_long.
func Register(u User, cmd RegisterUser, _ domain.Call) ([]Event, error) {
	if err := domain.First(cmd.User.Validate(), domain.Text("name", cmd.Name, 200)); err != nil {
		return nil, err
	}
	if u.Exists() {
		return nil, refuse.WrongState("user_exists", "the user id %s is taken", cmd.User).At("user").Do("choose another id; ids are never given twice")
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
		return weakPassword("the password is one character again and again")
	}
	return nil
}

// isOneCharacter compares characters, not bytes: most of the world's characters have more than one.
func isOneCharacter(password string) bool {
	first, _ := utf8.DecodeRuneInString(password)
	return strings.Trim(password, string(first)) == ""
}

func weakPassword(format string, args ...any) error {
	return refuse.Because("weak_password", format, args...).At("password").Do("use 12 to 200 characters that nobody guesses")
}

// SetPassword sets a new password, and opens a locked account again when somebody else, an administrator, does it. It
// refuses user_not_found, account_deactivated, value_missing and account_locked.
func SetPassword(u User, cmd ChangePassword, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	if cmd.PasswordDigest == "" { // an account must not lose its password by a command that was to give it one
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

// PasswordCheck is the fact that a sign-in is decided on.
type PasswordCheck struct {
	// Matches says that the password given is the account's.
	Matches bool
}

// EnterPassword records a sign-in, or its failure; the last of five wrong passwords in a row locks the account. A failure
// is a fact too, so all that is refused is user_not_found (or malformed_id): recording it would begin a stream under any
// name that a stranger types, and the security log has it. An account without a password is never locked: there is none
// to guess, and a lock would keep its owner from signing in through the identity provider.
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

// Deactivate ends an account. It refuses user_not_found, account_deactivated, reason_required, value_too_long and
// not_oneself.
func Deactivate(u User, cmd DeactivateUser, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason), notOneself(cmd.User, call)); err != nil {
		return nil, err
	}
	return []Event{Deactivated{User: cmd.User, Reason: cmd.Reason}}, nil
}

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

// notOneself keeps administrators from locking themselves out, so that there is always one left.
func notOneself(id domain.UserID, call domain.Call) error {
	if call.Actor == id {
		return refuse.Because("not_oneself", "administrators cannot take their own account or role away").At("user").Do("ask another administrator")
	}
	return nil
}
