package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// ScavengeStream holds one event of ScavengeType for every batch of records that a scavenge removed.
const (
	ScavengeStream = "$scavenges"
	ScavengeType   = "$scavenge"
)

// ScavengeOptions name the streams that a scavenge leaves out and who runs it.
type ScavengeOptions struct {
	// Keep lists prefixes of the names of streams that are left out, whatever their metadata say. A metastream counts as
	// the stream that it describes.
	Keep []string
	// By names the person or program that runs the scavenge. It is recorded with what was removed.
	By string
	// DryRun only counts the events that would be removed.
	DryRun bool
}

// ScavengeReport describes what a scavenge removed, or would remove.
type ScavengeReport struct {
	// Events and Streams count the removed events and their streams. A stream that is written meanwhile may count twice.
	Events, Streams uint64
	// Bytes is the size of the removed records. The disk gains less, because a small stub stays of each record.
	Bytes uint64
	// Looked counts the examined streams, Kept those of them that were left out.
	Looked, Kept uint64
}

// ErrScavengeRuns means that another scavenge of the log is running.
var ErrScavengeRuns = errors.New("another scavenge is running; wait for it to end")

const (
	// A batch of removals has one announcement. Appends wait while a batch is checked again.
	scavengeBatch        = 1024 // events
	scavengeBatchStreams = 256
	scavengePage         = 1024 // streams whose names are read at a time
	// queueFullPause is how long a scavenge waits when appends fill the queue.
	queueFullPause = 10 * time.Millisecond
)

// Scavenge removes the events that stream metadata hide: all events of deleted streams, those before $tb, beyond
// $maxCount or older than $maxAge, all but the last metadata of a stream, and all events of tombstoned streams but the
// tombstone and the last metadata. The removal is final: the events do not come back when the metadata change.
//
// Names of streams, revisions, positions and the chain of hashes do not change. Each batch of removals is written
// together with the event in ScavengeStream that announces it, so that a crash leaves both or neither; the next
// scavenge removes the rest. Appends and reads go on meanwhile. Earlier copies of the log, such as backups, still have
// the removed events. Scavenge fails with ErrScavengeRuns while another one is running.
func (s *Store) Scavenge(ctx context.Context, o ScavengeOptions) (ScavengeReport, error) {
	if !s.use() {
		return ScavengeReport{}, ErrClosed
	}
	defer s.users.Done()
	if !s.scavenging.TryLock() {
		return ScavengeReport{}, ErrScavengeRuns
	}
	defer s.scavenging.Unlock()
	g := scavenger{store: s, options: o, from: math.MaxUint64, fromStream: math.MaxUint64}
	err := g.run(ctx)
	// Free the space of what was removed, also after an error, unless the caller gave up.
	if g.removed > 0 && ctx.Err() == nil {
		err = errors.Join(err, g.compact(ctx))
	}
	if err != nil {
		return g.report, fmt.Errorf("scavenge: %w", err)
	}
	return g.report, nil
}

// scavenger is one run of Scavenge.
type scavenger struct {
	store   *Store
	options ScavengeOptions
	report  ScavengeReport

	pending []hiddenEvents
	count   int // events in pending
	removed uint64
	// The removed events lie between the positions from and to; the ids of their streams between fromStream and toStream.
	from, to, fromStream, toStream uint64
}

// hiddenEvents are events of one stream that were hidden when they were read.
type hiddenEvents struct {
	stream string
	// last is the last revision before the tombstone, if the stream is tombstoned.
	last       int64
	tombstoned bool
	events     []hiddenEvent
}

type hiddenEvent struct {
	stub
	id      ID
	created int64
}

func (g *scavenger) run(ctx context.Context) error {
	for after := nameKey(""); after != nil; {
		names, ids, err := g.names(after)
		if err != nil {
			return err
		}
		after = nil
		for i, name := range names {
			if err := interrupted(ctx, g.store.closing); err != nil {
				return err
			}
			g.report.Looked++
			if g.keeps(name) {
				g.report.Kept++
			} else if err := g.stream(ctx, name, ids[i]); err != nil {
				return fmt.Errorf("stream %q: %w", name, err)
			}
			after = append(nameKey(name), 0)
		}
	}
	return g.flush(ctx)
}

// names returns a page of streams from a key on. An iterator must not be held for longer, because it would keep removed
// records on the disk.
func (g *scavenger) names(from []byte) (names []string, ids []uint64, err error) {
	iter, err := g.store.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{prefixName + 1}})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok && len(names) < scavengePage; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return nil, nil, err
		}
		id, err := position(value)
		if err != nil {
			return nil, nil, err
		}
		names, ids = append(names, string(iter.Key()[1:])), append(ids, id)
	}
	return names, ids, iter.Error()
}

