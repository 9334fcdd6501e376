package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/record"
	"casebook/eventlog"
)

type auditResolveCommand struct {
	toolStore
	As              domain.UserID `help:"An administrator, who proposes it." required:"" placeholder:"USER"`
	ConfirmedBy     domain.UserID `help:"Another administrator, who confirms it. The passwords of both are asked for." required:"" placeholder:"USER"`
	Stream          string        `arg:"" help:"The damaged stream."`
	Revision        uint64        `help:"Number of its first damaged event, as audit verify and projections list show it." required:""`
	Reason          string        `help:"What was found out, and what is done about what the damaged events claim." required:""`
	KeyFile         string        `help:"Token key of the installation, for people with a second factor; the one in --data by default." type:"path" placeholder:"FILE"`
	BlindingKeyFile string        `help:"Key that seals arms and kit contents; that of the data directory by default. Only a program with the key can resolve damage." type:"path" placeholder:"FILE"`
}

// Run resolves the damage. Both administrators enter their passwords; on standard input these are lines, first that of --as.
// A person with a second factor enters a code on the next line.
func (c auditResolveCommand) Run(ctx context.Context, s streams) error {
	keys, err := blindingKeysIn(c.BlindingKeyFile, dataDir(c.Data), c.Eventstore)
	if err != nil {
		return err
	}
	if keys == nil {
		return fmt.Errorf("%w: damage is resolved only by a program with the key of blinded values; name its file with --blinding-key-file",
			errKeyMissing)
	}
	prove := func(log *eventlog.Log) { log.CheckProofsWith(keys) }
	return c.withHandler(ctx, c.KeyFile, prove, func(h *commands.Handler) error {
		input := bufio.NewReader(os.Stdin)
		var who [2]access.Principal
		for i, id := range []domain.UserID{c.As, c.ConfirmedBy} {
			if who[i], err = signInHere(ctx, h, input, id); err != nil {
				return err
			}
		}
		of := record.OfStream{Stream: c.Stream, Revision: c.Revision}
		propose := record.ResolveDamage{OfStream: of, Reasoned: domain.Because(c.Reason)}
		if err := sendAs(ctx, h, who[0], propose, ""); err != nil {
			return err
		}
		if err := sendAs(ctx, h, who[1], record.ConfirmDamageResolution{OfStream: of}, ""); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.out, "the events of %s from %d on that are there now are disregarded, as %s and %s have decided\n",
			c.Stream, c.Revision, c.As, c.ConfirmedBy)
		return err
	})
}
