package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrOtherPast is returned when the log does not hold what was seen in it before, as after the restore of an older backup. What
// was made from the log has to be made anew, or the right log to be put back.
var ErrOtherPast = errors.New("the log has another past than the one that was seen")

// ErrAheadOfLog is an ErrOtherPast: a position lies beyond the end of the log.
var ErrAheadOfLog = fmt.Errorf("%w: the position lies beyond the end of the log", ErrOtherPast)

// Past numbers the pasts of the log that this process has met, from 1. It grows when the log is found not to hold what this
// process has seen in it. What was read in one past must not be used in another.
type Past uint64

// Past returns the number of the log's present past. A later request may meet another one; an append that names its past does
// not.
func (l *Log) Past() Past { return Past(l.past.Load()) + 1 }

// ErrPastChanged is returned by an append that was decided on another past than the log has now. Nothing was stored.
var ErrPastChanged = fmt.Errorf("%w: what the append was decided on is lost", ErrOtherPast)

// Mark returns the mark of an event.
func (r Recorded) Mark() domain.Mark {
	return domain.Mark{Stream: r.Stream, Revision: r.Revision, ID: r.ID.String(), Position: r.Position}
}

// Recognise returns nil if the log reaches up to a position and holds the event of a mark, which is the last that was seen up to
// there. It returns ErrOtherPast otherwise. It believes that only when the node that leads has said so for as long as the patience
// lasts, because a new leader may not know its end yet. The zero mark is not looked for. An event that was deleted, or removed by
// a scavenge, proves nothing.
func (l *Log) Recognise(ctx context.Context, at domain.Position, last domain.Mark, patience time.Duration) error {
	_, err := l.recogniseAfter(ctx, at, last, patience)
	return err
}

// MarkAt returns the mark of the last event of registered categories up to a position; the zero Mark if there is none.
func (l *Log) MarkAt(ctx context.Context, at domain.Position) (domain.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	mark, err := call(ctx, l, l.markAt(at))
	return mark, l.explain("read $all", err)
}

// recogniseAfter is Recognise, and returns the position after which to go on: that of the mark, if the log holds the mark and ends before
// at. Events of the event store itself are lost then, which nobody has seen.
func (l *Log) recogniseAfter(ctx context.Context, at domain.Position, last domain.Mark, patience time.Duration,
) (after domain.Position, err error) {
	for asked := time.Now(); ; {
		after, err = l.recogniseOnce(ctx, at, last)
		if !errors.Is(err, ErrOtherPast) || time.Since(asked) >= patience {
			return after, err
		}
		select {
		case <-ctx.Done():
			return at, ctx.Err()
		case <-time.After(min(patience, time.Second)):
		}
	}
}

func (l *Log) recogniseOnce(ctx context.Context, at domain.Position, last domain.Mark) (domain.Position, error) {
	asking, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	found := sighting{}
	if !last.IsZero() {
		var err error
		if found, err = call(asking, l, sight(last)); err != nil {
			return at, l.explain("read streams", err)
		}
	}
	end, err := l.End(ctx)
	switch {
	case err != nil:
		return at, err
	case found.missing != "":
		return at, fmt.Errorf("%w: %s", ErrOtherPast, found.missing)
	case !end.Before(at):
		return at, nil
	case found.held:
		return last.Position, nil
	}
	return at, fmt.Errorf("position %d was seen: %w, which ends at %d", at.Commit, ErrAheadOfLog, end.Commit)
}

// sighting is what came of looking for the event of a mark. It is neither held nor missing where that cannot be told, because
// its stream was deleted or truncated.
type sighting struct {
	held    bool
	missing string // why the log does not hold it
	// other says that another event is at its place. No node shows that of a log that holds the mark, however far it lags behind.
	other bool
}

// sight returns the request that looks for the event of a mark. It looks in the event's stream, because a position between two
// events, as the position of another past may be, is an error for some servers.
func sight(m domain.Mark) request[sighting] {
	return func(ctx context.Context, client client) (sighting, error) {
		found, err := allOf(streamRequest(m.Stream, m.Revision, 1))(ctx, client)
		switch {
		case errors.Is(err, ErrStreamDeleted):
			return sighting{}, nil
		case err != nil:
			return sighting{}, err
		case len(found) > 0 && found[0].Revision > m.Revision: // the stream was truncated
			return sighting{}, nil
		case len(found) > 0 && found[0].ID.String() != m.ID:
			return sighting{missing: fmt.Sprintf("another event is at %s@%d", m.Stream, m.Revision), other: true}, nil
		case len(found) > 0 && isKnown(found[0].Position) && found[0].Position.Commit != m.Position.Commit:
			return sighting{missing: fmt.Sprintf("the event %s@%d is at position %d, and was at %d", m.Stream, m.Revision,
				found[0].Position.Commit, m.Position.Commit), other: true}, nil
		case len(found) > 0:
			return sighting{held: true}, nil
		}
		metadata, err := allOf(lastRequest("$$"+m.Stream))(ctx, client)
		deleted := errors.Is(err, ErrStreamDeleted)
		if err != nil && !deleted {
			return sighting{}, err
		}
		if deleted || len(metadata) > 0 && hides(metadata[0].Data) {
			return sighting{}, nil
		}
		return sighting{missing: fmt.Sprintf("the event %s@%d, at position %d, is not there", m.Stream, m.Revision, m.Position.Commit)}, nil
	}
}

