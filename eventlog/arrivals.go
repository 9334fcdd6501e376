package eventlog

import (
	"context"
	"slices"
	"sync"

	"casebook/domain"
)

// subscriptionBuffer is how many events of a subscription are read ahead, in addition to gRPC's own flow control.
const subscriptionBuffer = 2048

// arrivals are the messages of a subscription that nobody has taken yet. One goroutine pumps them from the connection, another
// takes them, many at once: an event is large, and a channel would copy it twice more.
type arrivals struct {
	mu      sync.Mutex
	changed sync.Cond
	arrived arrived
	over    bool // the pump has ended

	// taken holds what was taken and is not returned yet. Only the taker uses it.
	taken arrived
}

// arrived is what has arrived: events, and what came behind them.
type arrived struct {
	events []Recorded
	// through is the position up to which the log was read; zero if no message said so.
	through domain.Position
	// caughtUp says that no further event was waiting at some moment.
	caughtUp bool
	// err is why no further messages come.
	err error
}

func (a *arrived) empty() bool {
	return len(a.events) == 0 && a.through == domain.Position{} && !a.caughtUp && a.err == nil
}

func newArrivals() *arrivals {
	a := &arrivals{}
	a.changed.L = &a.mu
	return a
}

// pump adds the messages of a subscription, until it ends or ctx ends.
func (a *arrivals) pump(ctx context.Context, subscription reading) {
	defer context.AfterFunc(ctx, func() { a.end(errSubscriptionOver) })()
	for {
		message, err := subscription.next()
		if err != nil {
			a.end(&interruption{err})
			return
		}
		if (message.isEvent || message.through != domain.Position{} || message.caughtUp) && !a.add(&message) {
			return
		}
	}
}

// add adds a message, when there is room. It returns false if the messages have ended.
func (a *arrivals) add(m *readMessage) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.arrived.events) >= subscriptionBuffer && !a.over {
		a.changed.Wait()
	}
	if a.over {
		return false
	}
	wasEmpty := a.arrived.empty()
	if m.isEvent {
		a.arrived.events = append(a.arrived.events, m.event)
	}
	if m.through != (domain.Position{}) {
		a.arrived.through = m.through
	}
	a.arrived.caughtUp = a.arrived.caughtUp || m.caughtUp
	if wasEmpty {
		a.changed.Broadcast()
	}
	return true
}

// end notes why no further messages come. The first reason counts.
func (a *arrivals) end(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.over, a.arrived.err = true, why
		a.changed.Broadcast()
	}
}

// take waits until something has arrived, and returns it, with a number of events at most. The caller may change the events.
func (a *arrivals) take(most int) (next arrived) {
	if a.taken.empty() {
		a.mu.Lock()
		for a.arrived.empty() {
			a.changed.Wait()
		}
		a.taken = a.arrived
		a.arrived = arrived{}
		if many := len(a.taken.events); many > minDecodedPerGoroutine {
			a.arrived.events = make([]Recorded, 0, many)
		}
		a.changed.Broadcast()
		a.mu.Unlock()
	}
	if len(a.taken.events) <= most {
		next, a.taken = a.taken, arrived{}
		return next
	}
	next.events, a.taken.events = slices.Clip(a.taken.events[:most]), a.taken.events[most:]
	next.through = next.events[most-1].Position
	return next
}

// waiting says whether something has arrived that was not returned.
func (a *arrivals) waiting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.taken.empty() || !a.arrived.empty()
}
