package eventlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/embedded/node"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// kept is a VerifierStore in memory, which fails when it is told to.
type kept struct {
	mu    sync.Mutex
	found domain.Verified
	fails bool
}

var errKept = errors.New("the store is away")

func (k *kept) do(act func()) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails {
		return errKept
	}
	act()
	return nil
}

func (k *kept) LoadVerified(context.Context) (v domain.Verified, err error) {
	err = k.do(func() { v = k.found })
	return v, err
}

func (k *kept) SaveDamage(_ context.Context, d domain.Damage) error {
	return k.do(func() { k.found.Damages = append(k.found.Damages, d) })
}

func (k *kept) SaveClockStep(_ context.Context, s domain.ClockStep) error {
	return k.do(func() { k.found.Steps = append(k.found.Steps, s) })
}

func (k *kept) SaveVerified(_ context.Context, through domain.Position, last domain.Mark, latest time.Time) error {
	return k.do(func() { k.found.Through, k.found.Last, k.found.Latest = through, last, latest })
}

func (k *kept) ForgetVerified(context.Context) error {
	return k.do(func() { k.found = domain.Verified{} })
}

// verifying runs a verifier until the function that it returns is called.
func verifying(t *testing.T, o eventlog.VerifierOptions) (v *eventlog.Verifier, stop func()) {
	t.Helper()
	v = eventlog.NewVerifier(o)
	return v, runVerifier(t, v)
}

