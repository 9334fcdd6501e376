package eventlog

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/status"
)

// Batch holds consecutive events of a subscription, in the order of the log.
type Batch struct {
	Events []Recorded
	// Through is the position up to which the log has been read. It may lie after the last event, because the events in
	// between did not match the subscription.
	Through domain.Position
	// Live is true if no further event was waiting when the batch was made.
	Live bool
	// Last is the mark of the last event of registered categories up to Through that is known. Where a subscription selects events
	// by type, it may be an earlier one while the subscription catches up. It is never zero behind an event.
	Last domain.Mark
}

// Subscription selects the events to follow.
type Subscription struct {
	// After is the position after which to begin; the zero Position is the beginning of the log.
	After domain.Position
	// Last is the mark of the last event that was seen up to After. Where the log does not hold it any more, Follow fails with
	// ErrOtherPast. The zero Mark is not looked for.
	Last domain.Mark
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
	// Unfiltered has the server send the events that are not selected too, which are left out here. Then Through is the end of
	// the log whenever a batch is Live. Otherwise it may lie before, because the events behind it are not selected.
	Unfiltered bool
	// OnError receives the error of each interruption before the subscription continues; it may be nil.
	OnError func(error)

	// everything is set by Follow if no events are left out but those of other programs.
	everything bool
}

const (
	subscriptionRetry        = 200 * time.Millisecond
	subscriptionRetryMax     = time.Second
	subscriptionSearchWindow = 256
)

