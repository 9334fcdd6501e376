// Package user declares the commands of the context user: which decision, which facts, which roles.
package user

import (
	"context"
	"encoding/json"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// Commands are the commands on accounts and their grants.
var Commands = []commands.Command{
	commands.Handle(user.Decider, user.Register).
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
		Secret().
		Described("Open an account",
			user.RegisterUser{OfUser: domain.ForUser("nurse.weber"), Name: "Anna Weber", Password: examplePhrase}),
	commands.Handle(user.Decider, user.SetPassword).
		AllowedTo(access.Admins, access.Processes).
		AllowedToSelf().
		PreparedBy(func(ctx context.Context, c *user.ChangePassword) (err error) {
			if err := c.CheckPassword(); err != nil {
				return err
			}
			c.PasswordDigest, err = access.DigestPassword(ctx, c.Password)
			c.Password = ""
			return err
		}).
		Secret().
		Described("Set a new password",
			user.ChangePassword{OfUser: domain.ForUser("nurse.weber"), Password: examplePhrase}),
	commands.Handle(user.Decider, user.GiveRole).
		AllowedTo(access.Admins, access.Processes).
		Described("Give a user a role",
			user.GrantRole{OfUser: domain.ForUser("nurse.weber"), Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}}),
	commands.Handle(user.Decider, user.TakeRole).
		AllowedTo(access.Admins, access.Processes).
		Described("Take a role from a user",
			user.RevokeRole{OfUser: domain.ForUser("nurse.weber"), Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"},
				Reasoned: domain.Because("Has left the site")}),
	commands.Handle(user.Decider, user.Deactivate).
		AllowedTo(access.Admins, access.Processes).
		Described("End an account",
			user.DeactivateUser{OfUser: domain.ForUser("nurse.weber"), Reasoned: domain.Because("Has left the hospital")}),
	commands.Handle(user.Decider, func(s user.User, c signInAttempt, call domain.Call) ([]user.Event, error) {
		return user.EnterPassword(s, user.PasswordCheck{Matches: c.Matches}, user.SignIn{User: c.User}, call)
	}).
		AllowedTo(access.Processes),
}

// signInAttempt is the internal command that SignIn sends.
type signInAttempt struct {
	domain.OfUser
	Matches bool `json:"matches"`
}

// SignIn checks a user's password and records the attempt. Every failure gets the same refusal (sign_in_failed), so
// that the answer does not show which accounts exist.
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
	u, err := commands.Read(ctx, h.Reader(), user.Decider, string(id))
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
	body, err := json.Marshal(signInAttempt{OfUser: domain.ForUser(id), Matches: matches})
	if err != nil {
		return access.Principal{}, err
	}
	answer, err := h.Do(ctx, commands.Request{Name: "SignInAttempt", Body: body, Principal: access.Process("sign-in"),
		Address: address, TraceID: traceID})
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

// examplePhrase is the password of the examples.
const examplePhrase = "a long pass phrase"
