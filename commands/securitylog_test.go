package commands_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/security"
	"casebook/embedded/node"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
)

// refused are refusals of a user, as the security log holds them.
type refused struct {
	Full     []security.AccessRefused
	Repeated []security.RefusalsRepeated
	Dropped  int
}

// TestRepeatedRefusalsSayWhen counts refusals by a clock that moves on with each of them.
func TestRepeatedRefusalsSayWhen(t *testing.T) {
	log, h, stop := recorderOfRefusals(t, eventStoreURL)
	who := domain.UserID("repeating")
	begun := h.Now()
	for range 5 {
		h.RecordRefusal(t.Context(), access.Refused{User: who, Action: "SubmitDiary", Why: errors.New("no")})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	at := func(n int) time.Time { return begun.Add(time.Duration(n) * time.Minute) }
	got := refusalsIn(t, log, who, begun)
	if len(got.Repeated) != 1 || got.Repeated[0].First.Before(at(2)) || !got.Repeated[0].Last.After(got.Repeated[0].First) {
		t.Fatalf("recorded %+v", got)
	}
	want := security.RefusalsRepeated{Actor: who, Action: "SubmitDiary", Code: "failure", Count: 4, First: got.Repeated[0].First,
		Last: got.Repeated[0].Last}
	if diff := cmp.Diff(want, got.Repeated[0]); diff != "" || len(got.Full) != 1 {
		t.Errorf("recorded %+v\n%s", got, diff)
	}
}

// TestRefusalsCountWhileTheEventStoreIsAway: what cannot be recorded when it happens is counted, under the user's name, and
// recorded later.
func TestRefusalsCountWhileTheEventStoreIsAway(t *testing.T) {
	at := node.Options{Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0"}
	n, err := node.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	at.Listen = n.Addr()
	log, h, stop := recorderOfRefusals(t, n.ConnectionString())
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	who, begun := domain.UserID("patient"), h.Now()
	for range 7 {
		h.RecordRefusal(t.Context(), access.Refused{User: who, Action: "SubmitDiary", Why: errors.New("no")})
	}
	time.Sleep(time.Second) // until the handler has given up to record the first one
	if n, err = node.Open(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if err := log.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got, count := refusalsIn(t, log, who, begun), 0
	for _, r := range got.Repeated {
		count += r.Count
	}
	if len(got.Full)+count != 7 || got.Dropped > 0 {
		t.Errorf("of 7 refusals are recorded %+v", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// recorderOfRefusals returns a handler whose clock moves on by a minute each time that it is asked. stop returns when it has
// recorded all refusals.
func recorderOfRefusals(t *testing.T, url string) (*eventlog.Log, *commands.Handler, func() error) {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: contexts.Registry(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(),
		Now: func() time.Time { return now.Add(time.Duration(asked.Add(1)) * time.Minute) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return log, h, func() error {
		cancel()
		return <-ended
	}
}

// refusalsIn returns what the security log of a day holds about a user.
func refusalsIn(t *testing.T, log *eventlog.Log, who domain.UserID, day time.Time) (found refused) {
	t.Helper()
	for r, err := range log.ReadStream(t.Context(), security.Decider.Stream(string(domain.DateOf(day.UTC()))), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := r.Event.(type) {
		case security.AccessRefused:
			if e.Actor == who {
				found.Full = append(found.Full, e)
			}
		case security.RefusalsRepeated:
			if e.Actor == who {
				found.Repeated = append(found.Repeated, e)
			}
		case security.RefusalsDropped:
			found.Dropped += e.Count
		}
	}
	return found
}
