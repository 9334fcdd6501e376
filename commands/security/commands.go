package security

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain/security"
)

var recordAccessRefused = commands.Handle(security.Decider, security.Record).
	On(func(c security.RecordAccessRefused) string { return string(c.Day) }).
	In(commands.System[security.RecordAccessRefused]).
	AllowedTo(access.Processes)

// Commands are the commands of this context.
var Commands = []commands.Command{recordAccessRefused}
