package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"casebook/embedded/diskguard/disktest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestAlmostFullDiskRefusesAppends: with little free space appends are refused, and all other requests are served.
func TestAlmostFullDiskRefusesAppends(t *testing.T) {
	disk := &disktest.Limited{FS: vfs.NewMem()}
	disk.Free.Store(1 << 30)
	s := openStore(t, Options{FS: disk, MinFreeBytes: 1 << 29})
	mustAppend(t, s, "s", NoStream, 1)
	disk.Free.Store(1<<29 - 1)
	for _, a := range []Append{
		{Stream: "s", Expected: 0, Events: events("s", 2)},
		{Stream: "s", Expected: Any, Kind: Delete},
		{Stream: "new", Expected: Any, Kind: Tombstone},
	} {
		if r := do(s, a); !errors.Is(r.Err, ErrDiskFull) || !strings.Contains(r.Err.Error(), "511 MiB are free, but 512 are needed") {
			t.Errorf("%+v", r)
		}
	}
	// Appends that write nothing are answered as usual.
	if r := appendTo(s, "s", NoStream, 1); r.Err != nil || r.Revision != 0 {
		t.Errorf("a repeated append: %+v", r)
	}
	if r := appendTo(s, "s", 7, 2); !errors.Is(r.Err, ErrWrongRevision) {
		t.Errorf("a wrong revision: %+v", r)
	}
	if got := readAll(t, s); len(got) != 1 || s.Failure() != nil {
		t.Errorf("%d events, %v", len(got), s.Failure())
	}
	disk.Free.Store(1 << 29)
	mustAppend(t, s, "s", 0, 2)
	unlimited := openStore(t, Options{Dir: "other", FS: disk, MinFreeBytes: -1})
	disk.Free.Store(0)
	mustAppend(t, unlimited, "s", NoStream, 1)
}

// TestFullDiskLosesNothingAcknowledged has all writes fail from a certain one on, in each round at another moment: in
// the write-ahead log, while memory is written out, while files are merged. Appends must stop and reads go on, and no
// acknowledged event may be lost when there is space again.
func TestFullDiskLosesNothingAcknowledged(t *testing.T) {
	const rounds = 8
	for round := range rounds {
		disk := vfs.NewMem()
		room := atomic.Int64{} // writes until the disk is full
		room.Store(1 << 40)
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate,
				errorfs.OpFilePreallocate, errorfs.OpMkdirAll, errorfs.OpLink:
				if room.Add(-1) < 0 {
					return syscall.ENOSPC
				}
			}
			return nil
		}))
		s, err := Open(Options{Dir: "log", FS: fs, memTableBytes: 64 << 10})
		check(t, err)
		room.Store(int64(20 + round*75 + rand.IntN(75)))
		var acked [4]int
		var writers sync.WaitGroup
		for w := range acked {
			writers.Go(func() {
				for {
					n := acked[w]
					p := Propose(fmt.Sprint("w", w), number(w<<20|n), "T", false, nil, make([]byte, 700))
					r := do(s, Append{Stream: fmt.Sprint("w", w), Expected: int64(n - 1), Events: []Proposed{p}})
					if r.Err != nil {
						noSpace := errors.Is(r.Err, syscall.ENOSPC) || strings.Contains(r.Err.Error(), "no space")
						if !errors.Is(r.Err, ErrStopped) || !noSpace {
							t.Errorf("round %d: %v", round, r.Err)
						}
						return
					}
					acked[w]++
				}
			})
		}
		writers.Wait()
		checkAll := func(s *Store, when string) {
			for w, n := range acked {
				st, err := s.Stream(fmt.Sprint("w", w))
				check(t, err)
				if st.Last < int64(n)-1 {
					t.Fatalf("round %d, %s: stream %d ends at %d, but %d events were acknowledged", round, when, w, st.Last, n)
				}
			}
			if report, err := s.Verify(t.Context()); err != nil || report.Damage != nil {
				t.Fatalf("round %d, %s: %+v, %v", round, when, report, err)
			}
		}
		checkAll(s, "on a full disk")
		if len(readAll(t, s)) < acked[0]+acked[1]+acked[2]+acked[3] {
			t.Fatalf("round %d: $all lacks events", round)
		}
		room.Store(1 << 40)
		_ = s.Close() // fails, because it could not write out the rest
		s, err = Open(Options{Dir: "log", FS: disk})
		check(t, err)
		checkAll(s, "with room again")
		mustAppend(t, s, "w0", Any, 1<<30)
		check(t, s.Close())
	}
}

