package readmodels

import (
	"context"
	"time"
)

const (
	// rememberedFor is how long this process believes what the store has told of all views before it asks again.
	rememberedFor = time.Second
	// rememberTimeout bounds how long it asks.
	rememberTimeout = time.Second
)

// remembered is a set of names that the store has told, as this process knows it. The Store's mu guards it.
type remembered struct {
	names map[string]bool
	asked time.Time
}

// note notes what this process itself has found of a name.
func (r *remembered) note(name string, is bool) {
	if r.names == nil {
		r.names = map[string]bool{}
	}
	r.names[name] = is
}

// remember asks the store for a set of names, unless it has told them just now. However many want to know, the store is asked once at
// a time, under a key. Where it does not answer, the set stays as it was.
func (s *Store) remember(ctx context.Context, set *remembered, key string, ask func(context.Context) (map[string]bool, error)) {
	s.mu.Lock()
	fresh := time.Since(set.asked) < rememberedFor
	s.mu.Unlock()
	if fresh {
		return
	}
	asked := s.reading.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberTimeout)
		defer cancel()
		names, err := ask(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if set.asked = time.Now(); err == nil {
			set.names = names
		}
		return nil, err
	})
	select {
	case <-asked:
	case <-ctx.Done():
	}
}

// remembers says whether a name is in a set.
func (s *Store) remembers(set *remembered, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return set.names[name]
}
