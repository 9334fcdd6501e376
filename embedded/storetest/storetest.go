// Package storetest starts the stores that tests run on: the embedded servers, or the real EventStoreDB and MongoDB
// that the environment names. Each test uses streams and databases of its own, so the tests can share one server.
package storetest

import (
	"context"
	"os"
	"path/filepath"

	"casebook/embedded/credentials"
	"casebook/embedded/mongo"
	"casebook/embedded/node"
)

// Environment variables that hold the connection string of a real server. Each replaces one embedded server.
const (
	EventStoreVariable = "CASEBOOK_TEST_EVENTSTORE"
	MongoVariable      = "CASEBOOK_TEST_MONGO"
)

// EventStore returns the connection string of the EventStoreDB that EventStoreVariable names. Without one it starts an
// embedded node with credentials and encryption, which keeps its data in dir. The returned function stops the embedded
// node and does stopNothing otherwise.
func EventStore(ctx context.Context, dir string) (url string, stop func() error, err error) {
	if given := os.Getenv(EventStoreVariable); given != "" {
		return given, stopNothing, nil
	}
	access, err := credentials.LoadOrCreate(dir)
	if err != nil {
		return "", stopNothing, err
	}
	const listen = "127.0.0.1:0"
	secured, err := access.TLS(listen)
	if err != nil {
		return "", stopNothing, err
	}
	n, err := node.Open(ctx, node.Options{Dir: filepath.Join(dir, "eventstore"), Listen: listen, TLS: secured, Users: []node.User{
		{Name: access.Owner.User, Password: access.Owner.Password, Groups: []string{node.Admins}},
	}})
	if err != nil {
		return "", stopNothing, err
	}
	return access.EventStoreURL(n.Addr(), access.Owner), n.Close, nil
}

// Mongo returns the connection string of the MongoDB that MongoVariable names. Without one it starts an embedded server
// with credentials, which keeps its data in dir. The returned function stops the embedded server and does stopNothing
// otherwise.
func Mongo(ctx context.Context, dir string) (url string, stop func() error, err error) {
	if given := os.Getenv(MongoVariable); given != "" {
		return given, stopNothing, nil
	}
	access, err := credentials.LoadOrCreate(dir)
	if err != nil {
		return "", stopNothing, err
	}
	m, err := mongo.Open(ctx, mongo.Options{Dir: filepath.Join(dir, "mongo"), Listen: "127.0.0.1:0", Users: []mongo.User{
		{Name: access.Owner.User, Password: access.Owner.Password, Role: mongo.ReadWrite},
	}})
	if err != nil {
		return "", stopNothing, err
	}
	return access.MongoURL(m.Addr(), access.Owner), m.Close, nil
}

func stopNothing() error { return nil }
