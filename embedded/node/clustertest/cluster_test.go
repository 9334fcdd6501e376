package clustertest_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"casebook/embedded/node/clustertest"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

func client(t *testing.T, url string) *esdb.Client {
	t.Helper()
	config, err := esdb.ParseConnectionString(url)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = esdb.NoopLogging()
	config.MaxDiscoverAttempts = 100
	client, err := esdb.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func write(t *testing.T, c *esdb.Client, stream string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := c.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}},
		esdb.EventData{EventID: uuid.New(), EventType: "Noted", ContentType: esdb.ContentTypeJson, Data: []byte(`{}`)})
	return err
}

// count returns how many events of a stream a member shows.
func count(t *testing.T, c *esdb.Client, stream string) (n int) {
	t.Helper()
	events, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{From: esdb.Start{}}, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	for {
		if _, err := events.Recv(); err != nil {
			return n
		}
		n++
	}
}

// TestOfficialClientFindsTheLeader: the client finds the leader by gossip, and the next one when it is killed.
func TestOfficialClientFindsTheLeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	if err := write(t, client(t, c.URL()), "note-1"); err != nil {
		t.Fatal(err)
	}
	c.Leader().Kill()
	if _, err := c.AwaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := client(t, c.URL())
	if err := write(t, again, "note-1"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, again, "note-1"); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	if n := len(c.Elections()); n != 1 {
		t.Errorf("%d elections, want 1", n)
	}
}

// TestLaggingFollowerShowsLess: reads and the end of $all stop at what a follower has replicated.
func TestLaggingFollowerShowsLess(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	leader, lagging := client(t, c.Leader().URL()), c.Followers()[0]
	if err := write(t, leader, "note-1"); err != nil {
		t.Fatal(err)
	}
	lastOf := func(c *esdb.Client) uint64 {
		all, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{From: esdb.End{}, Direction: esdb.Backwards}, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer all.Close()
		e, err := all.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return e.OriginalEvent().Position.Commit
	}
	first := lastOf(leader)
	for count(t, client(t, lagging.URL()), "note-1") != 1 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	lagging.StopReplicating()
	if err := write(t, leader, "note-1"); err != nil {
		t.Fatal(err)
	}
	follower := client(t, lagging.URL())
	if n := count(t, follower, "note-1"); n != 1 {
		t.Errorf("the follower shows %d events, want 1", n)
	}
	if at := lastOf(follower); at != first {
		t.Errorf("the follower ends at %d, want %d", at, first)
	}
	lagging.CatchUp()
	if n := count(t, follower, "note-1"); n != 2 {
		t.Errorf("the follower shows %d events, want 2", n)
	}
}

// TestElectedMemberShowsAll: a follower that lags when it is elected shows everything that was acknowledged before.
func TestElectedMemberShowsAll(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	lagging := c.Followers()[0]
	lagging.StopReplicating()
	if err := write(t, client(t, c.URL()), "note-1"); err != nil {
		t.Fatal(err)
	}
	c.MoveLeader(lagging)
	if leader, err := c.AwaitLeader(t.Context()); err != nil || leader != lagging {
		t.Fatalf("member %d leads (%v), want %d", leader.Number, err, lagging.Number)
	}
	if n := count(t, client(t, lagging.URL()), "note-1"); n != 1 {
		t.Errorf("the new leader shows %d events, want 1", n)
	}
}

// TestAppendWaitsForAQuorum: without a quorum an append is not answered, and not shown; it is there when the quorum is back,
// and gone when the leader was cut off and another leads.
func TestAppendWaitsForAQuorum(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{WriteTimeout: 10 * time.Second, Election: time.Second})
	leader := client(t, c.Leader().URL())
	for _, follower := range c.Followers() {
		follower.Freeze()
	}
	written := make(chan error, 1)
	go func() { written <- write(t, leader, "note-1") }()
	for c.Unreplicated() == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := count(t, leader, "note-1"); n != 0 {
		t.Errorf("%d events are shown, want none", n)
	}
	for _, m := range c.Members()[1:] {
		if err := m.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	cutOff := c.Leader()
	cutOff.CutOff()
	go func() { written <- write(t, leader, "note-2") }()
	for c.Unreplicated() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := <-written; err == nil {
		t.Error("an append that the new leader lacks was acknowledged")
	}
	next, err := c.AwaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, client(t, next.URL()), "note-2"); n != 0 || next == cutOff {
		t.Errorf("%d events after the change of leader, want none", n)
	}
	if err := cutOff.Rejoin(); err != nil {
		t.Fatal(err)
	}
}

// TestDeniedRights: what is denied is refused as a real node does.
func TestDeniedRights(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	c.Deny(clustertest.Append, true)
	c.Deny(clustertest.ReadAll, true)
	c.Deny(clustertest.ManageGroups, true)
	as := client(t, c.URL())
	denied := func(what string, err error) {
		var e *esdb.Error
		if !errors.As(err, &e) || e.Code() != esdb.ErrorCodeAccessDenied {
			t.Errorf("%s: %v", what, err)
		}
	}
	denied("append", write(t, as, "note-1"))
	all, err := as.ReadAll(t.Context(), esdb.ReadAllOptions{}, 1)
	if err == nil {
		_, err = all.Recv()
		all.Close()
	}
	denied("read $all", err)
	denied("make a group", as.CreatePersistentSubscriptionToAll(t.Context(), "g", esdb.PersistentAllSubscriptionOptions{}))
}
