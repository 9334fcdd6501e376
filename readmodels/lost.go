package readmodels

import (
	"context"
	"time"

	"casebook/domain/refuse"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// lostFor is how long this process believes which views were made from a lost past before it asks the store again.
	lostFor = time.Second
	// lostTimeout bounds how long it asks.
	lostTimeout = time.Second
)

// lostViews are the collections of builds that were made from a past that the log does not have, as this process knows them.
type lostViews struct {
	collections map[string]bool
	asked       time.Time
}

// note notes what this process itself has found of a build.
func (l *lostViews) note(collection string, lost bool) {
	if l.collections == nil {
		l.collections = map[string]bool{}
	}
	l.collections[collection] = lost
}

// Lost returns the names of those views whose active build was made from a past that the log does not have. This is known with a
// delay of a second. Where the store does not answer, it is what was known before.
func (s *Store) Lost(ctx context.Context, views ...View) (names []string) {
	s.mu.Lock()
	fresh := time.Since(s.lost.asked) < lostFor
	s.mu.Unlock()
	if !fresh {
		s.askLost(ctx)
	}
	for _, v := range views {
		collection := s.activeCollection(v)
		s.mu.Lock()
		lost := s.lost.collections[collection]
		s.mu.Unlock()
		if lost {
			names = append(names, v.Name)
		}
	}
	return names
}

// askLost asks the store which views are lost. However many want to know, the store is asked once at a time.
func (s *Store) askLost(ctx context.Context) {
	asked := s.reading.DoChan("lost "+checkpointCollection, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostTimeout)
		defer cancel()
		collections, err := s.lostCollections(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost.asked = time.Now(); err == nil {
			s.lost.collections = collections
		}
		return nil, err
	})
	select {
	case <-asked:
	case <-ctx.Done():
	}
}

func (s *Store) lostCollections(ctx context.Context) (map[string]bool, error) {
	found, err := s.db.Collection(checkpointCollection).Find(ctx, bson.D{{Key: "state", Value: OtherPast}})
	if err != nil {
		return nil, err
	}
	var all []Checkpoint
	if err := found.All(ctx, &all); err != nil {
		return nil, err
	}
	collections := map[string]bool{}
	for _, c := range all {
		collections[c.Collection] = true
	}
	return collections, nil
}

// OfThisLog refuses (code view_other_past) where a view was made from a past that the log does not have: what it shows may never
// have been recorded, and what it does not show may have been.
func (s *Store) OfThisLog(ctx context.Context, v View) error {
	if len(s.Lost(ctx, v)) == 0 {
		return nil
	}
	return refuseLost(v)
}

func refuseLost(v View) error {
	return refuse.Overload("view_other_past", "the view %s was made from a log that is not the one that is there now", v.Name).
		Do("tell those who run the system to put the right log back, or to rebuild the view; commands are taken all the while")
}
