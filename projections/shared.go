package projections

import (
	"context"
	"sync"
	"time"

	"casebook/domain"
	"casebook/eventlog"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// fetchAhead bounds the batches that are fetched while one is folded. As many are folded together, give or take one.
	fetchAhead = 4
	// Batches begin batchApart from each other at least, and batchPerEvent more for each event of the one before, up to
	// batchApartMost. It is what a view lags behind by design: next to nothing when little happens, and a tenth of a
	// second when much does, where each write then serves many events.
	batchApart     = 10 * time.Millisecond
	batchPerEvent  = 500 * time.Microsecond
	batchApartMost = 100 * time.Millisecond
)

// shared is the reading of the log that all live views of an engine have in common: each event is read and decoded once.
type shared struct {
	engine *Engine
	pace   *rate.Limiter
	begun  chan domain.Position // the place of the first member

	mu      sync.Mutex
	started bool
	at      domain.Position // everything up to here has been given to the members
	members []*member
}

// member is a view that has caught up. left is told why it does not go on, once.
type member struct {
	runner *runner
	left   chan error
}

func newShared(e *Engine) *shared {
	return &shared{engine: e, pace: rate.NewLimiter(rate.Every(batchApart), 1), begun: make(chan domain.Position, 1)}
}

// join takes a runner in, unless the others have gone ahead of it. The runner is written by the shared reading alone until
// it leaves.
func (s *shared) join(r *runner) (*member, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started, s.at = true, r.at.Position
		s.begun <- r.at.Position
	}
	if r.at.Position.Before(s.at) {
		return nil, false
	}
	m := &member{runner: r, left: make(chan error, 1)}
	s.members = append(s.members, m)
	return m, true
}

// wait holds the others until a runner that has nearly caught up stands where they do, and takes it in: where much happens,
// they would always be ahead of it.
func (s *shared) wait(ctx context.Context, r *runner) (*member, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.catchUp(ctx, func() bool { return !r.through.Before(s.at) }); err != nil {
		return nil, err
	}
	m := &member{runner: r, left: make(chan error, 1)}
	s.members = append(s.members, m)
	return m, nil
}

// leave takes a member out; when it returns, the shared reading does not touch its runner any more.
func (s *shared) leave(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.members {
		if other == m {
			s.members = append(s.members[:i:i], s.members[i+1:]...)
			return
		}
	}
}

// run reads from the place of the first member on, until ctx ends.
func (s *shared) run(ctx context.Context) error {
	select {
	case after := <-s.begun:
		return pipe(ctx, s.engine, eventlog.Subscription{After: after}, func(ctx context.Context, b eventlog.Batch, fetched <-chan eventlog.Batch) error {
			if err := s.pace.Wait(ctx); err != nil {
				return err
			}
			b = s.engine.withMore(b, fetched)
			if b.Live {
				s.pace.SetLimit(rate.Every(min(batchApart+time.Duration(len(b.Events))*batchPerEvent, batchApartMost)))
			} else {
				s.pace.SetLimit(rate.Inf) // there is a past to catch up with
			}
			return s.give(ctx, b)
		})
	case <-ctx.Done():
		return nil
	}
}

// give brings a batch to every member, one after the other: the machine is also there for those who send the events. A
// member that fails is out, and its keeper is told.
func (s *shared) give(ctx context.Context, b eventlog.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.members[:0:0]
	for _, m := range s.members {
		err := m.runner.take(ctx, b, true)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			m.left <- err
			continue
		}
		kept = append(kept, m)
	}
	s.members, s.at = kept, b.Through
	return nil
}

// pipe follows the log. Reading and folding go on side by side: what comes while a batch is folded makes the next one, so
// batches grow by themselves when there is much to do.
func pipe(parent context.Context, e *Engine, from eventlog.Subscription, fold func(context.Context, eventlog.Batch, <-chan eventlog.Batch) error) error {
	from.MaxBatch, from.KeepUnreadable = e.limits.Batch, true
	from.OnError = func(err error) { e.logger.Warn("projections wait for the log", "error", err) }
	fetched := make(chan eventlog.Batch, fetchAhead)
	group, ctx := errgroup.WithContext(parent)
	group.Go(func() error {
		defer close(fetched)
		return e.log.Follow(ctx, from, func(ctx context.Context, b eventlog.Batch) error {
			select {
			case fetched <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	group.Go(func() error {
		for b := range fetched {
			if err := fold(ctx, b, fetched); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	if parent.Err() != nil {
		return parent.Err()
	}
	return err
}

// withMore puts behind a batch what has been fetched meanwhile.
func (e *Engine) withMore(b eventlog.Batch, fetched <-chan eventlog.Batch) eventlog.Batch {
	for len(b.Events) < fetchAhead*e.limits.Batch {
		select {
		case next, open := <-fetched:
			if !open {
				return b
			}
			b.Events, b.Through, b.Live = append(b.Events, next.Events...), next.Through, next.Live
		default:
			return b
		}
	}
	return b
}
