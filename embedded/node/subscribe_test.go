package node

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// writeConcurrently starts writers that each append this many events to a stream of their own, one to five at a time.
func writeConcurrently(t *testing.T, c *esdb.Client, writers, each int) *sync.WaitGroup {
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for done := 0; done < each; {
				n := min(1+(done+w)%5, each-done)
				o := esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}}
				if _, err := c.AppendToStream(context.Background(), fmt.Sprintf("w-%d", w), o, numbered("T", done, n)...); err != nil {
					t.Error(err)
					return
				}
				done += n
			}
		})
	}
	return &group
}

// TestSubscribersMissNothing subscribes again and again while writers append, with so little memory that subscribers
// change between disk and memory all the time. No subscriber may miss an event or get one twice.
func TestSubscribersMissNothing(t *testing.T) {
	const writers, each, subscribers = 4, 400, 6
	n := openNode(t, func(o *Options) { o.TailEvents = 8 })
	c := connect(t, n)
	group := writeConcurrently(t, c, writers, each)
	var readers sync.WaitGroup
	for i := range subscribers {
		readers.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 0 {
				followAll(ctx, t, c, writers, each)
			} else {
				followStream(ctx, t, c, fmt.Sprintf("w-%d", i%writers), each)
			}
		})
	}
	group.Wait()
	readers.Wait()
}

// followAll reads $all in pieces: after 173 events it subscribes again from the last position.
func followAll(ctx context.Context, t *testing.T, c *esdb.Client, writers, each int) {
	next := map[string]uint64{}
	var from esdb.AllPosition = esdb.Start{}
	for seen := 0; seen < writers*each; {
		sub, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: from})
		if err != nil {
			t.Error(err)
			return
		}
		for piece := 0; piece < 173 && seen < writers*each; {
			e := sub.Recv()
			if e.SubscriptionDropped != nil {
				t.Error(e.SubscriptionDropped.Error)
				return
			}
			if e.EventAppeared == nil {
				continue
			}
			r := e.EventAppeared.Event
			if r.EventNumber != next[r.StreamID] {
				t.Errorf("%s: revision %d was delivered instead of %d", r.StreamID, r.EventNumber, next[r.StreamID])
				return
			}
			next[r.StreamID]++
			from = r.Position
			seen++
			piece++
		}
		_ = sub.Close()
	}
}

func followStream(ctx context.Context, t *testing.T, c *esdb.Client, stream string, each int) {
	var from esdb.StreamPosition = esdb.Start{}
	for next := 0; next < each; {
		sub, err := c.SubscribeToStream(ctx, stream, esdb.SubscribeToStreamOptions{From: from})
		if err != nil {
			t.Error(err)
			return
		}
		for piece := 0; piece < 57 && next < each; {
			e := sub.Recv()
			if e.SubscriptionDropped != nil {
				t.Error(e.SubscriptionDropped.Error)
				return
			}
			if e.EventAppeared == nil {
				continue
			}
			if got := e.EventAppeared.Event.EventNumber; got != uint64(next) {
				t.Errorf("%s: revision %d was delivered instead of %d", stream, got, next)
				return
			}
			from = esdb.Revision(uint64(next))
			next++
			piece++
		}
		_ = sub.Close()
	}
}

// TestSlowSubscriberDelaysNobody: a subscriber that does not read delays neither writers nor other subscribers, and
// gets every event later.
func TestSlowSubscriberDelaysNobody(t *testing.T) {
	n := openNode(t, func(o *Options) { o.TailEvents = 64; o.TailBytes = 1 << 20 })
	c := connect(t, n)
	slow, err := c.SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{From: esdb.Start{}})
	must(t, err)
	defer slow.Close()
	quick, err := connect(t, n).SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{From: esdb.Start{}})
	must(t, err)
	defer quick.Close()
	// 24 MiB: far more than the flow-control windows of the slow subscriber's connection.
	const appends = 24
	data := make([]byte, 1000)
	for i := range data {
		data[i] = 'x'
	}
	for i := range appends {
		events := make([]esdb.EventData, 1000)
		for j := range events {
			events[j] = esdb.EventData{EventType: "T", ContentType: esdb.ContentTypeBinary, Data: data}
		}
		mustAppend(t, c, fmt.Sprint("s-", i), esdb.NoStream{}, events...)
	}
	count := func(sub *esdb.Subscription) {
		t.Helper()
		var last uint64
		for seen := 0; seen < appends*1000; {
			e := sub.Recv()
			if e.SubscriptionDropped != nil {
				t.Fatal(e.SubscriptionDropped.Error)
			}
			if e.EventAppeared == nil {
				continue
			}
			if p := e.EventAppeared.Event.Position.Commit; p <= last {
				t.Fatalf("position %d after %d", p, last)
			} else {
				last = p
			}
			seen++
		}
	}
	count(quick)
	if st := n.Stats(); st.TailEvents > 64 || st.Subscriptions != 2 {
		t.Fatalf("after the appends: %+v", st)
	}
	count(slow)
}

