package projections_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/eventlog"
	"casebook/projections"
	auditprojections "casebook/projections/audit"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
)

// faultyWay is a proxy in front of a store, over which connections break.
type faultyWay struct {
	*toxiproxy.Proxy
	t testing.TB
}

// before returns the address of a store with a proxy in front of it.
func before(t testing.TB, address string) (string, faultyWay) {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, to.Scheme, "127.0.0.1:0", to.Host)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	to.Host = p.Listen
	return to.String(), faultyWay{p, t}
}

// trouble is what can happen to connections, in the proxy's words: they are reset, end after some bytes, take their time, or
// deliver what is sent bit by bit.
var trouble = []string{
	`{"name":"t","type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`,
	`{"name":"t","type":"reset_peer","stream":"upstream","attributes":{"timeout":5}}`,
	`{"name":"t","type":"limit_data","stream":"downstream","attributes":{"bytes":3000}}`,
	`{"name":"t","type":"limit_data","stream":"upstream","attributes":{"bytes":20000}}`,
	`{"name":"t","type":"latency","stream":"downstream","attributes":{"latency":40,"jitter":40}}`,
	`{"name":"t","type":"slicer","stream":"downstream","attributes":{"average_size":200,"size_variation":100,"delay":50}}`,
}

// fail makes trouble for a while; one time in three the store is gone altogether.
func (f faultyWay) fail(r *rand.Rand) {
	f.t.Helper()
	lasting := time.Duration(5+r.IntN(200)) * time.Millisecond
	if r.IntN(3) == 0 {
		f.Stop()
		time.Sleep(lasting)
		if err := f.Start(); err != nil {
			f.t.Fatal(err)
		}
		return
	}
	if _, err := f.Toxics.AddToxicJson(strings.NewReader(trouble[r.IntN(len(trouble))])); err != nil {
		f.t.Fatal(err)
	}
	time.Sleep(lasting)
	if err := f.Toxics.RemoveToxic(context.Background(), "t"); err != nil {
		f.t.Fatal(err)
	}
}

// stubbornly records events over a connection that breaks. It repeats the same append until the log confirms it. The log
// then holds the events once.
func (w *world) stubbornly(log *eventlog.Log, stream string, who domain.PatientID, events ...any) (position uint64) {
	w.t.Helper()
	tail, ok := w.tails[stream]
	if !ok {
		tail = eventlog.EmptyTail
	}
	id, meta := uuid.New(), eventlog.Metadata{Actor: "crc", Study: w.study, Site: "01", Patient: who,
		RecordedAt: time.Now().UTC().Truncate(time.Millisecond)}
	for {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		out, err := log.Append(ctx, stream, tail, id, meta, events...)
		cancel()
		if err == nil {
			w.tails[stream] = out.Tail
			return out.Position.Commit
		}
		if w.t.Context().Err() != nil {
			w.t.Fatal(err)
		}
		if !errors.Is(err, eventlog.ErrConflict) {
			continue
		}
		// What is blinded is sealed anew each time, so the same append is another one; nobody else writes the stream.
		last, found, err := w.log.Last(w.t.Context(), stream)
		if err != nil || !found || int64(last.Revision) != tail.Revision+int64(len(events)) {
			w.t.Fatalf("%s stands at %+v, %v", stream, last, err)
		}
		w.tails[stream] = eventlog.TailAfter(last)
		return last.Position.Commit
	}
}

