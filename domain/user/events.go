// Package user holds the accounts of users: their passwords as argon2id digests, their grants, and their sign-ins.
package user

import (
	"time"

	"casebook/domain"
	"casebook/domain/personal"
)

// Event is an event of an account.
type Event interface{ userEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[Registered]("UserRegistered"),
	domain.Stored[PasswordSet]("PasswordSet").NeverShown(),
	domain.Stored[RoleGranted]("RoleGranted"),
	domain.Stored[RoleRevoked]("RoleRevoked"),
	domain.Stored[SignedIn]("SignedIn"),
	domain.Stored[SignInFailed]("SignInFailed"),
	// Version 1 of these two has no reason: earlier programs locked accounts after failed sign-ins.
	domain.Stored[Locked]("UserLocked", domain.Unchanged),
	domain.Stored[Unlocked]("UserUnlocked", domain.Unchanged),
	domain.Stored[Deactivated]("UserDeactivated"),
	domain.Stored[SessionsEnded]("SessionsEnded"),
	domain.Stored[DeviceEnrolled]("DeviceEnrolled"),
	domain.Stored[DeviceRevoked]("DeviceRevoked"),
	// Version 1 has no time.
	domain.Stored[PasswordGuessingSuspected]("PasswordGuessingSuspected", domain.Unchanged).InNoView(inTrail),
	domain.Stored[PasswordHandedOut]("PasswordHandedOut"),
	domain.Stored[AccountConfirmed]("AccountConfirmed"),
	domain.Stored[TokenIssued]("TokenIssued").ForReaders().InNoView(inTrail),
	domain.Stored[ConfirmationRequired]("ConfirmationRequired"),
	domain.Stored[ConfirmationGiven]("ConfirmationGiven").InNoView(inTrail),
	domain.Stored[FirstAdministratorAppointed]("FirstAdministratorAppointed"),
	domain.Stored[AdministrationRecovered]("AdministrationRecovered"),
	domain.Stored[RoleProposed]("RoleProposed"),
	domain.Stored[RoleProposalWithdrawn]("RoleProposalWithdrawn"),
	domain.Stored[SecondFactorOffered]("SecondFactorOffered").NeverShown().InNoView(inTrail),
	domain.Stored[SecondFactorEnrolled]("SecondFactorEnrolled").NeverShown(),
	domain.Stored[SecondFactorUsed]("SecondFactorUsed").InNoView(inTrail),
	domain.Stored[RecoveryCodeUsed]("RecoveryCodeUsed").NeverShown().InNoView(inTrail),
	domain.Stored[SecondFactorRemoved]("SecondFactorRemoved"),
	domain.Stored[ActivationCodeIssued]("ActivationCodeIssued").NeverShown().InNoView(inTrail),
	domain.Stored[AccountActivated]("AccountActivated").InNoView(inTrail),
}

// inTrail is why no view shows an event.
const inTrail = "the audit trail of accounts shows it"

// Registered opens an account. Its id is never given to another person (21 CFR 11.100(a)).
type Registered struct {
	User domain.UserID `json:"user"`
	Name string        `json:"name"`
}

// PasswordSet sets the digest of the password. The password itself is never recorded.
type PasswordSet struct {
	User domain.UserID `json:"user"`
	// Digest is an argon2id digest in PHC string format.
	Digest string `json:"digest"`
}

// RoleGranted gives a role.
type RoleGranted struct {
	User  domain.UserID `json:"user"`
	Grant Grant         `json:"grant"`
}

// RoleRevoked takes a role away.
type RoleRevoked struct {
	User   domain.UserID `json:"user"`
	Grant  Grant         `json:"grant"`
	Reason personal.Text `json:"reason"`
}

// SignedIn records a sign-in with the right password.
type SignedIn struct {
	User domain.UserID `json:"user"`
}

// SignInFailed records a failed attempt to sign in.
type SignInFailed struct {
	User domain.UserID `json:"user"`
	// Code is wrong_password, wrong_code, code_missing, no_password, account_locked, account_deactivated, wrong_activation_code or
	// too_many_devices.
	Code string `json:"code"`
}

