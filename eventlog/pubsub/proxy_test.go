package pubsub_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"casebook/embedded/node"
	"casebook/eventlog/pubsub"
)

// proxy passes bytes between clients and a node. A test can hold back either direction and cut all connections.
type proxy struct {
	node     *node.Node
	listener net.Listener

	// While a test holds requests, no bytes go from clients to the node; while it holds answers, none go back.
	requests, answers sync.RWMutex
	held              chan struct{} // one slot: something is held back

	mu      sync.Mutex
	conns   map[net.Conn]bool
	copying sync.WaitGroup
}

func openProxy(t *testing.T, n *node.Node) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{node: n, listener: listener, conns: map[net.Conn]bool{}, held: make(chan struct{}, 1)}
	p.copying.Go(p.accept)
	t.Cleanup(func() {
		must(t, listener.Close())
		p.cut()
		p.copying.Wait()
	})
	return p
}

func (p *proxy) url() string {
	return strings.Replace(p.node.ConnectionString(), p.node.Addr(), p.listener.Addr().String(), 1)
}

func (p *proxy) newPublisher(t *testing.T) *pubsub.Publisher {
	t.Helper()
	return newPublisher(t, p.node, func(c *pubsub.PublisherConfig) { c.URL = p.url() })
}

func (p *proxy) newSubscriber(t *testing.T) *pubsub.Subscriber {
	t.Helper()
	return newSubscriber(t, p.node, func(c *pubsub.SubscriberConfig) { c.URL = p.url() })
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.node.Addr())
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.copying.Go(func() { p.pass(server, client, &p.requests) })
		p.copying.Go(func() { p.pass(client, server, &p.answers) })
	}
}

// pass copies until one of the connections ends, and then ends both.
func (p *proxy) pass(to, from net.Conn, gate *sync.RWMutex) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !gate.TryRLock() {
			select {
			case p.held <- struct{}{}:
			default:
			}
			gate.RLock()
		}
		_, failed := to.Write(buffer[:n])
		gate.RUnlock()
		if err = errors.Join(err, failed); err != nil {
			break
		}
	}
	_ = errors.Join(from.Close(), to.Close())
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	delete(p.conns, to)
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}
