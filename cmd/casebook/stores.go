package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"casebook/access"
	"casebook/embedded/mongo"
	"casebook/embedded/node"
	"casebook/eventlog"
)

// storeFlags select the stores: real ones by their addresses, embedded ones by their directory.
type storeFlags struct {
	Data          string `help:"Directory of the embedded stores and of the token key." default:"casebook-data" type:"path"`
	Eventstore    string `help:"Address of a real event store, esdb://... By default the embedded one runs." placeholder:"URL"`
	Mongo         string `help:"Address of a real MongoDB, mongodb://... By default the embedded one runs." placeholder:"URL"`
	MongoDatabase string `help:"Database of the read models." default:"casebook"`
	// Processes that take commands need the key. Views are built without it.
	BlindingKeyFile string `help:"Key that seals arms and kit contents in the log; created in --data by default. All processes with the roles api or sagas need the same. Without it, all arms are lost." type:"path" placeholder:"FILE"`
	NodeListen      string `help:"Address of the embedded event store." default:"127.0.0.1:2113" placeholder:"HOST:PORT"`
	MongoListen     string `help:"Address of the embedded MongoDB." default:"127.0.0.1:27017" placeholder:"HOST:PORT"`
}

// stores holds the addresses of the stores, and the embedded stores that are running.
type stores struct {
	eventStoreURL, mongoURL string
	node                    *node.Node
	mongo                   *mongo.Server
}

func (f storeFlags) keyFile() string { return filepath.Join(f.Data, "token.key") }

// blindingKeys loads the key that seals arms and kit contents. If its file does not exist, it is created.
func (f storeFlags) blindingKeys() (*eventlog.BlindingKeys, error) {
	file := f.BlindingKeyFile
	if file == "" {
		file = filepath.Join(f.Data, "blinding.key")
	}
	key, err := access.LoadOrCreateKey(file)
	if err != nil {
		return nil, err
	}
	keys, err := eventlog.NewBlindingKeys(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// open starts the embedded stores that are needed. If a port is in use, the error names the flag that changes it.
func (f storeFlags) open(ctx context.Context, needMongo bool, logger *slog.Logger) (*stores, error) {
	s := &stores{eventStoreURL: f.Eventstore, mongoURL: f.Mongo}
	if s.eventStoreURL == "" {
		n, err := openNode(ctx, filepath.Join(f.Data, "eventstore"), f.NodeListen, "--node-listen", logger)
		if err != nil {
			return nil, err
		}
		s.node, s.eventStoreURL = n, n.ConnectionString()
	}
	if s.mongoURL == "" && needMongo {
		m, err := mongo.Open(ctx, mongo.Options{Dir: filepath.Join(f.Data, "mongo"), Listen: f.MongoListen, Logger: logger})
		if err != nil {
			return nil, errors.Join(nameFlag(err, mongo.ErrListen, f.MongoListen, "--mongo-listen"), s.close())
		}
		s.mongo, s.mongoURL = m, m.ConnectionString()
	}
	return s, nil
}

func openNode(ctx context.Context, dir, listen, flag string, logger *slog.Logger) (*node.Node, error) {
	n, err := node.Open(ctx, node.Options{Dir: dir, Listen: listen, Logger: logger})
	return n, nameFlag(err, node.ErrListen, listen, flag)
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
	if s.mongo != nil {
		errs = append(errs, s.mongo.Close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	return errors.Join(errs...)
}
