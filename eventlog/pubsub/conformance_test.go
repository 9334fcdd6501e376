package pubsub_test

import (
	"errors"
	"testing"
	"time"

	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"
)

// pubSub returns the constructor that Watermill's conformance suite asks for.
func pubSub(change func(*pubsub.SubscriberConfig)) tests.PubSubConstructor {
	return func(t *testing.T) (message.Publisher, message.Subscriber) {
		publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{URL: theNode.ConnectionString()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		config := pubsub.SubscriberConfig{
			URL:       theNode.ConnectionString(),
			NackPause: func(int) time.Duration { return time.Millisecond },
			// TestMessageCtx leaves a message unanswered and waits for the end of its context.
			CloseTimeout: time.Second,
		}
		change(&config)
		subscriber, err := pubsub.NewSubscriber(config, nil)
		if err != nil {
			t.Fatal(err)
		}
		// The suite does not close all of them: not a publisher of TestNewSubscriberReceivesOldMessages, and not the
		// subscribers of TestPublishSubscribeInOrder.
		t.Cleanup(func() {
			if err := errors.Join(publisher.Close(), subscriber.Close()); err != nil {
				t.Error(err)
			}
		})
		return publisher, subscriber
	}
}

func ofGroup(name string) func(*pubsub.SubscriberConfig) {
	return func(c *pubsub.SubscriberConfig) { c.Group = func(topic string) string { return name + topic } }
}

// TestConformance is Watermill's own suite, for subscribers with many messages in flight. TestReconnect stands in for the
// suite's test of a server that restarts.
func TestConformance(t *testing.T) {
	features := tests.Features{ConsumerGroups: true, Persistent: true}
	withGroup := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		return pubSub(ofGroup(group))(t)
	}
	tests.TestPubSub(t, features, pubSub(func(*pubsub.SubscriberConfig) {}), withGroup)
}

// TestConformanceInOrder is the suite for subscribers with one message in flight, which promise an order. It uses the
// suite's small volumes, except in the test of the order itself, because each message waits for the answer to the one before.
func TestConformanceInOrder(t *testing.T) {
	features := tests.Features{ConsumerGroups: true, Persistent: true, GuaranteedOrder: true, GuaranteedOrderWithSingleSubscriber: true}
	t.Run("Order", func(t *testing.T) {
		tests.TestPublishSubscribeInOrder(t, tests.TestContext{TestID: tests.NewTestID(), Features: features}, pubSub(one))
	})
	features.ForceShort = true
	tests.TestPubSub(t, features, pubSub(one), func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		return pubSub(func(c *pubsub.SubscriberConfig) {
			one(c)
			ofGroup(group)(c)
		})(t)
	})
}

// TestConformanceOldMessages is the part of the suite for subscribers that get the messages published before them. Each of
// them is a group of its own.
func TestConformanceOldMessages(t *testing.T) {
	context := tests.TestContext{TestID: tests.NewTestID(), Features: tests.Features{Persistent: true, NewSubscriberReceivesOldMessages: true}}
	tests.TestNewSubscriberReceivesOldMessages(t, context, func(t *testing.T) (message.Publisher, message.Subscriber) {
		return pubSub(ofGroup(uuid.NewString()))(t)
	})
}
