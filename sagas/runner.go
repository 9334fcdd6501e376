package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// Runner takes the steps of processes. What an instance decided is recorded in its own stream before any command is sent;
// so a step is taken once, even if its event comes several times or several programs receive it. Its commands are sent
// again with the same ids until they succeed. It is safe for concurrent use, also by several programs.
type Runner struct {
	Handler *commands.Handler
	Logger  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Fault is called at every point at which a crash would matter, with its name; nil outside of tests.
	Fault func(point string) error

	// ahead lets instances react to what their commands have recorded before it is delivered; nil where they do not.
	ahead *ahead
}

// Ahead returns the runner with instances that react at once to what their commands have recorded, so many at a time.
func (r *Runner) Ahead(working int) *Runner {
	r.ahead = newAhead(working)
	return r
}

// stepAttempts is how often an instance reacts anew when others take its steps meanwhile.
const stepAttempts = 20

// errPermanent marks what does not get better by itself.
type errPermanent struct{ error }

func (e errPermanent) Unwrap() error { return e.error }

// Permanent marks an error that does not get better by itself: the message is parked at once.
func Permanent(err error) error { return errPermanent{err} }

// IsPermanent says that an event will fail however often it is delivered again.
func IsPermanent(err error) bool {
	var p errPermanent
	return errors.As(err, &p)
}

// errTriedOn marks what a relay tries for as long as it wants.
type errTriedOn struct{ error }

func (e errTriedOn) Unwrap() error { return e.error }

// TryOn marks an error after which a relay has its event delivered again, with growing pauses of less than a minute, for as long as the
// relay fails so: it is not parked. The relay itself says when there is no point any more.
func TryOn(err error) error { return errTriedOn{err} }

// IsTriedOn says that TryOn has marked the error.
func IsTriedOn(err error) bool {
	var on errTriedOn
	return errors.As(err, &on)
}

// Deal lets every instance that the event is about react to it, and sends the commands that follow. When it returns
// without an error, all steps and commands are recorded. After an error, the same event may be dealt with again.
func (r *Runner) Deal(ctx context.Context, p Process, e eventlog.Recorded) error {
	switch {
	case !p.ListensTo(e.Event), r.ahead.dealtWith(p, e.ID):
		return nil
	case p.relay != nil:
		return p.pass(ctx, r, e)
	case p.stateful == nil:
		return Permanent(fmt.Errorf("process %s works by the clock, and takes no single events", p.Name))
	}
	ctx = r.ahead.withConnection(ctx, p)
	var lasting, passing []error
	for _, of := range p.About(e) {
		// An instance that fails does not keep the others from their steps.
		switch err := r.deal(ctx, p, process.Instance{Process: p.Name, Of: of}, e); {
		case IsPermanent(err):
			lasting = append(lasting, err)
		case err != nil:
			passing = append(passing, err)
		}
	}
	if len(passing) > 0 {
		return errors.Join(passing...) // the event is parked when all other instances have taken their steps
	}
	if len(lasting) == 0 {
		r.ahead.remember(ctx, p, e.ID)
	}
	return errors.Join(lasting...)
}

// Fire lets an instance react to a timer whose time has come; t is the event that set the timer. A timer that has fired or was
// cancelled means nothing.
func (r *Runner) Fire(ctx context.Context, p Process, t eventlog.Recorded) error {
	of, timer, ok := timerOf(t.Event)
	if !ok {
		return Permanent(fmt.Errorf("%s is no timer", t.Type))
	}
	o := Occurrence{ID: t.ID.String(), Type: "timer:" + timer.Name, Event: Fired{timer.Name}, At: r.now(),
		Study: t.Metadata.Study, Site: t.Metadata.Site, correlation: t.Metadata.CorrelationID, trace: t.Metadata.TraceID}
	defer r.ahead.begin(of)()
	return r.step(ctx, p, of, o, &timer)
}

func (r *Runner) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

func (r *Runner) fault(point string) error {
	if r.Fault == nil {
		return nil
	}
	return r.Fault(point)
}

