package sagas_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"casebook/domain"
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

// TestWhatANewerProgramHasToDealWithWaitsLonger: while processes are replaced one after the other, the older ones may be given an
// event many times before a newer one is.
func TestWhatANewerProgramHasToDealWithWaitsLonger(t *testing.T) {
	newer := fmt.Errorf("process x: %w", refuse.Overload("record_newer", "it is of a newer program"))
	for _, c := range []struct {
		err     error
		often   int
		givenUp bool
	}{
		{errors.New("away"), 9, false}, {errors.New("away"), 10, true}, {nil, 1000, false},
		{newer, 10, false}, {newer, 99, false}, {newer, 100, true},
		{fmt.Errorf("decode: %w", domain.ErrUnknownVersion), 99, false},
	} {
		if got := sagas.GivesUp(c.often, c.err); got != c.givenUp {
			t.Errorf("delivered %d times before, with %v, it is given up: %v", c.often, c.err, got)
		}
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
			if got := sagas.GivesUp(50, tc.err); got != tc.parked {
				t.Errorf("%v is given up: %v, want %v", tc.err, got, tc.parked)
			}
		})
	}
}
