package notify

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a channel whose Send is a function of the test.
type scripted struct {
	send   func(context.Context) error
	sends  atomic.Int32
	closed atomic.Int32
}

func (s *scripted) Name() string { return "scripted" }

func (s *scripted) Send(ctx context.Context, _ Message) error {
	s.sends.Add(1)
	return s.send(ctx)
}

func (s *scripted) Close() error {
	s.closed.Add(1)
	return nil
}

var errDown = errors.New("down")

func TestChannelRestsAfterRepeatedFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &scripted{send: func(context.Context) error { return errDown }}
		log := &logBuffer{}
		g := newGuard(receiver, log.logger())
		for range failuresBeforeRest {
			if err := g.Send(t.Context(), anAlert()); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
		}
		for range 3 {
			wantProblem(t, g.Send(t.Context(), anAlert()), "channel_resting", false)
		}
		if n := receiver.sends.Load(); n != failuresBeforeRest {
			t.Errorf("%d messages were sent, want %d", n, failuresBeforeRest)
		}
		if !strings.Contains(log.String(), "rests") {
			t.Error("the log does not say that the channel rests")
		}

		time.Sleep(restFor + 1)
		if err := g.Send(t.Context(), anAlert()); !errors.Is(err, errDown) {
			t.Errorf("after its rest the channel sends no message: %v", err)
		}
		wantProblem(t, g.Send(t.Context(), anAlert()), "channel_resting", false)

		time.Sleep(restFor + 1)
		receiver.send = func(context.Context) error { return nil }
		for range 3 {
			must(t, g.Send(t.Context(), anAlert()))
		}
		must(t, g.Close())
	})
}

func TestRejectionsAndCancellationsDoNotRestTheChannel(t *testing.T) {
	rejecting := &scripted{send: func(context.Context) error { return refused("no", "no").permanent() }}
	g := newGuard(rejecting, (&logBuffer{}).logger())
	for range 3 * failuresBeforeRest {
		if err := g.Send(t.Context(), anAlert()); !errors.Is(err, ErrRejected) {
			t.Fatal(err)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waiting := &scripted{send: func(ctx context.Context) error { return ctx.Err() }}
	g = newGuard(waiting, (&logBuffer{}).logger())
	for range 3 * failuresBeforeRest {
		if err := g.Send(ctx, anAlert()); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	malformed := anAlert()
	malformed.ID = "7"
	for range 3 * failuresBeforeRest {
		wantProblem(t, g.Send(t.Context(), malformed), "message_id_invalid", true)
	}
}

func TestCloseEndsRunningSendsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waiting *scripted
		waiting = &scripted{send: func(ctx context.Context) error {
			<-ctx.Done()
			if waiting.closed.Load() != 0 {
				t.Error("the channel was closed while a message was being sent")
			}
			return context.Cause(ctx)
		}}
		g := newGuard(waiting, (&logBuffer{}).logger())
		sent := make(chan error, 1)
		go func() { sent <- g.Send(t.Context(), anAlert()) }()
		synctest.Wait()
		must(t, g.Close())
		wantProblem(t, <-sent, "channel_closed", false)
		wantProblem(t, g.Send(t.Context(), anAlert()), "channel_closed", false)
		must(t, g.Close())
		if n := waiting.closed.Load(); n != 1 {
			t.Errorf("the channel was closed %d times", n)
		}
	})
}

func TestCallPoolLimitsConcurrentCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newCallPool()
		release := make(chan struct{})
		var running, most atomic.Int32
		for range 3 * inFlight {
			go func() {
				_ = pool.run(t.Context(), func(context.Context) error {
					n := running.Add(1)
					most.Store(max(n, most.Load()))
					<-release
					running.Add(-1)
					return nil
				})
			}()
		}
		synctest.Wait()
		if n := running.Load(); n != inFlight {
			t.Errorf("%d calls run at once, want %d", n, inFlight)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := pool.run(ctx, func(context.Context) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a full pool runs another call: %v", err)
		}
		close(release)
		synctest.Wait()
		if n := most.Load(); n > inFlight {
			t.Errorf("%d calls ran at once", n)
		}
		pool.wait()
	})
}
