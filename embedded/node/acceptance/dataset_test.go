package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// The client's suite expects a database that only the container image of EventStoreDB has. This file rebuilds the parts
// that the suite's files describe: the first and the last events of the log, and two streams in between. Positions and
// times of recording cannot be rebuilt, because the server assigns them.

// expectation is one event as described in the client's files.
type expectation struct {
	Event struct {
		StreamID       string    `json:"streamId"`
		EventID        uuid.UUID `json:"eventId"`
		EventType      string    `json:"eventType"`
		EventData      []byte    `json:"eventData"`
		UserMetadata   []byte    `json:"userMetadata"`
		ContentType    string    `json:"contentType"`
		StreamRevision struct {
			Value uint64 `json:"value"`
		} `json:"streamRevision"`
		Position struct {
			Commit uint64 `json:"commit"`
		} `json:"position"`
	} `json:"event"`
}

// The files of expectations in the client's folder resources/test.
const (
	firstOfAll     = "all-e0-e10.json"
	allFrom1788    = "all-c1788-p1788.json"
	allBefore3386  = "all-back-c3386-p3386.json"
	lastOfAll      = "all-back-e0-e10.json"
	firstOfStream  = "dataset20M-1800-e0-e10.json"
	lastOfStream   = "dataset20M-1800-e1999-e1990.json"
	filterVersions = "all-versions-filtered-stream-194-e0-e30.json"
)

func readResource[T any](name string) ([]T, error) {
	dir, err := clientDir()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "resources", "test", name))
	if err != nil {
		return nil, err
	}
	var all []T
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s of the client: %w", name, err)
	}
	return all, nil
}

