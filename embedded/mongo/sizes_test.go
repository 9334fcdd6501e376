package mongo

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestSizesAreThoseOfBSON compares the sizes that commands tell with those of the documents, at once after the writes.
func TestSizesAreThoseOfBSON(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewMem()
	s := startServer(t, func(o *Options) { o.FS = fs })
	c := connect(t, s).Database("test").Collection("c")
	size, n := int64(0), int64(0)
	for i := range 100 {
		d := D("_id", i, "text", strings.Repeat("x", 4*i))
		_, err := c.InsertOne(ctx, d)
		must(t, err)
		switch i % 10 {
		case 3:
			_, err = c.DeleteOne(ctx, D("_id", i))
			must(t, err)
			continue
		case 5:
			d = D("_id", i, "text", "short", "more", 1)
			_, err = c.ReplaceOne(ctx, D("_id", i), d)
			must(t, err)
		}
		n++
		size += int64(len(raw(d)))
	}
	_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("text", 1)})
	must(t, err)
	check := func(c *driver.Collection) {
		t.Helper()
		run := func(command bson.D) doc {
			t.Helper()
			var res bson.Raw
			must(t, c.Database().RunCommand(ctx, command).Decode(&res))
			return doc(res)
		}
		number := func(d doc, path ...string) int64 {
			v := value{tDocument, d}
			for _, p := range path {
				v = v.doc().lookup(p)
			}
			if v.t == tDouble {
				return int64(v.double())
			}
			whole, _ := v.wholeNumber()
			return whole
		}
		stage := run(D("aggregate", "c", "pipeline", A(D("$collStats", D("storageStats", D()))), "cursor", D()))
		storage, _ := stage.lookup("cursor").doc().lookup("firstBatch").doc().first()
		coll, db := run(D("collStats", "c")), run(D("dbStats", 1))
		for name, got := range map[string]int64{
			"collStats.size": number(coll, "size"), "dbStats.dataSize": number(db, "dataSize"),
			"$collStats.size": number(storage.doc(), "storageStats", "size"),
		} {
			if got != size {
				t.Errorf("%s is %d, the documents have %d bytes", name, got, size)
			}
		}
		for name, got := range map[string]int64{
			"collStats.avgObjSize": number(coll, "avgObjSize"), "dbStats.avgObjSize": number(db, "avgObjSize"),
			"$collStats.avgObjSize": number(storage.doc(), "storageStats", "avgObjSize"),
		} {
			if got != size/n {
				t.Errorf("%s is %d, the documents have %d bytes each", name, got, size/n)
			}
		}
		indexed := number(coll, "totalIndexSize")
		if indexed <= 0 || number(coll, "indexSizes", "text_1") != indexed || number(db, "indexSize") != indexed {
			t.Errorf("the sizes of the index: %d in %s", indexed, shellText(coll))
		}
		all, err := c.Database().Client().ListDatabases(ctx, D())
		must(t, err)
		if all.TotalSize != size+indexed || all.Databases[0].SizeOnDisk != size+indexed {
			t.Errorf("listDatabases: %+v, want %d", all, size+indexed)
		}
	}
	check(c)
	checkStore(t, s.store)
	id := s.store.lookup(namespace{"test", "c"}).id
	stop(t, s)
	s = startServer(t, func(o *Options) { o.FS = fs })
	check(connect(t, s).Database("test").Collection("c"))
	// A store of an earlier version has no sum.
	must(t, s.store.db.Delete(spaceKey(spaceBytes, id), pebble.Sync))
	stop(t, s)
	s = startServer(t, func(o *Options) { o.FS = fs })
	check(connect(t, s).Database("test").Collection("c"))
	// One that the earlier version has written to has an old sum.
	old := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(n-1)), 7)
	must(t, s.store.db.Set(spaceKey(spaceBytes, id), old, pebble.Sync))
	stop(t, s)
	s = startServer(t, func(o *Options) { o.FS = fs })
	check(connect(t, s).Database("test").Collection("c"))
}

func TestSortThroughArrays(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	ids := func(sort bson.D) (ids []int32) {
		for _, d := range find(t, c, D(), options.Find().SetSort(sort)) {
			ids = append(ids, d[0].Value.(int32))
		}
		return ids
	}
	expect := func(sort bson.D, want ...int32) {
		t.Helper()
		got := ids(sort)
		if len(got) != len(want) {
			t.Fatalf("sort %v: %v", sort, got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("sort %v: %v, want %v", sort, got, want)
				return
			}
		}
	}
	_, err := c.InsertMany(ctx, []any{
		D("_id", 1, "a", nil), D("_id", 2, "a", A()), D("_id", 3), D("_id", 4, "a", D("b", A())), D("_id", 5, "a", A(D("b", 1))),
	})
	must(t, err)
	// An empty array has no element that could have a b.
	expect(D("a.b", 1, "_id", 1), 4, 1, 2, 3, 5)
	expect(D("a.b", -1, "_id", 1), 5, 1, 2, 3, 4)
	_, err = c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("a.b", 1), Options: options.Index().SetUnique(true)})
	wantCode(t, err, codeDuplicateKey)

	must(t, c.Drop(ctx))
	// The elements of one array give combinations of values, of which the first counts.
	_, err = c.InsertMany(ctx, []any{
		D("_id", 1, "a", A(D("x", 1, "y", 5), D("x", 2, "y", 0))), D("_id", 2, "a", A(D("x", 1, "y", 3))),
	})
	must(t, err)
	expect(D("a.x", 1, "a.y", 1), 2, 1)
	_, err = c.InsertOne(ctx, D("_id", 3, "a", A(1, 2), "b", A(3, 4)))
	must(t, err)
	for _, sort := range []bson.D{D("a", 1, "b", 1), D("b", -1, "a", 1)} {
		_, err = c.Find(ctx, D(), options.Find().SetSort(sort))
		wantCode(t, err, codeBadValue)
		if err != nil && !strings.Contains(err.Error(), "parallel arrays") {
			t.Error(err)
		}
		_, err = c.Aggregate(ctx, A(D("$sort", sort)))
		wantCode(t, err, codeBadValue)
	}
	expect(D("b", 1, "_id", 1), 1, 2, 3)
}

func TestSparseNullIsNotGiven(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	index := func(sparse any) error {
		return c.Database().RunCommand(ctx, D("createIndexes", "c", "indexes", A(D("key", D("a", 1), "name", "a_1", "sparse", sparse)))).Err()
	}
	must(t, index(nil))
	must(t, index(false))
	wantCode(t, index(true), codeCannotCreateIndex)
}
