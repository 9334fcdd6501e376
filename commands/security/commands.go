// Package security declares the commands of the context security: which decision, which facts, which roles.
package security

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain/security"
)

// Commands are the commands that record refusals of access, steps of the clock, and the blinding key.
var Commands = []commands.Command{
	commands.Handle(security.Decider, security.Record).
		AllowedTo(access.Processes),
	commands.Handle(security.Decider, security.RecordStep).
		AllowedTo(access.Processes),
	commands.Handle(security.KeyDecider, security.RecordKey).
		AllowedTo(access.Processes),
}
