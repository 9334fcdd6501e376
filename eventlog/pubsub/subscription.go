package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
)

// subscription is one Subscribe, over as many connections as it takes.
type subscription struct {
	config  *SubscriberConfig
	topic   string
	group   string
	filter  esdb.SubscriptionFilter
	clients *clients
	logger  watermill.LoggerAdapter
	note    func(error) // notes why nothing is delivered; nil when it is
	// subscriber remembers for all its subscriptions which groups it has updated.
	subscriber *Subscriber

	ctx     context.Context // Subscribe's; the contexts of messages derive from it
	stopped context.Context // ends with ctx or with Close; then no more messages are delivered
	stop    context.CancelFunc
	out     chan *message.Message

	slots     chan struct{} // one for each message in flight
	answering sync.WaitGroup
	abandoned chan struct{} // closed when the wait for answers is over
	collected bool          // collect was called; used by the goroutine of run alone

	mu    sync.Mutex
	known map[eventKey]*delivery // events that have arrived and are not answered

	foreign []string // the group's connections that are no Subscribers, when it was looked at last
}

// eventKey identifies an event. An id alone is not enough: it may occur in several streams.
type eventKey struct {
	id       uuid.UUID
	stream   string
	revision uint64
}

// delivery is an event from its arrival until it is answered.
type delivery struct {
	event    *esdb.ResolvedEvent
	retries  int
	message  *message.Message
	cancel   context.CancelFunc // of the message's context
	consumer *consumer          // the connection over which it came last; guarded by subscription.mu
}

func keyOf(e *esdb.RecordedEvent) eventKey {
	return eventKey{id: e.EventID, stream: e.StreamID, revision: e.EventNumber}
}

func (s *Subscriber) newSubscription(ctx context.Context, topic string) (*subscription, error) {
	if topic == "" {
		return nil, errors.New("the topic is empty; name one")
	}
	u := &subscription{
		subscriber: s, config: &s.config, topic: topic, group: s.config.Group(topic), filter: s.config.Filter(topic),
		clients: newClients(s.connection, 1), note: func(why error) { s.note(topic, why) }, ctx: ctx, out: make(chan *message.Message),
		slots: make(chan struct{}, s.config.InFlight), abandoned: make(chan struct{}), known: map[eventKey]*delivery{},
	}
	if u.group == "" {
		return nil, errors.New("the topic has no consumer group; name one")
	}
	if (u.filter.Regex == "") == (len(u.filter.Prefixes) == 0) {
		return nil, errors.New("the topic's filter must have either prefixes or a regular expression")
	}
	u.logger = s.logger.With(watermill.LogFields{"topic": topic, "consumer_group": u.group})
	stopped, stop := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.stopped, stop)
	u.stopped, u.stop = stopped, func() { unlink(); stop() }
	return u, nil
}

// ended returns why the subscription ended.
func (u *subscription) ended() error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// ask sends a request to the server and waits for its answer, for the time-out at most.
func ask[T any](u *subscription, request func(context.Context, *esdb.Client) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(u.stopped, u.config.Timeout)
	defer cancel()
	return call(ctx, u.clients, func(client *esdb.Client) (T, error) { return request(ctx, client) })
}

// reconnectPause grows from 0.1 to 5 seconds. It is randomised, so that subscribers that were interrupted together do not
// all reconnect at the same moment.
func reconnectPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.Multiplier, pause.MaxInterval = 100*time.Millisecond, 2, 5*time.Second
	return pause
}

// run delivers messages until the subscription is stopped.
func (u *subscription) run() {
	defer close(u.out)
	defer u.note(errNotSubscribed)
	defer u.release()
	defer u.collect() // if the subscription was stopped while it had no connection
	pause := reconnectPause()
	for {
		delivered, err := u.consume()
		if u.stopped.Err() != nil {
			return
		}
		u.note(err)
		u.clients.drop()
		if delivered {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		u.logger.Error("The subscription was interrupted and will be taken up again", err, watermill.LogFields{"in": wait})
		select {
		case <-u.stopped.Done():
			return
		case <-time.After(wait):
		}
	}
}

// release closes the connections.
func (u *subscription) release() {
	u.stop()
	if err := u.clients.close(u.config.CloseTimeout); err != nil {
		u.logger.Error("Could not wait for the connections to end", err, nil)
	}
}

// collect waits for the answers to the messages in flight. A message that is not answered in time is abandoned: its context
// ends, and the server delivers it again.
func (u *subscription) collect() {
	if u.collected {
		return
	}
	u.collected = true
	all := make(chan struct{})
	go func() {
		u.answering.Wait()
		close(all)
	}()
	timeout := time.NewTimer(u.config.CloseTimeout)
	defer timeout.Stop()
	select {
	case <-all:
	case <-timeout.C:
		u.logger.Info("Messages were not answered before the subscription ended, and will be delivered again",
			watermill.LogFields{"messages": len(u.slots)})
		close(u.abandoned)
		<-all
	}
}

// consume delivers the events of one connection. It reports whether any event came, and returns a nil error when the
// subscription was stopped.
func (u *subscription) consume() (delivered bool, err error) {
	c, err := u.connect()
	if err != nil {
		return false, err
	}
	u.note(nil)
	watching, stop := context.WithCancel(u.stopped)
	var members sync.WaitGroup
	defer members.Wait()
	defer stop()
	if u.config.OnForeign != nil {
		members.Go(func() { u.watchMembers(watching) })
	}
	left := u.clients.watch(watching)
	for err == nil && u.stopped.Err() == nil {
		select {
		case <-u.stopped.Done():
		case err = <-left:
		case <-c.lost:
			err = c.reason
		case d := <-c.arrivals:
			delivered = true
			if !u.deliver(d, c.lost) {
				u.forget(d)
			}
		}
	}
	if err != nil {
		c.abort()
		return delivered, err
	}
	u.collect()
	c.finish()
	return delivered, nil
}

// arrived registers an event. It returns nil if the event already waits for its answer: the server delivers it again after
// a broken connection or a time-out. Then the handler continues, and its answer is sent over the connection of this
// delivery.
func (u *subscription) arrived(c *consumer, appeared *esdb.EventAppeared) *delivery {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := keyOf(appeared.Event.OriginalEvent())
	if d := u.known[key]; d != nil {
		d.consumer = c
		return nil
	}
	d := &delivery{event: appeared.Event, retries: appeared.RetryCount, consumer: c}
	u.known[key] = d
	return d
}

// forget removes the event from those that wait for an answer, so that it is delivered if it arrives again. It returns the
// connection over which it came last.
func (u *subscription) forget(d *delivery) *consumer {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.known, keyOf(d.event.OriginalEvent()))
	return d.consumer
}

