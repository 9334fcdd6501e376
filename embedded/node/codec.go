package node

import (
	"encoding"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is the protobuf codec with a short cut for the frequent messages: stored events are sent as they are, and
// appends are decoded without building maps and messages.
type codec struct{}

// frame is an answer that is already encoded.
type frame []byte

// request is a message that decodes itself. It may keep the bytes.
type request interface {
	parse(b []byte) error
}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := encoded(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error { return decode(data.Materialize(), v) }

// encoded returns a message as bytes that nobody changes any more.
func encoded(v any) (frame, error) {
	switch m := v.(type) {
	case frame:
		return m, nil
	case encoding.BinaryMarshaler: // of a client in this process
		return m.MarshalBinary()
	case proto.Message:
		return proto.Marshal(m)
	}
	return nil, fmt.Errorf("cannot encode a %T", v)
}

// decode decodes a message, which may keep the bytes.
func decode(b []byte, v any) error {
	switch m := v.(type) {
	case request:
		return m.parse(b)
	case encoding.BinaryUnmarshaler: // of a client in this process
		return m.UnmarshalBinary(b)
	case proto.Message:
		return proto.Unmarshal(b, m)
	}
	return fmt.Errorf("cannot decode a %T", v)
}
