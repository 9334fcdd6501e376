package eventlog_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// resolved resolves the damage of a stream in these tests.
type resolved struct {
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Proof    string `json:"proof"`
}

func (e resolved) ResolvedDamage() (stream string, revision uint64, r domain.Resolution, proof string) {
	return e.Stream, e.Revision, domain.Resolution{ProposedBy: "anna", Reason: "looked into"}, e.Proof
}

// damagedLog is a log of its own whose stream note-1 gets damaged.
type damagedLog struct {
	*testing.T
	log *eventlog.Log
	url string
	// sound are the texts of the events that belong to the record, last is the position of the last event of the log.
	sound []string
	last  domain.Position
}

func newDamagedLog(t *testing.T) *damagedLog {
	t.Helper()
	plain, url := ownLog(t)
	events := eventlog.NewRegistry(append(plain.Registry().Streams(),
		domain.StreamType{Category: "record", Events: []domain.EventType{domain.Stored[resolved]("Resolved")}})...)
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: events, BlindingKeys: keysOf(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return &damagedLog{T: t, log: log, url: url}
}

// record appends to note-1 behind what belongs to the record.
func (d *damagedLog) record(text string) {
	d.Helper()
	check := d.log.CheckStream("note-1", eventlog.EmptyTail)
	for _, r := range readAll(d.T, d.log, "note-1") {
		if _, err := check.Next(d.Context(), r); err != nil {
			d.Fatal(err)
		}
	}
	out, err := d.log.Append(d.Context(), "note-1", check.Tail(), uuid.New(), meta("x"), noted{text})
	if err != nil {
		d.Fatal(err)
	}
	d.sound, d.last = append(d.sound, text), out.Position
}

// forge appends an event that does not continue the stream.
func (d *damagedLog) forge() {
	d.Helper()
	position, err := storetest.Forge(d.Context(), d.url, "note-1", "Noted", []byte(`{"text":"forged"}`), []byte(`{"schema":1}`))
	if err != nil {
		d.Fatal(err)
	}
	d.last = domain.Position{Commit: position, Prepare: position}
}

// resolve records that the damage from a revision on is resolved.
func (d *damagedLog) resolve(tail eventlog.Tail, revision uint64, proof string) eventlog.Tail {
	d.Helper()
	out, err := d.log.Append(d.Context(), "record-note-1", tail, uuid.New(), meta("x"), resolved{"note-1", revision, proof})
	if err != nil {
		d.Fatal(err)
	}
	d.last = out.Position
	return out.Tail
}

// check checks that a follower of the verifier, and a reader of the stream, get what belongs to the record, and that these
// revisions are known as damaged, and those of them as resolved.
func (d *damagedLog) check(when string, v *eventlog.Verifier, damaged, resolved []uint64) {
	d.Helper()
	if err := v.Await(d.Context(), d.last); err != nil {
		d.Fatal(err)
	}
	var read, followed []string
	for r, err := range d.log.ReadSound(d.Context(), "note-1") {
		if err != nil {
			d.Fatal(err)
		}
		read = append(read, r.Event.(noted).Text)
	}
	errEnd := errors.New("end")
	err := v.Follow(d.Context(), eventlog.Subscription{Categories: []string{"note"}}, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			if e, is := r.Event.(noted); is {
				followed = append(followed, e.Text)
			}
		}
		if b.Live {
			return errEnd
		}
		return nil
	})
	if !errors.Is(err, errEnd) {
		d.Fatal(err)
	}
	if diff := cmp.Diff(d.sound, read); diff != "" {
		d.Errorf("%s, read:\n%s", when, diff)
	}
	if diff := cmp.Diff(d.sound, followed); diff != "" {
		d.Errorf("%s, followed:\n%s", when, diff)
	}
	var foundDamaged, foundResolved []uint64
	for _, f := range v.Found().Damages {
		foundDamaged = append(foundDamaged, f.Revision)
		if f.Resolution != nil {
			foundResolved = append(foundResolved, f.Revision)
		}
	}
	if !slices.Equal(foundDamaged, damaged) || !slices.Equal(foundResolved, resolved) {
		d.Errorf("%s: damaged are %v, resolved %v", when, foundDamaged, foundResolved)
	}
}

