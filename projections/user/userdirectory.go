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
		u.PasswordSetAt, u.MustChangePassword, u.FailedSignIns = &at.Metadata.RecordedAt, false, 0
	}),
	projections.On(func(u *account, e user.PasswordHandedOut, _ projections.Envelope) {
		u.MustChangePassword, u.Unconfirmed = true, u.Unconfirmed || e.Confirm
	}),
	projections.On(func(u *account, _ user.ConfirmationRequired, _ projections.Envelope) { u.Unconfirmed = true }),
	projections.On(func(u *account, _ user.AccountConfirmed, _ projections.Envelope) { u.Unconfirmed = false }),
	projections.On(func(u *account, _ user.FirstAdministratorAppointed, _ projections.Envelope) { u.Unconfirmed = false }),
	projections.On(func(u *account, _ user.AdministrationRecovered, _ projections.Envelope) { u.Unconfirmed = false }),
	projections.On(func(u *account, e user.RoleProposed, at projections.Envelope) {
		u.Proposed = append(u.Proposed, userviews.Granted{Grant: e.Grant, By: e.By, At: at.Metadata.RecordedAt})
	}),
	projections.On(func(u *account, e user.RoleProposalWithdrawn, _ projections.Envelope) { u.Withdraw(e.Grant) }),
	projections.On(func(u *account, _ user.SecondFactorEnrolled, _ projections.Envelope) { u.SecondFactor = true }),
	projections.On(func(u *account, _ user.SecondFactorRemoved, _ projections.Envelope) {
		u.SecondFactor, u.Unconfirmed = false, true
	}),
	projections.On(func(u *account, e user.RoleGranted, at projections.Envelope) {
		u.Give(userviews.Granted{Grant: e.Grant, By: at.Metadata.Actor, At: at.Metadata.RecordedAt})
	}),
	projections.On(func(u *account, e user.RoleRevoked, _ projections.Envelope) { u.Take(e.Grant) }),
	projections.On(func(u *account, _ user.SignedIn, at projections.Envelope) {
		u.LastSignInAt, u.FailedSignIns = at.Metadata.RecordedAt, 0
	}),
	projections.On(func(u *account, e user.DeviceEnrolled, at projections.Envelope) {
		u.Enrol(userviews.Device{Device: e.Device, Name: e.Name, EnrolledAt: at.Metadata.RecordedAt})
	}),
	projections.On(func(u *account, e user.DeviceRevoked, _ projections.Envelope) { u.Revoke(e.Device) }),
	projections.On(func(u *account, _ user.SessionsEnded, _ projections.Envelope) { u.Devices = nil }),
	projections.On(func(u *account, _ user.SignInFailed, at projections.Envelope) {
		u.LastFailedAt = &at.Metadata.RecordedAt
		u.FailedSignIns++
	}),
	projections.On(func(u *account, e user.Locked, at projections.Envelope) {
		if e.Reason == "" { // an earlier program locked it after failed sign-ins, which lock nothing any more
			return
		}
		u.Become(userviews.UserLocked, at.Metadata.RecordedAt)
		u.Reason = string(e.Reason)
	}),
	projections.On(func(u *account, _ user.Unlocked, at projections.Envelope) {
		if u.Status == userviews.UserLocked {
			u.Become(userviews.UserActive, at.Metadata.RecordedAt)
		}
		u.Reason, u.FailedSignIns = "", 0
	}),
	projections.On(func(u *account, e user.Deactivated, at projections.Envelope) {
		u.Become(userviews.UserDeactivated, at.Metadata.RecordedAt)
		u.Reason = string(e.Reason)
	}),
)