// step lets one instance react.
func (r *Runner) step(ctx context.Context, p Process, i process.Instance, o Occurrence, timer *process.Timer) error {
	read, from, sure := commands.Read[process.State, process.Event], r.Handler.Reader(), false
	for range stepAttempts {
		state, err := read(ctx, from, process.Decider, i.String())
		if err != nil {
			return fmt.Errorf("process %s: %w", i, err)
		}
		if taken, already := state.TakenFor(o.ID); already {
			if isOverdue(o) {
				return r.askAgain(ctx, p, i, o, state)
			}
			return r.send(ctx, p, i, o, taken, state, unheard)
		}
		o.Of, o.Stage, o.Outcome, o.Awaits, o.now = i.Of, state.Stage, state.Outcome, awaits(state.Timers), r.now()
		if isOverdue(o) {
			o.Study, o.Site = state.Study, state.Site
		}
		step, reacted, err := p.React(state.Data, state.DataVersion, o)
		if err != nil {
			return fmt.Errorf("process %s: %w", i, err)
		}
		wasSure := sure
		read, sure = commands.ReadNewest[process.State, process.Event], true // every further attempt has to be sure
		if !reacted && !wasSure {
			// Another program may have taken the step that the event is the answer to, and this one may not know of it yet.
			// Where a step is taken, its append would find that out; nothing does where none is.
			from = r.Handler.ReaderAfter(o.Position)
			continue
		}
		if !reacted {
			if refused, ok := o.Event.(Refused); ok {
				return Permanent(fmt.Errorf("process %s: %s was refused: %w", i, refused.Command, refused.Refusal))
			}
			if timer == nil {
				return nil
			}
			// That the timer fired is recorded, so that it does not fire at every start.
			step = Step{StepTaken: process.StepTaken{Study: o.Study, Site: o.Site, Trigger: o.ID, TriggerType: o.Type,
				Stage: state.Stage, Outcome: state.Outcome}}
		}
		step.Instance = i
		if err := r.setVersions(step.Commands); err != nil {
			return fmt.Errorf("process %s: %w", i, err)
		}
		take := process.TakeStep{Step: step.StepTaken, After: state.Steps, Set: step.Set, Cancel: step.Cancel, Fired: timer}
		if err := r.fault("before step " + i.Process + " " + o.Type); err != nil {
			return err
		}
		from = r.Handler.Reader()
		answer, err := r.do(ctx, p, o, "TakeStep", 0, take, "", nil)
		if refusal, ok := refuse.As(err); ok && (refusal.Code == "step_out_of_date" || refusal.Code == "conflict") {
			continue
		}
		if err != nil {
			return fmt.Errorf("process %s: %w", i, err)
		}
		if err := r.fault("after step " + i.Process + " " + o.Type); err != nil {
			return err
		}
		if len(answer.Events) == 0 {
			if timer != nil {
				return nil // it fired before, or was cancelled
			}
			continue // somebody else took the step just now
		}
		if isOverdue(o) {
			if state, err = r.newest(ctx, i); err != nil {
				return err
			}
			return r.askAgain(ctx, p, i, o, state)
		}
		return r.send(ctx, p, i, o, process.Taken{Number: state.Steps, Commands: step.Commands}, process.State{}, unheard)
	}
	return fmt.Errorf("process %s: others take its steps all the time", i)
}

// setVersions notes in which version the bodies of the commands are.
func (r *Runner) setVersions(sent []process.Command) error {
	for n, c := range sent {
		declared, ok := r.Handler.Find(c.Name)
		if !ok {
			return Permanent(fmt.Errorf("there is no command %s", c.Name))
		}
		if v := declared.Upcasts().Version(); v > 1 {
			sent[n].Version = v
		}
	}
	return nil
}

// commandKey is the idempotency key of the n-th command of an instance's step. Steps that are recorded are sent again
// after a restart, also by later versions of the program, so the form of the key never changes.
func commandKey(i process.Instance, step, n int) string { return fmt.Sprintf("%s/%d/%d", i, step, n) }

// refusals is the name space of the ids of the occurrences of refusals. Recorded steps hold such ids.
var refusals = uuid.MustParse("0d3c56a0-2f34-4b8e-9b0e-6a1f2f6a9c55")

// refusalID returns the id of the occurrence that the command with a key was refused.
func refusalID(key string) string { return uuid.NewSHA1(refusals, []byte(key)).String() }

// unchangeds is the name space of the ids of the occurrences that commands recorded nothing. Recorded steps hold such ids.
var unchangeds = uuid.MustParse("6c1e5f1e-9d0f-4c55-8a3b-51d7e2c04b7a")

// unchangedID returns the id of the occurrence that the command with a key has recorded nothing.
func unchangedID(key string) string { return uuid.NewSHA1(unchangeds, []byte(key)).String() }

// answers says which answers to its commands an instance is given at once. All others come to it as events.
type answers bool

const (
	// unheard are the answers that record nothing, because what was asked for is done: nothing else would tell the instance.
	unheard answers = false
	// every is every answer, for an instance that may have missed some.
	every answers = true
)

// Retry has an instance ask again for what it waits for, if a person has decided that since its last step: the commands of its
// stage are sent again with their keys, and it reacts to the answers that it has missed.
func (r *Runner) Retry(ctx context.Context, p Process, t eventlog.Recorded) error {
	retried, ok := t.Event.(process.Retried)
	if !ok {
		return Permanent(fmt.Errorf("%s retries no process", t.Type))
	}
	defer r.ahead.begin(retried.Instance)()
	state, err := commands.ReadNewest(ctx, r.Handler.ReaderAfter(t.Position.Commit), process.Decider, retried.Instance.String())
	if err != nil {
		return fmt.Errorf("process %s: %w", retried.Instance, err)
	}
	if !state.Retried {
		return nil
	}
	return r.sendAgain(ctx, p, retried.Instance, occurrenceOf(t), state)
}

