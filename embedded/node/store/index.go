package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// EventStoreDB's standard projections write streams of links by category, by event type, and of all streams. Here these
// streams are indexes over the log, and their links are generated when they are read. An index is brought up to date
// when it is read: it costs nothing if nobody reads it, and a read sees every event acknowledged before.
//
//	i           -> position up to which the log is indexed, number of indexes
//	m<name>     -> index id
//	j<index id> -> name
//	l<index id><number> -> position of the event
const (
	prefixIndexName   = 'm'
	prefixIndexID     = 'j'
	prefixIndexNumber = 'l'

	categoryPrefix = "$ce-"
	typePrefix     = "$et-"
	streamsIndex   = "$streams"

	// categorySeparator ends the category in a stream's name.
	categorySeparator = '-'
	// indexBit is set in the ids of indexes and not in those of streams, which are positions.
	indexBit = uint64(1) << 63
)

var keyIndexed = []byte{'i'}

// IsIndex reports whether the named stream is an index: it can be read but not written.
func IsIndex(name string) bool {
	return name == streamsIndex || strings.HasPrefix(name, categoryPrefix) || strings.HasPrefix(name, typePrefix)
}

// index is the state of all indexes. The lock is held while the log is being indexed.
type index struct {
	mu     sync.Mutex
	loaded bool
	next   uint64 // the position up to which the log is indexed
	count  uint64 // number of indexes
	// known and names hold the indexes used so far. Their number is bounded by the categories and event types.
	known map[string]*indexHead
	names map[uint64]string // by id

	page []*Record
}

// indexHead is the id of an index and the number of its links.
type indexHead struct {
	id    uint64
	count uint64
}

func indexKey(id, number uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{prefixIndexNumber}, id), number)
}

func indexIDKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixIndexID}, id)
}

func indexNameKey(name string) []byte { return append([]byte{prefixIndexName}, name...) }

// indexBatch is how many events are indexed together.
const indexBatch = 4096

// catchUp indexes every event that is durable now. The caller holds the lock.
func (x *index) catchUp(s *Store) error {
	if !x.loaded {
		x.known, x.names, x.next = map[string]*indexHead{}, map[uint64]string{}, FirstPosition
		value, closer, err := s.db.Get(keyIndexed)
		if err == nil {
			if len(value) != 16 {
				err = fmt.Errorf("%w: the state of the indexes has %d bytes", ErrDamaged, len(value))
			} else {
				x.next, x.count = binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])
			}
			err = errors.Join(err, closer.Close())
		} else if errors.Is(err, pebble.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("read the state of the indexes: %w", err)
		}
		x.loaded = true
	}
	for end := s.End(); x.next < end; {
		if failure := s.Failure(); failure != nil {
			return fmt.Errorf("index the log: %w", failure)
		}
		if err := x.step(s); err != nil {
			x.loaded = false // memory may be ahead of the stored index
			return fmt.Errorf("index the log: %w", err)
		}
	}
	return nil
}

// step indexes the next page of events.
func (x *index) step(s *Store) (err error) {
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if x.page, _, err = s.ReadForward(x.next, x.page[:0], Page{Events: indexBatch, Bytes: 8 << 20}); err != nil {
		return err
	}
	if len(x.page) == 0 {
		return fmt.Errorf("%w: there is no event at or behind position %d", ErrDamaged, x.next)
	}
	defer func() { clear(x.page) }()
	b := s.db.NewBatch()
	next := x.next
	for _, r := range x.page {
		next = r.Next()
		if err := x.add(s, b, r); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	value := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, next), x.count)
	if err := b.Set(keyIndexed, value, nil); err != nil {
		return errors.Join(err, b.Close())
	}
	// No sync: after a crash the lost part is indexed again. The batch is kept or lost as a whole.
	if err := s.apply(b, false); err != nil {
		return err
	}
	x.next = next
	return nil
}

