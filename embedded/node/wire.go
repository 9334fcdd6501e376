package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"casebook/embedded/node/store"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// Append requests are decoded by hand, because they are the hot path: the parts of an event go from the request into
// its stored form without a message in between. The rules are those of protobuf: unknown fields are ignored, the last
// value of a repeated scalar wins, repeated messages are merged, text is UTF-8.

var errWire = errors.New("malformed protobuf message")

// fields calls f for each field with its value, without the length prefix of length-delimited fields.
func fields(b []byte, f func(num protowire.Number, typ protowire.Type, v []byte, n uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber {
			return errWire
		}
		b = b[n:]
		var value []byte
		var number uint64
		switch typ {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errWire
		}
		if err := f(num, typ, value, number); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// wireUUID is an event id in one of its two forms.
type wireUUID struct {
	form        protowire.Number // the field that is set: 0 none, 1 structured, 2 text
	most, least uint64
	text        []byte
}

func (u *wireUUID) parse(b []byte) error {
	return fields(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		if typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			if u.form != 1 {
				*u = wireUUID{form: 1}
			}
			return fields(v, func(num protowire.Number, typ protowire.Type, _ []byte, n uint64) error {
				if typ == protowire.VarintType && num == 1 {
					u.most = n
				}
				if typ == protowire.VarintType && num == 2 {
					u.least = n
				}
				return nil
			})
		case 2:
			if !utf8.Valid(v) {
				return errWire
			}
			*u = wireUUID{form: 2, text: v}
		}
		return nil
	})
}

// id returns the 16 bytes. A missing or malformed id is refused, because repeated appends are recognised by their ids.
func (u *wireUUID) id() (store.ID, *failure) {
	switch u.form {
	case 1:
		var id store.ID
		binary.BigEndian.PutUint64(id[:8], u.most)
		binary.BigEndian.PutUint64(id[8:], u.least)
		return id, nil
	case 2:
		id, err := uuid.ParseBytes(u.text)
		if err != nil {
			return store.ID{}, badRequest(fmt.Sprintf("the event id %q is not a UUID", u.text))
		}
		return store.ID(id), nil
	}
	return store.ID{}, badRequest("an event has no id; give it one, so that a repeated append is recognised")
}

// wireEvent is a proposed event. It has the same field numbers in Append and BatchAppend.
type wireEvent struct {
	id                    wireUUID
	eventType, content    []byte
	hasType, hasContent   bool
	customMetadata, event []byte
}

func (e *wireEvent) parse(b []byte) error {
	return fields(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		if typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			return e.id.parse(v)
		case 2:
			return e.parseMetadata(v)
		case 3:
			e.customMetadata = v
		case 4:
			e.event = v
		}
		return nil
	})
}

func (e *wireEvent) parseMetadata(b []byte) error {
	var key, value []byte
	err := fields(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		if typ != protowire.BytesType || num > 2 {
			return nil
		}
		if !utf8.Valid(v) {
			return errWire
		}
		if num == 1 {
			key = v
		} else {
			value = v
		}
		return nil
	})
	switch string(key) {
	case "type":
		e.eventType, e.hasType = value, true
	case "content-type":
		e.content, e.hasContent = value, true
	}
	return err
}

// size returns the bytes that the event counts towards the limit of one append. EventStoreDB stores types in UTF-16,
// with two bytes per character.
func (e *wireEvent) size() int { return len(e.event) + len(e.customMetadata) + 2*len(e.eventType) }

const (
	maxStreamName = 4096
	maxEventType  = 4096
)

func (e *wireEvent) propose(stream string) (store.Proposed, *failure) {
	id, f := e.id.id()
	switch {
	case f != nil:
		return store.Proposed{}, f
	case !e.hasType || len(e.eventType) == 0:
		return store.Proposed{}, badRequest("an event lacks the required metadata \"type\"")
	case !e.hasContent:
		return store.Proposed{}, badRequest(
			"an event lacks the required metadata \"content-type\"; it is application/json or application/octet-stream")
	case len(e.eventType) > maxEventType:
		return store.Proposed{}, badRequest(fmt.Sprintf(
			"an event's type has %d bytes, more than the maximum of %d", len(e.eventType), maxEventType))
	}
	return store.Propose(stream, id, string(e.eventType), string(e.content) == "application/json", e.customMetadata, e.event), nil
}

// wireOptions are the stream and expected revision of a write. They have the same field numbers in all requests.
type wireOptions struct {
	present  bool
	stream   []byte
	expected protowire.Number // the field that is set: 0 none, 2 revision, 3 no_stream, 4 any, 5 stream_exists
	revision uint64

	batch                          bool             // the request is a BatchAppend, which alone has deadlines
	deadlineForm                   protowire.Number // the field that is set: 0 none, 6 timestamp, 7 duration
	deadlineSeconds, deadlineNanos uint64
}

