package eventlog_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"casebook/eventlog"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// answeringStore is a fake of an empty event store. It stores nothing and gives prepared answers to appends.
type answeringStore struct {
	streams.UnimplementedStreamsServer
	serverfeatures.UnimplementedServerFeaturesServer
	mu      sync.Mutex
	answers []*streams.BatchAppendResp // in this order; the last one is repeated
	ids     []string                   // id of the first event of each append
}

func (s *answeringStore) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	return &serverfeatures.SupportedMethods{EventStoreServerVersion: "23.10.8", Methods: []*serverfeatures.SupportedMethod{
		{ServiceName: "event_store.client.streams.streams", MethodName: "batchappend"}}}, nil
}

func (s *answeringStore) Read(*streams.ReadReq, streams.Streams_ReadServer) error { return nil }

func (s *answeringStore) BatchAppend(stream streams.Streams_BatchAppendServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.ids = append(s.ids, request.ProposedMessages[0].Id.GetString_())
		answer := s.answers[0]
		if len(s.answers) > 1 {
			s.answers = s.answers[1:]
		}
		s.mu.Unlock()
		if err := stream.Send(&streams.BatchAppendResp{CorrelationId: request.CorrelationId, Result: answer.Result}); err != nil {
			return err
		}
	}
}

func (s *answeringStore) connect(t *testing.T, timeout time.Duration) *eventlog.Log {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	streams.RegisterStreamsServer(server, s)
	serverfeatures.RegisterServerFeaturesServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	log, err := eventlog.Connect(t.Context(), eventlog.Options{
		URL: "esdb://" + listener.Addr().String() + "?tls=false", Registry: registry(), Timeout: timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

var (
	// notReady is the answer of a node whose cluster has lost its quorum: an error without a code.
	notReady = &streams.BatchAppendResp{Result: &streams.BatchAppendResp_Error{Error: &spb.Status{Message: "Server Is Not Ready"}}}
	// withoutPosition is a success without a position.
	withoutPosition = &streams.BatchAppendResp{Result: &streams.BatchAppendResp_Success_{Success: &streams.BatchAppendResp_Success{}}}
	// at42 is a success at position 42.
	at42 = &streams.BatchAppendResp{Result: &streams.BatchAppendResp_Success_{Success: &streams.BatchAppendResp_Success{
		PositionOption: &streams.BatchAppendResp_Success_Position{Position: &shared.AllStreamPosition{CommitPosition: 42, PreparePosition: 42}},
	}}}
)

// TestAppendWithoutAPositionFails appends to an event store whose answers contain no position, because it has stored
// nothing.
func TestAppendWithoutAPositionFails(t *testing.T) {
	for name, s := range map[string]*answeringStore{
		"the node is not ready":       {answers: []*streams.BatchAppendResp{notReady}},
		"the answer is empty":         {answers: []*streams.BatchAppendResp{{}}},
		"the success has no position": {answers: []*streams.BatchAppendResp{withoutPosition}},
	} {
		t.Run(name, func(t *testing.T) {
			log := s.connect(t, 200*time.Millisecond)
			out, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"lost"})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("the append ended with %v, at position %v", err, out.Position)
			}
		})
	}
}

// TestUnansweredAppendIsSentAgain appends to an event store that is not ready at first.
func TestUnansweredAppendIsSentAgain(t *testing.T) {
	s := &answeringStore{answers: []*streams.BatchAppendResp{notReady, withoutPosition, at42}}
	out, err := s.connect(t, 0).Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"kept"})
	if err != nil || out.Position.Commit != 42 {
		t.Errorf("the append ended with %v, at position %v", err, out.Position)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) != 3 || len(slices.Compact(s.ids)) != 1 {
		t.Errorf("the append was sent as %v", s.ids)
	}
}

// refusal is an answer with a code and a detail, as servers give it.
func refusal(code codes.Code, message string, detail proto.Message) *streams.BatchAppendResp {
	packed, err := anypb.New(detail)
	if err != nil {
		panic(err) // only for a message that cannot be encoded
	}
	return &streams.BatchAppendResp{Result: &streams.BatchAppendResp_Error{
		Error: &spb.Status{Code: int32(code), Message: message, Details: []*anypb.Any{packed}}}}
}

