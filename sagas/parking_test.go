package sagas_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"casebook/domain/refuse"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"
	"casebook/sagas"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestRefusedParkingIsAnError parks a message that cannot be recorded. Without an error the router would acknowledge the
// message, and it would be lost.
func TestRefusedParkingIsAnError(t *testing.T) {
	w := newWorld(t, 1)
	msg := message.NewMessage(uuid.NewString(), nil)
	msg.Metadata.Set(pubsub.KeyRevision, "0")
	msg.Metadata.Set(pubsub.KeyStream, strings.Repeat("x", 2<<20)) // larger than an event may be
	msg.Metadata.Set(middleware.PoisonedTopicKey, "safety")
	err := sagas.Parking(w.handler).Publish("parked", msg)
	if _, refused := refuse.As(err); !refused {
		t.Errorf("parking ended with %v", err)
	}
}

// TestOutageParksNothing: the store delivers the messages again and again whose commands it does not take. They are not to blame.
func TestOutageParksNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		parked bool
	}{
		"does not answer": {fmt.Errorf("process x: %w", status.Error(codes.DeadlineExceeded, "context deadline exceeded")), false},
		"has gone":        {fmt.Errorf("process x: %w", status.Error(codes.Unavailable, "the log")), false},
		"is full":         {errors.Join(status.Error(codes.ResourceExhausted, "no space")), false},
		"unknown outcome": {fmt.Errorf("process x: %w", eventlog.ErrUnknownOutcome), false},
		"overloaded":      {refuse.Overload("busy", "come back later"), false},
		"a refusal":       {refuse.WrongState("x", "it may not"), true},
		"its own mistake": {errors.New("it broke"), true},
	} {
		t.Run(name, func(t *testing.T) {
			msg := message.NewMessage(uuid.NewString(), nil)
			msg.Metadata.Set(pubsub.KeyRetryCount, "50")
			_, err := sagas.TooOften(func(*message.Message) ([]*message.Message, error) { return nil, tc.err })(msg)
			if err == nil || sagas.IsPermanent(err) != tc.parked {
				t.Errorf("%v is given up: %v, want %v", err, sagas.IsPermanent(err), tc.parked)
			}
		})
	}
}
