package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "log"
	}
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func number(n int) ID {
	var id ID
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func events(stream string, ids ...int) []Proposed {
	proposed := make([]Proposed, len(ids))
	for i, id := range ids {
		proposed[i] = Propose(stream, number(id), "T", true, nil, fmt.Appendf(nil, `{"n":%d}`, id))
	}
	return proposed
}

func do(s *Store, a Append) Result {
	outcome := make(chan Result, 1)
	a.Done = func(r Result) { outcome <- r }
	if err := s.Submit(&a); err != nil {
		return Result{Err: err, Revision: -1}
	}
	return <-outcome
}

func appendTo(s *Store, stream string, expected int64, ids ...int) Result {
	return do(s, Append{Stream: stream, Expected: expected, Events: events(stream, ids...)})
}

func mustAppend(t testing.TB, s *Store, stream string, expected int64, ids ...int) Result {
	t.Helper()
	r := appendTo(s, stream, expected, ids...)
	if r.Err != nil {
		t.Fatalf("append to %s: %v", stream, r.Err)
	}
	return r
}

func readAll(t fataler, s *Store) []*Record {
	t.Helper()
	var all []*Record
	for from := uint64(0); ; {
		n := len(all)
		var err error
		if all, _, err = s.ReadForward(from, all, Page{Events: 100, Bytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		if len(all) == n {
			return all
		}
		from = all[len(all)-1].Next()
	}
}

func TestLockedDirectory(t *testing.T) {
	fs := vfs.NewMem()
	openStore(t, Options{FS: fs})
	if _, err := Open(Options{Dir: "log", FS: fs}); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second store in one directory: %v", err)
	}
}

func TestForeignSchemaIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	openStore(t, Options{FS: fs}).Close()
	withDatabase(t, fs, func(db *pebble.DB) {
		value, closer, err := db.Get(keyState)
		check(t, err)
		changed := append([]byte{}, value...)
		check(t, closer.Close())
		binary.BigEndian.PutUint32(changed, schemaVersion+1)
		check(t, db.Set(keyState, changed, pebble.Sync))
	})
	if _, err := Open(Options{Dir: "log", FS: fs}); !errors.Is(err, ErrSchema) {
		t.Fatalf("a log of another schema: %v", err)
	}
}

// fataler is the common interface of *testing.T, *testing.B and *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func check(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withDatabase opens the database below a closed store.
func withDatabase(t *testing.T, fs vfs.FS, f func(db *pebble.DB)) {
	t.Helper()
	db, err := pebble.Open("log", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: pebbleLogger{quiet()}})
	check(t, err)
	f(db)
	check(t, db.Close())
}

func TestVerifyNamesTheFirstDamagedRecord(t *testing.T) {
	const damaged = 4 // of seven events, the fifth
	change := func(f func(value []byte) []byte) func(*testing.T, *pebble.DB, *Record) {
		return func(t *testing.T, db *pebble.DB, r *Record) {
			check(t, db.Set(eventKey(r.Position), f(append([]byte{}, r.raw...)), pebble.Sync))
		}
	}
	for name, damage := range map[string]func(*testing.T, *pebble.DB, *Record){
		"one bit of the data":       change(func(v []byte) []byte { v[len(v)-3] ^= 1; return v }),
		"one bit of the hash":       change(func(v []byte) []byte { v[1] ^= 1; return v }),
		"the time of writing":       change(func(v []byte) []byte { v[bodyOffset+20] ^= 1; return v }),
		"the format version":        change(func(v []byte) []byte { v[0] = 9; return v }),
		"a byte at the end is gone": change(func(v []byte) []byte { return v[:len(v)-1] }),
		"the value is empty":        change(func([]byte) []byte { return nil }),
		"a length":                  change(func(v []byte) []byte { v[bodyOffset+44] = 0xff; return v }),
		"the record is gone": func(t *testing.T, db *pebble.DB, r *Record) {
			check(t, db.Delete(eventKey(r.Position), pebble.Sync))
		},
		"another hash chain from there": func(t *testing.T, db *pebble.DB, r *Record) {
			// The forger computes the record's hash from a wrong predecessor. With the right one, the next record's hash would
			// not fit.
			links := newChain(Hash{1})
			v := append([]byte{}, r.raw...)
			links.advance(r.Position, v)
			copy(v[1:], links.hash[:])
			check(t, db.Set(eventKey(r.Position), v, pebble.Sync))
		},
		"the index of revisions": func(t *testing.T, db *pebble.DB, r *Record) {
			check(t, db.Delete(streamKey(r.StreamID, r.Revision), pebble.Sync))
		},
		"the index points elsewhere": func(t *testing.T, db *pebble.DB, r *Record) {
			check(t, db.Set(streamKey(r.StreamID, r.Revision), make([]byte, 8), pebble.Sync))
		},
		"the index of names": func(t *testing.T, db *pebble.DB, r *Record) {
			check(t, db.Delete(nameKey(string(r.Stream())), pebble.Sync))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openStore(t, Options{FS: fs})
			for i := range 7 {
				mustAppend(t, s, fmt.Sprint("s", i), NoStream, i)
			}
			records := readAll(t, s)
			report, err := s.Verify(t.Context())
			if err != nil || report.Damage != nil || report.Events != 7 || report.Streams != 7 || report.End != s.End() {
				t.Fatalf("before the damage: %+v, %v", report, err)
			}
			check(t, s.Close())
			withDatabase(t, fs, func(db *pebble.DB) { damage(t, db, records[damaged]) })

			s = openStore(t, Options{FS: fs})
			report, err = s.Verify(t.Context())
			if err != nil || report.Damage == nil || report.Damage.Position != records[damaged].Position || report.Events != damaged {
				t.Fatalf("report %+v, %v; the damage is at %d", report, err, records[damaged].Position)
			}
		})
	}
}

