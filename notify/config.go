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

// connectWithin bounds how long Open waits for a broker.
const connectWithin = 5 * time.Second

// Config names the channels. However it is printed or logged, it shows no secret.
type Config struct {
	// Broker is "inprocess:", "nats://host:4222" or "kafka://host:9092,host2:9092"; none where it is empty. Over TLS the
	// schemes are nats+tls and kafka+tls. A user and a password go before the hosts, percent-encoded where they have
	// characters of URLs, as in nats+tls://user:password@host:4222; Kafka takes them as SASL PLAIN.
	Broker string
	// NATS says how the streams of NATS JetStream come about.
	NATS NATSConfig
	// Webhook is the webhook; none where its URL is empty.
	Webhook WebhookConfig
	// Email is the mail server; none where its SMTP is empty.
	Email EmailConfig
	// RootCAs are who signs receivers' certificates; nil: those that the system trusts.
	RootCAs *x509.CertPool
	// Logger gets what nobody waits for, such as a receiver that is away; nil: nobody.
	Logger *slog.Logger
}

// Open makes the channels that the configuration names, in the order broker, webhook, email. It fails with a Problem
// where the configuration cannot work, and with ctx's error. A receiver that is away is not an error: a trial goes on
// without it. It is logged, and every Send tries again.
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

// String names the receivers without anything secret.
func (c Config) String() string {
	return fmt.Sprintf("broker %s, %s, %s", shownBroker(c.Broker), c.Webhook, c.Email)
}

// Format prints what String returns, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue logs what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the webhook by its host: paths of webhooks often hold a token.
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