// subjectOf returns the stream that a metastream describes, also over several levels. Other streams describe
// themselves.
func subjectOf(name string) string {
	for IsMetastream(name) {
		name = Described(name)
	}
	return name
}

// protects reports whether a stream, or the stream that a metastream describes, only grows.
func (s *Store) protects(name string) bool {
	subject := subjectOf(name)
	return slices.ContainsFunc(s.opts.Protected, func(prefix string) bool { return strings.HasPrefix(subject, prefix) })
}

func (g *scavenger) keeps(name string) bool {
	subject := subjectOf(name)
	return subject == ScavengeStream || g.store.protects(name) ||
		slices.ContainsFunc(g.options.Keep, func(prefix string) bool { return strings.HasPrefix(subject, prefix) })
}

// hides reports whether an event of the stream may be removed. The last metadata of a stream and a tombstone never may.
func (h *head) hides(revision uint64, created int64, now time.Time) bool {
	switch {
	case revision == TombstoneRevision:
		return false
	case IsMetastream(h.name):
		return int64(revision) < h.last
	case h.tombstoned():
		return true
	}
	st := Stream{First: h.limits.first(h.last), MaxAge: h.limits.maxAge}
	return st.Hides(&Record{Revision: revision, Created: created}, now)
}

// stream collects the hidden events of one stream.
func (g *scavenger) stream(ctx context.Context, name string, id uint64) error {
	if id >= g.store.durable.Load() {
		return nil
	}
	h, err := g.store.loadHead(name)
	if err != nil {
		return err
	}
	found := hiddenEvents{stream: name, last: -1, tombstoned: h.tombstoned()}
	if found.tombstoned {
		if found.last, err = g.lastBeforeTombstone(id); err != nil {
			return err
		}
	}
	now := g.store.Now()
	counted := false
	for from, more := uint64(0), true; more; {
		if err := interrupted(ctx, g.store.closing); err != nil {
			return err
		}
		from, more, err = g.page(h, id, from, now, &found)
		if err != nil {
			return err
		}
		if len(found.events) == 0 {
			continue
		}
		if !counted {
			counted = true
			g.report.Streams++
		}
		g.count += len(found.events)
		g.pending = append(g.pending, found)
		found.events = nil
		if g.count >= scavengeBatch || len(g.pending) >= scavengeBatchStreams {
			if err := g.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// page adds hidden events of a stream from a revision on to found, until the batch is full. It returns the revision to
// continue at and whether there may be more hidden events.
func (g *scavenger) page(h *head, id, from uint64, now time.Time, found *hiddenEvents) (next uint64, more bool, err error) {
	iter, err := g.store.db.NewIter(&pebble.IterOptions{LowerBound: streamKey(id, from), UpperBound: streamKey(id+1, 0)})
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	durable := g.store.durable.Load()
	for ok := iter.First(); ok; ok = iter.Next() {
		revision, pos, err := streamEntry(iter)
		if err != nil {
			return 0, false, err
		}
		if pos >= durable {
			return 0, false, nil
		}
		if len(found.events) >= scavengeBatch-g.count {
			return uint64(revision), true, nil
		}
		e, err := g.event(pos)
		if errors.Is(err, errScavenged) {
			continue // its entry was kept for the numbering
		}
		if err != nil {
			return 0, false, err
		}
		if !h.hides(e.revision, e.created, now) {
			return 0, false, nil // later events are not hidden either
		}
		found.events = append(found.events, e)
	}
	return 0, false, iter.Error()
}

// event reads the event at a position and prepares its stub.
func (g *scavenger) event(pos uint64) (hiddenEvent, error) {
	value, closer, err := g.store.db.Get(eventKey(pos))
	if err != nil {
		return hiddenEvent{}, fmt.Errorf("read the event at position %d: %w", pos, err)
	}
	r, err := parseRecord(pos, value)
	e := hiddenEvent{}
	if err == nil {
		e = hiddenEvent{id: r.ID, created: r.Created, stub: stub{
			position: pos, hash: r.Hash(), streamID: r.StreamID, revision: r.Revision, size: uint32(r.Size()),
		}}
		if e.first() {
			e.name = nameHash(r.Stream())
		}
	}
	return e, errors.Join(err, closer.Close())
}

// lastBeforeTombstone returns the last revision of a tombstoned stream before its tombstone, -1 if it had no events.
func (g *scavenger) lastBeforeTombstone(id uint64) (last int64, err error) {
	iter, err := g.store.db.NewIter(&pebble.IterOptions{LowerBound: streamKey(id, 0), UpperBound: streamKey(id, TombstoneRevision)})
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	if !iter.Last() {
		return -1, iter.Error()
	}
	last, _, err = streamEntry(iter)
	return last, err
}

// flush removes the pending events. Afterwards it pauses for as long as that took, so that others can use the disk.
func (g *scavenger) flush(ctx context.Context) error {
	if g.count == 0 {
		return nil
	}
	r := &removal{streams: g.pending, announcement: announcement{By: g.options.By, Keep: g.options.Keep}}
	g.pending, g.count = nil, 0
	if g.options.DryRun {
		for _, s := range r.streams {
			for i := range s.events {
				g.report.Events++
				g.report.Bytes += uint64(s.events[i].size)
			}
		}
		return nil
	}
	began := time.Now()
	outcome := make(chan Result, 1)
	a := Append{Stream: ScavengeStream, removal: r, Done: func(r Result) { outcome <- r }}
	for err := g.store.Submit(&a); err != nil; err = g.store.Submit(&a) {
		if !errors.Is(err, ErrQueueFull) {
			return err
		}
		if err := g.pause(ctx, queueFullPause); err != nil {
			return err
		}
	}
	if result := <-outcome; result.Err != nil {
		return result.Err
	}
	done := &r.announcement
	if done.Events == 0 {
		return nil
	}
	g.removed += done.Events
	g.report.Events += done.Events
	g.report.Bytes += done.Bytes
	g.from, g.to = min(g.from, done.From), max(g.to, done.To)
	for _, s := range r.streams {
		g.fromStream, g.toStream = min(g.fromStream, s.events[0].streamID), max(g.toStream, s.events[0].streamID)
	}
	return g.pause(ctx, time.Since(began))
}

func (g *scavenger) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.store.closing:
		return ErrClosed
	}
}

// compact rewrites the files that hold removed records: until then the records take space and can be found in the
// files.
func (g *scavenger) compact(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-g.store.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-watching }()
	db := g.store.db
	if err := db.Compact(ctx, eventKey(g.from), eventKey(g.to+1), false); err != nil {
		return fmt.Errorf("all events were removed, but their disk space is not free yet: %w", err)
	}
	if err := db.Compact(ctx, streamKey(g.fromStream, 0), streamKey(g.toStream+1, 0), false); err != nil {
		return fmt.Errorf("all events were removed, but their disk space is not free yet: %w", err)
	}
	return nil
}

