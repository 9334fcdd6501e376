package eventlog

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"casebook/eventlog/leader"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// session is the connection to the node that leads, for as long as it does. It never outlives the connection: behind the next one
// may be a node with another log. The official client is not used here: when it
// loses its node it blocks its callers, whatever their contexts say, and it cannot ask for the leader.
type session struct {
	node    leader.Node
	past    Past // the past of the log that the node has
	streams client
	groups  persistent.PersistentSubscriptionsClient
	header  metadata.MD
	batches *batchAppender
	// suspected wakes the watch: a request has failed as if the node were lost.
	suspected chan struct{}
	// confirming are the questions whether the node still leads.
	confirming confirmations
	// over ends when the session ends; its cause is the reason.
	over context.Context
	end  context.CancelCauseFunc
}

// ErrClosed means that the log was closed.
var ErrClosed = errors.New("the event log is closed")

// ErrMissingRight is returned when the event store does not let the account do something. The error names the right.
var ErrMissingRight = errors.New("the event store's account lacks a right")

const (
	// retryLeast and retryMost are the pauses between the attempts of a request.
	retryLeast = 50 * time.Millisecond
	retryMost  = 500 * time.Millisecond
	// pingTimeout bounds a request that is to find out whether a node answers, and what it holds.
	pingTimeout = 2 * time.Second
	// maxMessage is the largest message that the official clients accept, and more than a server sends.
	maxMessage = 17 << 20
)

// supervise keeps a session with the node that leads, until ctx ends.
func (l *Log) supervise(ctx context.Context) {
	served := false
	for ctx.Err() == nil {
		node, err := l.finder.Find(ctx, func(err error) { l.setSession(nil, err, false) })
		if err == nil {
			served = true
			err = l.serve(ctx, node)
		}
		if ctx.Err() != nil {
			break
		}
		l.setSession(nil, err, errors.Is(err, leader.ErrTooOld) && !served)
		if err != nil {
			l.logger.Warn("the event store's node is left", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryLeast):
		}
	}
	l.setSession(nil, ErrClosed, true)
}

// serve opens a session with a node, and keeps it until the node is lost, with the reason, or ctx ends.
func (l *Log) serve(ctx context.Context, node leader.Node) error {
	s := &session{node: node, suspected: make(chan struct{}, 1), header: metadata.MD{}}
	s.over, s.end = context.WithCancelCause(context.Background())
	conn, disconnect, err := l.connect(node, s.end)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", node.Address, err)
	}
	s.streams, s.groups = newClient(conn), persistent.NewPersistentSubscriptionsClient(conn)
	if node.Settings.Username != "" {
		pair := base64.StdEncoding.EncodeToString([]byte(node.Settings.Username + ":" + node.Settings.Password))
		s.header.Set("authorization", "Basic "+pair)
	}
	s.confirming.ask = func() error { return l.finder.Leads(s.over, node) }
	s.batches = newBatchAppender(s.over, s.streams, s.header.Copy())
	if node.Clustered {
		s.header.Set("requires-leader", "true")
	}
	reason := l.meet(ctx, s)
	if s.past = l.Past(); reason == nil {
		l.setSession(s, nil, false)
		watching, ended := context.WithCancel(ctx)
		unlink := context.AfterFunc(s.over, ended)
		// Asked over this connection, because it may be silent while others are not. gRPC's keepalive notices that too, but never
		// in less than ten seconds.
		reason = l.finder.Watch(watching, node, leader.Watched{Over: conn, Suspected: s.suspected, Heard: l.heard})
		unlink()
		ended()
	}
	switch {
	case reason == nil && s.over.Err() != nil:
		reason = context.Cause(s.over)
	case reason == nil:
		reason = ErrClosed
	}
	l.setSession(nil, reason, false)
	s.end(reason)
	s.batches.close()
	s.confirming.close()
	return errors.Join(reason, disconnect())
}

// connect returns a connection to a node, and how to close it. It calls end when the connection has to be made a second time.
func (l *Log) connect(node leader.Node, end context.CancelCauseFunc) (_ grpc.ClientConnInterface, disconnect func() error, err error) {
	if l.inside != nil {
		return l.inside, func() error { return nil }, nil
	}
	transport, err := leader.Transport(node.Settings)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient(node.Address, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithStatsHandler(&oneConnection{end: end}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: node.Settings.KeepAliveInterval, Timeout: node.Settings.KeepAliveTimeout, PermitWithoutStream: true}))
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.Close, nil
}

// oneConnection ends a session when a second connection is made. It does so before the first request is sent over it.
type oneConnection struct {
	end  context.CancelCauseFunc
	made atomic.Bool
}

// errReconnected ends a session whose connection broke: the node behind the next one may have another log.
var errReconnected error = &unavailable{errors.New("the connection broke")}

// HandleConn implements stats.Handler.
func (o *oneConnection) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, begins := s.(*stats.ConnBegin); begins && o.made.Swap(true) {
		o.end(errReconnected)
	}
}

// TagConn implements stats.Handler.
func (*oneConnection) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements stats.Handler.
func (*oneConnection) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (*oneConnection) HandleRPC(context.Context, stats.RPCStats) {}

