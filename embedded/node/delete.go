package node

import (
	"context"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/proto"
)

// Delete hides a stream's events. A later append revives the stream and continues its numbering.
func (s *streamsService) Delete(ctx context.Context, req *streams.DeleteReq) (*streams.DeleteResp, error) {
	position, err := s.remove(ctx, req.GetOptions(), store.Delete)
	if err != nil {
		return nil, err
	}
	return &streams.DeleteResp{PositionOption: &streams.DeleteResp_Position_{
		Position: &streams.DeleteResp_Position{CommitPosition: position, PreparePosition: position},
	}}, nil
}

// Tombstone deletes a stream for good: it cannot be appended to or read again.
func (s *streamsService) Tombstone(ctx context.Context, req *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	position, err := s.remove(ctx, req.GetOptions(), store.Tombstone)
	if err != nil {
		return nil, err
	}
	return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_Position_{
		Position: &streams.TombstoneResp_Position{CommitPosition: position, PreparePosition: position},
	}}, nil
}

// remove deletes a stream in one of the two ways and returns the position of the event that records it. The options
// have the same field numbers as those of an append.
func (s *streamsService) remove(ctx context.Context, options proto.Message, kind store.Kind) (uint64, error) {
	var o wireOptions
	if options.ProtoReflect().IsValid() {
		b, err := proto.Marshal(options)
		if err != nil {
			return 0, refuse(ctx, badRequest(err.Error()))
		}
		if err := o.parse(b); err != nil {
			return 0, refuse(ctx, badRequest(err.Error()))
		}
	}
	a := &store.Append{Kind: kind}
	var f *failure
	if a.Stream, a.Expected, f = o.target(); f != nil {
		return 0, refuse(ctx, f)
	}
	if f := s.node.authorize(ctx, toDelete, a.Stream); f != nil {
		return 0, refuse(ctx, f)
	}
	a.Deadline, _ = ctx.Deadline()
	result, f := s.node.append(ctx.Done(), ctx.Err, a)
	if f == nil {
		f = outcomeFailure(a, result)
	}
	if f != nil {
		return 0, refuse(ctx, f)
	}
	return result.Position, nil
}
