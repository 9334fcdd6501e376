package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// batchAppender sends all appends of a session over one long-lived BatchAppend stream, so that an append costs one message
// instead of a gRPC stream of its own. The official client does not use this call; batchAppender makes it on the client's
// connection. An append whose answer did not come, or says nothing of the outcome, is sent again, if need be to another node. Its
// event ids and its expected revision stay the same, so the server recognises an append that it has already stored and does
// not store it twice.
type batchAppender struct {
	// session is the context of the session, with which its streams end.
	session context.Context
	client  client
	header  metadata.MD

	mu     sync.Mutex // guards the fields below; it is not held while a server that takes nothing is waited for
	stream *appendStream
	// pending holds the channels of the appends that have not been answered on this stream, by correlation id.
	pending map[uint64]chan batchAnswer
	next    uint64
	closed  bool

	workers sync.WaitGroup
}

// appendStream is one BatchAppend stream.
type appendStream struct {
	appending
	// outgoing are the requests to be sent, by one goroutine: gRPC does not allow Send concurrently.
	outgoing chan appendRequest
	over     context.Context
	cancel   context.CancelFunc
}

// outgoingAppends is how many requests may wait for a stream before their senders do.
const outgoingAppends = 64

type batchAnswer struct {
	position domain.Position
	err      error
}

// After these errors the outcome of an append is unknown, and the append is sent again.
var (
	// errStreamBroken means that the stream broke before the answer came.
	errStreamBroken = errors.New("the append stream broke")
	// errNoPosition means that the answer does not contain the position of the events.
	errNoPosition = errors.New("the event store did not answer with a position")
	// errWriteTimeout means that the server has not heard from enough nodes in time.
	errWriteTimeout = errors.New("the event store has not written in time")
	// errNoOutcome means that the answer says nothing of the outcome, as after a fault inside the server.
	errNoOutcome = errors.New("the event store does not say what became of the append")
	// errNotShown means that the append has met events that no read shows yet.
	errNotShown = errors.New("the append has met events that are not replicated yet")
)

const (
	resendLeast = 25 * time.Millisecond // doubled with each attempt
	resendMost  = 250 * time.Millisecond
)

func newBatchAppender(session context.Context, client client, header metadata.MD) *batchAppender {
	return &batchAppender{session: session, client: client, header: header, pending: map[uint64]chan batchAnswer{}}
}

// append appends events and returns the position of the last one. It sends them again until the outcome is known, ctx ends, or
// the log has another past than the given one.
func (l *Log) append(ctx context.Context, past Past, stream string, revision int64, events []Recorded) (domain.Position, error) {
	wait := resendLeast
	var unknown error // why the outcome of what was sent is unknown
	for attempt := 1; ; attempt++ {
		s, err := l.session(ctx, true)
		if err == nil {
			err = ctx.Err() // what nobody waits for any more is not sent
		}
		if err == nil && s.past != past {
			err = ErrPastChanged
		}
		if err != nil && unknown != nil {
			err = fmt.Errorf("%w: %w; %w", ErrUnknownOutcome, unknown, err)
		}
		if err != nil {
			return domain.Position{}, err
		}
		position, err := s.batches.appendOnce(ctx, stream, revision, events)
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			position, err = l.resolve(ctx, stream, revision, events, conflict)
		}
		if !resent(ctx, err) {
			err = l.explain("append to streams", err)
			if err != nil && unknown != nil && !errors.Is(err, ErrConflict) { // an earlier attempt may have been stored
				err = fmt.Errorf("%w: %w; sent again: %s", ErrUnknownOutcome, unknown, err.Error())
			}
			return position, err
		}
		unknown = err
		l.logger.Warn("append is sent again", "stream", stream, "attempt", attempt, "error", err)
		s.suspect()
		select {
		case <-ctx.Done():
			return domain.Position{}, fmt.Errorf("%w: %w; gave up: %w", ErrUnknownOutcome, err, ctx.Err())
		case <-time.After(wait):
			wait = min(2*wait, resendMost)
		}
	}
}

