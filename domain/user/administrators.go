package user

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Administrators are what the record holds of administrators when the operator of the machine acts. Operators prove
// nothing of themselves, so what they may do alone depends on who else could decide.
type Administrators struct {
	// None says that nobody has ever held the role admin.
	None bool
	// Usable are the administrators whose accounts are active and confirmed.
	Usable []domain.UserID
	// Machine is the machine on which the operator acts; empty if it is not known.
	Machine string
}

// besides returns how many administrators other than id could act.
func (a Administrators) besides(id domain.UserID) int {
	return len(slices.DeleteFunc(slices.Clone(a.Usable), func(other domain.UserID) bool { return other == id }))
}

// appoint returns what follows when the operator gives an account the role admin. The first administrator of all needs no
// confirmation, because nobody could give it.
func (a Administrators) appoint(id domain.UserID, call domain.Call) Event {
	if a.None {
		return FirstAdministratorAppointed{User: id, By: call.Actor, Machine: a.Machine}
	}
	return toBeConfirmed(id, a, call)
}

// CanAdminister says that the account holds the role admin, is active, and waits for no confirmation.
func (u User) CanAdminister() bool {
	return !u.Locked && !u.Deactivated && !u.Unconfirmed && slices.Contains(u.Grants, Grant{Role: Admin})
}

// Recover confirms an administrator when nobody else could: the operator of the machine does it alone, and everybody who
// reads the record sees that. It refuses user_not_found, account_deactivated, reason_required, value_too_long,
// administrators_exist, not_an_administrator, user_locked and password_not_changed.
func Recover(u User, cmd RecoverAdministration, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	switch {
	case len(cmd.Administrators.Usable) > 0:
		return nil, refuse.WrongState("administrators_exist", "%s can administer accounts", cmd.Administrators.Usable[0]).At("user").
			Do("have an administrator send ConfirmAccount")
	case !slices.Contains(u.Grants, Grant{Role: Admin}):
		return nil, refuse.WrongState("not_an_administrator", "%s does not hold the role admin", cmd.User).At("user").
			Do("give the account the role first")
	case u.Locked:
		return nil, refuse.WrongState("user_locked", "the account %s is locked", cmd.User).At("user").Do("unlock it first")
	case u.MustChangePassword:
		return nil, passwordNotChanged(cmd.User)
	}
	return []Event{AdministrationRecovered{User: cmd.User, By: call.Actor, Machine: cmd.Administrators.Machine, Reason: cmd.Reason}}, nil
}
