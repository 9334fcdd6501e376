package node

import (
	"context"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/proto"
)

// Delete hides a stream's events. An append revives it, with the numbering going on.
func (s *streamsService) Delete(ctx context.Context, req *streams.DeleteReq) (*streams.DeleteResp, error) {
	position, err := s.remove(ctx, req.GetOptions(), store.Delete)
	if err != nil {
		return nil, err
	}
	return &streams.DeleteResp{PositionOption: &streams.DeleteResp_Position_{
		Position: &streams.DeleteResp_Position{CommitPosition: position, PreparePosition: position},
	}}, nil
}

// Tombstone ends a stream for good.
func (s *streamsService) Tombstone(ctx context.Context, req *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	position, err := s.remove(ctx, req.GetOptions(), store.Tombstone)
	if err != nil {
		return nil, err
	}
	return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_Position_{
		Position: &streams.TombstoneResp_Position{CommitPosition: position, PreparePosition: position},
	}}, nil
}

// remove reads the options as an append does: the two messages number them alike.
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
