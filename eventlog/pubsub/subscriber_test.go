package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/embedded/node"
	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// tooLong is longer than any wait of these tests should take.
const tooLong = 30 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newPublisher(t testing.TB, n server, change ...func(*pubsub.PublisherConfig)) *pubsub.Publisher {
	t.Helper()
	config := pubsub.PublisherConfig{URL: n.ConnectionString()}
	for _, f := range change {
		f(&config)
	}
	p, err := pubsub.NewPublisher(config, nil)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func newSubscriber(t testing.TB, n server, change ...func(*pubsub.SubscriberConfig)) *pubsub.Subscriber {
	t.Helper()
	return newLoggedSubscriber(t, n, nil, change...)
}

func newLoggedSubscriber(
	t testing.TB, n server, logger watermill.LoggerAdapter, change ...func(*pubsub.SubscriberConfig),
) *pubsub.Subscriber {
	t.Helper()
	config := pubsub.SubscriberConfig{URL: n.ConnectionString(), NackPause: func(int) time.Duration { return 0 }}
	for _, f := range change {
		f(&config)
	}
	s, err := pubsub.NewSubscriber(config, logger)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func one(c *pubsub.SubscriberConfig) { c.InFlight = 1 }

// impatient makes a subscriber close without waiting for answers, which leaves the same behind as a crash.
func impatient(c *pubsub.SubscriberConfig) { c.CloseTimeout = time.Nanosecond }

func subscribe(t testing.TB, s *pubsub.Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	messages, err := s.Subscribe(t.Context(), topic)
	must(t, err)
	return messages
}

func publish(t testing.TB, p *pubsub.Publisher, topic string, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid.NewString()
		must(t, p.Publish(topic, message.NewMessage(ids[i], fmt.Appendf(nil, `{"n":%d}`, i))))
	}
	return ids
}

func next(t testing.TB, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, open := <-messages:
		if !open {
			t.Fatal("the channel is closed")
		}
		return m
	case <-time.After(tooLong):
		t.Fatal("no message came")
	}
	return nil
}

// expect acknowledges the next messages and checks that they are these.
func expect(t testing.TB, messages <-chan *message.Message, ids ...string) {
	t.Helper()
	var got []string
	for range ids {
		m := next(t, messages)
		got = append(got, m.UUID)
		m.Ack()
	}
	if d := cmp.Diff(ids, got); d != "" {
		t.Fatal(d)
	}
}

func expectClosed(t testing.TB, messages <-chan *message.Message) {
	t.Helper()
	select {
	case m, open := <-messages:
		if open {
			t.Fatalf("message %s came after the end", m.UUID)
		}
	case <-time.After(tooLong):
		t.Fatal("the channel was not closed")
	}
}

func clientOf(t testing.TB, n server) *esdb.Client {
	t.Helper()
	config, err := esdb.ParseConnectionString(n.ConnectionString())
	must(t, err)
	config.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(config)
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return client
}

// await waits until the server describes a group as wanted.
func await(t testing.TB, client *esdb.Client, group string, wanted func(*esdb.PersistentSubscriptionInfo) bool) {
	t.Helper()
	deadline := time.Now().Add(tooLong)
	for {
		info, err := client.GetPersistentSubscriptionInfoToAll(t.Context(), group, esdb.GetPersistentSubscriptionOptions{})
		must(t, err)
		if wanted(info) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the group is not as wanted: %+v, %+v", info.Stats, info.Connections)
		}
		runtime.Gosched()
	}
}

func consumers(n int) func(*esdb.PersistentSubscriptionInfo) bool {
	return func(i *esdb.PersistentSubscriptionInfo) bool { return len(i.Connections) == n }
}

func nothingLeft(i *esdb.PersistentSubscriptionInfo) bool {
	return i.Stats.OutstandingMessagesCount == 0 && i.Stats.TotalInFlightMessages == 0 && i.Stats.ParkedMessagesCount == 0
}

