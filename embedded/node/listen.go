package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
)

// sniffTime is the time within which a new connection must show its protocol, TLS handshake included.
const sniffTime = 10 * time.Second

// serve lets gRPC and HTTP share the node's port, as clients of EventStoreDB expect. A connection that begins with the
// preface of HTTP/2 is treated as gRPC.
func (n *Node) serve() {
	calls, pages := newQueue(n.listener.Addr()), newQueue(n.listener.Addr())
	n.workers.Go(func() {
		if err := n.server.Serve(calls); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.logger.Error("serving gRPC ended", "error", err)
		}
	})
	n.workers.Go(func() {
		if err := n.web.Serve(pages); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.logger.Error("serving HTTP ended", "error", err)
		}
	})
	n.workers.Go(func() {
		var sniffing sync.WaitGroup
		defer sniffing.Wait()
		for {
			conn, err := n.listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				// Mostly too many open files, which passes.
				n.logger.Warn("accepting a connection failed", "error", err)
				select {
				case <-time.After(100 * time.Millisecond):
				case <-n.stopping:
				}
				continue
			}
			sniffing.Go(func() {
				// A silent connection must not delay the node's closing.
				known := make(chan struct{})
				sniffing.Go(func() {
					select {
					case <-known:
					case <-n.stopping:
						_ = conn.SetDeadline(time.Now())
					}
				})
				sniffed, isHTTP2, err := sniff(conn, n.opts.TLS)
				close(known)
				switch {
				case err != nil:
					_ = conn.Close()
				case isHTTP2:
					calls.put(sniffed)
				default:
					pages.put(sniffed)
				}
			})
		}
	})
}

// sniff reads enough of a connection to distinguish HTTP/2 from HTTP/1. The connection that it returns yields the bytes
// that were read once more.
func sniff(conn net.Conn, encrypted *tls.Config) (_ net.Conn, isHTTP2 bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(sniffTime)); err != nil {
		return nil, false, err
	}
	if encrypted != nil {
		secured := tls.Server(conn, encrypted)
		// The connection's deadline bounds the handshake, and serve moves the deadline when the node closes.
		if err := secured.HandshakeContext(context.Background()); err != nil {
			return nil, false, err
		}
		conn = secured
	}
	var first [len(http2.ClientPreface)]byte
	n := 0
	for n < len(first) {
		m, err := conn.Read(first[n:])
		n += m
		// Stop at the first byte that differs: the shortest request of HTTP/1 has fewer bytes than the preface.
		if !bytes.HasPrefix([]byte(http2.ClientPreface), first[:n]) {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, false, err
	}
	return &sniffed{Conn: conn, first: first[:n]}, string(first[:n]) == http2.ClientPreface, nil
}

// sniffed is a connection whose first bytes were already read.
type sniffed struct {
	net.Conn
	first []byte
}

func (s *sniffed) Read(b []byte) (int, error) {
	if len(s.first) == 0 {
		return s.Conn.Read(b)
	}
	n := copy(b, s.first)
	s.first = s.first[n:]
	return n, nil
}

// queue is a listener for connections that another listener accepted.
type queue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *queue) put(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.closed:
		_ = conn.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }
