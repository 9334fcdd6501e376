package projections

import (
	"context"
	"slices"
	"sync"
	"time"

	"casebook/eventlog"
)

const (
	// convoyFrom is how far behind the log's end, in bytes of the log, a view has to be to catch up together with others.
	convoyFrom = 8 << 20
	// convoyGathers is how long the last view that has joined waits for others before the log is read, and convoyGathersMost how long
	// the first one does.
	convoyGathers     = 200 * time.Millisecond
	convoyGathersMost = 2 * time.Second
)

// convoys have views that catch up from the same position read the log together: it is read once, and each event is decoded once.
// Views that are built for the first time do so, and those that are rebuilt at the same time.
type convoys struct {
	engine *Engine
	// from is convoyFrom; tests shorten it.
	from uint64

	mu        sync.Mutex
	gathering []*convoy
}

// convoy is a reading of the log for several views. All go as fast as the slowest of them.
type convoy struct {
	convoys *convoys
	from    eventlog.Subscription
	begin   chan struct{} // closed when no further view may join
	joined  chan struct{} // receives a value when a view has joined

	// The following are guarded by convoys.mu.
	begun   bool
	members []*passenger
	cancel  context.CancelFunc
	ended   chan struct{} // closed when the log is not read any more; err is set then
	err     error
}

// passenger is a view in a convoy.
type passenger struct {
	batches chan eventlog.Batch
	left    chan struct{} // closed when the view takes no further batches
}

// join returns a function that reads the log for a runner, together with others. It returns the verifier's own where the runner goes
// alone, because it has nearly caught up, or reads at its own pace.
func (c *convoys) join(ctx context.Context, r *runner) follow {
	alone := c.engine.verifier.Follow
	if r.pace != nil || r.until != nil || len(c.engine.keepers) < 2 {
		return alone
	}
	end, err := c.engine.log.End(ctx)
	if err != nil || end.Commit <= r.through.Commit+c.from {
		return alone
	}
	return func(ctx context.Context, from eventlog.Subscription, handle func(context.Context, eventlog.Batch) error) error {
		of, me := c.enter(ctx, from)
		defer of.leave(me)
		for {
			select {
			case b := <-me.batches:
				if err := handle(ctx, b); err != nil {
					return err
				}
			case <-of.ended:
				return of.err
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// follow follows the log, as Log.Follow does.
type follow func(context.Context, eventlog.Subscription, func(context.Context, eventlog.Batch) error) error

// enter makes a view a member of the convoy from its position that has not begun. If there is none, the view is the first of a new one.
func (c *convoys) enter(ctx context.Context, from eventlog.Subscription) (*convoy, *passenger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me := &passenger{batches: make(chan eventlog.Batch), left: make(chan struct{})}
	for _, of := range c.gathering {
		if of.from.After == from.After && of.from.Last == from.Last {
			of.from.Types = bothTypes(of.from.Types, from.Types)
			if of.members = append(of.members, me); len(of.members) == len(c.engine.keepers) {
				c.close(of)
			}
			select {
			case of.joined <- struct{}{}:
			default:
			}
			return of, me
		}
	}
	// It lives as long as it has members. The last one that leaves waits for its end.
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	of := &convoy{convoys: c, from: from, begin: make(chan struct{}), joined: make(chan struct{}, 1), members: []*passenger{me},
		cancel: cancel, ended: make(chan struct{})}
	c.gathering = append(c.gathering, of)
	go of.run(reading)
	return of, me
}

// bothTypes returns the names of both lists; nil, which selects all, if one of them is.
func bothTypes(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// close lets a convoy begin; no further view may join. c.mu is held.
func (c *convoys) close(of *convoy) {
	if of.begun {
		return
	}
	of.begun = true
	c.gathering = slices.DeleteFunc(c.gathering, func(other *convoy) bool { return other == of })
	close(of.begin)
}

// run reads the log for the members until all have left.
func (c *convoy) run(ctx context.Context) {
	defer close(c.ended)
	if !c.gather(ctx) {
		return
	}
	c.convoys.engine.metrics.readings.Inc()
	c.err = c.convoys.engine.verifier.Follow(ctx, c.from, c.deliver)
}

// gather waits for members. It returns false if ctx ends before the log has to be read.
func (c *convoy) gather(ctx context.Context) bool {
	most := time.After(convoyGathersMost)
	for {
		select {
		case <-c.joined:
			continue
		case <-c.begin:
		case <-time.After(convoyGathers):
		case <-most:
		case <-ctx.Done():
			return false
		}
		c.convoys.mu.Lock()
		defer c.convoys.mu.Unlock()
		c.convoys.close(c)
		return true
	}
}

// deliver gives the members a batch.
func (c *convoy) deliver(ctx context.Context, b eventlog.Batch) error {
	c.convoys.mu.Lock()
	members := slices.Clone(c.members)
	c.convoys.mu.Unlock()
	b.Events = slices.Clip(b.Events) // members may append to it
	for _, m := range members {
		select {
		case m.batches <- b:
		case <-m.left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave removes a member. With the last one the convoy ends.
func (c *convoy) leave(me *passenger) {
	close(me.left)
	c.convoys.mu.Lock()
	c.members = slices.DeleteFunc(c.members, func(other *passenger) bool { return other == me })
	last := len(c.members) == 0
	if last {
		c.convoys.close(c)
		c.cancel()
	}
	c.convoys.mu.Unlock()
	if last {
		<-c.ended
	}
}