// restartable is a node that can be stopped and started again at the same place.
type restartable struct {
	*node.Node
	options node.Options
}

func openNode(t testing.TB) *restartable {
	t.Helper()
	r := &restartable{options: node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"}}
	must(t, r.start())
	r.options.Listen = r.Addr()
	t.Cleanup(func() { must(t, r.stop()) })
	return r
}

func (r *restartable) start() (err error) {
	r.Node, err = node.Open(context.Background(), r.options)
	return err
}

func (r *restartable) stop() error {
	if r.Node == nil {
		return nil
	}
	err := r.Close()
	r.Node = nil
	return err
}

func (r *restartable) restart() error { return errors.Join(r.stop(), r.start()) }

// TestUnansweredMessageComesAgain ends a subscriber before it has answered a message, as a crash would.
func TestUnansweredMessageComesAgain(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	ids := publish(t, p, topic, 3)
	crashing := newSubscriber(t, theNode, impatient)
	messages := subscribe(t, crashing, topic)
	expect(t, messages, ids[0])
	held := next(t, messages)
	must(t, crashing.Close())
	expectClosed(t, messages)
	if held.Context().Err() == nil {
		t.Error("the message was given up, but its context goes on")
	}
	held.Ack() // too late
	expect(t, subscribe(t, newSubscriber(t, theNode), topic), ids[1:]...)
}

// TestCloseTakesAnswers checks that messages that are answered while the subscriber closes do not come again.
func TestCloseTakesAnswers(t *testing.T) {
	for name, end := range map[string]func(*pubsub.Subscriber, context.CancelFunc){
		"close":   func(s *pubsub.Subscriber, _ context.CancelFunc) { _ = s.Close() },
		"context": func(_ *pubsub.Subscriber, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			topic, p := uuid.NewString(), newPublisher(t, theNode)
			ids := publish(t, p, topic, 50)
			s := newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) { c.CloseTimeout = tooLong })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			messages, err := s.Subscribe(ctx, topic)
			must(t, err)
			var held []*message.Message
			for range 40 {
				held = append(held, next(t, messages))
			}
			var ending sync.WaitGroup
			ending.Go(func() { end(s, cancel) })
			for _, m := range held {
				m.Ack()
			}
			rest := ids[40:]
			for m := range messages { // those that were on their way
				if m.UUID != rest[0] {
					t.Fatalf("message %s came instead of %s", m.UUID, rest[0])
				}
				m.Ack()
				rest = rest[1:]
			}
			ending.Wait()
			expect(t, subscribe(t, newSubscriber(t, theNode), topic), append(rest, publish(t, p, topic, 1)...)...)
		})
	}
}

// TestGroupShares lets two subscribers of a group share its messages.
func TestGroupShares(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	channels := []<-chan *message.Message{
		subscribe(t, newSubscriber(t, theNode, one), topic),
		subscribe(t, newSubscriber(t, theNode, one), topic),
	}
	await(t, clientOf(t, theNode), topic, consumers(2))
	const count = 200
	var (
		mu   sync.Mutex
		seen = map[string]int{}
		by   [2]int
		wg   sync.WaitGroup
	)
	all := make(chan struct{})
	for i, messages := range channels {
		wg.Go(func() {
			for {
				select {
				case m := <-messages:
					mu.Lock()
					seen[m.UUID]++
					by[i]++
					if len(seen) == count {
						close(all)
					}
					mu.Unlock()
					m.Ack()
				case <-all:
					return
				case <-time.After(tooLong):
					t.Error("no message came")
					return
				}
			}
		})
	}
	ids := publish(t, p, topic, count)
	wg.Wait()
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("message %s was delivered %d times", id, seen[id])
		}
	}
	if by[0] == 0 || by[1] == 0 {
		t.Errorf("the shares are %v", by)
	}
}

