// Package clustertest is a stand-in for a cluster of three EventStoreDB nodes: three servers that speak the node's protocol
// over the log of one embedded node. Tests let them fail as real nodes do: leaders are moved, killed, frozen and cut off,
// followers lag behind, appends wait for a quorum, and records that the new leader lacks are given up.
//
// Where to begin: cluster.go holds who leads, member.go what can happen to one node, appends.go and reads.go what a node
// answers. A cluster keeps no second log: what a leader has written without a quorum waits here until it is passed on to
// the embedded node or given up, and what a lagging follower shows is the log up to a position.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"casebook/embedded/node"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Options of a Cluster; zero values mean the defaults.
type Options struct {
	// Dir is the directory of the log.
	Dir string
	// Election is how long the nodes take to agree on a new leader; 300 milliseconds when 0.
	Election time.Duration
	// Belief is how long a leader that is cut off from the others takes itself for the leader; half of Election when 0. If it is
	// longer than Election, two nodes say that they lead.
	Belief time.Duration
	// ShowsLate is how long a new leader does not show the last events yet: it has to find out first that they are replicated.
	ShowsLate time.Duration
	// WriteTimeout is how long an append waits for a quorum before it is answered with a time-out; 1 second when 0.
	WriteTimeout time.Duration
	// Version is the server version that the nodes report; that of the embedded node when empty.
	Version string
}

// Right is something that an account may do.
type Right int

// The rights that Deny takes away.
const (
	Append Right = iota
	ReadAll
	ManageGroups
	DeleteStreams
)

// notShownYet is how many bytes of the log a leader that ShowsLate does not show: the last event or two.
const notShownYet = 1024

// nodes is the number of members. Two of them are a quorum.
const (
	nodes  = 3
	quorum = 2
)

// Cluster is three nodes with one log. It is safe for concurrent use.
type Cluster struct {
	options Options
	node    *node.Node
	up      *grpc.ClientConn
	log     streams.StreamsClient
	appends *upstream
	stop    context.CancelFunc
	stopped <-chan struct{} // closed by stop
	workers sync.WaitGroup

	mu      sync.Mutex
	members []*Member
	leader  *Member
	// epoch counts the changes of leader. changed is closed and replaced with each change of anything.
	epoch   int
	changed chan struct{}
	// leaderless is when the leader was lost.
	leaderless time.Time
	elections  []time.Duration
	denied     map[Right]bool
	busy       bool
	end        uint64 // commit position of the log's last event, as far as the followers have been told
	// unreplicated is what the leader of writer has written without a quorum.
	unreplicated []*write
	writer       *Member
}

// Start starts a cluster, whose first member leads.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Election == 0 {
		o.Election = 300 * time.Millisecond
	}
	if o.Belief == 0 {
		o.Belief = o.Election / 2
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = time.Second
	}
	c := &Cluster{options: o, changed: make(chan struct{}), denied: map[Right]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.node, err = node.Open(ctx, node.Options{Dir: o.Dir, Listen: "127.0.0.1:0"}); err != nil {
		return nil, err
	}
	c.up, err = grpc.NewClient(c.node.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	c.log = streams.NewStreamsClient(c.up)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop, c.stopped = stop, running.Done()
	if c.appends, err = newUpstream(running, c.log); err != nil {
		return nil, err
	}
	if err := c.followEnd(running); err != nil {
		return nil, err
	}
	for i := range nodes {
		m := &Member{cluster: c, Number: i + 1, gate: newGate()}
		if err := m.listen("127.0.0.1:0"); err != nil {
			return nil, err
		}
		c.members = append(c.members, m)
	}
	c.leader = c.members[0]
	return c, nil
}

// Close stops all nodes.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.epoch++
	c.giveUp()
	c.notify()
	members := c.members
	c.mu.Unlock()
	for _, m := range members {
		m.gate.open()
		m.stopServing()
	}
	if c.stop != nil {
		c.stop()
	}
	var errs []error
	if c.up != nil {
		errs = append(errs, c.up.Close())
	}
	c.workers.Wait()
	if c.appends != nil {
		c.appends.wait()
	}
	if c.node != nil {
		errs = append(errs, c.node.Close())
	}
	return errors.Join(errs...)
}

// URL returns the connection string that names all members.
func (c *Cluster) URL() string {
	var addresses []string
	for _, m := range c.members {
		addresses = append(addresses, m.address)
	}
	return "esdb://" + strings.Join(addresses, ",") + "?tls=false"
}

// NodeURL returns the connection string of the embedded node behind the cluster, for those who must not be disturbed.
func (c *Cluster) NodeURL() string { return c.node.ConnectionString() }

// Members returns the members.
func (c *Cluster) Members() []*Member { return c.members }

// Leader returns the member that leads; nil while there is none.
func (c *Cluster) Leader() *Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader
}

