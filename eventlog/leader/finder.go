package leader

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// Finder finds the node that leads. It is safe for concurrent use.
type Finder struct {
	settings *esdb.Configuration

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn
	known  []string // the members that nodes have told of
	closed bool
}

// Node is the node that leads.
type Node struct {
	// Settings are those of the connection string, for this node alone.
	Settings *esdb.Configuration
	// Address is its host and port.
	Address string
	// Clustered says that it has other nodes beside it.
	Clustered bool
	// Version is its version, such as 23.10.8.
	Version string
}

// ErrTooOld means that a server is older than OldestVersion.
var ErrTooOld = errors.New("the event store is too old")

// OldestVersion is the oldest version of EventStoreDB that works: servers before it do not tell subscribers that they have
// caught up.
const OldestVersion = "23.10"

// ErrNoLeader means that no node says that it leads.
var ErrNoLeader = errors.New("no node of the event store leads at present")

// findPause is how long Find waits before it asks again.
const findPause = 100 * time.Millisecond

// NewFinder returns a finder for settings that Settings has returned.
func NewFinder(settings *esdb.Configuration) *Finder {
	return &Finder{settings: settings, conns: map[string]*grpc.ClientConn{}}
}

// Close closes the finder's connections.
func (f *Finder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, conn := range f.conns {
		errs = append(errs, conn.Close())
	}
	clear(f.conns)
	return errors.Join(errs...)
}

// Find asks the nodes until one leads, or ctx ends. failed is called with the reason of each attempt that did not find it;
// it may be nil. The error is ErrTooOld if the leader is too old.
func (f *Finder) Find(ctx context.Context, failed func(error)) (Node, error) {
	for {
		node, err := f.attempt(ctx)
		if err == nil || errors.Is(err, ErrTooOld) {
			return node, err
		}
		if failed != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return Node{}, fmt.Errorf("event store %s: %w: %w", Addresses(f.settings), err, ctx.Err())
		case <-time.After(findPause):
		}
	}
}

// single says that the connection string names one node, which may or may not have others beside it.
func (f *Finder) single() bool { return len(f.settings.GossipSeeds) == 0 && !f.settings.DnsDiscover }

