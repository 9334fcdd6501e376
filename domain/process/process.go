// Package process holds what processes (process managers) record: which event caused which step, which commands the
// step sends, what the process waits for and until when, and which messages it could not handle. Each instance of a
// process, such as the enrolment of one patient, has its own stream, so that the log puts concurrent steps in order.
package process

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/persistent"
	"casebook/domain/refuse"
)

// FormerStreams is the kind of streams in which earlier versions recorded how far a process had read the log. Nothing reads
// them any more.
var FormerStreams = domain.StreamType{Category: "process", Events: []domain.EventType{
	domain.Stored[Advanced]("ProcessAdvanced").InNoView("bookkeeping of process managers"),
}}

// Advanced says up to which position a process of an earlier version has read the log.
type Advanced struct {
	Process string `json:"process"`
	Commit  uint64 `json:"commit"`
	Prepare uint64 `json:"prepare"`
}

// Event is an event of an instance.
type Event interface{ processEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[StepTaken]("ProcessStepTaken", domain.Unchanged), // version 1 had the wait for an answer in timer events
	domain.Stored[TimerSet]("ProcessTimerSet"),
	domain.Stored[TimerFired]("ProcessTimerFired"),
	domain.Stored[TimerCancelled]("ProcessTimerCancelled"),
	domain.Stored[Retried]("ProcessRetried"),
}

// Instance names one instance of a process, such as the enrolment of one patient.
type Instance struct {
	Process string `json:"process"`
	// Of is the id of what the instance is about, such as the patient's id.
	Of string `json:"of"`
}

// String is the id of the instance's stream.
func (i Instance) String() string { return i.Process + "." + i.Of }

// AboutInstance is an event of an instance.
type AboutInstance interface{ AboutInstance() Instance }

// AboutInstance implements the interface of the same name.
func (i Instance) AboutInstance() Instance { return i }

