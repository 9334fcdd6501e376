package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"casebook/embedded/loopback"
	"casebook/embedded/node/groups"
	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Options configure a node. Zero values mean the defaults.
type Options struct {
	// Dir is the directory of the log. It is created if it does not exist.
	Dir string
	// Listen is the host:port to listen on, with port 0 for any free one. Default 127.0.0.1:2113.
	Listen string
	// FS is the file system; nil means the disk.
	FS vfs.FS
	// Logger gets the node's messages; nil discards them.
	Logger *slog.Logger
	// CacheBytes bounds the cache of blocks read from disk. Default 24 MiB.
	CacheBytes int64
	// MaxAppendBytes bounds the data of the events of one append. Default 1 MiB, as clients expect. Their metadata and
	// types may make the append larger, up to 16 MiB.
	MaxAppendBytes int
	// QueueLength and QueueBytes bound the waiting appends. Beyond them an append is refused with Unavailable. Default
	// 8192 appends and 64 MiB.
	QueueLength int
	QueueBytes  int64
	// TailEvents and TailBytes bound the newest events kept in memory for subscriptions. Default 16384 and 32 MiB.
	TailEvents int
	TailBytes  int
	// MinFreeBytes is the free disk space below which appends are refused with ResourceExhausted. Default 256 MiB; a
	// negative value switches the check off.
	MinFreeBytes int64
	// OnSync is told how long each commit took to be on disk; nil for nobody.
	OnSync func(time.Duration)
	// Users are the accounts that may connect. If there are any, every call needs the name and password of one of them,
	// and access lists of streams apply. Without users everybody may do everything.
	Users []User
	// TLS, if set, encrypts all connections. It needs a certificate.
	TLS *tls.Config
	// Insecure allows an address that other machines can reach without Users or without TLS.
	Insecure bool
	// Protected lists prefixes of the names of streams that only grow: they cannot be deleted or truncated, and their
	// metadata cannot be written, by anybody.
	Protected []string
	// ReadOnly serves an existing log without changing it. Whatever would write is refused.
	ReadOnly bool

	clock func() time.Time // nil means time.Now
}

var (
	// ErrListen means that the node cannot listen on its address, mostly because the port is in use.
	ErrListen = errors.New("cannot listen")
	// ErrExposed means that other machines could reach the node without credentials or without encryption.
	ErrExposed = errors.New("other machines could reach the event store without credentials or without encryption, and read " +
		"and forge everything; give it users and a certificate, or listen on a loopback address")
	// ErrLocked means that another node uses the directory.
	ErrLocked = store.ErrLocked
)

// VerifyReport is the result of Verify.
type VerifyReport = store.VerifyReport

// Manifest describes the content of a backup.
type Manifest = store.Manifest

// Damage names the first damaged record that Verify found.
type Damage = store.Damage

// ScavengeOptions name the streams that Scavenge leaves out and who runs it.
type ScavengeOptions = store.ScavengeOptions

// ScavengeReport is the result of Scavenge: what it removed.
type ScavengeReport = store.ScavengeReport

// Stats are statistics of a node since it was opened, unless a field says otherwise.
type Stats struct {
	store.Stats
	// Subscriptions, BatchStreams and Reads count the calls that are open now.
	Subscriptions, BatchStreams, Reads int64
	// EventsSent counts the events delivered to readers, subscribers and consumers.
	EventsSent uint64
}

// Node is a running event store.
type Node struct {
	opts     Options
	logger   *slog.Logger
	store    *store.Store
	groups   *groups.Groups
	users    *users
	listener net.Listener
	server   *grpc.Server
	inside   *inProcess
	web      *http.Server
	metrics  *metrics
	opened   time.Time

	// stopping is closed when the node begins to close; it ends subscriptions and other endless calls.
	stopping  chan struct{}
	closeOnce sync.Once
	closeErr  error
	workers   sync.WaitGroup

	scavenges scavenges

	subscriptions, batchStreams, reads atomic.Int64
	sent                               atomic.Uint64
}

const (
	defaultListen   = "127.0.0.1:2113"
	defaultMaxBytes = 1 << 20
	// maxMessage is the largest message that the official clients accept, and more than they may send.
	maxMessage = 17 << 20
	// maxCalls bounds the open calls of one connection, including subscriptions.
	maxCalls = 16384
	// A connection on which nothing came for keepaliveTime is pinged, and closed if no answer comes within keepaliveTimeout. A real
	// server takes 10 seconds for each.
	keepaliveTime    = 4 * time.Second
	keepaliveTimeout = 4 * time.Second
	// closeGrace is the time that running calls have to end when the node closes.
	closeGrace = 2 * time.Second
)

