package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// ErrClosed says that the Publisher or the Subscriber was closed before, or while, it was asked for something.
var ErrClosed = errors.New("the event store's publisher or subscriber is closed")

// clients lends out clients of the event store, each to one call at a time. The official client asks for that: it
// panics when it is closed under a call, its failed search for the server ends it for good and leaves others waiting for
// ever, and it forgets to close the connection that it had before. A client that nobody else uses is thrown away
// whenever something was wrong with it.
type clients struct {
	config  *esdb.Configuration
	seats   chan struct{} // taken by the calls under way
	closing chan struct{}
	ended   chan struct{} // closed when it was closed and no call is under way any more

	mu     sync.Mutex
	idle   []*esdb.Client
	closed bool
	calls  sync.WaitGroup
}

// newClients makes room for a number of calls at once. It does not connect yet.
func newClients(config *esdb.Configuration, atOnce int) *clients {
	return &clients{config: config, seats: make(chan struct{}, atOnce), closing: make(chan struct{}), ended: make(chan struct{})}
}

// configuration parses a connection string.
func configuration(url string) (*esdb.Configuration, error) {
	config, err := esdb.ParseConnectionString(url)
	if err != nil {
		// The error repeats the connection string, which may hold a password.
		return nil, errors.New("the event store's connection string is malformed; it should look like esdb://user:password@host:2113?tls=true")
	}
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("the event store's connection string: %w", err)
	}
	config.Logger = esdb.NoopLogging() // what matters comes back as an error
	config.MaxDiscoverAttempts = 1     // whoever wants another attempt makes it with another client
	return config, nil
}

// call asks something of a client, and returns at the latest when ctx ends: while the client looks for its server it
// heeds no context. The question is then left behind, and ends with the search, after the gossip time-out at most.
func call[T any](ctx context.Context, c *clients, ask func(*esdb.Client) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	select {
	case c.seats <- struct{}{}:
	case <-c.closing:
		return none, ErrClosed
	case <-ctx.Done():
		return none, ctx.Err()
	}
	client, err := c.take()
	if err != nil {
		<-c.seats
		return none, err
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := ask(client)
		c.giveBack(client, err)
		c.calls.Done()
		<-c.seats
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		if o.err != nil && ctx.Err() != nil {
			return none, fmt.Errorf("%w: %w", ctx.Err(), o.err) // the client hides it
		}
		return o.value, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (c *clients) take() (*esdb.Client, error) {
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
	client, err := esdb.NewClient(c.config)
	if err != nil {
		c.calls.Done()
	}
	return client, err
}

func (c *clients) giveBack(client *esdb.Client, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !answered(err):
		_ = client.Close()
		c.closeIdle() // they lead to the same server
	case c.closed:
		_ = client.Close()
	default:
		c.idle = append(c.idle, client)
	}
}

// drop closes the clients that are not in use; the next call connects anew.
func (c *clients) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeIdle()
}

func (c *clients) closeIdle() {
	for _, client := range c.idle {
		_ = client.Close()
	}
	c.idle = nil
}

// close refuses further calls and waits for those under way. Those that take longer close their clients themselves. It
// may be called more than once.
func (c *clients) close(wait time.Duration) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
		go func() { // no call goes on for ever
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

// codeOf is the client's code for an error.
func codeOf(err error) esdb.ErrorCode {
	var e *esdb.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return esdb.ErrorCodeUnknown
}

// answered tells whether the server has spoken, so that there is nothing wrong with the client.
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
