// Package enrollment declares the commands of the context enrollment: which decision, which facts, which roles.
package enrollment

import (
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
	commands.HandleWithFacts(enrollment.Decider, commands.StudyOf, enrollment.Reserve).
		AllowedTo(access.Processes),
	commands.Handle(enrollment.Decider, enrollment.Release).
		AllowedTo(access.Processes),
}
