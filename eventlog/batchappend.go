package eventlog

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// batchAppender sends all appends of the process over one long-lived BatchAppend stream, so that an append costs one
// message instead of a gRPC stream of its own. The official client does not use this call; batchAppender makes it with
// the client's stubs. When the stream breaks, unanswered appends are sent again on a new one. Their event ids and
// expected revisions stay the same, so the server recognises an append that it has already stored and does not store it
// twice.
type batchAppender struct {
	conn   *grpc.ClientConn
	client streams.StreamsClient
	header metadata.MD
	logger *slog.Logger

	mu     sync.Mutex // guards the fields below and Send, which a gRPC stream does not allow concurrently
	stream streams.Streams_BatchAppendClient
	cancel context.CancelFunc
	// pending holds the channels of the appends that have not been answered on this stream, by correlation id.
	pending map[uint64]chan batchAnswer
	next    uint64
	closed  bool

	receivers sync.WaitGroup
}

type batchAnswer struct {
	position domain.Position
	err      error
}

// After either of these errors the outcome of an append is unknown, and the append is sent again.
var (
	// errStreamBroken means that the stream broke before the answer came.
	errStreamBroken = errors.New("the append stream broke")
	// errNoPosition means that the answer does not contain the position of the events.
	errNoPosition = errors.New("the event store did not answer with a position")
)

const (
	batchAttempts = 8
	batchBackoff  = 25 * time.Millisecond // doubled with each attempt
)

// openBatchAppender returns nil and no error if appends have to use the official client: for a server before 21.10, and
// for a cluster, where the client finds the leader.
func openBatchAppender(ctx context.Context, config *esdb.Configuration, logger *slog.Logger) (*batchAppender, error) {
	if len(config.GossipSeeds) > 0 || config.DnsDiscover || config.Address == "" {
		return nil, nil
	}
	transport := insecure.NewCredentials()
	if !config.DisableTLS {
		tlsConfig := &tls.Config{
			RootCAs:            config.RootCAs,
			InsecureSkipVerify: config.SkipCertificateVerification, // #nosec G402 -- only when the connection string asks for it
		}
		if config.UserCertFile != "" {
			pair, err := tls.LoadX509KeyPair(config.UserCertFile, config.UserKeyFile)
			if err != nil {
				return nil, err
			}
			tlsConfig.Certificates = []tls.Certificate{pair}
		}
		transport = credentials.NewTLS(tlsConfig)
	}
	conn, err := grpc.NewClient(config.Address, grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		return nil, err
	}
	b := &batchAppender{conn: conn, client: streams.NewStreamsClient(conn), logger: logger, pending: map[uint64]chan batchAnswer{}}
	if config.Username != "" {
		pair := base64.StdEncoding.EncodeToString([]byte(config.Username + ":" + config.Password))
		b.header = metadata.Pairs("authorization", "Basic "+pair)
	}
	supported, err := b.supportedByServer(ctx)
	if err != nil || !supported {
		return nil, errors.Join(err, conn.Close())
	}
	return b, nil
}

// supportedByServer reports whether the server supports BatchAppend.
func (b *batchAppender) supportedByServer(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	methods, err := serverfeatures.NewServerFeaturesClient(b.conn).GetSupportedMethods(ctx, &shared.Empty{}, grpc.WaitForReady(true))
	if status.Code(err) == codes.Unimplemented {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the server's features: %w", err)
	}
	for _, m := range methods.Methods {
		if m.ServiceName == "event_store.client.streams.streams" && m.MethodName == "batchappend" {
			return true, nil
		}
	}
	return false, nil
}

// append appends events and returns the position of the last one. It sends them again when the stream breaks.
func (b *batchAppender) append(ctx context.Context, stream string, revision int64, events []Recorded) (domain.Position, error) {
	request := batchRequest(ctx, stream, revision, events)
	wait := batchBackoff
	for attempt := 1; ; attempt++ {
		position, err := b.appendOnce(ctx, request)
		unknown := errors.Is(err, errStreamBroken) || errors.Is(err, errNoPosition)
		if !unknown || attempt == batchAttempts {
			return position, err
		}
		b.logger.Warn("append is sent again", "stream", stream, "attempt", attempt, "error", err)
		select {
		case <-ctx.Done():
			return domain.Position{}, fmt.Errorf("%w; gave up: %w", err, ctx.Err())
		case <-time.After(wait):
			wait *= 2
		}
	}
}

func batchRequest(ctx context.Context, stream string, revision int64, events []Recorded) *streams.BatchAppendReq {
	options := &streams.BatchAppendReq_Options{
		StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
		ExpectedStreamPosition: &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}},
	}
	if revision >= 0 {
		options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(revision)}
	}
	if deadline, ok := ctx.Deadline(); ok {
		options.DeadlineOption = &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(time.Until(deadline))}
	}
	messages := make([]*streams.BatchAppendReq_ProposedMessage, len(events))
	for i, e := range events {
		messages[i] = &streams.BatchAppendReq_ProposedMessage{
			Id:             protoUUID(e.ID),
			Metadata:       map[string]string{"type": e.Type, "content-type": "application/json"},
			CustomMetadata: e.RawMetadata, Data: e.Data,
		}
	}
	return &streams.BatchAppendReq{Options: options, IsFinal: true, ProposedMessages: messages}
}

