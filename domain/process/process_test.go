package process_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/scenario"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var (
	instance = process.Instance{Process: "enrolment", Of: "PAIN1.S-1"}
	call     = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "manager"}
)

type decision = func(process.State) ([]process.Event, error)

func step(trigger, stage string) process.StepTaken {
	return process.StepTaken{Instance: instance, Study: "PAIN1", Site: "A", Trigger: trigger, TriggerType: "Something", Stage: stage,
		Commands: []process.Command{{Name: "HoldStock", Body: json.RawMessage(`{"for":"` + trigger + `"}`)}}}
}

func taking(s process.StepTaken, after int, change func(*process.TakeStep)) decision {
	cmd := process.TakeStep{Step: s, After: after}
	if change != nil {
		change(&cmd)
	}
	return scenario.Sent(process.Take, cmd, call)
}

func at(minutes int) time.Time { return call.At.Add(time.Duration(minutes) * time.Minute) }

func timerSet(name string, minutes int) process.TimerSet {
	return process.TimerSet{Instance: instance, Name: name, At: at(minutes)}
}

func given(t testing.TB, events ...process.Event) scenario.Given[process.State, process.Event] {
	return scenario.For(t, process.Decider).Given(events...)
}

// A trigger causes one step, even if it is repeated. A step that the process decided on an old state is refused.
func TestTriggerCausesOneStep(t *testing.T) {
	one := given(t).When(taking(step("e1", "waits"), 0, nil)).Then(step("e1", "waits"))
	one.When(taking(step("e1", "waits"), 0, nil)).Then()
	one.When(taking(step("e1", "something else"), 1, nil)).Then()
	one.When(taking(step("e2", "goes on"), 0, nil)).ThenRefused("step_out_of_date")
	one.When(taking(step("e2", "goes on"), 2, nil)).ThenRefused("step_out_of_date")
	end := step("e2", "done")
	end.Outcome, end.State = process.Completed, json.RawMessage(`{"kit":"K1"}`)
	two := one.When(taking(end, 1, nil)).Then(end)
	s := two.When(taking(step("e3", "once more"), 2, nil)).Then(step("e3", "once more")).State()
	if s.Steps != 3 || s.Stage != "once more" || s.Outcome != "" || string(s.Data) != `{"kit":"K1"}` {
		t.Errorf("after three steps the state is %+v", s) // a step without a state keeps the data of the step before
	}
	for n, trigger := range []string{"e1", "e2", "e3"} {
		taken, did := s.TakenFor(trigger)
		if !did || taken.Number != n || len(taken.Commands) != 1 || string(taken.Commands[0].Body) != `{"for":"`+trigger+`"}` {
			t.Errorf("%s caused %+v, %v", trigger, taken, did)
		}
	}
	if _, did := s.TakenFor("e4"); did {
		t.Error("a trigger that never came has caused a step")
	}
	if got := instance.String(); got != "enrolment.PAIN1.S-1" {
		t.Errorf("the stream's id is %s", got)
	}
}

func firing(name string, minutes int) func(*process.TakeStep) {
	return func(c *process.TakeStep) { c.Fired = &process.Timer{Name: name, At: at(minutes)} }
}

func TestTimerFiresOnce(t *testing.T) {
	set := func(name string, minutes int) func(*process.TakeStep) {
		return func(c *process.TakeStep) {
			c.Set = []process.Timer{{Name: name, At: at(minutes).In(time.FixedZone("CET", 3600))}}
		}
	}
	waits := given(t).When(taking(step("e1", "waits"), 0, set("stock", 5))).Then(step("e1", "waits"), timerSet("stock", 5)) // in UTC
	fired := waits.When(taking(step("t1", "late"), 1, firing("stock", 5))).
		Then(process.TimerFired{Instance: instance, Name: "stock"}, step("t1", "late"))
	fired.When(taking(step("t1", "late"), 1, firing("stock", 5))).Then()
	fired.When(taking(step("t1'", "late"), 2, firing("stock", 5))).Then() // with another trigger id
	given(t).When(taking(step("t1", "late"), 0, firing("stock", 5))).Then()
	waits.When(taking(step("t1", "late"), 1, firing("other", 5))).Then()
	waits.When(taking(step("t1", "late"), 0, firing("stock", 5))).ThenRefused("step_out_of_date")

	// A timer that is set again fires at its new time and not at the old one.
	again := waits.When(taking(step("e2", "waits"), 1, set("stock", 9))).Then(step("e2", "waits"), timerSet("stock", 9))
	again.When(taking(step("t1", "late"), 2, firing("stock", 5))).Then()
	again.When(taking(step("t2", "late"), 2, firing("stock", 9))).
		Then(process.TimerFired{Instance: instance, Name: "stock"}, step("t2", "late"))
	// The step that a timer triggers may cancel it and set it again: then the timer is set.
	waits.When(taking(step("t1", "again"), 1, func(c *process.TakeStep) {
		firing("stock", 5)(c)
		set("stock", 7)(c)
		c.Cancel = []string{"stock"}
	})).Then(process.TimerFired{Instance: instance, Name: "stock"}, step("t1", "again"), timerSet("stock", 7))
}

