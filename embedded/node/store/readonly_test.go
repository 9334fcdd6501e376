package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestReadOnlyOpenChangesNoFile verifies a log that a killed process left, with records in its write-ahead log only,
// and compares all files before and after.
func TestReadOnlyOpenChangesNoFile(t *testing.T) {
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Result, 1)
	for _, text := range []string{"1", "2", "3"} {
		a := &Append{Stream: "s-1", Expected: Any, Done: func(r Result) { done <- r },
			Events: []Proposed{Propose("s-1", NewID(), "T", true, nil, []byte(text))}}
		if err := s.Submit(a); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil { // as after kill -9: nothing was flushed
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := contents(t, copied)
	s, err = Open(Options{Dir: copied, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := s.Verify(context.Background()); err != nil || report.Damage != nil || report.Events != 3 {
		t.Errorf("%+v, %v", report, err)
	}
	var archive bytes.Buffer
	if m, err := s.Backup(context.Background(), &archive); err != nil || m.Events != 3 {
		t.Errorf("a backup: %+v, %v", m, err)
	}
	if report, err := Restore(context.Background(), nil, filepath.Join(t.TempDir(), "restored"), &archive); err != nil || report.Events != 3 {
		t.Errorf("its restore: %+v, %v", report, err)
	}
	if err := s.Submit(&Append{Stream: "s-1", Expected: Any, Done: func(Result) {}}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("an append: %v", err)
	}
	if err := s.PutNote("n", nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a note: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := contents(t, copied)
	if len(after) != len(before) {
		t.Errorf("%d files have become %d", len(before), len(after))
	}
	for name, sum := range before {
		if after[name] != sum {
			t.Errorf("%s was changed", name)
		}
	}
	empty := t.TempDir()
	if _, err := Open(Options{Dir: empty, ReadOnly: true}); !errors.Is(err, ErrNoStore) {
		t.Errorf("an empty directory: %v", err)
	}
	if left := contents(t, empty); len(left) != 0 {
		t.Errorf("the empty directory now holds %v", left)
	}
}

// contents returns the digests of all files of a directory by their paths.
func contents(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path) // #nosec G304 -- a file of the test
		all[path] = sha256.Sum256(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
