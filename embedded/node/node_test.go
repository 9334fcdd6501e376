package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// openNode starts a node on a free port, with a directory of its own, until the end of the test.
func openNode(t testing.TB, change ...func(*Options)) *Node {
	t.Helper()
	o := Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	for _, f := range change {
		f(&o)
	}
	n, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close node: %v", err)
		}
	})
	return n
}

// connect returns an official client that is connected to the node.
func connect(t testing.TB, n *Node) *esdb.Client {
	t.Helper()
	return connectTo(t, n.ConnectionString())
}

func connectTo(t testing.TB, connection string) *esdb.Client {
	t.Helper()
	config, err := esdb.ParseConnectionString(connection)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = func(esdb.LogLevel, string, ...any) {}
	client, err := esdb.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func event(eventType, data string) esdb.EventData {
	return esdb.EventData{
		EventID: uuid.New(), EventType: eventType, ContentType: esdb.ContentTypeJson,
		Data: []byte(data), Metadata: []byte(`{"by":"test"}`),
	}
}

func numbered(eventType string, from, n int) []esdb.EventData {
	events := make([]esdb.EventData, n)
	for i := range events {
		events[i] = event(eventType, fmt.Sprintf(`{"n":%d}`, from+i))
	}
	return events
}

func mustAppend(t testing.TB, c *esdb.Client, stream string, expected esdb.ExpectedRevision, events ...esdb.EventData) *esdb.WriteResult {
	t.Helper()
	r, err := c.AppendToStream(context.Background(), stream, esdb.AppendToStreamOptions{ExpectedRevision: expected}, events...)
	if err != nil {
		t.Fatalf("append to %s: %v", stream, err)
	}
	return r
}

// drain reads a read stream to its end. The error is that of opening it.
func drain(t testing.TB, s *esdb.ReadStream, err error) []*esdb.ResolvedEvent {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all []*esdb.ResolvedEvent
	for {
		e, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		all = append(all, e)
	}
}

func TestClientAppendsReadsSubscribes(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	ctx := t.Context()
	sub, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	r := mustAppend(t, c, "visit-1", esdb.NoStream{}, numbered("Planned", 0, 3)...)
	if r.NextExpectedVersion != 2 {
		t.Fatalf("revision %d after three events", r.NextExpectedVersion)
	}
	s, err := c.ReadStream(ctx, "visit-1", esdb.ReadStreamOptions{}, 10)
	got := drain(t, s, err)
	if len(got) != 3 || string(got[2].Event.Data) != `{"n":2}` || got[2].Event.EventNumber != 2 {
		t.Fatalf("read %d events: %+v", len(got), got)
	}
	all, err := c.ReadAll(ctx, esdb.ReadAllOptions{}, 10)
	if got := drain(t, all, err); len(got) != 3 {
		t.Fatalf("read %d events of $all", len(got))
	}
	for i := 0; i < 3; {
		e := sub.Recv()
		if e.SubscriptionDropped != nil {
			t.Fatal(e.SubscriptionDropped.Error)
		}
		if e.EventAppeared != nil {
			if e.EventAppeared.Event.EventNumber != uint64(i) {
				t.Fatalf("event %d was delivered instead of %d", e.EventAppeared.Event.EventNumber, i)
			}
			i++
		}
	}
	_, err = c.AppendToStream(ctx, "visit-1", esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}, event("Planned", "{}"))
	if e, _ := esdb.FromError(err); e == nil || e.Code() != esdb.ErrorCodeWrongExpectedVersion {
		t.Fatalf("an append that expects no stream: %v", err)
	}
	report, err := n.Verify(ctx)
	if err != nil || report.Damage != nil || report.Events != 3 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
}
