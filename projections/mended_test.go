package projections_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/projection"
	"casebook/eventlog"
	"casebook/projections"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// elsewhere is the same log with views in a database of their own.
func (w *world) elsewhere() *world {
	w.t.Helper()
	store, err := readmodels.Connect(context.Background(), mongoURL, "db"+uuid.NewString()[:8], contexts.Views())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	other := *w
	other.store = store
	return &other
}

// stored returns the documents of this world's study in all views, as they are in the store.
func (w *world) stored(views ...readmodels.View) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, v := range views {
		found, err := w.store.Collection(v).Find(w.t.Context(), bson.D{{Key: "study", Value: string(w.study)}},
			options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			w.t.Fatal(err)
		}
		var documents []bson.Raw
		if err := found.All(w.t.Context(), &documents); err != nil {
			w.t.Fatal(err)
		}
		for _, d := range documents {
			all[v.Name+" "+d.Lookup("_id").StringValue()] = d.String()
		}
	}
	return all
}

// sameAsFresh compares all views with those of an engine that folds the log from its beginning, and the counts too.
func (w *world) sameAsFresh() {
	w.t.Helper()
	fresh := w.elsewhere()
	stop := fresh.run()
	defer stop()
	for _, v := range contexts.Views() {
		w.wait(v)
		fresh.wait(v)
		if want, got := fresh.checkpoint(v).Events, w.checkpoint(v).Events; want != got {
			w.t.Errorf("%s has counted %d events of %d", v.Name, got, want)
		}
	}
	want := fresh.stored(contexts.Views()...)
	if len(want) == 0 {
		w.t.Error("there is nothing to compare with")
	}
	if diff := cmp.Diff(want, w.stored(contexts.Views()...)); diff != "" {
		w.t.Errorf("the views differ from those of a clean run (-clean +got):\n%s", diff)
	}
}

