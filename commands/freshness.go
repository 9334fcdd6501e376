package commands

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// trustedFor is how long the states of followed streams are trusted after they held all that the log held. Rights that were
	// revoked before that are gone, even where the subscription has stalled or the process was stopped for a while.
	trustedFor = time.Second
	// askedAfter is when the next request has the log asked again, while it is answered itself. A busy process asks twice a second,
	// and its requests do not wait.
	askedAfter = trustedFor / 2
)

// freshness says how fresh followed states are: since when they certainly hold all that the log held. It is measured by the
// monotonic clock. A message of the subscription does not count, because others may wait behind it, in this process or in front of
// it. What counts is a question for the end of the log: once the states hold that end, they are as fresh as the question, if the
// node that told it leads.
type freshness struct {
	begun time.Time
	// since is when the last such question was asked, as a duration after begun; 0 for never.
	since atomic.Int64
	// wanted has room for one wish that the log is asked.
	wanted chan struct{}

	mu sync.Mutex
	// over is closed when the question that is being asked, or the next one, is over. At the end it stays closed.
	over chan struct{}
}

func newFreshness() *freshness {
	return &freshness{begun: time.Now(), wanted: make(chan struct{}, 1), over: make(chan struct{})}
}

// age is how long ago the states held all that the log held.
func (f *freshness) age() time.Duration {
	since := f.since.Load()
	if since == 0 {
		return trustedFor + 1
	}
	return time.Since(f.begun) - time.Duration(since)
}

// doubt takes back that the states are fresh: they may be those of a node that does not lead any more.
func (f *freshness) doubt() { f.since.Store(0) }

// await returns whether the states are fresh. Where they are not, it has the log asked and waits for the answer, for about
// trustedFor at most.
func (f *freshness) await(ctx context.Context) bool {
	age := f.age()
	if age <= askedAfter {
		return true
	}
	f.mu.Lock()
	over := f.over
	f.mu.Unlock()
	select {
	case f.wanted <- struct{}{}:
	default:
	}
	if age <= trustedFor {
		return true
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
	return f.age() <= trustedFor
}

// askWhenWanted asks the log whenever a request wants it, until ctx ends.
func (s *stateCache) askWhenWanted(ctx context.Context) {
	f := s.fresh
	for {
		select {
		case <-ctx.Done():
			f.mu.Lock()
			close(f.over)
			f.mu.Unlock()
			return
		case <-f.wanted:
		}
		s.ask(ctx)
		f.mu.Lock()
		close(f.over)
		f.over = make(chan struct{})
		f.mu.Unlock()
	}
}

// ask asks for the end of the log, and waits until the states hold it. It gives up after trustedFor, when the answer would be
// of no use. If the node that told the end may have been replaced, its successor is asked.
func (s *stateCache) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, trustedFor)
	defer cancel()
	for asked := time.Since(s.fresh.begun); ; asked = time.Since(s.fresh.begun) {
		leadership := s.log.Leadership()
		end, err := s.log.NewestEvent(ctx)
		if err != nil {
			return
		}
		for s.through.Load() < end.Commit {
			if ctx.Err() != nil || !s.following.Load() {
				return
			}
			time.Sleep(followPoll)
		}
		if leadership.Confirm(ctx) == nil {
			s.fresh.since.Store(int64(asked))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(confirmPause):
		}
	}
}

// trusted says whether the states of followed streams can be used as they are. Otherwise the events of the stream have to be read.
func (s *stateCache) trusted(ctx context.Context) bool {
	return s.following.Load() && s.fresh.await(ctx)
}