// Locked says that an administrator has locked the account, and why. Where Reason is empty, an earlier program has locked
// the account because sign-ins failed. Failures lock no account any more, so such an event has no effect: otherwise
// anybody could have locked out anybody, for ever.
type Locked struct {
	User   domain.UserID `json:"user"`
	Reason personal.Text `json:"reason,omitempty"`
}

// Unlocked says that an administrator has unlocked the account. Where Reason is empty, an earlier program has unlocked
// it together with a new password.
type Unlocked struct {
	User   domain.UserID `json:"user"`
	Reason personal.Text `json:"reason,omitempty"`
}

// DeviceEnrolled says that a patient has signed in on a device, whose session lasts until the device is revoked or all
// sessions of the account end. Earlier tokens of the device end.
type DeviceEnrolled struct {
	User   domain.UserID `json:"user"`
	Device DeviceID      `json:"device"`
	Name   string        `json:"name,omitempty"`
	// Enrolment numbers the enrolments of the account. It grows by one each time.
	Enrolment int `json:"enrolment"`
	// Key is the device's public key; "" of a device that has none.
	Key DeviceKey `json:"key,omitempty"`
	// Signs says that the device signs its entries from now on. In events without it, no device was asked to, whether it has a key or not.
	Signs bool `json:"signs,omitempty"`
}

// DeviceRevoked ends the sessions of one device.
type DeviceRevoked struct {
	User   domain.UserID `json:"user"`
	Device DeviceID      `json:"device"`
	Reason personal.Text `json:"reason"`
}

// SessionsEnded ends every session of the account, and with them the enrolments of its devices: tokens of earlier versions,
// and those that were issued or authenticated before At, prove nothing any more.
type SessionsEnded struct {
	User domain.UserID `json:"user"`
	// Version is that of the sessions from now on. It grows by one each time.
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	Cause   EndCause  `json:"cause"`
}

// PasswordGuessingSuspected is the alarm about many failed sign-ins in a row (21 CFR 11.300(d)). It changes nothing: guesses are
// delayed, and the owner can sign in.
type PasswordGuessingSuspected struct {
	User domain.UserID `json:"user"`
	// Failures is how many sign-ins have failed since the last success.
	Failures int `json:"failures"`
	// At is when the alarm was raised; the zero time if an earlier program raised it.
	At time.Time `json:"at,omitzero"`
}

// PasswordHandedOut says that somebody else than the owner has chosen the password that was just set. The owner has to
// change it before anything else.
type PasswordHandedOut struct {
	User domain.UserID `json:"user"`
	By   domain.UserID `json:"by"`
	// Confirm says that a second person has to confirm that the account is in its owner's hands, before it can sign,
	// unblind or administer.
	Confirm bool `json:"confirm,omitempty"`
}

// ConfirmationRequired says that other people have to confirm that the account is in its owner's hands, before it can
// sign, unblind or administer: By has opened it, or has handled it on the machine.
type ConfirmationRequired struct {
	User domain.UserID `json:"user"`
	By   domain.UserID `json:"by"`
	// People is how many have to confirm it, 1 or 2.
	People int `json:"people"`
}

// TokenIssued says that the operator of the machine has got a token for a program that acts as the user.
type TokenIssued struct {
	User domain.UserID `json:"user"`
	By   domain.UserID `json:"by"`
	// Until is when the token expires.
	Until time.Time `json:"until"`
}

// ConfirmationGiven is the first of two confirmations.
type ConfirmationGiven struct {
	User domain.UserID `json:"user"`
	By   domain.UserID `json:"by"`
}

// AccountConfirmed says that so many people have confirmed that the account is in its owner's hands as had to.
type AccountConfirmed struct {
	User domain.UserID `json:"user"`
}

// FirstAdministratorAppointed says that the operator of the machine has made the first administrator of this record
// alone, when there was nobody who could have confirmed it. That happens once.
type FirstAdministratorAppointed struct {
	User domain.UserID `json:"user"`
	By   domain.UserID `json:"by"`
	// Machine is where; empty if it is not known.
	Machine string `json:"machine,omitempty"`
}

// AdministrationRecovered says that the operator of the machine has confirmed an administrator alone, when no other
// administrator could use an account any more.
type AdministrationRecovered struct {
	User domain.UserID `json:"user"`
	By   domain.UserID `json:"by"`
	// Machine is where; empty if it is not known.
	Machine string        `json:"machine,omitempty"`
	Reason  personal.Text `json:"reason"`
}

