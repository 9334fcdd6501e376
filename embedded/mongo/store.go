package mongo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// The key space. Ids of collections and indexes are 4 bytes, big endian, from one counter, and never used twice.
//
//	v                              format version
//	m                              the next id
//	c <db> 0x00 <collection>       the collection: {id, uuid, indexes: [...]}
//	n <collection id>              number of documents
//	g <index id>                   an index that is being built; if it is still there at start, the index is garbage
//	d <collection id> <_id>        a document
//	i <index id> <fields> <_id>    an index entry; the value is the length of the encoded _id
const (
	spaceVersion  = 'v'
	spaceNext     = 'm'
	spaceCatalog  = 'c'
	spaceCount    = 'n'
	spaceBuilding = 'g'
	spaceDocs     = 'd'
	spaceIndex    = 'i'

	formatVersion = 1
	// flushBytes is how much one command collects before it commits: large enough to share the cost of a commit,
	// small enough not to hold much memory.
	flushBytes = 4 << 20

	// memTables is how many of Pebble's memtables there are at most.
	memTables = 4
)

func spaceKey(space byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{space}, id)
}

// store is the database: the catalog in memory and on disk, and the documents and index entries in Pebble.
//
// Locks: mu guards the catalog's maps; collection.mu is held by whoever writes to that collection. Who needs both takes
// the collection's first (see lockAll). Readers take neither while they read: they work on a snapshot (see view).
//
// One writer per collection, rather than a lock per document, keeps unique indexes, scans that write, and guards simple.
// It costs nothing that could be measured: on two cores four clients replace 57,000 documents a second in one collection
// and 56,000 in four (BenchmarkWriters); commits share their syncs in either case.
type store struct {
	db    *pebble.DB
	cache *pebble.Cache
	wal   *walFS
	log   *slog.Logger

	syncAlways bool

	stop context.CancelFunc
	wg   sync.WaitGroup

	mu  sync.RWMutex
	dbs map[string]map[string]*collection

	idMu   sync.Mutex // held from taking an id until the batch that says so is committed
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

// collection is one collection. Documents and indexes belong to its id; its name can change.
type collection struct {
	id   uint32
	uuid [16]byte

	mu      sync.Mutex // held while writing to the collection or changing its catalog record
	ns      atomic.Pointer[namespace]
	primary *index                   // the _id index, which is the documents themselves
	indexes atomic.Pointer[[]*index] // all others; the slice is never changed, only replaced
	count   atomic.Int64
	dropped atomic.Bool
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

// record is the catalog entry.
func (c *collection) record(indexes []*index) []byte {
	w := newBuilder()
	w.int64("id", int64(c.id)).val("uuid", uuidValue(c.uuid)).array("indexes")
	for _, x := range indexes {
		w.doc("").int64("id", int64(x.id)).str("name", x.name).rawDoc("key", x.key).bool("unique", x.unique).
			int64("multikey", int64(x.multikey.Load())).end()
	}
	w.end()
	return w.done()
}

func uuidValue(u [16]byte) value {
	return value{tBinary, append([]byte{16, 0, 0, 0, 4}, u[:]...)}
}

func openStore(o *Options) (st *store, err error) {
	st = &store{
		wal: newWALFS(o.FS, o.SyncEvery), log: o.Logger, syncAlways: o.SyncAlways, dbs: map[string]map[string]*collection{},
	}
	// Pebble takes the memory of its memtables, those that wait to be written included, out of the cache. Without room of
	// their own they would leave a busy writer with hardly any cache at all.
	st.cache = pebble.NewCache(o.CacheBytes + memTables*o.memTableBytes)
	po := &pebble.Options{
		FS: st.wal, Cache: st.cache, Logger: pebbleLogger{o.Logger},
		// The next format writes into the log how much of it has been synced, and takes a gap before that point for
		// damage. walFS syncs later than Pebble believes, so after a crash of the machine such a gap is ordinary.
		FormatMajorVersion:          pebble.FormatColumnarBlocks,
		MemTableSize:                uint64(o.memTableBytes),
		MemTableStopWritesThreshold: memTables,
		LBaseMaxBytes:               64 << 20,
		L0StopWritesThreshold:       24,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		// Without it Pebble ends the process when it reads a damaged block, instead of failing the read.
		EventListener: &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) {
			o.Logger.Error("a file of the database is damaged", "file", info.Path, "error", info.Details)
		}},
	}
	po.Levels[0].FilterPolicy = bloom.FilterPolicy(10) // point reads look into few tables; the other levels follow
	st.db, err = pebble.Open(o.Dir, po)
	if err != nil {
		st.cache.Unref()
		return nil, err
	}
	if err = st.load(); err != nil {
		err = errors.Join(err, st.db.Close())
		st.cache.Unref()
		return nil, err
	}
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
	if version == nil {
		return st.db.Set([]byte{spaceVersion}, []byte{formatVersion}, pebble.Sync)
	}
	if len(version) != 1 || version[0] != formatVersion {
		return fmt.Errorf("the store has format %v, this server reads format %d; use the version that wrote it", version, formatVersion)
	}
	next, err := st.get([]byte{spaceNext})
	if err != nil {
		return err
	}
	if len(next) == 4 {
		st.nextID = binary.BigEndian.Uint32(next)
	}
	if err := st.sweep(); err != nil {
		return err
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
	return c, nil
}

// sweep removes what index builds left that did not come to an end.
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
	err := st.db.Close() // closes the log, and that syncs it
	st.cache.Unref()
	return errors.Join(err, st.wal.failed())
}

// get reads a key; nil when it is not there.
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

// commit writes b to the log and applies it. It waits for the disk only with durable.
func (st *store) commit(b *pebble.Batch, durable bool) error {
	if err := st.wal.failed(); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil { // see walFS for what Sync means here
		return err
	}
	if durable || st.syncAlways {
		return st.wal.sync()
	}
	return nil
}

// view is a consistent state of one collection to read from: the snapshot holds exactly the entries of the indexes.
type view struct {
	pebble.Reader
	c       *collection
	indexes []*index
}

// view opens a view, which must be closed. It returns nil when the collection was dropped.
//
// An index appears in the list after its entries are committed and leaves it before they are deleted. So a list that is
// the same before and after the snapshot was taken fits the snapshot. Multikey marks are set before the first such entry
// is committed and must be read from the view's indexes after this returns.
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

// sizeOf estimates the bytes an index takes on disk; the primary one is the documents.
func (st *store) sizeOf(x *index) int64 {
	n, err := st.db.EstimateDiskUsage(x.space, successor(x.space))
	if err != nil {
		return 0
	}
	return int64(n)
}

// pebbleLogger hands Pebble's messages to slog. Pebble calls Fatalf when it cannot go on, for instance when the log
// cannot be written, and relies on it not to return.
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
