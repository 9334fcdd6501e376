package clustertest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// maxMessage is more than a message may have.
const maxMessage = 32 << 20

// frame is a message that is passed on as it is.
type frame struct{ bytes []byte }

// codec is the protobuf codec, except for frames.
type codec struct{}

// Name implements encoding.Codec.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (codec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *frame:
		return m.bytes, nil
	case proto.Message:
		return proto.Marshal(m)
	}
	return nil, fmt.Errorf("cannot encode a %T", v)
}

// Unmarshal implements encoding.Codec.
func (codec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case *frame:
		m.bytes = append([]byte(nil), data...)
		return nil
	case proto.Message:
		return proto.Unmarshal(data, m)
	}
	return fmt.Errorf("cannot decode a %T", v)
}

// managesGroups are the methods that need the right ManageGroups.
var managesGroups = map[string]bool{
	persistent.PersistentSubscriptions_Create_FullMethodName:       true,
	persistent.PersistentSubscriptions_Update_FullMethodName:       true,
	persistent.PersistentSubscriptions_Delete_FullMethodName:       true,
	persistent.PersistentSubscriptions_ReplayParked_FullMethodName: true,
}

// forward passes calls of other services on to the embedded node. Only the leader serves them, and they end when it is
// deposed.
func (m *Member) forward(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	if managesGroups[method] && m.cluster.isDenied(ManageGroups) {
		return accessDenied(in.Context())
	}
	if err := m.mayAnswer(in.Context()); err != nil {
		return err
	}
	ctx, cancel := m.whileLeading(in.Context())
	defer cancel()
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	out, err := m.cluster.up.NewStream(outgoing(ctx), both, method, grpc.ForceCodec(codec{}))
	if err != nil {
		return err
	}
	go func() {
		for {
			var f frame
			if err := in.RecvMsg(&f); err != nil {
				if errors.Is(err, io.EOF) {
					_ = out.CloseSend() // it never fails
				} else {
					cancel()
				}
				return
			}
			if out.SendMsg(&f) != nil {
				return // the receiver gets the reason
			}
		}
	}()
	for {
		var f frame
		if err := out.RecvMsg(&f); err != nil {
			in.SetTrailer(out.Trailer())
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case in.Context().Err() == nil && ctx.Err() != nil:
				return errNotReady // it was deposed
			}
			return err
		}
		if err := in.SendMsg(&f); err != nil {
			return err
		}
	}
}

// whileLeading returns a context that ends when the member is deposed.
func (m *Member) whileLeading(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	c := m.cluster
	go func() {
		defer cancel()
		for {
			c.mu.Lock()
			leads, changed := c.leader == m, c.changed
			c.mu.Unlock()
			if !leads {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// outgoing passes the headers of a call on.
func outgoing(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	passed := metadata.MD{}
	for _, name := range []string{"authorization", "connection-name"} {
		if values := md.Get(name); len(values) > 0 {
			passed.Set(name, values...)
		}
	}
	return metadata.NewOutgoingContext(ctx, passed)
}
