package sagas

import (
	"casebook/commands"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Parking returns the publisher that records messages which no process could deal with.
func Parking(h *commands.Handler) message.Publisher { return &parking{handler: h} }
