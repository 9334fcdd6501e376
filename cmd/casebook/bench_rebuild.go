package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
)

type benchRebuildCommand struct {
	View    []string `help:"Views to build, together; all of them with 'all'." default:"patient-view"`
	Log     benchLog `embed:""`
	Profile string   `help:"Write a CPU profile of each rebuild to FILE.LENGTH, and a heap profile to FILE.LENGTH.heap." type:"path" placeholder:"FILE"`
	JSON    bool     `help:"Print JSON, one line per length."`
}

// rebuildReport holds the results of one rebuild.
type rebuildReport struct {
	Views    []string `json:"views"`
	Events   int      `json:"events"`
	Patients int      `json:"patients"`
	// Recorded is how long the log took to be written; 0 if it was there. Verified is how long its hash chains took to be checked.
	Recorded float64 `json:"recordedSeconds"`
	Verified float64 `json:"verifiedSeconds"`
	// Took and Processor are the time of the rebuild, and the processor time that the whole process used meanwhile.
	Took       float64 `json:"rebuildSeconds"`
	Processor  float64 `json:"rebuildProcessorSeconds"`
	PerSecond  float64 `json:"eventsPerSecond"`
	PeakMemory int64   `json:"peakMemoryBytes"`
}

// String returns the report in one line.
func (r rebuildReport) String() string {
	return fmt.Sprintf("%s over %d events of %d patients: %.1f s, %.0f events/s, %.1f us of processor time each, peak memory %d MiB "+
		"(recorded in %.1f s, verified in %.1f s)", strings.Join(r.Views, ", "), r.Events, r.Patients, r.Took, r.PerSecond,
		1e6*r.Processor/float64(r.Events), r.PeakMemory>>20, r.Recorded, r.Verified)
}

// Run records a trial of each length in new stores, and measures how long views take to be built from it. The hash chains are checked
// before, as they are when a running server rebuilds a view. The memory is that of the whole process, including the embedded stores.
func (c benchRebuildCommand) Run(ctx context.Context, s streams) error {
	chosen := contexts.Projections()
	if len(c.View) != 1 || c.View[0] != "all" {
		chosen = nil
		for _, name := range c.View {
			p, err := projections.Named(contexts.Projections(), name)
			if err != nil {
				return err
			}
			chosen = append(chosen, p)
		}
	}
	debug.SetGCPercent(gcPercent)
	return c.Log.each(ctx, func(events int, in benchStores) error {
		r, err := c.measure(ctx, chosen, events, in)
		if err != nil {
			return err
		}
		if c.JSON {
			return printLines(s, []rebuildReport{r})
		}
		_, err = fmt.Fprintln(s.out, r)
		return err
	})
}

// measure measures one length.
func (c benchRebuildCommand) measure(ctx context.Context, chosen []projections.Projection, events int, in benchStores) (rebuildReport, error) {
	r := rebuildReport{Events: in.events, Patients: in.patients, Recorded: in.recorded.Seconds()}
	for _, p := range chosen {
		r.Views = append(r.Views, p.View.Name)
	}
	verifier := eventlog.NewVerifier(eventlog.VerifierOptions{Log: in.log, Store: in.store})
	verifying, stop := context.WithCancel(ctx)
	var verified sync.WaitGroup
	verified.Go(func() { _ = verifier.Run(verifying) }) // it returns nil
	defer func() {
		stop()
		verified.Wait()
	}()
	began := time.Now()
	if err := verifier.AwaitEnd(ctx); err != nil {
		return r, err
	}
	r.Verified = time.Since(began).Seconds()
	resetPeakMemory()
	if c.Profile != "" {
		file, err := os.Create(fmt.Sprint(c.Profile, ".", events))
		if err != nil {
			return r, err
		}
		defer func() { _ = file.Close() }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return r, err
		}
		defer pprof.StopCPUProfile()
	}
	engine := projections.NewEngine(projections.Options{Log: in.log, Store: in.store, Projections: chosen, Verifier: verifier})
	used, began := processorTime(), time.Now()
	err := whileRunning(ctx, engine.Run, func(ctx context.Context) error {
		for _, p := range chosen {
			if err := built(ctx, in.store, p.View); err != nil {
				return err
			}
		}
		r.Took, r.Processor = time.Since(began).Seconds(), (processorTime() - used).Seconds()
		return c.profileHeap(events)
	})
	r.PerSecond, r.PeakMemory = float64(in.events)/r.Took, peakMemory()
	return r, err
}

// profileHeap writes a profile of the heap beside that of the processor, where one is asked for.
func (c benchRebuildCommand) profileHeap(events int) (err error) {
	if c.Profile == "" {
		return nil
	}
	file, err := os.Create(fmt.Sprint(c.Profile, ".", events, ".heap"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return pprof.Lookup("heap").WriteTo(file, 0)
}

// built waits until the first build of a view has caught up with the log.
func built(ctx context.Context, store *readmodels.Store, view readmodels.View) error {
	for {
		at, err := store.LoadCheckpoint(ctx, view)
		switch {
		case err != nil:
			return err
		case at.State == readmodels.Live:
			return nil
		case at.State == readmodels.Stopped:
			return errors.New(at.Reason)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
