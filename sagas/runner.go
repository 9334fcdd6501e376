package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// Runner takes the steps of process managers. What an instance decided is recorded in its own stream before anything is
// asked for; so a step is taken once, whoever takes it and however often its event comes, and what it asked for is asked
// for again with the same ids until it got through. It is safe for concurrent use, also by several processes.
type Runner struct {
	Handler *commands.Handler
	Logger  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Fault is called at every point at which a crash would matter, with its name; nil outside of tests.
	Fault func(point string) error
}

// stepAttempts is how often an instance reacts anew when others take its steps meanwhile.
const stepAttempts = 20

// errPermanent marks what does not get better by itself.
type errPermanent struct{ error }

func (e errPermanent) Unwrap() error { return e.error }

func permanent(err error) error { return errPermanent{err} }

// IsPermanent says that an event will fail however often it is dealt with again.
func IsPermanent(err error) bool {
	var p errPermanent
	return errors.As(err, &p)
}

// Deal lets every instance that the event is about react to it, and sends what they ask for. When it returns without an
// error, all of it is recorded. After an error, the same event may be dealt with again.
func (r *Runner) Deal(ctx context.Context, p Process, e eventlog.Recorded) error {
	o := Occurrence{ID: e.ID.String(), Type: e.Type, Event: e.Event, At: e.Metadata.RecordedAt, Study: e.Metadata.Study, Site: e.Metadata.Site,
		correlation: e.Metadata.CorrelationID, trace: e.Metadata.TraceID, position: e.Position.Commit}
	var forGood, forNow []error
	for _, of := range p.instances(e) {
		// An instance that fails does not keep the others from their steps.
		switch err := r.step(ctx, p, process.Instance{Process: p.Name, Of: of}, o, nil); {
		case IsPermanent(err):
			forGood = append(forGood, err)
		case err != nil:
			forNow = append(forNow, err)
		}
	}
	if len(forNow) > 0 {
		return errors.Join(forNow...) // the event is given up for good when nothing else is left of it
	}
	return errors.Join(forGood...)
}

// Fire lets an instance react to a timer whose time has come. A timer that has fired or was cancelled means nothing.
func (r *Runner) Fire(ctx context.Context, p Process, t eventlog.Recorded) error {
	set, ok := t.Event.(process.TimerSet)
	if !ok {
		return permanent(fmt.Errorf("%s is no timer", t.Type))
	}
	o := Occurrence{ID: t.ID.String(), Type: "timer:" + set.Name, Event: Fired{set.Name}, At: r.now(), Study: t.Metadata.Study, Site: t.Metadata.Site,
		correlation: t.Metadata.CorrelationID, trace: t.Metadata.TraceID}
	return r.step(ctx, p, set.Instance, o, &process.Timer{Name: set.Name, At: set.At})
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
	look, from, sure := commands.At[process.State, process.Event], r.Handler.Look(), false
	for range stepAttempts {
		state, err := look(ctx, from, process.Decider, i.String())
		if err != nil {
			return fmt.Errorf("process %s: %w", i, err)
		}
		if taken, already := state.TakenFor(o.ID); already {
			return r.send(ctx, p, i, o, taken, state)
		}
		reaction, err := p.react(state.Data, o)
		if err != nil {
			return fmt.Errorf("process %s: %w", i, err)
		}
		unsure := !sure
		look, sure = commands.Newest[process.State, process.Event], true // whatever comes next has to be sure
		if reaction.none && unsure {
			// Another program may have taken the step that the event is the answer to, and this one not have heard of it. Where
			// a step is taken, its append would find that out; nothing does where none is.
			from = r.Handler.LookAfter(o.position)
			continue
		}
		if reaction.none {
			if refused, ok := o.Event.(Refused); ok {
				return permanent(fmt.Errorf("process %s: %s was refused: %w", i, refused.Command, refused.Refusal))
			}
			if timer == nil {
				return nil
			}
			// That the timer fired is recorded, so that it does not fire at every start.
			reaction.step = process.StepTaken{Study: o.Study, Site: o.Site, Trigger: o.ID, TriggerType: o.Type, Stage: state.Stage, Outcome: state.Outcome}
		}
		reaction.step.Instance = i
		take := process.TakeStep{Step: reaction.step, After: state.Steps, Set: reaction.timer.set, Cancel: reaction.timer.cancel, Fired: timer}
		if err := r.fault("before step " + i.Process + " " + o.Type); err != nil {
			return err
		}
		from = r.Handler.Look()
		answer, err := r.do(ctx, p, o, "TakeStep", take, "")
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
		return r.send(ctx, p, i, o, process.Taken{Number: state.Steps, Commands: reaction.step.Commands}, process.State{})
	}
	return fmt.Errorf("process %s: others take its steps all the time", i)
}

// refusals derives the ids under which instances are told of refusals.
var refusals = uuid.MustParse("0d3c56a0-2f34-4b8e-9b0e-6a1f2f6a9c55")

// send sends what a step asked for. A command that was refused before, and whose refusal the instance has reacted to, is
// not sent again: by now it might be taken, and undo what was made up for.
func (r *Runner) send(ctx context.Context, p Process, i process.Instance, o Occurrence, taken process.Taken, known process.State) error {
	for n, c := range taken.Commands {
		key := fmt.Sprintf("%s/%d/%d", i, taken.Number, n)
		told := o
		told.ID, told.Type = uuid.NewSHA1(refusals, []byte(key)).String(), "refused:"+c.Name
		if _, already := known.TakenFor(told.ID); already {
			if err := r.step(ctx, p, i, told, nil); err != nil {
				return err
			}
			continue
		}
		if err := r.fault("before " + c.Name); err != nil {
			return err
		}
		_, err := r.do(ctx, p, o, c.Name, c.Body, key)
		if refusal, ok := refuse.As(err); ok {
			switch {
			case refusal.Kind == refuse.KindOverload || refusal.Code == "conflict":
				return fmt.Errorf("process %s: %s: %w", i, c.Name, err)
			case refusal.Code == "idempotency_key_reused":
				// It was sent before, by a version of the program that worded it otherwise, and is dealt with.
				continue
			}
			r.Logger.Info("a process's command was refused", "process", i.Process, "instance", i.Of, "command", c.Name, "code", refusal.Code)
			told.Event = Refused{Command: c.Name, Refusal: refusal}
			if err := r.step(ctx, p, i, told, nil); err != nil {
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
	}
	return nil
}

// sendTimeout bounds one command.
const sendTimeout = 15 * time.Second

func (r *Runner) do(ctx context.Context, p Process, cause Occurrence, name string, command any, key string) (commands.Answer, error) {
	body, err := json.Marshal(command)
	if err != nil {
		return commands.Answer{}, permanent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return r.Handler.Do(ctx, commands.Request{Name: name, Body: body, Key: key, Principal: access.Process(p.Name),
		CorrelationID: cause.correlation, CausationID: cause.ID, CausePosition: cause.position, TraceID: cause.trace})
}
