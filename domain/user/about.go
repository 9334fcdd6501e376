package user

import (
	"strconv"
	"time"

	"casebook/domain"
)

// About implements domain.Described.
func (e SignInFailed) About() string { return e.Code }

// About implements domain.Described.
func (e RoleGranted) About() string { return string(e.Grant.Role) }

// About implements domain.Described.
func (e RoleRevoked) About() string { return string(e.Grant.Role) }

// About implements domain.Described.
func (e RoleProposed) About() string { return string(e.Grant.Role) }

// About implements domain.Described.
func (e SessionsEnded) About() string { return string(e.Cause) }

// About implements domain.Described.
func (e DeviceEnrolled) About() string { return string(e.Device) }

// About implements domain.Described.
func (e DeviceRevoked) About() string { return string(e.Device) }

// About implements domain.Described.
func (e PasswordGuessingSuspected) About() string {
	return strconv.Itoa(e.Failures) + " failed sign-ins"
}

// About implements domain.Described.
func (e PasswordHandedOut) About() string { return "by " + string(e.By) }

// About implements domain.Described.
func (e ConfirmationRequired) About() string { return "because of " + string(e.By) }

// About implements domain.Described.
func (e TokenIssued) About() string {
	return "to " + string(e.By) + ", until " + e.Until.Format(time.RFC3339)
}

// About implements domain.Described.
func (e ConfirmationGiven) About() string { return "by " + string(e.By) }

// About implements domain.Described.
func (e FirstAdministratorAppointed) About() string { return "by " + string(e.By) + on(e.Machine) }

// About implements domain.Described.
func (e AdministrationRecovered) About() string { return "by " + string(e.By) + on(e.Machine) }

// on names a machine.
func on(machine string) string {
	if machine == "" {
		return ""
	}
	return " on " + machine
}

// Scope implements domain.Scoped, so that the auditor of a study sees who could act in it.
func (e RoleGranted) Scope() domain.Scope { return e.Grant.scope() }

// Scope implements domain.Scoped.
func (e RoleRevoked) Scope() domain.Scope { return e.Grant.scope() }

// Scope implements domain.Scoped.
func (e RoleProposed) Scope() domain.Scope { return e.Grant.scope() }

// Scope implements domain.Scoped.
func (e RoleProposalWithdrawn) Scope() domain.Scope { return e.Grant.scope() }

func (g Grant) scope() domain.Scope {
	return domain.Scope{Study: g.Study, Site: g.Site, Patient: g.Patient}
}

// ShownIn implements domain.ShownElsewhere: a role is shown with its account, and where it holds.
func (e RoleGranted) ShownIn(recorded domain.Scope) []domain.Scope {
	return []domain.Scope{recorded, e.Scope()}
}

// ShownIn implements domain.ShownElsewhere: a role is shown with its account, and where it held.
func (e RoleRevoked) ShownIn(recorded domain.Scope) []domain.Scope {
	return []domain.Scope{recorded, e.Scope()}
}