// TestServerRestarts stops the server while one message is being handled and others wait behind it.
func TestServerRestarts(t *testing.T) {
	n := openNode(t)
	p, s := newPublisher(t, n.Node), newSubscriber(t, n.Node)
	first := publish(t, p, "topic", 10)
	delivers := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(tooLong); (s.Delivers("topic") == nil) != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the subscriber says: %v", s.Delivers("topic"))
			}
		}
	}
	delivers(false)
	messages := subscribe(t, s, "topic")
	delivers(true)
	expect(t, messages, first[:9]...)
	held := next(t, messages)
	expected := publish(t, p, "topic", 5)
	await(t, clientOf(t, n.Node), "topic", func(i *esdb.PersistentSubscriptionInfo) bool { return i.Stats.TotalInFlightMessages == 6 })
	must(t, n.stop())
	if err := p.Publish("topic", message.NewMessage(uuid.NewString(), nil)); err == nil {
		t.Error("a message was published while the server was away")
	}
	delivers(false)
	must(t, n.start())
	delivers(true)
	expected = append(expected, publish(t, p, "topic", 10)...)
	// The held message is being handled, so it does not come again, however often the server delivers it. Messages that
	// were acknowledged or delivered just before the connection broke may come again.
	var got []string
	for len(got) < len(expected) {
		m := next(t, messages)
		switch {
		case m.UUID == held.UUID:
			t.Fatal("the message came a second time while it was worked on")
		case !slices.Contains(first, m.UUID) && !slices.Contains(got, m.UUID):
			got = append(got, m.UUID)
		}
		m.Ack()
	}
	if d := cmp.Diff(expected, got); d != "" {
		t.Error(d)
	}
	if held.Context().Err() != nil {
		t.Error("the message's context ended with the connection")
	}
	held.Ack()
	await(t, clientOf(t, n.Node), "topic", nothingLeft)
}

// TestRefusedMessageComesAgain checks the count of retries, and the order with one message in flight.
func TestRefusedMessageComesAgain(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	var (
		mu     sync.Mutex
		paused []int
	)
	ids := publish(t, p, topic, 2)
	messages := subscribe(t, newSubscriber(t, theNode, one, func(c *pubsub.SubscriberConfig) {
		c.NackPause = func(retries int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			paused = append(paused, retries)
			return time.Microsecond
		}
	}), topic)
	for i := range 15 { // with the client's default settings it would be parked earlier
		m := next(t, messages)
		if m.UUID != ids[0] || m.Metadata.Get(pubsub.KeyRetryCount) != fmt.Sprint(i) {
			t.Fatalf("message %s came with %v", m.UUID, m.Metadata)
		}
		m.Nack()
	}
	expect(t, messages, ids...)
	mu.Lock()
	defer mu.Unlock()
	if d := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, paused); d != "" {
		t.Error(d)
	}
}

// TestPauseHoldsBack refuses a message, which starts a very long pause, and then ends the subscription.
func TestPauseHoldsBack(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	ids := publish(t, p, topic, 1)
	pausing := make(chan struct{}, 10)
	s := newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) {
		c.NackPause = func(int) time.Duration { pausing <- struct{}{}; return time.Hour }
	})
	messages := subscribe(t, s, topic)
	next(t, messages).Nack()
	<-pausing
	other := publish(t, p, topic, 3)
	expect(t, messages, other...) // the pause does not hold up others
	must(t, s.Close())
	expectClosed(t, messages)
	m := next(t, subscribe(t, newSubscriber(t, theNode, impatient), topic))
	if m.UUID != ids[0] || m.Metadata.Get(pubsub.KeyRetryCount) != "1" {
		t.Errorf("%s came, with %v", m.UUID, m.Metadata)
	}
}

