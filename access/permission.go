package access

import (
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// Permission is the set of roles that a command or query is open to.
type Permission []user.Role

// To returns the permission of all roles of the given permissions.
func To(permissions ...Permission) Permission {
	var all Permission
	for _, p := range permissions {
		all = append(all, p...)
	}
	return all
}

// Roles returns the roles that people can have, each once, in the order of the declaration.
func (p Permission) Roles() []user.Role {
	var roles []user.Role
	for _, r := range p {
		if r != user.System && !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	return roles
}

// The permissions that commands and queries are declared with.
var (
	// ThePatient is the patient of the scope, and no other patient.
	ThePatient = Permission{user.PatientRole}
	// Caregivers answer for the patient of the scope, and no other patient.
	Caregivers = Permission{user.Caregiver}
	// SiteStaff are coordinators and investigators of the scope's site.
	SiteStaff = Permission{user.CRC, user.Investigator}
	// Monitors read the sites that they are assigned to.
	Monitors = Permission{user.Monitor}
	// DataManagers build the study and keep its data.
	DataManagers = Permission{user.DataManager}
	// SafetyOfficers review risks and events of a study.
	SafetyOfficers = Permission{user.SafetyOfficer}
	// Statisticians analyse a study.
	Statisticians = Permission{user.Statistician}
	// StudyManagers act for the sponsor: caps, pauses and resupply rules. They know no arm, and read no clinical data.
	StudyManagers = Permission{user.StudyManager}
	// SupplyManagers ship kits and keep their stock.
	SupplyManagers = Permission{user.SupplyManager, user.UnblindedSupplyManager}
	// UnblindedSupply may know the arm of each kit.
	UnblindedSupply = Permission{user.UnblindedSupplyManager}
	// KnowingArms are the roles that know who is in which arm, or which arm a kit is for.
	KnowingArms = To(Statisticians, UnblindedSupply)
	// QualifiedPersons release batches, and give countries and sites their green light.
	QualifiedPersons = Permission{user.QualifiedPerson}
	// Investigators are responsible for the patients of a site.
	Investigators = Permission{user.Investigator}
	// Auditors read everything that is recorded of a study, and change nothing.
	Auditors = Permission{user.Auditor}
	// Admins manage users and grants, and see no clinical data.
	Admins = Permission{user.Admin}
	// Processes are the product's own process managers.
	Processes = Permission{user.System}

	// ClinicalReaders may read a patient's clinical data within their scope.
	ClinicalReaders = To(SiteStaff, Monitors, DataManagers, SafetyOfficers, Statisticians, Auditors)
	// StudyMembers may read a study's definition and its figures.
	StudyMembers = To(ClinicalReaders, SupplyManagers, StudyManagers, QualifiedPersons)
)

// Principal is a proven identity with its grants at the time of the request.
type Principal struct {
	User   domain.UserID
	Grants []user.Grant
	// AuthenticatedAt is when the person last signed in; the zero time if the token proves no sign-in.
	AuthenticatedAt time.Time
	// SecondFactor says that the person proved a second factor at that sign-in.
	SecondFactor bool
	// Sessions is the version of the account's sessions.
	Sessions int
	// Devices are the enrolled devices of a patient's account.
	Devices []user.Device
	// Device is the device that this sign-in has enrolled, or to whose session the token belongs; the zero value for others.
	Device user.Device
	// MustChangePassword says that somebody else chose the account's password.
	MustChangePassword bool
	// Unconfirmed says that a second person has to confirm that the account is in its owner's hands.
	Unconfirmed bool
	// Damaged is the refusal of what the account's stream would have to take; nil while the stream is sound.
	Damaged error
	// Past is the number of the log's past from which the grants were read; 0 where they were not read from the log. In another
	// past the account may have other grants.
	Past uint64
}

// reauthenticateWithin is how long a sign-in proves that the person is present.
const reauthenticateWithin = 5 * time.Minute

// MustHaveSignedInRecently refuses (code reauthentication_required) unless the person has signed in within the last five minutes.
// Some acts require this proof that the same person is still present (21 CFR 11.200(a)(1)).
func (p Principal) MustHaveSignedInRecently(action string, now time.Time) error {
	if since := now.Sub(p.AuthenticatedAt); p.AuthenticatedAt.IsZero() || since > reauthenticateWithin || since < -clockSkew {
		return refuse.Forbidden("reauthentication_required", "%s asks for a sign-in within the last five minutes", action).
			Do("sign in again, and send the command with the new token")
	}
	return nil
}

// MustBeConfirmed refuses (code account_not_confirmed) if the account may be in other hands than its owner's: an
// administrator has reset its password or its second factor, and no second person has confirmed it since.
func (p Principal) MustBeConfirmed(action string) error {
	if p.Unconfirmed {
		return refuse.Forbidden("account_not_confirmed", "the account %s was reset, and may not %s before a second person confirms it",
			p.User, action).Do("ask another administrator to send ConfirmAccount; until then another person can do it")
	}
	return nil
}

// MustHaveOwnPassword refuses (code password_change_required) while somebody else has chosen the password.
func (p Principal) MustHaveOwnPassword() error {
	if p.MustChangePassword {
		return refuse.Forbidden("password_change_required", "the password of %s was chosen by somebody else", p.User).
			Do("change it with ChangePassword, and sign in again")
	}
	return nil
}

// MustHaveSecondFactor refuses (code second_factor_required) unless the person proved a second factor at the sign-in.
func (p Principal) MustHaveSecondFactor(action string) error {
	if p.SecondFactor {
		return nil
	}
	return refuse.Forbidden("second_factor_required", "%s asks for a second factor in this study", action).
		Do("sign in with a code of your app or a recovery code; who has none sends OfferSecondFactor, or asks another person to do it")
}

// MayRead says whether the principal holds one of the roles in the scope.
func (p Principal) MayRead(permission Permission, scope domain.Scope) bool {
	return slices.ContainsFunc(p.Grants, func(g user.Grant) bool { return slices.Contains(permission, g.Role) && covers(g, scope) })
}

// IsPatient says that the principal has no other role than that of a patient or a caregiver.
func (p Principal) IsPatient() bool {
	return user.OnlyPatient(p.Grants)
}

// Process returns the principal of one of the product's own process managers. Its user id contains a colon, which no id
// of a person can.
func Process(name string) Principal {
	return Principal{User: domain.UserID("process:" + name), Grants: []user.Grant{{Role: user.System}}}
}

// IsProcess reports whether the user is a process manager, not a person.
func IsProcess(u domain.UserID) bool { return strings.HasPrefix(string(u), "process:") }

// Authorize returns the role in which the principal may act on the scope, or refuses (code not_allowed).
func (p Principal) Authorize(action string, permission Permission, scope domain.Scope) (user.Role, error) {
	for _, g := range p.Grants {
		if slices.Contains(permission, g.Role) && covers(g, scope) {
			return g.Role, nil
		}
	}
	return "", p.NotAllowed(action, permission, scope)
}

// NotAllowed is the refusal of an action on a scope. It says to whom the action is open, as the description of the API does.
func (p Principal) NotAllowed(action string, openTo Permission, scope domain.Scope) *refuse.Refusal {
	return refuse.Forbidden("not_allowed", "%s has no role that allows %s %s", p.User, action, scope).Do(openTo.whoMay())
}

// IsOfPatients says that patients and caregivers have these roles, and nobody else.
func (p Permission) IsOfPatients() bool {
	return !slices.ContainsFunc(p, func(r user.Role) bool { return !r.IsOfOnePatient() })
}

// whoMay says what those can do who lack a role.
func (p Permission) whoMay() string {
	words := make([]string, 0, len(p))
	for _, r := range p.Roles() {
		words = append(words, string(r))
	}
	switch len(words) {
	case 0:
		return "ask an administrator for a role that allows it here"
	case 1:
		return "only the role " + words[0] + " may, here: leave it to somebody who has it, or ask an administrator for it"
	}
	return "only the roles " + domain.Each(words...) + " may, here: leave it to somebody who has one, or ask an administrator for it"
}

// WorksIn reports whether the principal has any role in the study, or is a process manager.
func (p Principal) WorksIn(study domain.StudyID) bool {
	return slices.ContainsFunc(p.Grants, func(g user.Grant) bool { return g.Role == user.System || g.Study != "" && g.Study == study })
}

// Sites returns the sites of the study at which the principal has one of the permission's roles. If a grant of such a
// role covers the whole study, all is true and sites is empty.
func (p Principal) Sites(permission Permission, study domain.StudyID) (sites []domain.SiteID, all bool) {
	for _, g := range p.Grants {
		if g.Study != study || g.Role.IsOfOnePatient() || !slices.Contains(permission, g.Role) {
			continue
		}
		if g.Site == "" {
			return nil, true
		}
		if !slices.Contains(sites, g.Site) {
			sites = append(sites, g.Site)
		}
	}
	return sites, false
}

// covers says whether the grant reaches the whole scope. A grant for a site never reaches beyond it: an action on the
// study as a whole is out of its reach.
func covers(g user.Grant, scope domain.Scope) bool {
	switch g.Role {
	case user.System:
		return true
	case user.Admin:
		return scope == domain.Scope{}
	case user.PatientRole, user.Caregiver:
		return g.Patient != "" && g.Patient == scope.Patient
	default:
	}
	return g.Study != "" && g.Study == scope.Study && (g.Site == "" || g.Site == scope.Site)
}