func TestTimersAreCancelled(t *testing.T) {
	waits := given(t, step("e1", "waits"), timerSet("stock", 5), timerSet("place", 6))
	cancelling := func(names ...string) func(*process.TakeStep) {
		return func(c *process.TakeStep) { c.Cancel = names }
	}
	cancelled := waits.When(taking(step("e2", "has it"), 1, cancelling("stock", "unknown"))).
		Then(step("e2", "has it"), process.TimerCancelled{Instance: instance, Name: "stock"})
	if diff := cmp.Diff(map[string]time.Time{"place": at(6)}, cancelled.State().Timers); diff != "" {
		t.Errorf("other timers are set:\n%s", diff)
	}
	cancelled.When(taking(step("t1", "late"), 2, firing("stock", 5))).Then()
	cancelled.When(taking(step("e3", "more"), 2, cancelling("stock"))).Then(step("e3", "more"))
	waits.When(taking(step("e2", "twice"), 1, cancelling("stock", "stock"))).
		Then(step("e2", "twice"), process.TimerCancelled{Instance: instance, Name: "stock"})
	// A timer that one step cancels and sets is set. A timer that triggers a step which cancels it has fired.
	waits.When(taking(step("e2", "waits"), 1, func(c *process.TakeStep) {
		c.Cancel, c.Set = []string{"stock"}, []process.Timer{{Name: "stock", At: at(8)}}
	})).Then(step("e2", "waits"), timerSet("stock", 8))
	waits.When(taking(step("t1", "late"), 1, func(c *process.TakeStep) {
		firing("stock", 5)(c)
		c.Cancel = []string{"stock", "place"}
	})).Then(process.TimerFired{Instance: instance, Name: "stock"}, step("t1", "late"),
		process.TimerCancelled{Instance: instance, Name: "place"})
}

// A step holds the wait for an answer itself. Steps of earlier versions have set and ended it with events of their own.
func TestStepsHoldTheWaitForAnAnswer(t *testing.T) {
	asking := func(minutes int) func(*process.TakeStep) {
		return func(c *process.TakeStep) {
			c.Set = []process.Timer{{Name: process.AnswerTimer, At: at(minutes).In(time.FixedZone("CET", 3600))}}
			c.Cancel = []string{process.AskedTimer, process.StuckTimer}
		}
	}
	answered := func(c *process.TakeStep) { c.Cancel = process.AnswerTimers }
	waiting := func(trigger string, minutes int) process.StepTaken {
		s, by := step(trigger, "waits"), at(minutes)
		s.AnswerBy = &by
		return s
	}
	over := step("e3", "has it")
	over.Answered = true
	timers := func(given scenario.Given[process.State, process.Event], want map[string]time.Time) {
		t.Helper()
		if diff := cmp.Diff(want, given.State().Timers, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the timers are:\n%s", diff)
		}
	}
	one := given(t).When(taking(step("e1", "waits"), 0, asking(5))).Then(waiting("e1", 5)) // in UTC
	timers(one, map[string]time.Time{process.AnswerTimer: at(5)})
	two := one.When(taking(step("e2", "waits"), 1, asking(7))).Then(waiting("e2", 7))
	timers(two, map[string]time.Time{process.AnswerTimer: at(7)})
	two.When(taking(step("t1", "late"), 2, firing(process.AnswerTimer, 5))).Then() // it was set again
	timers(two.When(taking(step("e3", "has it"), 2, answered)).Then(over), nil)

	// While it waits, it is asked again, and is stuck.
	late := two.When(taking(step("t2", "waits"), 2, func(c *process.TakeStep) {
		firing(process.AnswerTimer, 7)(c)
		c.Set = []process.Timer{{Name: process.AskedTimer, At: at(9)}}
	})).Then(process.TimerFired{Instance: instance, Name: process.AnswerTimer}, step("t2", "waits"), timerSet(process.AskedTimer, 9))
	timers(late, map[string]time.Time{process.AskedTimer: at(9)})
	timers(late.When(taking(step("e3", "waits"), 3, asking(12))).Then(waiting("e3", 12)), map[string]time.Time{process.AnswerTimer: at(12)})
	timers(late.When(taking(step("e3", "has it"), 3, answered)).Then(over), nil)

	former := given(t, step("e1", "waits"), timerSet(process.AnswerTimer, 5), timerSet("daily", 6))
	timers(former.When(taking(step("e2", "waits"), 1, asking(7))).Then(waiting("e2", 7)),
		map[string]time.Time{process.AnswerTimer: at(7), "daily": at(6)})
	timers(former.When(taking(step("e3", "has it"), 1, answered)).Then(over), map[string]time.Time{"daily": at(6)})
	given(t).When(taking(step("e3", "has it"), 0, answered)).Then(step("e3", "has it")) // it did not wait
}

