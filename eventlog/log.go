package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/eventlog/leader"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// Log is the connection to the event store: to the node that leads, if it is a cluster. When that node is lost, requests wait
// for the next one, and are sent again. It is safe for concurrent use.
type Log struct {
	registry *Registry
	keys     Keys
	proofKey []byte // nil where the proofs of resolutions cannot be checked
	settings *esdb.Configuration
	finder   *leader.Finder
	inside   grpc.ClientConnInterface // nil where the event store is reached over the network
	logger   *slog.Logger
	timeout  time.Duration
	patience time.Duration

	stop       context.CancelFunc
	supervised chan struct{} // closed when supervise has ended

	mu sync.Mutex // guards the fields below
	// current is the session with the node that leads; nil while there is none. changed is closed and replaced when current or
	// failure changes.
	current *session
	changed chan struct{}
	// failure is why there is no session; lasting says that waiting does not help.
	failure error
	lasting bool
	// newest is the mark of the newest event that was seen in the log.
	newest domain.Mark

	newsMu   sync.Mutex // guards news
	news     *news      // those of the latest session that had any; nil before
	newsMost int        // the most events that they hold

	// past is how often the log was found to have another past.
	past atomic.Uint64
	// lost is when the latest time without a leader began, and found when it ended; zero while it lasts. withoutLeader is how long
	// those lasted that are over.
	lost, found   time.Time
	withoutLeader time.Duration
}

// Options say how to reach the event store.
type Options struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// InProcess is the connection to an event store of one node that runs in this process; nil for one that is reached over the
	// network.
	InProcess grpc.ClientConnInterface
	// Registry holds the types of events that can be read and written.
	Registry *Registry
	// BlindingKeys seal and open blinded values. If nil, these values are read sealed and cannot be written.
	BlindingKeys *BlindingKeys
	// PersonalKeys seal personal values. If nil, these values cannot be written.
	PersonalKeys personal.Keys
	// Logger receives warnings about broken connections; nil for none.
	Logger *slog.Logger
	// Timeout bounds each append and read whose context has no deadline; 10 seconds when 0.
	Timeout time.Duration
	// Registerer registers the metrics; nil for none.
	Registerer prometheus.Registerer
	// Patience is how long the leader of the event store is asked again before the log counts as one with another past: a new
	// leader may not know its end yet. 30 seconds when 0.
	Patience time.Duration
}

// ErrConflict is returned when the stream does not end where the append expected it to end. The error is a *ConflictError.
var ErrConflict = errors.New("the stream has other events than expected")

// ConflictError is an ErrConflict that tells where the stream ends.
type ConflictError struct {
	// Current is the stream's last revision; -1 for none. Reads show it.
	Current int64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v, and ends at revision %d", ErrConflict, e.Current)
}

// Is reports whether target is ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// ErrUnknownOutcome is returned when it is not known whether the events of an append are stored. An append with the same
// command id finds out.
var ErrUnknownOutcome error = &unavailable{errors.New("whether the events are stored is not known")}

// ErrTooLarge is returned when the events of an append exceed its maximum size.
var ErrTooLarge = errors.New("the events are too large for one append")

// ErrStreamDeleted is returned when somebody has deleted the stream from the event store for good. Nothing was stored.
var ErrStreamDeleted = errors.New("the stream was deleted from the event store")

// ErrRejected is returned when the event store does not take events, and would not take them if they were sent again. Nothing was
// stored.
var ErrRejected = errors.New("the event store does not take these events")

// maxAppendBytes keeps an append below the event store's own limit of 1 MiB, with room for what the store adds.
const maxAppendBytes = 1<<20 - 16<<10

