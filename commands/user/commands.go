package user

import (
	"context"
	"encoding/json"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/eventlog"
)

// The commands on users and their grants.
var (
	RegisterUser = commands.Handle(user.Decider, user.Register).
			On(func(c user.RegisterUser) string { return string(c.User) }).
			In(commands.System[user.RegisterUser]).
			AllowedTo(access.Admins, access.Processes).
			PreparedBy(func(ctx context.Context, c *user.RegisterUser) (err error) {
			if c.Password == "" {
				return nil
			}
			if err := c.CheckPassword(); err != nil {
				return err
			}
			c.PasswordDigest, err = access.DigestPassword(ctx, c.Password)
			c.Password = ""
			return err
		}).
		Secret()

	ChangePassword = commands.Handle(user.Decider, user.SetPassword).
			On(func(c user.ChangePassword) string { return string(c.User) }).
			In(commands.System[user.ChangePassword]).
			AllowedTo(access.Admins, access.Processes).
			AndSelf(func(c user.ChangePassword) domain.UserID { return c.User }).
			PreparedBy(func(ctx context.Context, c *user.ChangePassword) (err error) {
			if err := c.CheckPassword(); err != nil {
				return err
			}
			c.PasswordDigest, err = access.DigestPassword(ctx, c.Password)
			c.Password = ""
			return err
		}).
		Secret()

	GrantRole = commands.Handle(user.Decider, user.GiveRole).
			On(func(c user.GrantRole) string { return string(c.User) }).
			In(commands.System[user.GrantRole]).
			AllowedTo(access.Admins, access.Processes)

	RevokeRole = commands.Handle(user.Decider, user.TakeRole).
			On(func(c user.RevokeRole) string { return string(c.User) }).
			In(commands.System[user.RevokeRole]).
			AllowedTo(access.Admins, access.Processes).
			About(func(c user.RevokeRole, m *eventlog.Metadata) { m.Reason = c.Reason })

	DeactivateUser = commands.Handle(user.Decider, user.Deactivate).
			On(func(c user.DeactivateUser) string { return string(c.User) }).
			In(commands.System[user.DeactivateUser]).
			AllowedTo(access.Admins, access.Processes).
			About(func(c user.DeactivateUser, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// signInAttempt is the internal command behind Handler.SignIn.
type signInAttempt struct {
	User    domain.UserID `json:"user"`
	Matches bool          `json:"matches"`
}

var attemptSignIn = commands.Handle(user.Decider, func(s user.User, c signInAttempt, call domain.Call) ([]user.Event, error) {
	return user.EnterPassword(s, user.PasswordCheck{Matches: c.Matches}, user.SignIn{User: c.User}, call)
}).
	On(func(c signInAttempt) string { return string(c.User) }).
	In(commands.System[signInAttempt]).
	AllowedTo(access.Processes)

// SignIn checks a user's password and records the attempt. Every failure is refused alike (sign_in_failed), so that the
// answer does not tell which accounts exist.
func SignIn(ctx context.Context, h *commands.Handler, id domain.UserID, password, address, traceID string) (access.Principal, error) {
	failed := refuse.Unauthenticated("sign_in_failed", "user and password do not match an active account").
		Do("check both; after repeated failures an account is locked until an administrator sets a new password")
	refused := func() (access.Principal, error) {
		h.RecordRefusal(ctx, access.Refused{Action: "SignIn", Address: address, TraceID: traceID, Why: failed})
		return access.Principal{}, failed
	}
	if id.Validate() != nil {
		return refused()
	}
	u, err := commands.At(ctx, h.Look(), user.Decider, string(id))
	if err != nil {
		return access.Principal{}, err
	}
	matches, err := access.PasswordMatches(ctx, u.Digest, password)
	if err != nil {
		return access.Principal{}, err
	}
	if !u.Exists() {
		return refused()
	}
	body, err := json.Marshal(signInAttempt{User: id, Matches: matches})
	if err != nil {
		return access.Principal{}, err
	}
	answer, err := h.Do(ctx, commands.Request{Name: attemptSignIn.Name(), Body: body, Principal: access.Process("sign-in"), Address: address, TraceID: traceID})
	if err != nil {
		return access.Principal{}, err
	}
	for _, e := range answer.Events {
		if _, ok := e.Data.(user.SignedIn); ok {
			return h.Principal(ctx, id)
		}
	}
	return access.Principal{}, failed
}

// Commands are the commands of this context.
var Commands = []commands.Command{RegisterUser, ChangePassword, GrantRole, RevokeRole, DeactivateUser, attemptSignIn}
