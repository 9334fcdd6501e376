package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"casebook/eventlog"
	"casebook/readmodels"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// maxBatch bounds the events between two checkpoints.
	maxBatch = 1000
	// cachedDocuments bounds the documents kept in memory, for each projection.
	cachedDocuments = 5000
	// Batches begin batchApart from each other at least, and batchPerEvent more for each event of the one before, up to
	// batchApartMost. It is what a view lags behind by design: next to nothing when little happens, and a tenth of a
	// second when much does, where each write then serves many events.
	batchApart     = 10 * time.Millisecond
	batchPerEvent  = 500 * time.Microsecond
	batchApartMost = 100 * time.Millisecond
	// maxDocument is what a MongoDB takes as one document.
	maxDocument = 16 << 20
	retryLeast  = 50 * time.Millisecond
	retryMost   = 5 * time.Second
)

// Options of an Engine.
type Options struct {
	Log    *eventlog.Log
	Store  *readmodels.Store
	Logger *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Projections to run; All when nil.
	Projections []Projection
}

// Engine runs projections. One engine at a time may write a view.
type Engine struct {
	log     *eventlog.Log
	store   *readmodels.Store
	logger  *slog.Logger
	metrics *metrics
	runners []*runner
	pace    *rate.Limiter
}

// runner is one projection as it runs.
type runner struct {
	Projection
	engine *Engine
	at     readmodels.Checkpoint
	// documents holds what was written last, so that a live view reads nothing. It is only right while this engine is
	// the only writer, and is dropped whenever a write fails.
	documents *lru.Cache[string, readmodels.Document]
}

