package mongo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"casebook/embedded/diskguard"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The keys in Pebble. Ids of collections and indexes have 4 bytes, big endian; they come from one counter and are never
// used again.
//
//	v                              format version
//	m                              the next id
//	c <db> 0x00 <collection>       the collection: {id, uuid, indexes: [...]}
//	n <collection id>              number of documents
//	b <collection id>              bytes of the documents
//	g <index id>                   marks an index that is being built; at start its entries are garbage
//	d <collection id> <_id>        a document
//	i <index id> <fields> <_id>    an index entry; the value is the length of the encoded _id
const (
	spaceVersion  = 'v'
	spaceNext     = 'm'
	spaceCatalog  = 'c'
	spaceCount    = 'n'
	spaceBytes    = 'b'
	spaceBuilding = 'g'
	spaceDocs     = 'd'
	spaceIndex    = 'i'

	formatVersion = 1
	// flushBytes is the size of a batch at which a command commits: large enough to share the cost of a commit, small
	// enough to bound memory.
	flushBytes = 4 << 20

	// memTables is the largest number of Pebble's memtables.
	memTables = 4
)

func spaceKey(space byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{space}, id)
}

// store is the database: the catalog in memory and on disk, and the documents and index entries in Pebble.
//
// Locks: mu guards the maps of the catalog. A writer holds the mu of its collection. If both are needed, the
// collection's is locked first (see lockAll). Readers hold neither: they read from a snapshot (see view).
//
// One writer per collection, not a lock per document, keeps unique indexes, multi-document updates and guards simple.
// It has no measurable cost: on two cores four clients replace 57,000 documents per second in one collection, and
// 56,000 in four collections (BenchmarkWriters); commits share their syncs in either case.
type store struct {
	db    *pebble.DB
	cache *pebble.Cache
	lock  *pebble.Lock
	wal   *walFS
	log   *slog.Logger

	syncAlways bool
	readOnly   bool

	fs       vfs.FS
	dir      string
	minFree  int64
	memTable int64
	guard    *diskguard.Guard
	// failure is why the store takes no more writes until it is opened again; broken is closed then.
	failure atomic.Pointer[error]
	broken  chan struct{}
	engine  engineRoom

	stop context.CancelFunc
	wg   sync.WaitGroup

	mu  sync.RWMutex
	dbs map[string]map[string]*collection

	idMu   sync.Mutex // held from newID until its batch is committed
	nextID uint32
}

// namespace names a collection.
type namespace struct{ db, coll string }

func (n namespace) String() string { return n.db + "." + n.coll }

func (n namespace) key() []byte {
	k := append([]byte{spaceCatalog}, n.db...)
	k = append(k, 0)
	return append(k, n.coll...)
}

// collection is one collection. Its documents and indexes are stored under its id, because its name can change.
type collection struct {
	id   uint32
	uuid [16]byte

	mu      sync.Mutex // held while writing to the collection or changing its catalog record
	ns      atomic.Pointer[namespace]
	primary *index                   // the _id index, which is the documents themselves
	indexes atomic.Pointer[[]*index] // the other indexes; the slice is replaced, never changed
	count   atomic.Int64
	bytes   atomic.Int64 // of all documents
	dropped atomic.Bool

	// greatest is at least the greatest encoded _id of the documents, so that those of greater ones need not be looked for. It is
	// not known before measured. mu guards both.
	greatest []byte
	measured bool
}

func newCollection(id uint32, ns namespace) *collection {
	c := &collection{id: id}
	c.ns.Store(&ns)
	c.indexes.Store(&[]*index{})
	c.primary = &index{
		name: "_id_", key: newBuilder().int32("_id", 1).done(), fields: []indexField{{path: "_id", parts: []string{"_id"}}},
		unique: true, primary: true, space: spaceKey(spaceDocs, id),
	}
	return c
}

func (c *collection) docKey(id []byte) []byte { return append(spaceKey(spaceDocs, c.id), id...) }

// record returns the collection's catalog entry.
func (c *collection) record(indexes []*index) []byte {
	w := newBuilder()
	w.int64("id", int64(c.id)).val("uuid", uuidValue(c.uuid)).array("indexes")
	for _, x := range indexes {
		w.doc("").int64("id", int64(x.id)).str("name", x.name).rawDoc("key", x.key).bool("unique", x.unique).
			int64("multikey", int64(x.multikey.Load())).bool("nullEmpty", x.nullEmpty).end()
	}
	w.end()
	return w.done()
}

