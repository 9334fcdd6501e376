package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"casebook/domain"
	"casebook/eventlog"
	"casebook/readmodels"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Limits bound the memory that each view uses; 0 stands for the default.
type Limits struct {
	// Documents bounds the cache of documents as they were last written, which spares a live view from reading; 5,000.
	Documents int
	// Unwritten bounds the changed documents that a view holds back while it catches up, so that a document that many
	// events change is written once; 20,000.
	Unwritten int
	// Events bounds the events between two checkpoints while a view catches up; 500,000.
	Events int
	// Batch bounds the events that come from the log together; 1,000. Up to four such batches are folded at once.
	Batch int
}

func (l Limits) orDefault() Limits {
	for of, otherwise := range map[*int]int{&l.Documents: 5000, &l.Unwritten: 20_000, &l.Events: 500_000, &l.Batch: 1000} {
		if *of == 0 {
			*of = otherwise
		}
	}
	return l
}

const (
	// A view that catches up writes at least every checkpointEvery, so that its progress shows and a crash costs little. Where
	// writing takes long, it folds for at least foldedPerWrite times as long in between.
	checkpointEvery = 2 * time.Second
	foldedPerWrite  = 8
	// writeBatch bounds the documents of one write.
	writeBatch = 1000
	// parallelFrom is how many documents a batch has to change to be folded by several goroutines.
	parallelFrom = 200
	// maxDocument is the size of the largest document that a MongoDB stores.
	maxDocument = 16 << 20
	// maxLeftOut bounds the streams that a build leaves out. With more, the fault is not in single events, and the view stops.
	maxLeftOut = 100
)

// runner folds the log into one build of a view. One goroutine at a time may use it.
type runner struct {
	Projection
	engine     *Engine
	collection *mongo.Collection
	token      int64
	// types are the names of the events that it folds.
	types []string
	// skips says which events it passes over.
	skips func(Envelope) bool
	// saved is called after each checkpoint; nil for nobody.
	saved func(folded int, at readmodels.Checkpoint)
	// until is the moment at which a runner stops that shows the past; nil for none. counted is the position of the last event of
	// the view's types up to there.
	until   *Until
	counted domain.Position
	// pace bounds the events per second; nil where they are not bounded.
	pace *rate.Limiter

	// at is the last checkpoint that was saved, through the position up to which everything has been folded, and folded the
	// number of events since at.
	at      readmodels.Checkpoint
	through domain.Position
	folded  int
	last    time.Time // when the last folded event was recorded
	// mark is that of the last event of the log up to through, as far as it is known.
	mark domain.Mark
	// documents holds documents as they were last written, unwritten those that have changed since. Both are valid only
	// while nobody else writes, and are dropped when the runner starts again. A view that catches up keeps as many documents as it
	// may hold back.
	documents *lru.Cache[string, readmodels.Document]
	unwritten map[string]*unwritten
	// suspected is the position up to which every document is loaded, also those that an event begins.
	suspected domain.Position
	// stop is the event before which it has to stop, because it cannot fold it; nil for none.
	stop *foldError
	// leftOut are the streams that it leaves out, by their names: each from the event on that cannot be shown.
	leftOut map[string]readmodels.LeftOut
	// mayLeaveOut says whether the stream of an event may be left out from there on; nil for always.
	mayLeaveOut func(Envelope) bool
	// written is the time of the last checkpoint while it catches up, writing how long that took, rated the smoothed pace since then.
	written time.Time
	writing time.Duration
	rated   float64
}

// unwritten is a document that has changed since it was written.
type unwritten struct {
	document readmodels.Document
	// fresh says that the store probably does not have it yet.
	fresh bool
	// by is the last event that changed it, without its content.
	by Envelope
}

// foldError is an error that another attempt does not mend, with the event at fault.
type foldError struct {
	event Envelope
	err   error
	// ofEvent says that this event is the reason. A stored document that cannot be read is not the fault of an event, and a
	// document that cannot be stored may have been changed by several.
	ofEvent bool
}