// Follow passes all events after s.After to handle, in order and without gaps. It first delivers the events that exist,
// in large batches, and then each new event as it arrives. After an interrupted connection it continues behind the last
// batch. It returns nil when ctx ends, the error of handle when handle fails, and an error when an event cannot be
// decoded. It returns ErrOtherPast when the log does not hold the last event that was seen, or ends before: at the beginning, or
// after an interruption, because an older backup took the log's place.
func (l *Log) Follow(ctx context.Context, s Subscription, handle func(context.Context, Batch) error) error {
	if s.MaxBatch == 0 {
		s.MaxBatch = 500
	}
	s.everything = len(s.Categories) == 0 && len(s.Types) == 0 && !s.Unfiltered
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
		var interrupted *interruption
		switch missing := errors.Is(err, ErrMissingRight); {
		case missing && followed: // a right that was there before may be missing for the moment of an election
		case missing, !errors.As(err, &interrupted):
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

// errSubscriptionOver means that no further messages of a subscription come.
var errSubscriptionOver = errors.New("the subscription is over")

// FollowToEnd is Follow up to where the log ends now. It fails with the error of ctx if ctx ends before.
func (l *Log) FollowToEnd(ctx context.Context, s Subscription, handle func(context.Context, Batch) error) error {
	end, err := l.End(ctx)
	if err != nil {
		return err
	}
	errEnd := errors.New("at the log's end")
	err = l.Follow(ctx, s, func(ctx context.Context, b Batch) error {
		if err := handle(ctx, b); err != nil {
			return err
		}
		if b.Live || !b.Through.Before(end) {
			return errEnd
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnd):
		return nil
	case err == nil:
		return ctx.Err()
	}
	return err
}

// interruption is an error of the connection, after which the subscription continues.
type interruption struct{ err error }

func (i *interruption) Error() string { return "subscription interrupted: " + i.err.Error() }
func (i *interruption) Unwrap() error { return i.err }

// followOnce follows over one session, and moves s.After behind each handled batch. Everything is asked of the session's node:
// another one may lag behind it.
func (l *Log) followOnce(parent context.Context, s *Subscription, handle func(context.Context, Batch) error) error {
	node, err := l.session(parent, true)
	if err != nil {
		return l.interrupted(err)
	}
	ctx, done := node.within(parent)
	defer done()
	if s.After != (domain.Position{}) {
		after, err := l.recogniseAfter(ctx, s.After, s.Last, l.patience)
		switch {
		case errors.Is(err, ErrOtherPast):
			return err
		case err != nil:
			return l.interrupted(node.reason(err))
		}
		s.After = after
	}
	for {
		joined, err := l.followAlone(ctx, parent, node, s, handle)
		if joined == nil {
			return l.interrupted(err)
		}
		err = l.followNews(ctx, parent, s, joined, handle)
		if !errors.Is(err, fellBehind{}) {
			return l.interrupted(err)
		}
	}
}

// followAlone follows by a subscription of its own. Where the follower may share the news and has caught up, it ends, and returns
// them.
func (l *Log) followAlone(ctx, parent context.Context, node *session, s *Subscription, handle func(context.Context, Batch) error) (
	joined *news, err error,
) {
	ctx, done := context.WithCancelCause(ctx)
	defer done(nil)
	subscription, err := node.streams.read(ctx, s.request())
	if err != nil {
		node.suspect()
		return nil, node.reason(err)
	}
	arrived := newArrivals()
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		arrived.pump(ctx, subscription)
	}()
	source := batchSource{take: arrived.take, waiting: arrived.waiting,
		markAt: func(at domain.Position) (domain.Mark, error) { return once(parent, node, l.markAt(at)) }}
	if s.everything {
		source.handOff = func() bool {
			joined = l.newsOf(node, s.After)
			return joined != nil
		}
	}
	err = l.batch(parent, s, source, handle)
	if errors.Is(err, errSubscriptionOver) {
		err = &interruption{context.Cause(ctx)}
	}
	done(nil)
	<-pumped
	return joined, err
}

// followNews follows by the news that are shared.
func (l *Log) followNews(ctx, parent context.Context, s *Subscription, of *news, handle func(context.Context, Batch) error) error {
	reader, stop := of.reader(ctx, s.After, s.Undecoded)
	defer stop()
	err := l.batch(parent, s, batchSource{take: reader.take, waiting: reader.waiting}, handle)
	if errors.Is(err, errSubscriptionOver) {
		err = &interruption{context.Cause(ctx)}
	}
	return err
}

// batchSource is where batches come from.
type batchSource struct {
	take    func(most int) arrived
	waiting func() bool
	// markAt returns the mark of the last event up to a position. It is needed where events are selected by type.
	markAt func(domain.Position) (domain.Mark, error)
	// handOff is asked whenever the follower has caught up, and says whether the batches are to end there; it may be nil.
	handOff func() bool
}

// interrupted names the right that is missing, if that is why a subscription was interrupted: waiting does not help then.
func (l *Log) interrupted(err error) error {
	if explained := l.explain("read $all", err); errors.Is(explained, ErrMissingRight) {
		return explained
	}
	var interrupted *interruption
	_, ofServer := status.FromError(err) // whatever it says: a node that loses its leader uses many codes
	if err == nil || errors.As(err, &interrupted) || !ofServer && !errors.Is(err, context.Canceled) {
		return err
	}
	return &interruption{err}
}

// markEvery is how often a subscription that selects events by type asks for the mark of the last event while it catches up.
const markEvery = time.Second

// batch passes what arrives to handle in batches. A batch takes everything that has arrived, up to s.MaxBatch events.
// Batches are therefore small when few events arrive, and grow when handle is slower than the arrivals.
func (l *Log) batch(ctx context.Context, s *Subscription, from batchSource, handle func(context.Context, Batch) error) error {
	live, marked := false, time.Now()
	for {
		next := from.take(s.MaxBatch)
		b, failure := Batch{Last: s.Last, Through: next.through}, next.err
		live = live || next.caughtUp
		if last := l.lastHeld(next.events); last != nil {
			b.Last = last.Mark()
		}
		var unreadable error
		if b.Events, unreadable = l.decodeAll(s.selected(l.registry, next.events), s, live); unreadable != nil {
			failure, live = unreadable, false
			if b.Through, b.Last = s.After, s.Last; len(b.Events) > 0 {
				last := b.Events[len(b.Events)-1]
				b.Through, b.Last = last.Position, last.Mark()
			}
		}
		if b.Through != (domain.Position{}) && s.After.Before(b.Through) {
			b.Live = live && !from.waiting()
			known := b.Last.Position == b.Through // nothing that was left out lies between
			if len(s.Types) > 0 && !s.Unfiltered && !known && (b.Live || time.Since(marked) > markEvery) {
				last, err := from.markAt(b.Through)
				if err != nil {
					return err
				}
				b.Last, marked = last, time.Now()
			}
			l.note(b.Last)
			if err := handle(ctx, b); err != nil {
				return err
			}
			s.After, s.Last = b.Through, b.Last
		} else if live && failure == nil && !from.waiting() {
			// The subscription has caught up without a new event: an empty batch reports it.
			b.Through, b.Live = s.After, true
			if err := handle(ctx, b); err != nil {
				return err
			}
		}
		if failure != nil {
			return failure
		}
		if b.Live && from.handOff != nil && from.handOff() {
			return nil
		}
	}
}

// lastHeld returns the last event of a registered category; nil if there is none.
func (l *Log) lastHeld(events []Recorded) *Recorded {
	for i := len(events) - 1; i >= 0; i-- {
		if l.registry.holds(events[i].Stream) {
			return &events[i]
		}
	}
	return nil
}

// minDecodedPerGoroutine is the least number of events for which another goroutine is worthwhile.
const minDecodedPerGoroutine = 50

// decodeAll decodes events in their place, in parallel, because decoding is most of the work of a large batch. With an error it
// returns the events before the first that cannot be decoded. The metadata of live events are likely to be needed by other
// subscriptions too.
func (l *Log) decodeAll(stored []Recorded, s *Subscription, live bool) ([]Recorded, error) {
	if s.Undecoded {
		return stored, nil
	}
	metadataOf := knownMetadata
	if live {
		metadataOf = l.registry.recent.of
	}
	failures := make([]error, len(stored))
	parts := max(1, min(runtime.GOMAXPROCS(0), len(stored)/minDecodedPerGoroutine))
	var wait sync.WaitGroup
	for part := range parts {
		wait.Go(func() {
			for i := part * len(stored) / parts; i < (part+1)*len(stored)/parts; i++ {
				if stored[i].Event != nil {
					continue // decoded for all followers
				}
				if failures[i] = l.decodeInto(&stored[i], metadataOf); failures[i] != nil && s.KeepUnreadable {
					stored[i].Event, failures[i] = Unreadable{failures[i]}, nil
				}
			}
		})
	}
	wait.Wait()
	for i, err := range failures {
		if err != nil {
			return stored[:i:i], err
		}
	}
	return stored, nil
}

// selected returns those of some events that are meant, in the place of all of them.
func (s *Subscription) selected(registry *Registry, events []Recorded) []Recorded {
	kept := 0
	for i := range events {
		if !s.selects(registry, &events[i]) {
			continue
		}
		if kept < i {
			events[kept] = events[i]
		}
		kept++
	}
	return events[:kept:kept]
}

// selects says whether an event that the server's filter has let through is meant: the filter compares beginnings of names,
// and another program may call its events like ours.
func (s *Subscription) selects(registry *Registry, e *Recorded) bool {
	switch {
	case !registry.holds(e.Stream):
		return false
	case len(s.Types) > 0:
		return slices.Contains(s.Types, e.Type)
	}
	category, _, _ := strings.Cut(e.Stream, "-")
	return !s.Unfiltered || slices.Contains(s.Categories, category)
}

// request returns the request of the subscription. The filter that the server applies uses prefixes, because servers differ in
// regular expressions.
func (s *Subscription) request() *streams.ReadReq {
	o := &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Subscription{
		Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}}
	o.StreamOption = allAfter(s.After)
	if s.Unfiltered {
		return readRequest(o)
	}
	filter := ofCategories(s.Categories)
	if len(s.Types) > 0 {
		filter.Filter = &streams.ReadReq_Options_FilterOptions_EventType{
			EventType: &streams.ReadReq_Options_FilterOptions_Expression{Prefix: s.Types}}
	}
	o.FilterOption = &streams.ReadReq_Options_Filter{Filter: filter}
	return readRequest(o)
}

// ofCategories returns the filter that lets the streams of categories through.
func ofCategories(categories []string) *streams.ReadReq_Options_FilterOptions {
	prefixes := make([]string, len(categories))
	for i, c := range categories {
		prefixes[i] = c + "-"
	}
	return &streams.ReadReq_Options_FilterOptions{CheckpointIntervalMultiplier: 1,
		Window: &streams.ReadReq_Options_FilterOptions_Max{Max: subscriptionSearchWindow},
		Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{
			StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Prefix: prefixes}}}
}
