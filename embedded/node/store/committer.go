package store

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// batch is what the sequencer hands to the committer: events to be made durable together, and the answers that depend
// on them and on all batches before.
type batch struct {
	writes  *pebble.Batch // nil if there is nothing to write
	records []Record
	removed []uint64 // positions of scavenged events
	answers []answer
	end     state
	bytes   int
	queued  int64 // bytes to release from the queue's account
}

type answer struct {
	append *Append
	result Result
}

// commitAll owns the commits. It ends when the sequencer has closed the channel.
func (s *Store) commitAll() {
	defer close(s.advanced)
	for b := range s.batches {
		if b.writes != nil {
			s.commit(b)
		}
		if failure := s.Failure(); failure != nil {
			// Answers without writes may rest on events of the batch that failed: none can be trusted.
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
		return // the engine was not told, see guard
	}
	// The tail comes before the watermark: whoever sees the new watermark must find its events in the tail, or would take
	// the log for ended.
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

// Beyond these the engine is given time: tables in memory of so many times their size, which wait to be written out, and
// layers of tables on the disk that wait to be merged. (By number tables may be more, for the first ones are small.)
const (
	maxMemTables = 4
	maxSublevels = 24
)

// awaitEngine waits until the engine has written out and merged enough. It reports false if the store failed meanwhile.
func (s *Store) awaitEngine() bool {
	for s.crowded.Swap(false) { // before looking, so that what comes meanwhile is looked at the next time
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

// apply writes a batch, if wanted durably, and closes it.
func (s *Store) apply(w *pebble.Batch, durably bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storage engine failed: %v", p)
		}
	}()
	if !durably {
		return errors.Join(s.db.Apply(w, pebble.NoSync), w.Close())
	}
	// Apply and wait in two steps: the one-step form ends the process when the sync fails.
	if err := s.db.ApplyNoSyncWait(w, pebble.Sync); err != nil {
		return fmt.Errorf("apply batch: %w", err)
	}
	if err := w.SyncWait(); err != nil {
		return fmt.Errorf("sync batch: %w", err)
	}
	return w.Close()
}

// counters are the figures of Stats that no other field holds.
type counters struct {
	appends, repeated, conflicts, commits, committedEvents, largestBatch atomic.Uint64
}

func (c *counters) committed(events int) {
	n := uint64(events)
	c.commits.Add(1)
	c.committedEvents.Add(n)
	if n > c.largestBatch.Load() { // only the committer writes it
		c.largestBatch.Store(n)
	}
}

// Stats are figures about a store since it was opened, unless they say otherwise.
type Stats struct {
	// Events counts all events of the log since its creation. LastPosition is the position of the last of them, 0 if
	// there is none, and End the one behind it.
	Events, LastPosition, End uint64
	// Appends were answered with success; Repeated among them wrote nothing because they had been stored before.
	Appends, Repeated uint64
	// Conflicts were refused for their expected revision.
	Conflicts uint64
	// Commits are fsynced batches; CommittedEvents and LargestBatch tell how well they share the cost.
	Commits, CommittedEvents, LargestBatch uint64
	// QueuedAppends and QueuedBytes wait at this moment.
	QueuedAppends, QueuedBytes int64
	// TailEvents and TailBytes are the newest events kept in memory.
	TailEvents, TailBytes int
	// Watchers follow the log or one of its streams.
	Watchers int
	// DiskBytes is the size of the files; 0 once the store is closed.
	DiskBytes uint64
	// Failure says why appends are refused, if they are.
	Failure error
}

// Stats returns the store's figures.
func (s *Store) Stats() Stats {
	st := Stats{
		Events: s.events.Load(), LastPosition: s.lastPosition.Load(), End: s.durable.Load(),
		Appends: s.counters.appends.Load(), Repeated: s.counters.repeated.Load(), Conflicts: s.counters.conflicts.Load(),
		Commits: s.counters.commits.Load(), CommittedEvents: s.counters.committedEvents.Load(), LargestBatch: s.counters.largestBatch.Load(),
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