// RoleProposed says that an administrator wants to give a role that needs two people. It gives nothing before another
// administrator confirms it.
type RoleProposed struct {
	User  domain.UserID `json:"user"`
	Grant Grant         `json:"grant"`
	By    domain.UserID `json:"by"`
}

// RoleProposalWithdrawn takes a proposal back.
type RoleProposalWithdrawn struct {
	User   domain.UserID `json:"user"`
	Grant  Grant         `json:"grant"`
	Reason personal.Text `json:"reason"`
}

// SecondFactorOffered holds a secret that the owner's authenticator app shares, once a code of it has been entered.
type SecondFactorOffered struct {
	User domain.UserID `json:"user"`
	// Secret is the secret of RFC 6238, encrypted.
	Secret string `json:"secret"`
}

// SecondFactorEnrolled makes the offered secret the account's second factor.
type SecondFactorEnrolled struct {
	User domain.UserID `json:"user"`
	// RecoveryCodes are the SHA-256 digests of the codes that the owner may use instead of the app, each once.
	RecoveryCodes []string `json:"recoveryCodes"`
}

// SecondFactorUsed says which code was used, by the number of its time step, so that no code is used twice.
type SecondFactorUsed struct {
	User domain.UserID `json:"user"`
	Step int           `json:"step"`
}

// RecoveryCodeUsed says that a recovery code was used instead of a code of the app.
type RecoveryCodeUsed struct {
	User domain.UserID `json:"user"`
	// Digest is that of the code.
	Digest string `json:"digest"`
}

// SecondFactorRemoved removes the second factor, for instance because the phone is lost. A second person has to confirm
// the account afterwards.
type SecondFactorRemoved struct {
	User   domain.UserID `json:"user"`
	By     domain.UserID `json:"by"`
	Reason personal.Text `json:"reason"`
}

// Deactivated says that the account is deactivated for ever.
type Deactivated struct {
	User   domain.UserID `json:"user"`
	Reason personal.Text `json:"reason"`
}

func (Registered) userEvent()   {}
func (PasswordSet) userEvent()  {}
func (RoleGranted) userEvent()  {}
func (RoleRevoked) userEvent()  {}
func (SignedIn) userEvent()     {}
func (SignInFailed) userEvent() {}
func (Locked) userEvent()       {}
func (Unlocked) userEvent()     {}
func (Deactivated) userEvent()  {}

func (SessionsEnded) userEvent()             {}
func (DeviceEnrolled) userEvent()            {}
func (DeviceRevoked) userEvent()             {}
func (PasswordGuessingSuspected) userEvent() {}
func (PasswordHandedOut) userEvent()         {}
func (AccountConfirmed) userEvent()          {}
func (ConfirmationRequired) userEvent()      {}
func (ConfirmationGiven) userEvent()         {}
func (TokenIssued) userEvent()               {}
func (RoleProposed) userEvent()              {}
func (RoleProposalWithdrawn) userEvent()     {}
func (SecondFactorOffered) userEvent()       {}
func (SecondFactorEnrolled) userEvent()      {}
func (SecondFactorUsed) userEvent()          {}
func (RecoveryCodeUsed) userEvent()          {}
func (SecondFactorRemoved) userEvent()       {}

func (FirstAdministratorAppointed) userEvent() {}
func (AdministrationRecovered) userEvent()     {}

// EndCause says why sessions ended.
type EndCause string

// The causes.
const (
	SignedOut           EndCause = "signed_out"
	PasswordChanged     EndCause = "password_changed"
	AccountLocked       EndCause = "account_locked"
	AccountDeactivated  EndCause = "account_deactivated"
	FactorWasRemoved    EndCause = "second_factor_removed"
	PasswordWasAssigned EndCause = "password_handed_out"
)

// Schema implements domain.HasSchema.
func (EndCause) Schema() domain.Schema {
	return domain.OneOf(SignedOut, PasswordChanged, AccountLocked, AccountDeactivated, FactorWasRemoved, PasswordWasAssigned)
}

// Role is what a person does in a trial.
type Role string

