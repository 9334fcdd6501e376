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

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// Log is the connection to the event store. It is safe for concurrent use.
type Log struct {
	registry *Registry
	keys     *BlindingKeys // nil where blinded values stay sealed
	proofKey []byte        // nil where the proofs of resolutions cannot be checked
	config   *esdb.Configuration
	logger   *slog.Logger
	timeout  time.Duration
	patience time.Duration
	batches  *batchAppender // nil when the server does not support BatchAppend
	client   *esdb.Client

	mu     sync.Mutex
	calls  int // calls of client that are running
	closed bool
}

// Options say how to reach the event store.
type Options struct {
	// URL is the connection string, such as esdb://127.0.0.1:2113?tls=false.
	URL string
	// Registry holds the types of events that can be read and written.
	Registry *Registry
	// BlindingKeys seal and open blinded values. If nil, these values are read sealed and cannot be written.
	BlindingKeys *BlindingKeys
	// Logger receives warnings about broken connections; nil for none.
	Logger *slog.Logger
	// Timeout bounds each append and read of a stream; 10 seconds when 0.
	Timeout time.Duration
	// Patience is how long the leader of the event store is asked again before a position counts as beyond the end of the
	// log: a new leader may not know its end yet. 30 seconds when 0.
	Patience time.Duration
}

// ErrConflict is returned when the stream does not end where the append expected it to end.
var ErrConflict = errors.New("the stream has other events than expected")

// ErrTooLarge is returned when the events of an append exceed its maximum size.
var ErrTooLarge = errors.New("the events are too large for one append")

// maxAppendBytes keeps an append below the event store's own limit of 1 MiB, with room for what the store adds.
const maxAppendBytes = 1<<20 - 16<<10

// ErrAheadOfLog is returned when a position lies beyond the end of the log, as after the restore of an older backup.
// What was built from the log up to this position has to be rebuilt.
var ErrAheadOfLog = errors.New("the position lies beyond the end of the log")

// Connect returns a Log on the event store. It waits until the server answers or ctx ends.
func Connect(ctx context.Context, o Options) (*Log, error) {
	config, err := esdb.ParseConnectionString(o.URL)
	if err != nil {
		return nil, fmt.Errorf("the event store's address is malformed: %w", err) // it may hold a password
	}
	config.Logger = esdb.NoopLogging() // failures are returned as errors
	// A client whose discovery fails never recovers, and blocks its callers. With this setting it never gives up: it finds
	// the server as soon as it is back, and call lets callers wait no longer than their context.
	config.MaxDiscoverAttempts = math.MaxInt32
	l := &Log{registry: o.Registry, keys: o.BlindingKeys, config: config, logger: o.Logger, timeout: o.Timeout,
		patience: o.Patience}
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
	if l.client, err = esdb.NewClient(config); err != nil {
		return nil, fmt.Errorf("event store %s: %w", config.Address, err)
	}
	for {
		if err = l.Ping(ctx); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("event store %s does not answer: %w", config.Address, err), l.Close())
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

// Close ends the connection. Appends that have not been answered fail.
func (l *Log) Close() error {
	var err error
	if l.batches != nil {
		err = l.batches.close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.calls > 0 {
		return err // the last call closes the client, which panics when it is closed during a call
	}
	return errors.Join(err, l.client.Close())
}

func (l *Log) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the event log is closed")
	}
	l.calls++
	return nil
}

func (l *Log) ended() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls--; l.closed && l.calls == 0 {
		_ = l.client.Close()
	}
}

