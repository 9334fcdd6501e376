package eventlog

import (
	"time"

	"casebook/domain"
)

// Metadata says of an event who, when, why, from where and under which command (21 CFR 11.10(e); ICH E6(R3) 4.2.2). The
// names that begin with $ are the event store's own conventions.
type Metadata struct {
	// CorrelationID is the same for everything that one request set off; CausationID is the id of the command.
	CorrelationID string `json:"$correlationId,omitempty"`
	CausationID   string `json:"$causationId,omitempty"`

	Actor   domain.UserID    `json:"actor"`
	Role    string           `json:"role,omitempty"`
	Study   domain.StudyID   `json:"study,omitempty"`
	Site    domain.SiteID    `json:"site,omitempty"`
	Patient domain.PatientID `json:"patient,omitempty"`
	// Reason is why data were changed, where they were.
	Reason string `json:"reason,omitempty"`

	Command   string `json:"command,omitempty"`
	CommandID string `json:"commandId,omitempty"`
	// CommandHash is the SHA-256 of name and body of the command, in base64: it tells a repeat from a reuse of the id.
	CommandHash string `json:"commandHash,omitempty"`

	// CapturedAt and CapturedZone are the device's time, where the data were captured on one.
	CapturedAt   *time.Time `json:"capturedAt,omitempty"`
	CapturedZone string     `json:"capturedZone,omitempty"`
	// RecordedAt is the time of the server that took the command, UTC.
	RecordedAt time.Time `json:"recordedAt"`
	// Address and App are the client's network address and program.
	Address string `json:"address,omitempty"`
	App     string `json:"app,omitempty"`
	TraceID string `json:"traceId,omitempty"`
	// Build names the program that wrote the event.
	Build string `json:"build,omitempty"`

	// Schema is the version of the event's shape.
	Schema int `json:"schema"`
	// PreviousHash is the hash of the event before it in the stream (see Hash); empty in a stream's first.
	PreviousHash string `json:"previousHash,omitempty"`
}
