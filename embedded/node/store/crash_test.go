package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// ledger counts the acknowledged events of each stream.
type ledger struct {
	mu    sync.Mutex
	acked map[string]int
	// gate is write-locked while a copy is checked, so that the log does not grow without end meanwhile.
	gate sync.RWMutex
}

func (l *ledger) copy() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(map[string]int, len(l.acked))
	for k, v := range l.acked {
		c[k] = v
	}
	return c
}

// write appends events in pairs to one stream, each pair in one append, until stop is closed.
func (l *ledger) write(s *Store, stream string, base int, stop <-chan struct{}) error {
	for n := 0; ; n += 2 {
		select {
		case <-stop:
			return nil
		default:
		}
		l.gate.RLock()
		r := appendTo(s, stream, int64(n-1), base+n, base+n+1)
		l.gate.RUnlock()
		if r.Err != nil {
			return r.Err
		}
		l.mu.Lock()
		l.acked[stream] = n + 2
		l.mu.Unlock()
	}
}

const (
	crashWriters = 8
	writerBase   = 1 << 20
)

// audit opens the log that a crash left and returns how many acknowledged events are missing. The log must be sound,
// without gaps in the revisions and without incomplete appends.
func audit(t *testing.T, fs vfs.FS, acked map[string]int) (missing int) {
	t.Helper()
	s, err := Open(Options{Dir: "log", FS: fs})
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer s.Close()
	report, err := s.Verify(t.Context())
	if err != nil || report.Damage != nil {
		t.Fatalf("verify after the crash: %+v, %v", report, err)
	}
	for w := range crashWriters {
		stream := fmt.Sprint("w", w)
		st, err := s.Stream(stream)
		check(t, err)
		got, err := s.ReadStreamForward(st.ID, 0, nil, Page{Events: 1 << 30, Bytes: 1 << 30})
		check(t, err)
		if st.ID == 0 {
			got = nil
		}
		for i, r := range got {
			if r.Revision != uint64(i) || r.ID != number(w*writerBase+i) {
				t.Fatalf("%s: event %d has revision %d and id %x", stream, i, r.Revision, r.ID)
			}
			if i > 0 && got[i-1].Position >= r.Position {
				t.Fatalf("%s: revision %d lies before its predecessor", stream, i)
			}
		}
		if len(got)%2 != 0 {
			t.Fatalf("%s: the last append is incomplete", stream)
		}
		missing += max(0, acked[stream]-len(got))
	}
	return missing
}

// crash runs writers and calls check in every round, with a copy of the file system as a crash would leave it and the
// events acknowledged before that. Between two copies more events become durable.
func crash(t *testing.T, o Options, rounds int, cfg func(round int) vfs.CrashCloneCfg, check func(vfs.FS, map[string]int)) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	o.Dir, o.FS = "log", disk
	s := openStore(t, o)
	l := &ledger{acked: map[string]int{}}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range crashWriters {
		writers.Go(func() {
			if err := l.write(s, fmt.Sprint("w", w), w*writerBase, stop); err != nil {
				t.Error(err)
			}
		})
	}
	w := s.WatchAll()
	for round := range rounds {
		for seen := s.End(); s.End() < seen+uint64(1+rand.IntN(50_000)); {
			<-w.C
		}
		acked := l.copy()
		clone := disk.CrashClone(cfg(round)) // while writers append
		l.gate.Lock()
		check(clone, acked)
		l.gate.Unlock()
	}
	w.Close()
	close(stop)
	writers.Wait()
}

func TestCrashLosesNothingAcknowledged(t *testing.T) {
	for name, percent := range map[string]int{"no unsynced data survives": 0, "half of it survives": 50, "most of it survives": 90} {
		t.Run(name, func(t *testing.T) {
			cfg := func(round int) vfs.CrashCloneCfg {
				return vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, uint64(round)))}
			}
			crash(t, Options{}, 8, cfg, func(fs vfs.FS, acked map[string]int) {
				if missing := audit(t, fs, acked); missing != 0 {
					t.Fatalf("%d acknowledged events are lost", missing)
				}
			})
		})
	}
}

// TestCrashTestNoticesAMissingSync is the negative control: without fsync the crash test must find lost events.
func TestCrashTestNoticesAMissingSync(t *testing.T) {
	lost := 0
	loseUnsynced := func(int) vfs.CrashCloneCfg { return vfs.CrashCloneCfg{} }
	crash(t, Options{unsafeNoSync: true}, 3, loseUnsynced, func(fs vfs.FS, acked map[string]int) {
		lost += audit(t, fs, acked)
	})
	if lost == 0 {
		t.Fatal("a store that never syncs lost nothing in a crash")
	}
}