// call runs a request of the client, and returns at the latest when ctx ends. The client ignores contexts while it
// searches for its server; the abandoned request then ends when the client has found the server.
func call[T any](ctx context.Context, l *Log, request func(*esdb.Client) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	if err := l.begin(); err != nil {
		return *new(T), err
	}
	done := make(chan outcome, 1)
	go func() {
		defer l.ended()
		value, err := request(l.client)
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

// Ping returns an error if the event store does not answer.
func (l *Log) Ping(ctx context.Context) error {
	_, err := l.End(ctx)
	return err
}

// End returns the position of the last event in the log; the zero Position for an empty log.
func (l *Log) End(ctx context.Context) (domain.Position, error) { return l.end(ctx, false) }

// Reaches returns nil if the log reaches up to a position, and ErrAheadOfLog if it ends before. Followers of a leader may
// lag behind, so it asks the leader, and it asks again for as long as the Log's patience lasts.
func (l *Log) Reaches(ctx context.Context, at domain.Position) error {
	return l.reaches(ctx, at, l.patience)
}

func (l *Log) reaches(ctx context.Context, at domain.Position, patience time.Duration) error {
	for asked := time.Now(); ; {
		end, err := l.end(ctx, true)
		if err != nil || !end.Before(at) {
			return err
		}
		if time.Since(asked) >= patience {
			return fmt.Errorf("position %d was seen: %w, which ends at %d", at.Commit, ErrAheadOfLog, end.Commit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(patience, time.Second)):
		}
	}
}

func (l *Log) end(ctx context.Context, leader bool) (domain.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	return call(ctx, l, func(client *esdb.Client) (domain.Position, error) {
		stream, err := client.ReadAll(ctx, esdb.ReadAllOptions{From: esdb.End{}, Direction: esdb.Backwards, RequiresLeader: leader}, 1)
		if err != nil {
			return domain.Position{}, err
		}
		defer stream.Close()
		last, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return domain.Position{}, nil
		}
		if err != nil {
			return domain.Position{}, err
		}
		p := last.OriginalEvent().Position
		return domain.Position{Commit: p.Commit, Prepare: p.Prepare}, nil
	})
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
// the events exceed about 1 MiB together, the error is ErrTooLarge.
//
// Event ids are derived from commandID, which the metadata get, and the events' bytes. An append that is sent again is therefore stored once,
// and a different append with the same commandID is a conflict. Events with blinded values differ each time they are
// encoded, because the values are sealed anew.
func (l *Log) Append(ctx context.Context, stream string, tail Tail, commandID uuid.UUID, meta Metadata, events ...any) (Appended, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	out, size := Appended{Events: make([]Recorded, len(events)), Tail: tail}, 0
	meta.CommandID = commandID.String()
	for i, event := range events {
		name, version, data, err := l.registry.Encode(event, l.keys, meta.originIn(stream))
		if err != nil {
			return Appended{}, fmt.Errorf("append to %s: %w", stream, err)
		}
		meta.Schema, meta.PreviousHash = version, out.Tail.Hash
		raw, err := json.Marshal(meta)
		if err != nil {
			return Appended{}, fmt.Errorf("append to %s: encode metadata: %w", stream, err)
		}
		r := Recorded{
			ID: EventID(commandID, i, data, raw), Stream: stream, Revision: uint64(out.Tail.Revision + 1), Type: name,
			Data: data, RawMetadata: raw, Metadata: meta, Event: event,
		}
		out.Events[i] = r
		out.Tail = Tail{Revision: int64(r.Revision), Hash: Hash(r.ID, name, data, raw), CommandID: meta.CommandID, Index: i}
		size += len(data) + len(raw)
	}
	if size > maxAppendBytes {
		return Appended{}, fmt.Errorf("append to %s: %w: %d bytes of at most %d", stream, ErrTooLarge, size, maxAppendBytes)
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

// appendOnce appends through the official client. It serves clusters, where the client finds the leader, and servers
// without BatchAppend.
func (l *Log) appendOnce(ctx context.Context, stream string, revision int64, events []Recorded) (domain.Position, error) {
	proposed := make([]esdb.EventData, len(events))
	for i, e := range events {
		proposed[i] = esdb.EventData{
			EventID: e.ID, EventType: e.Type, ContentType: esdb.ContentTypeJson, Data: e.Data, Metadata: e.RawMetadata,
		}
	}
	opts := esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}, RequiresLeader: true}
	if revision >= 0 {
		opts.ExpectedRevision = esdb.Revision(uint64(revision))
	}
	return call(ctx, l, func(client *esdb.Client) (domain.Position, error) {
		result, err := client.AppendToStream(ctx, stream, opts, proposed...)
		if err != nil {
			var e *esdb.Error
			if errors.As(err, &e) && e.Code() == esdb.ErrorCodeWrongExpectedVersion {
				return domain.Position{}, ErrConflict
			}
			return domain.Position{}, err
		}
		if result.CommitPosition == 0 { // the client returns an answer that it does not understand as a success
			return domain.Position{}, noPosition("it gave no reason")
		}
		return domain.Position{Commit: result.CommitPosition, Prepare: result.PreparePosition}, nil
	})
}

// ReadStream returns the events of a stream, beginning with the revision from. A stream that does not exist has no
// events. Streams are small, so the whole stream is read before the first event is returned. In place of an
// event that cannot be decoded comes an UndecodableError; those who go on get the events after it.
func (l *Log) ReadStream(ctx context.Context, stream string, from uint64) iter.Seq2[Recorded, error] {
	return l.read(ctx, stream, func(ctx context.Context, client *esdb.Client) (*esdb.ReadStream, error) {
		return client.ReadStream(ctx, stream, esdb.ReadStreamOptions{From: esdb.Revision(from), Direction: esdb.Forwards}, math.MaxInt64)
	})
}

// ReadSound returns the events of a stream from its beginning that are part of the record. What is not is left out without
// an error.
func (l *Log) ReadSound(ctx context.Context, stream string) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		check := l.CheckStream(stream, EmptyTail)
		for r, err := range l.ReadStream(ctx, stream, 0) {
			next := r
			if undecodable := (*UndecodableError)(nil); errors.As(err, &undecodable) {
				next = undecodable.Event
			} else if err != nil {
				yield(r, err)
				return
			}
			damage, failed := check.Next(ctx, next)
			switch {
			case failed != nil:
				yield(r, failed)
				return
			case damage != nil && damage.Resolution == nil:
				return
			case damage == nil && !yield(next, err):
				return
			}
		}
	}
}

