package sagas

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"casebook/commands"
	"casebook/eventlog"
)

// Desk is where a process works that is not pure: it reads the present state of streams, and sends commands in the name of
// the process.
type Desk struct {
	runner  *Runner
	process Process
	// recorded counts the events that its commands led to.
	recorded int
}

// Reader returns a reader of states. Decisions that must not miss what another program has recorded read with
// commands.ReadNewest.
func (d *Desk) Reader() commands.Reader { return d.runner.Handler.Reader() }

// ReaderAfter returns a reader of states whose ReadNewest has seen the event.
func (d *Desk) ReaderAfter(e eventlog.Recorded) commands.Reader {
	return d.runner.Handler.ReaderAfter(e.Position.Commit)
}

// Now is the time.
func (d *Desk) Now() time.Time { return d.runner.now() }

// Logger takes the messages of the process for its operators.
func (d *Desk) Logger() *slog.Logger { return d.runner.Logger.With("process", d.process.Name) }

// Fault is called at every point at which a crash would matter, with its name.
func (d *Desk) Fault(point string) error { return d.runner.fault(point) }

// Send sends a command that the process has declared; the same key sends it once. cause is the event that led to it; nil
// where the clock did.
func (d *Desk) Send(ctx context.Context, command any, key string, cause *eventlog.Recorded) (commands.Answer, error) {
	if err := d.process.mustDeclare(command); err != nil {
		return commands.Answer{}, err
	}
	o := Occurrence{}
	if cause != nil {
		o = occurrenceOf(*cause)
	}
	answer, err := d.runner.do(ctx, d.process, o, reflect.TypeOf(command).Name(), 0, command, key, nil)
	if err != nil {
		return answer, fmt.Errorf("process %s: %w", d.process.Name, err)
	}
	d.recorded += len(answer.Events)
	return answer, nil
}
