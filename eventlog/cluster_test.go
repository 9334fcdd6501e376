package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/embedded/node/clustertest"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/eventlog/leader"

	"github.com/google/uuid"
)

// faults are what can happen to a leader. Each returns how the member comes back.
var faults = map[string]func(c *clustertest.Cluster, m *clustertest.Member) (back func() error){
	"killed":  func(_ *clustertest.Cluster, m *clustertest.Member) func() error { m.Kill(); return m.Restart },
	"stopped": func(_ *clustertest.Cluster, m *clustertest.Member) func() error { m.Stop(); return m.Restart },
	"frozen":  func(_ *clustertest.Cluster, m *clustertest.Member) func() error { m.Freeze(); return m.Thaw },
	"cut off": func(_ *clustertest.Cluster, m *clustertest.Member) func() error {
		m.CutOff()
		return m.Rejoin
	},
	"resigned": func(c *clustertest.Cluster, m *clustertest.Member) func() error {
		for _, other := range c.Members() {
			if other != m {
				c.MoveLeader(other)
				break
			}
		}
		return func() error { return nil }
	},
}

// TestSilenceOfAFault: after each fault of the leader, appends go on within a second of the new leader's election, without an
// error, and each is stored once.
func TestSilenceOfAFault(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.Run(t, clustertest.Options{Election: 3 * time.Second})
			log := connect(t, c.URL())
			tail, longest, written := eventlog.EmptyTail, time.Duration(0), 0
			stream, over := stream("count"), time.Now().Add(6*time.Second)
			var back func() error
			for last := time.Now(); time.Now().Before(over); time.Sleep(time.Millisecond) {
				if written == 20 && back == nil {
					back = fault(c, c.Leader())
				}
				out, err := log.Append(t.Context(), stream, tail, uuid.New(), meta("x"), counted{written})
				if err != nil {
					t.Fatal(err)
				}
				tail, longest, last = out.Tail, max(longest, time.Since(last)), time.Now()
				written++
			}
			if err := back(); err != nil {
				t.Fatal(err)
			}
			elections := c.Elections()
			if len(elections) != 1 || longest > elections[0]+time.Second {
				t.Errorf("the longest silence was %s, the elections took %s", longest, elections)
			}
			t.Logf("%d appends, longest silence %s, election %s", written, longest, elections)
			for n, r := range readAll(t, log, stream) {
				if r.Event != (counted{n}) {
					t.Fatalf("event %d is %v", n, r.Event)
				}
			}
		})
	}
}

// TestLostQuorumIsNoSuccess: with the address of one node whose cluster has lost its quorum, no append succeeds. The same
// append succeeds when the quorum is back, and is stored once.
func TestLostQuorumIsNoSuccess(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{WriteTimeout: 100 * time.Millisecond})
	log := connectFor(t, c.Leader().URL(), time.Second)
	for _, follower := range c.Followers() {
		follower.Kill()
	}
	name, command := stream("note"), uuid.New()
	send := func() (eventlog.Appended, error) {
		return log.Append(t.Context(), name, eventlog.EmptyTail, command, meta("x"), noted{"one"})
	}
	if out, err := send(); !errors.Is(err, eventlog.ErrUnknownOutcome) {
		t.Fatalf("the append ended with %v, at %v, want an unknown outcome", err, out.Position)
	}
	if found := readAll(t, connect(t, c.NodeURL()), name); len(found) != 0 {
		t.Fatalf("reads show %v", found)
	}
	for _, m := range c.Members()[1:] {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AwaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := send()
	if err != nil || out.Position.Commit == 0 {
		t.Errorf("the append ended with %v, at %v", err, out.Position)
	}
	if found := readAll(t, log, name); len(found) != 1 {
		t.Errorf("%d events, want 1", len(found))
	}
}

