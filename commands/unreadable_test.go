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
	recordAs(t, tr, diary.WindowMissed{Patient: tr.patient, Instrument: "pain-diary"}, func(missed domain.EventType) domain.EventType {
		missed.Upcasts = append(slices.Clone(missed.Upcasts), domain.Unchanged)
		return missed
	})
}

// unreadable is a missed window whose fields no program can read.
type unreadable struct {
	Patient int `json:"patient"`
}

// recordUnreadable records one, in its place in the chain.
func recordUnreadable(t *testing.T, tr trial) {
	t.Helper()
	recordAs(t, tr, unreadable{Patient: 7}, func(domain.EventType) domain.EventType { return domain.Stored[unreadable]("DiaryWindowMissed") })
}

// recordAs records an event by a program that has another idea of missed windows.
func recordAs(t *testing.T, tr trial, recorded any, of func(domain.EventType) domain.EventType) {
	t.Helper()
	streams := slices.Clone(contexts.Streams())
	diaries := slices.IndexFunc(streams, func(s domain.StreamType) bool { return s.Category == diary.Decider.Category })
	streams[diaries].Events = slices.Clone(streams[diaries].Events)
	for i, event := range streams[diaries].Events {
		if event.Name == "DiaryWindowMissed" {
			streams[diaries].Events[i] = of(event)
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
		recorded); err != nil {
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

// TestADiaryIsKeptBesideAnUnreadableEvent: commands on the stream are refused, and what the patient has captured is held all the same.
func TestADiaryIsKeptBesideAnUnreadableEvent(t *testing.T) {
	p, other := run(t), run(t)
	tr := newTrial(t, p)
	tr.must(tr.self, tr.entry(4, 5))
	recordUnreadable(t, tr)
	tr.refused("record_unreadable", tr.self, diary.SetDiaryLanguage{OfPatient: domain.ForPatient(tr.patient), Language: "de"})
	held := tr.must(tr.self, tr.entry(5, 5))
	if held.Held == nil || held.Held.Why != diary.WhyDamaged {
		t.Fatalf("an entry is answered %+v", held)
	}
	for key, at := range map[string]process{"": p, "a key": p, "another key": other} {
		again, err := at.as(tr.self, key, tr.entry(5, 5))
		if err != nil || len(again.Events) != 1 || again.Events[0].ID != held.Events[0].ID || again.Held == nil {
			t.Errorf("the same entry is answered %+v, %v", again, err)
		}
	}
	wrong := tr.entry(6, 5)
	wrong.Zone = "Mars/Olympus"
	tr.refused("unknown_zone", tr.self, wrong) // the app can mend that, whatever the stream is like
}
