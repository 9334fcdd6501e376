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
	// webhookAttempts and webhookDuration limit one Send. Sending again later is up to the caller.
	webhookAttempts = 4
	webhookDuration = time.Minute
	// firstPause is roughly the pause after the first attempt. It doubles after each further attempt, up to maxPause.
	firstPause = 500 * time.Millisecond
	maxPause   = 10 * time.Second
	// maxAnswerBytes is how much of an answer's body is read, so that the connection can be used again. It is not used.
	maxAnswerBytes = 64 << 10
	// The sizes of keys that Standard Webhooks requires.
	minSecretBytes, maxSecretBytes = 24, 64
)

// WebhookConfig configures a receiver of webhooks according to the Standard Webhooks specification.
type WebhookConfig struct {
	// URL begins with https, or with http for this machine.
	URL string
	// Secret signs the messages: whsec_ and base64 of 24 to 64 bytes.
	Secret string
	// Timeout is how long one attempt may take; 0 means ten seconds.
	Timeout time.Duration
}

// webhook is the channel that posts signed payloads.
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
		return nil, refused("webhook_url_invalid", "the webhook's URL is not an http or https URL with a host").do("write https://host/path")
	}
	if address.Scheme == "http" && !isLoopback(address.Hostname()) {
		return nil, refused("webhook_in_the_clear", "messages to the webhook at %s would be sent unencrypted", address.Host).
			do("write https://; http is for this machine only")
	}
	encoded, prefixed := strings.CutPrefix(c.Webhook.Secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !prefixed || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, refused("webhook_secret_invalid", "the webhook's secret is not %s and base64 of %d to %d bytes",
			secretPrefix, minSecretBytes, maxSecretBytes).do("use the secret that the receiver shows, or make one of random bytes")
	}
	if c.Webhook.Timeout < 0 {
		return nil, refused("webhook_settings_invalid", "the webhook's time-out is below zero").do("leave it 0 for the default")
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, refused("webhook_secret_invalid", "the webhook's secret cannot be used").do("use another secret")
	}
	w := &webhook{
		url: c.Webhook.URL, host: address.Host, signer: signer, timeout: c.Webhook.Timeout, pause: firstPause, logger: c.Logger,
	}
	if w.timeout == 0 {
		w.timeout = webhookTimeout
	}
	w.client = &http.Client{
		// A redirect would send the message to a receiver that is not configured.
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

// Send posts the payload, up to four times within about a minute. It fails with message_..., webhook_rejected or
// webhook_failed.
func (w *webhook) Send(ctx context.Context, m Message) error {
	if err := m.checkPayload(); err != nil {
		return err
	}
	pauses := backoff.NewExponentialBackOff() // with jitter
	pauses.InitialInterval, pauses.Multiplier, pauses.MaxInterval = w.pause, 2, maxPause
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = w.post(ctx, m)
		if errors.Is(last, ErrRejected) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pauses), backoff.WithMaxTries(webhookAttempts), backoff.WithMaxElapsedTime(webhookDuration),
		backoff.WithNotify(func(err error, pause time.Duration) {
			w.logger.Debug("a webhook is tried again", "message", m.ID, "after", pause, "error", err)
		}))
	if err != nil && ctx.Err() != nil && !errors.Is(last, ErrRejected) {
		return w.failed(m).because(fmt.Errorf("%w, after: %w", context.Cause(ctx), last))
	}
	return err
}

// post posts the payload once. Every attempt has its own timestamp and signature, and the same id.
func (w *webhook) post(ctx context.Context, m Message) error {
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
		// The receiver has accepted the message. The body is read only so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, answer.Body, maxAnswerBytes)
		return nil
	}
	return w.problemOf(m, answer)
}

// problemOf returns webhook_failed for an answer after which another attempt may succeed, and webhook_rejected for any
// other answer that is not 2xx.
func (w *webhook) problemOf(m Message, answer *http.Response) error {
	status := answer.StatusCode
	switch {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		if pause, given := retryAfter(answer.Header.Get("Retry-After"), time.Now()); given {
			return w.failed(m).because(fmt.Errorf("it answered %d: %w", status, &backoff.RetryAfterError{Duration: pause}))
		}
		return w.failed(m).because(fmt.Errorf("it answered %d", status))
	case status >= 300 && status < 400:
		return refused("webhook_rejected", "the receiver of webhooks at %s answered message %s with %d, a redirect", w.host, m.ID, status).
			do("configure the URL that accepts messages").permanent()
	default:
		return refused("webhook_rejected", "the receiver of webhooks at %s answered message %s with %d", w.host, m.ID, status).
			do("ask the receiver why").permanent()
	}
}

func (w *webhook) failed(m Message) *Problem {
	return refused("webhook_failed", "the receiver of webhooks at %s did not accept message %s", w.host, m.ID).do("send it again later")
}

func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// retryAfter parses a Retry-After header: seconds or a date (RFC 9110, section 10.2.3). It returns an hour at most, and
// false if the header is missing or invalid.
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
