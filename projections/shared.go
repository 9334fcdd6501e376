package projections

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"casebook/domain"
	"casebook/eventlog"
	"casebook/readmodels"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// fetchAhead bounds the batches that are fetched while one is folded. As many are folded together, give or take one.
	fetchAhead = 4
	// Two batches begin at least batchApart after each other, and later by batchPerEvent for each event of the first, up to
	// batchApartMost. Views lag behind by this much on purpose: hardly at all when few events come, and by a tenth of a
	// second when many come, so that each write serves many events.
	batchApart     = 10 * time.Millisecond
	batchPerEvent  = 500 * time.Microsecond
	batchApartMost = 100 * time.Millisecond
)

// shared is the subscription that all live views of an engine have in common: each event is read and decoded once.
type shared struct {
	engine *Engine
	pace   *rate.Limiter
	begun  chan readmodels.Checkpoint // receives the checkpoint of the first member

	// over says that the members' past is lost, and that they are about to be removed.
	over atomic.Bool

	mu      sync.Mutex
	started bool
	at      domain.Position // all members have folded everything up to here
	members []*member
}

// member is a view that has caught up. left receives, once, the reason why the view cannot go on.
type member struct {
	runner *runner
	left   chan error
}

func newShared(e *Engine) *shared {
	return &shared{engine: e, pace: rate.NewLimiter(rate.Every(batchApart), 1), begun: make(chan readmodels.Checkpoint, 1)}
}

// join adds a runner, unless the members are ahead of it. From then on until leave, only the shared subscription uses the
// runner.
func (s *shared) join(r *runner) (*member, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started && r.at.Position.Before(s.at) {
		return nil, false
	}
	return s.add(r), true
}

// add adds a runner. The first one begins the subscription. s.mu is held.
func (s *shared) add(r *runner) *member {
	if !s.started {
		s.started, s.at = true, r.at.Position
		s.begun <- r.at
	}
	m := &member{runner: r, left: make(chan error, 1)}
	s.members = append(s.members, m)
	return m
}

// wait stops the members until a runner that has nearly caught up has reached their position, and adds it. Without the stop
// a runner would never reach them while many events come. It fails with eventlog.ErrOtherPast if the log turns out to have another
// past than that of the members: their position may lie beyond its end.
func (s *shared) wait(ctx context.Context, r *runner) (*member, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := r.catchUp(ctx, func() bool {
		if s.over.Load() || !s.started || !r.through.Before(s.at) {
			return true
		}
		time.Sleep(batchApart)
		return false
	})
	switch {
	case err != nil:
		return nil, err
	case s.over.Load():
		return nil, eventlog.ErrOtherPast
	}
	return s.add(r), nil
}

// leave removes a member. When it returns, the shared subscription does not use its runner any more.
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

// run reads the log from the position of the first member, until ctx ends. Where the log is found to have another past, all members
// are removed, and it begins again with the next first one.
func (s *shared) run(ctx context.Context) error {
	for {
		select {
		case at := <-s.begun:
			err := s.follow(ctx, at)
			if ctx.Err() != nil || !errors.Is(err, eventlog.ErrOtherPast) {
				return err
			}
			s.over.Store(true) // whoever waits for the members' position holds the lock
			s.lose(err)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *shared) follow(ctx context.Context, at readmodels.Checkpoint) error {
	return pipe(ctx, s.engine, eventlog.Subscription{After: at.Position, Last: at.Last}, s.engine.verifier.Follow,
		func(ctx context.Context, b eventlog.Batch, fetched <-chan eventlog.Batch) error {
			if err := s.pace.Wait(ctx); err != nil {
				return err
			}
			b = s.engine.withMore(b, fetched)
			if b.Live {
				s.pace.SetLimit(rate.Every(min(batchApart+time.Duration(len(b.Events))*batchPerEvent, batchApartMost)))
			} else {
				s.pace.SetLimit(rate.Inf) // the members are behind the log
			}
			return s.deliver(ctx, b)
		})
}

// lose removes all members, with the reason.
func (s *shared) lose(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		m.left <- why
	}
	s.members, s.started = nil, false
	s.over.Store(false)
}

// deliver lets the members fold a batch one after the other, so that commands get processor time too. A member that fails
// is removed, and its keeper receives the reason.
func (s *shared) deliver(ctx context.Context, b eventlog.Batch) error {
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

// pipe follows the log. It reads and folds at the same time: events that come while a batch is folded make the next batch, so that
// batches grow when there are many events.
func pipe(parent context.Context, e *Engine, from eventlog.Subscription, read follow,
	fold func(ctx context.Context, b eventlog.Batch, fetched <-chan eventlog.Batch) error,
) error {
	from.MaxBatch = e.limits.Batch
	from.OnError = func(err error) { e.logger.Warn("projections wait for the log", "error", err) }
	fetched := make(chan eventlog.Batch, fetchAhead)
	group, ctx := errgroup.WithContext(parent)
	group.Go(func() error {
		defer close(fetched)
		return read(ctx, from, func(ctx context.Context, b eventlog.Batch) error {
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

// withMore returns a batch with the events appended that have been fetched meanwhile.
func (e *Engine) withMore(b eventlog.Batch, fetched <-chan eventlog.Batch) eventlog.Batch {
	for len(b.Events) < fetchAhead*e.limits.Batch {
		select {
		case next, open := <-fetched:
			if !open {
				return b
			}
			b.Events, b.Through, b.Last, b.Live = append(b.Events, next.Events...), next.Through, next.Last, next.Live
		default:
			return b
		}
	}
	return b
}
