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
	// takeWithin is how long a subscriber may have a message before it is cut off.
	takeWithin = 5 * time.Second
	// nackPause keeps a subscriber that refuses a message from getting it in a busy loop.
	nackPause = 20 * time.Millisecond
)

// InProcess is the broker for programs in the same process. It keeps nothing: what nobody subscribes to is gone. Unlike
// the other channels it has no circuit breaker, since a subscriber that does not answer is cut off.
type InProcess struct {
	topics     *gochannel.GoChannel
	gate       *gate
	lane       *lane
	forwarders sync.WaitGroup
	takeWithin time.Duration
	logger     *slog.Logger
}

func openInProcess(logger *slog.Logger) *InProcess {
	return &InProcess{
		// Send waits for the subscribers, so that what waits is bounded by those who send.
		topics: gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermillLogger(logger)),
		gate:   newGate(), lane: newLane(), takeWithin: takeWithin, logger: logger,
	}
}

// Name is "broker".
func (p *InProcess) Name() string { return brokerName }

// Send returns when every subscriber of the topic has acknowledged the message, or was cut off because it did not. It
// fails with the codes message_..., which wrap ErrRejected, and with channel_closed.
func (p *InProcess) Send(ctx context.Context, m Message) error {
	if err := m.checkForBroker(); err != nil {
		return err
	}
	ctx, leave, err := p.gate.enter(ctx, p.Name())
	if err != nil {
		return err
	}
	defer leave()
	err = p.lane.run(ctx, func(context.Context) error { return p.topics.Publish(m.Topic, m.forBroker()) })
	if err != nil {
		return brokerFailed(m).because(err)
	}
	return nil
}

// Subscribe returns the messages of a topic from now on, until ctx ends or the channel closes. Each message has to be
// acknowledged (Ack) before the next one comes; after Nack it comes again. A subscriber that acknowledges none within
// five seconds is cut off, which closes what Subscribe returned: so it never holds up the sender for long. It fails with
// channel_closed.
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
			if !p.handOver(ctx, m, out) {
				if ctx.Err() == nil {
					p.logger.Warn("a subscriber in this process is cut off: it did not take a message in time",
						"topic", topic, "message", m.UUID, "within", p.takeWithin)
				}
				return
			}
		}
	})
	return out, nil
}

// handOver gives a message to a subscriber until it acknowledges it, and returns false where it does not in time.
func (p *InProcess) handOver(ctx context.Context, m *message.Message, out chan<- *message.Message) bool {
	patience := time.NewTimer(p.takeWithin)
	defer patience.Stop()
	for {
		handed := m.Copy()
		handed.SetContext(m.Context())
		select {
		case out <- handed:
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		case <-p.gate.ending.Done():
			return false
		}
		select {
		case <-handed.Acked():
			return m.Ack()
		case <-handed.Nacked():
			select {
			case <-time.After(nackPause):
			case <-ctx.Done():
				return false
			}
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		case <-p.gate.ending.Done():
			return false
		}
	}
}

// Close ends the subscriptions and what is being sent.
func (p *InProcess) Close() error {
	p.gate.close() // the forwarders let go, so that nobody inside waits for a subscriber
	p.lane.wait()
	err := p.topics.Close()
	p.forwarders.Wait()
	return err
}

// watermillLogger turns what Watermill tells about every message into debug lines.
func watermillLogger(logger *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(logger, map[slog.Level]slog.Level{
		slog.LevelInfo: slog.LevelDebug, watermill.LevelTrace: slog.LevelDebug - 4,
	})
}
