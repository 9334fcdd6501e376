package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

func setMetadata(t fataler, s *Store, stream, metadata string) {
	t.Helper()
	name := metaPrefix + stream
	p := Propose(name, NewID(), MetadataType, true, nil, []byte(metadata))
	check(t, do(s, Append{Stream: name, Expected: Any, Events: []Proposed{p}}).Err)
}

func scavenge(t fataler, s *Store, o ScavengeOptions) ScavengeReport {
	t.Helper()
	report, err := s.Scavenge(context.Background(), o)
	check(t, err)
	return report
}

// visible returns what a reader of the stream gets: revision, id and data of each event that metadata do not hide.
func visible(t fataler, s *Store, stream string) []string {
	t.Helper()
	st, err := s.Stream(stream)
	check(t, err)
	if st.ID == 0 || st.Deleted || st.Tombstoned {
		return nil
	}
	records, err := s.ReadStreamForward(st.ID, 0, nil, Page{Events: 1 << 30, Bytes: 1 << 30})
	check(t, err)
	var got []string
	for _, r := range records {
		if !st.Hides(r, s.Now()) {
			got = append(got, fmt.Sprintf("%d:%x:%s", r.Revision, r.ID, r.Data()))
		}
	}
	return got
}

// sound verifies the log and returns the report.
func sound(t fataler, s *Store) VerifyReport {
	t.Helper()
	report, err := s.Verify(context.Background())
	if err != nil || report.Damage != nil {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	if report.Events != s.Stats().Events || report.End != s.End() {
		t.Fatalf("verify saw %+v, the store has %+v", report, s.Stats())
	}
	// Verifying record by record must agree with the comparison in bulk.
	snapshot := s.db.NewSnapshot()
	defer snapshot.Close()
	byRecord, err := verify(context.Background(), s.closing, snapshot)
	if err != nil || byRecord != report {
		t.Fatalf("record by record: %+v, %v; in bulk %+v", byRecord, err, report)
	}
	return report
}

// TestScavengeRemovesHiddenEvents scavenges streams that hide events in every possible way.
func TestScavengeRemovesHiddenEvents(t *testing.T) {
	fs := vfs.NewMem()
	var skew atomic.Int64
	o := Options{FS: fs, Clock: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }}
	s := openStore(t, o)
	for _, name := range []string{"plain", "counted", "aged", "truncated", "deleted", "revived", "ended", "kept"} {
		mustAppend(t, s, name, NoStream, 1, 2, 3, 4, 5)
	}
	setMetadata(t, s, "counted", `{"$maxCount":9}`)
	setMetadata(t, s, "counted", `{"$maxCount":2}`)
	setMetadata(t, s, "aged", `{"$maxAge":60}`)
	setMetadata(t, s, "truncated", `{"$tb":3}`)
	setMetadata(t, s, "ended", `{"$maxCount":4}`)
	setMetadata(t, s, "ended", `{"$maxCount":3}`)
	setMetadata(t, s, "kept", `{"$maxCount":9}`)
	setMetadata(t, s, "kept", `{"$maxCount":1}`)
	for _, name := range []string{"deleted", "revived"} {
		check(t, do(s, Append{Stream: name, Kind: Delete, Expected: Any}).Err)
	}
	check(t, do(s, Append{Stream: "ended", Kind: Tombstone, Expected: Any}).Err)
	mustAppend(t, s, "revived", NoStream, 6)
	skew.Store(int64(time.Hour))
	before := map[string][]string{}
	names := []string{"plain", "counted", "aged", "truncated", "deleted", "revived", "kept"}
	for _, name := range names {
		before[name] = visible(t, s, name)
	}
	all := len(readAll(t, s))

	want := ScavengeReport{Events: 3 + 5 + 3 + 5 + 5 + 5 /* streams */ + 1 + 1 + 1 /* metastreams */, Streams: 9}
	planned := scavenge(t, s, ScavengeOptions{Keep: []string{"kep"}, DryRun: true})
	if planned.Events != want.Events || planned.Streams != want.Streams || len(readAll(t, s)) != all {
		t.Fatalf("the dry run reports %+v and leaves %d of %d events", planned, len(readAll(t, s)), all)
	}
	report := scavenge(t, s, ScavengeOptions{Keep: []string{"kep"}, By: "anna"})
	if report != planned {
		t.Fatalf("it reports %+v, the dry run %+v", report, planned)
	}
	for range 2 { // the second time after opening the log again
		if got := sound(t, s); got.Scavenged != want.Events || got.Streams != 8+7+1 {
			t.Fatalf("verify counts %+v", got)
		}
		for _, name := range names {
			if got := visible(t, s, name); !slices.Equal(got, before[name]) {
				t.Errorf("%s shows %v, before it showed %v", name, got, before[name])
			}
		}
		forward := readAll(t, s)
		backward, err := s.ReadBackward(s.End(), nil, Page{Events: 1 << 30, Bytes: 1 << 30})
		check(t, err)
		slices.Reverse(backward)
		same := func(a, b *Record) bool { return a.Position == b.Position }
		if len(forward) != all-int(want.Events)+1 || !slices.EqualFunc(forward, backward, same) {
			t.Fatalf("$all has %d events forwards, %d backwards, of %d", len(forward), len(backward), all)
		}
		for _, r := range forward {
			if name := string(r.Stream()); name == "ended" && !r.IsTombstone() || name == "counted" && r.Revision < 3 {
				t.Errorf("%s still has revision %d", name, r.Revision)
			}
		}
		var announced announcement
		last := forward[len(forward)-1]
		check(t, json.Unmarshal(last.Data(), &announced))
		if string(last.Stream()) != ScavengeStream || announced.By != "anna" ||
			announced.Events != want.Events || announced.Streams != want.Streams {
			t.Errorf("the last event is %s in %s", last.Data(), last.Stream())
		}
		check(t, s.Close())
		s = openStore(t, o)
	}
	if again := scavenge(t, s, ScavengeOptions{Keep: []string{"kep"}}); again.Events != 0 || s.Stats().Events != uint64(all)+1 {
		t.Fatalf("a second scavenge removes %+v", again)
	}
	// The numbering goes on, repeated appends do not match removed events, and other metadata bring no event back.
	if r := mustAppend(t, s, "deleted", NoStream, 9); r.Revision != 5 {
		t.Errorf("the deleted stream goes on at revision %d", r.Revision)
	}
	for _, name := range []string{"counted", "aged"} {
		if r := appendTo(s, name, NoStream, 1, 2); !errors.Is(r.Err, ErrWrongRevision) || r.Revision != 4 {
			t.Errorf("a repetition of scavenged events of %s: %+v", name, r)
		}
	}
	if r := appendTo(s, "plain", NoStream, 1, 2); r.Err != nil || r.Revision != 1 {
		t.Errorf("a repetition of stored events: %+v", r)
	}
	for _, name := range []string{"aged", "counted", "deleted"} {
		setMetadata(t, s, name, `{}`)
	}
	a, c, d := visible(t, s, "aged"), visible(t, s, "counted"), visible(t, s, "deleted")
	if len(a) != 0 || len(c) != 2 || len(d) != 1 {
		t.Errorf("without limits the streams show %v, %v and %v", a, c, d)
	}
	if r := mustAppend(t, s, "aged", 4, 7); r.Revision != 5 || len(visible(t, s, "aged")) != 1 {
		t.Errorf("the aged stream goes on at %d", r.Revision)
	}
	if r := appendTo(s, "ended", Any, 1); !errors.Is(r.Err, ErrStreamDeleted) {
		t.Errorf("a tombstoned stream: %+v", r)
	}
	target, err := s.Resolve(linkRecord(t, s, "4@aged"), s.Now())
	if err != nil || target != nil {
		t.Errorf("a link to a scavenged event is resolved to %v, %v", target, err)
	}
	sound(t, s)
}

