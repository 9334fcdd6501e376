package mongo

import (
	"bytes"
	"container/heap"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// scan reads the documents of a plan. It can be interrupted and continued on another view of the collection.
type scan struct {
	c *collection
	v *view
	p *plan
	f *filter

	it     *pebble.Iterator
	fresh  bool   // the iterator is before the first entry of the current range
	heads  heads  // of the merged ranges, which have iterators of their own
	at     int    // the current range, counted in the direction of the scan
	last   []byte // the last entry that was read, empty before the first one of the range
	seen   map[string]struct{}
	doc    doc
	docBuf []byte

	keys, docs int64 // examined, for explain
}

// scan begins a scan of the view.
func (v *view) scan(p *plan, f *filter) *scan {
	s := &scan{c: v.c, v: v, p: p, f: f}
	if p.dedupe {
		s.seen = map[string]struct{}{}
	}
	return s
}

// release closes the iterators of the scan.
func (s *scan) release() error {
	err := s.heads.release()
	if s.it != nil {
		err = errors.Join(err, s.it.Close())
		s.it = nil
	}
	return err
}

// step reads the next document of the plan into s.doc, whether it matches or not. It skips entries of documents that it
// has read before.
func (s *scan) step() (bool, error) {
	if s.p.points {
		return s.stepPoint()
	}
	for {
		it, err := s.nextEntry()
		if err != nil || it == nil {
			return false, err
		}
		key := it.Key()
		if s.p.x != nil {
			s.keys++
		}
		if s.p.x == nil || s.p.x.primary {
			v, err := it.ValueAndErr()
			if err != nil {
				return false, err
			}
			s.doc = v
			return true, nil
		}
		id, ok := entryID(key, it.Value())
		if !ok {
			return false, refuse(codeInternalError, "an entry of index %s is damaged; drop and create the index", s.p.x.name)
		}
		if s.seen != nil {
			if _, dup := s.seen[string(id)]; dup {
				continue
			}
			if len(s.seen) == maxSeen {
				return false, refuse(codeExceededMemoryLimit,
					"the query finds more than %d documents by index %s, which has arrays: narrow it, or hint another index",
					maxSeen, s.p.x.name)
			}
			s.seen[string(id)] = struct{}{}
		}
		if ok, err := s.fetch(s.c.docKey(id)); ok || err != nil {
			return ok, err
		}
	}
}

// nextEntry returns an iterator at the next entry; nil at the end.
func (s *scan) nextEntry() (*pebble.Iterator, error) {
	if s.p.merge {
		return s.heads.next(s)
	}
	ok, err := s.advance()
	if err != nil || !ok {
		return nil, err
	}
	s.last = append(s.last[:0], s.it.Key()...)
	return s.it, nil
}

// fetch reads a document into s.doc.
func (s *scan) fetch(key []byte) (bool, error) {
	v, closer, err := s.v.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.docBuf = append(s.docBuf[:0], v...)
	s.doc = s.docBuf
	return true, closer.Close()
}

// stepPoint reads the documents of a list of _ids one by one, which is cheaper than seeking each with an iterator.
func (s *scan) stepPoint() (bool, error) {
	for s.at < len(s.p.ranges) {
		r := s.current()
		s.at++
		s.keys++
		if ok, err := s.fetch(r.lower); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (s *scan) current() keyRange {
	if s.p.reverse {
		return s.p.ranges[len(s.p.ranges)-1-s.at]
	}
	return s.p.ranges[s.at]
}

// advance moves the iterator to the next entry, through the ranges.
func (s *scan) advance() (bool, error) {
	for s.at < len(s.p.ranges) {
		var ok bool
		switch {
		case s.it == nil || s.fresh:
			r := s.current()
			if bytes.Compare(r.lower, r.upper) >= 0 {
				break
			}
			if s.it == nil {
				var err error
				if s.it, err = s.v.NewIter(&pebble.IterOptions{LowerBound: r.lower, UpperBound: r.upper}); err != nil {
					return false, err
				}
			} else {
				s.it.SetBounds(r.lower, r.upper)
			}
			s.fresh = false
			ok = seek(s.it, s.last, s.p.reverse)
		case s.p.reverse:
			ok = s.it.Prev()
		default:
			ok = s.it.Next()
		}
		if ok {
			return true, nil
		}
		if s.it != nil {
			if err := s.it.Error(); err != nil {
				return false, err
			}
		}
		s.at++
		s.last = s.last[:0]
		s.fresh = true
	}
	return false, nil
}

// heads are the ranges of a merged scan, as a heap with the range of the next entry on top. Entries are compared
// without the fixed part of their range, in which the ranges differ.
type heads struct {
	all     []*head // nil until the scan begins
	heap    []*head // those that have not ended
	started bool    // the iterators are open
}

type head struct {
	r       keyRange
	reverse bool
	it      *pebble.Iterator
	last    []byte // the last entry that was returned
	ended   bool
}

func (h *head) rest() []byte { return h.it.Key()[h.r.fixed:] }

func (h *heads) Len() int      { return len(h.heap) }
func (h *heads) Swap(i, j int) { h.heap[i], h.heap[j] = h.heap[j], h.heap[i] }
func (h *heads) Push(x any)    { h.heap = append(h.heap, x.(*head)) }
func (h *heads) Less(i, j int) bool {
	c := bytes.Compare(h.heap[i].rest(), h.heap[j].rest())
	if h.heap[i].reverse {
		return c > 0
	}
	return c < 0
}

func (h *heads) Pop() any {
	last := h.heap[len(h.heap)-1]
	h.heap = h.heap[:len(h.heap)-1]
	return last
}

// next moves to the next entry of all ranges and returns the iterator at it; nil at the end.
func (h *heads) next(s *scan) (*pebble.Iterator, error) {
	if !h.started {
		if err := h.start(s); err != nil {
			return nil, err
		}
	} else if len(h.heap) > 0 { // the top was returned before
		top := h.heap[0]
		if top.reverse {
			top.it.Prev()
		} else {
			top.it.Next()
		}
		if top.it.Valid() {
			heap.Fix(h, 0)
		} else if err := top.it.Error(); err != nil {
			return nil, err
		} else {
			top.ended = true
			heap.Pop(h)
		}
	}
	if len(h.heap) == 0 {
		return nil, nil
	}
	top := h.heap[0]
	top.last = append(top.last[:0], top.it.Key()...)
	return top.it, nil
}

// start opens the iterators at their positions before release.
func (h *heads) start(s *scan) error {
	if h.all == nil {
		for _, r := range s.p.ranges {
			h.all = append(h.all, &head{r: r, reverse: s.p.reverse, ended: bytes.Compare(r.lower, r.upper) >= 0})
		}
	}
	h.started = true
	for _, one := range h.all {
		if one.ended {
			continue
		}
		var err error
		if one.it, err = s.v.NewIter(&pebble.IterOptions{LowerBound: one.r.lower, UpperBound: one.r.upper}); err != nil {
			return err
		}
		if seek(one.it, one.last, one.reverse) {
			h.heap = append(h.heap, one)
			continue
		}
		if err := one.it.Error(); err != nil {
			return err
		}
		one.ended = true
	}
	heap.Init(h)
	return nil
}

func (h *heads) release() error {
	var err error
	for _, one := range h.all {
		if one.it != nil {
			err = errors.Join(err, one.it.Close())
			one.it = nil
		}
	}
	h.heap, h.started = nil, false
	return err
}

// seek moves an iterator to the first entry after last, in the direction of the scan; to the first of all if last is
// empty.
func seek(it *pebble.Iterator, last []byte, reverse bool) bool {
	switch {
	case len(last) > 0 && reverse:
		return it.SeekLT(last)
	case len(last) > 0:
		return it.SeekGE(append(last, 0))
	case reverse:
		return it.Last()
	}
	return it.First()
}
