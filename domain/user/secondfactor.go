package user

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// OfferFactor records the secret of a second factor that the owner's app will share. It refuses user_not_found,
// account_deactivated and second_factor_enrolled.
func OfferFactor(u User, cmd OfferSecondFactor, _ domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	if u.HasSecondFactor() {
		return nil, refuse.WrongState("second_factor_enrolled", "%s has a second factor already", cmd.User).At("user").
			Do("ask an administrator to remove it, if the app or phone is lost")
	}
	return []Event{SecondFactorOffered{User: cmd.User, Secret: cmd.SealedSecret}}, nil
}

// EnrolFactor makes the offered secret the second factor, once a code of it has been entered. It refuses user_not_found,
// account_deactivated, second_factor_not_offered and wrong_code.
func EnrolFactor(u User, cmd EnrolSecondFactor, _ domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	if u.OfferedSecret == "" {
		return nil, refuse.WrongState("second_factor_not_offered", "%s has not asked for a second factor", cmd.User).At("user").
			Do("send OfferSecondFactor first, and enter its secret into an authenticator app")
	}
	if cmd.Step <= u.LastStep {
		return nil, refuse.Because("wrong_code", "the code is not the app's code of this moment").At("code").
			Do("enter the code that the app shows now, and check the phone's clock")
	}
	return []Event{SecondFactorEnrolled{User: cmd.User, RecoveryCodes: cmd.RecoveryDigests},
		SecondFactorUsed{User: cmd.User, Step: cmd.Step}}, nil
}

// RemoveFactor removes the second factor of another account, and ends its sessions. The account has to be confirmed by a
// second person afterwards. It refuses user_not_found, account_deactivated, reason_required, value_too_long, not_oneself
// and second_factor_missing.
func RemoveFactor(u User, cmd RemoveSecondFactor, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason), notOneself(cmd.User, call)); err != nil {
		return nil, err
	}
	if !u.HasSecondFactor() {
		return nil, refuse.WrongState("second_factor_missing", "%s has no second factor", cmd.User).At("user").Do("nothing is left to do")
	}
	events := []Event{SecondFactorRemoved{User: cmd.User, Reason: cmd.Reason, By: call.Actor}}
	if !isPerson(call.Actor) {
		events = append(events, toBeConfirmed(cmd.User, cmd.Administrators, call))
	}
	return append(events, u.endSessions(cmd.User, FactorWasRemoved, call)), nil
}
