package commands

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/security"
	"casebook/eventlog"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
)

// stateCache is a bounded cache of the states of streams. A command trusts the cached state of its own stream, because
// its append names the revision that it expects. The states of other streams that a decision needs (users, patients,
// studies) stay fresh because the cache follows the log, and asks twice a second whether it holds all of it. Where it does
// not, every read first reads the stream's new events.
type stateCache struct {
	log      *eventlog.Log
	verifier *eventlog.Verifier // hears of damaged streams; nil for nobody
	keys     *usedKeys          // hears of the commands of all processes
	logger   *slog.Logger
	streams  *lru.Cache[string, *stream]
	// following says that the cache follows the log: a cached state then lags behind the log only for the moment that an
	// event takes to arrive.
	following atomic.Bool
	// categories are those of the followed streams: all that the log's registry declares.
	categories map[string]bool
	// through is the commit position up to which the log has been followed.
	through atomic.Uint64
	// keyRecorded says that the log was seen to record the blinding key of this program.
	keyRecorded atomic.Bool
	// fresh says since when the followed states hold all of the log.
	fresh *freshness
	// recordKey records the blinding key of this program, in a past of the log that lacks it.
	recordKey func(context.Context) error

	// past is the past of the log that everything above is of; renewing guards its change.
	past     atomic.Uint64
	renewing sync.Mutex
}

// stream is a cached stream. Its snapshot is replaced, never changed.
type stream struct {
	name string
	// pipeline puts the commands of this process on the stream in order, so that they do not conflict with one another.
	pipeline pipeline

	// loading guards changes of current and commands.
	loading sync.Mutex
	current atomic.Pointer[snapshot]
	// length is how many events the stream is known to have. A snapshot with fewer events is out of date.
	length atomic.Uint64
	// outdated says that the snapshot may be out of date, because the last load failed, or the outcome of an append is unknown.
	outdated atomic.Bool
	// commands says where the events of each command are that recorded some in the stream, by the first bytes of its id, to
	// find repeats.
	commands map[uint64]span
}

// span says where the events of a command are in its stream: count of them from a revision on. With a count of 0 they may be
// anywhere, because the ids of two commands begin alike.
type span struct{ first, count uint32 }

// snapshot is the state of a stream after the event at its tail.
type snapshot struct {
	state any
	tail  eventlog.Tail
	last  domain.Position
	// damage says where the stream stops being part of the record; nil where it is sound. State and tail are those before.
	damage *domain.Damage
	// claimed is the state that the whole stream claims, with what is no part of the record. It is set with damage.
	claimed any
}

// foldFunc returns the state after one more event: a decider's Evolve behind a type check.
type foldFunc func(state any, event any) (any, error)

func newStateCache(log *eventlog.Log, verifier *eventlog.Verifier, keys *usedKeys, size int, logger *slog.Logger) *stateCache {
	cache, err := lru.New[string, *stream](size)
	if err != nil {
		panic(err) // only for a size below 1
	}
	s := &stateCache{log: log, verifier: verifier, keys: keys, logger: logger, streams: cache, categories: map[string]bool{},
		fresh: newFreshness()}
	s.past.Store(uint64(log.Past()))
	for _, category := range log.Registry().Categories() {
		s.categories[category] = true
	}
	return s
}

// renew drops what was read in a past of the log that is lost. A request that still holds a stream from then changes nothing by
// it: its append names its past.
func (s *stateCache) renew() {
	if s.past.Load() == uint64(s.log.Past()) {
		return
	}
	s.renewing.Lock()
	defer s.renewing.Unlock()
	past := uint64(s.log.Past())
	if s.past.Load() == past {
		return
	}
	s.following.Store(false)
	s.streams.Purge()
	s.keys.forget()
	s.past.Store(past)
}

func (s *stateCache) stream(name string) *stream {
	s.renew()
	if st, ok := s.streams.Get(name); ok {
		return st
	}
	st := &stream{name: name, commands: map[uint64]span{}}
	if previous, ok, _ := s.streams.PeekOrAdd(name, st); ok {
		return previous
	}
	return st
}

