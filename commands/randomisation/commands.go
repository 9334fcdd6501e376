// Package randomisation declares the commands of the context randomisation: which decision, which facts, which roles.
package randomisation

import (
	"context"
	"errors"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// Commands are the commands on a study's randomisation.
var Commands = append([]commands.Command{
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.Upload).
		AllowedTo(access.Statisticians).
		Blinded().
		Described("Bring a randomisation list that was made elsewhere",
			randomisation.UploadRandomisationList{InStudy: domain.ForStudy("PAIN1"), Scheme: "list-1",
				CSV: "age,arm\nunder-50,walk\nunder-50,usual\n"}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.Generate).
		AllowedTo(access.Statisticians).
		PreparedBy(func(_ context.Context, c *randomisation.GenerateRandomisationList) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}).
		Blinded().
		Described("Make a randomisation list of permuted blocks",
			randomisation.GenerateRandomisationList{InStudy: domain.ForStudy("PAIN1"), Scheme: "list-2",
				Ratio: map[domain.ArmID]int{"walk": 1, "usual": 1}, BlockSizes: []int{2, 4}, PerStratum: 60}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.Minimise).
		AllowedTo(access.Statisticians).
		PreparedBy(func(_ context.Context, c *randomisation.DefineMinimisation) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}).
		Described("Have patients drawn by minimisation",
			randomisation.DefineMinimisation{InStudy: domain.ForStudy("PAIN1"), Scheme: "minimisation",
				Ratio: map[domain.ArmID]int{"walk": 2, "usual": 1}, Metric: randomisation.MetricRange, P: 0.8}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.Activate).
		AllowedTo(access.Statisticians).
		Reauthenticated().
		Described("Let patients be drawn by a scheme; asks for a fresh sign-in",
			randomisation.ActivateRandomisation{InStudy: domain.ForStudy("PAIN1"), Scheme: "list-2",
				SHA256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.SetCaps).
		AllowedTo(access.Statisticians).
		Blinded().
		Described("Bound how many patients of an arm or a level are drawn",
			randomisation.SetCohortCaps{InStudy: domain.ForStudy("PAIN1"),
				Caps: []randomisation.CohortCap{{Factor: "age", Level: "under-50", Most: 40}}, Reasoned: domain.Because("Amendment 2")}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.BoundLevels).
		AllowedTo(access.Statisticians, access.StudyManagers).
		Described("Bound how many patients of a level or a cohort are drawn; caps of arms stay as they are",
			randomisation.SetLevelCaps{InStudy: domain.ForStudy("PAIN1"),
				Caps:     []randomisation.LevelCap{{Levels: map[string]string{"age": "under-50"}, Most: 40}},
				Reasoned: domain.Because("Amendment 2")}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.Supersede).
		AllowedTo(access.Statisticians).
		Reauthenticated().
		Described("Replace a scheme that is in use, such as after an amendment; asks for a fresh sign-in",
			randomisation.SupersedeScheme{InStudy: domain.ForStudy("PAIN1"), Scheme: "list-3",
				SHA256:   "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
				Counting: randomisation.CountFresh, Reasoned: domain.Because("Amendment 2 adds an arm")}),
	commands.HandleWithFacts(randomisation.Decider, commands.StudyOf, randomisation.DropArm).
		AllowedTo(access.Statisticians).
		Reauthenticated().
		Blinded().
		Described("Close an arm: nobody is drawn into it any more, and its patients stay supplied; asks for a fresh sign-in",
			randomisation.CloseArm{InStudy: domain.ForStudy("PAIN1"), Arm: "usual", Reasoned: domain.Because("Decision of the monitoring board")}),
	commands.Handle(randomisation.Decider, randomisation.Extend).
		AllowedTo(access.Statisticians).
		Blinded().
		Described("Append entries to a list; those that are there stay as they are",
			randomisation.ExtendRandomisationList{InStudy: domain.ForStudy("PAIN1"), Scheme: "list-2", PerStratum: 20,
				Reasoned: domain.Because("The study recruits more patients than planned")}),
	commands.Handle(randomisation.Decider, randomisation.Watch).
		AllowedTo(access.Statisticians).
		Described("Say how many unused entries of a stratum are few, so that an alert is raised",
			randomisation.SetListAlert{InStudy: domain.ForStudy("PAIN1"), Remaining: 10, Reasoned: domain.Because("Two weeks of recruitment")}),
	commands.HandleWithFacts(randomisation.Decider, drawFacts, randomisation.Randomise).
		AllowedTo(access.Processes).
		Upcast(domain.Unchanged),
	commands.Handle(randomisation.Decider, randomisation.Correct).
		AllowedTo(access.Investigators, access.DataManagers).
		Described("Correct the levels that a patient was drawn with; the assignment stays",
			randomisation.CorrectStratum{InStudy: domain.ForStudy("PAIN1"), OfPatient: domain.ForPatient("PAIN1.S-0001"),
				Factors: map[string]string{"age": "50-or-more"}, Reasoned: domain.Because("The birth year was misread")}),
	commands.HandleWithFacts(randomisation.Decider, enrollmentOfStudy, randomisation.Reveal).
		AllowedTo(access.Statisticians).
		Reauthenticated().
		Described("Show the seed of a scheme when enrolment is over; asks for a fresh sign-in",
			randomisation.RevealSeed{InStudy: domain.ForStudy("PAIN1"), Scheme: "list-2", Reasoned: domain.Because("Database lock")}),
}, unblinding...)