func linkRecord(t *testing.T, s *Store, to string) *Record {
	t.Helper()
	p := Propose("links", NewID(), LinkType, false, nil, []byte(to))
	r := do(s, Append{Stream: "links", Expected: Any, Events: []Proposed{p}})
	check(t, r.Err)
	found, err := s.record(r.Position)
	check(t, err)
	return found
}

// TestScavengedIDsAreForgotten: a repeated append does not match scavenged events whose ids were in memory.
func TestScavengedIDsAreForgotten(t *testing.T) {
	s := openStore(t, Options{})
	mustAppend(t, s, "s", NoStream, 1, 2, 3)
	if r := appendTo(s, "s", Any, 1); r.Revision != 0 {
		t.Fatalf("before: %+v", r)
	}
	setMetadata(t, s, "s", `{"$maxCount":1}`)
	scavenge(t, s, ScavengeOptions{})
	if r := appendTo(s, "s", NoStream, 1); !errors.Is(r.Err, ErrWrongRevision) {
		t.Errorf("at its revision: %+v", r)
	}
	if r := appendTo(s, "s", Any, 1); r.Err != nil || r.Revision != 3 {
		t.Errorf("with any revision: %+v", r)
	}
	if r := appendTo(s, "s", Any, 3); r.Err != nil || r.Revision != 2 {
		t.Errorf("an event that was not removed: %+v", r)
	}
}

