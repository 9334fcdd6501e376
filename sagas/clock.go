package sagas

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/eventlog"

	"github.com/google/uuid"
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
	// clockTries is how often a turn may fail in a row before the instance is parked; clockTriesOfNewer is clockTries where only a
	// newer program can take it.
	clockTries        = 10
	clockTriesOfNewer = 20
	// turnTimeout bounds one turn.
	turnTimeout = 2 * sendTimeout
)

// Clock runs a process that works by the clock. It is used by one goroutine. An instance whose turns keep failing is parked: the event
// that began it is shown as a parked message, and the instance takes no turns until somebody has the message retried, or an event
// begins it again.
type Clock struct {
	process Process
	runner  *Runner
	turns   agenda[string, following]
	// parked are the instances that are parked, by the id of the event that began them.
	parked map[string][]parkedInstance
	// note notes why the log is not being followed; nil when it is.
	note func(error)
	// parking parks instances; nil has them tried for ever.
	parking *parking
	// waiting is told what waits for people.
	waiting *waiting
	// unreadable are the events that nobody can read, and that have to be parked.
	unreadable []eventlog.Recorded
	live       bool
	// saved keeps the turns for the next program; nil where they are not kept.
	saved *savedTurns
}

// following is what is known of an instance, the event that began it last, and how often its turn has failed since.
type following struct {
	known    any
	began    beginningEvent
	failures int
}

// beginningEvent is what is kept of an event that began an instance.
type beginningEvent struct {
	id       uuid.UUID
	study    domain.StudyID
	stream   string
	revision uint64
	name     string
}

func (b beginningEvent) recorded() eventlog.Recorded {
	return eventlog.Recorded{ID: b.id, Stream: b.stream, Revision: b.revision, Type: b.name, Metadata: eventlog.Metadata{Study: b.study}}
}

type parkedInstance struct {
	of string
	following
}

// NewClock returns a clock for a process that DefineByClock made.
func NewClock(p Process, r *Runner) *Clock {
	return &Clock{process: p, runner: r, note: func(error) {}, waiting: &waiting{}, parked: map[string][]parkedInstance{}, live: true}
}

// parkedEvents are the events of parked messages, which every clock follows.
var parkedEvents = []reflect.Type{reflect.TypeFor[process.MessageParked](), reflect.TypeFor[process.ParkedMessageRetried](),
	reflect.TypeFor[process.ParkedMessageAbandoned]()}

// Run follows the log and the clock until ctx ends.
func (c *Clock) Run(ctx context.Context, log *eventlog.Verifier) error {
	types, err := namesOf(log.Log().Registry(), slices.Concat(c.process.events, parkedEvents))
	if err != nil {
		return err
	}
	c.live = false // an instance that was parked must not take a turn before that is known
	defer func() {
		saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), turnsTimeout)
		defer cancel()
		c.saveTurns(saving, true)
	}()
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
				c.Take(e)
			}
			c.live = c.live || b.Live
		},
		func(ctx context.Context) {
			c.parkUnreadable(ctx)
			if c.live {
				c.resume(ctx)
			}
			for ctx.Err() == nil && c.live && c.TakeTurn(ctx) {
			}
			c.saveTurns(ctx, false)
		},
		func() {
			c.turns, c.parked, c.unreadable, c.live = agenda[string, following]{}, map[string][]parkedInstance{}, nil, false
			if c.saved != nil {
				c.saved.resumed = false
			}
			c.waiting.resetUnreadable(c.process.Name)
		})
}

// Take takes an event that may begin instances, or that says what became of a parked one.
func (c *Clock) Take(e eventlog.Recorded) {
	switch event := e.Event.(type) {
	case process.MessageParked:
		if event.Process == c.process.Name {
			c.setAside(event.Event)
		}
		return
	case process.ParkedMessageRetried:
		if event.Process == c.process.Name {
			c.takeUp(event.Event, e.Metadata.RecordedAt)
		}
		return
	case process.ParkedMessageAbandoned:
		if event.Process == c.process.Name {
			c.setAside(event.Event)
			delete(c.parked, event.Event)
		}
		return
	case eventlog.Unreadable:
		if strings.HasPrefix(e.Stream, process.ParkedDecider.Category+"-") {
			return // it is the timers' business
		}
		warnUnreadable(c.runner.Logger, c.process.Name, e)
		c.waiting.takeUnreadable(c.process.Name, e)
		if !errors.Is(event.Err, domain.ErrUnknownVersion) {
			c.unreadable = append(c.unreadable, e)
		}
		return
	}
	b, ok := c.process.clocked.begins[reflect.TypeOf(e.Event)]
	if !ok {
		return
	}
	for _, of := range b.about(e) {
		before, _ := c.turns.get(of)
		for _, aside := range c.parked {
			for _, p := range aside {
				if p.of == of {
					before = p.following
				}
			}
		}
		known, turn := b.begin(before.known, e)
		c.turns.put(of, following{known: known, began: beginningEvent{id: e.ID, study: e.Metadata.Study, stream: e.Stream,
			revision: e.Revision, name: e.Type}}, turn)
	}
}