// isKnown says whether a server has told a position: older ones do not where a stream is read.
func isKnown(p domain.Position) bool { return p.Commit != 0 && p.Commit != math.MaxUint64 }

// hides says whether a stream's metadata may hide events of the stream, or let a scavenge remove them.
func hides(metadata []byte) bool {
	var of struct {
		Before any `json:"$tb"`
		Count  any `json:"$maxCount"`
		Age    any `json:"$maxAge"`
	}
	return json.Unmarshal(metadata, &of) != nil || of.Before != nil || of.Count != nil || of.Age != nil
}

// atOnePosition is more events than share a position.
const atOnePosition = 1000

// markAt returns the request for the mark of the last event of registered categories up to a position.
func (l *Log) markAt(at domain.Position) request[domain.Mark] {
	return func(ctx context.Context, client client) (domain.Mark, error) {
		if at == (domain.Position{}) {
			return domain.Mark{}, nil
		}
		filter := &streams.ReadReq_Options_Filter{Filter: ofCategories(l.registry.Categories())}
		// Backwards, a read begins with the event before the position, forwards with those at it.
		for _, backwards := range []bool{false, true} {
			o := &streams.ReadReq_Options{StreamOption: allAfter(at), FilterOption: filter,
				CountOption: &streams.ReadReq_Options_Count{Count: 1}}
			if backwards {
				o.ReadDirection = streams.ReadReq_Options_Backwards
			}
			found, err := allOf(readRequest(o))(ctx, client)
			if err == nil && !backwards && len(found) > 0 && found[0].Position == at { // others may share the position
				o.CountOption = &streams.ReadReq_Options_Count{Count: atOnePosition}
				found, err = allOf(readRequest(o))(ctx, client)
			}
			if err != nil {
				return domain.Mark{}, err
			}
			mark := domain.Mark{}
			for _, e := range found {
				if !at.Before(e.Position) {
					mark = e.Mark()
				}
			}
			if !mark.IsZero() {
				return mark, nil
			}
		}
		return domain.Mark{}, nil
	}
}

// newestMark is the request for the mark of the last event of registered categories.
func (l *Log) newestMark(ctx context.Context, client client) (domain.Mark, error) {
	last := backwardsRequest(1)
	last.Options.FilterOption = &streams.ReadReq_Options_Filter{Filter: ofCategories(l.registry.Categories())}
	events, err := allOf(last)(ctx, client)
	if err != nil || len(events) == 0 {
		return domain.Mark{}, err
	}
	return events[0].Mark(), nil
}

// note notes that an event was seen in the log, by which the next session recognises the log.
func (l *Log) note(m domain.Mark) {
	if m.IsZero() || !isKnown(m.Position) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest.IsZero() || l.newest.Position.Before(m.Position) {
		l.newest = m
	}
}

// noteAll notes the newest of events that were read.
func (l *Log) noteAll(events []Recorded) {
	var newest Recorded
	for _, e := range events {
		if l.registry.holds(e.Stream) && isKnown(e.Position) && newest.Position.Before(e.Position) {
			newest = e
		}
	}
	if newest.Stream != "" {
		l.note(newest.Mark())
	}
}

// meetPatience is how long the leader of a cluster is asked whether it does not show an event yet that was seen. It has the event,
// but shows only what it knows to be replicated, which a new leader may have to find out.
const meetPatience = 10 * time.Second

// meet finds out, in a new session that nobody uses yet, whether the log still has the past that this process has seen. If it has
// not, the past has a new number. That another event is at the place of one that was seen is believed at once: it costs no more than
// reading again what is cached, and sending again what is under way.
func (l *Log) meet(ctx context.Context, s *session) error {
	l.mu.Lock()
	seen := l.newest
	l.mu.Unlock()
	if seen.IsZero() {
		return nil
	}
	var found sighting
	for asked := time.Now(); ; {
		var err error
		found, err = promptly(ctx, s, sight(seen))
		denied := status.Code(err) == codes.PermissionDenied || status.Code(err) == codes.Unauthenticated
		if err == nil && found.missing == "" || denied { // without the right, nothing was seen either
			return nil
		}
		if err != nil {
			return fmt.Errorf("find out whether %s has the log that was seen: %w", s.node.Address, err)
		}
		if found.other || !s.node.Clustered || time.Since(asked) >= min(meetPatience, l.patience) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.over.Done():
			return context.Cause(s.over)
		case <-time.After(retryMost):
		}
	}
	newest, err := promptly(ctx, s, l.newestMark)
	if err != nil {
		return fmt.Errorf("find out where the log of %s ends: %w", s.node.Address, err)
	}
	l.logger.Error("the log does not hold the last event that was seen in it; what is cached is dropped, and commands under way are refused",
		"event", fmt.Sprintf("%s@%d", seen.Stream, seen.Revision), "position", seen.Position.Commit, "reason", found.missing)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = newest
	l.past.Add(1)
	return nil
}
