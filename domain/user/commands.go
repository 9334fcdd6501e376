package user

import (
	"time"

	"casebook/domain"
)

// RegisterUser opens an account.
type RegisterUser struct {
	domain.OfUser `doc:"Id to sign in with; never given to another person"`
	Name          string `json:"name" minLength:"1" maxLength:"200" doc:"The person's name; never a patient's, see OpenPatientAccount"`
	// Password is replaced by its digest before the decision (see PasswordDigest).
	Password string `json:"password,omitempty" maxLength:"200" doc:"At least 12 characters; leave out for accounts of an identity provider"`
	// PasswordDigest is the argon2id digest of Password. The command's declaration sets it before the decision.
	PasswordDigest string `json:"-"`
	// Administrators are those of the record, where the operator of the machine sends the command. The declaration sets them.
	Administrators Administrators `json:"-"`
}

// ChangePassword sets a new password, and ends all sessions. The owner proves the old password; an account without one
// needs a fresh sign-in. A password that somebody else sets has to be changed by the owner.
type ChangePassword struct {
	domain.OfUser
	// Password is replaced by its digest before the decision (see PasswordDigest).
	Password string `json:"password" minLength:"12" maxLength:"200" doc:"At least 12 characters"`
	// CurrentPassword is compared before the decision.
	CurrentPassword string `json:"currentPassword,omitempty" maxLength:"200" doc:"The old password; needed for one's own account"`
	// PasswordDigest is the argon2id digest of Password. The command's declaration sets it before the decision.
	PasswordDigest string `json:"-"`
	// Administrators are those of the record, where the operator of the machine sends the command. The declaration sets them.
	Administrators Administrators `json:"-"`
}

// ConfirmAccount confirms, as a second person, that an account that somebody else has opened, or whose password or second
// factor somebody else has reset, is in its owner's hands.
type ConfirmAccount struct {
	domain.OfUser
}

// RecoverAdministration confirms an administrator alone, when no administrator can use an account. Only the operator of
// the machine can send it.
type RecoverAdministration struct {
	domain.OfUser
	domain.Reasoned `doc:"Why nobody else can confirm the account"`
	// Administrators are those of the record. The declaration sets them.
	Administrators Administrators `json:"-"`
}

// IssueToken records that the operator of the machine gets a token for a program that acts as the user.
type IssueToken struct {
	domain.OfUser
	Until time.Time `json:"until" doc:"When the token expires"`
}

// SignOut ends all sessions of an account, on every device.
type SignOut struct {
	domain.OfUser
}

// RevokeDevice ends the sessions of one device of a patient's account, for instance of a lost phone.
type RevokeDevice struct {
	domain.OfUser
	Device          DeviceID `json:"device" doc:"The enrolled device"`
	domain.Reasoned `doc:"Why it is revoked"`
}

// LockUser locks an account and ends its sessions.
type LockUser struct {
	domain.OfUser
	domain.Reasoned `doc:"Why it is locked"`
}

// UnlockUser unlocks a locked account.
type UnlockUser struct {
	domain.OfUser
	domain.Reasoned `doc:"Why it is unlocked"`
	// Administrators are those of the record, where the operator of the machine sends the command. The declaration sets them.
	Administrators Administrators `json:"-"`
}

// OfferSecondFactor makes the secret of a second factor (TOTP, RFC 6238). The first answer shows it.
type OfferSecondFactor struct {
	domain.OfUser
	// URL is what the answer shows, and SealedSecret what is recorded. The declaration sets both.
	URL          string `json:"-"`
	SealedSecret string `json:"-"`
}

// EnrolSecondFactor makes the offered secret the second factor of the account. The first answer shows recovery codes.
type EnrolSecondFactor struct {
	domain.OfUser
	Code string `json:"code" minLength:"6" maxLength:"6" doc:"The code that the app shows now"`
	// Step is the time step of the code, or 0 if the code is wrong. RecoveryCodes are what the answer shows, and
	// RecoveryDigests what is recorded. The declaration sets all three.
	Step            int      `json:"-"`
	RecoveryCodes   []string `json:"-"`
	RecoveryDigests []string `json:"-"`
}

// RemoveSecondFactor removes the second factor of an account whose owner has lost it.
type RemoveSecondFactor struct {
	domain.OfUser
	domain.Reasoned `doc:"Why it is removed"`
	// Administrators are those of the record, where the operator of the machine sends the command. The declaration sets them.
	Administrators Administrators `json:"-"`
}

// SignIn is an attempt to sign in. Which secrets were right is in EnteredSecrets.
type SignIn struct {
	User   domain.UserID  `json:"user" doc:"The user"`
	Device DeviceAtSignIn `json:"device,omitzero" doc:"The device to enrol; counts for the accounts of patients"`
}

// GrantRole gives a role in a scope. A role that sees arms is only proposed, and given when another administrator
// confirms it.
type GrantRole struct {
	domain.OfUser
	Grant Grant `json:"grant" doc:"Role and scope"`
	// Administrators are those of the record, where the operator of the machine sends the command. The declaration sets them.
	Administrators Administrators `json:"-"`
}

// ConfirmRole gives a role that another administrator has proposed.
type ConfirmRole struct {
	domain.OfUser
	Grant Grant `json:"grant" doc:"Role and scope, as they were proposed"`
}

// RevokeRole takes a role away, from the next request on, or takes a proposal back.
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