// TestR1_AStreamGoesOnBehindResolvedDamage damages a stream twice and resolves it, while a verifier runs. Verifiers that start
// later, with and without what was found before and with few ends in memory, find the same.
func TestR1_AStreamGoesOnBehindResolvedDamage(t *testing.T) {
	d, store := newDamagedLog(t), &kept{}
	running, stop := verifying(t, eventlog.VerifierOptions{Log: d.log, Store: store})
	check := func(when string, damaged, resolved []uint64) {
		t.Helper()
		d.check(when, running, damaged, resolved)
		for name, o := range map[string]eventlog.VerifierOptions{
			"fresh": {Log: d.log}, "few ends": {Log: d.log, CachedTails: 1},
			"restarted": {Log: d.log, Store: &kept{found: running.Found()}},
		} {
			v, stop := verifying(t, o)
			d.check(when+", "+name, v, damaged, resolved)
			stop()
		}
	}
	d.record("one")
	d.record("two")
	d.forge()
	d.forge()
	check("damaged", []uint64{2}, nil)
	proof := d.log.ProveResolution("note-1", 2)
	resolutions := d.resolve(eventlog.EmptyTail, 2, "forged proof")
	resolutions = d.resolve(resolutions, 1, d.log.ProveResolution("note-1", 1)) // there is no damage at 1
	check("not resolved", []uint64{2}, nil)
	d.forge() // it comes before the resolution
	resolutions = d.resolve(resolutions, 2, proof)
	check("resolved", []uint64{2}, []uint64{2})
	d.record("three")
	d.record("four")
	d.resolve(resolutions, 2, proof) // a repeat does not reach further
	d.record("five")
	check("gone on", []uint64{2}, []uint64{2})
	d.forge()
	check("damaged again", []uint64{2, 8}, []uint64{2})
	d.resolve(eventlog.TailAfter(lastOf(t, d.log, "record-note-1")), 8, d.log.ProveResolution("note-1", 8))
	d.record("six")
	check("resolved again", []uint64{2, 8}, []uint64{2, 8})
	stop()
}

// TestForgedFirstEventIsResolved: a stream that began with a forged event begins behind it.
func TestForgedFirstEventIsResolved(t *testing.T) {
	d := newDamagedLog(t)
	v, stop := verifying(t, eventlog.VerifierOptions{Log: d.log})
	defer stop()
	d.forge()
	d.check("damaged", v, []uint64{0}, nil)
	d.resolve(eventlog.EmptyTail, 0, d.log.ProveResolution("note-1", 0))
	d.record("one")
	d.record("two")
	d.check("resolved", v, []uint64{0}, []uint64{0})
}

// TestALongNameStopsNoVerifier: damages of a stream whose name leaves no room for the name of their resolutions cannot be
// resolved, and everything else goes on.
func TestALongNameStopsNoVerifier(t *testing.T) {
	d := newDamagedLog(t)
	v, stop := verifying(t, eventlog.VerifierOptions{Log: d.log})
	defer stop()
	long := "note-" + strings.Repeat("x", 4090)
	if _, err := storetest.Forge(t.Context(), d.url, long, "Noted", []byte(`{}`), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	d.record("one")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := v.Await(ctx, d.last); err != nil {
		t.Fatal(err)
	}
	if found := v.Found().Damages; len(found) != 1 || found[0].Stream != long {
		t.Errorf("%d damages are found", len(found))
	}
}

func lastOf(t *testing.T, log *eventlog.Log, stream string) eventlog.Recorded {
	t.Helper()
	r, _, err := log.Last(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestForgedResolutionHasNoEffect: somebody with the credentials of the event store knows how we hash and name events, but has
// no key.
func TestForgedResolutionHasNoEffect(t *testing.T) {
	d := newDamagedLog(t)
	v, stop := verifying(t, eventlog.VerifierOptions{Log: d.log})
	defer stop()
	d.record("one")
	d.forge()
	command := uuid.New()
	m, err := json.Marshal(eventlog.Metadata{Actor: "ben", CommandID: command.String(), RecordedAt: time.Now(), Schema: 1})
	if err != nil {
		t.Fatal(err)
	}
	data := []byte(`{"stream":"note-1","revision":1,"proof":"bm8="}`)
	position, err := storetest.ForgeAs(t.Context(), d.url, "record-note-1", eventlog.EventID(command, 0, data, m), "Resolved", data, m)
	if err != nil {
		t.Fatal(err)
	}
	d.last = domain.Position{Commit: position, Prepare: position}
	d.check("forged", v, []uint64{1}, nil)
}
