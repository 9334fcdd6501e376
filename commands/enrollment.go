package commands

import (
	"casebook/access"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/eventlog"
)

// The commands on a study's places.
var (
	OpenEnrollment = HandleKnowing(enrollment.Decider, theStudy(func(c enrollment.OpenEnrollment) domain.StudyID { return c.Study }), enrollment.Open).
			On(func(c enrollment.OpenEnrollment) string { return string(c.Study) }).
			In(inStudy(func(c enrollment.OpenEnrollment) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers)

	CloseEnrollment = Handle(enrollment.Decider, enrollment.Close).
			On(func(c enrollment.CloseEnrollment) string { return string(c.Study) }).
			In(inStudy(func(c enrollment.CloseEnrollment) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers).
			About(func(c enrollment.CloseEnrollment, m *eventlog.Metadata) { m.Reason = c.Reason })

	SetEnrollmentTarget = HandleKnowing(enrollment.Decider, theStudy(func(c enrollment.SetEnrollmentTarget) domain.StudyID { return c.Study }), enrollment.SetTarget).
				On(func(c enrollment.SetEnrollmentTarget) string { return string(c.Study) }).
				In(inStudy(func(c enrollment.SetEnrollmentTarget) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers)

	ReservePlace = HandleKnowing(enrollment.Decider, theStudy(func(c enrollment.ReservePlace) domain.StudyID { return c.Study }), enrollment.Reserve).
			On(func(c enrollment.ReservePlace) string { return string(c.Study) }).
			In(ofPatient(func(c enrollment.ReservePlace) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes)

	ReleasePlace = Handle(enrollment.Decider, enrollment.Release).
			On(func(c enrollment.ReleasePlace) string { return string(c.Study) }).
			In(ofPatient(func(c enrollment.ReleasePlace) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes).
			About(func(c enrollment.ReleasePlace, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// EnrollmentCommands are the commands of this context.
var EnrollmentCommands = []Command{OpenEnrollment, CloseEnrollment, SetEnrollmentTarget, ReservePlace, ReleasePlace}
