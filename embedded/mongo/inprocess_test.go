package mongo

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// answerOf runs a command over the network and returns the server's answer, also to a command that failed.
func answerOf(t *testing.T, db *driver.Database, command []byte) bson.Raw {
	t.Helper()
	answer, err := db.RunCommand(t.Context(), bson.Raw(command)).Raw()
	var failed driver.CommandError
	var writes driver.WriteException
	switch {
	case err == nil:
		return answer
	case errors.As(err, &failed):
		return failed.Raw
	case errors.As(err, &writes):
		return writes.Raw
	}
	t.Fatal(err)
	return nil
}

// TestWritesWithinTheProcessAreThoseOfTheNetwork runs commands on two servers, on one of them over the network, and compares the answers
// and what is stored.
func TestWritesWithinTheProcessAreThoseOfTheNetwork(t *testing.T) {
	near, far := startServer(t, func(o *Options) { o.Users = []User{{Name: "a", Password: "b", Role: Read}} }), startServer(t)
	nearDB := connectTo(t, "mongodb://a:b@"+near.Addr()+"/?directConnection=true").Database("test")
	farDB := connect(t, far).Database("test")
	for _, command := range []string{
		`{"insert": "c", "documents": [{"_id": 1, "p": 1}, {"_id": 2, "p": 5}]}`,
		`{"insert": "c", "ordered": false, "documents": [{"_id": 2, "p": 7}, {"_id": 3, "p": 1}]}`,
		`{"update": "c", "ordered": false, "updates": [
			{"q": {"_id": 1, "p": {"$lte": 4}}, "u": {"_id": 1, "p": 4}, "upsert": true},
			{"q": {"_id": 2, "p": {"$lte": 4}}, "u": {"_id": 2, "p": 4}, "upsert": true},
			{"q": {"_id": 9, "p": {"$lte": 4}}, "u": {"_id": 9, "p": 4}, "upsert": true},
			{"q": {"_id": 1}, "u": {"$bogus": {"a": 1}}}]}`,
		`{"delete": "c", "deletes": [{"q": {"_id": 3}, "limit": 1}]}`,
		`{"delete": "c", "deletes": []}`,
		`{"insert": "c"}`,
		`{"update": "c", "updates": [{"q": {}, "u": {}}], "bogus": 1}`,
		`{"insert": 5, "documents": [{}]}`,
	} {
		within, err := near.Write(t.Context(), "test", rawJSON(command))
		must(t, err)
		if over := answerOf(t, farDB, rawJSON(command)); !bytes.Equal(within, over) {
			t.Errorf("%s:\nwithin the process %s\n  over the network %s", command, bson.Raw(within), over)
		}
	}
	find := raw(D("find", "c", "sort", D("_id", 1)))
	within, over := answerOf(t, nearDB, find), answerOf(t, farDB, find)
	if !bytes.Equal(within, over) || len(within.Lookup("cursor", "firstBatch").Value) < 50 {
		t.Errorf("stored is something else:\nwithin the process %s\n  over the network %s", within, over)
	}
}

func TestWriteTakesNothingElse(t *testing.T) {
	s := startServer(t)
	for _, command := range []string{`{"find": "c"}`, `{"drop": "c"}`, `{"createIndexes": "c"}`, `{}`} {
		if answer, err := s.Write(t.Context(), "test", rawJSON(command)); err == nil {
			t.Errorf("%s is answered %s", command, bson.Raw(answer))
		}
	}
	if _, err := s.Write(t.Context(), "test", []byte{6, 0, 0, 0, 0}); !errors.Is(err, errBSON) {
		t.Errorf("malformed bytes are answered %v", err)
	}
}

// TestWriteEndsWithItsContextAndTheServer: whoever waits for a lock is not kept, and a closed server takes nothing.
func TestWriteEndsWithItsContextAndTheServer(t *testing.T) {
	s := startServer(t)
	insert := rawJSON(`{"insert": "c", "documents": [{"_id": 1}]}`)
	_, err := s.Write(t.Context(), "test", insert)
	must(t, err)
	held := s.store.writeTo(s.store.lookup(namespace{"test", "c"}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Write(ctx, "test", rawJSON(`{"insert": "c", "documents": [{"_id": 2}]}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write that waits is answered %v", err)
	}
	held.close()
	must(t, s.Close())
	if _, err := s.Write(t.Context(), "test", insert); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed server answers %v", err)
	}
}