func (w *world) checkpoint(v readmodels.View) readmodels.Checkpoint {
	w.t.Helper()
	c, err := w.store.LoadCheckpoint(w.t.Context(), v)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// stopped waits until a projection has stopped.
func (w *world) stopped(v readmodels.View) readmodels.Checkpoint {
	w.t.Helper()
	for {
		if c := w.checkpoint(v); c.State == readmodels.Stopped {
			return c
		}
		time.Sleep(time.Millisecond) // the test's own time-out is the bound
	}
}

// keep lets a patient keep the diary for some days: answered, late, missed, flagged and corrected.
func (w *world) keep(who domain.PatientID, from, days int) {
	w.t.Helper()
	if from == 0 {
		w.record("diary-"+string(who), who, diary.InstrumentAssigned{Patient: who, Zone: "UTC", From: "2026-03-01", Until: "2026-03-28"})
	}
	for day := from + 1; day <= from+days; day++ {
		e := submitted(day, float64(day%11))
		e.Patient, e.Late = who, day%5 == 0
		switch day % 3 {
		case 0:
			w.record("diary-"+string(who), who, diary.WindowMissed{Patient: who, Instrument: "pain-diary", Window: window(day)})
		case 1:
			w.record("diary-"+string(who), who, e, diary.RiskFlagged{Patient: who, Instrument: "pain-diary", Window: window(day).ID,
				Rule: "r"})
		case 2:
			w.record("diary-"+string(who), who, e, diary.Corrected{Patient: who, Instrument: "pain-diary", Window: window(day).ID,
				Reason:  "misread",
				Changes: []diary.Change{{Item: "worst", Old: 1.0, New: 2.0}}})
		}
	}
}

// TestACrashBehindTheDocumentsCountsNothingTwice puts each checkpoint back to where it stood some time ago, as a process
// leaves it that dies after it wrote the documents.
func TestACrashBehindTheDocumentsCountsNothingTwice(t *testing.T) {
	w := newWorld(t)
	id := w.screen(1)
	w.keep(id, 0, 4)
	stop := w.run()
	var ago []readmodels.Checkpoint
	for i, v := range contexts.Views() {
		w.keep(id, 4+i, 1) // so that each view is put back to another place
		w.wait(v)
		ago = append(ago, w.checkpoint(v))
	}
	w.keep(id, 9, 10)
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	stop()
	for i, c := range ago {
		c.Token = w.checkpoint(contexts.Views()[i]).Token
		if err := w.store.SaveCheckpoint(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	stop = w.run()
	w.keep(id, 19, 5)
	w.sameAsFresh()
	stop()
	for i, c := range ago { // and once from the beginning, over documents that have seen all
		c.Position, c.Events, c.Token = domain.Position{}, 0, w.checkpoint(contexts.Views()[i]).Token
		if err := w.store.SaveCheckpoint(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	stop = w.run()
	defer stop()
	w.keep(id, 24, 2)
	w.sameAsFresh()
}

// TestAnEngineThatRunsAgainForgetsWhatItKnew lets another engine write in between.
func TestAnEngineThatRunsAgainForgetsWhatItKnew(t *testing.T) {
	w := newWorld(t)
	id := w.screen(1)
	first := projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Projections: contexts.Projections()})
	stop := w.start(first)
	w.keep(id, 0, 4)
	w.wait(diaryviews.DiaryCompliances)
	stop()
	stop = w.run()
	w.keep(id, 4, 4)
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	stop()
	stop = w.start(first)
	defer func() { stop() }()
	w.keep(id, 8, 4)
	w.sameAsFresh()
}

// TestTwoEnginesAtOnceDoNoHarm: during a change of programs two may run for a while.
func TestTwoEnginesAtOnceDoNoHarm(t *testing.T) {
	w := newWorld(t)
	one, two := w.run(), w.run()
	for n := range 5 {
		id := w.screen(n)
		w.keep(id, 0, 6)
		if n == 2 {
			one()
			one = func() {}
		}
	}
	two()
	stop := w.run()
	defer stop()
	w.sameAsFresh()
	one()
}

func (w *world) start(e *projections.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Error(err)
		}
	}
}

var fragile = readmodels.View{Name: "fragile", Version: 1}

// breaks makes a projection of patients that cannot get past the one with the screening number P0003.
func breaks(w *world, keys func(projections.Envelope), fold func(*diaryviews.Diary)) projections.Projection {
	mine := func(e patient.Screened, at projections.Envelope) bool {
		return at.Metadata.Study == w.study && e.ScreeningNumber == "P0003"
	}
	return projections.New(fragile, projections.KeysOf(func(e patient.Screened, at projections.Envelope) []string {
		if keys != nil && mine(e, at) {
			keys(at)
		}
		return []string{string(at.Metadata.Patient), string(at.Metadata.Study)}
	}), projections.On(func(d *diaryviews.Diary, e patient.Screened, at projections.Envelope) {
		d.Study = at.Metadata.Study
		d.Risks = append(d.Risks, e.ScreeningNumber)
		if fold != nil && mine(e, at) {
			fold(d)
		}
	}))
}

// TestAViewLeavesOutTheStreamOfAnEventThatItCannotFold: it shows the stream as it was before the event, wherever batches are
// cut, and all other streams go on. With a corrected program it is built anew when somebody says so.
func TestAViewLeavesOutTheStreamOfAnEventThatItCannotFold(t *testing.T) {
	for name, broken := range map[string]func(*world) projections.Projection{
		"a fold that panics": func(w *world) projections.Projection {
			return breaks(w, nil, func(*diaryviews.Diary) { panic("no") })
		},
		"keys that panic": func(w *world) projections.Projection {
			return breaks(w, func(projections.Envelope) { panic("no") }, nil)
		},
		"a document that cannot be encoded": func(w *world) projections.Projection {
			return breaks(w, nil, func(d *diaryviews.Diary) { d.Answers = map[string]any{"zero\x00byte": 1} })
		},
		"a document that is too large": func(w *world) projections.Projection {
			return breaks(w, nil, func(d *diaryviews.Diary) { d.Answers = map[string]any{"large": strings.Repeat("x", 17<<20)} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for n := range 6 { // they come in one batch
				w.screen(n)
			}
			stop := w.run(broken(w))
			w.wait(fragile)
			w.screen(6)
			third := domain.NewPatientID(w.study, "P0003")
			w.record("patient-"+string(third), third, patient.Screened{Patient: third, Study: w.study, ScreeningNumber: "behind"})
			w.screen(7)
			w.wait(fragile)
			c := w.checkpoint(fragile)
			if len(c.LeftOut) != 1 {
				t.Fatalf("it leaves out %+v", c.LeftOut)
			}
			if left := c.LeftOut[0]; left.Type != "PatientScreened" || !strings.HasSuffix(left.Stream, "P0003") || left.Revision != 0 ||
				!strings.Contains(left.Reason, "P0003") {
				t.Errorf("it leaves out %+v", left)
			}
			shown := w.stored(fragile)
			if of := shown["fragile "+string(w.study)]; len(shown) != 8 || strings.Contains(of, "P0003") ||
				strings.Contains(of, "behind") || !strings.Contains(of, "P0007") {
				t.Errorf("it shows %v", shown)
			}
			stop()

			mended, fresh := breaks(w, nil, nil), w.elsewhere()
			stop, stopFresh := w.run(mended), fresh.run(mended)
			defer stop()
			defer stopFresh()
			w.decide(fragile.Name, projection.Retried{Projection: fragile.Name, Reason: "the program was mended"})
			until(t, func() bool { return len(w.checkpoint(fragile).LeftOut) == 0 })
			w.wait(fragile)
			fresh.wait(fragile)
			if diff := cmp.Diff(fresh.stored(fragile), w.stored(fragile)); diff != "" {
				t.Errorf("the mended view differs from a fresh one:\n%s", diff)
			}
			if c := w.checkpoint(fragile); c.Reason != "" || c.Events != fresh.checkpoint(fragile).Events {
				t.Errorf("the mended view stands at %+v", c)
			}
		})
	}
}

// TestAViewThatCanFoldNothingStops: where hundreds of streams cannot be shown, the fault is not theirs.
func TestAViewThatCanFoldNothingStops(t *testing.T) {
	w := newWorld(t)
	broken := projections.New(fragile, projections.ByPatient,
		projections.On(func(_ *diaryviews.Diary, _ patient.Screened, at projections.Envelope) {
			if at.Metadata.Study == w.study {
				panic("no")
			}
		}))
	for n := range 102 {
		w.screen(n)
	}
	stop := w.run(broken)
	defer stop()
	if c := w.stopped(fragile); len(c.LeftOut) != 100 || !strings.HasSuffix(c.FailedAt.Stream, "P0100") {
		t.Errorf("it has stopped at %+v and leaves out %d streams", c.FailedAt, len(c.LeftOut))
	}
}

func TestAStoredDocumentThatCannotBeReadStopsItsViewOnly(t *testing.T) {
	w := newWorldAlone(t)
	id := domain.NewPatientID(w.study, "P0000")
	if _, err := w.store.Collection(patientviews.PatientViews).InsertOne(t.Context(),
		bson.D{{Key: "_id", Value: string(id)}, {Key: "steps", Value: "none"}}); err != nil {
		t.Fatal(err)
	}
	stop := w.run()
	defer stop()
	w.screen(0)
	w.wait(patientviews.PatientLists)
	if c := w.stopped(patientviews.PatientViews); !strings.Contains(c.Reason, string(id)) {
		t.Errorf("it stopped because of %q", c.Reason)
	}
}

// TestAViewAheadOfTheLogIsNotFoldedInto: a view that has seen more than the log holds when the engine starts stands still and
// says so. The engine, and all other views, go on.
func TestAViewAheadOfTheLogIsNotFoldedInto(t *testing.T) {
	w := newWorld(t)
	w.screen(0)
	c := w.checkpoint(diaryviews.Diaries)
	c.Position, c.At = domain.Position{Commit: math.MaxInt64, Prepare: math.MaxInt64}, time.Now()
	if err := w.store.SaveCheckpoint(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: w.url, Registry: contexts.Registry(), Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	defer w.start(projections.NewEngine(projections.Options{Log: log, Store: w.store, Projections: contexts.Projections()}))()
	w.screen(1)
	for _, v := range contexts.Views() {
		if v.Name == diaryviews.Diaries.Name {
			until(t, func() bool { return w.checkpoint(v).State == readmodels.OtherPast })
			if reason := w.checkpoint(v).Reason; !strings.Contains(reason, eventlog.ErrAheadOfLog.Error()) {
				t.Errorf("it stands still because of %q", reason)
			}
			continue
		}
		w.wait(v)
	}
}

// TestAGuardThatRefusesIsNoTrouble: a document that has already seen later events is kept, and the view continues.
func TestAGuardThatRefusesIsNoTrouble(t *testing.T) {
	w := newWorld(t)
	stop := w.run()
	defer stop()
	ahead, other := w.screen(1), w.screen(2)
	w.wait(patientviews.PatientLists) // the engine remembers both
	if _, err := w.store.Collection(patientviews.PatientLists).UpdateByID(t.Context(), string(ahead), bson.D{{Key: "$set", Value: bson.D{
		{Key: "_position", Value: int64(math.MaxInt64)}, {Key: "status", Value: patient.StatusCompleted}}}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []domain.PatientID{ahead, other} {
		w.record("patient-"+string(id), id, patient.ConsentRecorded{Patient: id, ConsentVersion: "1", On: "2026-01-02"})
	}
	w.wait(patientviews.PatientLists)
	rows := w.rows()
	if len(rows) != 2 || rows[0].Status != patient.StatusCompleted || rows[0].ConsentVersion != "" ||
		rows[1].Status != patient.StatusConsented {
		t.Errorf("the list holds %+v", rows)
	}
}

func TestMetricsSayWhereEachViewStands(t *testing.T) {
	w, registry := newWorld(t), prometheus.NewRegistry()
	for n := range 5 {
		w.screen(n)
	}
	broken := breaks(w, nil, func(*diaryviews.Diary) { panic("no") })
	engine := projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Registerer: registry,
		Projections: []projections.Projection{patientprojections.PatientList, broken}})
	stop := w.start(engine)
	// What is stored is not enough: an engine that is stopped just then does not hear of it.
	for at := engine.Status(); at[0].Position.Commit < w.last || len(at[1].LeftOut) == 0; at = engine.Status() {
		time.Sleep(time.Millisecond) // the test's own time-out is the bound
	}
	stop()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 0 {
				continue // those of the verifier
			}
			got[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for _, v := range []readmodels.View{patientviews.PatientLists, fragile} {
		view, c := v.Name, w.checkpoint(v)
		stopped := 0.0
		if c.State == readmodels.Stopped {
			stopped = 1
		}
		for name, want := range map[string]float64{"events_total": float64(c.Events), "position": float64(c.Position.Commit),
			"stopped": stopped, "left_out_streams": float64(len(c.LeftOut))} {
			if is, there := got["casebook_projection_"+name+" "+view]; is != want || !there {
				t.Errorf("%s of %s is %v, want %v", name, view, is, want)
			}
		}
	}
	if got["casebook_projection_left_out_streams "+fragile.Name] != 1 ||
		got["casebook_projection_events_total "+patientviews.PatientLists.Name] < 5 {
		t.Errorf("the metrics are %v", got)
	}
}
