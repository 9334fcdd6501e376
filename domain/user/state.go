package user

import (
	"slices"
	"time"

	"casebook/domain"
)

// User is the state of an account.
type User struct {
	ID   domain.UserID
	Name string
	// Digest is the argon2id digest of the password; empty for accounts of an identity provider.
	Digest string
	Grants []Grant
	// Proposals are the grants that wait for a second administrator.
	Proposals []Proposal
	// FailedSignIns counts the failures since the last success. Failures while the account has no password do not count.
	FailedSignIns int
	// SuspectedAt is when the alarm about guessing was raised last; the zero time if it never was.
	SuspectedAt time.Time
	Locked      bool
	Deactivated bool
	// Sessions is the version of the account's sessions, and SessionsEndedAt when earlier ones ended; it is the zero time
	// while none were ended.
	Sessions        int
	SessionsEndedAt time.Time
	// Devices are the enrolled devices, and Enrolments is the number of the last enrolment. Former are devices whose enrolment ended
	// with all sessions, and Revoked those that were revoked, the newest of each.
	Devices         []Device
	Enrolments      int
	Former, Revoked []DeviceID
	// MustChangePassword says that somebody else knows the password.
	MustChangePassword bool
	// HandledBy are those who have opened the account, chosen a password of it, removed its second factor, or changed it on
	// the machine, since it was last confirmed.
	HandledBy []domain.UserID
	// Unconfirmed says that Confirmers people have to confirm that the account is in its owner's hands; 0 means one.
	// ConfirmedBy are those who have done so.
	Unconfirmed bool
	Confirmers  int
	ConfirmedBy []domain.UserID
	// Secret is the encrypted secret of the second factor, and OfferedSecret one that the owner has not confirmed yet.
	Secret, OfferedSecret string
	// LastStep is the time step of the last code that was used.
	LastStep int
	// RecoveryCodes are the digests of the recovery codes that are left.
	RecoveryCodes []string
	// deviceKeys are the keys of devices that were not revoked, the newest last.
	deviceKeys []keyOfDevice
	// activation is the activation code that was issued last.
	activation activationCode
}

// Proposal is a grant that one administrator has proposed.
type Proposal struct {
	Grant Grant
	By    domain.UserID
}

// Decider is the decider of accounts.
var Decider = domain.Decider[User, Event]{Category: "user", Key: domain.ByUser, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams().OfAccounts()}

// Exists says whether the account has been registered.
func (u User) Exists() bool { return u.ID != "" }

// HasSecondFactor says whether sign-ins need a code besides the password.
func (u User) HasSecondFactor() bool { return u.Secret != "" }

func (u User) proposal(g Grant) (Proposal, bool) {
	at := slices.IndexFunc(u.Proposals, func(p Proposal) bool { return p.Grant == g })
	if at < 0 {
		return Proposal{}, false
	}
	return u.Proposals[at], true
}

func evolve(u User, e Event) User {
	switch e := e.(type) {
	case Registered:
		u.ID, u.Name = e.User, e.Name
	case PasswordSet:
		u.Digest, u.MustChangePassword, u.FailedSignIns = e.Digest, false, 0
	case PasswordHandedOut:
		u.MustChangePassword = true
		u = u.handled(e.By, e.Confirm)
	case RoleProposed:
		u.Proposals = append(slices.Clone(u.Proposals), Proposal{Grant: e.Grant, By: e.By})
	case RoleProposalWithdrawn:
		u.Proposals = u.proposalsWithout(e.Grant)
	case RoleGranted:
		u.Grants = append(slices.Clone(u.Grants), e.Grant)
		u.Proposals = u.proposalsWithout(e.Grant)
	case RoleRevoked:
		u.Grants = slices.DeleteFunc(slices.Clone(u.Grants), func(g Grant) bool { return g == e.Grant })
	case SignedIn:
		u.FailedSignIns = 0
	case SignInFailed:
		if e.Code != noPassword && e.Code != TooManyDevices { // in neither case has anybody guessed at a password
			u.FailedSignIns++
		}
	case PasswordGuessingSuspected:
		u.SuspectedAt = e.At
	case Locked:
		u.Locked = u.Locked || e.Reason != "" // one without a reason is from failed sign-ins, which lock nothing
	case Unlocked:
		u.Locked, u.FailedSignIns = false, 0
	case Deactivated:
		u.Deactivated = true
	case ActivationCodeIssued:
		u.activation = activationCode{digest: e.Digest, until: e.Until}
	case AccountActivated:
		u.activation = activationCode{}
	case SessionsEnded:
		for _, d := range u.Devices {
			u.Former = withDevice(u.Former, d.ID)
		}
		u.Sessions, u.SessionsEndedAt, u.Devices = e.Version, e.At, nil
	default:
		return u.evolveConfirmation(e).evolveFactor(e).evolveDevices(e)
	}
	return u
}

// evolveConfirmation folds the events that say who vouches for the account.
func (u User) evolveConfirmation(e Event) User {
	switch e := e.(type) {
	case ConfirmationRequired:
		u = u.handled(e.By, true)
		u.Confirmers = max(u.Confirmers, e.People)
	case ConfirmationGiven:
		u.ConfirmedBy = append(slices.Clone(u.ConfirmedBy), e.By)
	case AccountConfirmed, FirstAdministratorAppointed, AdministrationRecovered:
		u.Unconfirmed, u.Confirmers, u.HandledBy, u.ConfirmedBy = false, 0, nil, nil
	}
	return u
}

// handled notes that somebody else than the owner may be able to use the account. Confirmations from before do not count.
func (u User) handled(by domain.UserID, confirm bool) User {
	u.HandledBy, u.ConfirmedBy = append(slices.Clone(u.HandledBy), by), nil
	u.Unconfirmed = u.Unconfirmed || confirm
	return u
}

// evolveFactor folds the events of the second factor.
func (u User) evolveFactor(e Event) User {
	switch e := e.(type) {
	case SecondFactorOffered:
		u.OfferedSecret = e.Secret
	case SecondFactorEnrolled:
		u.Secret, u.OfferedSecret, u.RecoveryCodes = u.OfferedSecret, "", e.RecoveryCodes
	case SecondFactorUsed:
		u.LastStep = e.Step
	case RecoveryCodeUsed:
		u.RecoveryCodes = slices.DeleteFunc(slices.Clone(u.RecoveryCodes), func(digest string) bool { return digest == e.Digest })
	case SecondFactorRemoved:
		u.Secret, u.OfferedSecret, u.RecoveryCodes = "", "", nil
		u = u.handled(e.By, true)
	}
	return u
}

func (u User) proposalsWithout(g Grant) []Proposal {
	return slices.DeleteFunc(slices.Clone(u.Proposals), func(p Proposal) bool { return p.Grant == g })
}
