package pubsub_test

import (
	"context"
	"maps"
	"strconv"
	"testing"
	"time"

	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestMessagesComeAsTheyWent publishes messages of any kind, and publishes each again as it was received.
func TestMessagesComeAsTheyWent(t *testing.T) {
	topic := uuid.NewString()
	p, messages := newPublisher(t, theNode), subscribe(t, newSubscriber(t, theNode), topic)
	rapid.Check(t, func(r *rapid.T) {
		metadata := rapid.MapOf(rapid.StringMatching(`[a-z_ "$é]{0,8}`), rapid.String()).Draw(r, "metadata")
		sent := message.NewMessage(uuid.NewString(), rapid.SliceOf(rapid.Byte()).Draw(r, "payload"))
		sent.Metadata = maps.Clone(metadata)
		for range 2 {
			if err := p.Publish(topic, sent); err != nil {
				r.Fatal(err)
			}
			got := next(t, messages)
			got.Ack()
			if got.UUID != sent.UUID {
				r.Fatalf("%s came instead of %s", got.UUID, sent.UUID)
			}
			if d := cmp.Diff(sent.Payload, got.Payload, cmpopts.EquateEmpty()); d != "" {
				r.Fatal(d)
			}
			for key, value := range metadata {
				if got.Metadata[key] != value {
					r.Fatalf("%q is %q instead of %q", key, got.Metadata[key], value)
				}
			}
			sent = got.Copy()
			sent.UUID = uuid.NewString()
		}
	})
}

// TestMessageCarriesItsEvent receives events of another program, whose metadata is not only text.
func TestMessageCarriesItsEvent(t *testing.T) {
	topic, client := uuid.NewString(), clientOf(t, theNode)
	metadata := `{"by":"nurse","n":12.50,"late":true,"none":null,"nested":{"a":1},"list":[1],"esdb_type":"forged"}`
	for _, raw := range []string{metadata, "no JSON", "", "null", "[1]"} {
		_, err := client.AppendToStream(t.Context(), topic, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}},
			esdb.EventData{EventID: uuid.New(), EventType: "Noted", ContentType: esdb.ContentTypeJson, Data: []byte(`{}`), Metadata: []byte(raw)})
		must(t, err)
	}
	type key struct{}
	messages, err := newSubscriber(t, theNode).Subscribe(context.WithValue(t.Context(), key{}, "the subscriber's"), topic)
	must(t, err)
	for revision := range 5 {
		m := next(t, messages)
		event, ok := pubsub.RecordedEvent(m.Context())
		if !ok {
			t.Fatal("the message does not carry its event")
		}
		if m.Context().Value(key{}) != "the subscriber's" {
			t.Error("the message's context is not the subscriber's")
		}
		want := message.Metadata{
			pubsub.KeyStream: topic, pubsub.KeyRevision: strconv.Itoa(revision), pubsub.KeyType: "Noted", pubsub.KeyRetryCount: "0",
			pubsub.KeyCommitPosition:  strconv.FormatUint(event.Position.Commit, 10),
			pubsub.KeyPreparePosition: strconv.FormatUint(event.Position.Prepare, 10),
			pubsub.KeyCreated:         event.CreatedDate.UTC().Format(time.RFC3339Nano),
		}
		if revision == 0 {
			want["by"], want["n"], want["late"] = "nurse", "12.50", "true"
		}
		if d := cmp.Diff(want, m.Metadata); d != "" {
			t.Error(d)
		}
		if event.StreamID != topic || event.EventNumber != uint64(revision) || event.Position.Commit == 0 || event.EventID.String() != m.UUID {
			t.Errorf("the event is %+v", event)
		}
		if m.Ack(); revision == 0 && string(event.UserMetadata) != metadata {
			t.Errorf("the event's metadata is %s", event.UserMetadata)
		}
	}
	if _, ok := pubsub.RecordedEvent(t.Context()); ok {
		t.Error("an event came out of nothing")
	}
}

func TestEventID(t *testing.T) {
	id := uuid.New()
	for name, tc := range map[string]struct {
		a, b string
		same bool
	}{
		"a UUID is the id":         {id.String(), "{" + id.String() + "}", true},
		"others have always one":   {"a", "a", true},
		"each has its own":         {"a", "b", false},
		"none is never another":    {"", "", false},
		"the zero id always one":   {uuid.Nil.String(), uuid.Nil.String(), true},
		"and a text is not a UUID": {id.String(), "x" + id.String(), false},
	} {
		a, b := pubsub.EventID(tc.a), pubsub.EventID(tc.b)
		if (a == b) != tc.same || a == uuid.Nil {
			t.Errorf("%s: %s, %s", name, a, b)
		}
	}
	if pubsub.EventID(id.String()) != id {
		t.Error("a UUID becomes another id")
	}
	if got := pubsub.EventID("01ARZ3NDEKTSV4RRFFQ69G5FAV").String(); got != "fbbe5402-af4e-5c42-9562-71a50309c182" { // stored ids depend on it
		t.Errorf("the id of a ULID's event is %s", got)
	}
}
