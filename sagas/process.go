package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"
)

// Process is a process manager: which events it listens to, which commands it may send, and how it reacts. Define,
// DefineByClock and DefineRelay make one.
type Process struct {
	// Name is stable: the streams of its instances, the ids of its commands, its consumer group and the actor in its
	// events' metadata are made of it.
	Name string

	group      string
	fromEnd    bool
	ofPatients bool
	events     []reflect.Type
	sends      []reflect.Type

	// One of these says of which kind it is.
	stateful *stateful
	clocked  *clocked
	relay    map[reflect.Type]func(context.Context, *Desk, eventlog.Recorded) error
}

// stateful is what a process that keeps a state is made of.
type stateful struct {
	state    reflect.Type
	upcasts  domain.Upcasts
	about    map[reflect.Type]func(eventlog.Recorded) []string
	refusals []reflect.Type
	// unchanged are the types of the commands that the process is told of when they record nothing.
	unchanged []reflect.Type
	react     func(remembered json.RawMessage, o Occurrence) (step Step, reacted bool, err error)
}

// InGroup returns the process with another name for its consumer group than its own. A group that exists keeps the filter
// that it was made with, so a process that learns to listen to more events needs a group of a new name. The new group is
// delivered the whole log again, which changes nothing where the process has taken its steps.
func (p Process) InGroup(name string) Process {
	p.group = name
	return p
}

// FromEnd returns the process with a consumer group that begins at the end of the log when it is made: what was recorded before
// does not concern the process. That is so too when the group was deleted and is made again.
func (p Process) FromEnd() Process {
	p.fromEnd = true
	return p
}

// OfPatients returns the process with instances that are named after patients, so that an alert about one names the patient,
// and the patient's audit trail has its steps.
func (p Process) OfPatients() Process {
	p.ofPatients = true
	return p
}

// IsOfPatients says whether the instances are named after patients.
func (p Process) IsOfPatients() bool { return p.ofPatients }

// BeginsAtEnd says whether the process's consumer group begins at the end of the log when it is made.
func (p Process) BeginsAtEnd() bool { return p.fromEnd }

// Group names the consumer group of the process; groups keep their place in the store under it.
func (p Process) Group() string {
	if p.group != "" {
		return "casebook-" + p.group
	}
	return "casebook-" + p.Name
}

// Events are the types of the events that the process listens to, in the order of their declaration.
func (p Process) Events() []reflect.Type { return slices.Clone(p.events) }

// Commands are the types of the commands that the process may send.
func (p Process) Commands() []reflect.Type { return slices.Clone(p.sends) }

// ByClock says whether the process works by the clock.
func (p Process) ByClock() bool { return p.clocked != nil }

// OnlyDelivered says whether nothing reacts to events of a type that the process is delivered.
func (p Process) OnlyDelivered(event reflect.Type) bool {
	return p.stateful != nil && p.stateful.about[event] == nil
}

// Refusals are the types of the commands to whose refusal the process reacts.
func (p Process) Refusals() []reflect.Type {
	if p.stateful == nil {
		return nil
	}
	return slices.Clone(p.stateful.refusals)
}

// Unchanged are the types of the commands to which the process reacts when they record nothing.
func (p Process) Unchanged() []reflect.Type {
	if p.stateful == nil {
		return nil
	}
	return slices.Clone(p.stateful.unchanged)
}

// State is the type of what an instance remembers, and how earlier versions of it are read; nil for a process that keeps
// no state.
func (p Process) State() (reflect.Type, domain.Upcasts) {
	if p.stateful == nil {
		return nil, nil
	}
	return p.stateful.state, p.stateful.upcasts
}

// ListensTo says whether the process listens to events of the event's type.
func (p Process) ListensTo(event any) bool { return slices.Contains(p.events, reflect.TypeOf(event)) }

// reactsToUnchanged says whether the process reacts to a command of this name when it records nothing.
func (p Process) reactsToUnchanged(name string) bool {
	return slices.ContainsFunc(p.stateful.unchanged, func(t reflect.Type) bool { return t.Name() == name })
}

