package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// failuresBeforeRest is after how many failed sends in a row a channel rests, that is, sends nothing.
	failuresBeforeRest = 5
	// restFor is how long a channel rests before it sends one message to find out whether the receiver works again.
	restFor = 30 * time.Second
)

// gate counts the calls of a channel that are running, so that Close can end them and wait for them.
type gate struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	ending  context.Context // ends when the gate closes
	end     context.CancelFunc
}

func newGate() *gate {
	ending, end := context.WithCancel(context.Background())
	return &gate{ending: ending, end: end}
}

// enter begins a call. It returns a context that also ends when the gate closes, and a function that ends the call. If
// the gate is closed, it fails with channel_closed.
func (g *gate) enter(ctx context.Context, channel string) (context.Context, func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, channelClosed(channel)
	}
	g.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.ending, func() { cancel(channelClosed(channel)) })
	return ctx, func() {
		stop()
		cancel(nil)
		g.running.Done()
	}, nil
}

func channelClosed(channel string) error {
	return refused("channel_closed", "channel %s is closed", channel).do("open it again")
}

// close refuses new calls, ends the running ones and waits for them. It returns false if the gate was already closed.
func (g *gate) close() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	g.mu.Unlock()
	g.end()
	g.running.Wait()
	return first
}

// guard wraps a channel with what all channels need: a check of the message, a circuit breaker, and a Close that waits
// for running sends.
type guard struct {
	channel Channel
	gate    *gate
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// abandoned marks the error of a send that the caller cancelled. The circuit breaker ignores it, because it says
// nothing about the receiver.
type abandoned struct{ error }

func (a abandoned) Unwrap() error { return a.error }

func newGuard(channel Channel, logger *slog.Logger) *guard {
	return &guard{channel: channel, gate: newGate(), breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        channel.Name(),
		Timeout:     restFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failuresBeforeRest },
		// A receiver that rejects a message works; only the message is wrong.
		IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, ErrRejected) },
		IsExcluded:   func(err error) bool { return errors.As(err, new(abandoned)) },
		OnStateChange: func(name string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				logger.Warn("a notification channel rests: its receiver keeps failing", "channel", name, "for", restFor)
			case gobreaker.StateHalfOpen:
				logger.Info("a notification channel tries its receiver again", "channel", name)
			case gobreaker.StateClosed:
				logger.Info("a notification channel works again", "channel", name)
			}
		},
	})}
}

func (g *guard) Name() string { return g.channel.Name() }

func (g *guard) Send(ctx context.Context, m Message) error {
	if err := m.check(); err != nil {
		return err
	}
	sending, leave, err := g.gate.enter(ctx, g.Name())
	if err != nil {
		return err
	}
	defer leave()
	_, err = g.breaker.Execute(func() (struct{}, error) {
		err := g.channel.Send(sending, m)
		if err != nil && errors.Is(sending.Err(), context.Canceled) {
			err = abandoned{err}
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return refused("channel_resting", "channel %s rests, because its receiver failed %d times in a row", g.Name(), failuresBeforeRest).
			do("repair the receiver, and send the message again later").because(err)
	}
	return err
}

func (g *guard) Close() error {
	if !g.gate.close() {
		return nil
	}
	return g.channel.Close()
}
