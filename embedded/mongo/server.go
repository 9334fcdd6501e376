package mongo

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"casebook/embedded/loopback"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/semaphore"
)

// Options configure a server. Only Dir is required; zero values mean the defaults.
type Options struct {
	// Dir is the directory of the store. It is created if it does not exist.
	Dir string
	// Listen is the TCP address, host:port. Default 127.0.0.1:0, a free port.
	Listen string
	// FS is the file system of Dir; nil means the disk.
	FS vfs.FS
	// Logger gets warnings and errors; nil discards them.
	Logger *slog.Logger
	// CacheBytes is the size of the cache of data blocks. Default 64 MiB. Writes that are not in tables yet take up to
	// 64 MiB more.
	CacheBytes int64
	// SyncAlways makes every write wait for a sync (fsync) before it is acknowledged, as if each client asked for {j:
	// true}.
	SyncAlways bool
	// SyncEvery is the longest time between the acknowledgement of a write and its sync. Default 100 ms.
	SyncEvery time.Duration
	// OnSync is told how long each sync of the log of writes took; nil for nobody.
	OnSync func(time.Duration)
	// MaxConns bounds the open connections; further ones are closed at once. Default 1000.
	MaxConns int
	// MaxCursorsPerConn bounds the open cursors of one connection. Default 500.
	MaxCursorsPerConn int
	// CursorTimeout is the time after which an idle cursor is closed. Default 10 minutes.
	CursorTimeout time.Duration
	// SortBytes bounds the memory of one sort without an index, and of one aggregation stage. Default 100 MiB.
	SortBytes int
	// Users are the accounts that may connect. If there are any, a client has to prove one of them with SCRAM-SHA-256
	// before it can do anything. Without users everybody may do everything.
	Users []User
	// TLS, if set, encrypts all connections. It needs a certificate.
	TLS *tls.Config
	// Insecure allows an address that other machines can reach without Users or without TLS.
	Insecure bool
	// MinFreeBytes is the free disk space below which writes are refused with OutOfDiskSpace. Default 384 MiB; a negative
	// value switches the check off.
	MinFreeBytes int64
	// ReadOnly serves an existing store without changing it. Commands that would write are refused.
	ReadOnly bool

	// memTableBytes is the size of Pebble's memtables. Default 16 MiB. Tests set it.
	memTableBytes int64
}

func (o *Options) setDefaults() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.memTableBytes == 0 {
		o.memTableBytes = 16 << 20
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = defaultMinFree
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = 100 * time.Millisecond
	}
	if o.CursorTimeout == 0 {
		o.CursorTimeout = 10 * time.Minute
	}
	set(&o.MaxConns, 1000)
	set(&o.MaxCursorsPerConn, 500)
	set(&o.SortBytes, 100<<20)
}

const (
	// frameTimeout bounds the time from the header of a message to its end, and the time for sending an answer.
	frameTimeout = 2 * time.Minute
	// closeGrace is the time that running commands have to finish before Close cuts their connections.
	closeGrace = 5 * time.Second
	// closeLimit is the longest time that Close takes.
	closeLimit = 15 * time.Second
	// keepBuffer is the largest buffer that a connection keeps between messages.
	keepBuffer = 512 << 10
	// largeBytes bounds the total of the messages larger than keepBuffer that are in memory; others wait.
	largeBytes = 256 << 20
)

// Server is a running server. It is safe for concurrent use.
type Server struct {
	opts     Options
	log      *slog.Logger
	ln       net.Listener
	cursors  *cursorTable
	accounts *accounts
	large    *semaphore.Weighted // of largeBytes
	started  time.Time

	// opening is held by every command while it runs, and by heal while it replaces the store.
	opening sync.RWMutex
	store   *store
	// shut is why there is no open store at the moment; nil otherwise.
	shut error

	// life ends when Close begins; running commands stop then.
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	inside inProcess

	mu    sync.Mutex
	conns map[*conn]struct{}

	connIDs  atomic.Int64
	replyIDs atomic.Int32
	commands atomic.Int64
	failed   atomic.Int64

	closeOnce sync.Once
	closeErr  error
}

