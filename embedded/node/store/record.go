package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A record is stored as
//
//	version   1 byte
//	hash     32 bytes  SHA-256(previous hash, position, version, body)
//	body     fixed header (stream id, revision, created, event id, offsets of stream name and type), then wire
//
// wire is the event as a RecordedEvent message of the streams protocol, with the id in structured form. All official
// clients ask for that form and get the stored bytes as they are.
const (
	recordVersion = 1
	hashSize      = sha256.Size
	bodyOffset    = 1 + hashSize
	headerSize    = 8 + 8 + 8 + 16 + 4*4
	wireOffset    = bodyOffset + headerSize

	// FirstPosition is the position of the first event of a log. It is not zero, so that zero can mean "nothing read yet".
	FirstPosition = 64

	// TombstoneRevision is the revision of the event that deletes a stream for good.
	TombstoneRevision = math.MaxInt64

	// TombstoneType and MetadataType are event types that the store itself writes.
	TombstoneType = "$streamDeleted"
	MetadataType  = "$metadata"
	// LinkType marks an event whose data names another event as revision@stream.
	LinkType = "$>"

	contentJSON   = "application/json"
	contentBinary = "application/octet-stream"
)

// Field numbers of RecordedEvent.
const (
	fieldID       = 1
	fieldStream   = 2
	fieldRevision = 3
	fieldPrepare  = 4
	fieldCommit   = 5
	fieldMetadata = 6
	fieldCustom   = 7
	fieldData     = 8
)

// ID is an event's id as 16 bytes, most significant first.
type ID [16]byte

// Hash is the hash of a record in the chain over all records.
type Hash [hashSize]byte

func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// ErrDamaged means that stored bytes differ from those that were written.
var ErrDamaged = errors.New("damaged record")

// Proposed is an event that is to be appended, encoded as far as possible before its position is known. Propose encodes
// in the caller's goroutine, so that the sequencer has little to do.
type Proposed struct {
	id                                 ID
	wire                               []byte
	nameOff, nameLen, typeOff, typeLen uint32
}

// Propose encodes an event for the named stream. The arguments are copied.
func Propose(stream string, id ID, eventType string, json bool, metadata, data []byte) Proposed {
	content := contentBinary
	if json {
		content = contentJSON
	}
	p := Proposed{id: id, nameLen: uint32(len(stream)), typeLen: uint32(len(eventType))}
	// No room is needed for the fields that the sequencer appends, because it copies the bytes into a chunk.
	b := make([]byte, 0, 96+len(stream)+len(eventType)+len(metadata)+len(data))

	b = appendStructuredID(b, id)

	b = protowire.AppendTag(b, fieldStream, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(3)+protowire.SizeBytes(len(stream))))
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendString(b, stream)
	p.nameOff = uint32(len(b) - len(stream))

	b, p.typeOff = appendMetadata(b, "type", eventType)
	b, _ = appendMetadata(b, "content-type", content)
	if len(metadata) > 0 {
		b = protowire.AppendTag(b, fieldCustom, protowire.BytesType)
		b = protowire.AppendBytes(b, metadata)
	}
	if len(data) > 0 {
		b = protowire.AppendTag(b, fieldData, protowire.BytesType)
		b = protowire.AppendBytes(b, data)
	}
	p.wire = b
	return p
}

// ID returns the event's id.
func (p *Proposed) ID() ID { return p.id }

func appendStructuredID(b []byte, id ID) []byte {
	most, least := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	inner := 0
	if most != 0 {
		inner += 1 + protowire.SizeVarint(most)
	}
	if least != 0 {
		inner += 1 + protowire.SizeVarint(least)
	}
	b = protowire.AppendTag(b, fieldID, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(1)+protowire.SizeBytes(inner)))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	if most != 0 {
		b = protowire.AppendTag(b, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, most)
	}
	if least != 0 {
		b = protowire.AppendTag(b, 2, protowire.VarintType)
		b = protowire.AppendVarint(b, least)
	}
	return b
}

// appendMetadata appends one entry of the system metadata and returns the offset of its value.
func appendMetadata(b []byte, key, value string) ([]byte, uint32) {
	b = protowire.AppendTag(b, fieldMetadata, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(2+protowire.SizeBytes(len(key))+protowire.SizeBytes(len(value))))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendString(b, value)
	return b, uint32(len(b) - len(value))
}

// ticks returns a time as the protocol stores it: in units of 100 nanoseconds since 1970.
func ticks(t time.Time) int64 { return t.UnixNano() / 100 }

// maxSuffix bounds the bytes that appendRecord adds to those of a proposed event.
const maxSuffix = wireOffset + 3*(1+10) + 32 + 20

// appendRecord appends the whole record to b and advances the chain.
func (c *chain) appendRecord(b []byte, p *Proposed, position, streamID, revision uint64, created int64) []byte {
	start := len(b)
	b = p.appendUnlinked(b, position, streamID, revision, created)
	record := b[start:]
	c.advance(position, record)
	copy(record[1:bodyOffset], c.hash[:])
	return b
}

