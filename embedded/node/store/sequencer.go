package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"
)

// Expected revisions with a special meaning.
const (
	// NoStream expects a stream without events.
	NoStream int64 = -1
	// Any accepts every revision.
	Any int64 = -2
	// StreamExists expects a stream with events or metadata that is not deleted.
	StreamExists int64 = -4
)

// Kind is what an Append does to its stream.
type Kind uint8

const (
	// Events appends events, possibly none.
	Events Kind = iota
	// Delete hides all events; an append revives the stream.
	Delete
	// Tombstone deletes the stream for good.
	Tombstone
)

// Append is a request to change one stream.
type Append struct {
	// Stream is the stream's name.
	Stream string
	// Expected is the stream's revision that the caller has seen, or one of the constants above.
	Expected int64
	// Kind is what to do. Events are the events to append, made with Propose for the same stream.
	Kind   Kind
	Events []Proposed
	// Size is the number of bytes that count against QueueBytes.
	Size int
	// Deadline, if set, is the time after which the append is refused if it has not been sequenced yet.
	Deadline time.Time
	// Done is called once with the outcome, from the committer's goroutine. It must not block.
	Done func(Result)

	removal *removal // the request of a scavenge; only Stream and Done are set beside it
}

// Result is the outcome of an append.
type Result struct {
	// Err is nil, ErrWrongRevision, ErrStreamDeleted, ErrDeadline, ErrStopped or a failure to read the store.
	Err error
	// Revision is the stream's revision, after a success the one of the append's last event; -1 means no events.
	Revision int64
	// Position is the position of the last event that was written or found stored. After an append without events it is
	// the position of the log's last event, 0 if the log is empty.
	Position uint64
}

var (
	// ErrWrongRevision means that the stream is not at the expected revision.
	ErrWrongRevision = errors.New("the stream is not at the expected revision")
	// ErrStreamDeleted means that the stream is tombstoned, or that it is deleted and was expected to exist.
	ErrStreamDeleted = errors.New("the stream is deleted")
	// ErrDeadline means that the deadline passed before the append was sequenced. Nothing was written.
	ErrDeadline = errors.New("the deadline passed before the append was begun, so nothing was written")
)

// Submit queues an append for the sequencer without waiting. If it returns an error, Done is not called. The errors are
// ErrQueueFull, ErrReserved, ErrProtected, ErrReadOnly, ErrClosed and ErrStopped.
func (s *Store) Submit(a *Append) error {
	if failure := s.Failure(); failure != nil {
		return failure
	}
	if a.removal == nil && IsReserved(a.Stream) {
		return ErrReserved
	}
	if a.removal == nil && (a.Kind != Events || IsMetastream(a.Stream)) && s.protects(a.Stream) {
		return ErrProtected
	}
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	s.submitting.RLock()
	defer s.submitting.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if s.queuedBytes.Add(int64(a.Size)) > s.opts.QueueBytes {
		s.queuedBytes.Add(-int64(a.Size))
		return ErrQueueFull
	}
	select {
	case s.queue <- a:
		return nil
	default:
		s.queuedBytes.Add(-int64(a.Size))
		return ErrQueueFull
	}
}

const (
	// A batch is full when it reaches one of these limits.
	batchMaxEvents  = 4096
	batchMaxAnswers = 4096
	batchMaxBytes   = 4 << 20
	// yieldsToAppends is how often the sequencer lets others run before it gives a batch away. A request passes through about as many
	// goroutines before it gets here.
	yieldsToAppends = 4
	// chunkSize is the size of the buffers that records are encoded into.
	chunkSize = 256 << 10
)

// sequencer decides on all appends, one after the other, and encodes the events. Its state is ahead of the durable log
// by at most two batches: the one that it fills and the one that is being committed.
type sequencer struct {
	store   *Store
	heads   *heads
	recent  *recent
	state   state
	chain   *chain
	last    uint64 // position of the last event
	created int64  // time of the last event
	chunk   []byte
	current *batch
	noSpace error // the last result of diskSpace
}

func newSequencer(s *Store, st state) *sequencer {
	return &sequencer{
		store: s, heads: newHeads(s.opts.HeadStreams), recent: newRecent(s.opts.RecentEvents),
		state: st, chain: newChain(st.hash), current: &batch{}, last: s.lastPosition.Load(),
	}
}

