package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"casebook/audit"
	"casebook/domain"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/google/uuid"
)

type noted struct {
	Text string `json:"text"`
}

type counted struct {
	N int `json:"n"`
}

// world is a log of its own.
type world struct {
	*testing.T
	url string
	log *eventlog.Log
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url, stop, err := storetest.EventStore(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: eventlog.NewRegistry(
		domain.StreamType{Category: "note", Events: []domain.EventType{domain.Stored[noted]("Noted")}},
		domain.StreamType{Category: "count", Events: []domain.EventType{domain.Stored[counted]("Counted")}})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(log.Close(), stop()); err != nil {
			t.Error(err)
		}
	})
	return &world{T: t, url: url, log: log}
}

// record appends as the program does.
func (w *world) record(stream string, tail eventlog.Tail, at time.Time, events ...any) eventlog.Tail {
	w.Helper()
	id := uuid.New()
	out, err := w.log.Append(w.Context(), stream, tail, id,
		eventlog.Metadata{Actor: "crc", RecordedAt: at, CommandID: id.String()}, events...)
	if err != nil {
		w.Fatal(err)
	}
	return out.Tail
}

// forge appends as somebody does who knows how we store events. Without an id, it computes the right one.
func (w *world) forge(stream string, id uuid.UUID, eventType, data string, m eventlog.Metadata) {
	w.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		w.Fatal(err)
	}
	if id == uuid.Nil {
		id = eventlog.EventID(uuid.MustParse(m.CommandID), 0, []byte(data), raw)
	}
	if _, err := storetest.ForgeAs(w.Context(), w.url, stream, id, eventType, []byte(data), raw); err != nil {
		w.Fatal(err)
	}
}

func (w *world) verify() (audit.Summary, []string) {
	w.Helper()
	var found []string
	summary, err := audit.Verify(w.Context(), w.log, func(f audit.Finding) { found = append(found, string(f.Check)+" "+f.Stream) })
	if err != nil {
		w.Fatal(err)
	}
	return summary, found
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	w, at := newWorld(t), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tail := w.record("note-1", eventlog.EmptyTail, at, noted{"a"}, noted{"b"})
	w.record("note-1", tail, at.Add(time.Second), noted{"c"})
	if summary, found := w.verify(); len(found) > 0 || summary.Events != 3 || summary.Streams != 1 {
		t.Fatalf("a sound log has %v: %+v", found, summary)
	}
	command := uuid.New().String()
	sound := eventlog.Metadata{Actor: "crc", RecordedAt: at, CommandID: command, Schema: 1}
	with := func(change func(*eventlog.Metadata)) eventlog.Metadata {
		m := sound
		change(&m)
		return m
	}
	// A forger who computes the hash is found by the id.
	tail = w.record("note-2", eventlog.EmptyTail, at, noted{"a"})
	w.forge("note-2", uuid.New(), "Noted", `{"text":"x"}`, with(func(m *eventlog.Metadata) { m.PreviousHash = tail.Hash }))
	w.record("note-3", eventlog.EmptyTail, at, noted{"a"})
	w.forge("note-3", uuid.New(), "Noted", `{"text":"x"}`, with(func(m *eventlog.Metadata) { m.PreviousHash = tail.Hash }))
	w.forge("note-4", uuid.New(), "Noted", `{"text":"x"}`, eventlog.Metadata{})
	w.forge("note-5", uuid.Nil, "Noted", `{"text":"x"}`, with(func(m *eventlog.Metadata) { m.Schema = 9 }))
	w.forge("note-6", uuid.New(), "Counted", `{"n":1}`, sound)
	w.forge("note-7", uuid.Nil, "Noted", `{"text":"x"}`, with(func(m *eventlog.Metadata) { m.Actor = "" }))
	// The first event of a stream has no hash to hold.
	w.forge("note-8", uuid.New(), "Noted", `{"text":"x"}`, sound)
	w.forge("note-9", uuid.New(), "Noted", `{"text":"x"}`, with(func(m *eventlog.Metadata) { m.CommandID = "" }))
	w.forge("crm-1", uuid.New(), "Noted", `{"text":"another program's"}`, eventlog.Metadata{})
	w.record("count-1", eventlog.EmptyTail, at.Add(2*time.Hour), counted{1})
	w.record("count-2", eventlog.EmptyTail, at.Add(time.Hour), counted{1})
	summary, found := w.verify()
	want := []string{"chain note-2", "chain note-3", "chain note-4", "schema note-5", "chain note-6", "metadata note-7",
		"chain note-8", "chain note-9", "clock count-2"}
	if !slices.Equal(found, want) {
		t.Errorf("found %v\nwant  %v", found, want)
	}
	if summary.Findings != 8 || summary.Notices != 1 || summary.Damaged != 6 {
		t.Errorf("the summary is %+v", summary)
	}
}

func TestVerifyOfAnEmptyLog(t *testing.T) {
	w := newWorld(t)
	if summary, found := w.verify(); len(found) > 0 || summary.Events != 0 {
		t.Errorf("%v, %+v", found, summary)
	}
}