// resolve finds out what an append has met: itself, events of others, or events that are not replicated yet. These may be its
// own from an earlier attempt, and may still be given up, so the outcome is unknown then. After a conflict that is final,
// reads show what it was with.
func (l *Log) resolve(ctx context.Context, stream string, revision int64, events []Recorded, conflict *ConflictError,
) (domain.Position, error) {
	if conflict.Current <= revision {
		return domain.Position{}, conflict
	}
	last := events[len(events)-1]
	for _, at := range []uint64{uint64(conflict.Current), last.Revision} {
		found, shown, err := l.rawAt(ctx, stream, at)
		switch {
		case err != nil:
			return domain.Position{}, fmt.Errorf("%w: %w; look what it was with: %w", ErrUnknownOutcome, conflict, err)
		case !shown && at == uint64(conflict.Current):
			return domain.Position{}, fmt.Errorf("%w: the stream ends at revision %d, which is not shown yet", errNotShown, at)
		case shown && found.ID == last.ID:
			return found.Position, nil
		}
	}
	return domain.Position{}, conflict
}

// resent says whether an append that ended with an error is sent again.
func resent(ctx context.Context, err error) bool {
	switch {
	case err == nil, ctx.Err() != nil:
		return false
	case status.Code(err) == codes.PermissionDenied, status.Code(err) == codes.Unauthenticated:
		return false
	case errors.Is(err, errStreamBroken), errors.Is(err, errNoPosition), errors.Is(err, errWriteTimeout),
		errors.Is(err, errNoOutcome), errors.Is(err, errNotShown):
		return true
	}
	return passing(err)
}

func (b *batchAppender) appendOnce(ctx context.Context, stream string, revision int64, events []Recorded) (domain.Position, error) {
	answer := make(chan batchAnswer, 1)
	correlation, err := b.send(ctx, stream, revision, events, answer)
	if err != nil {
		return domain.Position{}, err
	}
	select {
	case a := <-answer:
		return a.position, a.err
	case <-ctx.Done():
		b.mu.Lock()
		delete(b.pending, correlation)
		b.mu.Unlock()
		return domain.Position{}, fmt.Errorf("%w: no answer in time: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// send sends a request, on a new stream if there is none, and returns its correlation id.
func (b *batchAppender) send(ctx context.Context, to string, revision int64, events []Recorded, answer chan batchAnswer,
) (uint64, error) {
	stream, correlation, err := b.expect(answer)
	if err != nil {
		return 0, err
	}
	select {
	case stream.outgoing <- newAppendRequest(ctx, correlation, to, revision, events):
	case <-stream.over.Done(): // the receiver gets the reason, and passes it to all pending appends
	case <-ctx.Done(): // so is the caller's wait for the answer
	}
	return correlation, nil
}

// expect notes who waits for the answer to the next request, and returns the stream on which it has to be sent, and its correlation
// id.
func (b *batchAppender) expect(answer chan batchAnswer) (*appendStream, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, 0, fmt.Errorf("%w: the node was left", errStreamBroken)
	}
	if b.stream == nil {
		if err := b.open(); err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errStreamBroken, err)
		}
	}
	b.next++
	b.pending[b.next] = answer
	return b.stream, b.next, nil
}

// open begins a stream. b.mu is held.
func (b *batchAppender) open() error {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(b.session, b.header))
	stream, err := b.client.append(ctx)
	if err != nil {
		cancel()
		return err
	}
	s := &appendStream{appending: stream, outgoing: make(chan appendRequest, outgoingAppends),
		over: ctx, cancel: cancel}
	b.stream = s
	b.workers.Go(func() { b.receive(s) })
	b.workers.Go(s.sendAll)
	return nil
}

// sendAll sends requests until the stream ends.
func (s *appendStream) sendAll() {
	for {
		select {
		case request := <-s.outgoing:
			if err := s.SendMsg(request); err != nil {
				return // the receiver gets the reason
			}
		case <-s.over.Done():
			return
		}
	}
}

