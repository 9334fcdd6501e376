package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// typesFrom is how much of the log, in bytes, has to be left for a reader of few types to use their indexes.
	typesFrom = 8 << 20
	// typesLeave is how much of the end of the log such a reader is left to read as it is.
	typesLeave = 1 << 20
	// typesSpare is how much of the log, in bytes, has to be passed over for each event that is read by an index: reading one by its
	// position costs about as much as reading ten in a row.
	typesSpare = 10 << 10
)

// ReadTypes appends to dst the durable events of some types from a position on, without reading those in between. It reports where
// to continue. It reports false, and reads nothing, where it would be no faster than ReadForward: near the log's end, and where much
// of the log is of these types. The types of links are not indexed, so they must not be among those that are selected.
func (s *Store) ReadTypes(from uint64, selects func(eventType []byte) bool, dst []*Record, page Page) (
	_ []*Record, next uint64, ok bool, err error,
) {
	if s.opts.ReadOnly || s.End() < from+typesFrom || selects([]byte(LinkType)) {
		return dst, from, false, nil
	}
	entries, end, err := s.typeEntries(from, selects)
	if err != nil {
		return dst, from, false, err
	}
	if entries == nil {
		return dst, from, false, nil
	}
	defer func() { err = errors.Join(err, entries.close()) }()
	size := 0
	for taken := 0; taken < page.Events && size < page.Bytes; {
		position, more, err := entries.next()
		if err != nil {
			return dst, from, false, err
		}
		if !more || position >= end {
			return dst, end, true, nil
		}
		r, err := s.record(position)
		if errors.Is(err, errScavenged) {
			continue
		}
		if err != nil {
			return dst, from, false, err
		}
		dst, next = append(dst, r), r.Next()
		taken++
		size += r.Size()
	}
	return dst, next, true, nil
}

// typeEntries returns the entries of the indexes of some types from a position on, and the end up to which they are complete. It
// returns nil if they are too many, or if the indexes cannot be brought up to date: the log can be read without them.
func (s *Store) typeEntries(from uint64, selects func(eventType []byte) bool) (_ *typeEntries, end uint64, err error) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if s.index.catchUp(s) != nil || s.index.next < from+typesLeave {
		return nil, 0, nil //nolint:nilerr // a reader that reads everything meets the same error, if it matters
	}
	end = s.index.next - typesLeave
	heads, err := s.index.types(s, selects)
	if err != nil {
		return nil, 0, err
	}
	found := &typeEntries{}
	defer func() {
		if err != nil {
			err = errors.Join(err, found.close())
		}
	}()
	entries := uint64(0)
	for _, h := range heads {
		first, err := s.firstEntry(h, from)
		if err != nil {
			return nil, 0, err
		}
		if entries += h.count - first; h.count == first {
			continue
		}
		if err := found.add(s, h.id, first); err != nil {
			return nil, 0, err
		}
	}
	if entries > (end-from)/typesSpare {
		return nil, 0, found.close()
	}
	return found, end, nil
}

// types returns the indexes of some types. x.mu is held.
func (x *index) types(s *Store, selects func(eventType []byte) bool) (heads []*indexHead, err error) {
	lower := indexNameKey(typePrefix)
	upper := bytes.Clone(lower)
	upper[len(upper)-1]++
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	var names []string
	for ok := iter.First(); ok; ok = iter.Next() {
		if eventType := iter.Key()[len(lower):]; selects(eventType) {
			names = append(names, typePrefix+string(eventType))
		}
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return nil, err
	}
	for _, name := range names {
		h, err := x.head(s, name)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	return heads, nil
}

// firstEntry returns the number of the first entry of an index at or behind a position, or the number of its entries if there is none.
func (s *Store) firstEntry(h *indexHead, from uint64) (uint64, error) {
	low, high := uint64(0), h.count
	for low < high {
		middle := low + (high-low)/2
		value, closer, err := s.db.Get(indexKey(h.id, middle))
		if err != nil {
			return 0, fmt.Errorf("look up entry %d of an index: %w", middle, err)
		}
		at, err := position(value)
		if err := errors.Join(err, closer.Close()); err != nil {
			return 0, err
		}
		if at < from {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// typeEntries are the positions in several indexes, in the order of the log.
type typeEntries struct {
	iters []*pebble.Iterator
	// at are the positions that the iterators are at.
	at []uint64
}

func (t *typeEntries) add(s *Store, id, number uint64) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: indexKey(id, number), UpperBound: indexKey(id+1, 0)})
	if err != nil {
		return err
	}
	if !iter.First() {
		return errors.Join(iter.Error(), iter.Close())
	}
	_, at, err := streamEntry(iter)
	t.iters, t.at = append(t.iters, iter), append(t.at, at)
	return err
}

// next returns the next position; false behind the last.
func (t *typeEntries) next() (position uint64, ok bool, err error) {
	if len(t.at) == 0 {
		return 0, false, nil
	}
	first := 0
	for i, at := range t.at {
		if at < t.at[first] {
			first = i
		}
	}
	position = t.at[first]
	iter := t.iters[first]
	if iter.Next() {
		_, t.at[first], err = streamEntry(iter)
		return position, true, err
	}
	err = errors.Join(iter.Error(), iter.Close())
	last := len(t.at) - 1
	t.iters[first], t.at[first] = t.iters[last], t.at[last]
	t.iters, t.at = t.iters[:last], t.at[:last]
	return position, true, err
}

func (t *typeEntries) close() error {
	var errs []error
	for _, iter := range t.iters {
		errs = append(errs, iter.Close())
	}
	t.iters, t.at = nil, nil
	return errors.Join(errs...)
}