func (l *Log) setSession(s *session, failure error, lasting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.failure, l.lasting = s, failure, lasting
	l.leads(s != nil)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Leaderless returns since when and until when no node of the event store led the last time, as far as the Log knows; until is zero
// while none does. The first such time begins when the Log is opened.
func (l *Log) Leaderless() (since, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.found
}

// register registers how long there is, and was, no leader.
func (l *Log) register(r prometheus.Registerer) error {
	lasts := func() (now, before time.Duration) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.found.IsZero() {
			now = time.Since(l.lost)
		}
		return now, l.withoutLeader
	}
	return errors.Join(
		r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "casebook_eventstore_leaderless_seconds",
			Help: "For how long no node of the event store leads, or answers; 0 while one does."}, func() float64 {
			now, _ := lasts()
			return now.Seconds()
		})),
		r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "casebook_eventstore_leaderless_seconds_total",
			Help: "For how long no node of the event store led, or answered, since the start."}, func() float64 {
			now, before := lasts()
			return (now + before).Seconds()
		})))
}

func (l *Log) heard(leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leads(leads && l.current != nil)
}

// leads notes whether a node leads. l.mu is held.
func (l *Log) leads(leads bool) {
	switch lost := l.found.IsZero(); {
	case leads && lost:
		l.found = time.Now()
		l.withoutLeader += l.found.Sub(l.lost)
	case !leads && !lost:
		l.lost, l.found = time.Now(), time.Time{}
	}
}

// session returns the session with the node that leads. If wait is set, it waits until there is one, or ctx ends.
func (l *Log) session(ctx context.Context, wait bool) (*session, error) {
	for {
		l.mu.Lock()
		s, failure, lasting, changed := l.current, l.failure, l.lasting, l.changed
		l.mu.Unlock()
		switch {
		case s != nil:
			return s, nil
		case lasting:
			return nil, failure
		case !wait:
			return nil, l.waitsFor(failure)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", l.waitsFor(failure), ctx.Err())
		}
	}
}

// waitsFor returns the error of a request while there is no session. It has the code Unavailable.
func (l *Log) waitsFor(failure error) error {
	if failure == nil {
		failure = leader.ErrNoLeader
	}
	return fmt.Errorf("event store %s: %w", leader.Addresses(l.settings), &unavailable{failure})
}

// unavailable is an error that passes.
type unavailable struct{ err error }

func (u *unavailable) Error() string { return u.err.Error() }
func (u *unavailable) Unwrap() error { return u.err }

// GRPCStatus returns the status by which others recognise the error.
func (u *unavailable) GRPCStatus() *status.Status { return status.New(codes.Unavailable, u.Error()) }

// suspect has the node watched more closely: a request has failed.
func (s *session) suspect() {
	select {
	case s.suspected <- struct{}{}:
	default:
	}
}

// within returns a context for requests of the session. It also ends with the session.
func (s *session) within(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(metadata.NewOutgoingContext(parent, s.header))
	unlink := context.AfterFunc(s.over, func() { cancel(context.Cause(s.over)) })
	return ctx, func() {
		unlink()
		cancel(nil)
	}
}

// request is a request of the event store.
type request[T any] func(context.Context, client) (T, error)

// once runs a request in a session.
func once[T any](ctx context.Context, s *session, ask request[T]) (T, error) {
	return onceIn(ctx, s, func(ctx context.Context, s *session) (T, error) { return ask(ctx, s.streams) })
}

// promptly is once for a request that is given up after pingTimeout.
func promptly[T any](ctx context.Context, s *session, ask request[T]) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return once(ctx, s, ask)
}

func onceIn[T any](ctx context.Context, s *session, ask func(context.Context, *session) (T, error)) (value T, err error) {
	within, done := s.within(ctx)
	defer done()
	value, err = ask(within, s)
	if err = s.reason(err); err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return value, err
}

// reason returns why the session is over, if it is, and otherwise err. A request that meets the closed connection fails with a
// code that does not pass, and one that succeeds may have been answered by another node.
func (s *session) reason(err error) error {
	if s.over.Err() != nil {
		return &unavailable{context.Cause(s.over)}
	}
	return err
}

// call runs a request that changes nothing, again and again until it succeeds, fails for good, or ctx ends.
func call[T any](ctx context.Context, l *Log, ask request[T]) (T, error) {
	return callIn(ctx, l, func(ctx context.Context, s *session) (T, error) { return ask(ctx, s.streams) })
}

func callIn[T any](ctx context.Context, l *Log, ask func(context.Context, *session) (T, error)) (T, error) {
	var none T
	wait := retryLeast
	for {
		s, err := l.session(ctx, true)
		if err != nil {
			return none, err
		}
		value, err := onceIn(ctx, s, ask)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return value, err
		}
		s.suspect()
		select {
		case <-ctx.Done():
			return none, fmt.Errorf("%w; gave up: %w", err, ctx.Err())
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		}
	}
}

// passing says whether a request that failed like this may succeed when it is sent again: the node was lost, or does not lead.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded:
		return true
	case codes.Unknown: // "No leader info available in response"
		_, ofServer := status.FromError(err)
		return ofServer
	case codes.NotFound: // the node does not lead; a stream that is not there is no error
		return true
	default:
		return false
	}
}

// IsAway says whether a request failed because no answer of the event store came in time.
func IsAway(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Aborted
}

// explain names the right that is missing, if that is why a request failed.
func (l *Log) explain(right string, err error) error {
	denied := status.Code(err) == codes.PermissionDenied || status.Code(err) == codes.Unauthenticated
	if !denied || errors.Is(err, ErrMissingRight) {
		return err
	}
	who := "a caller without an account"
	if l.settings.Username != "" {
		who = "the account " + l.settings.Username
	}
	return fmt.Errorf("%w: %s may not %s at %s (%w)", ErrMissingRight, who, right, leader.Addresses(l.settings), err)
}
