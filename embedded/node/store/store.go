package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"casebook/embedded/diskguard"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a store: its directory and how much memory it may use. Zero values mean the defaults.
type Options struct {
	// Dir is the directory of the log. It is created if it does not exist.
	Dir string
	// FS is the file system; nil means the disk.
	FS vfs.FS
	// Logger gets the store's own messages; nil discards them.
	Logger *slog.Logger
	// CacheBytes bounds the cache of blocks read from disk. Default 24 MiB.
	CacheBytes int64
	// QueueLength bounds the appends that wait to be sequenced. Default 8192.
	QueueLength int
	// QueueBytes bounds the bytes of the appends that wait or are being written. Default 64 MiB.
	QueueBytes int64
	// TailEvents and TailBytes bound the newest events kept in memory for readers that follow the log. Default 8192
	// events and 16 MiB.
	TailEvents int
	TailBytes  int
	// HeadStreams bounds the streams whose last revision is kept in memory, at about 300 bytes each. An append to another
	// stream has to look it up in the tables, which takes a hundred times as long on a log of millions of events. Default
	// 262144.
	HeadStreams int
	// RecentEvents bounds the events whose ids are kept in memory, so that a repeated append without an exact expected
	// revision is recognised. Default 65536.
	RecentEvents int

	// MinFreeBytes is the free disk space below which appends are refused, before the storage engine runs out of space.
	// Default 256 MiB; a negative value switches the check off.
	MinFreeBytes int64
	// OnSync is told how long each commit took to be on disk; nil for nobody.
	OnSync func(time.Duration)
	// Protected lists prefixes of the names of streams that only grow: they cannot be deleted or tombstoned, their
	// metadata cannot be written, and Scavenge leaves them alone. A metastream counts as the stream that it describes.
	Protected []string
	// ReadOnly opens an existing log without changing any of its files. Appends and notes are refused with ErrReadOnly.
	ReadOnly bool

	// Clock returns the time of writing; nil means time.Now. Tests of maximum ages set it.
	Clock func() time.Time

	// memTableBytes is the size of a table in memory before it is written out; 0 means 16 MiB. Tests set it.
	memTableBytes uint64
	// unsafeNoSync omits the fsync, as a negative control of the crash tests.
	unsafeNoSync bool
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = discardLogger
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 24 << 20
	}
	if o.QueueLength <= 0 {
		o.QueueLength = 8192
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 64 << 20
	}
	if o.TailEvents <= 0 {
		o.TailEvents = 8192
	}
	if o.TailBytes <= 0 {
		o.TailBytes = 16 << 20
	}
	if o.HeadStreams <= 0 {
		o.HeadStreams = 1 << 18
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = defaultMinFree
	}
	if o.memTableBytes == 0 {
		o.memTableBytes = 16 << 20
	}
	if o.RecentEvents <= 0 {
		o.RecentEvents = 65536
	}
}

var (
	// ErrLocked means that another process, or another Store of this one, uses the directory.
	ErrLocked = errors.New("the event log's directory is in use")
	// ErrReadOnly means that the store was opened for reading only.
	ErrReadOnly = errors.New("the event log is open for reading only, so nothing was written")
	// ErrProtected means that the stream only grows.
	ErrProtected = errors.New("the stream holds records that must be kept: it cannot be deleted or truncated, and its " +
		"metadata cannot be written, by anybody")
	// ErrNoStore means that the directory holds no event log.
	ErrNoStore = errors.New("the directory holds no event log")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("the event log is closed")
	// ErrQueueFull means that too many appends are waiting. Nothing was written.
	ErrQueueFull = errors.New("too many appends are waiting, so nothing was written; try again later")
	// ErrStopped means that a commit failed. The log accepts no appends until it is opened again.
	ErrStopped = errors.New("the event log accepts no appends, because a commit failed and its outcome is unknown; " +
		"reads go on; repair the disk and restart the node")
)

// Store is an open event log. Its methods may be called from any goroutine.
type Store struct {
	opts   Options
	db     *pebble.DB
	lock   *pebble.Lock
	cache  *pebble.Cache
	guard  *diskguard.Guard
	nodeID [16]byte

	// durable is the watermark: the position behind the last event that is known to be on stable storage. Reads end there.
	durable atomic.Uint64
	events  atomic.Uint64
	failure atomic.Pointer[error]

	queue       chan *Append
	queuedBytes atomic.Int64
	submitting  sync.RWMutex // write-locked to close the queue
	closed      bool
	closing     chan struct{}
	users       sync.WaitGroup // calls that use the database; Close waits for them
	batches     chan *batch
	advanced    chan struct{} // one slot: the durable end has moved and is to be noted
	workers     sync.WaitGroup

	lastPosition atomic.Uint64

	// crowded is set when the engine may hold too much in memory or in unmerged tables; see awaitEngine. relieved, with
	// one slot, signals that it may hold less.
	crowded    atomic.Bool
	relieved   chan struct{}
	scavenging sync.Mutex // held while a scavenge runs

	tail     tail
	index    index
	backup   sync.Mutex // held while a backup is made
	watchers watchers
	counters counters
}

