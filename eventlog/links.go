package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"casebook/domain"

	"golang.org/x/sync/errgroup"
)

// readsAtOnce bounds the ends of streams that are read at the same time.
const readsAtOnce = 8

// damages are those of one stream, in its order. At most the last one is not resolved. A list is replaced, never changed.
type damages []domain.Damage

// of returns the damage because of which an event is no part of the record; nil if there is none.
func (of damages) of(r Recorded) *domain.Damage {
	for i := range of {
		if of[i].Covers(r.Revision, r.Position) {
			return &of[i]
		}
	}
	return nil
}

// unresolved returns the damage that is not resolved; nil if there is none.
func (of damages) unresolved() *domain.Damage {
	if len(of) > 0 && of[len(of)-1].Resolution == nil {
		return &of[len(of)-1]
	}
	return nil
}

// with returns the damages with one more. It changes nothing if the damage is known, or if an earlier event is.
func (of damages) with(d domain.Damage) damages {
	var all damages
	for _, known := range of {
		switch {
		case known.Revision == d.Revision && known.Resolution != nil:
			return of
		case known.Revision == d.Revision: // d may be its resolution
			d.FoundAt = known.FoundAt
		case known.Resolution == nil && d.Resolution == nil && known.Revision < d.Revision:
			return of
		case known.Resolution == nil && d.Resolution == nil: // from an earlier event on
		default:
			all = append(all, known)
		}
	}
	all = append(all, d)
	slices.SortFunc(all, func(a, b domain.Damage) int {
		if (a.Resolution == nil) != (b.Resolution == nil) {
			if a.Resolution == nil {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.Revision, b.Revision)
	})
	return all
}

// withResolved returns the damages with those of all that are resolved.
func (of damages) withResolved(all []domain.Damage) damages {
	for _, d := range all {
		if d.Resolution != nil {
			of = of.with(d)
		}
	}
	return of
}

// verify checks the next events of the log. It returns the latest time that was recorded, and what it has found: the damages
// of the streams in which some were found or resolved.
func (v *Verifier) verify(ctx context.Context, events []Recorded) (
	latest time.Time, found map[string]damages, steps []domain.ClockStep, err error,
) {
	v.mu.Lock()
	latest = v.found.Latest
	known := len(v.found.Steps)
	v.mu.Unlock()
	links := v.log.registry.linksOf(events)
	if err := v.readTails(ctx, events); err != nil {
		return latest, nil, nil, err
	}
	damaged := *v.damaged.Load()
	found = map[string]damages{}
	of := func(stream string) damages {
		if here, is := found[stream]; is {
			return here
		}
		return damaged[stream]
	}
	for i, r := range events {
		if d := of(r.Stream).of(r); d != nil {
			v.tails.Remove(r.Stream)
			continue
		}
		tail, err := v.tailBefore(ctx, r, of(r.Stream))
		if err != nil {
			return latest, nil, nil, err
		}
		l := links[i]
		tail, wrong := v.log.registry.checkLink(tail, &r, l)
		if wrong != "" {
			all, err := v.log.Damages(ctx, r.Stream)
			if err != nil {
				return latest, nil, nil, err
			}
			found[r.Stream] = of(r.Stream).withResolved(all).with(damageAt(r, wrong))
			v.tails.Remove(r.Stream)
			continue
		}
		v.tails.Add(r.Stream, tail)
		if stream, is := v.log.registry.resolvedBy(r.Stream); is {
			all, err := v.log.Damages(ctx, stream)
			if err != nil {
				return latest, nil, nil, err
			}
			found[stream] = of(stream).withResolved(all)
			v.tails.Remove(stream)
		}
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
func (r *Registry) linksOf(events []Recorded) []link {
	links := make([]link, len(events))
	parts := max(1, min(runtime.GOMAXPROCS(0), len(events)/minDecodedPerGoroutine))
	var wait sync.WaitGroup
	for part := range parts {
		wait.Go(func() {
			for i := part * len(events) / parts; i < (part+1)*len(events)/parts; i++ {
				links[i] = r.linkOf(&events[i])
			}
		})
	}
	wait.Wait()
	return links
}

// readTails reads the ends of those streams of the events that are not in memory, several at a time.
func (v *Verifier) readTails(ctx context.Context, events []Recorded) error {
	missing, damaged := map[string]Recorded{}, *v.damaged.Load()
	for _, r := range events {
		if _, seen := missing[r.Stream]; !seen && r.Revision > 0 && !v.tails.Contains(r.Stream) {
			missing[r.Stream] = r
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, r := range missing {
		group.Go(func() error {
			_, err := v.tailBefore(ctx, r, damaged[r.Stream])
			return err
		})
	}
	return group.Wait()
}

// tailBefore returns the end of a stream before one of its events. If it is not in memory, the event before is read from the
// log: all events before this one have been checked, so that event is sound unless the stream is known to be damaged. Events
// that are disregarded are passed over.
func (v *Verifier) tailBefore(ctx context.Context, r Recorded, known damages) (Tail, error) {
	if r.Revision == 0 {
		return EmptyTail, nil
	}
	if tail, ok := v.tails.Get(r.Stream); ok {
		return tail, nil
	}
	tail := EmptyTail
	for revision := r.Revision; revision > 0; {
		before, found, err := v.log.rawAt(ctx, r.Stream, revision-1)
		if errors.Is(err, ErrStreamDeleted) {
			found, err = false, nil
		}
		if err != nil {
			return EmptyTail, fmt.Errorf("read the event before %s@%d: %w", r.Stream, revision, err)
		}
		v.metrics.reads.Inc()
		if !found {
			return EmptyTail, nil
		}
		if d := known.of(before); d != nil && d.Resolution != nil {
			revision = d.Revision
			continue
		}
		tail = TailAfter(before)
		break
	}
	tail.Revision = int64(r.Revision) - 1
	v.tails.Add(r.Stream, tail)
	return tail, nil
}