// TestAppendMeetsWhatReadsDoNotShow: without a quorum, an append that is sent again meets its own first try, which no read
// shows yet. That is no conflict: when the quorum is back, the append has succeeded.
func TestAppendMeetsWhatReadsDoNotShow(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{WriteTimeout: 100 * time.Millisecond, Election: 2 * time.Second})
	log := connect(t, c.URL())
	for _, follower := range c.Followers() {
		follower.Kill()
	}
	time.AfterFunc(500*time.Millisecond, func() {
		for _, m := range c.Members()[1:] {
			if err := m.Restart(); err != nil {
				t.Error(err)
			}
		}
	})
	name := stream("note")
	out, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"})
	if err != nil || out.Position.Commit == 0 {
		t.Fatalf("the append ended with %v, at %v", err, out.Position)
	}
	if found := readAll(t, log, name); len(found) != 1 || found[0].ID != out.Events[0].ID || found[0].Position != out.Position {
		t.Errorf("the stream holds %v", found)
	}
}

// TestBusyNodeIsAskedAgain: an answer without a code is no success.
func TestBusyNodeIsAskedAgain(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	log := connect(t, c.URL())
	c.Busy(true)
	time.AfterFunc(300*time.Millisecond, func() { c.Busy(false) })
	out, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"})
	if err != nil || out.Position.Commit == 0 {
		t.Errorf("the append ended with %v, at %v", err, out.Position)
	}
}

// TestFollowingAcrossLeadersSkipsNothing: a subscription goes on at the new leader, not at a follower that lags behind, and
// delivers each event once.
func TestFollowingAcrossLeadersSkipsNothing(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 200 * time.Millisecond})
	log := connect(t, c.URL())
	name := stream("count")
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var seen []any
	ended := make(chan error, 1)
	go func() {
		ended <- log.Follow(ctx, eventlog.Subscription{Categories: []string{"count"}}, func(_ context.Context, b eventlog.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Events {
				seen = append(seen, r.Event)
			}
			return nil
		})
	}()
	const rounds, each = 4, 25
	tail, n := eventlog.EmptyTail, 0
	for round := range rounds {
		for range each {
			out, err := log.Append(t.Context(), name, tail, uuid.New(), meta("x"), counted{n})
			if err != nil {
				t.Fatal(err)
			}
			tail = out.Tail
			n++
		}
		followers := c.Followers()
		followers[0].StopReplicating()
		c.Leader().Freeze()
		if _, err := c.AwaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Members() {
			m.CatchUp()
			if err := m.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
		_ = round
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		got := len(seen)
		mu.Unlock()
		if got >= rounds*each || time.Now().After(deadline) {
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i := range rounds * each {
		if i >= len(seen) || seen[i] != (counted{i}) {
			t.Fatalf("event %d of %d was not delivered in its place", i, len(seen))
		}
	}
	if len(seen) != rounds*each {
		t.Errorf("%d events were delivered, want %d", len(seen), rounds*each)
	}
}

// TestOneAddressLeadsToTheLeader: with the address of a follower, requests go to the leader, which the follower names.
func TestOneAddressLeadsToTheLeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	writer := connect(t, c.Leader().URL())
	follower := c.Followers()[0]
	follower.StopReplicating()
	out, err := writer.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"})
	if err != nil {
		t.Fatal(err)
	}
	if end, err := connect(t, follower.URL()).End(t.Context()); err != nil || end != out.Position {
		t.Errorf("the log ends at %v (%v), want %v", end, err, out.Position)
	}
}

// TestElectionOnlyDelaysReads: reads wait for a leader, and are answered then.
func TestElectionOnlyDelaysReads(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	log := connect(t, c.URL())
	name := stream("note")
	if _, err := log.Append(t.Context(), name, eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}); err != nil {
		t.Fatal(err)
	}
	c.LoseLeader()
	time.AfterFunc(time.Second, func() { c.MoveLeader(c.Members()[2]) })
	if found := readAll(t, log, name); len(found) != 1 {
		t.Errorf("%d events", len(found))
	}
}

