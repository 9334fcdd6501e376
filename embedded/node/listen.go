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

// sniffTime is how long a new connection may take to say what it speaks, its TLS handshake included.
const sniffTime = 10 * time.Second

// serve lets gRPC and HTTP share the node's port, as clients of the original expect. Whoever begins with the preface of
// HTTP/2 is taken for a gRPC client.
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
				// Too many open files, mostly: it passes.
				n.logger.Warn("accepting a connection failed", "error", err)
				select {
				case <-time.After(100 * time.Millisecond):
				case <-n.stopping:
				}
				continue
			}
			sniffing.Go(func() {
				// A connection that says nothing must not hold up the node's closing.
				said := make(chan struct{})
				sniffing.Go(func() {
					select {
					case <-said:
					case <-n.stopping:
						_ = conn.SetDeadline(time.Now())
					}
				})
				sniffed, isHTTP2, err := sniff(conn, n.opts.TLS)
				close(said)
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

// sniff reads as much of a connection as tells HTTP/2 from HTTP/1, and returns a connection that begins with it.
func sniff(conn net.Conn, encrypted *tls.Config) (_ net.Conn, isHTTP2 bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(sniffTime)); err != nil {
		return nil, false, err
	}
	if encrypted != nil {
		secured := tls.Server(conn, encrypted)
		// The deadline above bounds it, and ends it when the node closes.
		if err := secured.HandshakeContext(context.Background()); err != nil {
			return nil, false, err
		}
		conn = secured
	}
	var said [len(http2.ClientPreface)]byte
	n := 0
	for n < len(said) {
		m, err := conn.Read(said[n:])
		n += m
		// The first byte that differs decides: the shortest request of HTTP/1 has fewer bytes than the preface.
		if !bytes.HasPrefix([]byte(http2.ClientPreface), said[:n]) {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, false, err
	}
	return &sniffed{Conn: conn, first: said[:n]}, string(said[:n]) == http2.ClientPreface, nil
}

// sniffed is a connection of which the beginning was read already.
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

// queue is a listener for connections that were accepted by another.
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