// candidates returns the addresses to ask: those of the connection string, and those that nodes have told of.
func (f *Finder) candidates(ctx context.Context) ([]string, error) {
	var all []string
	switch {
	case f.settings.DnsDiscover && len(f.settings.GossipSeeds) == 0:
		host, port, err := net.SplitHostPort(f.settings.Address)
		if err != nil {
			return nil, err
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("look up the nodes: %w", err)
		}
		for _, ip := range found {
			all = append(all, net.JoinHostPort(ip, port))
		}
	case f.single():
		all = append(all, f.settings.Address)
	default:
		for _, seed := range f.settings.GossipSeeds {
			all = append(all, seed.String())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, known := range f.known {
		if !slices.Contains(all, known) {
			all = append(all, known)
		}
	}
	return all, nil
}

// told is what one node told of the members.
type told struct {
	by      string
	members []*gossip.MemberInfo
	err     error
}

// leader returns the address of the member that leads according to what was told; empty for none.
func (t told) leader() string {
	for _, m := range t.members {
		if m.GetState() == gossip.MemberInfo_Leader && m.GetIsAlive() {
			return addressOf(m)
		}
	}
	return ""
}

// onlyLeader returns the address of the member that leads; empty for none, and where several are said to.
func (t told) onlyLeader() (address string) {
	for _, m := range t.members {
		if m.GetState() != gossip.MemberInfo_Leader || !m.GetIsAlive() {
			continue
		}
		if address != "" {
			return ""
		}
		address = addressOf(m)
	}
	return address
}

// elects says whether the member that was asked has a vote in elections, as far as it says.
func (t told) elects() bool {
	for _, m := range t.members {
		if addressOf(m) == t.by {
			return elects(m)
		}
	}
	return true
}

// electors counts the members that have a vote.
func (t told) electors() (n int) {
	for _, m := range t.members {
		if elects(m) {
			n++
		}
	}
	return n
}

// elects says whether a member has a vote: replicas that only read have none.
func elects(m *gossip.MemberInfo) bool {
	switch m.GetState() {
	case gossip.MemberInfo_ReadOnlyReplica, gossip.MemberInfo_PreReadOnlyReplica, gossip.MemberInfo_ReadOnlyLeaderless,
		gossip.MemberInfo_Manager:
		return false
	default:
		return true
	}
}

func addressOf(m *gossip.MemberInfo) string {
	return net.JoinHostPort(m.GetHttpEndPoint().GetAddress(), strconv.Itoa(int(m.GetHttpEndPoint().GetPort())))
}

// attempt asks all nodes once, at the same time.
func (f *Finder) attempt(ctx context.Context) (Node, error) {
	candidates, err := f.candidates(ctx)
	if err != nil {
		return Node{}, err
	}
	asking, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	answers := make(chan told, 2*len(candidates)+16)
	asked, open := map[string]bool{}, 0
	ask := func(address string) {
		if asked[address] || len(asked) >= cap(answers) {
			return
		}
		asked[address] = true
		open++
		go func() {
			members, err := f.gossip(asking, address, nil)
			answers <- told{address, members, err}
		}()
	}
	for _, address := range candidates {
		ask(address)
	}
	votes, claims, last := map[string]int{}, map[string]bool{}, ErrNoLeader
	members, electors := 0, 0
	for ; open > 0; open-- {
		t := <-answers
		switch {
		case status.Code(t.err) == codes.Unimplemented || t.err == nil && f.single() && len(t.members) <= 1:
			return f.describe(ctx, t.by, false)
		case t.err != nil:
			last = fmt.Errorf("%s: %w", t.by, t.err)
			continue
		}
		members, electors = max(members, len(t.members)), max(electors, t.electors())
		f.remember(t.members)
		leads := t.leader()
		if leads == "" {
			continue
		}
		if len(t.members) == 1 {
			leads = t.by // it has no other nodes beside it, whatever address it tells
		}
		if t.elects() {
			votes[leads]++
		}
		if leads == t.by {
			claims[leads] = true
		} else {
			ask(leads)
		}
		// A leader that was cut off from the others may still take itself for one: most nodes have to say the same.
		for address := range claims {
			if 2*votes[address] > electors {
				return f.describe(ctx, address, members > 1)
			}
		}
	}
	if len(votes) == 0 && members > 0 {
		last = ErrNoLeader
	}
	for address := range votes {
		if !claims[address] {
			last = fmt.Errorf("%w: %s is said to, but does not say so itself (%w)", ErrNoLeader, address, last)
		}
	}
	return Node{}, last
}

func (f *Finder) remember(members []*gossip.MemberInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = f.known[:0]
	if len(members) < 2 {
		return
	}
	for _, m := range members {
		f.known = append(f.known, addressOf(m))
	}
}

func (f *Finder) timeout() time.Duration {
	return time.Duration(max(1, f.settings.GossipTimeout)) * time.Second
}

// gossip asks a node for the members, over a connection to it, or over the finder's own if that is nil.
func (f *Finder) gossip(ctx context.Context, address string, over grpc.ClientConnInterface) ([]*gossip.MemberInfo, error) {
	if over == nil {
		own, err := f.conn(address)
		if err != nil {
			return nil, err
		}
		over = own
	}
	info, err := gossip.NewGossipClient(over).Read(ctx, &shared.Empty{})
	f.dropSilent(address, over, err)
	return info.GetMembers(), err
}

// dropSilent closes the finder's own connection to a node, if no answer came over it in time. It may be silent while a new one is
// not, and would be believed for a long time.
func (f *Finder) dropSilent(address string, over grpc.ClientConnInterface, err error) {
	if status.Code(err) != codes.DeadlineExceeded {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if own := f.conns[address]; own != nil && own == over {
		delete(f.conns, address)
		_ = own.Close() // only fails if it is closed
	}
}

// describe asks the node that leads for its version and its methods.
func (f *Finder) describe(ctx context.Context, address string, clustered bool) (Node, error) {
	settings := *f.settings
	settings.GossipSeeds, settings.DnsDiscover, settings.Address = nil, false, address
	node := Node{Settings: &settings, Address: address, Clustered: clustered}
	conn, err := f.conn(address)
	if err != nil {
		return node, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	supported, err := serverfeatures.NewServerFeaturesClient(conn).GetSupportedMethods(ctx, &shared.Empty{})
	f.dropSilent(address, conn, err)
	if status.Code(err) == codes.Unimplemented {
		return node, fmt.Errorf("%w: %s does not tell its version, and has to be %s or later", ErrTooOld, address, OldestVersion)
	}
	if err != nil {
		return node, fmt.Errorf("ask %s for its version: %w", address, err)
	}
	if node.Version = supported.GetEventStoreServerVersion(); older(node.Version, OldestVersion) {
		return node, fmt.Errorf("%w: %s has version %s, and has to be %s or later", ErrTooOld, address, node.Version, OldestVersion)
	}
	appends := false
	for _, m := range supported.GetMethods() {
		appends = appends || m.GetServiceName() == "event_store.client.streams.streams" && m.GetMethodName() == "batchappend"
	}
	if !appends {
		return node, fmt.Errorf("%w: %s has no BatchAppend, as every version since %s has", ErrTooOld, address, OldestVersion)
	}
	return node, nil
}

// older compares versions by their numbers.
func older(version, than string) bool {
	has, want := strings.Split(version, "."), strings.Split(than, ".")
	for i, w := range want {
		wanted, _ := strconv.Atoi(w)
		is := 0
		if i < len(has) {
			is, _ = strconv.Atoi(has[i])
		}
		if is != wanted {
			return is < wanted
		}
	}
	return false
}

// conn returns the connection to a node, over which the finder asks.
func (f *Finder) conn(address string) (*grpc.ClientConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("the connection to the event store is closed")
	}
	if conn := f.conns[address]; conn != nil {
		return conn, nil
	}
	transport, err := Transport(f.settings)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: findPause, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
		MinConnectTimeout: f.timeout()})}
	if f.settings.DnsDiscover {
		options = append(options, grpc.WithAuthority(f.settings.Address)) // certificates name the host, not its addresses
	}
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	f.conns[address] = conn
	return conn, nil
}

// Transport returns the credentials of a connection with these settings.
func Transport(settings *esdb.Configuration) (credentials.TransportCredentials, error) {
	if settings.DisableTLS {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{
		RootCAs:            settings.RootCAs,
		InsecureSkipVerify: settings.SkipCertificateVerification, // #nosec G402 -- only when the connection string asks for it
	}
	if settings.UserCertFile != "" {
		pair, err := tls.LoadX509KeyPair(settings.UserCertFile, settings.UserKeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}
