package study

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// Changed implements domain.Changing: the setting is only recorded when it changes.
func (e SecondFactorRequired) Changed() []domain.ChangedValue {
	return []domain.ChangedValue{{Field: "secondFactor", Old: !e.Required, New: e.Required}}
}

// SetSecondFactor says whether signing and unblinding ask for a second factor. It refuses study_not_found,
// reason_required, value_too_long and second_factor_set.
func SetSecondFactor(s Study, cmd RequireSecondFactor, _ domain.Call) ([]Event, error) {
	if err := domain.First(s.mustExist(cmd.Study), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	if s.SecondFactor == cmd.Required {
		return nil, refuse.WrongState("second_factor_set", "study %s has that setting already", cmd.Study).At("required").
			Do("nothing is left to do")
	}
	return []Event{SecondFactorRequired{Study: cmd.Study, Required: cmd.Required, Reason: cmd.Reason}}, nil
}
