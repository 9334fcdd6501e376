package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// ErrNotFound means that the event does not exist or was scavenged.
var ErrNotFound = errors.New("event not found")

// Page bounds one read by the number of events and by their bytes. The bytes may be exceeded by one event.
type Page struct {
	Events, Bytes int
}

// ReadForward appends to dst the durable events at or above the position from. It reports true if they came from
// memory, that is, if the reader keeps up with the log. It appends nothing if no such event is durable yet.
func (s *Store) ReadForward(from uint64, dst []*Record, page Page) ([]*Record, bool, error) {
	durable := s.durable.Load()
	if from >= durable {
		return dst, true, nil
	}
	if dst, ok := s.tail.from(from, dst, page.Events); ok {
		return dst, true, nil
	}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: eventKey(from), UpperBound: eventKey(durable)})
	if err != nil {
		return dst, false, err
	}
	c := collector{dst: dst, page: page}
	for ok := iter.First(); ok && !c.full(); ok = iter.Next() {
		if err := c.add(iter); err != nil {
			return dst, false, errors.Join(err, iter.Close())
		}
	}
	return c.dst, false, errors.Join(iter.Error(), iter.Close())
}

// ReadBackward appends to dst the durable events below the position before, newest first.
func (s *Store) ReadBackward(before uint64, dst []*Record, page Page) ([]*Record, error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: eventKey(0), UpperBound: eventKey(min(before, s.durable.Load()))})
	if err != nil {
		return dst, err
	}
	c := collector{dst: dst, page: page}
	for ok := iter.Last(); ok && !c.full(); ok = iter.Prev() {
		if err := c.add(iter); err != nil {
			return dst, errors.Join(err, iter.Close())
		}
	}
	return c.dst, errors.Join(iter.Error(), iter.Close())
}

// collector copies records out of an iterator, many into one allocation. It skips scavenged records and does not count
// them: a page without events means that there are no more events, however many stubs were skipped.
type collector struct {
	dst   []*Record
	page  Page
	taken int
	bytes int
	chunk []byte
	slots []Record
}

func (c *collector) full() bool { return c.taken >= c.page.Events || c.bytes >= c.page.Bytes }

func (c *collector) add(iter *pebble.Iterator) error {
	key := iter.Key()
	if len(key) != 9 {
		return fmt.Errorf("%w: an event key of %d bytes", ErrDamaged, len(key))
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return err
	}
	pos := binary.BigEndian.Uint64(key[1:])
	if isStub(value) {
		_, err := parseStub(pos, value)
		return err
	}
	if cap(c.chunk)-len(c.chunk) < len(value) {
		c.chunk = make([]byte, 0, max(len(value), min(64<<10, c.page.Bytes, 1024*c.page.Events)))
	}
	start := len(c.chunk)
	c.chunk = append(c.chunk, value...)
	record, err := parseRecord(pos, c.chunk[start:len(c.chunk):len(c.chunk)])
	if err != nil {
		return err
	}
	if len(c.slots) == cap(c.slots) {
		c.slots = make([]Record, 0, min(128, c.page.Events))
	}
	c.slots = append(c.slots, record)
	c.dst = append(c.dst, &c.slots[len(c.slots)-1])
	c.taken++
	c.bytes += len(value)
	return nil
}

// record returns the durable event at exactly pos. It fails with errScavenged for a scavenged event.
func (s *Store) record(pos uint64) (*Record, error) {
	if r := s.tail.at(pos); r != nil {
		return r, nil
	}
	if pos >= s.durable.Load() {
		return nil, fmt.Errorf("%w: at position %d", ErrNotFound, pos)
	}
	value, closer, err := s.db.Get(eventKey(pos))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("%w: at position %d", ErrNotFound, pos)
	}
	if err != nil {
		return nil, fmt.Errorf("read the event at position %d: %w", pos, err)
	}
	r, err := parseRecord(pos, append([]byte(nil), value...))
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, err
	}
	return &r, nil
}

// streamRecord returns a stream's durable event by its revision.
func (s *Store) streamRecord(id, revision uint64) (*Record, error) {
	value, closer, err := s.db.Get(streamKey(id, revision))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("%w: revision %d", ErrNotFound, revision)
	}
	if err != nil {
		return nil, fmt.Errorf("look up revision %d: %w", revision, err)
	}
	pos, err := position(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, err
	}
	durable := s.durable.Load() // read first: an event that becomes durable after this may not be found by s.record
	r, err := s.record(pos)
	if errors.Is(err, ErrNotFound) && !errors.Is(err, errScavenged) && pos < durable {
		return nil, fmt.Errorf("%w: the index of revision %d points to position %d, where no event is", ErrDamaged, revision, pos)
	}
	return r, err
}

// Stream describes which events of a stream can be read.
type Stream struct {
	// ID is zero if the stream never had an event.
	ID uint64
	// Last is the revision of the last event, -1 if there is none.
	Last int64
	// First is the lowest revision that the stream's metadata does not hide; it may be above Last.
	First int64
	// MaxAge, if not zero, hides older events.
	MaxAge time.Duration
	// A Tombstoned stream is deleted for good, a Deleted one until the next append.
	Tombstoned, Deleted bool
}

