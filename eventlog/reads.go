package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// ReadStream returns the events of a stream, beginning with the revision from. A stream that does not exist has no
// events. Streams are small, so the whole stream is read before the first event is returned. In place of an
// event that cannot be decoded comes an UndecodableError; those who go on get the events after it.
func (l *Log) ReadStream(ctx context.Context, stream string, from uint64) iter.Seq2[Recorded, error] {
	return l.read(ctx, stream, streamRequest(stream, from, math.MaxInt64))
}

// ReadSome is ReadStream for count events at most.
func (l *Log) ReadSome(ctx context.Context, stream string, from, count uint64) iter.Seq2[Recorded, error] {
	return l.read(ctx, stream, streamRequest(stream, from, count))
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
	for r, err := range l.read(ctx, stream, lastRequest(stream)) {
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
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	events, err := call(ctx, l, allOf(streamRequest(stream, revision, 1)))
	if err != nil || len(events) == 0 || events[0].Revision != revision {
		return Recorded{}, false, err
	}
	l.noteAll(events)
	return events[0], true, nil
}

// ReadLast returns the last count events of registered categories, the newest first. Events of the store itself, and links, do
// not count.
func (l *Log) ReadLast(ctx context.Context, count uint64) iter.Seq2[Recorded, error] {
	last := backwardsRequest(count)
	last.Options.FilterOption = &streams.ReadReq_Options_Filter{Filter: ofCategories(l.registry.Categories())}
	return l.read(ctx, "the log's end", last)
}

// firstAfterCount is enough events to find the first behind a position, where a read begins with the event at the position.
const firstAfterCount = 2

// FirstAfter returns when the first event of a registered category behind a position was stored, and false if there is none. The
// event need not be one that can be decoded.
func (l *Log) FirstAfter(ctx context.Context, at domain.Position) (stored time.Time, is bool, err error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	options := &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: firstAfterCount}}
	options.StreamOption = allAfter(at)
	options.FilterOption = &streams.ReadReq_Options_Filter{Filter: ofCategories(l.registry.Categories())}
	events, err := call(ctx, l, allOf(readRequest(options)))
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read behind position %d: %w", at.Commit, l.explain("read $all", err))
	}
	for _, e := range events {
		if at.Before(e.Position) {
			return e.StoredAt, true, nil
		}
	}
	return time.Time{}, false, nil
}

// allAfter selects the whole log from a position on; the zero Position is its beginning.
func allAfter(at domain.Position) *streams.ReadReq_Options_All {
	all := &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}}
	if at != (domain.Position{}) {
		all.AllOption = &streams.ReadReq_Options_AllOptions_Position{
			Position: &streams.ReadReq_Options_Position{CommitPosition: at.Commit, PreparePosition: at.Prepare}}
	}
	return &streams.ReadReq_Options_All{All: all}
}

// read returns the events of a read. what names the events in an error.
func (l *Log) read(ctx context.Context, what string, of *streams.ReadReq) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		ctx, cancel := l.bounded(ctx)
		defer cancel()
		events, err := call(ctx, l, allOf(of))
		if err != nil {
			yield(Recorded{}, fmt.Errorf("read %s: %w", what, l.explain("read "+what, err)))
			return
		}
		l.noteAll(events)
		for _, e := range events {
			if !l.registry.holds(e.Stream) {
				continue // the store's own events, or another program's
			}
			r, err := l.decode(e)
			if err != nil {
				r, err = Recorded{}, &UndecodableError{r, err}
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// allOf reads all events of a read. A stream that does not exist has none.
func allOf(of *streams.ReadReq) request[[]Recorded] {
	return func(ctx context.Context, client client) ([]Recorded, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		answers, err := client.read(ctx, of)
		if err != nil {
			return nil, err
		}
		var events []Recorded
		for {
			answer, err := answers.next()
			if errors.Is(err, io.EOF) {
				return events, nil
			}
			if deleted := answers.Trailer()["exception"]; err != nil && slices.Contains(deleted, "stream-deleted") {
				return nil, fmt.Errorf("%w: %w", ErrStreamDeleted, err)
			}
			if err != nil {
				return nil, err
			}
			if answer.isEvent {
				events = append(events, answer.event)
			}
		}
	}
}

// endOf reads the position of the last event.
func endOf(ctx context.Context, client client) (domain.Position, error) {
	last, err := allOf(backwardsRequest(1))(ctx, client)
	if err != nil || len(last) == 0 {
		return domain.Position{}, err
	}
	return last[0].Position, nil
}

func readRequest(o *streams.ReadReq_Options) *streams.ReadReq {
	o.UuidOption = &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}}
	if o.FilterOption == nil {
		o.FilterOption = &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}}
	}
	return &streams.ReadReq{Options: o}
}

// streamRequest reads a stream forwards, beginning with a revision.
func streamRequest(stream string, from, count uint64) *streams.ReadReq {
	return readRequest(&streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)},
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_Revision{Revision: from}}},
		CountOption: &streams.ReadReq_Options_Count{Count: count},
	})
}

// lastRequest reads the last event of a stream.
func lastRequest(stream string) *streams.ReadReq {
	return readRequest(&streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)},
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_End{End: &shared.Empty{}}}},
		ReadDirection: streams.ReadReq_Options_Backwards,
		CountOption:   &streams.ReadReq_Options_Count{Count: 1},
	})
}

// backwardsRequest reads the last events of the whole log.
func backwardsRequest(count uint64) *streams.ReadReq {
	return readRequest(&streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_End{End: &shared.Empty{}}}},
		ReadDirection: streams.ReadReq_Options_Backwards,
		CountOption:   &streams.ReadReq_Options_Count{Count: count},
	})
}