// bodyOf returns a command of a step as what it is today.
func bodyOf(h *commands.Handler, c process.Command) (any, error) {
	declared, ok := h.Find(c.Name)
	if !ok {
		return nil, Permanent(fmt.Errorf("there is no command %s", c.Name))
	}
	body, err := declared.Upcasts().Current(max(1, c.Version), c.Body)
	if err != nil {
		return nil, err
	}
	command := reflect.New(declared.Body())
	if err := commands.Decode(body, command.Interface()); err != nil {
		return nil, Permanent(err)
	}
	return command.Elem().Interface(), nil
}

// mustDeclare returns an error unless the process has declared that it sends commands of the command's type.
func (p Process) mustDeclare(command any) error {
	if !slices.Contains(p.sends, reflect.TypeOf(command)) {
		return Permanent(fmt.Errorf("process %s sends %T, which is not among its Sends", p.Name, command))
	}
	return nil
}

// Occurrence is what an instance reacts to.
type Occurrence struct {
	// ID is the same each time that the occurrence comes.
	ID string
	// Type names it, for the record.
	Type string
	// Event is an event of the domain, a Refused, an Unchanged or a Fired.
	Event any
	// At is when it was recorded, or when the timer fired.
	At time.Time
	// Study and Site are those of the event.
	Study domain.StudyID
	Site  domain.SiteID
	// Of is the id of the instance that reacts. Stage and Outcome are those that it is in, and Awaits says that it awaits an answer.
	Of      string
	Stage   string
	Outcome process.Outcome
	Awaits  bool
	// Position is where the log has the event, or the one that the command followed from; 0 for a timer. What an instance is told of may come
	// late: of two events, the one with the higher position is the newer.
	Position           uint64
	correlation, trace string
	// now is when the instance reacts, which may be long after At.
	now time.Time
}

// occurrenceOf is the occurrence of a recorded event.
func occurrenceOf(e eventlog.Recorded) Occurrence {
	return Occurrence{ID: e.ID.String(), Type: e.Type, Event: e.Event, At: e.Metadata.RecordedAt,
		Study: e.Metadata.Study, Site: e.Metadata.Site,
		correlation: e.Metadata.CorrelationID, trace: e.Metadata.TraceID, Position: e.Position.Commit}
}

// Refused is the occurrence of a refusal: a command that the instance sent, by this name, was refused.
type Refused struct {
	Command string
	Refusal *refuse.Refusal
	// Body is the command.
	Body any
}

// Unchanged is the occurrence that a command of this name that the instance sent has recorded nothing: what it asks for is done.
type Unchanged struct {
	Command string
	// Body is the command.
	Body any
}

// Fired is the occurrence of a timer whose time has come.
type Fired struct{ Timer string }

// Reaction is how an instance of a process with state S reacts.
type Reaction[S any] struct {
	State S
	// Stage says what the instance waits for, or how it ended; Note says why, for people.
	Stage, Note string
	Outcome     process.Outcome
	// Commands are sent in their order, each once.
	Commands []any
	// Awaits says that the stage waits for an answer, which has to come within AnswerWithin. The instance then asks again, and is
	// stuck when that does not help. A step to another stage, or to an outcome, ends the wait unless it awaits an answer too.
	Awaits bool
	// Set and Cancel are timers.
	Set    []process.Timer
	Cancel []string
}

// Step is a reaction in the form in which it is recorded.
type Step struct {
	process.StepTaken
	// Set and Cancel are timers.
	Set    []process.Timer
	Cancel []string
}

// Sends lists the commands that a process may send, by a blank value of each type. A process that sends another command
// has a mistake, and the message that it reacted to is parked.
func Sends(commands ...any) []reflect.Type {
	types := make([]reflect.Type, len(commands))
	for i, c := range commands {
		types[i] = reflect.TypeOf(c)
	}
	return types
}

