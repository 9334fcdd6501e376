package leader

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// watchEvery is how often a node is asked whether it still leads, and watchElection how often while it does not.
	watchEvery    = 300 * time.Millisecond
	watchElection = 100 * time.Millisecond
	// silentFor is after which time a node that does not answer no longer counts as the leader. It is longer than an answer takes
	// where this process is short of processor time.
	silentFor = time.Second
)

// Watched says how a node is watched. The zero value asks over a connection of the finder's own.
type Watched struct {
	// Over is the connection to the node that is asked over; nil for one of the finder's own.
	Over grpc.ClientConnInterface
	// Suspected has the node asked at once when it receives a value; nil for never.
	Suspected <-chan struct{}
	// Heard is called after each question, with whether the node leads: not if it does not answer for a while; nil for nobody.
	Heard func(leads bool)
}

// Watch returns when a node is to be left, with the reason: it does not answer, or another node leads. It returns nil when
// ctx ends.
func (f *Finder) Watch(ctx context.Context, node Node, w Watched) error {
	if w.Heard == nil {
		w.Heard = func(bool) {}
	}
	wait := watchEvery
	for {
		suspected := false
		select {
		case <-ctx.Done():
			return nil
		case <-w.Suspected:
			suspected = node.Clustered
		case <-time.After(wait):
		}
		members, other, err := f.probe(ctx, node, w)
		if err == nil && other == "" && suspected {
			other = f.otherLeader(ctx, node) // the node may not know yet that it was replaced
		}
		wait = watchEvery
		leads := told{by: node.Address, members: members}.leader()
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller has stopped it
		case status.Code(err) == codes.Unimplemented:
			w.Heard(true) // it has no others beside it
			continue
		case err != nil:
			return fmt.Errorf("%s does not answer: %w", node.Address, err)
		case other == "" && (!node.Clustered && len(members) <= 1 || leads == node.Address):
			w.Heard(true)
			continue
		case other == "" && leads != "":
			other = leads
		case other == "":
			// There is an election, or the node is cut off from the others: somebody else may know the leader.
			w.Heard(false)
			other, wait = f.otherLeader(ctx, node), watchElection
		}
		if other != "" {
			return fmt.Errorf("%s does not lead any more, and %s does", node.Address, other)
		}
	}
}

// Leads returns nil if most members say that the node leads, so that no other had been elected before they were asked. A node that
// was frozen, or cut off from the others, may take itself for the leader for a while.
func (f *Finder) Leads(ctx context.Context, node Node) error {
	if !node.Clustered {
		return nil
	}
	f.mu.Lock()
	known := slices.Clone(f.known)
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	answers := make(chan told, len(known))
	for _, address := range known {
		go func() {
			members, err := f.gossip(ctx, address, nil)
			answers <- told{address, members, err}
		}()
	}
	votes, electors, last := 0, 0, ErrNoLeader
	for range known {
		t := <-answers
		electors = max(electors, t.electors())
		switch leads := t.onlyLeader(); {
		case t.err != nil:
			last = fmt.Errorf("%s: %w", t.by, t.err)
		case leads == node.Address && t.elects():
			votes++
		case leads != "" && leads != node.Address:
			last = fmt.Errorf("%s says that %s leads", t.by, leads)
		}
		if 2*votes > electors {
			return nil
		}
	}
	return fmt.Errorf("most members of the event store do not say that %s leads: %w", node.Address, last)
}

// probe asks a node for the members. If the answer takes long, it asks the other nodes meanwhile, and returns the address of
// another one that leads.
func (f *Finder) probe(ctx context.Context, node Node, w Watched) (members []*gossip.MemberInfo, other string, err error) {
	timeout := f.settings.KeepAliveTimeout
	if timeout <= 0 {
		timeout = keepAliveTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answered := make(chan told, 1)
	go func() {
		members, err := f.gossip(ctx, node.Address, w.Over)
		answered <- told{members: members, err: err}
	}()
	silent := time.AfterFunc(silentFor, func() { w.Heard(false) })
	defer silent.Stop()
	for {
		select {
		case t := <-answered:
			return t.members, "", t.err
		case <-time.After(watchEvery):
		}
		if !node.Clustered {
			continue
		}
		if other := f.otherLeader(ctx, node); other != "" {
			return nil, other, nil
		}
	}
}

// otherLeader returns the address of another node that leads; empty for none.
func (f *Finder) otherLeader(ctx context.Context, node Node) string {
	ctx, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	if found, err := f.attempt(ctx); err == nil && found.Address != node.Address {
		return found.Address
	}
	return ""
}
