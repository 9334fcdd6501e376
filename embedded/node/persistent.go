package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"casebook/embedded/node/groups"
	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

type persistentService struct {
	persistent.UnimplementedPersistentSubscriptionsServer
	node *Node
}

// groupFailure translates an error of package groups; it returns nil for nil.
func groupFailure(err error) *failure {
	var e *groups.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, groups.ErrClosed):
		return errClosing
	case !errors.As(err, &e):
		return storeFailure(err)
	}
	code, exception := codes.InvalidArgument, exceptionGroupFailed
	switch e.Kind {
	case groups.NotFound:
		code, exception = codes.NotFound, "persistent-subscription-does-not-exist"
	case groups.Exists:
		code, exception = codes.AlreadyExists, "persistent-subscription-exists"
	case groups.Full:
		code, exception = codes.FailedPrecondition, "maximum-subscribers-reached"
	case groups.Dropped:
		code, exception = codes.Canceled, "persistent-subscription-dropped"
	case groups.Invalid:
	}
	return &failure{code: code, message: e.Reason, trailer: metadata.Pairs(trailerException, exception,
		trailerStream, headerSafe(e.Source), trailerGroup, headerSafe(e.Name), trailerReason, headerSafe(e.Reason))}
}

// Create creates a group of consumers.
func (s *persistentService) Create(ctx context.Context, req *persistent.CreateReq) (*persistent.CreateResp, error) {
	if f := s.node.authorizeOperation(ctx, "create groups of consumers"); f != nil {
		return nil, refuse(ctx, f)
	}
	o := req.GetOptions()
	var (
		source string
		start  groups.Start
		filter *groups.Filter
		f      *failure
	)
	switch from := o.GetStreamOption().(type) {
	case *persistent.CreateReq_Options_Stream:
		source = string(from.Stream.GetStreamIdentifier().GetStreamName())
		_, end := from.Stream.GetRevisionOption().(*persistent.CreateReq_StreamOptions_End)
		start, f = streamStart(end, from.Stream.GetRevision())
	case *persistent.CreateReq_Options_All:
		source = groups.All
		_, end := from.All.GetAllOption().(*persistent.CreateReq_AllOptions_End)
		p := from.All.GetPosition()
		if start, f = s.allStart(end, p.GetCommitPosition(), p.GetPreparePosition()); f == nil {
			filter, f = groupFilter(from.All.GetFilter())
		}
	default: // clients from before 2021
		source = string(o.GetStreamIdentifier().GetStreamName()) //nolint:staticcheck // old clients still send it
		start, f = oldStart(o.GetSettings().GetRevision())       //nolint:staticcheck // old clients still send it
	}
	if f == nil {
		f = checkSource(source)
	}
	if f != nil {
		return nil, refuse(ctx, f)
	}
	settings := groupSettings(o.GetSettings())
	settings.Strategy = o.GetSettings().GetConsumerStrategy()
	if settings.Strategy == "" {
		settings.Strategy = o.GetSettings().GetNamedConsumerStrategy().String() //nolint:staticcheck // clients still send it
	}
	if f := groupFailure(s.node.groups.Create(source, o.GetGroupName(), start, settings, filter)); f != nil {
		return nil, refuse(ctx, f)
	}
	return &persistent.CreateResp{}, nil
}

