package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The tests of this file expect what EventStoreDB 23.10.8 was seen to answer.

// describeStream returns "revision type data" for each event of a stream.
func describeStream(t *testing.T, c *esdb.Client, stream string) []string {
	t.Helper()
	s, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{}, math.MaxInt64)
	var lines []string
	for _, e := range drain(t, s, err) {
		lines = append(lines, fmt.Sprintf("%d %s %s", e.Event.EventNumber, e.Event.EventType, e.Event.Data))
	}
	return lines
}

func TestMetadataOfADeletedStreamKeepsItsEventsHidden(t *testing.T) {
	c := connect(t, openNode(t))
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 2)...)
	_, err := c.DeleteStream(t.Context(), "s", esdb.DeleteStreamOptions{})
	must(t, err)
	var m esdb.StreamMetadata
	m.SetMaxCount(100)
	_, err = c.SetStreamMetadata(t.Context(), "s", esdb.AppendToStreamOptions{}, m)
	must(t, err)
	if got := describeStream(t, c, "s"); len(got) != 0 {
		t.Errorf("the deleted events are back: %v", got)
	}
	after, err := c.GetStreamMetadata(t.Context(), "s", esdb.ReadStreamOptions{})
	must(t, err)
	if after.TruncateBefore() == nil || *after.TruncateBefore() != 2 || after.MaxCount() == nil || *after.MaxCount() != 100 {
		t.Errorf("the metadata are %+v", after)
	}
	all, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{}, 100)
	var records []string
	for _, e := range drain(t, all, err) {
		if e.Event.StreamID == "$$s" {
			records = append(records, string(e.Event.Data))
		}
	}
	if len(records) != 3 || !strings.Contains(records[2], `"$tb":2`) || strings.Contains(records[1], "$tb") {
		t.Errorf("the metadata records are %v", records)
	}
	mustAppend(t, c, "s", esdb.Any{}, numbered("T", 2, 1)...)
	if got := describeStream(t, c, "s"); !slices.Equal(got, []string{`2 T {"n":2}`}) {
		t.Errorf("after one more append the stream holds %v", got)
	}
}

func TestOnlyDataCountsForTheSizeOfAnAppend(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	full := esdb.EventData{EventID: uuid.New(), EventType: "T", Data: make([]byte, 1<<20), Metadata: make([]byte, 1000)}
	mustAppend(t, c, "s", esdb.NoStream{}, full)
	over := full
	over.EventID, over.Data = uuid.New(), make([]byte, 1<<20+1)
	_, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{}, over)
	if err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("one byte too many: %v", err)
	}
	part := batchPart("full", "batch", -1, true, uuid.New())
	part.ProposedMessages[0].Data = make([]byte, 1<<20)
	part.ProposedMessages[0].CustomMetadata = make([]byte, 1000)
	if answer := batchAppend(t, n, part)["full"]; answer.GetSuccess() == nil {
		t.Errorf("a full append over BatchAppend: %v", answer.GetError())
	}
	// Metadata are bounded too, though less.
	heavy := []esdb.EventData{event("T", "{}"), event("T", "{}"), event("T", "{}")}
	for i := range heavy {
		heavy[i].Metadata = make([]byte, 6<<20)
	}
	if _, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{}, heavy...); codeOf(err) != codes.InvalidArgument {
		t.Errorf("18 MiB of metadata: %v", err)
	}
}

