package node

import (
	"context"
	"math"

	"casebook/embedded/node/groups"
	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// page bounds the events that one reader holds in memory at a time.
var page = store.Page{Events: 256, Bytes: 1 << 20}

// Read serves finite reads and subscriptions, of one stream or of $all.
func (s *streamsService) Read(req *streams.ReadReq, stream streams.Streams_ReadServer) error {
	r, f := s.newReader(req.GetOptions(), stream)
	if f == nil {
		f = r.serve()
	}
	if f != nil {
		stream.SetTrailer(f.trailer)
		return f
	}
	return nil
}

// reader is one Read call.
type reader struct {
	node    *Node
	store   *store.Store
	out     streams.Streams_ReadServer
	ctx     context.Context
	options *streams.ReadReq_Options

	stream   string // empty for $all
	filter   *filter
	textIDs  bool // the client wants event ids as text
	extended bool // the client understands the messages with the first and last position
	records  []*store.Record
}

func (s *streamsService) newReader(o *streams.ReadReq_Options, out streams.Streams_ReadServer) (*reader, *failure) {
	r := &reader{node: s.node, store: s.node.store, out: out, ctx: out.Context(), options: o}
	if o == nil {
		return nil, badRequest("the request has no options")
	}
	subscription := o.GetSubscription() != nil
	switch source := o.GetStreamOption().(type) {
	case *streams.ReadReq_Options_Stream:
		r.stream = string(source.Stream.GetStreamIdentifier().GetStreamName())
		if r.stream == allStream {
			return nil, badRequest("$all is read with its own option, not as a stream")
		}
		if f := checkStreamName(r.stream); f != nil {
			return nil, f
		}
		if o.GetFilter() != nil {
			return nil, badRequest("only reads of $all can have a filter")
		}
	case *streams.ReadReq_Options_All:
	default:
		return nil, badRequest("the request names neither a stream nor $all")
	}
	if _, ok := o.GetCountOption().(*streams.ReadReq_Options_Count); !ok && !subscription {
		return nil, badRequest("the request has neither a count nor a subscription")
	}
	switch o.ReadDirection {
	case streams.ReadReq_Options_Forwards:
	case streams.ReadReq_Options_Backwards:
		if subscription {
			return nil, badRequest("a subscription goes forwards only")
		}
	default:
		return nil, badRequest("the read direction is unknown")
	}
	subject := r.stream
	if subject == "" {
		subject = allStream
	}
	f := r.node.authorize(r.ctx, toRead, subject)
	if f != nil {
		return nil, f
	}
	if r.filter, f = newFilter(o.GetFilter(), subscription); f != nil {
		return nil, f
	}
	_, r.textIDs = o.GetUuidOption().GetContent().(*streams.ReadReq_Options_UUIDOption_String_)
	r.extended = o.GetControlOption().GetCompatibility() >= 1
	return r, nil
}

func (r *reader) serve() *failure {
	if r.options.GetSubscription() != nil {
		r.node.subscriptions.Add(1)
		defer r.node.subscriptions.Add(-1)
		if r.stream == "" {
			return r.subscribeAll()
		}
		return r.subscribeStream()
	}
	r.node.reads.Add(1)
	defer r.node.reads.Add(-1)
	backwards := r.options.ReadDirection == streams.ReadReq_Options_Backwards
	count := r.options.GetCount()
	if r.stream == "" {
		return r.readAll(backwards, count)
	}
	return r.readStream(backwards, count)
}

// allPosition returns the position in $all to begin at: 0 for the start, math.MaxUint64 for the end.
func (r *reader) allPosition() (uint64, *failure) {
	switch at := r.options.GetAll().GetAllOption().(type) {
	case *streams.ReadReq_Options_AllOptions_Start:
		return 0, nil
	case *streams.ReadReq_Options_AllOptions_End:
		return math.MaxUint64, nil
	case *streams.ReadReq_Options_AllOptions_Position:
		commit, prepare := at.Position.GetCommitPosition(), at.Position.GetPreparePosition()
		if prepare > commit {
			return 0, badRequest("the prepare position lies behind the commit position; take both from the same event")
		}
		return commit, nil
	}
	return 0, badRequest("the request does not say where in $all to begin")
}

// readAll serves a finite read of $all. Forwards it includes the event at the position, backwards it begins below it.
func (r *reader) readAll(backwards bool, count uint64) *failure {
	at, f := r.allPosition()
	if f != nil {
		return f
	}
	end := r.store.End()
	for sent := uint64(0); sent < count; {
		if err := r.ctx.Err(); err != nil {
			return storeFailure(err)
		}
		p := page
		if r.filter == nil {
			p.Events = int(min(uint64(p.Events), count-sent))
		}
		var err error
		if backwards {
			r.records, err = r.store.ReadBackward(at, r.records[:0], p)
		} else {
			r.records, _, err = r.store.ReadForward(at, r.records[:0], p)
		}
		if err != nil {
			return storeFailure(err)
		}
		for _, e := range r.records {
			if !backwards && e.Position >= end {
				return r.endOfAll(end) // events written since the read began would make it endless on a busy log
			}
			if r.selects(e) {
				if sent++; sent > count {
					return nil
				}
				if f := r.send(e); f != nil {
					return f
				}
			}
			at = e.Next()
			if backwards {
				at = e.Position
			}
		}
		if len(r.records) == 0 {
			return r.endOfAll(end)
		}
	}
	return nil
}

// selects reports whether an event of $all is delivered.
func (r *reader) selects(e *store.Record) bool { return r.filter.matches(e) && !groups.Internal(e) }

// endOfAll sends the position of the last event below end to clients that understand the message.
func (r *reader) endOfAll(end uint64) *failure {
	if !r.extended {
		return nil
	}
	last, err := r.store.ReadBackward(end, nil, store.Page{Events: 1, Bytes: 1})
	if err != nil || len(last) == 0 {
		return storeFailureOrNil(err)
	}
	return r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_LastAllStreamPosition{
		LastAllStreamPosition: &shared.AllStreamPosition{CommitPosition: last[0].Position, PreparePosition: last[0].Position},
	}})
}