// load returns the stream's snapshot. It reads new events from the log if refresh is set, or if the cached snapshot is
// missing or out of date.
func (s *stateCache) load(ctx context.Context, st *stream, initial any, fold foldFunc, refresh bool) (*snapshot, error) {
	if snap := st.known(refresh); snap != nil {
		return snap, nil
	}
	if under := st.pipeline.covering(st.length.Load()); !refresh && under != nil {
		select { // the events that the snapshot lacks are this process's own
		case <-under.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for an append to %s: %w", st.name, ctx.Err())
		}
	}
	st.loading.Lock()
	defer st.loading.Unlock()
	if snap := st.known(refresh); snap != nil {
		return snap, nil // another request has loaded it in the meantime
	}
	snap := st.current.Load()
	if snap == nil {
		snap = &snapshot{state: initial, tail: eventlog.EmptyTail}
	}
	next := *snap
	next.damage, next.claimed = nil, nil // the events behind the tail are read again
	check := s.log.CheckStream(st.name, next.tail)
	for r, err := range s.log.ReadStream(ctx, st.name, uint64(next.tail.Revision+1)) {
		if err = s.addRead(ctx, &next, st, check, r, err, fold); err != nil {
			st.outdated.Store(true)
			return nil, err
		}
	}
	st.outdated.Store(false)
	st.current.Store(&next)
	return &next, nil
}

// addRead adds an event that was read, or the error of a read. Once the stream is damaged, events only change what it claims.
// Damaged events that two people have decided to disregard are passed over.
func (s *stateCache) addRead(ctx context.Context, next *snapshot, st *stream, check *eventlog.StreamCheck, r eventlog.Recorded, err error,
	fold foldFunc,
) error {
	undecodable := (*eventlog.UndecodableError)(nil)
	if errors.As(err, &undecodable) {
		r = undecodable.Event
	} else if errors.Is(err, eventlog.ErrStreamDeleted) {
		return recordDeleted(st.name)
	} else if err != nil {
		return err
	}
	if next.damage == nil {
		damage, failed := check.Next(ctx, r)
		switch {
		case failed != nil:
			return failed
		case damage == nil && err != nil:
			return recordUnreadable(r, err)
		case damage == nil:
			return st.add(next, r, check.Tail(), fold)
		case damage.Resolution != nil:
			next.tail = check.Tail()
			return nil
		}
		next.damage = damage
		next.claimed = next.state
		s.verifier.Report(*next.damage)
	}
	if err == nil {
		if claimed, err := fold(next.claimed, r.Event); err == nil {
			next.claimed = claimed
		}
	}
	return nil
}

// known returns the cached snapshot, or nil if the log has to be read: if refresh is set, or it is missing or out of date.
func (st *stream) known(refresh bool) *snapshot {
	if snap := st.current.Load(); !refresh && st.upToDate(snap) {
		return snap
	}
	return nil
}

// upToDate says whether the snapshot includes all events that the stream is known to have.
func (st *stream) upToDate(snap *snapshot) bool {
	return snap != nil && !st.outdated.Load() && st.length.Load() <= uint64(snap.tail.Revision+1)
}

// add folds one more event into the snapshot, whose tail is then that of the event. The caller holds st.loading.
func (st *stream) add(snap *snapshot, r eventlog.Recorded, tail eventlog.Tail, fold foldFunc) error {
	state, err := fold(snap.state, r.Event)
	if err != nil {
		return fmt.Errorf("fold %s@%d: %w", r.Stream, r.Revision, err)
	}
	snap.state, snap.tail, snap.last = state, tail, r.Position
	st.note(r)
	return nil
}

// note notes which command recorded an event. The caller holds st.loading.
func (st *stream) note(r eventlog.Recorded) {
	id, err := uuid.Parse(r.Metadata.CommandID)
	if err != nil {
		return
	}
	at, known := st.commands[shortID(id)]
	switch revision := uint32(r.Revision); {
	case !known:
		at = span{first: revision, count: 1}
	case at.count > 0 && revision == at.first+at.count:
		at.count++
	case at.count > 0 && (revision < at.first || revision > at.first+at.count):
		at.count = 0
	}
	st.commands[shortID(id)] = at
}

// foldAll returns the snapshot after events that are about to be appended. Its position is not known yet.
func foldAll(from *snapshot, e eventlog.Encoded, fold foldFunc) (*snapshot, error) {
	next := *from
	for _, r := range e.Events {
		state, err := fold(next.state, r.Event)
		if err != nil {
			return nil, fmt.Errorf("fold %s@%d: %w", r.Stream, r.Revision, err)
		}
		next.state = state
	}
	next.tail = e.Tail
	return &next, nil
}

