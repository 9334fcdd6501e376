package sagas

import (
	"container/heap"
	"context"
	"log/slog"
	"time"

	"casebook/domain/process"
	"casebook/eventlog"

	"golang.org/x/sync/errgroup"
)

// timers calls instances of processes when their time has come. The log holds which timers are set, so they survive a
// restart; that a timer has fired is recorded by the step that it sets off, so it fires once, whoever else runs.
type timers struct {
	log    *eventlog.Log
	runner *Runner
	logger *slog.Logger
	now    func() time.Time

	due  timerHeap
	at   map[timerName]*pendingTimer
	live bool
}

type timerName struct{ process, of, name string }

type pendingTimer struct {
	set   eventlog.Recorded
	at    time.Time
	index int
}

const (
	// timerTick is how often the clock is looked at. A waiting timer would not notice when the clock is set, or the
	// machine was suspended.
	timerTick = 100 * time.Millisecond
	// timerRest is how long a timer is left alone whose step failed.
	timerRest = 5 * time.Second
	// timersAtOnce bounds the steps that timers set off at the same time.
	timersAtOnce = 16
)

func (t *timers) run(ctx context.Context) error {
	t.at = map[timerName]*pendingTimer{}
	batches := make(chan eventlog.Batch)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return t.log.Follow(ctx, eventlog.Subscription{Types: []string{"ProcessTimer"},
			OnError: func(err error) { t.logger.Warn("the timers wait for the log", "error", err) }},
			func(ctx context.Context, b eventlog.Batch) error {
				select {
				case batches <- b:
				case <-ctx.Done():
				}
				return nil
			})
	})
	group.Go(func() error {
		ticker := time.NewTicker(timerTick)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case b := <-batches:
				for _, e := range b.Events {
					t.take(e)
				}
				t.live = t.live || b.Live
			case <-ticker.C:
				// What was set long ago may have fired or been cancelled since: that is known at the log's end.
				if t.live {
					t.fire(ctx)
				}
			}
		}
	})
	return group.Wait()
}

func (t *timers) take(e eventlog.Recorded) {
	switch event := e.Event.(type) {
	case process.TimerSet:
		t.put(timerName{event.Process, event.Of, event.Name}, e, event.At)
	case process.TimerFired:
		t.remove(timerName{event.Process, event.Of, event.Name})
	case process.TimerCancelled:
		t.remove(timerName{event.Process, event.Of, event.Name})
	}
}

func (t *timers) put(name timerName, set eventlog.Recorded, at time.Time) {
	t.remove(name)
	p := &pendingTimer{set: set, at: at}
	t.at[name] = p
	heap.Push(&t.due, p)
}

func (t *timers) remove(name timerName) {
	if p, ok := t.at[name]; ok {
		heap.Remove(&t.due, p.index)
		delete(t.at, name)
	}
}

// fire fires what is due. What fails is tried again after a rest; what fires is taken off when the log says so.
func (t *timers) fire(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(timersAtOnce)
	now := t.now()
	for len(t.due) > 0 && !t.due[0].at.After(now) && ctx.Err() == nil {
		p := t.due[0]
		p.at = now.Add(timerRest)
		heap.Fix(&t.due, 0)
		set, ok := p.set.Event.(process.TimerSet)
		if !ok {
			continue
		}
		for _, m := range All() {
			if m.Name == set.Process {
				group.Go(func() error {
					if err := t.runner.Fire(ctx, m, p.set); err != nil && ctx.Err() == nil {
						t.logger.Error("a timer's step failed; it is tried again", "process", set.Process, "instance", set.Of, "timer", set.Name, "error", err)
					}
					return nil
				})
			}
		}
	}
	_ = group.Wait()
}

// timerHeap is a heap.Interface over timers, the earliest first.
type timerHeap []*pendingTimer

// Len implements heap.Interface.
func (h timerHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

// Swap implements heap.Interface; every timer knows its place.
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) { p := x.(*pendingTimer); p.index = len(*h); *h = append(*h, p) }

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}