// Update changes a group's settings and drops its consumers.
func (s *persistentService) Update(ctx context.Context, req *persistent.UpdateReq) (*persistent.UpdateResp, error) {
	if f := s.node.authorizeOperation(ctx, "update groups of consumers"); f != nil {
		return nil, refuse(ctx, f)
	}
	o := req.GetOptions()
	var (
		source string
		start  groups.Start
		f      *failure
	)
	switch from := o.GetStreamOption().(type) {
	case *persistent.UpdateReq_Options_Stream:
		source = string(from.Stream.GetStreamIdentifier().GetStreamName())
		_, end := from.Stream.GetRevisionOption().(*persistent.UpdateReq_StreamOptions_End)
		start, f = streamStart(end, from.Stream.GetRevision())
	case *persistent.UpdateReq_Options_All:
		source = groups.All
		_, end := from.All.GetAllOption().(*persistent.UpdateReq_AllOptions_End)
		p := from.All.GetPosition()
		start, f = s.allStart(end, p.GetCommitPosition(), p.GetPreparePosition())
	default: // clients from before 2021
		source = string(o.GetStreamIdentifier().GetStreamName()) //nolint:staticcheck // old clients still send it
		start, f = oldStart(o.GetSettings().GetRevision())       //nolint:staticcheck // old clients still send it
	}
	if f == nil {
		f = checkSource(source)
	}
	if f != nil {
		return nil, refuse(ctx, f)
	}
	settings := groupSettings(o.GetSettings())
	settings.Strategy = o.GetSettings().GetNamedConsumerStrategy().String()
	if f := groupFailure(s.node.groups.Update(source, o.GetGroupName(), start, settings)); f != nil {
		return nil, refuse(ctx, f)
	}
	return &persistent.UpdateResp{}, nil
}

func streamStart(end bool, revision uint64) (groups.Start, *failure) {
	if revision > math.MaxInt64 {
		return groups.Start{}, badRequest(fmt.Sprintf("the revision %d is larger than any", revision))
	}
	return groups.Start{End: end, At: revision}, nil
}

func oldStart(revision uint64) (groups.Start, *failure) {
	return streamStart(revision == math.MaxUint64, revision&math.MaxInt64)
}

func (s *persistentService) allStart(end bool, commit, prepare uint64) (groups.Start, *failure) {
	switch {
	case prepare > commit:
		return groups.Start{}, badRequest("the prepare position lies behind the commit position; take both from the same event")
	case commit > s.node.store.LastPosition():
		reason := fmt.Sprintf("the position %d lies beyond the last event's, %d: it belongs to another log, or to one that was restored",
			commit, s.node.store.LastPosition())
		return groups.Start{}, &failure{code: codes.Internal, message: reason, trailer: metadata.Pairs(
			trailerException, exceptionGroupFailed, trailerStream, headerSafe(groups.All), trailerReason, headerSafe(reason))}
	}
	return groups.Start{End: end, At: commit}, nil
}

func checkSource(source string) *failure {
	if source == groups.All {
		return nil
	}
	return checkStreamName(source)
}

// settingsMessage is the common interface of the settings of Create and Update.
type settingsMessage interface {
	GetResolveLinks() bool
	GetExtraStatistics() bool
	GetMaxRetryCount() int32
	GetMinCheckpointCount() int32
	GetMaxCheckpointCount() int32
	GetMaxSubscriberCount() int32
	GetLiveBufferSize() int32
	GetReadBatchSize() int32
	GetHistoryBufferSize() int32
	GetMessageTimeoutTicks() int64
	GetMessageTimeoutMs() int32
	GetCheckpointAfterTicks() int64
	GetCheckpointAfterMs() int32
}

func groupSettings(m settingsMessage) groups.Settings {
	duration := func(ticks int64, ms int32) time.Duration {
		if ticks != 0 {
			return time.Duration(ticks) * 100
		}
		return time.Duration(ms) * time.Millisecond
	}
	return groups.Settings{
		ResolveLinks: m.GetResolveLinks(), ExtraStatistics: m.GetExtraStatistics(),
		MessageTimeout:    duration(m.GetMessageTimeoutTicks(), m.GetMessageTimeoutMs()),
		MaxRetryCount:     int(m.GetMaxRetryCount()),
		LiveBufferSize:    int(m.GetLiveBufferSize()),
		HistoryBufferSize: int(m.GetHistoryBufferSize()), ReadBatchSize: int(m.GetReadBatchSize()),
		CheckpointAfter:    duration(m.GetCheckpointAfterTicks(), m.GetCheckpointAfterMs()),
		MinCheckpointCount: int(m.GetMinCheckpointCount()), MaxCheckpointCount: int(m.GetMaxCheckpointCount()),
		MaxSubscriberCount: int(m.GetMaxSubscriberCount()),
	}
}

