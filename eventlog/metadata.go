package eventlog

import (
	"time"

	"casebook/domain"
	"casebook/domain/personal"
)

// Metadata of an event say who recorded it, when, why, from where and with which command (21 CFR 11.10(e); ICH E6(R3)
// 4.2.2). The names that begin with $ are conventions of the event store.
type Metadata struct {
	// CorrelationID is the same for all events that one request led to. CausationID is the id of the command or event that
	// caused this event.
	CorrelationID string `json:"$correlationId,omitempty"`
	CausationID   string `json:"$causationId,omitempty"`

	Actor   domain.UserID    `json:"actor"`
	Role    string           `json:"role,omitempty"`
	Study   domain.StudyID   `json:"study,omitempty"`
	Site    domain.SiteID    `json:"site,omitempty"`
	Patient domain.PatientID `json:"patient,omitempty"`
	// Reason is why data were changed; empty when none were.
	Reason personal.Text `json:"reason,omitempty"`

	Command   string `json:"command,omitempty"`
	CommandID string `json:"commandId,omitempty"`
	// CommandHash is a hash of the command's name and body, in base64, by CommandHashAlgorithm. It distinguishes a repeated
	// command from another command with the same id. Without an algorithm it is the plain SHA-256 that earlier programs
	// recorded.
	CommandHash          string `json:"commandHash,omitempty"`
	CommandHashAlgorithm string `json:"commandHashAlgorithm,omitempty"`

	// CapturedAt and CapturedZone are the time and time zone of the device on which the data were captured, if there was
	// one.
	CapturedAt   *time.Time `json:"capturedAt,omitempty"`
	CapturedZone string     `json:"capturedZone,omitempty"`
	// RecordedAt is the time, in UTC, of the server that accepted the command.
	RecordedAt time.Time `json:"recordedAt"`
	// Address and App are the client's network address and program.
	Address string `json:"address,omitempty"`
	App     string `json:"app,omitempty"`
	TraceID string `json:"traceId,omitempty"`
	// Build names the program that wrote the event.
	Build string `json:"build,omitempty"`

	// Schema is the schema version of the event, from 1.
	Schema int `json:"schema"`
	// PreviousHash is the hash of the event before it in the stream (see Hash); empty in the first event of a stream.
	PreviousHash string `json:"previousHash,omitempty"`
}

// originIn returns the origin of an event with these metadata in a stream.
func (m Metadata) originIn(stream string) Origin {
	return Origin{Study: m.Study, Stream: stream, CommandID: m.CommandID}
}
