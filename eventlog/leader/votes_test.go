package leader

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
)

// gossiper is a node that tells of members.
type gossiper struct {
	gossip.UnimplementedGossipServer
	address string
	tells   []*gossip.MemberInfo
}

// Read tells of the members.
func (g *gossiper) Read(context.Context, *shared.Empty) (*gossip.ClusterInfo, error) {
	return &gossip.ClusterInfo{Members: g.tells}, nil
}

// gossipers starts nodes.
func gossipers(t *testing.T, n int) (all []*gossiper) {
	t.Helper()
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g, server := &gossiper{address: listener.Addr().String()}, grpc.NewServer()
		gossip.RegisterGossipServer(server, g)
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		t.Cleanup(func() {
			server.Stop()
			<-ended
		})
		all = append(all, g)
	}
	return all
}

func (g *gossiper) in(state gossip.MemberInfo_VNodeState) *gossip.MemberInfo {
	host, port, _ := net.SplitHostPort(g.address)
	number, _ := strconv.ParseUint(port, 10, 16)
	return &gossip.MemberInfo{State: state, IsAlive: true, HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(number)}}
}

// TestLeadsCountsVotes: a node leads if most of those that elect say so, and none of them that another one does as well.
func TestLeadsCountsVotes(t *testing.T) {
	const lead, follow, replica, unknown = gossip.MemberInfo_Leader, gossip.MemberInfo_Follower, gossip.MemberInfo_ReadOnlyReplica,
		gossip.MemberInfo_Unknown
	type states = []gossip.MemberInfo_VNodeState
	three, five := states{lead, follow, follow}, states{lead, follow, follow, replica, replica}
	instead := states{unknown, lead, follow} // after another one was elected
	for name, c := range map[string]struct {
		tells []states // what each node says of all; nil for a node that does not answer
		want  bool
	}{
		"all agree":              {[]states{three, three, three}, true},
		"one is away":            {[]states{three, three, nil}, true},
		"two are away":           {[]states{three, nil, nil}, false},
		"another was elected":    {[]states{{lead, unknown, unknown}, instead, instead}, false},
		"one has heard of both":  {[]states{{lead, unknown, unknown}, instead, {lead, lead, follow}}, false},
		"replicas have no votes": {[]states{five, nil, nil, five, five}, false},
		"replicas are away":      {[]states{five, five, nil, nil, nil}, true},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := gossipers(t, len(c.tells))
			settings, err := Settings("esdb://" + nodes[0].address + "?tls=false")
			if err != nil {
				t.Fatal(err)
			}
			f := NewFinder(settings)
			t.Cleanup(func() {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
			for i, states := range c.tells {
				f.known = append(f.known, nodes[i].address)
				for k, state := range states {
					nodes[i].tells = append(nodes[i].tells, nodes[k].in(state))
				}
				if states == nil { // nobody listens there
					f.known[i] = "127.0.0.1:1"
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := f.Leads(ctx, Node{Address: nodes[0].address, Clustered: true}); (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := NewFinder(nil).Leads(t.Context(), Node{Address: "anywhere"}); err != nil {
		t.Errorf("a single node: %v", err)
	}
}