// TestFullFileSystem fills a real file system of 24 MiB.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		t.Skip("the test mounts a small file system, which needs root")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("the small file system of this test cannot be mounted:", err)
	}
	defer func() { check(t, syscall.Unmount(dir, 0)) }()
	for name, tc := range map[string]struct {
		minFree int64
		want    error
	}{"noticed early": {4 << 20, ErrDiskFull}, "not noticed": {-1, ErrStopped}} {
		t.Run(name, func(t *testing.T) {
			o := Options{
				Dir: dir + "/" + strings.ReplaceAll(name, " ", "-"), FS: vfs.Default,
				MinFreeBytes: tc.minFree, memTableBytes: 1 << 20,
			}
			s, err := Open(o)
			check(t, err)
			noise := rand.NewChaCha8([32]byte{2})
			n := 0
			for {
				data := make([]byte, 64<<10)
				_, _ = noise.Read(data)
				p := Propose("s", number(n), "T", false, nil, data)
				r := do(s, Append{Stream: "s", Expected: int64(n - 1), Events: []Proposed{p}})
				if r.Err != nil {
					if !errors.Is(r.Err, tc.want) {
						t.Fatal(r.Err)
					}
					break
				}
				n++
			}
			if got := readAll(t, s); len(got) != n {
				t.Errorf("%d events of %d can be read", len(got), n)
			}
			_ = s.Close()
			check(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
			o.MinFreeBytes = -1
			s, err = Open(o)
			check(t, err)
			if got := readAll(t, s); len(got) < n {
				t.Errorf("%d events of %d are left", len(got), n)
			}
			mustAppend(t, s, "s", Any, n+1)
			check(t, s.Close())
			check(t, os.RemoveAll(o.Dir))
			check(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=24m"))
		})
	}
}

// TestReadOnlyDisk turns the disk of an open store read-only, and opens a directory that cannot be written.
func TestReadOnlyDisk(t *testing.T) {
	disk := vfs.NewMem()
	var readOnly atomic.Bool
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if readOnly.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.EROFS
		}
		return nil
	}))
	s, err := Open(Options{Dir: "log", FS: fs})
	check(t, err)
	mustAppend(t, s, "s", NoStream, 1)
	readOnly.Store(true)
	if r := appendTo(s, "s", 0, 2); !errors.Is(r.Err, ErrStopped) || !strings.Contains(r.Err.Error(), "read-only") {
		t.Errorf("%+v", r)
	}
	if got := readAll(t, s); len(got) != 1 {
		t.Errorf("%d events can be read", len(got))
	}
	_ = s.Close()
	if _, err := Open(Options{Dir: "log", FS: fs}); !errors.Is(err, ErrUnwritable) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("open: %v", err)
	}
	readOnly.Store(false)
	s = openStore(t, Options{FS: fs})
	if got := readAll(t, s); len(got) < 1 {
		t.Errorf("%d events are left", len(got))
	}
	mustAppend(t, s, "s", Any, 3)
}

// TestAppendsWaitForTheEngine appends faster than a slow disk stores tables. Appends must wait, and memory stay
// bounded.
func TestAppendsWaitForTheEngine(t *testing.T) {
	var slow atomic.Bool
	gate := make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if slow.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			<-gate
		}
		return nil
	}))
	s, err := Open(Options{Dir: "log", FS: fs, memTableBytes: 256 << 10})
	check(t, err)
	slow.Store(true)
	done := make(chan error, 64)
	const appends = 4000
	go func() {
		for i := range appends {
			p := Propose("s", number(i), "T", false, nil, make([]byte, 8<<10))
			a := &Append{Stream: "s", Expected: Any, Events: []Proposed{p}, Size: 8 << 10, Done: func(r Result) { done <- r.Err }}
			for s.Submit(a) != nil {
				t.Error("the queue is full")
			}
		}
	}()
	answered := 0
	const limit = maxMemTables * 256 << 10
	for waiting := false; !waiting; {
		size := s.db.Metrics().MemTable.Size
		if size > limit+2*batchMaxBytes { // allows for the last batch and the table that is made for it
			t.Fatalf("%d KiB wait in memory", size>>10)
		}
		waiting = size >= limit // from now on commits wait
		select {
		case err := <-done:
			check(t, err)
			answered++
		default:
		}
	}
	close(gate)
	for ; answered < appends; answered++ {
		check(t, <-done)
	}
	check(t, s.Close())
}

// TestCloseOnAFullDiskEnds fills the disk between the last append and the closing. The next opening has every event.
func TestCloseOnAFullDiskEnds(t *testing.T) {
	for name, measured := range map[string]bool{"known to be full": true, "not known to be full": false} {
		t.Run(name, func(t *testing.T) {
			disk := &disktest.Limited{FS: vfs.NewMem()}
			disk.Free.Store(1 << 40)
			full := atomic.Bool{}
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				switch op.Kind {
				case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpFilePreallocate:
					if full.Load() {
						return syscall.ENOSPC
					}
				}
				return nil
			}))
			s, err := Open(Options{Dir: "log", FS: fs})
			check(t, err)
			for i := range 50 {
				mustAppend(t, s, "s", int64(i)-1, i)
			}
			full.Store(true)
			if measured {
				disk.Free.Store(0)
			}
			closed := make(chan struct{})
			go func() { defer close(closed); _ = s.Close() }()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatal("the store does not close")
			}
			full.Store(false)
			disk.Free.Store(1 << 40)
			again := openStore(t, Options{FS: fs})
			if got := readAll(t, again); len(got) != 50 {
				t.Errorf("%d events are left", len(got))
			}
		})
	}
}
