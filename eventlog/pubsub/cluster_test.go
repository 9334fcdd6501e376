package pubsub_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/embedded/node/clustertest"
	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// TestMessagesSurviveChangesOfLeader: the leader is moved and frozen while messages are published and delivered. Each arrives.
func TestMessagesSurviveChangesOfLeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 200 * time.Millisecond})
	topic := "orders-" + watermill.NewUUID()
	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{URL: c.URL(), WaitForServer: true}, nil)
	must(t, err)
	t.Cleanup(func() { must(t, subscriber.Close()) })
	c.LoseLeader()
	time.AfterFunc(500*time.Millisecond, func() { c.MoveLeader(c.Members()[1]) })
	messages, err := subscriber.Subscribe(t.Context(), topic)
	must(t, err)
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{URL: c.URL()}, nil)
	must(t, err)
	t.Cleanup(func() { must(t, publisher.Close()) })
	const rounds, each = 3, 5
	arrived := make(chan map[string]bool)
	go func() {
		seen := map[string]bool{}
		for len(seen) < rounds*each {
			select {
			case m := <-messages:
				seen[string(m.Payload)] = true
				m.Ack()
			case <-time.After(20 * time.Second):
				arrived <- seen
				return
			}
		}
		arrived <- seen
	}()
	for round := range rounds {
		for n := range each {
			m := message.NewMessage(watermill.NewUUID(), []byte(strconv.Itoa(round*each+n)))
			for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				if err = publisher.Publish(topic, m); err == nil || time.Since(begun) > 15*time.Second {
					break
				}
			}
			must(t, err)
		}
		if round%2 == 0 {
			c.MoveLeader(c.Followers()[0])
		} else {
			frozen := c.Leader()
			frozen.Freeze()
			defer func() { must(t, frozen.Thaw()) }()
		}
		_, err := c.AwaitLeader(t.Context())
		must(t, err)
	}
	if seen := <-arrived; len(seen) != rounds*each {
		t.Errorf("%d of %d messages arrived", len(seen), rounds*each)
	}
}

// TestGroupThatMayNotBeMadeIsNamed: a group that is missing, and that the account may not make, is an error and not a wait.
func TestGroupThatMayNotBeMadeIsNamed(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{URL: c.URL(), WaitForServer: true}, nil)
	must(t, err)
	t.Cleanup(func() { must(t, subscriber.Close()) })
	must(t, subscriber.SubscribeInitialize("there"))
	c.Deny(clustertest.ManageGroups, true)
	must(t, subscriber.SubscribeInitialize("there"))
	if err := subscriber.SubscribeInitialize("missing"); !errors.Is(err, pubsub.ErrMissingRight) {
		t.Errorf("got %v", err)
	}
}

// TestGroupThatMayNotBeUpdatedIsNamed: an account that may not update groups uses one with other settings, and the difference is
// logged.
func TestGroupThatMayNotBeUpdatedIsNamed(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	must(t, newSubscriber(t, given(c.URL())).SubscribeInitialize("there"))
	c.Deny(clustertest.ManageGroups, true)
	logger := watermill.NewCaptureLogger()
	subscriber := newLoggedSubscriber(t, given(c.URL()), logger, updating(5000, nil))
	must(t, subscriber.SubscribeInitialize("there"))
	logged := strings.Join(loggedErrors(logger), "; ")
	if !strings.Contains(logged, "message time-out is 30000 instead of 5000") || !strings.Contains(logged, "may not update") {
		t.Errorf("logged %q", logged)
	}
}

// TestGroupsFollowTheLeaderFromOneAddress: the address names one node of a cluster, and the leader is moved away from it.
func TestGroupsFollowTheLeaderFromOneAddress(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 200 * time.Millisecond})
	one := c.Leader().URL()
	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{URL: one, WaitForServer: true}, nil)
	must(t, err)
	t.Cleanup(func() { must(t, subscriber.Close()) })
	topic := "orders-" + watermill.NewUUID()
	messages, err := subscriber.Subscribe(t.Context(), topic)
	must(t, err)
	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{URL: one}, nil)
	must(t, err)
	t.Cleanup(func() { must(t, publisher.Close()) })
	for n := range 3 {
		m := message.NewMessage(watermill.NewUUID(), []byte(strconv.Itoa(n)))
		for publisher.Publish(topic, m) != nil { // otherwise the test's own time-out ends the loop
			time.Sleep(50 * time.Millisecond)
		}
		for arrived := ""; arrived != strconv.Itoa(n); {
			m := <-messages
			arrived = string(m.Payload)
			m.Ack()
		}
		c.MoveLeader(c.Followers()[0])
		_, err := c.AwaitLeader(t.Context())
		must(t, err)
	}
}