func TestVerifyFindsIndexEntriesWithoutRecords(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, Options{FS: fs})
	r := mustAppend(t, s, "s", NoStream, 1, 2)
	check(t, s.Close())
	withDatabase(t, fs, func(db *pebble.DB) {
		check(t, db.Set(nameKey("another"), eventKey(r.Position)[1:], pebble.Sync))
	})
	s = openStore(t, Options{FS: fs})
	report, err := s.Verify(t.Context())
	if err != nil || report.Damage == nil || report.Events != 2 {
		t.Fatalf("report %+v, %v", report, err)
	}
}

func TestLogWithoutItsLastRecordIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, Options{FS: fs})
	mustAppend(t, s, "s", NoStream, 1, 2)
	last := readAll(t, s)[1]
	check(t, s.Close())
	withDatabase(t, fs, func(db *pebble.DB) { check(t, db.Delete(eventKey(last.Position), pebble.Sync)) })
	if _, err := Open(Options{Dir: "log", FS: fs}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a log without its last event: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	s := openStore(t, Options{QueueLength: 4, QueueBytes: 1000})
	if r := do(s, Append{Stream: "s", Expected: Any, Events: events("s", 1), Size: 1001}); !errors.Is(r.Err, ErrQueueFull) {
		t.Fatalf("an append larger than the queue: %v", r.Err)
	}
	// Done blocks the committer, so the queue fills: the committer holds one append, the sequencer one batch, and the
	// queue at most four appends.
	release := make(chan struct{})
	entered := make(chan struct{})
	check(t, s.Submit(&Append{Stream: "s", Expected: Any, Events: events("s", 1), Done: func(Result) { close(entered); <-release }}))
	<-entered
	var err error
	outcomes := make(chan Result, 20000)
	taken := 0
	for err == nil && taken < cap(outcomes) {
		err = s.Submit(&Append{Stream: "s", Expected: Any, Events: events("s", 2+taken), Done: func(r Result) { outcomes <- r }})
		if err == nil {
			taken++
		}
	}
	if !errors.Is(err, ErrQueueFull) {
		t.Fatalf("the queue took %d appends: %v", taken, err)
	}
	close(release)
	for range taken {
		if r := <-outcomes; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	mustAppend(t, s, "s", Any, 1_000_000)
}

func TestClosedStore(t *testing.T) {
	s := openStore(t, Options{})
	mustAppend(t, s, "s", NoStream, 1)
	check(t, s.Close())
	if r := appendTo(s, "s", Any, 2); !errors.Is(r.Err, ErrClosed) {
		t.Fatalf("append to a closed store: %v", r.Err)
	}
	if _, err := s.Verify(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatalf("verify a closed store: %v", err)
	}
	if st := s.Stats(); st.Events != 1 || st.LastPosition != FirstPosition {
		t.Fatalf("statistics of a closed store: %+v", st)
	}
	check(t, s.Close())
}

// TestAppendsDependOnEventsNotYetDurable blocks the committer, so that many appends depend on events that the database
// does not have yet, in more streams than the cache of heads holds.
func TestAppendsDependOnEventsNotYetDurable(t *testing.T) {
	s := openStore(t, Options{HeadStreams: 1, RecentEvents: 1})
	mustAppend(t, s, "first", NoStream, 1)
	release, entered := make(chan struct{}), make(chan struct{})
	block := func(Result) { close(entered); <-release }
	check(t, s.Submit(&Append{Stream: "first", Expected: 0, Events: events("first", 2), Done: block}))
	<-entered
	const streams = 50
	type step struct {
		append Append
		want   Result
	}
	var steps []step
	then := func(a Append, want Result) { steps = append(steps, step{a, want}) }
	each := func(f func(name string, id int)) {
		for i := range streams {
			f(fmt.Sprint("s", i), 1000*i)
		}
	}
	each(func(name string, id int) {
		then(Append{Stream: name, Expected: NoStream, Events: events(name, id, id+1)}, Result{Revision: 1})
	})
	each(func(name string, id int) {
		then(Append{Stream: name, Expected: 1, Events: events(name, id)}, Result{Revision: 2}) // a repeated id
	})
	each(func(name string, id int) {
		then(Append{Stream: name, Expected: 0, Events: events(name, id+5)}, Result{Err: ErrWrongRevision, Revision: 2})
	})
	each(func(name string, id int) {
		then(Append{Stream: name, Kind: Delete, Expected: 2}, Result{Revision: 0})
	})
	each(func(name string, id int) {
		then(Append{Stream: name, Expected: NoStream, Events: events(name, id+9)}, Result{Revision: 3})
	})
	each(func(name string, id int) { // recognised, although recent has the first id only for a later event
		then(Append{Stream: name, Expected: NoStream, Events: events(name, id, id+1)}, Result{Revision: 1})
	})
	outcomes := make([]chan Result, len(steps))
	for i := range steps {
		outcomes[i] = make(chan Result, 1)
		steps[i].append.Done = func(r Result) { outcomes[i] <- r }
		check(t, s.Submit(&steps[i].append))
	}
	close(release)
	for i, step := range steps {
		if r := <-outcomes[i]; !errors.Is(r.Err, step.want.Err) || r.Revision != step.want.Revision {
			t.Fatalf("%s, expected %d: %+v, should be %+v", step.append.Stream, step.append.Expected, r, step.want)
		}
	}
	report, err := s.Verify(t.Context())
	if err != nil || report.Damage != nil || report.Streams != 1+2*streams {
		t.Fatalf("%+v, %v", report, err)
	}
}
