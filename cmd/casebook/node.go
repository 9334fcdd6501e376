package main

import (
	"context"
	"fmt"
)

// nodeCommand is the event store alone, and what its keeper does with it.
type nodeCommand struct {
	Serve    nodeServeCommand    `cmd:"" default:"withargs" help:"Serve it. This is what happens without a word."`
	Scavenge nodeScavengeCommand `cmd:"" help:"Remove for good, from a store that nobody serves, the events that stream metadata hide. Records of trials stay."`
}

type nodeServeCommand struct {
	Data   string   `help:"Directory of the store." default:"casebook-data/eventstore" type:"path"`
	Listen string   `help:"Address to listen on." default:"127.0.0.1:2113" placeholder:"HOST:PORT"`
	Log    logFlags `embed:"" prefix:"log-"`
}

// Run serves the event store until ctx ends.
func (c nodeServeCommand) Run(ctx context.Context, s streams) error {
	n, err := openNode(ctx, c.Data, c.Listen, "--listen", c.Log.logger(s.err))
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, "event store:", n.ConnectionString())
	<-ctx.Done()
	return n.Close()
}