// unclear are the answers of servers that tell nothing of the outcome, and final those after which nothing is stored.
var (
	unclear = map[string]*streams.BatchAppendResp{
		"not ready":               refusal(codes.OK, "Server Is Not Ready", &shared.Empty{}),
		"busy":                    refusal(codes.OK, "Server Is Busy", &shared.Empty{}),
		"no leader":               refusal(codes.OK, "No leader info available in response", &shared.Empty{}),
		"unknown reason":          refusal(codes.OK, "Unknown NotHandledReason (7)", &shared.Empty{}),
		"time-out":                refusal(codes.DeadlineExceeded, "Timeout", &shared.Timeout{}),
		"unknown":                 refusal(codes.Unknown, "Unknown", &shared.Unknown{}),
		"internal":                refusal(codes.Internal, "Envelope callback expected either ...", &shared.Empty{}),
		"cancelled":               refusal(codes.Canceled, "cancelled", &shared.Empty{}),
		"aborted":                 refusal(codes.Aborted, "Operation timed out", &shared.Empty{}),
		"unavailable":             refusal(codes.Unavailable, "the node is closing", &shared.Empty{}),
		"data loss":               refusal(codes.DataLoss, "lost", &shared.Empty{}),
		"leader elsewhere":        refusal(codes.NotFound, "Leader info available", &shared.Empty{}),
		"a code of later servers": refusal(codes.Code(99), "?", &shared.Empty{}),
	}
	final = map[string]struct {
		answer *streams.BatchAppendResp
		want   error
	}{
		"access denied":       {refusal(codes.PermissionDenied, "AccessDenied", &shared.AccessDenied{}), eventlog.ErrMissingRight},
		"stream deleted":      {refusal(codes.NotFound, "StreamDeleted", &shared.StreamDeleted{}), eventlog.ErrStreamDeleted},
		"append too large":    {refusal(codes.InvalidArgument, "x", &shared.MaximumAppendSizeExceeded{MaxAppendSize: 1}), eventlog.ErrTooLarge},
		"bad request":         {refusal(codes.InvalidArgument, "BadRequest", &shared.BadRequest{Message: "x"}), eventlog.ErrRejected},
		"invalid transaction": {refusal(codes.FailedPrecondition, "x", &shared.InvalidTransaction{}), eventlog.ErrRejected},
		"wrong version": {refusal(codes.AlreadyExists, "WrongExpectedVersion", &shared.WrongExpectedVersion{
			CurrentStreamRevisionOption: &shared.WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &emptypb.Empty{}}}), eventlog.ErrConflict},
		"event too large": {&streams.BatchAppendResp{Result: &streams.BatchAppendResp_Error{Error: &spb.Status{
			Code: int32(codes.InvalidArgument), Details: []*anypb.Any{
				{TypeUrl: "type.googleapis.com/event_store.client.MaximumAppendEventSizeExceeded"}}}}}, eventlog.ErrTooLarge},
	}
)

// TestUnclearAnswersAreSentAgain: after an answer that tells nothing of the outcome, the append is sent again, with the same ids.
// If no clear answer comes in time, the outcome is unknown, with the code Unavailable.
func TestUnclearAnswersAreSentAgain(t *testing.T) {
	for name, answer := range unclear {
		t.Run(name, func(t *testing.T) {
			s := &answeringStore{answers: []*streams.BatchAppendResp{answer, at42}}
			out, err := s.connect(t, 0).Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"kept"})
			if err != nil || out.Position.Commit != 42 {
				t.Errorf("the append ended with %v, at position %v", err, out.Position)
			}
			s = &answeringStore{answers: []*streams.BatchAppendResp{answer}}
			_, err = s.connect(t, 100*time.Millisecond).Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"lost"})
			if !errors.Is(err, eventlog.ErrUnknownOutcome) || status.Code(err) != codes.Unavailable {
				t.Errorf("without a clear answer, the append ended with %v", err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.ids) < 2 || len(slices.Compact(s.ids)) != 1 {
				t.Errorf("the append was sent as %v", s.ids)
			}
		})
	}
}

// TestFinalAnswersAreNamed: an answer after which nothing is stored is an error with a name. The append is not sent again. If an
// earlier attempt may have been stored, the outcome is unknown all the same.
func TestFinalAnswersAreNamed(t *testing.T) {
	for name, c := range final {
		t.Run(name, func(t *testing.T) {
			s := &answeringStore{answers: []*streams.BatchAppendResp{c.answer}}
			_, err := s.connect(t, 0).Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"lost"})
			s.mu.Lock()
			sent := len(s.ids)
			s.mu.Unlock()
			if !errors.Is(err, c.want) || errors.Is(err, eventlog.ErrUnknownOutcome) || sent != 1 {
				t.Errorf("sent %d times, the append ended with %v", sent, err)
			}
			s = &answeringStore{answers: []*streams.BatchAppendResp{unclear["time-out"], c.answer}}
			_, err = s.connect(t, 0).Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"lost"})
			if errors.Is(c.want, eventlog.ErrConflict) { // reads tell what it was with
				return
			}
			if !errors.Is(err, eventlog.ErrUnknownOutcome) || errors.Is(err, c.want) || status.Code(err) != codes.Unavailable {
				t.Errorf("after a time-out, the append ended with %v", err)
			}
		})
	}
}
