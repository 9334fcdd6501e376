package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casebook/eventlog/leader"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// ErrClosed means that the Publisher or the Subscriber was closed before or during the call.
var ErrClosed = errors.New("the event store's publisher or subscriber is closed")

// clients is a pool of clients of the event store. A client serves one call at a time and is thrown away after an error
// of the connection, because the official client cannot be shared safely: it panics when it is closed during a call; when
// it does not find the server it stops for good, and other callers wait for ever; and it does not close the connection
// that it replaces.
type clients struct {
	config  *esdb.Configuration
	finder  *leader.Finder // also where the connection string names one node, which may have others beside it
	slots   chan struct{}  // one for each call under way
	closing chan struct{}  // closed by close
	ended   chan struct{}  // closed after close, when no call is under way

	mu     sync.Mutex
	node   *leader.Node // the node that leads, as far as is known
	idle   []*esdb.Client
	closed bool
	calls  sync.WaitGroup
}

// newClients returns a pool that allows so many calls at once. It does not connect yet.
func newClients(config *esdb.Configuration, atOnce int) *clients {
	return &clients{config: config, finder: leader.NewFinder(config), slots: make(chan struct{}, atOnce), closing: make(chan struct{}),
		ended: make(chan struct{})}
}

// configuration parses a connection string.
func configuration(url string) (*esdb.Configuration, error) {
	return leader.Settings(url)
}

// call runs do with a client, and returns when ctx ends, if not before. The client ignores ctx while it looks for its
// server; do then goes on in the background until that search ends, which takes at most the gossip time-out.
func call[T any](ctx context.Context, c *clients, do func(*esdb.Client) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	select {
	case c.slots <- struct{}{}:
	case <-c.closing:
		return none, ErrClosed
	case <-ctx.Done():
		return none, ctx.Err()
	}
	client, err := c.take(ctx)
	if err != nil {
		<-c.slots
		return none, err
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do(client)
		c.giveBack(client, err)
		c.calls.Done()
		<-c.slots
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		if o.err != nil && ctx.Err() != nil {
			return none, fmt.Errorf("%w: %w", ctx.Err(), o.err) // the client hides the context's error
		}
		return o.value, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (c *clients) take(ctx context.Context) (*esdb.Client, error) {
	config := c.config
	if c.finder != nil {
		node, err := c.leader(ctx)
		if err != nil {
			return nil, err
		}
		config = node.Settings
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	c.calls.Add(1)
	if n := len(c.idle); n > 0 {
		client := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return client, nil
	}
	client, err := esdb.NewClient(config)
	if err != nil {
		c.calls.Done()
	}
	return client, err
}

// leader returns the node that leads. It looks for it where that is not known.
func (c *clients) leader(ctx context.Context) (leader.Node, error) {
	c.mu.Lock()
	known := c.node
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	node, err := c.finder.Find(ctx, nil)
	if err != nil {
		return node, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = &node
	return node, nil
}

// watch returns a channel that receives, once, why the node that leads is to be left. It never does where that node has no others
// beside it.
func (c *clients) watch(ctx context.Context) <-chan error {
	lost := make(chan error, 1)
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	if node == nil || !node.Clustered {
		return lost
	}
	go func() {
		if err := c.finder.Watch(ctx, *node, leader.Watched{}); err != nil {
			lost <- err
		}
	}()
	return lost
}

func (c *clients) giveBack(client *esdb.Client, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !answered(err) || codeOf(err) == esdb.ErrorCodeNotLeader:
		_ = client.Close()
		c.node = nil
		c.closeIdle() // they are connected to the same server
	case c.closed:
		_ = client.Close()
	default:
		c.idle = append(c.idle, client)
	}
}

// drop closes the idle clients, so that the next call connects anew.
func (c *clients) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = nil
	c.closeIdle()
}

func (c *clients) closeIdle() {
	for _, client := range c.idle {
		_ = client.Close()
	}
	c.idle = nil
}

// close refuses further calls and waits for those under way. A call that takes longer closes its client itself. close may
// be called more than once.
func (c *clients) close(wait time.Duration) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
		if c.finder != nil {
			_ = c.finder.Close() // calls that use it fail
		}
		go func() { // it ends, because every call does
			c.calls.Wait()
			close(c.ended)
		}()
	}
	c.closeIdle()
	c.mu.Unlock()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-c.ended:
		return nil
	case <-timeout.C:
		return fmt.Errorf("calls to the event store had not ended after %s; they end by themselves", wait)
	}
}

// codeOf returns the client's code for an error.
func codeOf(err error) esdb.ErrorCode {
	var e *esdb.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return esdb.ErrorCodeUnknown
}

// answered reports whether an error is the server's answer. Then the connection works and the client can be used again.
func answered(err error) bool {
	if err == nil {
		return true
	}
	switch codeOf(err) {
	case esdb.ErrorCodeResourceAlreadyExists, esdb.ErrorCodeResourceNotFound, esdb.ErrorCodeWrongExpectedVersion,
		esdb.ErrorCodeAccessDenied, esdb.ErrorCodeStreamDeleted, esdb.ErrorCodeNotLeader:
		return true
	default:
		return false
	}
}
