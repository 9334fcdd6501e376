package sagas

import (
	"context"
	"fmt"
	"reflect"

	"casebook/eventlog"
)

// Passing is how a relay passes on the events of one type. Pass makes one.
type Passing struct {
	event reflect.Type
	pass  func(context.Context, *Desk, eventlog.Recorded) error
}

// Pass passes on events of type E. After a crash the same event may come again, so pass has to find out what it has done,
// or to do it under an id by which the receiver knows a repeat.
func Pass[E any](pass func(context.Context, *Desk, E, eventlog.Recorded) error) Passing {
	return Passing{event: reflect.TypeFor[E](), pass: func(ctx context.Context, d *Desk, at eventlog.Recorded) error {
		return pass(ctx, d, at.Event.(E), at)
	}}
}

// DefineRelay makes a process that passes events on to the outside, and keeps no state. It panics where an event is passed
// on twice.
func DefineRelay(name string, sends []reflect.Type, passes ...Passing) Process {
	p := Process{Name: name, sends: sends, relay: map[reflect.Type]func(context.Context, *Desk, eventlog.Recorded) error{}}
	for _, pass := range passes {
		if p.relay[pass.event] != nil {
			panic(fmt.Sprintf("sagas: process %s passes %v on twice", name, pass.event))
		}
		p.relay[pass.event] = pass.pass
		p.events = append(p.events, pass.event)
	}
	return p
}

// pass passes one event on.
func (p Process) pass(ctx context.Context, r *Runner, e eventlog.Recorded) error {
	return p.relay[reflect.TypeOf(e.Event)](ctx, &Desk{runner: r, process: p}, e)
}
