package sagas_test

import (
	"strings"
	"testing"

	"casebook/domain/refuse"
	"casebook/eventlog/pubsub"
	"casebook/sagas"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"
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
