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

// ErrBrokenChain is returned when an event does not continue its stream's hash chain.
var ErrBrokenChain = errors.New("the stream's hash chain is broken")

// CheckChain returns an error that wraps ErrBrokenChain and names the event, if next does not continue the stream that ends
// at after: if revisions are missing, if it has no metadata of ours, or if it does not hold the hash of after.
func CheckChain(after Tail, next Recorded) error {
	if wrong := wrongLink(after, next.Revision, next.Metadata.Schema, next.Metadata.PreviousHash); wrong != "" {
		return fmt.Errorf("%w at %s@%d: %s", ErrBrokenChain, next.Stream, next.Revision, wrong)
	}
	return nil
}

// wrongLink says what is wrong with an event that is to follow after; nothing where it is sound.
func wrongLink(after Tail, revision uint64, schema int, previousHash string) string {
	switch {
	case int64(revision) != after.Revision+1:
		return fmt.Sprintf("the events between revisions %d and %d are missing", after.Revision, revision)
	case schema < 1:
		return "it has no metadata of this program"
	case previousHash != after.Hash && revision == 0:
		return "it names an event before it, and is the first of its stream"
	case previousHash != after.Hash:
		return "it does not hold the hash of the event before it: one of the two was altered, or it was put there"
	}
	return ""
}

// damageAt returns the damage of a stream that begins at an event.
func damageAt(r Recorded, reason string) domain.Damage {
	return domain.Damage{Stream: r.Stream, Revision: r.Revision, Position: r.Position, Type: r.Type, Reason: reason,
		FoundAt: time.Now().UTC()}
}

// CheckNext returns the damage of the stream that begins at next, if next does not continue the stream that ends at after,
// or if it is of a type that belongs into streams of another category; nil where it is sound.
func (r *Registry) CheckNext(after Tail, next Recorded) *domain.Damage {
	wrong := r.wrongNext(after, next, next.Metadata.Schema, next.Metadata.PreviousHash)
	if wrong == "" {
		return nil
	}
	damage := damageAt(next, wrong)
	return &damage
}

// wrongNext says what is wrong with next, if it is to follow after in a stream; nothing where it is sound. Its metadata
// need not be decoded.
func (r *Registry) wrongNext(after Tail, next Recorded, schema int, previousHash string) string {
	wrong := wrongLink(after, next.Revision, schema, previousHash)
	if wrong == "" && r.misplaced(next.Type, next.Stream) {
		wrong = "events of its type belong into streams of another category"
	}
	return wrong
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

// decode decodes an event that was read.
func (l *Log) decode(r Recorded) (Recorded, error) {
	if err := json.Unmarshal(r.RawMetadata, &r.Metadata); err != nil {
		r.Metadata = Metadata{}
		return r, fmt.Errorf("decode metadata of %s@%d: %w", r.Stream, r.Revision, err)
	}
	event, err := l.registry.Decode(r.Type, r.Metadata.Schema, r.Data, l.keys, r.Metadata.originIn(r.Stream))
	if err != nil {
		return r, fmt.Errorf("read %s@%d: %w", r.Stream, r.Revision, err)
	}
	r.Event = event
	return r, nil
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
