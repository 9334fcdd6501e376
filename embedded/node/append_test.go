package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestOneOfManyWritersWins(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	for round := range 20 {
		var expected esdb.ExpectedRevision = esdb.NoStream{}
		if round > 0 {
			expected = esdb.Revision(uint64(round - 1))
		}
		var won, lost atomic.Int32
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				o := esdb.AppendToStreamOptions{ExpectedRevision: expected}
				_, err := c.AppendToStream(context.Background(), "contested", o, event("T", "{}"))
				if e, ok := esdb.FromError(err); ok {
					won.Add(1)
				} else if e.Code() == esdb.ErrorCodeWrongExpectedVersion {
					lost.Add(1)
				} else {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 || lost.Load() != 15 {
			t.Fatalf("round %d: %d writers won, %d lost", round, won.Load(), lost.Load())
		}
	}
	if st := n.Stats(); st.Events != 20 || st.Conflicts != 20*15 || st.LastPosition == 0 {
		t.Fatalf("statistics: %+v", st)
	}
}

// TestConcurrentRetriesWriteOnce sends the same append many times at once. It is stored once, and all answers are
// alike.
func TestConcurrentRetriesWriteOnce(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	for _, expected := range []esdb.ExpectedRevision{esdb.NoStream{}, esdb.Any{}} {
		stream := fmt.Sprintf("once-%T", expected)
		events := numbered("T", 0, 3)
		positions := make([]uint64, 16)
		var group sync.WaitGroup
		for i := range positions {
			group.Go(func() {
				r, err := c.AppendToStream(context.Background(), stream, esdb.AppendToStreamOptions{ExpectedRevision: expected}, events...)
				if err != nil {
					t.Error(err)
					return
				}
				positions[i] = r.CommitPosition
			})
		}
		group.Wait()
		s, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{}, 100)
		got := drain(t, s, err)
		if len(got) != 3 {
			t.Fatalf("%d events are stored", len(got))
		}
		for _, p := range positions {
			if p != got[2].Event.Position.Commit {
				t.Fatalf("an answer has position %d instead of %d", p, got[2].Event.Position.Commit)
			}
		}
	}
}

func TestOversizedAppend(t *testing.T) {
	n := openNode(t)
	client := dialStreams(t, n)
	c := connect(t, n)
	fits := esdb.EventData{EventID: uuid.New(), EventType: "TT", Data: make([]byte, defaultMaxBytes-1), Metadata: make([]byte, 10)}
	mustAppend(t, c, "large", esdb.NoStream{}, fits)
	s, err := c.ReadStream(t.Context(), "large", esdb.ReadStreamOptions{}, 1)
	if got := drain(t, s, err); len(got[0].Event.Data) != len(fits.Data) {
		t.Fatalf("read back %d bytes", len(got[0].Event.Data))
	}
	// The client sends many events after the one that exceeds the limit. It must see the reason each time, not a broken
	// stream.
	for round := range 20 {
		var trailer metadata.MD
		call, err := client.Append(t.Context(), grpc.Trailer(&trailer))
		must(t, err)
		must(t, call.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{
			StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte("too-large")},
			ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &shared.Empty{}},
		}}}))
		for range 40 {
			large := &streams.AppendReq_ProposedMessage{
				Id:       structuredUUID(uuid.New()),
				Metadata: map[string]string{"type": "T", "content-type": "application/octet-stream"},
				Data:     make([]byte, 100_000),
			}
			err := call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: large}})
			if err != nil {
				t.Fatalf("round %d: sending broke: %v", round, err)
			}
		}
		_, err = call.CloseAndRecv()
		exception, limit := strings.Join(trailer.Get("exception"), ""), strings.Join(trailer.Get("maximum-append-size"), "")
		if status.Code(err) != codes.InvalidArgument || exception != "maximum-append-size-exceeded" || limit != "1048576" {
			t.Fatalf("round %d: %v, %v", round, err, trailer)
		}
	}
	_, err = c.AppendToStream(t.Context(), "too-large", esdb.AppendToStreamOptions{}, fits, event("T", "{}"))
	if err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Fatalf("two events over the limit: %v", err)
	}
	if st := n.Stats(); st.Events != 1 {
		t.Fatalf("%d events are stored", st.Events)
	}
}