func (q *sequencer) run() {
	defer close(q.store.batches)
	for {
		var out chan *batch
		in := q.store.queue
		if len(q.current.answers) > 0 {
			out = q.store.batches
			// Whoever is about to append goes first, so that one sync serves more appends. On a machine with time to spare this takes none.
			for yielded := 0; yielded < yieldsToAppends && len(in) == 0; yielded++ {
				runtime.Gosched()
			}
		}
		if q.full() {
			in = nil
		}
		select {
		case a, ok := <-in:
			if !ok {
				if len(q.current.answers) > 0 {
					q.store.batches <- q.current
				}
				return
			}
			q.take(a)
			// Appends that are already queued join this batch and share its sync, even if the committer is idle.
			for range len(in) {
				if q.full() {
					break
				}
				if a, ok := <-in; ok {
					q.take(a)
				}
			}
		case out <- q.current:
			q.current = &batch{}
		}
	}
}

func (q *sequencer) full() bool {
	b := q.current
	return len(b.records) >= batchMaxEvents || len(b.answers) >= batchMaxAnswers || b.bytes >= batchMaxBytes
}

// settle returns when every sequenced append has been committed.
func (q *sequencer) settle() {
	if len(q.current.answers) > 0 {
		q.store.batches <- q.current
		q.current = &batch{}
	}
	q.store.batches <- &batch{} // the committer receives it after it has finished the one before
}

// take decides on an append and adds it to the current batch.
func (q *sequencer) take(a *Append) {
	result := q.decide(a)
	b := q.current
	b.answers = append(b.answers, answer{a, result})
	b.queued += int64(a.Size)
	b.end = q.state
	switch {
	case result.Err == nil:
		q.store.counters.appends.Add(1)
	case errors.Is(result.Err, ErrWrongRevision):
		q.store.counters.conflicts.Add(1)
	}
}

// decide returns the outcome of an append, and writes its events into the current batch if it succeeds.
func (q *sequencer) decide(a *Append) Result {
	if failure := q.store.Failure(); failure != nil {
		return Result{Err: failure, Revision: -1}
	}
	if !a.Deadline.IsZero() && time.Now().After(a.Deadline) {
		return Result{Err: ErrDeadline, Revision: -1}
	}
	h, err := q.head(a.Stream)
	if err != nil {
		return Result{Err: err, Revision: -1}
	}
	if h.tombstoned() {
		return Result{Err: ErrStreamDeleted, Revision: h.last}
	}
	if a.removal != nil {
		return q.remove(a.removal)
	}
	var subject *head
	if IsMetastream(a.Stream) {
		subject, err = q.head(Described(a.Stream))
		if err != nil {
			return Result{Err: err, Revision: -1}
		}
		if subject.tombstoned() {
			return Result{Err: ErrStreamDeleted, Revision: h.last}
		}
	}
	if a.Kind == Delete && h.last < 0 {
		return Result{Err: ErrWrongRevision, Revision: h.last}
	}
	if answered, result := q.check(h, a); answered {
		return result
	}
	// The clock may step back, but times in the log must not.
	q.created = max(q.created, ticks(q.store.Now()))
	if q.noSpace != nil || len(q.current.answers) == 0 { // once per batch, and at every append while the disk is full
		q.noSpace = q.store.diskSpace()
	}
	if q.noSpace != nil {
		return Result{Err: q.noSpace, Revision: -1}
	}
	switch a.Kind {
	case Delete:
		data := fmt.Appendf(nil, `{"$tb":%d}`, int64(deletedBefore))
		meta := Propose(metaPrefix+a.Stream, NewID(), MetadataType, true, nil, data)
		return q.appendTo(metaPrefix+a.Stream, []Proposed{meta})
	case Tombstone:
		p := Propose(a.Stream, NewID(), TombstoneType, false, nil, nil)
		pos := q.write(h, &p, TombstoneRevision)
		return Result{Revision: h.last, Position: pos}
	case Events:
	}
	if len(a.Events) == 0 {
		return Result{Revision: h.last, Position: q.last}
	}
	if h.limits.deleted() {
		meta := Propose(metaPrefix+a.Stream, NewID(), MetadataType, true, nil, withBefore(h.meta, h.last+1))
		if r := q.appendTo(metaPrefix+a.Stream, []Proposed{meta}); r.Err != nil {
			return r
		}
	}
	hidden := subject != nil && subject.limits.deleted()
	result := q.appendAll(h, a.Events)
	if hidden && result.Err == nil {
		q.keepHidden(subject)
	}
	return result
}