func TestLargestRevisionMeansNoStream(t *testing.T) {
	n := openNode(t)
	client := dialStreams(t, n)
	largest := func(stream string) *streams.AppendReq {
		r := appendOptions(stream)
		r.GetOptions().ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: math.MaxUint64}
		return r
	}
	send := func(stream string) (*streams.AppendResp, error) {
		call, err := client.Append(t.Context())
		must(t, err)
		must(t, call.Send(largest(stream)))
		m := appendEvent(uuid.New())
		if strings.HasPrefix(stream, "$$") {
			m.GetProposedMessage().Metadata["type"] = "$metadata"
		}
		must(t, call.Send(m))
		return call.CloseAndRecv()
	}
	for _, stream := range []string{"s", "$$s"} {
		if r, err := send(stream); err != nil || r.GetSuccess() == nil {
			t.Errorf("the first append to %s: %v, %v", stream, r, err)
		}
		if r, err := send(stream); err != nil || r.GetWrongExpectedVersion() == nil {
			t.Errorf("the second append to %s: %v, %v", stream, r, err)
		}
	}
	id := &shared.StreamIdentifier{StreamName: []byte("s")}
	_, err := client.Delete(t.Context(), &streams.DeleteReq{Options: &streams.DeleteReq_Options{
		StreamIdentifier: id, ExpectedStreamRevision: &streams.DeleteReq_Options_Revision{Revision: math.MaxUint64},
	}})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("delete: %v", err)
	}
	_, err = client.Tombstone(t.Context(), &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{
		StreamIdentifier: id, ExpectedStreamRevision: &streams.TombstoneReq_Options_Revision{Revision: math.MaxUint64},
	}})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("tombstone: %v", err)
	}
	part := batchPart("b", "batch", 0, true, uuid.New())
	part.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: math.MaxUint64}
	if answer := batchAppend(t, n, part)["b"]; answer.GetSuccess() == nil || answer.GetStreamPosition() != math.MaxUint64 {
		t.Errorf("BatchAppend: %v", answer)
	}
}

// drainGroup acknowledges as many events of a group as are expected.
func drainGroup(t *testing.T, sub *esdb.PersistentSubscription, events int) {
	t.Helper()
	for range events {
		e := sub.Recv()
		if e.EventAppeared == nil {
			t.Fatalf("%+v", e.SubscriptionDropped)
		}
		must(t, sub.Ack(e.EventAppeared.Event))
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it never came", what)
		}
	}
}

func TestCheckpointsOfGroupsAreEvents(t *testing.T) {
	c := connect(t, openNode(t))
	settings := esdb.SubscriptionSettingsDefault()
	settings.CheckpointLowerBound, settings.CheckpointUpperBound, settings.CheckpointAfter = 1, 5, 20
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 5)...)
	must(t, c.CreatePersistentSubscription(t.Context(), "s", "g",
		esdb.PersistentStreamSubscriptionOptions{StartFrom: esdb.Start{}, Settings: &settings}))
	must(t, c.CreatePersistentSubscriptionToAll(t.Context(), "g", esdb.PersistentAllSubscriptionOptions{
		StartFrom: esdb.Start{}, Settings: &settings, Filter: &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"s"}},
	}))
	ofStream, err := c.SubscribeToPersistentSubscription(t.Context(), "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	drainGroup(t, ofStream, 5)
	last := func(stream string) *esdb.RecordedEvent {
		s, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1)
		must(t, err)
		defer s.Close()
		e, err := s.Recv()
		if err != nil {
			return nil
		}
		return e.Event
	}
	var event *esdb.RecordedEvent
	eventually(t, "the checkpoint of the group of a stream", func() bool {
		event = last("$persistentsubscription-s::g-checkpoint")
		return event != nil && string(event.Data) == `"4"`
	})
	if event.EventType != "SubscriptionCheckpoint" || event.ContentType != "application/json" {
		t.Errorf("the checkpoint is %+v", event)
	}

	ofAll, err := c.SubscribeToPersistentSubscriptionToAll(t.Context(), "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	drainGroup(t, ofAll, 5)
	s, err := c.ReadStream(t.Context(), "s", esdb.ReadStreamOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1)
	fifth := drain(t, s, err)[0].Event.Position.Commit
	eventually(t, "the checkpoint of the group of $all", func() bool {
		event = last("$persistentsubscription-$all::g-checkpoint")
		var commit, prepare uint64
		if event == nil {
			return false
		}
		_, err := fmt.Sscanf(string(event.Data), `"C:%d/P:%d"`, &commit, &prepare)
		must(t, err)
		return commit >= fifth && prepare == commit
	})
	// Writing a checkpoint must not lead to the next one.
	time.Sleep(200 * time.Millisecond)
	before := last("$persistentsubscription-$all::g-checkpoint").EventNumber
	time.Sleep(300 * time.Millisecond)
	if after := last("$persistentsubscription-$all::g-checkpoint").EventNumber; after != before {
		t.Errorf("an idle group went from checkpoint %d to %d", before, after)
	}
	if got := len(describeStream(t, c, "$persistentsubscription-s::g-checkpoint")); got > 2 {
		t.Errorf("%d checkpoints are kept", got)
	}

	must(t, c.DeletePersistentSubscription(t.Context(), "s", "g", esdb.DeletePersistentSubscriptionOptions{}))
	if e := last("$persistentsubscription-s::g-checkpoint"); e != nil {
		t.Errorf("the checkpoint of a deleted group: %+v", e)
	}
}

