package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/credentials"
	"casebook/embedded/loopback"
	"casebook/embedded/mongo"
	"casebook/embedded/node"
	"casebook/readmodels"

	"github.com/prometheus/client_golang/prometheus"
)

// storeFlags select the stores: real ones by their addresses, embedded ones by their directory.
type storeFlags struct {
	Data          string `help:"Directory of the embedded stores, their credentials and the keys." default:"casebook-data" type:"path"`
	Eventstore    string `help:"Address of a real event store, esdb://... By default the embedded one runs." placeholder:"URL"`
	Mongo         string `help:"Address of a real MongoDB, mongodb://... By default the embedded one runs." placeholder:"URL"`
	MongoDatabase string `help:"Database of the read models." default:"casebook"`
	// Processes that take commands need the key. Views are built without it.
	BlindingKeyFile string `help:"Key that seals arms and kit contents in the log. The embedded event store gets one in --data with its first start; with --eventstore it must exist. All processes with the roles api or sagas need the same. Without it, all arms are lost." type:"path" placeholder:"FILE"`
	IdentityKeys    string `help:"Where the keys of patients' personal data are: a file, or a MongoDB, mongodb://..., which is not that of the views. By default a file in --data, but none with --eventstore: then nobody can record or read who a patient is." placeholder:"FILE or URL"`
	IdentityKeyFile string `help:"Master key that wraps the keys of patients' personal data; made in --data by default, but not with --eventstore. All processes with the role api need the same. Without it, all personal data are lost." type:"path" placeholder:"FILE"`
	NodeListen      string `help:"Address of the embedded event store." default:"127.0.0.1:2113" placeholder:"HOST:PORT"`
	MongoListen     string `help:"Address of the embedded MongoDB." default:"127.0.0.1:27017" placeholder:"HOST:PORT"`
}

// stores holds the addresses of the stores, and the embedded stores that are running.
type stores struct {
	eventStoreURL, mongoURL string
	// readerEventStoreURL and readerMongoURL are the addresses for people and tools that look in; empty for real stores.
	readerEventStoreURL, readerMongoURL string

	node  *node.Node
	mongo *mongo.Server
	// nodeSyncs and mongoSyncs hold how long the embedded stores take to have something on disk.
	nodeSyncs, mongoSyncs prometheus.Histogram
	notes                 []string // files with the addresses of the embedded stores
}

func (f storeFlags) dir() dataDir { return dataDir(f.Data) }

func (f storeFlags) keyFile() string { return f.dir().file(tokenKeyFile) }

