package notify

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"
)

const aSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiver is a receiver of webhooks. It verifies the requests, and gives one of its answers to each.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	answers []http.HandlerFunc
	got     []string // ids and bodies
	stopped chan struct{}
}

func newReceiver(t *testing.T, answers ...http.HandlerFunc) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(aSecret)
	must(t, err)
	r := &receiver{answers: answers, stopped: make(chan struct{})}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err == nil {
			err = verifier.Verify(body, request.Header)
		}
		if err != nil || request.Method != http.MethodPost || request.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with %v: %v", request.Method, request.Header, err)
		}
		r.mu.Lock()
		r.got = append(r.got, request.Header.Get("webhook-id")+" "+string(body))
		answer := status(http.StatusNoContent)
		if len(r.answers) > 0 {
			answer, r.answers = r.answers[0], r.answers[1:]
		}
		r.mu.Unlock()
		answer(w, request)
	}))
	t.Cleanup(func() {
		close(r.stopped)
		r.Close()
	})
	return r
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// hang does not answer until the client has closed the connection.
func (r *receiver) hang(_ http.ResponseWriter, request *http.Request) {
	select {
	case <-request.Context().Done():
	case <-r.stopped:
	}
}

// reset breaks the connection, as a crash does.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// endless sends a body until the client closes the connection.
func endless(w http.ResponseWriter, _ *http.Request) {
	chunk := make([]byte, 1<<16)
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// newTestWebhook returns a webhook channel with this first pause and this time-out of an attempt.
func newTestWebhook(t *testing.T, url string, pause, timeout time.Duration) *webhook {
	t.Helper()
	log := &logBuffer{}
	w, err := newWebhook(Config{Webhook: WebhookConfig{URL: url, Secret: aSecret, Timeout: timeout}, Logger: log.logger()})
	must(t, err)
	w.pause = pause
	t.Cleanup(func() {
		must(t, w.Close())
		wantNoSecret(t, strings.TrimPrefix(aSecret, secretPrefix), log)
	})
	return w
}

// Pauses that are shorter, or longer, than a test waits.
const shortPause, longPause = time.Millisecond, time.Hour

func TestAWebhookIsSignedAndPosted(t *testing.T) {
	r := newReceiver(t)
	m := anAlert()
	must(t, open(t, Config{Webhook: WebhookConfig{URL: r.URL, Secret: aSecret}}).Send(t.Context(), m))
	if diff := cmp.Diff([]string{m.ID + " " + string(m.Payload)}, r.received()); diff != "" {
		t.Error(diff)
	}
}

func TestWebhookChecksTheCertificate(t *testing.T) {
	pair, roots := selfSigned(t)
	verifier, err := standardwebhooks.NewWebhook(aSecret)
	must(t, err)
	verified := make(chan error, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		verified <- verifier.Verify(body, request.Header)
	}))
	server.TLS, server.Config.ErrorLog = pair, log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	must(t, open(t, Config{Webhook: WebhookConfig{URL: server.URL, Secret: aSecret}, RootCAs: roots}).Send(t.Context(), anAlert()))
	must(t, <-verified)

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = open(t, Config{Webhook: WebhookConfig{URL: server.URL, Secret: aSecret}}).Send(short, anAlert())
	wantProblem(t, err, "webhook_failed", false)
	if len(verified) > 0 {
		t.Error("a receiver with an untrusted certificate got the message")
	}
}

