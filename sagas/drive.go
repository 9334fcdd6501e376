package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"
	"casebook/notify"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/metrics"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Drive runs all process managers on Watermill's router: each is a consumer group of the event store, whose members, in
// one or more programs, share its events. It also runs the timers, and sends the messages about alerts.
type Drive struct {
	// URL is the event store's connection string.
	URL     string
	Log     *eventlog.Log
	Handler *commands.Handler
	// Channels carry the messages about alerts.
	Channels []notify.Channel
	Logger   *slog.Logger
	// Registerer takes the router's metrics; none when nil.
	Registerer prometheus.Registerer
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// InFlight bounds the events that each process deals with at once; 32 when 0.
	InFlight int
}

const (
	// tries is how often an event is dealt with anew before it goes back to the store; deliveries is how often the store
	// delivers it before it is parked.
	tries      = 5
	deliveries = 10
	// perSecond bounds what one process deals with.
	perSecond = 5000
	// answerTime is how long the store waits for an answer before it delivers an event to somebody else.
	answerTime = 2 * time.Minute
	// closeTime bounds how long the end waits for events under way.
	closeTime = 20 * time.Second
)

// groupName names the consumer group of a process or a channel. Groups keep their place in the store under it.
func groupName(topic string) string { return "casebook-" + topic }

const retriedMessage = "ParkedMessageRetried"

// Run runs until ctx ends. It returns nil then, or what kept it from beginning.
func (d *Drive) Run(ctx context.Context) error {
	runner := &Runner{Handler: d.Handler, Logger: d.Logger, Now: d.Now}
	log := watermill.NewSlogLoggerWithLevelMapping(d.Logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
	types := map[string][]string{}
	handlers := map[string]func(context.Context, eventlog.Recorded) error{}
	for _, p := range All() {
		types[p.Name] = append(slices.Clone(p.Types), retriedMessage)
		handlers[p.Name] = func(ctx context.Context, e eventlog.Recorded) error { return runner.Deal(ctx, p, e) }
	}
	for _, c := range d.Channels {
		name := notifierName(c)
		n := &notifier{channel: c, handler: d.Handler, now: runner.now}
		types[name] = append(slices.Clone(notifierTypes), retriedMessage)
		handlers[name] = n.deal
	}
	inFlight := d.InFlight
	if inFlight == 0 {
		inFlight = 32
	}
	settings := pubsub.DefaultSettings()
	settings.MessageTimeout = int32(answerTime.Milliseconds())
	settings.CheckpointAfter = 1000
	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{URL: d.URL, Group: groupName, InFlight: inFlight, Settings: &settings,
		Filter: func(topic string) esdb.SubscriptionFilter {
			return esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: types[topic]}
		}}, log)
	if err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTime}, log)
	if err != nil {
		return errors.Join(fmt.Errorf("processes: %w", err), subscriber.Close())
	}
	if d.Registerer != nil {
		metrics.NewPrometheusMetricsBuilder(d.Registerer, "casebook", "process").AddPrometheusRouterMetrics(router)
	}
	parked, err := middleware.PoisonQueueWithFilter(&parking{handler: d.Handler}, "parked", IsPermanent)
	if err != nil {
		return errors.Join(fmt.Errorf("processes: %w", err), subscriber.Close())
	}
	router.AddMiddleware(parked, tooOften, middleware.Retry{MaxRetries: tries, InitialInterval: 50 * time.Millisecond, MaxInterval: 2 * time.Second,
		Multiplier: 2, RandomizationFactor: 0.5, ShouldRetry: func(p middleware.RetryParams) bool { return !IsPermanent(p.Err) }}.Middleware,
		recovered)
	for topic, deal := range handlers {
		h := router.AddConsumerHandler(topic, topic, subscriber, d.consume(topic, types[topic], deal))
		h.AddMiddleware(middleware.NewThrottle(perSecond, time.Second).Middleware)
	}
	for topic := range handlers {
		if err := subscriber.SubscribeInitialize(topic); err != nil || ctx.Err() != nil {
			if ctx.Err() != nil {
				err = nil
			}
			return errors.Join(err, subscriber.Close())
		}
	}
	group, ctx := errgroup.WithContext(ctx)
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
	timers := &timers{log: d.Log, runner: runner, logger: d.Logger, now: runner.now}
	group.Go(func() error { return timers.run(ctx) })
	return errors.Join(group.Wait(), subscriber.Close())
}

