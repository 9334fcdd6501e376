package sagas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"casebook/commands"
	"casebook/domain/process"
	"casebook/eventlog"

	"golang.org/x/sync/errgroup"
)

const (
	// timerRest is how long a timer is left alone whose step failed.
	timerRest = 5 * time.Second
	// timerTries is how often a timer is tried before it is parked. With timerRest, that takes two minutes, as for an event that
	// comes by a consumer group.
	timerTries = 24
	// newerTries is timerTries where a newer program has to deal with it: a quarter of an hour.
	newerTries = 180
	// resentWithin is how old a timer that has fired may be at the start of a program whose commands are sent again: the program that
	// fired it may have died before it sent them.
	resentWithin = time.Hour
	// dealtAtOnce bounds what is dealt with at the same time.
	dealtAtOnce = 16
)

// unfinished are the events that the timers have to deal with now: timers that are due or whose step failed, and decisions of people
// to retry a process. What keeps failing is parked, and comes again when a person has it retried.
type unfinished struct {
	processes []Process
	runner    *Runner
	parking   *parking
	logger    *slog.Logger

	mu   sync.Mutex
	todo agenda[string, attempt] // by the id of the event
}

// attempt is an event to be dealt with.
type attempt struct {
	event    eventlog.Recorded
	process  string
	failures int
	// unreadable says why the event cannot be read; nil if it can.
	unreadable error
}

// add has an event of a process dealt with.
func (u *unfinished) add(process string, e eventlog.Recorded) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.todo.put(e.ID.String(), attempt{event: e, process: process}, time.Time{})
}

// addUnreadable has an event parked that nobody can read.
func (u *unfinished) addUnreadable(process string, e eventlog.Recorded, why error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.todo.put(e.ID.String(), attempt{event: e, process: process, unreadable: why}, time.Time{})
}

// remove forgets an event: it is parked, or given up.
func (u *unfinished) remove(event string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.todo.remove(event)
}

// reset forgets everything: the log has another past.
func (u *unfinished) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.todo = agenda[string, attempt]{}
}

// deal deals with what is due.
func (u *unfinished) deal(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(dealtAtOnce)
	for ctx.Err() == nil {
		next, ok := u.take()
		if !ok {
			break
		}
		group.Go(func() error {
			u.try(ctx, next)
			return nil
		})
	}
	_ = group.Wait()
}

// take takes the first that is due out of what is to be done.
func (u *unfinished) take() (attempt, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	due, ok := u.todo.due(u.runner.now())
	if ok {
		u.todo.remove(due.key)
	}
	return due.value, ok
}

// try deals with an event. What fails is tried again after a rest, or parked.
func (u *unfinished) try(ctx context.Context, a attempt) {
	why := a.unreadable
	if why == nil {
		if why = u.dealWith(ctx, &a); why == nil || ctx.Err() != nil {
			return
		}
		if !storeAway(why) {
			a.failures++
		}
		tries := timerTries
		if needsNewer(why) {
			tries = newerTries
		}
		if !IsPermanent(why) && a.failures < tries {
			u.logger.Error("a timer's step failed; it is tried again", "process", a.process, "stream", a.event.Stream,
				"revision", a.event.Revision, "type", a.event.Type, "error", why)
			u.again(a)
			return
		}
	}
	u.logger.Error("a process leaves an event out, which is parked until somebody has it retried or gives it up", "process", a.process,
		"stream", a.event.Stream, "revision", a.event.Revision, "type", a.event.Type, "error", why)
	if err := u.parking.parkEvent(ctx, a.process, a.event, why); err != nil {
		u.logger.Error("an event that a process leaves out could not be parked; it is tried again", "process", a.process, "error", err)
		u.again(a)
	}
}

// again has an event tried after a rest, unless something has it dealt with already.
func (u *unfinished) again(a attempt) {
	u.mu.Lock()
	defer u.mu.Unlock()
	id := a.event.ID.String()
	if _, already := u.todo.get(id); !already {
		u.todo.put(id, a, u.runner.now().Add(timerRest))
	}
}

// dealWith fires a timer, or retries an instance. Whatever else it is, is none of the timers' business.
func (u *unfinished) dealWith(ctx context.Context, a *attempt) error {
	if retried, is := a.event.Event.(process.ParkedMessageRetried); is {
		found, err := find(ctx, u.runner.Handler.Reader(), retried)
		if err != nil {
			return err
		}
		a.event = found
	}
	for _, p := range u.processes {
		if p.Name != a.process || p.stateful == nil {
			continue
		}
		switch a.event.Event.(type) {
		case process.TimerSet, process.StepTaken:
			return u.runner.Fire(ctx, p, a.event)
		case process.Retried:
			return u.runner.Retry(ctx, p, a.event)
		}
	}
	return nil
}

// find reads the event that a parked message is about.
func find(ctx context.Context, from commands.Reader, m process.ParkedMessageRetried) (eventlog.Recorded, error) {
	for e, err := range from.ReadRecorded(ctx, m.Stream) {
		if undecodable := (*eventlog.UndecodableError)(nil); errors.As(err, &undecodable) {
			continue
		}
		if err != nil || e.ID.String() == m.Event {
			return e, err
		}
	}
	return eventlog.Recorded{}, Permanent(fmt.Errorf("the event %s is not in %s, or cannot be read", m.Event, m.Stream))
}

// processOf returns the name of the process that a stream of a process or of a parked message is about.
func processOf(stream string) string {
	_, id, _ := strings.Cut(stream, "-")
	name, _, _ := strings.Cut(id, ".")
	return name
}
