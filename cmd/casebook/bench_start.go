package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/loadtest"
	"casebook/projections"
)

type benchStartCommand struct {
	Log    benchLog      `embed:""`
	Rounds int           `help:"Starts on each log; medians are reported." default:"3"`
	Idle   time.Duration `help:"How long each server is left alone before its memory is read." default:"10s"`
	JSON   bool          `help:"Print JSON, one line per length."`
}

// startReport holds the results of the starts on a log: medians.
type startReport struct {
	Events int `json:"events"`
	// Ready is the time from the start of the process until it takes commands, Processor the processor time that it used until then.
	Ready     float64 `json:"readySeconds"`
	Processor float64 `json:"readyProcessorSeconds"`
	// Idle is the processor time that it used afterwards, in the time in which it was left alone, and Memory its resident memory then.
	Idle   float64 `json:"idleProcessorSeconds"`
	Memory int64   `json:"idleMemoryBytes"`
}

// String returns the report in one line.
func (r startReport) String() string {
	return fmt.Sprintf("%8d events: ready after %.0f ms, %.0f ms of processor time; then idle with %.0f ms of it and %d MiB",
		r.Events, 1000*r.Ready, 1000*r.Processor, 1000*r.Idle, r.Memory>>20)
}

// Run makes logs with all views, and starts a server on each several times. The first start, which may have work left, does not count.
func (c benchStartCommand) Run(ctx context.Context, s streams) error {
	if c.Rounds < 1 {
		return errors.New("--rounds must be at least 1")
	}
	var all []startReport
	for _, events := range c.Log.Events {
		r, err := c.measure(ctx, s, events)
		if err != nil {
			return err
		}
		all = append(all, r)
		if c.JSON {
			err = json.NewEncoder(s.out).Encode(r)
		} else {
			_, err = fmt.Fprintln(s.out, r)
		}
		if err != nil {
			return err
		}
	}
	if c.JSON {
		return nil
	}
	points := make([]point, len(all))
	for i, r := range all {
		points[i] = point{fmt.Sprint(r.Events), 1000 * r.Processor}
	}
	return chart{"processor time until ready, by events in the log", "ms", points}.write(s.out)
}

func (c benchStartCommand) measure(ctx context.Context, s streams, events int) (r startReport, err error) {
	if c.Log.Data == "" { // the log has to outlive the process that writes it
		dir, err := os.MkdirTemp("", "casebook-bench-")
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		c.Log.Data = dir
	}
	var dir string
	err = c.Log.with(ctx, events, func(in benchStores) error {
		dir, r.Events = in.dir, in.events
		engine := projections.NewEngine(projections.Options{Log: in.log, Store: in.store, Projections: contexts.Projections()})
		return whileRunning(ctx, engine.Run, func(ctx context.Context) error {
			for _, p := range contexts.Projections() {
				if err := built(ctx, in.store, p.View); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return r, err
	}
	var rounds []startReport
	for range c.Rounds + 1 {
		one, err := c.start(ctx, s, dir)
		if err != nil {
			return r, err
		}
		rounds = append(rounds, one)
	}
	rounds = rounds[1:]
	middle := func(of func(startReport) float64) float64 {
		values := make([]float64, len(rounds))
		for i, r := range rounds {
			values[i] = of(r)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	r.Ready = middle(func(r startReport) float64 { return r.Ready })
	r.Processor = middle(func(r startReport) float64 { return r.Processor })
	r.Idle = middle(func(r startReport) float64 { return r.Idle })
	r.Memory = int64(middle(func(r startReport) float64 { return float64(r.Memory) }))
	return r, nil
}

// start starts a server in a process of its own, waits until it takes commands, and ends it.
func (c benchStartCommand) start(ctx context.Context, s streams, dir string) (r startReport, err error) {
	program, err := os.Executable()
	if err != nil {
		return r, err
	}
	process := exec.CommandContext(ctx, program, "serve", "--data", dir, "--mongo-database", benchDatabase, "--http", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--node-listen", "127.0.0.1:0", "--mongo-listen", "127.0.0.1:0", "--log-level", "error") // #nosec G204
	process.Env = withoutSettings(os.Environ())
	process.Stderr = s.err
	out, err := process.StdoutPipe()
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := process.Start(); err != nil {
		return r, err
	}
	defer func() {
		err = errors.Join(err, process.Process.Signal(os.Interrupt), process.Wait())
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "API:") {
		return r, errors.Join(fmt.Errorf("the server did not start: it printed %q", line), err)
	}
	pid := process.Process.Pid
	ready := loadtest.ProcessorTimeOf(pid)
	r.Ready, r.Processor = time.Since(began).Seconds(), ready.Seconds()
	select {
	case <-ctx.Done():
		return r, ctx.Err()
	case <-time.After(c.Idle):
	}
	r.Idle = (loadtest.ProcessorTimeOf(pid) - ready).Seconds()
	r.Memory, _ = loadtest.MemoryOf(pid)
	return r, nil
}
