package sagas

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/eventlog"

	"golang.org/x/sync/errgroup"
)

// timers calls instances of processes when their timers are due, and when a person has decided to retry them. The log holds which
// timers are set, so they survive a restart. The step that a timer causes also records that it has fired, so it fires once, even
// if several programs run. A timer whose step keeps failing is parked, like an event that a process cannot handle.
type timers struct {
	runner *Runner
	logger *slog.Logger
	// note notes why the log is not being followed; nil when it is.
	note func(error)
	// waiting is told what waits for people.
	waiting *waiting

	set agenda[timerName, eventlog.Recorded]
	// unfinished is what has to be dealt with now.
	unfinished *unfinished
	// live says that the log's end was reached: what was set before may have fired or been cancelled since.
	live bool
}

type timerName struct{ process, of, name string }

// timerTick is how often timers read the clock. A waiting timer would not notice when the clock is set, or the machine was
// suspended.
const timerTick = 100 * time.Millisecond

// timerEvents are the events that the timers follow.
var timerEvents = []reflect.Type{
	reflect.TypeFor[process.TimerSet](), reflect.TypeFor[process.TimerFired](), reflect.TypeFor[process.TimerCancelled](),
	reflect.TypeFor[process.Retried](), reflect.TypeFor[process.StepTaken](), reflect.TypeFor[process.MessageParked](),
	reflect.TypeFor[process.ParkedMessageRetried](), reflect.TypeFor[process.ParkedMessageAbandoned](),
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
				t.take(e)
			}
			if t.live = t.live || b.Live; b.Live {
				t.note(nil)
			}
		},
		func(ctx context.Context) {
			if t.live {
				t.fire()
				t.unfinished.deal(ctx)
			}
		},
		func() {
			t.set, t.live = agenda[timerName, eventlog.Recorded]{}, false
			t.unfinished.reset()
			t.waiting.reset()
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

// take takes an event of a process.
func (t *timers) take(e eventlog.Recorded) {
	t.waiting.take(e)
	switch event := e.Event.(type) {
	case process.StepTaken:
		t.takeStep(event, e)
	case process.TimerSet:
		t.set.put(timerName{event.Process, event.Of, event.Name}, e, event.At)
	case process.TimerFired:
		name := timerName{event.Process, event.Of, event.Name}
		set, is := t.set.get(name)
		if is && !t.live && e.Metadata.RecordedAt.After(t.runner.now().Add(-resentWithin)) {
			t.unfinished.add(event.Process, set)
		}
		t.set.remove(name)
	case process.TimerCancelled:
		t.set.remove(timerName{event.Process, event.Of, event.Name})
	case process.Retried:
		t.unfinished.add(event.Process, e)
	case process.MessageParked:
		t.forget(event.Event)
	case process.ParkedMessageAbandoned:
		t.forget(event.Event)
	case process.ParkedMessageRetried:
		if strings.HasPrefix(event.Stream, process.Decider.Category+"-") {
			t.unfinished.add(event.Process, e)
		}
	case eventlog.Unreadable:
		name := processOf(e.Stream)
		ours := slices.ContainsFunc(t.unfinished.processes, func(p Process) bool { return p.Name == name })
		if warnUnreadable(t.logger, "timers", e); ours && !errors.Is(event.Err, domain.ErrUnknownVersion) {
			t.unfinished.addUnreadable(name, e, event.Err)
		}
	}
}

// takeStep takes the wait for an answer that a step begins or ends.
func (t *timers) takeStep(step process.StepTaken, e eventlog.Recorded) {
	if step.AnswerBy == nil && !step.Answered {
		return
	}
	for _, name := range process.AnswerTimers {
		t.set.remove(timerName{step.Process, step.Of, name})
	}
	if step.AnswerBy != nil {
		t.set.put(timerName{step.Process, step.Of, process.AnswerTimer}, e, *step.AnswerBy)
	}
}

// timerOf returns the timer that an event has set, and whose it is; false if it has set none.
func timerOf(event any) (process.Instance, process.Timer, bool) {
	switch e := event.(type) {
	case process.TimerSet:
		return e.Instance, process.Timer{Name: e.Name, At: e.At}, true
	case process.StepTaken:
		if e.AnswerBy != nil {
			return e.Instance, process.Timer{Name: process.AnswerTimer, At: *e.AnswerBy}, true
		}
	}
	return process.Instance{}, process.Timer{}, false
}

// forget forgets an event that is parked, or that somebody has given up.
func (t *timers) forget(event string) {
	t.unfinished.remove(event)
	for name, of := range t.set.of {
		if of.value.ID.String() == event {
			t.set.remove(name)
			return
		}
	}
}

// fire has those timers dealt with that are due.
func (t *timers) fire() {
	for timer, ok := t.set.due(t.runner.now()); ok; timer, ok = t.set.due(t.runner.now()) {
		t.set.remove(timer.key)
		t.unfinished.add(timer.key.process, timer.value)
	}
}
