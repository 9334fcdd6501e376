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
	Stored     Stored
}

// Stored is what the log stores of an event, and the hash over it. Texts and blinded values in it are sealed.
type Stored struct {
	ID       string `json:"id" doc:"The event's id, a UUID" example:"0b5fd4b8-6a2b-5b6e-9d1f-8f8e7c1f3c55"`
	Type     string `json:"type" doc:"Name of the event"`
	Data     string `json:"data" doc:"The stored bytes of the event, in base64"`
	Metadata string `json:"metadata" doc:"The stored bytes of its metadata, in base64"`
	Hash     string `json:"hash" doc:"SHA-256, in base64, over the 16 bytes of the id, the type, the data and the metadata, each preceded by its length as 8 bytes, the highest first; the same hash is in the audit trail, and in the metadata of the stream's next event"`
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
