package readmodels_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/embedded/mongo"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// inProcess returns a store whose documents are written to an embedded server of this process, without the connection.
func inProcess(t *testing.T) *readmodels.Store {
	t.Helper()
	server, err := mongo.Open(t.Context(), mongo.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := readmodels.Connect(t.Context(), server.ConnectionString(), newDatabase(), contexts.Views())
	if err != nil {
		t.Fatal(err)
	}
	s.WriteWith(server.Write)
	t.Cleanup(func() {
		if err := errors.Join(s.Close(context.Background()), server.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// bothWays runs a test with a store that writes over its connection, and with one that writes within the process.
func bothWays(t *testing.T, test func(t *testing.T, s *readmodels.Store)) {
	t.Helper()
	t.Run("over the connection", func(t *testing.T) { test(t, connect(t, newDatabase())) })
	t.Run("within the process", func(t *testing.T) { test(t, inProcess(t)) })
}

// TestBulksOfAnySizeAreStored stores more than one command can hold, documents of nearly the largest size among them, and
// stores the same again.
func TestBulksOfAnySizeAreStored(t *testing.T) { bothWays(t, storeBulksOfAnySize) }

func storeBulksOfAnySize(t *testing.T, s *readmodels.Store) {
	const collection = "large_v1"
	var all []readmodels.Encoded
	for i, size := range []int{3, 5 << 20, 5 << 20, 16<<20 - 100, 7, 3 << 20, 11} {
		e := readmodels.Encoded{Header: readmodels.Header{ID: fmt.Sprint("D", i), Position: int64(10 + i)}}
		raw, err := bson.Marshal(struct {
			readmodels.Header `bson:",inline"`
			Text              string
		}{e.Header, strings.Repeat("x", size)})
		if err != nil {
			t.Fatal(err)
		}
		e.Document = raw
		all = append(all, e)
	}
	holds := func(when string) {
		t.Helper()
		for _, e := range all {
			stored, err := s.CollectionNamed(collection).FindOne(t.Context(), bson.D{{Key: "_id", Value: e.Header.ID}}).Raw()
			if err != nil || !stored.Lookup("text").Equal(e.Document.Lookup("text")) {
				t.Errorf("%s, %s is another document: %v", when, e.Header.ID, err)
			}
		}
	}
	if n, err := s.Insert(t.Context(), collection, all[:5]); err != nil || n != 0 {
		t.Fatalf("%d were there before, %v", n, err)
	}
	if n, err := s.Insert(t.Context(), collection, all); err != nil || n != 5 {
		t.Errorf("%d were there before instead of 5, %v", n, err)
	}
	holds("after they were inserted")
	for i := range all[:3] {
		all[i].Header.Position-- // what is stored has seen more
	}
	if n, err := s.Replace(t.Context(), collection, all); err != nil || n != 3 {
		t.Errorf("%d have seen more instead of 3, %v", n, err)
	}
	holds("after they were replaced")
}

// TestErrorsOfTheStoreAreTheDriversOwn: whichever way a command takes, its errors have the same types and codes.
func TestErrorsOfTheStoreAreTheDriversOwn(t *testing.T) {
	bothWays(t, func(t *testing.T, s *readmodels.Store) {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: bson.A{1}}})
		if err != nil {
			t.Fatal(err)
		}
		faulty := []readmodels.Encoded{{Document: raw}}
		_, err = s.Insert(t.Context(), "faulty_v1", faulty)
		var writes driver.WriteException
		if !errors.As(err, &writes) || len(writes.WriteErrors) != 1 || !writes.HasErrorCode(53) {
			t.Errorf("a document whose key is an array is answered %v", err)
		}
		_, err = s.Insert(t.Context(), "", faulty)
		var failed driver.CommandError
		if !errors.As(err, &failed) || failed.Code != 73 || failed.Name != "InvalidNamespace" {
			t.Errorf("a collection without a name is answered %v", err)
		}
	})
}

// TestACheckpointOfAnEarlierLeaseIsRefused, whichever way it takes.
func TestACheckpointOfAnEarlierLeaseIsRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, s *readmodels.Store) {
		save := func(token int64, commit uint64) error {
			return s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: "c_v1", View: "c", Version: 1, Token: token,
				Position: domain.Position{Commit: commit, Prepare: commit}})
		}
		for _, err := range []error{save(2, 10), save(2, 20), save(3, 30)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := save(2, 40); !errors.Is(err, readmodels.ErrLeaseLost) {
			t.Errorf("an earlier holder is answered %v", err)
		}
		c, err := s.LoadBuildCheckpoint(t.Context(), readmodels.View{Name: "c", Version: 1}, "c_v1")
		if err != nil || c.Position.Commit != 30 || c.Token != 3 {
			t.Errorf("the checkpoint is %+v, %v", c, err)
		}
	})
}