// Stream returns a stream's durable state.
func (s *Store) Stream(name string) (Stream, error) {
	if IsIndex(name) {
		return s.indexStream(name)
	}
	h, err := s.loadHead(name)
	if err != nil {
		return Stream{}, err
	}
	if IsMetastream(name) {
		h.limits.maxCount = 1 // only the last metadata event is visible
		subject, err := s.loadHead(Described(name))
		if err != nil {
			return Stream{}, err
		}
		if subject.tombstoned() {
			return Stream{ID: h.id, Last: h.last, Tombstoned: true}, nil
		}
	}
	return Stream{
		ID: h.id, Last: h.last, First: h.limits.first(h.last), MaxAge: h.limits.maxAge,
		Tombstoned: h.tombstoned(), Deleted: h.limits.deleted(),
	}, nil
}

// LastEvent returns the last event of a stream, nil if there is none or its metadata hide it.
func (s *Store) LastEvent(name string) (*Record, error) {
	st, err := s.Stream(name)
	if err != nil || st.ID == 0 || st.Tombstoned || st.Deleted {
		return nil, err
	}
	last, err := s.ReadStreamBackward(st.ID, uint64(st.Last), nil, Page{Events: 1, Bytes: 1})
	if err != nil || len(last) == 0 || st.Hides(last[0], s.Now()) {
		return nil, err
	}
	return last[0], nil
}

// Hides reports whether the stream's metadata hides an event at a time.
func (st *Stream) Hides(r *Record, now time.Time) bool {
	return int64(r.Revision) < st.First || st.MaxAge > 0 && r.Created < ticks(now)-int64(st.MaxAge/100)
}

// ReadStreamForward appends to dst a stream's durable events from a revision on. The caller applies the stream's
// metadata with Hides.
func (s *Store) ReadStreamForward(id, from uint64, dst []*Record, page Page) ([]*Record, error) {
	return s.readStream(id, streamKey(id, from), streamKey(id+1, 0), false, dst, page)
}

// ReadStreamBackward appends to dst a stream's durable events from a revision down. The caller applies the stream's
// metadata with Hides.
func (s *Store) ReadStreamBackward(id, from uint64, dst []*Record, page Page) ([]*Record, error) {
	upper := streamKey(id+1, 0)
	if from+1 != 0 {
		upper = streamKey(id, from+1)
	}
	return s.readStream(id, streamKey(id, 0), upper, true, dst, page)
}

func (s *Store) readStream(id uint64, lower, upper []byte, backward bool, dst []*Record, page Page) (_ []*Record, err error) {
	index := ""
	if id&indexBit != 0 {
		lower[0], upper[0] = prefixIndexNumber, prefixIndexNumber
		if index, err = s.indexName(id); err != nil {
			return dst, err
		}
	}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return dst, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	begin, step := iter.First, iter.Next
	if backward {
		begin, step = iter.Last, iter.Prev
	}
	durable := s.durable.Load()
	taken, bytes := 0, 0
	for more := begin(); more && taken < page.Events && bytes < page.Bytes; more = step() {
		revision, pos, err := streamEntry(iter)
		if err != nil {
			return dst, err
		}
		if pos >= durable {
			if backward {
				continue
			}
			break
		}
		r, err := s.record(pos)
		if errors.Is(err, errScavenged) {
			continue
		}
		if err != nil {
			return dst, fmt.Errorf("revision %d: %w", revision, err)
		}
		if index != "" {
			if r, err = linkTo(index, id, uint64(revision), r); err != nil {
				return dst, err
			}
		}
		dst = append(dst, r)
		taken++
		bytes += r.Size()
	}
	return dst, iter.Error()
}

// streamEntry decodes the entry of the index of revisions that the iterator is at.
func streamEntry(iter *pebble.Iterator) (revision int64, pos uint64, err error) {
	key := iter.Key()
	if len(key) != 17 {
		return 0, 0, fmt.Errorf("%w: a stream key of %d bytes", ErrDamaged, len(key))
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return 0, 0, err
	}
	pos, err = position(value)
	return int64(binary.BigEndian.Uint64(key[9:])), pos, err
}

// IsLink reports whether an event names another one, as a link whose data begin with a revision. Like other servers the
// store treats a link with other data as a plain event.
func IsLink(r *Record) bool {
	if string(r.Type()) != LinkType {
		return false
	}
	revision, _, _ := strings.Cut(string(r.Data()), "@")
	_, err := strconv.ParseInt(strings.TrimSpace(revision), 10, 64)
	return err == nil
}

// Resolve returns the event that a link names as revision@stream. It returns nil without an error if the link is
// malformed, or if the event does not exist or is hidden at the time now.
func (s *Store) Resolve(link *Record, now time.Time) (*Record, error) {
	revision, stream, ok := parseLink(link.Data())
	if !ok {
		return nil, nil
	}
	st, err := s.Stream(stream)
	if err != nil || st.ID == 0 || st.Tombstoned || st.Deleted {
		return nil, err
	}
	found, err := s.ReadStreamForward(st.ID, revision, nil, Page{Events: 1, Bytes: 1})
	if err != nil || len(found) == 0 || found[0].Revision != revision || st.Hides(found[0], now) {
		return nil, err
	}
	return found[0], nil
}

// parseLink parses the data of a link.
func parseLink(data []byte) (revision uint64, stream string, ok bool) {
	const maxRevision = TombstoneRevision
	i := 0
	for ; i < len(data) && data[i] != '@'; i++ {
		d := data[i]
		if d < '0' || d > '9' || revision > (maxRevision-9)/10 {
			return 0, "", false
		}
		revision = revision*10 + uint64(d-'0')
	}
	if i == 0 || i+1 >= len(data) {
		return 0, "", false
	}
	return revision, string(data[i+1:]), true
}
