package notify

import (
	"context"
	"sync"
	"time"
)

const (
	// brokerWithin is how long a broker may take for one message.
	brokerWithin = 20 * time.Second
	// inFlight is how many messages are on their way to one receiver at once.
	inFlight = 16
)

// lane runs calls of libraries that know no context: a bounded number at once, and the caller waits no longer than its
// context. What the caller no longer waits for ends by the library's own time-outs.
type lane struct {
	slots  chan struct{}
	within time.Duration
	onWay  sync.WaitGroup
}

func newLane() *lane { return &lane{slots: make(chan struct{}, inFlight), within: brokerWithin} }

// run returns what the work returns, or the cause of the context's end.
func (l *lane) run(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	l.onWay.Go(func() {
		defer func() { <-l.slots }()
		done <- work(ctx)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait returns when everything has come out of the lane. Nobody may call run meanwhile.
func (l *lane) wait() { l.onWay.Wait() }
