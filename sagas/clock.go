package sagas

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"casebook/eventlog"
)

// clocked is what a process that works by the clock is made of. What is known of an instance is of any type in here.
type clocked struct {
	begins map[reflect.Type]beginning
	turn   func(ctx context.Context, d *Desk, of string, known any) (next time.Time, err error)
}

type beginning struct {
	about func(eventlog.Recorded) []string
	begin func(known any, at eventlog.Recorded) (next any, turn time.Time)
}

// Beginning is how instances of a process that works by the clock begin. Begin makes one.
type Beginning[S any] struct {
	event reflect.Type
	beginning
}

// Begin begins instances with events of type E; an instance may begin again. about names the instances that an event is
// about; begin returns what is known of the instance since, and when it takes its next turn.
func Begin[E, S any](about func(E, eventlog.Recorded) []string,
	begin func(known S, e E, at eventlog.Recorded) (S, time.Time)) Beginning[S] {
	return Beginning[S]{event: reflect.TypeFor[E](), beginning: beginning{
		about: func(at eventlog.Recorded) []string { return about(at.Event.(E), at) },
		begin: func(known any, at eventlog.Recorded) (any, time.Time) {
			s, _ := known.(S) // nil where the instance has not begun
			return begin(s, at.Event.(E), at)
		}}}
}

// DefineByClock makes a process that works by the clock, over so many instances that each cannot keep a stream: it reads
// from the log at every start which instances there are. turn does what is due for an instance, of which it knows what
// Begin returned, and says when the next turn is; the zero time ends the instance. It reads with commands.ReadNewest: what it
// misses is never done. Several programs take the same turns, so commands need keys that say what they are for.
func DefineByClock[S any](name string, sends []reflect.Type,
	turn func(ctx context.Context, d *Desk, of string, known S) (next time.Time, err error), begins ...Beginning[S]) Process {
	p := Process{Name: name, sends: sends, clocked: &clocked{begins: map[reflect.Type]beginning{},
		turn: func(ctx context.Context, d *Desk, of string, known any) (time.Time, error) {
			s, _ := known.(S)
			return turn(ctx, d, of, s)
		}}}
	for _, b := range begins {
		if slices.Contains(p.events, b.event) {
			panic(fmt.Sprintf("sagas: process %s has two beginnings by %v", name, b.event))
		}
		p.events = append(p.events, b.event)
		p.clocked.begins[b.event] = b.beginning
	}
	return p
}

const (
	// clockTick is how often processes read the clock. They do not wait for the next moment that is due, because a waiting
	// timer does not notice when the clock is set, or the machine was suspended.
	clockTick = time.Second
	// clockRest is how long an instance is left alone whose turn failed, or changed nothing.
	clockRest = time.Minute
	// turnTimeout bounds one turn.
	turnTimeout = 2 * sendTimeout
)

// Clock runs a process that works by the clock. It is used by one goroutine.
type Clock struct {
	process Process
	runner  *Runner
	turns   agenda[string, any]
	// note notes why the log is not being followed; nil when it is.
	note func(error)
}

// NewClock returns a clock for a process that DefineByClock made.
func NewClock(p Process, r *Runner) *Clock {
	return &Clock{process: p, runner: r, note: func(error) {}}
}

// Run follows the log and the clock until ctx ends.
func (c *Clock) Run(ctx context.Context, log *eventlog.Verifier) error {
	types, err := namesOf(log.Log().Registry(), c.process.events)
	if err != nil {
		return err
	}
	return followWithClock(ctx, log, eventlog.Subscription{Types: types,
		OnError: func(err error) {
			c.runner.Logger.Warn("a process waits for the log", "process", c.process.Name, "error", err)
			c.note(err)
		}}, clockTick,
		func(b eventlog.Batch) {
			if b.Live {
				c.note(nil)
			}
			for _, e := range b.Events {
				warnUnreadable(c.runner.Logger, c.process.Name, e)
				c.Take(e)
			}
		},
		func(ctx context.Context) {
			for ctx.Err() == nil && c.TakeTurn(ctx) {
			}
		},
		func() { c.turns = agenda[string, any]{} })
}

// Take takes an event that may begin instances.
func (c *Clock) Take(e eventlog.Recorded) {
	b, ok := c.process.clocked.begins[reflect.TypeOf(e.Event)]
	if !ok {
		return
	}
	for _, of := range b.about(e) {
		known, _ := c.turns.get(of)
		known, turn := b.begin(known, e)
		c.turns.put(of, known, turn)
	}
}

// Schedule has an instance take its next turn at a time.
func (c *Clock) Schedule(of string, at time.Time) {
	known, _ := c.turns.get(of)
	c.turns.put(of, known, at)
}

// Next returns when the next turn is due, and whose it is; false where nothing is left to do.
func (c *Clock) Next() (of string, at time.Time, ok bool) {
	first, ok := c.turns.first()
	return first.key, first.at, ok
}

// Follows says whether an instance has a next turn.
func (c *Clock) Follows(of string) bool {
	_, ok := c.turns.get(of)
	return ok
}

// TakeTurn takes the earliest turn that is due; false where none is.
func (c *Clock) TakeTurn(ctx context.Context) bool {
	turn, ok := c.turns.due(c.runner.now())
	if !ok {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	desk := &Desk{runner: c.runner, process: c.process}
	next, err := c.process.clocked.turn(bounded, desk, turn.key, turn.value)
	now := c.runner.now()
	switch {
	case err != nil && ctx.Err() != nil: // the program ends
	case err != nil:
		c.runner.Logger.Error("a process could not take its turn; it is taken again",
			"process", c.process.Name, "instance", turn.key, "error", err)
		c.Schedule(turn.key, now.Add(clockRest))
	case next.IsZero():
		c.turns.remove(turn.key)
	case desk.recorded == 0 && !next.After(now):
		c.Schedule(turn.key, now.Add(clockRest))
	default:
		c.Schedule(turn.key, next)
	}
	return true
}
