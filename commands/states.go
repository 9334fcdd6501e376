package commands

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"casebook/domain"
	"casebook/eventlog"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
)

// States is a bounded cache of folded streams. A command's own stream is only trusted together with the expected
// revision of its append. Streams that decisions merely look at (users, patients, studies) are kept fresh by following
// the log; while that is interrupted, every look reads the stream's new events first.
type States struct {
	log     *eventlog.Log
	logger  *slog.Logger
	streams *lru.Cache[string, *stream]
	// following says that the log is being followed, so that cached states are as fresh as the log but for the moment
	// that an event takes to arrive.
	following atomic.Bool
	// categories are those of the streams that are followed: all that the log's registry declares.
	categories map[string]bool
	// through is the commit position up to which the log has been followed.
	through atomic.Uint64
}

// stream is a cached stream. Its snapshot is replaced, never changed.
type stream struct {
	name string
	// turn is held by the command that runs on the stream, so that commands of one process do not conflict with
	// themselves. Looks at the stream do not wait for it.
	turn sync.Mutex

	loading sync.Mutex
	present atomic.Pointer[snapshot]
	// noticed is the newest revision that the log is known to have, plus one; the snapshot is behind where its tail is not
	// there yet.
	noticed atomic.Uint64
	// unsure says that the last load failed.
	unsure atomic.Bool
	// commandIDs holds the beginnings of the ids of all commands that the stream has events of, to find repeats. It is
	// guarded by loading.
	commandIDs map[uint64]struct{}
}

// snapshot is a folded stream up to its tail.
type snapshot struct {
	state any
	tail  eventlog.Tail
	last  domain.Position
}

// foldFunc adds one recorded event to a state; it is a decider's Evolve behind a type check.
type foldFunc func(state any, event any) (any, error)

func newStates(log *eventlog.Log, size int, logger *slog.Logger) *States {
	cache, err := lru.New[string, *stream](size)
	if err != nil {
		panic(err) // only for a size below 1
	}
	s := &States{log: log, logger: logger, streams: cache, categories: map[string]bool{}}
	for _, category := range log.Registry().Categories() {
		s.categories[category] = true
	}
	return s
}

func (s *States) stream(name string) *stream {
	if st, ok := s.streams.Get(name); ok {
		return st
	}
	st := &stream{name: name, commandIDs: map[uint64]struct{}{}}
	if previous, ok, _ := s.streams.PeekOrAdd(name, st); ok {
		return previous
	}
	return st
}

// load returns the stream's snapshot, read from the log where it is not cached, or where refresh asks for its newest
// events.
func (s *States) load(ctx context.Context, st *stream, initial any, fold foldFunc, refresh bool) (*snapshot, error) {
	if snap := st.present.Load(); !refresh && st.upToDate(snap) {
		return snap, nil
	}
	st.loading.Lock()
	defer st.loading.Unlock()
	snap := st.present.Load()
	if !refresh && st.upToDate(snap) {
		return snap, nil // another request has loaded it meanwhile
	}
	if snap == nil {
		snap = &snapshot{state: initial, tail: eventlog.EmptyTail}
	}
	next := *snap
	for r, err := range s.log.ReadStream(ctx, st.name, uint64(next.tail.Revision+1)) {
		if err == nil {
			err = st.add(&next, r, fold)
		}
		if err != nil {
			st.unsure.Store(true)
			return nil, err
		}
	}
	st.unsure.Store(false)
	st.present.Store(&next)
	return &next, nil
}

// upToDate says whether the snapshot has all that is known of its stream.
func (st *stream) upToDate(snap *snapshot) bool {
	return snap != nil && !st.unsure.Load() && st.noticed.Load() <= uint64(snap.tail.Revision+1)
}

// add folds one more event into the snapshot; st.loading is held.
func (st *stream) add(snap *snapshot, r eventlog.Recorded, fold foldFunc) error {
	if err := eventlog.CheckChain(snap.tail, r); err != nil {
		return err
	}
	state, err := fold(snap.state, r.Event)
	if err != nil {
		return fmt.Errorf("fold %s@%d: %w", r.Stream, r.Revision, err)
	}
	snap.state, snap.tail, snap.last = state, eventlog.TailAfter(r), r.Position
	if id, err := uuid.Parse(r.Metadata.CommandID); err == nil {
		st.commandIDs[shortID(id)] = struct{}{}
	}
	return nil
}

// advance adds events that have just been appended, unless the snapshot has moved on by itself.
func (s *States) advance(st *stream, from *snapshot, events []eventlog.Recorded, fold foldFunc) {
	st.loading.Lock()
	defer st.loading.Unlock()
	if st.present.Load() != from {
		return // the events have come, or will be read, from the log
	}
	next := *from
	for _, r := range events {
		if err := st.add(&next, r, fold); err != nil {
			s.logger.Error("a cached stream could not take its own event", "stream", st.name, "error", err)
			st.present.Store(nil)
			return
		}
	}
	st.present.Store(&next)
}

