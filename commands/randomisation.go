package commands

import (
	"context"
	"errors"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// The commands on a study's randomisation.
var (
	RandomisePatient = HandleKnowing(randomisation.Decider, drawFacts, randomisation.Randomise).
		On(func(c randomisation.RandomisePatient) string { return string(c.Study) }).
		In(ofPatient(func(c randomisation.RandomisePatient) domain.PatientID { return c.Patient })).
		AllowedTo(access.Processes)
)

// errSealedArm says that a decision needs an arm that this program cannot know.
var errSealedArm = errors.New("the patient's arm is sealed: this program runs without the blinding keys")

// armOf returns the patient's arm, "" where none has been drawn.
func armOf(ctx context.Context, look Look, p domain.PatientID, in study.Study) (domain.ArmID, error) {
	if !in.Treatment().Randomised {
		return supply.ArmOfAll(in.Protocol), nil
	}
	drawn, err := Newest(ctx, look, randomisation.Decider, string(p.Study()))
	if err != nil {
		return "", err
	}
	arm, found := drawn.ArmOf(p)
	if !found {
		return "", nil
	}
	plain, open := arm.Open()
	if !open {
		return "", errSealedArm
	}
	return plain, nil
}

// drawFacts are what a draw knows besides: the protocol, and the arms of which a kit is held. Nobody is drawn who does not
// take part any more (code patient_ended).
func drawFacts(ctx context.Context, look Look, c randomisation.RandomisePatient) (f randomisation.Facts, err error) {
	who, err := Newest(ctx, look, patient.Decider, string(c.Patient))
	if err != nil {
		return f, err
	}
	if !who.Supplied() {
		return f, refuse.WrongState("patient_ended", "patient %s does not take part", c.Patient).At("patient").Do("nobody is drawn who has left")
	}
	if f.Study, err = At(ctx, look, study.Decider, string(c.Study)); err != nil || !f.Study.Treatment().Kits {
		return f, err
	}
	stock, err := Newest(ctx, look, supply.StockDecider, supply.StockID(c.Study, supply.LocationID(c.Site)))
	if err != nil {
		return f, err
	}
	f.InStock, err = stock.HeldArms(c.Patient)
	return f, err
}
