package store

import (
	"container/list"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// head is the state of a stream that the sequencer needs to decide on an append.
type head struct {
	name string
	id   uint64 // 0 if the stream never had an event
	last int64  // revision of the last event, -1 if there is none
	// meta is the data of the last metadata event, nil if there is none.
	meta   []byte
	limits limits // parsed from meta
	// changedBy is the position of the last event that changed this head. Until that event is durable, the head must stay
	// in memory, because the database may not have the change yet.
	changedBy uint64
}

func (h *head) tombstoned() bool { return h.last == TombstoneRevision }

// heads is a least-recently-used cache that belongs to the sequencer. Streams that do not exist are not cached, so that
// requests for them do not evict existing ones.
type heads struct {
	max    int
	byName map[string]*list.Element
	order  *list.List // the most recently used head is at the front
}

// minHeads is more heads than one append can involve (a stream, its metastream, and those they evict), so that a head
// in use is not evicted and loaded a second time.
const minHeads = 8

func newHeads(size int) *heads {
	return &heads{max: max(size, minHeads), byName: make(map[string]*list.Element), order: list.New()}
}

func (c *heads) get(name string) *head {
	e := c.byName[name]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*head)
}

// put inserts h and evicts the oldest heads, as long as the database holds their current state.
func (c *heads) put(h *head, durable uint64) {
	if c.byName[h.name] != nil {
		return
	}
	c.byName[h.name] = c.order.PushFront(h)
	for c.order.Len() > c.max {
		e := c.order.Back()
		old := e.Value.(*head)
		if old.changedBy >= durable {
			return
		}
		c.order.Remove(e)
		delete(c.byName, old.name)
	}
}

// loadHead reads a stream's head from the database, which must hold all events of the stream.
func (s *Store) loadHead(name string) (*head, error) {
	h := &head{name: name, last: -1}
	var err error
	if h.id, err = s.streamID(name); err != nil {
		return nil, err
	}
	if h.id != 0 {
		last, _, found, err := s.lastOf(h.id)
		if err != nil {
			return nil, err
		}
		if found {
			h.last = last
		}
	}
	if !IsMetastream(name) {
		if h.meta, err = s.metadataOf(name); err != nil {
			return nil, err
		}
		h.limits = parseLimits(h.meta)
	}
	return h, nil
}

// streamID returns the id of a stream, which is the position of its first event; 0 if it has no durable event.
func (s *Store) streamID(name string) (uint64, error) {
	value, closer, err := s.db.Get(nameKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up stream %q: %w", name, err)
	}
	id, err := position(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return 0, err
	}
	if id >= s.durable.Load() {
		return 0, nil
	}
	return id, nil
}

// lastOf returns the revision and position of a stream's last durable event.
func (s *Store) lastOf(id uint64) (revision int64, pos uint64, found bool, err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: streamKey(id, 0), UpperBound: streamKey(id+1, 0)})
	if err != nil {
		return 0, 0, false, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	durable := s.durable.Load()
	for ok := iter.Last(); ok; ok = iter.Prev() {
		revision, pos, err = streamEntry(iter)
		if err != nil || pos < durable {
			return revision, pos, err == nil, err
		}
	}
	return 0, 0, false, iter.Error()
}

// metadataOf returns the data of the last durable metadata event of the named stream, or nil.
func (s *Store) metadataOf(name string) ([]byte, error) {
	id, err := s.streamID(metaPrefix + name)
	if err != nil || id == 0 {
		return nil, err
	}
	_, pos, found, err := s.lastOf(id)
	if err != nil || !found {
		return nil, err
	}
	r, err := s.record(pos)
	if err != nil || string(r.Type()) != MetadataType {
		return nil, err
	}
	if data := r.Data(); data != nil {
		return data, nil
	}
	return []byte{}, nil
}
