package projections

import (
	"casebook/domain/user"
	"casebook/readmodels"
)

type account = readmodels.User

// UserDirectory makes a document an account.
var UserDirectory = New(readmodels.UserDirectory, func(at Envelope) []string { return []string{at.StreamID()} },
	On(func(u *account, e user.Registered, at Envelope) {
		u.User, u.Name, u.Grants = e.User, e.Name, []readmodels.Granted{}
		u.RegisteredAt, u.RegisteredBy = at.Metadata.RecordedAt, at.Metadata.Actor
		u.Become(readmodels.UserActive, at.Metadata.RecordedAt)
	}),
	On(func(u *account, _ user.PasswordSet, at Envelope) { u.PasswordSetAt = &at.Metadata.RecordedAt }),
	On(func(u *account, e user.RoleGranted, at Envelope) {
		u.Give(readmodels.Granted{Grant: e.Grant, By: at.Metadata.Actor, At: at.Metadata.RecordedAt})
	}),
	On(func(u *account, e user.RoleRevoked, _ Envelope) { u.Take(e.Grant) }),
	On(func(u *account, _ user.SignedIn, at Envelope) {
		u.LastSignInAt, u.FailedSignIns = at.Metadata.RecordedAt, 0
	}),
	On(func(u *account, _ user.SignInFailed, at Envelope) {
		u.LastFailedAt = &at.Metadata.RecordedAt
		u.FailedSignIns++
	}),
	On(func(u *account, _ user.Locked, at Envelope) { u.Become(readmodels.UserLocked, at.Metadata.RecordedAt) }),
	On(func(u *account, _ user.Unlocked, at Envelope) {
		u.Become(readmodels.UserActive, at.Metadata.RecordedAt)
		u.FailedSignIns = 0
	}),
	On(func(u *account, e user.Deactivated, at Envelope) {
		u.Become(readmodels.UserDeactivated, at.Metadata.RecordedAt)
		u.Reason = e.Reason
	}),
).BegunBy(func(at Envelope) bool {
	_, registered := at.Event.(user.Registered)
	return registered
})