// consume turns a message into the event that it carries.
func (d *Drive) consume(topic string, types []string, deal func(context.Context, eventlog.Recorded) error) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		stored, ok := pubsub.RecordedEvent(msg.Context())
		if !ok {
			return permanent(errors.New("the message carries no event of the store"))
		}
		if !slices.Contains(types, stored.EventType) {
			return nil // a prefix chooses a little more than is asked for
		}
		e, err := d.Log.Decode(stored)
		if err != nil {
			return permanent(err)
		}
		msg.Metadata.Set(studyKey, string(e.Metadata.Study))
		middleware.SetCorrelationID(e.Metadata.CorrelationID, msg)
		if retried, ok := e.Event.(process.ParkedMessageRetried); ok {
			if retried.Process != topic {
				return nil
			}
			if e, err = d.find(msg.Context(), retried); err != nil {
				return err
			}
			// What fails again is parked again, as the message that it is.
			msg.Metadata.Set(pubsub.KeyStream, e.Stream)
			msg.Metadata.Set(pubsub.KeyRevision, strconv.FormatUint(e.Revision, 10))
			msg.Metadata.Set(pubsub.KeyType, e.Type)
			msg.UUID = e.ID.String()
		}
		return deal(msg.Context(), e)
	}
}

// find reads the event that a parked message is about.
func (d *Drive) find(ctx context.Context, m process.ParkedMessageRetried) (eventlog.Recorded, error) {
	for e, err := range d.Log.ReadStream(ctx, m.Stream, m.Revision) {
		if err != nil || e.ID.String() == m.Event {
			return e, err
		}
		break
	}
	return eventlog.Recorded{}, permanent(fmt.Errorf("the event %s is not at %s@%d", m.Event, m.Stream, m.Revision))
}

// studyKey is the metadata under which a message carries its study, for whoever parks it.
const studyKey = "casebook_study"

// tooOften gives a message up that the store has delivered again and again.
func tooOften(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		out, err := h(msg)
		if n, _ := strconv.Atoi(msg.Metadata.Get(pubsub.KeyRetryCount)); err != nil && n >= deliveries && msg.Context().Err() == nil {
			err = permanent(fmt.Errorf("delivered %d times: %w", n+1, err))
		}
		return out, err
	}
}

// recovered makes a panic of a process an error that does not get better by itself.
func recovered(h message.HandlerFunc) message.HandlerFunc {
	inner := middleware.Recoverer(h)
	return func(msg *message.Message) ([]*message.Message, error) {
		out, err := inner(msg)
		var p middleware.RecoveredPanicError
		if errors.As(err, &p) {
			err = permanent(err)
		}
		return out, err
	}
}

// parking is where poisoned messages are published to: it has each recorded, with the reason.
type parking struct{ handler *commands.Handler }

// maxReason bounds what is recorded of an error.
const maxReason = 1000

// Publish implements message.Publisher.
func (p *parking) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		revision, err := strconv.ParseUint(m.Metadata.Get(pubsub.KeyRevision), 10, 64)
		if err != nil {
			return fmt.Errorf("park message %s: %w", m.UUID, err)
		}
		reason := m.Metadata.Get(middleware.ReasonForPoisonedKey)
		if len(reason) > maxReason {
			reason = reason[:maxReason]
		}
		topic := m.Metadata.Get(middleware.PoisonedTopicKey)
		body, err := json.Marshal(process.ParkMessage{Message: process.MessageParked{Parked: process.Parked{Process: topic, Event: m.UUID},
			Study: studyOf(m), Stream: m.Metadata.Get(pubsub.KeyStream), Revision: revision, Type: m.Metadata.Get(pubsub.KeyType), Reason: reason}})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(m.Context()), sendTimeout)
		_, err = p.handler.Do(ctx, commands.Request{Name: "ParkMessage", Body: body, Principal: access.Process(topic)})
		cancel()
		if err != nil {
			// A refusal too, such as a conflict: whatever is not recorded as parked must not be acknowledged.
			return fmt.Errorf("park message %s: %w", m.UUID, err)
		}
	}
	return nil
}

// Close implements message.Publisher.
func (p *parking) Close() error { return nil }

// studyOf returns the study of a message, also of one whose event could not be read.
func studyOf(m *message.Message) (study domain.StudyID) {
	if s := m.Metadata.Get(studyKey); s != "" {
		return domain.StudyID(s)
	}
	return domain.StudyID(m.Metadata.Get("study"))
}
