// Package user holds the accounts of users: their passwords as argon2id digests, their grants, and their sign-ins.
package user

import (
	"casebook/domain"
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
	domain.Stored[Locked]("UserLocked"),
	domain.Stored[Unlocked]("UserUnlocked"),
	domain.Stored[Deactivated]("UserDeactivated"),
}

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
	Reason string        `json:"reason"`
}

// SignedIn records a sign-in with the right password.
type SignedIn struct {
	User domain.UserID `json:"user"`
}

// SignInFailed records a failed attempt to sign in.
type SignInFailed struct {
	User domain.UserID `json:"user"`
	// Code is wrong_password, no_password, account_locked or account_deactivated.
	Code string `json:"code"`
}

// Locked says that repeated failures have locked the account (21 CFR 11.300(d)).
type Locked struct {
	User domain.UserID `json:"user"`
}

// Unlocked says that an administrator has unlocked the account with a new password.
type Unlocked struct {
	User domain.UserID `json:"user"`
}

// Deactivated says that the account is deactivated for ever.
type Deactivated struct {
	User   domain.UserID `json:"user"`
	Reason string        `json:"reason"`
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

// Role is what a person does in a trial.
type Role string

// The roles of a trial. Only process managers have the role System; it cannot be granted.
const (
	PatientRole   Role = "patient"
	CRC           Role = "crc"
	Investigator  Role = "investigator"
	Monitor       Role = "monitor"
	DataManager   Role = "data_manager"
	SupplyManager Role = "supply_manager"
	// UnblindedSupplyManager is a supply manager who also knows which arm a kit is for.
	UnblindedSupplyManager Role = "unblinded_supply_manager"
	SafetyOfficer          Role = "safety_officer"
	Statistician           Role = "statistician"
	Auditor                Role = "auditor"
	Admin                  Role = "admin"
	System                 Role = "system"
)

// Roles are all roles that can be granted.
var Roles = []Role{PatientRole, CRC, Investigator, Monitor, DataManager, SupplyManager, UnblindedSupplyManager, SafetyOfficer,
	Statistician, Auditor, Admin}

// Schema implements domain.HasSchema.
func (Role) Schema() domain.Schema { return domain.OneOf(Roles...) }

// KnowsArms says that people in the role know who is in which arm, so that texts that they write may reveal an arm.
func (r Role) KnowsArms() bool { return r == Statistician || r == UnblindedSupplyManager }

// Grant gives a role in a scope. Study is empty only for the role admin. Site is empty for roles in a whole study.
// Patient is set only for the role patient.
type Grant struct {
	Role    Role             `json:"role" doc:"The role"`
	Study   domain.StudyID   `json:"study,omitempty" doc:"The study; empty for an admin alone"`
	Site    domain.SiteID    `json:"site,omitempty" doc:"The site; empty where the role works across the study"`
	Patient domain.PatientID `json:"patient,omitempty" doc:"The patient that a patient's account stands for"`
}
