package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/cenkalti/backoff/v5"
)

// consumer is one connection of a subscription to its group. One goroutine receives; another one sends the answers,
// because a stream takes one at a time, and those that are waiting together.
type consumer struct {
	subscription *subscription
	name         string // by which the server knows the connection
	stream       *esdb.PersistentSubscription
	cancel       context.CancelFunc // of the stream

	arrivals chan *delivery
	lost     chan struct{} // closed when nothing more arrives
	reason   error         // why; for after lost was closed

	answers   chan answer
	finishing chan struct{} // closed when the last answer was given
	silent    chan struct{} // closed when no more answers are sent
	sent      int64         // answers; for after silent was closed
	workers   sync.WaitGroup
}

// answer is what became of an event.
type answer struct {
	event *esdb.ResolvedEvent
	ack   bool
}

const (
	// maxAnswers bounds the answers that are sent in one message.
	maxAnswers = 500
	// farewell bounds how long the end of a connection waits for the server.
	farewell = time.Second
)

func newConsumer(u *subscription, name string, stream *esdb.PersistentSubscription, cancel context.CancelFunc) *consumer {
	c := &consumer{
		subscription: u, name: name, stream: stream, cancel: cancel,
		arrivals: make(chan *delivery, u.config.InFlight), lost: make(chan struct{}),
		answers: make(chan answer, u.config.InFlight), finishing: make(chan struct{}), silent: make(chan struct{}),
	}
	c.workers.Go(c.receive)
	c.workers.Go(c.send)
	return c
}

func (c *consumer) receive() {
	defer close(c.lost)
	for {
		e := c.stream.Recv()
		if e.SubscriptionDropped != nil {
			c.reason = e.SubscriptionDropped.Error
			return
		}
		if e.EventAppeared == nil || e.EventAppeared.Event.OriginalEvent() == nil {
			c.subscription.logger.Info("The server delivered no event at all; there is nothing to answer", nil)
			continue
		}
		d := c.subscription.arrived(c, e.EventAppeared)
		if d == nil {
			continue
		}
		select {
		case c.arrivals <- d:
		case <-c.silent: // nobody could answer it any more; the stream is about to end
			c.subscription.forget(d)
		}
	}
}

// answer leaves an answer to be sent. If the connection has ended it is dropped: the server delivers the event again.
func (c *consumer) answer(a answer) {
	select {
	case c.answers <- a:
	case <-c.silent:
	}
}

func (c *consumer) send() {
	defer close(c.silent)
	for {
		select {
		case first := <-c.answers:
			if c.sendWaiting(first) != nil {
				// The receiver hears the reason.
				c.cancel()
				return
			}
		case <-c.finishing:
			select {
			case first := <-c.answers:
				if c.sendWaiting(first) != nil {
					return
				}
			default:
				return
			}
		}
	}
}

// sendWaiting sends an answer and those that are waiting behind it.
func (c *consumer) sendWaiting(first answer) error {
	var acks, nacks []*esdb.ResolvedEvent
	for a, n := first, 1; ; n++ {
		if a.ack {
			acks = append(acks, a.event)
		} else {
			nacks = append(nacks, a.event)
		}
		if n == maxAnswers {
			break
		}
		select {
		case a = <-c.answers:
			continue
		default:
		}
		break
	}
	c.sent += int64(len(acks) + len(nacks))
	return errors.Join(c.stream.Ack(acks...), c.stream.Nack("the subscriber refused the message", esdb.NackActionRetry, nacks...))
}

// finish sends the answers that were given and ends the connection.
func (c *consumer) finish() {
	close(c.finishing)
	timeout := time.NewTimer(farewell)
	defer timeout.Stop()
	select {
	case <-c.silent:
		c.arrive()
	case <-timeout.C:
		c.cancel() // the server takes no answers
	}
	c.end()
}

// arrive waits until the server has taken the answers: the end of a stream overtakes what is on its way. The server tells
// how many it has taken. Where it does not, or not in time, the events may come again.
func (c *consumer) arrive() {
	u := c.subscription
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), farewell)
	defer cancel()
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		info, err := call(ctx, u.clients, func(client *esdb.Client) (*esdb.PersistentSubscriptionInfo, error) {
			return client.GetPersistentSubscriptionInfoToAll(ctx, u.group, esdb.GetPersistentSubscriptionOptions{})
		})
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		for _, connection := range info.Connections {
			if connection.ConnectionName == c.name && connection.TotalItemsProcessed < c.sent {
				return struct{}{}, fmt.Errorf("the server has taken %d answers of %d", connection.TotalItemsProcessed, c.sent)
			}
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(5*time.Millisecond)))
	if err != nil {
		u.logger.Debug("Could not make sure that the last answers arrived", watermill.LogFields{"error": err})
	}
}

// abort ends a connection that was lost.
func (c *consumer) abort() {
	c.cancel()
	close(c.finishing)
	c.end()
}

func (c *consumer) end() {
	<-c.silent
	_ = c.stream.Close() // it never fails
	c.cancel()
	c.workers.Wait()
	for len(c.arrivals) > 0 {
		c.subscription.forget(<-c.arrivals)
	}
}
