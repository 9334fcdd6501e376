package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

const brokerName = "broker"

// Names of a message's metadata at a broker; NATS and Kafka store them as headers. correlation_id is Watermill's own
// name.
const (
	MetadataContentType   = "content_type"
	MetadataCorrelationID = "correlation_id"
	MetadataTraceID       = "trace_id"
	MetadataOccurredAt    = "occurred_at" // RFC 3339, UTC
)

// brokerAddress is a parsed address of a broker.
type brokerAddress struct {
	kind           string // nats or kafka
	hosts          []string
	tls            bool
	user, password string
}

// parseBroker parses an address. Its problems never show the user and the password.
func parseBroker(address string) (brokerAddress, error) {
	scheme, rest, _ := strings.Cut(address, "://")
	kind, secured, hasSuffix := strings.Cut(scheme, "+")
	port, known := map[string]string{"nats": "4222", "kafka": "9092"}[kind]
	if !known || hasSuffix && secured != "tls" {
		return brokerAddress{}, refused("broker_unknown", "the broker's address does not begin with a known scheme").
			do("write inprocess:, nats://host:4222 or kafka://host:9092; over TLS nats+tls:// or kafka+tls://")
	}
	b := brokerAddress{kind: kind, tls: hasSuffix}
	invalid := func(why string) error {
		return refused("broker_invalid", "the address of the %s broker %s", kind, why).do("write " + kind + "://host:" + port)
	}
	at := strings.LastIndex(rest, "@")
	if at >= 0 {
		user, password, _ := strings.Cut(rest[:at], ":")
		var userErr, passwordErr error
		b.user, userErr = url.PathUnescape(user)
		b.password, passwordErr = url.PathUnescape(password)
		if userErr != nil || passwordErr != nil || b.user == "" {
			return brokerAddress{}, invalid("has a user or a password that is not percent-encoded")
		}
	}
	for host := range strings.SplitSeq(strings.TrimSuffix(rest[at+1:], "/"), ",") {
		if strings.ContainsAny(host, "/?# \t\r\n") {
			return brokerAddress{}, invalid("has more parts than hosts and ports")
		}
		name, given, err := net.SplitHostPort(host)
		if err != nil {
			name, given = strings.Trim(host, "[]"), port
		}
		if number, err := strconv.ParseUint(given, 10, 16); err != nil || number == 0 || name == "" {
			return brokerAddress{}, invalid("has no host, or an invalid port")
		}
		if b.user != "" && !b.tls && !isLoopback(name) {
			return brokerAddress{}, refused("broker_in_the_clear", "the password for the %s broker at %s would be sent unencrypted", kind, name).
				do("write " + kind + "+tls://")
		}
		b.hosts = append(b.hosts, net.JoinHostPort(name, given))
	}
	return b, nil
}

// broker is the channel to a broker outside of this process. It uses a publisher of Watermill.
type broker struct {
	connect func(context.Context) (brokerPublisher, error)
	logger  *slog.Logger
	calls   *callPool

	mu        sync.Mutex // also held while connecting, so that only one connection is made
	connected brokerPublisher
}

// brokerPublisher publishes messages at a broker. Libraries that do not support contexts use their own time-outs.
type brokerPublisher interface {
	// publish returns when the broker has stored the message.
	publish(ctx context.Context, topic string, m *message.Message) error
	// rejects reports whether the error means that the broker will never accept the message.
	rejects(err error) bool
	Close() error
}

func openBroker(ctx context.Context, c Config) (Channel, error) {
	switch c.Broker {
	case "":
		return nil, nil
	case inProcessAddress:
		return openInProcess(c.Logger), nil
	}
	address, err := parseBroker(c.Broker)
	if err != nil {
		return nil, err
	}
	var secured *tls.Config
	if address.tls {
		secured = &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	}
	b := &broker{logger: c.Logger, calls: newCallPool()}
	switch address.kind {
	case "nats":
		settings, err := c.NATS.withDefaults()
		if err != nil {
			return nil, err
		}
		b.connect = func(context.Context) (brokerPublisher, error) {
			return connectNATS(address, settings, secured, c.Logger)
		}
	default:
		b.connect = func(context.Context) (brokerPublisher, error) { return connectKafka(address, secured, c.Logger) }
	}
	b.tryToConnect(ctx)
	return newGuard(b, c.Logger), nil
}

// tryToConnect connects when the program starts, so that a wrong address is logged then and not at the first alert.
func (b *broker) tryToConnect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	err := b.calls.run(ctx, func(ctx context.Context) error {
		_, err := b.publisher(ctx)
		return err
	})
	if err != nil {
		b.logger.Warn("the notification broker cannot be reached yet; every message tries again", "error", err)
	}
}

func (b *broker) Name() string { return brokerName }

// Send returns when the broker has stored the message. It fails with message_..., broker_rejected or broker_failed.
func (b *broker) Send(ctx context.Context, m Message) error {
	if err := m.checkForBroker(); err != nil {
		return err
	}
	err := b.calls.run(ctx, func(ctx context.Context) error {
		publisher, err := b.publisher(ctx)
		if err != nil {
			return err
		}
		err = publisher.publish(ctx, m.Topic, m.forBroker())
		if err != nil && publisher.rejects(err) {
			return refused("broker_rejected", "the broker does not accept message %s for topic %s", m.ID, m.Topic).because(err).
				do("make the message smaller, or raise the broker's limit").permanent()
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrRejected) {
		return brokerFailed(m).because(err)
	}
	return err
}

// publisher returns the connection, and connects if there is none.
func (b *broker) publisher(ctx context.Context) (brokerPublisher, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.connected != nil {
		return b.connected, nil
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err // the context ended while another call tried to connect
	}
	publisher, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	b.connected = publisher
	return publisher, nil
}

func (b *broker) Close() error {
	b.calls.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.connected == nil {
		return nil
	}
	return b.connected.Close()
}

func brokerFailed(m Message) *Problem {
	return refused("broker_failed", "the broker did not accept message %s for topic %s", m.ID, m.Topic).do("send it again later")
}

func (m Message) checkForBroker() error {
	if err := m.check(); err != nil {
		return err
	}
	if err := m.checkTopic(); err != nil {
		return err
	}
	return m.checkPayload()
}

// forBroker returns the message as a message of Watermill.
func (m Message) forBroker() *message.Message {
	w := message.NewMessage(m.ID, message.Payload(m.Payload))
	w.Metadata.Set(MetadataContentType, "application/json")
	for key, value := range map[string]string{MetadataCorrelationID: m.CorrelationID, MetadataTraceID: m.TraceID} {
		if value != "" {
			w.Metadata.Set(key, oneLine(value))
		}
	}
	if !m.OccurredAt.IsZero() {
		w.Metadata.Set(MetadataOccurredAt, m.OccurredAt.UTC().Format(time.RFC3339Nano))
	}
	return w
}
