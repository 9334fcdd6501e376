package commands_test

import (
	"slices"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// recordNewer records a missed window in a schema version that no program of today knows.
func recordNewer(t *testing.T, tr trial) {
	t.Helper()
	streams := slices.Clone(contexts.Streams())
	of := slices.IndexFunc(streams, func(s domain.StreamType) bool { return s.Category == diary.Decider.Category })
	streams[of].Events = slices.Clone(streams[of].Events)
	for i, event := range streams[of].Events {
		if event.Name == "DiaryWindowMissed" {
			streams[of].Events[i].Upcasts = append(slices.Clone(event.Upcasts), domain.Unchanged)
		}
	}
	newer, err := eventlog.Connect(t.Context(),
		eventlog.Options{URL: eventStoreURL, Registry: eventlog.NewRegistry(streams...)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = newer.Close() }()
	stream := diary.Decider.Stream(string(tr.patient))
	last, found, err := newer.Last(t.Context(), stream)
	if err != nil || !found {
		t.Fatalf("the diary has no end: %v", err)
	}
	if _, err := newer.Append(t.Context(), stream, eventlog.TailAfter(last), uuid.New(), eventlog.Metadata{Actor: "process", RecordedAt: now},
		diary.WindowMissed{Patient: tr.patient, Instrument: "pain-diary"}); err != nil {
		t.Fatal(err)
	}
}

// TestAnEventOfANewerProgramStopsOnlyItsStream: commands on the stream are to be sent again, since another server may be the
// newer program. Everything else goes on.
func TestAnEventOfANewerProgramStopsOnlyItsStream(t *testing.T) {
	p, other := run(t), run(t)
	tr, sound := newTrial(t, p), newTrial(t, p)
	tr.must(tr.self, tr.entry(4, 5))
	recordNewer(t, tr)
	for name, at := range map[string]process{"a program that knew the stream": p, "another program": other} {
		_, err := at.as(tr.self, "", tr.entry(5, 5))
		if r, is := refuse.As(err); !is || r.Code != "record_newer" || r.Kind != refuse.KindOverload {
			t.Errorf("%s answers %v", name, err)
		}
		if err := at.Ready(t.Context()); err != nil {
			t.Errorf("%s is not ready: %v", name, err)
		}
	}
	sound.must(sound.self, sound.entry(4, 5))
}
