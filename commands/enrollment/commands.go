// Package enrollment declares the commands of the context enrollment: which decision, which facts, which roles.
package enrollment

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
)

// Commands are the commands on a study's places.
var Commands = []commands.Command{
	commands.HandleWithFacts(enrollment.Decider, commands.StudyOf, enrollment.Open).
		AllowedTo(access.DataManagers, access.StudyManagers).
		Described("Let patients enter the study",
			enrollment.OpenEnrollment{InStudy: domain.ForStudy("PAIN1"), Caps: enrollment.Caps{Target: 100, Study: 120}}),
	commands.Handle(enrollment.Decider, enrollment.Close).
		AllowedTo(access.DataManagers, access.StudyManagers).
		Described("End the entry of patients",
			enrollment.CloseEnrollment{InStudy: domain.ForStudy("PAIN1"), Reasoned: domain.Because("The target is reached")}),
	commands.HandleWithFacts(enrollment.Decider, commands.StudyOf, enrollment.SetTarget).
		AllowedTo(access.DataManagers, access.StudyManagers).
		Described("Change target and caps",
			enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy("PAIN1"), Caps: enrollment.Caps{Target: 150, Study: 180}}),
	commands.HandleWithFacts(enrollment.Decider, placeFacts, enrollment.Reserve).
		AllowedTo(access.Processes),
	commands.Handle(enrollment.Decider, enrollment.Release).
		AllowedTo(access.Processes),
}

// placeFacts reads the facts of ReservePlace. The levels are those with which the enrolment was requested.
func placeFacts(ctx context.Context, reader commands.Reader, c enrollment.ReservePlace) (f enrollment.Facts, err error) {
	if f.Study, err = commands.StudyOf(ctx, reader, c); err != nil {
		return f, err
	}
	who, err := commands.PatientOf(ctx, reader, c)
	f.Factors = who.Factors
	return f, err
}
