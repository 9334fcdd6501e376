package groups

import (
	"casebook/embedded/node/store"
)

// source is where a group's events come from: the whole log or one stream.
type source interface {
	// read reads about a page of events at or above from and returns those that the filter selects.
	read(from uint64, page store.Page, f *Filter) (readResult, error)
	watch() *store.Watcher
	// last returns the last position or revision; false if the source is empty.
	last() (uint64, bool, error)
}

// readResult is what one read of a source returns.
type readResult struct {
	events []sourceEvent
	// next is where to continue; more reports whether there may be events.
	next uint64
	more bool
	// last is the last position or revision that was considered, if anyConsidered is set.
	last          uint64
	anyConsidered bool
}

// sourceEvent is an event with its position in the log, or its revision in the stream.
type sourceEvent struct {
	record *store.Record
	at     uint64
	before uint64 // position or revision that was considered before it; not set for the first of a read
	first  bool   // no other was considered before it in this read
}

func newSource(s *store.Store, name string) source {
	if name == All {
		return &logSource{store: s}
	}
	return &streamSource{store: s, name: name}
}

type logSource struct {
	store   *store.Store
	records []*store.Record
}

func (l *logSource) watch() *store.Watcher { return l.store.WatchAll() }

func (l *logSource) last() (uint64, bool, error) {
	at := l.store.LastPosition()
	return at, at != 0, nil
}

// minPage is the least number of events that are read together for a filter, because few may match it.
const minPage = 256

func (l *logSource) read(from uint64, page store.Page, f *Filter) (out readResult, err error) {
	if f != nil && f.ByType {
		if out, ok, err := l.readTypes(from, page, f); ok || err != nil {
			return out, err
		}
	}
	room := page.Events
	if f != nil {
		page.Events = max(page.Events, minPage)
	}
	l.records, _, err = l.store.ReadForward(from, l.records[:0], page)
	if err != nil {
		return out, err
	}
	out.next, out.more = from, len(l.records) > 0
	for _, r := range l.records {
		if f.matches(r) && !Internal(r) {
			if len(out.events) == room {
				break
			}
			out.events = append(out.events, sourceEvent{record: r, at: r.Position, before: out.last, first: !out.anyConsidered})
		}
		out.next, out.last, out.anyConsidered = r.Next(), r.Position, true
	}
	clear(l.records)
	return out, nil
}

// readTypes is read by the indexes of the types that the filter selects. It returns false where it is no faster.
func (l *logSource) readTypes(from uint64, page store.Page, f *Filter) (out readResult, ok bool, err error) {
	var next uint64
	if l.records, next, ok, err = l.store.ReadTypes(from, f.selects, l.records[:0], page); !ok || err != nil {
		return out, ok, err
	}
	for _, r := range l.records {
		if Internal(r) {
			continue
		}
		out.events = append(out.events, sourceEvent{record: r, at: r.Position, before: out.last, first: !out.anyConsidered})
		out.last, out.anyConsidered = r.Position, true
	}
	clear(l.records)
	out.next, out.more = next, true
	return out, true, nil
}

type streamSource struct {
	store   *store.Store
	name    string
	records []*store.Record
}

func (s *streamSource) watch() *store.Watcher { return s.store.WatchStream(s.name) }

func (s *streamSource) last() (uint64, bool, error) {
	st, err := s.store.Stream(s.name)
	return uint64(max(st.Last, 0)), st.Last >= 0 && !st.Tombstoned, err
}

func (s *streamSource) read(from uint64, page store.Page, _ *Filter) (out readResult, err error) {
	st, err := s.store.Stream(s.name)
	if err != nil || st.ID == 0 || st.Tombstoned {
		return readResult{next: from}, err
	}
	if from < uint64(st.First) && !st.Deleted {
		from = uint64(st.First)
	}
	out.next = from
	s.records, err = s.store.ReadStreamForward(st.ID, from, s.records[:0], page)
	if err != nil {
		return out, err
	}
	now := s.store.Now()
	out.more = len(s.records) > 0
	for _, r := range s.records {
		if r.IsTombstone() {
			out.more = false
			break
		}
		if !st.Hides(r, now) {
			out.events = append(out.events, sourceEvent{record: r, at: r.Revision, before: out.last, first: !out.anyConsidered})
		}
		out.next, out.last, out.anyConsidered = r.Revision+1, r.Revision, true
	}
	clear(s.records)
	return out, nil
}
