package clustertest

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Member is one node of a cluster.
type Member struct {
	streams.UnimplementedStreamsServer
	serverfeatures.UnimplementedServerFeaturesServer

	// Number counts the members from 1.
	Number  int
	cluster *Cluster
	address string
	gate    *gate

	serving sync.WaitGroup
	server  *grpc.Server

	// The rest is guarded by cluster.mu.
	dead, frozen, cutOff bool
	// ledUntil is how long a node that was cut off believes that it leads.
	ledUntil time.Time
	// replaced says that another member has been elected while it was cut off.
	replaced bool
	// stopsAt is the position up to which a follower that does not replicate shows the log; nil while it replicates.
	stopsAt *uint64
	// lag is how many bytes a follower is behind the log's end.
	lag uint64
	// truncates says that it has records which the new leader lacks.
	truncates bool
}

// URL returns the connection string of this member alone.
func (m *Member) URL() string { return "esdb://" + m.address + "?tls=false" }

// Address returns the member's host and port.
func (m *Member) Address() string { return m.address }

func (m *Member) listen(address string) error {
	var listener net.Listener
	var err error
	for range 100 { // the port may be in use for a moment after a restart
		var config net.ListenConfig
		if listener, err = config.Listen(context.Background(), "tcp", address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	if m.address == "" { // a restarted member keeps its own
		m.address = listener.Addr().String()
	}
	m.server = grpc.NewServer(grpc.ForceServerCodec(codec{}), grpc.MaxRecvMsgSize(maxMessage), grpc.UnknownServiceHandler(m.forward),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		// as a real server does, unless it is told otherwise
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}))
	streams.RegisterStreamsServer(m.server, m)
	gossip.RegisterGossipServer(m.server, gossipServer{member: m})
	serverfeatures.RegisterServerFeaturesServer(m.server, m)
	server := m.server
	m.serving.Go(func() { _ = server.Serve(gatedListener{listener, m.gate}) }) // it ends when the member stops
	return nil
}

func (m *Member) stopServing() {
	m.server.Stop()
	m.serving.Wait()
}

// Kill ends the member: its port is closed and its connections are reset.
func (m *Member) Kill() {
	c := m.cluster
	c.mu.Lock()
	m.dead = true
	c.changedMembers()
	c.mu.Unlock()
	m.gate.open()
	m.stopServing()
}

// stopTime is how long a member that stops waits until its clients have gone.
const stopTime = 200 * time.Millisecond

// Stop ends the member as a shutdown does: it does not lead any more, answers for a while that it is not ready, tells its clients to
// connect elsewhere, and closes its connections.
func (m *Member) Stop() {
	c := m.cluster
	c.mu.Lock()
	m.dead = true
	c.changedMembers()
	c.mu.Unlock()
	m.gate.open()
	closes := time.AfterFunc(stopTime, m.server.Stop)
	defer closes.Stop()
	m.server.GracefulStop()
	m.serving.Wait()
}

// Restart starts a killed or stopped member again, on the same port.
func (m *Member) Restart() error {
	if err := m.listen(m.address); err != nil {
		return err
	}
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	m.dead, m.truncates = false, false
	c.changedMembers()
	return nil
}

// Freeze stops the member as a paused machine is: it accepts connections, and answers nothing.
func (m *Member) Freeze() {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	m.frozen = true
	m.gate.shut()
	if m.stopsAt == nil {
		end := c.end
		m.stopsAt = &end
	}
	c.changedMembers()
}

// Thaw lets a frozen member go on. It replicates again what it has missed, unless it still lags.
func (m *Member) Thaw() error { return m.back(func() { m.frozen = false; m.gate.open() }) }

// CutOff cuts the member off from the other members. Clients still reach it.
func (m *Member) CutOff() {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	m.cutOff = true
	if c.leader == m {
		m.ledUntil = time.Now().Add(c.options.Belief)
	}
	end := c.end
	m.stopsAt = &end
	c.changedMembers()
}

// Rejoin ends CutOff. A former leader that has written what the new one lacks ends itself and starts again.
func (m *Member) Rejoin() error {
	return m.back(func() { m.cutOff, m.replaced, m.ledUntil = false, false, time.Time{} })
}

func (m *Member) back(change func()) error {
	c := m.cluster
	c.mu.Lock()
	change()
	m.stopsAt = nil
	truncates := m.truncates
	c.changedMembers()
	c.mu.Unlock()
	if !truncates {
		return nil
	}
	m.Kill()
	return m.Restart()
}

// StopReplicating lets the member show the log only up to its present end.
func (m *Member) StopReplicating() {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.end
	m.stopsAt = &end
}

