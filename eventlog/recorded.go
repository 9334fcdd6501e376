package eventlog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
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
}

// EmptyTail is the end of a stream that has no events.
var EmptyTail = Tail{Revision: -1}

// TailAfter returns the end of the stream whose last event is r.
func TailAfter(r Recorded) Tail {
	return Tail{Revision: int64(r.Revision), Hash: Hash(r.ID, r.Type, r.Data, r.RawMetadata)}
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

// ErrBrokenChain is returned when an event does not hold the hash of the event before it.
var ErrBrokenChain = errors.New("the stream's hash chain is broken")

// CheckChain returns an error that wraps ErrBrokenChain and names the event, if next does not hold the hash of after.
func CheckChain(after Tail, next Recorded) error {
	if next.Metadata.PreviousHash != after.Hash {
		return fmt.Errorf("%w at %s@%d: it was altered, or the event before it was", ErrBrokenChain, next.Stream, next.Revision)
	}
	return nil
}

// EventID derives the id of a command's n-th event, so that an append that is sent again has the same ids. The id also
// depends on the event's bytes. The store answers an append whose ids it already holds without comparing the bytes: if
// a second process sent other bytes with the same ids, it would continue with a hash that the log does not hold.
func EventID(commandID uuid.UUID, n int, data, metadata []byte) uuid.UUID {
	h := sha256.New()
	h.Write(data)
	h.Write([]byte{0})
	h.Write(metadata)
	return uuid.NewSHA1(commandID, h.Sum(fmt.Appendf(nil, "event/%d/", n)))
}

// undecoded returns the event with its position, type and bytes only.
func undecoded(e *esdb.RecordedEvent) Recorded {
	return Recorded{
		ID: e.EventID, Stream: e.StreamID, Revision: e.EventNumber, StoredAt: e.CreatedDate,
		Position: domain.Position{Commit: e.Position.Commit, Prepare: e.Position.Prepare},
		Type:     e.EventType, Data: e.Data, RawMetadata: e.UserMetadata,
	}
}

func (l *Log) decode(e *esdb.RecordedEvent) (Recorded, error) {
	r := undecoded(e)
	if err := json.Unmarshal(e.UserMetadata, &r.Metadata); err != nil {
		return r, fmt.Errorf("decode metadata of %s@%d: %w", r.Stream, r.Revision, err)
	}
	event, err := l.registry.Decode(e.EventType, r.Metadata.Schema, e.Data, l.keys, r.Metadata.originIn(r.Stream))
	if err != nil {
		return r, fmt.Errorf("read %s@%d: %w", r.Stream, r.Revision, err)
	}
	r.Event = event
	return r, nil
}

// Decode decodes an event that was read from the store without this Log.
func (l *Log) Decode(e *esdb.RecordedEvent) (Recorded, error) { return l.decode(e) }
