package projections_test

import (
	"context"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/projections"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
)

// TestAHolderGoesOnAfterTheStoreWasAway for longer than a lease lasts: it does not wait for its own lease to run out.
func TestAHolderGoesOnAfterTheStoreWasAway(t *testing.T) {
	const lease = 2 * time.Second
	w := newWorld(t)
	url, way := before(t, mongoURL)
	engineStore, err := readmodels.Connect(t.Context(), url, w.database, contexts.Views())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engineStore.Close(context.Background()) }()
	defer w.start(projections.NewEngine(projections.Options{Log: w.log, Store: engineStore, Lease: lease,
		Projections: []projections.Projection{patientprojections.PatientList}}))()
	w.screen(0)
	w.wait(patientviews.PatientLists)
	way.Stop()
	w.screen(1)
	time.Sleep(4 * lease)
	if err := way.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	w.wait(patientviews.PatientLists)
	if took := time.Since(back); took > lease {
		t.Errorf("the view went on %s after the store was back", took)
	}
	held, err := w.store.LeaseOf(t.Context(), patientviews.PatientLists.Name)
	if err != nil || held.Token != 1 {
		t.Errorf("the lease is %+v, %v; the holder has kept it", held, err)
	}
}

// TestANewProcessTakesALeaseThatHasRunOut at once: it need not watch it for as long as a lease lasts.
func TestANewProcessTakesALeaseThatHasRunOut(t *testing.T) {
	const lease = 4 * time.Second
	w := newWorld(t)
	view := patientviews.PatientLists
	if _, err := w.store.TakeLease(t.Context(), readmodels.Lease{View: view.Name}, "another-machine/1/x", 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	w.screen(0)
	begun := time.Now()
	defer w.start(projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Lease: lease,
		Projections: []projections.Projection{patientprojections.PatientList}}))()
	w.wait(view)
	if took := time.Since(begun); took > lease/2 {
		t.Errorf("the view went on after %s", took)
	}
}

// TestAnOlderProgramLeavesTheLeaseToNewerOnes: it cannot fold a view that a newer program has folded, so it must not keep newer
// programs from it.
func TestAnOlderProgramLeavesTheLeaseToNewerOnes(t *testing.T) {
	w := newWorld(t)
	one := named(readmodels.View{Name: "upgraded", Version: 1})
	two := one
	two.Version = 2
	engineOf := func(v readmodels.View) *projections.Engine {
		return projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Lease: 400 * time.Millisecond,
			Projections: []projections.Projection{ofPatients(v, func(*patientviews.PatientRow) {})}})
	}
	w.screen(0)
	stop := w.start(engineOf(two))
	w.wait(two)
	stop()
	defer w.start(engineOf(one))()
	time.Sleep(time.Second) // the older program sees that nobody holds the lease
	defer w.start(engineOf(two))()
	w.screen(1)
	w.wait(two)
}
