package sagas

import (
	"context"
	"errors"

	"casebook/eventlog"
)

// pastKey is the key of the past of the log in a context.
type pastKey struct{}

// withPast returns a context for what a process does because of something that it has read in a past of the log. Its commands are
// refused in another one.
func withPast(ctx context.Context, past eventlog.Past) context.Context {
	return context.WithValue(ctx, pastKey{}, past)
}

// pastOf returns the past of the log that a context is for; 0 for any.
func pastOf(ctx context.Context) eventlog.Past {
	past, _ := ctx.Value(pastKey{}).(eventlog.Past)
	return past
}

// stillThere returns a context for dealing with an event, and false if the event was delivered by a log that has been replaced since,
// and was lost with it. Nothing is asked as long as this program has met one past only.
func (d *Drive) stillThere(ctx context.Context, e eventlog.Recorded) (context.Context, bool, error) {
	past := d.Log.Past()
	if past > 1 {
		err := d.Log.Recognise(ctx, e.Position, e.Mark(), d.Log.Patience())
		if errors.Is(err, eventlog.ErrOtherPast) {
			d.Logger.Warn("a process leaves an event out that was lost when the log was replaced", "stream", e.Stream, "revision", e.Revision,
				"type", e.Type, "error", err)
			return ctx, false, nil
		}
		if err != nil {
			return ctx, false, err
		}
	}
	return withPast(ctx, past), true, nil
}
