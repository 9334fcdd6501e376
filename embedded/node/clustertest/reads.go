package clustertest

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// gossipServer answers the gossip of a member. It is a type of its own, because two services have a method Read.
type gossipServer struct {
	gossip.UnimplementedGossipServer
	member *Member
}

// Read returns the members as this one knows them.
func (g gossipServer) Read(context.Context, *shared.Empty) (*gossip.ClusterInfo, error) {
	return g.member.gossip(), nil
}

// Read answers a read or a subscription as far as the member shows the log.
func (m *Member) Read(request *streams.ReadReq, out streams.Streams_ReadServer) error {
	o := request.GetOptions()
	if o.GetAll() != nil && m.cluster.isDenied(ReadAll) {
		return accessDenied(out.Context())
	}
	if requiresLeader(out.Context()) {
		if err := m.mayAnswer(out.Context()); err != nil {
			return err
		}
	}
	r := &reading{member: m, out: out, subscribes: o.GetSubscription() != nil, wanted: uint64(math.MaxUint64)}
	request, _ = proto.Clone(request).(*streams.ReadReq)
	if limit, bounded, _ := m.shows(); bounded && !r.subscribes && o.GetReadDirection() == streams.ReadReq_Options_Backwards {
		r.narrow(request.GetOptions(), limit)
	}
	ctx, cancel := context.WithCancel(outgoing(out.Context()))
	defer cancel()
	in, err := m.cluster.log.Read(ctx, request)
	if err != nil {
		return err
	}
	for {
		message, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			out.SetTrailer(in.Trailer())
			return err
		}
		if over, err := r.pass(message); over || err != nil {
			return err
		}
	}
}

// reading is one read or subscription.
type reading struct {
	member     *Member
	out        streams.Streams_ReadServer
	subscribes bool
	backwards  bool
	wanted     uint64
	sent       uint64
	// heldBack says that the subscriber was told that it had caught up, at the end of what the member shows.
	heldBack bool
}

// narrow changes a read that goes backwards so that it begins at the end of what the member shows.
func (r *reading) narrow(o *streams.ReadReq_Options, limit uint64) {
	r.backwards, r.wanted = true, o.GetCount()
	if all := o.GetAll(); all != nil && all.GetEnd() != nil {
		all.AllOption = &streams.ReadReq_Options_AllOptions_Position{
			Position: &streams.ReadReq_Options_Position{CommitPosition: limit + 1, PreparePosition: limit + 1}}
		return
	}
	o.CountOption = &streams.ReadReq_Options_Count{Count: math.MaxInt64}
}

// pass sends a message on, unless it lies beyond what the member shows. It returns true at the end of a read.
func (r *reading) pass(message *streams.ReadResp) (over bool, err error) {
	at, event := message.GetCheckpoint().GetCommitPosition(), message.GetEvent()
	if event != nil {
		if at = event.GetCommitPosition(); at == 0 {
			at = max(event.GetEvent().GetCommitPosition(), event.GetLink().GetCommitPosition())
		}
	}
	for {
		limit, bounded, changed := r.member.shows()
		if !bounded || at <= limit {
			break
		}
		switch {
		case r.backwards:
			return false, nil
		case !r.subscribes && r.sent == 0 && event.GetEvent().GetStreamRevision() == 0:
			return true, r.out.Send(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{
				StreamNotFound: &streams.ReadResp_StreamNotFound{StreamIdentifier: event.GetEvent().GetStreamIdentifier()}}})
		case !r.subscribes:
			return true, nil
		case !r.heldBack:
			r.heldBack = true
			if err := r.out.Send(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}}); err != nil {
				return false, err
			}
		}
		select {
		case <-changed:
		case <-r.out.Context().Done():
			return true, nil
		}
	}
	if event != nil {
		r.sent++
	}
	if err := r.out.Send(message); err != nil {
		return false, err
	}
	return event != nil && r.sent >= r.wanted, nil
}

// Delete passes a deletion on.
func (m *Member) Delete(ctx context.Context, in *streams.DeleteReq) (*streams.DeleteResp, error) {
	return removed(ctx, m, in, m.cluster.log.Delete)
}

// Tombstone passes a deletion on.
func (m *Member) Tombstone(ctx context.Context, in *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	return removed(ctx, m, in, m.cluster.log.Tombstone)
}

func removed[Q, A any](ctx context.Context, m *Member, in Q,
	remove func(context.Context, Q, ...grpc.CallOption) (A, error)) (none A, err error) {
	if m.cluster.isDenied(DeleteStreams) {
		return none, accessDenied(ctx)
	}
	if err := m.mayAnswer(ctx); err != nil {
		return none, err
	}
	var trailer metadata.MD
	answer, err := remove(outgoing(ctx), in, grpc.Trailer(&trailer))
	if err != nil {
		_ = grpc.SetTrailer(ctx, trailer) // fails only outside a call
	}
	return answer, err
}
