package sagas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/metrics"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Drive runs processes. Those that take events do so on Watermill's router: each is a consumer group of the event store,
// whose members, in one or more programs, share its events. The others run by the clock. It also runs the timers.
type Drive struct {
	// URL is the event store's connection string.
	URL     string
	Log     *eventlog.Log
	Handler *commands.Handler
	// Verifier keeps events from the processes that are no part of the record, and is run by the caller. If it is nil, the
	// drive runs one of its own.
	Verifier *eventlog.Verifier
	// Processes are those that it runs.
	Processes []Process
	Logger    *slog.Logger
	// Registerer takes the router's metrics; none when nil.
	Registerer prometheus.Registerer
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// InFlight bounds the instances that take steps at once; 64 when 0. Of each process, more events may be waiting for them.
	InFlight int
	// Turns keeps when processes by the clock act next, for the next program of the version Program; nil for nobody.
	Turns   TurnStore
	Program string

	// mu guards what Check tells of.
	mu      sync.Mutex
	members subscribers
	clocks  map[string]error
	foreign map[string]int

	waiting waiting
}

// errNotRunning means that a process does not run.
var errNotRunning = errors.New("it does not run")

// Check returns nil while a process takes part: it is a member of its consumer group, or follows the log and the clock. Otherwise
// it returns why the process does not.
func (d *Drive) Check(p Process) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.ByClock() {
		return d.checkClock(p.Name)
	}
	if d.members == nil {
		return errNotRunning
	}
	return d.members.of(p).Delivers(p.Name)
}

// Waiting returns what waits for people, as far as the timers have followed the log.
func (d *Drive) Waiting() Waiting { return d.waiting.count() }

// timersName names the timers among what works by the clock.
const timersName = "timers"

// CheckTimers returns nil while the timers of all processes follow the log and the clock.
func (d *Drive) CheckTimers() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.checkClock(timersName)
}

// checkClock is called with d.mu held.
func (d *Drive) checkClock(name string) error {
	if why, known := d.clocks[name]; known {
		return why
	}
	return errNotRunning
}

// noteClock notes why a process that works by the clock does not follow the log; nil when it does.
func (d *Drive) noteClock(name string) func(error) {
	return func(why error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.clocks == nil {
			d.clocks = map[string]error{}
		}
		d.clocks[name] = why
	}
}

const (
	// tries is how often an event is dealt with anew before it goes back to the store; deliveries is how often the store
	// delivers it before it is parked.
	tries      = 5
	deliveries = 10
	// deliveriesToNewer is deliveries for an event that only a newer program can deal with: the store may give it to older ones
	// first, as often as there are more of them. While it waits it is delivered every ten seconds.
	deliveriesToNewer = 100
	// waitingFor is how many events of a process may wait for each instance that takes steps: the group delivers what an
	// instance has dealt with already while it goes on.
	waitingFor = 8
	// perSecond bounds what one process deals with.
	perSecond = 5000
	// answerTime is how long the store waits for an answer before it delivers an event to another program. So it bounds how long
	// a frozen program holds an event. Where an event takes longer, two deal with it at once, and its step is taken once.
	answerTime = 5 * time.Second
	// relayTime is answerTime for relays: two programs at once would send a message twice.
	relayTime = 2 * time.Minute
	// relayRest is the longest pause before a relay is delivered again what keeps failing. With the time of an attempt, it has to stay
	// below relayTime, or another program is delivered it meanwhile.
	relayRest = 40 * time.Second
	// relayWaiting is how many times as many events may wait for a relay as for another process: what rests waits, too, and must not keep
	// a relay from what does not fail.
	relayWaiting = 8
	// closeTime bounds how long the end waits for events under way.
	closeTime = 20 * time.Second
)