func groupFilter(o *persistent.CreateReq_AllOptions_FilterOptions) (*groups.Filter, *failure) {
	if o == nil {
		return nil, nil
	}
	filter := &groups.Filter{ByType: o.GetEventType() != nil}
	expression := o.GetStreamIdentifier()
	if filter.ByType {
		expression = o.GetEventType()
	}
	filter.Prefixes, filter.Regex = expression.GetPrefix(), expression.GetRegex()
	return filter, checkExpression(filter.Prefixes, filter.Regex)
}

// Delete removes a group of consumers with its checkpoint and its parked events.
func (s *persistentService) Delete(ctx context.Context, req *persistent.DeleteReq) (*persistent.DeleteResp, error) {
	if f := s.node.authorizeOperation(ctx, "delete groups of consumers"); f != nil {
		return nil, refuse(ctx, f)
	}
	o := req.GetOptions()
	source := groups.All
	if o.GetAll() == nil {
		source = string(o.GetStreamIdentifier().GetStreamName())
	}
	if f := groupFailure(s.node.groups.Delete(source, o.GetGroupName())); f != nil {
		return nil, refuse(ctx, f)
	}
	return &persistent.DeleteResp{}, nil
}

// GetInfo describes a group of consumers.
func (s *persistentService) GetInfo(ctx context.Context, req *persistent.GetInfoReq) (*persistent.GetInfoResp, error) {
	o := req.GetOptions()
	source := groups.All
	if o.GetAll() == nil {
		source = string(o.GetStreamIdentifier().GetStreamName())
	}
	info, err := s.node.groups.Info(source, o.GetGroupName())
	if f := groupFailure(err); f != nil {
		return nil, refuse(ctx, f)
	}
	return &persistent.GetInfoResp{SubscriptionInfo: infoMessage(&info)}, nil
}

// List describes the groups of a stream, of $all, or all groups. A stream without groups is an error, as clients
// expect.
func (s *persistentService) List(ctx context.Context, req *persistent.ListReq) (*persistent.ListResp, error) {
	source := ""
	if of := req.GetOptions().GetListForStream(); of != nil {
		source = groups.All
		if of.GetAll() == nil {
			source = string(of.GetStream().GetStreamName())
		}
	}
	infos, err := s.node.groups.List(source)
	if err == nil && len(infos) == 0 && source != "" {
		err = &groups.Error{Kind: groups.NotFound, Source: source, Reason: fmt.Sprintf("there is no group of %q", source)}
	}
	if f := groupFailure(err); f != nil {
		return nil, refuse(ctx, f)
	}
	resp := &persistent.ListResp{}
	for i := range infos {
		resp.Subscriptions = append(resp.Subscriptions, infoMessage(&infos[i]))
	}
	return resp, nil
}

// ReplayParked delivers parked events again.
func (s *persistentService) ReplayParked(ctx context.Context, req *persistent.ReplayParkedReq) (*persistent.ReplayParkedResp, error) {
	if f := s.node.authorizeOperation(ctx, "replay the parked events of groups of consumers"); f != nil {
		return nil, refuse(ctx, f)
	}
	o := req.GetOptions()
	source := groups.All
	if o.GetAll() == nil {
		source = string(o.GetStreamIdentifier().GetStreamName())
	}
	limit := int64(0)
	if at, limited := o.GetStopAtOption().(*persistent.ReplayParkedReq_Options_StopAt); limited {
		if limit = at.StopAt; limit <= 0 {
			return nil, refuse(ctx, badRequest(fmt.Sprintf("cannot stop after %d parked events; give at least 1, or no limit", limit)))
		}
	}
	if f := groupFailure(s.node.groups.ReplayParked(source, o.GetGroupName(), limit)); f != nil {
		return nil, refuse(ctx, f)
	}
	return &persistent.ReplayParkedResp{}, nil
}

