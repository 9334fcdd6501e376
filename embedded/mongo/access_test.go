package mongo

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// openWithUsers starts a server with one user of each role.
func openWithUsers(t *testing.T) *Server {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Users: []User{
		{Name: "owner", Password: "p1", Role: ReadWrite}, {Name: "reader", Password: "p2", Role: Read},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// clientOf connects as a user; an empty name connects without credentials.
func clientOf(t *testing.T, s *Server, name, password string) *mongo.Client {
	t.Helper()
	o := options.Client().ApplyURI(s.ConnectionString()).SetTimeout(10 * time.Second)
	if name != "" {
		o.SetAuth(options.Credential{Username: name, Password: password, AuthSource: authDatabase})
	}
	c, err := mongo.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

func codeIn(err error) int {
	var ce mongo.CommandError
	if errors.As(err, &ce) {
		return int(ce.Code)
	}
	return 0
}

// TestRolesDecideWhatIsAllowed runs every command of the server as everybody. The commands have no valid arguments, so
// an allowed one fails too, but for another reason.
func TestRolesDecideWhatIsAllowed(t *testing.T) {
	s := openWithUsers(t)
	nobody, reader, owner := clientOf(t, s, "", ""), clientOf(t, s, "reader", "p2"), clientOf(t, s, "owner", "p1")
	run := func(c *mongo.Client, name string) error {
		return c.Database("admin").RunCommand(t.Context(), bson.D{{Key: name, Value: "x"}}).Err()
	}
	var writes []string
	for name, known := range commandTable {
		if known.needs == forAll {
			continue
		}
		if known.needs == forWriters {
			writes = append(writes, name)
		}
		if err := run(nobody, name); codeIn(err) != int(codeUnauthorized) {
			t.Errorf("%s without authentication: %v", name, err)
		}
		if err := run(reader, name); (codeIn(err) == int(codeUnauthorized)) != (known.needs == forWriters) &&
			name != "listDatabases" && name != "renameCollection" {
			t.Errorf("%s as reader: %v", name, err)
		}
		if err := run(owner, name); codeIn(err) == int(codeUnauthorized) {
			t.Errorf("%s as owner: %v", name, err)
		}
	}
	for _, must := range []string{"insert", "update", "delete", "findAndModify", "drop", "dropDatabase", "createIndexes", "renameCollection"} {
		if !slices.Contains(writes, must) {
			t.Errorf("%s is not for writers only", must)
		}
	}
}

// TestReadersChangeNothing has a reader try to change a view that the owner wrote.
func TestReadersChangeNothing(t *testing.T) {
	s := openWithUsers(t)
	views := func(name, password string) *mongo.Collection {
		return clientOf(t, s, name, password).Database("casebook").Collection("patients")
	}
	owner, reader := views("owner", "p1"), views("reader", "p2")
	if _, err := owner.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "p1"}, {Key: "status", Value: "enrolled"}}); err != nil {
		t.Fatal(err)
	}
	change := bson.D{{Key: "$set", Value: bson.D{{Key: "status", Value: "withdrawn"}}}}
	if _, err := reader.UpdateOne(t.Context(), bson.D{}, change); codeIn(err) != int(codeUnauthorized) {
		t.Errorf("a reader's updateOne: %v", err)
	}
	if err := reader.FindOneAndUpdate(t.Context(), bson.D{}, change).Err(); codeIn(err) != int(codeUnauthorized) {
		t.Errorf("a reader's findOneAndUpdate: %v", err)
	}
	var found struct{ Status string }
	if err := reader.FindOne(t.Context(), bson.D{}).Decode(&found); err != nil || found.Status != "enrolled" {
		t.Errorf("the reader reads %+v, %v", found, err)
	}
	if _, err := owner.UpdateOne(t.Context(), bson.D{}, change); err != nil {
		t.Error(err)
	}
}

func TestWrongPasswordsAreRefused(t *testing.T) {
	s := openWithUsers(t)
	for _, try := range [][2]string{{"owner", "p2"}, {"owner", "x"}, {"nobody", "p1"}} {
		c := clientOf(t, s, try[0], try[1])
		if err := c.Ping(t.Context(), nil); err == nil {
			t.Errorf("%s with %q is let in", try[0], try[1])
		}
	}
	// A user is proved to the database admin alone, and by no other mechanism.
	for _, o := range []options.Credential{
		{Username: "owner", Password: "p1", AuthSource: "casebook"},
		{Username: "owner", Password: "p1", AuthSource: authDatabase, AuthMechanism: "SCRAM-SHA-1"},
		{Username: "owner", Password: "p1", AuthSource: authDatabase, AuthMechanism: "PLAIN"},
	} {
		c, err := mongo.Connect(options.Client().ApplyURI(s.ConnectionString()).SetAuth(o).SetTimeout(5 * time.Second))
		if err != nil {
			continue // the driver itself refuses
		}
		if err := c.Ping(t.Context(), nil); err == nil {
			t.Errorf("%+v is let in", o)
		}
		_ = c.Disconnect(t.Context())
	}
}

// TestOtherMachinesNeedCredentialsAndEncryption tries addresses that other machines can reach.
func TestOtherMachinesNeedCredentialsAndEncryption(t *testing.T) {
	users := []User{{Name: "owner", Password: "p1", Role: ReadWrite}}
	for name, o := range map[string]Options{"nothing": {}, "without encryption": {Users: users}} {
		for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
			o.Dir, o.Listen = t.TempDir(), listen
			if s, err := Open(t.Context(), o); !errors.Is(err, ErrExposed) {
				t.Errorf("%s on %s: %v", name, listen, err)
				if err == nil {
					_ = s.Close()
				}
			}
		}
	}
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: "0.0.0.0:0", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyStoreIsNotChanged serves a store for reading only: reads answer, writes are refused, and a directory
// without a store stays as it is.
func TestReadOnlyStoreIsNotChanged(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), Options{Dir: dir + "/none", ReadOnly: true}); !errors.Is(err, ErrNoStore) {
		t.Errorf("a missing directory: %v", err)
	}
	open := func(readOnly bool) (*Server, *mongo.Collection) {
		s, err := Open(t.Context(), Options{Dir: dir, ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		return s, clientOf(t, s, "", "").Database("d").Collection("c")
	}
	s, c := open(false)
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, c = open(true)
	if n, err := c.CountDocuments(t.Context(), bson.D{}); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 2}}); err == nil {
		t.Error("a write is accepted")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