// Run runs until ctx ends. It returns nil then, or what kept it from beginning.
func (d *Drive) Run(ctx context.Context) error {
	verifier := d.Verifier
	if verifier == nil {
		verifier = eventlog.NewVerifier(eventlog.VerifierOptions{Log: d.Log, Logger: d.Logger})
	}
	inFlight := d.InFlight
	if inFlight == 0 {
		inFlight = 64
	}
	runner := (&Runner{Handler: d.Handler, Logger: d.Logger, Now: d.Now}).Ahead(inFlight)
	log := watermill.NewSlogLoggerWithLevelMapping(d.Logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
	types, err := d.types()
	if err != nil {
		return err
	}
	settings := pubsub.DefaultSettings()
	settings.CheckpointAfter = 1000
	config := pubsub.SubscriberConfig{URL: d.URL, Group: d.groupOf, InFlight: waitingFor * inFlight, Settings: &settings,
		UpdateGroup: true, WaitForServer: true, WithoutMetadata: true,
		OnConnect: runner.ahead.connected,
		Dealt: func(topic string, stored *esdb.RecordedEvent) (bool, <-chan struct{}) {
			runner.ahead.meet(d.Log.Past())
			return runner.ahead.dealt(topic, stored.EventID)
		},
		OnUpdate: func(group string, differences []string) {
			d.Logger.Warn("a consumer group had other settings than this program's, and has been updated", "group", group,
				"differences", differences)
		},
		OnForeign: d.reportForeign,
		Filter: func(topic string) esdb.SubscriptionFilter {
			return esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: types[topic]}
		}}
	subscribers, err := newSubscribers(config, log)
	if err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	d.mu.Lock()
	d.members = subscribers
	d.mu.Unlock()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTime}, log)
	if err != nil {
		return errors.Join(fmt.Errorf("processes: %w", err), subscribers.close())
	}
	if d.Registerer != nil {
		metrics.NewPrometheusMetricsBuilder(d.Registerer, "casebook", "process").AddPrometheusRouterMetrics(router)
		d.Registerer.MustRegister(d.gauges())
	}
	setAside := &parking{handler: d.Handler, logger: d.Logger, now: runner.now, processes: d.Processes}
	parked, err := middleware.PoisonQueueWithFilter(setAside, "parked", IsPermanent)
	if err != nil {
		return errors.Join(fmt.Errorf("processes: %w", err), subscribers.close())
	}
	retry := middleware.Retry{MaxRetries: tries, InitialInterval: 50 * time.Millisecond, MaxInterval: 2 * time.Second, Multiplier: 2,
		RandomizationFactor: 0.5, ShouldRetry: func(p middleware.RetryParams) bool {
			return !IsPermanent(p.Err) && !needsNewer(p.Err) && !IsTriedOn(p.Err)
		}}
	router.AddMiddleware(parked, tooOften, retry.Middleware, recovered)
	for _, p := range d.Processes {
		if p.ByClock() {
			continue
		}
		h := router.AddConsumerHandler(p.Name, p.Name, subscribers.of(p), d.consume(p, types[p.Name], verifier, runner))
		h.AddMiddleware(throttle(rate.NewLimiter(perSecond, perSecond/10)))
	}
	for _, p := range d.Processes {
		if p.ByClock() {
			continue
		}
		if err := subscribers.of(p).SubscribeInitialize(p.Name); err != nil || ctx.Err() != nil {
			if ctx.Err() != nil {
				err = nil
			}
			return errors.Join(err, subscribers.close())
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	if d.Verifier == nil {
		group.Go(func() error { return verifier.Run(ctx) })
	}
	over := make(chan struct{})
	group.Go(func() error {
		defer close(over)
		// A router that is stopped while it subscribes leaves goroutines behind, so it is stopped by Close alone.
		return router.Run(context.WithoutCancel(ctx))
	})
	group.Go(func() error {
		select {
		case <-router.Running():
		case <-over:
			return nil
		}
		<-ctx.Done()
		return router.Close()
	})
	timers := &timers{runner: runner, logger: d.Logger, note: d.noteClock(timersName), waiting: &d.waiting,
		unfinished: &unfinished{processes: d.Processes, runner: runner, parking: setAside, logger: d.Logger}}
	group.Go(func() error {
		defer timers.note(errNotRunning)
		return timers.run(ctx, verifier)
	})
	for _, p := range d.Processes {
		if p.ByClock() {
			group.Go(func() error {
				c := NewClock(p, runner)
				c.note, c.parking, c.waiting = d.noteClock(p.Name), setAside, &d.waiting
				if d.Turns != nil {
					c.saved = &savedTurns{store: d.Turns, program: d.Program, log: d.Log}
				}
				defer c.note(errNotRunning)
				if err := c.Run(ctx, verifier); err != nil {
					return fmt.Errorf("process %s: %w", p.Name, err)
				}
				return nil
			})
		}
	}
	return errors.Join(group.Wait(), subscribers.close())
}

// subscribers receive the messages of processes, one for each kind of process.
type subscribers map[subscriberKind]*pubsub.Subscriber

// subscriberKind says how a process receives its messages: whether it relays them, which may take long, and whether its group begins
// at the end of the log.
type subscriberKind struct{ relays, fromEnd bool }

func newSubscribers(c pubsub.SubscriberConfig, log watermill.LoggerAdapter) (subscribers, error) {
	all := subscribers{}
	for _, kind := range []subscriberKind{{}, {relays: true}, {fromEnd: true}, {relays: true, fromEnd: true}} {
		config, settings := c, *c.Settings
		wait := answerTime
		if kind.relays {
			wait = relayTime
			config.NackPause, config.InFlight = relayPause, relayWaiting*c.InFlight
		}
		settings.MessageTimeout = int32(wait.Milliseconds())
		config.Settings, config.FromEnd = &settings, kind.fromEnd
		subscriber, err := pubsub.NewSubscriber(config, log)
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		all[kind] = subscriber
	}
	return all, nil
}

// relayPause is how long a relay's event rests that has failed, after so many deliveries before. It doubles to ten seconds, and, for what
// is delivered more often than most events are before they are parked, on to relayRest.
func relayPause(retries int) time.Duration {
	const first, usual = 100 * time.Millisecond, 10 * time.Second
	if retries <= deliveries {
		return min(first<<max(retries, 0), usual)
	}
	return min(usual<<min(retries-deliveries, 8), relayRest)
}

func (s subscribers) of(p Process) *pubsub.Subscriber {
	return s[subscriberKind{relays: p.relay != nil, fromEnd: p.BeginsAtEnd()}]
}

func (s subscribers) close() (err error) {
	for _, subscriber := range s {
		err = errors.Join(err, subscriber.Close())
	}
	return err
}

// reportForeign says that foreign programs take part in a consumer group, or that they have left it.
func (d *Drive) reportForeign(group string, connections []string) {
	d.mu.Lock()
	if d.foreign == nil {
		d.foreign = map[string]int{}
	}
	d.foreign[group] = len(connections)
	d.mu.Unlock()
	if len(connections) == 0 {
		hint := "the events that it has taken come again when the group is deleted and made anew"
		if i := slices.IndexFunc(d.Processes, func(p Process) bool { return p.Group() == group }); i >= 0 && d.Processes[i].BeginsAtEnd() {
			hint = "do not delete the group, which would begin at the end of the log; look for alerts without a notification"
		}
		d.Logger.Warn("no foreign program takes part in the consumer group any more; "+hint, "group", group)
		return
	}
	d.Logger.Error("a foreign program takes part in a consumer group, and takes events that no process gets", "group", group,
		"connections", connections)
}

// groupOf names the consumer group of the process of a topic.
func (d *Drive) groupOf(topic string) string {
	i := slices.IndexFunc(d.Processes, func(p Process) bool { return p.Name == topic })
	return d.Processes[i].Group()
}

// types are the names of the events that each consumer group is delivered, by the name of its process.
func (d *Drive) types() (map[string][]string, error) {
	types, seen := map[string][]string{}, map[string]bool{}
	for _, p := range d.Processes {
		if seen[p.Name] {
			return nil, fmt.Errorf("two processes are named %s", p.Name)
		}
		seen[p.Name] = true
		if p.ByClock() {
			continue
		}
		names, err := GroupFilter(d.Log.Registry(), p)
		if err != nil {
			return nil, err
		}
		types[p.Name] = names
	}
	return types, nil
}

// GroupFilter are the names of the events that the consumer group of a process is delivered: those that it listens to, and
// messages that were parked and are handed to it again. A group that exists keeps the filter that it was made with.
func GroupFilter(registry *eventlog.Registry, p Process) ([]string, error) {
	names, err := namesOf(registry, append(p.Events(), reflect.TypeFor[process.ParkedMessageRetried]()))
	if err != nil {
		return nil, fmt.Errorf("process %s: %w", p.Name, err)
	}
	return names, nil
}

// namesOf returns the stable names of types of events.
func namesOf(registry *eventlog.Registry, events []reflect.Type) ([]string, error) {
	names := make([]string, len(events))
	for i, e := range events {
		name, ok := registry.NameOfType(e)
		if !ok {
			return nil, fmt.Errorf("%v is not an event of the log", e)
		}
		names[i] = name
	}
	return names, nil
}

// consume turns a message into the event that it carries.
func (d *Drive) consume(p Process, types []string, verifier *eventlog.Verifier, runner *Runner) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		stored, ok := pubsub.RecordedEvent(msg.Context())
		if !ok {
			return Permanent(errors.New("the message carries no event of the store"))
		}
		if !slices.Contains(types, stored.EventType) || !d.Log.Holds(stored) {
			return nil // the filter is by prefix, and another program may call its events like ours
		}
		position := domain.Position{Commit: stored.Position.Commit, Prepare: stored.Position.Prepare}
		if err := verifier.Await(msg.Context(), position); err != nil {
			return err
		}
		if runner.ahead.knows(msg.Context(), p, stored.EventID) {
			return nil // meanwhile
		}
		e, undecodable := d.Log.Decode(stored)
		ctx, is, err := d.stillThere(msg.Context(), e)
		if !is || err != nil {
			return err
		}
		msg.SetContext(ctx)
		if damaged, err := d.damaged(msg.Context(), verifier, e); damaged || err != nil {
			return err
		}
		switch {
		case errors.Is(undecodable, domain.ErrUnknownVersion):
			return undecodable // a newer program that shares the group deals with it
		case undecodable != nil:
			return Permanent(undecodable)
		}
		msg.Metadata.Set(studyKey, string(e.Metadata.Study))
		middleware.SetCorrelationID(e.Metadata.CorrelationID, msg)
		if retried, ok := e.Event.(process.ParkedMessageRetried); ok {
			if retried.Process != p.Name {
				return nil
			}
			found, err := d.find(msg.Context(), retried)
			if err != nil {
				return err
			}
			if damaged, err := d.damaged(msg.Context(), verifier, found); damaged || err != nil {
				return err
			}
			e = found
			// What fails again is parked again, as the message that it is.
			msg.Metadata.Set(pubsub.KeyStream, e.Stream)
			msg.Metadata.Set(pubsub.KeyRevision, strconv.FormatUint(e.Revision, 10))
			msg.Metadata.Set(pubsub.KeyType, e.Type)
			msg.UUID = e.ID.String()
		}
		return runner.Deal(msg.Context(), p, e)
	}
}