func TestRepeatedIDsInAnyOrder(t *testing.T) {
	n := openNode(t)
	ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	batchAppend(t, n, batchPart("first", "s", -1, true, ids...))
	for _, exists := range []bool{false, true} {
		for name, tc := range map[string]struct {
			sent []int
			next uint64
		}{
			"thrice":    {[]int{0, 0, 0}, 0},
			"backwards": {[]int{1, 0}, 0},
			"gap":       {[]int{0, 2}, 2},
		} {
			var sent []uuid.UUID
			for _, i := range tc.sent {
				sent = append(sent, ids[i])
			}
			part := batchPart("again", "s", -2, true, sent...)
			if exists {
				part.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamExists{}
			}
			s := batchAppend(t, n, part)["again"].GetSuccess()
			if s == nil || s.GetCurrentRevision() != tc.next || s.GetPosition() == nil {
				t.Errorf("%s, stream exists %v: %v", name, exists, s)
			}
		}
	}
	if st := n.Stats(); st.Events != 3 {
		t.Errorf("%d events are stored", st.Events)
	}
}

func TestDeleteOfAMissingStreamIsRefused(t *testing.T) {
	client := dialStreams(t, openNode(t))
	for name, o := range map[string]*streams.DeleteReq_Options{
		"any": {ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: &shared.Empty{}}},
		"no":  {ExpectedStreamRevision: &streams.DeleteReq_Options_NoStream{NoStream: &shared.Empty{}}},
	} {
		o.StreamIdentifier = &shared.StreamIdentifier{StreamName: []byte("nobody")}
		var trailer metadata.MD
		_, err := client.Delete(t.Context(), &streams.DeleteReq{Options: o}, grpc.Trailer(&trailer))
		if status.Code(err) != codes.FailedPrecondition || !slices.Equal(trailer.Get("exception"), []string{"wrong-expected-version"}) ||
			!slices.Equal(trailer.Get("actual-version"), []string{"-1"}) {
			t.Errorf("%s: %v, %v", name, err, trailer)
		}
	}
}

func TestConsumersOfADeletedGroupAreDropped(t *testing.T) {
	n := openNode(t)
	c := dialGroups(t, n)
	_, err := c.Create(t.Context(), createStream("s", "g", nil))
	must(t, err)
	call, err := c.Read(t.Context())
	must(t, err)
	must(t, call.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{
		StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}},
		GroupName:    "g", BufferSize: 10,
	}}}))
	_, err = call.Recv()
	must(t, err)
	must(t, connect(t, n).DeletePersistentSubscription(t.Context(), "s", "g", esdb.DeletePersistentSubscriptionOptions{}))
	_, err = call.Recv()
	exception := strings.Join(call.Trailer().Get("exception"), "")
	if status.Code(err) != codes.Canceled || exception != "persistent-subscription-dropped" {
		t.Errorf("%v, %q", err, exception)
	}
}

