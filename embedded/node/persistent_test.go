package node

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"casebook/embedded/node/groups"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func dialGroups(t *testing.T, n *Node) persistent.PersistentSubscriptionsClient {
	t.Helper()
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return persistent.NewPersistentSubscriptionsClient(conn)
}

func createStream(stream, group string, change func(*persistent.CreateReq_Settings)) *persistent.CreateReq {
	settings := &persistent.CreateReq_Settings{
		MaxRetryCount: 3, MinCheckpointCount: 1, MaxCheckpointCount: 10, LiveBufferSize: 10, HistoryBufferSize: 20, ReadBatchSize: 10,
		ConsumerStrategy: groups.RoundRobin,
		MessageTimeout:   &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: 30000},
		CheckpointAfter:  &persistent.CreateReq_Settings_CheckpointAfterMs{CheckpointAfterMs: 1000},
	}
	if change != nil {
		change(settings)
	}
	return &persistent.CreateReq{Options: &persistent.CreateReq_Options{
		StreamOption: &persistent.CreateReq_Options_Stream{Stream: &persistent.CreateReq_StreamOptions{
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)},
			RevisionOption:   &persistent.CreateReq_StreamOptions_Start{Start: &shared.Empty{}},
		}},
		GroupName: group, Settings: settings,
	}}
}