// TestAbandonedAppendWritesNothing has a client go away before it has closed its side.
func TestAbandonedAppendWritesNothing(t *testing.T) {
	n := openNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	call, err := dialStreams(t, n).Append(ctx)
	must(t, err)
	must(t, call.Send(appendOptions("s")))
	must(t, call.Send(appendEvent(uuid.New())))
	cancel()
	if err := call.RecvMsg(&streams.AppendResp{}); status.Code(err) != codes.Canceled {
		t.Fatal(err)
	}
	must(t, n.Close()) // waits for the handler
	if st := n.Stats(); st.Events != 0 {
		t.Fatalf("%d events are stored", st.Events)
	}
}

func appendOptions(stream string) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{
		StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
		ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &shared.Empty{}},
	}}}
}

func appendEvent(id uuid.UUID) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{
		Id: structuredUUID(id), Metadata: map[string]string{"type": "T", "content-type": "application/json"}, Data: []byte("{}"),
	}}}
}

func TestRefusedAppends(t *testing.T) {
	n := openNode(t)
	client := dialStreams(t, n)
	without := func(key string) *streams.AppendReq {
		e := appendEvent(uuid.New())
		delete(e.GetProposedMessage().Metadata, key)
		return e
	}
	noID := appendEvent(uuid.New())
	noID.GetProposedMessage().Id = nil
	badID := appendEvent(uuid.New())
	badID.GetProposedMessage().Id = &shared.UUID{Value: &shared.UUID_String_{String_: "seven"}}
	noRevision := appendOptions("s")
	noRevision.GetOptions().ExpectedStreamRevision = nil
	hugeRevision := appendOptions("s")
	hugeRevision.GetOptions().ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: math.MaxUint64 - 1}
	for name, messages := range map[string][]*streams.AppendReq{
		"nothing":              {},
		"event first":          {appendEvent(uuid.New())},
		"options twice":        {appendOptions("s"), appendOptions("s")},
		"no stream name":       {appendOptions("")},
		"a long stream name":   {appendOptions(strings.Repeat("x", maxStreamName+1))},
		"not UTF-8":            {appendOptions("\xff")},
		"no expected revision": {noRevision},
		"a huge revision":      {hugeRevision},
		"no id":                {appendOptions("s"), noID},
		"not a UUID":           {appendOptions("s"), badID},
		"no type":              {appendOptions("s"), without("type")},
		"no content type":      {appendOptions("s"), without("content-type")},
		"the last of three":    {appendOptions("s"), appendEvent(uuid.New()), appendEvent(uuid.New()), without("type")},
	} {
		t.Run(name, func(t *testing.T) {
			call, err := client.Append(t.Context())
			must(t, err)
			for _, m := range messages {
				must(t, call.Send(m))
			}
			if _, err := call.CloseAndRecv(); status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Message()) < 10 {
				t.Fatal(err)
			}
		})
	}
	if st := n.Stats(); st.Events != 0 {
		t.Fatalf("%d events are stored", st.Events)
	}
}

// batchPart returns one message of a BatchAppend call, with one event per id. An expected revision of -1 stands for
// no_stream, a smaller one for any. Without a stream the message has no options.
func batchPart(correlation, stream string, expected int64, final bool, ids ...uuid.UUID) *streams.BatchAppendReq {
	m := &streams.BatchAppendReq{CorrelationId: &shared.UUID{Value: &shared.UUID_String_{String_: correlation}}, IsFinal: final}
	if stream != "" {
		m.Options = &streams.BatchAppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}
		switch {
		case expected >= 0:
			m.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(expected)}
		case expected == -1:
			m.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
		default:
			m.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}
		}
	}
	for _, id := range ids {
		m.ProposedMessages = append(m.ProposedMessages, &streams.BatchAppendReq_ProposedMessage{
			Id: structuredUUID(id), Metadata: map[string]string{"type": "T", "content-type": "application/json"}, Data: []byte("{}"),
		})
	}
	return m
}