// damaged says whether an event is no part of the record. No process reacts to such an event; the verifier has raised the
// alarm.
func (d *Drive) damaged(ctx context.Context, verifier *eventlog.Verifier, e eventlog.Recorded) (bool, error) {
	checked := []eventlog.Recorded{e}
	if err := verifier.Check(ctx, checked); err != nil {
		return false, err
	}
	_, is := checked[0].Event.(eventlog.Damaged)
	if is {
		d.Logger.Warn("a process leaves a damaged event out", "stream", e.Stream, "revision", e.Revision, "type", e.Type)
	}
	return is, nil
}

// find reads the event that a parked message is about.
func (d *Drive) find(ctx context.Context, m process.ParkedMessageRetried) (eventlog.Recorded, error) {
	for e, err := range d.Log.ReadStream(ctx, m.Stream, m.Revision) {
		if err != nil || e.ID.String() == m.Event {
			return e, err
		}
		break
	}
	return eventlog.Recorded{}, Permanent(fmt.Errorf("the event %s is not at %s@%d", m.Event, m.Stream, m.Revision))
}

// needsNewer says that only a newer program can deal with an event: the event, or the record that it is about, is of one. Another
// attempt of this program fails as well.
func needsNewer(err error) bool {
	refusal, refused := refuse.As(err)
	return errors.Is(err, domain.ErrUnknownVersion) || refused && refusal.Code == "record_newer"
}