// populated creates a data directory with the data set, once. Nodes run on copies of it.
var populated = sync.OnceValues(func() (string, error) {
	if _, err := buildBinary(); err != nil { // before the minute begins, since a build without a cache takes longer
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := filepath.Join(sharedDir, "populated")
	n, err := startNode(ctx, dir, withoutUsers)
	if err != nil {
		return "", err
	}
	c, err := dial(n)
	if err == nil {
		err = populate(ctx, c)
		_ = c.Close()
	}
	if stopped := n.stop(); err == nil {
		err = stopped
	}
	return dir, err
})

// populatedCopy returns a copy of the populated data directory.
func populatedCopy(to string) error {
	from, err := populated()
	if err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// builder appends the events of the data set.
type builder struct {
	client *esdb.Client
	next   map[string]uint64                 // by stream, the next revision
	known  map[string]map[uint64]expectation // by stream and revision
}

func populate(ctx context.Context, c *esdb.Client) error {
	b := builder{client: c, next: map[string]uint64{}, known: map[string]map[uint64]expectation{}}
	for _, file := range []string{firstOfAll, allFrom1788, lastOfAll, firstOfStream, lastOfStream} {
		events, err := readResource[expectation](file)
		if err != nil {
			return err
		}
		for _, e := range events {
			stream := e.Event.StreamID
			if b.known[stream] == nil {
				b.known[stream] = map[uint64]expectation{}
			}
			b.known[stream][e.Event.StreamRevision.Value] = e
		}
	}
	steps := []func() error{
		func() error { return b.run(ctx, firstOfAll) },
		func() error { return b.run(ctx, allFrom1788) },
		func() error { return b.upTo(ctx, "dataset20M-0", 2000) },
		func() error { return b.upTo(ctx, "dataset20M-1800", 2000) },
		func() error { return b.upTo(ctx, "dataset20M-0", 6000) },
		func() error { return b.run(ctx, lastOfAll) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// run appends the events of a file, which are adjacent in the log, and before them the earlier events of their streams.
func (b *builder) run(ctx context.Context, file string) error {
	events, err := readResource[expectation](file)
	if err != nil {
		return err
	}
	slices.SortFunc(events, func(a, b expectation) int { return int(a.Event.Position.Commit) - int(b.Event.Position.Commit) })
	first := map[string]uint64{}
	for _, e := range events {
		if _, seen := first[e.Event.StreamID]; !seen {
			first[e.Event.StreamID] = e.Event.StreamRevision.Value
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(first)) {
		if err := b.upTo(ctx, stream, first[stream]); err != nil {
			return err
		}
	}
	for _, e := range events {
		if err := b.upTo(ctx, e.Event.StreamID, e.Event.StreamRevision.Value+1); err != nil {
			return err
		}
	}
	return nil
}

// upTo appends to a stream until it holds count events: those that the files describe, and similar ones between them.
func (b *builder) upTo(ctx context.Context, stream string, count uint64) error {
	for b.next[stream] < count {
		var expected esdb.ExpectedRevision = esdb.NoStream{}
		if next := b.next[stream]; next > 0 {
			expected = esdb.Revision(next - 1)
		}
		var batch []esdb.EventData
		for r := b.next[stream]; r < count && len(batch) < 500; r++ {
			batch = append(batch, b.event(stream, r))
		}
		if _, err := b.client.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: expected}, batch...); err != nil {
			return fmt.Errorf("populate %s at %d: %w", stream, b.next[stream], err)
		}
		b.next[stream] += uint64(len(batch))
	}
	return nil
}

// event returns the event at a revision of a stream. In the streams dataset20M-N the data repeat every 200 events.
func (b *builder) event(stream string, revision uint64) esdb.EventData {
	if e, known := b.known[stream][revision]; known {
		contentType := esdb.ContentTypeBinary
		if e.Event.ContentType == "application/json" {
			contentType = esdb.ContentTypeJson
		}
		return esdb.EventData{
			EventID: e.Event.EventID, EventType: e.Event.EventType, ContentType: contentType,
			Data: e.Event.EventData, Metadata: e.Event.UserMetadata,
		}
	}
	var first uint64
	_, _ = fmt.Sscanf(stream, "dataset20M-%d", &first)
	number := first + revision%200
	return esdb.EventData{
		EventID:     uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s@%d", stream, revision)),
		EventType:   fmt.Sprint("eventType-", number),
		ContentType: esdb.ContentTypeJson,
		Data:        fmt.Appendf(nil, `{"somedata" : %d}`, number),
		Metadata:    fmt.Appendf(nil, `{"metadata" : %d}`, number),
	}
}

// TestReadsOfTheDataSet replaces those tests of the client that also compare positions and times and therefore cannot
// run. It checks that reads return the expected events in the expected order.
func TestReadsOfTheDataSet(t *testing.T) {
	slow(t)
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := populatedCopy(dir); err != nil {
		t.Fatal(err)
	}
	c := connect(t, runNode(t, dir, withoutUsers))

	at := map[uuid.UUID]esdb.Position{} // positions of the first events
	var position3386 esdb.Position      // the position that the suite knows as 3386
	head, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{From: esdb.Start{}}, 20)
	for _, e := range collect(t, head, err) {
		at[e.OriginalEvent().EventID] = e.OriginalEvent().Position
		position3386 = e.OriginalEvent().Position
	}
	position1788, found := at[resource[expectation](t, allFrom1788)[0].Event.EventID]
	if !found {
		t.Fatal("the event that the suite knows at position 1788 is not among the first of the log")
	}
	all := func(direction esdb.Direction, from esdb.AllPosition) []*esdb.ResolvedEvent {
		events, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{Direction: direction, From: from, ResolveLinkTos: true}, 10)
		return collect(t, events, err)
	}
	stream := func(direction esdb.Direction, from esdb.StreamPosition) []*esdb.ResolvedEvent {
		o := esdb.ReadStreamOptions{Direction: direction, From: from, ResolveLinkTos: true}
		events, err := c.ReadStream(t.Context(), "dataset20M-1800", o, 10)
		return collect(t, events, err)
	}
	for file, got := range map[string][]*esdb.ResolvedEvent{
		firstOfAll:    all(esdb.Forwards, esdb.Start{}),
		allFrom1788:   all(esdb.Forwards, position1788),
		allBefore3386: all(esdb.Backwards, position3386),
		lastOfAll:     all(esdb.Backwards, esdb.End{}),
		firstOfStream: stream(esdb.Forwards, esdb.Start{}),
		lastOfStream:  stream(esdb.Backwards, esdb.End{}),
	} {
		t.Run(file, func(t *testing.T) {
			want := resource[expectation](t, file)
			if len(got) != len(want) {
				t.Fatalf("%d events, want %d", len(got), len(want))
			}
			for i := range want {
				same(t, got[i].OriginalEvent(), want[i])
			}
		})
	}

	t.Run(filterVersions, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		subscription, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{},
			Filter: &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: []string{"eventType-194"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = subscription.Close() }()
		var last uint64
		for i, want := range resource[uint64](t, filterVersions) {
			e := appeared(t, subscription)
			if e.EventNumber != want || e.Position.Commit <= last {
				t.Fatalf("event %d is %s@%d at position %d, want revision %d behind position %d",
					i, e.StreamID, e.EventNumber, e.Position.Commit, want, last)
			}
			last = e.Position.Commit
		}
	})
}

func resource[T any](t *testing.T, name string) []T {
	t.Helper()
	all, err := readResource[T](name)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func collect(t *testing.T, events *esdb.ReadStream, err error) []*esdb.ResolvedEvent {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	var all []*esdb.ResolvedEvent
	for {
		e, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// appeared returns the next event of a subscription.
func appeared(t *testing.T, s *esdb.Subscription) *esdb.RecordedEvent {
	t.Helper()
	for {
		switch e := s.Recv(); {
		case e.EventAppeared != nil:
			return e.EventAppeared.OriginalEvent()
		case e.SubscriptionDropped != nil:
			t.Fatal(e.SubscriptionDropped.Error)
		}
	}
}

func same(t *testing.T, got *esdb.RecordedEvent, want expectation) {
	t.Helper()
	w := want.Event
	if got.EventID != w.EventID || got.EventType != w.EventType || got.StreamID != w.StreamID ||
		got.EventNumber != w.StreamRevision.Value || got.ContentType != w.ContentType ||
		!bytes.Equal(got.Data, w.EventData) || !bytes.Equal(got.UserMetadata, w.UserMetadata) {
		t.Errorf("got %s@%d %s %s %s, want %s@%d %s %s %s, or data or metadata differ",
			got.StreamID, got.EventNumber, got.EventID, got.EventType, got.ContentType,
			w.StreamID, w.StreamRevision.Value, w.EventID, w.EventType, w.ContentType)
	}
}
