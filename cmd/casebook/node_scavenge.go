package main

import (
	"context"
	"errors"
	"fmt"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/node/store"
)

type nodeScavengeCommand struct {
	Data string   `help:"Data directory; the store is in its folder eventstore." required:"" type:"path" placeholder:"DIR"`
	Keep []string `help:"Prefixes of the names of further streams to keep; those of trials are always kept." placeholder:"PREFIX"`
	operatorFlags
	DryRun bool `help:"Count what would be removed, and remove nothing."`
}

// trialStreams returns the prefixes of the streams that hold records of trials, or of who may see and change them. They
// must never be removed, even if their metadata hide them. The checkpoints of processes are not such records.
func trialStreams() []string {
	var prefixes []string
	for _, stream := range contexts.Streams() {
		if stream.State != nil {
			prefixes = append(prefixes, stream.Category+"-")
		}
	}
	return prefixes
}

// Run scavenges the store and prints what was removed.
func (c nodeScavengeCommand) Run(ctx context.Context, s streams) (err error) {
	st, err := openOffline(dataDir(c.Data), c.DryRun, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	report, err := st.Scavenge(ctx, store.ScavengeOptions{Keep: append(trialStreams(), c.Keep...), By: c.person(), DryRun: c.DryRun})
	verb := "removed"
	if c.DryRun {
		verb = "would be removed"
	}
	fmt.Fprintf(s.out, "events   %d of %d streams %s, with %d bytes\nstreams  %d examined, %d kept\n",
		report.Events, report.Streams, verb, report.Bytes, report.Looked, report.Kept)
	return err
}