// batchAppend sends the messages over one BatchAppend call and returns the answers by correlation id.
func batchAppend(t *testing.T, n *Node, messages ...*streams.BatchAppendReq) map[string]*streams.BatchAppendResp {
	t.Helper()
	call, err := dialStreams(t, n).BatchAppend(t.Context())
	must(t, err)
	for _, m := range messages {
		must(t, call.Send(m))
	}
	must(t, call.CloseSend())
	answers := map[string]*streams.BatchAppendResp{}
	for {
		r, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return answers
		}
		must(t, err)
		id := r.CorrelationId.GetString_()
		if answers[id] != nil {
			t.Fatalf("a second answer to %s: %v", id, r)
		}
		answers[id] = r
	}
}

func TestBatchAppend(t *testing.T) {
	n := openNode(t)
	ids := func(k int) []uuid.UUID {
		all := make([]uuid.UUID, k)
		for i := range all {
			all[i] = uuid.New()
		}
		return all
	}
	timeout := func(m *streams.BatchAppendReq, d time.Duration) *streams.BatchAppendReq {
		m.Options.DeadlineOption = &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(d)}
		return m
	}
	until := func(m *streams.BatchAppendReq, at time.Time) *streams.BatchAppendReq {
		m.Options.DeadlineOption = &streams.BatchAppendReq_Options_Deadline_21_10_0{Deadline_21_10_0: timestamppb.New(at)}
		return m
	}
	large := batchPart("large", "s7", -1, false)
	for range 12 {
		large.ProposedMessages = append(large.ProposedMessages, &streams.BatchAppendReq_ProposedMessage{
			Id:       structuredUUID(uuid.New()),
			Metadata: map[string]string{"type": "T", "content-type": "application/json"},
			Data:     make([]byte, 100_000),
		})
	}
	answers := batchAppend(t, n,
		batchPart("one", "s1", -1, true, ids(2)...),
		batchPart("conflict", "s1", 0, true, ids(1)...),
		batchPart("next", "s1", 1, true, ids(1)...),
		// Two appends with interleaved parts.
		batchPart("left", "s2", -1, false, ids(1)...),
		batchPart("right", "s3", -1, false, ids(2)...),
		batchPart("left", "", 0, false, ids(1)...),
		batchPart("right", "", 0, true),
		batchPart("left", "", 0, true, ids(1)...),
		timeout(batchPart("late", "s4", -1, true, ids(1)...), -time.Second),
		until(batchPart("past", "s4", -1, true, ids(1)...), time.Now().Add(-time.Hour)),
		timeout(batchPart("in time", "s5", -1, true, ids(1)...), time.Hour),
		until(batchPart("in time too", "s6", -1, true, ids(1)...), time.Now().Add(time.Hour)),
		large, batchPart("large", "", 0, true, ids(1)...),
		batchPart("no options", "", 0, true, ids(1)...),
		batchPart("all", "$all", -2, true, ids(1)...),
		batchPart("empty", "s1", -2, true),
	)
	if len(answers) != 13 {
		t.Fatalf("%d answers", len(answers))
	}
	revisions := map[string]uint64{"one": 1, "next": 2, "left": 2, "right": 1, "in time": 0, "in time too": 0, "empty": 2}
	for id, revision := range revisions {
		s := answers[id].GetSuccess()
		if s == nil || s.GetCurrentRevision() != revision || s.GetPosition() == nil {
			t.Errorf("%s: %v", id, answers[id])
		}
	}
	if w := answers["one"]; w.GetNoStream() == nil || string(w.StreamIdentifier.StreamName) != "s1" ||
		answers["next"].GetStreamPosition() != 1 || answers["empty"].GetAny() == nil {
		t.Errorf("an answer does not repeat stream and expected revision: %v", w)
	}
	for id, want := range map[string]struct {
		code   codes.Code
		detail proto.Message
	}{
		"conflict": {codes.AlreadyExists, &shared.WrongExpectedVersion{
			CurrentStreamRevisionOption:  &shared.WrongExpectedVersion_CurrentStreamRevision{CurrentStreamRevision: 1},
			ExpectedStreamPositionOption: &shared.WrongExpectedVersion_ExpectedStreamPosition{ExpectedStreamPosition: 0}}},
		"late":       {codes.DeadlineExceeded, &shared.Timeout{}},
		"past":       {codes.DeadlineExceeded, &shared.Timeout{}},
		"large":      {codes.InvalidArgument, &shared.MaximumAppendSizeExceeded{MaxAppendSize: defaultMaxBytes}},
		"no options": {codes.InvalidArgument, nil},
		"all":        {codes.PermissionDenied, &shared.AccessDenied{}},
	} {
		e := answers[id].GetError()
		if e == nil || codes.Code(e.Code) != want.code || len(e.Details) != 1 {
			t.Errorf("%s: %v", id, answers[id])
			continue
		}
		detail, err := e.Details[0].UnmarshalNew()
		if err != nil || want.detail != nil && !proto.Equal(detail, want.detail) {
			t.Errorf("%s: detail %v, %v", id, detail, err)
		}
	}
	if st := n.Stats(); st.Events != 2+1+3+2+1+1 {
		t.Errorf("%d events are stored", st.Events)
	}
}