// Listener is how instances of a process with state S react to occurrences of one kind. On, OnTimer, OnRefusal and OnUnchanged make
// one. The function that reacts is pure, and returns false where the occurrence means nothing to the instance.
type Listener[S any] struct {
	event     reflect.Type // of On
	refused   reflect.Type // of OnRefusal
	unchanged reflect.Type // of OnUnchanged
	about     func(eventlog.Recorded) []string
	react     func(S, Occurrence) (Reaction[S], bool)
}

// On reacts to events of type E. about names the instances that an event is about; there may be none.
func On[E, S any](about func(E, eventlog.Recorded) []string, react func(S, E, Occurrence) (Reaction[S], bool)) Listener[S] {
	return Listener[S]{event: reflect.TypeFor[E](),
		about: func(at eventlog.Recorded) []string { return about(at.Event.(E), at) },
		react: func(s S, o Occurrence) (Reaction[S], bool) { return react(s, o.Event.(E), o) }}
}

// Delivered names a type of event that the consumer group delivers, but to which the process does not react. A group keeps
// the filter that it was made with, so it still delivers events to which an earlier version of the process reacted.
func Delivered[E, S any]() Listener[S] { return Listener[S]{event: reflect.TypeFor[E]()} }

// OnTimer reacts to the instance's timers.
func OnTimer[S any](react func(S, Fired, Occurrence) (Reaction[S], bool)) Listener[S] {
	return Listener[S]{react: func(s S, o Occurrence) (Reaction[S], bool) { return react(s, o.Event.(Fired), o) }}
}

// OnRefusal reacts to the refusal of a command of type C that the instance sent; the occurrence has the command. A refusal to which
// nothing reacts is a mistake in the process, and the message that led to the command is parked.
func OnRefusal[C, S any](react func(S, *refuse.Refusal, Occurrence) (Reaction[S], bool)) Listener[S] {
	return Listener[S]{refused: reflect.TypeFor[C](),
		react: func(s S, o Occurrence) (Reaction[S], bool) { return react(s, o.Event.(Refused).Refusal, o) }}
}

// OnUnchanged reacts to a command of type C that the instance sent and that has recorded nothing. Without such a reaction, an instance
// that awaits an answer is told of the last event of the command's stream once more, which does not say which of several commands
// it answers. A reaction that sends the same command again would go on for ever.
func OnUnchanged[C, S any](react func(S, C, Occurrence) (Reaction[S], bool)) Listener[S] {
	return Listener[S]{unchanged: reflect.TypeFor[C](),
		react: func(s S, o Occurrence) (Reaction[S], bool) { return react(s, o.Event.(Unchanged).Body.(C), o) }}
}

// ByPatient names the instance of the patient whom an event is about.
func ByPatient[E domain.AboutPatient](e E, _ eventlog.Recorded) []string {
	return Instance(e.AboutPatient())
}

// Instance names one instance; none where the id is empty.
func Instance[T ~string](id T) []string {
	if id == "" {
		return nil
	}
	return []string{string(id)}
}

// Define makes a process whose instances keep a state S. It panics where a listener is declared twice, or reacts to the
// refusal of a command that the process does not send: that is a mistake in the program, found by its first test.
func Define[S any](name string, sends []reflect.Type, listeners ...Listener[S]) Process {
	p := Process{Name: name, sends: sends, stateful: &stateful{state: reflect.TypeFor[S](),
		about: map[reflect.Type]func(eventlog.Recorded) []string{}}}
	reactions := map[any]func(S, Occurrence) (Reaction[S], bool){}
	for _, l := range listeners {
		var to any
		switch {
		case l.event != nil:
			to = l.event
			p.events = append(p.events, l.event)
			p.stateful.about[l.event] = l.about
		case l.refused != nil:
			to = Refused{Command: l.refused.Name()}
			p.stateful.refusals = append(p.stateful.refusals, l.refused)
			if !slices.Contains(sends, l.refused) {
				panic(fmt.Sprintf("sagas: process %s reacts to the refusal of %v, which is not among its Sends", name, l.refused))
			}
		case l.unchanged != nil:
			to = Unchanged{Command: l.unchanged.Name()}
			p.stateful.unchanged = append(p.stateful.unchanged, l.unchanged)
			if !slices.Contains(sends, l.unchanged) {
				panic(fmt.Sprintf("sagas: process %s reacts to an unchanged %v, which is not among its Sends", name, l.unchanged))
			}
		default:
			to = Fired{}
		}
		if reactions[to] != nil {
			panic(fmt.Sprintf("sagas: process %s has two listeners of %v", name, to))
		}
		reactions[to] = l.react
	}
	p.stateful.react = func(remembered json.RawMessage, o Occurrence) (Step, bool, error) {
		if isOverdue(o) {
			step, waits := overdue(o)
			return step, waits, nil
		}
		react := reactions[kindOf(o)]
		if react == nil {
			return Step{}, false, nil
		}
		var state S
		if len(remembered) > 0 {
			if err := json.Unmarshal(remembered, &state); err != nil {
				return Step{}, false, Permanent(fmt.Errorf("read the state of process %s: %w", name, err))
			}
		}
		r, reacted := react(state, o)
		if !reacted {
			return Step{}, false, nil
		}
		step, err := recordable(p, r, o)
		return step, err == nil, err
	}
	return p
}

