package main

import (
	"context"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// demoAdmin and demoDeputy are the administrators of the demo and the benchmarks. There are two, because one alone cannot
// give roles that see arms.
const (
	demoAdmin  domain.UserID = "admin"
	demoDeputy domain.UserID = "admin.deputy"
)

// bootstrapAdmins creates the administrators, unless they exist, as an operator and two people would do it: the operator
// makes the first one, and the first one confirms the second. Their password is their own.
func (s *server) bootstrapAdmins(ctx context.Context, password string) error {
	if err := s.bootstrapAdmin(ctx, demoAdmin, "First administrator", password); err != nil {
		return err
	}
	if err := s.bootstrapAdmin(ctx, demoDeputy, "Deputy administrator", password); err != nil {
		return err
	}
	first, err := s.handler.Principal(ctx, demoAdmin)
	if err != nil {
		return err
	}
	err = sendAs(ctx, s.handler, first, user.ConfirmAccount{OfUser: domain.ForUser(demoDeputy)}, "bootstrap/confirm")
	if r, refused := refuse.As(err); err != nil && !(refused && r.Code == "account_confirmed") {
		return err
	}
	return nil
}

func (s *server) bootstrapAdmin(ctx context.Context, id domain.UserID, name, password string) error {
	of, key := domain.ForUser(id), "bootstrap/"+string(id)
	err := sendAs(ctx, s.handler, operator(), user.RegisterUser{OfUser: of, Name: name}, key)
	if r, refused := refuse.As(err); err != nil && !(refused && r.Code == "user_exists") {
		return err
	}
	err = sendAs(ctx, s.handler, operator(), user.GrantRole{OfUser: of, Grant: user.Grant{Role: user.Admin}}, key+"/admin")
	if r, refused := refuse.As(err); err != nil && !(refused && r.Code == "role_granted") {
		return err
	}
	account, err := commands.ReadNewest(ctx, s.handler.Reader(), user.Decider, string(id))
	if err != nil || account.Digest != "" {
		return err
	}
	themselves := access.Principal{User: id, AuthenticatedAt: time.Now()}
	return sendAs(ctx, s.handler, themselves, user.ChangePassword{OfUser: of, Password: password}, "")
}

// signedInAs returns a function that signs tokens of people who have just signed in, where this program plays all of
// them.
func signedInAs(tokens *access.Tokens, validFor time.Duration) func(domain.UserID) (string, error) {
	return func(u domain.UserID) (string, error) {
		now := time.Now()
		return tokens.SignFor(access.Proof{User: u, AuthenticatedAt: now}, now, validFor)
	}
}