func storeFailureOrNil(err error) *failure {
	if err == nil {
		return nil
	}
	return storeFailure(err)
}

// streamRevision returns the revision to begin at: 0 for the start, math.MaxUint64 for the end.
func (r *reader) streamRevision() (uint64, *failure) {
	switch at := r.options.GetStream().GetRevisionOption().(type) {
	case *streams.ReadReq_Options_StreamOptions_Start:
		return 0, nil
	case *streams.ReadReq_Options_StreamOptions_End:
		return math.MaxUint64, nil
	case *streams.ReadReq_Options_StreamOptions_Revision:
		return at.Revision, nil
	}
	return 0, badRequest("the request does not say where in the stream to begin")
}

// readStream serves a finite read of a stream. It includes the event at the revision in both directions.
func (r *reader) readStream(backwards bool, count uint64) *failure {
	at, f := r.streamRevision()
	if f != nil {
		return f
	}
	st, err := r.store.Stream(r.stream)
	switch {
	case err != nil:
		return storeFailure(err)
	case st.Tombstoned:
		return streamDeleted(r.stream)
	case st.Last < 0 || st.Deleted:
		return r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{StreamNotFound: &streams.ReadResp_StreamNotFound{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(r.stream)},
		}}})
	}
	now := r.store.Now()
	first, last := uint64(st.First), uint64(st.Last)
	// Clients are told the first position only if a page of the size below, with which other servers read, is empty.
	if r.extended && !backwards && at < first && first-at >= min(count, firstPage) {
		if f := r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_FirstStreamPosition{FirstStreamPosition: first}}); f != nil {
			return f
		}
	}
	if backwards {
		at = min(at, last)
	} else {
		at = max(at, first)
	}
	// Only revisions between first and last are read; later appends are left to the next read.
	for sent := uint64(0); sent < count && at >= first && at <= last; {
		if err := r.ctx.Err(); err != nil {
			return storeFailure(err)
		}
		p := page
		if st.MaxAge == 0 {
			p.Events = int(min(uint64(p.Events), count-sent))
		}
		if backwards {
			r.records, err = r.store.ReadStreamBackward(st.ID, at, r.records[:0], p)
		} else {
			r.records, err = r.store.ReadStreamForward(st.ID, at, r.records[:0], p)
		}
		if err != nil {
			return storeFailure(err)
		}
		if len(r.records) == 0 {
			break // the remaining events were scavenged
		}
		for _, e := range r.records {
			if e.Revision > last || e.Revision < first {
				return r.endOfStream(last)
			}
			if !st.Hides(e, now) {
				if f := r.send(e); f != nil {
					return f
				}
				sent++
			}
			if backwards && e.Revision == 0 {
				return r.endOfStream(last)
			}
			at = e.Revision + 1
			if backwards {
				at = e.Revision - 1
			}
			if sent == count {
				break
			}
		}
	}
	return r.endOfStream(last)
}