func (e *foldError) Error() string { return e.err.Error() }
func (e *foldError) Unwrap() error { return e.err }

// errStopped says that a view has stopped at an event that it cannot fold, and that its checkpoint says so.
var errStopped = errors.New("the projection has stopped")

// errDuplicates says that the store already has documents that were taken for new, and that not all was written.
var errDuplicates = errors.New("documents that were taken for new are in the store")

// newRunner returns a runner that begins at the build's checkpoint.
func (e *Engine) newRunner(p Projection, collection string, at readmodels.Checkpoint, token int64) *runner {
	documents, err := lru.New[string, readmodels.Document](e.limits.Documents)
	if err != nil {
		panic(err) // only for a size below 1
	}
	// A build that has stopped tries again: the program may have been mended meanwhile, or the event be skipped.
	at = at.Begun()
	at.Collection, at.View, at.Version, at.Token = collection, p.View.Name, p.View.Version, token
	r := &runner{Projection: p, engine: e, collection: e.store.CollectionNamed(collection), token: token,
		at: at, through: at.Position, mark: at.Last,
		documents: documents, unwritten: map[string]*unwritten{}, skips: func(Envelope) bool { return false },
		leftOut: map[string]readmodels.LeftOut{}}
	for _, left := range at.LeftOut {
		r.leftOut[left.Stream] = left
	}
	for event := range p.folds {
		if name, ok := e.log.Registry().NameOfType(event); ok {
			r.types = append(r.types, name)
		}
	}
	slices.Sort(r.types)
	return r
}

// catchUp folds the log from the runner's position. At the log's end, when everything is written, it calls done, and goes
// on unless that returns true. It fails with errStopped at an event that cannot be folded, and with eventlog.ErrOtherPast where the
// log is not the one that was folded before.
func (r *runner) catchUp(ctx context.Context, done func() bool) error {
	r.written, r.writing, r.rated = time.Now(), 0, 0
	r.documents.Resize(r.engine.limits.Unwritten)
	for {
		caughtUp, err := r.toTheEnd(ctx, done)
		var failed *foldError
		switch {
		case errors.As(err, &failed):
			r.getPast(failed)
		case errors.Is(err, errDuplicates):
			r.suspect()
		case err != nil || caughtUp:
			return err
		}
	}
}

// toTheEnd folds up to the log's end, and returns what done returns there.
func (r *runner) toTheEnd(ctx context.Context, done func() bool) (is bool, err error) {
	// The subscription delivers only the events of this view, so it may catch up at a position before the log's end. The rest
	// is followed without a filter: the view has seen what a subscription has delivered, and nothing else. An end that was
	// asked for says nothing, because another node may have answered, which is ahead of the one that is followed.
	subscription := eventlog.Subscription{After: r.through, Last: r.mark, Types: r.types}
	if r.alike {
		subscription.Types = nil // it also shows damaged events, whose type may be any
	}
	if _, err := r.follow(ctx, subscription, r.engine.convoys.join(ctx, r), func() bool { return true }); err != nil {
		return false, err
	}
	subscription.After, subscription.Last, subscription.Unfiltered = r.through, r.mark, true
	return r.follow(ctx, subscription, r.engine.verifier.Follow, done)
}

// follow folds what a subscription delivers until it has caught up, and returns what done returns then. What is written on the
// way counts as live only if the subscription has no filter.
func (r *runner) follow(ctx context.Context, subscription eventlog.Subscription, read follow, done func() bool) (is bool, err error) {
	errEnd := errors.New("at the log's end")
	err = pipe(ctx, r.engine, subscription, read, func(ctx context.Context, b eventlog.Batch, fetched <-chan eventlog.Batch) error {
		if r.pace == nil {
			b = r.engine.withMore(b, fetched)
		}
		for left := len(b.Events); left > 0 && r.pace != nil; left -= r.pace.Burst() {
			if err := r.pace.WaitN(ctx, min(left, r.pace.Burst())); err != nil {
				return err
			}
		}
		caughtUp := b.Live
		b.Live = b.Live && subscription.Unfiltered
		if r.until != nil {
			if b = r.until.cut(b); b.Through.Before(r.through) {
				b.Through = r.through
			}
			r.count(b.Events)
		}
		if err := r.take(ctx, b, false); err != nil {
			return err
		}
		if caughtUp || b.Live {
			is = done()
			return errEnd
		}
		return nil
	})
	if errors.Is(err, errEnd) {
		err = nil
	}
	return is, err
}

