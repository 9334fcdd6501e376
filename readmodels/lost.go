package readmodels

import (
	"context"

	"casebook/domain/refuse"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Lost returns the names of those views whose active build was made from a past that the log does not have. This is known with a
// delay of a second. Where the store does not answer, it is what was known before.
func (s *Store) Lost(ctx context.Context, views ...View) (names []string) {
	s.remember(ctx, &s.lost, "lost "+checkpointCollection, s.lostCollections)
	for _, v := range views {
		if s.remembers(&s.lost, s.activeCollection(v)) {
			names = append(names, v.Name)
		}
	}
	return names
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
