package commands

import (
	"context"

	"casebook/domain"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// armOf returns the patient's arm, "" where none has been drawn.
func armOf(_ context.Context, _ Look, _ domain.PatientID, in study.Study) (domain.ArmID, error) {
	return supply.ArmOfAll(in.Protocol), nil
}
