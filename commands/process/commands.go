// Package process declares the commands of the context process: which decision, which facts, which roles.
package process

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
)

// Commands are the commands that record what processes do, and the commands on parked messages.
var Commands = []commands.Command{
	commands.Handle(process.ParkedDecider, process.Retry).
		AllowedTo(access.DataManagers).
		Described("Hand a parked message to its process once more",
			process.RetryParkedMessage{InStudy: domain.ForStudy("PAIN1"), Process: "enrollment", Event: exampleEvent,
				Reasoned: domain.Because("The depot has been opened")}),
	commands.Handle(process.ParkedDecider, process.Abandon).
		AllowedTo(access.DataManagers).
		Described("Give a parked message up",
			process.AbandonParkedMessage{InStudy: domain.ForStudy("PAIN1"), Process: "enrollment", Event: exampleEvent,
				Reasoned: domain.Because("The site has enrolled the patient by hand")}),
	commands.Handle(process.Decider, process.RetryInstance).
		AllowedTo(access.DataManagers).
		Described("Have a process ask again for what it waits for",
			process.RetryProcess{InStudy: domain.ForStudy("PAIN1"), Process: "enrollment", Of: "PAIN1.S-0001",
				Reasoned: domain.Because("The event store was restored")}),
	commands.Handle(process.Decider, process.Take).
		Scoped(func(_ context.Context, _ commands.Reader, c process.TakeStep) (domain.Scope, error) {
			return domain.Scope{Study: c.Step.Study, Site: c.Step.Site}, nil
		}).
		AllowedTo(access.Processes),
	commands.Handle(process.ParkedDecider, process.Park).
		Scoped(func(_ context.Context, _ commands.Reader, c process.ParkMessage) (domain.Scope, error) {
			return domain.Scope{Study: c.Message.Study}, nil
		}).
		AllowedTo(access.Processes),
}

// exampleEvent is an event's id, as the list of parked messages shows it.
const exampleEvent = "0b6e2f5c-5f0f-5d6e-9d42-7f5b1c9d2a10"
