package node

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// readAllFrom returns the messages of a read of the whole log.
func readAllFrom(t *testing.T, ctx context.Context, c streams.StreamsClient) []*streams.ReadResp { //nolint:revive // t comes first
	t.Helper()
	reading, err := c.Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}}},
		CountOption:  &streams.ReadReq_Options_Count{Count: 1000},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption: &streams.ReadReq_Options_UUIDOption{
			Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var answers []*streams.ReadResp
	for {
		answer, err := reading.Recv()
		if errors.Is(err, io.EOF) {
			return answers
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
}

func credentialsOf(who *esdb.Credentials) context.Context {
	pair := base64.StdEncoding.EncodeToString([]byte(who.Login + ":" + who.Password))
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Basic "+pair)
}

// TestInProcessClientsMeetTheSameNode: a client in the node's own process is checked like any other, and reads the same.
func TestInProcessClientsMeetTheSameNode(t *testing.T) {
	n := openNode(t, withUsers)
	inside := streams.NewStreamsClient(n.InProcess())
	admin := credentialsOf(as(t, n, "admin"))

	appending, err := inside.BatchAppend(admin)
	must(t, err)
	ids := []uuid.UUID{uuid.New(), uuid.New()}
	must(t, appending.Send(batchPart("one", "of-one", -1, true, ids...)))
	answer, err := appending.Recv()
	must(t, err)
	if answer.GetSuccess().GetCurrentRevision() != 1 {
		t.Errorf("the append was answered with %v", answer)
	}
	must(t, appending.CloseSend())
	if _, err := appending.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("a call that the client closed ended with %v", err)
	}

	within, without := readAllFrom(t, admin, inside), readAllFrom(t, admin, dialStreams(t, n))
	if len(within) < len(ids) || len(within) != len(without) {
		t.Fatalf("%d messages within the process, %d over the network", len(within), len(without))
	}
	for i := range within {
		if !proto.Equal(within[i], without[i]) {
			t.Errorf("message %d within the process: %v; over the network: %v", i, within[i], without[i])
		}
	}

	for _, who := range []context.Context{context.Background(), credentialsOf(&esdb.Credentials{Login: "admin", Password: "wrong"})} {
		refused, err := inside.BatchAppend(who)
		must(t, err)
		_ = refused.Send(batchPart("two", "of-two", -1, true, uuid.New()))
		if _, err := refused.Recv(); codeOf(err) != codes.PermissionDenied && codeOf(err) != codes.Unauthenticated {
			t.Errorf("an append without the right credentials: %v", err)
		}
	}
	members, err := gossip.NewGossipClient(n.InProcess()).Read(context.Background(), &shared.Empty{})
	if err != nil || len(members.GetMembers()) != 1 {
		t.Errorf("the members: %v, %v", members, err)
	}
}

// TestInProcessCallsEndWithTheNode: neither a client that takes nothing nor one that says nothing delays the closing for long, and
// later calls say that the node is closed.
func TestInProcessCallsEndWithTheNode(t *testing.T) {
	n := openNode(t)
	inside := streams.NewStreamsClient(n.InProcess())
	mustAppend(t, connect(t, n), "many", esdb.Any{}, numbered("happened", 0, 200)...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	subscription, err := inside.Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}}},
		CountOption:  &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption: &streams.ReadReq_Options_UUIDOption{
			Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}},
	}})
	must(t, err)
	if _, err := subscription.Recv(); err != nil { // and no further message is taken
		t.Fatal(err)
	}
	silent, err := inside.BatchAppend(ctx)
	must(t, err)

	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the node does not close")
	}
	if _, err := silent.Recv(); err == nil {
		t.Error("a call went on after the node was closed")
	}
	if _, err := gossip.NewGossipClient(n.InProcess()).Read(context.Background(), &shared.Empty{}); codeOf(err) != codes.Unavailable {
		t.Errorf("a call after the closing: %v", err)
	}
	if _, err := inside.BatchAppend(context.Background()); codeOf(err) != codes.Unavailable {
		t.Errorf("a call with many messages after the closing: %v", err)
	}
}
