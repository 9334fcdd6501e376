package readmodels

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// reached says whether the views have folded the log up to a commit position, without waiting for it.
func (s *Store) reached(ctx context.Context, views []View, commit uint64) bool {
	for _, v := range views {
		collection := s.activeCollection(v)
		s.mu.Lock()
		p := s.progressOf(collection)
		reached, here := p.commit >= commit, p.projectedHere
		s.mu.Unlock()
		if reached {
			continue
		}
		if here {
			return false
		}
		if c, err := s.recentCheckpoint(ctx, v, collection); err != nil || c.Position.Commit < commit {
			return false
		}
	}
	return true
}

// recentCheckpoint returns the checkpoint of a build as it was no more than waitPoll ago. However many queries wait, the
// store is asked for it once at a time.
func (s *Store) recentCheckpoint(ctx context.Context, v View, collection string) (Checkpoint, error) {
	s.mu.Lock()
	p := s.progressOf(collection)
	read, readAt := p.read, p.readAt
	s.mu.Unlock()
	if time.Since(readAt) < waitPoll {
		return read, nil
	}
	asked := s.reading.DoChan(collection, func() (any, error) {
		c, err := s.LoadBuildCheckpoint(context.WithoutCancel(ctx), v, collection)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.progressOf(collection)
		p.read, p.readAt = c, time.Now()
		return c, nil
	})
	select {
	case r := <-asked:
		c, _ := r.Val.(Checkpoint)
		return c, r.Err
	case <-ctx.Done():
		return Checkpoint{}, fmt.Errorf("read the checkpoint of %s: %w", collection, ctx.Err())
	}
}

// logEnd knows how far the log reaches. However many ask, it asks the log once at a time.
type logEnd struct {
	ask    func(context.Context) (uint64, error)
	known  atomic.Uint64
	asking singleflight.Group
}

func newLogEnd(ask func(context.Context) (uint64, error)) *logEnd { return &logEnd{ask: ask} }

// isBefore says whether the log ends before a position; false if that is not known.
func (l *logEnd) isBefore(ctx context.Context, position uint64) bool {
	if l.ask == nil {
		return false
	}
	// A shared answer may be to a question that was asked before the position was made. The one after it is not.
	for range 2 {
		if l.known.Load() >= position {
			return false
		}
		asked := l.asking.DoChan("", func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
			defer cancel()
			end, err := l.ask(ctx)
			for known := l.known.Load(); err == nil && end > known && !l.known.CompareAndSwap(known, end); {
				known = l.known.Load()
			}
			return nil, err
		})
		select {
		case r := <-asked:
			if r.Err != nil {
				return false
			}
			if !r.Shared {
				return l.known.Load() < position
			}
		case <-ctx.Done():
			return false
		}
	}
	return l.known.Load() < position
}

// endTimeout bounds how long the log is asked for its end.
const endTimeout = 2 * time.Second