func TestOnlyTheStoreWritesAnnouncements(t *testing.T) {
	s := openStore(t, Options{})
	for _, kind := range []Kind{Events, Delete, Tombstone} {
		r := do(s, Append{Stream: ScavengeStream, Kind: kind, Expected: Any, Events: events(ScavengeStream, 1)})
		if !errors.Is(r.Err, ErrReserved) {
			t.Errorf("kind %d: %+v", kind, r)
		}
	}
	mustAppend(t, s, "$scavenges-of-mine", Any, 1)
	// The stream's metadata can be written. Announcements that they hide are written and kept all the same.
	setMetadata(t, s, ScavengeStream, fmt.Sprintf(`{"$tb":%d}`, int64(deletedBefore)))
	mustAppend(t, s, "s", NoStream, 1, 2, 3)
	setMetadata(t, s, "s", `{"$maxCount":1}`)
	for range 2 {
		scavenge(t, s, ScavengeOptions{})
		announcements := 0
		for _, r := range readAll(t, s) {
			if string(r.Type()) == ScavengeType {
				announcements++
			}
		}
		if report, err := s.Verify(t.Context()); err != nil || report.Damage != nil || report.Scavenged != 2 || announcements != 1 {
			t.Errorf("%d announcements: %+v, %v", announcements, report, err)
		}
	}
}

