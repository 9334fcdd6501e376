package randomisation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// The commands on a study's randomisation.
var (
	UploadRandomisationList = commands.HandleKnowing(randomisation.Decider, commands.TheStudy(func(c randomisation.UploadRandomisationList) domain.StudyID { return c.Study }), randomisation.Upload).
				On(func(c randomisation.UploadRandomisationList) string { return string(c.Study) }).
				In(commands.InStudy(func(c randomisation.UploadRandomisationList) domain.StudyID { return c.Study })).
				AllowedTo(access.Statisticians).
				Secret()

	GenerateRandomisationList = commands.HandleKnowing(randomisation.Decider, commands.TheStudy(func(c randomisation.GenerateRandomisationList) domain.StudyID { return c.Study }), randomisation.Generate).
					On(func(c randomisation.GenerateRandomisationList) string { return string(c.Study) }).
					In(commands.InStudy(func(c randomisation.GenerateRandomisationList) domain.StudyID { return c.Study })).
					AllowedTo(access.Statisticians).
					PreparedBy(func(_ context.Context, c *randomisation.GenerateRandomisationList) (err error) {
			c.Seed, err = newSeed()
			return err
		}).
		Secret() // block sizes are kept from everybody else

	DefineMinimisation = commands.HandleKnowing(randomisation.Decider, commands.TheStudy(func(c randomisation.DefineMinimisation) domain.StudyID { return c.Study }), randomisation.Minimise).
				On(func(c randomisation.DefineMinimisation) string { return string(c.Study) }).
				In(commands.InStudy(func(c randomisation.DefineMinimisation) domain.StudyID { return c.Study })).
				AllowedTo(access.Statisticians).
				PreparedBy(func(_ context.Context, c *randomisation.DefineMinimisation) (err error) {
			c.Seed, err = newSeed()
			return err
		})

	ActivateRandomisation = commands.HandleKnowing(randomisation.Decider, commands.TheStudy(func(c randomisation.ActivateRandomisation) domain.StudyID { return c.Study }), randomisation.Activate).
				On(func(c randomisation.ActivateRandomisation) string { return string(c.Study) }).
				In(commands.InStudy(func(c randomisation.ActivateRandomisation) domain.StudyID { return c.Study })).
				AllowedTo(access.Statisticians).
				Reauthenticated()

	SetCohortCaps = commands.HandleKnowing(randomisation.Decider, commands.TheStudy(func(c randomisation.SetCohortCaps) domain.StudyID { return c.Study }), randomisation.SetCaps).
			On(func(c randomisation.SetCohortCaps) string { return string(c.Study) }).
			In(commands.InStudy(func(c randomisation.SetCohortCaps) domain.StudyID { return c.Study })).
			AllowedTo(access.Statisticians).
			About(func(c randomisation.SetCohortCaps, m *eventlog.Metadata) { m.Reason = c.Reason }).
			Secret() // caps of arms

	RandomisePatient = commands.HandleKnowing(randomisation.Decider, drawFacts, randomisation.Randomise).
				On(func(c randomisation.RandomisePatient) string { return string(c.Study) }).
				In(commands.OfPatient(func(c randomisation.RandomisePatient) domain.PatientID { return c.Patient })).
				AllowedTo(access.Processes)

	CorrectStratum = commands.Handle(randomisation.Decider, randomisation.Correct).
			On(func(c randomisation.CorrectStratum) string { return string(c.Study) }).
			In(commands.OfPatient(func(c randomisation.CorrectStratum) domain.PatientID { return c.Patient })).
			AllowedTo(access.Investigators, access.DataManagers).
			About(func(c randomisation.CorrectStratum, m *eventlog.Metadata) { m.Reason = c.Reason })

	// BreakBlind shows the arm to its sender alone, once; what is recorded does not hold it (ICH E6(R3) 4.1.4). Everyone
	// concerned is told by an alert.
	BreakBlind = commands.Handle(randomisation.Decider, randomisation.Break).
			On(func(c randomisation.BreakBlind) string { return string(c.Study) }).
			In(commands.OfPatient(func(c randomisation.BreakBlind) domain.PatientID { return c.Patient })).
			AllowedTo(access.Investigators, access.SafetyOfficers).
			Reauthenticated().
			About(func(c randomisation.BreakBlind, m *eventlog.Metadata) { m.Reason = c.Reason }).
			Revealing(func(r randomisation.Randomisation, events []randomisation.Event) (any, error) {
			for _, e := range events {
				if broken, ok := e.(randomisation.BlindBroken); ok {
					return armOfDrawn(r, broken.Patient)
				}
			}
			return nil, nil
		})

	RevealSeed = commands.HandleKnowing(randomisation.Decider, func(ctx context.Context, look commands.Look, c randomisation.RevealSeed) (enrollment.Enrollment, error) {
		return commands.Newest(ctx, look, enrollment.Decider, string(c.Study))
	}, randomisation.Reveal).
		On(func(c randomisation.RevealSeed) string { return string(c.Study) }).
		In(commands.InStudy(func(c randomisation.RevealSeed) domain.StudyID { return c.Study })).
		AllowedTo(access.Statisticians).
		Reauthenticated().
		About(func(c randomisation.RevealSeed, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// Unblinded is what BreakBlind shows.
type Unblinded struct {
	Patient domain.PatientID `json:"patient" doc:"The patient"`
	Arm     domain.ArmID     `json:"arm" doc:"The arm that the patient is in"`
}

func armOfDrawn(r randomisation.Randomisation, p domain.PatientID) (any, error) {
	arm, _ := r.ArmOf(p)
	plain, open := arm.Open()
	if !open {
		return nil, errSealedArm
	}
	return Unblinded{Patient: p, Arm: plain}, nil
}

// newSeed returns 32 random bytes in hex.
func newSeed() (string, error) {
	seed := make([]byte, 32)
	if _, err := rand.Read(seed); err != nil {
		return "", err
	}
	return hex.EncodeToString(seed), nil
}

// errSealedArm says that a decision needs an arm that this program cannot know.
var errSealedArm = errors.New("the patient's arm is sealed: this program runs without the blinding keys")

// ArmOf returns the patient's arm, "" where none has been drawn.
func ArmOf(ctx context.Context, look commands.Look, p domain.PatientID, in study.Study) (domain.ArmID, error) {
	if !in.Treatment().Randomised {
		return supply.ArmOfAll(in.Protocol), nil
	}
	drawn, err := commands.Newest(ctx, look, randomisation.Decider, string(p.Study()))
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

// drawFacts are what a draw knows besides: whether the patient still takes part, the protocol, and the arms of which a kit
// is held.
func drawFacts(ctx context.Context, look commands.Look, c randomisation.RandomisePatient) (f randomisation.Facts, err error) {
	who, err := commands.Newest(ctx, look, patient.Decider, string(c.Patient))
	if err != nil {
		return f, err
	}
	if f.Left = !who.Supplied(); f.Left {
		return f, nil
	}
	if f.Study, err = commands.At(ctx, look, study.Decider, string(c.Study)); err != nil || !f.Study.Treatment().Kits {
		return f, err
	}
	stock, err := commands.Newest(ctx, look, supply.StockDecider, supply.StockID(c.Study, supply.LocationID(c.Site)))
	if err != nil {
		return f, err
	}
	f.InStock, err = stock.HeldArms(c.Patient)
	return f, err
}

// Commands are the commands of this context.
var Commands = []commands.Command{UploadRandomisationList, GenerateRandomisationList, DefineMinimisation, ActivateRandomisation, SetCohortCaps, RandomisePatient, CorrectStratum, BreakBlind, RevealSeed}