// add adds one event to its indexes. Links are not indexed.
func (x *index) add(s *Store, b *pebble.Batch, r *Record) error {
	if string(r.Type()) == LinkType {
		return nil
	}
	if err := x.enter(s, b, typePrefix+string(r.Type()), r.Position); err != nil {
		return err
	}
	stream := r.Stream()
	if len(stream) > 0 && stream[0] == '$' {
		return nil
	}
	if i := bytes.IndexByte(stream, categorySeparator); i > 0 {
		if err := x.enter(s, b, categoryPrefix+string(stream[:i]), r.Position); err != nil {
			return err
		}
	}
	if r.StreamID == r.Position {
		return x.enter(s, b, streamsIndex, r.Position)
	}
	return nil
}

// enter adds the event at a position to the named index, which it creates if necessary.
func (x *index) enter(s *Store, b *pebble.Batch, name string, position uint64) error {
	h, err := x.head(s, name)
	if err != nil {
		return err
	}
	if h == nil {
		h = &indexHead{id: x.count | indexBit}
		x.count++
		x.known[name], x.names[h.id] = h, name
		id := binary.BigEndian.AppendUint64(nil, h.id)
		if err := errors.Join(b.Set(indexNameKey(name), id, nil), b.Set(indexIDKey(h.id), []byte(name), nil)); err != nil {
			return err
		}
	}
	var key [17]byte
	var value [8]byte
	key[0] = prefixIndexNumber
	binary.BigEndian.PutUint64(key[1:], h.id)
	binary.BigEndian.PutUint64(key[9:], h.count)
	binary.BigEndian.PutUint64(value[:], position)
	h.count++
	return b.Set(key[:], value[:], nil)
}

// head returns the head of the named index, nil if it has no events.
func (x *index) head(s *Store, name string) (*indexHead, error) {
	if h := x.known[name]; h != nil {
		return h, nil
	}
	value, closer, err := s.db.Get(indexNameKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", name, err)
	}
	id, err := position(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, err
	}
	h := &indexHead{id: id}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: indexKey(id, 0), UpperBound: indexKey(id+1, 0)})
	if err != nil {
		return nil, err
	}
	if iter.Last() {
		var last int64
		if last, _, err = streamEntry(iter); err == nil {
			h.count = uint64(last) + 1
		}
	}
	if err := errors.Join(err, iter.Error(), iter.Close()); err != nil {
		return nil, err
	}
	x.known[name], x.names[id] = h, name
	return h, nil
}

// indexStream brings the indexes up to date and describes one of them as a stream.
func (s *Store) indexStream(name string) (Stream, error) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if err := s.index.catchUp(s); err != nil {
		return Stream{}, err
	}
	h, err := s.index.head(s, name)
	if err != nil || h == nil {
		return Stream{Last: -1}, err
	}
	meta, err := s.metadataOf(name)
	if err != nil {
		return Stream{}, err
	}
	l := parseLimits(meta)
	last := int64(h.count) - 1
	return Stream{ID: h.id, Last: last, First: l.first(last), MaxAge: l.maxAge, Deleted: l.deleted()}, nil
}

func (s *Store) indexName(id uint64) (string, error) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if name, ok := s.index.names[id]; ok {
		return name, nil
	}
	value, closer, err := s.db.Get(indexIDKey(id))
	if err != nil {
		return "", fmt.Errorf("look up an index: %w", err)
	}
	name := string(value)
	return name, closer.Close()
}

// linkTo generates the link that an index has at a number. The link has the same id at every read. It has no position
// and time of its own, so it takes those of the event.
func linkTo(index string, id, number uint64, target *Record) (*Record, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", index, number))
	link := ID(sum[:16])
	link[6] = link[6]&0x0f | 0x80 // a UUID of version 8: derived by a rule of our own
	link[8] = link[8]&0x3f | 0x80
	p := Propose(index, link, LinkType, false, nil, fmt.Appendf(nil, "%d@%s", target.Revision, target.Stream()))
	raw := p.appendUnlinked(make([]byte, 0, len(p.wire)+maxSuffix), target.Position, id, number, target.Created)
	r, err := parseRecord(target.Position, raw)
	return &r, err
}
