package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osuser "os/user"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/embedded/credentials"
	"casebook/embedded/mongo"
	"casebook/embedded/node"
	"casebook/eventlog"
)

// toolStores are the stores that a tool works on: real ones by their addresses, or those of a data directory, whether a
// server runs on it or not.
type toolStores struct {
	data              dataDir
	eventStore, mongo string // addresses of real stores; empty for those of the data directory
	logger            *slog.Logger
}

// toolTimeout bounds each request of a tool. It is longer than the election of a new leader takes.
const toolTimeout = 30 * time.Second

// toolLog connects to the event store for a tool, whose requests outlive a change of leader.
func toolLog(ctx context.Context, o eventlog.Options) (*eventlog.Log, error) {
	connecting, stop := context.WithTimeout(ctx, toolTimeout)
	defer stop()
	o.Registry, o.Timeout = contexts.Registry(), toolTimeout
	return eventlog.Connect(connecting, o)
}

// usage says what a tool does with a store.
type usage int

const (
	unused usage = iota
	reads
	writes
)

// opened are the stores of a tool.
type opened struct {
	eventStoreURL, mongoURL string
	// alone is true if no server runs on the event store, so that the tool opened it itself.
	alone bool
	// viewsAlone is the same for the views.
	viewsAlone bool
}

// use passes the stores to act. Stores on which no server runs are opened for the time of act. For a tool that only reads
// them, they are opened without changing any of their files.
func (t toolStores) use(ctx context.Context, ofEventStore, ofMongo usage, act func(opened) error) (err error) {
	o := opened{eventStoreURL: t.eventStore, mongoURL: t.mongo}
	ownEventStore, ownMongo := ofEventStore != unused && t.eventStore == "", ofMongo != unused && t.mongo == ""
	if !ownEventStore && !ownMongo {
		return act(o)
	}
	if err := t.data.isNoStore(); err != nil {
		return err
	}
	if t.logger == nil {
		t.logger = logFlags{Level: slog.LevelWarn}.logger(os.Stderr)
	}
	// The servers that a tool starts run only for the time of the command, and only the tool connects to them. So they get
	// credentials of their own.
	own, err := os.MkdirTemp("", "casebook-tool-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	access, err := credentials.LoadOrCreate(own)
	if err != nil {
		return err
	}
	if ownEventStore {
		url, running, err := t.openEventStore(ctx, access, ofEventStore == reads)
		if err != nil {
			return err
		}
		if running != nil {
			defer func() { err = errors.Join(err, running.Close()) }()
		}
		o.eventStoreURL, o.alone = url, running != nil
	}
	if ownMongo {
		url, running, err := t.openMongo(ctx, access, ofMongo == reads)
		if err != nil {
			return err
		}
		if running != nil {
			defer func() { err = errors.Join(err, running.Close()) }()
		}
		o.mongoURL, o.viewsAlone = url, running != nil
	}
	return act(o)
}

// openEventStore returns the address of the directory's event store: of the server that runs on it, or else of one that it
// starts.
func (t toolStores) openEventStore(ctx context.Context, access *credentials.Credentials, readOnly bool) (string, *node.Node, error) {
	if err := t.data.mustHold(); err != nil {
		return "", nil, err
	}
	n, err := openNode(ctx, node.Options{
		Dir: t.data.file(eventStoreDir), Listen: "127.0.0.1:0", ReadOnly: readOnly, Logger: t.logger, Protected: keptStreams(),
	}, access, "--data")
	if errors.Is(err, node.ErrLocked) {
		url, err := t.data.runningEventStore(false)
		return url, nil, err
	}
	if err != nil {
		return "", nil, err
	}
	return access.EventStoreURL(n.Addr(), access.Owner), n, nil
}

func (t toolStores) openMongo(ctx context.Context, access *credentials.Credentials, readOnly bool) (string, *mongo.Server, error) {
	if !t.data.hasMongo() {
		return "", nil, fmt.Errorf("%w in %s: it has no views; name the directory with which serve was started with --data, or "+
			"a running MongoDB with --mongo", errNoData, string(t.data))
	}
	m, err := openMongo(ctx, mongo.Options{
		Dir: t.data.file(mongoDir), Listen: "127.0.0.1:0", ReadOnly: readOnly, Logger: t.logger,
	}, access, "--data")
	if errors.Is(err, mongo.ErrLocked) {
		url, err := t.data.runningMongo(false)
		return url, nil, err
	}
	if err != nil {
		return "", nil, err
	}
	return access.MongoURL(m.Addr(), access.Owner), m, nil
}

// errNotRunning means that no server runs on the directory.
var errNotRunning = errors.New("no server runs on this data directory")

// runningEventStore returns the address of the event store that runs on the directory, for its owner or for a reader.
func (d dataDir) runningEventStore(reader bool) (string, error) {
	access, address, err := d.running(eventStoreAddress)
	if err != nil {
		return "", err
	}
	return access.EventStoreURL(address, account(access, reader)), nil
}

// runningMongo returns the address of the MongoDB that runs on the directory, for its owner or for a reader.
func (d dataDir) runningMongo(reader bool) (string, error) {
	access, address, err := d.running(mongoAddress)
	if err != nil {
		return "", err
	}
	return access.MongoURL(address, account(access, reader)), nil
}

// account returns the account that reads only, or the one that may do everything.
func account(of *credentials.Credentials, reader bool) credentials.Account {
	if reader {
		return of.Reader
	}
	return of.Owner
}

func (d dataDir) running(file string) (*credentials.Credentials, string, error) {
	address := d.address(file)
	if address == "" {
		return nil, "", fmt.Errorf("%w, or it has just been started: there is no %s", errNotRunning, d.file(file))
	}
	access, err := credentials.Load(string(d))
	return access, address, err
}

// operatorFlags say who uses a tool that changes something.
type operatorFlags struct {
	As string `help:"Who does this; the record names the person. The user of this machine by default." placeholder:"NAME"`
}

// AfterApply refuses a name that the record could not show as it is. Kong calls it.
func (f operatorFlags) AfterApply() error {
	return domain.OptionalText("--as", f.As, 100)
}

// operator returns the principal under which the tool sends commands. The name is not proven:
// anybody with the credentials of the stores could write any name.
func (f operatorFlags) operator() access.Principal {
	name := f.person()
	if name == "" {
		return operator()
	}
	return access.Process("operator/" + name)
}

// person returns the name of who uses the tool; empty if it is not known.
func (f operatorFlags) person() string {
	if f.As != "" {
		return f.As
	}
	me, err := osuser.Current()
	if err != nil {
		return ""
	}
	return me.Username
}
