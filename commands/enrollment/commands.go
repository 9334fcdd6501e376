package enrollment

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/eventlog"
)

// The commands on a study's places.
var (
	OpenEnrollment = commands.HandleKnowing(enrollment.Decider, commands.TheStudy(func(c enrollment.OpenEnrollment) domain.StudyID { return c.Study }), enrollment.Open).
			On(func(c enrollment.OpenEnrollment) string { return string(c.Study) }).
			In(commands.InStudy(func(c enrollment.OpenEnrollment) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers)

	CloseEnrollment = commands.Handle(enrollment.Decider, enrollment.Close).
			On(func(c enrollment.CloseEnrollment) string { return string(c.Study) }).
			In(commands.InStudy(func(c enrollment.CloseEnrollment) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers).
			About(func(c enrollment.CloseEnrollment, m *eventlog.Metadata) { m.Reason = c.Reason })

	SetEnrollmentTarget = commands.HandleKnowing(enrollment.Decider, commands.TheStudy(func(c enrollment.SetEnrollmentTarget) domain.StudyID { return c.Study }), enrollment.SetTarget).
				On(func(c enrollment.SetEnrollmentTarget) string { return string(c.Study) }).
				In(commands.InStudy(func(c enrollment.SetEnrollmentTarget) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers)

	ReservePlace = commands.HandleKnowing(enrollment.Decider, commands.TheStudy(func(c enrollment.ReservePlace) domain.StudyID { return c.Study }), enrollment.Reserve).
			On(func(c enrollment.ReservePlace) string { return string(c.Study) }).
			In(commands.OfPatient(func(c enrollment.ReservePlace) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes)

	ReleasePlace = commands.Handle(enrollment.Decider, enrollment.Release).
			On(func(c enrollment.ReleasePlace) string { return string(c.Study) }).
			In(commands.OfPatient(func(c enrollment.ReleasePlace) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes).
			About(func(c enrollment.ReleasePlace, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// Commands are the commands of this context.
var Commands = []commands.Command{OpenEnrollment, CloseEnrollment, SetEnrollmentTarget, ReservePlace, ReleasePlace}
