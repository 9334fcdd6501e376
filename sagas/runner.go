package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// Process is a process manager.
type Process struct {
	// Name is stable: the process's stream and its commands' ids are made of it.
	Name string
	// Categories of streams that it listens to.
	Categories []string
	// React returns the commands that the event calls for. It is pure.
	React func(event any) []any
	// Refused returns the commands that make up for one that was refused; nil where a refusal needs nothing.
	Refused func(command any, refusal *refuse.Refusal) []any
}

// Runner runs one process manager.
type Runner struct {
	Process Process
	Log     *eventlog.Log
	Handler *commands.Handler
	Logger  *slog.Logger
}

// progressEvery is how often a process that acts records its progress; a variable for tests.
var progressEvery = 5 * time.Second

const (
	sendRetry    = 100 * time.Millisecond
	sendRetryMax = 5 * time.Second
	sendTimeout  = 15 * time.Second
)

// Run follows the log until ctx ends. A command that fails, rather than being refused, is sent again until it gets
// through: events behind it wait, so nothing is skipped. When the same process runs twice, both send the same commands
// with the same ids, and one of the two ends with an error that wraps eventlog.ErrConflict.
func (r *Runner) Run(ctx context.Context) error {
	progress, err := r.loadProgress(ctx)
	if err != nil {
		return fmt.Errorf("process %s: %w", r.Process.Name, err)
	}
	err = r.Log.Follow(ctx, eventlog.Subscription{
		After: progress.position, Categories: r.Process.Categories,
		OnError: func(err error) {
			r.Logger.Warn("process waits for the log", "process", r.Process.Name, "error", err)
		},
	}, func(ctx context.Context, b eventlog.Batch) error {
		sent := 0
		for _, e := range b.Events {
			n, err := r.deal(ctx, e)
			if err != nil {
				return err
			}
			sent += n
		}
		return progress.advance(ctx, b.Through, sent > 0, func(err error) {
			r.Logger.Warn("a process's progress is not recorded yet", "process", r.Process.Name, "error", err)
		})
	})
	if ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
		defer cancel()
		return progress.save(last)
	}
	return err
}

// deal sends the commands that an event calls for, and those that make up for refused ones. It returns how many.
func (r *Runner) deal(ctx context.Context, e eventlog.Recorded) (int, error) {
	waiting := r.Process.React(e.Event)
	sent := 0
	for len(waiting) > 0 {
		command := waiting[0]
		waiting = waiting[1:]
		refusal, err := r.send(ctx, e, sent, command)
		if err != nil {
			return sent, err
		}
		sent++
		if refusal != nil {
			r.Logger.Warn("a process's command was refused", "process", r.Process.Name, "command", nameOf(command),
				"stream", e.Stream, "revision", e.Revision, "code", refusal.Code, "reason", refusal.Sentence)
			if r.Process.Refused != nil {
				waiting = append(waiting, r.Process.Refused(command, refusal)...)
			}
		}
	}
	return sent, nil
}

func (r *Runner) send(ctx context.Context, cause eventlog.Recorded, n int, command any) (*refuse.Refusal, error) {
	body, err := json.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("process %s: encode %s: %w", r.Process.Name, nameOf(command), err)
	}
	request := commands.Request{
		Name: nameOf(command), Body: body, Principal: access.Process(r.Process.Name),
		Key:           fmt.Sprintf("%s/%d", cause.ID, n),
		CorrelationID: cause.Metadata.CorrelationID, CausationID: cause.ID.String(), TraceID: cause.Metadata.TraceID,
	}
	wait := sendRetry
	for {
		attempt, cancel := context.WithTimeout(ctx, sendTimeout)
		_, err := r.Handler.Do(attempt, request)
		cancel()
		if err == nil {
			return nil, nil
		}
		if refusal, ok := refuse.As(err); ok {
			switch {
			case refusal.Code == "idempotency_key_reused":
				// It was sent before, by a version of the program that worded it otherwise, and is dealt with. Making up
				// for it as for a refusal would undo what it did.
				return nil, nil
			case refusal.Kind != refuse.KindOverload && refusal.Code != "conflict":
				return refusal, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Logger.Error("a process's command failed and is sent again", "process", r.Process.Name, "command", request.Name,
			"stream", cause.Stream, "revision", cause.Revision, "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, sendRetryMax)
		}
	}
}

func nameOf(command any) string { return reflect.TypeOf(command).Name() }

// progress is how far a process has come, as its own stream says.
type progress struct {
	log      *eventlog.Log
	process  string
	position eventlog.Position
	tail     eventlog.Tail
	saved    eventlog.Position
	savedAt  time.Time
	// acted says that commands were sent for events behind saved.
	acted bool
	// saving is the append that has been sent and not answered. It is sent again as it was, because it may have been
	// stored: the log takes it once.
	saving *saving
}

type saving struct {
	id       uuid.UUID
	at       time.Time
	position eventlog.Position
}

func (r *Runner) loadProgress(ctx context.Context) (*progress, error) {
	p := &progress{log: r.Log, process: r.Process.Name, tail: eventlog.EmptyTail, savedAt: time.Now()}
	last, found, err := r.Log.Last(ctx, p.stream())
	if err != nil || !found {
		return p, err
	}
	advanced, ok := last.Event.(process.Advanced)
	if !ok {
		return nil, fmt.Errorf("%s ends with %s instead of its progress", last.Stream, last.Type)
	}
	p.position = eventlog.Position{Commit: advanced.Commit, Prepare: advanced.Prepare}
	p.saved, p.tail = p.position, eventlog.TailAfter(last)
	return p, nil
}

func (p *progress) stream() string { return process.Category + "-" + p.process }

// advance notes how far the process has come, and records it now and then: after a crash a little is dealt with again.
// That it cannot be recorded for now is reported and tried again later; the process itself can go on.
func (p *progress) advance(ctx context.Context, through eventlog.Position, acted bool, report func(error)) error {
	p.position, p.acted = through, p.acted || acted
	if !p.acted || time.Since(p.savedAt) < progressEvery {
		return nil
	}
	err := p.save(ctx)
	if err == nil || errors.Is(err, eventlog.ErrConflict) {
		return err
	}
	p.savedAt = time.Now()
	report(err)
	return nil
}

func (p *progress) save(ctx context.Context) error {
	for p.saving != nil || p.position != p.saved {
		if p.saving == nil {
			p.saving = &saving{id: uuid.New(), at: time.Now().UTC(), position: p.position}
		}
		s := p.saving
		appended, err := p.log.Append(ctx, p.stream(), p.tail, s.id,
			eventlog.Metadata{Actor: access.Process(p.process).User, Role: "system", RecordedAt: s.at},
			process.Advanced{Process: p.process, Commit: s.position.Commit, Prepare: s.position.Prepare})
		if errors.Is(err, eventlog.ErrConflict) {
			return fmt.Errorf("process %s runs somewhere else too: %w", p.process, err)
		}
		if err != nil {
			return fmt.Errorf("record the progress of process %s: %w", p.process, err)
		}
		p.saved, p.tail, p.savedAt, p.saving = s.position, appended.Tail, time.Now(), nil
	}
	p.acted = false
	return nil
}
