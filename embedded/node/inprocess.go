package node

import (
	"context"
	"sync"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// inProcess serves the clients in the node's own process. Their calls meet the same services, accounts and metrics as those that
// come over the network, and their messages are encoded in the same way. Only the connection is missing.
type inProcess struct {
	channel inprocgrpc.Channel

	mu      sync.Mutex
	closing bool
	calls   sync.WaitGroup // guarded by mu while calls begin

	// forced ends when calls that have not ended by themselves are ended.
	forced context.Context
	force  context.CancelFunc
}

// InProcess returns a connection to the node for clients in its own process. It needs no closing, and ends with the node.
func (n *Node) InProcess() grpc.ClientConnInterface { return n.inside }

func newInProcess(
	register func(grpc.ServiceRegistrar), unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor,
) *inProcess {
	c := &inProcess{}
	c.forced, c.force = context.WithCancel(context.Background())
	c.channel.WithCloner(copied{}).WithServerUnaryInterceptor(chainUnary(unary)).WithServerStreamInterceptor(c.chainStream(stream))
	register(&c.channel)
	return c
}

// Invoke makes a call with one request and one answer.
func (c *inProcess) Invoke(ctx context.Context, method string, request, answer any, options ...grpc.CallOption) error {
	if !c.enter() {
		return errStopped
	}
	defer c.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.forced, cancel)()
	return c.channel.Invoke(ctx, method, request, answer, options...)
}

// NewStream begins a call with many messages. As with a connection over the network, it lasts until ctx ends or the node ends it.
func (c *inProcess) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	if !c.enter() {
		return nil, errStopped
	}
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(c.forced, cancel)
	left := sync.OnceFunc(func() {
		unlink()
		c.calls.Done()
	})
	stream, err := c.channel.NewStream(context.WithValue(ctx, leaveKey{}, left), desc, method, options...)
	if err != nil {
		left()
		cancel()
		return nil, err
	}
	return stream, nil
}

// leaveKey is the key of the function that tells that a call has ended.
type leaveKey struct{}

var errStopped = status.Error(codes.Unavailable, "the event store is closed")

func (c *inProcess) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.calls.Add(1)
	return true
}

// close refuses new calls, and waits until all others have ended. Those that have not ended after grace are ended.
func (c *inProcess) close(grace time.Duration) {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	timer := time.AfterFunc(grace, c.force)
	c.calls.Wait()
	timer.Stop()
	c.force()
}

// chainUnary makes one interceptor of several; the first is the outermost.
func chainUnary(list []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		for i := len(list) - 1; i > 0; i-- {
			inner := next
			next = func(ctx context.Context, request any) (any, error) { return list[i](ctx, request, info, inner) }
		}
		return list[0](ctx, request, info, next)
	}
}

// chainStream makes one interceptor of several; the first is the outermost. It tells when the call has ended.
func (c *inProcess) chainStream(list []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if left, ok := inprocgrpc.ClientContext(stream.Context()).Value(leaveKey{}).(func()); ok {
			defer left()
		}
		for i := len(list) - 1; i >= 0; i-- {
			inner := next
			next = func(service any, stream grpc.ServerStream) error { return list[i](service, stream, info, inner) }
		}
		return next(service, stream)
	}
}

// copied passes messages in their encoded form, so that client and server share none, and the server's short cuts apply.
type copied struct{}

// Clone encodes a message that is sent.
func (copied) Clone(message any) (any, error) { return encoded(message) }

// Copy decodes a message that was sent. The request of a call with one answer comes as it is.
func (copied) Copy(into, message any) error {
	b, err := encoded(message)
	if err != nil {
		return err
	}
	return decode(b, into)
}
