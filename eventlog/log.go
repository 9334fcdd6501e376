package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// Log is the connection to the event store. It is safe for concurrent use.
type Log struct {
	registry *Registry
	config   *esdb.Configuration
	logger   *slog.Logger
	timeout  time.Duration
	batches  *batchAppender // nil where the server does not speak BatchAppend

	mu     sync.Mutex
	client *esdb.Client
	closed bool
}

// Options say how to reach the event store.
type Options struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// Registry knows the events.
	Registry *Registry
	// Logger takes what goes wrong on the way; nil for none.
	Logger *slog.Logger
	// Timeout bounds each append and read of a stream; 10 seconds when 0.
	Timeout time.Duration
}

// ErrConflict says that the stream does not end where the append expected it to.
var ErrConflict = errors.New("the stream has other events than expected")

// ErrAheadOfLog says that a position lies beyond the end of the log, as after the restore of an older backup. Whoever
// kept it must start anew.
var ErrAheadOfLog = errors.New("the position lies beyond the end of the log")

// Connect returns a Log on the event store. It waits, within ctx, until the server answers.
func Connect(ctx context.Context, o Options) (*Log, error) {
	config, err := esdb.ParseConnectionString(o.URL)
	if err != nil {
		return nil, fmt.Errorf("event store address %q: %w", o.URL, err)
	}
	config.Logger = esdb.NoopLogging() // what matters comes back as an error
	l := &Log{registry: o.Registry, config: config, logger: o.Logger, timeout: o.Timeout}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.timeout == 0 {
		l.timeout = 10 * time.Second
	}
	for {
		if err = l.Ping(ctx); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("event store %s does not answer: %w", config.Address, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if l.batches, err = openBatchAppender(ctx, config, l.logger); err != nil {
		return nil, errors.Join(fmt.Errorf("open the append stream to %s: %w", config.Address, err), l.Close())
	}
	return l, nil
}

// Registry returns the registry of events that the log reads and writes.
func (l *Log) Registry() *Registry { return l.registry }

// Close ends the connection; appends that are under way fail.
func (l *Log) Close() error {
	var errs []error
	if l.batches != nil {
		errs = append(errs, l.batches.close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.client != nil {
		errs = append(errs, l.client.Close())
		l.client = nil
	}
	return errors.Join(errs...)
}

// connection returns the official client, and replaces one that has given up: it ends for good when its discovery
// fails, even if the server comes back a moment later.
func (l *Log) connection() (*esdb.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the event log is closed")
	}
	if l.client == nil {
		client, err := esdb.NewClient(l.config)
		if err != nil {
			return nil, err
		}
		l.client = client
	}
	return l.client, nil
}

// failed passes err on, and drops the client where err says that it has given up.
func (l *Log) failed(client *esdb.Client, err error) error {
	var e *esdb.Error
	if errors.As(err, &e) && (e.Code() == esdb.ErrorCodeConnectionClosed || e.Code() == esdb.ErrorUnavailable) || isDiscoveryFailure(err) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.client == client {
			l.client = nil
			go func() { _ = client.Close() }() // its own goroutine: Close waits for a client that may hang in discovery
		}
	}
	return err
}

func isDiscoveryFailure(err error) bool {
	var e *esdb.Error
	return err != nil && !errors.As(err, &e)
}

// Ping asks the event store for the end of the log.
func (l *Log) Ping(ctx context.Context) error {
	_, err := l.End(ctx)
	return err
}

// End returns the position of the last event in the log; the zero Position for an empty log.
func (l *Log) End(ctx context.Context) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	client, err := l.connection()
	if err != nil {
		return Position{}, err
	}
	stream, err := client.ReadAll(ctx, esdb.ReadAllOptions{From: esdb.End{}, Direction: esdb.Backwards}, 1)
	if err != nil {
		return Position{}, l.failed(client, err)
	}
	defer stream.Close()
	last, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return Position{}, nil
	}
	if err != nil {
		return Position{}, l.failed(client, err)
	}
	p := last.OriginalEvent().Position
	return Position{Commit: p.Commit, Prepare: p.Prepare}, nil
}

// Appended is the outcome of an append.
type Appended struct {
	// Events are the events as they were stored; their Position is that of the append's last event.
	Events []Recorded
	// Tail is the stream's end behind them.
	Tail Tail
	// Position is the log position of the last of them.
	Position Position
}

