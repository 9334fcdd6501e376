package admission_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"casebook/admission"
	"casebook/domain/refuse"
)

// shownViews are views that a test has show things.
type shownViews struct {
	commit  atomic.Uint64
	notKept atomic.Bool
}

func (v *shownViews) shown() (commit uint64, kept bool) { return v.commit.Load(), !v.notKept.Load() }

const behind = 100 * time.Millisecond

// withViews returns a control that holds requests back while views are further behind than that.
func withViews(t *testing.T, wait time.Duration) (*admission.Control, *shownViews) {
	t.Helper()
	v := new(shownViews)
	o := admission.Options{Bounds: map[admission.Class]admission.Bounds{}, Shown: v.shown, Behind: behind}
	for _, c := range admission.Classes() {
		o.Bounds[c] = admission.Bounds{Least: 10, First: 10, Most: 10, Queue: 10, Wait: wait}
	}
	a, err := admission.NewControl(o)
	if err != nil {
		t.Fatal(err)
	}
	return a, v
}

// passes says whether a request of a class is admitted at once.
func passes(t *testing.T, a *admission.Control, class admission.Class) bool {
	t.Helper()
	began := time.Now()
	place, err := a.Enter(t.Context(), class, "somebody")
	if err != nil {
		return false
	}
	place.Leave()
	return time.Since(began) == 0
}

// TestCommandsAreHeldBackWhileViewsAreBehind: commands and diaries wait until the views show what was recorded too long ago; nothing else
// does, and nothing waits before or after.
func TestCommandsAreHeldBackWhileViewsAreBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, views := withViews(t, time.Minute)
		for commit := range uint64(10) {
			a.Recorded(commit + 1)
			time.Sleep(behind / 10)
		}
		for _, class := range admission.Classes() {
			if !passes(t, a, class) {
				t.Errorf("%s wait for views that are behind by %v", class, a.Behind())
			}
		}
		time.Sleep(time.Millisecond)
		var wait sync.WaitGroup
		began, waited := time.Now(), make(chan time.Duration, 6)
		for _, class := range []admission.Class{admission.Commands, admission.Diaries} {
			for range 3 {
				wait.Go(func() {
					place, err := a.Enter(t.Context(), class, "")
					if err != nil {
						t.Error(err)
						return
					}
					waited <- time.Since(began)
					place.Leave()
				})
			}
		}
		synctest.Wait()
		if n := a.Stats(admission.Commands).Waiting + a.Stats(admission.Diaries).Waiting; n != 6 {
			t.Errorf("%d of 6 requests wait", n)
		}
		if !passes(t, a, admission.Unblinding) {
			t.Error("unblinding waits for views")
		}
		time.Sleep(50 * time.Millisecond)
		views.commit.Store(8) // the oldest that is not shown is younger now
		time.Sleep(time.Second / 100)
		wait.Wait()
		for range 6 {
			if d := <-waited; d < 50*time.Millisecond || d > 60*time.Millisecond {
				t.Errorf("a request waited %v for views that caught up after 50 ms", d)
			}
		}
		views.commit.Store(10)
		if time.Sleep(time.Minute); a.Behind() != 0 || !passes(t, a, admission.Commands) || !passes(t, a, admission.Diaries) {
			t.Errorf("the views show all, and are behind by %v", a.Behind())
		}
	})
}

// TestViewsThatStandStillHoldNothingBack: nobody waits for views of which none moves, for those that are not kept here, or for the
// positions of another past of the log.
func TestViewsThatStandStillHoldNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, views := withViews(t, time.Minute)
		a.Recorded(1000)
		time.Sleep(2 * behind)
		began := time.Now()
		place, err := a.Enter(t.Context(), admission.Diaries, "")
		if err != nil {
			t.Fatal(err)
		}
		place.Leave()
		if waited := time.Since(began); waited < 2*time.Second || waited > 3*time.Second {
			t.Errorf("a diary waited %v for views that stand still", waited)
		}
		if time.Sleep(time.Hour); !passes(t, a, admission.Commands) {
			t.Error("commands wait for views that have stood still for an hour")
		}
		// An older copy of the log takes the place of the one that was there.
		a.Recorded(500)
		if views.commit.Store(500); a.Behind() != 0 {
			t.Errorf("the views show all of this log, and are behind by %v", a.Behind())
		}
		a.Recorded(600)
		time.Sleep(2 * behind)
		views.notKept.Store(true)
		if !passes(t, a, admission.Commands) {
			t.Error("commands wait for views that are not kept")
		}
		views.notKept.Store(false)
		if !passes(t, a, admission.Commands) {
			t.Error("commands wait for what was recorded while views were not kept")
		}
	})
}

// TestWhoIsHeldBackInVainHoldsNothing, neither a place nor a place in the queue.
func TestWhoIsHeldBackInVainHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, views := withViews(t, time.Second)
		a.Recorded(1)
		time.Sleep(2 * behind)
		gone, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := a.Enter(gone, admission.Commands, "anna"); !errors.Is(err, context.Canceled) {
				t.Errorf("a client that has gone is answered %v", err)
			}
		})
		for range 2 {
			wait.Go(func() {
				_, err := a.Enter(t.Context(), admission.Commands, "anna")
				if refusal, is := refuse.As(err); !is || refusal.Code != "views_behind" || refusal.Kind != refuse.KindOverload {
					t.Errorf("after the longest wait: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wait.Wait()
		if s := a.Stats(admission.Commands); s.InFlight != 0 || s.Waiting != 0 || s.Shed != 2 {
			t.Errorf("left are %+v", s)
		}
		views.commit.Store(1)
		if !passes(t, a, admission.Commands) {
			t.Error("the views show all, and commands wait")
		}
	})
}

// TestAQueueOfHeldRequestsIsBounded: more than the class's queue holds are refused at once, and so are less important requests.
func TestAQueueOfHeldRequestsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, views := withViews(t, time.Minute)
		a.Recorded(1)
		time.Sleep(2 * behind)
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if place, err := a.Enter(t.Context(), admission.Diaries, ""); err != nil {
					t.Error(err)
				} else {
					place.Leave()
				}
			})
		}
		synctest.Wait()
		for _, class := range []admission.Class{admission.Queries, admission.Commands, admission.Diaries} {
			if _, err := a.Enter(t.Context(), class, ""); !refusedAs(err, "overloaded") {
				t.Errorf("%s are answered %v", class, err)
			}
		}
		if !passes(t, a, admission.Unblinding) {
			t.Error("unblinding waits")
		}
		views.commit.Store(1)
		wait.Wait()
	})
}

func TestNothingIsHeldBackWhereThatIsSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, o := range map[string]admission.Options{
			"no views":   {},
			"no holding": {Shown: new(shownViews).shown, Behind: -1},
		} {
			a, err := admission.NewControl(o)
			if err != nil {
				t.Fatal(err)
			}
			a.Recorded(1)
			time.Sleep(time.Second)
			if !passes(t, a, admission.Diaries) || a.Behind() != 0 {
				t.Errorf("%s: diaries wait, %v behind", name, a.Behind())
			}
		}
	})
}
