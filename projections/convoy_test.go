package projections_test

import (
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain/patient"
	"casebook/projections"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/prometheus/client_golang/prometheus"
)

// runTogether runs an engine whose views catch up together, however short the log is, until the function that it returns is called.
func (w *world) runTogether(of ...projections.Projection) (metrics *prometheus.Registry, stop func()) {
	w.t.Helper()
	metrics = prometheus.NewRegistry()
	engine := projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Projections: of, Registerer: metrics})
	engine.TogetherFrom(0)
	return metrics, w.start(engine)
}

// readings returns how often the log was read for several views together.
func readings(t *testing.T, metrics *prometheus.Registry) int {
	t.Helper()
	all, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.GetName() == "casebook_projection_shared_readings_total" {
			return int(m.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatal("there is no such metric")
	return 0
}

// TestViewsAreBuiltFromOneReading builds all views from the beginning of the log. It is read once for them, and what they show is
// what a fold of the log of its own says.
func TestViewsAreBuiltFromOneReading(t *testing.T) {
	w := newWorldAlone(t)
	for n := range 30 {
		who := w.screen(n)
		w.record("patient-"+string(who), who, patient.ConsentRecorded{Patient: who, On: "2026-01-02", ConsentVersion: "1"})
	}
	metrics, stop := w.runTogether(contexts.Projections()...)
	defer stop()
	for _, p := range contexts.Projections() {
		w.wait(p.View)
	}
	if n := readings(t, metrics); n != 1 {
		t.Errorf("the log was read %d times", n)
	}
	if rows := w.rows(); len(rows) != 30 || rows[29].ConsentVersion != "1" {
		t.Errorf("the list shows %d patients: %+v", len(rows), rows)
	}
	for _, p := range []projections.Projection{patientprojections.PatientList, patientprojections.PatientView} {
		if c := w.compare(p, w.active(p.View)); !c.Same() || c.Documents != 30 {
			t.Errorf("%s differs from a fresh fold: %+v", p.View.Name, c)
		}
	}
}

// TestFailingViewLeavesTheOthersTheirReading: one of the views that are built together cannot show an event, and one ends before the
// log does.
func TestFailingViewLeavesTheOthersTheirReading(t *testing.T) {
	w := newWorldAlone(t)
	for n := range 20 {
		who := w.screen(n)
		w.record("patient-"+string(who), who, patient.ConsentRecorded{Patient: who, On: "2026-01-02", ConsentVersion: "1"})
	}
	fails := ofPatients(named(patientviews.PatientLists), func(r *patientviews.PatientRow) {
		if r.ScreeningNumber == "P0003" {
			panic("this patient cannot be shown")
		}
	})
	sound := ofPatients(named(patientviews.PatientLists), func(*patientviews.PatientRow) {})
	metrics, stop := w.runTogether(fails, sound, patientprojections.PatientList)
	defer stop()
	for _, p := range []projections.Projection{fails, sound, patientprojections.PatientList} {
		w.wait(p.View)
	}
	if n := readings(t, metrics); n < 1 {
		t.Errorf("the log was read %d times for several", n)
	}
	if rows := w.rows(); len(rows) != 20 {
		t.Errorf("the list shows %d patients", len(rows))
	}
	at, err := w.store.LoadCheckpoint(t.Context(), fails.View)
	if err != nil || len(at.LeftOut) != 1 {
		t.Errorf("the view that fails leaves out %v, %v", at.LeftOut, err)
	}
	if at, err := w.store.LoadCheckpoint(t.Context(), sound.View); err != nil || at.State != readmodels.Live || len(at.LeftOut) != 0 {
		t.Errorf("the view beside it is %+v, %v", at, err)
	}
}

// TestViewsThatCatchUpTogetherEnd: an engine that is stopped in the middle of a reading ends, and the next one goes on.
func TestViewsThatCatchUpTogetherEnd(t *testing.T) {
	w := newWorldAlone(t)
	for n := range 200 {
		w.screen(n)
	}
	_, stop := w.runTogether(contexts.Projections()...)
	stop()
	_, stop = w.runTogether(contexts.Projections()...)
	defer stop()
	w.wait(patientviews.PatientLists)
	if rows := w.rows(); len(rows) != 200 {
		t.Errorf("the list shows %d patients", len(rows))
	}
}
