package node

import (
	"errors"
	"io"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
)

type streamsService struct {
	streams.UnimplementedStreamsServer
	node *Node
}

// maxDrained bounds the bytes that are read and discarded so that a client that is still sending gets the error.
const maxDrained = 256 << 20

// Append receives one append (options, then events, until the client closes its side), stores it and answers.
func (s *streamsService) Append(stream streams.Streams_AppendServer) error {
	a, f, err := s.receiveAppend(stream)
	if err != nil {
		return err
	}
	if f != nil {
		stream.SetTrailer(f.trailer)
		return f
	}
	result, f := s.node.append(stream.Context().Done(), stream.Context().Err, a)
	if f == nil && errors.Is(result.Err, store.ErrWrongRevision) {
		return stream.SendAndClose(wrongVersionResp(a.Expected, result.Revision))
	}
	if f == nil {
		f = outcomeFailure(a, result)
	}
	if f != nil {
		stream.SetTrailer(f.trailer)
		return f
	}
	return stream.SendAndClose(successResp(result))
}

// receiveAppend reads the request to its end, even if it is refused: a client that is refused while it is still sending
// sees a broken stream instead of the reason.
func (s *streamsService) receiveAppend(stream grpc.ServerStream) (*store.Append, *failure, error) {
	var (
		a       *store.Append
		refused *failure
		drained int
		data    int
		message appendRequest
	)
	for {
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if refused != nil {
			if drained += message.event.size(); drained > maxDrained {
				return nil, refused, nil
			}
			continue
		}
		switch {
		case a == nil:
			a = &store.Append{}
			if a.Stream, a.Expected, refused = message.options.target(); refused == nil {
				refused = s.node.authorize(stream.Context(), toWrite, a.Stream)
			}
		case !message.hasEvent:
			refused = badRequest("a message after the first holds no event")
		default:
			refused = s.node.addEvent(a, &data, &message.event)
		}
	}
	if a == nil {
		refused = badRequest("the request is empty; the first message must name stream and expected revision")
	}
	if refused != nil {
		return nil, refused, nil
	}
	if deadline, ok := stream.Context().Deadline(); ok {
		a.Deadline = deadline
	}
	return a, nil, nil
}

// maxAppendTotal bounds the data, metadata and types of one append together.
const maxAppendTotal = 16 << 20

// addEvent encodes an event into the append, within the size limits. data is the size of the append's data so far; as
// clients expect, the configured limit is for that alone.
func (n *Node) addEvent(a *store.Append, data *int, e *wireEvent) *failure {
	if *data += len(e.event); *data > n.opts.MaxAppendBytes {
		return tooLarge(n.opts.MaxAppendBytes)
	}
	if a.Size += e.size(); a.Size > max(maxAppendTotal, n.opts.MaxAppendBytes) {
		return badRequest("the events of the append have more than 16 MiB together with their metadata, so nothing was written; split it")
	}
	p, f := e.propose(a.Stream)
	if f != nil {
		return f
	}
	a.Events = append(a.Events, p)
	return nil
}

// append submits an append and waits for its outcome, or until gone is closed; then it returns the error of why.
func (n *Node) append(gone <-chan struct{}, why func() error, a *store.Append) (store.Result, *failure) {
	outcome := make(chan store.Result, 1)
	a.Done = func(r store.Result) { outcome <- r }
	if err := n.store.Submit(a); err != nil {
		return store.Result{}, storeFailure(err)
	}
	select {
	case r := <-outcome:
		return r, nil
	case <-gone:
		return store.Result{}, storeFailure(why())
	}
}

func successResp(r store.Result) *streams.AppendResp {
	success := &streams.AppendResp_Success{
		CurrentRevisionOption: &streams.AppendResp_Success_NoStream{NoStream: &shared.Empty{}},
		PositionOption: &streams.AppendResp_Success_Position{
			Position: &streams.AppendResp_Position{CommitPosition: r.Position, PreparePosition: r.Position},
		},
	}
	if r.Revision >= 0 {
		success.CurrentRevisionOption = &streams.AppendResp_Success_CurrentRevision{CurrentRevision: uint64(r.Revision)}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_Success_{Success: success}}
}

// wrongVersionResp sets both revisions twice: in the current fields and in the fields that clients of version 20.6
// read.
func wrongVersionResp(expected, current int64) *streams.AppendResp {
	w := &streams.AppendResp_WrongExpectedVersion{}
	if current < 0 {
		w.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &shared.Empty{}}
		w.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_NoStream_20_6_0{NoStream_20_6_0: &shared.Empty{}}
	} else {
		w.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: uint64(current)}
		w.CurrentRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{CurrentRevision_20_6_0: uint64(current)}
	}
	switch expected {
	case store.Any:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: &shared.Empty{}}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: &shared.Empty{}}
	case store.StreamExists:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: &shared.Empty{}}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{StreamExists_20_6_0: &shared.Empty{}}
	case store.NoStream:
		// The old fields cannot express it.
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &shared.Empty{}}
	default:
		w.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: uint64(expected)}
		w.ExpectedRevisionOption_20_6_0 = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{
			ExpectedRevision_20_6_0: uint64(expected),
		}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: w}}
}
