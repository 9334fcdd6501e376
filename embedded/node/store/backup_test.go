package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestBackupUnderLoad backs up while writers append, on a file system in memory and on the disk. A backup must hold
// every event acknowledged before it began, and must equal the beginning of the log.
func TestBackupUnderLoad(t *testing.T) {
	for name, o := range map[string]Options{"memory": {}, "disk": {Dir: t.TempDir(), FS: vfs.Default}} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, o)
			var acked atomic.Int64
			stop := make(chan struct{})
			var writers sync.WaitGroup
			for w := range 4 {
				writers.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						if r := appendTo(s, fmt.Sprint("s-", w), Any, w<<20|i); r.Err != nil {
							t.Error(r.Err)
							return
						}
						acked.Add(1)
					}
				})
			}
			for round := range 3 {
				for acked.Load() < int64(200*(round+1)) {
					if _, err := s.Stream("$streams"); err != nil { // the copy has the indexes too
						t.Fatal(err)
					}
				}
				before := acked.Load()
				var archive bytes.Buffer
				m, err := s.Backup(t.Context(), &archive)
				if err != nil {
					t.Fatal(err)
				}
				if int64(m.Events) < before {
					t.Fatalf("%d events were acknowledged, but the backup has %d", before, m.Events)
				}
				fs := vfs.NewMem()
				report, err := Restore(t.Context(), fs, "copy", &archive)
				if err != nil || report.Events != m.Events {
					t.Fatalf("%+v, %v", report, err)
				}
				c, err := Open(Options{Dir: "copy", FS: fs})
				if err != nil {
					t.Fatal(err)
				}
				// The backup may hold events whose commit has not returned yet, which the store does not show until then.
				w := s.WatchAll()
				for s.End() < m.End {
					<-w.C
				}
				w.Close()
				original, copied := readAll(t, s), readAll(t, c)
				for i, r := range copied {
					if r.Position != original[i].Position || r.Hash() != original[i].Hash() {
						t.Fatalf("event %d differs", i)
					}
				}
				// The copy is a log that can be appended to.
				mustAppend(t, c, "s-0", Any, 1<<40)
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			close(stop)
			writers.Wait()
			names, err := s.opts.FS.List(s.opts.Dir)
			if err != nil || strings.Contains(strings.Join(names, " "), backupDir) {
				t.Errorf("left behind: %v, %v", names, err)
			}
		})
	}
}

func backupOf(t *testing.T, s *Store) []byte {
	t.Helper()
	var archive bytes.Buffer
	if _, err := s.Backup(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// TestBadBackupsAreRefused cuts and changes archives. A bad archive is not restored and leaves no files behind.
func TestBadBackupsAreRefused(t *testing.T) {
	s := openStore(t, Options{})
	for i := range 50 {
		mustAppend(t, s, "s", Any, i)
	}
	whole := backupOf(t, s)
	try := func(name string, archive []byte) {
		t.Helper()
		fs := vfs.NewMem()
		report, err := Restore(t.Context(), fs, "copy", bytes.NewReader(archive))
		if !errors.Is(err, ErrBadBackup) {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		if names, err := fs.List(""); err != nil || len(names) != 0 {
			t.Errorf("%s left %v behind, %v", name, names, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		n := rng.IntN(len(whole) - 1024) // the archive ends with two empty blocks
		try(fmt.Sprintf("cut after %d of %d bytes", n, len(whole)), whole[:n])
	}
	try("an empty archive", nil)
	try("nonsense", []byte(strings.Repeat("nonsense", 1000)))
	change := func(f func(h *tar.Header, content []byte) []byte) []byte {
		var out bytes.Buffer
		from, to := tar.NewReader(bytes.NewReader(whole)), tar.NewWriter(&out)
		for {
			h, err := from.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(from)
			if err != nil {
				t.Fatal(err)
			}
			content = f(h, content)
			if content == nil {
				continue
			}
			h.Size = int64(len(content))
			if err := to.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := to.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	manifest := func(old, new string) []byte {
		return change(func(h *tar.Header, content []byte) []byte {
			if h.Name == manifestName {
				return bytes.ReplaceAll(content, []byte(old), []byte(new))
			}
			return content
		})
	}
	try("another format", manifest(`"format": 1`, `"format": 2`))
	try("another number of events", manifest(`"events": 50`, `"events": 49`))
	try("an unknown field", manifest(`"format": 1`, `"format": 1, "more": 1`))
	try("a file outside the directory", change(func(h *tar.Header, content []byte) []byte {
		if h.Name == manifestName {
			return bytes.Replace(content, []byte(`"MANIFEST-`), []byte(`"../MANIFEST-`), 1)
		}
		if strings.HasPrefix(h.Name, "MANIFEST-") {
			h.Name = "../" + h.Name
		}
		return content
	}))
	try("a missing file", change(func(h *tar.Header, content []byte) []byte {
		if strings.HasPrefix(h.Name, "OPTIONS") {
			return nil
		}
		return content
	}))
	flipped := 0
	for range 40 {
		archive := bytes.Clone(whole)
		archive[rng.IntN(len(archive))] ^= 1 << rng.IntN(8)
		fs := vfs.NewMem()
		if report, err := Restore(t.Context(), fs, "copy", bytes.NewReader(archive)); err == nil {
			// The bit had no meaning, as in padding. Then the log must be complete.
			if report.Events != 50 || report.Damage != nil {
				t.Errorf("a flipped bit gave %+v", report)
			}
		} else {
			flipped++
		}
	}
	if flipped == 0 {
		t.Error("no flipped bit was noticed")
	}
}

func TestRestoreNeedsAnEmptyDirectory(t *testing.T) {
	s := openStore(t, Options{})
	mustAppend(t, s, "s", NoStream, 1)
	archive := backupOf(t, s)
	fs := vfs.NewMem()
	other := openStore(t, Options{Dir: "other", FS: fs})
	mustAppend(t, other, "o", NoStream, 1)
	if _, err := Restore(t.Context(), fs, "other", bytes.NewReader(archive)); !errors.Is(err, ErrNotEmpty) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Restore(ctx, fs, "new", bytes.NewReader(archive)); err == nil {
		t.Error("a cancelled restore succeeded")
	}
	if err := fs.MkdirAll("new", 0o755); err != nil {
		t.Fatal(err)
	}
	if report, err := Restore(t.Context(), fs, "new", bytes.NewReader(archive)); err != nil || report.Events != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestInterruptedBackup crashes in the middle of a backup, and has the reader of a backup go away.
func TestInterruptedBackup(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openStore(t, Options{FS: fs})
	for i := range 20 {
		mustAppend(t, s, "s", Any, i)
	}
	var crashed *vfs.MemFS
	broken := errors.New("the reader is gone")
	_, err := s.Backup(t.Context(), writerFunc(func(b []byte) (int, error) {
		if _, err := s.Backup(t.Context(), io.Discard); !errors.Is(err, ErrBackupRuns) {
			t.Errorf("a second backup at the same time: %v", err)
		}
		crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		return 0, broken
	}))
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := s.Backup(t.Context(), io.Discard); err != nil {
		t.Errorf("the backup after one that failed: %v", err)
	}
	after := openStore(t, Options{FS: crashed})
	if got := len(readAll(t, after)); got != 20 {
		t.Errorf("%d events after the crash", got)
	}
	if names, err := crashed.List("log"); err != nil || strings.Contains(strings.Join(names, " "), backupDir) {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
