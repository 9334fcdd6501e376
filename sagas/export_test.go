package sagas

import (
	"casebook/commands"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Parking returns the publisher that records messages which no process could deal with.
func Parking(h *commands.Handler) message.Publisher { return &parking{handler: h} }

// TooOften is the middleware that gives messages up which were delivered again and again.
var TooOften = tooOften
