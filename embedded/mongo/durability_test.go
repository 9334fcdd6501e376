package mongo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

func TestReopenedStoreIsUnchanged(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	open := func() (*Server, *driver.Collection) {
		s := startServer(t, func(o *Options) { o.FS = fs })
		return s, connect(t, s).Database("test").Collection("c")
	}
	s, c := open()
	for i := range 50 {
		_, err := c.InsertOne(ctx, D("_id", i, "n", A(i%5, i%3)))
		must(t, err)
	}
	_, err := c.Indexes().CreateMany(ctx, []driver.IndexModel{
		{Keys: D("n", -1)},
		{Keys: D("_id", 1, "n", 1), Options: options.Index().SetUnique(true)},
	})
	must(t, err)
	must(t, rename(ctx, c.Database(), "c", "d", false))
	before := find(t, c.Database().Collection("d"), bson.D{})
	stop(t, s)

	s, c = open()
	c = c.Database().Collection("d")
	checkStore(t, s.store)
	if after := find(t, c, bson.D{}); !sameValue(rawValue(before), rawValue(after)) {
		t.Errorf("after reopening: %v, before: %v", after, before)
	}
	if n, err := c.EstimatedDocumentCount(ctx); n != 50 || err != nil {
		t.Errorf("%d documents are counted (%v)", n, err)
	}
	if stages, keys, _ := explained(t, c, "filter", D("n", 4)); stages != "FETCH IXSCAN(n_-1 forward)" || keys != 10 {
		t.Errorf("after reopening: %s with %d keys", stages, keys)
	}
	if st := s.Stats(); st.Documents != 50 || st.Collections != 1 || st.Indexes != 2 {
		t.Errorf("%+v", st)
	}
	_, err = c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("n", -1), Options: options.Index().SetName("other")})
	wantCode(t, err, codeIndexOptionsConflict)
}

// TestInterruptedIndexBuildIsRemoved: an index build that a crash interrupted leaves no keys behind.
func TestInterruptedIndexBuildIsRemoved(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	s := startServer(t, func(o *Options) { o.FS = fs })
	c := connect(t, s).Database("test").Collection("c")
	_, err := c.InsertOne(ctx, D("_id", 1, "n", 1))
	must(t, err)
	x, err := newIndex("n_1", raw(D("n", 1)), false)
	must(t, err)
	must(t, s.store.reserve([]*index{x}))
	w := s.store.writeTo(s.store.lookup(namespace{"test", "c"}))
	must(t, s.store.build(&request{ctx: ctx}, w, []*index{x}))
	w.close()
	stop(t, s)

	s = startServer(t, func(o *Options) { o.FS = fs })
	for _, space := range [][]byte{x.space, {spaceBuilding}} {
		each(t, s.store, space, func(k, _ []byte) { t.Errorf("key %x is left", k) })
	}
}

// TestCrashOfTheMachineLosesOnlyTheEnd crashes the machine. Only the latest writes may be lost, over all collections,
// and no write up to the last one that asked for a sync.
func TestCrashOfTheMachineLosesOnlyTheEnd(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(6) {
		fs := vfs.NewCrashableMem()
		// Without syncs by the timer, because they would change what is on disk.
		s := startServer(t, func(o *Options) { o.FS, o.SyncEvery = fs, time.Hour })
		db := connect(t, s).Database("test")
		journaled := -1
		const writes = 300
		for i := range writes {
			c := db.Collection(fmt.Sprint("c", i%3))
			if i%97 == 50 {
				c = db.Collection(c.Name(), options.Collection().SetWriteConcern(&writeconcern.WriteConcern{Journal: ptr(true)}))
				journaled = i
			}
			_, err := c.InsertOne(ctx, D("_id", i, "pad", strings.Repeat("x", rand.IntN(2000))))
			must(t, err)
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
		stop(t, s)

		s2 := startServer(t, func(o *Options) { o.FS = crashed })
		db = connect(t, s2).Database("test")
		left := 0
		for i := range writes {
			n, err := db.Collection(fmt.Sprint("c", i%3)).CountDocuments(ctx, D("_id", i))
			must(t, err)
			if n == 1 && left != i {
				t.Fatalf("seed %d: write %d is stored, but only %d of the earlier ones", seed, i, left)
			}
			left += int(n)
		}
		if left <= journaled {
			t.Errorf("seed %d: %d writes are left, but write %d had asked for a sync", seed, left, journaled)
		}
		checkStore(t, s2.store)
		stop(t, s2)
	}
}

func ptr[T any](v T) *T { return &v }

func TestWriteConcernsDecideOnSyncs(t *testing.T) {
	ctx := context.Background()
	s := startServer(t, func(o *Options) { o.SyncEvery = time.Hour })
	c := connect(t, s).Database("test").Collection("c")
	_, err := c.InsertOne(ctx, D("_id", 1))
	must(t, err)
	before := s.Stats().LogSyncs
	_, err = c.InsertOne(ctx, D("_id", 2))
	must(t, err)
	if n := s.Stats().LogSyncs; n != before {
		t.Errorf("an ordinary write synced the log %d times", n-before)
	}
	for i, tc := range []struct {
		wc    *writeconcern.WriteConcern
		syncs int64
	}{
		{&writeconcern.WriteConcern{Journal: ptr(true)}, 1}, {writeconcern.Majority(), 1}, {writeconcern.W1(), 0},
		{&writeconcern.WriteConcern{W: "majority", Journal: ptr(false)}, 0},
	} {
		_, err = c.Clone(options.Collection().SetWriteConcern(tc.wc)).InsertOne(ctx, D("_id", 3+i))
		must(t, err)
		if n := s.Stats().LogSyncs - before; n != tc.syncs {
			t.Errorf("a write with %+v synced the log %d times, want %d", tc.wc, n, tc.syncs)
		}
		before = s.Stats().LogSyncs
	}

	always := startServer(t, func(o *Options) { o.SyncEvery, o.SyncAlways = time.Hour, true })
	c = connect(t, always).Database("test").Collection("c")
	_, err = c.InsertOne(ctx, D("_id", 1))
	must(t, err)
	before = always.Stats().LogSyncs
	_, err = c.InsertOne(ctx, D("_id", 2))
	must(t, err)
	if n := always.Stats().LogSyncs; n != before+1 {
		t.Errorf("with SyncAlways a write synced the log %d times", n-before)
	}
}
