package study

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/study"
	"casebook/eventlog"
)

// The commands that build a study.
var (
	CreateStudy = commands.Handle(study.Decider, study.Create).
			On(func(c study.CreateStudy) string { return string(c.Study) }).
			In(commands.InStudy(func(c study.CreateStudy) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers)

	PublishProtocolVersion = commands.Handle(study.Decider, study.Publish).
				On(func(c study.PublishProtocolVersion) string { return string(c.Study) }).
				In(commands.InStudy(func(c study.PublishProtocolVersion) domain.StudyID { return c.Study })).
				AllowedTo(access.DataManagers)

	AddSite = commands.Handle(study.Decider, study.Add).
		On(func(c study.AddSite) string { return string(c.Study) }).
		In(commands.InStudy(func(c study.AddSite) domain.StudyID { return c.Study })).
		AllowedTo(access.DataManagers)

	ActivateSite = commands.Handle(study.Decider, study.Activate).
			On(func(c study.ActivateSite) string { return string(c.Study) }).
			In(commands.InStudy(func(c study.ActivateSite) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers)

	CloseSite = commands.Handle(study.Decider, study.Close).
			On(func(c study.CloseSite) string { return string(c.Study) }).
			In(commands.InStudy(func(c study.CloseSite) domain.StudyID { return c.Study })).
			AllowedTo(access.DataManagers).
			About(func(c study.CloseSite, m *eventlog.Metadata) { m.Site, m.Reason = c.Site, c.Reason })
)

// Commands are the commands of this context.
var Commands = []commands.Command{CreateStudy, PublishProtocolVersion, AddSite, ActivateSite, CloseSite}
