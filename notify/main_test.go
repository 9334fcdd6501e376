package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// go-metrics, which Kafka's client uses, keeps one ticker for the whole process.
		goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// anAlert returns a message that every channel accepts.
func anAlert() Message {
	return Message{
		ID: uuid.NewString(), Topic: "casebook.alerts", Subject: "Severe pain reported", Text: "A newTestWebhook of site 12 reports severe pain.",
		To: []string{"safety@trial.example"}, Payload: json.RawMessage(`{"rule":"pain-severe","site":"12"}`),
		OccurredAt: time.Date(2026, 3, 1, 20, 30, 0, 5000, time.UTC), TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", CorrelationID: "c-7",
	}
}

// open opens the only configured channel, and closes it when the test ends.
func open(t *testing.T, c Config) Channel {
	t.Helper()
	channels, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(channels) != 1 {
		t.Fatalf("got %d channels, want one", len(channels))
	}
	t.Cleanup(func() { must(t, channels[0].Close()) })
	return channels[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantProblem fails the test unless err is a Problem with the code and a remedy, and wraps ErrRejected or not.
func wantProblem(t testing.TB, err error, code string, rejected bool) {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) || p.Code != code {
		t.Fatalf("got %v, want the code %s", err, code)
	}
	if errors.Is(err, ErrRejected) != rejected {
		t.Errorf("%v: it wraps ErrRejected: %v, want %v", err, !rejected, rejected)
	}
	if p.Remedy == "" {
		t.Errorf("%v has no remedy", err)
	}
}

// logBuffer keeps what its logger logs.
type logBuffer struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
}

// wantNoSecret fails the test if one of the values shows the secret when it is printed.
func wantNoSecret(t rapid.TB, secret string, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, text := range []string{fmt.Sprintf("%v", v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v)} {
			if strings.Contains(text, secret) {
				t.Errorf("%T shows the secret: %s", v, text)
			}
		}
	}
}
