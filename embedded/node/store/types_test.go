package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logOfTypes is a log of 12 MB, in which one event in 25 is of a rare type.
func logOfTypes(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s := openStore(t, Options{Dir: "log", FS: fs})
	rng := rand.New(rand.NewPCG(3, 4))
	data := make([]byte, 1000)
	for range 1200 {
		var batch []Proposed
		stream := fmt.Sprint("patient-", rng.IntN(50))
		for range 10 {
			eventType := "Common"
			if n := rng.IntN(50); n < 2 {
				eventType = []string{"RareA", "RareB"}[n]
			}
			batch = append(batch, Propose(stream, NewID(), eventType, false, nil, data))
		}
		if r := do(s, Append{Stream: stream, Expected: Any, Events: batch}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return s
}

// readTypes reads a log as a reader of some types does, and returns the positions of the events, and how many the indexes gave.
func readTypes(t *testing.T, s *Store, from uint64, selects func([]byte) bool) (positions []uint64, indexed int) {
	t.Helper()
	page, byIndex := Page{Events: 7, Bytes: 1 << 20}, true
	for {
		var records []*Record
		next := from
		if byIndex {
			var err error
			if records, next, byIndex, err = s.ReadTypes(from, selects, nil, page); err != nil {
				t.Fatal(err)
			}
			indexed += len(records)
		}
		if !byIndex {
			var err error
			if records, _, err = s.ReadForward(from, nil, page); err != nil {
				t.Fatal(err)
			}
			if len(records) == 0 {
				return positions, indexed
			}
			next = records[len(records)-1].Next()
		}
		for _, r := range records {
			if selects(r.Type()) {
				positions = append(positions, r.Position)
			} else if byIndex {
				t.Fatalf("an event of type %s was read", r.Type())
			}
		}
		if byIndex && next <= from {
			t.Fatalf("reading goes on at %d, behind %d", next, from)
		}
		from = next
	}
}

// TestReadTypesReadsWhatIsThere: whoever reads few types, from wherever, gets the same events as one who reads them all.
func TestReadTypesReadsWhatIsThere(t *testing.T) {
	fs := vfs.NewMem()
	s := logOfTypes(t, fs)
	all := readAll(t, s)
	if end := s.End(); end < typesFrom+2<<20 {
		t.Fatalf("the log has %d bytes only", end)
	}
	for name, selects := range map[string]func([]byte) bool{
		"rare":    func(b []byte) bool { return string(b) == "RareA" || string(b) == "RareB" },
		"one":     func(b []byte) bool { return string(b) == "RareB" },
		"none":    func([]byte) bool { return false },
		"common":  func(b []byte) bool { return string(b) == "Common" },
		"links":   func(b []byte) bool { return string(b) == LinkType || string(b) == "RareA" },
		"unknown": func(b []byte) bool { return string(b) == "Unknown" },
	} {
		for _, from := range []uint64{0, all[1].Position, all[1].Position + 1, all[2000].Next(), all[len(all)-2000].Position, s.End()} {
			var want []uint64
			for _, r := range all {
				if r.Position >= from && selects(r.Type()) {
					want = append(want, r.Position)
				}
			}
			got, indexed := readTypes(t, s, from, selects)
			if !slices.Equal(got, want) {
				t.Errorf("%s from %d: %d events instead of %d", name, from, len(got), len(want))
			}
			if uses := name == "rare" || name == "one"; uses != (indexed > 0) && from < all[3000].Position || !uses && indexed > 0 {
				t.Errorf("%s from %d: the indexes gave %d events", name, from, indexed)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reading, err := Open(Options{Dir: "log", FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Close() }()
	if _, _, ok, err := reading.ReadTypes(0, func(b []byte) bool { return string(b) == "RareA" }, nil, Page{1, 1}); ok || err != nil {
		t.Errorf("a log that is open for reading only was indexed: %v, %v", ok, err)
	}
}