// NewEngine returns an engine; Run starts it.
func NewEngine(o Options) *Engine {
	if o.Projections == nil {
		o.Projections = All()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{log: o.Log, store: o.Store, logger: o.Logger, metrics: newMetrics(o.Registerer),
		pace: rate.NewLimiter(rate.Every(batchApart), 1)}
	for _, p := range o.Projections {
		documents, err := lru.New[string, readmodels.Document](cachedDocuments)
		if err != nil {
			panic(err) // only for a size below 1
		}
		e.runners = append(e.runners, &runner{Projection: p, engine: e, documents: documents})
	}
	return e
}

// Run folds until ctx ends. One subscription feeds all projections, from the place of the one that is furthest behind;
// each skips what it has seen. A projection whose fold fails stops and says at which event; the others go on. The error
// is eventlog.ErrAheadOfLog where any view has seen more than the log holds.
func (e *Engine) Run(ctx context.Context) error {
	var start, end eventlog.Position
	err := e.retry(ctx, "load where views stand", func() error {
		if err := e.store.EnsureIndexes(ctx); err != nil {
			return err
		}
		for i, r := range e.runners {
			at, err := e.store.LoadCheckpoint(ctx, r.View)
			if err != nil {
				return err
			}
			// A stopped projection tries again: the program may have been mended meanwhile.
			at.State, at.Reason = readmodels.CatchingUp, ""
			if r.at = at; i == 0 || at.Position.Before(start) {
				start = at.Position
			}
			r.documents.Purge() // another engine may have written since this one ran last
		}
		var err error
		end, err = e.log.End(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range e.runners {
		if end.Before(r.at.Position) { // it would take the events to come for those that it has seen
			return fmt.Errorf("view %s has seen position %d: %w, which ends at %d; restore the log or drop the views",
				r.View.Name, r.at.Position.Commit, eventlog.ErrAheadOfLog, end.Commit)
		}
	}
	return e.log.Follow(ctx, eventlog.Subscription{After: start, MaxBatch: maxBatch,
		OnError: func(err error) { e.logger.Warn("projections wait for the log", "error", err) },
	}, e.fold)
}

// fold brings a batch to every projection. Batches begin a moment apart: a lone event is shown at once, while under load
// events gather meanwhile, and each write to the store serves many of them.
func (e *Engine) fold(ctx context.Context, b eventlog.Batch) error {
	if err := e.pace.Wait(ctx); err != nil {
		return err
	}
	if b.Live {
		e.pace.SetLimit(rate.Every(min(batchApart+time.Duration(len(b.Events))*batchPerEvent, batchApartMost)))
	} else {
		e.pace.SetLimit(rate.Inf) // there is a past to catch up with
	}
	group, ctx := errgroup.WithContext(ctx)
	if b.Live {
		group.SetLimit(1) // the machine is also there for those who send the events
	}
	for _, r := range e.runners {
		group.Go(func() error { return r.take(ctx, b) })
	}
	return group.Wait()
}

// take folds a batch into one view. Trouble with the store is waited out; trouble with an event stops the projection.
func (r *runner) take(ctx context.Context, b eventlog.Batch) error {
	state := readmodels.CatchingUp
	if b.Live {
		state = readmodels.Live
	}
	switch {
	case r.at.State == readmodels.Stopped, !r.at.Position.Before(b.Through) && state == r.at.State:
		return nil
	case b.Through.Before(r.at.Position):
		return nil // the others are still behind this one
	}
	events, through, reason := unseen(b.Events, r.at.Position), b.Through, ""
	return r.engine.retry(ctx, "project "+r.View.Name, func() error {
		folded, err := r.write(ctx, events)
		// What lies before an event that cannot be folded is still shown, so that where a view stops does not depend on how
		// the batches were cut.
		for failed := (*foldError)(nil); errors.As(err, &failed); folded, err = r.write(ctx, events) {
			state, reason, events, through = readmodels.Stopped, failed.Error(), events[:failed.event], r.at.Position
			if len(events) > 0 {
				through = events[len(events)-1].Position
			}
		}
		if err != nil {
			return err
		}
		next := r.at
		next.Position, next.State, next.Reason, next.At = through, state, reason, time.Now().UTC()
		next.Events += int64(folded)
		if len(events) > 0 {
			next.LagMillis = time.Since(events[len(events)-1].Metadata.RecordedAt).Milliseconds()
		}
		if err := r.engine.store.SaveCheckpoint(ctx, next); err != nil {
			return err
		}
		if state == readmodels.Stopped {
			r.engine.logger.Error("a projection has stopped; its view stays as it is until the program is mended and started again",
				"view", r.View.Name, "reason", reason)
		}
		r.at = next
		r.engine.metrics.batch(r.View.Name, folded, next)
		return nil
	})
}

// unseen returns the events behind a position.
func unseen(events []eventlog.Recorded, through eventlog.Position) []eventlog.Recorded {
	first, _ := slices.BinarySearchFunc(events, through, func(at eventlog.Recorded, p eventlog.Position) int {
		if p.Before(at.Position) {
			return 1
		}
		return -1
	})
	return events[first:]
}

// foldError is an error that trying again does not mend, with the number in its batch of the event at fault.
type foldError struct {
	event int
	err   error
}

func (e *foldError) Error() string { return e.err.Error() }
func (e *foldError) Unwrap() error { return e.err }

// write folds the events into their documents, writes those that changed behind position guards, and says how many of
// the events the view shows. An event counts once, whether or not its documents had seen it: that depends on where a
// process died.
func (r *runner) write(ctx context.Context, events []eventlog.Recorded) (folded int, err error) {
	touched := map[string][]int{}
	var keys []string
	for i, at := range events {
		of, err := r.touches(at)
		if err != nil {
			return 0, &foldError{i, err}
		}
		for _, key := range of {
			if touched[key] == nil {
				keys = append(keys, key)
			}
			touched[key] = append(touched[key], i)
		}
		if len(of) > 0 {
			folded++
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	defer func() {
		if err != nil {
			r.documents.Purge()
		}
	}()
	documents, err := r.load(ctx, keys, touched, events)
	if err != nil {
		return 0, err
	}
	writes := make([]mongo.WriteModel, 0, len(keys))
	for _, key := range keys {
		doc, last := documents[key], -1
		for _, i := range touched[key] {
			did, err := r.Apply(doc, events[i])
			if err != nil {
				return 0, &foldError{i, err}
			}
			if did {
				last = i
			}
		}
		if last < 0 {
			continue
		}
		// What cannot be stored is found here: as an answer of the store it would look like trouble that passes.
		raw, err := bson.Marshal(doc)
		if err == nil && len(raw) > maxDocument {
			err = fmt.Errorf("it has %d bytes of at most %d", len(raw), maxDocument)
		}
		if err != nil {
			return 0, &foldError{last, r.failed("store what becomes of", events[last], fmt.Errorf("document %q: %w", key, err))}
		}
		writes = append(writes, mongo.NewReplaceOneModel().SetFilter(doc.Head().Guard()).SetReplacement(bson.Raw(raw)).SetUpsert(true))
	}
	if len(writes) > 0 {
		_, err = r.engine.store.Collection(r.View).BulkWrite(ctx, writes, options.BulkWrite().SetOrdered(false))
		if err = withoutSeen(err); err != nil {
			return 0, fmt.Errorf("write %s: %w", r.View.Name, err)
		}
	}
	for _, key := range keys {
		r.documents.Add(key, documents[key])
	}
	return folded, nil
}

// load returns the documents of the keys, blank where there is none yet. A document that the batch begins is blank too
// where it is stored already, as after a crash: its events all come again, and the guard keeps what has seen more.
func (r *runner) load(ctx context.Context, keys []string, touched map[string][]int, events []eventlog.Recorded) (map[string]readmodels.Document, error) {
	documents := make(map[string]readmodels.Document, len(keys))
	var missing bson.A
	for _, key := range keys {
		if doc, ok := r.documents.Get(key); ok {
			documents[key] = doc
		} else if r.begins(events[touched[key][0]]) {
			documents[key] = r.Blank(key)
		} else {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return documents, nil
	}
	found, err := r.engine.store.Collection(r.View).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: missing}}}})
	if err != nil {
		return nil, fmt.Errorf("load documents of %s: %w", r.View.Name, err)
	}
	defer func() { _ = found.Close(ctx) }()
	for found.Next(ctx) {
		key, _ := found.Current.Lookup("_id").StringValueOK()
		doc, err := r.read(found.Current)
		if err != nil {
			return nil, &foldError{touched[key][0], fmt.Errorf("%s holds a document %q that cannot be read: %w", r.View.Name, key, err)}
		}
		documents[key] = doc
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("load documents of %s: %w", r.View.Name, err)
	}
	for _, key := range missing {
		if key := key.(string); documents[key] == nil {
			documents[key] = r.Blank(key)
		}
	}
	return documents, nil
}

// withoutSeen drops from a bulk's errors those of the guard: a document that is newer already makes the upsert collide
// with it, which says that it has seen the events.
func withoutSeen(err error) error {
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		return err
	}
	for _, e := range bulk.WriteErrors {
		if !mongo.IsDuplicateKeyError(e) {
			return err
		}
	}
	return nil
}

// retry does something until it works, waiting longer each time; only ctx or a fold's error end it.
func (e *Engine) retry(ctx context.Context, what string, do func() error) error {
	wait := retryLeast
	for {
		err := do()
		var failed *foldError
		if err == nil || errors.As(err, &failed) || ctx.Err() != nil {
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