// appendUnlinked appends the record to b with an empty hash.
func (p *Proposed) appendUnlinked(b []byte, position, streamID, revision uint64, created int64) []byte {
	b = append(b, recordVersion)
	var noHash Hash
	b = append(b, noHash[:]...)
	b = binary.BigEndian.AppendUint64(b, streamID)
	b = binary.BigEndian.AppendUint64(b, revision)
	b = binary.BigEndian.AppendUint64(b, uint64(created))
	b = append(b, p.id[:]...)
	b = binary.BigEndian.AppendUint32(b, p.nameOff)
	b = binary.BigEndian.AppendUint32(b, p.nameLen)
	b = binary.BigEndian.AppendUint32(b, p.typeOff)
	b = binary.BigEndian.AppendUint32(b, p.typeLen)
	b = append(b, p.wire...)
	if revision != 0 {
		b = protowire.AppendTag(b, fieldRevision, protowire.VarintType)
		b = protowire.AppendVarint(b, revision)
	}
	b = protowire.AppendTag(b, fieldPrepare, protowire.VarintType)
	b = protowire.AppendVarint(b, position)
	b = protowire.AppendTag(b, fieldCommit, protowire.VarintType)
	b = protowire.AppendVarint(b, position)
	var digits [20]byte
	n := strconv.AppendInt(digits[:0], created, 10)
	b = protowire.AppendTag(b, fieldMetadata, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(2+protowire.SizeBytes(len("created"))+protowire.SizeBytes(len(n))))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, "created")
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, n)
}

// Record is a stored event. It is immutable and may be shared.
type Record struct {
	// Position is the event's position in the log, which is both its commit and its prepare position.
	Position uint64
	// StreamID is the position of the first event ever written to the stream.
	StreamID uint64
	// Revision is the event's number in its stream.
	Revision uint64
	// Created is the time of writing in units of 100 nanoseconds since 1970.
	Created int64
	// ID is the event's id as its writer gave it.
	ID ID

	raw                                []byte
	nameOff, nameLen, typeOff, typeLen uint32
}

// parseRecord decodes a stored value and checks that its parts lie within it. The record refers to value. It fails with
// errScavenged for a stub.
func parseRecord(position uint64, value []byte) (Record, error) {
	if len(value) < wireOffset && !isStub(value) {
		return Record{}, fmt.Errorf("%w at position %d: %d bytes are too few", ErrDamaged, position, len(value))
	}
	if value[0] != recordVersion {
		if value[0] == stubVersion {
			if _, err := parseStub(position, value); err != nil {
				return Record{}, err
			}
			return Record{}, fmt.Errorf("position %d: %w", position, errScavenged)
		}
		return Record{}, fmt.Errorf("%w at position %d: format version %d is unknown, this build reads %d",
			ErrDamaged, position, value[0], recordVersion)
	}
	h := value[bodyOffset:]
	r := Record{
		Position: position,
		StreamID: binary.BigEndian.Uint64(h),
		Revision: binary.BigEndian.Uint64(h[8:]),
		Created:  int64(binary.BigEndian.Uint64(h[16:])),
		ID:       ID(h[24:40]),
		raw:      value,
		nameOff:  binary.BigEndian.Uint32(h[40:]),
		nameLen:  binary.BigEndian.Uint32(h[44:]),
		typeOff:  binary.BigEndian.Uint32(h[48:]),
		typeLen:  binary.BigEndian.Uint32(h[52:]),
	}
	size := uint64(len(value) - wireOffset)
	if uint64(r.nameOff)+uint64(r.nameLen) > size || uint64(r.typeOff)+uint64(r.typeLen) > size {
		return Record{}, fmt.Errorf("%w at position %d: stream name or type lie outside of it", ErrDamaged, position)
	}
	return r, nil
}

// Wire returns the event as a RecordedEvent message with a structured id. It must not be changed.
func (r *Record) Wire() []byte { return r.raw[wireOffset:] }

// Stream returns the stream's name. It must not be changed.
func (r *Record) Stream() []byte { return r.Wire()[r.nameOff : r.nameOff+r.nameLen] }

// Type returns the event's type. It must not be changed.
func (r *Record) Type() []byte { return r.Wire()[r.typeOff : r.typeOff+r.typeLen] }

// Size returns the number of bytes that the record takes in the log.
func (r *Record) Size() int { return len(r.raw) }

// Next returns the position behind the record.
func (r *Record) Next() uint64 { return r.Position + uint64(len(r.raw)) }

// IsTombstone reports whether the record deletes its stream for good.
func (r *Record) IsTombstone() bool { return r.Revision == TombstoneRevision }

// Hash returns the record's hash in the chain.
func (r *Record) Hash() Hash { return Hash(r.raw[1:bodyOffset]) }

// Data returns the event's payload; nil if the record is malformed. It must not be changed.
func (r *Record) Data() []byte { return r.bytesField(fieldData) }

// CustomMetadata returns the metadata that the writer added to the event. It must not be changed.
func (r *Record) CustomMetadata() []byte { return r.bytesField(fieldCustom) }

func (r *Record) bytesField(want protowire.Number) []byte {
	for b := r.Wire(); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if num == want && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil
			}
			return v
		}
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// WireWithTextID returns the event as Wire does, but with its id as text. The caller may change the bytes.
func (r *Record) WireWithTextID(text string) []byte {
	wire := r.Wire()
	// The id is always the first field.
	_, _, n := protowire.ConsumeTag(wire)
	m := protowire.ConsumeFieldValue(fieldID, protowire.BytesType, wire[n:])
	rest := wire[n+m:]
	b := make([]byte, 0, len(rest)+len(text)+8)
	b = protowire.AppendTag(b, fieldID, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(2)+protowire.SizeBytes(len(text))))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendString(b, text)
	return append(b, rest...)
}