// keepHidden completes metadata that were written for a deleted stream: another metadata event sets the truncation point,
// so that the deleted events stay hidden and later ones are visible. Metadata that are no JSON object stay as they are.
func (q *sequencer) keepHidden(subject *head) {
	if !isObject(subject.meta) {
		return
	}
	stream := metaPrefix + subject.name
	meta := Propose(stream, NewID(), MetadataType, true, nil, withBefore(subject.meta, subject.last+1))
	// Without this event the stream is as its metadata say, so a failure to load a head loses nothing that was answered.
	_ = q.appendTo(stream, []Proposed{meta})
}

// check applies the rules for expected revisions and repeated appends. It reports true, with the answer, if nothing is
// to be written.
func (q *sequencer) check(h *head, a *Append) (bool, Result) {
	wrong := Result{Err: ErrWrongRevision, Revision: h.last}
	switch a.Expected {
	case Any, StreamExists:
		if a.Expected == StreamExists {
			if h.limits.deleted() {
				return true, Result{Err: ErrStreamDeleted, Revision: h.last}
			}
			if h.last < 0 && h.meta == nil {
				return true, wrong
			}
		}
		return q.checkRecent(h, a)
	case h.last:
		return false, Result{}
	}
	if a.Expected > h.last || a.Expected < NoStream {
		return true, wrong
	}
	if a.Expected == NoStream && h.limits.deleted() {
		return false, Result{}
	}
	if a.Kind != Events {
		return true, wrong
	}
	if len(a.Events) == 0 {
		return true, wrong
	}
	result, err := q.stored(h, a.Events, a.Expected+1)
	if err == nil && result == nil && a.Expected == NoStream && h.limits.before > 0 {
		// The stream was revived since; this may repeat the append that revived it.
		result, err = q.stored(h, a.Events, h.limits.before)
	}
	switch {
	case err != nil:
		return true, Result{Err: err, Revision: -1}
	case result == nil:
		return true, wrong
	}
	q.store.counters.repeated.Add(1)
	return true, *result
}

// checkRecent is check for appends without an exact revision: it recognises repetitions by the ids in memory. An append
// whose ids are all stored, in whatever order, repeats earlier ones.
func (q *sequencer) checkRecent(h *head, a *Append) (bool, Result) {
	if h.id == 0 || len(a.Events) == 0 {
		return false, Result{}
	}
	known := 0
	var last recentEvent
	for i := range a.Events {
		e, ok := q.recent.find(h.id, a.Events[i].id)
		if ok {
			known++
		}
		last = e
	}
	switch known {
	case 0:
		return false, Result{}
	case len(a.Events):
		q.store.counters.repeated.Add(1)
		return true, Result{Revision: last.revision, Position: last.position}
	}
	return true, Result{Err: ErrWrongRevision, Revision: h.last}
}

// stored returns the outcome of the earlier append if the stream holds these events from revision on, else nil.
func (q *sequencer) stored(h *head, events []Proposed, revision int64) (*Result, error) {
	if h.id == 0 || int64(len(events)) > h.last-revision+1 {
		return nil, nil
	}
	var pos uint64
	for i := range events {
		r := revision + int64(i)
		if e, ok := q.recent.find(h.id, events[i].id); ok && e.revision == r {
			pos = e.position
			continue
		}
		durable := q.store.durable.Load() // read first: events that become durable after this may not be found
		record, err := q.store.streamRecord(h.id, uint64(r))
		if errors.Is(err, ErrNotFound) && h.changedBy >= durable {
			// The event is not durable yet, and recent has its id only for a later event with the same id.
			q.settle()
			record, err = q.store.streamRecord(h.id, uint64(r))
		}
		if errors.Is(err, ErrNotFound) {
			return nil, nil // it was scavenged, so it cannot be compared
		}
		if err != nil {
			return nil, err
		}
		if record.ID != events[i].id {
			return nil, nil
		}
		pos = record.Position
	}
	return &Result{Revision: revision + int64(len(events)) - 1, Position: pos}, nil
}