func uuidValue(u [16]byte) value {
	return value{tBinary, append([]byte{16, 0, 0, 0, 4}, u[:]...)}
}

// ErrLocked means that another process, or another server of this one, uses the directory.
var ErrLocked = errors.New("the database's directory is in use, or cannot be written")

// ErrNoStore means that the directory holds no database.
var ErrNoStore = errors.New("the directory holds no database of the embedded MongoDB")

// errReadOnly is the answer to a write while the store is open for reading only.
var errReadOnly = refuse(codeIllegalOperation, "the database is open for reading only, so nothing was written")

// Exists reports whether a directory holds the files of a database; fs is the file system, nil means the disk.
func Exists(fs vfs.FS, dir string) bool {
	if fs == nil {
		fs = vfs.Default
	}
	names, err := fs.List(dir)
	return err == nil && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "MANIFEST-") })
}

func openStore(o *Options) (st *store, err error) {
	if o.ReadOnly && !Exists(o.FS, o.Dir) {
		return nil, ErrNoStore
	}
	if !o.ReadOnly {
		if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	defer func() {
		if p := recover(); p != nil { // Pebble panics if it cannot write some of its files
			st, err = nil, fmt.Errorf("the engine failed: %v", p)
		}
	}()
	st = &store{
		lock: lock, fs: o.FS, dir: o.Dir, minFree: o.MinFreeBytes, memTable: o.memTableBytes, broken: make(chan struct{}),
		log: o.Logger, syncAlways: o.SyncAlways, readOnly: o.ReadOnly,
		dbs: map[string]map[string]*collection{},
	}
	st.guard = diskguard.New(o.FS, st.fail, errFrozen)
	st.wal = newWALFS(st.guard, o.SyncEvery, o.OnSync)
	st.engine.init()
	// Pebble takes the memory of its memtables, including those that wait to be written, out of the cache. Without extra
	// room a busy writer would have hardly any cache.
	st.cache = pebble.NewCache(o.CacheBytes + memTables*o.memTableBytes)
	po := &pebble.Options{
		FS: st.wal, Lock: lock, ReadOnly: o.ReadOnly, Cache: st.cache, Logger: pebbleLogger{o.Logger},
		// Later formats note in the log how much of it has been synced, and treat a gap before that point as damage. walFS
		// syncs later than Pebble believes, so such a gap is normal after a crash of the machine.
		FormatMajorVersion: pebble.FormatColumnarBlocks,
		MemTableSize:       uint64(o.memTableBytes),
		LBaseMaxBytes:      64 << 20,
		// Most writes replace documents, so that few bytes of a memtable remain to be written out. Merging each four of such small
		// tables into the base, as Pebble does by default, would write the base again and again.
		L0CompactionThreshold: 12,
		// Writers wait in awaitEngine. Pebble's own waiting, which these limits switch off, does not end on a full disk.
		MemTableStopWritesThreshold: 1 << 20,
		L0StopWritesThreshold:       1 << 20,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		// Without a DataCorruption listener Pebble ends the process when it reads a damaged block; with it the read fails.
		EventListener: &pebble.EventListener{
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				o.Logger.Error("a file of the database is damaged", "file", info.Path, "error", info.Details)
			},
			// A flush or a merge failed. The engine would try again without end while writes fill the memory.
			BackgroundError: func(err error) { _ = st.guard.Freeze(err) },
			WALCreated:      func(pebble.WALCreateInfo) { st.engine.crowded.Store(true) },
			FlushEnd:        func(pebble.FlushInfo) { st.engine.crowded.Store(true); st.engine.relieve() },
			CompactionEnd:   func(pebble.CompactionInfo) { st.engine.relieve() },
		},
	}
	// An index that follows a time, as that of the last activity, leaves many tombstones in a small new table. Pebble would merge such
	// a table with all of the base at once; they wait for the next merge instead.
	po.Experimental.TombstoneDenseCompactionThreshold = -1
	po.Levels[0].FilterPolicy = bloom.FilterPolicy(10) // so that point reads search few tables; other levels inherit it
	st.db, err = openEngine(o.Dir, po)
	if err != nil {
		st.cache.Unref()
		return nil, err
	}
	if err = st.load(); err != nil {
		err = errors.Join(err, st.db.Close())
		st.cache.Unref()
		return nil, err
	}
	st.guard.Arm()
	ctx, cancel := context.WithCancel(context.Background())
	st.stop = cancel
	st.wg.Go(func() { st.wal.run(ctx) })
	return st, nil
}