// TestServerLosesPatience has messages wait in the subscriber for so long that the server delivers them again and finally
// parks them. Each still comes once.
func TestServerLosesPatience(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	settings := pubsub.DefaultSettings()
	settings.MessageTimeout, settings.MaxRetryCount = 20, 2
	messages := subscribe(t, newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) { c.Settings = &settings }), topic)
	ids := publish(t, p, topic, 5)
	held := next(t, messages)
	await(t, clientOf(t, theNode), topic, func(i *esdb.PersistentSubscriptionInfo) bool { return i.Stats.ParkedMessagesCount == 5 })
	held.Ack()
	expect(t, messages, append(ids[1:], publish(t, p, topic, 1)...)...)
}

func TestServerParksWhereAsked(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	settings := pubsub.DefaultSettings()
	settings.MaxRetryCount = 1
	ids := publish(t, p, topic, 2)
	messages := subscribe(t, newSubscriber(t, theNode, one, func(c *pubsub.SubscriberConfig) { c.Settings = &settings }), topic)
	for range 2 {
		m := next(t, messages)
		if m.UUID != ids[0] {
			t.Fatalf("%s came", m.UUID)
		}
		m.Nack()
	}
	expect(t, messages, ids[1])
	await(t, clientOf(t, theNode), topic, func(i *esdb.PersistentSubscriptionInfo) bool { return i.Stats.ParkedMessagesCount == 1 })
}

func TestGroupIsMadeOnce(t *testing.T) {
	topic := uuid.NewString()
	var makers errgroup.Group
	for range 8 {
		s := newSubscriber(t, theNode)
		makers.Go(func() error { return s.SubscribeInitialize(topic) })
	}
	must(t, makers.Wait())
	p := newPublisher(t, theNode)
	expect(t, subscribe(t, newSubscriber(t, theNode), topic), publish(t, p, topic, 2)...)
}

// loggedErrors returns the errors that a subscriber has logged.
func loggedErrors(l *watermill.CaptureLoggerAdapter) (all []string) {
	for _, m := range l.Captured()[watermill.ErrorLogLevel] {
		all = append(all, m.Err.Error())
	}
	return all
}

// TestGroupThatDiffers checks that a group with other settings stays as it is and that the difference is logged.
func TestGroupThatDiffers(t *testing.T) {
	prefixes := func(all ...string) func(*pubsub.SubscriberConfig) {
		return func(c *pubsub.SubscriberConfig) {
			c.Filter = func(string) esdb.SubscriptionFilter {
				return esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: all}
			}
		}
	}
	group := uuid.NewString()
	original := newLoggedSubscriber(t, theNode, watermill.NewCaptureLogger(), prefixes(group+"-a-", group+"-b-"))
	must(t, original.SubscribeInitialize(group))
	for name, tc := range map[string]struct {
		change func(*pubsub.SubscriberConfig)
		says   []string
	}{
		"same":           {prefixes(group+"-a-", group+"-b-"), nil},
		"in other order": {prefixes(group+"-b-", group+"-a-"), nil},
		"wider":          {prefixes(group+"-a-", group+"-b-", group+"-c-"), []string{"filter"}},
		"narrower":       {prefixes(group + "-a-"), []string{"filter"}},
		"the usual":      {func(*pubsub.SubscriberConfig) {}, []string{"filter"}},
		"bounded": {func(c *pubsub.SubscriberConfig) {
			s := pubsub.DefaultSettings()
			s.MaxSubscriberCount = 3
			c.Settings = &s
		}, []string{"maximum subscriber count is 0 instead of 3"}},
		"other settings": {func(c *pubsub.SubscriberConfig) {
			prefixes(group+"-a-", group+"-b-")(c)
			s := pubsub.DefaultSettings()
			s.MessageTimeout, s.ConsumerStrategyName = 5000, esdb.ConsumerStrategyPinned
			c.Settings = &s
		}, []string{"message time-out is 30000 instead of 5000", "consumer strategy is roundrobin instead of pinned"}},
		"from the end on": {func(c *pubsub.SubscriberConfig) { prefixes(group+"-a-", group+"-b-")(c); c.FromEnd = true }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			logger := watermill.NewCaptureLogger()
			must(t, newLoggedSubscriber(t, theNode, logger, tc.change).SubscribeInitialize(group))
			got := loggedErrors(logger)
			if len(got) != len(tc.says) {
				t.Fatalf("logged %q", got)
			}
			for i, says := range tc.says {
				if !strings.Contains(got[i], says) {
					t.Errorf("logged %q", got[i])
				}
			}
		})
	}
	// The group has not changed.
	p := newPublisher(t, theNode)
	publish(t, p, group+"-c-1", 1)
	expect(t, subscribe(t, newSubscriber(t, theNode), group), publish(t, p, group+"-b-1", 2)...)
}