// TestLiveSubscriptions checks that events appended after CaughtUp are delivered, and that a filter's checkpoints go
// on.
func TestLiveSubscriptions(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	all, err := c.SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{
		From:            esdb.End{},
		Filter:          &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"b"}},
		MaxSearchWindow: 2, CheckpointInterval: 2,
	})
	must(t, err)
	defer all.Close()
	one, err := c.SubscribeToStream(t.Context(), "b-1", esdb.SubscribeToStreamOptions{From: esdb.End{}})
	must(t, err)
	defer one.Close()
	for _, sub := range []*esdb.Subscription{all, one} {
		if e := sub.Recv(); e.CaughtUp == nil {
			t.Fatalf("the first message is %+v", e)
		}
	}
	r := mustAppend(t, c, "a-1", esdb.NoStream{}, numbered("T", 0, 4)...)
	if e := all.Recv(); e.CheckPointReached == nil || e.CheckPointReached.Commit != r.CommitPosition {
		t.Fatalf("after four events that do not match: %+v", e)
	}
	mustAppend(t, c, "b-1", esdb.NoStream{}, numbered("T", 0, 2)...)
	for i := range uint64(2) {
		for _, sub := range []*esdb.Subscription{all, one} {
			if e := sub.Recv(); e.EventAppeared == nil || e.EventAppeared.Event.EventNumber != i {
				t.Fatalf("event %d: %+v", i, e)
			}
		}
	}
	_, err = c.TombstoneStream(t.Context(), "b-1", esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Any{}})
	must(t, err)
	e := one.Recv()
	if e.EventAppeared == nil || e.EventAppeared.Event.EventType != "$streamDeleted" {
		t.Fatalf("before the subscription to a tombstoned stream ended came %+v", e)
	}
	e = one.Recv()
	if e.SubscriptionDropped == nil || status.Code(e.SubscriptionDropped.Error) != codes.FailedPrecondition {
		t.Fatalf("a subscription to a tombstoned stream: %+v", e)
	}
}

// TestCheckpointsReachNoFurtherThanReaders: a group of $all writes events that readers of $all are not shown. A filtered
// subscription does not report a checkpoint at one of them: it would lie beyond the last event that a reader finds.
func TestCheckpointsReachNoFurtherThanReaders(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	mustAppend(t, c, "a-1", esdb.NoStream{}, numbered("T", 0, 1)...)
	settings := esdb.SubscriptionSettingsDefault()
	settings.CheckpointLowerBound, settings.CheckpointUpperBound, settings.CheckpointAfter = 1, 1, 1
	options := esdb.PersistentAllSubscriptionOptions{Settings: &settings, StartFrom: esdb.Start{}}
	must(t, c.CreatePersistentSubscriptionToAll(t.Context(), "g", options))
	group, err := c.SubscribeToPersistentSubscriptionToAll(t.Context(), "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	defer group.Close()
	const checkpoints = "$persistentsubscription-$all::g-checkpoint"
	published := n.store.WatchStream(checkpoints)
	defer published.Close()
	acknowledged := group.Recv()
	must(t, group.Ack(acknowledged.EventAppeared.Event))
	for {
		if st, err := n.store.Stream(checkpoints); err != nil || st.Last >= 0 {
			must(t, err)
			break
		}
		<-published.C
	}
	read, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1)
	must(t, err)
	defer read.Close()
	last, err := read.Recv()
	must(t, err)
	for name, o := range map[string]esdb.SubscribeToAllOptions{
		"at the end":      {MaxSearchWindow: 1000, CheckpointInterval: 1000},
		"in every window": {MaxSearchWindow: 1, CheckpointInterval: 1},
	} {
		o.From, o.Filter = esdb.Start{}, &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"none-"}}
		all, err := c.SubscribeToAll(t.Context(), o)
		must(t, err)
		for e := all.Recv(); e.CaughtUp == nil; e = all.Recv() {
			if e.CheckPointReached == nil || e.CheckPointReached.Commit > last.Event.Position.Commit {
				t.Errorf("%s: %+v came, and the last event that is read is at %d", name, e, last.Event.Position.Commit)
			}
		}
		must(t, all.Close())
	}
}

func TestCloseEndsSubscriptions(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	sub, err := c.SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{From: esdb.Start{}})
	must(t, err)
	batch, err := dialStreams(t, n).BatchAppend(t.Context())
	must(t, err)
	must(t, batch.Send(&streams.BatchAppendReq{CorrelationId: &shared.UUID{Value: &shared.UUID_String_{String_: "1"}}, IsFinal: true}))
	if _, err := batch.Recv(); err != nil {
		t.Fatal(err)
	}
	must(t, n.Close())
	for {
		e := sub.Recv()
		if e.SubscriptionDropped != nil {
			if status.Code(e.SubscriptionDropped.Error) != codes.Unavailable {
				t.Fatal(e.SubscriptionDropped.Error)
			}
			break
		}
	}
	if _, err := batch.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("an open batch call: %v", err)
	}
}
