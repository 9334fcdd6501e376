package projections_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/projections"
	diaryprojections "casebook/projections/diary"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"

	"github.com/google/go-cmp/cmp"
)

// TestWhatSeemsNewIsPutInThePlaceOfAnOlderOne lets an engine that remembers nothing meet documents that it takes for new:
// one that has seen less than the engine, which it replaces, and one that has seen as much, which it leaves alone.
func TestWhatSeemsNewIsPutInThePlaceOfAnOlderOne(t *testing.T) {
	w := newWorld(t)
	id := w.screen(1)
	stream := "diary-" + string(id)
	answered := func(day int) diary.Submitted {
		e := submitted(day, 5)
		e.Patient = id
		return e
	}
	stop := w.run()
	w.record(stream, id, diary.WindowMissed{Patient: id, Instrument: "pain-diary", Window: window(1)})
	w.wait(diaryviews.Diaries)
	before := w.checkpoint(diaryviews.Diaries)
	w.record(stream, id, answered(2))
	w.wait(diaryviews.Diaries)
	stop()
	if err := w.store.SaveCheckpoint(t.Context(), before); err != nil { // the second comes again
		t.Fatal(err)
	}
	w.record(stream, id, answered(1), answered(3))
	stop = w.run()
	defer func() { stop() }()
	w.wait(diaryviews.Diaries)
	list, err := diaryviews.ListDiaries(t.Context(), readmodels.Request{Store: w.store}, diaryviews.DiariesQuery{Patient: id})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 3 {
		t.Fatalf("there are %d diaries", len(list.Items))
	}
	for i, d := range list.Items {
		if d.Window != window(3-i).ID || d.Missed || d.Answers["worst"] != 5.0 || d.Patient != id {
			t.Errorf("diary %d is %+v", i, d)
		}
	}
	w.sameAsFresh()
}

// TestWhatGathersBehindABatchIsFoldedWithIt lets far more events wait than a batch takes, in an order in which
// neighbours are of different patients.
func TestWhatGathersBehindABatchIsFoldedWithIt(t *testing.T) {
	w := newWorld(t)
	const patients, days = 45, 100
	var ids []domain.PatientID
	for n := range patients {
		ids = append(ids, w.screen(n))
	}
	for from := 0; from < days; from += 20 {
		for _, id := range ids {
			var kept []any
			for day := from; day < from+20; day++ {
				e := aDiary(id, day, float64(day%9))
				kept = append(kept, e)
			}
			w.record("diary-"+string(id), id, kept...)
		}
	}
	stop := w.run()
	defer func() { stop() }()
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	rows := w.rows()
	if len(rows) != patients {
		t.Fatalf("the list holds %d patients", len(rows))
	}
	for _, r := range rows {
		if r.Compliance.Completed != days {
			t.Errorf("%s kept %d diaries of %d", r.Patient, r.Compliance.Completed, days)
		}
	}
	w.sameAsFresh()
}

// TestStatusSaysWhatTheCheckpointsSay compares what the engine knows with what another process reads.
func TestStatusSaysWhatTheCheckpointsSay(t *testing.T) {
	w := newWorldAlone(t)
	id := w.screen(1)
	w.keep(id, 0, 3)
	engine := projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Projections: contexts.Projections()})
	for i, s := range engine.Status() {
		if v := contexts.Views()[i]; s.View != v.Name || s.Version != v.Version || s.State != readmodels.CatchingUp || s.Events != 0 {
			t.Errorf("before it runs, %s is said to be %+v", v.Name, s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	for _, v := range contexts.Views() {
		w.wait(v)
	}
	// A checkpoint is stored a moment before the engine notes it, so both are read until nothing is on its way.
	var stored []readmodels.Checkpoint
	millis := cmp.Comparer(func(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() })
	diff := "nothing was compared"
	for attempt := 0; attempt < 500 && diff != ""; attempt++ {
		var err error
		if stored, err = w.store.Checkpoints(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff = cmp.Diff(stored, engine.Status(), millis); diff != "" {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if diff != "" {
		t.Errorf("the engine says otherwise than its checkpoints (-stored +said):\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for i, s := range stored {
		// What happened here touches patients and their diaries, no device, and no other view.
		touched := contexts.Projections()[i].Folds(reflect.TypeFor[patient.Screened]()) ||
			contexts.Projections()[i].Folds(reflect.TypeFor[diary.Submitted]()) && s.View != diaryviews.DiaryDevices.Name
		if s.LastEventAt != nil != touched || s.Batch > 0 != touched || s.Events < int64(s.Batch) || s.LagMillis < 0 {
			t.Errorf("%s: %+v", s.View, s)
		}
	}
}

// TestOneDiaryIsBoundedHoweverOftenItIsCorrected keeps the newest corrections, counts all, and names a rule once.
func TestOneDiaryIsBoundedHoweverOftenItIsCorrected(t *testing.T) {
	s := newStory().tell(submitted(1, 0))
	const times = diaryviews.MaxCorrections + 30
	for n := range times {
		s.tell(diary.Corrected{Patient: "S.1", Instrument: "pain-diary", Window: window(1).ID, Reason: "again",
			Changes: []diary.Change{{Item: "worst", Old: float64(n), New: float64(n + 1)}}},
			diary.RiskFlagged{Patient: "S.1", Instrument: "pain-diary", Window: window(1).ID, Rule: "severe"})
	}
	d := fold(t, diaryprojections.Diaries, s.events)[diaryviews.DiaryKey("S.1", "pain-diary", window(1).ID)].(*diaryviews.Diary)
	if d.Corrected != times || len(d.Corrections) != diaryviews.MaxCorrections || d.Answers["worst"] != float64(times) ||
		len(d.Risks) != 1 {
		t.Errorf("corrected %d times, of which %d are shown; the answers are %v, the risks %v", d.Corrected, len(d.Corrections),
			d.Answers, d.Risks)
	}
	if last := d.Corrections[len(d.Corrections)-1].Changes[0]; last.New != float64(times) {
		t.Errorf("the last correction made it %v", last.New)
	}
}
