// Package process holds what process managers record of themselves: which event made them take which step, what they asked
// for, what they wait for and until when, and which messages they could not deal with. One stream per instance, such as
// the enrolment of one patient, so that two that run at the same time are put in order by the log.
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

// Former are the streams in which earlier versions kept how far a process had read the log. Nothing reads them any more.
var Former = domain.StreamType{Category: "process", Events: []domain.EventType{domain.Stored[Advanced]("ProcessAdvanced")}}

// Advanced says up to where a process manager of an earlier version has dealt with the log.
type Advanced struct {
	Process string `json:"process"`
	Commit  uint64 `json:"commit"`
	Prepare uint64 `json:"prepare"`
}

// Event is what can happen to an instance of a process.
type Event interface{ processEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[StepTaken]("ProcessStepTaken"),
	domain.Stored[TimerSet]("ProcessTimerSet"),
	domain.Stored[TimerFired]("ProcessTimerFired"),
	domain.Stored[TimerCancelled]("ProcessTimerCancelled"),
}

// Instance names one run of a process, such as the enrolment of one patient.
type Instance struct {
	Process string `json:"process"`
	// Of is what the run is about, such as the patient's id.
	Of string `json:"of"`
}

// String is the id of the instance's stream.
func (i Instance) String() string { return i.Process + "." + i.Of }

// StepTaken is one step: what set it off, what the process asked for, and where it stands since.
type StepTaken struct {
	Instance
	Study domain.StudyID `json:"study,omitempty"`
	Site  domain.SiteID  `json:"site,omitempty"`
	// Trigger is the id of the event, the timer or the refusal that set the step off; TriggerType names it.
	Trigger     string `json:"trigger"`
	TriggerType string `json:"triggerType"`
	// Stage says what it waits for, or how it ended; Note says why, for people.
	Stage   string  `json:"stage"`
	Note    string  `json:"note,omitempty"`
	Outcome Outcome `json:"outcome,omitempty"`
	// Commands are what it asked for, in their order.
	Commands []Command `json:"commands,omitempty"`
	// State is what the process has to remember; StateVersion is the version of its shape, where that is not 1.
	State        json.RawMessage `json:"state,omitempty"`
	StateVersion int             `json:"stateVersion,omitempty"`
}

// Command is one command that a process asked for.
type Command struct {
	Name string `json:"name"`
	// Version is the version of the body's shape, where that is not 1.
	Version int             `json:"version,omitempty"`
	Body    json.RawMessage `json:"body"`
}

// Outcome is how a process stands.
type Outcome string

// The outcomes of a process; "" while it is under way.
const (
	Completed Outcome = "completed"
	Failed    Outcome = "failed"
	// Held waits for something that people have to see to, such as stock.
	Held Outcome = "held"
)

// TimerSet asks to be called at a time. A timer of the same name that was set before is void.
type TimerSet struct {
	Instance
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// TimerFired records that a timer's time has come; it does once.
type TimerFired struct {
	Instance
	Name string `json:"name"`
}

// TimerCancelled makes a timer void.
type TimerCancelled struct {
	Instance
	Name string `json:"name"`
}

func (StepTaken) processEvent()      {}
func (TimerSet) processEvent()       {}
func (TimerFired) processEvent()     {}
func (TimerCancelled) processEvent() {}

// State is an instance as it stands.
type State struct {
	// Steps counts them.
	Steps   int
	Stage   string
	Outcome Outcome
	// Data is what the process remembers, and DataVersion the version of its shape, from 1.
	Data        json.RawMessage
	DataVersion int
	// Timers are those that are set.
	Timers map[string]time.Time

	taken persistent.Map[string, Taken]
}

// Taken is a step that was taken: its running number from 0, and what it asked for.
type Taken struct {
	Number   int
	Commands []Command
}

// Decider is how the stream of an instance works; its id is Instance.String.
var Decider = domain.Decider[State, Event]{Category: "saga", Key: byInstance, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams(), ParkedDecider.Streams(), Former}

// TakenFor returns the step that the trigger set off, and whether it did already.
func (s State) TakenFor(trigger string) (Taken, bool) { return s.taken.Get(trigger) }

func evolve(s State, event Event) State {
	switch e := event.(type) {
	case StepTaken:
		s.taken = s.taken.Set(e.Trigger, Taken{Number: s.Steps, Commands: e.Commands})
		s.Steps++
		s.Stage, s.Outcome = e.Stage, e.Outcome
		if len(e.State) > 0 {
			s.Data, s.DataVersion = e.State, max(1, e.StateVersion)
		}
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

// TakeStep is sent by the machinery that runs processes, when a process has reacted.
type TakeStep struct {
	Step StepTaken `json:"step"`
	// After is how many steps the process knew of when it reacted.
	After int `json:"after"`
	// Set and Cancel are its timers; Fired is the one that set the step off.
	Set    []Timer  `json:"set,omitempty"`
	Cancel []string `json:"cancel,omitempty"`
	Fired  *Timer   `json:"fired,omitempty"`
}

// Timer is a time at which a process wants to be called.
type Timer struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Take records a step. A trigger sets off one step, however often it comes, and a timer that is not set fires no more. It
// refuses step_out_of_date where the process has taken another step since it reacted: then it has to react anew.
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
		// A timer that has been set anew fires at its new time.
		if at, set := s.Timers[cmd.Fired.Name]; !set || !at.Equal(cmd.Fired.At) {
			return nil, nil
		}
		fired = cmd.Fired.Name
		events = append(events, TimerFired{Instance: cmd.Step.Instance, Name: fired})
	}
	events = append(events, cmd.Step)
	for i, name := range cmd.Cancel {
		_, set := s.Timers[name]
		again := slices.ContainsFunc(cmd.Set, func(t Timer) bool { return t.Name == name })
		if set && name != fired && !again && !slices.Contains(cmd.Cancel[:i], name) {
			events = append(events, TimerCancelled{Instance: cmd.Step.Instance, Name: name})
		}
	}
	for _, t := range cmd.Set {
		events = append(events, TimerSet{Instance: cmd.Step.Instance, Name: t.Name, At: t.At.UTC()})
	}
	return events, nil
}

// byInstance is the key of the streams of instances.
func byInstance(command any) (id string, ok bool) {
	c, ok := command.(TakeStep)
	return c.Step.Instance.String(), ok
}