// RestartSubsystem drops all consumers and restarts every group from its stored state.
func (s *persistentService) RestartSubsystem(ctx context.Context, _ *shared.Empty) (*shared.Empty, error) {
	if f := s.node.authorizeOperation(ctx, "restart the groups of consumers"); f != nil {
		return nil, refuse(ctx, f)
	}
	if f := groupFailure(s.node.groups.Restart()); f != nil {
		return nil, refuse(ctx, f)
	}
	return &shared.Empty{}, nil
}

func infoMessage(i *groups.Info) *persistent.SubscriptionInfo {
	position := func(at uint64) string {
		if i.Source == groups.All {
			return fmt.Sprintf("C:%d/P:%d", at, at)
		}
		return strconv.FormatUint(at, 10)
	}
	m := &persistent.SubscriptionInfo{
		EventSource: i.Source, GroupName: i.Name, Status: "Behind", StartFrom: position(i.Start),
		AveragePerSecond: int32(i.PerSecond), TotalItems: i.Settled, CountSinceLastMeasurement: i.Recent,
		ResolveLinkTos: i.Settings.ResolveLinks, ExtraStatistics: i.Settings.ExtraStatistics,
		MessageTimeoutMilliseconds: int32(i.Settings.MessageTimeout.Milliseconds()),
		MaxRetryCount:              int32(i.Settings.MaxRetryCount),
		LiveBufferSize:             int32(i.Settings.LiveBufferSize), BufferSize: int32(i.Settings.HistoryBufferSize),
		ReadBatchSize:               int32(i.Settings.ReadBatchSize),
		CheckPointAfterMilliseconds: int32(i.Settings.CheckpointAfter.Milliseconds()),
		MinCheckPointCount:          int32(i.Settings.MinCheckpointCount), MaxCheckPointCount: int32(i.Settings.MaxCheckpointCount),
		MaxSubscriberCount: int32(i.Settings.MaxSubscriberCount), NamedConsumerStrategy: i.Settings.Strategy,
		ReadBufferCount: int32(i.Buffered), LiveBufferCount: int64(i.Buffered), RetryBufferCount: int32(i.Retrying),
		TotalInFlightMessages: int32(i.InFlight), OutstandingMessagesCount: int32(i.Outstanding), ParkedMessageCount: i.Parked,
	}
	if i.FromEnd {
		m.StartFrom = "-1"
		if i.Source == groups.All {
			m.StartFrom = "C:-1/P:-1"
		}
	}
	if i.Live {
		m.Status = "Live"
	}
	if i.HasCheckpoint {
		m.LastCheckpointedEventPosition = position(i.Checkpoint)
	}
	if i.Known {
		m.LastKnownEventPosition = position(i.LastKnown)
	}
	for _, c := range i.Consumers {
		connection := &persistent.SubscriptionInfo_ConnectionInfo{
			From: c.Address, Username: c.User, ConnectionName: c.Connection, AverageItemsPerSecond: int32(c.PerSecond),
			TotalItems: c.Settled, CountSinceLastMeasurement: c.Recent, AvailableSlots: int32(c.Free), InFlightMessages: int32(c.InFlight),
		}
		for _, measured := range c.ObservedMilliseconds {
			connection.ObservedMeasurements = append(connection.ObservedMeasurements,
				&persistent.SubscriptionInfo_Measurement{Key: measured.Key, Value: measured.Value})
		}
		m.Connections = append(m.Connections, connection)
	}
	return m
}

// Read connects a consumer. Its first message names the group; later ones acknowledge events or give them back.
func (s *persistentService) Read(stream persistent.PersistentSubscriptions_ReadServer) error {
	if f := s.consume(stream); f != nil {
		stream.SetTrailer(f.trailer)
		return f
	}
	return nil
}