// The roles of a trial. Only process managers have the role System; it cannot be granted.
const (
	PatientRole Role = "patient"
	// Caregiver answers for one patient, and sees nothing else.
	Caregiver     Role = "caregiver"
	CRC           Role = "crc"
	Investigator  Role = "investigator"
	Monitor       Role = "monitor"
	DataManager   Role = "data_manager"
	SupplyManager Role = "supply_manager"
	// UnblindedSupplyManager is a supply manager who also knows which arm a kit is for.
	UnblindedSupplyManager Role = "unblinded_supply_manager"
	// QualifiedPerson certifies batches, and says where kits may be shipped (EU GMP Annex 13 and 16).
	QualifiedPerson Role = "qualified_person"
	SafetyOfficer   Role = "safety_officer"
	// StudyManager sets caps, pauses and resupply rules for the sponsor, and knows no arm.
	StudyManager Role = "study_manager"
	Statistician Role = "statistician"
	Auditor      Role = "auditor"
	Admin        Role = "admin"
	System       Role = "system"
)

// Roles are all roles that can be granted.
var Roles = []Role{PatientRole, Caregiver, CRC, Investigator, Monitor, DataManager, SupplyManager, UnblindedSupplyManager,
	QualifiedPerson, SafetyOfficer, StudyManager, Statistician, Auditor, Admin}

// Schema implements domain.HasSchema.
func (Role) Schema() domain.Schema { return domain.OneOf(Roles...) }

// IsOfOnePatient says that the role stands for one patient: it is granted for that patient alone, and is no work at a site.
func (r Role) IsOfOnePatient() bool { return r == PatientRole || r == Caregiver }

// KnowsArms says that people in the role know who is in which arm, so that texts that they write may reveal an arm.
func (r Role) KnowsArms() bool {
	return r == Statistician || r == UnblindedSupplyManager || r == QualifiedPerson // a certificate says what a lot is
}

// MayUnblind says that people in the role may have a patient's arm shown to them.
func (r Role) MayUnblind() bool { return r == Investigator || r == SafetyOfficer }

// NeedsTwoPeople says that the role sees arms, so that one administrator alone cannot give it.
func (r Role) NeedsTwoPeople() bool { return r.KnowsArms() || r.MayUnblind() }

// NeedsSecond says that the role is only proposed when by gives it, and that a second person has to confirm it. An
// administrator who could appoint another one alone would be both people. The operator of the machine may give the role
// admin, but the account has to be confirmed by administrators before it can be used for that (see GiveRole).
func (r Role) NeedsSecond(by domain.UserID) bool {
	return r.NeedsTwoPeople() || r == Admin && isPerson(by)
}

// Grant gives a role in a scope. Study is empty only for the role admin. Site is empty for roles in a whole study.
// Patient is set only for the roles patient and caregiver, and Relation only for a caregiver.
type Grant struct {
	Role    Role             `json:"role" doc:"The role"`
	Study   domain.StudyID   `json:"study,omitempty" doc:"The study; empty for an admin alone"`
	Site    domain.SiteID    `json:"site,omitempty" doc:"The site; empty where the role works across the study"`
	Patient domain.PatientID `json:"patient,omitempty" doc:"The patient that a patient's or a caregiver's account stands for"`
	// Relation is what the caregiver is to the patient.
	Relation Relation `json:"relation,omitempty" doc:"What a caregiver is to the patient"`
}

// Relation is what a caregiver is to the patient.
type Relation string

// The relations of caregivers.
const (
	RelationParent        Relation = "parent"
	RelationGuardian      Relation = "guardian"
	RelationSpouse        Relation = "spouse"
	RelationChild         Relation = "child"
	RelationSibling       Relation = "sibling"
	RelationOtherRelative Relation = "other_relative"
	// RelationProfessional is somebody who cares for the patient as a profession, and does not work for the trial.
	RelationProfessional Relation = "professional"
	RelationOther        Relation = "other"
)

// Relations are all relations of caregivers.
var Relations = []Relation{RelationParent, RelationGuardian, RelationSpouse, RelationChild, RelationSibling, RelationOtherRelative,
	RelationProfessional, RelationOther}

// Schema implements domain.HasSchema.
func (Relation) Schema() domain.Schema { return domain.OneOf(Relations...) }
