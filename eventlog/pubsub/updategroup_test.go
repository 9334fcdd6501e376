package pubsub_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/google/uuid"
)

// updating is a subscriber that updates groups whose message time-out is another one, and counts its updates where count is not
// nil.
func updating(messageTimeout int32, count *atomic.Int32) func(*pubsub.SubscriberConfig) {
	return func(c *pubsub.SubscriberConfig) {
		settings := pubsub.DefaultSettings()
		settings.MessageTimeout = messageTimeout
		c.Settings, c.UpdateGroup = &settings, true
		c.OnUpdate = func(string, []string) {
			if count != nil {
				count.Add(1)
			}
		}
	}
}

func settingsOf(t *testing.T, client *esdb.Client, group string) esdb.PersistentSubscriptionSettings {
	t.Helper()
	info, err := client.GetPersistentSubscriptionInfoToAll(t.Context(), group, esdb.GetPersistentSubscriptionOptions{})
	must(t, err)
	return *info.Settings
}

// TestGroupIsUpdated gives a group that is in use other settings. Its consumers go on, the one that holds a message too.
func TestGroupIsUpdated(t *testing.T) {
	topic, p, client := uuid.NewString(), newPublisher(t, theNode), clientOf(t, theNode)
	messages := subscribe(t, newSubscriber(t, theNode), topic)
	expect(t, messages, publish(t, p, topic, 2)...)
	publish(t, p, topic, 1)
	held := next(t, messages)

	var updates atomic.Int32
	newer := newSubscriber(t, theNode, updating(5000, &updates))
	must(t, newer.SubscribeInitialize(topic))
	if now := settingsOf(t, client, topic); now.MessageTimeout != 5000 || updates.Load() != 1 {
		t.Errorf("the message time-out is %d ms after %d updates", now.MessageTimeout, updates.Load())
	}
	await(t, client, topic, consumers(1))
	held.Ack()
	wanted := map[string]bool{}
	for _, id := range publish(t, p, topic, 2) {
		wanted[id] = true
	}
	for len(wanted) > 0 { // others come again whose answers were lost with the connection
		m := next(t, messages)
		m.Ack()
		delete(wanted, m.UUID)
	}
	await(t, client, topic, nothingLeft)
}

// TestGroupIsUpdatedOnce: two programs with different settings do not update a group in turn for ever.
func TestGroupIsUpdatedOnce(t *testing.T) {
	topic, client := uuid.NewString(), clientOf(t, theNode)
	var updates atomic.Int32
	logger := watermill.NewCaptureLogger()
	one := newLoggedSubscriber(t, theNode, logger, updating(5000, &updates))
	other := newSubscriber(t, theNode, updating(7000, &updates))
	for range 3 {
		must(t, one.SubscribeInitialize(topic))   // makes the group, and updates it once
		must(t, other.SubscribeInitialize(topic)) // updates it once
	}
	if now := settingsOf(t, client, topic); now.MessageTimeout != 5000 || updates.Load() != 2 {
		t.Errorf("the message time-out is %d ms after %d updates", now.MessageTimeout, updates.Load())
	}
	must(t, newSubscriber(t, theNode, updating(7000, nil)).SubscribeInitialize(topic)) // a program that starts
	must(t, one.SubscribeInitialize(topic))
	if logged := strings.Join(loggedErrors(logger), "; "); !strings.Contains(logged, "has changed it back") {
		t.Errorf("logged %q", logged)
	}
}

// TestUpdateKeepsFilter: an update changes no filter, so that a group with another one is still known by its mark.
func TestUpdateKeepsFilter(t *testing.T) {
	topic, client := uuid.NewString(), clientOf(t, theNode)
	must(t, newSubscriber(t, theNode).SubscribeInitialize(topic))
	before := settingsOf(t, client, topic)
	logger := watermill.NewCaptureLogger()
	wider := newLoggedSubscriber(t, theNode, logger, updating(5000, nil), func(c *pubsub.SubscriberConfig) {
		c.Filter = func(string) esdb.SubscriptionFilter {
			return esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{topic, "more-" + topic}}
		}
	})
	must(t, wider.SubscribeInitialize(topic))
	after := settingsOf(t, client, topic)
	if after.MessageTimeout != 5000 || after.MaxSubscriberCount != before.MaxSubscriberCount {
		t.Errorf("the message time-out is %d ms, the mark %d instead of %d", after.MessageTimeout, after.MaxSubscriberCount,
			before.MaxSubscriberCount)
	}
	if logged := strings.Join(loggedErrors(logger), "; "); !strings.Contains(logged, "the filter is a different one") {
		t.Errorf("logged %q", logged)
	}
}

// TestGroupFromEndIsUpdatedWithItsPlace: a group from the end of the log that has no checkpoint would begin at the log's start.
func TestGroupFromEndIsUpdatedWithItsPlace(t *testing.T) {
	topic, p, client := uuid.NewString(), newPublisher(t, theNode), clientOf(t, theNode)
	fromEnd := func(c *pubsub.SubscriberConfig) { c.FromEnd = true }
	publish(t, p, topic, 1)
	must(t, newSubscriber(t, theNode, fromEnd).SubscribeInitialize(topic))
	must(t, newSubscriber(t, theNode, updating(5000, nil), fromEnd).SubscribeInitialize(topic))
	if now := settingsOf(t, client, topic); now.MessageTimeout == 5000 {
		t.Error("a group without a checkpoint was updated")
	}
	messages := subscribe(t, newSubscriber(t, theNode, fromEnd), topic)
	expect(t, messages, publish(t, p, topic, 1)...)
	await(t, client, topic, func(i *esdb.PersistentSubscriptionInfo) bool { return i.Stats.LastCheckpointedPosition != nil })
	must(t, newSubscriber(t, theNode, updating(5000, nil), fromEnd).SubscribeInitialize(topic))
	if now := settingsOf(t, client, topic); now.MessageTimeout != 5000 {
		t.Error("a group with a checkpoint was not updated")
	}
	expect(t, messages, publish(t, p, topic, 1)...)
}
