package notify

import (
	"context"
	"sync"
	"time"
)

const (
	// brokerTimeout is how long a broker may take to accept one message.
	brokerTimeout = 20 * time.Second
	// inFlight is how many messages are sent to one receiver at the same time.
	inFlight = 16
)

// callPool runs calls of libraries that do not support contexts. It limits how many run at once, and the caller waits
// no longer than its context allows. An abandoned call ends by the library's own time-outs.
type callPool struct {
	slots   chan struct{}
	timeout time.Duration
	running sync.WaitGroup
}

func newCallPool() *callPool {
	return &callPool{slots: make(chan struct{}, inFlight), timeout: brokerTimeout}
}

// run runs call when a slot is free. It returns the error of the call, or the cause of the context's end.
func (p *callPool) run(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	p.running.Go(func() {
		defer func() { <-p.slots }()
		done <- call(ctx)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait waits until all calls have ended. run must not be called at the same time.
func (p *callPool) wait() { p.running.Wait() }
