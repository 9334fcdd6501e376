package eventlog

import (
	"context"
	"encoding"
	"encoding/binary"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Every event also passes here once, on its way into the log: the requests and answers of BatchAppend are written and read by hand,
// like the answers of reads.

// appending is a BatchAppend call.
type appending struct{ grpc.ClientStream }

// append begins a BatchAppend call, which lasts until ctx ends.
func (c client) append(ctx context.Context) (appending, error) {
	desc := &grpc.StreamDesc{StreamName: "BatchAppend", ServerStreams: true, ClientStreams: true}
	stream, err := c.conn.NewStream(ctx, desc, streams.Streams_BatchAppend_FullMethodName, grpc.ForceCodecV2(wire))
	return appending{stream}, err
}

// next returns the next answer.
func (a appending) next() (m appendAnswer, err error) {
	err = a.RecvMsg(&m)
	return m, err
}

// Marshal implements encoding.CodecV2.
func (c wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	if m, is := v.(encoding.BinaryMarshaler); is {
		b, err := m.MarshalBinary()
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return c.CodecV2.Marshal(v)
}

// appendRequest is an encoded BatchAppendReq. It is sent once.
type appendRequest []byte

// MarshalBinary returns the bytes of the message.
func (r appendRequest) MarshalBinary() ([]byte, error) { return r, nil }

// The types of the fields of the messages here: those of a varint, and those with a length.
const (
	asVarint = protowire.VarintType
	asBytes  = protowire.BytesType
)

// requestOverhead is about how many bytes a request has beside its events, and each event beside its data, metadata and type.
const requestOverhead = 128

var contentType = property("content-type", "application/json")

// newAppendRequest encodes a request to append events behind a revision of a stream, and to be answered before the deadline of ctx.
func newAppendRequest(ctx context.Context, correlation uint64, stream string, revision int64, events []Recorded) appendRequest {
	size := requestOverhead + len(stream)
	for i := range events {
		size += len(events[i].Data) + len(events[i].RawMetadata) + len(events[i].Type) + requestOverhead
	}
	b := make([]byte, 0, size)

	b = appendMessage(b, 1, func(b []byte) []byte {
		return appendMessage(b, 1, func(b []byte) []byte {
			return protowire.AppendVarint(protowire.AppendTag(b, 2, asVarint), correlation)
		})
	})
	b = appendMessage(b, 2, func(b []byte) []byte {
		b = appendMessage(b, 1, func(b []byte) []byte { return protowire.AppendString(protowire.AppendTag(b, 3, asBytes), stream) })
		if revision >= 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, 2, asVarint), uint64(revision))
		} else {
			b = protowire.AppendBytes(protowire.AppendTag(b, 3, asBytes), nil)
		}
		if deadline, ok := ctx.Deadline(); ok {
			b = appendMessage(b, 7, func(b []byte) []byte {
				rest := max(time.Until(deadline), 0)
				b = protowire.AppendVarint(protowire.AppendTag(b, 1, asVarint), uint64(rest/time.Second))
				return protowire.AppendVarint(protowire.AppendTag(b, 2, asVarint), uint64(rest%time.Second))
			})
		}
		return b
	})
	for i := range events {
		b = appendMessage(b, 3, func(b []byte) []byte { return appendEvent(b, &events[i]) })
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 4, asVarint), 1) // the append has no more messages
}

// appendEvent appends the fields of a ProposedMessage.
func appendEvent(b []byte, e *Recorded) []byte {
	b = appendMessage(b, 1, func(b []byte) []byte {
		return protowire.AppendString(protowire.AppendTag(b, 2, asBytes), e.ID.String())
	})
	b = append(b, contentType...)
	b = appendMessage(b, 2, func(b []byte) []byte {
		b = protowire.AppendString(protowire.AppendTag(b, 1, asBytes), "type")
		return protowire.AppendString(protowire.AppendTag(b, 2, asBytes), e.Type)
	})
	b = protowire.AppendBytes(protowire.AppendTag(b, 3, asBytes), e.RawMetadata)
	return protowire.AppendBytes(protowire.AppendTag(b, 4, asBytes), e.Data)
}

// property encodes an entry of the event store's own metadata of an event.
func property(key, value string) []byte {
	return appendMessage(nil, 2, func(b []byte) []byte {
		b = protowire.AppendString(protowire.AppendTag(b, 1, asBytes), key)
		return protowire.AppendString(protowire.AppendTag(b, 2, asBytes), value)
	})
}

// appendMessage appends a field that is a message. The length stands before the message, so the fields are moved when they are known
// to need more than one byte for it.
func appendMessage(b []byte, number protowire.Number, fields func([]byte) []byte) []byte {
	b = append(protowire.AppendTag(b, number, asBytes), 0)
	start := len(b)
	b = fields(b)
	length := len(b) - start
	if width := protowire.SizeVarint(uint64(length)); width > 1 {
		b = append(b, make([]byte, width-1)...)
		copy(b[start+width-1:], b[start:start+length])
	}
	protowire.AppendVarint(b[:start-1], uint64(length))
	return b
}

// appendAnswer is a BatchAppendResp.
type appendAnswer struct {
	correlation uint64
	batchAnswer
}

// UnmarshalBinary decodes a BatchAppendResp. One that is no plain success is decoded by the stubs.
func (a *appendAnswer) UnmarshalBinary(b []byte) error {
	*a = appendAnswer{}
	var failed bool
	var id uuid.UUID
	if err := eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			return unmarshalUUID(&id, value)
		case 2:
			failed = true
		case 3:
			return unmarshalSuccess(&a.position, value)
		}
		return nil
	}); err != nil {
		return err
	}
	a.correlation = binary.BigEndian.Uint64(id[8:])
	if failed || a.position.Commit == 0 {
		var answer streams.BatchAppendResp
		if err := proto.Unmarshal(b, &answer); err != nil {
			return err
		}
		a.batchAnswer = answerOf(&answer)
	}
	return nil
}

// unmarshalSuccess decodes the position of a Success.
func unmarshalSuccess(p *domain.Position, b []byte) error {
	return eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		if number != 3 {
			return nil
		}
		return eachField(value, func(number protowire.Number, _ []byte, n uint64) error {
			switch number {
			case 1:
				p.Commit = n
			case 2:
				p.Prepare = n
			}
			return nil
		})
	})
}