// TestGroupRefusals checks status, exception and trailers, by which clients distinguish refusals.
func TestGroupRefusals(t *testing.T) {
	n := openNode(t)
	c := dialGroups(t, n)
	create := func(change func(*persistent.CreateReq)) func(...grpc.CallOption) error {
		return func(o ...grpc.CallOption) error {
			r := createStream("s/1", "g 1", nil)
			change(r)
			_, err := c.Create(t.Context(), r, o...)
			return err
		}
	}
	settings := func(change func(*persistent.CreateReq_Settings)) func(...grpc.CallOption) error {
		return create(func(r *persistent.CreateReq) { change(r.Options.Settings); r.Options.GroupName = "other" })
	}
	all := func(o *persistent.CreateReq_AllOptions) func(...grpc.CallOption) error {
		return create(func(r *persistent.CreateReq) {
			r.Options.StreamOption = &persistent.CreateReq_Options_All{All: o}
		})
	}
	from := func(commit, prepare uint64) func(...grpc.CallOption) error {
		return all(&persistent.CreateReq_AllOptions{AllOption: &persistent.CreateReq_AllOptions_Position{
			Position: &persistent.CreateReq_Position{CommitPosition: commit, PreparePosition: prepare},
		}})
	}
	filtered := func(o *persistent.CreateReq_AllOptions_FilterOptions) func(...grpc.CallOption) error {
		return all(&persistent.CreateReq_AllOptions{FilterOption: &persistent.CreateReq_AllOptions_Filter{Filter: o}})
	}
	stream := func(name string) *shared.StreamIdentifier { return &shared.StreamIdentifier{StreamName: []byte(name)} }
	read := func(requests ...*persistent.ReadReq) func(...grpc.CallOption) error {
		return func(o ...grpc.CallOption) error {
			call, err := c.Read(t.Context(), o...)
			must(t, err)
			for _, r := range requests {
				must(t, call.Send(r))
			}
			for {
				if _, err := call.Recv(); err != nil {
					return err
				}
			}
		}
	}
	options := func(group string, buffer int32) *persistent.ReadReq {
		return &persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{
			StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: stream("s/1")}, GroupName: group, BufferSize: buffer,
		}}}
	}
	ack := &persistent.ReadReq{Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{
		Ids: []*shared.UUID{{Value: &shared.UUID_String_{String_: "no UUID"}}},
	}}}
	const (
		exists   = "persistent-subscription-exists"
		failed   = "persistent-subscription-failed"
		notFound = "persistent-subscription-does-not-exist"
	)

	must(t, create(func(*persistent.CreateReq) {})())
	for name, tc := range map[string]struct {
		call      func(...grpc.CallOption) error
		code      codes.Code
		exception string
		text      string // in the message
	}{
		"again":      {create(func(*persistent.CreateReq) {}), codes.AlreadyExists, exists, "exists already"},
		"no options": {create(func(r *persistent.CreateReq) { r.Options = nil }), codes.InvalidArgument, "", "stream name is missing"},
		"no name":    {create(func(r *persistent.CreateReq) { r.Options.GroupName = "" }), codes.InvalidArgument, failed, "name is missing"},
		"no settings": {create(func(r *persistent.CreateReq) {
			r.Options.Settings = nil
			r.Options.GroupName = "x"
		}), codes.InvalidArgument, failed, "buffer size"},
		"strategy": {settings(func(s *persistent.CreateReq_Settings) {
			s.ConsumerStrategy = "Loudest"
		}), codes.InvalidArgument, failed, "Loudest"},
		"retries": {settings(func(s *persistent.CreateReq_Settings) {
			s.MaxRetryCount = -1
		}), codes.InvalidArgument, failed, "retry count"},
		"time-out": {settings(func(s *persistent.CreateReq_Settings) {
			s.MessageTimeout = &persistent.CreateReq_Settings_MessageTimeoutTicks{MessageTimeoutTicks: -1}
		}), codes.InvalidArgument, failed, "time-out"},
		"beyond the end": {from(1<<40, 1<<40), codes.Internal, failed, "beyond the last event's"},
		"prepare behind": {from(1, 2), codes.InvalidArgument, "", "prepare position"},
		"empty filter":   {filtered(&persistent.CreateReq_AllOptions_FilterOptions{}), codes.InvalidArgument, "", "filter is empty"},
		"look-around": {filtered(&persistent.CreateReq_AllOptions_FilterOptions{
			Filter: &persistent.CreateReq_AllOptions_FilterOptions_EventType{
				EventType: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Regex: "a(?=b)"},
			},
		}), codes.InvalidArgument, failed, "RE2"},
		"update": {func(o ...grpc.CallOption) error {
			_, err := c.Update(t.Context(), &persistent.UpdateReq{Options: &persistent.UpdateReq_Options{
				StreamOption: &persistent.UpdateReq_Options_Stream{Stream: &persistent.UpdateReq_StreamOptions{StreamIdentifier: stream("s/1")}},
				GroupName:    "unknown",
				Settings:     &persistent.UpdateReq_Settings{MaxCheckpointCount: 1, LiveBufferSize: 1, HistoryBufferSize: 2, ReadBatchSize: 1},
			}}, o...)
			return err
		}, codes.NotFound, notFound, "unknown"},
		"delete": {func(o ...grpc.CallOption) error {
			_, err := c.Delete(t.Context(), &persistent.DeleteReq{Options: &persistent.DeleteReq_Options{
				StreamOption: &persistent.DeleteReq_Options_StreamIdentifier{StreamIdentifier: stream("s/1")}, GroupName: "unknown"}}, o...)
			return err
		}, codes.NotFound, notFound, "unknown"},
		"info": {func(o ...grpc.CallOption) error {
			_, err := c.GetInfo(t.Context(), &persistent.GetInfoReq{}, o...)
			return err
		}, codes.NotFound, notFound, "no group"},
		"list": {func(o ...grpc.CallOption) error {
			all := &persistent.ListReq_StreamOption{StreamOption: &persistent.ListReq_StreamOption_All{All: &shared.Empty{}}}
			_, err := c.List(t.Context(), &persistent.ListReq{Options: &persistent.ListReq_Options{
				ListOption: &persistent.ListReq_Options_ListForStream{ListForStream: all},
			}}, o...)
			return err
		}, codes.NotFound, notFound, "no group"},
		"replay a negative number": {func(o ...grpc.CallOption) error {
			_, err := c.ReplayParked(t.Context(), &persistent.ReplayParkedReq{Options: &persistent.ReplayParkedReq_Options{
				StopAtOption: &persistent.ReplayParkedReq_Options_StopAt{StopAt: -1}}}, o...)
			return err
		}, codes.InvalidArgument, "", "-1"},
		"replay an unknown group": {func(o ...grpc.CallOption) error {
			_, err := c.ReplayParked(t.Context(), &persistent.ReplayParkedReq{}, o...)
			return err
		}, codes.NotFound, notFound, "no group"},
		"read an unknown group": {read(options("unknown", 1)), codes.NotFound, notFound, "unknown"},
		"read without buffer":   {read(options("g 1", 0)), codes.InvalidArgument, failed, "buffer size"},
		"read without options":  {read(ack), codes.InvalidArgument, "", "first message"},
		"options twice":         {read(options("g 1", 1), options("g 1", 1)), codes.InvalidArgument, "", "after the first"},
		"ack without UUID":      {read(options("g 1", 1), ack), codes.InvalidArgument, "", "no UUID"},
	} {
		t.Run(name, func(t *testing.T) {
			var trailer metadata.MD
			err := tc.call(grpc.Trailer(&trailer))
			if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.text) {
				t.Errorf("%v", err)
			}
			if got := strings.Join(trailer.Get("exception"), ","); got != tc.exception {
				t.Errorf("exception %q instead of %q", got, tc.exception)
			}
			if name == "again" && (trailer.Get("stream-name")[0] != "s%2F1" || trailer.Get("group-name")[0] != "g%201") {
				t.Errorf("trailers %v", trailer)
			}
		})
	}
	infos, err := c.List(t.Context(), &persistent.ListReq{})
	if err != nil || len(infos.Subscriptions) != 1 {
		t.Errorf("there should be one group: %v, %v", infos, err)
	}
}

