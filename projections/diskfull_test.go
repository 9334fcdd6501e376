package projections_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/diskguard/disktest"
	"casebook/embedded/mongo"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
)

// TestAFullDiskUnderABuild fills a small disk under the views while they are built and while they follow, once with the
// store's check of free space and once to the last byte. The store says so, the views go on when there is room, and
// nothing hangs.
func TestAFullDiskUnderABuild(t *testing.T) {
	for name, minFree := range map[string]int64{"with room kept free": 16 << 20, "to the last byte": -1} {
		t.Run(name, func(t *testing.T) {
			disk := disktest.Mount(t, 192<<20)
			store, err := mongo.Open(t.Context(), mongo.Options{Dir: filepath.Join(disk, "mongo"), Listen: "127.0.0.1:0", MinFreeBytes: minFree})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			if w.store, err = readmodels.Connect(t.Context(), store.ConnectionString(), "db", contexts.Views()); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = w.store.Close(context.Background()) }()
			awaitFull := func() {
				t.Helper()
				if minFree > 0 {
					awaitPing(t, w.store, false)
				} else {
					time.Sleep(time.Second) // what is written may fit into files that have their space already
				}
			}
			for n := range 20 {
				w.screen(n)
			}
			ballast := disktest.Fill(t, disk)
			stop := w.run(patientprojections.PatientList) // the first build
			awaitFull()
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			awaitPing(t, w.store, true)
			w.wait(patientviews.PatientLists)
			if rows := w.rows(); len(rows) != 20 {
				t.Errorf("the list holds %d patients", len(rows))
			}

			ballast = disktest.Fill(t, disk)
			for n := 20; n < 40; n++ {
				w.screen(n)
			}
			awaitFull()
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			awaitPing(t, w.store, true)
			w.wait(patientviews.PatientLists)
			if rows := w.rows(); len(rows) != 40 {
				t.Errorf("the list holds %d patients", len(rows))
			}

			disktest.Fill(t, disk)
			w.screen(40)
			awaitFull()
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				stop()
				_ = store.Close()
			}()
			select {
			case <-closed:
			case <-time.After(30 * time.Second):
				t.Fatal("views and store do not end on a full disk")
			}
		})
	}
}

// awaitPing waits until the store says that it takes writes, or that it takes none.
func awaitPing(t *testing.T, s *readmodels.Store, well bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := s.Ping(ctx)
		cancel()
		if (err == nil) == well {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store answers %v", err)
		}
	}
}