// Open opens or creates the log in o.Dir.
func Open(o Options) (_ *Store, err error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("open event log: no directory was given")
	}
	switch {
	case !o.ReadOnly:
		if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnwritable, err)
		}
	case !Exists(o.FS, o.Dir):
		return nil, fmt.Errorf("%w: %s", ErrNoStore, o.Dir)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		return nil, lockFailure(o.Dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if !o.ReadOnly { // remove the rest of a backup that a crash interrupted
		if err := o.FS.RemoveAll(o.FS.PathJoin(o.Dir, backupDir)); err != nil {
			return nil, fmt.Errorf("open the event log in %s: %w", o.Dir, err)
		}
	}
	s := &Store{
		opts: o, lock: lock,
		queue:   make(chan *Append, o.QueueLength),
		batches: make(chan *batch),
		closing: make(chan struct{}), advanced: make(chan struct{}, 1),
		relieved: make(chan struct{}, 1),
	}
	s.tail.maxEvents, s.tail.maxBytes = o.TailEvents, o.TailBytes
	// Pebble takes the memory of its memtables, of which one is filled and one written, out of the cache.
	s.cache = pebble.NewCache(o.CacheBytes + 2*int64(o.memTableBytes)) // #nosec G115 -- some megabytes
	defer func() {
		if err != nil {
			s.cache.Unref()
		}
	}()
	s.guard = diskguard.New(o.FS, s.fail, ErrStopped)
	s.db, err = s.openEngine()
	if err != nil {
		return nil, fmt.Errorf("open the event log in %s: %w", o.Dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	st, err := s.loadState()
	if err != nil {
		return nil, fmt.Errorf("open the event log in %s: %w", o.Dir, err)
	}
	if err := checkDurableEnd(o.FS, o.Dir, st.next); err != nil {
		return nil, fmt.Errorf("open the event log in %s: %w", o.Dir, err)
	}
	s.nodeID = st.nodeID
	s.durable.Store(st.next)
	s.events.Store(st.events)
	s.tail.base = st.next
	if o.ReadOnly {
		return s, nil
	}

	s.guard.Arm()
	seq := newSequencer(s, st)
	s.workers.Go(seq.run)
	s.workers.Go(s.commitAll)
	s.workers.Go(s.noteDurableEnd)
	return s, nil
}

// Exists reports whether a directory holds the files of an event log; fs is the file system, nil means the disk.
func Exists(fs vfs.FS, dir string) bool {
	if fs == nil {
		fs = vfs.Default
	}
	names, err := fs.List(dir)
	return err == nil && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "MANIFEST-") })
}

// openEngine opens Pebble, which panics through Fatalf if it cannot write some of its files.
func (s *Store) openEngine() (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrUnwritable, p)
		}
	}()
	return pebble.Open(s.opts.Dir, s.pebbleOptions())
}

func (s *Store) pebbleOptions() *pebble.Options {
	opts := &pebble.Options{
		FS:                 s.guard,
		ReadOnly:           s.opts.ReadOnly,
		Lock:               s.lock,
		Cache:              s.cache,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{s.opts.Logger},
		// A large memtable makes flushes rare, and new events are mostly read soon, from memory.
		MemTableSize:          s.opts.memTableBytes,
		L0CompactionThreshold: 4,
		// If flushes and merges do not keep up, the committer waits in awaitEngine. Pebble's own waiting, which these limits
		// switch off, does not end on a full disk.
		MemTableStopWritesThreshold: 1 << 20,
		L0StopWritesThreshold:       1 << 20,
		LBaseMaxBytes:               256 << 20,
		// Flushes and compactions sync in steps, so that an fsync of the log does not wait for a whole one.
		BytesPerSync: 1 << 20,
	}
	// Without a DataCorruption listener Pebble ends the process when it reads a damaged block. With it the read returns an
	// error, and other reads go on.
	opts.EventListener = &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.opts.Logger.Error("a file of the event log is damaged", "file", info.Path, "error", info.Details)
		},
		// A flush or a merge failed. The engine would try again without end while appends fill the memory.
		BackgroundError: func(err error) { _ = s.guard.Freeze(err) },
		WALCreated:      func(pebble.WALCreateInfo) { s.crowded.Store(true) },
		FlushEnd:        func(pebble.FlushInfo) { s.crowded.Store(true); s.relieve() },
		CompactionEnd:   func(pebble.CompactionInfo) { s.relieve() },
	}
	for i := range opts.Levels {
		// Bloom filters answer quickly that a stream does not exist, which is looked up for its first event.
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].BlockSize = 32 << 10
	}
	return opts
}