func (q *sequencer) head(name string) (*head, error) {
	if h := q.heads.get(name); h != nil {
		return h, nil
	}
	h, err := q.store.loadHead(name)
	if err != nil {
		return nil, err
	}
	if h.id != 0 || h.meta != nil {
		q.heads.put(h, q.store.durable.Load())
	}
	return h, nil
}

func (q *sequencer) appendTo(stream string, events []Proposed) Result {
	h, err := q.head(stream)
	if err != nil {
		return Result{Err: err, Revision: -1}
	}
	return q.appendAll(h, events)
}

func (q *sequencer) appendAll(h *head, events []Proposed) Result {
	if h.last > math.MaxInt64-1-int64(len(events)) {
		return Result{Err: fmt.Errorf("stream %q has no revisions left", h.name), Revision: h.last}
	}
	var pos uint64
	for i := range events {
		pos = q.write(h, &events[i], h.last+1)
	}
	if !IsMetastream(h.name) {
		return Result{Revision: h.last, Position: pos}
	}
	// The metadata of another stream has changed. Update its head, which must stay in memory until the change is durable.
	subject, err := q.head(Described(h.name))
	if err != nil {
		// The head is not in memory, so it will be loaded with the new metadata.
		return Result{Revision: h.last, Position: pos}
	}
	last := q.current.records[len(q.current.records)-1]
	subject.meta = nil
	if string(last.Type()) == MetadataType {
		subject.meta = append([]byte{}, last.Data()...)
	}
	subject.limits = parseLimits(subject.meta)
	subject.changedBy = pos
	q.heads.put(subject, q.store.durable.Load())
	return Result{Revision: h.last, Position: pos}
}

// write encodes one event into the current batch, advances the head and returns the event's position.
func (q *sequencer) write(h *head, p *Proposed, revision int64) uint64 {
	b := q.current
	if b.writes == nil {
		b.writes = q.store.db.NewBatch()
	}
	pos := q.state.next
	durable := q.store.durable.Load()
	if h.id == 0 {
		h.id = pos
		op := b.writes.SetDeferred(1+len(h.name), 8)
		op.Key[0] = prefixName
		copy(op.Key[1:], h.name)
		binary.BigEndian.PutUint64(op.Value, pos)
		_ = op.Finish()
	}
	if need := len(p.wire) + maxSuffix; cap(q.chunk)-len(q.chunk) < need {
		q.chunk = make([]byte, 0, max(chunkSize, need))
	}
	start := len(q.chunk)
	q.chunk = q.chain.appendRecord(q.chunk, p, pos, h.id, uint64(revision), q.created)
	raw := q.chunk[start:len(q.chunk):len(q.chunk)]

	op := b.writes.SetDeferred(1+8, len(raw))
	op.Key[0] = prefixEvent
	binary.BigEndian.PutUint64(op.Key[1:], pos)
	copy(op.Value, raw)
	_ = op.Finish()
	op = b.writes.SetDeferred(1+16, 8)
	op.Key[0] = prefixStream
	binary.BigEndian.PutUint64(op.Key[1:], h.id)
	binary.BigEndian.PutUint64(op.Key[9:], uint64(revision))
	binary.BigEndian.PutUint64(op.Value, pos)
	_ = op.Finish()

	b.records = append(b.records, Record{
		Position: pos, StreamID: h.id, Revision: uint64(revision), Created: q.created, ID: p.id, raw: raw,
		nameOff: p.nameOff, nameLen: p.nameLen, typeOff: p.typeOff, typeLen: p.typeLen,
	})
	b.bytes += len(raw)
	h.last, h.changedBy, q.last = revision, pos, pos
	q.heads.put(h, durable)
	q.recent.add(h.id, p.id, recentEvent{revision, pos}, durable)
	q.state.next += uint64(len(raw))
	q.state.events++
	q.state.hash = q.chain.hash
	return pos
}

// NewID returns a random UUID.
func NewID() ID {
	var id ID
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ExpectedString returns the protocol's name of an expected revision.
func ExpectedString(expected int64) string {
	switch expected {
	case NoStream:
		return "no_stream"
	case Any:
		return "any"
	case StreamExists:
		return "stream_exists"
	}
	return strconv.FormatInt(expected, 10)
}