// TestVerifyFindsForgedStubs replaces records by stubs, and changes and removes stubs and their index entries.
func TestVerifyFindsForgedStubs(t *testing.T) {
	change := func(at int, f func(s *stub)) func(*testing.T, *pebble.DB, []uint64) {
		return func(t *testing.T, db *pebble.DB, positions []uint64) {
			value, closer, err := db.Get(eventKey(positions[at]))
			check(t, err)
			s, err := parseStub(positions[at], value)
			check(t, errors.Join(err, closer.Close()))
			f(&s)
			check(t, db.Set(eventKey(positions[at]), s.encode(nil), pebble.Sync))
		}
	}
	forge := func(at int, announcedAt int) func(*testing.T, *pebble.DB, []uint64) {
		return func(t *testing.T, db *pebble.DB, positions []uint64) {
			value, closer, err := db.Get(eventKey(positions[at]))
			check(t, err)
			r, err := parseRecord(positions[at], append([]byte{}, value...))
			check(t, errors.Join(err, closer.Close()))
			s := stub{
				position: r.Position, hash: r.Hash(), streamID: r.StreamID, revision: r.Revision, size: uint32(r.Size()),
				announced: positions[announcedAt],
			}
			if s.first() {
				s.name = nameHash(r.Stream())
			}
			check(t, db.Set(eventKey(r.Position), s.encode(nil), pebble.Sync))
			check(t, db.Delete(streamKey(r.StreamID, r.Revision), pebble.Sync))
		}
	}
	// The events of the log by index: 0 and 1 are of the stream kept, 2 to 5 of gone, 6 is the metadata of gone, 7 of
	// kept, 8 the announcement, 9 of kept.
	const announcement = 8
	for name, test := range map[string]struct {
		damage func(*testing.T, *pebble.DB, []uint64)
		at     int // the index of the record that Verify must name, or -1
	}{
		"a record becomes a stub of the same announcement": {forge(1, announcement), 1},
		"a record becomes a stub of an event":              {forge(0, 7), 0},
		"a record becomes a stub of the last event":        {forge(1, 9), 1},
		"a record becomes a stub without announcement": {func(t *testing.T, db *pebble.DB, p []uint64) {
			forge(1, announcement)(t, db, p)
			change(1, func(s *stub) { s.announced = p[9] + 4096 })(t, db, p)
		}, 1},
		"a stub has another hash":          {change(3, func(s *stub) { s.hash[5] ^= 1 }), 2},
		"a stub has another size":          {change(3, func(s *stub) { s.size++ }), -1},
		"a stub has another revision":      {change(3, func(s *stub) { s.revision += 7 }), 3},
		"a stub is of another stream":      {change(3, func(s *stub) { s.streamID += 7 }), 3},
		"a stub has another stream's name": {change(2, func(s *stub) { s.name[0] ^= 1 }), 2},
		"a stub says that it is indexed":   {change(3, func(s *stub) { s.indexed = true }), 3},
		"a stub says that it is not":       {change(5, func(s *stub) { s.indexed = false }), 5},
		"a stub is announced elsewhere":    {change(3, func(s *stub) { s.announced = 0 }), 3},
		"a stub is gone": {func(t *testing.T, db *pebble.DB, p []uint64) {
			check(t, db.Delete(eventKey(p[4]), pebble.Sync))
		}, 4},
		"a byte of a stub is gone": {func(t *testing.T, db *pebble.DB, p []uint64) {
			value, closer, err := db.Get(eventKey(p[4]))
			check(t, err)
			short := append([]byte{}, value[:len(value)-1]...)
			check(t, closer.Close())
			check(t, db.Set(eventKey(p[4]), short, pebble.Sync))
		}, 4},
		"the name of a stream that begins with a stub is gone": {func(t *testing.T, db *pebble.DB, _ []uint64) {
			check(t, db.Delete(nameKey("gone"), pebble.Sync))
		}, 2},
		"such a stream is renamed": {func(t *testing.T, db *pebble.DB, p []uint64) {
			check(t, db.Delete(nameKey("gone"), pebble.Sync))
			check(t, db.Set(nameKey("gnoe"), binary.BigEndian.AppendUint64(nil, p[2]), pebble.Sync))
		}, 2},
		"the index has a scavenged revision again": {func(t *testing.T, db *pebble.DB, p []uint64) {
			check(t, db.Set(streamKey(p[2], 1), binary.BigEndian.AppendUint64(nil, p[3]), pebble.Sync))
		}, 3},
		"the index has lost the last revision": {func(t *testing.T, db *pebble.DB, p []uint64) {
			check(t, db.Delete(streamKey(p[2], 3), pebble.Sync))
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openStore(t, Options{FS: fs})
			var positions []uint64
			at := func(r Result) { positions = append(positions, r.Position) }
			at(mustAppend(t, s, "kept", NoStream, 1))
			at(mustAppend(t, s, "kept", 0, 2))
			for i := range 4 {
				at(mustAppend(t, s, "gone", int64(i)-1, i))
			}
			at(do(s, Append{Stream: "gone", Kind: Delete, Expected: Any}))
			at(mustAppend(t, s, "kept", 1, 3))
			if report := scavenge(t, s, ScavengeOptions{}); report.Events != 4 {
				t.Fatalf("%+v", report)
			}
			positions = append(positions, s.Stats().LastPosition)
			at(mustAppend(t, s, "kept", 2, 4))
			sound(t, s)
			check(t, s.Close())
			withDatabase(t, fs, func(db *pebble.DB) { test.damage(t, db, positions) })

			s = openStore(t, Options{FS: fs})
			report, err := s.Verify(t.Context())
			if err != nil || report.Damage == nil {
				t.Fatalf("no damage is found: %+v, %v", report, err)
			}
			want := positions[4] + 1 // where the next record should be after a stub that is one byte too large
			if test.at >= 0 {
				want = positions[test.at]
			}
			if report.Damage.Position != want {
				t.Errorf("the damage is found at %d instead of %d: %s", report.Damage.Position, want, report.Damage.Reason)
			}
		})
	}
}

