package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// wireCall is a server call that receives the given bytes as messages, decoded by the server's codec.
type wireCall struct {
	ctx      context.Context
	messages [][]byte
	answers  int
	t        *testing.T
}

func (c *wireCall) SetHeader(metadata.MD) error  { return nil }
func (c *wireCall) SendHeader(metadata.MD) error { return nil }
func (c *wireCall) SetTrailer(metadata.MD)       {}
func (c *wireCall) Context() context.Context     { return c.ctx }

func (c *wireCall) RecvMsg(m any) error {
	if len(c.messages) == 0 {
		return io.EOF
	}
	b := c.messages[0]
	c.messages = c.messages[1:]
	return codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(bytes.Clone(b))}, m)
}

// SendMsg checks that an answer is a message of the protocol.
func (c *wireCall) SendMsg(m any) error {
	if c.answers++; c.answers > 100 {
		return errors.New("enough")
	}
	b, err := codec{}.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if f, ok := m.(frame); ok {
		var read streams.ReadResp
		var batch streams.BatchAppendResp
		if proto.Unmarshal(f, &read) != nil && proto.Unmarshal(f, &batch) != nil {
			c.t.Fatalf("an answer that clients cannot read: %x", b.Materialize())
		}
	}
	return nil
}

type appendCall struct{ *wireCall }

func (c appendCall) Recv() (*streams.AppendReq, error)        { return nil, errors.New("unused") }
func (c appendCall) SendAndClose(m *streams.AppendResp) error { return c.SendMsg(m) }

type batchedCall struct{ *wireCall }

func (c batchedCall) Recv() (*streams.BatchAppendReq, error) { return nil, errors.New("unused") }
func (c batchedCall) Send(m *streams.BatchAppendResp) error  { return c.SendMsg(m) }

type readCall struct{ *wireCall }

func (c readCall) Send(m *streams.ReadResp) error { return c.SendMsg(m) }

func encode(t testing.TB, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	must(t, err)
	return b
}

// fuzzNode returns the service of a node that does not listen: its handlers are called directly.
func fuzzNode(t testing.TB) *streamsService {
	st, err := store.Open(store.Options{Dir: "log", FS: vfs.NewMem()})
	must(t, err)
	n := &Node{opts: Options{MaxAppendBytes: defaultMaxBytes}, store: st, stopping: make(chan struct{})}
	t.Cleanup(func() {
		n.workers.Wait()
		must(t, st.Close())
	})
	return &streamsService{node: n}
}

func FuzzAppend(f *testing.F) {
	s := fuzzNode(f)
	f.Add(encode(f, appendOptions("s")), encode(f, appendEvent(uuid.New())))
	f.Add(encode(f, appendOptions("$$s")), encode(f, appendEvent(uuid.Nil)))
	f.Add([]byte{}, []byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, b := range [][]byte{first, second} {
			var mine appendRequest
			var theirs streams.AppendReq
			sameVerdict(t, b, mine.parse(b), proto.Unmarshal(b, &theirs))
		}
		_ = s.Append(appendCall{&wireCall{ctx: t.Context(), messages: [][]byte{first, second}, t: t}})
	})
}

// sameVerdict checks that our decoder and protobuf's accept the same bytes.
func sameVerdict(t *testing.T, b []byte, mine, theirs error) {
	t.Helper()
	if (mine == nil) != (theirs == nil) {
		t.Fatalf("%x: our decoder: %v, protobuf: %v", b, mine, theirs)
	}
}

func FuzzBatchAppend(f *testing.F) {
	s := fuzzNode(f)
	id := uuid.New()
	f.Add(encode(f, batchPart("a", "s", -1, true, id, uuid.New())), encode(f, batchPart("b", "s", 0, true, id)))
	f.Add(encode(f, batchPart("a", "s", -2, false, id)), encode(f, batchPart("a", "", 0, true, id)))
	structured := batchPart("", "s", -2, true, id)
	structured.CorrelationId = structuredUUID(id)
	f.Add(encode(f, structured), []byte{0x22, 0x00})
	f.Add([]byte{0x0a, 0x00, 0x20, 0x01}, []byte{0x12, 0x02, 0x32, 0x00})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, b := range [][]byte{first, second} {
			var mine batchRequest
			var theirs streams.BatchAppendReq
			err := mine.parse(b)
			sameVerdict(t, b, err, proto.Unmarshal(b, &theirs))
			if err == nil {
				sameBatch(t, &mine, &theirs)
			}
		}
		call := &wireCall{ctx: t.Context(), messages: [][]byte{first, second}, t: t}
		_ = s.BatchAppend(batchedCall{call})
	})
}