// firstPage is the number of events that other servers read at a time.
const firstPage = 32

func (r *reader) endOfStream(last uint64) *failure {
	if !r.extended {
		return nil
	}
	return r.sendMessage(&streams.ReadResp{Content: &streams.ReadResp_LastStreamPosition{LastStreamPosition: last}})
}

// send delivers one event. If the client wants links resolved, a link is delivered together with its event.
func (r *reader) send(e *store.Record) *failure {
	r.node.sent.Add(1)
	if r.options.ResolveLinks && store.IsLink(e) {
		target, err := r.store.Resolve(e, r.store.Now())
		if err != nil {
			return storeFailure(err)
		}
		if target != nil && r.node.authorize(r.ctx, toRead, string(target.Stream())) != nil {
			target = nil // a link must not give access to a stream that the client may not read
		}
		return r.sendFrame(readEvent(target, e, r.textIDs, noRetries))
	}
	return r.sendFrame(readEvent(e, nil, r.textIDs, noRetries))
}

func (r *reader) sendFrame(f frame) *failure {
	if err := r.out.SendMsg(f); err != nil {
		return storeFailure(r.sendError(err))
	}
	return nil
}

func (r *reader) sendMessage(m *streams.ReadResp) *failure {
	if err := r.out.SendMsg(m); err != nil {
		return storeFailure(r.sendError(err))
	}
	return nil
}

// sendError returns the context's error if the call has ended, else the transport's.
func (r *reader) sendError(err error) error {
	if ended := r.ctx.Err(); ended != nil {
		return ended
	}
	return err
}

// noRetries omits the retry count, which only persistent subscriptions have.
const noRetries = -1

// readEvent encodes ReadResp{event: ReadEvent{event, link, commit_position, retry_count}} around the stored bytes. Both
// services use the same field numbers. Either record may be nil; event is nil if its link has no target.
func readEvent(event, link *store.Record, textIDs bool, retries int) frame {
	wire := func(e *store.Record) []byte {
		switch {
		case e == nil:
			return nil
		case textIDs:
			return e.WireWithTextID(uuid.UUID(e.ID).String())
		}
		return e.Wire()
	}
	eventWire, linkWire := wire(event), wire(link)
	outer := event
	inner := 0
	if event != nil {
		inner += 1 + protowire.SizeBytes(len(eventWire))
	}
	if link != nil {
		outer = link
		inner += 1 + protowire.SizeBytes(len(linkWire))
	}
	inner += 1 + protowire.SizeVarint(outer.Position)
	if retries != noRetries {
		inner += 1 + protowire.SizeVarint(uint64(retries))
	}
	b := make([]byte, 0, 1+protowire.SizeBytes(inner))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	if event != nil {
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendBytes(b, eventWire)
	}
	if link != nil {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendBytes(b, linkWire)
	}
	b = protowire.AppendTag(b, 3, protowire.VarintType)
	b = protowire.AppendVarint(b, outer.Position)
	if retries != noRetries {
		b = protowire.AppendTag(b, 5, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(retries))
	}
	return b
}