// mayKnow says whether the stream may hold events of the command.
func (st *stream) mayKnow(id uuid.UUID) bool {
	st.loading.Lock()
	defer st.loading.Unlock()
	_, ok := st.commandIDs[shortID(id)]
	return ok
}

// forget drops the snapshot. The command ids stay: they are only ever added to, and a repeat must be found meanwhile.
func (s *States) forget(st *stream) {
	st.loading.Lock()
	defer st.loading.Unlock()
	st.present.Store(nil)
}

func shortID(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

// follow keeps cached streams fresh until ctx ends. It begins at the log's present end: what lies
// before is read when it is asked for.
func (s *States) follow(ctx context.Context) error {
	defer s.following.Store(false)
	end, err := s.log.End(ctx)
	if err != nil {
		return err
	}
	s.streams.Purge() // what was cached before that end would never hear of the events in between
	return s.log.Follow(ctx, eventlog.Subscription{
		After: end, Undecoded: true,
		OnError: func(err error) {
			s.following.Store(false)
			s.logger.Warn("the log is not being followed; states are read for every request", "error", err)
		},
	}, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			if st, ok := s.streams.Peek(r.Stream); ok {
				st.notice(r)
			}
		}
		s.through.Store(b.Through.Commit)
		if b.Live {
			s.following.Store(true)
		}
		return nil
	})
}

// notice notes that the log has an event of a cached stream. It may be one of this process's own, whose append has not
// been answered yet.
func (st *stream) notice(r eventlog.Recorded) {
	for known := st.noticed.Load(); known < r.Revision+1; known = st.noticed.Load() {
		if st.noticed.CompareAndSwap(known, r.Revision+1) {
			return
		}
	}
}

// Look reads the state of other streams for a decision or an authorisation.
type Look struct {
	states *States
	// after is the log position that Newest has to have seen; 0 for whatever the log holds now.
	after uint64
}

// MetadataOf returns the metadata of one event, and whether it exists.
func (look Look) MetadataOf(ctx context.Context, stream string, revision uint64) (eventlog.Metadata, bool, error) {
	return look.states.log.MetadataOf(ctx, stream, revision)
}

// followWait bounds how long Newest waits for the follower; then it reads.
const followWait = 200 * time.Millisecond

// seen waits until everything up to look.after has been noticed, and says whether it has.
func (look Look) seen(ctx context.Context) bool {
	if look.after == 0 || !look.states.following.Load() {
		return false
	}
	for begun := time.Now(); look.states.through.Load() < look.after; {
		if ctx.Err() != nil || time.Since(begun) > followWait || !look.states.following.Load() {
			return false
		}
		time.Sleep(200 * time.Microsecond)
	}
	return true
}

// At returns the state of the decider's stream with this id.
func At[S, E any](ctx context.Context, look Look, decider domain.Decider[S, E], id string) (S, error) {
	return read(ctx, look, decider, id, func() bool { return !look.states.following.Load() })
}

// Newest is At for a decision that must not miss what another process has recorded: all that was before the event that
// set the decision off, or, where none did, all that the log holds now.
func Newest[S, E any](ctx context.Context, look Look, decider domain.Decider[S, E], id string) (S, error) {
	return read(ctx, look, decider, id, func() bool { return !look.seen(ctx) })
}

// ErrNotFollowed says that a state was asked for whose streams are not followed: it would be read once and never hear of
// a new event.
var ErrNotFollowed = errors.New("its streams are not followed; declare the decider among the context's Streams")

func read[S, E any](ctx context.Context, look Look, decider domain.Decider[S, E], id string, refresh func() bool) (S, error) {
	var none S
	if !look.states.categories[decider.Category] {
		return none, fmt.Errorf("read %s: %w", decider.Stream(id), ErrNotFollowed)
	}
	snap, err := look.states.load(ctx, look.states.stream(decider.Stream(id)), decider.Initial, foldOf(decider), refresh())
	if err != nil {
		return none, err
	}
	return snap.state.(S), nil
}

// EventsAt returns all events of the decider's stream with this id, for the rare decision that needs more of the past
// than the state keeps.
func EventsAt[S, E any](ctx context.Context, look Look, decider domain.Decider[S, E], id string) ([]E, error) {
	var events []E
	for r, err := range look.states.log.ReadStream(ctx, decider.Stream(id), 0) {
		if err != nil {
			return nil, err
		}
		event, ok := r.Event.(E)
		if !ok {
			return nil, fmt.Errorf("%s@%d: %s is not an event of %s", r.Stream, r.Revision, r.Type, decider.Category)
		}
		events = append(events, event)
	}
	return events, nil
}

func foldOf[S, E any](decider domain.Decider[S, E]) foldFunc {
	return func(state, event any) (any, error) {
		e, ok := event.(E)
		if !ok {
			return nil, fmt.Errorf("%T is not an event of %s", event, decider.Category)
		}
		return decider.Evolve(state.(S), e), nil
	}
}

// waitFollowing waits until the log is followed, or ctx ends.
func (s *States) waitFollowing(ctx context.Context) error {
	for !s.following.Load() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the log is not followed yet: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
