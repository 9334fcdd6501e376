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

// SubscriberConfig configures a Subscriber. Only URL must be set.
type SubscriberConfig struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// Group names the consumer group of a topic. By default it has the topic's name. The names of all groups of $all
	// share one name space: two topics with the same group would take each other's messages.
	Group func(topic string) string
	// Filter chooses a topic's events out of $all. By default they are those of the stream with the topic's name. The
	// filter of an existing group cannot be changed: name another group instead, or delete the old one.
	Filter func(topic string) esdb.SubscriptionFilter
	// FromEnd makes a new group begin behind the end of the log. By default it begins at the start of the log. A group that
	// was deleted under its subscribers is made again in the same way: with FromEnd, messages that were published in
	// between are not delivered.
	FromEnd bool
	// Settings are the settings of a new group; DefaultSettings when nil. StartFrom is ignored, see FromEnd.
	Settings *esdb.PersistentSubscriptionSettings
	// UpdateGroup lets a Subscriber give an existing group the Settings if it has others. It does so once for each group, when
	// it first subscribes: an update interrupts all consumers of the group, and two programs with different settings must not do
	// so in turn. Where it is false, or where the account lacks the right, a difference is logged as an error.
	UpdateGroup bool
	// OnUpdate is called after an update, with how the group differed; it may be nil.
	OnUpdate func(group string, differences []string)
	// OnForeign is called with the names of a group's connections that are no Subscribers, when there are others than before. Such
	// a connection takes messages that no Subscriber gets. It may be nil. The group is looked at every MembersEvery; 15 seconds
	// when 0.
	OnForeign    func(group string, connections []string)
	MembersEvery time.Duration
	// InFlight bounds the unanswered messages of each Subscribe; 64 when 0. Each message should be answered within the
	// settings' MessageTimeout; after it the server delivers the message to another subscriber too.
	InFlight int
	// NackPause says how long a refused message is held back before it is delivered again, so that a message that always
	// fails does not come in a busy loop; retries says how often it was delivered before. During the pause the message
	// counts as in flight. The pause should be shorter than the settings' MessageTimeout. By default it doubles from 100
	// milliseconds to 10 seconds.
	NackPause func(retries int) time.Duration
	// WithoutMetadata leaves the fields of the event's own metadata out of messages. They can be read from RecordedEvent.
	WithoutMetadata bool
	// Dealt says of an event that has arrived whether the program has dealt with it already. Such an event is acknowledged, and
	// becomes no message. The channel is nil unless something deals with the event at the moment: Dealt is then asked again when it
	// is closed. Dealt must not block, and may be nil.
	Dealt func(topic string, event *esdb.RecordedEvent) (dealt bool, underway <-chan struct{})
	// Timeout bounds each request to the server, and how long Subscribe waits for the server; 10 seconds when 0.
	Timeout time.Duration
	// WaitForServer lets Subscribe and SubscribeInitialize wait for the server as long as it takes. They still fail when the
	// server refuses.
	WaitForServer bool
	// CloseTimeout bounds how long a Subscribe that ends waits for answers to its messages; 10 seconds when 0. Messages
	// that are not answered by then are delivered again.
	CloseTimeout time.Duration
}

// DefaultSettings returns the client's defaults with the largest possible MaxRetryCount. With it the server never parks a
// message: one that cannot be handled comes again until somebody decides what to do with it, for example a middleware of
// Watermill. With a smaller count the server parks a message that was refused, or not answered in time, more often than
// that.
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

// exactly chooses the events of one stream. `\z` is the end of the text in the regular expressions of every server; `$` can
// be the end of a line.
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
	if c.MembersEvery == 0 {
		c.MembersEvery = 15 * time.Second
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
	strategies := []esdb.ConsumerStrategy{
		esdb.ConsumerStrategyRoundRobin, esdb.ConsumerStrategyDispatchToSingle, esdb.ConsumerStrategyPinned,
	}
	switch {
	case c.InFlight < 0 || c.InFlight > maxInFlight:
		return fmt.Errorf("a subscriber cannot have %d messages in flight; choose 1 to %d", c.InFlight, maxInFlight)
	case c.Timeout < 0 || c.CloseTimeout < 0:
		return errors.New("a subscriber's time-outs cannot be negative; leave them 0 for the defaults")
	case !slices.Contains(strategies, c.Settings.ConsumerStrategyName): // the client would panic
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
	updated map[string]bool // the groups that it has updated
	running sync.WaitGroup
	// waits says why topics are not being delivered; nil for those that are.
	waits map[string]error
}

// hasUpdated says whether the Subscriber has updated a group, or found that it may not.
func (s *Subscriber) hasUpdated(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updated[group]
}

// noteUpdated notes that the Subscriber has updated a group.
func (s *Subscriber) noteUpdated(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updated[group] = true
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
	s := &Subscriber{config: config, connection: connection, logger: logger, waits: map[string]error{}, updated: map[string]bool{}}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// errNotSubscribed means that nobody has subscribed to a topic.
var errNotSubscribed = errors.New("it has not joined its consumer group yet")

// Delivers returns nil while a Subscribe of the topic is a member of its group, and otherwise why it is not.
func (s *Subscriber) Delivers(topic string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why, known := s.waits[topic]; known {
		return why
	}
	return errNotSubscribed
}

// note notes why a topic is not being delivered; nil when it is.
func (s *Subscriber) note(topic string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits[topic] = why
}

// begin counts a call that Close waits for. The caller ends it with s.running.Done.
func (s *Subscriber) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.running.Add(1)
	return nil
}

// SubscribeInitialize makes the topic's group if it is missing. Messages that are published after it returns are delivered
// to later subscribers, with FromEnd too. It fails with ErrClosed, with ErrMissingRight, or with an error of the client when the
// server refuses or does not answer within the Timeout.
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

// Subscribe makes the topic's group if it is missing, and delivers its messages until ctx ends or the Subscriber is closed.
// Then it waits for the answers to the messages in flight, for CloseTimeout at most, and closes the channel. The contexts of
// messages derive from ctx. Subscribe fails with ErrClosed, or with an error of the client when the server refuses or does
// not answer within the Timeout. Later interruptions are logged, and the subscription connects again.
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

// Close ends every Subscribe and waits until their channels are closed. It may be called more than once.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}
