// Package storetest gives tests their stores: the embedded ones, or a real EventStoreDB and a real MongoDB where the
// environment names them. Tests take streams and databases of their own, so any server will do that is theirs to fill.
package storetest

import (
	"context"
	"os"

	"casebook/embedded/mongo"
	"casebook/embedded/node"
)

// The variables that name servers to test with. Each takes the place of an embedded store.
const (
	EventStoreVariable = "CASEBOOK_TEST_EVENTSTORE"
	MongoVariable      = "CASEBOOK_TEST_MONGO"
)

// EventStore returns the connection string of the EventStoreDB that is given, or of an embedded one that keeps its data in
// a directory; close ends that.
func EventStore(ctx context.Context, dir string) (url string, closing func() error, err error) {
	if given := os.Getenv(EventStoreVariable); given != "" {
		return given, nothing, nil
	}
	n, err := node.Open(ctx, node.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return "", nothing, err
	}
	return n.ConnectionString(), n.Close, nil
}

// Mongo returns the connection string of the MongoDB that is given, or of an embedded one that keeps its data in a
// directory; close ends that.
func Mongo(ctx context.Context, dir string) (url string, closing func() error, err error) {
	if given := os.Getenv(MongoVariable); given != "" {
		return given, nothing, nil
	}
	m, err := mongo.Open(ctx, mongo.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return "", nothing, err
	}
	return m.ConnectionString(), m.Close, nil
}

func nothing() error { return nil }
