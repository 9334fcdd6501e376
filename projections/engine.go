package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
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
	// fetchBatch bounds the events of a batch as it comes from the log, and fetchAhead such batches while one is folded.
	fetchBatch = 1000
	fetchAhead = 4
	// maxBatch bounds the events between two checkpoints, give or take a fetched batch. A document is written once in a
	// batch, so that with a past to catch up with the work is less the more events of a patient fall into one.
	maxBatch = fetchAhead * fetchBatch
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

	mu sync.Mutex // guards at of the runners against Status; they read their own without
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
		e.runners = append(e.runners, &runner{Projection: p, engine: e, documents: documents,
			at: readmodels.Checkpoint{Collection: p.View.Collection(), View: p.View.Name, Version: p.View.Version, State: readmodels.CatchingUp}})
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
			if r.stands(at); i == 0 || at.Position.Before(start) {
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
	return e.follow(ctx, start)
}

// follow folds what comes from the log behind a position. Reading and folding go on side by side: what comes while a
// batch is folded makes the next one, so batches grow by themselves when there is much to do.
func (e *Engine) follow(parent context.Context, after eventlog.Position) error {
	fetched := make(chan eventlog.Batch, fetchAhead)
	group, ctx := errgroup.WithContext(parent)
	group.Go(func() error {
		defer close(fetched)
		return e.log.Follow(ctx, eventlog.Subscription{After: after, MaxBatch: fetchBatch,
			OnError: func(err error) { e.logger.Warn("projections wait for the log", "error", err) },
		}, func(ctx context.Context, b eventlog.Batch) error {
			select {
			case fetched <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	group.Go(func() error {
		for b := range fetched {
			if err := e.fold(ctx, b, fetched); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	if parent.Err() != nil {
		return nil //nolint:nilerr // it was told to stop
	}
	return err
}

// fold brings a batch, with what has been fetched behind it, to every projection. Batches begin a moment apart: a lone
// event is shown at once, while under load events gather meanwhile, and each write to the store serves many of them.
func (e *Engine) fold(ctx context.Context, b eventlog.Batch, fetched <-chan eventlog.Batch) error {
	if err := e.pace.Wait(ctx); err != nil {
		return err
	}
	b = withMore(b, fetched)
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

// withMore puts behind a batch what has been fetched meanwhile.
func withMore(b eventlog.Batch, fetched <-chan eventlog.Batch) eventlog.Batch {
	for len(b.Events) < maxBatch {
		select {
		case next, open := <-fetched:
			if !open {
				return b
			}
			b.Events, b.Through, b.Live = append(b.Events, next.Events...), next.Through, next.Live
		default:
			return b
		}
	}
	return b
}

// Status returns where the projections of this engine stand, in the order in which they were given. Until Run has looked
// at the checkpoints they stand at the beginning.
func (e *Engine) Status() []readmodels.Checkpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]readmodels.Checkpoint, len(e.runners))
	for i, r := range e.runners {
		all[i] = r.at
	}
	return all
}

func (r *runner) stands(at readmodels.Checkpoint) {
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	r.at = at
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
			next.Batch = folded
			recorded := events[len(events)-1].Metadata.RecordedAt
			next.LastEventAt, next.LagMillis = &recorded, time.Since(recorded).Milliseconds()
		}
		if err := r.engine.store.SaveCheckpoint(ctx, next); err != nil {
			return err
		}
		if state == readmodels.Stopped {
			r.engine.logger.Error("a projection has stopped; its view stays as it is until the program is mended and started again",
				"view", r.View.Name, "reason", reason)
		}
		r.stands(next)
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
	all, err := r.documentsOf(ctx, events)
	if err != nil {
		return 0, err
	}
	touched := map[string][]int{}
	var keys []string
	for i, of := range all {
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
	var fresh, known []write
	for _, key := range keys {
		doc, last := documents[key], -1
		isFresh := doc.Head().Position == 0
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
		if w := (write{doc.Head().Guard(), raw}); isFresh {
			fresh = append(fresh, w)
		} else {
			known = append(known, w)
		}
	}
	if err := r.save(ctx, fresh, known); err != nil {
		return 0, fmt.Errorf("write %s: %w", r.View.Name, err)
	}
	for _, key := range keys {
		r.documents.Add(key, documents[key])
	}
	return folded, nil
}

// documentsOf names the documents that each event touches. Those of a group are named by the event that made it, or else
// by the group's document: either way they are the same, whatever has been folded meanwhile.
func (r *runner) documentsOf(ctx context.Context, events []eventlog.Recorded) ([][]string, error) {
	all := make([][]string, len(events))
	made, asked := map[string][]string{}, map[string][]int{}
	var groups []string
	for i, at := range events {
		keys, group, err := r.touches(at)
		if err != nil {
			return nil, &foldError{i, err}
		}
		switch {
		case group == "":
			all[i] = keys
		case len(keys) > 0:
			if made[group] == nil {
				made[group] = keys
			}
			all[i] = withGroup(keys, group)
		case made[group] != nil:
			all[i] = withGroup(made[group], group)
		default:
			if asked[group] == nil {
				groups = append(groups, group)
			}
			asked[group] = append(asked[group], i)
		}
	}
	if len(groups) == 0 {
		return all, nil
	}
	documents, err := r.load(ctx, groups, asked, events)
	if err != nil {
		return nil, err
	}
	for group, at := range asked {
		for _, i := range at {
			all[i] = withGroup(documents[group].(Group).Members(), group)
		}
	}
	return all, nil
}

func withGroup(keys []string, group string) []string { return append(slices.Clip(keys), group) }

// write is a document on its way to the store, and the filter that finds it there unless what is there has seen more.
type write struct {
	guard    bson.D
	document bson.Raw
}

// save stores documents. Those that seem to be new are inserted, which costs a store least. The others, and what turns
// out not to be new, are replaced where what is there has not seen more.
func (r *runner) save(ctx context.Context, fresh, known []write) error {
	collection := r.engine.store.Collection(r.View)
	if len(fresh) > 0 {
		documents := make([]any, len(fresh))
		for i, w := range fresh {
			documents[i] = w.document
		}
		_, err := collection.InsertMany(ctx, documents, options.InsertMany().SetOrdered(false))
		there, err := collisions(err)
		if err != nil {
			return err
		}
		for _, i := range there {
			known = append(known, fresh[i])
		}
	}
	if len(known) == 0 {
		return nil
	}
	models := make([]mongo.WriteModel, len(known))
	for i, w := range known {
		models[i] = mongo.NewReplaceOneModel().SetFilter(w.guard).SetReplacement(w.document).SetUpsert(true)
	}
	_, err := collection.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	// A document that has seen more is not found, so that the upsert collides with it: the events are in it already.
	_, err = collisions(err)
	return err
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

// collisions returns which writes of a bulk met a document that is there, and err where there was any other trouble.
func collisions(err error) (there []int, _ error) {
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		return nil, err
	}
	for _, e := range bulk.WriteErrors {
		if !mongo.IsDuplicateKeyError(e) {
			return nil, err
		}
		there = append(there, e.Index)
	}
	return there, nil
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
