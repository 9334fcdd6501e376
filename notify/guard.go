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
	// failuresBeforeRest is how many sends in a row fail before a channel rests.
	failuresBeforeRest = 5
	// restFor is how long a channel rests before one message tries whether the receiver is back.
	restFor = 30 * time.Second
)

// gate counts those inside, so that closing can end them and wait for them.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
	ending context.Context
	end    context.CancelFunc
}

func newGate() *gate {
	ending, end := context.WithCancel(context.Background())
	return &gate{ending: ending, end: end}
}

// enter returns a context that also ends when the gate closes, and the function to leave by. It fails with
// channel_closed.
func (g *gate) enter(ctx context.Context, channel string) (context.Context, func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, closed(channel)
	}
	g.inside.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.ending, func() { cancel(closed(channel)) })
	return ctx, func() {
		stop()
		cancel(nil)
		g.inside.Done()
	}, nil
}

func closed(channel string) error {
	return refused("channel_closed", "channel %s is closed", channel).do("open it again")
}

// close lets nobody in any more and waits for those inside. It returns false where it was closed already.
func (g *gate) close() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	g.mu.Unlock()
	g.end()
	g.inside.Wait()
	return first
}

// guard surrounds a channel with what all channels need: a check of the message, a circuit breaker, and an end.
type guard struct {
	channel Channel
	gate    *gate
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// abandoned marks a send that the caller gave up: it says nothing of the receiver.
type abandoned struct{ error }

func (a abandoned) Unwrap() error { return a.error }

func newGuard(channel Channel, logger *slog.Logger) *guard {
	return &guard{channel: channel, gate: newGate(), breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        channel.Name(),
		Timeout:     restFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failuresBeforeRest },
		// A receiver that says no is there; it is only the message that it does not want.
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
			do("see to the receiver; send the message again later").because(err)
	}
	return err
}

func (g *guard) Close() error {
	if !g.gate.close() {
		return nil
	}
	return g.channel.Close()
}