// TestVerifyFindsAnnouncementWithoutStubs puts a scavenged record back.
func TestVerifyFindsAnnouncementWithoutStubs(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, Options{FS: fs})
	first := mustAppend(t, s, "s", NoStream, 1)
	mustAppend(t, s, "s", 0, 2)
	original, closer, err := s.db.Get(eventKey(first.Position))
	check(t, err)
	original = append([]byte{}, original...)
	check(t, closer.Close())
	setMetadata(t, s, "s", `{"$maxCount":1}`)
	scavenge(t, s, ScavengeOptions{})
	announcedAt := s.Stats().LastPosition
	check(t, s.Close())
	withDatabase(t, fs, func(db *pebble.DB) {
		check(t, db.Set(eventKey(first.Position), original, pebble.Sync))
		check(t, db.Set(streamKey(first.Position, 0), binary.BigEndian.AppendUint64(nil, first.Position), pebble.Sync))
	})
	s = openStore(t, Options{FS: fs})
	report, err := s.Verify(t.Context())
	if err != nil || report.Damage == nil || report.Damage.Position != announcedAt {
		t.Fatalf("%+v, %v; the announcement is at %d", report, err, announcedAt)
	}
}

// TestReadersSkipLongRunsOfStubs: a run of stubs that is longer than any page does not look like the end of the log.
func TestReadersSkipLongRunsOfStubs(t *testing.T) {
	s := openStore(t, Options{})
	mustAppend(t, s, "a", NoStream, 1)
	const n = 5000
	for i := 0; i < n; i += 50 {
		ids := make([]int, 50)
		for j := range ids {
			ids[j] = i + j
		}
		mustAppend(t, s, "long", int64(i)-1, ids...)
	}
	mustAppend(t, s, "b", NoStream, 2)
	setMetadata(t, s, "long", `{"$maxCount":1}`)
	for range 2 { // first from memory, then from disk
		if report := scavenge(t, s, ScavengeOptions{}); report.Events != n-1 && report.Events != 0 {
			t.Fatalf("%+v", report)
		}
		want := []string{"a", "long", "b", "$$long"}
		for range sound(t, s).Events - n - 3 {
			want = append(want, ScavengeStream)
		}
		var got []string
		for from := uint64(0); ; {
			page, _, err := s.ReadForward(from, nil, Page{Events: 1, Bytes: 1})
			check(t, err)
			if len(page) == 0 {
				break
			}
			got = append(got, string(page[0].Stream()))
			from = page[0].Next()
		}
		var backwards []string
		for before := s.End(); ; {
			page, err := s.ReadBackward(before, nil, Page{Events: 1, Bytes: 1})
			check(t, err)
			if len(page) == 0 {
				break
			}
			backwards = append(backwards, string(page[0].Stream()))
			before = page[0].Position
		}
		slices.Reverse(backwards)
		if !slices.Equal(got, want) || !slices.Equal(backwards, want) {
			t.Fatalf("forwards %v, backwards %v, want %v", got, backwards, want)
		}
		st, err := s.Stream("long")
		check(t, err)
		one, err := s.ReadStreamForward(st.ID, 0, nil, Page{Events: 1, Bytes: 1})
		if err != nil || len(one) != 1 || one[0].Revision != n-1 {
			t.Fatalf("the stream has %v, %v", one, err)
		}
		check(t, s.Close())
		s = openStore(t, s.opts)
	}
}

// TestScavengeFreesSpace compares the size of the files before and after a scavenge.
func TestScavengeFreesSpace(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, Options{FS: fs})
	random := make([]byte, 3000) // cannot be compressed
	const n = 4000
	outcomes := make(chan Result, n)
	for i := range n {
		for j := range random {
			random[j] = byte(rand.Uint32())
		}
		p := Propose("s", number(i), "T", false, nil, random)
		a := Append{Stream: "s", Expected: int64(i) - 1, Events: []Proposed{p}, Done: func(r Result) { outcomes <- r }}
		check(t, s.Submit(&a))
	}
	for range n {
		check(t, (<-outcomes).Err)
	}
	setMetadata(t, s, "s", `{"$maxCount":10}`)
	size := func() (total int64) {
		check(t, s.Close())
		names, err := fs.List("log")
		check(t, err)
		for _, name := range names {
			info, err := fs.Stat(fs.PathJoin("log", name))
			check(t, err)
			total += info.Size()
		}
		s = openStore(t, Options{FS: fs})
		return total
	}
	// Compact everything to the bottom level, where only the compaction of the scavenge removes records.
	check(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
	size()
	before := size()
	report := scavenge(t, s, ScavengeOptions{})
	if report.Events != n-10 || report.Bytes < report.Events*3000 {
		t.Fatalf("%+v", report)
	}
	size() // opening the store again removes a log file with earlier writes
	if after := size(); after > before/10 {
		t.Fatalf("%d bytes of %d are left", after, before)
	}
	if got := sound(t, s); got.Scavenged != n-10 {
		t.Fatalf("%+v", got)
	}
}