// openLogFiles returns the files of an open log with 10 appends of two events each, the name of its write-ahead log,
// and how many bytes of that are written.
func openLogFiles(t *testing.T) (files map[string][]byte, wal string, content int) {
	t.Helper()
	crashable := vfs.NewCrashableMem()
	s := openStore(t, Options{FS: crashable})
	for n := 0; n < 20; n += 2 {
		mustAppend(t, s, "w0", int64(n-1), n, n+1)
	}
	// Copy while the store is open, because closing it empties the write-ahead log.
	disk := crashable.CrashClone(vfs.CrashCloneCfg{})
	names, err := disk.List("log")
	check(t, err)
	files = map[string][]byte{}
	for _, name := range names {
		if name == "LOCK" {
			continue
		}
		if strings.HasSuffix(name, ".log") {
			wal = name
		}
		files[name] = readFile(t, disk, filepath.Join("log", name))
	}
	// The file is larger than its content.
	return files, wal, len(strings.TrimRight(string(files[wal]), "\x00"))
}

// withWAL returns a file system with the files and with other content of the write-ahead log.
func withWAL(t *testing.T, files map[string][]byte, wal string, data []byte) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	check(t, fs.MkdirAll("log", 0o755))
	for name, original := range files {
		if name == wal {
			original = data
		}
		writeFile(t, fs, filepath.Join("log", name), original)
	}
	return fs
}

// TestTornWriteLosesWholeAppends cuts the write-ahead log at every byte of the last append, and in steps before. The
// log must end with a complete append, whether the file ends at the cut or goes on with zeros, which takes turns.
func TestTornWriteLosesWholeAppends(t *testing.T) {
	t.Parallel()
	files, wal, content := openLogFiles(t)
	last := content / 10 // bytes of about one append
	seen := map[uint64]bool{}
	for cut := content; cut > 0; {
		end := ""
		if cut%2 == 0 {
			end = strings.Repeat("\x00", 700)
		}
		torn := withWAL(t, files, wal, append(append([]byte{}, files[wal][:cut]...), end...))
		s, err := Open(Options{Dir: "log", FS: torn})
		check(t, err)
		n := int(s.Stats().Events)
		if n%2 != 0 {
			t.Fatalf("cut at %d of %d bytes: %d events, so the last append is incomplete", cut, content, n)
		}
		seen[uint64(n)] = true
		// The log accepts appends.
		if n < 20 {
			mustAppend(t, s, "w0", int64(n-1), n, n+1)
		}
		check(t, s.Close())
		audit(t, torn, nil)
		if cut > content-last {
			cut--
		} else {
			cut -= 97
		}
	}
	if len(seen) != 11 {
		t.Fatalf("the cuts left %d different logs instead of 11, with 0 to 10 appends", len(seen))
	}
}

// TestBitRotInWriteAheadLog flips bits in the write-ahead log. A log that ends before the noted durable end must not be
// opened; any other log must end with a complete append, and its events must be right.
func TestBitRotInWriteAheadLog(t *testing.T) {
	t.Parallel()
	files, wal, content := openLogFiles(t)
	s, err := Open(Options{Dir: "log", FS: withWAL(t, files, wal, files[wal])})
	check(t, err)
	ends := []uint64{FirstPosition} // after each event
	for _, e := range readAll(t, s) {
		ends = append(ends, e.Next())
	}
	check(t, s.Close())
	for _, noted := range []int{0, 10, 20} {
		refused, shortened := 0, 0
		for at := 0; at < content; at += 23 {
			rotten := bytes.Clone(files[wal])
			rotten[at] ^= 1 << (at % 8)
			fs := withWAL(t, files, wal, rotten)
			check(t, writeDurableEnd(fs, "log", ends[noted]))
			s, err := Open(Options{Dir: "log", FS: fs})
			if errors.Is(err, ErrShortened) {
				refused++
				continue
			}
			check(t, err)
			events := readAll(t, s)
			if len(events) < noted || len(events)%2 != 0 {
				t.Fatalf("bit %d of byte %d: %d events are left, but %d were noted", at%8, at, len(events), noted)
			}
			for i, e := range events {
				if e.Revision != uint64(i) || e.ID != number(i) || !bytes.Equal(e.Data(), fmt.Appendf(nil, `{"n":%d}`, i)) {
					t.Fatalf("bit %d of byte %d: event %d has changed", at%8, at, i)
				}
			}
			if len(events) < 20 {
				shortened++
			}
			check(t, s.Close())
		}
		if (refused == 0) != (noted == 0) || (shortened == 0) != (noted == 20) {
			t.Errorf("of a log noted up to event %d, %d were refused and %d shortened", noted, refused, shortened)
		}
	}
}

