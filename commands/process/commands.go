package process

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/eventlog"
)

// The commands of the machinery that runs process managers, and those on messages that it could not deal with.
var (
	takeStep = commands.Handle(process.Decider, process.Take).
			On(func(c process.TakeStep) string { return c.Step.Instance.String() }).
			In(func(_ context.Context, _ commands.Look, c process.TakeStep) (domain.Scope, error) {
			return domain.Scope{Study: c.Step.Study, Site: c.Step.Site}, nil
		}).
		AllowedTo(access.Processes)

	parkMessage = commands.Handle(process.ParkedDecider, process.Park).
			On(func(c process.ParkMessage) string { return c.Message.Parked.String() }).
			In(func(_ context.Context, _ commands.Look, c process.ParkMessage) (domain.Scope, error) {
			return domain.Scope{Study: c.Message.Study}, nil
		}).
		AllowedTo(access.Processes)

	RetryParkedMessage = commands.Handle(process.ParkedDecider, process.Retry).
				On(func(c process.RetryParkedMessage) string {
			return process.Parked{Process: c.Process, Event: c.Event}.String()
		}).
		In(commands.InStudy(func(c process.RetryParkedMessage) domain.StudyID { return c.Study })).
		AllowedTo(access.DataManagers).
		About(func(c process.RetryParkedMessage, m *eventlog.Metadata) { m.Reason = c.Reason })

	AbandonParkedMessage = commands.Handle(process.ParkedDecider, process.Abandon).
				On(func(c process.AbandonParkedMessage) string {
			return process.Parked{Process: c.Process, Event: c.Event}.String()
		}).
		In(commands.InStudy(func(c process.AbandonParkedMessage) domain.StudyID { return c.Study })).
		AllowedTo(access.DataManagers).
		About(func(c process.AbandonParkedMessage, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// Commands are the commands of this context.
var Commands = []commands.Command{RetryParkedMessage, AbandonParkedMessage, takeStep, parkMessage}
