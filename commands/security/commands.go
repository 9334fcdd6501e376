package security

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain/security"
)

// Commands record what was refused.
var Commands = []commands.Command{
	commands.Handle(security.Decider, security.Record).
		AllowedTo(access.Processes),
}
