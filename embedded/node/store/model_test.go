package store

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// TestAppendAgainstModel compares the answers of a store that has caches of a few entries with a model that keeps
// everything: the store must find on disk what its caches have dropped.
func TestAppendAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkModel(t, rapid.SampledFrom([]int{2, 1 << 20}).Draw(t, "events whose ids are remembered"))
	})
}

type modelEvent struct {
	id       int
	position uint64
}

func checkModel(t *rapid.T, recent int) {
	o := Options{Dir: "log", FS: vfs.NewMem(), HeadStreams: 2, RecentEvents: recent, TailEvents: 3}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	model := map[string][]modelEvent{}
	stream := rapid.StringMatching("[a-p]") // twice as many as are kept in memory
	// occursAt reports whether the stream holds the ids from revision on.
	occursAt := func(held []modelEvent, ids []int, revision int) bool {
		if revision < 0 || revision+len(ids) > len(held) {
			return false
		}
		for i, id := range ids {
			if held[revision+i].id != id {
				return false
			}
		}
		return true
	}
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			name := stream.Draw(t, "stream")
			held := model[name]
			ids := rapid.SliceOfN(rapid.IntRange(0, 8), 0, 3).Draw(t, "ids")
			last := int64(len(held)) - 1
			expected := rapid.SampledFrom([]int64{NoStream, Any, StreamExists, 0, 1, 2, last, last}).Draw(t, "expected")
			r := appendTo(s, name, expected, ids...)

			wrote := r.Err == nil && len(ids) > 0 && r.Revision == last+int64(len(ids)) &&
				(last < 0 || r.Position > held[last].position)
			repeated := r.Err == nil && !wrote
			switch {
			case expected == StreamExists && last < 0:
				if !errors.Is(r.Err, ErrWrongRevision) {
					t.Fatalf("stream_exists for a stream without events: %+v", r)
				}
			case expected == Any || expected == StreamExists:
				known := false
				for _, id := range ids {
					for _, e := range held {
						known = known || e.id == id
					}
				}
				if !known && len(ids) > 0 && !wrote {
					t.Fatalf("unknown ids were not written: %+v", r)
				}
			case expected == last:
				if len(ids) > 0 && !wrote {
					t.Fatalf("the expected revision is right, but nothing was written: %+v", r)
				}
			case expected > last:
				if !errors.Is(r.Err, ErrWrongRevision) {
					t.Fatalf("a revision beyond the end: %+v", r)
				}
			default:
				stored := len(ids) > 0 && occursAt(held, ids, int(expected)+1)
				if stored != repeated || !stored && !errors.Is(r.Err, ErrWrongRevision) {
					t.Fatalf("revision %d of %d, stored before: %v, got %+v", expected, last, stored, r)
				}
				if stored && r.Revision != expected+int64(len(ids)) {
					t.Fatalf("a repetition at %d is answered with %d", expected, r.Revision)
				}
			}
			if errors.Is(r.Err, ErrWrongRevision) && r.Revision != last {
				t.Fatalf("a conflict reports revision %d instead of %d", r.Revision, last)
			}
			if repeated && len(ids) > 0 {
				// Without an exact revision the ids may be stored in another order; the answer is that of the last one.
				first, inOrder := int(r.Revision)-len(ids)+1, ids
				if expected == Any || expected == StreamExists {
					first, inOrder = int(r.Revision), ids[len(ids)-1:]
				}
				if !occursAt(held, inOrder, first) || held[r.Revision].position != r.Position {
					t.Fatalf("the events are not stored at revision %d, position %d: %+v", r.Revision, r.Position, held)
				}
			}
			if wrote {
				first := r.Revision - int64(len(ids)) + 1
				for i, id := range ids {
					at, err := s.streamRecord(mustID(t, s, name), uint64(first)+uint64(i))
					if err != nil || at.ID != number(id) {
						t.Fatalf("revision %d after the append: %+v, %v", first+int64(i), at, err)
					}
					held = append(held, modelEvent{id, at.Position})
				}
				model[name] = held
			}
		},
		"reopen": func(t *rapid.T) {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(o); err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, held := range model {
				total += len(held)
			}
			report, err := s.Verify(t.Context())
			if err != nil || report.Damage != nil || report.Events != uint64(total) {
				t.Fatalf("verify: %+v, %v; the model holds %d events", report, err, total)
			}
		},
		"": func(t *rapid.T) {
			for name, held := range model {
				st, err := s.Stream(name)
				if err != nil || st.Last != int64(len(held))-1 {
					t.Fatalf("%s is at %d, %v; the model holds %d events", name, st.Last, err, len(held))
				}
			}
		},
	})
}

func mustID(t *rapid.T, s *Store, name string) uint64 {
	id, err := s.streamID(name)
	if err != nil || id == 0 {
		t.Fatalf("stream %s has id %d: %v", name, id, err)
	}
	return id
}
