// Package diskguard keeps a storage engine running for its readers when its disk fails or fills up.
package diskguard

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Guard is the file system that the storage engine uses. Pebble ends the process if it cannot write its log or the list
// of its files; then not even reads would go on. The guard passes the first such error to the store, which accepts no
// more writes, and freezes the directory: it discards the engine's further writes to these files, and removes or
// renames nothing. So the directory stays as the last good write left it, and opening it again recovers from that.
// Writes of tables, which the engine can do without, fail normally.
type Guard struct {
	vfs.FS
	// armed is set when the engine is open. Until then errors are returned to the engine.
	armed     atomic.Bool
	frozen    atomic.Bool
	once      sync.Once
	failed    func(error)
	frozenErr error
}

// New returns a guard of a file system. failed is called with the first error that freezes the directory; frozen is the
// error of what is refused from then on.
func New(disk vfs.FS, failed func(error), frozen error) *Guard {
	return &Guard{FS: disk, failed: failed, frozenErr: frozen}
}

// Arm lets errors freeze the directory. Call it when the engine is open.
func (g *Guard) Arm() { g.armed.Store(true) }

// essential reports whether the engine cannot go on without the file.
func essential(name string) bool {
	base := filepath.Base(name)
	return strings.HasSuffix(base, ".log") || strings.HasPrefix(base, "MANIFEST-") ||
		strings.HasPrefix(base, "OPTIONS-") || strings.HasPrefix(base, "marker.")
}

// Freeze freezes the directory after an error, and returns the error that the engine gets: nil once the guard is armed.
func (g *Guard) Freeze(err error) error {
	if err == nil || !g.armed.Load() {
		return err
	}
	g.once.Do(func() {
		// The store must fail first: writes that are discarded must not be taken for durable.
		g.failed(err)
		g.frozen.Store(true)
	})
	return nil
}

// tablePause slows down the engine, which would try again and again to write a table.
const tablePause = 200 * time.Millisecond

func (g *Guard) create(name string, create func() (vfs.File, error)) (vfs.File, error) {
	switch {
	case !essential(name):
		if g.frozen.Load() {
			time.Sleep(tablePause)
			return nil, &fs.PathError{Op: "create", Path: name, Err: g.frozenErr}
		}
		f, err := create()
		if err != nil && g.armed.Load() {
			// A single table may fail, but if one cannot even be created, the disk has no space.
			_ = g.Freeze(err)
		}
		return f, err
	case g.frozen.Load():
		return nowhere{}, nil
	}
	f, err := create()
	if err != nil {
		return nowhere{}, g.Freeze(err)
	}
	return &guarded{File: f, guard: g}, nil
}

// Create implements vfs.FS.
func (g *Guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

// ReuseForWrite implements vfs.FS.
func (g *Guard) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create(name, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

// Remove implements vfs.FS. Once the guard is frozen it does nothing.
func (g *Guard) Remove(name string) error {
	if g.frozen.Load() {
		return nil
	}
	return g.FS.Remove(name)
}

// Rename implements vfs.FS. Once the guard is frozen it does nothing.
func (g *Guard) Rename(old, name string) error {
	if g.frozen.Load() {
		return nil
	}
	return g.FS.Rename(old, name)
}

// OpenDir implements vfs.FS.
func (g *Guard) OpenDir(name string) (vfs.File, error) {
	if g.frozen.Load() {
		return nowhere{}, nil
	}
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nowhere{}, g.Freeze(err)
	}
	return &guarded{File: f, guard: g}, nil
}

// Unwrap returns the file system beneath.
func (g *Guard) Unwrap() vfs.FS { return g.FS }

// guarded is an essential file whose errors freeze the directory.
type guarded struct {
	vfs.File
	guard *Guard
}

// do calls write unless the directory is frozen.
func (f *guarded) do(write func() error) error {
	if f.guard.frozen.Load() {
		return nil
	}
	return f.guard.Freeze(write())
}

func (f *guarded) Write(b []byte) (n int, err error) {
	err = f.do(func() error { n, err = f.File.Write(b); return err })
	if err == nil {
		n = len(b)
	}
	return n, err
}

func (f *guarded) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.do(func() error { n, err = f.File.WriteAt(b, at); return err })
	if err == nil {
		n = len(b)
	}
	return n, err
}

func (f *guarded) Preallocate(at, length int64) error {
	return f.do(func() error { return f.File.Preallocate(at, length) })
}

func (f *guarded) Sync() error     { return f.do(f.File.Sync) }
func (f *guarded) SyncData() error { return f.do(f.File.SyncData) }

func (f *guarded) SyncTo(length int64) (full bool, err error) {
	err = f.do(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f *guarded) Close() error { return f.guard.Freeze(f.File.Close()) }

// nowhere is a file of a frozen directory. It discards writes.
type nowhere struct{}

func (nowhere) Read([]byte) (int, error)               { return 0, os.ErrInvalid }
func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, os.ErrInvalid }
func (nowhere) Write(b []byte) (int, error)            { return len(b), nil }
func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nowhere) Preallocate(int64, int64) error         { return nil }
func (nowhere) Stat() (vfs.FileInfo, error)            { return emptyInfo{}, nil }
func (nowhere) Sync() error                            { return nil }
func (nowhere) SyncTo(int64) (bool, error)             { return false, nil }
func (nowhere) SyncData() error                        { return nil }
func (nowhere) Prefetch(int64, int64) error            { return nil }
func (nowhere) Fd() uintptr                            { return vfs.InvalidFd }
func (nowhere) Close() error                           { return nil }

// emptyInfo is the information about a file of a frozen directory.
type emptyInfo struct{}

func (emptyInfo) Name() string           { return "" }
func (emptyInfo) Size() int64            { return 0 }
func (emptyInfo) Mode() fs.FileMode      { return 0 }
func (emptyInfo) ModTime() time.Time     { return time.Time{} }
func (emptyInfo) IsDir() bool            { return false }
func (emptyInfo) Sys() any               { return nil }
func (emptyInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
