package projections_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/embedded/mongo"
	"casebook/embedded/node"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/projections"
	diaryprojections "casebook/projections/diary"
	patientprojections "casebook/projections/patient"
	studyprojections "casebook/projections/study"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"
)

// eventStoreURL and mongoURL are those of the stores that the tests share.
var eventStoreURL, mongoURL string

func TestMain(m *testing.M) {
	if config := os.Getenv(engineVariable); config != "" {
		if err := beEngine(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "projections")
	if err != nil {
		panic(err)
	}
	var closeLog, closeMongo func() error
	if eventStoreURL, closeLog, err = storetest.EventStore(context.Background(), dir+"/node"); err != nil {
		panic(err)
	}
	if mongoURL, closeMongo, err = storetest.Mongo(context.Background(), dir+"/mongo"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := errors.Join(closeMongo(), closeLog(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	// The official client leaves a connection behind that it finds unavailable, and the proxy that breaks connections its pipes.
	if err := goleak.Find(goleak.IgnoreTopFunction("google.golang.org/grpc/internal/grpcsync.(*CallbackSerializer).run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write")); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is a log and a database of its own, with an engine that can be started and stopped.
type world struct {
	t   testing.TB
	log *eventlog.Log
	// writer has the blinding keys, as commands have; the engine's log has none.
	writer *eventlog.Log
	store  *readmodels.Store
	study  domain.StudyID
	tails  map[string]eventlog.Tail
	last   uint64
	// alone says that nobody else writes this log.
	alone bool
	// url is that of the log, and database the name of the views'.
	url, database string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, eventStoreURL, mongoURL)
}

// newWorldAlone has a log that nobody else writes, or is hurt by.
func newWorldAlone(t testing.TB) *world {
	t.Helper()
	if os.Getenv(storetest.EventStoreVariable) != "" {
		t.Skip("what this test writes would be in the way of all others on the log that is given")
	}
	return newWorldToFill(t)
}

// newWorldToFill has a log of its own, or that which is given.
func newWorldToFill(t testing.TB) *world {
	t.Helper()
	if os.Getenv(storetest.EventStoreVariable) != "" {
		return newWorld(t)
	}
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorldOn(t, n.ConnectionString(), mongoURL)
	w.alone = true
	return w
}

func newWorldOn(t testing.TB, eventStoreURL, mongoURL string) *world {
	t.Helper()
	log, err := eventlog.Connect(context.Background(), eventlog.Options{URL: eventStoreURL, Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	writer, err := eventlog.Connect(context.Background(), eventlog.Options{URL: eventStoreURL, Registry: contexts.Registry(),
		BlindingKeys: blindingKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	id := strings.ReplaceAll(uuid.NewString()[:13], "-", "")
	database := "db" + id
	store, err := readmodels.Connect(context.Background(), mongoURL, database, contexts.Views())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(log.Close(), writer.Close(), store.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, url: eventStoreURL, database: database, log: log, writer: writer, store: store, study: domain.StudyID("S" + id),
		tails: map[string]eventlog.Tail{}}
}

func blindingKeys(t testing.TB) *eventlog.BlindingKeys {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{7}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// run starts an engine of some projections, or of all where none are named, and returns what stops it.
func (w *world) run(some ...projections.Projection) (stop func()) {
	w.t.Helper()
	if len(some) == 0 {
		some = contexts.Projections()
	}
	return w.runWith(projections.Options{Log: w.log, Store: w.store, Projections: some})
}

// runWith runs an engine with options until the function that it returns is called.
func (w *world) runWith(o projections.Options) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	engine := projections.NewEngine(o)
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Error(err)
		}
	}
}

// verify runs a verifier of the world's log until the test ends.
func (w *world) verify() *eventlog.Verifier {
	w.t.Helper()
	return verified(w.t, w.log)
}

// verified runs a verifier of a log until the test ends.
func verified(t testing.TB, log *eventlog.Log) *eventlog.Verifier {
	t.Helper()
	v := eventlog.NewVerifier(eventlog.VerifierOptions{Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return v
}

func (w *world) record(stream string, who domain.PatientID, events ...any) {
	w.t.Helper()
	tail, ok := w.tails[stream]
	if !ok {
		tail = eventlog.EmptyTail
	}
	out, err := w.writer.Append(context.Background(), stream, tail, uuid.New(),
		eventlog.Metadata{Actor: "crc", Study: w.study, Site: "01", Patient: who,
			RecordedAt: time.Now().UTC().Truncate(time.Millisecond)}, events...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.tails[stream], w.last = out.Tail, out.Position.Commit
}

func (w *world) screen(n int) domain.PatientID {
	w.t.Helper()
	number := fmt.Sprintf("P%04d", n)
	id := domain.NewPatientID(w.study, number)
	w.record("patient-"+string(id), id, patient.Screened{Patient: id, Study: w.study, Site: "01", ScreeningNumber: number,
		On: "2026-01-01", Zone: "UTC"})
	return id
}

// wait waits until a view has seen everything that was recorded.
func (w *world) wait(v readmodels.View) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // a busy machine is slow
	defer cancel()
	if err := w.store.WaitFor(ctx, v, w.last); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) rows() []patientviews.PatientRow {
	w.t.Helper()
	var all []patientviews.PatientRow
	for page := (readmodels.Page{Limit: 7}); ; {
		query := patientviews.PatientsQuery{Study: w.study, Page: page}
		l, err := patientviews.ListPatients(w.t.Context(), readmodels.Request{Store: w.store}, query)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, l.Items...)
		if page.Cursor = l.Next; page.Cursor == "" {
			return all
		}
	}
}

func TestTheEngineCarriesOnWhereItStopped(t *testing.T) {
	w := newWorld(t)
	stop := w.run()
	for n := range 20 {
		w.screen(n)
	}
	w.wait(patientviews.PatientLists)
	stop()
	for n := 20; n < 40; n++ { // while nobody looks
		w.screen(n)
	}
	stop = w.run()
	defer stop()
	w.wait(patientviews.PatientLists)
	rows := w.rows()
	if len(rows) != 40 {
		t.Fatalf("the list holds %d patients", len(rows))
	}
	for n, r := range rows {
		if r.ScreeningNumber != fmt.Sprintf("P%04d", n) || r.Status != patient.StatusScreened {
			t.Errorf("row %d is %+v", n, r)
		}
	}
}

// TestACrashBeforeTheCheckpointChangesNothing puts the checkpoint back to the beginning, as if the process had died
// before it was written, and folds everything again over the documents that are there.
func TestACrashBeforeTheCheckpointChangesNothing(t *testing.T) {
	w := newWorld(t)
	stop := w.run()
	for n := range 10 {
		id := w.screen(n)
		w.record("patient-"+string(id), id, patient.ConsentRecorded{Patient: id, ConsentVersion: "1", On: "2026-01-02"})
	}
	w.wait(patientviews.PatientLists)
	w.wait(patientviews.PatientViews)
	before := w.rows()
	stop()
	for _, v := range contexts.Views() {
		c, err := w.store.LoadCheckpoint(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		c.Position = domain.Position{}
		if err := w.store.SaveCheckpoint(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	stop = w.run()
	defer stop()
	w.wait(patientviews.PatientLists)
	if diff := cmp.Diff(before, w.rows()); diff != "" {
		t.Errorf("folding again changed the list:\n%s", diff)
	}
}

func TestTheStoreMayGoAway(t *testing.T) {
	dir := t.TempDir()
	store, err := mongo.Open(t.Context(), mongo.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if w.store, err = readmodels.Connect(t.Context(), store.ConnectionString(), "db", contexts.Views()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.store.Close(context.Background()) }()
	stop := w.run(patientprojections.PatientList)
	defer func() { stop() }()
	w.screen(0)
	w.wait(patientviews.PatientLists)
	address := store.Addr()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 5; n++ {
		w.screen(n)
	}
	if store, err = mongo.Open(t.Context(), mongo.Options{Dir: dir, Listen: address}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	w.wait(patientviews.PatientLists)
	if rows := w.rows(); len(rows) != 5 {
		t.Errorf("the list holds %d patients", len(rows))
	}
	stop()
	stop = func() {}
}

// TestAnOlderLogUnderRunningViewsIsAnAlarm puts an older log in the place of the one from which views are built. The engine
// goes on, each view says why it has stopped, and all go on with the right log.
func TestAnOlderLogUnderRunningViewsIsAnAlarm(t *testing.T) {
	if os.Getenv(storetest.EventStoreVariable) != "" {
		t.Skip("the given event store cannot be replaced")
	}
	dir := t.TempDir()
	open := func(dir, address string) *node.Node {
		t.Helper()
		n, err := node.Open(context.Background(), node.Options{Dir: dir, Listen: address})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := open(dir, "127.0.0.1:0")
	address := n.Addr()
	w := newWorldOn(t, n.ConnectionString(), mongoURL)
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: w.url, Registry: contexts.Registry(), Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	defer w.start(projections.NewEngine(projections.Options{Log: log, Store: w.store, Projections: contexts.Projections()}))()
	w.screen(0)
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = open(t.TempDir(), address)
	for _, v := range contexts.Views() {
		until(t, func() bool { return w.checkpoint(v).State == readmodels.OtherPast })
		if c := w.checkpoint(v); !strings.Contains(c.Reason, eventlog.ErrOtherPast.Error()) {
			t.Errorf("%s has stopped because of %q", v.Name, c.Reason)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = open(dir, address)
	defer func() { _ = n.Close() }()
	for _, v := range contexts.Views() {
		for c := w.checkpoint(v); c.State != readmodels.Live || c.Reason != ""; c = w.checkpoint(v) {
			time.Sleep(time.Millisecond) // the test's own time-out is the bound
		}
	}
}

// BenchmarkEngine folds 20,000 diaries of 500 patients into all views, and into each by itself, from an empty store until
// the last is seen.
func BenchmarkEngine(b *testing.B) {
	w := newWorld(b)
	const patients, weeks, days = 500, 8, 5
	ids := make([]domain.PatientID, patients)
	for n := range ids {
		ids[n] = w.screen(n)
		w.record("diary-"+string(ids[n]), ids[n], diary.InstrumentAssigned{Patient: ids[n], Instrument: *instrument.PainDiary(),
			Zone: "UTC",
			From: "2026-03-01", Until: "2026-12-31"})
	}
	for week := range weeks { // patients come by turns, as they do
		for _, id := range ids {
			var kept []any
			for day := 7 * week; day < 7*week+days; day++ {
				e := submitted(1, 3)
				e.Patient, e.Window = id, diary.Window{ID: string(domain.Date("2026-03-01").AddDays(day)) + "/evening",
					Opens: e.Window.Opens.AddDate(0, 0, day), Closes: e.Window.Closes.AddDate(0, 0, day)}
				kept = append(kept, e)
			}
			w.record("diary-"+string(id), id, kept...)
		}
	}
	const events = patients * (2 + weeks*days)
	for name, of := range map[string][]projections.Projection{"all": contexts.Projections(),
		"StudyOverview": {studyprojections.StudyOverview},
		"PatientList":   {patientprojections.PatientList}, "PatientView": {patientprojections.PatientView},
		"Diaries":         {diaryprojections.Diaries},
		"DiaryCompliance": {diaryprojections.DiaryCompliance}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				views := w.elsewhere()
				stop := views.run(of...)
				for _, p := range of {
					views.wait(p.View)
				}
				stop()
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
