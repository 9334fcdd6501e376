package pubsub_test

import (
	"testing"
	"time"

	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// TestForeignConsumerIsReported: a foreign program that joins a group takes its messages. Other subscribers are not foreign.
func TestForeignConsumerIsReported(t *testing.T) {
	topic, client := uuid.NewString(), clientOf(t, theNode)
	reported := make(chan []string, 10)
	watching := func(c *pubsub.SubscriberConfig) {
		c.MembersEvery = 20 * time.Millisecond
		c.OnForeign = func(group string, connections []string) {
			if group == topic {
				reported <- connections
			}
		}
	}
	subscribe(t, newSubscriber(t, theNode, watching), topic)
	subscribe(t, newSubscriber(t, theNode), topic)
	await(t, client, topic, consumers(2))
	select {
	case connections := <-reported:
		t.Fatalf("reported are %q", connections)
	case <-time.After(200 * time.Millisecond):
	}
	stranger, err := client.SubscribeToPersistentSubscriptionToAll(t.Context(), topic, esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	wait := func(want int) {
		t.Helper()
		select {
		case connections := <-reported:
			if len(connections) != want {
				t.Fatalf("reported are %q, want %d", connections, want)
			}
		case <-time.After(tooLong):
			t.Fatal("nothing was reported")
		}
	}
	wait(1)
	must(t, stranger.Close())
	wait(0)
}
