package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readIndex returns the data of an index's links, and checks that their numbers have no gaps.
func readIndex(t *testing.T, s *Store, name string) []string {
	t.Helper()
	st, err := s.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	var links []string
	for from := uint64(0); st.ID != 0; {
		records, err := s.ReadStreamForward(st.ID, from, nil, Page{Events: 7, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		for _, r := range records {
			if r.Revision != from || string(r.Stream()) != name || string(r.Type()) != LinkType {
				t.Fatalf("%s has %s/%d %s instead of number %d", name, r.Stream(), r.Revision, r.Type(), from)
			}
			links = append(links, string(r.Data()))
			from++
		}
	}
	if int64(len(links)) != st.Last+1 {
		t.Fatalf("%s has %d links and should end at %d", name, len(links), st.Last)
	}
	return links
}

// indexesOf returns the links that every index should have, by name.
func indexesOf(records []*Record) map[string][]string {
	want := map[string][]string{}
	for _, r := range records {
		stream, link := string(r.Stream()), fmt.Sprintf("%d@%s", r.Revision, r.Stream())
		if string(r.Type()) == LinkType {
			continue
		}
		want["$et-"+string(r.Type())] = append(want["$et-"+string(r.Type())], link)
		if stream[0] == '$' {
			continue
		}
		if category, _, ok := strings.Cut(stream, "-"); ok && category != "" {
			want["$ce-"+category] = append(want["$ce-"+category], link)
		}
		if r.Revision == 0 {
			want["$streams"] = append(want["$streams"], link)
		}
	}
	return want
}

// TestIndexesSurviveCrashes appends, reads an index at random moments, crashes, and compares every index with the log.
func TestIndexesSurviveCrashes(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	fs := vfs.NewCrashableMem()
	names := []string{"patient-1", "patient-2", "site-1", "plain", "-odd", "$system-1"}
	for round := range 12 {
		s, err := Open(Options{Dir: "log", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			stream := names[rng.IntN(len(names))]
			p := Propose(stream, NewID(), []string{"A", "B", LinkType}[rng.IntN(3)], true, nil, []byte("0@plain"))
			if r := do(s, Append{Stream: stream, Expected: Any, Events: []Proposed{p}}); r.Err != nil {
				t.Fatal(r.Err)
			}
			if rng.IntN(20) == 0 {
				readIndex(t, s, "$ce-patient")
			}
			if i == 45 {
				// The next round opens the disk as a crash at this moment leaves it.
				fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * (round % 3), RNG: rng})
			}
		}
		want := indexesOf(readAll(t, s))
		for name, links := range want {
			if got := readIndex(t, s, name); !slices.Equal(got, links) {
				t.Fatalf("round %d: %s links to %v instead of %v", round, name, got, links)
			}
		}
		for _, name := range []string{"$ce-", "$ce-nothing", "$et-$>", "$ce-$system"} {
			if got := readIndex(t, s, name); len(got) != 0 {
				t.Errorf("%s links to %v", name, got)
			}
		}
		if report, err := s.Verify(t.Context()); err != nil || report.Damage != nil {
			t.Fatalf("verify: %+v, %v", report, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkIndex(b *testing.B) {
	s := openStore(b, Options{Dir: b.TempDir(), FS: vfs.Default})
	done := make(chan struct{}, 1024)
	for i := range b.N {
		stream := fmt.Sprint("patient-", i%10000)
		done <- struct{}{}
		a := Append{Stream: stream, Expected: Any, Events: events(stream, i), Done: func(Result) { <-done }}
		if err := s.Submit(&a); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(done) {
		done <- struct{}{}
	}
	b.ResetTimer()
	if st, err := s.Stream("$ce-patient"); err != nil || st.Last != int64(b.N)-1 {
		b.Fatal(st, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
