package eventlog

import (
	"context"
	"errors"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// TestARequestOfAClosedSessionIsMadeAgain has a subscription and a request take a session that is over, and whose connection is
// closed already, before there is another one. Both wait for the next session.
func TestARequestOfAClosedSessionIsMadeAgain(t *testing.T) {
	left := errors.New("the node was left")
	conn, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	s := &session{streams: newClient(conn), suspected: make(chan struct{}, 1), header: metadata.MD{}}
	s.over, s.end = context.WithCancelCause(context.Background())
	s.end(left)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	l := &Log{current: s, changed: make(chan struct{}), registry: NewRegistry()}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var heard error
	err = l.Follow(ctx, Subscription{Categories: []string{"patient"}, OnError: func(err error) {
		heard = err
		cancel()
	}}, func(context.Context, Batch) error { return nil })
	if err != nil || !errors.Is(heard, left) {
		t.Errorf("the subscription ended with %v, and was told of %v", err, heard)
	}
	_, err = once(t.Context(), s, func(ctx context.Context, c client) (struct{}, error) {
		_, err := c.read(ctx, &streams.ReadReq{})
		return struct{}{}, err
	})
	if !passing(err) || !errors.Is(err, left) {
		t.Errorf("the request failed with %v, which does not pass", err)
	}
}