// Open opens the store in o.Dir, listens and serves. When Open returns, clients can connect. It fails with ErrListen if
// it cannot listen on the address.
func Open(ctx context.Context, o Options) (*Server, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("mongo: Options.Dir is empty, it must name the store's directory")
	}
	users, err := newAccounts(o.Users)
	if err != nil {
		return nil, fmt.Errorf("mongo: %w", err)
	}
	if !o.Insecure && (users == nil || o.TLS == nil) && !loopback.Address(o.Listen) {
		return nil, fmt.Errorf("mongo: listen on %s: %w", o.Listen, ErrExposed)
	}
	// Listen before opening the store: a used port is the likely mistake, and then the store stays untouched.
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("mongo: %w on %s: %w", ErrListen, o.Listen, err)
	}
	if o.TLS != nil {
		ln = tls.NewListener(ln, o.TLS)
	}
	st, err := openStore(&o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mongo: open the store in %s: %w", o.Dir, err), ln.Close())
	}
	s := &Server{opts: o, log: o.Logger, ln: ln, store: st, accounts: users, started: time.Now(), conns: map[*conn]struct{}{}}
	s.large = semaphore.NewWeighted(largeBytes)
	s.cursors = newCursorTable(o.MaxCursorsPerConn, o.CursorTimeout)
	s.life, s.end = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	s.wg.Go(func() { s.cursors.reap(s.life) })
	s.wg.Go(s.heal)
	return s, nil
}

// Addr returns the host:port that the server listens on.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// ConnectionString returns the connection string for drivers, without user and password.
func (s *Server) ConnectionString() string {
	connection := "mongodb://" + s.Addr() + "/?directConnection=true"
	if s.opts.TLS != nil {
		connection += "&tls=true"
	}
	return connection
}

// Close stops listening, lets running commands finish for a few seconds, closes the connections and the store, and
// waits for all goroutines. When it returns without an error, every acknowledged write is on disk. It returns after
// closeLimit at the latest.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		err := s.ln.Close()
		s.end()
		s.eachConn(func(c *conn) { c.interruptRead() })
		cut := time.AfterFunc(closeGrace, func() { s.eachConn(func(c *conn) { c.nc.Close() }) })
		closed := make(chan error, 1)
		go func() {
			s.wg.Wait()
			s.inside.close()
			cut.Stop()
			if s.shut != nil {
				closed <- nil
				return
			}
			closed <- s.store.close()
		}()
		select {
		case failed := <-closed:
			s.closeErr = errors.Join(err, failed)
		case <-time.After(closeLimit):
			s.closeErr = errors.Join(err,
				fmt.Errorf("the store was not closed within %s; the next start recovers it from its log", closeLimit))
		}
	})
	return s.closeErr
}

func (s *Server) eachConn(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// Stats are statistics of a server.
type Stats struct {
	// Connections and Cursors count what is open now.
	Connections, Cursors int
	// Commands counts the commands since the start, FailedCommands those that failed as a whole.
	Commands, FailedCommands int64
	// Collections and Indexes count those that exist now, without the _id indexes.
	Collections, Indexes int
	// Documents counts the stored documents.
	Documents int64
	// DiskBytes is the disk space of the store.
	DiskBytes uint64
	// LogSyncs counts the syncs of the write-ahead log since the start.
	LogSyncs int64
}

// Stats returns the current statistics.
func (s *Server) Stats() Stats {
	s.opening.RLock()
	defer s.opening.RUnlock()
	return s.stats()
}

// stats is Stats for a caller that holds opening.
func (s *Server) stats() Stats {
	st := s.storeStats()
	s.mu.Lock()
	st.Connections = len(s.conns)
	s.mu.Unlock()
	st.Cursors = s.cursors.len()
	st.Commands, st.FailedCommands = s.commands.Load(), s.failed.Load()
	return st
}

func (s *Server) accept() {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			if s.life.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("accepting a connection failed", "error", err)
			select { // most likely too many open files, so wait until others close theirs
			case <-time.After(50 * time.Millisecond):
			case <-s.life.Done():
			}
			continue
		}
		c := &conn{s: s, nc: nc, id: s.connIDs.Add(1)}
		s.mu.Lock()
		full := len(s.conns) >= s.opts.MaxConns
		if !full {
			s.conns[c] = struct{}{}
		}
		s.mu.Unlock()
		if full {
			s.log.Warn("connection refused, too many are open", "limit", s.opts.MaxConns)
			nc.Close()
			continue
		}
		s.wg.Go(c.serve)
	}
}

