package pubsub

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
)

// SubscriberConfig says how to subscribe. Only URL must be set.
type SubscriberConfig struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// Group names the consumer group of a topic; by default it is named as the topic. All groups of $all share one room
	// of names: two topics of the same group would take each other's messages.
	Group func(topic string) string
	// Filter chooses a topic's events out of $all; by default those of the stream that is named as the topic. It cannot
	// be changed once the group was made: whoever wants another one names another group, or deletes the old one.
	Filter func(topic string) esdb.SubscriptionFilter
	// FromEnd lets a group that has to be made begin behind the log's end; by default it begins with the log.
	FromEnd bool
	// Settings are those of a group that has to be made; DefaultSettings when nil. StartFrom is ignored, see FromEnd.
	Settings *esdb.PersistentSubscriptionSettings
	// InFlight bounds the unanswered messages of each Subscribe; 64 when 0. All of them should be answered within the
	// settings' MessageTimeout, or the server delivers them to another subscriber too.
	InFlight int
	// NackPause is how long a refused message is held back before it is delivered again, so that one that cannot be
	// handled does not spin; retries is how often that was done before. It counts among the messages in flight
	// meanwhile, and the pause should be shorter than the settings' MessageTimeout. By default it doubles from 100
	// milliseconds to 10 seconds.
	NackPause func(retries int) time.Duration
	// Timeout bounds each question to the server, and how long Subscribe waits for it; 10 seconds when 0.
	Timeout time.Duration
	// CloseTimeout bounds how long the end of a Subscribe waits for answers to messages; 10 seconds when 0. What is not
	// answered by then is delivered again.
	CloseTimeout time.Duration
}

// DefaultSettings are the client's own but for MaxRetryCount, which is as large as can be: the server never parks a
// message by itself, a message that cannot be handled comes again until somebody decides about it, as Watermill's
// middleware can. With a smaller count the server parks what was refused, or not answered in time, that often; with 0
// at the first time.
func DefaultSettings() esdb.PersistentSubscriptionSettings {
	settings := esdb.SubscriptionSettingsDefault()
	settings.MaxRetryCount = math.MaxInt32
	return settings
}

const (
	nackPauseMin = 100 * time.Millisecond
	nackPauseMax = 10 * time.Second
)

func doublingPause(retries int) time.Duration {
	if retries > 6 { // 100 ms doubled more often exceeds the maximum
		return nackPauseMax
	}
	return nackPauseMin << max(retries, 0)
}

// exactly chooses the events of one stream. `\z` is the end of the text for every server's regular expressions, `$` can
// be a line's.
func exactly(stream string) esdb.SubscriptionFilter {
	return esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Regex: "^" + regexp.QuoteMeta(stream) + `\z`}
}

func (c *SubscriberConfig) setDefaults() {
	if c.Group == nil {
		c.Group = func(topic string) string { return topic }
	}
	if c.Filter == nil {
		c.Filter = exactly
	}
	if c.Settings == nil {
		settings := DefaultSettings()
		c.Settings = &settings
	}
	if c.NackPause == nil {
		c.NackPause = doublingPause
	}
	if c.InFlight == 0 {
		c.InFlight = 64
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 10 * time.Second
	}
}

// maxInFlight bounds the goroutines that wait for answers.
const maxInFlight = 10_000

func (c *SubscriberConfig) check() error {
	switch strategies := []esdb.ConsumerStrategy{esdb.ConsumerStrategyRoundRobin, esdb.ConsumerStrategyDispatchToSingle, esdb.ConsumerStrategyPinned}; {
	case c.InFlight < 0 || c.InFlight > maxInFlight:
		return fmt.Errorf("a subscriber cannot have %d messages in flight; choose 1 to %d", c.InFlight, maxInFlight)
	case c.Timeout < 0 || c.CloseTimeout < 0:
		return errors.New("a subscriber's time-outs cannot be negative; leave them 0 for what is usual")
	case !slices.Contains(strategies, c.Settings.ConsumerStrategyName): // the client panics
		return fmt.Errorf("the consumer strategy %q is unknown to the client; choose one of %q", c.Settings.ConsumerStrategyName, strategies)
	}
	return nil
}

// Subscriber receives messages as a member of consumer groups. It is safe for concurrent use.
type Subscriber struct {
	config     SubscriberConfig
	connection *esdb.Configuration
	logger     watermill.LoggerAdapter

	stopped context.Context // ends with Close
	stop    context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// NewSubscriber returns a Subscriber, or an error if its configuration is wrong. It does not connect before the first
// Subscribe. The logger may be nil.
func NewSubscriber(config SubscriberConfig, logger watermill.LoggerAdapter) (*Subscriber, error) {
	connection, err := configuration(config.URL)
	if err != nil {
		return nil, err
	}
	config.setDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = watermill.NopLogger{}
	}
	s := &Subscriber{config: config, connection: connection, logger: logger}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// begin counts what Close has to wait for; s.running.Done ends it.
func (s *Subscriber) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.running.Add(1)
	return nil
}

// SubscribeInitialize makes the topic's group if it is missing. Messages that are published from then on are delivered
// to whoever subscribes later, also where FromEnd is set. It fails with ErrClosed, or with what the client says when the
// server does not answer within the Timeout or refuses.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	if err := s.begin(); err != nil {
		return fmt.Errorf("prepare the topic %q: %w", topic, err)
	}
	defer s.running.Done()
	u, err := s.newSubscription(context.Background(), topic)
	if err != nil {
		return fmt.Errorf("prepare the topic %q: %w", topic, err)
	}
	defer u.release()
	if err := u.prepareGroup(); err != nil {
		return fmt.Errorf("prepare the topic %q: %w", topic, err)
	}
	return nil
}

// Subscribe makes the topic's group if it is missing, and delivers its messages until ctx ends or the Subscriber is
// closed; then it takes the answers to what it has delivered, for CloseTimeout at most, and closes the channel. Messages
// carry ctx. It fails with ErrClosed, or with what the client says when the server does not answer within the Timeout or
// refuses; later interruptions are logged and overcome.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if err := s.begin(); err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	u, err := s.newSubscription(ctx, topic)
	if err != nil {
		s.running.Done()
		return nil, fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	if err := u.prepareGroup(); err != nil {
		u.release()
		s.running.Done()
		return nil, fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	go func() {
		defer s.running.Done()
		u.run()
	}()
	return u.out, nil
}

// Close ends all that was subscribed to and waits until their channels are closed. It may be called more than once.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}
