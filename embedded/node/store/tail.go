package store

import (
	"sort"
	"sync"
)

// tail holds the newest durable events for readers that follow the log. It is bounded; slower readers read from disk.
type tail struct {
	maxEvents, maxBytes int

	mu      sync.RWMutex
	base    uint64 // every durable event at or above this position is in records
	records []*Record
	start   int // index in records; earlier ones have been dropped
	bytes   int
}

// add adds the events of a batch that has become durable, and drops the oldest beyond the bounds.
func (t *tail) add(records []Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range records {
		t.records = append(t.records, &records[i])
		t.bytes += records[i].Size()
	}
	for len(t.records)-t.start > t.maxEvents || t.bytes > t.maxBytes && t.start < len(t.records) {
		dropped := t.records[t.start]
		t.bytes -= dropped.Size()
		t.base = dropped.Next()
		t.records[t.start] = nil
		t.start++
	}
	if t.start > 1024 && t.start > len(t.records)/2 {
		n := copy(t.records, t.records[t.start:])
		clear(t.records[n:])
		t.records, t.start = t.records[:n], 0
	}
}

// remove drops scavenged events.
func (t *tail) remove(positions []uint64) {
	if len(positions) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := make(map[uint64]struct{}, len(positions))
	for _, p := range positions {
		gone[p] = struct{}{}
	}
	// The slice can be changed in place: readers use it only while they hold the lock.
	kept := t.records[:t.start]
	for _, r := range t.records[t.start:] {
		if _, ok := gone[r.Position]; ok {
			t.bytes -= r.Size()
			continue
		}
		kept = append(kept, r)
	}
	clear(t.records[len(kept):])
	t.records = kept
}

// from appends to dst at most max events at or above pos. It reports false if the tail does not reach back to pos.
func (t *tail) from(pos uint64, dst []*Record, max int) ([]*Record, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if pos < t.base {
		return dst, false
	}
	live := t.records[t.start:]
	i := sort.Search(len(live), func(i int) bool { return live[i].Position >= pos })
	return append(dst, live[i:min(len(live), i+max)]...), true
}

// at returns the event at exactly pos, or nil.
func (t *tail) at(pos uint64) *Record {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if pos < t.base {
		return nil
	}
	live := t.records[t.start:]
	i := sort.Search(len(live), func(i int) bool { return live[i].Position >= pos })
	if i < len(live) && live[i].Position == pos {
		return live[i]
	}
	return nil
}

func (t *tail) size() (events, bytes int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.records) - t.start, t.bytes
}