// open starts the embedded stores that are needed. If a port is in use, the error names the flag that changes it.
func (f storeFlags) open(ctx context.Context, needMongo bool, logger *slog.Logger) (_ *stores, err error) {
	s := &stores{eventStoreURL: f.Eventstore, mongoURL: f.Mongo,
		nodeSyncs:  syncHistogram("casebook_node_sync_seconds", "How long commits of the embedded event store take to be on disk."),
		mongoSyncs: syncHistogram("casebook_mongo_sync_seconds", "How long the embedded MongoDB's log of writes takes to be on disk.")}
	needMongo = needMongo && f.Mongo == ""
	if f.Eventstore != "" && !needMongo {
		return s, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := f.dir().mayBeFilled(); err != nil {
		return nil, err
	}
	access, err := credentials.LoadOrCreate(f.Data)
	if err != nil {
		return nil, err
	}
	if err := f.dir().protect(); err != nil {
		return nil, err
	}
	if f.Eventstore == "" {
		o := node.Options{Dir: f.dir().file(eventStoreDir), Listen: f.NodeListen, Logger: logger, Protected: keptStreams(),
			OnSync: observe(s.nodeSyncs)}
		if s.node, err = openNode(ctx, o, access, "--node-listen"); err != nil {
			return nil, err
		}
		s.eventStoreURL = access.EventStoreURL(s.node.Addr(), access.Owner)
		s.readerEventStoreURL = access.EventStoreURL(s.node.Addr(), access.Reader)
		if err := s.note(f.dir(), eventStoreAddress, s.node.Addr()); err != nil {
			return nil, err
		}
	}
	if needMongo {
		o := mongo.Options{Dir: f.dir().file(mongoDir), Listen: f.MongoListen, Logger: logger, OnSync: observe(s.mongoSyncs)}
		if s.mongo, err = openMongo(ctx, o, access, "--mongo-listen"); err != nil {
			return nil, err
		}
		s.mongoURL, s.readerMongoURL = access.MongoURL(s.mongo.Addr(), access.Owner), access.MongoURL(s.mongo.Addr(), access.Reader)
		if err := s.note(f.dir(), mongoAddress, s.mongo.Addr()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// connectViews connects to the read models. It waits for a MongoDB that is given as long as it takes.
func (f storeFlags) connectViews(ctx context.Context, url string, logger *slog.Logger) (*readmodels.Store, error) {
	ctx, cancel := starting(ctx, f.Mongo != "")
	defer cancel()
	return readmodels.Await(ctx, logger, url, f.MongoDatabase, contexts.Views())
}

// note writes the address of an embedded store for the tools on this machine.
func (s *stores) note(dir dataDir, file, address string) error {
	if err := dir.noteAddress(file, address); err != nil {
		return err
	}
	s.notes = append(s.notes, dir.file(file))
	return nil
}

// openNode starts an embedded event store with the accounts of a data directory. Its certificate, unless o has one, is
// signed by the directory's authority.
func openNode(ctx context.Context, o node.Options, access *credentials.Credentials, flag string) (*node.Node, error) {
	o.Users = append(o.Users,
		node.User{Name: access.Owner.User, Password: access.Owner.Password, Groups: []string{node.Admins}},
		node.User{Name: access.Reader.User, Password: access.Reader.Password, Groups: []string{node.Readers}})
	if o.TLS == nil {
		var err error
		if o.TLS, err = access.TLS(o.Listen); err != nil {
			return nil, fmt.Errorf("a certificate for %s of %s: %w", flag, o.Listen, err)
		}
	}
	n, err := node.Open(ctx, o)
	return n, nameFlag(err, node.ErrListen, o.Listen, flag)
}

// openMongo starts an embedded MongoDB with the accounts of a data directory. Passwords are never sent to it, so only
// connections from other machines are encrypted.
func openMongo(ctx context.Context, o mongo.Options, access *credentials.Credentials, flag string) (*mongo.Server, error) {
	o.Users = []mongo.User{
		{Name: access.Owner.User, Password: access.Owner.Password, Role: mongo.ReadWrite},
		{Name: access.Reader.User, Password: access.Reader.Password, Role: mongo.Read},
	}
	if !loopback.Address(o.Listen) {
		var err error
		if o.TLS, err = access.TLS(o.Listen); err != nil {
			return nil, fmt.Errorf("a certificate for %s of %s: %w", flag, o.Listen, err)
		}
	}
	m, err := mongo.Open(ctx, o)
	return m, nameFlag(err, mongo.ErrListen, o.Listen, flag)
}

// keptStreams returns the prefixes of the streams that the embedded event store lets only grow: those of all categories
// of the catalogue.
func keptStreams() []string {
	var prefixes []string
	for _, category := range contexts.Registry().Categories() {
		prefixes = append(prefixes, category+"-")
	}
	return prefixes
}

// withoutPassword returns a connection string without its password, for printing.
func withoutPassword(connection string) string {
	address, err := url.Parse(connection)
	if err != nil {
		// Some connection strings are not URLs for package net/url. User and password are what precedes the last @.
		scheme, rest, found := strings.Cut(connection, "://")
		if !found {
			return "(as configured)"
		}
		return scheme + "://" + rest[strings.LastIndex(rest, "@")+1:]
	}
	return address.Redacted()
}

// nameFlag adds to a failure to listen the flag that gives another address.
func nameFlag(err, listenErr error, address, flag string) error {
	if errors.Is(err, listenErr) {
		return fmt.Errorf("cannot listen on %s; choose another address with %s: %w", address, flag, err)
	}
	return err
}

func (s *stores) close() error {
	var errs []error
	for _, file := range s.notes {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if s.mongo != nil {
		errs = append(errs, s.mongo.Close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	return errors.Join(errs...)
}
