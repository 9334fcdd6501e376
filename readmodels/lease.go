package readmodels

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// ErrLeaseLost says that another process holds the lease now.
var ErrLeaseLost = errors.New("another process holds the lease")

// Lease is the right to write a view. Its token grows with each holder. Checkpoints and builds carry the token, so that
// those of a former holder, who does not know yet that the lease is lost, are refused. Documents need no token: they are
// guarded by the log position that they have seen, and at one position every process folds the same document.
type Lease struct {
	View   string `bson:"_id"`
	Holder string `bson:"holder"`
	Token  int64  `bson:"token"`
	// Beat grows while the holder lives. A waiting process takes the lease if the beat has not grown for the duration of a
	// lease by its own clock, so that no process has to trust another's clock.
	Beat int64 `bson:"beat"`
}

const leaseCollection = "leases"

// fenced is the filter that finds a document that was written under the same token or an earlier one.
func fenced(id string, token int64) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: "$or", Value: bson.A{
		bson.D{{Key: "token", Value: bson.D{{Key: "$lte", Value: token}}}},
		bson.D{{Key: "token", Value: bson.D{{Key: "$exists", Value: false}}}},
	}}}
}

// LeaseOf returns the present lease on a view. It has no holder if no process ever took it.
func (s *Store) LeaseOf(ctx context.Context, view string) (Lease, error) {
	l := Lease{View: view}
	err := s.db.Collection(leaseCollection).FindOne(ctx, bson.D{{Key: "_id", Value: view}}).Decode(&l)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = nil
	}
	return l, err
}

// TakeLease takes the lease that was seen. It fails with ErrLeaseLost if another process has taken it meanwhile, or if its
// holder is alive.
func (s *Store) TakeLease(ctx context.Context, seen Lease, holder string) (Lease, error) {
	taken := Lease{View: seen.View, Holder: holder, Token: seen.Token + 1}
	filter := bson.D{{Key: "_id", Value: seen.View}, {Key: "token", Value: seen.Token}, {Key: "beat", Value: seen.Beat}}
	replaced, err := s.db.Collection(leaseCollection).ReplaceOne(ctx, filter, taken, options.Replace().SetUpsert(seen.Token == 0))
	switch {
	case mongo.IsDuplicateKeyError(err), err == nil && replaced.MatchedCount+replaced.UpsertedCount == 0:
		return Lease{}, fmt.Errorf("take the lease on %s: %w", seen.View, ErrLeaseLost)
	case err != nil:
		return Lease{}, fmt.Errorf("take the lease on %s: %w", seen.View, err)
	}
	return taken, nil
}

// KeepLease shows the other processes that the holder lives. It fails with ErrLeaseLost if another one holds the lease.
func (s *Store) KeepLease(ctx context.Context, l Lease) error {
	return s.changeLease(ctx, l, bson.D{{Key: "$inc", Value: bson.D{{Key: "beat", Value: 1}}}})
}

// LeaveLease lets another process take the lease at once.
func (s *Store) LeaveLease(ctx context.Context, l Lease) error {
	return s.changeLease(ctx, l, bson.D{{Key: "$set", Value: bson.D{{Key: "holder", Value: ""}}}})
}

func (s *Store) changeLease(ctx context.Context, l Lease, change bson.D) error {
	changed, err := s.db.Collection(leaseCollection).UpdateOne(ctx,
		bson.D{{Key: "_id", Value: l.View}, {Key: "token", Value: l.Token}, {Key: "holder", Value: l.Holder}}, change)
	if err != nil {
		return fmt.Errorf("keep the lease on %s: %w", l.View, err)
	}
	if changed.MatchedCount == 0 {
		return fmt.Errorf("keep the lease on %s: %w", l.View, ErrLeaseLost)
	}
	return nil
}