// sameBatch compares a request decoded by us with the same request decoded by protobuf.
func sameBatch(t *testing.T, mine *batchRequest, theirs *streams.BatchAppendReq) {
	t.Helper()
	sameID := func(u *wireUUID, id *shared.UUID) {
		t.Helper()
		switch v := id.GetValue().(type) {
		case *shared.UUID_Structured_:
			if u.form != 1 || int64(u.most) != v.Structured.MostSignificantBits || int64(u.least) != v.Structured.LeastSignificantBits {
				t.Fatalf("id %+v, should be %v", u, id)
			}
		case *shared.UUID_String_:
			if u.form != 2 || string(u.text) != v.String_ {
				t.Fatalf("id %+v, should be %v", u, id)
			}
		default:
			if u.form != 0 {
				t.Fatalf("id %+v, should be none", u)
			}
		}
	}
	sameID(&mine.correlation, theirs.CorrelationId)
	var raw shared.UUID
	if proto.Unmarshal(mine.rawID, &raw) != nil || theirs.CorrelationId != nil && !proto.Equal(&raw, theirs.CorrelationId) {
		t.Fatalf("correlation id %v would be sent back as %v", theirs.CorrelationId, &raw)
	}
	o := theirs.Options
	if mine.final != theirs.IsFinal || len(mine.events) != len(theirs.ProposedMessages) || mine.options.present != (o != nil) ||
		string(mine.options.stream) != string(o.GetStreamIdentifier().GetStreamName()) ||
		mine.options.expected == 2 && mine.options.revision != o.GetStreamPosition() {
		t.Fatalf("%+v, should be %v", mine, theirs)
	}
	form := 0
	switch o.GetExpectedStreamPosition().(type) {
	case *streams.BatchAppendReq_Options_StreamPosition:
		form = 2
	case *streams.BatchAppendReq_Options_NoStream:
		form = 3
	case *streams.BatchAppendReq_Options_Any:
		form = 4
	case *streams.BatchAppendReq_Options_StreamExists:
		form = 5
	}
	if int(mine.options.expected) != form {
		t.Fatalf("expected revision of form %d, should be %d", mine.options.expected, form)
	}
	now := time.Now()
	if d := o.GetDeadline(); d != nil && d.Seconds >= 0 && d.Seconds < 1e9 && d.Nanos >= 0 &&
		!mine.options.deadline(now).Equal(now.Add(d.AsDuration())) {
		t.Fatalf("deadline %v, should be in %v", mine.options.deadline(now), d.AsDuration())
	}
	for i, e := range theirs.ProposedMessages {
		m := &mine.events[i]
		sameID(&m.id, e.Id)
		_, hasType := e.Metadata["type"]
		if string(m.eventType) != e.Metadata["type"] || m.hasType != hasType || string(m.content) != e.Metadata["content-type"] ||
			!bytes.Equal(m.customMetadata, e.CustomMetadata) || !bytes.Equal(m.event, e.Data) {
			t.Fatalf("event %+v, should be %v", m, e)
		}
	}
}

func FuzzRead(f *testing.F) {
	s := fuzzNode(f)
	for i := range 5 {
		messages := [][]byte{encode(f, appendOptions("s")), encode(f, appendEvent(uuid.New()))}
		if err := s.Append(appendCall{&wireCall{ctx: f.Context(), messages: messages}}); err != nil {
			f.Fatal(i, err)
		}
	}
	request := func(o *streams.ReadReq_Options) { f.Add(encode(f, &streams.ReadReq{Options: o})) }
	count := &streams.ReadReq_Options_Count{Count: 3}
	follow := &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	stream := &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
		StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")},
		RevisionOption:   &streams.ReadReq_Options_StreamOptions_Revision{Revision: 1},
	}}
	all := &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Position{
		Position: &streams.ReadReq_Options_Position{CommitPosition: 64, PreparePosition: 64}}}}
	filter := &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{CheckpointIntervalMultiplier: 1,
		Filter: &streams.ReadReq_Options_FilterOptions_EventType{EventType: &streams.ReadReq_Options_FilterOptions_Expression{Regex: "^T$"}}}}
	request(&streams.ReadReq_Options{StreamOption: stream, CountOption: count})
	request(&streams.ReadReq_Options{
		StreamOption: stream, CountOption: count, ReadDirection: streams.ReadReq_Options_Backwards, ResolveLinks: true,
	})
	request(&streams.ReadReq_Options{
		StreamOption: stream, CountOption: follow, ControlOption: &streams.ReadReq_Options_ControlOption{Compatibility: 1},
	})
	request(&streams.ReadReq_Options{StreamOption: all, CountOption: follow, FilterOption: filter})
	request(&streams.ReadReq_Options{
		StreamOption: all, CountOption: count, FilterOption: filter,
		UuidOption: &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{}},
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		var req streams.ReadReq
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		ctx := t.Context()
		if req.GetOptions().GetSubscription() != nil {
			// A subscription ends only with its context.
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
		}
		_ = s.Read(&req, readCall{&wireCall{ctx: ctx, t: t}})
	})
}
