package clustertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// write is an append that only the leader has on its disk.
type write struct {
	request  *streams.BatchAppendReq
	revision int64 // of the stream after it
	answer   chan *streams.BatchAppendResp
}

// BatchAppend answers each append by itself, in any order.
func (m *Member) BatchAppend(stream streams.Streams_BatchAppendServer) error {
	var sending sync.Mutex
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	parts := map[string]*streams.BatchAppendReq{}
	failed := make(chan error, 1)
	requests := make(chan *streams.BatchAppendReq)
	go func() {
		for {
			request, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- request:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		var request *streams.BatchAppendReq
		select {
		case request = <-requests:
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		key := request.GetCorrelationId().String()
		if known := parts[key]; known != nil {
			known.ProposedMessages = append(known.ProposedMessages, request.ProposedMessages...)
			known.IsFinal, request = request.IsFinal, known
		}
		if !request.IsFinal {
			parts[key] = request
			continue
		}
		delete(parts, key)
		running.Go(func() {
			answer, err := m.append(ctx, request)
			if err != nil {
				cancel(err)
				return
			}
			answer, _ = proto.Clone(answer).(*streams.BatchAppendResp)
			answer.CorrelationId = request.CorrelationId
			sending.Lock()
			defer sending.Unlock()
			_ = stream.Send(answer) // if it fails, the receiver gets the reason
		})
	}
}

// Append answers the append of a stream of its own.
func (m *Member) Append(in streams.Streams_AppendServer) error {
	request := &streams.BatchAppendReq{Options: &streams.BatchAppendReq_Options{}, IsFinal: true}
	for {
		part, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if o := part.GetOptions(); o != nil {
			request.Options.StreamIdentifier = o.StreamIdentifier
			switch expected := o.ExpectedStreamRevision.(type) {
			case *streams.AppendReq_Options_Revision:
				request.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: expected.Revision}
			case *streams.AppendReq_Options_NoStream:
				request.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: noStream}
			case *streams.AppendReq_Options_StreamExists:
				request.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamExists{StreamExists: noStream}
			default:
				request.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_Any{Any: noStream}
			}
		}
		if p := part.GetProposedMessage(); p != nil {
			request.ProposedMessages = append(request.ProposedMessages, &streams.BatchAppendReq_ProposedMessage{
				Id: p.Id, Metadata: p.Metadata, CustomMetadata: p.CustomMetadata, Data: p.Data})
		}
	}
	ctx := in.Context()
	if state, leader := m.role(); state == gossip.MemberInfo_Follower && leader != nil && requiresLeader(ctx) {
		return notLeader(ctx, leader)
	}
	answer, err := m.append(ctx, request)
	if err != nil {
		return err
	}
	if failure := answer.GetError(); failure != nil {
		return m.appendFailure(ctx, in, failure)
	}
	success := answer.GetSuccess()
	p := success.GetPosition()
	return in.SendAndClose(&streams.AppendResp{Result: &streams.AppendResp_Success_{Success: &streams.AppendResp_Success{
		CurrentRevisionOption: &streams.AppendResp_Success_CurrentRevision{CurrentRevision: success.GetCurrentRevision()},
		PositionOption: &streams.AppendResp_Success_Position{Position: &streams.AppendResp_Position{
			CommitPosition: p.GetCommitPosition(), PreparePosition: p.GetPreparePosition()}}}}})
}

// appendFailure answers an append of a stream of its own with the failure of a batch.
func (m *Member) appendFailure(ctx context.Context, in streams.Streams_AppendServer, failure *spb.Status) error {
	for _, detail := range failure.Details {
		var wrong shared.WrongExpectedVersion
		switch {
		case detail.MessageIs(&wrong) && detail.UnmarshalTo(&wrong) == nil:
			current := wrong.GetCurrentStreamRevision()
			answer := &streams.AppendResp_WrongExpectedVersion{
				CurrentRevisionOption:         &streams.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: current},
				ExpectedRevisionOption:        &streams.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &shared.Empty{}},
				ExpectedRevisionOption_20_6_0: &streams.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: &shared.Empty{}},
				CurrentRevisionOption_20_6_0: &streams.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{
					CurrentRevision_20_6_0: current},
			}
			if wrong.GetCurrentNoStream() != nil {
				answer.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &shared.Empty{}}
				answer.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_NoStream_20_6_0{
					NoStream_20_6_0: &shared.Empty{}}
			}
			return in.SendAndClose(&streams.AppendResp{Result: &streams.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: answer}})
		case detail.MessageIs(&shared.AccessDenied{}):
			return accessDenied(ctx)
		}
	}
	if failure.Code == 0 {
		return status.Error(codes.Unavailable, failure.Message)
	}
	return status.Error(codes.Code(failure.Code), failure.Message)
}

