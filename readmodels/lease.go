package readmodels

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// Since is when the holder took the lease, and Renewed when it was renewed or left last, by the clock of the store. Leases
	// that an earlier program holds do not have them.
	Since   time.Time `bson:"since,omitempty"`
	Renewed time.Time `bson:"renewed,omitempty"`
	// LastsMillis is how long the lease lasts when its holder does not renew it.
	LastsMillis int64 `bson:"lastsMillis,omitempty"`
}

// SameBeat says whether nobody has taken, renewed or left the lease in between.
func (l Lease) SameBeat(other Lease) bool {
	return l.Holder == other.Holder && l.Token == other.Token && l.Beat == other.Beat
}

// RunOut says whether the lease had run out at a moment of the store's clock: its holder has neither renewed it in time nor
// left it a moment ago. A lease that an earlier program holds never runs out by that clock.
func (l Lease) RunOut(now time.Time) bool {
	switch {
	case !l.Renewed.IsZero():
		return now.Sub(l.Renewed) > time.Duration(l.LastsMillis)*time.Millisecond
	default:
		return l.Holder == ""
	}
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

// Now returns the time by the clock of the store, which all processes share.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var hello struct {
		LocalTime time.Time `bson:"localTime"`
	}
	err := s.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the store of the read models for the time: %w", err)
	}
	return hello.LocalTime, nil
}

// Leases returns the leases on all views that processes have ever taken, by the names of the views.
func (s *Store) Leases(ctx context.Context) (map[string]Lease, error) {
	found, err := s.db.Collection(leaseCollection).Find(ctx, bson.D{})
	if err != nil {
		return nil, fmt.Errorf("read the leases on the views: %w", err)
	}
	var all []Lease
	if err := found.All(ctx, &all); err != nil {
		return nil, fmt.Errorf("read the leases on the views: %w", err)
	}
	byView := make(map[string]Lease, len(all))
	for _, l := range all {
		byView[l.View] = l
	}
	return byView, nil
}

// TakeLease takes the lease that was seen, for as long as it lasts without being renewed. It fails with ErrLeaseLost if another
// process has taken it meanwhile, or if its holder is alive.
func (s *Store) TakeLease(ctx context.Context, seen Lease, holder string, lasts time.Duration) (Lease, error) {
	taken := Lease{View: seen.View, Holder: holder, Token: seen.Token + 1, LastsMillis: lasts.Milliseconds()}
	filter := bson.D{{Key: "_id", Value: seen.View}, {Key: "token", Value: seen.Token}, {Key: "beat", Value: seen.Beat}}
	change := bson.D{
		{Key: "$set", Value: bson.D{{Key: "holder", Value: holder}, {Key: "token", Value: taken.Token}, {Key: "beat", Value: taken.Beat},
			{Key: "lastsMillis", Value: taken.LastsMillis}}},
		{Key: "$currentDate", Value: bson.D{{Key: "since", Value: true}, {Key: "renewed", Value: true}}},
	}
	changed, err := s.db.Collection(leaseCollection).UpdateOne(ctx, filter, change, options.UpdateOne().SetUpsert(seen.Token == 0))
	switch {
	case mongo.IsDuplicateKeyError(err), err == nil && changed.MatchedCount+changed.UpsertedCount == 0:
		return Lease{}, fmt.Errorf("take the lease on %s: %w", seen.View, ErrLeaseLost)
	case err != nil:
		return Lease{}, fmt.Errorf("take the lease on %s: %w", seen.View, err)
	}
	return taken, nil
}

// KeepLease shows the other processes that the holder lives. It fails with ErrLeaseLost if another one holds the lease.
func (s *Store) KeepLease(ctx context.Context, l Lease) error {
	return s.changeLease(ctx, l, bson.D{{Key: "$inc", Value: bson.D{{Key: "beat", Value: 1}}}, renewed})
}

// LeaveLease lets another process take the lease at once.
func (s *Store) LeaveLease(ctx context.Context, l Lease) error {
	return s.changeLease(ctx, l, bson.D{{Key: "$set", Value: bson.D{{Key: "holder", Value: ""}}}, renewed})
}

// renewed is the part of a change that notes the time of the store.
var renewed = bson.E{Key: "$currentDate", Value: bson.D{{Key: "renewed", Value: true}}}

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