// Open opens or creates the log and serves it. When Open returns, clients can connect. The context bounds the opening
// only; the node runs until Close.
func Open(ctx context.Context, o Options) (_ *Node, err error) {
	if o.Listen == "" {
		o.Listen = defaultListen
	}
	if o.MaxAppendBytes <= 0 {
		o.MaxAppendBytes = defaultMaxBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	accounts, err := newUsers(o.Users)
	if err != nil {
		return nil, fmt.Errorf("open the event store: %w", err)
	}
	if !o.Insecure && (accounts == nil || o.TLS == nil) && !loopback.Address(o.Listen) {
		return nil, fmt.Errorf("listen on %s: %w", o.Listen, ErrExposed)
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		o.TLS.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS12)
		// A client that offers both protocols is a browser or the like and gets HTTP/1; gRPC clients offer only HTTP/2.
		o.TLS.NextProtos = []string{"http/1.1", "h2"}
	}
	// Listen before opening the store, because it fails faster.
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w; stop what uses the port or choose another", ErrListen, o.Listen, err)
	}
	st, err := store.Open(store.Options{
		Dir: o.Dir, FS: o.FS, Logger: o.Logger, CacheBytes: o.CacheBytes,
		QueueLength: o.QueueLength, QueueBytes: o.QueueBytes, TailEvents: o.TailEvents, TailBytes: o.TailBytes,
		MinFreeBytes: o.MinFreeBytes, Protected: o.Protected, ReadOnly: o.ReadOnly, OnSync: o.OnSync,
		Clock: o.clock,
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, st.Close(), listener.Close())
	}
	gs, err := groups.Open(st, o.Logger)
	if err != nil {
		gs.Close()
		return nil, errors.Join(err, st.Close(), listener.Close())
	}
	n := &Node{
		opts: o, logger: o.Logger, store: st, groups: gs, users: accounts, listener: listener,
		stopping: make(chan struct{}), opened: time.Now(),
	}
	n.metrics = newMetrics(n)
	unary, stream := []grpc.UnaryServerInterceptor{n.metrics.unary}, []grpc.StreamServerInterceptor{n.metrics.stream}
	if accounts != nil {
		unary, stream = append(unary, accounts.unary), append(stream, accounts.stream)
	}
	n.server = grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(4<<20),
		grpc.WriteBufferSize(64<<10),
		grpc.ReadBufferSize(64<<10),
		grpc.WaitForHandlers(true),
		// Clients ping every ten seconds, also while idle; some are set to ping more often.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		// A client that is frozen holds the events of its groups until its connection ends.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...),
	)
	n.register(n.server)
	n.inside = newInProcess(n.register, unary, stream)
	n.web = n.newWeb()
	n.serve()
	n.logger.Info("event store is open", "address", n.Addr(), "end", st.End())
	return n, nil
}

// register adds the node's services to a server.
func (n *Node) register(to grpc.ServiceRegistrar) {
	serverfeatures.RegisterServerFeaturesServer(to, featuresService{})
	gossip.RegisterGossipServer(to, gossipService{node: n})
	streams.RegisterStreamsServer(to, &streamsService{node: n})
	persistent.RegisterPersistentSubscriptionsServer(to, &persistentService{node: n})
	to.RegisterService(&operations, operationsService{node: n})
}

// Addr returns the host:port that the node listens on.
func (n *Node) Addr() string { return n.listener.Addr().String() }

// ConnectionString returns the connection string for the official clients, without user and password.
func (n *Node) ConnectionString() string {
	return "esdb://" + n.Addr() + "?tls=" + strconv.FormatBool(n.opts.TLS != nil)
}

// Close ends subscriptions, finishes the accepted appends, waits for all goroutines and closes the log.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		close(n.stopping)
		n.scavenges.cancelRunning()
		// A silent client with an open call must not delay the closing for longer.
		force := time.AfterFunc(closeGrace, n.server.Stop)
		ended, cancel := context.WithTimeout(context.Background(), closeGrace)
		n.closeErr = n.listener.Close()
		if err := n.web.Shutdown(ended); err != nil {
			n.closeErr = errors.Join(n.closeErr, n.web.Close())
		}
		cancel()
		n.inside.close(closeGrace)
		n.server.GracefulStop()
		force.Stop()
		n.workers.Wait()
		n.groups.Close()
		n.closeErr = errors.Join(n.closeErr, n.store.Close())
	})
	return n.closeErr
}

// Verify reads the whole log and checks the chain of hashes and the indexes. Damage is part of the report; an error
// means that the check could not be completed.
func (n *Node) Verify(ctx context.Context) (VerifyReport, error) { return n.store.Verify(ctx) }

// Backup writes a consistent copy of the log to w while the node is running.
func (n *Node) Backup(ctx context.Context, w io.Writer) (Manifest, error) {
	return n.store.Backup(ctx, w)
}

// Restore verifies a backup and creates a log from it in dir, which must be empty or must not exist.
func Restore(ctx context.Context, dir string, r io.Reader) (VerifyReport, error) {
	return store.Restore(ctx, nil, dir, r)
}

// Scavenge irreversibly removes the events that stream metadata hide, while the node is running. The node never
// scavenges by itself.
func (n *Node) Scavenge(ctx context.Context, o ScavengeOptions) (ScavengeReport, error) {
	return n.scavenges.run(ctx, func(ctx context.Context) (ScavengeReport, error) { return n.store.Scavenge(ctx, o) })
}

// Writable returns why the node takes no appends at present: because a commit failed, or the disk is almost full. It is nil if the node
// takes them.
func (n *Node) Writable() error { return n.store.Writable() }

// Stats returns the node's statistics.
func (n *Node) Stats() Stats {
	return Stats{
		Stats:         n.store.Stats(),
		Subscriptions: n.subscriptions.Load(), BatchStreams: n.batchStreams.Load(), Reads: n.reads.Load(),
		EventsSent: n.sent.Load(),
	}
}

// splitAddr returns the host and port of the address that a client dialled, or those of the node's own address if the
// dialled one is unknown.
func splitAddr(dialled, own string) (string, string) {
	if host, port, err := net.SplitHostPort(dialled); err == nil {
		return strings.Trim(host, "[]"), port
	}
	host, port, _ := net.SplitHostPort(own)
	return host, port
}
