package store

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// batch is what the sequencer hands to the committer: events to be made durable together, and the answers that depend
// on them and on all earlier batches.
type batch struct {
	writes  *pebble.Batch // nil if there is nothing to write
	records []Record
	removed []uint64 // positions of scavenged events
	answers []answer
	end     state // of the log after the batch
	bytes   int
	queued  int64 // bytes to subtract from Store.queuedBytes
}

type answer struct {
	append *Append
	result Result
}

// commitAll commits the batches of the sequencer, until the sequencer closes the channel.
func (s *Store) commitAll() {
	defer close(s.advanced)
	for b := range s.batches {
		if b.writes != nil {
			s.commit(b)
		}
		if failure := s.Failure(); failure != nil {
			// Answers without writes may depend on events of the failed batch, so none can be trusted.
			for i := range b.answers {
				b.answers[i].result = Result{Err: failure, Revision: -1}
			}
		}
		s.queuedBytes.Add(-b.queued)
		for i := range b.answers {
			b.answers[i].append.Done(b.answers[i].result)
		}
	}
}

func (s *Store) commit(b *batch) {
	if s.Failure() != nil {
		return
	}
	if !s.awaitEngine() {
		return
	}
	if err := s.writeDurably(b); err != nil {
		s.fail(err)
		return
	}
	if s.Failure() != nil {
		return // the guard hid the failure from the engine
	}
	// The tail is filled before the watermark moves: a reader that sees the new watermark must find its events in the
	// tail.
	s.tail.add(b.records)
	s.tail.remove(b.removed)
	s.events.Store(b.end.events)
	s.lastPosition.Store(b.records[len(b.records)-1].Position)
	s.durable.Store(b.end.next)
	s.watchers.notify(b.records)
	s.counters.committed(len(b.records))
	select {
	case s.advanced <- struct{}{}:
	default:
	}
}

// The committer waits for the engine while tables in memory that wait to be written out have more than maxMemTables
// times the size of a full table (the first tables are smaller), or while more than maxSublevels layers of tables on
// disk wait to be merged.
const (
	maxMemTables = 4
	maxSublevels = 24
)

// awaitEngine waits until the engine has written out and merged enough. It reports false if the store failed meanwhile.
func (s *Store) awaitEngine() bool {
	for s.crowded.Swap(false) { // reset before reading the metrics, so that later changes are checked the next time
		m := s.db.Metrics()
		if m.MemTable.Size < maxMemTables*s.opts.memTableBytes && m.Levels[0].Sublevels < maxSublevels {
			break
		}
		s.crowded.Store(true)
		<-s.relieved
		if s.Failure() != nil {
			return false
		}
	}
	return s.Failure() == nil
}

func (s *Store) writeDurably(b *batch) error {
	if err := b.writes.Set(keyState, b.end.encode(nil), nil); err != nil {
		return fmt.Errorf("write the log's state: %w", err)
	}
	return s.apply(b.writes, !s.opts.unsafeNoSync)
}

// apply writes a batch and closes it. If durably is set, it returns after the sync.
func (s *Store) apply(w *pebble.Batch, durably bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storage engine failed: %v", p)
		}
	}()
	if !durably {
		return errors.Join(s.db.Apply(w, pebble.NoSync), w.Close())
	}
	begun := time.Now()
	// Apply and wait in two steps: Pebble's one-step form ends the process if the sync fails.
	if err := s.db.ApplyNoSyncWait(w, pebble.Sync); err != nil {
		return fmt.Errorf("apply batch: %w", err)
	}
	if err := w.SyncWait(); err != nil {
		return fmt.Errorf("sync batch: %w", err)
	}
	if s.opts.OnSync != nil {
		s.opts.OnSync(time.Since(begun))
	}
	return w.Close()
}

// counters holds the statistics that no other field of the store holds.
type counters struct {
	appends, repeated, conflicts, commits, committedEvents, largestBatch atomic.Uint64
}

func (c *counters) committed(events int) {
	n := uint64(events)
	c.commits.Add(1)
	c.committedEvents.Add(n)
	if n > c.largestBatch.Load() { // no race: only the committer writes it
		c.largestBatch.Store(n)
	}
}

// Stats are statistics of a store since it was opened, unless a field says otherwise.
type Stats struct {
	// Events counts all events of the log since its creation. LastPosition is the position of the last one, 0 if there is
	// none. End is the position behind it.
	Events, LastPosition, End uint64
	// Appends counts the successful appends. Repeated counts those of them that wrote nothing because they had been stored
	// before.
	Appends, Repeated uint64
	// Conflicts counts the appends that were refused for their expected revision.
	Conflicts uint64
	// Commits counts fsynced batches, CommittedEvents the events in them. LargestBatch is the largest number of events.
	Commits, CommittedEvents, LargestBatch uint64
	// QueuedAppends and QueuedBytes are waiting now.
	QueuedAppends, QueuedBytes int64
	// TailEvents and TailBytes are the newest events in memory.
	TailEvents, TailBytes int
	// Watchers counts the watchers of the log and of its streams.
	Watchers int
	// DiskBytes is the size of the files; 0 after the store was closed.
	DiskBytes uint64
	// Failure is the reason why appends are refused; nil if they are accepted.
	Failure error
}

// Stats returns the store's statistics.
func (s *Store) Stats() Stats {
	st := Stats{
		Events: s.events.Load(), LastPosition: s.lastPosition.Load(), End: s.durable.Load(),
		Appends: s.counters.appends.Load(), Repeated: s.counters.repeated.Load(), Conflicts: s.counters.conflicts.Load(),
		Commits: s.counters.commits.Load(), CommittedEvents: s.counters.committedEvents.Load(),
		LargestBatch:  s.counters.largestBatch.Load(),
		QueuedAppends: int64(len(s.queue)), QueuedBytes: s.queuedBytes.Load(),
		Failure: s.Failure(),
	}
	if s.use() {
		st.DiskBytes = s.db.Metrics().DiskSpaceUsage()
		s.users.Done()
	}
	st.TailEvents, st.TailBytes = s.tail.size()
	s.watchers.mu.Lock()
	st.Watchers = len(s.watchers.all)
	for _, m := range s.watchers.byStream {
		st.Watchers += len(m)
	}
	s.watchers.mu.Unlock()
	return st
}
