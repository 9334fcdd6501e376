// Package scenario lets the test of a decision read as a sentence: given these events, when this command is sent, then
// these events follow, or this refusal. It also checks that the Evolve of every tested decider does not change old
// states.
package scenario

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/refuse"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Given is the past of one stream.
type Given[S, E any] struct {
	t       testing.TB
	decider domain.Decider[S, E]
	state   S
	past    []E
	strict  bool
}

// Outcome is the result of a decision: events or an error.
type Outcome[S, E any] struct {
	given  Given[S, E]
	events []E
	err    error
}

// For begins a scenario on an empty stream of the decider.
func For[S, E any](t testing.TB, decider domain.Decider[S, E]) Given[S, E] {
	return Given[S, E]{t: t, decider: decider, state: decider.Initial}
}

// Strict returns the scenario in a stricter form: ThenRefused also expects that every refusal has a remedy and a field.
func (g Given[S, E]) Strict() Given[S, E] {
	g.strict = true
	return g
}

// Given adds events to the stream.
func (g Given[S, E]) Given(events ...E) Given[S, E] {
	g.t.Helper()
	for _, e := range events {
		g.state = Evolve(g.t, g.decider, g.state, e)
	}
	g.past = slices.Concat(g.past, events)
	return g
}

// Evolve returns the state after one more event. It fails the test if the decider changes the old state.
func Evolve[S, E any](t Failer, decider domain.Decider[S, E], state S, e E) S {
	t.Helper()
	before := Picture(state)
	next := decider.Evolve(state, e)
	if diff := cmp.Diff(before, Picture(state)); diff != "" {
		t.Fatalf("%T changed the state before it (-before +after):\n%s", e, diff)
	}
	return next
}

// Failer is what testing.TB and *rapid.T have in common.
type Failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// State returns the state that the given events fold to.
func (g Given[S, E]) State() S { return g.state }

// Events returns the given events, the oldest first.
func (g Given[S, E]) Events() []E { return slices.Clone(g.past) }

// When decides on the state. Make decide with Sent or SentWithFacts.
func (g Given[S, E]) When(decide func(S) ([]E, error)) Outcome[S, E] {
	g.t.Helper()
	events, err := decide(g.state)
	return Outcome[S, E]{given: g, events: events, err: err}
}

// Sent returns the decision about a command, for When.
func Sent[S, E, C any](decide func(S, C, domain.Call) ([]E, error), command C, call domain.Call) func(S) ([]E, error) {
	return func(s S) ([]E, error) { return decide(s, command, call) }
}

// SentWithFacts returns the decision about a command that needs facts of other streams, for When.
func SentWithFacts[S, F, E, C any](decide func(S, F, C, domain.Call) ([]E, error), facts F, command C,
	call domain.Call) func(S) ([]E, error) {
	return func(s S) ([]E, error) { return decide(s, facts, command, call) }
}

// Then expects exactly these events. It returns the scenario with the events added to the stream, to continue with.
func (o Outcome[S, E]) Then(want ...E) Given[S, E] {
	t := o.given.t
	t.Helper()
	if o.err != nil {
		t.Fatalf("refused or failed: %v", o.err)
	}
	if diff := cmp.Diff(want, o.events, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("other events than expected (-want +got):\n%s", diff)
	}
	next := o.given
	for _, e := range o.events {
		next.state = Evolve(t, next.decider, next.state, e)
	}
	next.past = slices.Concat(next.past, o.events)
	return next
}

// ThenRefused expects a refusal with this code and no events. It returns the refusal for further checks.
func (o Outcome[S, E]) ThenRefused(code string) *refuse.Refusal {
	t := o.given.t
	t.Helper()
	r, ok := refuse.As(o.err)
	if !ok {
		t.Fatalf("want the refusal %s, got events %v and error %v", code, o.events, o.err)
	}
	if r.Code != code {
		t.Fatalf("want the refusal %s, got %v", code, r)
	}
	if len(o.events) > 0 {
		t.Fatalf("the refusal %s comes with events: %v", code, o.events)
	}
	if r.Sentence == "" {
		t.Fatalf("the refusal %s has no sentence", code)
	}
	if o.given.strict && (r.Remedy == "" || r.Field == "") {
		t.Fatalf("the refusal %s lacks a remedy or a field: remedy %q, field %q", code, r.Remedy, r.Field)
	}
	return r
}
