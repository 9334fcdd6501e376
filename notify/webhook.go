package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	webhookName    = "webhook"
	secretPrefix   = "whsec_"
	webhookTimeout = 10 * time.Second
	// webhookTries and webhookWithin bound one Send; what sends later is the caller's.
	webhookTries  = 4
	webhookWithin = time.Minute
	// firstPause is the pause after the first try, about; it doubles.
	firstPause = 500 * time.Millisecond
	maxPause   = 10 * time.Second
	// maxAnswerBytes is how much of an answer is read, to use the connection again; nobody looks at it.
	maxAnswerBytes = 64 << 10
	// The sizes of keys that Standard Webhooks asks for.
	minSecretBytes, maxSecretBytes = 24, 64
)

// WebhookConfig is a receiver of webhooks, as the Standard Webhooks specification has them.
type WebhookConfig struct {
	// URL is https, or http to this machine.
	URL string
	// Secret is what messages are signed with: whsec_ and base64 of 24 to 64 bytes.
	Secret string
	// Timeout bounds one try; 0 means ten seconds.
	Timeout time.Duration
}

// webhook posts payloads, signed.
type webhook struct {
	url     string
	host    string
	signer  *standardwebhooks.Webhook
	client  *http.Client
	timeout time.Duration
	pause   time.Duration
	logger  *slog.Logger
}

func openWebhook(_ context.Context, c Config) (Channel, error) {
	if c.Webhook.URL == "" {
		return nil, nil
	}
	w, err := newWebhook(c)
	if err != nil {
		return nil, err
	}
	return newGuard(w, c.Logger), nil
}

func newWebhook(c Config) (*webhook, error) {
	address, err := url.Parse(c.Webhook.URL)
	if err != nil || address.Hostname() == "" || address.Scheme != "https" && address.Scheme != "http" {
		return nil, refused("webhook_url_invalid", "the webhook's URL is none that can be posted to").do("write https://host/path")
	}
	if address.Scheme == "http" && !isLoopback(address.Hostname()) {
		return nil, refused("webhook_in_the_clear", "messages to the webhook at %s would travel in the clear", address.Host).
			do("write https://; http is for this machine alone")
	}
	encoded, prefixed := strings.CutPrefix(c.Webhook.Secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !prefixed || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, refused("webhook_secret_invalid", "the webhook's secret is not %s and base64 of %d to %d bytes", secretPrefix, minSecretBytes, maxSecretBytes).
			do("take the one that the receiver shows, or make one of random bytes")
	}
	if c.Webhook.Timeout < 0 {
		return nil, refused("webhook_settings_invalid", "the webhook's time-out is below zero").do("leave it 0 for the default")
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, refused("webhook_secret_invalid", "the webhook's secret cannot be used").do("take another")
	}
	w := &webhook{url: c.Webhook.URL, host: address.Host, signer: signer, timeout: c.Webhook.Timeout, pause: firstPause, logger: c.Logger}
	if w.timeout == 0 {
		w.timeout = webhookTimeout
	}
	w.client = &http.Client{
		// A redirect would carry the message to somebody whom nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: w.timeout}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: w.timeout,
			ForceAttemptHTTP2:   true,
			MaxConnsPerHost:     inFlight, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: maxAnswerBytes,
		},
	}
	return w, nil
}

func (w *webhook) Name() string { return webhookName }

// Send posts the payload, up to four times within about a minute. It fails with message_..., webhook_rejected,
// webhook_failed.
func (w *webhook) Send(ctx context.Context, m Message) error {
	if err := m.checkPayload(); err != nil {
		return err
	}
	pauses := backoff.NewExponentialBackOff() // with jitter
	pauses.InitialInterval, pauses.Multiplier, pauses.MaxInterval = w.pause, 2, maxPause
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = w.try(ctx, m)
		if errors.Is(last, ErrRejected) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pauses), backoff.WithMaxTries(webhookTries), backoff.WithMaxElapsedTime(webhookWithin),
		backoff.WithNotify(func(err error, pause time.Duration) {
			w.logger.Debug("a webhook is tried again", "message", m.ID, "after", pause, "error", err)
		}))
	if err != nil && ctx.Err() != nil && !errors.Is(last, ErrRejected) {
		return w.failed(m).because(fmt.Errorf("%w, after: %w", context.Cause(ctx), last))
	}
	return err
}

// try posts once. The signature is of this try's own time, the id is always the same.
func (w *webhook) try(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(m.Payload))
	if err != nil {
		return w.failed(m).because(err)
	}
	now := time.Now()
	signature, err := w.signer.Sign(m.ID, now, m.Payload)
	if err != nil {
		return w.failed(m).because(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "casebook")
	request.Header.Set(standardwebhooks.HeaderWebhookID, m.ID)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	answer, err := w.client.Do(request)
	if err != nil {
		return w.failed(m).because(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		// The receiver has it; what else it says is only read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, answer.Body, maxAnswerBytes)
		return nil
	}
	return w.refusedWith(m, answer)
}

// refusedWith says what an answer other than 2xx means: try again, or never again.
func (w *webhook) refusedWith(m Message, answer *http.Response) error {
	status := answer.StatusCode
	switch {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		if pause, given := retryAfter(answer.Header.Get("Retry-After"), time.Now()); given {
			return w.failed(m).because(fmt.Errorf("it answered %d: %w", status, &backoff.RetryAfterError{Duration: pause}))
		}
		return w.failed(m).because(fmt.Errorf("it answered %d", status))
	case status >= 300 && status < 400:
		return refused("webhook_rejected", "the receiver of webhooks at %s answered message %s with %d, a redirect", w.host, m.ID, status).
			do("configure the URL where messages are taken").forGood()
	default:
		return refused("webhook_rejected", "the receiver of webhooks at %s answered message %s with %d", w.host, m.ID, status).
			do("ask the receiver why").forGood()
	}
}

func (w *webhook) failed(m Message) *Problem {
	return refused("webhook_failed", "the receiver of webhooks at %s did not take message %s", w.host, m.ID).do("send it again later")
}

func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// retryAfter reads a Retry-After header, seconds or a date (RFC 9110, section 10.2.3). More than an hour is an hour:
// nobody waits for it here.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	const longest = time.Hour
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(longest/time.Second))) * time.Second, true
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(now), 0), longest), true
}