// TestDurableEndIsNoted checks the durable end that a closed store has noted, and that a damaged note is ignored.
func TestDurableEndIsNoted(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{Dir: "log", FS: fs})
	check(t, err)
	mustAppend(t, s, "s", NoStream, 1, 2, 3)
	end := s.End()
	check(t, s.Close())
	if err := checkDurableEnd(fs, "log", end); err != nil {
		t.Error(err)
	}
	if err := checkDurableEnd(fs, "log", end-1); !errors.Is(err, ErrShortened) {
		t.Errorf("a log that ends a byte earlier: %v", err)
	}
	for _, note := range []string{"", "short", "\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"} {
		writeFile(t, fs, "log/"+durableEndFile, []byte(note))
		openStore(t, Options{FS: fs}).Close()
	}
}

// TestBitRotInTable flips a bit in a table. Verify must name the damaged record, and reading it must fail; reads of
// earlier records and appends must go on.
func TestBitRotInTable(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{Dir: "log", FS: fs})
	check(t, err)
	noise := rand.NewChaCha8([32]byte{1}) // cannot be compressed, so the table has many blocks
	for n := range 3000 {
		data := make([]byte, 400)
		_, _ = noise.Read(data)
		p := Propose("w0", number(n), "T", false, nil, data)
		if r := do(s, Append{Stream: "w0", Expected: Any, Events: []Proposed{p}}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	check(t, s.db.Flush())
	check(t, s.Close())
	names, err := fs.List("log")
	check(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		data := readFile(t, fs, filepath.Join("log", name))
		if len(data) < 1<<20 {
			continue
		}
		data[len(data)/2] ^= 4
		writeFile(t, fs, filepath.Join("log", name), data)
		s := openStore(t, Options{FS: fs})
		report, err := s.Verify(t.Context())
		if err != nil || report.Damage == nil || report.Events == 0 || report.Events >= 3000 {
			t.Fatalf("%+v, %v", report, err)
		}
		first, _, err := s.ReadForward(0, nil, Page{Events: 10, Bytes: 1 << 20})
		if err != nil || len(first) != 10 {
			t.Errorf("the beginning cannot be read: %d events, %v", len(first), err)
		}
		if _, _, err = s.ReadForward(report.Damage.Position, nil, Page{Events: 10, Bytes: 1 << 20}); err == nil {
			t.Error("the damaged record was read")
		}
		mustAppend(t, s, "w1", NoStream, 1)
		return
	}
	t.Fatalf("no large table among %v", names)
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	check(t, err)
	defer f.Close()
	info, err := f.Stat()
	check(t, err)
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil && len(data) > 0 {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	check(t, err)
	_, err = f.Write(append([]byte{}, data...)) // a copy, because the file system may change it
	check(t, err)
	check(t, f.Sync())
	check(t, f.Close())
}

// TestFailedCommitStopsAppends fails a sync, so that the content of the disk is unknown. Appends must stop; reads must
// go on without events that may be lost.
func TestFailedCommitStopsAppends(t *testing.T) {
	disk := vfs.NewCrashableMem()
	var broken atomic.Bool
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFileWrite, errorfs.OpFileFlush:
			if broken.Load() && strings.HasSuffix(op.Path, ".log") {
				return errors.New("the disk is gone")
			}
		}
		return nil
	}))
	s, err := Open(Options{Dir: "log", FS: fs})
	check(t, err)
	mustAppend(t, s, "s", NoStream, 1)
	broken.Store(true)
	outcomes := make(chan Result, 20)
	for i := range 20 {
		a := Append{Stream: "s", Expected: Any, Events: events("s", 10+i), Done: func(r Result) { outcomes <- r }}
		if err := s.Submit(&a); err != nil {
			outcomes <- Result{Err: err}
		}
	}
	for range 20 {
		if r := <-outcomes; !errors.Is(r.Err, ErrStopped) {
			t.Fatalf("an append that was not synced: %+v", r)
		}
	}
	broken.Store(false)
	if r := appendTo(s, "s", Any, 99); !errors.Is(r.Err, ErrStopped) {
		t.Fatalf("an append after the failure: %+v", r)
	}
	// A repetition of a stored append is refused too, because the store cannot know whether it depends on a lost event.
	if r := appendTo(s, "s", NoStream, 1); !errors.Is(r.Err, ErrStopped) {
		t.Fatalf("a repetition after the failure: %+v", r)
	}
	if got := readAll(t, s); len(got) != 1 {
		t.Fatalf("%d events can be read, one is durable", len(got))
	}
	st, err := s.Stream("s")
	if err != nil || st.Last != 0 {
		t.Fatalf("the stream is at revision %d, %v", st.Last, err)
	}
	if s.Stats().Failure == nil {
		t.Fatal("the statistics do not show the failure")
	}
	_ = s.Close() // fails, because it cannot sync the rest
	s = openStore(t, Options{FS: disk.CrashClone(vfs.CrashCloneCfg{})})
	if got := readAll(t, s); len(got) != 1 {
		t.Fatalf("%d events after opening again", len(got))
	}
	mustAppend(t, s, "s", 0, 2)
}
