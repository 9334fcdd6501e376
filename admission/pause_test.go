package admission_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casebook/admission"
)

// pause is a pause that a test begins and ends.
type pause struct{ since, until atomic.Pointer[time.Time] }

func (p *pause) begin() { now := time.Now(); p.until.Store(nil); p.since.Store(&now) }
func (p *pause) end()   { now := time.Now(); p.until.Store(&now) }

func (p *pause) latest() (since, until time.Time) {
	if at := p.since.Load(); at != nil {
		since = *at
	}
	if at := p.until.Load(); at != nil {
		until = *at
	}
	return since, until
}

// pausing returns a control with one place in each class, and the request that holds the one of a class.
func pausing(t *testing.T, bounds admission.Bounds, class admission.Class) (*admission.Control, *pause, admission.Place) {
	t.Helper()
	p := new(pause)
	o := admission.Options{Bounds: map[admission.Class]admission.Bounds{}, Pause: p.latest}
	for _, c := range admission.Classes() {
		o.Bounds[c] = bounds
	}
	a, err := admission.NewControl(o)
	if err != nil {
		t.Fatal(err)
	}
	served, err := a.Enter(t.Context(), class, "")
	if err != nil {
		t.Fatal(err)
	}
	return a, p, served
}

// TestWaitingForAPauseToEndIsNoLoad: in a pause, more requests wait than otherwise may, and for longer. None of them is refused, no
// other class is, and all are served after the pause. One more than the memory bound allows is refused at once.
func TestWaitingForAPauseToEndIsNoLoad(t *testing.T) {
	const many = 30
	bounds := admission.Bounds{Least: 1, First: 1, Most: 1, Queue: 2, QueueInPause: many, Wait: 200 * time.Millisecond}
	a, p, served := pausing(t, bounds, admission.Commands)
	p.begin()
	var wait sync.WaitGroup
	for range many {
		wait.Go(func() {
			place, err := a.Enter(t.Context(), admission.Commands, "")
			if err != nil {
				t.Error(err)
				return
			}
			place.Leave()
		})
		if a.Stats(admission.Commands).Waiting < many/3 && a.Sheds(admission.Queries) {
			t.Error("a short queue refuses queries")
		}
	}
	for a.Stats(admission.Commands).Waiting < many {
		time.Sleep(time.Millisecond)
	}
	if _, err := a.Enter(t.Context(), admission.Commands, ""); !refusedAs(err, "overloaded") {
		t.Errorf("one more than may wait is answered %v", err)
	}
	time.Sleep(3 * bounds.Wait)
	if waiting := a.Stats(admission.Commands).Waiting; waiting != many {
		t.Errorf("%d of %d requests still wait", waiting, many)
	}
	limit := a.Stats(admission.Commands).Limit
	p.end()
	served.Leave()
	wait.Wait()
	if s := a.Stats(admission.Commands); s.InFlight != 0 || s.Waiting != 0 || s.Limit != limit {
		t.Errorf("left are %+v", s)
	}
}

// TestAPauseEndsTheLongerQueue: some time after a pause, and in one that lasts too long to be one, the usual bounds hold.
func TestAPauseEndsTheLongerQueue(t *testing.T) {
	bounds := admission.Bounds{Least: 1, First: 1, Most: 1, Queue: 1, QueueInPause: 10, Wait: 50 * time.Millisecond}
	for name, latest := range map[string]func(p *pause){
		"after the pause": func(p *pause) { p.begin(); p.end() },
		"in an outage":    func(p *pause) { long := time.Now().Add(-time.Hour); p.since.Store(&long) },
	} {
		a, p, served := pausing(t, bounds, admission.Commands)
		latest(p)
		time.Sleep(2 * bounds.Wait)
		ctx, cancel := context.WithCancel(t.Context())
		var gone sync.WaitGroup
		gone.Go(func() {
			if _, err := a.Enter(ctx, admission.Commands, ""); !refusedAs(err, "overloaded") {
				t.Errorf("%s: after the longest wait: %v", name, err)
			}
		})
		for a.Stats(admission.Commands).Shed == 0 {
			if a.Stats(admission.Commands).Waiting == 1 && !a.Sheds(admission.Commands) && a.Stats(admission.Commands).Waiting == 1 {
				t.Errorf("%s: a full queue refuses nobody", name)
			}
			time.Sleep(time.Millisecond)
		}
		gone.Wait()
		cancel()
		served.Leave()
	}
}
