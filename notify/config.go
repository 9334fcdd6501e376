package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// connectWithin is how long Open waits for a broker.
const connectWithin = 5 * time.Second

// Config selects and configures the channels. It shows no secret when it is printed or logged.
type Config struct {
	// Broker is "inprocess:", "nats://host:4222" or "kafka://host:9092,host2:9092"; no broker when it is empty. The
	// schemes nats+tls and kafka+tls use TLS. A user and a password are written before the hosts, percent-encoded, as in
	// nats+tls://user:password@host:4222. Kafka gets them as SASL PLAIN.
	Broker string
	// NATS configures the streams of NATS JetStream.
	NATS NATSConfig
	// Webhook configures the webhook; no webhook when its URL is empty.
	Webhook WebhookConfig
	// Email configures the mail server; no e-mail when its SMTP is empty.
	Email EmailConfig
	// RootCAs verify the receivers' certificates; nil for the roots of the system.
	RootCAs *x509.CertPool
	// Logger receives warnings, such as those about a receiver that cannot be reached; nil for none.
	Logger *slog.Logger
}

// Open opens the configured channels, in the order broker, webhook, email. It returns a Problem if the configuration is
// invalid, and ctx's error if ctx has ended. A receiver that cannot be reached is not an error, because a trial has to
// continue without it: it is logged, and every Send tries to reach it.
func Open(ctx context.Context, c Config) ([]Channel, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open the notification channels: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var channels []Channel
	for _, open := range []func(context.Context, Config) (Channel, error){openBroker, openWebhook, openEmail} {
		channel, err := open(ctx, c)
		if err != nil {
			return nil, errors.Join(err, closeAll(channels))
		}
		if channel != nil {
			channels = append(channels, channel)
		}
	}
	return channels, nil
}

func closeAll(channels []Channel) error {
	var failed error
	for _, channel := range channels {
		failed = errors.Join(failed, channel.Close())
	}
	return failed
}

// String names the receivers, without secrets.
func (c Config) String() string {
	return fmt.Sprintf("broker %s, %s, %s", shownBroker(c.Broker), c.Webhook, c.Email)
}

// Format prints what String returns, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue logs what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names only the webhook's host, because the paths of webhooks often contain a token.
func (c WebhookConfig) String() string {
	if c.URL == "" {
		return "no webhook"
	}
	address, err := url.Parse(c.URL)
	if err != nil {
		return "webhook with an invalid URL"
	}
	return "webhook at " + address.Host
}

// Format prints what String returns, whatever the verb.
func (c WebhookConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue logs what String returns.
func (c WebhookConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the mail server.
func (c EmailConfig) String() string {
	if c.SMTP == "" {
		return "no e-mail"
	}
	if _, _, err := parseMailServer(c.SMTP); err != nil {
		return "e-mail by a server with an invalid address"
	}
	return "e-mail by " + c.SMTP
}

// Format prints what String returns, whatever the verb.
func (c EmailConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue logs what String returns.
func (c EmailConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// shownBroker returns the broker's address without user and password.
func shownBroker(address string) string {
	if address == "" {
		return "none"
	}
	if address == inProcessAddress {
		return address
	}
	b, err := parseBroker(address)
	if err != nil {
		return "with an invalid address"
	}
	return b.kind + "://" + strings.Join(b.hosts, ",")
}
