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
	"casebook/embedded/node/clustertest"
)

// Environment variables that hold the connection string of a real server. Each replaces one embedded server.
const (
	EventStoreVariable = "CASEBOOK_TEST_EVENTSTORE"
	MongoVariable      = "CASEBOOK_TEST_MONGO"
)

// StandIn is the value of EventStoreVariable that stands for no server: each package, or each test that wants a log of its own,
// gets a stand-in cluster of three nodes.
const StandIn = "cluster"

// EventStore returns the connection string of the EventStoreDB that EventStoreVariable names. Without one it starts an
// embedded node with credentials and encryption, which keeps its data in dir. The returned function stops the embedded
// node and does stopNothing otherwise.
func EventStore(ctx context.Context, dir string) (url string, stop func() error, err error) {
	switch given := os.Getenv(EventStoreVariable); given {
	case "":
	case StandIn:
		return Cluster(ctx, dir)
	default:
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

// Cluster starts a stand-in cluster, which keeps its data in dir. It returns the connection string and a function that stops it.
func Cluster(ctx context.Context, dir string) (url string, stop func() error, err error) {
	c, err := clustertest.Start(ctx, clustertest.Options{Dir: filepath.Join(dir, "cluster")})
	if err != nil {
		return "", stopNothing, err
	}
	return c.URL(), c.Close, nil
}

// Own returns the connection string of an event store that nobody else uses: an embedded node without credentials, or a
// stand-in cluster. It returns false where a server is given, which tests share.
func Own(ctx context.Context, dir string) (url string, stop func() error, own bool, err error) {
	switch given := os.Getenv(EventStoreVariable); given {
	case "":
	case StandIn:
		url, stop, err = Cluster(ctx, dir)
		return url, stop, true, err
	default:
		return given, stopNothing, false, nil
	}
	n, err := node.Open(ctx, node.Options{Dir: filepath.Join(dir, "node"), Listen: "127.0.0.1:0"})
	if err != nil {
		return "", stopNothing, true, err
	}
	return n.ConnectionString(), n.Close, true, nil
}

func stopNothing() error { return nil }