func (o *wireOptions) parse(b []byte) error {
	o.present = true
	return fields(b, func(num protowire.Number, typ protowire.Type, v []byte, n uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			return fields(v, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
				if num == 3 && typ == protowire.BytesType {
					o.stream = v
				}
				return nil
			})
		case num == 2 && typ == protowire.VarintType:
			o.expected, o.revision = num, n
		case num >= 3 && num <= 5 && typ == protowire.BytesType:
			o.expected = num
			return fields(v, func(protowire.Number, protowire.Type, []byte, uint64) error { return nil })
		case o.batch && num >= 6 && num <= 7 && typ == protowire.BytesType:
			if o.deadlineForm != num {
				o.deadlineForm, o.deadlineSeconds, o.deadlineNanos = num, 0, 0
			}
			return fields(v, func(num protowire.Number, typ protowire.Type, _ []byte, n uint64) error {
				if num == 1 && typ == protowire.VarintType {
					o.deadlineSeconds = n
				}
				if num == 2 && typ == protowire.VarintType {
					o.deadlineNanos = n
				}
				return nil
			})
		}
		return nil
	})
}

// target returns the stream name and the expected revision, or a failure if one of them is invalid.
func (o *wireOptions) target() (stream string, expected int64, f *failure) {
	if !o.present {
		return "", 0, badRequest("the request has no options; the first message must name stream and expected revision")
	}
	stream = string(o.stream)
	if f := checkStreamName(stream); f != nil {
		return "", 0, f
	}
	if store.IsIndex(stream) {
		return "", 0, accessDenied(stream)
	}
	switch o.expected {
	case 2:
		if o.revision == math.MaxUint64 {
			return stream, store.NoStream, nil // so some clients write it
		}
		if o.revision > math.MaxInt64 {
			return "", 0, badRequest(fmt.Sprintf("the expected revision %d is larger than any", o.revision))
		}
		return stream, int64(o.revision), nil
	case 3:
		return stream, store.NoStream, nil
	case 4:
		return stream, store.Any, nil
	case 5:
		return stream, store.StreamExists, nil
	}
	return "", 0, badRequest("the expected revision is missing; give a revision, no_stream, any or stream_exists")
}

func checkStreamName(stream string) *failure {
	switch {
	case stream == "":
		return badRequest("the stream name is missing")
	case len(stream) > maxStreamName:
		return badRequest(fmt.Sprintf("the stream name has %d bytes, more than the maximum of %d", len(stream), maxStreamName))
	case !utf8.ValidString(stream):
		return badRequest("the stream name is not UTF-8")
	case stream == allStream:
		return accessDenied(stream)
	}
	return nil
}

const allStream = "$all"

// deadline returns the time after which the append must not be written; the zero time if there is none.
func (o *wireOptions) deadline(now time.Time) time.Time {
	seconds, nanos := int64(o.deadlineSeconds), int64(int32(o.deadlineNanos))
	switch o.deadlineForm {
	case 6:
		return time.Unix(seconds, nanos)
	case 7:
		// A duration beyond the range of time.Duration means no deadline.
		if seconds > math.MaxInt64/int64(time.Second)-1 {
			return time.Time{}
		}
		if seconds < 0 {
			return now.Add(-time.Second)
		}
		return now.Add(time.Duration(seconds)*time.Second + time.Duration(nanos))
	}
	return time.Time{}
}

// appendRequest is one message of an Append call.
type appendRequest struct {
	options  wireOptions
	event    wireEvent
	hasEvent bool
}

func (r *appendRequest) parse(b []byte) error {
	*r = appendRequest{}
	return fields(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			r.event, r.hasEvent = wireEvent{}, false
			return r.options.parse(v)
		case num == 2 && typ == protowire.BytesType:
			r.options, r.hasEvent = wireOptions{}, true
			return r.event.parse(v)
		}
		return nil
	})
}

// batchRequest is one message of a BatchAppend call.
type batchRequest struct {
	correlation wireUUID
	rawID       []byte // the correlation id as it was received; the answer repeats these bytes
	options     wireOptions
	events      []wireEvent
	final       bool
}

func (r *batchRequest) parse(b []byte) error {
	*r = batchRequest{events: r.events[:0], options: wireOptions{batch: true}}
	ids := 0
	err := fields(b, func(num protowire.Number, typ protowire.Type, v []byte, n uint64) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			ids++
			if ids == 1 {
				r.rawID = v
			} else { // protobuf merges a repeated message, which equals the concatenation of its encodings
				r.rawID = append(r.rawID[:len(r.rawID):len(r.rawID)], v...)
			}
			return r.correlation.parse(v)
		case num == 2 && typ == protowire.BytesType:
			return r.options.parse(v)
		case num == 3 && typ == protowire.BytesType:
			r.events = append(r.events, wireEvent{})
			return r.events[len(r.events)-1].parse(v)
		case num == 4 && typ == protowire.VarintType:
			r.final = n != 0
		}
		return nil
	})
	return err
}