func TestWebhookIsRetriedWithTheSameID(t *testing.T) {
	var r *receiver
	for name, first := range map[string]http.HandlerFunc{
		"server error":      status(500),
		"unavailable":       status(503, "Retry-After", "0"),
		"too many requests": status(429, "Retry-After", "0"),
		"server's time-out": status(408),
		"too early":         status(425),
		"connection reset":  reset,
		"no answer":         func(w http.ResponseWriter, request *http.Request) { r.hang(w, request) },
	} {
		t.Run(name, func(t *testing.T) {
			r = newReceiver(t, first, first)
			m := anAlert()
			timeout := time.Hour // of an attempt
			if name == "no answer" {
				timeout = time.Second
			}
			must(t, newTestWebhook(t, r.URL, shortPause, timeout).Send(t.Context(), m))
			post := m.ID + " " + string(m.Payload)
			if diff := cmp.Diff([]string{post, post, post}, r.received()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWebhookRetriesAreLimited(t *testing.T) {
	r := newReceiver(t, status(500), status(502), status(503), status(504), status(500), status(500))
	wantProblem(t, newTestWebhook(t, r.URL, shortPause, time.Second).Send(t.Context(), anAlert()), "webhook_failed", false)
	if n := len(r.received()); n != webhookAttempts {
		t.Errorf("there were %d attempts, want %d", n, webhookAttempts)
	}
}

// The channel's own pause is an hour here, so only Retry-After can lead to a second attempt.
func TestRetryAfterIsRespected(t *testing.T) {
	r := newReceiver(t, status(429, "Retry-After", "0"), status(503, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"))
	must(t, newTestWebhook(t, r.URL, longPause, time.Second).Send(t.Context(), anAlert()))
	if n := len(r.received()); n != 3 {
		t.Errorf("there were %d attempts, want 3", n)
	}
}

func TestALongRetryAfterIsLeftToTheCaller(t *testing.T) {
	r := newReceiver(t, status(429, "Retry-After", "3600"))
	wantProblem(t, newTestWebhook(t, r.URL, shortPause, time.Second).Send(t.Context(), anAlert()), "webhook_failed", false)
	if n := len(r.received()); n != 1 {
		t.Errorf("there were %d attempts, want one", n)
	}
}

func TestRejectedWebhookIsNotRetried(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 410, 413, 422} {
		r := newReceiver(t, status(code))
		wantProblem(t, newTestWebhook(t, r.URL, shortPause, time.Second).Send(t.Context(), anAlert()), "webhook_rejected", true)
		if n := len(r.received()); n != 1 {
			t.Errorf("after %d there were %d attempts, want one", code, n)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := newReceiver(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		r := newReceiver(t, status(code, "Location", elsewhere.URL))
		wantProblem(t, newTestWebhook(t, r.URL, shortPause, time.Second).Send(t.Context(), anAlert()), "webhook_rejected", true)
	}
	if got := elsewhere.received(); len(got) != 0 {
		t.Errorf("the target of a redirect got %v", got)
	}
}

func TestAnEndlessAnswerIsNotRead(t *testing.T) {
	r := newReceiver(t, endless)
	// The time-out of an attempt would also end the reading, so it is longer than the test may take.
	must(t, newTestWebhook(t, r.URL, shortPause, time.Hour).Send(t.Context(), anAlert()))
}

func TestAWebhookEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the caller gave up")
	var r *receiver
	r = newReceiver(t, func(w http.ResponseWriter, request *http.Request) {
		cancel(reason)
		r.hang(w, request)
	})
	err := newTestWebhook(t, r.URL, shortPause, time.Hour).Send(ctx, anAlert())
	wantProblem(t, err, "webhook_failed", false)
	if !errors.Is(err, reason) {
		t.Errorf("%v does not wrap the cause of the context's end", err)
	}
}

func TestAWebhookNeedsAPayload(t *testing.T) {
	r := newReceiver(t)
	for code, payload := range map[string]string{
		"message_without_payload": "", "message_payload_invalid": `{"a":`,
		"message_too_large": `"` + strings.Repeat("a", maxPayloadBytes) + `"`,
	} {
		m := anAlert()
		m.Payload = []byte(payload)
		wantProblem(t, newTestWebhook(t, r.URL, shortPause, time.Second).Send(t.Context(), m), code, true)
	}
	if got := r.received(); len(got) != 0 {
		t.Errorf("the receiver got %v", got)
	}
}

func TestErrorsAndLogsShowOnlyTheHostOfTheURL(t *testing.T) {
	log := &logBuffer{}
	c := Config{
		Webhook: WebhookConfig{URL: "http://hook:hunter2@127.0.0.1:1/services/hunter2?token=hunter2", Secret: aSecret}, Logger: log.logger(),
	}
	w, err := newWebhook(c)
	must(t, err)
	w.pause = shortPause
	err = w.Send(t.Context(), anAlert())
	wantProblem(t, err, "webhook_failed", false)
	c.Logger.Info("configured", "config", c, "webhook", c.Webhook)
	wantNoSecret(t, "hunter2", err, c, c.Webhook, log)
	wantNoSecret(t, strings.TrimPrefix(aSecret, secretPrefix), err, c, c.Webhook, log)
}

func TestRetryAfterIsBounded(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "99999999999999": time.Hour,
		"Sun, 01 Mar 2026 12:00:09 GMT": 9 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0, "Sun, 01 Mar 2036 12:00:00 GMT": time.Hour,
	} {
		if got, given := retryAfter(header, now); !given || got != want {
			t.Errorf("%q: got %v, %v, want %v", header, got, given, want)
		}
	}
	for _, header := range []string{"", "-1", "soon", "1.5"} {
		if got, given := retryAfter(header, now); given {
			t.Errorf("%q is parsed as %v", header, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		header := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9]{1,25}`)).Draw(t, "header")
		if got, _ := retryAfter(header, now); got < 0 || got > time.Hour {
			t.Errorf("%q is %v", header, got)
		}
	})
}
