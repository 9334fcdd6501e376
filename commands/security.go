package commands

import (
	"casebook/access"
	"casebook/domain/security"
)

var recordAccessRefused = Handle(security.Decider, security.Record).
	On(func(c security.RecordAccessRefused) string { return string(c.Day) }).
	In(system[security.RecordAccessRefused]).
	AllowedTo(access.Processes)

// SecurityCommands are the commands of this context.
var SecurityCommands = []Command{recordAccessRefused}