// TestConsumersShareEvents runs several consumers of one group, some of which disconnect and connect again. Every event
// must be delivered, and the events of a stream in order.
func TestConsumersShareEvents(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	const events = 500
	settings := esdb.SubscriptionSettingsDefault()
	settings.ConsumerStrategyName = esdb.ConsumerStrategyPinned
	must(t, c.CreatePersistentSubscriptionToAll(t.Context(), "g", esdb.PersistentAllSubscriptionOptions{
		StartFrom: esdb.Start{}, Settings: &settings,
		Filter: &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"s-"}},
	}))
	var mu sync.Mutex
	seen := map[uuid.UUID]int{}
	order := map[string][]uint64{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var consumers sync.WaitGroup
	for i := range 4 {
		consumers.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				sub, err := c.SubscribeToPersistentSubscriptionToAll(ctx, "g", esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: 5})
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				// Every other consumer disconnects after 16 events and leaves the last one unanswered.
				for count := 0; i%2 == 0 || count < 16; count++ {
					e := sub.Recv()
					if e.SubscriptionDropped != nil {
						break
					}
					if i%2 == 1 && count == 15 {
						break
					}
					mu.Lock()
					original := e.EventAppeared.Event.OriginalEvent()
					// An event is delivered again if its acknowledgement crosses with the consumer's disconnecting.
					if seen[original.EventID]++; seen[original.EventID] == 1 {
						order[original.StreamID] = append(order[original.StreamID], original.EventNumber)
					}
					done := len(seen) == events
					mu.Unlock()
					if err := sub.Ack(e.EventAppeared.Event); err != nil {
						break
					}
					if done {
						cancel()
					}
				}
				_ = sub.Close()
			}
		})
	}
	for i := range events {
		mustAppend(t, c, fmt.Sprint("s-", i%7), esdb.Any{}, event("T", "{}"))
		if i%10 == 0 {
			mustAppend(t, c, "other", esdb.Any{}, event("T", "{}"))
		}
	}
	consumers.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != events {
		t.Errorf("%d of %d events were delivered", len(seen), events)
	}
	for stream, revisions := range order {
		if !slices.IsSorted(revisions) {
			t.Errorf("stream %s was delivered in the order %v", stream, revisions)
		}
	}
}

// TestGroupSurvivesRestart checks the way from the client to the disk and back; the tests of package groups go further.
func TestGroupSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, func(o *Options) { o.Dir = dir })
	c := connect(t, n)
	must(t, c.CreatePersistentSubscription(t.Context(), "s", "g", esdb.PersistentStreamSubscriptionOptions{StartFrom: esdb.Start{}}))
	for range 3 {
		mustAppend(t, c, "s", esdb.Any{}, event("T", "{}"))
	}
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	must(t, sub.Ack(sub.Recv().EventAppeared.Event))
	must(t, sub.Nack("bad", esdb.NackActionPark, sub.Recv().EventAppeared.Event))
	for {
		info, err := c.GetPersistentSubscriptionInfo(t.Context(), "s", "g", esdb.GetPersistentSubscriptionOptions{})
		must(t, err)
		if info.Stats.ParkedMessagesCount == 1 && info.Stats.OutstandingMessagesCount == 1 {
			break
		}
		runtime.Gosched()
	}
	must(t, n.Close())
	if e := sub.Recv(); e.EventAppeared == nil && e.SubscriptionDropped == nil {
		t.Fatal("the consumer was not told that the node closed")
	}
	c = connect(t, openNode(t, func(o *Options) { o.Dir = dir }))
	sub, err = c.SubscribeToPersistentSubscription(t.Context(), "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	if e := sub.Recv().EventAppeared.Event.OriginalEvent(); e.EventNumber != 2 {
		t.Fatalf("after the restart revision %d was delivered first", e.EventNumber)
	}
	must(t, c.ReplayParkedMessages(t.Context(), "s", "g", esdb.ReplayParkedMessagesOptions{}))
	if e := sub.Recv().EventAppeared.Event; e.Event.EventNumber != 1 || e.Link == nil {
		t.Fatalf("%+v was replayed", e)
	}
}
