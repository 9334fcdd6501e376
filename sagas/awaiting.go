package sagas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/safety"

	"github.com/google/uuid"
)

// AnswerWithin is how long an answer that an instance awaits may take before the instance asks again. When it has asked again, and
// has got no answer for as long once more, it is stuck.
const AnswerWithin = 10 * time.Minute

// awaits says whether an instance with these timers awaits an answer.
func awaits(timers map[string]time.Time) bool {
	return slices.ContainsFunc(process.AnswerTimers, func(name string) bool { _, set := timers[name]; return set })
}

// setAnswerTimers sets or cancels the timers of an answer, as the reaction says.
func (step *Step) setAnswerTimers(o Occurrence, awaits bool) {
	switch {
	case awaits:
		from := o.At
		if o.now.After(from) { // the occurrence has come late
			from = o.now
		}
		step.Set = append(step.Set, process.Timer{Name: process.AnswerTimer, At: from.Add(AnswerWithin)})
		if o.Awaits {
			step.Cancel = append(step.Cancel, process.AskedTimer, process.StuckTimer)
		}
	case !o.Awaits:
	case step.Stage != o.Stage || step.Outcome != "" && step.Outcome != process.Stuck:
		step.Cancel = append(step.Cancel, process.AnswerTimers...)
	case o.Outcome == process.Stuck:
		step.Outcome = process.Stuck // it still waits
	}
}

// isOverdue says whether the occurrence is that an answer has not come in time.
func isOverdue(o Occurrence) bool {
	fired, is := o.Event.(Fired)
	return is && slices.Contains(process.AnswerTimers, fired.Timer)
}

// overdue is the step of an instance whose answer has not come in time; false if it awaits none any more. The commands of its stage
// are sent again with their keys, beside the step.
func overdue(o Occurrence) (step Step, waits bool) {
	if o.Outcome != "" && o.Outcome != process.UnderWay && o.Outcome != process.Stuck {
		return Step{}, false
	}
	step.StepTaken = process.StepTaken{Study: o.Study, Site: o.Site, Trigger: o.ID, TriggerType: o.Type, Stage: o.Stage}
	next := process.StuckTimer
	if o.Event.(Fired).Timer == process.AnswerTimer {
		step.Note, next = "the answer did not come in time, and is asked for again", process.AskedTimer
	} else {
		step.Note, step.Outcome = "the answer does not come", process.Stuck
	}
	step.Set = []process.Timer{{Name: next, At: o.At.Add(AnswerWithin)}}
	return step, true
}

// askAgain raises the alert that an instance is stuck, if it is, and sends the commands of its stage again: whoever is asked again
// for what is done gives the recorded answer, which the instance may have missed.
func (r *Runner) askAgain(ctx context.Context, p Process, i process.Instance, o Occurrence, state process.State) error {
	var alert error
	if state.Outcome == process.Stuck {
		alert = r.raiseStuck(ctx, p, i, o, state)
	}
	return errors.Join(alert, r.sendAgain(ctx, p, i, o, state))
}

// sendAgain sends the commands of an instance's stage once more, and gives it every answer.
func (r *Runner) sendAgain(ctx context.Context, p Process, i process.Instance, o Occurrence, state process.State) error {
	for _, asked := range state.Asked {
		if err := r.send(ctx, p, i, o, asked, state, every); err != nil {
			return err
		}
	}
	return nil
}

// raiseStuck raises the alert that an instance is stuck. It is raised once for each stage in which the instance is stuck, however
// often this is called.
func (r *Runner) raiseStuck(ctx context.Context, p Process, i process.Instance, o Occurrence, state process.State) error {
	asked := 0
	if n := len(state.Asked); n > 0 {
		asked = state.Asked[n-1].Number
	}
	source := fmt.Sprintf("%s/%d/stuck", i, asked)
	alert := safety.RaiseAlert{OfAlert: AlertFrom(state.Study, source), Study: state.Study, Site: state.Site, Kind: safety.ProcessStuck,
		Severity: safety.Urgent, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf("The process %s of %s waits beyond its time.", i.Process, i.Of)}
	if p.ofPatients {
		alert.Patient = domain.PatientID(i.Of)
	}
	_, err := r.do(ctx, p, o, "RaiseAlert", 0, alert, source, nil)
	if isFinalRefusal(err) {
		r.Logger.Error("the alert that a process is stuck was refused", "process", i.Process, "instance", i.Of, "error", err)
		return nil
	}
	return part("raise the alert that "+i.String()+" is stuck", err)
}

// isFinalRefusal says whether a command was refused, and would be refused again.
func isFinalRefusal(err error) bool {
	refusal, refused := refuse.As(err)
	return refused && refusal.Kind != refuse.KindOverload && refusal.Code != "conflict"
}

// part adds what failed to an error.
func part(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// alerts derives the ids of alerts from what they come from, so that nothing raises two.
var alerts = uuid.MustParse("a3a3f2de-7c43-4c07-8f43-a5fdb8b05a1e")

// AlertFrom is the alert that a cause raises; source identifies the cause, such as the id of an event.
func AlertFrom(study domain.StudyID, source string) safety.OfAlert {
	return safety.OfAlert{Alert: safety.AlertID(string(study) + "." + uuid.NewSHA1(alerts, []byte(source)).String())}
}

// newest returns the newest state of an instance.
func (r *Runner) newest(ctx context.Context, i process.Instance) (process.State, error) {
	state, err := commands.ReadNewest(ctx, r.Handler.Reader(), process.Decider, i.String())
	return state, part("process "+i.String(), err)
}