// send sends the commands of a step. A command that was refused before, and whose refusal the instance has reacted to, is
// not sent again: it might be accepted by now, against what the instance did about the refusal.
func (r *Runner) send(ctx context.Context, p Process, i process.Instance, o Occurrence, taken process.Taken, known process.State,
	give answers) error {
	var recorded []eventlog.Recorded
	for n, c := range taken.Commands {
		key := commandKey(i, taken.Number, n)
		refused := o
		refused.ID, refused.Type = refusalID(key), "refused:"+c.Name
		if _, already := known.TakenFor(refused.ID); already {
			if err := r.step(ctx, p, i, refused, nil); err != nil {
				return err
			}
			continue
		}
		if err := r.fault("before " + c.Name); err != nil {
			return err
		}
		answer, err := r.do(ctx, p, o, c.Name, max(1, c.Version), c.Body, key,
			func(events []eventlog.Recorded) { recorded = append(recorded, events...) })
		if refusal, ok := refuse.As(err); ok {
			switch {
			case refusal.Kind == refuse.KindOverload || refusal.Code == "conflict":
				return fmt.Errorf("process %s: %s: %w", i, c.Name, err)
			case refusal.Code == "idempotency_key_reused":
				// It was sent before, by a version of the program that worded it otherwise, and is dealt with.
				continue
			}
			r.Logger.Info("a process's command was refused", "process", i.Process, "instance", i.Of, "command", c.Name, "code", refusal.Code)
			body, err := bodyOf(r.Handler, c)
			if err != nil {
				return fmt.Errorf("process %s: %s: %w", i, c.Name, err)
			}
			refused.Event = Refused{Command: c.Name, Refusal: refusal, Body: body}
			if err := r.step(ctx, p, i, refused, nil); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("process %s: %s: %w", i, c.Name, err)
		}
		if err := r.fault("after " + c.Name); err != nil {
			return err
		}
		switch nothing := len(answer.Events) == 0; {
		case nothing && p.reactsToUnchanged(c.Name):
			done := o
			done.ID, done.Type = unchangedID(key), "unchanged:"+c.Name
			body, err := bodyOf(r.Handler, c)
			if err != nil {
				return fmt.Errorf("process %s: %s: %w", i, c.Name, err)
			}
			done.Event = Unchanged{Command: c.Name, Body: body}
			if err := r.step(ctx, p, i, done, nil); err != nil {
				return err
			}
		case nothing, give == every:
			if err := r.hear(ctx, p, i, answer, key); err != nil {
				return err
			}
		}
	}
	if give == unheard {
		r.goOn(ctx, p, i, recorded)
	}
	return nil
}

// hear lets an instance react to the last event of the answer's stream that it listens to and that is about it, unless it has. An
// instance that awaits an answer, and whose command has recorded nothing because all is done, is told of that event once more: it
// may have heard of it before it asked.
func (r *Runner) hear(ctx context.Context, p Process, i process.Instance, answer commands.Answer, key string) error {
	var last eventlog.Recorded
	for e, err := range r.Handler.Reader().ReadRecorded(ctx, answer.Stream) {
		if undecodable := (*eventlog.UndecodableError)(nil); errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			return fmt.Errorf("process %s: look for what is done: %w", i, err)
		}
		if p.ListensTo(e.Event) && slices.Contains(p.About(e), i.Of) {
			last = e
		}
	}
	if last.Event == nil {
		return nil
	}
	state, err := r.newest(ctx, i)
	if err != nil {
		return err
	}
	o := occurrenceOf(last)
	if _, already := state.TakenFor(o.ID); already {
		if len(answer.Events) > 0 || !awaits(state.Timers) {
			return nil
		}
		o.ID = uuid.NewSHA1(last.ID, []byte(key)).String()
	}
	return r.step(ctx, p, i, o, nil)
}

// sendTimeout bounds one command.
const sendTimeout = 15 * time.Second

// errNoAnswer marks the error of a command that was not answered within sendTimeout.
type errNoAnswer struct{ error }

func (e errNoAnswer) Unwrap() error { return e.error }

// do sends a command in the name of the process; without a key, it is a new command each time. version is that of the command's
// shape, 0 for the present one. recorded is called with what it has recorded; it may be nil.
func (r *Runner) do(ctx context.Context, p Process, cause Occurrence,
	name string, version int, command any, key string, recorded func([]eventlog.Recorded)) (commands.Answer, error) {
	request := commands.Request{Name: name, BodyVersion: version, Key: key,
		Principal: access.Process(p.Name), CorrelationID: cause.correlation, CausationID: cause.ID, CausePosition: cause.Position,
		TraceID: cause.trace, Past: pastOf(ctx), Recorded: recorded}
	var err error
	if key == "" {
		request.Command = command
	} else if request.Body, err = json.Marshal(command); err != nil {
		return commands.Answer{}, Permanent(err)
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	answer, err := r.Handler.Do(bounded, request)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = errNoAnswer{err}
	}
	return answer, err
}