// conn is one client connection. Its goroutine reads, runs and answers one request after the other.
type conn struct {
	s  *Server
	nc net.Conn
	id int64

	user           *User // nil before it has proved one
	authentication *authentication
}

// interruptRead ends a read that waits for the next request.
func (c *conn) interruptRead() { c.nc.SetReadDeadline(time.Unix(1, 0)) }

func (c *conn) serve() {
	s := c.s
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		c.nc.Close()
	}()
	in := bufio.NewReaderSize(c.nc, 32<<10)
	var buf, out []byte
	for s.life.Err() == nil {
		c.nc.SetReadDeadline(time.Time{})
		if s.life.Err() != nil { // the line above may have undone the interruption by Close
			return
		}
		var err error
		if buf, out, err = c.one(in, buf, out); err != nil {
			if errors.Is(err, errFrame) || errors.Is(err, errBSON) {
				s.log.Warn("connection closed: malformed message", "conn", c.id, "from", c.nc.RemoteAddr(), "error", err)
			} else if !errors.Is(err, io.EOF) && s.life.Err() == nil {
				s.log.Debug("connection closed", "conn", c.id, "error", err)
			}
			return
		}
	}
}

// one reads a request, runs it and answers. It returns the buffers for the next one.
func (c *conn) one(in io.Reader, buf, out []byte) ([]byte, []byte, error) {
	s := c.s
	held := int64(0)
	defer func() { s.large.Release(held) }()
	buf, err := readFrame(in, buf, func(size int64) error {
		if size > keepBuffer {
			if err := s.large.Acquire(s.life, size); err != nil {
				return err
			}
			held = size
		}
		return c.nc.SetReadDeadline(time.Now().Add(frameTimeout))
	})
	if err != nil {
		return nil, nil, err
	}
	m, err := parseMessage(buf)
	if err != nil {
		return nil, nil, err
	}
	answer := s.handle(c, &m)
	if !m.moreToCome {
		out = appendReply(out[:0], &m, s.replyIDs.Add(1), answer)
		if err := c.nc.SetWriteDeadline(time.Now().Add(frameTimeout)); err != nil {
			return nil, nil, err
		}
		if _, err := c.nc.Write(out); err != nil {
			return nil, nil, err
		}
	}
	if cap(buf) > keepBuffer {
		buf = nil
	}
	if cap(out) > keepBuffer {
		out = nil
	}
	return buf, out, nil
}

// handle runs one request and returns the answer. A panic is a fault of this server; it ends only that command.
func (s *Server) handle(c *conn, m *message) (answer doc) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a command failed unexpectedly", "panic", p, "stack", string(debug.Stack()))
			s.failed.Add(1)
			answer = (&commandError{code: codeInternalError, msg: "the command failed unexpectedly, see the server's log"}).reply()
		}
	}()
	s.commands.Add(1)
	s.opening.RLock()
	defer s.opening.RUnlock()
	answer, err := s.dispatch(c, m)
	if err != nil {
		s.failed.Add(1)
		ce := asCommandError(err)
		if ce.code == codeInternalError {
			s.log.Error("a command failed", "error", err)
		}
		return ce.reply()
	}
	return answer
}