// load reads the catalog.
func (st *store) load() error {
	version, err := st.get([]byte{spaceVersion})
	if err != nil {
		return err
	}
	if version == nil && st.readOnly {
		return ErrNoStore
	}
	if version == nil {
		return st.db.Set([]byte{spaceVersion}, []byte{formatVersion}, pebble.Sync)
	}
	if len(version) != 1 || version[0] != formatVersion {
		return fmt.Errorf("the store has format %v, but this server reads format %d; use the version that wrote it", version, formatVersion)
	}
	next, err := st.get([]byte{spaceNext})
	if err != nil {
		return err
	}
	if len(next) == 4 {
		st.nextID = binary.BigEndian.Uint32(next)
	}
	if !st.readOnly {
		if err := st.sweep(); err != nil {
			return err
		}
	}
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceCatalog}, UpperBound: []byte{spaceCatalog + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		dbName, collName, ok := strings.Cut(string(it.Key()[1:]), "\x00")
		if !ok {
			return fmt.Errorf("catalog key %q is damaged", it.Key())
		}
		c, err := st.loadCollection(namespace{dbName, collName}, it.Value())
		if err != nil {
			return fmt.Errorf("catalog entry of %s.%s: %w", dbName, collName, err)
		}
		st.put(c)
	}
	return it.Error()
}

func (st *store) loadCollection(ns namespace, record []byte) (*collection, error) {
	d, err := validate(bytes.Clone(record))
	if err != nil {
		return nil, err
	}
	id, ok := d.lookup("id").wholeNumber()
	uuid := d.lookup("uuid")
	if !ok || uuid.t != tBinary || len(uuid.b) != 21 {
		return nil, errors.New("it lacks an id")
	}
	c := newCollection(uint32(id), ns)
	copy(c.uuid[:], uuid.b[5:])
	var indexes []*index
	if list := d.lookup("indexes"); list.t == tArray {
		for e, rest := list.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			spec := e.value.doc()
			key := spec.lookup("key")
			if e.t != tDocument || key.t != tDocument {
				return nil, errors.New("an index lacks its key")
			}
			x, err := newIndex(spec.lookup("name").str(), key.doc(), spec.lookup("unique").truthy())
			if err != nil {
				return nil, err
			}
			xid, _ := spec.lookup("id").wholeNumber()
			mask, _ := spec.lookup("multikey").wholeNumber()
			x.setID(uint32(xid))
			x.multikey.Store(uint64(mask))
			x.nullEmpty = spec.lookup("nullEmpty").truthy()
			indexes = append(indexes, x)
		}
	}
	c.indexes.Store(&indexes)
	n, err := st.get(spaceKey(spaceCount, c.id))
	if err != nil {
		return nil, err
	}
	if len(n) == 8 {
		c.count.Store(int64(binary.BigEndian.Uint64(n)))
	}
	return c, st.loadBytes(c)
}

// loadBytes reads the bytes of a collection's documents. It adds them up if an earlier version wrote them last, which did
// not keep the sum.
func (st *store) loadBytes(c *collection) error {
	kept, err := st.get(spaceKey(spaceBytes, c.id))
	if err != nil {
		return err
	}
	if len(kept) == 16 && int64(binary.BigEndian.Uint64(kept)) == c.count.Load() {
		c.bytes.Store(int64(binary.BigEndian.Uint64(kept[8:])))
		return nil
	}
	if c.count.Load() == 0 {
		return nil
	}
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: c.primary.space, UpperBound: successor(c.primary.space)})
	if err != nil {
		return err
	}
	defer it.Close()
	sum := int64(0)
	for it.First(); it.Valid(); it.Next() {
		v := it.LazyValue()
		sum += int64(v.Len())
	}
	c.bytes.Store(sum)
	return it.Error()
}

