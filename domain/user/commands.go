package user

import (
	"casebook/domain"
)

// RegisterUser opens an account.
type RegisterUser struct {
	domain.OfUser `doc:"Id to sign in with; never given to another person"`
	Name          string `json:"name" minLength:"1" maxLength:"200" doc:"The person's name"`
	// Password is digested before the decision sees it (see PasswordDigest).
	Password string `json:"password,omitempty" maxLength:"200" doc:"At least 12 characters; leave out for accounts of an identity provider"`
	// PasswordDigest is the argon2id digest, set by the handler from Password.
	PasswordDigest string `json:"-"`
}

// ChangePassword sets a new password. It opens a locked account again when an administrator sends it.
type ChangePassword struct {
	domain.OfUser
	// Password is digested before the decision sees it (see PasswordDigest).
	Password string `json:"password" minLength:"12" maxLength:"200" doc:"At least 12 characters"`
	// PasswordDigest is the argon2id digest, set by the handler from Password.
	PasswordDigest string `json:"-"`
}

// SignIn is an attempt to sign in; whether the password was right is a fact beside it.
type SignIn struct {
	User domain.UserID `json:"user" doc:"The user"`
}

// GrantRole gives a role in a scope.
type GrantRole struct {
	domain.OfUser
	Grant Grant `json:"grant" doc:"Role and scope"`
}

// RevokeRole takes a role away; it holds from the next request on.
type RevokeRole struct {
	domain.OfUser
	Grant           Grant `json:"grant" doc:"Role and scope, as they were granted"`
	domain.Reasoned `doc:"Why it is taken away"`
}

// DeactivateUser ends an account.
type DeactivateUser struct {
	domain.OfUser
	domain.Reasoned `doc:"Why it ends"`
}
