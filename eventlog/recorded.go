package eventlog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	jsonv1 "github.com/goccy/go-json"
	jsonv2 "github.com/goccy/go-json/v2"
	"github.com/google/uuid"
)

// Recorded is an event as the log holds it.
type Recorded struct {
	ID       uuid.UUID
	Stream   string
	Revision uint64
	Position domain.Position
	// StoredAt is the event store's own time of the append.
	StoredAt time.Time
	Type     string
	// Data and RawMetadata are the stored bytes.
	Data, RawMetadata []byte
	Metadata          Metadata
	// Event is the decoded event, in its current schema version, or an Unreadable.
	Event any
}

// Unreadable takes the place of an event that cannot be decoded, such as one of a type that this program does not know.
type Unreadable struct{ Err error }

// Damaged takes the place of an event that is no part of the record, because its stream's hash chain is broken there or
// before it. What such an event and its metadata say is not to be believed.
type Damaged struct{ Damage domain.Damage }

// UndecodableError says that an event cannot be decoded.
type UndecodableError struct {
	// Event has all that could be read; its Event is nil.
	Event Recorded
	Err   error
}

func (e *UndecodableError) Error() string { return e.Err.Error() }

// Unwrap returns why the event cannot be decoded.
func (e *UndecodableError) Unwrap() error { return e.Err }

// StreamID returns the part of the stream's name after its category.
func (r Recorded) StreamID() string {
	_, id, _ := strings.Cut(r.Stream, "-")
	return id
}

// Tail is the end of a stream: the revision that the next append expects, and the hash that the next event holds as its
// PreviousHash.
type Tail struct {
	// Revision of the last event; -1 for a stream without events.
	Revision int64
	// Hash of the last event (see function Hash); empty for a stream without events.
	Hash string
	// CommandID is the id of the command that recorded the last event, and Index the number of that event among the
	// command's events, from 0. The id of the next event follows from them if the same command recorded it.
	CommandID string
	Index     int
}

// EmptyTail is the end of a stream that has no events.
var EmptyTail = Tail{Revision: -1}

// TailAfter returns the end of the stream whose last event is r, an event that is known to be sound. Where the event before
// it is known too, CheckNext does the same in less time.
func TailAfter(r Recorded) Tail {
	l := linkOf(&r)
	tail := Tail{Revision: int64(r.Revision), Hash: l.hash, CommandID: l.CommandID}
	if command, err := uuid.Parse(l.CommandID); err == nil {
		for tail.Index < int(r.Revision) && r.ID != eventID(command, tail.Index, l.content) {
			tail.Index++
		}
	}
	return tail
}

// Hash identifies the content of an event: the SHA-256, in base64, over id, type, data and metadata, each preceded by
// its length. The metadata of each event hold the hash of the event before it, so a changed byte breaks the chain at
// the next event (21 CFR 11.10(a): altered records are discernible).
func Hash(id uuid.UUID, eventType string, data, metadata []byte) string {
	h := sha256.New()
	var length [8]byte
	for _, part := range [][]byte{id[:], []byte(eventType), data, metadata} {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// CommandMark tells a command from others: its id, and its hash by an algorithm, see Metadata.
type CommandMark struct {
	ID            uuid.UUID `json:"commandId"`
	Hash          string    `json:"commandHash"`
	HashAlgorithm string    `json:"commandHashAlgorithm"`
}

// CommandMark returns the mark of the command that recorded an event that need not be decoded; false if it has none.
func (l *Log) CommandMark(of Recorded) (m CommandMark, ok bool) {
	if meta, known := l.registry.recent.of(&of); known {
		id, err := uuid.Parse(meta.CommandID)
		m, ok = CommandMark{id, meta.CommandHash, meta.CommandHashAlgorithm}, err == nil
	} else {
		ok = jsonv2.Unmarshal(of.RawMetadata, &m) == nil // otherwise another program's event
	}
	return m, ok && m.ID != uuid.Nil && m.Hash != ""
}

// decode decodes an event that was read. Its metadata are decoded once for all who meet it at about the same time.
func (l *Log) decode(r Recorded) (Recorded, error) {
	err := l.decodeInto(&r, l.registry.recent.of)
	return r, err
}

// decodeInto decodes an event that was read in its place, and its metadata by a function that returns false if they are not as this
// program writes them.
//
// It reads JSON by a library that reads it as encoding/json does, in half the time.
func (l *Log) decodeInto(r *Recorded, metadataOf func(*Recorded) (Metadata, bool)) error {
	var known bool
	if r.Metadata, known = metadataOf(r); known {
		// All is said.
	} else if err := jsonv1.Unmarshal(r.RawMetadata, &r.Metadata); err != nil {
		r.Metadata = Metadata{}
		return fmt.Errorf("decode metadata of %s@%d: %w", r.Stream, r.Revision, err)
	}
	r.Metadata.Reason = readText(string(r.Metadata.Reason), r.Metadata.originIn(r.Stream), r.Type, reasonField)
	event, err := l.registry.Decode(r.Type, r.Metadata.Schema, r.Data, l.keys, r.Metadata.originIn(r.Stream))
	if err != nil {
		return fmt.Errorf("read %s@%d: %w", r.Stream, r.Revision, err)
	}
	r.Event = event
	return nil
}

// Holds says whether an event that was read from the store without this Log is in a stream of a registered category. Others
// belong to other programs.
func (l *Log) Holds(e *esdb.RecordedEvent) bool { return l.registry.holds(e.StreamID) }

// Decode decodes an event that was read from the store without this Log. With an error it returns what could be read.
func (l *Log) Decode(e *esdb.RecordedEvent) (Recorded, error) {
	return l.decode(Recorded{
		ID: e.EventID, Stream: e.StreamID, Revision: e.EventNumber, StoredAt: e.CreatedDate,
		Position: domain.Position{Commit: e.Position.Commit, Prepare: e.Position.Prepare},
		Type:     e.EventType, Data: e.Data, RawMetadata: e.UserMetadata,
	})
}
