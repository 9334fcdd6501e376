// Package security declares the commands of the context security: which decision, which facts, which roles.
package security

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain/security"
)

// Commands are the commands that record refusals of access and steps of the clock.
var Commands = []commands.Command{
	commands.Handle(security.Decider, security.Record).
		AllowedTo(access.Processes),
	commands.Handle(security.Decider, security.RecordStep).
		AllowedTo(access.Processes),
}