// advance makes the state after a durable batch the present one, unless the present one is newer.
func (s *stateCache) advance(st *stream, b *batch) {
	st.loading.Lock()
	defer st.loading.Unlock()
	for _, r := range b.encoded.Events {
		st.note(r)
	}
	now := st.current.Load()
	if now == nil || now.damage != nil || now.tail.Revision < b.from.tail.Revision || now.tail.Revision >= b.end.tail.Revision {
		return // what it lacks is read from the log
	}
	next := *b.end
	next.last = b.position
	st.current.Store(&next)
}

// mayHold says whether the stream may hold events of the command, and where.
func (st *stream) mayHold(id uuid.UUID) (span, bool) {
	st.loading.Lock()
	defer st.loading.Unlock()
	at, ok := st.commands[shortID(id)]
	return at, ok
}

// forget drops the snapshot. It keeps where commands are: that stays true, and repeats must be found even without a
// snapshot.
func (s *stateCache) forget(st *stream) {
	st.loading.Lock()
	defer st.loading.Unlock()
	st.current.Store(nil)
}

func shortID(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

// followPause is how long follow waits before it begins again.
const followPause = 200 * time.Millisecond

// follow keeps cached states fresh until ctx ends. It begins at the current end of the log; load reads older events
// when a state is needed. It begins anew where the log has another past than what was followed.
func (s *stateCache) follow(ctx context.Context) error {
	followed := false // then it has the right, and misses it for a moment only
	for {
		err := s.followFromEnd(ctx)
		s.following.Store(false)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that ctx has ended is not a failure
		}
		followed = followed || s.through.Load() > 0
		if errors.Is(err, eventlog.ErrOtherPast) {
			s.renew()
			s.rememberLatest(ctx)
		}
		if errors.Is(err, eventlog.ErrMissingRight) && !followed || errors.Is(err, eventlog.ErrClosed) || errors.Is(err, ErrKeyReplaced) {
			return err
		}
		s.logger.Warn("the log is not being followed; states are read for every request", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

func (s *stateCache) followFromEnd(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	past := s.log.Past()
	end, err := s.log.End(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	last, err := s.log.MarkAt(ctx, end)
	if err != nil {
		return fmt.Errorf("find the last event of the log: %w", err)
	}
	if err := s.keyMustBeRecorded(ctx); err != nil { // it may have been replaced while nobody followed
		return err
	}
	s.renew()
	s.streams.Purge() // streams that were cached earlier may lack events before that end
	err = s.log.Follow(ctx, eventlog.Subscription{
		After: end, Last: last, Undecoded: true,
		OnError: func(err error) {
			s.following.Store(false)
			s.logger.Warn("the log is not being followed; states are read for every request", "error", err)
			if s.log.Past() != past {
				cancel(eventlog.ErrOtherPast) // sooner than a subscription believes it
			}
		},
	}, func(ctx context.Context, b eventlog.Batch) error {
		if s.log.Past() != past {
			return eventlog.ErrOtherPast
		}
		for _, r := range b.Events {
			if r.Stream == security.KeyDecider.Stream(security.BlindingKey) {
				if err := s.keyMustBeRecorded(ctx); err != nil {
					return err
				}
			}
			if mark, is := s.log.CommandMark(r); is {
				s.keys.follow(mark, r)
			}
			if st, ok := s.streams.Peek(r.Stream); ok {
				st.growTo(r.Revision + 1)
			}
			if of, is := s.log.ResolutionsOf(r.Stream); is {
				if st, ok := s.streams.Peek(of); ok {
					s.forget(st) // it may go on elsewhere
				}
			}
		}
		s.through.Store(b.Through.Commit)
		if b.Live {
			s.following.Store(true)
		}
		return nil
	})
	if cause := context.Cause(ctx); cause != nil && parent.Err() == nil {
		return cause
	}
	return err
}

// latestEvents is how many events are read back to learn which keys were used before.
const latestEvents = 10_000

// rememberLatest remembers the commands that recorded the log's latest events. It returns when the last one was recorded; the
// zero time where that is not known.
func (s *stateCache) rememberLatest(ctx context.Context) (latest time.Time) {
	for r, err := range s.log.ReadLast(ctx, latestEvents) {
		if undecodable := (*eventlog.UndecodableError)(nil); errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			s.logger.Warn("the latest commands could not be read; a key that was used before may be accepted for another stream", "error", err)
			return latest
		}
		if latest.IsZero() {
			latest = r.Metadata.RecordedAt
		}
		if id, err := uuid.Parse(r.Metadata.CommandID); err == nil && r.Metadata.CommandHash != "" {
			s.keys.remember(id, recordedHash(r.Metadata))
		}
	}
	return latest
}

// growTo records that the stream is known to have at least this many events. The newest may be this process's own, from
// an append that has not returned yet.
func (st *stream) growTo(length uint64) {
	for known := st.length.Load(); known < length; known = st.length.Load() {
		if st.length.CompareAndSwap(known, length) {
			return
		}
	}
}

// Reader reads the states of streams for decisions, authorisation and queries.
type Reader struct {
	states *stateCache
	// after is the log position up to which Newest includes all events; 0 means the end of the log.
	after uint64
	// own notes whether the stream of the command is read whose decision the reader is for; nil where it is for none.
	own *ownStream
}

// ownStream is the stream that a command runs on.
type ownStream struct {
	name string
	// read says that the command's facts hold something of the stream.
	read bool
}

// reads notes that a stream is read.
func (r Reader) reads(stream string) {
	if r.own != nil && r.own.name == stream {
		r.own.read = true
	}
}

// OpenTexts returns an answer in JSON with its texts opened, see personal.OpenTexts.
func (r Reader) OpenTexts(ctx context.Context, answer []byte) ([]byte, error) {
	return personal.OpenTexts(ctx, r.PersonalKeys(), answer)
}

// PersonalKeys returns the keys of personal values; nil if the program has none.
func (r Reader) PersonalKeys() personal.Keys { return r.states.log.PersonalKeys() }

// MetadataOf returns the metadata of one event, and whether the event exists.
func (r Reader) MetadataOf(ctx context.Context, stream string, revision uint64) (eventlog.Metadata, bool, error) {
	r.reads(stream)
	return r.states.log.MetadataOf(ctx, stream, revision)
}

// Damage returns the damage of a stream that is not resolved, nil if there is none, and the study that its first event belongs
// to, if that one is sound.
func (r Reader) Damage(ctx context.Context, stream string) (*domain.Damage, domain.StudyID, error) {
	r.reads(stream)
	all, err := r.states.log.Damages(ctx, stream)
	if err != nil || len(all) == 0 || all[len(all)-1].Resolution != nil {
		return nil, "", err
	}
	damage, study := all[len(all)-1], domain.StudyID("")
	if all[0].Revision > 0 {
		meta, _, err := r.MetadataOf(ctx, stream, 0)
		if err != nil {
			return nil, "", err
		}
		study = meta.Study
	}
	return &damage, study, nil
}

// ReadRecorded returns the events of a stream that are part of the record. In place of an event that cannot be decoded comes an
// eventlog.UndecodableError.
func (r Reader) ReadRecorded(ctx context.Context, stream string) iter.Seq2[eventlog.Recorded, error] {
	r.reads(stream)
	return r.states.log.ReadSound(ctx, stream)
}

// maxFollowWait bounds how long Newest waits until the cache has followed far enough; after that it reads the stream.
const maxFollowWait = 200 * time.Millisecond

// followPoll is how often somebody who waits for an event looks whether it has been followed.
const followPoll = 200 * time.Microsecond

// waitUntilFollowed waits until the cache has followed the log up to r.after. It returns false if that takes too long,
// or if there is no such position.
func (r Reader) waitUntilFollowed(ctx context.Context) bool {
	if r.after == 0 || !r.states.following.Load() {
		return false
	}
	for begun := time.Now(); r.states.through.Load() < r.after; {
		if ctx.Err() != nil || time.Since(begun) > maxFollowWait || !r.states.following.Load() {
			return false
		}
		time.Sleep(followPoll)
	}
	return true
}

// Read returns the state of the decider's stream with this id. It may lack events of the last second. The state of a damaged
// stream is that of its sound part.
func Read[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string) (S, error) {
	return readState(ctx, reader, decider, id, func() bool { return !reader.states.trusted(ctx) })
}

// ReadNewest returns the state of the decider's stream with this id, for decisions that must not miss what another process
// has recorded. It includes all events up to the reader's log position; without a position, all that the log holds now.
func ReadNewest[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string) (S, error) {
	return readState(ctx, reader, decider, id, func() bool { return !reader.waitUntilFollowed(ctx) })
}

// ErrNotFollowed says that the streams of a state are not followed. Such a state would be cached once and then miss
// every new event.
var ErrNotFollowed = errors.New("its streams are not followed; declare the decider among the context's Streams")

func readState[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string, refresh func() bool) (S, error) {
	snap, err := readSnapshot(ctx, reader, decider, id, refresh)
	if err != nil {
		var none S
		return none, err
	}
	return snap.state.(S), nil
}

func readSnapshot[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string,
	refresh func() bool,
) (*snapshot, error) {
	if !reader.states.categories[decider.Category] {
		return nil, fmt.Errorf("read %s: %w", decider.Stream(id), ErrNotFollowed)
	}
	name := decider.Stream(id)
	reader.reads(name)
	st, anew := reader.states.stream(name), refresh()
	if snap := st.known(anew); snap != nil { // the rule; a decider is large, and what load needs of it a copy
		return snap, nil
	}
	return reader.states.load(ctx, st, decider.Initial, foldOf(decider), anew)
}

// StateOf returns the state of a stream for a query, with the log position of the stream's last event in it; 0 for a stream without
// events. It includes all events up to the position after, and without one may lack events of the last second that another process has
// recorded. The state of a damaged stream is that of its sound part.
func (h *Handler) StateOf(ctx context.Context, of domain.StreamType, id string, after uint64) (state any, position uint64, err error) {
	if !h.states.categories[of.Category] {
		return nil, 0, fmt.Errorf("read %s-%s: %w", of.Category, id, ErrNotFollowed)
	}
	refresh := after > 0 && !h.ReaderAfter(after).waitUntilFollowed(ctx) || after == 0 && !h.states.trusted(ctx)
	snap, err := h.states.load(ctx, h.states.stream(of.Category+"-"+id), of.Initial, of.Fold, refresh)
	if err != nil {
		return nil, 0, err
	}
	return snap.state, snap.last.Commit, nil
}

// ReadClaimed returns the state of the decider's stream like Read, and the state that the stream claims together with what
// is no part of the record. They are the same where the stream is not damaged, and damage is nil then.
func ReadClaimed[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string) (
	sound, claimed S, damage *domain.Damage, err error,
) {
	snap, err := readSnapshot(ctx, reader, decider, id, func() bool { return !reader.states.trusted(ctx) })
	switch {
	case err != nil:
		return sound, claimed, nil, err
	case snap.damage != nil:
		return snap.state.(S), snap.claimed.(S), snap.damage, nil
	}
	return snap.state.(S), snap.state.(S), nil, nil
}

// ReadEvents returns the events of the decider's stream with this id as far as the stream is sound, for the rare decision
// that needs more of the past than the state keeps.
func ReadEvents[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string) ([]E, error) {
	events, _, err := ReadRecorded(ctx, reader, decider, id)
	return events, err
}

// ReadRecorded is ReadEvents. recorded are the same events with their metadata.
func ReadRecorded[S, E any](ctx context.Context, reader Reader, decider domain.Decider[S, E], id string) (
	events []E, recorded []eventlog.Recorded, err error,
) {
	reader.reads(decider.Stream(id))
	for r, err := range reader.states.log.ReadSound(ctx, decider.Stream(id)) {
		if err != nil {
			return nil, nil, err
		}
		event, ok := r.Event.(E)
		if !ok {
			return nil, nil, fmt.Errorf("%s@%d: %s is not an event of %s", r.Stream, r.Revision, r.Type, decider.Category)
		}
		events, recorded = append(events, event), append(recorded, r)
	}
	return events, recorded, nil
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

// waitUntilFollowing waits until the cache follows the log, or ctx ends.
func (s *stateCache) waitUntilFollowing(ctx context.Context) error {
	for !s.following.Load() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the log is not followed yet: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
