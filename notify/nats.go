package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	defaultDuplicates = 24 * time.Hour
	defaultMaxAge     = 30 * 24 * time.Hour
	natsDialTimeout   = 5 * time.Second
	natsAckWithin     = 5 * time.Second
)

// NATSConfig configures the streams of NATS JetStream.
type NATSConfig struct {
	// Provision creates a stream for a topic if the server has none for it. Without Provision the stream has to be created
	// in another way, and messages fail until it exists. An existing stream is never changed.
	Provision bool
	// Replicas of a created stream; 0 means 3 on a cluster of at least three servers, and 1 otherwise.
	Replicas int
	// Duplicates is how long a created stream remembers ids, to drop repeats; 0 means a day.
	Duplicates time.Duration
	// MaxAge is how long a created stream keeps messages; 0 means 30 days.
	MaxAge time.Duration
}

func (c NATSConfig) withDefaults() (NATSConfig, error) {
	if c.Replicas < 0 || c.Duplicates < 0 || c.MaxAge < 0 {
		return c, refused("nats_settings_invalid", "the settings of NATS have a number below zero").do("leave it 0 for the default")
	}
	if c.MaxAge == 0 {
		c.MaxAge = defaultMaxAge
	}
	if c.Duplicates == 0 {
		c.Duplicates = defaultDuplicates
	}
	// The server refuses a stream that remembers ids for longer than it keeps messages.
	c.Duplicates = min(c.Duplicates, c.MaxAge)
	return c, nil
}

type natsPublisher struct {
	*wmnats.Publisher
	conn     *nats.Conn
	streams  jetstream.JetStream
	settings NATSConfig
	known    sync.Map // topics that have a stream
}

func connectNATS(address brokerAddress, settings NATSConfig, secured *tls.Config, logger *slog.Logger) (*natsPublisher, error) {
	options := []nats.Option{
		nats.Name("casebook"), nats.Timeout(natsDialTimeout), nats.MaxReconnects(-1),
		// Without a connection a message fails at once, instead of waiting in a buffer.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				logger.Warn("the connection to the notification broker broke", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { logger.Info("the notification broker is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("the notification broker reports a fault", "error", err)
		}),
	}
	if address.user != "" {
		options = append(options, nats.UserInfo(address.user, address.password))
	}
	if secured != nil {
		options = append(options, nats.Secure(secured))
	}
	servers := make([]string, len(address.hosts))
	for i, host := range address.hosts {
		servers[i] = "nats://" + host
	}
	conn, err := nats.Connect(strings.Join(servers, ","), options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", strings.Join(address.hosts, ", "), err)
	}
	streams, err := jetstream.New(conn)
	if err == nil {
		var publisher *wmnats.Publisher
		// TrackMsgId sends the message's UUID as Nats-Msg-Id, by which the server drops repeats.
		publisher, err = wmnats.NewPublisherWithNatsConn(conn, wmnats.PublisherPublishConfig{
			Marshaler: &wmnats.NATSMarshaler{}, SubjectCalculator: wmnats.DefaultSubjectCalculator,
			JetStream: wmnats.JetStreamConfig{TrackMsgId: true, ConnectOptions: []nats.JSOpt{nats.MaxWait(natsAckWithin)}},
		}, watermillLogger(logger))
		if err == nil {
			return &natsPublisher{Publisher: publisher, conn: conn, streams: streams, settings: settings}, nil
		}
	}
	conn.Close()
	return nil, fmt.Errorf("use JetStream at %s: %w", strings.Join(address.hosts, ", "), err)
}

func (p *natsPublisher) publish(ctx context.Context, topic string, m *message.Message) error {
	if err := p.provision(ctx, topic); err != nil {
		return err
	}
	err := p.Publish(topic, m)
	if errors.Is(err, nats.ErrNoStreamResponse) {
		p.known.Delete(topic)
		return fmt.Errorf("the topic has no stream (create one, or let Casebook do it): %w", err)
	}
	return err
}

// provision creates a stream for the topic if there is none. Watermill's own provisioning would give the stream the
// name of the topic, and names of streams must not have dots.
func (p *natsPublisher) provision(ctx context.Context, topic string) error {
	if _, known := p.known.Load(topic); known || !p.settings.Provision {
		return nil
	}
	_, err := p.streams.StreamNameBySubject(ctx, topic)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = p.streams.CreateStream(ctx, jetstream.StreamConfig{
			Name: strings.ReplaceAll(topic, ".", "_"), Subjects: []string{topic},
			Replicas: p.replicas(), Duplicates: p.settings.Duplicates, MaxAge: p.settings.MaxAge,
		})
	}
	if err != nil {
		return fmt.Errorf("create a stream for the topic: %w", err)
	}
	p.known.Store(topic, true)
	return nil
}

// clusterReplicas is how many servers of a cluster keep a stream, so that one of them may fail.
const clusterReplicas = 3

func (p *natsPublisher) replicas() int {
	switch {
	case p.settings.Replicas > 0:
		return p.settings.Replicas
	case len(p.conn.Servers()) >= clusterReplicas: // those of the address, and those that the server knows
		return clusterReplicas
	}
	return 1
}

func (p *natsPublisher) rejects(err error) bool { return errors.Is(err, nats.ErrMaxPayload) }
