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
		// go-metrics, which Kafka's client counts with, keeps one ticker for the whole process.
		goleak.IgnoreAnyFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// anAlert is a message that every channel takes.
func anAlert() Message {
	return Message{
		ID: uuid.NewString(), Topic: "casebook.alerts", Subject: "Severe pain reported", Text: "A patient of site 12 reports severe pain.",
		To: []string{"safety@trial.example"}, Payload: json.RawMessage(`{"rule":"pain-severe","site":"12"}`),
		OccurredAt: time.Date(2026, 3, 1, 20, 30, 0, 5000, time.UTC), TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", CorrelationID: "c-7",
	}
}

// open opens the channels until the test ends, and returns the only one.
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

// wantProblem fails the test unless err is a Problem with the code, and is or is not for good.
func wantProblem(t testing.TB, err error, code string, forGood bool) {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) || p.Code != code {
		t.Fatalf("got %v, want the code %s", err, code)
	}
	if errors.Is(err, ErrRejected) != forGood {
		t.Errorf("%v: rejected for good is %v, want %v", err, !forGood, forGood)
	}
	if p.Remedy == "" {
		t.Errorf("%v does not say what to do", err)
	}
}

// logged is a logger whose lines can be read.
type logged struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
}

// wantNoSecret fails the test when one of the texts shows the secret.
func wantNoSecret(t rapid.TB, secret string, shown ...any) {
	t.Helper()
	for _, s := range shown {
		for _, text := range []string{fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%s", s)} {
			if strings.Contains(text, secret) {
				t.Errorf("it shows the secret: %s", text)
			}
		}
	}
}
