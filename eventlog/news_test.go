package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"casebook/domain"
	"casebook/embedded/node"
	"casebook/eventlog"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// TestFollowersShareTheNews: those who follow everything and have caught up have one subscription together. Each sees each event once
// and in order, however slow it is, whether it wants decoded events or not, and whatever the others do with theirs.
func TestFollowersShareTheNews(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: n.ConnectionString(), InProcess: n.InProcess(), Registry: registry()})
	if err != nil {
		t.Fatal(err)
	}
	eventlog.KeepNews(log, 20)
	const followers, total = 6, 1500
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	following, ctx := errgroup.WithContext(ctx)
	var caughtUp, fast, finished atomic.Int64
	shared, done := make(chan struct{}), make(chan struct{})
	for i := range followers {
		undecoded, slow := i%2 == 0, i >= followers/2
		chance := rand.New(rand.NewPCG(uint64(i), 1))
		following.Go(func() error {
			next, live := 0, false
			var last domain.Position
			s := eventlog.Subscription{Undecoded: undecoded, MaxBatch: 1 + i*7}
			return log.Follow(ctx, s, func(ctx context.Context, b eventlog.Batch) error {
				for j := range b.Events {
					e := &b.Events[j]
					want := fmt.Sprintf(`{"n":%d}`, next)
					if string(e.Data) != want || !last.Before(e.Position) || undecoded != (e.Event == nil) ||
						!undecoded && e.Event.(counted).N != next {
						return fmt.Errorf("follower %d got %s %v at %v behind %v, want %s", i, e.Data, e.Event, e.Position, last, want)
					}
					last = e.Position
					next++
					*e = eventlog.Recorded{} // the batch is the follower's own
				}
				if b.Through.Before(last) {
					return fmt.Errorf("follower %d was told of %v behind the event at %v", i, b.Through, last)
				}
				if b.Live && !live {
					live = true
					if caughtUp.Add(1) == followers {
						close(shared)
					}
				}
				if next == total && finished.Add(1) == followers {
					close(done)
				}
				if slow && next > 0 && next < total && chance.IntN(10) == 0 {
					behind := fast.Load()
					for fast.Load() < min(behind+60, total) && ctx.Err() == nil { // the news hold 20
						runtime.Gosched()
					}
				}
				return nil
			})
		})
	}
	wait := func(until chan struct{}) {
		select {
		case <-until:
		case <-ctx.Done(): // a follower has failed
		}
	}
	wait(shared)
	for n.Stats().Subscriptions != 1 && ctx.Err() == nil { // until the own one of each has ended
		runtime.Gosched()
	}
	tail, name := eventlog.EmptyTail, stream("count")
	for i := 0; i < total && ctx.Err() == nil; i++ {
		out, err := log.Append(ctx, name, tail, uuid.New(), eventlog.Metadata{}, counted{i})
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		tail = out.Tail
		fast.Add(1)
	}
	wait(done)
	stop()
	if err := errors.Join(following.Wait(), log.Close(), n.Close()); err != nil {
		t.Error(err)
	}
}
