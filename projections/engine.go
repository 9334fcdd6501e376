package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
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
	retryMost  = time.Second
	// defaultLease is how long a view is without a writer after a process has died on another machine.
	defaultLease = 10 * time.Second
	// lostPause is how often a view that was made from another log looks whether the right one is back.
	lostPause = 5 * time.Second
	// RenewsWithin is the time within which the holder of a lease of that length renews it.
	RenewsWithin = 4 * time.Second
)

// Options of an Engine.
type Options struct {
	Log    *eventlog.Log
	Store  *readmodels.Store
	Logger *slog.Logger
	// Registerer registers the metrics; nil for none.
	Registerer prometheus.Registerer
	// Projections to run.
	Projections []Projection
	// Verifier verifies the log, and is run by the caller. If it is nil, the engine runs one of its own.
	Verifier *eventlog.Verifier
	// Lease is how long the lease on a view outlives its holder; 10 seconds when 0.
	Lease time.Duration
	// KeptFor is how long the last former build of a version is kept; readmodels.KeptFor when 0.
	KeptFor time.Duration
	// Limits bound the memory that is used.
	Limits Limits
}

// Engine runs projections. Of several engines on one store, one at a time writes a view; another takes over when it ends
// or dies.
type Engine struct {
	log   *eventlog.Log
	store *readmodels.Store
	// verifier keeps events that are no part of the record from the folds. ownVerifier says that the engine runs it.
	verifier    *eventlog.Verifier
	ownVerifier bool

	logger  *slog.Logger
	metrics *metrics
	keepers []*keeper
	shared  *shared
	convoys *convoys
	name    string
	lease   time.Duration
	keptFor time.Duration
	limits  Limits
	// refusedPause and lostPause are those of the package; tests shorten them.
	refusedPause, lostPause time.Duration

	// shown is the commit position up to which all live views show everything, and kept says that there are any.
	shown atomic.Uint64
	kept  atomic.Bool

	mu sync.Mutex // guards decided, decidedIn, and the status of each keeper
	// decided holds what people have decided about each view, as it was read in a past of the log.
	decided   map[string]projection.State
	decidedIn eventlog.Past
}

// NewEngine returns an engine; Run starts it.
func NewEngine(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.KeptFor == 0 {
		o.KeptFor = readmodels.KeptFor
	}
	e := &Engine{log: o.Log, store: o.Store, logger: o.Logger, metrics: newMetrics(o.Registerer), name: processName(), lease: o.Lease,
		keptFor: o.KeptFor, refusedPause: refusedPause, lostPause: lostPause, limits: o.Limits.orDefault(),
		decided: map[string]projection.State{}, verifier: o.Verifier}
	e.convoys = &convoys{engine: e, from: convoyFrom}
	if e.verifier == nil {
		e.ownVerifier = true
		e.verifier = eventlog.NewVerifier(eventlog.VerifierOptions{Log: o.Log, Store: o.Store, Logger: o.Logger, Registerer: o.Registerer})
	}
	for _, p := range o.Projections {
		e.keepers = append(e.keepers, &keeper{Projection: p, engine: e, decided: make(chan struct{}, 1),
			status: readmodels.Checkpoint{Collection: p.View.Collection(), View: p.View.Name, Version: p.View.Version,
				State: readmodels.CatchingUp}})
	}
	return e
}

// Run folds until ctx ends. Each view whose lease this engine holds catches up with the log by itself; from then on one
// subscription feeds all of them. A projection whose fold fails stops and names the event; the others go on. So does a view that
// was made from another log than the one that is there: it waits until it is rebuilt, or until the right log is back.
func (e *Engine) Run(parent context.Context) error {
	e.shared = newShared(e)
	group, ctx := errgroup.WithContext(parent)
	ready := make(chan struct{})
	if e.ownVerifier {
		group.Go(func() error { return e.verifier.Run(ctx) })
	}
	group.Go(func() error { return e.followDecisions(ctx, ready) })
	group.Go(func() error { return e.shared.run(ctx) })
	for _, k := range e.keepers {
		group.Go(func() error {
			select { // nothing is folded before it is known which events have to be skipped
			case <-ready:
				return k.run(ctx)
			case <-ctx.Done():
				return nil
			}
		})
	}
	err := group.Wait()
	if parent.Err() != nil {
		return nil //nolint:nilerr // the caller has stopped it
	}
	return err
}

