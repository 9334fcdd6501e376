package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
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
	// Objects and Bytes are what was allocated for each event.
	Objects float64 `json:"objectsPerEvent"`
	Bytes   float64 `json:"bytesPerEvent"`
	// Shares says where the processor time went.
	Shares []share `json:"shares"`
}

// String returns the report in one line.
func (r rebuildReport) String() string {
	return fmt.Sprintf("%s over %d events of %d patients: %.1f s, %.0f events/s, %.1f us of processor time, %.0f objects and "+
		"%.0f bytes each, peak memory %d MiB (recorded in %.1f s, verified in %.1f s)", strings.Join(r.Views, ", "), r.Events, r.Patients,
		r.Took, r.PerSecond, 1e6*r.Processor/float64(r.Events), r.Objects, r.Bytes, r.PeakMemory>>20, r.Recorded, r.Verified)
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
	course := chart{title: "processor time for each event, by events in the log", unit: "us"}
	err := c.Log.each(ctx, func(events int, in benchStores) error {
		r, err := c.measure(ctx, chosen, events, in)
		if err != nil {
			return err
		}
		if c.JSON {
			return printLines(s, []rebuildReport{r})
		}
		course.points = append(course.points, point{fmt.Sprint(r.Events), 1e6 * r.Processor / float64(r.Events)})
		fmt.Fprintln(s.out, r)
		return writeShares(s.out, r.Shares, 1e6*r.Processor/float64(r.Events))
	})
	if err != nil {
		return err
	}
	return course.write(s.out)
}

// measure measures one length.
func (c benchRebuildCommand) measure(ctx context.Context, chosen []projections.Projection, events int, in benchStores,
) (rebuildReport, error) {
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
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		return r, err
	}
	stopProfile := sync.OnceFunc(pprof.StopCPUProfile)
	defer stopProfile()
	engine := projections.NewEngine(projections.Options{Log: in.log, Store: in.store, Projections: chosen, Verifier: verifier})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	small, restore := context.WithCancel(ctx)
	var kept sync.WaitGroup
	kept.Go(func() { _ = boundHeap(small) }) // as the server does; it returns nil
	defer func() {
		restore()
		kept.Wait()
	}()
	used, began := processorTime(), time.Now()
	err := whileRunning(ctx, engine.Run, func(ctx context.Context) error {
		for _, p := range chosen {
			if err := built(ctx, in.store, p.View); err != nil {
				return err
			}
		}
		r.Took, r.Processor = time.Since(began).Seconds(), (processorTime() - used).Seconds()
		runtime.ReadMemStats(&after)
		r.Objects = float64(after.Mallocs-before.Mallocs) / float64(in.events)
		r.Bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(in.events)
		stopProfile()
		return c.keepProfiles(profile.Bytes(), events)
	})
	if err != nil {
		return r, err
	}
	r.PerSecond, r.PeakMemory = float64(in.events)/r.Took, peakMemory()
	r.Shares, err = sharesOf(profile.Bytes())
	return r, err
}

// keepProfiles writes the profile of the processor, and one of the heap beside it, where they are asked for.
func (c benchRebuildCommand) keepProfiles(processor []byte, events int) error {
	if c.Profile == "" {
		return nil
	}
	var heap bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&heap, 0); err != nil {
		return err
	}
	file := fmt.Sprint(c.Profile, ".", events)
	return errors.Join(os.WriteFile(file, processor, 0o600), os.WriteFile(file+".heap", heap.Bytes(), 0o600))
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
