package readmodels

import (
	"context"
	"time"
)

const (
	// keptFor is how long this process believes which views are kept before it asks the store again.
	keptFor = time.Second
	// keptTimeout bounds how long it asks.
	keptTimeout = time.Second
)

// keptViews are the views that no process keeps, as this process knows them.
type keptViews struct {
	not   map[string]bool
	asked time.Time
}

// NotKept returns the names of those views that no process keeps: what they show grows old. This is known with a delay of a
// second, beside the time that a lease lasts. Where the store does not answer, it is what was known before.
func (s *Store) NotKept(ctx context.Context, views ...View) (names []string) {
	s.mu.Lock()
	fresh := time.Since(s.kept.asked) < keptFor
	s.mu.Unlock()
	if !fresh {
		s.askKept(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range views {
		if s.kept.not[v.Name] {
			names = append(names, v.Name)
		}
	}
	return names
}

// askKept asks the store which views are kept. However many want to know, the store is asked once at a time.
func (s *Store) askKept(ctx context.Context) {
	asked := s.reading.DoChan(leaseCollection, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keptTimeout)
		defer cancel()
		not, err := s.viewsNotKept(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.kept.asked = time.Now(); err == nil {
			s.kept.not = not
		}
		return nil, err
	})
	select {
	case <-asked:
	case <-ctx.Done():
	}
}

func (s *Store) viewsNotKept(ctx context.Context) (map[string]bool, error) {
	leases, err := s.Leases(ctx)
	if err != nil {
		return nil, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	not := map[string]bool{}
	for _, v := range s.views {
		if leases[v.Name].RunOut(now) {
			not[v.Name] = true
		}
	}
	return not, nil
}