// Followers returns the members that do not lead.
func (c *Cluster) Followers() (followers []*Member) {
	leader := c.Leader()
	for _, m := range c.members {
		if m != leader {
			followers = append(followers, m)
		}
	}
	return followers
}

// AwaitLeader waits until a member leads, and returns it.
func (c *Cluster) AwaitLeader(ctx context.Context) (*Member, error) {
	for {
		c.mu.Lock()
		leader, changed := c.leader, c.changed
		c.mu.Unlock()
		if leader != nil {
			return leader, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no member leads: %w", ctx.Err())
		}
	}
}

// Elections returns how long each election took, from the loss of the leader to the new one.
func (c *Cluster) Elections() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.elections...)
}

// MoveLeader lets the leader resign, after which another member leads.
func (c *Cluster) MoveLeader(to *Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elect(to)
}

// LoseLeader lets the leader resign, and has no other until MoveLeader names one.
func (c *Cluster) LoseLeader() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noLeader()
	c.notify()
}

// Deny takes a right away from every account, or gives it back.
func (c *Cluster) Deny(right Right, denied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied[right] = denied
}

// Busy lets all nodes answer appends with "Server Is Busy".
func (c *Cluster) Busy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

func (c *Cluster) isDenied(right Right) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.denied[right]
}

// notify wakes those who wait for a change. c.mu is held.
func (c *Cluster) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// noLeader deposes the leader. c.mu is held.
func (c *Cluster) noLeader() {
	c.epoch++
	if c.leader != nil {
		c.leader, c.leaderless = nil, time.Now()
	}
}

// reachable says whether the other members hear of m. c.mu is held.
func (m *Member) reachable() bool { return !m.dead && !m.frozen && !m.cutOff }

// sleep waits, but no longer than the cluster runs.
func (c *Cluster) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.stopped:
	}
}

// hasQuorum says whether enough members hear of each other. c.mu is held.
func (c *Cluster) hasQuorum() bool {
	n := 0
	for _, m := range c.members {
		if m.reachable() {
			n++
		}
	}
	return n >= quorum
}

// elect deposes the leader and begins an election, which the preferred member wins if it can be reached; nil prefers nobody.
// c.mu is held.
func (c *Cluster) elect(preferred *Member) {
	c.noLeader()
	c.notify()
	epoch := c.epoch
	c.workers.Go(func() {
		c.sleep(c.options.Election)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.epoch == epoch && c.hasQuorum() {
			c.install(preferred)
		}
	})
}

// install makes a member the leader. The one that has written what is not replicated is preferred, because its log is the
// longest. No member leads before it has everything that was replicated, so a lagging one catches up first. c.mu is held.
func (c *Cluster) install(preferred *Member) {
	candidates := append([]*Member{preferred, c.writer}, c.members...)
	for _, m := range candidates {
		if m == nil || !m.reachable() {
			continue
		}
		c.leader = m
		for _, former := range c.members {
			if former.cutOff { // it has shown all of the log until now, and gets nothing that the new leader takes
				end := c.end
				former.stopsAt, former.replaced = &end, true
			}
		}
		m.stopsAt, m.lag = nil, 0
		if late := c.options.ShowsLate; late > 0 {
			m.lag = notShownYet
			c.workers.Go(func() {
				c.sleep(late)
				m.CatchUp()
			})
		}
		c.elections = append(c.elections, time.Since(c.leaderless))
		break
	}
	if c.leader == c.writer {
		c.replicate()
	} else {
		c.giveUp()
	}
	c.notify()
}

// changedMembers begins what follows when members come and go: an election, or the leader's loss of the quorum. c.mu is held.
func (c *Cluster) changedMembers() {
	defer c.notify()
	switch {
	case !c.hasQuorum():
		// The leader finds out after a while that the others do not answer.
		epoch := c.epoch
		c.workers.Go(func() {
			c.sleep(c.options.Election / 2)
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.epoch == epoch && !c.hasQuorum() {
				c.noLeader()
				c.notify()
			}
		})
	case c.leader == nil || !c.leader.reachable():
		c.elect(c.writer)
	case c.writer == c.leader:
		c.replicate()
	}
}

// followEnd follows where the log ends.
func (c *Cluster) followEnd(ctx context.Context) error {
	all, err := c.log.Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}}},
		CountOption:  &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption: &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{
			String_: &shared.Empty{}}},
	}})
	if err != nil {
		return err
	}
	c.workers.Go(func() {
		for {
			message, err := all.Recv()
			if err != nil {
				return // the cluster closes
			}
			if e := message.GetEvent(); e != nil {
				c.mu.Lock()
				c.end = max(c.end, e.GetCommitPosition())
				c.notify()
				c.mu.Unlock()
			}
		}
	})
	return nil
}

var noStream = &emptypb.Empty{}