// tooOften gives a message up that the store has delivered again and again. As long as the store does not answer, that is no
// fault of the message.
func tooOften(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		out, err := h(msg)
		most := deliveries
		switch {
		case err == nil || msg.Context().Err() != nil || IsTriedOn(err):
			return out, err
		case needsNewer(err):
			most = deliveriesToNewer
		case storeAway(err):
			return out, err
		}
		if n, _ := strconv.Atoi(msg.Metadata.Get(pubsub.KeyRetryCount)); n >= most {
			err = Permanent(fmt.Errorf("delivered %d times: %w", n+1, err))
		}
		return out, err
	}
}

// throttle has a process deal with so many messages in a time. Watermill's own throttle makes each message wait for the tick of a
// clock, even when there is only one.
func throttle(limit *rate.Limiter) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			if err := limit.Wait(msg.Context()); err != nil {
				return nil, err
			}
			return h(msg)
		}
	}
}

// storeAway says whether something failed because the event store did not answer, or takes nothing at present.
func storeAway(err error) bool {
	if refusal, ok := refuse.As(err); ok {
		return refusal.Kind == refuse.KindOverload
	}
	if errors.As(err, &errNoAnswer{}) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		return true
	default:
		return false
	}
}

// recovered makes a panic of a process an error that does not get better by itself.
func recovered(h message.HandlerFunc) message.HandlerFunc {
	inner := middleware.Recoverer(h)
	return func(msg *message.Message) ([]*message.Message, error) {
		out, err := inner(msg)
		var p middleware.RecoveredPanicError
		if errors.As(err, &p) {
			err = Permanent(err)
		}
		return out, err
	}
}