// TestGroupIsDeletedAndMadeAgain deletes a group in use, as an operator does who wants another filter.
func TestGroupIsDeletedAndMadeAgain(t *testing.T) {
	topic, p, client := uuid.NewString(), newPublisher(t, theNode), clientOf(t, theNode)
	messages := subscribe(t, newSubscriber(t, theNode), topic)
	before := publish(t, p, topic, 2)
	expect(t, messages, before...)
	must(t, client.DeletePersistentSubscriptionToAll(t.Context(), topic, esdb.DeletePersistentSubscriptionOptions{}))
	expect(t, messages, append(before, publish(t, p, topic, 2)...)...)
}

func TestTopicIsOneStreamExactly(t *testing.T) {
	topic, p := uuid.NewString()+".x", newPublisher(t, theNode)
	for _, other := range []string{strings.Replace(topic, ".", "-", 1), topic + "y", "y" + topic, topic + "\n"} {
		publish(t, p, other, 1)
	}
	expect(t, subscribe(t, newSubscriber(t, theNode), topic), publish(t, p, topic, 3)...)
}

func TestFromEnd(t *testing.T) {
	topic, p := uuid.NewString(), newPublisher(t, theNode)
	publish(t, p, topic, 3)
	s := newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) { c.FromEnd = true })
	must(t, s.SubscribeInitialize(topic))
	ids := publish(t, p, topic, 3)
	expect(t, subscribe(t, s, topic), ids...)
}

// TestServersOwnEventsAreSkipped has a link among the messages of a group that does not resolve links.
func TestServersOwnEventsAreSkipped(t *testing.T) {
	topic, p, client := uuid.NewString(), newPublisher(t, theNode), clientOf(t, theNode)
	publish(t, p, "elsewhere-"+topic, 1)
	_, err := client.AppendToStream(t.Context(), topic, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}},
		esdb.EventData{EventID: uuid.New(), EventType: "$>", Data: []byte("0@elsewhere-" + topic)})
	must(t, err)
	logger := watermill.NewCaptureLogger()
	expect(t, subscribe(t, newLoggedSubscriber(t, theNode, logger), topic), publish(t, p, topic, 1)...)
	await(t, client, topic, nothingLeft)
	ofLink := func(m watermill.CapturedMessage) bool { return m.Fields["type"] == "$>" }
	if !slices.ContainsFunc(logger.Captured()[watermill.InfoLogLevel], ofLink) {
		t.Error("the log does not mention it")
	}
}

// TestLinksAreResolved checks that the targets of links are delivered, and that links without a target are skipped.
func TestLinksAreResolved(t *testing.T) {
	topic, p, client := uuid.NewString(), newPublisher(t, theNode), clientOf(t, theNode)
	ids := publish(t, p, "elsewhere-"+topic, 2)
	for _, target := range []string{"0@elsewhere-", "7@elsewhere-", "1@elsewhere-"} {
		_, err := client.AppendToStream(t.Context(), topic, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}},
			esdb.EventData{EventID: uuid.New(), EventType: "$>", Data: []byte(target + topic)})
		must(t, err)
	}
	settings := pubsub.DefaultSettings()
	settings.ResolveLinkTos = true
	expect(t, subscribe(t, newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) { c.Settings = &settings }), topic), ids...)
	await(t, client, topic, nothingLeft)
}

