package readmodels

import (
	"context"
)

// NotKept returns the names of those views that no process keeps: what they show grows old. This is known with a delay of a
// second, beside the time that a lease lasts. Where the store does not answer, it is what was known before.
func (s *Store) NotKept(ctx context.Context, views ...View) (names []string) {
	s.remember(ctx, &s.notKept, leaseCollection, s.viewsNotKept)
	for _, v := range views {
		if s.remembers(&s.notKept, v.Name) {
			names = append(names, v.Name)
		}
	}
	return names
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
