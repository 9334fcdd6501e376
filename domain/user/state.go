package user

import (
	"slices"

	"casebook/domain"
)

// User is the state of an account.
type User struct {
	ID   domain.UserID
	Name string
	// Digest is the argon2id digest of the password; empty for accounts of an identity provider.
	Digest string
	Grants []Grant
	// FailedSignIns counts the failures since the last success. Failures while the account has no password do not count.
	FailedSignIns int
	Locked        bool
	Deactivated   bool
}

// Decider is the decider of accounts.
var Decider = domain.Decider[User, Event]{Category: "user", Key: domain.ByUser, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams().OfAccounts()}

// Exists says whether the account has been registered.
func (u User) Exists() bool { return u.ID != "" }

func evolve(u User, e Event) User {
	switch e := e.(type) {
	case Registered:
		u.ID, u.Name = e.User, e.Name
	case PasswordSet:
		u.Digest = e.Digest
	case RoleGranted:
		u.Grants = append(slices.Clone(u.Grants), e.Grant)
	case RoleRevoked:
		u.Grants = slices.DeleteFunc(slices.Clone(u.Grants), func(g Grant) bool { return g == e.Grant })
	case SignedIn:
		u.FailedSignIns = 0
	case SignInFailed:
		if e.Code != noPassword { // without a password, nobody can have guessed at it
			u.FailedSignIns++
		}
	case Locked:
		u.Locked = true
	case Unlocked:
		u.Locked, u.FailedSignIns = false, 0
	case Deactivated:
		u.Deactivated = true
	}
	return u
}
