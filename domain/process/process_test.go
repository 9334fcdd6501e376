package process_test

import (
	"encoding/json"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/scenario"
)

var (
	now  = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	call = domain.Call{At: now, Actor: "process:enrollment"}
	anna = process.Instance{Process: "enrollment", Of: "PAIN1.S-1"}
)

func step(trigger, stage string) process.StepTaken {
	return process.StepTaken{Instance: anna, Trigger: trigger, TriggerType: "T", Stage: stage, State: json.RawMessage(`{"stage":"` + stage + `"}`),
		Commands: []process.Command{{Name: "C", Body: json.RawMessage(`{}`)}}}
}

func taking(c process.TakeStep) func(process.State) ([]process.Event, error) {
	return scenario.Asked(process.Take, c, call)
}

// A trigger sets off one step, and a step is taken on the state that the process reacted to.
func TestAStepIsTakenOnce(t *testing.T) {
	nothing := scenario.For(t, process.Decider)
	one := nothing.When(taking(process.TakeStep{Step: step("e1", "place")})).Then(step("e1", "place"))
	one.When(taking(process.TakeStep{Step: step("e1", "other")})).Then()
	one.When(taking(process.TakeStep{Step: step("e2", "stock")})).ThenRefused("step_out_of_date")
	two := one.When(taking(process.TakeStep{Step: step("e2", "stock"), After: 1})).Then(step("e2", "stock"))
	if s := two.State(); s.Steps != 2 || s.Stage != "stock" || string(s.Data) != `{"stage":"stock"}` {
		t.Errorf("the state is %+v", s)
	}
	if taken, ok := two.State().TakenFor("e1"); !ok || taken.Number != 0 || len(taken.Commands) != 1 {
		t.Errorf("the first step was %+v, %v", taken, ok)
	}
}

// A timer fires once, at the time for which it was set last, and not after it was cancelled.
func TestTimersFireOnce(t *testing.T) {
	set := func(at time.Time) process.TimerSet { return process.TimerSet{Instance: anna, Name: "answer", At: at} }
	fire := func(at time.Time, after int) process.TakeStep {
		return process.TakeStep{Step: step("timer", "late"), After: after, Fired: &process.Timer{Name: "answer", At: at}}
	}
	one := scenario.For(t, process.Decider).When(taking(process.TakeStep{Step: step("e1", "place"), Set: []process.Timer{{Name: "answer", At: now}}})).
		Then(step("e1", "place"), set(now))
	fired := process.TimerFired{Instance: anna, Name: "answer"}
	one.When(taking(fire(now, 1))).Then(fired, step("timer", "late"))
	later := now.Add(time.Hour)
	again := one.When(taking(process.TakeStep{Step: step("e2", "stock"), After: 1, Set: []process.Timer{{Name: "answer", At: later}}, Cancel: []string{"answer"}})).
		Then(step("e2", "stock"), set(later))
	again.When(taking(fire(now, 2))).Then() // that time is void
	again.When(taking(fire(later, 2))).Then(fired, step("timer", "late"))
	done := again.When(taking(process.TakeStep{Step: step("e3", "enrolled"), After: 2, Cancel: []string{"answer", "other"}})).
		Then(step("e3", "enrolled"), process.TimerCancelled{Instance: anna, Name: "answer"})
	done.When(taking(fire(later, 3))).Then()
}

func TestParkedMessages(t *testing.T) {
	about := process.Parked{Process: "enrollment", Event: "e1"}
	message := process.MessageParked{Parked: about, Study: "PAIN1", Stream: "patient-x", Revision: 3, Type: "T", Reason: "it panicked"}
	park := scenario.Asked(process.Park, process.ParkMessage{Message: message}, call)
	retry := func(study domain.StudyID, reason string) func(process.ParkedState) ([]process.ParkedEvent, error) {
		return scenario.Asked(process.Retry, process.RetryParkedMessage{Study: study, Process: "enrollment", Event: "e1", Reason: reason}, call)
	}
	abandon := scenario.Asked(process.Abandon, process.AbandonParkedMessage{Study: "PAIN1", Process: "enrollment", Event: "e1", Reason: "by hand"}, call)
	nothing := scenario.For(t, process.ParkedDecider)
	nothing.When(retry("PAIN1", "mended")).ThenRefused("message_not_parked")
	parked := nothing.When(park).Then(message)
	parked.When(park).Then()
	parked.When(retry("PAIN1", " ")).ThenRefused("reason_required")
	parked.When(retry("PAIN2", "mended")).ThenRefused("message_not_parked") // another study's
	retried := parked.When(retry("PAIN1", "mended")).Then(process.ParkedMessageRetried{Parked: about, Study: "PAIN1", Reason: "mended", Stream: "patient-x", Revision: 3})
	retried.When(abandon).ThenRefused("message_not_parked")
	retried.When(park).Then(message) // it failed again
	parked.When(abandon).Then(process.ParkedMessageAbandoned{Parked: about, Study: "PAIN1", Reason: "by hand"}).When(retry("PAIN1", "x")).ThenRefused("message_not_parked")
}
