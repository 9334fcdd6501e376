package pubsub_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// starting is a server that cannot make groups yet: it fails with one code after the other, and then makes them.
type starting struct {
	persistent.UnimplementedPersistentSubscriptionsServer
	serverfeatures.UnimplementedServerFeaturesServer

	mu    sync.Mutex
	fails []codes.Code
}

func (s *starting) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	methods := &serverfeatures.SupportedMethods{EventStoreServerVersion: "23.10.8", Methods: []*serverfeatures.SupportedMethod{
		{ServiceName: "event_store.client.streams.streams", MethodName: "batchappend"}}}
	for _, name := range []string{"create", "update", "read"} {
		methods.Methods = append(methods.Methods, &serverfeatures.SupportedMethod{
			ServiceName: "event_store.client.persistent_subscriptions.persistentsubscriptions", MethodName: name,
			Features: []string{"stream", "all"}})
	}
	return methods, nil
}

func (s *starting) Create(context.Context, *persistent.CreateReq) (*persistent.CreateResp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fails) == 0 {
		return &persistent.CreateResp{}, nil
	}
	code := s.fails[0]
	s.fails = s.fails[1:]
	return nil, status.Error(code, "not yet")
}

func (s *starting) start(t *testing.T) server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens at once
	must(t, err)
	serving := grpc.NewServer()
	persistent.RegisterPersistentSubscriptionsServer(serving, s)
	serverfeatures.RegisterServerFeaturesServer(serving, s)
	var ended sync.WaitGroup
	ended.Go(func() { _ = serving.Serve(listener) })
	t.Cleanup(func() {
		serving.Stop()
		ended.Wait()
	})
	return given("esdb://" + listener.Addr().String() + "?tls=false")
}

// TestMakingAGroupWaitsForAnyCode: whatever a server says that starts, or has lost its leader, the group is made when it can be. Only
// what somebody has to change ends a subscriber that waits for its server.
func TestMakingAGroupWaitsForAnyCode(t *testing.T) {
	waiting := func(c *pubsub.SubscriberConfig) { c.WaitForServer, c.Timeout = true, 2*time.Second }
	passing := &starting{fails: []codes.Code{codes.Internal, codes.Unknown, codes.ResourceExhausted, codes.FailedPrecondition, codes.Canceled}}
	if err := newSubscriber(t, passing.start(t), waiting).SubscribeInitialize(uuid.NewString()); err != nil {
		t.Errorf("it ends with %v", err)
	}
	for _, code := range []codes.Code{codes.Unauthenticated, codes.InvalidArgument, codes.Unimplemented} {
		lasting := &starting{fails: []codes.Code{code, code}}
		err := newSubscriber(t, lasting.start(t), waiting).SubscribeInitialize(uuid.NewString())
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s it ends with %v", code, err)
		}
	}
}