// removal is a scavenge's request to the sequencer to replace events that are still hidden by stubs, and to announce
// that. Afterwards announcement describes what was removed.
type removal struct {
	streams      []hiddenEvents
	announcement announcement
}

// remove checks each event again, because metadata may have changed since it was read, and writes stubs and
// announcement into one batch.
func (q *sequencer) remove(r *removal) Result {
	now := q.store.Now()
	var events []*hiddenEvent
	for i := range r.streams {
		s := &r.streams[i]
		h, err := q.head(s.stream)
		if err != nil {
			return Result{Err: err, Revision: -1}
		}
		if h.tombstoned() != s.tombstoned {
			continue // it was tombstoned meanwhile and is left to the next scavenge
		}
		last := h.last
		if s.tombstoned {
			last = s.last
		}
		some := false
		for j := range s.events {
			e := &s.events[j]
			if h.hides(e.revision, e.created, now) {
				e.indexed = int64(e.revision) == last
				events = append(events, e)
				some = true
			}
		}
		if some {
			r.announcement.Streams++
		}
	}
	if len(events) == 0 {
		return Result{Revision: -1}
	}
	slices.SortFunc(events, func(a, b *hiddenEvent) int { return cmp.Compare(a.position, b.position) })
	var digest stubDigest
	for _, e := range events {
		digest.add(&e.stub)
	}
	digest.fill(&r.announcement)
	data, err := json.Marshal(r.announcement)
	if err != nil {
		return Result{Err: fmt.Errorf("announce what was scavenged: %w", err), Revision: -1}
	}
	q.created = max(q.created, ticks(now))
	result := q.appendTo(ScavengeStream, []Proposed{Propose(ScavengeStream, NewID(), ScavengeType, true, nil, data)})
	if result.Err != nil {
		return result
	}
	b := q.current
	var buffer []byte
	for _, e := range events {
		e.announced = result.Position
		buffer = e.encode(buffer[:0])
		err = errors.Join(err, b.writes.Set(eventKey(e.position), buffer, nil))
		if !e.indexed {
			err = errors.Join(err, b.writes.Delete(streamKey(e.streamID, e.revision), nil))
		}
		q.recent.forget(e.streamID, e.id, e.position)
		b.removed = append(b.removed, e.position)
		b.bytes += len(buffer)
	}
	if err != nil { // the batch already has the announcement and must not be written
		q.store.fail(fmt.Errorf("put stubs in place of scavenged events: %w", err))
		return Result{Err: q.store.Failure(), Revision: -1}
	}
	return result
}
