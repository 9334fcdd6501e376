package eventlog

import (
	"cmp"
	"context"
	"errors"
	"math"
)

// SealedEvents returns the first events of the log that hold blinded values, undecoded and at most the given number.
// all reports whether these are all that the log has, or as many as were asked for; it is false if ctx ended before.
func (l *Log) SealedEvents(ctx context.Context, atMost int) (found []Recorded, all bool, err error) {
	var types []string
	for _, s := range l.registry.Schemas() {
		if s.Blinded() {
			types = append(types, s.Name)
		}
	}
	if len(types) == 0 {
		return nil, true, nil
	}
	errEnough := errors.New("enough events were found")
	err = l.Follow(ctx, Subscription{Types: types, Undecoded: true, MaxBatch: min(atMost, 500)}, func(_ context.Context, b Batch) error {
		for _, r := range b.Events {
			if s, ok := l.registry.Named(r.Type); ok && s.Blinded() && len(found) < atMost {
				found = append(found, r)
			}
		}
		if b.Live || len(found) >= atMost {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return found, true, nil
	}
	return found, false, err
}

// AnyOpens reports whether the keys open the blinded values of at least one of the events.
func (l *Log) AnyOpens(events []Recorded, keys *BlindingKeys) bool {
	with := &Log{registry: l.registry, keys: Keys{Blinding: keys}}
	for _, r := range events {
		if _, err := with.decode(r); err == nil {
			return true
		}
	}
	return false
}

// CountOpened reads all events of the log that hold blinded values, and returns how many there are and how many of them the keys open.
func (l *Log) CountOpened(ctx context.Context, keys *BlindingKeys) (opened, all int, err error) {
	events, complete, err := l.SealedEvents(ctx, math.MaxInt32)
	if err != nil || !complete {
		return 0, 0, cmp.Or(err, ctx.Err())
	}
	with := &Log{registry: l.registry, keys: Keys{Blinding: keys}}
	for _, r := range events {
		if _, err := with.decode(r); err == nil {
			opened++
		}
	}
	return opened, len(events), nil
}
