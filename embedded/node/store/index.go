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

// The streams that the original's standard projections make: by category, by type, and of all streams. Here they are no
// events of their own but an index over the log, from which their links are made up as they are read. It is brought up
// to date by who reads it: who never does pays nothing, and who does sees everything acknowledged before.
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
	// indexBit tells an index id from a stream's: no position is as large.
	indexBit = uint64(1) << 63
)

var keyIndexed = []byte{'i'}

// IsIndex tells whether the named stream is made of all others: it can be read but not written.
func IsIndex(name string) bool {
	return name == streamsIndex || strings.HasPrefix(name, categoryPrefix) || strings.HasPrefix(name, typePrefix)
}

// index is the state of the indexes. The lock is held while the log is being indexed.
type index struct {
	mu     sync.Mutex
	loaded bool
	next   uint64 // up to where the log is indexed
	count  uint64 // of indexes
	// known are the indexes met so far, by name and by id. There are as many as categories and types.
	known map[string]*indexHead
	names map[uint64]string

	page []*Record
}

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

// catchUp indexes everything that is durable now. The caller holds the lock.
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
			x.loaded = false // what memory holds may be ahead of what is stored
			return fmt.Errorf("index the log: %w", err)
		}
	}
	return nil
}

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
		return fmt.Errorf("%w: there is nothing at or behind position %d", ErrDamaged, x.next)
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
	// Not synced: what a crash loses is indexed again. The batch is lost or kept as a whole.
	if err := s.apply(b, false); err != nil {
		return err
	}
	x.next = next
	return nil
}

// add enters one event into the indexes that it belongs to. Links are not followed by links.
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

func (x *index) enter(s *Store, b *pebble.Batch, name string, position uint64) error {
	h, err := x.head(s, name)
	if err != nil {
		return err
	}
	if h == nil {
		h = &indexHead{id: x.count | indexBit}
		x.count++
		x.known[name], x.names[h.id] = h, name
		if err := errors.Join(b.Set(indexNameKey(name), binary.BigEndian.AppendUint64(nil, h.id), nil), b.Set(indexIDKey(h.id), []byte(name), nil)); err != nil {
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

// head returns nil for an index without events.
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

// indexStream looks up an index as if it were a stream, up to date.
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

// linkTo makes up the link that an index has at a number. Its id is the same whenever it is read, and its position and
// time are those of the event, for it has none of its own.
func linkTo(index string, id, number uint64, target *Record) (*Record, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", index, number))
	link := ID(sum[:16])
	link[6] = link[6]&0x0f | 0x80 // a UUID of version 8: made by a rule of ours
	link[8] = link[8]&0x3f | 0x80
	p := Propose(index, link, LinkType, false, nil, fmt.Appendf(nil, "%d@%s", target.Revision, target.Stream()))
	raw := p.appendUnlinked(make([]byte, 0, len(p.wire)+maxSuffix), target.Position, id, number, target.Created)
	r, err := parseRecord(target.Position, raw)
	return &r, err
}
