package mongo

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer runs a server in memory until the test ends. The functions may change its Options.
func startServer(t testing.TB, change ...func(*Options)) *Server {
	t.Helper()
	o := Options{Dir: "data", FS: vfs.NewMem()}
	for _, f := range change {
		f(&o)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// clients holds the clients of each server.
var clients sync.Map

func connect(t testing.TB, s *Server) *driver.Client {
	t.Helper()
	c := connectTo(t, s.ConnectionString())
	known, _ := clients.LoadOrStore(s, &[]*driver.Client{})
	list := known.(*[]*driver.Client)
	*list = append(*list, c)
	return c
}

// stop closes a server during a test. It disconnects the server's clients first, because disconnecting from a closed
// server takes long.
func stop(t testing.TB, s *Server) {
	t.Helper()
	if known, ok := clients.LoadAndDelete(s); ok {
		for _, c := range *known.(*[]*driver.Client) {
			must(t, c.Disconnect(context.Background()))
		}
	}
	must(t, s.Close())
}

func connectTo(t testing.TB, uri string) *driver.Client {
	t.Helper()
	c, err := driver.Connect(options.Client().ApplyURI(uri).SetTimeout(60 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

// newColl returns an empty collection on a server of its own.
func newColl(t testing.TB) *driver.Collection {
	t.Helper()
	return connect(t, startServer(t)).Database("test").Collection("c")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hasCode reports whether a driver's error has the server's code.
func hasCode(err error, code errCode) bool {
	var se driver.ServerError
	return errors.As(err, &se) && se.HasErrorCode(int(code))
}

func wantCode(t testing.TB, err error, code errCode) {
	t.Helper()
	if !hasCode(err, code) {
		t.Errorf("got error %v, want code %d", err, code)
	}
}

func find(t testing.TB, c *driver.Collection, filter any, opts ...options.Lister[options.FindOptions]) []bson.D {
	t.Helper()
	cur, err := c.Find(context.Background(), filter, opts...)
	must(t, err)
	var docs []bson.D
	must(t, cur.All(context.Background(), &docs))
	return docs
}

// D returns a document with the given names and values, in turn.
func D(kv ...any) bson.D {
	d := make(bson.D, 0, len(kv)/2)
	for i := 0; i < len(kv); i += 2 {
		d = append(d, bson.E{Key: kv[i].(string), Value: kv[i+1]})
	}
	return d
}

// A returns an array.
func A(v ...any) bson.A { return append(bson.A{}, v...) }

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	_, err := c.InsertOne(ctx, D("_id", 1, "x", 11))
	must(t, err)
	_, err = c.InsertOne(ctx, D("_id", 1, "x", 11))
	wantCode(t, err, codeDuplicateKey)
	if !driver.IsDuplicateKeyError(err) {
		t.Error(err)
	}
	res, err := c.ReplaceOne(ctx, D("_id", 1, "x", D("$lt", 20)), D("x", 20), options.Replace().SetUpsert(true))
	must(t, err)
	if res.ModifiedCount != 1 {
		t.Error(res)
	}
	_, err = c.ReplaceOne(ctx, D("_id", 1, "x", D("$lt", 20)), D("x", 20), options.Replace().SetUpsert(true))
	wantCode(t, err, codeDuplicateKey)
	var models []driver.WriteModel
	for i := range 500 {
		models = append(models, driver.NewReplaceOneModel().SetFilter(D("_id", i)).SetReplacement(D("x", i)).SetUpsert(true))
	}
	b, err := c.BulkWrite(ctx, models)
	must(t, err)
	if b.UpsertedCount != 499 || b.ModifiedCount != 1 {
		t.Errorf("%+v", b)
	}
	_, err = c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("x", -1)})
	must(t, err)
	docs := find(t, c, D("x", D("$gte", 100)), options.Find().SetSort(D("x", 1)).SetLimit(150))
	if len(docs) != 150 || docs[0][1].Value != int32(100) {
		t.Error(len(docs), docs[0])
	}
	n, err := c.CountDocuments(ctx, D("x", D("$lt", 100)))
	must(t, err)
	if n != 100 {
		t.Error(n)
	}
}