// Last returns the last event of a stream, and false if the stream has no events.
func (l *Log) Last(ctx context.Context, stream string) (last Recorded, found bool, err error) {
	for r, err := range l.read(ctx, stream, func(ctx context.Context, client *esdb.Client) (*esdb.ReadStream, error) {
		return client.ReadStream(ctx, stream, esdb.ReadStreamOptions{From: esdb.End{}, Direction: esdb.Backwards}, 1)
	}) {
		return r, err == nil, err
	}
	return Recorded{}, false, nil
}

// MetadataOf returns the metadata of one event, and false if the event does not exist. The event may be of a type that
// cannot be decoded.
func (l *Log) MetadataOf(ctx context.Context, stream string, revision uint64) (meta Metadata, found bool, err error) {
	r, found, err := l.rawAt(ctx, stream, revision)
	if err != nil {
		return Metadata{}, false, fmt.Errorf("read %s@%d: %w", stream, revision, err)
	}
	if found && json.Unmarshal(r.RawMetadata, &meta) != nil {
		meta = Metadata{} // another program's event
	}
	return meta, found, nil
}

// rawAt returns one event undecoded, and false if the stream does not have it.
func (l *Log) rawAt(ctx context.Context, stream string, revision uint64) (r Recorded, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	e, err := call(ctx, l, func(client *esdb.Client) (*esdb.RecordedEvent, error) {
		events, err := client.ReadStream(ctx, stream, esdb.ReadStreamOptions{From: esdb.Revision(revision), Direction: esdb.Forwards}, 1)
		if err != nil {
			return nil, err
		}
		defer events.Close()
		next, err := events.Recv()
		var e *esdb.Error
		if errors.Is(err, io.EOF) || errors.As(err, &e) && e.Code() == esdb.ErrorCodeResourceNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return next.OriginalEvent(), nil
	})
	if err != nil || e == nil || e.EventNumber != revision {
		return Recorded{}, false, err
	}
	return undecoded(e), true, nil
}

// ReadLast reads up to count events from the end of the whole log, the newest first, and returns those of registered
// categories.
func (l *Log) ReadLast(ctx context.Context, count uint64) iter.Seq2[Recorded, error] {
	return l.read(ctx, "the log's end", func(ctx context.Context, client *esdb.Client) (*esdb.ReadStream, error) {
		return client.ReadAll(ctx, esdb.ReadAllOptions{From: esdb.End{}, Direction: esdb.Backwards}, count)
	})
}

// openRead begins a read of the event store.
type openRead func(context.Context, *esdb.Client) (*esdb.ReadStream, error)

// read returns the events of a read. what names the events in an error.
func (l *Log) read(ctx context.Context, what string, open openRead) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, l.timeout)
		defer cancel()
		events, err := call(ctx, l, func(client *esdb.Client) ([]read, error) {
			stream, err := open(ctx, client)
			if err != nil {
				return nil, err
			}
			defer stream.Close()
			return l.collect(stream)
		})
		for _, e := range events {
			if !yield(e.event, e.err) {
				return
			}
		}
		if err != nil {
			yield(Recorded{}, fmt.Errorf("read %s: %w", what, err))
		}
	}
}

// read is an event that was read, or why it cannot be decoded.
type read struct {
	event Recorded
	err   error
}

// collect returns the events up to the end of the read.
func (l *Log) collect(stream *esdb.ReadStream) ([]read, error) {
	var events []read
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			var e *esdb.Error
			if errors.As(err, &e) && e.Code() == esdb.ErrorCodeResourceNotFound {
				return events, nil
			}
			return events, err
		}
		original := next.OriginalEvent()
		if !l.registry.holds(original.StreamID) {
			continue // the store's own events, or another program's
		}
		r, err := l.decode(original)
		if err != nil {
			events = append(events, read{err: &UndecodableError{r, err}})
			continue
		}
		events = append(events, read{event: r})
	}
}