// TestStartWithoutALeader: the log waits for a leader, and says what it waits for.
func TestStartWithoutALeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	c.LoseLeader()
	log, err := eventlog.Open(eventlog.Options{URL: c.URL(), Registry: registry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = log.Await(short)
	if !errors.Is(err, leader.ErrNoLeader) || !strings.Contains(err.Error(), c.Members()[0].Address()) {
		t.Errorf("got %v", err)
	}
	if err := log.Ping(t.Context()); !errors.Is(err, leader.ErrNoLeader) {
		t.Errorf("got %v", err)
	}
	c.MoveLeader(c.Members()[1])
	if err := log.Await(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMissingRightIsNamed: a right that the account lacks ends a request at once, and the error names it.
func TestMissingRightIsNamed(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	log := connect(t, c.URL())
	c.Deny(clustertest.Append, true)
	c.Deny(clustertest.ReadAll, true)
	named := func(what string, err error, right string) {
		t.Helper()
		if !errors.Is(err, eventlog.ErrMissingRight) || !strings.Contains(fmt.Sprint(err), right) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"})
	named("append", err, "append to streams")
	_, err = log.End(t.Context())
	named("end", err, "read $all")
	named("follow", log.Follow(t.Context(), eventlog.Subscription{}, func(context.Context, eventlog.Batch) error { return nil }), "read $all")
	_, err = eventlog.Connect(t.Context(), eventlog.Options{URL: c.URL(), Registry: registry()})
	named("connect", err, "read $all")
}

// TestARightThatIsMissingForAMomentEndsNoSubscription: while a leader is elected, nodes may not know the accounts.
func TestARightThatIsMissingForAMomentEndsNoSubscription(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 200 * time.Millisecond})
	log := connect(t, c.URL())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live, missing := make(chan struct{}), make(chan struct{})
	begun, told := sync.OnceFunc(func() { close(live) }), sync.OnceFunc(func() { close(missing) })
	ended := make(chan error, 1)
	go func() {
		ended <- log.Follow(ctx, eventlog.Subscription{OnError: func(err error) {
			if errors.Is(err, eventlog.ErrMissingRight) {
				told()
			}
		}}, func(_ context.Context, b eventlog.Batch) error {
			if begun(); len(b.Events) > 0 {
				cancel()
			}
			return nil
		})
	}()
	<-live
	c.Deny(clustertest.ReadAll, true)
	c.MoveLeader(c.Followers()[0])
	select {
	case <-missing:
	case err := <-ended:
		t.Fatalf("the subscription has ended with %v", err)
	}
	c.Deny(clustertest.ReadAll, false)
	if _, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the subscription has ended with %v", err)
	}
}

// TestLastEventsAreOursAlone: events of the store itself, and of other programs, do not count among the last ones.
func TestLastEventsAreOursAlone(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	log := connect(t, c.URL())
	if _, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), meta("x"), noted{"one"}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := storetest.Forge(t.Context(), c.NodeURL(), stream("stranger"), "Noted", []byte(`{}`), nil); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for r, err := range log.ReadLast(t.Context(), 2) {
		if err != nil || r.Event != (noted{"one"}) {
			t.Errorf("got %v, %v", r.Event, err)
		}
		found++
	}
	if found != 1 {
		t.Errorf("%d events, want 1", found)
	}
}

// TestOldServerIsRefused: a server that never tells that a subscription has caught up is refused by name.
func TestOldServerIsRefused(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Version: "22.10.5"})
	_, err := eventlog.Connect(t.Context(), eventlog.Options{URL: c.URL(), Registry: registry()})
	if !errors.Is(err, leader.ErrTooOld) || !strings.Contains(err.Error(), "22.10.5") || !strings.Contains(err.Error(), leader.OldestVersion) {
		t.Errorf("got %v", err)
	}
}

// TestOtherNodesThanTheLeaderAreRefused: followers lag behind, so that a connection string must not prefer them.
func TestOtherNodesThanTheLeaderAreRefused(t *testing.T) {
	_, err := eventlog.Open(eventlog.Options{URL: "esdb://admin:secret@a,b,c?nodePreference=follower", Registry: registry()})
	if err == nil || !strings.Contains(err.Error(), "nodePreference") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func connectFor(t testing.TB, url string, timeout time.Duration) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: registry(), Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}
