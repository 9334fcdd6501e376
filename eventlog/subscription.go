package eventlog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// Batch holds consecutive events of a subscription, in the order of the log.
type Batch struct {
	Events []Recorded
	// Through is the position up to which the log has been read. It may lie after the last event, because the events in
	// between did not match the subscription.
	Through domain.Position
	// Live is true if no further event was waiting when the batch was made.
	Live bool
}

// Subscription selects the events to follow.
type Subscription struct {
	// After is the position after which to begin; the zero Position is the beginning of the log.
	After domain.Position
	// Categories of the events; all registered categories when empty.
	Categories []string
	// Types selects events of these types, in streams of registered categories. If it is given, Categories is ignored.
	Types []string
	// MaxBatch is the maximum number of events in a batch; 500 when 0.
	MaxBatch int
	// KeepUnreadable returns an event that cannot be decoded with an Unreadable as its Event, instead of ending the
	// subscription.
	KeepUnreadable bool
	// Undecoded returns events with stream, revision, position, type and bytes, but without Metadata and Event. Such
	// events are never unreadable.
	Undecoded bool
	// OnError receives the error of each interruption before the subscription continues; it may be nil.
	OnError func(error)
}

const (
	subscriptionBuffer       = 2048 // events read ahead, in addition to gRPC's own flow control
	subscriptionRetry        = 200 * time.Millisecond
	subscriptionRetryMax     = 5 * time.Second
	subscriptionSearchWindow = 256
)

// Follow passes all events after s.After to handle, in order and without gaps. It first delivers the events that exist,
// in large batches, and then each new event as it arrives. After an interrupted connection it continues behind the last
// batch. It returns nil when ctx ends, the error of handle when handle fails, and an error when an event cannot be
// decoded or when s.After lies beyond the end of the log (ErrAheadOfLog). If that happens only after it has begun to
// follow, because an older backup took the log's place, it goes on asking, and passes ErrAheadOfLog to s.OnError.
func (l *Log) Follow(ctx context.Context, s Subscription, handle func(context.Context, Batch) error) error {
	if s.MaxBatch == 0 {
		s.MaxBatch = 500
	}
	if len(s.Categories) == 0 {
		s.Categories = l.registry.Categories()
	}
	wait := subscriptionRetry
	followed := false
	for {
		before := s.After
		err := l.followOnce(ctx, &s, func(ctx context.Context, b Batch) error {
			followed = true
			return handle(ctx, b)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		if errors.Is(err, ErrAheadOfLog) && followed {
			err = &interruption{err}
		}
		var interrupted *interruption
		if !errors.As(err, &interrupted) {
			return err
		}
		if s.OnError != nil {
			s.OnError(err)
		}
		if s.After != before {
			wait = subscriptionRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			wait = min(2*wait, subscriptionRetryMax)
		}
	}
}

// interruption is an error of the connection, after which the subscription continues.
type interruption struct{ err error }

func (i *interruption) Error() string { return "subscription interrupted: " + i.err.Error() }
func (i *interruption) Unwrap() error { return i.err }

// followOnce follows over one connection, and moves s.After behind each handled batch.
func (l *Log) followOnce(parent context.Context, s *Subscription, handle func(context.Context, Batch) error) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	options := esdb.SubscribeToAllOptions{
		From: esdb.Start{}, Filter: s.filter(), MaxSearchWindow: subscriptionSearchWindow, CheckpointInterval: 1,
	}
	if s.After != (domain.Position{}) {
		switch err := l.Reaches(ctx, s.After); {
		case errors.Is(err, ErrAheadOfLog):
			return fmt.Errorf("%w; restore the log or rebuild what was made from it", err)
		case err != nil:
			return &interruption{err}
		}
		options.From = esdb.Position{Commit: s.After.Commit, Prepare: s.After.Prepare}
	}
	subscription, err := call(ctx, l, func(client *esdb.Client) (*esdb.Subscription, error) {
		return client.SubscribeToAll(ctx, options)
	})
	if err != nil {
		return &interruption{err}
	}
	defer func() { _ = subscription.Close() }()

	arrivals := make(chan arrival, subscriptionBuffer)
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		defer close(arrivals)
		l.pump(ctx, subscription, arrivals)
	}()
	err = l.batch(ctx, s, arrivals, handle)
	cancel()
	<-pumped
	return err
}

// arrival is one message of a subscription: an event, a checkpoint, the news that the subscription has caught up, or
// the error that ended it.
type arrival struct {
	event    *esdb.RecordedEvent
	through  domain.Position
	caughtUp bool
	err      error
}

