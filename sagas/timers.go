package sagas

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"casebook/domain/process"
	"casebook/eventlog"

	"golang.org/x/sync/errgroup"
)

// timers calls instances of processes when their timers are due, and when a person has decided to retry them. The log holds which
// timers are set, so they survive a restart. The step that a timer causes also records that it has fired, so it fires once, even
// if several programs run.
type timers struct {
	processes []Process
	runner    *Runner
	logger    *slog.Logger
	// note notes why the log is not being followed; nil when it is.
	note func(error)

	set agenda[timerName, eventlog.Recorded]
	// retries are the instances that people have had retried.
	retries agenda[process.Instance, eventlog.Recorded]
	// live says that the log's end was reached: what was set before may have fired or been cancelled since.
	live bool
}

type timerName struct{ process, of, name string }

const (
	// timerTick is how often timers read the clock. A waiting timer would not notice when the clock is set, or the
	// machine was suspended.
	timerTick = 100 * time.Millisecond
	// timerRest is how long a timer is left alone whose step failed.
	timerRest = 5 * time.Second
	// timersAtOnce bounds the steps that timers lead to at the same time.
	timersAtOnce = 16
)

// timerEvents are the events that the timers follow.
var timerEvents = []reflect.Type{
	reflect.TypeFor[process.TimerSet](), reflect.TypeFor[process.TimerFired](), reflect.TypeFor[process.TimerCancelled](),
	reflect.TypeFor[process.Retried](),
}

func (t *timers) run(ctx context.Context, log *eventlog.Verifier) error {
	types, err := namesOf(log.Log().Registry(), timerEvents)
	if err != nil {
		return err
	}
	return followWithClock(ctx, log, eventlog.Subscription{Types: types,
		OnError: func(err error) {
			t.logger.Warn("the timers wait for the log", "error", err)
			t.note(err)
		}}, timerTick,
		func(b eventlog.Batch) {
			for _, e := range b.Events {
				warnUnreadable(t.logger, "timers", e)
				t.take(e)
			}
			if t.live = t.live || b.Live; b.Live {
				t.note(nil)
			}
		},
		func(ctx context.Context) {
			if t.live {
				t.fire(ctx)
				t.retry(ctx)
			}
		},
		func() {
			t.set, t.retries, t.live = agenda[timerName, eventlog.Recorded]{}, agenda[process.Instance, eventlog.Recorded]{}, false
		})
}

// followWithClock calls take with what is recorded and tick at intervals, both from one goroutine, until ctx ends. Where the log
// gets another past, it calls reset, and follows from the beginning of what the log holds now. What tick does counts for the past
// that was followed alone.
func followWithClock(ctx context.Context, log *eventlog.Verifier, s eventlog.Subscription, every time.Duration,
	take func(eventlog.Batch), tick func(context.Context), reset func()) error {
	for {
		err := followOnePast(ctx, log, s, every, take, tick)
		if ctx.Err() != nil || !errors.Is(err, eventlog.ErrOtherPast) {
			return err
		}
		reset()
	}
}

// followOnePast is followWithClock until the log gets another past, with eventlog.ErrOtherPast then.
func followOnePast(ctx context.Context, log *eventlog.Verifier, s eventlog.Subscription, every time.Duration,
	take func(eventlog.Batch), tick func(context.Context)) error {
	past := log.Log().Past()
	batches, lost := make(chan eventlog.Batch), make(chan struct{}, 1)
	told := s.OnError
	s.OnError = func(err error) {
		told(err)
		if log.Log().Past() != past { // sooner than the subscription believes it
			select {
			case lost <- struct{}{}:
			default:
			}
		}
	}
	group, ctx := errgroup.WithContext(withPast(ctx, past))
	group.Go(func() error {
		return log.Follow(ctx, s, func(ctx context.Context, b eventlog.Batch) error {
			if log.Log().Past() != past {
				return eventlog.ErrOtherPast
			}
			select {
			case batches <- b:
			case <-ctx.Done():
			}
			return nil
		})
	})
	group.Go(func() error {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-lost:
				return eventlog.ErrOtherPast
			case b := <-batches:
				take(b)
			case <-ticker.C:
				tick(ctx)
			}
		}
	})
	return group.Wait()
}

// warnUnreadable says that a process cannot read an event, and does without it; all others go on.
func warnUnreadable(logger *slog.Logger, process string, e eventlog.Recorded) {
	if unreadable, is := e.Event.(eventlog.Unreadable); is {
		logger.Error("a process cannot read an event, and goes on without it; a newer program has to take care of it",
			"process", process, "stream", e.Stream, "revision", e.Revision, "type", e.Type, "error", unreadable.Err)
	}
}

func (t *timers) take(e eventlog.Recorded) {
	switch event := e.Event.(type) {
	case process.TimerSet:
		t.set.put(timerName{event.Process, event.Of, event.Name}, e, event.At)
	case process.TimerFired:
		t.set.remove(timerName{event.Process, event.Of, event.Name})
	case process.TimerCancelled:
		t.set.remove(timerName{event.Process, event.Of, event.Name})
	case process.Retried:
		t.retries.put(event.Instance, e, time.Time{})
	}
}

// fire fires what is due. What fails is tried again after a rest; what fires is removed when the log says so.
func (t *timers) fire(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(timersAtOnce)
	now := t.runner.now()
	for timer, ok := t.set.due(now); ok && ctx.Err() == nil; timer, ok = t.set.due(now) {
		t.set.put(timer.key, timer.value, now.Add(timerRest))
		for _, p := range t.processes {
			if p.Name != timer.key.process {
				continue
			}
			group.Go(func() error {
				if err := t.runner.Fire(ctx, p, timer.value); err != nil && ctx.Err() == nil {
					t.logger.Error("a timer's step failed; it is tried again", "process", timer.key.process, "instance", timer.key.of,
						"timer", timer.key.name, "error", err)
				}
				return nil
			})
		}
	}
	_ = group.Wait()
}

// retry has instances retried that people have decided about. What fails is tried again after a rest.
func (t *timers) retry(ctx context.Context) {
	now := t.runner.now()
	for retried, ok := t.retries.due(now); ok && ctx.Err() == nil; retried, ok = t.retries.due(now) {
		t.retries.remove(retried.key)
		for _, p := range t.processes {
			if p.Name != retried.key.Process || p.stateful == nil {
				continue
			}
			if err := t.runner.Retry(ctx, p, retried.value); err != nil && ctx.Err() == nil {
				t.logger.Error("a process could not be retried; it is tried again", "process", p.Name, "instance", retried.key.Of, "error", err)
				t.retries.put(retried.key, retried.value, now.Add(timerRest))
			}
		}
	}
}
