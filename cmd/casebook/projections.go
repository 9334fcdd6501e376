package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"casebook/readmodels"
)

type projectionsCommand struct {
	List projectionsListCommand `cmd:"" help:"Show where each view stands."`
}

type projectionsListCommand struct {
	Mongo         string `help:"Address of the MongoDB with the views; that of a running server on this machine by default." default:"mongodb://127.0.0.1:27017/?directConnection=true" placeholder:"URL"`
	MongoDatabase string `help:"Database of the read models." default:"casebook"`
	JSON          bool   `help:"Print JSON, a view a line."`
}

// Run prints the checkpoints.
func (c projectionsListCommand) Run(ctx context.Context, s streams) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	store, err := readmodels.Connect(ctx, c.Mongo, c.MongoDatabase)
	if err != nil {
		return fmt.Errorf("%w; is a server running?", err)
	}
	defer func() { err = errors.Join(err, store.Close(ctx)) }()
	checkpoints, err := store.Checkpoints(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		for _, p := range checkpoints {
			line, err := json.Marshal(p)
			if err != nil {
				return err
			}
			fmt.Fprintln(s.out, string(line))
		}
		return nil
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VIEW\tVERSION\tSTATE\tPOSITION\tEVENTS\tUPDATED")
	for _, p := range checkpoints {
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%d\t%s\n", p.View, p.Version, p.State, p.Position.Commit, p.Events, p.At.Format(time.RFC3339))
	}
	return table.Flush()
}
