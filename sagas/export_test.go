package sagas

import (
	"log/slog"
	"strconv"
	"time"

	"casebook/commands"
	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Parking returns the publisher that records messages which no process could deal with.
func Parking(h *commands.Handler) message.Publisher {
	return &parking{handler: h, logger: slog.New(slog.DiscardHandler), now: time.Now}
}

// ReportForeign notes the foreign members of a group, as a subscriber does.
func (d *Drive) ReportForeign(group string, connections []string) {
	d.reportForeign(group, connections)
}

// ParkingWith has a clock park what keeps failing.
func (c *Clock) ParkingWith(r *Runner) *Clock {
	c.parking = &parking{handler: r.Handler, logger: r.Logger, now: r.now}
	return c
}

// GivesUp says whether a message is given up that was delivered so often before, and could not be dealt with again.
func GivesUp(deliveries int, err error) bool {
	msg := message.NewMessage("m", nil)
	msg.Metadata.Set(pubsub.KeyRetryCount, strconv.Itoa(deliveries))
	_, err = tooOften(func(*message.Message) ([]*message.Message, error) { return nil, err })(msg)
	return IsPermanent(err)
}

// TimerOf returns the timer that an event has set.
var TimerOf = timerOf
