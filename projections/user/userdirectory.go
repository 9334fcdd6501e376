package user

import (
	"casebook/domain/user"
	"casebook/projections"
	userviews "casebook/readmodels/user"
)

type account = userviews.User

// UserDirectory makes one document per account.
var UserDirectory = projections.New(userviews.UserDirectory, projections.ByStream,
	projections.Begin(func(u *account, e user.Registered, at projections.Envelope) {
		u.User, u.Name = e.User, e.Name
		u.RegisteredAt, u.RegisteredBy = at.Metadata.RecordedAt, at.Metadata.Actor
		u.Become(userviews.UserActive, at.Metadata.RecordedAt)
	}),
	projections.On(func(u *account, _ user.PasswordSet, at projections.Envelope) {
		u.PasswordSetAt = &at.Metadata.RecordedAt
	}),
	projections.On(func(u *account, e user.RoleGranted, at projections.Envelope) {
		u.Give(userviews.Granted{Grant: e.Grant, By: at.Metadata.Actor, At: at.Metadata.RecordedAt})
	}),
	projections.On(func(u *account, e user.RoleRevoked, _ projections.Envelope) { u.Take(e.Grant) }),
	projections.On(func(u *account, _ user.SignedIn, at projections.Envelope) {
		u.LastSignInAt, u.FailedSignIns = at.Metadata.RecordedAt, 0
	}),
	projections.On(func(u *account, _ user.SignInFailed, at projections.Envelope) {
		u.LastFailedAt = &at.Metadata.RecordedAt
		u.FailedSignIns++
	}),
	projections.On(func(u *account, _ user.Locked, at projections.Envelope) {
		u.Become(userviews.UserLocked, at.Metadata.RecordedAt)
	}),
	projections.On(func(u *account, _ user.Unlocked, at projections.Envelope) {
		u.Become(userviews.UserActive, at.Metadata.RecordedAt)
		u.FailedSignIns = 0
	}),
	projections.On(func(u *account, e user.Deactivated, at projections.Envelope) {
		u.Become(userviews.UserDeactivated, at.Metadata.RecordedAt)
		u.Reason = e.Reason
	}),
)
