package node

import (
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// TestFewTypesFromFarBehind follows few types of events from the beginning of a long log, by a subscription and as a group. Each event
// comes once, in the order of the log, whether it was found by an index or not, and those that come later follow.
func TestFewTypesFromFarBehind(t *testing.T) {
	n := openNode(t)
	c := connect(t, n)
	large := strings.Repeat("x", 100_000)
	var want []uint64
	for i := range 120 { // 12 MB
		mustAppend(t, c, "common-1", esdb.Any{}, event("Common", `"`+large+`"`))
		if i%7 == 0 {
			want = append(want, mustAppend(t, c, "rare-1", esdb.Any{}, event("RareA", "1")).CommitPosition)
		}
	}
	filter := &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: []string{"Rare"}}
	sub, err := c.SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{From: esdb.Start{}, Filter: filter, MaxSearchWindow: 32,
		CheckpointInterval: 1})
	must(t, err)
	defer sub.Close()
	must(t, c.CreatePersistentSubscriptionToAll(t.Context(), "g", esdb.PersistentAllSubscriptionOptions{StartFrom: esdb.Start{},
		Filter: filter}))
	group, err := c.SubscribeToPersistentSubscriptionToAll(t.Context(), "g", esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: 100})
	must(t, err)
	defer group.Close()
	want = append(want, mustAppend(t, c, "rare-2", esdb.Any{}, event("RareB", "2")).CommitPosition)
	for got := 0; got < len(want); {
		e := sub.Recv()
		switch {
		case e.SubscriptionDropped != nil:
			t.Fatal(e.SubscriptionDropped.Error)
		case e.EventAppeared != nil:
			if at := e.EventAppeared.Event.Position.Commit; at != want[got] {
				t.Fatalf("event %d is the one at %d instead of %d", got, at, want[got])
			}
			got++
		}
	}
	for got := 0; got < len(want); got++ {
		e := group.Recv()
		if e.EventAppeared == nil || e.EventAppeared.Event.Event.Position.Commit != want[got] {
			t.Fatalf("event %d of the group: %+v", got, e)
		}
		must(t, group.Ack(e.EventAppeared.Event))
	}
}