// count notes the last of some events that is of the view's types. It depends on nothing but the log: where events end that count
// for nothing, or how the server has answered, says nothing of the view.
func (r *runner) count(events []Envelope) {
	for _, at := range slices.Backward(events) {
		if r.alike || slices.Contains(r.types, at.Type) {
			r.counted = at.Position
			return
		}
	}
}

// forget goes back to the last checkpoint, and drops what has not been written.
func (r *runner) forget() {
	r.documents.Purge()
	clear(r.unwritten)
	r.through, r.mark, r.folded = r.at.Position, r.at.Last, 0
}

// getPast goes back to the last checkpoint, and arranges how the view goes on from there although an event cannot be folded.
// If the fault is the event's, its stream is left out from there on. Otherwise the view stops right before the event: the
// events before it are still shown, so that what a view shows when it stops does not depend on the batches.
func (r *runner) getPast(failed *foldError) {
	r.forget()
	if !failed.ofEvent || r.alike || len(r.leftOut) >= maxLeftOut || r.mayLeaveOut != nil && !r.mayLeaveOut(failed.event) {
		r.stop = failed
		return
	}
	r.stop = nil
	at := failed.event
	_, unreadable := at.Event.(eventlog.Unreadable)
	r.leftOut[at.Stream] = readmodels.LeftOut{FailedAt: failedAt(at), Reason: failed.Error(), Since: time.Now().UTC(),
		Unreadable: unreadable, Reconsidered: r.engine.decisions(r.View.Name).Reconsidered}
	r.engine.logger.Error("a view leaves a stream out from an event on that it cannot show, until the event is skipped, or tried again",
		"view", r.View.Name, "stream", at.Stream, "revision", at.Revision, "reason", failed.Error())
}

func failedAt(at Envelope) readmodels.FailedAt {
	return readmodels.FailedAt{Study: at.Metadata.Study, Stream: at.Stream, Revision: at.Revision, Type: at.Type, Position: at.Position}
}

// leavesOut says whether the event cannot be shown, or comes after one of its stream that cannot.
func (r *runner) leavesOut(at Envelope) bool {
	from, is := r.leftOut[at.Stream]
	return is && at.Revision >= from.Revision
}

// suspect goes back to the last checkpoint. All documents of the events since then will be loaded.
func (r *runner) suspect() {
	if r.suspected.Before(r.through) {
		r.suspected = r.through
	}
	r.forget()
}

// take folds a batch. A live view writes it at once; a view that catches up writes when enough documents have changed, when
// some time has passed, and at the log's end.
func (r *runner) take(ctx context.Context, b eventlog.Batch, live bool) error {
	switch {
	case b.Through.Before(r.through):
		return nil // the other members are still behind this one
	case b.Live && !r.through.Before(b.Through) && r.at.State == readmodels.Live && r.folded == 0 && !r.at.Position.Before(r.through):
		return nil
	}
	events, through, mark := unseen(b.Events, r.through), b.Through, b.Last
	stops := r.stop != nil && !b.Through.Before(r.stop.event.Position)
	if stops {
		events = before(events, r.stop.event.Position)
		through, mark = r.through, r.mark
		if len(events) > 0 {
			through, mark = events[len(events)-1].Position, events[len(events)-1].Mark()
		}
	}
	var folded int
	err := r.engine.retry(ctx, "load documents of "+r.View.Name, func() (err error) {
		folded, err = r.fold(ctx, events, !live)
		return err
	})
	if err != nil {
		return err
	}
	r.through, r.mark, r.folded = through, mark, r.folded+folded
	if folded > 0 {
		r.last = events[len(events)-1].Metadata.RecordedAt
	}
	limits := r.engine.limits
	if !live && !b.Live && !stops && r.folded < limits.Events && len(r.unwritten) < limits.Unwritten &&
		time.Since(r.written) < max(checkpointEvery, foldedPerWrite*r.writing) {
		return nil
	}
	state := readmodels.CatchingUp
	switch {
	case stops:
		state = readmodels.Stopped
	case b.Live:
		state = readmodels.Live
	}
	began := time.Now()
	if err := r.engine.retry(ctx, "write "+r.View.Name, func() error { return r.write(ctx, state) }); err != nil {
		return err
	}
	if r.writing = time.Since(began); state == readmodels.Live {
		r.documents.Resize(limits.Documents)
	}
	if stops {
		r.engine.logger.Error("a projection has stopped; its view stays as it is until the event is skipped, or tried again",
			"view", r.View.Name, "reason", r.stop.Error())
		return errStopped
	}
	return nil
}