// runVerifier is verifying for a verifier that is there.
func runVerifier(t *testing.T, v *eventlog.Verifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func ownLog(t *testing.T) (*eventlog.Log, string) {
	t.Helper()
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return connect(t, n.ConnectionString()), n.ConnectionString()
}

// TestVerifierWithFewTailsInMemory: with less memory than there are streams, and after restarts, nothing sound is taken for
// damaged, a damaged stream stays so though the events behind the damage continue it, and the damage is saved when the store
// is back.
func TestVerifierWithFewTailsInMemory(t *testing.T) {
	log, url := ownLog(t)
	const streams, rounds = 20, 6
	tails := map[string]eventlog.Tail{}
	var last domain.Position
	record := func() {
		t.Helper()
		for n := range streams {
			stream := fmt.Sprintf("note-%d", n)
			tail, known := tails[stream]
			if !known {
				tail = eventlog.EmptyTail
			}
			out, err := log.Append(t.Context(), stream, tail, uuid.New(),
				eventlog.Metadata{Actor: "a", RecordedAt: time.Now()}, noted{"x"}, noted{"y"})
			if err != nil {
				t.Fatal(err)
			}
			tails[stream], last = out.Tail, out.Position
		}
	}
	store := &kept{}
	record()
	v, stop := verifying(t, eventlog.VerifierOptions{Log: log, Store: store, CachedTails: 3})
	if err := v.Await(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if err := store.do(func() { store.fails = true }); err != nil {
		t.Fatal(err)
	}
	// A forged event, and one that continues it.
	if _, err := storetest.Forge(t.Context(), url, "note-0", "Noted", []byte(`{"text":"z"}`), []byte(`{"schema":1}`)); err != nil {
		t.Fatal(err)
	}
	var forged eventlog.Recorded
	for r, err := range log.ReadStream(t.Context(), "note-0", 2) {
		if forged = r; err != nil {
			t.Fatal(err)
		}
	}
	delete(tails, "note-0")
	tails["note-0"] = eventlog.TailAfter(forged)
	for range rounds {
		record()
		if err := v.Await(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		stop()
		store.mu.Lock()
		store.fails = false // it comes back
		store.mu.Unlock()
		v, stop = verifying(t, eventlog.VerifierOptions{Log: log, Store: store, CachedTails: 3})
	}
	if err := v.Await(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	damages := v.Found().Damages
	if len(damages) != 1 || damages[0].Stream != "note-0" || damages[0].Revision != 2 {
		t.Errorf("the damages are %+v", damages)
	}
	err := v.Follow(t.Context(), eventlog.Subscription{}, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			_, damaged := r.Event.(eventlog.Damaged)
			if want := r.Stream == "note-0" && r.Revision >= 2; damaged != want {
				t.Errorf("%s@%d: damaged %v", r.Stream, r.Revision, damaged)
			}
		}
		if !b.Through.Before(last) {
			return errKept
		}
		return nil
	})
	if !errors.Is(err, errKept) {
		t.Error(err)
	}
	stop()
	if store.found.Through.Before(last) || len(store.found.Damages) != 1 {
		t.Errorf("saved is %+v", store.found)
	}
}

// TestVerifierOfAnotherLog: what was found in a log that is gone is forgotten, and the log is verified from its beginning.
func TestVerifierOfAnotherLog(t *testing.T) {
	_, url := ownLog(t)
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: registry(), Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	out, err := log.Append(t.Context(), "note-1", eventlog.EmptyTail, uuid.New(),
		eventlog.Metadata{Actor: "a", RecordedAt: time.Now()}, noted{"x"})
	if err != nil {
		t.Fatal(err)
	}
	store := &kept{found: domain.Verified{Through: domain.Position{Commit: 1 << 40, Prepare: 1 << 40},
		Damages: []domain.Damage{{Stream: "note-1", Revision: 0}}, Steps: []domain.ClockStep{{}}}}
	metrics := prometheus.NewRegistry()
	v := eventlog.NewVerifier(eventlog.VerifierOptions{Log: log, Store: store, Registerer: metrics})
	v.Report(domain.Damage{Stream: "note-2", Revision: 3}) // found in the other log, and not saved yet
	stop := runVerifier(t, v)
	for v.Through().Commit != out.Position.Commit {
		time.Sleep(time.Millisecond) // the test's own time-out is the bound
	}
	stop()
	if found := v.Found(); len(found.Damages)+len(found.Steps) > 0 {
		t.Errorf("found is %+v", found)
	}
	if len(store.found.Damages)+len(store.found.Steps) > 0 {
		t.Errorf("saved is %+v", store.found)
	}
	gathered, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range gathered {
		if value := m.Metric[0].GetGauge().GetValue(); value != 0 && m.GetName() != "casebook_verified_position" {
			t.Errorf("%s is %v", m.GetName(), value)
		}
	}
}

// TestAnotherPastIsVerifiedFromItsBeginning: the log reaches as far as what was verified, but is another one.
func TestAnotherPastIsVerifiedFromItsBeginning(t *testing.T) {
	log := impatient(t, eventStoreURL)
	mark := noteOn(t, log, "one")
	found := domain.Verified{Through: mark.Position, Last: mark, Damages: []domain.Damage{{Stream: "note-x"}}}
	for _, c := range []struct {
		name  string
		id    string
		found bool
	}{{"the same past", mark.ID, true}, {"another past", uuid.NewString(), false}} {
		store := &kept{found: found}
		store.found.Last.ID = c.id
		v := eventlog.NewVerifier(eventlog.VerifierOptions{Log: log, Store: store})
		stop := runVerifier(t, v)
		if err := v.AwaitEnd(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		known := slices.ContainsFunc(v.Found().Damages, func(d domain.Damage) bool { return d.Stream == "note-x" })
		if known != c.found || store.found.Last.IsZero() {
			t.Errorf("%s: that the damage is known is %t, want %t, up to %v", c.name, known, c.found, store.found.Last)
		}
	}
}

// TestForgedEventWithAMatchingHashIsDamage: at the first revision there is no hash that has to match, and later the hash can
// be computed. The event's id gives the forgery away to every reader.
func TestForgedEventWithAMatchingHashIsDamage(t *testing.T) {
	log, url := ownLog(t)
	command := uuid.New()
	out, err := log.Append(t.Context(), "note-1", eventlog.EmptyTail, command, meta("x"), noted{"one"}, noted{"two"})
	if err != nil {
		t.Fatal(err)
	}
	forge := func(stream string, previous, command string) {
		t.Helper()
		raw, err := json.Marshal(eventlog.Metadata{Actor: "a", CommandID: command, RecordedAt: time.Now(), Schema: 1, PreviousHash: previous})
		if err != nil {
			t.Fatal(err)
		}
		position, err := storetest.Forge(t.Context(), url, stream, "Noted", []byte(`{"text":"x"}`), raw)
		if err != nil {
			t.Fatal(err)
		}
		out.Position = domain.Position{Commit: position, Prepare: position}
	}
	forge("note-1", out.Tail.Hash, command.String())
	forge("note-2", "", uuid.New().String())
	forge("note-3", "", "")
	want := map[string]uint64{"note-1": 2, "note-2": 0, "note-3": 0}

	// The verifier has to find the end of a stream with few ends in memory, too.
	for _, tails := range []int{1, 100} {
		v, stop := verifying(t, eventlog.VerifierOptions{Log: log, CachedTails: tails})
		if err := v.Await(t.Context(), out.Position); err != nil {
			t.Fatal(err)
		}
		stop()
		found := map[string]uint64{}
		for _, d := range v.Found().Damages {
			found[d.Stream] = d.Revision
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Error(diff)
		}
	}
	chains := eventlog.NewChains(log)
	for stream, revision := range want {
		sound := uint64(0)
		for _, err := range log.ReadSound(t.Context(), stream) {
			if err != nil {
				t.Fatal(err)
			}
			sound++
		}
		if sound != revision {
			t.Errorf("%d events of %s are read as sound", sound, stream)
		}
		if err := chains.Check(t.Context(), readAll(t, log, stream)); err != nil {
			t.Fatal(err)
		}
	}
	if damages := chains.Damages(); len(damages) != len(want) {
		t.Errorf("the chains are %+v", damages)
	}
}

// TestTailOfAStreamThatWasNotRead: the end of a stream, taken from its last event alone, is the one that all events give.
func TestTailOfAStreamThatWasNotRead(t *testing.T) {
	log, _ := ownLog(t)
	first, err := log.Append(t.Context(), "note-1", eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}, noted{"two"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := log.Append(t.Context(), "note-1", first.Tail, uuid.New(), meta("x"), noted{"a"}, noted{"b"}, noted{"c"})
	if err != nil {
		t.Fatal(err)
	}
	tail := eventlog.EmptyTail
	for _, r := range readAll(t, log, "note-1") {
		var damage *domain.Damage
		if tail, damage = log.Registry().CheckNext(tail, r); damage != nil || tail != eventlog.TailAfter(r) {
			t.Errorf("revision %d: %+v, the event alone gives %+v; %+v", r.Revision, tail, eventlog.TailAfter(r), damage)
		}
	}
	if tail != second.Tail {
		t.Errorf("Append returned %+v, the stream ends at %+v", second.Tail, tail)
	}
}

// BenchmarkCheckNext measures the check of one event as the log holds it.
func BenchmarkCheckNext(b *testing.B) {
	r := eventlog.Recorded{Stream: "note-1", Type: "Noted", Data: []byte(`{"text":"` + strings.Repeat("x", 600) + `"}`)}
	command := uuid.New()
	raw, err := json.Marshal(eventlog.Metadata{CorrelationID: command.String(), CausationID: command.String(), Actor: "crc.berlin",
		Role: "crc", Study: "PAIN1", Site: "01", Patient: "PAIN1.S-0001", Command: "SubmitDiary", CommandID: command.String(),
		CommandHash: strings.Repeat("h", 44), CommandHashAlgorithm: "hmac", RecordedAt: time.Now(), Address: "127.0.0.1", Schema: 1})
	if err != nil {
		b.Fatal(err)
	}
	r.RawMetadata = raw
	r.ID = eventlog.EventID(command, 0, r.Data, raw)
	events := registry()
	for b.Loop() {
		if _, damage := events.CheckNext(eventlog.EmptyTail, r); damage != nil {
			b.Fatal(damage.Reason)
		}
	}
}

// TestAVerifierThatStandsStillSaysSo: it cannot load how far it has come, so that nobody hears of the event behind.
func TestAVerifierThatStandsStillSaysSo(t *testing.T) {
	t.Parallel()
	log, url := ownLog(t)
	store := &kept{fails: true}
	v, stop := verifying(t, eventlog.VerifierOptions{Log: log, Store: store})
	defer stop()
	if err := v.KeepsUp(t.Context()); err != nil {
		t.Errorf("with an empty log: %v", err)
	}
	if _, err := storetest.Forge(t.Context(), url, "elsewhere-1", "Noted", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), "note-1", eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}); err != nil {
		t.Fatal(err)
	}
	if err := v.KeepsUp(t.Context()); err != nil {
		t.Errorf("with an event that was stored just now: %v", err)
	}
	await := func(want bool) {
		t.Helper()
		for began := time.Now(); (v.KeepsUp(t.Context()) == nil) != want; time.Sleep(50 * time.Millisecond) {
			if time.Since(began) > 15*time.Second {
				t.Fatalf("it says: %v", v.KeepsUp(t.Context()))
			}
		}
	}
	await(false)
	store.mu.Lock()
	store.fails = false
	store.mu.Unlock()
	await(true)
}

// TestADeletedStreamStopsNoVerifier: a stream of the record was deleted for good, and the event before its newest cannot be read any
// more. That is a damage of the one stream, and all others go on.
func TestADeletedStreamStopsNoVerifier(t *testing.T) {
	log, url := ownLog(t)
	first, err := log.Append(t.Context(), "note-deleted", eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), "note-deleted", first.Tail, uuid.New(), meta("x"), noted{"two"}); err != nil {
		t.Fatal(err)
	}
	if _, err := rawClient(t, url).TombstoneStream(t.Context(), "note-deleted", esdb.TombstoneStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	last, err := log.Append(t.Context(), "note-sound", eventlog.EmptyTail, uuid.New(), meta("x"), noted{"three"})
	if err != nil {
		t.Fatal(err)
	}
	v := eventlog.NewVerifier(eventlog.VerifierOptions{Log: log, Logger: slog.Default(),
		Store: &kept{found: domain.Verified{Through: first.Position}}})
	stop := runVerifier(t, v)
	defer stop()
	if err := v.Await(t.Context(), last.Position); err != nil {
		t.Fatal(err)
	}
	found := v.Found().Damages
	if len(found) == 0 || found[0].Stream != "note-deleted" || found[0].Revision != 1 {
		t.Errorf("found is %+v", found)
	}
	for _, d := range found {
		if d.Stream != "note-deleted" {
			t.Errorf("another stream is damaged: %+v", d)
		}
	}
}
