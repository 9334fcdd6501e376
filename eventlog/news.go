package eventlog

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"casebook/domain"
)

// newsEvents and newsBytes bound the newest events that are kept for followers. One that falls further behind reads the log by
// itself until it has caught up.
const (
	newsEvents = 4096
	newsBytes  = 8 << 20
)

// news are the newest events of a session. All who follow the streams of every category and have caught up take them from here, so
// that each event is sent and decoded once however many follow.
type news struct {
	session *session
	cancel  context.CancelFunc

	mu      sync.Mutex
	changed sync.Cond
	// events are all events of registered categories behind from, in the order of the log, decoded if somebody wants that and it is
	// possible.
	from   domain.Position
	events []*Recorded
	bytes  int
	// through is the position up to which the log was read.
	through domain.Position
	// err is why no further events come.
	err       error
	followers int
	// decoding counts the followers who want decoded events.
	decoding atomic.Int64
}

// newsOf returns the news of a session from a position on, and begins them if nobody has. It returns nil where they begin later, or
// cannot be read now. Whoever is done with them calls leave.
func (l *Log) newsOf(node *session, after domain.Position) *news {
	l.newsMu.Lock()
	defer l.newsMu.Unlock()
	if n := l.news; n != nil && n.session == node {
		if joined, over := n.join(after); joined {
			return n
		} else if !over {
			return nil
		}
	}
	ctx, done := node.within(context.Background())
	s := Subscription{After: after, Categories: l.registry.Categories()}
	subscription, err := node.streams.read(ctx, s.request())
	if err != nil {
		done()
		node.suspect()
		return nil
	}
	n := &news{session: node, cancel: done, from: after, through: after, followers: 1}
	n.changed.L = &n.mu
	l.news = n
	go n.read(ctx, l, subscription)
	return n
}

// join adds a follower that has seen everything up to a position, unless events behind it are missing, or no more come: then over is
// true.
func (n *news) join(after domain.Position) (joined, over bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil || after.Before(n.from) {
		return false, n.err != nil
	}
	n.followers++
	return true, false
}

// leave removes a follower. The last one ends the reading.
func (n *news) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.followers--; n.followers == 0 {
		n.endLocked(errSubscriptionOver)
		n.events = nil
		n.cancel()
	}
}

// read reads until the session ends or no follower is left.
func (n *news) read(ctx context.Context, l *Log, subscription reading) {
	defer n.cancel()
	defer context.AfterFunc(ctx, func() { n.end(&interruption{context.Cause(ctx)}) })()
	for {
		message, err := subscription.next()
		if err != nil {
			n.end(&interruption{n.session.reason(err)})
			return
		}
		if message.isEvent && n.decoding.Load() > 0 && l.registry.holds(message.event.Stream) {
			// What is not decoded here is by each follower, who knows what to do about what cannot be.
			_ = l.decodeInto(&message.event, l.registry.recent.of)
		}
		if (message.isEvent || message.through != domain.Position{}) && !n.add(l, &message) {
			return
		}
	}
}

// add adds a message. It returns false after the end.
func (n *news) add(l *Log, m *readMessage) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return false
	}
	if m.isEvent && n.through.Before(m.event.Position) {
		n.through = m.event.Position
		if l.registry.holds(m.event.Stream) {
			n.events = append(n.events, &m.event)
			n.bytes += size(&m.event)
		}
	}
	if n.through.Before(m.through) {
		n.through = m.through
	}
	for len(n.events) > l.newsMost || n.bytes > newsBytes && len(n.events) > 1 {
		n.from = n.events[0].Position
		n.bytes -= size(n.events[0])
		n.events[0] = nil
		n.events = n.events[1:]
	}
	n.changed.Broadcast()
	return true
}

func size(e *Recorded) int { return len(e.Data) + len(e.RawMetadata) }

func (n *news) end(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endLocked(why)
}

func (n *news) endLocked(why error) {
	if n.err == nil {
		n.err = why
		n.changed.Broadcast()
	}
}

// newsReader takes the news for one follower.
type newsReader struct {
	*news
	after     domain.Position
	undecoded bool
	over      bool // the follower has gone
}

// reader returns what takes the news for a follower, until ctx ends or stop is called.
func (n *news) reader(ctx context.Context, after domain.Position, undecoded bool) (r *newsReader, stop func()) {
	r = &newsReader{news: n, after: after, undecoded: undecoded}
	unlink := context.AfterFunc(ctx, r.stop)
	if !undecoded {
		n.decoding.Add(1)
	}
	return r, func() {
		unlink()
		if !undecoded {
			n.decoding.Add(-1)
		}
		n.leave()
	}
}

// fellBehind is why a follower reads the log by itself again.
type fellBehind struct{}

func (fellBehind) Error() string { return "the follower fell behind the newest events" }

// take waits until there is something new, and returns it, with a number of events at most. The caller may change the events.
func (r *newsReader) take(most int) (next arrived) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.err == nil && !r.over && !r.after.Before(r.through) {
		r.changed.Wait()
	}
	switch {
	case r.after.Before(r.from):
		next.err = fellBehind{}
		return next
	case r.over:
		next.err = errSubscriptionOver
		return next
	}
	next.caughtUp = true
	first := r.first()
	events := r.events[first:min(first+most, len(r.events))]
	next.events = make([]Recorded, len(events))
	for i, e := range events {
		next.events[i] = *e
		if r.undecoded {
			next.events[i].Metadata, next.events[i].Event = Metadata{}, nil
		}
	}
	if first+len(events) < len(r.events) {
		next.through = events[len(events)-1].Position
	} else {
		next.err = r.err
		if r.after.Before(r.through) {
			next.through = r.through
		}
	}
	if r.after.Before(next.through) {
		r.after = next.through
	}
	return next
}

// first returns the place of the first event that the follower has not seen. r.mu is held.
func (r *newsReader) first() int {
	at, seen := slices.BinarySearchFunc(r.events, r.after, func(e *Recorded, after domain.Position) int {
		switch {
		case e.Position == after:
			return 0
		case e.Position.Before(after):
			return -1
		}
		return 1
	})
	if seen {
		at++
	}
	return at
}

// stop has take return.
func (r *newsReader) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.changed.Broadcast()
}

// waiting says whether there is something that was not taken.
func (r *newsReader) waiting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil || r.after.Before(r.through)
}