// withoutCode is the answer of a node that does not take an append now. Real nodes give it no code.
func withoutCode(message string) *streams.BatchAppendResp {
	return failed(codes.OK, message, &shared.Empty{})
}

func failed(code codes.Code, message string, detail proto.Message) *streams.BatchAppendResp {
	packed, err := anypb.New(detail)
	if err != nil {
		panic(err) // only for a message that cannot be encoded
	}
	return &streams.BatchAppendResp{Result: &streams.BatchAppendResp_Error{
		Error: &spb.Status{Code: int32(code), Message: message, Details: []*anypb.Any{packed}}}}
}

// append does what the member does with an append in its role. An error ends the stream of appends.
func (m *Member) append(ctx context.Context, request *streams.BatchAppendReq) (*streams.BatchAppendResp, error) {
	c := m.cluster
	c.mu.Lock()
	state := m.state()
	leader, replicates := c.leader, c.hasQuorum() && !m.cutOff
	switch {
	case c.denied[Append]:
		c.mu.Unlock()
		return failed(codes.PermissionDenied, "Access Denied", &shared.AccessDenied{}), nil
	case c.busy:
		c.mu.Unlock()
		return withoutCode("Server Is Busy"), nil
	case state == gossip.MemberInfo_Follower && leader != nil && leader != m:
		c.mu.Unlock()
		if requiresLeader(ctx) {
			return nil, notLeader(ctx, leader) // real nodes end the stream with it
		}
		leader.gate.pass()
		return leader.append(ctx, request)
	case state == gossip.MemberInfo_Unknown && m.reachable():
		c.mu.Unlock()
		return withoutCode("No leader info available in response"), nil
	case state != gossip.MemberInfo_Leader:
		c.mu.Unlock()
		return withoutCode("Server Is Not Ready"), nil
	case replicates:
		c.mu.Unlock()
		return c.appends.append(ctx, request)
	}
	c.mu.Unlock()
	return m.appendAlone(ctx, request)
}

