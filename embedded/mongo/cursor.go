package mongo

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// source yields documents one by one: those of a scan, or the output of a pipeline stage.
type source interface {
	// next returns the next document, which is valid until the following call; nil at the end.
	next(ctx context.Context) (doc, error)
	// pause releases everything that must not be held between two requests.
	pause() error
	// resume lets next be called again after pause.
	resume() error
}

// scanSource yields the matching documents of a scan. Between two requests it holds no snapshot and no iterator, only
// its position.
type scanSource struct {
	st *store
	s  *scan
	n  int
}

func (s *scanSource) next(ctx context.Context) (doc, error) {
	for {
		if s.n++; s.n%128 == 0 {
			if err := interrupted(ctx); err != nil {
				return nil, err
			}
		}
		ok, err := s.s.step()
		if err != nil || !ok {
			return nil, err
		}
		s.s.docs++
		if s.s.f.match(s.s.doc) {
			return s.s.doc, nil
		}
	}
}

func (s *scanSource) pause() error {
	if s.s.v == nil {
		return nil
	}
	err := s.s.release()
	if err2 := s.s.v.Close(); err == nil {
		err = err2
	}
	s.s.v = nil
	return err
}

func (s *scanSource) resume() error {
	v := s.st.view(s.s.c)
	if v == nil {
		return refuse(codeQueryPlanKilled, "the collection was dropped while the cursor was open: run the query again")
	}
	if !s.s.p.usable(v) {
		v.Close()
		return refuse(codeQueryPlanKilled, "index %s was dropped or changed while the cursor was open: run the query again", s.s.p.x.name)
	}
	s.s.v = v
	return nil
}

// interrupted returns an error if the command must stop.
func interrupted(ctx context.Context) error {
	switch ctx.Err() {
	case nil:
		return nil
	case context.DeadlineExceeded:
		return refuse(codeMaxTimeMSExpired, "operation exceeded time limit")
	}
	return refuse(codeInterruptedAtShutdown, "interrupted at shutdown")
}

// listSource yields documents that are in memory.
type listSource struct{ docs []doc }

func (s *listSource) next(context.Context) (doc, error) {
	if len(s.docs) == 0 {
		return nil, nil
	}
	d := s.docs[0]
	s.docs[0] = nil
	s.docs = s.docs[1:]
	return d, nil
}

func (s *listSource) pause() error  { return nil }
func (s *listSource) resume() error { return nil }

// sliceSource skips some documents and ends after some.
type sliceSource struct {
	source
	skip  int64
	limit int64 // -1 for none
}

func (s *sliceSource) next(ctx context.Context) (doc, error) {
	for ; s.skip > 0; s.skip-- {
		if d, err := s.source.next(ctx); d == nil || err != nil {
			return nil, err
		}
	}
	if s.limit == 0 {
		return nil, nil
	}
	if s.limit > 0 {
		s.limit--
	}
	return s.source.next(ctx)
}

// mapSource changes each document.
type mapSource struct {
	source
	f func(doc) (doc, error)
}

func (s *mapSource) next(ctx context.Context) (doc, error) {
	d, err := s.source.next(ctx)
	if d == nil || err != nil {
		return nil, err
	}
	return s.f(d)
}

// cursor is the state of a query between two batches.
type cursor struct {
	id   int64
	ns   namespace
	conn int64 // the connection that opened it; the cursor counts towards its limit
	src  source
	held doc // a document that was read but did not fit into the last batch

	used  time.Time
	inUse bool
}

// defaultBatch is the size of the first batch if the client gives none.
const defaultBatch = 101

// fill appends a batch of at most n documents (all if n is negative) to the open array of w. It returns false if there
// are no more documents.
func (c *cursor) fill(ctx context.Context, w *builder, n int64) (more bool, err error) {
	start := len(w.b)
	for {
		d := c.held
		if c.held = nil; d == nil {
			if d, err = c.src.next(ctx); err != nil || d == nil {
				return false, err
			}
		}
		size := len(w.b) - start
		// Read one document more than is sent, to find out whether the cursor is at its end.
		if n == 0 || size > 0 && size+len(d) > maxDocSize {
			c.held = keepDoc(d)
			return true, nil
		}
		w.rawDoc("", d)
		n--
	}
}

// cursorTable holds the open cursors.
type cursorTable struct {
	perConn int
	timeout time.Duration

	mu     sync.Mutex
	byID   map[int64]*cursor
	ofConn map[int64]int
}

func newCursorTable(perConn int, timeout time.Duration) *cursorTable {
	return &cursorTable{perConn: perConn, timeout: timeout, byID: map[int64]*cursor{}, ofConn: map[int64]int{}}
}

func (t *cursorTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// add registers a paused cursor and gives it its id.
func (t *cursorTable) add(c *cursor) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ofConn[c.conn] >= t.perConn {
		return refuse(codeExceededMemoryLimit,
			"this connection has opened %d cursors that are neither read to the end nor closed: close some", t.perConn)
	}
	for c.id == 0 || t.byID[c.id] != nil {
		c.id = rand.Int64() // #nosec G404 -- the number only has to be unique
	}
	c.used = time.Now()
	t.byID[c.id] = c
	t.ofConn[c.conn]++
	return nil
}

// take returns a cursor for reading one batch. The caller gives it back with put or remove.
func (t *cursorTable) take(id int64, ns namespace) (*cursor, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.byID[id]
	switch {
	case c == nil:
		return nil, refuse(codeCursorNotFound, "cursor id %d not found", id)
	case c.ns != ns:
		return nil, refuse(13, "cursor id %d belongs to namespace %s, not to %s", id, c.ns, ns)
	case c.inUse:
		return nil, refuse(12051, "cursor id %d is already in use", id)
	}
	c.inUse = true
	return c, nil
}

func (t *cursorTable) put(c *cursor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.inUse, c.used = false, time.Now()
}

// remove closes a cursor. It reports false if the namespace has no cursor with that id.
func (t *cursorTable) remove(id int64, ns namespace) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.byID[id]
	if c == nil || c.ns != ns {
		return false
	}
	t.forget(c)
	return true
}

// forget removes a cursor from the table. The caller holds mu. A cursor holds only memory and needs no closing.
func (t *cursorTable) forget(c *cursor) {
	delete(t.byID, c.id)
	if t.ofConn[c.conn]--; t.ofConn[c.conn] == 0 {
		delete(t.ofConn, c.conn)
	}
}

// reap closes cursors that were idle for longer than the time-out, until ctx ends.
func (t *cursorTable) reap(ctx context.Context) {
	tick := time.NewTicker(max(t.timeout/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.expire(now)
		}
	}
}

func (t *cursorTable) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.byID {
		if !c.inUse && now.Sub(c.used) > t.timeout {
			t.forget(c)
		}
	}
}