// receive passes the answers of a stream to the appends that wait for them, until the stream ends.
func (b *batchAppender) receive(stream *appendStream) {
	defer stream.cancel()
	for {
		a, err := stream.next()
		if err != nil {
			b.failPending(stream, err)
			return
		}
		b.mu.Lock()
		answer := b.pending[a.correlation]
		delete(b.pending, a.correlation)
		b.mu.Unlock()
		if answer != nil { // otherwise the caller has given up
			answer <- a.batchAnswer
		}
	}
}

// failPending passes the error of a broken stream to all appends that wait for an answer on it.
func (b *batchAppender) failPending(stream *appendStream, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream != stream {
		return
	}
	b.stream = nil
	for correlation, answer := range b.pending {
		answer <- batchAnswer{err: fmt.Errorf("%w: %w", errStreamBroken, err)}
		delete(b.pending, correlation)
	}
}

func answerOf(resp *streams.BatchAppendResp) batchAnswer {
	if failure := resp.GetError(); failure != nil {
		for _, detail := range failure.Details {
			var wrong shared.WrongExpectedVersion
			switch {
			case detail.MessageIs(&wrong) && detail.UnmarshalTo(&wrong) == nil:
				conflict := &ConflictError{Current: -1}
				if at, is := wrong.GetCurrentStreamRevisionOption().(*shared.WrongExpectedVersion_CurrentStreamRevision); is {
					conflict.Current = int64(at.CurrentStreamRevision)
				}
				return batchAnswer{err: conflict}
			case detail.MessageIs(&shared.MaximumAppendSizeExceeded{}), strings.HasSuffix(detail.GetTypeUrl(), tooLargeEvent):
				return batchAnswer{err: ErrTooLarge}
			case detail.MessageIs(&shared.StreamDeleted{}):
				return batchAnswer{err: ErrStreamDeleted}
			case detail.MessageIs(&shared.AccessDenied{}):
				return batchAnswer{err: status.Error(codes.PermissionDenied, failure.Message)}
			case detail.MessageIs(&shared.Timeout{}):
				return batchAnswer{err: fmt.Errorf("%w: %w", errWriteTimeout, status.Error(codes.Unavailable, failure.Message))}
			}
		}
		return batchAnswer{err: failureOf(failure)}
	}
	p := resp.GetSuccess().GetPosition()
	if p.GetCommitPosition() == 0 {
		return batchAnswer{err: noPosition("it gave no reason")}
	}
	return batchAnswer{position: domain.Position{Commit: p.GetCommitPosition(), Prepare: p.GetPreparePosition()}}
}

// tooLargeEvent ends the name of a detail that later servers send and the client's stubs lack.
const tooLargeEvent = "MaximumAppendEventSizeExceeded"

// failureOf returns the error of an answer without a detail that decides. Only codes by which a server says that it has not taken
// the append are final. After all others the outcome is unknown.
func failureOf(failure *spb.Status) error {
	code := codes.Code(failure.Code)
	answered := status.Error(code, failure.Message)
	switch code {
	case codes.OK:
		// A busy node, or one whose cluster has lost its quorum, answers with a message but no code.
		return noPosition(failure.Message)
	case codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted:
		return answered
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return fmt.Errorf("%w: %w", ErrRejected, answered)
	default:
		return fmt.Errorf("%w: %w", errNoOutcome, &unavailable{answered})
	}
}

// noPosition returns the error of an answer without a position. Such an answer must not count as a success. The error
// also has the gRPC code Unavailable.
func noPosition(why string) error {
	return fmt.Errorf("%w: %w", errNoPosition, status.Error(codes.Unavailable, why))
}

// close ends the stream. Appends that have not been answered fail with errStreamBroken.
func (b *batchAppender) close() {
	b.mu.Lock()
	b.closed = true
	if b.stream != nil {
		b.stream.cancel()
	}
	b.mu.Unlock()
	b.workers.Wait()
}