// setAside ends the turns of the instances that an event began last, and forgets that the event cannot be read: it is parked.
func (c *Clock) setAside(event string) {
	c.unreadable = slices.DeleteFunc(c.unreadable, func(e eventlog.Recorded) bool { return e.ID.String() == event })
	for of, turn := range c.turns.of {
		if turn.value.began.id.String() == event {
			c.parked[event] = append(c.parked[event], parkedInstance{of, turn.value})
			c.turns.remove(of)
		}
	}
}

// takeUp has parked instances take their turns again. One that was begun again meanwhile has its turn.
func (c *Clock) takeUp(event string, at time.Time) {
	for _, p := range c.parked[event] {
		if _, follows := c.turns.get(p.of); !follows {
			p.failures = 0
			c.turns.put(p.of, p.following, at)
		}
	}
	delete(c.parked, event)
}

// parkUnreadable parks the events that nobody can read.
func (c *Clock) parkUnreadable(ctx context.Context) {
	if !c.live || c.parking == nil {
		return
	}
	for _, e := range c.unreadable {
		unreadable, _ := e.Event.(eventlog.Unreadable)
		if err := c.parking.parkEvent(ctx, c.process.Name, e, unreadable.Err); err != nil {
			c.runner.Logger.Error("an event that a process cannot read could not be parked; it is tried again", "process", c.process.Name,
				"error", err)
			return
		}
	}
	c.unreadable = nil
}

// Schedule has an instance take its next turn at a time.
func (c *Clock) Schedule(of string, at time.Time) {
	f, _ := c.turns.get(of)
	c.turns.put(of, f, at)
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
	next, err := c.process.clocked.turn(bounded, desk, turn.key, turn.value.known)
	now := c.runner.now()
	switch {
	case err != nil && ctx.Err() != nil: // the program ends
	case err != nil:
		c.failed(ctx, turn, err)
	case next.IsZero():
		c.turns.remove(turn.key)
		c.saved.end(turn.key, turn.value.began.id)
	case desk.recorded == 0 && !next.After(now):
		c.Schedule(turn.key, now.Add(clockRest))
	default:
		turn.value.failures = 0
		c.turns.put(turn.key, turn.value, next)
	}
	return true
}

// failed has a turn that failed taken again after a rest. If it keeps failing, the instance is parked.
func (c *Clock) failed(ctx context.Context, turn appointment[string, following], why error) {
	if !storeAway(why) {
		turn.value.failures++
	}
	tries := clockTries
	if needsNewer(why) {
		tries = clockTriesOfNewer
	}
	c.turns.put(turn.key, turn.value, c.runner.now().Add(clockRest))
	if c.parking == nil || turn.value.began.id == uuid.Nil || !IsPermanent(why) && turn.value.failures < tries {
		c.runner.Logger.Error("a process could not take its turn; it is taken again",
			"process", c.process.Name, "instance", turn.key, "error", why)
		return
	}
	c.runner.Logger.Error("a process leaves an instance out, which is parked until somebody has it retried or gives it up",
		"process", c.process.Name, "instance", turn.key, "error", why)
	why = fmt.Errorf("the turn of %s failed: %w", turn.key, why)
	if err := c.parking.parkEvent(ctx, c.process.Name, turn.value.began.recorded(), why); err != nil {
		c.runner.Logger.Error("an instance that a process leaves out could not be parked; it is tried again", "process", c.process.Name,
			"instance", turn.key, "error", err)
		return
	}
	c.setAside(turn.value.began.id.String())
}
