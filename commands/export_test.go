package commands

import (
	"context"

	"casebook/eventlog"
)

// Append appends encoded events.
type Append = func(context.Context, eventlog.Encoded) (eventlog.Appended, error)

// InterceptAppends has a function stand between the handler and its log. It is called before the handler takes commands.
func (h *Handler) InterceptAppends(with func(Append) Append) { h.appendEncoded = with(h.appendEncoded) }

// Waiting is how many commands wait for the next append of a stream.
func (h *Handler) Waiting(stream string) int {
	p := &h.states.stream(stream).pipeline
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.filling == nil {
		return 0
	}
	return len(p.filling.commands)
}
