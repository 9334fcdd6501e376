package domain

import (
	"fmt"
	"reflect"
	"time"
)

// Decider is how one kind of stream works: where it starts and how each event changes it. The third part, the
// decisions, are plain functions of (state, command, call), or of (state, facts, command, call) where a decision needs
// to know something that another stream holds.
type Decider[S, E any] struct {
	// Category is the first part of the stream's name; the stream of id x is called Category-x.
	Category string
	// Initial is the state of a stream without events.
	Initial S
	// Key returns the id of the stream that a command runs on; ok is false for commands that are not about such a stream.
	Key func(command any) (id string, ok bool)
	// Evolve returns the state after one more event. It never changes the state that it was given, because folded
	// states are shared between requests: maps and slices are copied before they are written.
	Evolve func(S, E) S
	// Events are all types of events that the stream can hold, with the names under which they are stored.
	Events []EventType
}

// Stream names the stream that holds the events of id.
func (d Decider[S, E]) Stream(id string) string { return d.Category + "-" + id }

// Fold returns the state after all of events.
func (d Decider[S, E]) Fold(events ...E) S {
	state := d.Initial
	for _, e := range events {
		state = d.Evolve(state, e)
	}
	return state
}

// Streams describes the decider's kind of stream to rooms that do not know its types.
func (d Decider[S, E]) Streams() StreamType {
	return StreamType{Category: d.Category, Events: d.Events, State: func(events ...any) (any, error) {
		state := d.Initial
		for _, event := range events {
			e, ok := event.(E)
			if !ok {
				return nil, fmt.Errorf("%T is not an event of %s", event, d.Category)
			}
			state = d.Evolve(state, e)
		}
		return state, nil
	}}
}

// StreamType is a kind of stream: its category, and the events that it can hold.
type StreamType struct {
	Category string
	Events   []EventType
	// State folds events to a state; nil for streams that earlier versions wrote and nothing reads any more.
	State func(events ...any) (any, error)
}

// EventType is a type of event as the log knows it.
type EventType struct {
	// Name is the stable name under which the event is stored. A Go type may be renamed, this never.
	Name string
	// Go is the type that stored events decode to.
	Go reflect.Type
	// Upcasts lead from each schema version to the present one.
	Upcasts Upcasts
	// Stateless says that the event is recorded for people to read and changes no state.
	Stateless bool
	// Secret says that what the event holds is shown to nobody, not even to whoever caused it.
	Secret bool
	// Unlisted says that the audit index leaves the event out, because that it happened could tell of an arm.
	Unlisted bool

	// Read returns the event that decode fills in.
	Read func(decode func(into any) error) (any, error)
}

// Stored declares that events of type E are stored under a stable name. A change of the event's shape is one more
// upcast, from the last version to the new one.
func Stored[E any](name string, upcasts ...Upcast) EventType {
	return EventType{Name: name, Go: reflect.TypeFor[E](), Upcasts: upcasts, Read: func(decode func(into any) error) (any, error) {
		var e E
		if err := decode(&e); err != nil {
			return nil, err
		}
		return e, nil
	}}
}

// Version is the present schema version, from 1.
func (t EventType) Version() int { return t.Upcasts.Version() }

// ForReaders returns the type of an event that is recorded for people to read and changes no state.
func (t EventType) ForReaders() EventType {
	t.Stateless = true
	return t
}

// NeverShown returns the type of an event whose content is shown to nobody.
func (t EventType) NeverShown() EventType {
	t.Secret = true
	return t
}

// NotInAuditIndex returns the type of an event that the audit index leaves out.
func (t EventType) NotInAuditIndex() EventType {
	t.Unlisted = true
	return t
}

// Call is what a decision may know about who asks, and when. It comes in with the command, so that a decision can be
// repeated exactly.
type Call struct {
	// At is the server's time of the call, UTC.
	At time.Time
	// Actor is the user, or the process manager, that asks.
	Actor UserID
	// CommandID is the id of the command; ids that a decision has to make up are derived from it.
	CommandID string
}