// StepTaken is one step: what triggered it, which commands it sends, and the stage of the instance after it.
type StepTaken struct {
	Instance
	Study domain.StudyID `json:"study,omitempty"`
	Site  domain.SiteID  `json:"site,omitempty"`
	// Trigger is the id of the event, the timer or the refusal that triggered the step; TriggerType names its kind.
	Trigger     string `json:"trigger"`
	TriggerType string `json:"triggerType"`
	// Stage says what the instance waits for, or how it ended. Note says why, for people.
	Stage   string  `json:"stage"`
	Note    string  `json:"note,omitempty"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Commands are the commands that the step sends, in this order.
	Commands []Command `json:"commands,omitempty"`
	// State is what the instance has to remember; StateVersion is its schema version, 0 for version 1.
	State        json.RawMessage `json:"state,omitempty" kinds:"object"`
	StateVersion int             `json:"stateVersion,omitempty"`
	// AnswerBy is set where the step asks for an answer: it sets the timer AnswerTimer to this time, and ends the other
	// AnswerTimers. Answered says that the wait for an answer is over, and ends all of them.
	AnswerBy *time.Time `json:"answerBy,omitempty"`
	Answered bool       `json:"answered,omitempty"`
}

// The timers of an answer: it has not come in time; it has not come in time after it was asked for again; the instance is stuck.
// Timers that are recorded have these names.
const (
	AnswerTimer = "answer"
	AskedTimer  = "asked again"
	StuckTimer  = "stuck"
)

// AnswerTimers are the timers of an answer. At most one of them is set.
var AnswerTimers = []string{AnswerTimer, AskedTimer, StuckTimer}

// Command is one command that a process sends.
type Command struct {
	Name string `json:"name"`
	// Version is the schema version of the body, 0 for version 1.
	Version int             `json:"version,omitempty"`
	Body    json.RawMessage `json:"body" kinds:"object"`
}

// Outcome says whether an instance has ended or is held up.
type Outcome string

// The outcomes of an instance.
const (
	// UnderWay is the outcome of an instance that has come to none. Events leave it out.
	UnderWay  Outcome = "under_way"
	Completed Outcome = "completed"
	Failed    Outcome = "failed"
	// Held says that the instance waits for something that people have to provide, such as stock.
	Held Outcome = "held"
	// Stuck says that the instance has waited beyond its time for something that should have come by itself. It goes on when
	// that comes.
	Stuck Outcome = "stuck"
)

// Outcomes are all outcomes of an instance.
var Outcomes = []Outcome{UnderWay, Held, Stuck, Completed, Failed}

// TimerSet sets a timer. It replaces an earlier timer with the same name. A step sets and ends the timers of an answer by itself.
type TimerSet struct {
	Instance
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// TimerFired records that a timer's time has come. A timer fires once.
type TimerFired struct {
	Instance
	Name string `json:"name"`
}

// TimerCancelled cancels a timer.
type TimerCancelled struct {
	Instance
	Name string `json:"name"`
}

func (StepTaken) processEvent()      {}
func (TimerSet) processEvent()       {}
func (TimerFired) processEvent()     {}
func (TimerCancelled) processEvent() {}

// State is the state of an instance.
type State struct {
	// Steps is how many steps the instance has taken.
	Steps   int
	Stage   string
	Outcome Outcome
	// Study and Site are those of the last step.
	Study domain.StudyID
	Site  domain.SiteID
	// Asked are the steps that have sent commands in the stage in which the last of them was taken, at most the last maxAsked.
	Asked []Taken
	// Retried says that a person has had the instance retried since its last step.
	Retried bool
	// Data is what the instance remembers; DataVersion is its schema version, from 1.
	Data        json.RawMessage
	DataVersion int
	// Timers are the timers that are set, with the times at which they fire.
	Timers map[string]time.Time

	taken persistent.Map[string, Taken]
}

// Taken is a step that an instance has taken: its running number, from 0, and its commands.
type Taken struct {
	Number   int
	Commands []Command
}

// Decider is the decider of instances; a stream's id is Instance.String.
var Decider = domain.Decider[State, Event]{Category: "saga", Key: byInstance, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams(), ParkedDecider.Streams(), FormerStreams}

// TakenFor returns the step that the trigger has caused, and whether it has caused one.
func (s State) TakenFor(trigger string) (Taken, bool) { return s.taken.Get(trigger) }

func evolve(s State, event Event) State {
	switch e := event.(type) {
	case StepTaken:
		s.taken = s.taken.Set(e.Trigger, Taken{Number: s.Steps, Commands: e.Commands})
		if len(e.Commands) > 0 {
			s.Asked = s.askedWith(e)
		}
		s.Steps++
		s.Stage, s.Outcome, s.Study, s.Site, s.Retried = e.Stage, e.Outcome, e.Study, e.Site, false
		if len(e.State) > 0 {
			s.Data, s.DataVersion = e.State, max(1, e.StateVersion)
		}
		s.Timers = e.timersAfter(s.Timers)
	case Retried:
		s.Retried = true
	case TimerSet:
		s.Timers = maps.Clone(s.Timers)
		if s.Timers == nil {
			s.Timers = map[string]time.Time{}
		}
		s.Timers[e.Name] = e.At
	case TimerFired:
		s.Timers = maps.Clone(s.Timers)
		delete(s.Timers, e.Name)
	case TimerCancelled:
		s.Timers = maps.Clone(s.Timers)
		delete(s.Timers, e.Name)
	}
	return s
}

// timersAfter returns the timers that are set after the step.
func (e StepTaken) timersAfter(timers map[string]time.Time) map[string]time.Time {
	if e.AnswerBy == nil && !e.Answered {
		return timers
	}
	after := maps.Clone(timers)
	maps.DeleteFunc(after, func(name string, _ time.Time) bool { return slices.Contains(AnswerTimers, name) })
	if e.AnswerBy == nil {
		return after
	}
	if after == nil {
		after = map[string]time.Time{}
	}
	after[AnswerTimer] = *e.AnswerBy
	return after
}

// maxAsked bounds State.Asked.
const maxAsked = 16

// askedWith returns Asked with a step that has sent commands.
func (s State) askedWith(e StepTaken) []Taken {
	var before []Taken
	if e.Stage == s.Stage {
		before = s.Asked[max(0, len(s.Asked)-maxAsked+1):]
	}
	return append(slices.Clone(before), Taken{Number: s.Steps, Commands: e.Commands})
}

// TakeStep records a step. The runner of processes sends it after a process has reacted.
type TakeStep struct {
	Step StepTaken `json:"step"`
	// After is how many steps the instance had taken when the process reacted.
	After int `json:"after"`
	// Set and Cancel are the timers that the step sets and cancels; Fired is the timer that triggered the step.
	Set    []Timer  `json:"set,omitempty"`
	Cancel []string `json:"cancel,omitempty"`
	Fired  *Timer   `json:"fired,omitempty"`
}

// Timer is a named time at which an instance takes a step.
type Timer struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Take records a step. It records nothing if the trigger has already caused a step, or if the timer that fired is not
// set for this time any more. It refuses step_out_of_date if the instance has taken another step since the process
// reacted: the process then has to react again.
func Take(s State, cmd TakeStep, _ domain.Call) ([]Event, error) {
	if _, already := s.TakenFor(cmd.Step.Trigger); already {
		return nil, nil
	}
	if cmd.After != s.Steps {
		return nil, refuse.WrongState("step_out_of_date", "%s has taken %d steps, not %d", cmd.Step.Instance, s.Steps, cmd.After).
			Do("react to its present state")
	}
	var events []Event
	fired := ""
	if cmd.Fired != nil {
		// A timer that has been set again fires at its new time only.
		if at, set := s.Timers[cmd.Fired.Name]; !set || !at.Equal(cmd.Fired.At) {
			return nil, nil
		}
		fired = cmd.Fired.Name
		events = append(events, TimerFired{Instance: cmd.Step.Instance, Name: fired})
	}
	step, timers := cmd.Step, []Event{}
	step.AnswerBy, step.Answered = nil, false
	for _, t := range cmd.Set {
		if at := t.At.UTC().Round(0); t.Name == AnswerTimer {
			step.AnswerBy = &at
		} else {
			timers = append(timers, TimerSet{Instance: step.Instance, Name: t.Name, At: at})
		}
	}
	var cancelled []Event
	for i, name := range cmd.Cancel {
		_, set := s.Timers[name]
		setAgain := slices.ContainsFunc(cmd.Set, func(t Timer) bool { return t.Name == name })
		switch {
		case !set || setAgain || name == fired || slices.Contains(cmd.Cancel[:i], name):
		case slices.Contains(AnswerTimers, name):
			step.Answered = step.AnswerBy == nil // otherwise the new wait ends the old one
		default:
			cancelled = append(cancelled, TimerCancelled{Instance: step.Instance, Name: name})
		}
	}
	return slices.Concat(events, []Event{step}, cancelled, timers), nil
}

// byInstance is the Key of Decider.
func byInstance(command any) (id string, ok bool) {
	switch c := command.(type) {
	case TakeStep:
		return c.Step.Instance.String(), true
	case RetryProcess:
		return Instance{c.Process, c.Of}.String(), true
	}
	return "", false
}
