package sagas

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"
)

// Process is a process manager: which events it listens to, which of its instances each is about, and how an instance
// reacts. Define makes one.
type Process struct {
	// Name is stable: the streams of its instances, the ids of their commands and its consumer group are made of it.
	Name string
	// Types are the stable names of the events that it listens to.
	Types []string

	instances func(e eventlog.Recorded) []string
	react     func(data json.RawMessage, o Occurrence) (reaction, error)
}

// Occurrence is what an instance reacts to.
type Occurrence struct {
	// ID is the same each time that the occurrence comes.
	ID string
	// Type names it, for the record.
	Type string
	// Event is an event of the domain, a Refused or a Fired.
	Event any
	// At is when it was recorded, or when the timer fired.
	At time.Time
	// Study and Site are those of the event.
	Study domain.StudyID
	Site  domain.SiteID

	correlation, trace string
	position           uint64
}

// Refused tells an instance that a command of its was refused.
type Refused struct {
	Command string
	Refusal *refuse.Refusal
}

// Fired tells an instance that the time of a timer has come.
type Fired struct{ Timer string }

// Reaction is how an instance of a process with state S reacts.
type Reaction[S any] struct {
	State S
	// Stage says what it waits for, or how it ended; Note says why, for people.
	Stage, Note string
	Outcome     process.Outcome
	// Commands are sent in their order, each once.
	Commands []any
	// Set and Cancel are timers.
	Set    []process.Timer
	Cancel []string
}

// reaction is a Reaction of any process, in the form in which it is recorded.
type reaction struct {
	none  bool
	step  process.StepTaken
	timer struct {
		set    []process.Timer
		cancel []string
	}
}

// Define makes a process manager. instances says which instances an event is about; react is pure, and returns false where
// the occurrence means nothing to the instance as it stands. A refusal that means nothing to it is a mistake in the
// process, and its message is parked.
func Define[S any](name string, types []string, instances func(eventlog.Recorded) []string, react func(S, Occurrence) (Reaction[S], bool)) Process {
	return Process{Name: name, Types: types, instances: instances, react: func(data json.RawMessage, o Occurrence) (reaction, error) {
		var state S
		if len(data) > 0 {
			if err := json.Unmarshal(data, &state); err != nil {
				return reaction{}, permanent(fmt.Errorf("read the state of process %s: %w", name, err))
			}
		}
		r, some := react(state, o)
		if !some {
			return reaction{none: true}, nil
		}
		next, err := json.Marshal(r.State)
		if err != nil {
			return reaction{}, permanent(err)
		}
		out := reaction{step: process.StepTaken{Study: o.Study, Site: o.Site, Trigger: o.ID, TriggerType: o.Type, Stage: r.Stage, Note: r.Note,
			Outcome: r.Outcome, State: next}}
		for _, c := range r.Commands {
			body, err := json.Marshal(c)
			if err != nil {
				return reaction{}, permanent(err)
			}
			out.step.Commands = append(out.step.Commands, process.Command{Name: reflect.TypeOf(c).Name(), Body: body})
		}
		out.timer.set, out.timer.cancel = r.Set, r.Cancel
		return out, nil
	}}
}

// All lists the process managers of the product.
func All() []Process {
	return []Process{Enrollment, Dispensing, Resupply, SupplyUpkeep, MissedDiaries, Safety, Leaving}
}

// one is the instances of an event that is about one.
func one[T ~string](id T) []string {
	if id == "" {
		return nil
	}
	return []string{string(id)}
}
