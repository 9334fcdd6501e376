package sagas

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"casebook/access"
	"casebook/domain/process"
	"casebook/eventlog"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
)

// ahead lets instances react to what their own commands have recorded before the consumer group delivers it: the runner that
// has sent a command holds its events, so the next step need not wait for their way through the store. The group delivers them
// all the same, and so nothing is lost if the program ends in between. Whoever is delivered an event that was dealt with
// finds it here, and acknowledges it.
//
// What runs ahead is not asked of the verifier: the events are those that this program has just recorded, behind a stream that
// it has checked.
type ahead struct {
	mu sync.Mutex
	// busy holds the instances that are taking steps, with how many wait for each or take them.
	busy map[process.Instance]*busyInstance
	// coming holds the events that an instance of this program is about to deal with, or deals with. A channel is closed when it
	// has, or does not.
	coming map[dealtEvent]chan struct{}
	// done holds the latest events that a process has dealt with: all steps that they led to are taken, and the commands of
	// these are answered.
	done *lru.Cache[dealtEvent, struct{}]
	// past is the past of the log that done is of.
	past eventlog.Past
	// working bounds how many instances take steps at once.
	working chan struct{}
}

type busyInstance struct {
	sync.Mutex
	users int
}

type dealtEvent struct {
	process string
	event   uuid.UUID
}

const (
	// rememberedEvents bounds how many events are remembered that were dealt with. It exceeds what a group delivers again while a
	// program runs.
	rememberedEvents = 50_000
	// elsewhere is how long an event is left alone that another program has recorded for the same process: that one is likely
	// to be dealing with it. If two did, each would ask for everything.
	elsewhere = 200 * time.Millisecond
)

func newAhead(working int) *ahead {
	done, err := lru.New[dealtEvent, struct{}](rememberedEvents)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &ahead{busy: map[process.Instance]*busyInstance{}, coming: map[dealtEvent]chan struct{}{}, done: done,
		working: make(chan struct{}, working)}
}

// begin waits until no other event of the instance is dealt with in this program, and returns what ends the work on this one.
func (a *ahead) begin(i process.Instance) (end func()) {
	if a == nil {
		return func() {}
	}
	a.mu.Lock()
	b := a.busy[i]
	if b == nil {
		b = &busyInstance{}
		a.busy[i] = b
	}
	b.users++
	a.mu.Unlock()
	b.Lock()
	return func() {
		b.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		if b.users--; b.users == 0 {
			delete(a.busy, i)
		}
	}
}

// work waits for a place among those who take steps, and returns what gives it back.
func (a *ahead) work(ctx context.Context) (done func(), err error) {
	if a == nil {
		return func() {}, nil
	}
	select {
	case a.working <- struct{}{}:
		return func() { <-a.working }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// meet forgets what was dealt with if the log has another past: the steps that were taken are lost with the old one.
func (a *ahead) meet(past eventlog.Past) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.past != past {
		a.past = past
		a.done.Purge()
	}
}

// dealt says whether a process has dealt with an event. The channel is nil unless an instance is about to deal with the event, or
// deals with it: it is closed when that is over.
func (a *ahead) dealt(process string, event uuid.UUID) (dealt bool, underway <-chan struct{}) {
	if a == nil {
		return false, nil
	}
	e := dealtEvent{process, event}
	if a.done.Contains(e) {
		return true, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if coming := a.coming[e]; coming != nil {
		return false, coming
	}
	return a.done.Contains(e), nil // what was under way may be over by now
}

// knows says whether the process has dealt with an event. If an instance is about to, knows waits for it.
func (a *ahead) knows(ctx context.Context, p Process, event uuid.UUID) bool {
	dealt, underway := a.dealt(p.Name, event)
	if underway == nil {
		return dealt
	}
	select {
	case <-underway:
	case <-ctx.Done():
	}
	return a.dealtWith(p, event)
}

// announce notes that an instance is about to deal with events, and returns what ends that for one of them.
func (a *ahead) announce(p Process, events []eventlog.Recorded) (over func(eventlog.Recorded)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range events {
		if key := (dealtEvent{p.Name, e.ID}); a.coming[key] == nil {
			a.coming[key] = make(chan struct{})
		}
	}
	return func(e eventlog.Recorded) {
		a.mu.Lock()
		defer a.mu.Unlock()
		key := dealtEvent{p.Name, e.ID}
		if coming := a.coming[key]; coming != nil {
			close(coming)
			delete(a.coming, key)
		}
	}
}

// dealtWith says whether the process has dealt with an event.
func (a *ahead) dealtWith(p Process, event uuid.UUID) bool {
	return a != nil && a.done.Contains(dealtEvent{p.Name, event})
}

// remember notes that the process has dealt with an event, in the past of the log that ctx is for.
func (a *ahead) remember(ctx context.Context, p Process, event uuid.UUID) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if past := pastOf(ctx); past == 0 || past == a.past {
		a.done.Add(dealtEvent{p.Name, event}, struct{}{})
	}
}

// deal deals with an event for one instance.
func (r *Runner) deal(ctx context.Context, p Process, i process.Instance, e eventlog.Recorded) error {
	end := r.ahead.begin(i)
	if r.ahead != nil && !r.ahead.dealtWith(p, e.ID) && e.Metadata.Actor == access.Process(p.Name).User {
		end()
		select { // another program has recorded it for this process
		case <-time.After(elsewhere):
		case <-ctx.Done():
		}
		end = r.ahead.begin(i)
	}
	defer end()
	if r.ahead.dealtWith(p, e.ID) {
		return nil
	}
	done, err := r.ahead.work(ctx)
	if err != nil {
		return err
	}
	defer done()
	return r.step(withTime(ctx), p, i, occurrenceOf(e), nil)
}

// goOn lets the instance react to what its commands have recorded. If it cannot, the events wait until they are delivered.
func (r *Runner) goOn(ctx context.Context, p Process, i process.Instance, recorded []eventlog.Recorded) {
	if r.ahead == nil {
		return
	}
	recorded = slices.DeleteFunc(recorded, func(e eventlog.Recorded) bool {
		about := p.About(e)
		return !p.ListensTo(e.Event) || len(about) != 1 || about[0] != i.Of
	})
	over := r.ahead.announce(p, recorded)
	goesOn := true
	for _, e := range recorded {
		if goesOn = goesOn && stillTime(ctx); goesOn {
			err := r.stepOrRecover(ctx, p, i, occurrenceOf(e))
			if goesOn = err == nil; goesOn {
				r.ahead.remember(ctx, p, e.ID)
			} else {
				r.Logger.Debug("a process did not react at once to what it has recorded", "process", p.Name, "instance", i.Of,
					"type", e.Type, "error", err)
			}
		}
		over(e)
	}
}

// stepOrRecover is step with an error in place of a panic: the message that is being dealt with is not at fault.
func (r *Runner) stepOrRecover(ctx context.Context, p Process, i process.Instance, o Occurrence) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("process %s: %s: %v", i, o.Type, v)
		}
	}()
	return r.step(ctx, p, i, o, nil)
}

// goOnUntil is the key of the time after which an instance does not go on: the store gives a message to another program that is not
// answered within answerTime.
type goOnUntil struct{}

// withTime returns a context in which instances go on for half of the time that the store waits for an answer.
func withTime(ctx context.Context) context.Context {
	return context.WithValue(ctx, goOnUntil{}, time.Now().Add(answerTime/2))
}

func stillTime(ctx context.Context) bool {
	until, bounded := ctx.Value(goOnUntil{}).(time.Time)
	return ctx.Err() == nil && (!bounded || time.Now().Before(until))
}