// sweep removes the entries of index builds that did not end.
func (st *store) sweep() error {
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceBuilding}, UpperBound: []byte{spaceBuilding + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	b := st.db.NewBatch()
	defer b.Close()
	for it.First(); it.Valid(); it.Next() {
		from := append([]byte{spaceIndex}, it.Key()[1:]...)
		if err := errors.Join(b.DeleteRange(from, successor(from), nil), b.Delete(it.Key(), nil)); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

func (st *store) close() error {
	st.stop()
	st.wg.Wait()
	err := st.db.Close() // closes the log, which syncs it
	st.cache.Unref()
	return errors.Join(err, st.wal.failed(), st.lock.Close())
}

// get returns the value of a key; nil if it does not exist.
func (st *store) get(key []byte) ([]byte, error) { return readKey(st.db, key) }

func readKey(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v = append(make([]byte, 0, len(v)), v...)
	return v, closer.Close()
}

// commit writes b to the log and applies it. It waits for a sync if durable is set, or with Options.SyncAlways. It is
// refused while the disk is almost full.
func (st *store) commit(b *pebble.Batch, durable bool) error {
	if st.readOnly {
		return errReadOnly
	}
	if err := st.diskSpace(); err != nil {
		return err
	}
	return st.commitFreeing(b, durable)
}

// commitFreeing is commit for changes that free disk space.
func (st *store) commitFreeing(b *pebble.Batch, durable bool) error {
	if st.readOnly {
		return errReadOnly
	}
	if err := st.awaitEngine(); err != nil {
		return err
	}
	if err := st.apply(b); err != nil {
		return err
	}
	if durable || st.syncAlways {
		if err := st.wal.sync(); err != nil {
			return err
		}
	}
	return st.failed() // the guard may have hidden a failure from the engine
}

// view is a consistent state of one collection: the snapshot has the entries of exactly these indexes.
type view struct {
	pebble.Reader
	c       *collection
	indexes []*index
}

// view opens a view, which must be closed. It returns nil if the collection was dropped.
//
// An index is added to the list after its entries are committed and removed before they are deleted. So a list that is
// the same before and after taking the snapshot matches the snapshot. An index is marked as multikey before the first
// such entry is committed; read the mark from the view's indexes after view has returned.
func (st *store) view(c *collection) *view {
	for {
		before := c.indexes.Load()
		snap := st.db.NewSnapshot()
		if c.dropped.Load() {
			snap.Close()
			return nil
		}
		if c.indexes.Load() == before {
			return &view{snap, c, *before}
		}
		snap.Close()
	}
}

func (st *store) stats() Stats {
	st.mu.RLock()
	defer st.mu.RUnlock()
	s := Stats{DiskBytes: st.db.Metrics().DiskSpaceUsage(), LogSyncs: st.wal.syncs.Load()}
	for _, colls := range st.dbs {
		for _, c := range colls {
			s.Collections++
			s.Indexes += len(*c.indexes.Load())
			s.Documents += c.count.Load()
		}
	}
	return s
}

// sampledEntries is how many entries of an index are read to estimate its size.
const sampledEntries = 1000

// sizeOf estimates the bytes of the entries of a collection's index. The disk space would be another number, which is zero
// until Pebble has written its first tables.
func (st *store) sizeOf(c *collection, x *index) int64 {
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: x.space, UpperBound: successor(x.space)})
	if err != nil {
		return 0
	}
	defer it.Close()
	n, sum := int64(0), int64(0)
	for it.First(); it.Valid() && n < sampledEntries; it.Next() {
		n++
		v := it.LazyValue()
		sum += int64(len(it.Key()) + v.Len())
	}
	if n < sampledEntries {
		return sum
	}
	return sum / n * max(n, c.count.Load())
}

// pebbleLogger passes Pebble's messages to slog. Pebble calls Fatalf if it cannot go on, for example if it cannot write
// the log, and relies on Fatalf not to return.
type pebbleLogger struct{ log *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...), "from", "pebble")
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "from", "pebble")
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "from", "pebble")
	panic("mongo: the store cannot go on: " + fmt.Sprintf(format, args...))
}