// pump passes the messages of the subscription to arrivals, until it ends or ctx ends.
func (l *Log) pump(ctx context.Context, subscription *esdb.Subscription, arrivals chan<- arrival) {
	for {
		var a arrival
		message := subscription.Recv()
		switch {
		case message.EventAppeared != nil:
			a.event = message.EventAppeared.OriginalEvent()
			a.through = domain.Position{Commit: a.event.Position.Commit, Prepare: a.event.Position.Prepare}
		case message.CheckPointReached != nil:
			a.through = domain.Position{Commit: message.CheckPointReached.Commit, Prepare: message.CheckPointReached.Prepare}
		case message.CaughtUp != nil:
			a.caughtUp = true
		case message.SubscriptionDropped != nil:
			a.err = &interruption{message.SubscriptionDropped.Error}
		default:
			continue
		}
		select {
		case arrivals <- a:
		case <-ctx.Done():
			return
		}
		if a.err != nil {
			return
		}
	}
}

// batch passes the arrivals to handle in batches. A batch takes everything that has arrived, up to s.MaxBatch events.
// Batches are therefore small when few events arrive, and grow when handle is slower than the arrivals.
func (l *Log) batch(ctx context.Context, s *Subscription, arrivals <-chan arrival, handle func(context.Context, Batch) error) error {
	live := false
	for {
		var b Batch
		var failure error
		var stored []*esdb.RecordedEvent
		take := func(a arrival, open bool) bool {
			switch {
			case !open:
				failure = ctx.Err()
			case a.err != nil:
				failure = a.err
			case a.caughtUp:
				live = true
			default:
				if a.event != nil && s.selects(l.registry, a.event) {
					stored = append(stored, a.event)
				}
				b.Through = a.through
			}
			return failure == nil
		}
		a, open := <-arrivals
		stored = make([]*esdb.RecordedEvent, 0, min(len(arrivals)+1, s.MaxBatch))
		more := take(a, open)
		for more && len(stored) < s.MaxBatch {
			select {
			case a, open = <-arrivals:
				more = take(a, open)
				continue
			default:
			}
			break
		}
		var unreadable error
		if b.Events, unreadable = l.decodeAll(stored, s); unreadable != nil {
			failure, live = unreadable, false
			if b.Through = s.After; len(b.Events) > 0 {
				b.Through = b.Events[len(b.Events)-1].Position
			}
		}
		if b.Through != (domain.Position{}) && s.After.Before(b.Through) {
			b.Live = live && len(arrivals) == 0
			if err := handle(ctx, b); err != nil {
				return err
			}
			s.After = b.Through
		} else if live && failure == nil && len(arrivals) == 0 {
			// The subscription has caught up without a new event: an empty batch reports it.
			b.Through, b.Live = s.After, true
			if err := handle(ctx, b); err != nil {
				return err
			}
		}
		if failure != nil {
			return failure
		}
	}
}

// minDecodedPerGoroutine is the least number of events for which another goroutine is worthwhile.
const minDecodedPerGoroutine = 50

// decodeAll decodes events in parallel, because decoding is most of the work of a large batch. With an error it returns
// the events before the first that cannot be decoded.
func (l *Log) decodeAll(stored []*esdb.RecordedEvent, s *Subscription) ([]Recorded, error) {
	if s.Undecoded {
		events := make([]Recorded, len(stored))
		for i, e := range stored {
			events[i] = undecoded(e)
		}
		return events, nil
	}
	events, failures := make([]Recorded, len(stored)), make([]error, len(stored))
	parts := max(1, min(runtime.GOMAXPROCS(0), len(stored)/minDecodedPerGoroutine))
	var wait sync.WaitGroup
	for part := range parts {
		wait.Go(func() {
			for i := part * len(stored) / parts; i < (part+1)*len(stored)/parts; i++ {
				if events[i], failures[i] = l.decode(stored[i]); failures[i] != nil && s.KeepUnreadable {
					events[i].Event, failures[i] = Unreadable{failures[i]}, nil
				}
			}
		})
	}
	wait.Wait()
	for i, err := range failures {
		if err != nil {
			return events[:i], err
		}
	}
	return events, nil
}

// selects says whether an event that the server's filter has let through is meant: the filter compares beginnings of names,
// and another program may call its events like ours.
func (s *Subscription) selects(registry *Registry, e *esdb.RecordedEvent) bool {
	return registry.holds(e.StreamID) && (len(s.Types) == 0 || slices.Contains(s.Types, e.EventType))
}

// filter returns the filter that the server applies. It uses prefixes, because servers differ in regular expressions.
func (s *Subscription) filter() *esdb.SubscriptionFilter {
	if len(s.Types) > 0 {
		return &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: s.Types}
	}
	prefixes := make([]string, len(s.Categories))
	for i, c := range s.Categories {
		prefixes[i] = c + "-"
	}
	return &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: prefixes}
}