// Append stores events at the end of a stream, all or none, and returns when they are durable. tail is the end of the
// stream as the caller knows it; if it has moved, nothing is stored and the error is ErrConflict. Event ids are derived
// from commandID, so the same append sent again is stored once.
func (l *Log) Append(ctx context.Context, stream string, tail Tail, commandID uuid.UUID, meta Metadata, events ...any) (Appended, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	out := Appended{Events: make([]Recorded, len(events)), Tail: tail}
	for i, event := range events {
		name, version, data, err := l.registry.Encode(event)
		if err != nil {
			return Appended{}, fmt.Errorf("append to %s: %w", stream, err)
		}
		meta.Schema, meta.PreviousHash = version, out.Tail.Hash
		raw, err := json.Marshal(meta)
		if err != nil {
			return Appended{}, fmt.Errorf("append to %s: encode metadata: %w", stream, err)
		}
		r := Recorded{ID: EventID(commandID, i), Stream: stream, Revision: uint64(out.Tail.Revision + 1), Type: name,
			Data: data, RawMetadata: raw, Metadata: meta, Event: event}
		out.Events[i], out.Tail = r, TailAfter(r)
	}
	var err error
	if l.batches != nil {
		out.Position, err = l.batches.append(ctx, stream, tail.Revision, out.Events)
	} else {
		out.Position, err = l.appendOnce(ctx, stream, tail.Revision, out.Events)
	}
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	for i := range out.Events {
		out.Events[i].Position = out.Position
	}
	return out, nil
}

// appendOnce appends through the official client, for servers without BatchAppend and for clusters, where the client
// finds the leader.
func (l *Log) appendOnce(ctx context.Context, stream string, revision int64, events []Recorded) (Position, error) {
	client, err := l.connection()
	if err != nil {
		return Position{}, err
	}
	proposed := make([]esdb.EventData, len(events))
	for i, e := range events {
		proposed[i] = esdb.EventData{EventID: e.ID, EventType: e.Type, ContentType: esdb.ContentTypeJson, Data: e.Data, Metadata: e.RawMetadata}
	}
	opts := esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}, RequiresLeader: true}
	if revision >= 0 {
		opts.ExpectedRevision = esdb.Revision(uint64(revision))
	}
	result, err := client.AppendToStream(ctx, stream, opts, proposed...)
	if err != nil {
		var e *esdb.Error
		if errors.As(err, &e) && e.Code() == esdb.ErrorCodeWrongExpectedVersion {
			return Position{}, ErrConflict
		}
		return Position{}, l.failed(client, err)
	}
	return Position{Commit: result.CommitPosition, Prepare: result.PreparePosition}, nil
}

// ReadStream returns the stream's events from a revision on. A stream that does not exist has no events.
func (l *Log) ReadStream(ctx context.Context, stream string, from uint64) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, l.timeout)
		defer cancel()
		client, err := l.connection()
		if err != nil {
			yield(Recorded{}, err)
			return
		}
		events, err := client.ReadStream(ctx, stream, esdb.ReadStreamOptions{From: esdb.Revision(from), Direction: esdb.Forwards}, math.MaxInt64)
		if err != nil {
			yield(Recorded{}, fmt.Errorf("read %s: %w", stream, l.failed(client, err)))
			return
		}
		defer events.Close()
		l.yieldAll(client, stream, events, yield)
	}
}

// Last returns the last event of a stream, and false where the stream has none.
func (l *Log) Last(ctx context.Context, stream string) (last Recorded, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	client, err := l.connection()
	if err != nil {
		return Recorded{}, false, err
	}
	events, err := client.ReadStream(ctx, stream, esdb.ReadStreamOptions{From: esdb.End{}, Direction: esdb.Backwards}, 1)
	if err != nil {
		return Recorded{}, false, fmt.Errorf("read the end of %s: %w", stream, l.failed(client, err))
	}
	defer events.Close()
	l.yieldAll(client, stream, events, func(r Recorded, e error) bool {
		last, found, err = r, e == nil, e
		return false
	})
	return last, found, err
}

// ReadLast returns up to count events from the end of the whole log, the newest first, of registered categories.
func (l *Log) ReadLast(ctx context.Context, count uint64) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		client, err := l.connection()
		if err != nil {
			yield(Recorded{}, err)
			return
		}
		events, err := client.ReadAll(ctx, esdb.ReadAllOptions{From: esdb.End{}, Direction: esdb.Backwards}, count)
		if err != nil {
			yield(Recorded{}, fmt.Errorf("read the log's end: %w", l.failed(client, err)))
			return
		}
		defer events.Close()
		l.yieldAll(client, "$all", events, yield)
	}
}

func (l *Log) yieldAll(client *esdb.Client, what string, events *esdb.ReadStream, yield func(Recorded, error) bool) {
	for {
		next, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			var e *esdb.Error
			if errors.As(err, &e) && e.Code() == esdb.ErrorCodeResourceNotFound {
				return
			}
			yield(Recorded{}, fmt.Errorf("read %s: %w", what, l.failed(client, err)))
			return
		}
		original := next.OriginalEvent()
		if !l.registry.holds(original) {
			continue // the store's own events, or another program's
		}
		if r, err := l.decode(original); !yield(r, err) || err != nil {
			return
		}
	}
}
