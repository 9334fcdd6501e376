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

// consumer is one connection of a subscription to its group. One goroutine receives events. Another one sends the answers:
// a stream allows one send at a time, and answers that wait are sent together.
type consumer struct {
	subscription *subscription
	name         string // the connection's name at the server
	stream       *esdb.PersistentSubscription
	cancel       context.CancelFunc // of the stream

	arrivals chan *delivery
	lost     chan struct{} // closed when the receiver has ended
	reason   error         // why it ended; valid once lost is closed

	answers   chan answer
	finishing chan struct{} // closed after the last answer was given
	sendEnded chan struct{} // closed when the sender has ended
	sent      int64         // number of answers sent; valid once sendEnded is closed
	workers   sync.WaitGroup
}

// answer acknowledges or refuses an event.
type answer struct {
	event *esdb.ResolvedEvent
	ack   bool
}

const (
	// maxAnswers bounds the answers in one message to the server.
	maxAnswers = 500
	// endTimeout bounds how long the end of a connection waits for the server.
	endTimeout = time.Second
)

func newConsumer(u *subscription, name string, stream *esdb.PersistentSubscription, cancel context.CancelFunc) *consumer {
	c := &consumer{
		subscription: u, name: name, stream: stream, cancel: cancel,
		arrivals: make(chan *delivery, u.config.InFlight), lost: make(chan struct{}),
		answers: make(chan answer, u.config.InFlight), finishing: make(chan struct{}), sendEnded: make(chan struct{}),
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
			c.subscription.logger.Info("The server delivered a message without an event, which is ignored", nil)
			continue
		}
		d := c.subscription.arrived(c, e.EventAppeared)
		if d == nil {
			continue
		}
		select {
		case c.arrivals <- d:
		case <-c.sendEnded: // it could not be answered; the stream is about to end
			c.subscription.forget(d)
		}
	}
}

// answer hands an answer to the sender. If the sender has ended, the answer is dropped and the server delivers the event
// again.
func (c *consumer) answer(a answer) {
	select {
	case c.answers <- a:
	case <-c.sendEnded:
	}
}

func (c *consumer) send() {
	defer close(c.sendEnded)
	for {
		select {
		case first := <-c.answers:
			if c.sendWaiting(first) != nil {
				c.cancel() // the receiver gets the reason
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

// sendWaiting sends an answer together with the answers that wait behind it.
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

// finish sends all answers that were given, and ends the connection.
func (c *consumer) finish() {
	close(c.finishing)
	timeout := time.NewTimer(endTimeout)
	defer timeout.Stop()
	select {
	case <-c.sendEnded:
		c.confirmAnswers()
	case <-timeout.C:
		c.cancel() // the server does not read the answers
	}
	c.end()
}

// confirmAnswers waits until the server has processed the answers, because closing the stream would discard those that
// are still on their way. The server reports how many answers it has processed. If it does not confirm them in time, the
// events may be delivered again.
func (c *consumer) confirmAnswers() {
	u := c.subscription
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), endTimeout)
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
				return struct{}{}, fmt.Errorf("the server has processed %d answers of %d", connection.TotalItemsProcessed, c.sent)
			}
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(5*time.Millisecond)))
	if err != nil {
		u.logger.Debug("The server did not confirm the last answers", watermill.LogFields{"error": err})
	}
}

// abort ends a connection that was lost.
func (c *consumer) abort() {
	c.cancel()
	close(c.finishing)
	c.end()
}

func (c *consumer) end() {
	<-c.sendEnded
	_ = c.stream.Close() // it never fails
	c.cancel()
	c.workers.Wait()
	for len(c.arrivals) > 0 {
		c.subscription.forget(<-c.arrivals)
	}
}
