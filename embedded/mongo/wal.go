package mongo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// walFS is the file system that Pebble uses. It decides when the write-ahead log is synced to disk.
//
// Pebble has two kinds of commit: one stays in the buffer of the process, and a kill would lose it; the other is
// written and synced. Read models need something in between: written to the operating system before the
// acknowledgement, so that the process may be killed, and synced a little later, for all writers together. So every
// commit asks Pebble to sync, and walFS postpones the sync of a log file. It syncs after an interval, when a client
// asks for {j: true}, and before a log file is closed, so that a log is complete on disk before its successor begins: a
// crash of the machine loses the end of the log, never its middle. All other files are synced when Pebble asks for it.
type walFS struct {
	vfs.FS
	every time.Duration
	kick  chan struct{} // one slot: a log file has to be synced

	mu   sync.Mutex
	open map[*walFile]struct{}
	err  error // of the first failed sync; no write is acknowledged afterwards

	syncs  atomic.Int64
	onSync func(time.Duration) // nil, or is told how long each took
}

func newWALFS(fs vfs.FS, every time.Duration, onSync func(time.Duration)) *walFS {
	return &walFS{FS: fs, every: every, onSync: onSync, kick: make(chan struct{}, 1), open: map[*walFile]struct{}{}}
}

// run syncs the log after each interval in which it was written, until ctx ends.
func (w *walFS) run(ctx context.Context) {
	pause := time.NewTimer(w.every)
	defer pause.Stop()
	for {
		select {
		case <-w.kick:
		case <-ctx.Done():
			return
		}
		pause.Reset(w.every)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		_ = w.sync() // the error is kept, and later writes fail with it
	}
}

// sync returns when all writes to the log before the call are on disk. Callers that wait at the same time share one
// sync.
func (w *walFS) sync() error {
	w.mu.Lock()
	files := make([]*walFile, 0, len(w.open))
	for f := range w.open {
		files = append(files, f)
	}
	w.mu.Unlock()
	for _, f := range files {
		if err := f.reallySync(); err != nil {
			return w.fail(err)
		}
	}
	return w.failed()
}

func (w *walFS) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("the write-ahead log could not be written to disk, restart the server: %w", err)
	}
	return w.err
}

func (w *walFS) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *walFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || filepath.Ext(name) != ".log" {
		return f, err
	}
	wf := &walFile{File: f, fs: w}
	w.mu.Lock()
	w.open[wf] = struct{}{}
	w.mu.Unlock()
	return wf, nil
}

func (w *walFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, c)
	return w.wrap(name, f, err)
}

func (w *walFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(oldname, newname, c)
	return w.wrap(newname, f, err)
}

func (w *walFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := w.FS.OpenReadWrite(name, c, opts...)
	return w.wrap(name, f, err)
}

// Unwrap returns the file system beneath.
func (w *walFS) Unwrap() vfs.FS { return w.FS }

type walFile struct {
	vfs.File
	fs    *walFS
	dirty atomic.Bool

	mu     sync.Mutex // held while syncing and closing
	closed bool
}

func (f *walFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.dirty.Store(true)
	return n, err
}

func (f *walFile) later() error {
	select {
	case f.fs.kick <- struct{}{}:
	default:
	}
	return nil
}

func (f *walFile) Sync() error                { return f.later() }
func (f *walFile) SyncData() error            { return f.later() }
func (f *walFile) SyncTo(int64) (bool, error) { return false, f.later() }

func (f *walFile) reallySync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.syncLocked()
}

func (f *walFile) syncLocked() error {
	if f.closed || !f.dirty.Swap(false) {
		return nil
	}
	f.fs.syncs.Add(1)
	begun := time.Now()
	err := f.File.SyncData()
	if f.fs.onSync != nil {
		f.fs.onSync(time.Since(begun))
	}
	return err
}

func (f *walFile) Close() error {
	f.mu.Lock()
	err := f.syncLocked()
	f.closed = true
	f.mu.Unlock()
	if err != nil {
		_ = f.fs.fail(err)
	}
	f.fs.mu.Lock()
	delete(f.fs.open, f)
	f.fs.mu.Unlock()
	return errors.Join(err, f.File.Close())
}
