package mongo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/semaphore"
)

// Options say where the server keeps its data and where it listens. The zero value of every field but Dir is usable.
type Options struct {
	// Dir is the directory of the store. It is created when it is not there.
	Dir string
	// Listen is the TCP address, host:port; 127.0.0.1:0 (a free port) when empty.
	Listen string
	// FS is the file system Dir lies on; nil for the disk.
	FS vfs.FS
	// Logger takes what goes wrong; nil for none.
	Logger *slog.Logger
	// CacheBytes is the size of the cache of data blocks; 128 MiB when 0. What is written and not in tables yet takes up
	// to 128 MiB more.
	CacheBytes int64
	// SyncAlways makes every write wait for the disk (fsync) before it is acknowledged, as if each client asked for
	// {j: true}.
	SyncAlways bool
	// SyncEvery is the longest time that an acknowledged write stays with the operating system only; 100 ms when 0.
	SyncEvery time.Duration
	// MaxConns bounds the open connections; further ones are closed at once. 1000 when 0.
	MaxConns int
	// MaxCursorsPerConn bounds the open cursors that one connection has opened; 500 when 0.
	MaxCursorsPerConn int
	// CursorTimeout is how long a cursor may lie idle before it is closed; 10 minutes when 0.
	CursorTimeout time.Duration
	// SortBytes bounds the memory of one sort without an index, or of one aggregation stage; 100 MiB when 0.
	SortBytes int

	// memTableBytes is for tests, which want Pebble to be busy with little data.
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
		o.CacheBytes = 128 << 20
	}
	if o.memTableBytes == 0 {
		o.memTableBytes = 32 << 20
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
	// frameTimeout bounds how long the rest of a message may take once its header is there, and how long a client may
	// take to read an answer.
	frameTimeout = 2 * time.Minute
	// closeGrace is how long Close lets running commands finish before it cuts their connections.
	closeGrace = 5 * time.Second
	// keepBuffer is the largest buffer a connection keeps between messages.
	keepBuffer = 512 << 10
	// largeBytes bounds the messages beyond keepBuffer that are in memory at one time; more have to wait.
	largeBytes = 256 << 20
)

// Server is a running server. It is safe for concurrent use.
type Server struct {
	opts    Options
	log     *slog.Logger
	ln      net.Listener
	store   *store
	cursors *cursorTable
	large   *semaphore.Weighted // of largeBytes
	started time.Time

	// life ends when Close begins; running commands see it and stop.
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{}

	connIDs  atomic.Int64
	replyIDs atomic.Int32
	commands atomic.Int64
	failed   atomic.Int64

	closeOnce sync.Once
	closeErr  error
}

// Open opens the store in o.Dir, begins to listen and serves. The server can be reached when Open returns. An address
// that cannot be listened on is an ErrListen.
func Open(ctx context.Context, o Options) (*Server, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("mongo: Options.Dir is empty, it must name the store's directory")
	}
	// Listening comes first: a taken port is the likely mistake, and then the store was not touched.
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("mongo: %w on %s: %w", ErrListen, o.Listen, err)
	}
	st, err := openStore(&o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mongo: open the store in %s: %w", o.Dir, err), ln.Close())
	}
	s := &Server{opts: o, log: o.Logger, ln: ln, store: st, started: time.Now(), conns: map[*conn]struct{}{}}
	s.large = semaphore.NewWeighted(largeBytes)
	s.cursors = newCursorTable(o.MaxCursorsPerConn, o.CursorTimeout)
	s.life, s.end = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	s.wg.Go(func() { s.cursors.reap(s.life) })
	return s, nil
}

// Addr is the address the server listens on, as host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// ConnectionString is what a driver needs to connect.
func (s *Server) ConnectionString() string {
	return "mongodb://" + s.Addr() + "/?directConnection=true"
}

// Close stops listening, lets running commands finish for a few seconds, closes the connections and the store, and
// waits for all goroutines. Everything that was acknowledged is on disk when it returns.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		err := s.ln.Close()
		s.end()
		s.eachConn(func(c *conn) { c.interruptRead() })
		cut := time.AfterFunc(closeGrace, func() { s.eachConn(func(c *conn) { c.nc.Close() }) })
		s.wg.Wait()
		cut.Stop()
		s.closeErr = errors.Join(err, s.store.close())
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

// Stats is a snapshot of what the server holds and has done.
type Stats struct {
	// Connections and Cursors are open now.
	Connections, Cursors int
	// Commands were answered since the start; FailedCommands of them with an error for the command as a whole.
	Commands, FailedCommands int64
	// Collections and Indexes exist now, _id indexes not counted.
	Collections, Indexes int
	// Documents are stored now.
	Documents int64
	// DiskBytes is the space the store takes.
	DiskBytes uint64
	// LogSyncs counts the times the write-ahead log was forced to disk since the start.
	LogSyncs int64
}

// Stats returns current figures.
func (s *Server) Stats() Stats {
	st := s.store.stats()
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
			select { // out of file descriptors, most likely: give others time to close theirs
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

// conn is one client connection; its goroutine reads a request, runs it and answers, one after the other.
type conn struct {
	s  *Server
	nc net.Conn
	id int64
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
		if s.life.Err() != nil { // Close may have interrupted before the line above
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

// one reads a request, runs it and answers. It returns the buffers to use for the next one.
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

// handle runs one request and returns the answer. A panic is a fault of this server and ends one command only.
func (s *Server) handle(c *conn, m *message) (answer doc) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a command failed unexpectedly", "panic", p, "stack", string(debug.Stack()))
			s.failed.Add(1)
			answer = (&commandError{code: codeInternalError, msg: "the command failed unexpectedly, see the server's log"}).reply()
		}
	}()
	s.commands.Add(1)
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