// TestServerIsAway publishes, subscribes and closes while the server is stopped.
func TestServerIsAway(t *testing.T) {
	n := openNode(t)
	p, s := newPublisher(t, n.Node), newSubscriber(t, n.Node)
	fleeting := newSubscriber(t, n.Node, func(c *pubsub.SubscriberConfig) { c.Timeout = 300 * time.Millisecond })
	publish(t, p, "topic", 1)
	messages := subscribe(t, s, "topic")
	held := next(t, messages)
	must(t, n.stop())
	if _, err := fleeting.Subscribe(t.Context(), "topic"); err == nil {
		t.Error("subscribed to a server that is away")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Subscribe(ctx, "topic"); !errors.Is(err, context.Canceled) {
		t.Errorf("Subscribe without time: %v", err)
	}
	late := message.NewMessage(uuid.NewString(), nil)
	late.SetContext(ctx)
	if err := p.Publish("topic", late); !errors.Is(err, context.Canceled) {
		t.Errorf("Publish without time: %v", err)
	}
	held.Ack()
	must(t, s.Close())
	must(t, p.Close())
	expectClosed(t, messages)
}

// TestCloseUnderWay closes publisher and subscriber while others use them.
func TestCloseUnderWay(t *testing.T) {
	topic := uuid.NewString()
	p, s := newPublisher(t, theNode), newSubscriber(t, theNode, impatient)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				if err := p.Publish(topic, message.NewMessage(uuid.NewString(), []byte("x"))); err != nil {
					if !errors.Is(err, pubsub.ErrClosed) {
						t.Errorf("Publish: %v", err)
					}
					return
				}
			}
		})
		all.Go(func() {
			for {
				messages, err := s.Subscribe(t.Context(), topic)
				if err != nil {
					if !errors.Is(err, pubsub.ErrClosed) {
						t.Errorf("Subscribe: %v", err)
					}
					return
				}
				for m := range messages {
					if m.Ack(); m.UUID[0]%2 == 0 {
						break
					}
				}
				all.Go(func() {
					for m := range messages {
						m.Nack()
					}
				})
			}
		})
	}
	messages := subscribe(t, newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) {
		c.Group = func(topic string) string { return topic + "-other" }
	}), topic)
	for range 50 {
		next(t, messages).Ack()
	}
	var closing errgroup.Group
	for range 3 {
		closing.Go(s.Close)
		closing.Go(p.Close)
	}
	must(t, closing.Wait())
	all.Wait()
	if err := s.SubscribeInitialize(topic); !errors.Is(err, pubsub.ErrClosed) {
		t.Errorf("SubscribeInitialize: %v", err)
	}
}

func TestSubscriberRefusals(t *testing.T) {
	for name, change := range map[string]func(*pubsub.SubscriberConfig){
		"address":     func(c *pubsub.SubscriberConfig) { c.URL = "http://user:secret@host" },
		"in flight":   func(c *pubsub.SubscriberConfig) { c.InFlight = -1 },
		"too many":    func(c *pubsub.SubscriberConfig) { c.InFlight = 1 << 20 },
		"time":        func(c *pubsub.SubscriberConfig) { c.CloseTimeout = -1 },
		"no strategy": func(c *pubsub.SubscriberConfig) { c.Settings = &esdb.PersistentSubscriptionSettings{} },
	} {
		c := pubsub.SubscriberConfig{URL: theNode.ConnectionString()}
		change(&c)
		if _, err := pubsub.NewSubscriber(c, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]*pubsub.Subscriber{
		"no group": newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) { c.Group = func(string) string { return "" } }),
		"no filter": newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) {
			c.Filter = func(string) esdb.SubscriptionFilter { return esdb.SubscriptionFilter{} }
		}),
		"no RE2": newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) {
			c.Filter = func(string) esdb.SubscriptionFilter { return esdb.SubscriptionFilter{Regex: "a(?=b)"} }
		}),
		"settings": newSubscriber(t, theNode, func(c *pubsub.SubscriberConfig) {
			s := pubsub.DefaultSettings()
			s.ReadBatchSize = 0
			c.Settings = &s
		}),
	} {
		if _, err := s.Subscribe(t.Context(), uuid.NewString()); err == nil {
			t.Errorf("%s: subscribed", name)
		}
		if err := s.SubscribeInitialize(uuid.NewString()); err == nil {
			t.Errorf("%s: initialised", name)
		}
	}
	if _, err := newSubscriber(t, theNode).Subscribe(t.Context(), ""); err == nil {
		t.Error("subscribed to an empty topic")
	}
}

