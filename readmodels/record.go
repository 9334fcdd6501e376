package readmodels

import (
	"context"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Recorded is an event as the log has it.
type Recorded struct {
	Event    any
	Position uint64
	// RecordedAt, Actor and Zone are those of its metadata; Zone is the device's.
	RecordedAt time.Time
	Actor      domain.UserID
	Zone       string
}

// Record reads what the log holds beyond the views.
type Record struct {
	// Events returns the events of the stream of this kind and id that are part of the record, in its order. What the program cannot read
	// is left out.
	Events func(ctx context.Context, of domain.StreamType, id string) ([]Recorded, error)
	// Keys open texts; nil if the program has none.
	Keys personal.Keys
}

// EventsOf returns the events of a stream that are part of the record. It refuses states_unavailable where the process cannot read them.
func (r Request) EventsOf(ctx context.Context, of domain.StreamType, id string) ([]Recorded, error) {
	if r.engine == nil || r.engine.options.Record.Events == nil {
		return nil, refuse.Overload("states_unavailable", "this process cannot read the log").Do("ask another server")
	}
	return r.engine.options.Record.Events(ctx, of, id)
}

// Opened returns what sealed texts say, as personal.Opened does.
func (r Request) Opened(ctx context.Context, texts []personal.Text) (map[personal.Text]string, error) {
	return personal.Opened(ctx, r.engine.options.Record.Keys, texts)
}