func TestLinksWithoutTarget(t *testing.T) {
	c := connect(t, openNode(t))
	link := func(data string) esdb.EventData {
		e := event("$>", data)
		e.ContentType = esdb.ContentTypeBinary
		return e
	}
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 1)...)
	mustAppend(t, c, "l", esdb.NoStream{}, link("7@s"), link("garbage"), link("0@s"), link("5"))
	describe := func(e *esdb.ResolvedEvent) string {
		text := "nothing"
		if e.Event != nil {
			text = string(e.Event.Data)
		}
		if e.Link != nil {
			text += " by " + string(e.Link.Data)
		}
		return text
	}
	want := []string{"nothing by 7@s", "garbage", `{"n":0} by 0@s`, "nothing by 5"}
	var got []string
	s, err := c.ReadStream(t.Context(), "l", esdb.ReadStreamOptions{ResolveLinkTos: true}, 10)
	for _, e := range drain(t, s, err) {
		got = append(got, describe(e))
	}
	if !slices.Equal(got, want) {
		t.Errorf("read: %v", got)
	}
	settings := esdb.SubscriptionSettingsDefault()
	for _, strategy := range []esdb.ConsumerStrategy{esdb.ConsumerStrategyRoundRobin, esdb.ConsumerStrategyPinned} {
		settings.ResolveLinkTos, settings.ConsumerStrategyName = true, strategy
		group := string(strategy)
		must(t, c.CreatePersistentSubscription(t.Context(), "l", group,
			esdb.PersistentStreamSubscriptionOptions{StartFrom: esdb.Start{}, Settings: &settings}))
		sub, err := c.SubscribeToPersistentSubscription(t.Context(), "l", group, esdb.SubscribeToPersistentSubscriptionOptions{})
		must(t, err)
		got = nil
		for i := range want {
			e := sub.Recv()
			if e.EventAppeared == nil {
				t.Fatalf("%s: %+v", group, e.SubscriptionDropped)
			}
			got = append(got, describe(e.EventAppeared.Event))
			if i == 0 {
				must(t, sub.Nack("no target", esdb.NackActionPark, e.EventAppeared.Event))
			} else {
				must(t, sub.Ack(e.EventAppeared.Event))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", group, got)
		}
		// A parked link without a target is delivered again by a replay.
		eventually(t, "the parked link", func() bool {
			info, err := c.GetPersistentSubscriptionInfo(t.Context(), "l", group, esdb.GetPersistentSubscriptionOptions{})
			must(t, err)
			return info.Stats.ParkedMessagesCount == 1
		})
		for round := range 2 {
			must(t, c.ReplayParkedMessages(t.Context(), "l", group, esdb.ReplayParkedMessagesOptions{}))
			e := sub.Recv()
			if e.EventAppeared == nil || e.EventAppeared.Event.Event != nil || e.EventAppeared.Event.Link == nil {
				t.Errorf("%s: replay %d delivered %+v", group, round, e)
				break
			}
			must(t, sub.Nack("still no target", esdb.NackActionPark, e.EventAppeared.Event))
			eventually(t, "the link that is parked again", func() bool {
				s, err := c.ReadStream(t.Context(), "$persistentsubscription-l::"+group+"-parked", esdb.ReadStreamOptions{}, 10)
				parked := drain(t, s, err)
				if len(parked) == 0 {
					return false // the replayed one is removed, and the next is not parked yet
				}
				last := parked[len(parked)-1].Event
				return int(last.EventNumber) == round+1 && string(last.Data) == "0@l"
			})
		}
		must(t, sub.Close())
	}
}

func TestNoCredentialsIsAccessDenied(t *testing.T) {
	config, pool := selfSigned(t)
	n := openNode(t, withUsers, func(o *Options) { o.TLS = config })
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pool, "")))
	must(t, err)
	defer func() { must(t, conn.Close()) }()
	var trailer metadata.MD
	call, err := streams.NewStreamsClient(conn).Append(t.Context(), grpc.Trailer(&trailer))
	must(t, err)
	must(t, call.Send(appendOptions("s")))
	must(t, call.Send(appendEvent(uuid.New())))
	_, err = call.CloseAndRecv()
	if status.Code(err) != codes.PermissionDenied || !slices.Equal(trailer.Get("exception"), []string{"access-denied"}) {
		t.Errorf("append: %v, %v", err, trailer)
	}
	trailer = nil
	_, err = persistent.NewPersistentSubscriptionsClient(conn).Create(t.Context(), createStream("s", "g", nil), grpc.Trailer(&trailer))
	if status.Code(err) != codes.PermissionDenied || !slices.Equal(trailer.Get("exception"), []string{"access-denied"}) {
		t.Errorf("create: %v, %v", err, trailer)
	}
}

// readPositions reads a stream and returns the number of events and the first and last position that were sent, -1 for
// those that were not.
func readPositions(t *testing.T, n *Node, direction streams.ReadReq_Options_ReadDirection, count uint64) (events, first, last int64) {
	t.Helper()
	o := &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}}
	o.RevisionOption = &streams.ReadReq_Options_StreamOptions_Start{Start: &shared.Empty{}}
	if direction == streams.ReadReq_Options_Backwards {
		o.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: &shared.Empty{}}
	}
	call, err := dialStreams(t, n).Read(t.Context(), &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: o}, ReadDirection: direction,
		CountOption:   &streams.ReadReq_Options_Count{Count: count},
		FilterOption:  &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:    &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &shared.Empty{}}},
		ControlOption: &streams.ReadReq_Options_ControlOption{Compatibility: 1},
	}})
	must(t, err)
	first, last = -1, -1
	for {
		r, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return events, first, last
		}
		must(t, err)
		switch m := r.GetContent().(type) {
		case *streams.ReadResp_Event:
			events++
		case *streams.ReadResp_FirstStreamPosition:
			first = int64(m.FirstStreamPosition)
		case *streams.ReadResp_LastStreamPosition:
			last = int64(m.LastStreamPosition)
		}
	}
}

