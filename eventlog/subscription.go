package eventlog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// Batch is a run of events from the log, in order.
type Batch struct {
	Events []Recorded
	// Through is the position up to which the log has been looked at, at or behind the last event.
	Through domain.Position
	// Live says that there was nothing more to read when the batch was cut.
	Live bool
}

// Subscription says what to follow.
type Subscription struct {
	// After is the position behind which to begin; the zero Position for the log's beginning.
	After domain.Position
	// Categories to follow; all registered ones when empty.
	Categories []string
	// Types narrows it to events of these types; it takes the place of Categories.
	Types []string
	// MaxBatch bounds the events of a batch; 500 when 0.
	MaxBatch int
	// KeepUnreadable gives out an event that cannot be decoded as one with an Unreadable, instead of ending there.
	KeepUnreadable bool
	// Undecoded gives out where each event is and of which type, without its metadata and what it says. Such events are
	// never unreadable.
	Undecoded bool
	// OnError is told of each interruption before the subscription is taken up again; it may be nil.
	OnError func(error)
}

const (
	subscriptionBuffer       = 2048 // events read ahead, beside gRPC's own flow control
	subscriptionRetry        = 200 * time.Millisecond
	subscriptionRetryMax     = 5 * time.Second
	subscriptionSearchWindow = 256
)

// Follow gives handle all events behind s.After, in order and without gap, batch by batch: what there is at once when it
// has fallen behind, each event as it comes when it is live. An interrupted connection is taken up again at the last
// batch. It returns when ctx ends (nil), when handle fails (that error), or when an event cannot be read.
func (l *Log) Follow(ctx context.Context, s Subscription, handle func(context.Context, Batch) error) error {
	if s.MaxBatch == 0 {
		s.MaxBatch = 500
	}
	if len(s.Categories) == 0 {
		s.Categories = l.registry.Categories()
	}
	wait := subscriptionRetry
	for {
		before := s.After
		err := l.followOnce(ctx, &s, handle)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whoever ended ctx wants no error for it
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

// interruption is an error of the connection, after which the subscription is taken up again.
type interruption struct{ err error }

func (i *interruption) Error() string { return "subscription interrupted: " + i.err.Error() }
func (i *interruption) Unwrap() error { return i.err }

func (l *Log) followOnce(parent context.Context, s *Subscription, handle func(context.Context, Batch) error) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	options := esdb.SubscribeToAllOptions{From: esdb.Start{}, Filter: s.filter(),
		MaxSearchWindow: subscriptionSearchWindow, CheckpointInterval: 1}
	if s.After != (domain.Position{}) {
		end, err := l.End(ctx)
		if err != nil {
			return &interruption{err}
		}
		if end.Before(s.After) {
			return fmt.Errorf("subscribe behind %d: %w, which ends at %d; restore the log or rebuild what was made from it",
				s.After.Commit, ErrAheadOfLog, end.Commit)
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

// arrival is one message of a subscription: an event, a checkpoint without event, or the end.
type arrival struct {
	event    *esdb.RecordedEvent
	through  domain.Position
	caughtUp bool
	err      error
}

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

// batch cuts the arrivals into batches: as large as what has arrived, up to the bound. So batches are small when the
// log is quiet, and grow by themselves when it is not.
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
				if a.event != nil {
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
			// Caught up without anything new: whoever waits for that is told.
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

// decodeTogether is how many events a goroutine decodes at least, where there is more than one.
const decodeTogether = 50

// decodeAll decodes events side by side; of a large batch it is most of the work. With an error it returns those in front
// of the event that cannot be read.
func (l *Log) decodeAll(stored []*esdb.RecordedEvent, s *Subscription) ([]Recorded, error) {
	if s.Undecoded {
		events := make([]Recorded, len(stored))
		for i, e := range stored {
			events[i] = undecoded(e)
		}
		return events, nil
	}
	events, failures := make([]Recorded, len(stored)), make([]error, len(stored))
	parts := max(1, min(runtime.GOMAXPROCS(0), len(stored)/decodeTogether))
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

// filter is evaluated by the server. Prefixes mean the same on every server, regular expressions do not.
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