// Open returns a Log on the event store without waiting for it. Requests wait until a node leads.
func Open(o Options) (*Log, error) {
	settings, err := leader.Settings(o.URL)
	if err != nil {
		return nil, err
	}
	l := &Log{registry: o.Registry, keys: Keys{Blinding: o.BlindingKeys, Personal: o.PersonalKeys}, settings: settings,
		finder: leader.NewFinder(settings), inside: o.InProcess, logger: o.Logger, timeout: o.Timeout, patience: o.Patience,
		changed: make(chan struct{}), supervised: make(chan struct{}),
		lost: time.Now(), newsMost: newsEvents}
	if o.BlindingKeys != nil {
		l.CheckProofsWith(o.BlindingKeys)
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.patience == 0 {
		l.patience = 30 * time.Second
	}
	if l.timeout == 0 {
		l.timeout = 10 * time.Second
	}
	if o.Registerer != nil {
		if err := l.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("register the event log's metrics: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go func() {
		defer close(l.supervised)
		l.supervise(ctx)
	}()
	return l, nil
}

// Connect returns a Log on the event store. It waits until the server answers or ctx ends. It fails with leader.ErrTooOld if
// the server is too old, and with ErrMissingRight if it refuses the account.
func Connect(ctx context.Context, o Options) (*Log, error) {
	l, err := Open(o)
	if err != nil {
		return nil, err
	}
	if err := l.Await(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Await waits until the event store answers, or ctx ends. It fails at once where waiting does not help.
func (l *Log) Await(ctx context.Context) error {
	ask := func() error {
		ctx, cancel := context.WithTimeout(ctx, l.timeout)
		defer cancel()
		_, err := l.End(ctx)
		return err
	}
	for {
		err := ask()
		if err == nil || errors.Is(err, ErrMissingRight) || errors.Is(err, leader.ErrTooOld) || errors.Is(err, ErrClosed) {
			return err
		}
		l.logger.Warn("waits for the event store", "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("event store %s does not answer: %w", leader.Addresses(l.settings), err)
		case <-time.After(retryMost):
		}
	}
}

// Patience is how long a follower asks before it believes that the log has another past.
func (l *Log) Patience() time.Duration { return l.patience }

// Registry returns the registry of events that the log reads and writes.
func (l *Log) Registry() *Registry { return l.registry }

// Close ends the connection. Appends that have not been answered fail.
func (l *Log) Close() error {
	l.stop()
	<-l.supervised
	return l.finder.Close()
}

// Ping returns an error if no node of the event store leads, or if the one that does does not answer. It does not wait for
// another one.
func (l *Log) Ping(ctx context.Context) error {
	s, err := l.session(ctx, false)
	if err != nil {
		return err
	}
	_, err = promptly(ctx, s, endOf)
	return l.explain("read $all", err)
}

// bounded bounds a request: by its own deadline, so that it waits as long for a leader as its caller does for an answer, and
// otherwise by the Log's timeout. A little time remains before the deadline, in which the caller can say what happened.
func (l *Log) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, set := ctx.Deadline()
	if !set {
		return context.WithTimeout(ctx, l.timeout)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/answerShare, answerTime)))
}

// The time that remains is a share of the time before the deadline, and answerTime at most.
const (
	answerShare = 10
	answerTime  = 500 * time.Millisecond
)

// End returns the position of the last event in the log; the zero Position for an empty log.
func (l *Log) End(ctx context.Context) (domain.Position, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	end, err := call(ctx, l, endOf)
	return end, l.explain("read $all", err)
}

// NewestEvent returns the position of the last event of registered categories; the zero Position if there is none. A subscription
// to them that has delivered it lacks nothing.
func (l *Log) NewestEvent(ctx context.Context) (domain.Position, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	last := backwardsRequest(1)
	last.Options.FilterOption = &streams.ReadReq_Options_Filter{Filter: ofCategories(l.registry.Categories())}
	events, err := call(ctx, l, allOf(last))
	if err != nil || len(events) == 0 {
		return domain.Position{}, l.explain("read $all", err)
	}
	return events[0].Position, nil
}

// Appended is the outcome of an append.
type Appended struct {
	// Events are the events as they were stored. All have the Position of the last one.
	Events []Recorded
	// Tail is the stream's new end.
	Tail Tail
	// Position is the log position of the last event.
	Position domain.Position
}

// Append stores events at the end of a stream, all or none, and returns when they are durable. tail is the end of the
// stream as the caller knows it. If the stream has a different end, nothing is stored and the error is ErrConflict. If
// the events exceed about 1 MiB together, the error is ErrTooLarge. It is ErrStreamDeleted, ErrMissingRight or ErrRejected if the
// event store will not store them, and ErrUnknownOutcome if it is not known whether it has.
//
// Event ids are derived from commandID, which the metadata get, and the events' bytes. An append that is sent again is
// therefore stored once, and a different append with the same commandID is a conflict. Events with blinded values differ each
// time they are encoded, because the values are sealed anew.
func (l *Log) Append(ctx context.Context, stream string, tail Tail, commandID uuid.UUID, meta Metadata, events ...any) (Appended, error) {
	encoded, err := l.Encode(stream, tail, commandID, meta, events...)
	if err != nil {
		return Appended{}, err
	}
	return l.AppendEncoded(ctx, encoded)
}

// Encoded are events that were encoded to follow one another in a stream, and are not stored yet.
type Encoded struct {
	// After is the end of the stream that the first event follows.
	After Tail
	// Tail is the end of the stream behind the last one.
	Tail Tail
	// Events have no Position yet.
	Events []Recorded
	// Size is what counts against the maximum size of an append.
	Size int
	// Past is the past of the log in which they were decided. They are stored in no other.
	Past Past
}

// MaxAppend is how large the events of an append may be together, by Encoded.Size.
const MaxAppend = maxAppendBytes

// Encode encodes the events of a command that follow an end of a stream, which need not be stored yet. AppendEncoded stores
// them. If they are too large for one append, the error is ErrTooLarge.
func (l *Log) Encode(stream string, tail Tail, commandID uuid.UUID, meta Metadata, events ...any) (Encoded, error) {
	out := Encoded{After: tail, Tail: tail, Events: make([]Recorded, len(events)), Past: l.Past()}
	meta.CommandID = commandID.String()
	keys := l.keys
	keys.texts = keys.textsOf(meta)
	for i, event := range events {
		name, version, data, err := l.registry.Encode(event, keys, meta.originIn(stream))
		if err != nil {
			return Encoded{}, fmt.Errorf("append to %s: %w", stream, err)
		}
		meta.Schema, meta.PreviousHash = version, out.Tail.Hash
		stored := meta
		if stored.Reason, err = keys.texts.stored(meta.Reason, meta.originIn(stream), name, reasonField); err != nil {
			return Encoded{}, fmt.Errorf("append to %s: seal the reason: %w", stream, err)
		}
		raw, err := json.Marshal(stored)
		if err != nil {
			return Encoded{}, fmt.Errorf("append to %s: encode metadata: %w", stream, err)
		}
		r := Recorded{
			ID: EventID(commandID, i, data, raw), Stream: stream, Revision: uint64(out.Tail.Revision + 1), Type: name,
			Data: data, RawMetadata: raw, Metadata: meta, Event: event,
		}
		if keys.texts.haveSealed() { // states do not keep the texts either
			if err := l.decodeInto(&r, knownMetadata); err != nil {
				return Encoded{}, fmt.Errorf("append to %s: %w", stream, err)
			}
		}
		out.Events[i] = r
		out.Tail = Tail{Revision: int64(r.Revision), Hash: Hash(r.ID, name, data, raw), CommandID: meta.CommandID, Index: i}
		out.Size += len(data) + len(raw)
	}
	if out.Size > maxAppendBytes {
		return Encoded{}, fmt.Errorf("append to %s: %w: %d bytes of at most %d", stream, ErrTooLarge, out.Size, maxAppendBytes)
	}
	return out, nil
}

// Followed returns the events with those of another command behind them, which were encoded to follow them.
func (e Encoded) Followed(by Encoded) Encoded {
	return Encoded{After: e.After, Tail: by.Tail, Events: append(e.Events, by.Events...), Size: e.Size + by.Size, Past: e.Past}
}

// AppendEncoded stores encoded events, all or none, like Append. They may be those of several commands. There has to be at
// least one. It fails with ErrPastChanged, and nothing is stored, if the log has another past by then.
func (l *Log) AppendEncoded(ctx context.Context, e Encoded) (Appended, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	stream := e.Events[0].Stream
	position, err := l.append(ctx, e.Past, stream, e.After.Revision, e.Events)
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	for i := range e.Events {
		e.Events[i].Position = position
	}
	l.note(e.Events[len(e.Events)-1].Mark())
	return Appended{Events: e.Events, Tail: e.Tail, Position: position}, nil
}

// PositionsOf returns the positions of events of a stream, count of them from a revision on, in their order.
func (l *Log) PositionsOf(ctx context.Context, stream string, from, count uint64) ([]domain.Position, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	events, err := call(ctx, l, allOf(streamRequest(stream, from, count)))
	if err != nil {
		return nil, fmt.Errorf("read %s@%d: %w", stream, from, err)
	}
	positions := make([]domain.Position, len(events))
	for i, e := range events {
		positions[i] = e.Position
	}
	return positions, nil
}
