package mongo

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// defaultMinFree is more than the engine holds in memory and may need to write out, and more than the event store next to
// it asks for: when a disk fills up, views stop first and events are still taken.
const defaultMinFree = 384 << 20

var (
	// errFrozen is the error of files that the engine asks for after the disk failed.
	errFrozen = errors.New("the database takes no more writes")
)

// diskSpace refuses writes while less than Options.MinFreeBytes are free.
func (st *store) diskSpace() error {
	if st.minFree < 0 {
		return nil
	}
	usage, err := st.fs.GetDiskUsage(st.dir)
	if err != nil {
		return nil //nolint:nilerr // if the free space is unknown, writes go on
	}
	if usage.AvailBytes < uint64(st.minFree) {
		return refuse(codeOutOfDiskSpace, "the disk is almost full, so nothing was written: %d MiB are free, but %d are needed; "+
			"make room on it", usage.AvailBytes>>20, st.minFree>>20)
	}
	return nil
}

// fail notes why the store takes no more writes. The first reason counts.
func (st *store) fail(err error) {
	refused := refuse(codeOutOfDiskSpace,
		"the database takes no more writes until there is room on its disk: %v; it tries again by itself", err)
	if st.failure.CompareAndSwap(nil, &refused) {
		st.log.Error("the read model store takes no more writes", "error", err)
		close(st.broken)
		st.engine.relieve()
	}
}

// failed returns why the store takes no more writes, or nil.
func (st *store) failed() error {
	if p := st.failure.Load(); p != nil {
		return *p
	}
	return st.wal.failed()
}

// unwritable returns why a write would be refused now, or nil.
func (st *store) unwritable() error {
	if err := st.failed(); err != nil {
		return err
	}
	return st.diskSpace()
}

// apply commits a batch. Pebble panics if it cannot go on; then the store takes no more writes.
func (st *store) apply(b *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			st.fail(fmt.Errorf("the engine failed: %v", p))
			err = st.failed()
		}
	}()
	return b.Commit(pebble.Sync) // walFS postpones the sync
}

// openEngine opens Pebble, which panics if it cannot write some of its files.
func openEngine(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("the engine cannot be opened: %v", p)
		}
	}()
	return pebble.Open(dir, o)
}

// engineRoom lets writers wait while the engine has much to write out or to merge.
type engineRoom struct {
	// crowded is set when the engine may have too much to do.
	crowded atomic.Bool

	mu       sync.Mutex
	relieved chan struct{} // closed and replaced when the engine has done something
}

func (e *engineRoom) init() { e.relieved = make(chan struct{}) }

func (e *engineRoom) relieve() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.relieved)
	e.relieved = make(chan struct{})
}

func (e *engineRoom) relief() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.relieved
}

// maxSublevels is how many layers of tables may wait to be merged.
const maxSublevels = 24

// awaitEngine waits until the engine has written out and merged enough. It fails if the store takes no more writes.
func (st *store) awaitEngine() error {
	for {
		relief := st.engine.relief() // before looking, so that no relief is missed
		if err := st.failed(); err != nil {
			return err
		}
		if !st.engine.crowded.Swap(false) { // before looking too, so that later changes are looked at the next time
			return nil
		}
		m := st.db.Metrics()
		if m.MemTable.Size < uint64(memTables*st.memTable) && m.Levels[0].Sublevels < maxSublevels {
			return nil
		}
		st.engine.crowded.Store(true)
		<-relief
	}
}