// TestAnsweredCorrelationIDCanBeReused sends appends one after the other under the same correlation id.
func TestAnsweredCorrelationIDCanBeReused(t *testing.T) {
	n := openNode(t)
	call, err := dialStreams(t, n).BatchAppend(t.Context())
	must(t, err)
	for i := range 3 {
		stream := fmt.Sprint("s", i)
		must(t, call.Send(batchPart("x", stream, -1, false, uuid.New())))
		must(t, call.Send(batchPart("x", "", 0, true, uuid.New())))
		r, err := call.Recv()
		must(t, err)
		if r.GetSuccess().GetCurrentRevision() != 1 || string(r.StreamIdentifier.StreamName) != stream {
			t.Fatalf("answer %d: %v", i, r)
		}
	}
	must(t, call.CloseSend())
	if _, err := call.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// TestBatchAppendKeepsOrder sends appends to one stream without waiting; each expects the revision of the one before.
func TestBatchAppendKeepsOrder(t *testing.T) {
	n := openNode(t)
	const k = 3000
	call, err := dialStreams(t, n).BatchAppend(t.Context())
	must(t, err)
	sent := make(chan error, 1)
	go func() {
		for i := range k {
			if err := call.Send(batchPart(fmt.Sprint(i), "chain", int64(i-1), true, uuid.New())); err != nil {
				sent <- err
				return
			}
		}
		sent <- call.CloseSend()
	}()
	for i := range k {
		r, err := call.Recv()
		must(t, err)
		if r.GetSuccess().GetCurrentRevision() != uint64(i) || r.CorrelationId.GetString_() != fmt.Sprint(i) {
			t.Fatalf("answer %d: %v", i, r)
		}
	}
	must(t, <-sent)
	if _, err := call.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestIncompleteBatchesAreBounded(t *testing.T) {
	n := openNode(t)
	call, err := dialStreams(t, n).BatchAppend(t.Context())
	must(t, err)
	for i := range batchMaxOpen + 1 {
		if call.Send(batchPart(fmt.Sprint(i), "s", -2, false)) != nil {
			break
		}
	}
	if _, err := call.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Fatal(err)
	}
}

// TestReadOptions checks the parts of Read that the official client does not expose: text ids, position messages,
// refusals.
func TestReadOptions(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	e := event("T", `{"n":0}`)
	w := mustAppend(t, c, "s", esdb.NoStream{}, e, event("T", "{}"))
	_, err := c.SetStreamMetadata(t.Context(), "s", esdb.AppendToStreamOptions{}, esdb.StreamMetadata{})
	must(t, err)
	client := dialStreams(t, n)
	read := func(change func(o *streams.ReadReq_Options)) []*streams.ReadResp {
		t.Helper()
		o := &streams.ReadReq_Options{
			StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
				StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}, RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{}}},
			CountOption: &streams.ReadReq_Options_Count{Count: 10},
		}
		change(o)
		call, err := client.Read(t.Context(), &streams.ReadReq{Options: o})
		must(t, err)
		var all []*streams.ReadResp
		for {
			r, err := call.Recv()
			if errors.Is(err, io.EOF) {
				return all
			}
			must(t, err)
			all = append(all, r)
		}
	}
	got := read(func(o *streams.ReadReq_Options) {
		o.UuidOption = &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{}}
	})
	r := got[0].GetEvent().GetEvent()
	if len(got) != 2 || r.Id.GetString_() != e.EventID.String() ||
		string(r.Data) != `{"n":0}` || string(r.CustomMetadata) != string(e.Metadata) ||
		r.Metadata["type"] != "T" || r.Metadata["content-type"] != "application/json" || len(r.Metadata["created"]) != 17 ||
		got[1].GetEvent().GetCommitPosition() != w.CommitPosition || r.PreparePosition != r.CommitPosition {
		t.Fatalf("with text ids: %v", got)
	}
	extended := func(o *streams.ReadReq_Options) {
		o.ControlOption = &streams.ReadReq_Options_ControlOption{Compatibility: 1}
	}
	if got := read(extended); len(got) != 3 || got[2].GetLastStreamPosition() != 1 {
		t.Fatalf("with position messages: %v", got)
	}
	all := func(o *streams.ReadReq_Options) {
		extended(o)
		o.StreamOption = &streams.ReadReq_Options_All{
			All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{}}}
		byType := &streams.ReadReq_Options_FilterOptions_EventType{
			EventType: &streams.ReadReq_Options_FilterOptions_Expression{Prefix: []string{"T"}}}
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{Filter: byType}}
	}
	if got := read(all); len(got) != 3 || got[2].GetLastAllStreamPosition().GetCommitPosition() <= w.CommitPosition {
		t.Fatalf("$all with position messages and a filter: %v", got)
	}
	for name, change := range map[string]func(o *streams.ReadReq_Options){
		"no stream": func(o *streams.ReadReq_Options) { o.StreamOption = nil },
		"no count":  func(o *streams.ReadReq_Options) { o.CountOption = nil },
		"$all as a stream": func(o *streams.ReadReq_Options) {
			o.GetStream().StreamIdentifier.StreamName = []byte("$all")
		},
		"no start": func(o *streams.ReadReq_Options) { o.GetStream().RevisionOption = nil },
		"a backwards subscription": func(o *streams.ReadReq_Options) {
			o.ReadDirection = streams.ReadReq_Options_Backwards
			o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
		},
		"an unknown direction": func(o *streams.ReadReq_Options) { o.ReadDirection = 7 },
		"an empty filter":      func(o *streams.ReadReq_Options) { all(o); o.GetFilter().GetEventType().Prefix = nil },
		"a filtered stream": func(o *streams.ReadReq_Options) {
			stream := o.StreamOption
			all(o)
			o.StreamOption = stream
		},
		"prepare behind commit": func(o *streams.ReadReq_Options) {
			all(o)
			o.GetAll().AllOption = &streams.ReadReq_Options_AllOptions_Position{
				Position: &streams.ReadReq_Options_Position{CommitPosition: 1, PreparePosition: 2}}
		},
		"a checkpoint beyond the end": func(o *streams.ReadReq_Options) {
			all(o)
			o.FilterOption = nil
			o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
			o.GetAll().AllOption = &streams.ReadReq_Options_AllOptions_Position{
				Position: &streams.ReadReq_Options_Position{CommitPosition: 1 << 40, PreparePosition: 1 << 40}}
		},
		"an empty window": func(o *streams.ReadReq_Options) {
			all(o)
			o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
		},
	} {
		o := &streams.ReadReq_Options{
			StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
				StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}, RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{}}},
			CountOption: &streams.ReadReq_Options_Count{Count: 10},
		}
		change(o)
		call, err := client.Read(t.Context(), &streams.ReadReq{Options: o})
		must(t, err)
		if _, err := call.Recv(); status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDiscovery(t *testing.T) {
	n := openNode(t)
	_, port, err := net.SplitHostPort(n.Addr())
	must(t, err)
	// Gossip must answer with the host name that was dialled, also if the node listens under another.
	for _, host := range []string{"127.0.0.1", "localhost"} {
		c := connectTo(t, fmt.Sprintf("esdb+discover://%s:%s?tls=false&maxDiscoverAttempts=3", host, port))
		mustAppend(t, c, "by-"+host, esdb.NoStream{}, event("T", "{}"))

		conn, err := grpc.NewClient(net.JoinHostPort(host, port), grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(t, err)
		info, err := gossip.NewGossipClient(conn).Read(t.Context(), &shared.Empty{})
		must(t, err)
		must(t, conn.Close())
		m := info.Members[0]
		if len(info.Members) != 1 || m.State != gossip.MemberInfo_Leader || !m.IsAlive ||
			m.HttpEndPoint.Address != host || fmt.Sprint(m.HttpEndPoint.Port) != port {
			t.Fatalf("dialled %s:%s, gossip says %v", host, port, info)
		}
	}
	version, err := connect(t, n).GetServerVersion()
	if err != nil || version.Major != 24 {
		t.Fatalf("version %v, %v", version, err)
	}
}

func TestUnknownMethodsAreUnimplemented(t *testing.T) {
	n := openNode(t)
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	_, err = projections.NewProjectionsClient(conn).RestartSubsystem(t.Context(), &shared.Empty{})
	if status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
}

func TestOpenRefusesUsedPortAndDirectory(t *testing.T) {
	n := openNode(t)
	_, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: n.Addr()})
	if !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), n.Addr()) {
		t.Errorf("a port in use: %v", err)
	}
	_, err = Open(t.Context(), Options{Dir: n.opts.Dir, Listen: "127.0.0.1:0"})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), n.opts.Dir) {
		t.Errorf("a directory in use: %v", err)
	}
	if _, err := Open(t.Context(), Options{Listen: "127.0.0.1:0"}); err == nil {
		t.Error("a node without a directory was opened")
	}
	must(t, n.Close())
	must(t, n.Close())
	again, err := Open(t.Context(), Options{Dir: n.opts.Dir, Listen: n.Addr()})
	must(t, err) // the port and the directory are free again
	must(t, again.Close())
}

// TestFullQueue: an append that does not fit into the queue is refused with Unavailable, and later ones are accepted.
func TestFullQueue(t *testing.T) {
	n := openNode(t, func(o *Options) { o.QueueBytes = 2000; o.FS = vfs.NewMem() })
	// Without the official client, which reconnects after Unavailable and leaves its old connection open.
	call, err := dialStreams(t, n).Append(t.Context())
	must(t, err)
	must(t, call.Send(appendOptions("s")))
	large := appendEvent(uuid.New())
	large.GetProposedMessage().Data = make([]byte, 3000)
	must(t, call.Send(large))
	if _, err := call.CloseAndRecv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "nothing was written") {
		t.Fatalf("an append larger than the queue: %v", err)
	}
	mustAppend(t, connect(t, n), "s", esdb.NoStream{}, event("T", "{}"))
	big := batchPart("big", "s", -2, true, uuid.New())
	big.ProposedMessages[0].Data = make([]byte, 3000)
	answers := batchAppend(t, n, big, batchPart("small", "s", -2, true, uuid.New()))
	if codes.Code(answers["big"].GetError().GetCode()) != codes.Unavailable || answers["small"].GetSuccess() == nil {
		t.Fatal(answers)
	}
}