func TestPositionsOfAStreamThatIsReadInPart(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 10)...)
	for _, direction := range []streams.ReadReq_Options_ReadDirection{streams.ReadReq_Options_Forwards, streams.ReadReq_Options_Backwards} {
		if events, first, last := readPositions(t, n, direction, 3); events != 3 || first != -1 || last != 9 {
			t.Errorf("%v: %d events, first position %d, last position %d", direction, events, first, last)
		}
	}
	var m esdb.StreamMetadata
	m.SetMaxCount(5)
	_, err := c.SetStreamMetadata(t.Context(), "s", esdb.AppendToStreamOptions{}, m)
	must(t, err)
	if events, first, last := readPositions(t, n, streams.ReadReq_Options_Forwards, 10); events != 5 || first != -1 || last != 9 {
		t.Errorf("with $maxCount: %d events, first position %d, last position %d", events, first, last)
	}
	// A real server names the first position if its first page of events is empty.
	mustAppend(t, c, "s", esdb.Any{}, numbered("T", 10, 40)...)
	if events, first, last := readPositions(t, n, streams.ReadReq_Options_Forwards, 100); events != 5 || first != 45 || last != 49 {
		t.Errorf("with many hidden events: %d events, first position %d, last position %d", events, first, last)
	}
}

func TestAppendWithoutEvents(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	w := mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 3)...)
	for name, expected := range map[string]esdb.ExpectedRevision{"any": esdb.Any{}, "exists": esdb.StreamExists{}, "exact": esdb.Revision(2)} {
		r, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{ExpectedRevision: expected})
		if err != nil || r.NextExpectedVersion != 2 || r.CommitPosition < w.CommitPosition {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, expected := range map[string]esdb.ExpectedRevision{"none": esdb.NoStream{}, "passed": esdb.Revision(1)} {
		_, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{ExpectedRevision: expected})
		if e, _ := esdb.FromError(err); e == nil || e.Code() != esdb.ErrorCodeWrongExpectedVersion {
			t.Errorf("%s: %v", name, err)
		}
	}
	answers := batchAppend(t, n, batchPart("any", "s", -2, true), batchPart("none", "s", -1, true))
	if p := answers["any"].GetSuccess().GetPosition(); p.GetCommitPosition() < w.CommitPosition {
		t.Errorf("BatchAppend: %v", answers["any"])
	}
	if answers["none"].GetError() == nil {
		t.Errorf("BatchAppend: %v", answers["none"])
	}
	missing := batchAppend(t, n, batchPart("missing", "missing", -1, true))["missing"].GetSuccess()
	if missing.GetNoStream() == nil || missing.GetPosition().GetCommitPosition() < w.CommitPosition {
		t.Errorf("BatchAppend to a missing stream: %v", missing)
	}
}

func TestSubscribersReceiveTheTombstone(t *testing.T) {
	c := connect(t, openNode(t))
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 1)...)
	sub, err := c.SubscribeToStream(t.Context(), "s", esdb.SubscribeToStreamOptions{From: esdb.End{}})
	must(t, err)
	defer sub.Close()
	for sub.Recv().CaughtUp == nil {
	}
	_, err = c.TombstoneStream(t.Context(), "s", esdb.TombstoneStreamOptions{})
	must(t, err)
	e := sub.Recv().EventAppeared
	if e == nil || e.Event.EventType != "$streamDeleted" || len(e.Event.Data) != 0 || e.Event.ContentType != "application/octet-stream" {
		t.Fatalf("first came %+v", e)
	}
	dropped := sub.Recv().SubscriptionDropped
	if dropped == nil {
		t.Fatal("the subscription goes on")
	}
	if status.Code(dropped.Error) != codes.FailedPrecondition || !strings.Contains(dropped.Error.Error(), "deleted") {
		t.Errorf("%v", dropped.Error)
	}
}

