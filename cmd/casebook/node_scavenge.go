package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/node/store"
)

type nodeScavengeCommand struct {
	Data   string   `help:"Directory of the store." required:"" type:"path" placeholder:"DIR"`
	Keep   []string `help:"Beginnings of the names of streams that are left alone, besides those of trials." placeholder:"PREFIX"`
	By     string   `help:"Who removes; the store records it. The user of this machine by default." placeholder:"NAME"`
	DryRun bool     `help:"Count what would be removed, and remove nothing."`
}

// trialStreams are how the names of all streams begin that hold records of trials, or of who may see and change them:
// nothing may remove those, whatever their metadata say. How far a process has come is no such record.
func trialStreams() []string {
	var prefixes []string
	for _, stream := range contexts.Streams() {
		if stream.State != nil {
			prefixes = append(prefixes, stream.Category+"-")
		}
	}
	return prefixes
}

// Run scavenges the store and prints what it came to.
func (c nodeScavengeCommand) Run(ctx context.Context, s streams) (err error) {
	if c.By == "" {
		if me, err := user.Current(); err == nil {
			c.By = me.Username
		}
	}
	st, err := openOffline(c.Data, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	report, err := st.Scavenge(ctx, store.ScavengeOptions{Keep: append(trialStreams(), c.Keep...), By: c.By, DryRun: c.DryRun})
	verb := "removed"
	if c.DryRun {
		verb = "would be removed"
	}
	fmt.Fprintf(s.out, "events   %d of %d streams %s, with %d bytes\nstreams  %d looked at, %d kept\n",
		report.Events, report.Streams, verb, report.Bytes, report.Looked, report.Kept)
	return err
}
