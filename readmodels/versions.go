package readmodels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// versionCollection holds which versions of views processes know, and when such a process was seen last.
const versionCollection = "versions"

// versionsNotedEvery is how often a process notes which versions of views it knows.
const versionsNotedEvery = 10 * time.Minute

// seenVersion is a version of a view that a process knows.
type seenVersion struct {
	View    string    `bson:"view"`
	Version int       `bson:"version"`
	Seen    time.Time `bson:"seen"`
}

// NoteVersions notes now and again which versions of views this process knows, until ctx ends, so that former builds of these versions
// are kept. It returns nil.
func (s *Store) NoteVersions(ctx context.Context, logger *slog.Logger) error {
	for {
		wait := versionsNotedEvery
		if err := s.noteVersions(ctx); err != nil && ctx.Err() == nil {
			logger.Warn("the versions of views that this process knows could not be noted; it is tried again", "error", err)
			wait = min(wait, time.Minute)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (s *Store) noteVersions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	notes := make([]mongo.WriteModel, len(s.views))
	for i, v := range s.views {
		notes[i] = mongo.NewReplaceOneModel().SetUpsert(true).SetFilter(bson.D{{Key: "_id", Value: fmt.Sprintf("%s/%d", v.Name, v.Version)}}).
			SetReplacement(seenVersion{View: v.Name, Version: v.Version, Seen: now})
	}
	if len(notes) == 0 {
		return nil
	}
	if _, err := s.db.Collection(versionCollection).BulkWrite(ctx, notes); err != nil {
		return fmt.Errorf("note the versions of views: %w", err)
	}
	return nil
}

// VersionsSeen returns when a process that knows a version of a view was seen last, by version.
func (s *Store) VersionsSeen(ctx context.Context, view string) (map[int]time.Time, error) {
	found, err := s.db.Collection(versionCollection).Find(ctx, bson.D{{Key: "view", Value: view}})
	if err != nil {
		return nil, fmt.Errorf("read the versions of %s: %w", view, err)
	}
	var all []seenVersion
	if err := found.All(ctx, &all); err != nil {
		return nil, fmt.Errorf("read the versions of %s: %w", view, err)
	}
	seen := map[int]time.Time{}
	for _, v := range all {
		seen[v.Version] = v.Seen
	}
	return seen, nil
}

// SizeOf returns how many bytes the documents and the indexes of a build take on the disk of the store; 0 if it has none.
func (s *Store) SizeOf(ctx context.Context, collection string) (int64, error) {
	var stats struct {
		Storage float64 `bson:"storageSize"`
		Indexes float64 `bson:"totalIndexSize"`
	}
	err := s.db.RunCommand(ctx, bson.D{{Key: "collStats", Value: collection}}).Decode(&stats)
	const namespaceNotFound = 26 // of servers before 6.2
	if refused := (mongo.CommandError{}); errors.As(err, &refused) && refused.HasErrorCode(namespaceNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the size of %s: %w", collection, err)
	}
	return int64(stats.Storage + stats.Indexes), nil
}