// TestScavengeAgainstModel changes metadata, appends and scavenges at random, and compares the visible events of every
// stream before and after each scavenge.
func TestScavengeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var skew atomic.Int64
		o := Options{Dir: "log", FS: vfs.NewMem(), HeadStreams: 2, TailEvents: rapid.SampledFrom([]int{2, 1000}).Draw(t, "tail"),
			Clock: func() time.Time { return time.Unix(1e9, 0).Add(time.Duration(skew.Load())) }}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		streams := []string{"a", "b", "c", "keep-a", "keep-b"}
		stream := rapid.SampledFrom(streams)
		nextID := 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				name := stream.Draw(t, "stream")
				ids := make([]int, rapid.IntRange(1, 4).Draw(t, "events"))
				for i := range ids {
					nextID++
					ids[i] = nextID
				}
				if r := appendTo(s, name, Any, ids...); r.Err != nil && !errors.Is(r.Err, ErrStreamDeleted) {
					t.Fatal(r.Err)
				}
			},
			"metadata": func(t *rapid.T) {
				name := metaPrefix + stream.Draw(t, "stream")
				data := rapid.SampledFrom([]string{
					`{}`, `{"$maxCount":2}`, `{"$maxAge":30}`, `{"$tb":3}`, `{"$maxCount":1,"$maxAge":90}`,
				}).Draw(t, "metadata")
				p := Propose(name, NewID(), MetadataType, true, nil, []byte(data))
				if r := do(s, Append{Stream: name, Expected: Any, Events: []Proposed{p}}); r.Err != nil && !errors.Is(r.Err, ErrStreamDeleted) {
					t.Fatal(r.Err)
				}
			},
			"delete": func(t *rapid.T) {
				kind := rapid.SampledFrom([]Kind{Delete, Delete, Delete, Tombstone}).Draw(t, "kind")
				r := do(s, Append{Stream: stream.Draw(t, "stream"), Kind: kind, Expected: Any})
				missing := kind == Delete && errors.Is(r.Err, ErrWrongRevision) && r.Revision == -1
				if r.Err != nil && !errors.Is(r.Err, ErrStreamDeleted) && !missing {
					t.Fatal(r.Err)
				}
			},
			"age": func(t *rapid.T) { skew.Add(int64(rapid.IntRange(1, 60).Draw(t, "seconds")) * int64(time.Second)) },
			"scavenge": func(t *rapid.T) {
				before := map[string]string{}
				last := map[string]Stream{}
				for _, name := range streams {
					before[name] = strings.Join(visible(t, s, name), " ")
					last[name], _ = s.Stream(name)
				}
				all, kept := readAll(t, s), 0
				for _, r := range all {
					if strings.HasPrefix(subjectOf(string(r.Stream())), "keep") {
						kept++
					}
				}
				report := scavenge(t, s, ScavengeOptions{Keep: []string{"keep"}})
				for _, name := range streams {
					if after := strings.Join(visible(t, s, name), " "); after != before[name] {
						t.Fatalf("%s shows %s, before it showed %s", name, after, before[name])
					}
					if st, _ := s.Stream(name); st != last[name] {
						t.Fatalf("%s is at %+v, before it was %+v", name, st, last[name])
					}
				}
				left := readAll(t, s)
				removed := uint64(len(all) - len(left)) // less the announcement, if there is one
				if report.Events > 0 && removed != report.Events-1 || report.Events == 0 && removed != 0 {
					t.Fatalf("%d events of %d are left, but the report is %+v", len(left), len(all), report)
				}
				hidden := map[uint64]Stream{}
				for _, r := range left {
					name := string(r.Stream())
					if subject := subjectOf(name); strings.HasPrefix(subject, "keep") {
						kept--
						continue
					}
					st, known := hidden[r.StreamID]
					if !known {
						st, _ = s.Stream(name)
						hidden[r.StreamID] = st
					}
					if IsMetastream(name) && r.Revision == uint64(st.Last) || r.IsTombstone() {
						continue
					}
					if st.Tombstoned || st.Hides(r, s.Now()) {
						t.Fatalf("%s at %d is hidden, but was not removed", name, r.Revision)
					}
				}
				if kept != 0 {
					t.Fatalf("%d events of kept streams are gone", kept)
				}
				if again := scavenge(t, s, ScavengeOptions{Keep: []string{"keep"}}); again.Events != 0 {
					t.Fatalf("a second scavenge removes %+v", again)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(o); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) { sound(t, s) },
		})
	})
}

