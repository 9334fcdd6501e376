package projections_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"
)

// engineVariable makes this program an engine in a process of its own, that others kill.
const engineVariable = "CASEBOOK_TEST_ENGINE"

type engineConfig struct {
	Log, Mongo, Database string
	Lease                time.Duration
	Limits               projections.Limits
}

// beEngine runs an engine until the process is killed, or whoever has started it is gone.
func beEngine(config string) error {
	var c engineConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	log, err := eventlog.Connect(ctx, eventlog.Options{URL: c.Log, Registry: contexts.Registry()})
	if err != nil {
		return err
	}
	store, err := readmodels.Connect(ctx, c.Mongo, c.Database, contexts.Views())
	if err != nil {
		return err
	}
	return projections.NewEngine(projections.Options{Log: log, Store: store, Projections: contexts.Projections(), Lease: c.Lease,
		Limits: c.Limits}).Run(ctx)
}

// engineProcess is an engine's process.
type engineProcess struct {
	*exec.Cmd
	stdin  io.Closer
	said   *bytes.Buffer
	paused bool
}

func (w *world) startEngine(r *rand.Rand, lease time.Duration) *engineProcess {
	w.t.Helper()
	config, err := json.Marshal(engineConfig{Log: w.url, Mongo: mongoURL, Database: w.database, Lease: lease,
		Limits: projections.Limits{Documents: 1 + r.IntN(300), Unwritten: 1 + r.IntN(2000), Events: 1 + r.IntN(3000),
			Batch: 1 + r.IntN(700)}})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &engineProcess{Cmd: exec.Command(os.Args[0], "-test.run=^$"), said: &bytes.Buffer{}} //nolint:gosec // this program itself
	p.Env = append(os.Environ(), engineVariable+"="+string(config))
	p.Stdout, p.Stderr = p.said, p.said
	if p.stdin, err = p.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *engineProcess) kill() {
	_ = p.Process.Signal(syscall.SIGKILL)
	_ = p.Wait()
	_ = p.stdin.Close()
}

// pause stops the process in the middle of whatever it does, or lets it go on as if no time had passed.
func (p *engineProcess) pause(t testing.TB, paused bool) {
	t.Helper()
	signal := syscall.SIGCONT
	if paused {
		signal = syscall.SIGSTOP
	}
	if err := p.Process.Signal(signal); err != nil {
		t.Fatalf("the engine has ended: %v\n%s", err, p.said)
	}
	p.paused = paused
}

// bursts records at least n events of all kinds, many to an append, so that a log grows faster than it is folded.
func (w *world) bursts(r *rand.Rand, n int, patients []domain.PatientID) (recorded int) {
	w.t.Helper()
	for recorded < n {
		who := patients[r.IntN(len(patients))]
		category, events := oneCategory(w, r, who)
		w.record(category+"-"+string(who), who, events...)
		recorded += len(events)
	}
	return recorded
}

// oneCategory draws up to 20 events about a patient that can stand in one stream.
func oneCategory(w *world, r *rand.Rand, who domain.PatientID) (category string, events []any) {
	byCategory := map[string][]any{}
	var categories []string
	for _, event := range anything(who) {
		category, ok := w.log.Registry().CategoryOf(event)
		if !ok || category == projection.Decider.Category {
			continue
		}
		if byCategory[category] == nil {
			categories = append(categories, category)
		}
		byCategory[category] = append(byCategory[category], event)
	}
	category = categories[r.IntN(len(categories))]
	of := byCategory[category]
	events = make([]any, 1+r.IntN(20))
	for i := range events {
		events[i] = of[r.IntN(len(of))]
	}
	return category, events
}

// createShipments records that the shipments are made that events of any kind are about. That comes before anything else
// that happens to them, because it tells which kits later events are about.
func (w *world) createShipments(who domain.PatientID) (recorded int) {
	w.t.Helper()
	for _, event := range anything(who) {
		if created, is := event.(supply.ShipmentCreated); is {
			w.record(supply.StockDecider.Stream(string(who)), who, created)
			recorded++
		}
	}
	return recorded
}

// afresh folds the whole log into an empty database.
func (w *world) afresh(t testing.TB) *world {
	t.Helper()
	fresh := *w
	var err error
	if fresh.store, err = readmodels.Connect(context.Background(), mongoURL, "fresh"+uuid.NewString()[:8], contexts.Views()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fresh.store.Close(context.Background()) })
	stop := fresh.run()
	defer stop()
	for _, v := range contexts.Views() {
		fresh.wait(v)
	}
	return &fresh
}

// raw are the documents of a build as they are stored, byte for byte, by their keys.
func raw(t testing.TB, s *readmodels.Store, collection string) map[string]string {
	t.Helper()
	found, err := s.CollectionNamed(collection).Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for found.Next(t.Context()) {
		all[found.Current.Lookup("_id").StringValue()] = string(found.Current)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// same compares two builds, and shows the first document that differs.
func same(t testing.TB, what string, want, got map[string]string) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s has %d documents of %d", what, len(got), len(want))
	}
	for key, document := range want {
		if got[key] != document {
			t.Errorf("%s differs at %s:\n%s", what, key, cmp.Diff(strings.Split(bson.Raw(document).String(), ","),
				strings.Split(bson.Raw(got[key]).String(), ",")))
			return
		}
	}
}

