package sagas

import (
	"strconv"

	"casebook/commands"
	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Parking returns the publisher that records messages which no process could deal with.
func Parking(h *commands.Handler) message.Publisher { return &parking{handler: h} }

// GivesUp says whether a message is given up that was delivered so often before, and could not be dealt with again.
func GivesUp(deliveries int, err error) bool {
	msg := message.NewMessage("m", nil)
	msg.Metadata.Set(pubsub.KeyRetryCount, strconv.Itoa(deliveries))
	_, err = tooOften(func(*message.Message) ([]*message.Message, error) { return nil, err })(msg)
	return IsPermanent(err)
}