func protoUUID(id uuid.UUID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
}

func (b *batchAppender) appendOnce(ctx context.Context, request *streams.BatchAppendReq) (domain.Position, error) {
	answer := make(chan batchAnswer, 1)
	correlation, err := b.send(request, answer)
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
		return domain.Position{}, fmt.Errorf("no answer in time, the outcome is unknown: %w", ctx.Err())
	}
}

// send sends a request, on a new stream if there is none, and returns its correlation id.
func (b *batchAppender) send(request *streams.BatchAppendReq, answer chan batchAnswer) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errors.New("the event log is closed")
	}
	if b.stream == nil {
		if err := b.open(); err != nil {
			return 0, fmt.Errorf("%w: %w", errStreamBroken, err)
		}
	}
	b.next++
	correlation := b.next
	id := &shared.UUID_Structured{LeastSignificantBits: int64(correlation)}
	request.CorrelationId = &shared.UUID{Value: &shared.UUID_Structured_{Structured: id}}
	b.pending[correlation] = answer
	if err := b.stream.Send(request); err != nil {
		// The receiver gets the reason, and passes it to all pending appends.
		return correlation, nil
	}
	return correlation, nil
}

// open begins a stream. b.mu is held.
func (b *batchAppender) open() error {
	ctx, cancel := context.WithCancel(context.Background())
	if b.header != nil {
		ctx = metadata.NewOutgoingContext(ctx, b.header)
	}
	stream, err := b.client.BatchAppend(ctx)
	if err != nil {
		cancel()
		return err
	}
	b.stream, b.cancel = stream, cancel
	b.receivers.Go(func() { b.receive(stream, cancel) })
	return nil
}

// receive passes the answers of a stream to the appends that wait for them, until the stream ends.
func (b *batchAppender) receive(stream streams.Streams_BatchAppendClient, cancel context.CancelFunc) {
	defer cancel()
	for {
		resp, err := stream.Recv()
		if err != nil {
			b.failPending(stream, err)
			return
		}
		correlation := correlationOf(resp.CorrelationId)
		b.mu.Lock()
		answer := b.pending[correlation]
		delete(b.pending, correlation)
		b.mu.Unlock()
		if answer != nil { // otherwise the caller has given up
			answer <- answerOf(resp)
		}
	}
}

// failPending passes the error of a broken stream to all appends that wait for an answer on it.
func (b *batchAppender) failPending(stream streams.Streams_BatchAppendClient, err error) {
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

// correlationOf returns the number that send put into the id. Servers return the id as a structure or as a string.
func correlationOf(id *shared.UUID) uint64 {
	if s := id.GetStructured(); s != nil {
		return uint64(s.LeastSignificantBits)
	}
	parsed, err := uuid.Parse(id.GetString_())
	if err != nil {
		return 0
	}
	var n uint64
	for _, b := range parsed[8:] {
		n = n<<8 | uint64(b)
	}
	return n
}

func answerOf(resp *streams.BatchAppendResp) batchAnswer {
	if failure := resp.GetError(); failure != nil {
		for _, detail := range failure.Details {
			if detail.MessageIs(&shared.WrongExpectedVersion{}) {
				return batchAnswer{err: ErrConflict}
			}
			if detail.MessageIs(&shared.MaximumAppendSizeExceeded{}) {
				return batchAnswer{err: ErrTooLarge}
			}
		}
		if codes.Code(failure.Code) == codes.OK {
			// A busy node, or one whose cluster has lost its quorum, answers with a message but no code.
			return batchAnswer{err: noPosition(failure.Message)}
		}
		return batchAnswer{err: status.Error(codes.Code(failure.Code), failure.Message)}
	}
	p := resp.GetSuccess().GetPosition()
	if p.GetCommitPosition() == 0 {
		return batchAnswer{err: noPosition("it gave no reason")}
	}
	return batchAnswer{position: domain.Position{Commit: p.GetCommitPosition(), Prepare: p.GetPreparePosition()}}
}

// noPosition returns the error of an answer without a position. Such an answer must not count as a success. The error
// also has the gRPC code Unavailable.
func noPosition(why string) error {
	return fmt.Errorf("%w: %w", errNoPosition, status.Error(codes.Unavailable, why))
}

func (b *batchAppender) close() error {
	b.mu.Lock()
	b.closed = true
	if b.cancel != nil {
		b.cancel()
	}
	b.mu.Unlock()
	b.receivers.Wait()
	return b.conn.Close()
}
