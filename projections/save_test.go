package projections_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/readmodels"
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
	w.wait(readmodels.Diaries)
	before := w.checkpoint(readmodels.Diaries)
	w.record(stream, id, answered(2))
	w.wait(readmodels.Diaries)
	stop()
	if err := w.store.SaveCheckpoint(t.Context(), before); err != nil { // the second comes again
		t.Fatal(err)
	}
	w.record(stream, id, answered(1), answered(3))
	stop = w.run()
	defer func() { stop() }()
	w.wait(readmodels.Diaries)
	list, err := w.store.Diaries(t.Context(), id, "", readmodels.Page{})
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
	for _, v := range readmodels.Views() {
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
