package notify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

const (
	inProcessAddress = "inprocess:"
	// ackTimeout is how long a subscriber may take to acknowledge a message before it is cut off.
	ackTimeout = 5 * time.Second
	// nackPause is the pause before a message that was not acknowledged is delivered again.
	nackPause = 20 * time.Millisecond
)

// InProcess is a broker for subscribers in the same process. It stores nothing: a message without subscribers is lost.
// Unlike the other channels it has no circuit breaker, because a subscriber that does not answer is cut off.
type InProcess struct {
	topics     *gochannel.GoChannel
	gate       *gate
	calls      *callPool
	forwarders sync.WaitGroup
	ackTimeout time.Duration
	logger     *slog.Logger
}

func openInProcess(logger *slog.Logger) *InProcess {
	return &InProcess{
		// Send waits for the subscribers, so that no queue of messages can grow.
		topics: gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermillLogger(logger)),
		gate:   newGate(), calls: newCallPool(), ackTimeout: ackTimeout, logger: logger,
	}
}

// Name is "broker".
func (p *InProcess) Name() string { return brokerName }

// Send returns when every subscriber of the topic has acknowledged the message or was cut off. It fails with
// message_... (which wraps ErrRejected), broker_failed and channel_closed.
func (p *InProcess) Send(ctx context.Context, m Message) error {
	if err := m.checkForBroker(); err != nil {
		return err
	}
	ctx, leave, err := p.gate.enter(ctx, p.Name())
	if err != nil {
		return err
	}
	defer leave()
	err = p.calls.run(ctx, func(context.Context) error { return p.topics.Publish(m.Topic, m.forBroker()) })
	if err != nil {
		return brokerFailed(m).because(err)
	}
	return nil
}

// Subscribe returns the messages that are sent to a topic from now on, until ctx ends or the channel closes. Each
// message has to be acknowledged (Ack) before the next one is delivered; after Nack it is delivered again. A subscriber
// that does not acknowledge a message within five seconds is cut off, so that it does not hold up the sender: its Go
// channel is closed. Subscribe fails with channel_closed.
func (p *InProcess) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	_, leave, err := p.gate.enter(ctx, p.Name())
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	in, err := p.topics.Subscribe(ctx, topic)
	if err != nil {
		cancel()
		return nil, refused("broker_failed", "subscribe to %s", topic).because(err)
	}
	out := make(chan *message.Message)
	p.forwarders.Go(func() {
		defer close(out)
		defer cancel()
		for m := range in {
			if !p.deliver(ctx, m, out) {
				if ctx.Err() == nil {
					p.logger.Warn("a subscriber in this process is cut off: it did not acknowledge a message in time",
						"topic", topic, "message", m.UUID, "within", p.ackTimeout)
				}
				return
			}
		}
	})
	return out, nil
}

// deliver delivers a message to a subscriber until the subscriber acknowledges it. It returns false if the subscriber
// does not acknowledge it in time, or if the subscription ends.
func (p *InProcess) deliver(ctx context.Context, m *message.Message, out chan<- *message.Message) bool {
	timeout := time.NewTimer(p.ackTimeout)
	defer timeout.Stop()
	for {
		copied := m.Copy()
		copied.SetContext(m.Context())
		select {
		case out <- copied:
		case <-timeout.C:
			return false
		case <-ctx.Done():
			return false
		case <-p.gate.ending.Done():
			return false
		}
		select {
		case <-copied.Acked():
			return m.Ack()
		case <-copied.Nacked():
			select {
			case <-time.After(nackPause):
			case <-ctx.Done():
				return false
			}
		case <-timeout.C:
			return false
		case <-ctx.Done():
			return false
		case <-p.gate.ending.Done():
			return false
		}
	}
}

// Close ends the subscriptions and running sends.
func (p *InProcess) Close() error {
	p.gate.close() // ends the forwarders too, so that no Send waits for a subscriber
	p.calls.wait()
	err := p.topics.Close()
	p.forwarders.Wait()
	return err
}

// watermillLogger logs what Watermill says about every message at the level debug, and traces below it.
func watermillLogger(logger *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(logger, map[slog.Level]slog.Level{
		slog.LevelInfo: slog.LevelDebug, watermill.LevelTrace: slog.LevelDebug - 4,
	})
}