// Shown returns the commit position up to which all views show everything that this engine keeps and that have caught up with the log;
// kept is false while there are none. Views that stand still are none of them.
func (e *Engine) Shown() (commit uint64, kept bool) { return e.shown.Load(), e.kept.Load() }

// followDecisions follows what people decide about views, and tells the keepers. It closes ready when it has read all that
// was decided before. Where the log gets another past, it reads again what was decided.
func (e *Engine) followDecisions(ctx context.Context, ready chan<- struct{}) error {
	once := sync.OnceFunc(func() { close(ready) })
	for {
		err := e.followDecisionsOf(ctx, e.log.Past(), once)
		if ctx.Err() != nil || !errors.Is(err, eventlog.ErrOtherPast) {
			return err
		}
	}
}

// followDecisionsOf follows decisions while the log has a past. It fails with eventlog.ErrOtherPast when it has another one.
func (e *Engine) followDecisionsOf(parent context.Context, past eventlog.Past, ready func()) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	read, published := map[string]projection.State{}, false // read replaces what is known when it is complete
	// By their types, because an event store may have an index of these.
	err := e.verifier.Follow(ctx, eventlog.Subscription{Types: e.log.Registry().TypesIn(projection.Decider.Category),
		OnError: func(err error) {
			e.logger.Warn("projections wait for the log", "error", err)
			if e.log.Past() != past {
				cancel(eventlog.ErrOtherPast)
			}
		},
	}, func(_ context.Context, b eventlog.Batch) error {
		if e.log.Past() != past {
			return eventlog.ErrOtherPast
		}
		e.mu.Lock()
		for _, at := range b.Events {
			if decision, ok := at.Event.(projection.Event); ok {
				read[at.StreamID()] = projection.Decider.Evolve(read[at.StreamID()], decision)
			}
		}
		news := published && len(b.Events) > 0 || !published && b.Live
		if b.Live && !published {
			e.decided, e.decidedIn, published = read, past, true
		}
		e.mu.Unlock()
		if b.Live {
			ready()
		}
		for _, k := range e.keepers {
			if news {
				k.notify()
			}
		}
		return nil
	})
	if cause := context.Cause(ctx); parent.Err() == nil && errors.Is(cause, eventlog.ErrOtherPast) {
		return cause
	}
	return err
}

// decisions returns what people have decided about a view.
func (e *Engine) decisions(view string) projection.State {
	decided, _ := e.decisionsIn(e.log.Past(), view)
	return decided
}

// decisionsIn returns what people have decided about a view, and whether they have done so in a past of the log.
func (e *Engine) decisionsIn(past eventlog.Past, view string) (decided projection.State, in bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.decided[view], e.decidedIn == past
}

// Status returns the checkpoints of the active builds as far as this engine knows, in the order of its projections. A view
// whose lease it does not hold yet is at the beginning.
func (e *Engine) Status() []readmodels.Checkpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]readmodels.Checkpoint, len(e.keepers))
	for i, k := range e.keepers {
		all[i] = k.status
	}
	return all
}

// retry repeats an action until it succeeds, with growing pauses. It gives up when ctx ends, and on errors that another
// attempt does not mend: those of a fold, duplicates, a lost lease, and what the store refuses for good.
func (e *Engine) retry(ctx context.Context, what string, do func() error) error {
	wait := retryLeast
	for {
		err := do()
		var failed *foldError
		if err == nil || errors.As(err, &failed) || errors.Is(err, errDuplicates) || errors.Is(err, readmodels.ErrLeaseLost) ||
			errors.Is(err, eventlog.ErrMissingRight) || ctx.Err() != nil {
			return err
		}
		if refused := readmodels.Refusal(err); refused != nil {
			return fmt.Errorf("%s: %w", what, refused)
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

// processName returns a name that no other process has: host, process id, and a random part.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return readmodels.HolderName(host, os.Getpid(), uuid.NewString()[:8])
}
