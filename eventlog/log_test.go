package eventlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/embedded/node"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

type noted struct {
	Text string `json:"text"`
}

type counted struct {
	N int `json:"n"`
}

func registry() *eventlog.Registry {
	return eventlog.NewRegistry(
		domain.StreamType{Category: "note", Events: []domain.EventType{domain.Stored[noted]("Noted")}},
		domain.StreamType{Category: "count", Events: []domain.EventType{domain.Stored[counted]("Counted")}})
}

// eventStoreURL is the address of the event store that the tests share.
var eventStoreURL string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "eventlog")
	if err != nil {
		panic(err)
	}
	var closeLog func() error
	if eventStoreURL, closeLog, err = storetest.EventStore(context.Background(), dir); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := errors.Join(closeLog(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func connect(t testing.TB, url string) *eventlog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	log, err := eventlog.Connect(ctx, eventlog.Options{URL: url, Registry: registry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// withEachAppender runs a test twice: with the address of one node, and with one under which nodes are found by what they tell
// of each other.
func withEachAppender(t *testing.T, test func(t *testing.T, log *eventlog.Log)) {
	t.Run("address of a node", func(t *testing.T) { test(t, connect(t, eventStoreURL)) })
	cluster := strings.Replace(eventStoreURL, "esdb://", "esdb+discover://", 1)
	t.Run("found by gossip", func(t *testing.T) { test(t, connect(t, cluster)) })
}

// stream returns the name of a stream that no other test uses.
func stream(category string) string { return category + "-" + uuid.NewString() }

func meta(reason string) eventlog.Metadata {
	return eventlog.Metadata{Actor: "tester", Reason: personal.Text(reason), RecordedAt: time.Date(2026, 3, 1, 20, 30, 0, 0, time.UTC)}
}

func readAll(t *testing.T, log *eventlog.Log, name string) []eventlog.Recorded {
	t.Helper()
	var all []eventlog.Recorded
	for r, err := range log.ReadStream(t.Context(), name, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestAppendedEventsAreRead(t *testing.T) {
	withEachAppender(t, func(t *testing.T, log *eventlog.Log) {
		name := stream("note")
		command := uuid.New()
		out, err := log.Append(t.Context(), name, eventlog.EmptyTail, command, meta("because"), noted{"one"}, noted{"two"})
		if err != nil {
			t.Fatal(err)
		}
		if out.Tail.Revision != 1 || out.Position == (domain.Position{}) {
			t.Fatalf("tail %v, position %v", out.Tail, out.Position)
		}
		got := readAll(t, log, name)
		if len(got) != 2 {
			t.Fatalf("read %d events", len(got))
		}
		for i, want := range []noted{{"one"}, {"two"}} {
			r := got[i]
			if r.Event != want || r.Type != "Noted" || r.Metadata.Schema != 1 || r.Metadata.Reason != "because" ||
				r.ID != eventlog.EventID(command, i, r.Data, r.RawMetadata) {
				t.Errorf("event %d was read as %+v", i, r)
			}
			if r.StoredAt.IsZero() {
				t.Errorf("event %d has no StoredAt", i)
			}
		}
		if eventlog.TailAfter(got[1]) != out.Tail {
			t.Errorf("Append returned the tail %v, the stored events have %v", out.Tail, eventlog.TailAfter(got[1]))
		}
		if got[1].Position != out.Position {
			t.Errorf("Append returned the position %v, the stored event has %v", out.Position, got[1].Position)
		}
	})
}

func TestOnlyOneConcurrentAppendSucceeds(t *testing.T) {
	withEachAppender(t, func(t *testing.T, log *eventlog.Log) {
		name := stream("count")
		var mu sync.Mutex
		stored, conflicts := 0, 0
		var group errgroup.Group
		for i := range 16 {
			group.Go(func() error {
				_, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("race"), counted{i})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					stored++
				case errors.Is(err, eventlog.ErrConflict):
					conflicts++
				default:
					return err
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if stored != 1 || conflicts != 15 {
			t.Errorf("%d appends were stored and %d were conflicts", stored, conflicts)
		}
	})
}

func TestRepeatedAppendIsStoredOnce(t *testing.T) {
	withEachAppender(t, func(t *testing.T, log *eventlog.Log) {
		name := stream("note")
		command := uuid.New()
		first, err := log.Append(t.Context(), name, eventlog.EmptyTail, command, meta("x"), noted{"one"})
		if err != nil {
			t.Fatal(err)
		}
		again, err := log.Append(t.Context(), name, eventlog.EmptyTail, command, meta("x"), noted{"one"})
		if err != nil {
			t.Fatalf("the same append again: %v", err)
		}
		if diff := cmp.Diff(first.Position, again.Position); diff != "" {
			t.Error(diff)
		}
		if n := len(readAll(t, log, name)); n != 1 {
			t.Errorf("it is stored %d times", n)
		}
	})
}

// Two processes may take the same command at once, and would record events with different metadata. Only one append may
// succeed. If the other one were answered with success too, its process would continue with a hash that the log does
// not hold.
func TestTheSameCommandInTwoProcessesIsAConflict(t *testing.T) {
	withEachAppender(t, func(t *testing.T, log *eventlog.Log) {
		name := stream("note")
		command := uuid.New()
		if _, err := log.Append(t.Context(), name, eventlog.EmptyTail, command, meta("here"), noted{"one"}); err != nil {
			t.Fatal(err)
		}
		_, err := log.Append(t.Context(), name, eventlog.EmptyTail, command, meta("there"), noted{"one"})
		if !errors.Is(err, eventlog.ErrConflict) {
			t.Errorf("the second process got %v", err)
		}
		if n := len(readAll(t, log, name)); n != 1 {
			t.Errorf("it is stored %d times", n)
		}
	})
}

func TestR1_AnAlteredEventBreaksTheChain(t *testing.T) {
	log, name := connect(t, eventStoreURL), stream("note")
	notes := []any{noted{"one"}, noted{"two"}, noted{"three"}}
	if _, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), notes...); err != nil {
		t.Fatal(err)
	}
	events := readAll(t, log, name)
	check := func() (damage *domain.Damage) {
		tail := eventlog.EmptyTail
		for _, r := range events {
			if tail, damage = log.Registry().CheckNext(tail, r); damage != nil {
				return damage
			}
		}
		return nil
	}
	if damage := check(); damage != nil {
		t.Fatal(damage.Reason)
	}
	for i := range events[1].Data {
		events[1].Data[i] ^= 1
		if damage := check(); damage == nil || damage.Revision != 1 {
			t.Errorf("byte %d was altered, and CheckNext returns %+v", i, damage)
		}
		events[1].Data[i] ^= 1
	}
}

func TestFollowersSeeEverythingOnceAndInOrder(t *testing.T) {
	log := connect(t, eventStoreURL)
	name := stream("count")
	start, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const total = 600
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { // appends while the follower catches up
		tail := eventlog.EmptyTail
		for i := range total {
			out, err := log.Append(t.Context(), name, tail, uuid.New(), meta("x"), counted{i})
			if err != nil {
				return err
			}
			tail = out.Tail
		}
		return nil
	})
	next := 0
	var last domain.Position
	counts := eventlog.Subscription{After: start, Categories: []string{"count"}, MaxBatch: 50}
	err = log.Follow(ctx, counts, func(_ context.Context, b eventlog.Batch) error {
		if len(b.Events) > 50 {
			return fmt.Errorf("a batch of %d", len(b.Events))
		}
		for _, r := range b.Events {
			if !last.Before(r.Position) {
				return fmt.Errorf("position %v after %v", r.Position, last)
			}
			last = r.Position
			if r.Stream != name {
				continue
			}
			if r.Event.(counted).N != next {
				return fmt.Errorf("got %v, want %d", r.Event, next)
			}
			next++
		}
		if next == total {
			cancel()
		}
		return nil
	})
	if err := errors.Join(err, group.Wait()); err != nil {
		t.Fatal(err)
	}
	if next != total {
		t.Errorf("the follower got %d of %d events", next, total)
	}
}

func TestFollowBeginsAfterAPositionAndFiltersByType(t *testing.T) {
	log := connect(t, eventStoreURL)
	notes, counts := stream("note"), stream("count")
	first, err := log.Append(t.Context(), notes, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"before"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), counts, eventlog.EmptyTail, uuid.New(), meta("x"), counted{7}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), notes, first.Tail, uuid.New(), meta("x"), noted{"after"}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	var seen []any
	later := eventlog.Subscription{After: first.Position, Types: []string{"Noted"}}
	err = log.Follow(t.Context(), later, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			if r.Stream == notes || r.Stream == counts {
				seen = append(seen, r.Event)
			}
		}
		if b.Live {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{noted{"after"}}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestAPositionBeyondTheLogIsRefused(t *testing.T) {
	patience := 1200 * time.Millisecond
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: eventStoreURL, Registry: registry(), Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	beyond, began := domain.Position{Commit: 1 << 60, Prepare: 1 << 60}, time.Now()
	err = log.Follow(t.Context(), eventlog.Subscription{After: beyond}, func(context.Context, eventlog.Batch) error { return nil })
	if !errors.Is(err, eventlog.ErrAheadOfLog) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took < patience || took > patience+5*time.Second {
		t.Errorf("the leader was asked for %s", took)
	}
}

// TestAnOlderLogForAMomentIsWaitedOut follows a log, puts an older one in its place, and then the right one again before the
// patience is over.
func TestAnOlderLogForAMomentIsWaitedOut(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: store.ConnectionString(), Registry: registry(), Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	noteOn(t, log, "one")
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := make(chan int, 100), make(chan error, 1)
	go func() {
		ended <- log.Follow(ctx, eventlog.Subscription{}, func(_ context.Context, b eventlog.Batch) error {
			seen <- len(b.Events)
			return nil
		})
	}()
	<-seen
	right := store.Dir
	store.Restart(t.TempDir())
	time.Sleep(2 * time.Second) // until it has asked the older log
	store.Restart(right)
	noteOn(t, log, "two")
	for got := 0; got == 0; {
		select {
		case got = <-seen:
		case err := <-ended:
			t.Fatalf("following ended with %v", err)
		case <-time.After(time.Minute):
			t.Fatal("it does not go on with the right log")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAppendsSurviveARestartOfTheStore(t *testing.T) {
	dir := t.TempDir()
	n, err := node.Open(t.Context(), node.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	address := n.Addr()
	log, name := connect(t, n.ConnectionString()), stream("note")
	first, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"before"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	reopened := make(chan *node.Node, 1)
	go func() {
		again, err := node.Open(context.Background(), node.Options{Dir: dir, Listen: address})
		if err != nil {
			t.Error(err)
		}
		reopened <- again
	}()
	command := uuid.New()
	var second eventlog.Appended
	for { // the caller sends the same command again until it is stored
		if second, err = log.Append(t.Context(), name, first.Tail, command, meta("x"), noted{"after"}); err == nil {
			break
		}
	}
	again := <-reopened
	defer func() { _ = again.Close() }()
	var events []eventlog.Recorded
	for range 50 { // reads find the server again, too, once the client has reconnected
		events = nil
		var failed error
		for r, err := range log.ReadStream(t.Context(), name, 0) {
			if failed = err; err == nil {
				events = append(events, r)
			}
		}
		if failed == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(events) != 2 || second.Tail != eventlog.TailAfter(events[1]) {
		t.Errorf("after the restart the stream holds %d events", len(events))
	}
}

func TestLastAndEnd(t *testing.T) {
	log, name := connect(t, eventStoreURL), stream("note")
	if _, found, err := log.Last(t.Context(), name); found || err != nil {
		t.Fatalf("an empty stream has a last event: %v, %v", found, err)
	}
	out, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}, noted{"two"})
	if err != nil {
		t.Fatal(err)
	}
	last, found, err := log.Last(t.Context(), name)
	if err != nil || !found || last.Event != (noted{"two"}) {
		t.Errorf("last is %+v, %v, %v", last, found, err)
	}
	end, err := log.End(t.Context())
	if err != nil || end != out.Position {
		t.Errorf("the log ends at %v, %v; want %v", end, err, out.Position)
	}
}

// TestFirstAfterFindsTheNextEvent behind a position, also one of a type that this program does not know.
func TestFirstAfterFindsTheNextEvent(t *testing.T) {
	log, name := connect(t, eventStoreURL), stream("note")
	begun := time.Now().Add(-time.Second)
	out, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}, noted{"two"})
	if err != nil {
		t.Fatal(err)
	}
	first := readAll(t, log, name)[0].Position
	unseen := func(when string, after domain.Position, want bool) {
		t.Helper()
		stored, is, err := log.FirstAfter(t.Context(), after)
		if err != nil || is != want || is && (stored.Before(begun) || time.Since(stored) < 0) {
			t.Errorf("%s: %v, stored at %s, %v", when, is, stored, err)
		}
	}
	if _, is, err := log.FirstAfter(t.Context(), domain.Position{}); err != nil || !is {
		t.Errorf("at the beginning: %v, %v", is, err)
	}
	unseen("behind the first of two events", first, true)
	unseen("at the end", out.Position, false)
	if _, err := storetest.Forge(t.Context(), eventStoreURL, "elsewhere-"+uuid.NewString(), "Noted", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	unseen("before an event of another program", out.Position, false)
	if _, err := storetest.Forge(t.Context(), eventStoreURL, stream("note"), "OfANewerProgram", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	unseen("before an event of a newer program", out.Position, true)
}

func TestEveryFieldOfMetadataIsKept(t *testing.T) {
	at := time.Date(2026, 3, 1, 20, 30, 0, 0, time.UTC)
	command := uuid.New()
	want := eventlog.Metadata{
		CorrelationID: "c", CausationID: "d", Actor: "a", Role: "crc", Study: "S", Site: "T", Patient: "S.1", Reason: "r",
		Command: "X", CommandID: command.String(), CommandHash: "h", CapturedAt: &at, CapturedZone: "Europe/Berlin", RecordedAt: at,
		Address: "1.2.3.4", App: "app", TraceID: "t", Build: "b", Schema: 1, PreviousHash: "",
	}
	log, name := connect(t, eventStoreURL), stream("note")
	if _, err := log.Append(t.Context(), name, eventlog.EmptyTail, command, want, noted{"x"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, readAll(t, log, name)[0].Metadata); diff != "" {
		t.Error(diff)
	}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var stored map[string]any
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"$correlationId", "$causationId"} { // conventions of the event store
		if stored[key] == nil {
			t.Errorf("metadata lack %s", key)
		}
	}
}

func TestAnAppendThatNobodyWaitsForIsNotSent(t *testing.T) {
	withEachAppender(t, func(t *testing.T, log *eventlog.Log) {
		name := stream("note")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			_, err := log.Append(gone, name, eventlog.EmptyTail, uuid.New(), meta("because"), noted{"one"})
			if !errors.Is(err, context.Canceled) || errors.Is(err, eventlog.ErrUnknownOutcome) {
				t.Fatalf("the append ends with: %v", err)
			}
		}
		// An append that was sent before this one would make it a conflict.
		if _, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("because"), noted{"one"}); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			log := connect(b, eventStoreURL)
			text := string(make([]byte, 300))
			b.ResetTimer()
			var group errgroup.Group
			for w := range writers {
				group.Go(func() error {
					tail, name := eventlog.EmptyTail, stream("note")
					for i := w; i < b.N; i += writers {
						out, err := log.Append(context.Background(), name, tail, uuid.New(), meta("x"), noted{text})
						if err != nil {
							return err
						}
						tail = out.Tail
					}
					return nil
				})
			}
			if err := group.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}
