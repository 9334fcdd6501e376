package projections_test

import (
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/storetest"
	"casebook/readmodels"
)

// TestAnIdleViewDoesNotLag: events of other programs in the same event store, and those of the store itself, are nothing that a
// view has yet to see.
func TestAnIdleViewDoesNotLag(t *testing.T) {
	w := newWorldAlone(t)
	stop := w.run()
	defer func() { stop() }()
	w.screen(1)
	for _, p := range contexts.Projections() {
		w.wait(p.View)
	}
	for _, stream := range []string{"elsewhere-1", "patients", "$elsewhere", "elsewhere-1"} {
		if _, err := storetest.Forge(t.Context(), w.url, stream, "Noted", []byte("{}"), nil); err != nil {
			t.Fatal(err)
		}
	}
	status := func() []readmodels.BuildStatus {
		t.Helper()
		all, err := w.store.Status(t.Context(), w.log.FirstAfter)
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		return all
	}
	for range 10 {
		for _, b := range status() {
			if b.Lag != 0 || b.State != readmodels.Live {
				t.Fatalf("%s is %s and lags %s", b.View, b.State, b.Lag)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	stop = func() {}
	w.screen(2)
	for _, b := range status() {
		if b.Lag == 0 {
			t.Errorf("%s does not lag, although nobody folds", b.View)
		}
	}
}