// unseen returns the events after a position.
func unseen(events []Envelope, through domain.Position) []Envelope {
	first, _ := slices.BinarySearchFunc(events, through, func(at Envelope, p domain.Position) int {
		if p.Before(at.Position) {
			return 1
		}
		return -1
	})
	return events[first:]
}

// before returns the events before a position.
func before(events []Envelope, end domain.Position) []Envelope {
	for i, at := range events {
		if !at.Position.Before(end) {
			return events[:i]
		}
	}
	return events
}

// fold folds events into their documents, in memory, and returns how many of them the view shows. An event counts whether
// or not its documents have seen it before, because that depends on when a process died. Documents are independent of each
// other, so that they can be folded in parallel.
func (r *runner) fold(ctx context.Context, events []Envelope, parallel bool) (folded int, err error) {
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
	documents, err := r.load(ctx, keys, touched, events)
	if err != nil {
		return 0, err
	}
	fresh := map[string]bool{}
	for _, key := range keys {
		fresh[key] = documents[key].Head().Position == 0
	}
	parts := 1
	if parallel && len(keys) >= parallelFrom {
		parts = runtime.GOMAXPROCS(0)
	}
	changed := make([]map[string]int, parts) // the last event that each document took
	failures := make([]*foldError, parts)
	var group errgroup.Group
	for part := range parts {
		changed[part] = map[string]int{}
		group.Go(func() error {
			for k := part; k < len(keys); k += parts {
				failures[part] = earlier(failures[part], r.foldInto(documents[keys[k]], touched[keys[k]], events, changed[part]))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	var failed *foldError
	for _, f := range failures {
		failed = earlier(failed, f)
	}
	if failed != nil {
		return 0, failed
	}
	for _, part := range changed {
		for key, last := range part {
			by := Envelope{Stream: events[last].Stream, Revision: events[last].Revision, Type: events[last].Type,
				Position: events[last].Position}
			if known := r.unwritten[key]; known != nil {
				known.by = by
				continue
			}
			r.unwritten[key] = &unwritten{document: documents[key], by: by, fresh: fresh[key]}
		}
	}
	return folded, nil
}

// earlier returns the one of two failures whose event comes first.
func earlier(a, b *foldError) *foldError {
	if a == nil || b != nil && b.event.Position.Before(a.event.Position) {
		return b
	}
	return a
}

// foldInto folds a document's events into it.
func (r *runner) foldInto(doc readmodels.Document, of []int, events []Envelope, changed map[string]int) *foldError {
	key := doc.Head().ID
	for _, i := range of {
		did, err := r.Apply(doc, events[i])
		if err == nil && did && r.stop != nil {
			_, err = r.encode(nil, doc, events[i]) // this tells exactly which event cannot be shown
		}
		if err != nil {
			return &foldError{event: events[i], err: err, ofEvent: true}
		}
		if did {
			changed[key] = i
		}
	}
	return nil
}

// encode appends a document as it is stored. A document that cannot be stored is found here, because an error of the store would be
// taken for one that passes.
func (r *runner) encode(dst []byte, doc readmodels.Document, by Envelope) ([]byte, error) {
	all, err := readmodels.AppendEncoded(dst, doc)
	if size := len(all) - len(dst); err == nil && size > maxDocument {
		err = fmt.Errorf("it has %d bytes of at most %d", size, maxDocument)
	}
	if err != nil {
		return nil, r.failed("store what becomes of", by, fmt.Errorf("document %q: %w", doc.Head().ID, err))
	}
	return all, nil
}

// documentsOf returns the keys of the documents that each event changes. The members of a group come from the event that
// made the group, if it is in the batch, and otherwise from the group's document. Both name the same members.
func (r *runner) documentsOf(ctx context.Context, events []Envelope) ([][]string, error) {
	all := make([][]string, len(events))
	made, unknown := map[string][]string{}, map[string][]int{} // members of groups; events about groups that are not in made
	var groups []string
	for i, at := range events {
		if r.skips(at) || r.leavesOut(at) {
			continue
		}
		keys, group, err := r.touches(at)
		if unreadable, is := at.Event.(eventlog.Unreadable); is && !r.alike && slices.Contains(r.types, at.Type) {
			err = r.failed("read", at, unreadable.Err)
		}
		if err != nil {
			return nil, &foldError{event: at, err: err, ofEvent: true}
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
			if unknown[group] == nil {
				groups = append(groups, group)
			}
			unknown[group] = append(unknown[group], i)
		}
	}
	if len(groups) == 0 {
		return all, nil
	}
	documents, err := r.load(ctx, groups, unknown, events)
	if err != nil {
		return nil, err
	}
	for group, at := range unknown {
		for _, i := range at {
			all[i] = withGroup(documents[group].(Group).Members(), group)
		}
	}
	return all, nil
}

func withGroup(keys []string, group string) []string { return append(slices.Clip(keys), group) }

// load returns the documents of the keys, blank where there is none yet. A document that the batch begins is not looked for
// in the store. Where it is there after all, as after a crash, inserting it fails, and it is loaded then.
func (r *runner) load(ctx context.Context, keys []string, touched map[string][]int, events []Envelope,
) (map[string]readmodels.Document, error) {
	documents := make(map[string]readmodels.Document, len(keys))
	var missing bson.A
	for _, key := range keys {
		if changed := r.unwritten[key]; changed != nil {
			documents[key] = changed.document
		} else if doc, ok := r.documents.Get(key); ok {
			documents[key] = doc
		} else if first := events[touched[key][0]]; r.suspected.Before(first.Position) && r.begins(first) {
			documents[key] = r.Blank(key)
		} else {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return documents, nil
	}
	found, err := r.collection.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: missing}}}})
	if err != nil {
		return nil, fmt.Errorf("load documents of %s: %w", r.View.Name, err)
	}
	defer func() { _ = found.Close(ctx) }()
	for found.Next(ctx) {
		key, _ := found.Current.Lookup("_id").StringValueOK()
		doc, err := r.read(found.Current)
		if err != nil {
			at := events[touched[key][0]]
			err = fmt.Errorf("%s holds a document %q that cannot be read: %w", r.collection.Name(), key, err)
			return nil, &foldError{event: at, err: r.failed("fold", at, err)}
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

// write stores the changed documents behind position guards, and then the checkpoint.
func (r *runner) write(ctx context.Context, state readmodels.State) error {
	if err := r.writeDocuments(ctx); err != nil {
		return err
	}
	now := time.Now().UTC()
	next := r.at
	next.Position, next.Last, next.State, next.At = r.through, r.mark, state, now
	next.Events += int64(r.folded)
	next.Rate, next.RemainingMillis = 0, 0
	next.Reason, next.FailedAt, next.LeftOut = "", nil, nil
	for _, stream := range slices.Sorted(maps.Keys(r.leftOut)) {
		next.LeftOut = append(next.LeftOut, r.leftOut[stream])
	}
	if r.folded > 0 {
		recorded := r.last
		next.Batch, next.LastEventAt, next.LagMillis = r.folded, &recorded, now.Sub(recorded).Milliseconds()
	}
	switch state {
	case readmodels.CatchingUp:
		next.End = r.end(ctx)
		r.progress(&next, now)
	case readmodels.Stopped:
		next.Reason = r.stop.Error()
		at := failedAt(r.stop.event)
		next.FailedAt = &at
	case readmodels.Live:
		next.End, next.Complete = 0, true
	case readmodels.NotKept, readmodels.OtherPast: // whoever writes keeps the view, and folds what the log holds
	}
	if err := r.engine.store.SaveCheckpoint(ctx, next); err != nil {
		return err
	}
	folded := r.folded
	r.at, r.folded, r.written = next, 0, now
	for key, w := range r.unwritten {
		r.documents.Add(key, w.document)
	}
	clear(r.unwritten)
	if r.saved != nil {
		r.saved(folded, next)
	}
	return nil
}

// end returns the log's end, or 0 if it is not known. The remaining time of a view that catches up is computed from it.
func (r *runner) end(ctx context.Context) uint64 {
	end, err := r.engine.log.End(ctx)
	if err != nil {
		return 0
	}
	return end.Commit
}

// progress sets the smoothed pace since the last checkpoint, and how long the rest takes at this pace.
func (r *runner) progress(next *readmodels.Checkpoint, now time.Time) {
	since := now.Sub(r.written).Seconds()
	if since <= 0 {
		return
	}
	const weight = 0.3
	pace := float64(next.Position.Commit-r.at.Position.Commit) / since
	if r.rated == 0 {
		r.rated = pace
	}
	r.rated = weight*pace + (1-weight)*r.rated
	next.Rate = float64(r.folded) / since
	if next.End > next.Position.Commit && r.rated > 0 {
		next.RemainingMillis = int64(1000 * float64(next.End-next.Position.Commit) / r.rated)
	}
}

// encodings are buffers for the documents of a chunk. Sending a chunk copies them.
var encodings = sync.Pool{New: func() any { return new([]byte) }}

// writeDocuments stores the changed documents in chunks: while the store writes one chunk, the next is encoded.
func (r *runner) writeDocuments(ctx context.Context) error {
	if len(r.unwritten) == 0 {
		return nil
	}
	keys := make([]string, 0, len(r.unwritten))
	for key := range r.unwritten {
		keys = append(keys, key)
	}
	slices.Sort(keys) // neighbours in the store are written together
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for chunk := range slices.Chunk(keys, writeBatch) {
		group.Go(func() error {
			buffer := encodings.Get().(*[]byte)
			defer encodings.Put(buffer)
			all := (*buffer)[:0]
			var fresh, known []readmodels.Encoded
			for _, key := range chunk {
				w := r.unwritten[key]
				from := len(all)
				var err error
				if all, err = r.encode(all, w.document, w.by); err != nil {
					return &foldError{event: w.by, err: err}
				}
				if encoded := (readmodels.Encoded{Header: *w.document.Head(), Document: all[from:len(all):len(all)]}); w.fresh {
					fresh = append(fresh, encoded)
				} else {
					known = append(known, encoded)
				}
			}
			*buffer = all
			return r.save(ctx, fresh, known)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write %s: %w", r.View.Name, err)
	}
	return nil
}

// save stores documents. Fresh ones are inserted, which costs a store least; it fails with errDuplicates where they are not
// new after all. The others replace what is stored, unless that has seen more: then it has their events already.
func (r *runner) save(ctx context.Context, fresh, known []readmodels.Encoded) error {
	duplicates, err := r.engine.store.Insert(ctx, r.collection.Name(), fresh)
	if err != nil {
		return err
	}
	if duplicates > 0 {
		return errDuplicates
	}
	_, err = r.engine.store.Replace(ctx, r.collection.Name(), known)
	return err
}
