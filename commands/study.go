package commands

import (
	"casebook/access"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/study"
	"casebook/eventlog"
)

// The commands that build a study.
var (
	CreateStudy = Handle(study.Decider, study.Create).
			On(func(c study.CreateStudy) string { return string(c.Study) }).
			In(inStudy(func(c study.CreateStudy) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers)

	PublishProtocolVersion = Handle(study.Decider, publishWithoutReferences).
				On(func(c study.PublishProtocolVersion) string { return string(c.Study) }).
				In(inStudy(func(c study.PublishProtocolVersion) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers)

	AddSite = Handle(study.Decider, study.Add).
		On(func(c study.AddSite) string { return string(c.Study) }).
		In(inStudy(func(c study.AddSite) domain.StudyID { return c.Study })).
		AllowedTo(access.DataManagers)

	ActivateSite = Handle(study.Decider, study.Activate).
			On(func(c study.ActivateSite) string { return string(c.Study) }).
			In(inStudy(func(c study.ActivateSite) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers)

	CloseSite = Handle(study.Decider, study.Close).
			On(func(c study.CloseSite) string { return string(c.Study) }).
			In(inStudy(func(c study.CloseSite) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers).
			About(func(c study.CloseSite, m *eventlog.Metadata) { m.Site, m.Reason = c.Site, c.Reason })
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

// publishWithoutReferences knows of no instrument that was published by itself, so that references are refused.
func publishWithoutReferences(s study.Study, c study.PublishProtocolVersion, call domain.Call) ([]study.Event, error) {
	return study.Publish(s, nil, c, call)
}
