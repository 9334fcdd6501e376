package eventlog

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"casebook/domain"

	"golang.org/x/sync/errgroup"
)

// readsAtOnce bounds the ends of streams that are read at the same time.
const readsAtOnce = 8

// verify checks the next events of the log. It returns the latest time that was recorded, and what it has found.
func (v *Verifier) verify(ctx context.Context, events []Recorded) (
	latest time.Time, found []domain.Damage, steps []domain.ClockStep, err error,
) {
	v.mu.Lock()
	latest = v.found.Latest
	known := len(v.found.Steps)
	v.mu.Unlock()
	links := linksOf(events)
	if err := v.readTails(ctx, events); err != nil {
		return latest, nil, nil, err
	}
	damaged := *v.damaged.Load()
	broken := map[string]bool{} // streams that break in these events
	for i, r := range events {
		if d, is := damaged[r.Stream]; is && r.Revision >= d.Revision || broken[r.Stream] {
			continue
		}
		tail, err := v.tailBefore(ctx, r)
		if err != nil {
			return latest, nil, nil, err
		}
		l := links[i]
		tail, wrong := v.log.registry.checkLink(tail, &r, l)
		if wrong != "" {
			broken[r.Stream] = true
			found = append(found, damageAt(r, wrong))
			continue
		}
		v.tails.Add(r.Stream, tail)
		switch {
		case latest.Sub(l.RecordedAt) > ClockTolerance && known+len(steps) < maxClockSteps:
			steps = append(steps, domain.ClockStep{Position: r.Position, From: latest, To: l.RecordedAt})
			latest = l.RecordedAt
		case l.RecordedAt.After(latest):
			latest = l.RecordedAt
		}
	}
	return latest, found, steps, nil
}

// linksOf returns the links of events. It works in parallel.
func linksOf(events []Recorded) []link {
	links := make([]link, len(events))
	parts := max(1, min(runtime.GOMAXPROCS(0), len(events)/minDecodedPerGoroutine))
	var wait sync.WaitGroup
	for part := range parts {
		wait.Go(func() {
			for i := part * len(events) / parts; i < (part+1)*len(events)/parts; i++ {
				links[i] = linkOf(&events[i])
			}
		})
	}
	wait.Wait()
	return links
}

// readTails reads the ends of those streams of the events that are not in memory, several at a time.
func (v *Verifier) readTails(ctx context.Context, events []Recorded) error {
	missing := map[string]Recorded{}
	for _, r := range events {
		if _, seen := missing[r.Stream]; !seen && r.Revision > 0 && !v.tails.Contains(r.Stream) {
			missing[r.Stream] = r
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, r := range missing {
		group.Go(func() error {
			_, err := v.tailBefore(ctx, r)
			return err
		})
	}
	return group.Wait()
}

// tailBefore returns the end of a stream before one of its events. If it is not in memory, the event before is read from the
// log: all events before this one have been checked, so that event is sound unless the stream is known to be damaged.
func (v *Verifier) tailBefore(ctx context.Context, r Recorded) (Tail, error) {
	if r.Revision == 0 {
		return EmptyTail, nil
	}
	if tail, ok := v.tails.Get(r.Stream); ok {
		return tail, nil
	}
	before, found, err := v.log.rawAt(ctx, r.Stream, r.Revision-1)
	if err != nil {
		return EmptyTail, fmt.Errorf("read the event before %s@%d: %w", r.Stream, r.Revision, err)
	}
	v.metrics.reads.Inc()
	if !found {
		return EmptyTail, nil
	}
	tail := TailAfter(before)
	v.tails.Add(r.Stream, tail)
	return tail, nil
}
