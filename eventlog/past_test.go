package eventlog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/embedded/node/clustertest"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

func impatient(t *testing.T, url string) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: registry(), Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

// rawClient returns a client that may do what no Log does.
func rawClient(t *testing.T, url string) *esdb.Client {
	t.Helper()
	settings, err := esdb.ParseConnectionString(url)
	if err != nil {
		t.Fatal(err)
	}
	client, err := esdb.NewClient(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// noteOn appends events to a stream of its own each, and returns the mark of the last one.
func noteOn(t *testing.T, log *eventlog.Log, texts ...string) (last domain.Mark) {
	t.Helper()
	for _, text := range texts {
		out, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), eventlog.Metadata{}, noted{text})
		if err != nil {
			t.Fatal(err)
		}
		last = out.Events[0].Mark()
	}
	return last
}

// TestAnOlderLogThatGrewIsAnotherPast: the log was replaced by an older copy, which has grown past what was seen by the time
// somebody goes on. It is known by the last event. A position alone does not tell.
func TestAnOlderLogThatGrewIsAnotherPast(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	log := impatient(t, store.ConnectionString())
	kept := noteOn(t, log, "before the backup")
	older := store.Backup()
	lost := noteOn(t, log, "lost")
	for _, m := range []domain.Mark{kept, lost} {
		if err := log.Recognise(t.Context(), m.Position, m, 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	store.Restart(older)
	if err := log.Recognise(t.Context(), lost.Position, lost, 50*time.Millisecond); !errors.Is(err, eventlog.ErrOtherPast) {
		t.Errorf("an older log is recognised: %v", err)
	}
	noteOn(t, log, "one", "two", "three")
	if err := log.Recognise(t.Context(), lost.Position, domain.Mark{}, 50*time.Millisecond); err != nil {
		t.Fatalf("the log has not grown past the position: %v", err)
	}
	follow := func(last domain.Mark) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return log.FollowToEnd(ctx, eventlog.Subscription{After: last.Position, Last: last},
			func(context.Context, eventlog.Batch) error { return nil })
	}
	if err := follow(lost); !errors.Is(err, eventlog.ErrOtherPast) || !strings.Contains(err.Error(), lost.Stream) {
		t.Errorf("a subscription goes on in another past: %v", err)
	}
	if err := follow(kept); err != nil {
		t.Errorf("a subscription whose past the log has ends with %v", err)
	}
	moved := kept
	moved.Position.Commit, moved.Position.Prepare = moved.Position.Commit+1, moved.Position.Prepare+1
	if err := log.Recognise(t.Context(), kept.Position, moved, 50*time.Millisecond); !errors.Is(err, eventlog.ErrOtherPast) {
		t.Errorf("an event at another position is taken for the same: %v", err)
	}
}

// TestAnInterruptedSubscriptionEndsInAnotherPast: a subscription that was interrupted goes on in the past that it has followed,
// and ends in another one, however long that is.
func TestAnInterruptedSubscriptionEndsInAnotherPast(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	log := impatient(t, store.ConnectionString())
	noteOn(t, log, "before the backup")
	older := store.Backup()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen, ended := make(chan eventlog.Batch, 100), make(chan error, 1)
	go func() {
		ended <- log.Follow(ctx, eventlog.Subscription{Types: []string{"Noted"}}, func(_ context.Context, b eventlog.Batch) error {
			seen <- b
			return nil
		})
	}()
	until := func(m domain.Mark) {
		t.Helper()
		for {
			select {
			case b := <-seen:
				if b.Live && b.Last == m {
					return
				}
			case err := <-ended:
				t.Fatalf("the subscription has ended with %v", err)
			}
		}
	}
	until(noteOn(t, log, "seen"))
	store.Restart(store.Dir)
	until(noteOn(t, log, "seen after a restart"))
	store.Restart(older)
	other := connect(t, store.ConnectionString()) // it grows before the subscription is back, or after
	noteOn(t, other, "one", "two", "three", "four")
	if err := <-ended; !errors.Is(err, eventlog.ErrOtherPast) {
		t.Errorf("the subscription has ended with %v", err)
	}
}

// TestWhatProvesNothing: an event that was deleted or truncated, and lost events of the store itself, are no sign of another past.
func TestWhatProvesNothing(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	log, client := impatient(t, store.ConnectionString()), rawClient(t, store.ConnectionString())
	gone, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), eventlog.Metadata{},
		noted{"a"}, noted{"b"}, noted{"c"})
	if err != nil {
		t.Fatal(err)
	}
	first, last := gone.Events[0].Mark(), gone.Events[2].Mark()
	name := first.Stream
	metadata := esdb.StreamMetadata{}
	metadata.SetTruncateBefore(2)
	if _, err := client.SetStreamMetadata(t.Context(), name, esdb.AppendToStreamOptions{}, metadata); err != nil {
		t.Fatal(err)
	}
	absent := domain.Mark{Stream: stream("note"), ID: uuid.NewString(), Position: first.Position}
	check := func(when string, m domain.Mark) {
		t.Helper()
		if err := log.Recognise(t.Context(), m.Position, m, 50*time.Millisecond); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("an event of a truncated stream", first)
	metadata.SetTruncateBefore(3)
	if _, err := client.SetStreamMetadata(t.Context(), name, esdb.AppendToStreamOptions{}, metadata); err != nil {
		t.Fatal(err)
	}
	check("the last event of a truncated stream", last)
	if _, err := client.DeleteStream(t.Context(), name, esdb.DeleteStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	check("an event of a deleted stream", last)
	if _, err := client.TombstoneStream(t.Context(), name, esdb.TombstoneStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	check("an event of a stream that was deleted for good", last)
	if err := log.Recognise(t.Context(), absent.Position, absent, 50*time.Millisecond); !errors.Is(err, eventlog.ErrOtherPast) {
		t.Errorf("an event that never was is recognised: %v", err)
	}
	// The store's own events behind the last of ours are lost.
	held := noteOn(t, log, "held")
	beyond := domain.Position{Commit: 1 << 60, Prepare: 1 << 60}
	if err := log.Recognise(t.Context(), beyond, held, 50*time.Millisecond); err != nil {
		t.Errorf("where the last event is held: %v", err)
	}
	if err := log.Recognise(t.Context(), beyond, domain.Mark{}, 50*time.Millisecond); !errors.Is(err, eventlog.ErrAheadOfLog) {
		t.Errorf("where no event is known: %v", err)
	}
}

// TestTheMarkOfAPosition is that of the last event of ours, whoever else has written since.
func TestTheMarkOfAPosition(t *testing.T) {
	log, client := connect(t, eventStoreURL), rawClient(t, eventStoreURL)
	mark := noteOn(t, log, "one")
	if _, err := client.AppendToStream(t.Context(), stream("stranger"), esdb.AppendToStreamOptions{}, esdb.EventData{
		EventID: uuid.New(), EventType: "x", ContentType: esdb.ContentTypeJson, Data: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	end, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	noteOn(t, log, "two")
	for at, want := range map[domain.Position]domain.Mark{mark.Position: mark, end: mark, {}: {}} {
		if got, err := log.MarkAt(t.Context(), at); got != want || err != nil {
			t.Errorf("the mark at %v is %v, %v, want %v", at, got, err, want)
		}
	}
}

// TestAnAppendIsNotStoredInAnotherPast: what was decided before the log was replaced is not stored afterwards. After a plain
// restart it is.
func TestAnAppendIsNotStoredInAnotherPast(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	log := impatient(t, store.ConnectionString())
	noteOn(t, log, "before the backup")
	older := store.Backup()
	noteOn(t, log, "lost")
	past := log.Past()
	decided := func(stream string) eventlog.Encoded {
		encoded, err := log.Encode(stream, eventlog.EmptyTail, uuid.New(), eventlog.Metadata{}, noted{"x"})
		if err != nil {
			t.Fatal(err)
		}
		encoded.Past = past
		return encoded
	}
	store.Restart(store.Dir)
	if _, err := log.AppendEncoded(t.Context(), decided(stream("note"))); err != nil {
		t.Errorf("after a restart the append ends with %v", err)
	}
	store.Restart(older)
	name := stream("note")
	if _, err := log.AppendEncoded(t.Context(), decided(name)); !errors.Is(err, eventlog.ErrPastChanged) {
		t.Errorf("in another past the append ends with %v", err)
	}
	if found := readAll(t, log, name); len(found) != 0 || log.Past() == past {
		t.Errorf("the stream holds %d events, and the past is %d after %d", len(found), log.Past(), past)
	}
	noteOn(t, log, "decided anew")
}

// TestALeaderThatShowsLateHasNoOtherPast: a new leader has everything that was acknowledged, and does not show the last of it yet. That is
// no other past, and costs a pause only.
func TestALeaderThatShowsLateHasNoOtherPast(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{ShowsLate: 3 * time.Second})
	log := connect(t, c.URL())
	noteOn(t, log, "the last")
	past, former := log.Past(), c.Leader()
	for _, other := range c.Members() {
		if other != former {
			c.MoveLeader(other)
			break
		}
	}
	if _, err := log.End(t.Context()); err != nil { // reads go to the leader alone
		t.Fatal(err)
	}
	noteOn(t, log, "after the move")
	if c.Leader() == former || log.Past() != past {
		t.Errorf("the leader has not moved, or the past was %d and is %d", past, log.Past())
	}
}