// loadState reads the log's state and checks that it fits the last record. In an empty database it creates the state.
func (s *Store) loadState() (state, error) {
	value, closer, err := s.db.Get(keyState)
	if errors.Is(err, pebble.ErrNotFound) {
		if s.opts.ReadOnly {
			return state{}, ErrNoStore
		}
		st := state{next: FirstPosition}
		rand.Read(st.nodeID[:])
		st.nodeID[6] = st.nodeID[6]&0x0f | 0x40 // a random UUID
		st.nodeID[8] = st.nodeID[8]&0x3f | 0x80
		iter, err := s.db.NewIter(nil)
		if err != nil {
			return state{}, err
		}
		occupied := iter.First()
		if err := errors.Join(iter.Error(), iter.Close()); err != nil {
			return state{}, err
		}
		if occupied {
			return state{}, fmt.Errorf("%w: there are keys, but no state of an event log", ErrDamaged)
		}
		return st, s.db.Set(keyState, st.encode(nil), pebble.Sync)
	}
	if err != nil {
		return state{}, err
	}
	st, err := decodeState(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return state{}, err
	}
	if err := s.checkEnd(&st); err != nil {
		return state{}, err
	}
	return st, nil
}

// checkEnd compares the log's state with its last record, which is never a stub because an announcement follows every
// stub.
func (s *Store) checkEnd(st *state) (err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: eventKey(0), UpperBound: eventKey(st.next)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	if !iter.Last() {
		if err := iter.Error(); err != nil || st.next == FirstPosition {
			return err
		}
		return fmt.Errorf("%w: the log should end at position %d, but holds no event", ErrDamaged, st.next)
	}
	c := collector{page: Page{Events: 1, Bytes: 1}}
	if err := c.add(iter); err != nil {
		return err
	}
	if len(c.dst) == 0 {
		return fmt.Errorf("%w: the last record, before position %d, is the stub of a scavenged one", ErrDamaged, st.next)
	}
	last := c.dst[0]
	if last.Next() != st.next || last.Hash() != st.hash {
		return fmt.Errorf("%w: the log should end at position %d, but its last record, at %d, ends at %d or has another hash",
			ErrDamaged, st.next, last.Position, last.Next())
	}
	s.lastPosition.Store(last.Position)
	return nil
}

// Now returns the time of the store's clock.
func (s *Store) Now() time.Time { return s.opts.Clock() }

// Close stops accepting appends, writes those that were accepted, and closes the files. Reads must have ended before.
func (s *Store) Close() error {
	s.submitting.Lock()
	if s.closed {
		s.submitting.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	close(s.closing)
	s.submitting.Unlock()
	s.workers.Wait()
	s.users.Wait()
	err := errors.Join(s.flush(), s.db.Close())
	s.cache.Unref()
	return errors.Join(err, s.lock.Close())
}

// flushPoll is how often flush looks whether the store has failed.
const flushPoll = 20 * time.Millisecond

// flush writes out what is in memory, so that the next opening need not replay the log. On a full disk that does not
// succeed, and is not waited for.
func (s *Store) flush() error {
	if s.opts.ReadOnly || s.Failure() != nil || s.diskSpace() != nil {
		return nil
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(flushPoll)
	defer ticker.Stop()
	for {
		select {
		case <-flushed:
			return nil
		case <-ticker.C:
			if s.Failure() != nil {
				return nil
			}
		}
	}
}

// use keeps the database open until users.Done is called. It reports false if the store is closed.
func (s *Store) use() bool {
	s.submitting.RLock()
	defer s.submitting.RUnlock()
	if !s.closed {
		s.users.Add(1)
	}
	return !s.closed
}

// NodeID returns the random UUID that the log got when it was created.
func (s *Store) NodeID() [16]byte { return s.nodeID }

// End returns the position behind the last durable event.
func (s *Store) End() uint64 { return s.durable.Load() }

// LastPosition returns the position of the last durable event, 0 if there is none.
func (s *Store) LastPosition() uint64 { return s.lastPosition.Load() }

// Failure returns why the store stopped accepting appends, or nil.
func (s *Store) Failure() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) fail(err error) {
	wrapped := fmt.Errorf("%w: %w", ErrStopped, err)
	if s.failure.CompareAndSwap(nil, &wrapped) {
		s.opts.Logger.Error("the event log takes no more appends", "error", err)
		s.relieve()
	}
}

// relieve wakes the committer if it waits for the engine.
func (s *Store) relieve() {
	select {
	case s.relieved <- struct{}{}:
	default:
	}
}

var discardLogger = slog.New(slog.DiscardHandler)

type pebbleLogger struct{ *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.Enabled(nil, slog.LevelDebug) { //nolint:staticcheck // pebble passes no context
		l.Debug(fmt.Sprintf(format, args...))
	}
}
func (l pebbleLogger) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

// Fatalf must not return, because a fatal error leaves Pebble with half-changed state. It panics: in a commit or in
// Open the panic is recovered; in Pebble's own goroutines it ends the process, and the next start recovers from the
// log.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.Error("storage engine failed", "error", err)
	panic(err)
}
