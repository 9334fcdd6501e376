package domain

import (
	"fmt"
	"reflect"
	"time"
)

// Decider describes one kind of stream: its initial state and how each event changes the state. The decisions on it are
// plain functions of (state, command, call), or of (state, facts, command, call) if a decision needs facts that another
// stream holds.
type Decider[S, E any] struct {
	// Category is the first part of the stream's name; the stream of id x is called Category-x.
	Category string
	// Initial is the state of a stream without events.
	Initial S
	// Key returns the id of the stream that a command runs on; ok is false for commands that do not run on such a stream.
	Key func(command any) (id string, ok bool)
	// Evolve returns the state after one more event. It never changes the state that it gets, because requests share
	// states: it copies maps and slices before it writes to them.
	Evolve func(S, E) S
	// Events are all types of events that the stream can hold, with the names under which they are stored.
	Events []EventType
}

// Stream returns the name of the stream that holds the events of id.
func (d Decider[S, E]) Stream(id string) string { return d.Category + "-" + id }

// Fold returns the state after all the events.
func (d Decider[S, E]) Fold(events ...E) S {
	state := d.Initial
	for _, e := range events {
		state = d.Evolve(state, e)
	}
	return state
}

// Streams describes the decider's kind of stream to packages that do not know its types.
func (d Decider[S, E]) Streams() StreamType {
	fold := func(state, event any) (any, error) {
		e, ok := event.(E)
		if !ok {
			return nil, fmt.Errorf("%T is not an event of %s", event, d.Category)
		}
		return d.Evolve(state.(S), e), nil
	}
	return StreamType{Category: d.Category, Events: d.Events, Initial: d.Initial, Fold: fold, State: func(events ...any) (any, error) {
		state := any(d.Initial)
		for _, event := range events {
			var err error
			if state, err = fold(state, event); err != nil {
				return nil, err
			}
		}
		return state, nil
	}}
}

// StreamType is a kind of stream: its category, and the events that it can hold.
type StreamType struct {
	Category string
	Events   []EventType
	// State folds events to a state. It is nil for streams that only earlier versions wrote and that nothing reads any
	// more. Initial is the state without events, and Fold returns the state after one more.
	State   func(events ...any) (any, error)
	Initial any
	Fold    func(state, event any) (any, error)
	// Accounts says that each account has one stream, with the account's id.
	Accounts bool
	// HidesRevisions says that gaps between the revisions that a reader sees could reveal an arm.
	HidesRevisions bool
}

// OfAccounts marks a kind of streams of which each account has one.
func (s StreamType) OfAccounts() StreamType {
	s.Accounts = true
	return s
}

// WithTellingGaps marks a kind of streams whose revisions are not shown, because gaps between them could reveal an arm.
func (s StreamType) WithTellingGaps() StreamType {
	s.HidesRevisions = true
	return s
}

// EventType is a type of event as the log knows it.
type EventType struct {
	// Name is the name under which the event is stored. The Go type may be renamed, but this name never changes.
	Name string
	// Go is the type that stored events decode to.
	Go reflect.Type
	// Upcasts lead from each schema version to the current one.
	Upcasts Upcasts
	// Stateless says that the event is recorded for people to read and changes no state.
	Stateless bool
	// Secret says that the event's content is never shown, not even to the sender of the command.
	Secret bool
	// Unlisted says that the audit index leaves the event out, because the mere fact that it happened could reveal an arm.
	Unlisted bool
	// Unshown says why no view shows the event; it is empty if a view shows it. The audit index does not count: it lists
	// nearly all events, but not their contents.
	Unshown string

	// Read makes an event of the type, lets decode fill it in, and returns it.
	Read func(decode func(into any) error) (any, error)
}

// Stored declares that events of type E are stored under a stable name. A change of the event's fields needs one more
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

// Version is the current schema version, from 1.
func (t EventType) Version() int { return t.Upcasts.Version() }

// ForReaders marks an event that is recorded for people to read and changes no state.
func (t EventType) ForReaders() EventType {
	t.Stateless = true
	return t
}

// NeverShown marks an event whose content is never shown.
func (t EventType) NeverShown() EventType {
	t.Secret = true
	return t
}

// NotInAuditIndex marks an event that the audit index leaves out.
func (t EventType) NotInAuditIndex() EventType {
	t.Unlisted = true
	return t
}

// InNoView marks an event that no view shows, with the reason.
func (t EventType) InNoView(why string) EventType {
	t.Unshown = why
	return t
}

// Call says who sends a command, and when. A decision takes these from the call alone, so that it can be repeated with
// the same result.
type Call struct {
	// At is the server's time of the call, UTC.
	At time.Time
	// Today is the day of At at the site that the command is about; "" if it is about none, or its zone is not known.
	Today Date
	// Actor is the user or the process manager that sends the command.
	Actor UserID
	// CommandID is the id of the command. A decision that needs new ids derives them from it.
	CommandID string
}