// kindOf is what a process looks its reaction to an occurrence up by.
func kindOf(o Occurrence) any {
	switch e := o.Event.(type) {
	case Fired:
		return Fired{}
	case Refused:
		return Refused{Command: e.Command}
	case Unchanged:
		return Unchanged{Command: e.Command}
	}
	return reflect.TypeOf(o.Event)
}

// recordable returns a reaction in the form in which it is recorded.
func recordable[S any](p Process, r Reaction[S], o Occurrence) (Step, error) {
	state, err := json.Marshal(r.State)
	if err != nil {
		return Step{}, Permanent(err)
	}
	step := Step{Set: r.Set, Cancel: r.Cancel, StepTaken: process.StepTaken{Study: o.Study, Site: o.Site, Trigger: o.ID, TriggerType: o.Type,
		Stage: r.Stage, Note: r.Note, Outcome: r.Outcome, State: state}}
	for _, c := range r.Commands {
		if err := p.mustDeclare(c); err != nil {
			return Step{}, err
		}
		body, err := json.Marshal(c)
		if err != nil {
			return Step{}, Permanent(err)
		}
		step.Commands = append(step.Commands, process.Command{Name: reflect.TypeOf(c).Name(), Body: body})
	}
	step.setAnswerTimers(o, r.Awaits)
	return step, nil
}

// Upcast says how what instances remembered in earlier versions is read, the first upcast from version 1 to version 2.
func (p Process) Upcast(upcasts ...domain.Upcast) Process {
	changed := *p.stateful
	changed.upcasts = upcasts
	p.stateful = &changed
	return p
}

// React is the pure part of a process: how an instance that remembers this, in a version of its state, reacts to an
// occurrence, and whether it does. It fails with domain.ErrUnknownVersion where a later program wrote the state.
func (p Process) React(remembered json.RawMessage, version int, o Occurrence) (step Step, reacted bool, err error) {
	if p.stateful == nil {
		return Step{}, false, Permanent(fmt.Errorf("process %s keeps no state", p.Name))
	}
	if len(remembered) > 0 {
		remembered, err = p.stateful.upcasts.Current(version, remembered)
		switch {
		case errors.Is(err, domain.ErrUnknownVersion): // a later program, which runs beside this one, takes the step
			return Step{}, false, fmt.Errorf("read the state of process %s: %w", p.Name, err)
		case err != nil:
			return Step{}, false, Permanent(fmt.Errorf("read the state of process %s: %w", p.Name, err))
		}
	}
	step, reacted, err = p.stateful.react(remembered, o)
	if v := p.stateful.upcasts.Version(); reacted && v > 1 && len(step.State) > 0 {
		step.StateVersion = v
	}
	return step, reacted, err
}

// About names the instances that an event is about; none where the process keeps no state.
func (p Process) About(e eventlog.Recorded) []string {
	if p.stateful == nil {
		return nil
	}
	if about := p.stateful.about[reflect.TypeOf(e.Event)]; about != nil {
		return about(e)
	}
	return nil
}
