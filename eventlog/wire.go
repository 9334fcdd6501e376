package eventlog

import (
	"context"
	"encoding"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	grpcencoding "google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Every event passes here several times: once for each subscription of the process. So the answers of a read are decoded by hand,
// from the received bytes into an event, without the messages and maps in between. Everything else goes through the stubs.

// client makes the requests of a session.
type client struct {
	streams.StreamsClient
	conn grpc.ClientConnInterface
}

func newClient(conn grpc.ClientConnInterface) client {
	return client{StreamsClient: streams.NewStreamsClient(conn), conn: conn}
}

// reading is a read that has begun, or a subscription.
type reading struct{ grpc.ClientStream }

// read begins a read. It lasts until its end, or until ctx ends.
func (c client) read(ctx context.Context, of *streams.ReadReq) (reading, error) {
	desc := &grpc.StreamDesc{StreamName: "Read", ServerStreams: true}
	stream, err := c.conn.NewStream(ctx, desc, streams.Streams_Read_FullMethodName, grpc.ForceCodecV2(wire))
	if err != nil {
		return reading{}, err
	}
	if err := stream.SendMsg(of); err != nil && !errors.Is(err, io.EOF) { // after io.EOF the first answer has the reason
		return reading{}, err
	}
	return reading{stream}, stream.CloseSend()
}

// next returns the next message; io.EOF after the last.
func (r reading) next() (m readMessage, err error) {
	err = r.RecvMsg(&m)
	return m, err
}

// readMessage is a message of a read. Messages of no interest have no field set.
type readMessage struct {
	// event is set if isEvent is; its Data and RawMetadata lie in the received bytes.
	event   Recorded
	isEvent bool
	// through is the position up to which the log was read; zero if the message does not say.
	through  domain.Position
	caughtUp bool
}

// wireCodec is gRPC's codec for protobuf, except for messages that decode themselves.
type wireCodec struct{ grpcencoding.CodecV2 }

var wire = wireCodec{grpcencoding.GetCodecV2(grpcproto.Name)}

func (c wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, is := v.(encoding.BinaryUnmarshaler); is {
		return m.UnmarshalBinary(data.Materialize())
	}
	return c.CodecV2.Unmarshal(data, v)
}

// UnmarshalBinary decodes a ReadResp. The message keeps the bytes.
func (m *readMessage) UnmarshalBinary(b []byte) error {
	*m = readMessage{}
	return eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			m.isEvent = true
			return m.unmarshalEvent(value)
		case 3:
			return eachField(value, func(number protowire.Number, _ []byte, n uint64) error {
				switch number {
				case 1:
					m.through.Commit = n
				case 2:
					m.through.Prepare = n
				}
				return nil
			})
		case 8:
			m.caughtUp = true
		}
		return nil
	})
}

// unmarshalEvent decodes a ReadEvent. Of a link that was resolved it takes the link.
func (m *readMessage) unmarshalEvent(b []byte) error {
	var event, link []byte
	if err := eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			event = value
		case 2:
			link = value
		}
		return nil
	}); err != nil {
		return err
	}
	if link != nil {
		event = link
	}
	if err := m.event.unmarshal(event); err != nil {
		return err
	}
	m.through = m.event.Position
	return nil
}

// unmarshal decodes a RecordedEvent.
func (r *Recorded) unmarshal(b []byte) error {
	return eachField(b, func(number protowire.Number, value []byte, n uint64) error {
		switch number {
		case 1:
			return unmarshalUUID(&r.ID, value)
		case 2:
			return eachField(value, func(number protowire.Number, name []byte, _ uint64) error {
				if number == 3 {
					r.Stream = string(name)
				}
				return nil
			})
		case 3:
			r.Revision = n
		case 4:
			r.Position.Prepare = n
		case 5:
			r.Position.Commit = n
		case 6:
			return r.unmarshalProperty(value)
		case 7:
			r.RawMetadata = value
		case 8:
			r.Data = value
		}
		return nil
	})
}

// unmarshalProperty decodes an entry of the event store's own metadata.
func (r *Recorded) unmarshalProperty(b []byte) error {
	var key, property []byte
	if err := eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			key = value
		case 2:
			property = value
		}
		return nil
	}); err != nil {
		return err
	}
	switch string(key) {
	case "type":
		r.Type = string(property)
	case "created":
		if ticks, err := strconv.ParseInt(string(property), 10, 64); err == nil {
			r.StoredAt = time.Unix(0, 100*ticks).UTC() // a tick has 100 nanoseconds
		}
	}
	return nil
}

// unmarshalUUID decodes an id in either of its forms.
func unmarshalUUID(id *uuid.UUID, b []byte) error {
	return eachField(b, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			return eachField(value, func(number protowire.Number, _ []byte, n uint64) error {
				switch number {
				case 1:
					binary.BigEndian.PutUint64(id[:8], n)
				case 2:
					binary.BigEndian.PutUint64(id[8:], n)
				}
				return nil
			})
		case 2:
			if parsed, err := uuid.ParseBytes(value); err == nil {
				*id = parsed
			}
		}
		return nil
	})
}

// errMalformed means that bytes are no message of protobuf.
var errMalformed = errors.New("the event store's answer is malformed")

// eachField calls f for each field of an encoded message, with the bytes of a field that has a length, or the number of one that is
// a varint. The other kinds of fields, which no answer has, are left out.
func eachField(b []byte, f func(number protowire.Number, value []byte, n uint64) error) error {
	for len(b) > 0 {
		number, kind, length := protowire.ConsumeTag(b)
		if length < 0 {
			return errMalformed
		}
		b = b[length:]
		var value []byte
		var n uint64
		var known bool
		switch kind {
		case protowire.VarintType:
			n, length = protowire.ConsumeVarint(b)
			known = true
		case protowire.BytesType:
			value, length = protowire.ConsumeBytes(b)
			known = true
		default:
			length = protowire.ConsumeFieldValue(number, kind, b)
		}
		if length < 0 {
			return errMalformed
		}
		if known {
			if err := f(number, value, n); err != nil {
				return err
			}
		}
		b = b[length:]
	}
	return nil
}
