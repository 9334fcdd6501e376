// Package user holds who may act: accounts, their passwords as argon2id digests, their grants, and their sign-ins.
package user

import (
	"casebook/domain"
)

// Event is what can happen to a user.
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

// Registered begins a user's stream. A user id is never given to another person (21 CFR 11.100(a)).
type Registered struct {
	User domain.UserID `json:"user"`
	Name string        `json:"name"`
}

// PasswordSet sets the password by its digest; the password itself is never recorded.
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

// SignInFailed records a sign-in that was turned down.
type SignInFailed struct {
	User domain.UserID `json:"user"`
	// Code is wrong_password, no_password, account_locked or account_deactivated.
	Code string `json:"code"`
}

// Locked says that repeated failures have locked the account (21 CFR 11.300(d)).
type Locked struct {
	User domain.UserID `json:"user"`
}

// Unlocked says that an administrator has opened a locked account again, with a new password.
type Unlocked struct {
	User domain.UserID `json:"user"`
}

// Deactivated ends an account for good.
type Deactivated struct {
	User   domain.UserID `json:"user"`
	Reason string        `json:"reason"`
}

// ShownIn implements domain.ShownElsewhere: a role is shown where it holds, too.
func (e RoleGranted) ShownIn(recorded domain.Scope) []domain.Scope {
	return []domain.Scope{recorded, e.Grant.Scope()}
}

// ShownIn implements domain.ShownElsewhere: a role is shown where it held, too.
func (e RoleRevoked) ShownIn(recorded domain.Scope) []domain.Scope {
	return []domain.Scope{recorded, e.Grant.Scope()}
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

// The roles of a trial. System is held by process managers alone and cannot be granted.
const (
	PatientRole   Role = "patient"
	CRC           Role = "crc"
	Investigator  Role = "investigator"
	Monitor       Role = "monitor"
	DataManager   Role = "data_manager"
	SupplyManager Role = "supply_manager"
	// UnblindedSupplyManager also knows which kit holds which arm.
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

// Schema implements domain.Described.
func (Role) Schema() domain.Schema { return domain.OneOf(Roles...) }

// Grant gives a role in a scope. Study is empty for an admin alone; Site is empty for roles that work across a study;
// Patient is set for the role patient alone.
type Grant struct {
	Role    Role             `json:"role" doc:"The role"`
	Study   domain.StudyID   `json:"study,omitempty" doc:"The study; empty for an admin alone"`
	Site    domain.SiteID    `json:"site,omitempty" doc:"The site; empty where the role works across the study"`
	Patient domain.PatientID `json:"patient,omitempty" doc:"The patient that a patient's account stands for"`
}

// Scope is where the role holds.
func (g Grant) Scope() domain.Scope {
	return domain.Scope{Study: g.Study, Site: g.Site, Patient: g.Patient}
}
