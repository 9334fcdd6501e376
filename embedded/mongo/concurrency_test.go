package mongo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"
)

// guarded replaces a document only if its position grows, as projections do.
func guarded(ctx context.Context, c *driver.Collection, id any, position int) (applied bool, err error) {
	res, err := c.ReplaceOne(ctx, D("_id", id, "position", D("$lt", position)), D("position", position, "by", position),
		options.Replace().SetUpsert(true))
	if driver.IsDuplicateKeyError(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return res.ModifiedCount+res.UpsertedCount == 1, nil
}

// TestGuardsHoldUnderRaces has writers apply the same guarded replacements in different orders. Each document must end
// at the highest position, and no position may be applied to a document twice.
func TestGuardsHoldUnderRaces(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	c := connect(t, s).Database("test").Collection("guards")
	_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("position", -1)})
	must(t, err)
	const writers, docs, positions = 8, 5, 40
	var applied [docs][positions]atomic.Int32
	g, gctx := errgroup.WithContext(ctx)
	for range writers {
		g.Go(func() error {
			for _, n := range rand.Perm(docs * positions) {
				ok, err := guarded(gctx, c, n%docs, n/docs)
				if err != nil {
					return err
				}
				if ok {
					applied[n%docs][n/docs].Add(1)
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	for d := range docs {
		var got bson.M
		must(t, c.FindOne(ctx, D("_id", d)).Decode(&got))
		if got["position"] != int32(positions-1) || got["by"] != got["position"] {
			t.Errorf("document %d ended as %v", d, got)
		}
		for p := range positions {
			if n := applied[d][p].Load(); n > 1 {
				t.Errorf("position %d of document %d was applied %d times", p, d, n)
			}
		}
		if applied[d][positions-1].Load() != 1 {
			t.Errorf("the last position of document %d was applied %d times", d, applied[d][positions-1].Load())
		}
	}
	checkStore(t, s.store)
}

// TestBulkGuardsHoldUnderRaces does the same with bulk writes, in which a failed guard is the error of one statement.
func TestBulkGuardsHoldUnderRaces(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	c := connect(t, s).Database("test").Collection("guards")
	const writers, docs, rounds = 4, 50, 20
	g, gctx := errgroup.WithContext(ctx)
	for range writers {
		g.Go(func() error {
			for _, round := range rand.Perm(rounds) {
				var models []driver.WriteModel
				for _, id := range rand.Perm(docs) {
					models = append(models, driver.NewReplaceOneModel().SetUpsert(true).
						SetFilter(D("_id", id, "position", D("$lt", round))).SetReplacement(D("position", round)))
				}
				_, err := c.BulkWrite(gctx, models, options.BulkWrite().SetOrdered(false))
				var bwe driver.BulkWriteException
				if errors.As(err, &bwe) {
					for _, we := range bwe.WriteErrors {
						if we.Code != int(codeDuplicateKey) {
							return err
						}
					}
				} else if err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	got := find(t, c, D("position", rounds-1))
	if len(got) != docs {
		t.Errorf("%d of %d documents are at the last position", len(got), docs)
	}
	checkStore(t, s.store)
}

// TestIncrementsAreAtomic has several clients increment one counter.
func TestIncrementsAreAtomic(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	g, gctx := errgroup.WithContext(ctx)
	for range 8 {
		g.Go(func() error {
			for range 50 {
				// If two clients insert at the same time, one of them gets a duplicate key and tries again.
				for {
					_, err := c.UpdateOne(gctx, D("_id", "n"), D("$inc", D("n", 1)), options.UpdateOne().SetUpsert(true))
					if driver.IsDuplicateKeyError(err) {
						continue
					}
					if err != nil {
						return err
					}
					break
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	if got := find(t, c, bson.D{}); got[0][1].Value != int32(400) {
		t.Errorf("the counter is at %v", got)
	}
}

// TestReadersDuringSchemaChanges changes documents, indexes and collections while readers page through them. Readers
// must get only documents that match, and no other errors than that their plan was killed.
func TestReadersDuringSchemaChanges(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	db := connect(t, s).Database("test")
	c := db.Collection("c")
	var docs []any
	for i := range 200 {
		docs = append(docs, D("_id", i, "n", i%10))
	}
	_, err := c.InsertMany(ctx, docs)
	must(t, err)
	done := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	for range 3 {
		g.Go(func() error {
			for {
				select {
				case <-done:
					return nil
				default:
				}
				cur, err := c.Find(gctx, D("n", D("$gte", 5)), options.Find().SetBatchSize(20).SetSort(D("n", 1)))
				if err == nil {
					seen := map[any]bool{}
					for cur.Next(gctx) {
						var d bson.M
						if err := cur.Decode(&d); err != nil {
							return err
						}
						if d["n"].(int32) < 5 {
							return fmt.Errorf("got %v", d)
						}
						seen[d["_id"]] = true
					}
					err = cur.Err()
				}
				if err != nil && !hasCode(err, codeQueryPlanKilled) {
					return err
				}
			}
		})
	}
	g.Go(func() error {
		defer close(done)
		for round := range 15 {
			name, err := c.Indexes().CreateOne(gctx, driver.IndexModel{Keys: D("n", 1, "_id", 1)})
			if err != nil {
				return err
			}
			if _, err := c.UpdateMany(gctx, D("_id", D("$lt", 100)), D("$inc", D("round", 1))); err != nil {
				return err
			}
			if err := c.Indexes().DropOne(gctx, name); err != nil {
				return err
			}
			next := db.Collection("next")
			if _, err := next.InsertMany(gctx, docs); err != nil {
				return err
			}
			if err := rename(gctx, db, "next", "c", true); err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		return nil
	})
	must(t, g.Wait())
	checkStore(t, s.store)
}

func rename(ctx context.Context, db *driver.Database, from, to string, dropTarget bool) error {
	return db.Client().Database("admin").RunCommand(ctx, D("renameCollection", db.Name()+"."+from, "to", db.Name()+"."+to,
		"dropTarget", dropTarget)).Err()
}