// TestCrashDuringScavenge crashes while events are being scavenged and written. Each event must be a record or a stub,
// no acknowledged event may be lost, and events that a finished scavenge removed must stay removed.
func TestCrashDuringScavenge(t *testing.T) {
	disk := vfs.NewCrashableMem()
	var held sync.Mutex // held while a copy is checked; it stops the scavenge, which reads the clock for every stream
	s := openStore(t, Options{FS: disk, Clock: func() time.Time {
		held.Lock()
		defer held.Unlock()
		return time.Now()
	}})
	const streams, each = 40, 250
	for i := range streams {
		name := fmt.Sprint("gone", i)
		for n := 0; n < each; n += 50 {
			ids := make([]int, 50)
			for j := range ids {
				ids[j] = n + j
			}
			mustAppend(t, s, name, int64(n)-1, ids...)
		}
		check(t, do(s, Append{Stream: name, Kind: Delete, Expected: Any}).Err)
	}
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
	var finished ScavengeReport
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if finished, err = s.Scavenge(t.Context(), ScavengeOptions{Keep: []string{"w"}}); err != nil {
			t.Error(err)
		}
	}()
	seen := map[uint64]bool{}
	crashAndCheck := func(finished uint64) {
		acked := l.copy()
		clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(7, uint64(len(seen))))})
		l.gate.Lock()
		defer l.gate.Unlock()
		held.Lock()
		defer held.Unlock()
		if missing := audit(t, clone, acked); missing != 0 {
			t.Fatalf("%d acknowledged events are lost", missing)
		}
		after := openStore(t, Options{FS: clone})
		report := sound(t, after)
		if report.Scavenged < finished {
			t.Fatalf("%d events are stubs after %d were removed", report.Scavenged, finished)
		}
		seen[report.Scavenged] = true
		if len(seen)%2 == 0 { // another scavenge can remove the rest
			scavenge(t, after, ScavengeOptions{Keep: []string{"w"}})
			if got := sound(t, after); got.Scavenged != streams*each {
				t.Fatalf("after another scavenge %d events are stubs", got.Scavenged)
			}
		}
		check(t, after.Close())
	}
	w := s.WatchStream(ScavengeStream)
	defer w.Close()
	const crashes = 4
	for running := true; running; {
		select {
		case <-w.C:
			if len(seen) < crashes {
				crashAndCheck(0)
			}
		case <-done:
			running = false
		}
	}
	if finished.Events != streams*each {
		t.Fatalf("the scavenge reports %+v", finished)
	}
	crashAndCheck(finished.Events)
	close(stop)
	writers.Wait()
	if len(seen) < 3 {
		t.Fatalf("the crashes left only %d different numbers of stubs", len(seen))
	}
	t.Logf("the crashes left %d different numbers of stubs", len(seen))
	sound(t, s)
}

// TestScavengeChecksAgainBeforeRemoving changes metadata between the search for hidden events and their removal.
func TestScavengeChecksAgainBeforeRemoving(t *testing.T) {
	s := openStore(t, Options{})
	mustAppend(t, s, "s", NoStream, 1, 2, 3)
	mustAppend(t, s, "ended", NoStream, 1, 2)
	setMetadata(t, s, "s", `{"$maxCount":1}`)
	setMetadata(t, s, "ended", `{"$maxCount":1}`)
	g := scavenger{store: s}
	for _, name := range []string{"s", "ended"} {
		id, err := s.streamID(name)
		check(t, err)
		check(t, g.stream(t.Context(), name, id))
	}
	setMetadata(t, s, "s", `{}`)
	check(t, do(s, Append{Stream: "ended", Kind: Tombstone, Expected: Any}).Err)
	check(t, g.flush(t.Context()))
	if g.report.Events != 0 || len(visible(t, s, "s")) != 3 {
		t.Fatalf("%+v, visible are %v", g.report, visible(t, s, "s"))
	}
	// Both events of ended and the first metadata of s are removed.
	if report := scavenge(t, s, ScavengeOptions{}); report.Events != 2+1 {
		t.Fatalf("%+v", report)
	}
	sound(t, s)
}