// TestEventsThatWereDealtWithBecomeNoMessages has the program deal with some events by itself: one before it arrives, one while it waits,
// and one that the program leaves to the subscriber after all.
func TestEventsThatWereDealtWithBecomeNoMessages(t *testing.T) {
	n := openNode(t)
	ids := publish(t, newPublisher(t, n), "places", 4)
	before, during, after, never := ids[0], ids[1], ids[2], ids[3]
	underway := map[string]chan struct{}{during: make(chan struct{}), after: make(chan struct{})}
	var mu sync.Mutex
	asked, dealt := map[string]int{}, map[string]bool{before: true}
	s := newSubscriber(t, n, func(c *pubsub.SubscriberConfig) {
		c.Dealt = func(topic string, e *esdb.RecordedEvent) (bool, <-chan struct{}) {
			mu.Lock()
			defer mu.Unlock()
			id := e.EventID.String()
			asked[id]++
			if topic != "places" {
				t.Errorf("the topic is %q", topic)
			}
			if asked[id] > 1 {
				return dealt[id], nil
			}
			return dealt[id], underway[id]
		}
	})
	messages := subscribe(t, s, "places")
	expect(t, messages, never)
	mu.Lock()
	dealt[during] = true
	mu.Unlock()
	close(underway[during])
	close(underway[after])
	expect(t, messages, after)
	await(t, clientOf(t, n), "places", nothingLeft)
	mu.Lock()
	defer mu.Unlock()
	if asked[before] != 1 || asked[during] != 2 || asked[after] != 2 {
		t.Errorf("the program was asked %v", asked)
	}
}

// TestSubscriptionEndsWhileTheProgramDealsWithAnEvent: the event is not acknowledged, and comes again.
func TestSubscriptionEndsWhileTheProgramDealsWithAnEvent(t *testing.T) {
	n := openNode(t)
	ids := publish(t, newPublisher(t, n), "places", 1)
	arrived := make(chan struct{})
	s := newSubscriber(t, n, impatient, func(c *pubsub.SubscriberConfig) {
		c.Dealt = func(string, *esdb.RecordedEvent) (bool, <-chan struct{}) {
			close(arrived)
			return false, make(chan struct{})
		}
	})
	messages := subscribe(t, s, "places")
	<-arrived
	must(t, s.Close())
	expectClosed(t, messages)
	expect(t, subscribe(t, newSubscriber(t, n), "places"), ids...)
}

func TestMessagesWithoutTheEventsMetadata(t *testing.T) {
	n := openNode(t)
	own := message.NewMessage(uuid.NewString(), []byte(`{}`))
	own.Metadata.Set("study", "PAIN1")
	must(t, newPublisher(t, n).Publish("places", own))
	s := newSubscriber(t, n, func(c *pubsub.SubscriberConfig) { c.WithoutMetadata = true })
	m := next(t, subscribe(t, s, "places"))
	m.Ack()
	stored, ok := pubsub.RecordedEvent(m.Context())
	if m.Metadata.Get("study") != "" || m.Metadata.Get(pubsub.KeyStream) != "places" || !ok || !strings.Contains(string(stored.UserMetadata), "PAIN1") {
		t.Errorf("the message has %v, its event %s", m.Metadata, stored.UserMetadata)
	}
}