// appendAlone writes without a quorum. The answer comes when the write is replicated, or says that it took too long.
func (m *Member) appendAlone(ctx context.Context, request *streams.BatchAppendReq) (*streams.BatchAppendResp, error) {
	c := m.cluster
	name := string(request.GetOptions().GetStreamIdentifier().GetStreamName())
	replicated, err := c.revisionOf(ctx, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	current := replicated
	for _, w := range c.unreplicated {
		if string(w.request.GetOptions().GetStreamIdentifier().GetStreamName()) == name {
			current = w.revision
		}
	}
	expected := current
	switch o := request.GetOptions().GetExpectedStreamPosition().(type) {
	case *streams.BatchAppendReq_Options_NoStream:
		expected = -1
	case *streams.BatchAppendReq_Options_StreamPosition:
		expected = int64(o.StreamPosition)
	}
	if expected != current {
		c.mu.Unlock()
		wrong := &shared.WrongExpectedVersion{
			CurrentStreamRevisionOption:  &shared.WrongExpectedVersion_CurrentStreamRevision{CurrentStreamRevision: uint64(max(current, 0))},
			ExpectedStreamPositionOption: &shared.WrongExpectedVersion_ExpectedStreamPosition{ExpectedStreamPosition: uint64(max(expected, 0))},
		}
		if current < 0 {
			wrong.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentNoStream{CurrentNoStream: noStream}
		}
		return failed(codes.AlreadyExists, "WrongExpectedVersion", wrong), nil
	}
	w := &write{request: request, revision: current + int64(len(request.ProposedMessages)), answer: make(chan *streams.BatchAppendResp, 1)}
	c.unreplicated, c.writer = append(c.unreplicated, w), m
	c.mu.Unlock()
	timeout := time.NewTimer(c.options.WriteTimeout)
	defer timeout.Stop()
	select {
	case answer := <-w.answer:
		if answer == nil {
			return nil, status.Error(codes.Unavailable, "the node ends: it has records that the leader lacks")
		}
		return answer, nil
	case <-timeout.C:
		return failed(codes.DeadlineExceeded, "Timeout", &shared.Timeout{}), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// replicate passes on what was written without a quorum. c.mu is held.
func (c *Cluster) replicate() {
	for _, w := range c.unreplicated {
		answer, err := c.appends.append(context.Background(), w.request)
		if err != nil {
			break
		}
		w.answer <- answer
	}
	c.unreplicated, c.writer = nil, nil
}

// giveUp drops what was written without a quorum: the new leader lacks it. c.mu is held.
func (c *Cluster) giveUp() {
	if c.writer != nil {
		c.writer.truncates = true
	}
	for _, w := range c.unreplicated {
		w.answer <- nil
	}
	c.unreplicated, c.writer = nil, nil
}

// Unreplicated returns how many appends only a leader without a quorum has.
func (c *Cluster) Unreplicated() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unreplicated)
}

// revisionOf returns the last revision of a stream in the log; -1 for none.
func (c *Cluster) revisionOf(ctx context.Context, name string) (int64, error) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, nil))
	defer cancel()
	last, err := c.log.Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(name)},
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_End{End: &shared.Empty{}}}},
		ReadDirection: streams.ReadReq_Options_Backwards,
		CountOption:   &streams.ReadReq_Options_Count{Count: 1},
		FilterOption:  &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:    &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &shared.Empty{}}},
	}})
	if err != nil {
		return -1, err
	}
	for {
		message, err := last.Recv()
		if errors.Is(err, io.EOF) || message.GetStreamNotFound() != nil {
			return -1, nil
		}
		if err != nil {
			return -1, err
		}
		if e := message.GetEvent().GetEvent(); e != nil {
			if e.StreamRevision > math.MaxInt64 {
				return -1, nil
			}
			return int64(e.StreamRevision), nil
		}
	}
}

// upstream appends to the embedded node, over one stream for the whole cluster.
type upstream struct {
	stream  streams.Streams_BatchAppendClient
	mu      sync.Mutex
	next    int64
	waiting map[int64]chan *streams.BatchAppendResp
	ended   chan struct{}
}

func newUpstream(ctx context.Context, log streams.StreamsClient) (*upstream, error) {
	stream, err := log.BatchAppend(ctx)
	if err != nil {
		return nil, err
	}
	u := &upstream{stream: stream, waiting: map[int64]chan *streams.BatchAppendResp{}, ended: make(chan struct{})}
	go u.receive()
	return u, nil
}

func (u *upstream) receive() {
	defer close(u.ended)
	for {
		answer, err := u.stream.Recv()
		if err != nil {
			return // the cluster closes
		}
		id := answer.GetCorrelationId().GetStructured().GetLeastSignificantBits()
		u.mu.Lock()
		waiting := u.waiting[id]
		delete(u.waiting, id)
		u.mu.Unlock()
		if waiting != nil {
			waiting <- answer
		}
	}
}

func (u *upstream) append(ctx context.Context, request *streams.BatchAppendReq) (*streams.BatchAppendResp, error) {
	request, _ = proto.Clone(request).(*streams.BatchAppendReq)
	answer := make(chan *streams.BatchAppendResp, 1)
	u.mu.Lock()
	u.next++
	u.waiting[u.next] = answer
	request.CorrelationId = &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{LeastSignificantBits: u.next}}}
	err := u.stream.Send(request)
	u.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("pass an append on: %w", err)
	}
	select {
	case a := <-answer:
		return a, nil
	case <-u.ended:
		return nil, errNotReady
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (u *upstream) wait() { <-u.ended }