// TestStoresThatFailAndComeBackLoseNothingAndRepeatNothing: both stores are behind proxies that break connections, while
// events are recorded, two engines fold them, views are rebuilt and compared. In the end the log holds each event once, and
// the views are byte for byte those that an engine makes that nothing happens to.
func TestStoresThatFailAndComeBackLoseNothingAndRepeatNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // chances, not secrets
	w := newWorldToFill(t)
	brokenMongoURL, mongoWay := before(t, mongoURL)
	logURL, logWay := w.url, mongoWay
	if !strings.Contains(w.url, ",") { // the nodes of a cluster name each other, and no proxy in front of one of them
		logURL, logWay = before(t, w.url)
	}
	connect := func() (*eventlog.Log, *readmodels.Store) {
		log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: logURL, Registry: contexts.Registry(),
			BlindingKeys: blindingKeys(t)})
		if err != nil {
			t.Fatal(err)
		}
		store, err := readmodels.Connect(t.Context(), brokenMongoURL, w.database, contexts.Views())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(log.Close(), store.Close(context.Background())); err != nil {
				t.Error(err)
			}
		})
		return log, store
	}
	var stops []func()
	for range 2 {
		log, store := connect()
		ctx, cancel := context.WithCancel(t.Context())
		engine := projections.NewEngine(projections.Options{Log: log, Store: store, Projections: contexts.Projections(),
			Lease:  500 * time.Millisecond,
			Limits: projections.Limits{Documents: 50, Batch: 200}})
		ended := make(chan error, 1)
		go func() { ended <- engine.Run(ctx) }()
		stops = append(stops, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	writer, _ := connect()
	var patients []domain.PatientID
	recorded := 0
	for n := range 40 {
		who := w.screen(n)
		patients = append(patients, who)
		recorded++
	}
	recorded += w.createShipments(patients[0])
	type sum struct {
		events int
		last   uint64
	}
	done := make(chan sum)
	random := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // as above
	go func() {
		var all sum
		defer func() { done <- all }()
		for all.events < 3000 && t.Context().Err() == nil {
			who := patients[random.IntN(len(patients))]
			category, events := oneCategory(w, random, who)
			all.last = w.stubbornly(writer, category+"-"+string(who), who, events...)
			all.events += len(events)
		}
	}()
	rebuilt := 0
	for fails := range 30 {
		way := logWay
		if r.IntN(2) == 0 {
			way = mongoWay
		}
		way.fail(r)
		time.Sleep(time.Duration(r.IntN(80)) * time.Millisecond)
		if fails%6 == 2 {
			v := contexts.Views()[r.IntN(len(contexts.Views()))]
			w.decide(v.Name, projection.RebuildRequested{Projection: v.Name, Reason: "to see"})
			rebuilt++
		}
	}
	all := <-done
	recorded, w.last = recorded+all.events, max(w.last, all.last)
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	for _, stop := range stops {
		stop()
	}
	held := 0
	end, err := w.log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("read")
	if err := w.log.Follow(t.Context(), eventlog.Subscription{KeepUnreadable: true}, func(_ context.Context, b eventlog.Batch) error {
		for _, at := range b.Events {
			if _, decision := at.Event.(projection.Event); !decision && at.Metadata.Study == w.study {
				held++
			}
		}
		if !b.Through.Before(end) {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if held != recorded {
		t.Errorf("%d events were recorded, and the log holds %d", recorded, held)
	}
	fresh := w.afresh(t)
	for _, v := range contexts.Views() {
		want := raw(t, fresh.store, fresh.builds(v).Active.Collection)
		same(t, v.Name, want, raw(t, w.store, w.builds(v).Active.Collection))
		counts := make([]int64, 2)
		for i, of := range []*world{w, fresh} {
			c, err := of.store.LoadBuildCheckpoint(t.Context(), v, of.builds(v).Active.Collection)
			if err != nil {
				t.Fatal(err)
			}
			counts[i] = c.Events
		}
		if counts[0] != counts[1] {
			t.Errorf("%s has folded %d events of %d", v.Name, counts[0], counts[1])
		}
	}
	for _, p := range []projections.Projection{patientprojections.PatientView, auditprojections.AuditIndex(contexts.Streams())} {
		if c := w.compare(p, w.builds(p.View).Active); !c.Same() {
			t.Errorf("%s differs from the log: %+v", p.View.Name, c)
		}
	}
	t.Logf("%d events, %d rebuilds", recorded, rebuilt)
}