func TestScavengeCanBeCancelled(t *testing.T) {
	s := openStore(t, Options{})
	for i := range 3000 {
		mustAppend(t, s, "s", int64(i)-1, i)
	}
	setMetadata(t, s, "s", `{"$maxCount":1}`)
	ctx, cancel := context.WithCancel(t.Context())
	w := s.WatchStream(ScavengeStream)
	defer w.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Scavenge(ctx, ScavengeOptions{})
		ended <- err
	}()
	<-w.C
	if _, err := s.Scavenge(t.Context(), ScavengeOptions{}); err != nil && !errors.Is(err, ErrScavengeRuns) {
		t.Fatalf("a second scavenge at the same time: %v", err)
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	sound(t, s)
	check(t, s.Close())
	if _, err := s.Scavenge(t.Context(), ScavengeOptions{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("a scavenge of a closed store: %v", err)
	}
}

// TestVerifyFindsGapsInRevisions: a gap in a stream's revisions is damage unless a scavenge made it.
func TestVerifyFindsGapsInRevisions(t *testing.T) {
	for _, scavenged := range []bool{false, true} {
		for name, damage := range map[string]func(db *pebble.DB, st *state, id uint64) uint64{
			"in the log": func(db *pebble.DB, st *state, id uint64) uint64 {
				// A record that fits the chain but skips revisions, as a faulty sequencer would write it.
				links := newChain(st.hash)
				p := Propose("s", number(9), "T", true, nil, nil)
				at := st.next
				raw := links.appendRecord(nil, &p, at, id, 7, 1)
				st.next, st.hash, st.events = at+uint64(len(raw)), links.hash, st.events+1
				check(t, db.Set(eventKey(at), raw, pebble.Sync))
				check(t, db.Set(streamKey(id, 7), binary.BigEndian.AppendUint64(nil, at), pebble.Sync))
				check(t, db.Set(keyState, st.encode(nil), pebble.Sync))
				return at
			},
			"in the index, far away": func(db *pebble.DB, st *state, id uint64) uint64 {
				check(t, db.Set(streamKey(id, 1<<62), binary.BigEndian.AppendUint64(nil, id), pebble.Sync))
				return st.next
			},
		} {
			t.Run(fmt.Sprintf("%s, scavenged %v", name, scavenged), func(t *testing.T) {
				fs := vfs.NewMem()
				s := openStore(t, Options{FS: fs})
				mustAppend(t, s, "s", NoStream, 1, 2, 3, 4)
				setMetadata(t, s, "s", `{"$maxCount":2}`)
				if scavenged {
					scavenge(t, s, ScavengeOptions{})
				}
				sound(t, s)
				st, err := s.loadState()
				check(t, err)
				id, err := s.streamID("s")
				check(t, err)
				check(t, s.Close())
				var at uint64
				withDatabase(t, fs, func(db *pebble.DB) { at = damage(db, &st, id) })
				s = openStore(t, Options{FS: fs})
				report, err := s.Verify(t.Context())
				if err != nil || report.Damage == nil || report.Damage.Position != at {
					t.Fatalf("%+v, %v; the damage is at %d", report, err, at)
				}
			})
		}
	}
}

func BenchmarkScavenge(b *testing.B) {
	const streams, each = 1000, 100
	data := []byte(fmt.Sprintf("%-480s", `{"diary":"pain"}`))
	for b.Loop() {
		b.StopTimer()
		s := openStore(b, Options{Dir: b.TempDir(), FS: vfs.Default})
		room := make(chan struct{}, 1024)
		for i := range streams * each {
			stream := fmt.Sprint("s", i%streams)
			p := Propose(stream, NewID(), "T", true, nil, data)
			room <- struct{}{}
			check(b, s.Submit(&Append{Stream: stream, Expected: Any, Events: []Proposed{p}, Done: func(Result) { <-room }}))
		}
		for i := range streams {
			setMetadata(b, s, fmt.Sprint("s", i), `{"$maxCount":1}`)
		}
		b.StartTimer()
		if report := scavenge(b, s, ScavengeOptions{}); report.Events != streams*(each-1) {
			b.Fatal(report)
		}
		b.StopTimer()
		check(b, s.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*streams*(each-1)/b.Elapsed().Seconds(), "events/s")
}