// forceEvents is how many events the proof is made over; CASEBOOK_TEST_EVENTS says another number.
const forceEvents = 4_000

// TestR25_KilledAndPausedEnginesFoldWhatOneWould: several engines at a time compete for the views of one log while it is
// written. They are killed, or stopped in the middle of anything for longer than their leases last and let go on, and each
// cuts the log into batches of another size. In the end every view is byte for byte what a rebuild makes of the log, and
// what one engine makes of it that nobody disturbs and that begins with nothing.
func TestR25_KilledAndPausedEnginesFoldWhatOneWould(t *testing.T) {
	events := forceEvents
	if given := os.Getenv("CASEBOOK_TEST_EVENTS"); given != "" {
		var err error
		if events, err = strconv.Atoi(given); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // chances, not secrets
	w := newWorldToFill(t)
	var patients []domain.PatientID
	for n := range 150 {
		who := w.screen(n)
		patients = append(patients, who)
	}
	w.createShipments(patients[0])
	const lease = 300 * time.Millisecond
	running := []*engineProcess{w.startEngine(r, lease), w.startEngine(r, lease)}
	defer func() {
		for _, p := range running {
			p.kill()
		}
	}()
	watching, stopWatching := context.WithCancel(t.Context())
	var watched errgroup.Group
	watched.Go(func() error { return w.neverGoBack(watching) })
	kills, pauses := 0, 0
	for recorded := 0; recorded < events; {
		recorded += w.bursts(r, 1+r.IntN(events/50), patients)
		time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
		i := r.IntN(len(running))
		switch p := running[i]; {
		case p.paused && r.IntN(2) == 0:
			p.pause(t, false)
		case r.IntN(3) == 0:
			p.kill()
			running[i] = w.startEngine(r, lease)
			kills++
		case !p.paused && r.IntN(2) == 0:
			p.pause(t, true)
			pauses++
		case len(running) < 3:
			running = append(running, w.startEngine(r, lease))
		}
	}
	for _, p := range running {
		if p.paused {
			p.pause(t, false)
		}
	}
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	stopWatching()
	if err := watched.Wait(); err != nil {
		t.Error(err)
	}
	for _, p := range running {
		p.kill()
	}
	running = nil
	if kills < 3 || pauses < 3 {
		t.Errorf("%d kills and %d pauses prove little", kills, pauses)
	}
	live := map[string]readmodels.Build{}
	for _, v := range contexts.Views() {
		live[v.Name] = w.builds(v).Active
	}

	// A rebuild, by an engine that goes on where the others were.
	stop := w.run()
	for _, v := range contexts.Views() {
		w.decide(v.Name, projection.RebuildRequested{Projection: v.Name, Reason: "to compare"})
	}
	until(t, func() bool {
		for _, v := range contexts.Views() {
			if b := w.builds(v); b.Active == live[v.Name] || b.Building != nil {
				return false
			}
		}
		return true
	})
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	stop()
	// And one that begins with nothing.
	fresh := w.afresh(t)
	total := 0
	for _, v := range contexts.Views() {
		rebuilt, alone := w.builds(v).Active, fresh.builds(v).Active
		want := raw(t, fresh.store, alone.Collection)
		same(t, v.Name+" under force", want, raw(t, w.store, live[v.Name].Collection))
		same(t, v.Name+" rebuilt", want, raw(t, w.store, rebuilt.Collection))
		total += len(want)
		var counts []int64
		for _, at := range []struct {
			store *readmodels.Store
			build string
		}{{w.store, live[v.Name].Collection}, {w.store, rebuilt.Collection}, {fresh.store, alone.Collection}} {
			c, err := at.store.LoadBuildCheckpoint(t.Context(), v, at.build)
			if err != nil {
				t.Fatal(err)
			}
			counts = append(counts, c.Events)
		}
		if counts[0] != counts[2] || counts[1] != counts[2] {
			t.Errorf("%s has folded %d events under force, %d in a rebuild, and there are %d", v.Name, counts[0], counts[1], counts[2])
		}
	}
	t.Logf("%d documents, after %d kills and %d pauses", total, kills, pauses)
}

// neverGoBack watches the checkpoints until ctx ends.
func (w *world) neverGoBack(ctx context.Context) error {
	most := map[string]domain.Position{}
	for ctx.Err() == nil {
		all, err := w.store.Checkpoints(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was enough
			}
			return err
		}
		for _, c := range all {
			if c.Position.Before(most[c.Collection]) {
				return fmt.Errorf("the checkpoint of %s went from %v back to %v", c.Collection, most[c.Collection], c.Position)
			}
			most[c.Collection] = c.Position
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