func TestGroupFromBeyondTheEndFails(t *testing.T) {
	n := openNode(t)
	c := dialGroups(t, n)
	w := mustAppend(t, connect(t, n), "s", esdb.NoStream{}, numbered("T", 0, 3)...)
	create := func(group string, position uint64, o ...grpc.CallOption) error {
		r := createStream("", group, nil)
		r.Options.StreamOption = &persistent.CreateReq_Options_All{All: &persistent.CreateReq_AllOptions{
			AllOption: &persistent.CreateReq_AllOptions_Position{Position: &persistent.CreateReq_Position{
				CommitPosition: position, PreparePosition: position,
			}},
			FilterOption: &persistent.CreateReq_AllOptions_NoFilter{NoFilter: &shared.Empty{}},
		}}
		_, err := c.Create(t.Context(), r, o...)
		return err
	}
	for name, position := range map[string]uint64{"just": n.Stats().End, "far": 1 << 40} {
		var trailer metadata.MD
		err := create(name, position, grpc.Trailer(&trailer))
		if status.Code(err) != codes.Internal || !slices.Equal(trailer.Get("exception"), []string{"persistent-subscription-failed"}) {
			t.Errorf("%s beyond the end: %v, %v", name, err, trailer)
		}
	}
	must(t, create("last", w.CommitPosition))
	must(t, create("start", 0))
}

func TestStatisticsOfAGroup(t *testing.T) {
	c := connect(t, openNode(t))
	settings := esdb.SubscriptionSettingsDefault()
	settings.ExtraStatistics = true
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 5)...)
	must(t, c.CreatePersistentSubscription(t.Context(), "s", "g",
		esdb.PersistentStreamSubscriptionOptions{StartFrom: esdb.Start{}, Settings: &settings}))
	info := func() *esdb.PersistentSubscriptionInfo {
		info, err := c.GetPersistentSubscriptionInfo(t.Context(), "s", "g", esdb.GetPersistentSubscriptionOptions{})
		must(t, err)
		return info
	}
	// A real server fills its buffers without a consumer, and is live when it has read everything.
	if got := info().Status; got != "Live" {
		t.Errorf("without a consumer the status is %q", got)
	}
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	drainGroup(t, sub, 5)
	var got *esdb.PersistentSubscriptionInfo
	eventually(t, "the measurements", func() bool {
		got = info()
		return len(got.Connections) == 1 && len(got.Connections[0].ExtraStatistics) > 0
	})
	if got.Status != "Live" {
		t.Errorf("with a consumer the status is %q", got.Status)
	}
	for _, name := range []string{"Quintile 1", "Quintile 2", "Quintile 3", "Quintile 4", "Quintile 5", "Mean", "Median", "90%", "99.9%"} {
		if !slices.ContainsFunc(got.Connections[0].ExtraStatistics,
			func(m esdb.PersistentSubscriptionMeasurement) bool { return m.Key == name }) {
			t.Errorf("%q is missing", name)
		}
	}
}

// TestSubscribeToAMissingStream expects CaughtUp only behind the first event.
func TestSubscribeToAMissingStream(t *testing.T) {
	c := connect(t, openNode(t))
	sub, err := c.SubscribeToStream(t.Context(), "missing", esdb.SubscribeToStreamOptions{From: esdb.Start{}})
	must(t, err)
	defer sub.Close()
	next := make(chan *esdb.SubscriptionEvent)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			select {
			case next <- sub.Recv():
			case <-ctx.Done():
			}
		}
	}()
	select {
	case e := <-next:
		t.Fatalf("before the first event came %+v", e)
	case <-time.After(300 * time.Millisecond):
	}
	mustAppend(t, c, "missing", esdb.NoStream{}, numbered("T", 0, 1)...)
	if e := <-next; e.EventAppeared == nil || !bytes.Equal(e.EventAppeared.Event.Data, []byte(`{"n":0}`)) {
		t.Fatalf("first came %+v", e)
	}
	if e := <-next; e.CaughtUp == nil {
		t.Fatalf("behind the event came %+v", e)
	}
	live, err := c.SubscribeToStream(t.Context(), "other", esdb.SubscribeToStreamOptions{From: esdb.End{}})
	must(t, err)
	defer live.Close()
	if e := live.Recv(); e.CaughtUp == nil {
		t.Errorf("from the end came %+v", e)
	}
}
