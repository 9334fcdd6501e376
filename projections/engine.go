package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"casebook/domain/projection"
	"casebook/eventlog"
	"casebook/readmodels"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

const (
	retryLeast = 50 * time.Millisecond
	retryMost  = 5 * time.Second
	// defaultLease is how long a view is without a writer after a process has died on another machine.
	defaultLease = 10 * time.Second
)

// Options of an Engine.
type Options struct {
	Log    *eventlog.Log
	Store  *readmodels.Store
	Logger *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Projections to run.
	Projections []Projection
	// Lease is how long the lease on a view outlives its holder; 10 seconds when 0.
	Lease time.Duration
	// Limits bound what is kept in memory.
	Limits Limits
}

// Engine runs projections. Of several engines on one store, one at a time writes a view; another takes over when it ends
// or dies.
type Engine struct {
	log     *eventlog.Log
	store   *readmodels.Store
	logger  *slog.Logger
	metrics *metrics
	keepers []*keeper
	shared  *shared
	name    string
	lease   time.Duration
	limits  Limits

	mu sync.Mutex // guards what is decided, and what keepers stand at
	// decided is what people have decided about each view.
	decided map[string]projection.State
}

// NewEngine returns an engine; Run starts it.
func NewEngine(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	e := &Engine{log: o.Log, store: o.Store, logger: o.Logger, metrics: newMetrics(o.Registerer), name: processName(), lease: o.Lease,
		limits: o.Limits.orDefault(), decided: map[string]projection.State{}}
	for _, p := range o.Projections {
		e.keepers = append(e.keepers, &keeper{Projection: p, engine: e, news: make(chan struct{}, 1),
			at: readmodels.Checkpoint{Collection: p.View.Collection(), View: p.View.Name, Version: p.View.Version, State: readmodels.CatchingUp}})
	}
	return e
}

// Run folds until ctx ends. Each view that this engine holds is brought up to the log's end by itself, and from there on
// one subscription feeds all. A projection whose fold fails stops and says at which event; the others go on. The error is
// eventlog.ErrAheadOfLog where any view has seen more than the log holds.
func (e *Engine) Run(parent context.Context) error {
	e.shared = newShared(e)
	group, ctx := errgroup.WithContext(parent)
	heard := make(chan struct{})
	group.Go(func() error { return e.hear(ctx, heard) })
	group.Go(func() error { return e.shared.run(ctx) })
	for _, k := range e.keepers {
		group.Go(func() error {
			select { // nothing is folded before it is known which events are to be skipped
			case <-heard:
				return k.run(ctx)
			case <-ctx.Done():
				return nil
			}
		})
	}
	err := group.Wait()
	if parent.Err() != nil {
		return nil //nolint:nilerr // it was told to stop
	}
	return err
}

// hear follows what people decide about views, and tells the views' keepers.
func (e *Engine) hear(ctx context.Context, heard chan<- struct{}) error {
	once := sync.OnceFunc(func() { close(heard) })
	e.mu.Lock()
	clear(e.decided)
	e.mu.Unlock()
	return e.log.Follow(ctx, eventlog.Subscription{Categories: []string{projection.Decider.Category}, KeepUnreadable: true,
		OnError: func(err error) { e.logger.Warn("projections wait for the log", "error", err) },
	}, func(_ context.Context, b eventlog.Batch) error {
		e.mu.Lock()
		for _, at := range b.Events {
			if decision, ok := at.Event.(projection.Event); ok {
				e.decided[at.StreamID()] = projection.Decider.Evolve(e.decided[at.StreamID()], decision)
			}
		}
		e.mu.Unlock()
		if b.Live {
			once()
		}
		for _, k := range e.keepers {
			if len(b.Events) > 0 {
				k.tell()
			}
		}
		return nil
	})
}

// decisions returns what has been decided about a view.
func (e *Engine) decisions(view string) projection.State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.decided[view]
}

// Status returns where the builds that are asked stand as far as this engine knows, in the order in which the projections
// were given. Until it holds a view, it takes it to stand at the beginning.
func (e *Engine) Status() []readmodels.Checkpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]readmodels.Checkpoint, len(e.keepers))
	for i, k := range e.keepers {
		all[i] = k.at
	}
	return all
}

// retry does something until it works, waiting longer each time. Only ctx, a fold's error or a lost lease end it.
func (e *Engine) retry(ctx context.Context, what string, do func() error) error {
	wait := retryLeast
	for {
		err := do()
		var failed *foldError
		if err == nil || errors.As(err, &failed) || errors.Is(err, errThere) || errors.Is(err, readmodels.ErrLeaseLost) || ctx.Err() != nil {
			return err
		}
		e.logger.Warn("projections wait for the store", "doing", what, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		}
	}
}

// processName tells processes apart: the machine, the process, and something of its own.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), uuid.NewString()[:8])
}