// LagBehind lets the member show the log only up to a number of bytes before its end.
func (m *Member) LagBehind(bytes uint64) {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	m.lag = bytes
}

// CatchUp ends StopReplicating and LagBehind.
func (m *Member) CatchUp() {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	m.stopsAt, m.lag = nil, 0
	c.notify()
}

// shows returns the position up to which the member shows the log, and whether there is such a bound.
func (m *Member) shows() (limit uint64, bounded bool, changed <-chan struct{}) {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.cutOff && !m.replaced && time.Now().Before(m.ledUntil):
		// It still takes itself for the leader, and shows all that it has acknowledged. Nobody else writes meanwhile.
	case m.stopsAt != nil:
		return *m.stopsAt, true, c.changed
	case m.lag > 0:
		return c.end - min(c.end, m.lag), true, c.changed
	}
	return 0, false, c.changed
}

// state returns what the member takes itself for. c.mu is held.
func (m *Member) state() gossip.MemberInfo_VNodeState {
	c := m.cluster
	switch {
	case m.dead:
		return gossip.MemberInfo_ShuttingDown
	case m.cutOff && time.Now().Before(m.ledUntil), !m.cutOff && c.leader == m:
		return gossip.MemberInfo_Leader
	case m.cutOff || c.leader == nil:
		return gossip.MemberInfo_Unknown
	}
	return gossip.MemberInfo_Follower
}

// role returns what the member takes itself for, and which member it knows as the leader.
func (m *Member) role() (gossip.MemberInfo_VNodeState, *Member) {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	return m.state(), m.cluster.leader
}

// gossip returns the members as this one knows them.
func (m *Member) gossip() *gossip.ClusterInfo {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	info := &gossip.ClusterInfo{}
	for _, other := range c.members {
		host, port, _ := net.SplitHostPort(other.address)
		number, _ := strconv.ParseUint(port, 10, 16)
		state, alive := other.state(), true
		if other != m && (m.cutOff || !other.reachable()) {
			state, alive = gossip.MemberInfo_Unknown, false
		}
		info.Members = append(info.Members, &gossip.MemberInfo{
			InstanceId: &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
				LeastSignificantBits: int64(other.Number)}}},
			TimeStamp: time.Now().UnixNano() / 100, State: state, IsAlive: alive,
			HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(number)},
		})
	}
	return info
}

// GetSupportedMethods answers as the embedded node does, with the version of the options.
func (m *Member) GetSupportedMethods(ctx context.Context, in *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	methods, err := serverfeatures.NewServerFeaturesClient(m.cluster.up).GetSupportedMethods(ctx, in)
	if err == nil && m.cluster.options.Version != "" {
		methods.EventStoreServerVersion = m.cluster.options.Version
	}
	return methods, err
}

// What a node answers that does not lead and knows no leader: one that is cut off or ends, and one that takes part in an election.
var (
	errNotReady     = status.Error(codes.Unavailable, "Server Is Not Ready")
	errNoLeaderInfo = status.Error(codes.Unknown, "No leader info available in response")
)

// refuse sets the exception's trailers and returns its status.
func refuse(ctx context.Context, code codes.Code, message string, trailers ...string) error {
	_ = grpc.SetTrailer(ctx, metadata.Pairs(trailers...)) // fails only outside a call
	return status.Error(code, message)
}

func accessDenied(ctx context.Context) error {
	return refuse(ctx, codes.PermissionDenied, "Access Denied", "exception", "access-denied")
}

func notLeader(ctx context.Context, leader *Member) error {
	host, port, _ := net.SplitHostPort(leader.address)
	return refuse(ctx, codes.NotFound, "Leader info available",
		"exception", "not-leader", "leader-endpoint-host", host, "leader-endpoint-port", port)
}

func requiresLeader(ctx context.Context) bool {
	asked := metadata.ValueFromIncomingContext(ctx, "requires-leader")
	return len(asked) > 0 && asked[0] == "true"
}

// mayAnswer returns the error of a request that this member does not answer because it does not lead.
func (m *Member) mayAnswer(ctx context.Context) error {
	switch state, leader := m.role(); {
	case state == gossip.MemberInfo_Leader:
		return nil
	case state == gossip.MemberInfo_Follower && leader != nil:
		return notLeader(ctx, leader)
	case state == gossip.MemberInfo_Unknown && m.takesPart():
		return errNoLeaderInfo
	}
	return errNotReady
}

// takesPart says whether the member takes part in elections.
func (m *Member) takesPart() bool {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	return m.reachable()
}
