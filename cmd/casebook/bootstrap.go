package main

import (
	"context"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// demoAdmin is the administrator of the demo and the benchmarks.
const demoAdmin domain.UserID = "admin"

// bootstrapAdmin creates the administrator demoAdmin, unless it exists.
func (s *server) bootstrapAdmin(ctx context.Context, password string) error {
	const key = "bootstrap/" + string(demoAdmin)
	refusedAs := func(err error, code string) bool {
		r, ok := refuse.As(err)
		return ok && r.Code == code
	}
	of := domain.ForUser(demoAdmin)
	registration := user.RegisterUser{OfUser: of, Name: "First administrator", Password: password}
	if err := sendAs(ctx, s.handler, operator(), registration, key); err != nil && !refusedAs(err, "user_exists") {
		return err
	}
	grant := user.GrantRole{OfUser: of, Grant: user.Grant{Role: user.Admin}}
	err := sendAs(ctx, s.handler, operator(), grant, key+"/admin")
	if err != nil && !refusedAs(err, "role_granted") {
		return err
	}
	return nil
}
