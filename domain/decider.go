package domain

import "time"

// Decider is how one kind of stream works: where it starts and how each event changes it. The third part, the
// decisions, are plain functions of (state, command, call), or of (state, facts, command, call) where a decision needs
// to know something that another stream holds.
type Decider[S, E any] struct {
	// Category is the first part of the stream's name; the stream of id x is called Category-x.
	Category string
	// Initial is the state of a stream without events.
	Initial S
	// Evolve returns the state after one more event. It never changes the state that it was given, because folded
	// states are shared between requests: maps and slices are copied before they are written.
	Evolve func(S, E) S
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