func (s *persistentService) consume(stream persistent.PersistentSubscriptions_ReadServer) *failure {
	first, err := stream.Recv()
	if err != nil {
		return storeFailure(err)
	}
	o := first.GetOptions()
	if o == nil {
		return badRequest("the first message must name the group and the buffer size")
	}
	source := groups.All
	if o.GetAll() == nil {
		source = string(o.GetStreamIdentifier().GetStreamName())
	}
	if f := s.node.authorizeConsumer(stream.Context(), source); f != nil {
		return f
	}
	_, textIDs := o.GetUuidOption().GetContent().(*persistent.ReadReq_Options_UUIDOption_String_)
	consumer, err := s.node.groups.Connect(source, o.GetGroupName(), int(o.GetBufferSize()), identity(stream.Context()))
	if err != nil {
		return groupFailure(err)
	}
	defer consumer.Close()
	s.node.subscriptions.Add(1)
	defer s.node.subscriptions.Add(-1)
	if err := stream.Send(&persistent.ReadResp{Content: &persistent.ReadResp_SubscriptionConfirmation_{
		SubscriptionConfirmation: &persistent.ReadResp_SubscriptionConfirmation{SubscriptionId: source + "::" + o.GetGroupName()},
	}}); err != nil {
		return storeFailure(err)
	}
	answered := make(chan *failure, 1)
	// The receiver may still wait for its client when this call returns; returning ends its wait.
	s.node.workers.Go(func() { answered <- receiveAnswers(stream, consumer) })
	for {
		select {
		case d, open := <-consumer.C:
			if !open {
				return groupFailure(consumer.Reason())
			}
			if d.Link != nil && d.Event != nil {
				// A link must not give access to a stream that the consumer may not read.
				if f := s.node.authorize(stream.Context(), toRead, string(d.Event.Stream())); f != nil {
					return f
				}
			}
			s.node.sent.Add(1)
			if err := stream.SendMsg(readEvent(d.Event, d.Link, textIDs, d.Retries)); err != nil {
				return storeFailure(err)
			}
		case f := <-answered:
			return f
		case <-stream.Context().Done():
			return storeFailure(stream.Context().Err())
		case <-s.node.stopping:
			return errClosing
		}
	}
}

// receiveAnswers passes a client's acknowledgements to its consumer until the client closes its side.
func receiveAnswers(stream persistent.PersistentSubscriptions_ReadServer, consumer *groups.Consumer) *failure {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return storeFailure(err)
		}
		switch answer := message.GetContent().(type) {
		case *persistent.ReadReq_Ack_:
			ids, f := eventIDs(answer.Ack.GetIds())
			if f != nil {
				return f
			}
			err = consumer.Ack(ids...)
		case *persistent.ReadReq_Nack_:
			ids, f := eventIDs(answer.Nack.GetIds())
			if f != nil {
				return f
			}
			action := groups.Retry
			switch answer.Nack.GetAction() {
			case persistent.ReadReq_Nack_Park:
				action = groups.Park
			case persistent.ReadReq_Nack_Skip:
				action = groups.Skip
			case persistent.ReadReq_Nack_Stop:
				action = groups.Stop
			case persistent.ReadReq_Nack_Retry, persistent.ReadReq_Nack_Unknown:
			}
			err = consumer.Nack(action, answer.Nack.GetReason(), ids...)
		default:
			return badRequest("a message after the first must acknowledge events or give them back")
		}
		if err != nil {
			return groupFailure(err)
		}
	}
}

func eventIDs(ids []*shared.UUID) ([]store.ID, *failure) {
	out := make([]store.ID, 0, len(ids))
	for _, id := range ids {
		structured := id.GetStructured()
		u := wireUUID{
			form: 1,
			most: uint64(structured.GetMostSignificantBits()), least: uint64(structured.GetLeastSignificantBits()),
		}
		if text, ok := id.GetValue().(*shared.UUID_String_); ok {
			u = wireUUID{form: 2, text: []byte(text.String_)}
		}
		parsed, f := u.id()
		if f != nil {
			return nil, f
		}
		out = append(out, parsed)
	}
	return out, nil
}

// identity describes the client of a consumer's call.
func identity(ctx context.Context) groups.Identity {
	who := groups.Identity{User: callerOf(ctx).name, Connection: "<unknown>"}
	if p, ok := peer.FromContext(ctx); ok {
		who.Address = p.Addr.String()
	}
	if names := metadata.ValueFromIncomingContext(ctx, "connection-name"); len(names) > 0 {
		who.Connection = names[0]
	}
	return who
}
