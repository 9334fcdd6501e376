package pubsub_test

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// stored returns the events of a stream.
func stored(t *testing.T, n server, stream string) (events []*esdb.RecordedEvent) {
	t.Helper()
	read, err := clientOf(t, n).ReadStream(t.Context(), stream, esdb.ReadStreamOptions{From: esdb.Start{}}, math.MaxInt64)
	must(t, err)
	defer read.Close()
	for {
		e, err := read.Recv()
		if errors.Is(err, io.EOF) {
			return events
		}
		if e, ok := esdb.FromError(err); !ok && e.Code() == esdb.ErrorCodeResourceNotFound {
			return nil
		}
		must(t, err)
		events = append(events, e.Event)
	}
}

func TestPublishStoresOnce(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	two := func(ids ...string) (messages []*message.Message) {
		for _, id := range ids {
			messages = append(messages, message.NewMessage(id, []byte("{}")))
		}
		return messages
	}
	id, other := uuid.NewString(), uuid.NewString()
	must(t, p.Publish(topic, two(id, "01J0000000-a-ulid")...))
	must(t, p.Publish(topic, two(id, "01J0000000-a-ulid")...))
	must(t, p.Publish(topic, two(id)...))
	must(t, p.Publish(topic, two("")...))
	must(t, p.Publish(topic, two("")...)) // messages without an id are different ones
	if err := p.Publish(topic, two(id, other)...); !errors.Is(err, pubsub.ErrPartlyStored) {
		t.Errorf("a new message beside an old one: %v", err)
	}
	must(t, p.Publish(topic, two(other)...))
	var ids []uuid.UUID
	for _, e := range stored(t, theNode, topic) {
		ids = append(ids, e.EventID)
	}
	if len(ids) != 5 || ids[0] != uuid.MustParse(id) || ids[1] != pubsub.EventID("01J0000000-a-ulid") ||
		ids[2] == ids[3] || ids[4] != uuid.MustParse(other) {
		t.Errorf("stored %v", ids)
	}
}

func TestPublishStoresWhatItWasGiven(t *testing.T) {
	topic := uuid.NewString()
	p := newPublisher(t, theNode, func(c *pubsub.PublisherConfig) {
		c.Stream = func(topic string) string { return "stream-" + topic }
	})
	typed := message.NewMessage("not-a-uuid", []byte(`{"n":1}`))
	typed.Metadata = message.Metadata{pubsub.KeyType: "DiarySubmitted", pubsub.KeyStream: "old", "by": "nurse"}
	must(t, p.Publish(topic, typed, message.NewMessage("", []byte("no JSON"))))
	events := stored(t, theNode, "stream-"+topic)
	if len(events) != 2 {
		t.Fatalf("stored %d events", len(events))
	}
	e := events[0]
	got := []string{e.EventType, e.ContentType, string(e.Data), string(e.UserMetadata)}
	want := []string{"DiarySubmitted", "application/json", `{"n":1}`, `{"by":"nurse","esdb_message_uuid":"not-a-uuid"}`}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	e = events[1]
	if e.EventType != "message" || e.ContentType != "application/octet-stream" || string(e.Data) != "no JSON" {
		t.Errorf("stored %+v", e)
	}
}

func TestPublishRefusals(t *testing.T) {
	topic := uuid.NewString()
	half := strings.Repeat("x", 600<<10)
	large := func() []*message.Message {
		return []*message.Message{message.NewMessage(uuid.NewString(), []byte(half)), message.NewMessage(uuid.NewString(), []byte(half))}
	}
	p := newPublisher(t, theNode)
	if err := p.Publish(topic, large()...); !errors.Is(err, pubsub.ErrTooLarge) {
		t.Errorf("1.2 MiB: %v", err)
	}
	trusting := newPublisher(t, theNode, func(c *pubsub.PublisherConfig) { c.MaxAppendBytes = 16 << 20 })
	if err := trusting.Publish(topic, large()...); err == nil {
		t.Error("the server's own refusal is no error")
	}
	if err := p.Publish(topic, message.NewMessage(uuid.NewString(), nil), nil); err == nil {
		t.Error("a nil message was published")
	}
	if err := p.Publish("", message.NewMessage(uuid.NewString(), nil)); err == nil {
		t.Error("published to no stream")
	}
	untyped := newPublisher(t, theNode, func(c *pubsub.PublisherConfig) { c.Type = func(string, *message.Message) string { return "" } })
	if err := untyped.Publish(topic, message.NewMessage(uuid.NewString(), nil)); err == nil {
		t.Error("published without a type")
	}
	must(t, p.Publish(topic))
	if events := stored(t, theNode, topic); len(events) != 0 {
		t.Errorf("refusals left %d events behind", len(events))
	}
	must(t, p.Publish(topic, large()[0])) // the publisher still works
	must(t, p.Close())
	if err := p.Publish(topic, message.NewMessage(uuid.NewString(), nil)); !errors.Is(err, pubsub.ErrClosed) {
		t.Errorf("published after the end: %v", err)
	}
	for name, c := range map[string]pubsub.PublisherConfig{
		"address": {URL: "esdb://user:secret@"}, "time": {URL: theNode.ConnectionString(), Timeout: -1},
	} {
		if _, err := pubsub.NewPublisher(c, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
