package user

import (
	"casebook/domain"
)

// RegisterUser opens an account.
type RegisterUser struct {
	domain.OfUser `doc:"Id to sign in with; never given to another person"`
	Name          string `json:"name" minLength:"1" maxLength:"200" doc:"The person's name"`
	// Password is replaced by its digest before the decision (see PasswordDigest).
	Password string `json:"password,omitempty" maxLength:"200" doc:"At least 12 characters; leave out for accounts of an identity provider"`
	// PasswordDigest is the argon2id digest of Password. The command's declaration sets it before the decision.
	PasswordDigest string `json:"-"`
}

// ChangePassword sets a new password. It also unlocks a locked account if an administrator sends it.
type ChangePassword struct {
	domain.OfUser
	// Password is replaced by its digest before the decision (see PasswordDigest).
	Password string `json:"password" minLength:"12" maxLength:"200" doc:"At least 12 characters"`
	// PasswordDigest is the argon2id digest of Password. The command's declaration sets it before the decision.
	PasswordDigest string `json:"-"`
}

// SignIn is an attempt to sign in. Whether the password was right is in PasswordCheck.
type SignIn struct {
	User domain.UserID `json:"user" doc:"The user"`
}

// GrantRole gives a role in a scope.
type GrantRole struct {
	domain.OfUser
	Grant Grant `json:"grant" doc:"Role and scope"`
}

// RevokeRole takes a role away, from the next request on.
type RevokeRole struct {
	domain.OfUser
	Grant           Grant `json:"grant" doc:"Role and scope, as they were granted"`
	domain.Reasoned `doc:"Why it is taken away"`
}

// DeactivateUser deactivates an account for ever.
type DeactivateUser struct {
	domain.OfUser
	domain.Reasoned `doc:"Why it ends"`
}