// deliver sends an event to the subscriber as a message, unless the program deals with it without one. It returns false if lost was
// closed or the subscription was stopped before.
func (u *subscription) deliver(d *delivery, lost <-chan struct{}) bool {
	if why := unfit(d.event); why != "" {
		e := d.event.OriginalEvent()
		u.logger.Info("An event was skipped",
			watermill.LogFields{"reason": why, "stream": e.StreamID, "revision": e.EventNumber, "type": e.EventType})
		u.acknowledge(d)
		return true
	}
	if u.config.Dealt != nil {
		dealt, underway := u.config.Dealt(u.topic, d.event.Event)
		switch {
		case dealt:
			u.acknowledge(d)
			return true
		case underway != nil:
			u.answering.Go(func() { u.awaitDealt(d, underway) })
			return true
		}
	}
	return u.send(d, lost)
}

// send sends an event to the subscriber as a message. It returns false if lost was closed or the subscription was stopped before.
func (u *subscription) send(d *delivery, lost <-chan struct{}) bool {
	select {
	case u.slots <- struct{}{}:
	case <-lost:
		return false
	case <-u.stopped.Done():
		return false
	}
	d.message, d.cancel = newMessage(u.ctx, d.event.Event, d.retries, !u.config.WithoutMetadata)
	select {
	case u.out <- d.message:
		u.answering.Go(func() { u.await(d) })
		return true
	case <-lost:
	case <-u.stopped.Done():
	}
	d.cancel()
	<-u.slots
	return false
}

// awaitDealt waits until the program has dealt with an event, and sends a message if it has not after all. The server bounds how
// many events wait here: they are unanswered.
func (u *subscription) awaitDealt(d *delivery, underway <-chan struct{}) {
	for underway != nil {
		select {
		case <-underway:
		case <-u.abandoned:
			u.forget(d)
			return
		}
		var dealt bool
		if dealt, underway = u.config.Dealt(u.topic, d.event.Event); dealt {
			u.acknowledge(d)
			return
		}
	}
	if !u.send(d, nil) { // a message may come over another connection than its event
		u.forget(d)
	}
}

// acknowledge answers an event that has become no message.
func (u *subscription) acknowledge(d *delivery) {
	u.forget(d).answer(answer{event: d.event, ack: true})
}

// unfit returns why an event must not be delivered, and nothing if it may be.
func unfit(e *esdb.ResolvedEvent) string {
	switch {
	case e.Event == nil:
		return "the link leads to an event that is gone"
	case len(e.Event.EventType) > 0 && e.Event.EventType[0] == '$':
		return "it is the server's own, such as a deletion or a link"
	}
	return ""
}

// await waits for the answer to a message and passes it on to the event's connection.
func (u *subscription) await(d *delivery) {
	defer func() { <-u.slots }()
	defer d.cancel()
	acked := false
	select {
	case <-d.message.Acked():
		acked = true
	case <-d.message.Nacked():
		d.cancel()
		pause := time.NewTimer(u.config.NackPause(d.retries))
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-u.stopped.Done():
		}
	case <-u.abandoned:
		u.forget(d)
		return
	}
	u.forget(d).answer(answer{event: d.event, ack: acked})
}

// connect joins the group. If the group was deleted, it is made again.
func (u *subscription) connect() (*consumer, error) {
	c, err := u.join()
	if codeOf(err) == esdb.ErrorCodeResourceNotFound {
		u.logger.Info("The consumer group is gone and will be made again", nil)
		if err := u.makeGroup(); err != nil {
			return nil, err
		}
		c, err = u.join()
	}
	if err != nil {
		return nil, fmt.Errorf("join the consumer group %q: %w", u.group, err)
	}
	return c, nil
}

func (u *subscription) join() (*consumer, error) {
	// The stream must outlive u.ctx, because the last answers are sent after its end.
	ctx, cancel := context.WithCancel(context.WithoutCancel(u.ctx))
	name := memberPrefix + uuid.NewString()
	ctx = metadata.AppendToOutgoingContext(ctx, "connection-name", name)
	options := esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: uint32(u.config.InFlight)}
	stream, err := ask(u, func(_ context.Context, client *esdb.Client) (*esdb.PersistentSubscription, error) {
		return client.SubscribeToPersistentSubscriptionToAll(ctx, u.group, options)
	})
	if err != nil {
		cancel()
		return nil, err
	}
	u.logger.Debug("Joined the consumer group", nil)
	return newConsumer(u, name, stream, cancel), nil
}
