package main

import (
	"context"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// demoAdmin is the administrator that demo and benchmark begin with.
const demoAdmin domain.UserID = "admin"

// bootstrapAdmin makes the first administrator, unless the directory already has one.
func (s *server) bootstrapAdmin(ctx context.Context, password string) error {
	const id = demoAdmin
	exists := func(err error, code string) bool {
		r, ok := refuse.As(err)
		return ok && r.Code == code
	}
	err := sendAs(ctx, s.handler, operator(), user.RegisterUser{OfUser: domain.ForUser(id), Name: "First administrator", Password: password}, "bootstrap/"+string(id))
	if err != nil && !exists(err, "user_exists") {
		return err
	}
	err = sendAs(ctx, s.handler, operator(), user.GrantRole{OfUser: domain.ForUser(id), Grant: user.Grant{Role: user.Admin}}, "bootstrap/"+string(id)+"/admin")
	if err != nil && !exists(err, "role_already_granted") {
		return err
	}
	return nil
}