// Even if steps come twice, late, or were decided on an old state: every trigger causes at most one step, steps are
// numbered without gaps, and the timers agree with a plain map. A timer fires only if it is set, and only at its own
// time.
func TestStepsAndTimersAgreeWithPlainMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s process.State
		timers, taken := map[string]time.Time{}, map[string]int{}
		name := rapid.SampledFrom([]string{"a", "b", process.AnswerTimer, process.AskedTimer})
		minutes := rapid.IntRange(1, 3)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			trigger := fmt.Sprint("e", rapid.IntRange(1, 30).Draw(t, "trigger"))
			behind := rapid.SampledFrom([]int{0, 0, 0, 0, 1, -1}).Draw(t, "behind")
			cmd := process.TakeStep{Step: step(trigger, "s"), After: s.Steps - behind,
				Cancel: rapid.SliceOfN(name, 0, 2).Draw(t, "cancel")}
			for range rapid.IntRange(0, 2).Draw(t, "set") {
				cmd.Set = append(cmd.Set, process.Timer{Name: name.Draw(t, "name"), At: at(minutes.Draw(t, "at"))})
			}
			if rapid.Bool().Draw(t, "fires") {
				cmd.Fired = &process.Timer{Name: name.Draw(t, "fired"), At: at(minutes.Draw(t, "fired at"))}
			}
			events, err := process.Take(s, cmd, call)
			_, before := taken[trigger]
			due := cmd.Fired == nil || timers[cmd.Fired.Name].Equal(cmd.Fired.At)
			want := !before && cmd.After == s.Steps && due
			if (len(events) > 0) != want || (err != nil) != (!before && cmd.After != s.Steps) {
				t.Fatalf("%+v on %+v: %v, %v", cmd, s, events, err)
			}
			for _, e := range events {
				switch e := e.(type) {
				case process.StepTaken:
					taken[e.Trigger] = len(taken)
					if e.AnswerBy != nil || e.Answered {
						delete(timers, process.AnswerTimer)
						delete(timers, process.AskedTimer)
					}
					if e.AnswerBy != nil {
						timers[process.AnswerTimer] = *e.AnswerBy
					}
				case process.TimerFired:
					delete(timers, e.Name)
				case process.TimerCancelled:
					if _, set := timers[e.Name]; !set {
						t.Fatalf("the timer %s is cancelled but was not set", e.Name)
					}
					delete(timers, e.Name)
				case process.TimerSet:
					timers[e.Name] = e.At
				}
				s = scenario.Evolve(t, process.Decider, s, e)
			}
			if s.Steps != len(taken) || !maps.EqualFunc(timers, s.Timers, time.Time.Equal) {
				t.Fatalf("the state has %d steps and timers %v, want %d and %v", s.Steps, s.Timers, len(taken), timers)
			}
			for trigger, n := range taken {
				if got, did := s.TakenFor(trigger); !did || got.Number != n {
					t.Fatalf("step %d, which %s triggered, is %+v, %v", n, trigger, got, did)
				}
			}
		}
	})
}