// enrollmentOfStudy reads whether enrolment is open in the study of RevealSeed.
func enrollmentOfStudy(ctx context.Context, reader commands.Reader, c randomisation.RevealSeed) (enrollment.Enrollment, error) {
	return commands.ReadNewest(ctx, reader, enrollment.Decider, string(c.Study))
}

// errSealedArm says that a decision needs an arm that this program cannot read.
var errSealedArm = errors.New("the patient's arm is sealed: this program runs without the blinding keys")

// DrawsOf returns the draws of a patient's study; none if no version of the protocol randomises. in is the study.
func DrawsOf(ctx context.Context, reader commands.Reader, who patient.Patient, in study.Study) (r randomisation.Randomisation, err error) {
	if !in.Randomises() {
		return r, nil
	}
	return commands.ReadNewest(ctx, reader, randomisation.Decider, string(who.Study))
}

// ArmOf returns the patient's arm: the one drawn last, which outlives every amendment; for a patient who was not drawn, the one arm
// of the patient's version of the protocol, or of the version that the patient was enrolled by, if it does not randomise; or "". in
// is the study as the patient's version has it. It also returns the arms of the study that are closed. It fails if the program has
// no blinding keys.
func ArmOf(drawn randomisation.Randomisation, who patient.Patient, in study.Study) (of domain.ArmID, closed []domain.ArmID, err error) {
	undrawn := supply.ArmOfAll(in.Protocol)
	if undrawn == "" {
		undrawn = supply.ArmOfAll(in.Version(who.EnrolledBy))
	}
	if closed, err = drawn.Closed(); err != nil {
		return "", nil, errSealedArm
	}
	arm, found := drawn.ArmOf(who.ID)
	if !found {
		return undrawn, closed, nil
	}
	plain, open := arm.Open()
	if !open {
		return "", nil, errSealedArm
	}
	return plain, closed, nil
}

// DrawnInto returns the arms of the scheme by which patients are drawn in a stage; nil if there is none. It fails if the program has no
// blinding keys.
func DrawnInto(drawn randomisation.Randomisation, stage string) ([]domain.ArmID, error) {
	arms, err := drawn.DrawnInto(stage)
	if err != nil {
		return nil, errSealedArm
	}
	return arms, nil
}

// drawFacts reads the facts of a draw: whether the patient still takes part, the patient's version of the protocol, and the arms of
// which the site holds a kit for the patient, if patients get kits with the draw.
func drawFacts(ctx context.Context, reader commands.Reader, c randomisation.RandomisePatient) (f randomisation.Facts, err error) {
	who, err := commands.ReadNewest(ctx, reader, patient.Decider, string(c.Patient))
	if err != nil {
		return f, err
	}
	if f.Ended = !who.MayGetKits(); f.Ended {
		return f, nil
	}
	in, err := commands.ReadNewest(ctx, reader, study.Decider, string(c.Study)) // a suspension takes effect at once
	if f.Study = who.Follows(in); err != nil || !f.Study.Gives("") {
		return f, err
	}
	stock, err := commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(c.Study, supply.LocationID(c.Site)))
	if err != nil {
		return f, err
	}
	f.InStock, err = stock.HeldArms(c.Patient)
	return f, err
}
