package notify

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// startNATSCluster runs three servers with JetStream until the test ends.
func startNATSCluster(t *testing.T) []*server.Server {
	t.Helper()
	ports := make([]int, 3)
	var routes []*url.URL
	for i := range ports {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		ports[i] = free.Addr().(*net.TCPAddr).Port
		must(t, free.Close())
		route, err := url.Parse(fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		must(t, err)
		routes = append(routes, route)
	}
	var servers []*server.Server
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			NoLog: true, NoSigs: true, Routes: routes,
			Cluster: server.ClusterOpts{Name: "casebook", Host: "127.0.0.1", Port: port},
		})
		must(t, err)
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	await(t, "the cluster's leader", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
	return servers
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s never came", what)
		}
	}
}

// TestNATSClusterStoresEachMessageOnce kills the leader of the stream under a load of messages, each of which is sent until
// it is accepted.
func TestNATSClusterStoresEachMessageOnce(t *testing.T) {
	servers := startNATSCluster(t)
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = s.Addr().String()
	}
	config := Config{Broker: "nats://" + strings.Join(hosts, ","), NATS: NATSConfig{Provision: true}}
	const senders, each = 4, 100
	var sent, failed atomic.Int64
	var sending sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for range senders {
		channel := open(t, config) // as in processes of their own
		sending.Go(func() {
			for range each {
				m := anAlert()
				for ctx.Err() == nil {
					err := channel.Send(ctx, m)
					if err == nil {
						sent.Add(1)
						break
					}
					failed.Add(1)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	await(t, "the first messages", func() bool { return sent.Load() > senders*each/4 })
	leader := leaderOf(t, servers, "casebook_alerts")
	leader.Shutdown()
	leader.WaitForShutdown()
	sending.Wait()
	if sent.Load() != senders*each {
		t.Fatalf("%d of %d messages were accepted", sent.Load(), senders*each)
	}
	var survivor *server.Server
	for _, s := range servers {
		if s != leader {
			survivor = s
		}
	}
	streams := connectJetStream(t, survivor)
	var info *jetstream.StreamInfo
	await(t, "the stream on the other servers", func() bool {
		stream, err := streams.Stream(t.Context(), "casebook_alerts")
		if err == nil {
			info, err = stream.Info(t.Context())
		}
		return err == nil
	})
	if info.Config.Replicas != 3 || info.State.Msgs != senders*each {
		t.Errorf("the stream with %d replicas holds %d messages of %d; %d attempts had failed", info.Config.Replicas, info.State.Msgs,
			senders*each, failed.Load())
	}
	t.Logf("%d attempts failed while the leader changed", failed.Load())
}

// leaderOf returns the server that leads a stream.
func leaderOf(t *testing.T, servers []*server.Server, stream string) (leader *server.Server) {
	t.Helper()
	await(t, "the stream's leader", func() bool {
		for _, s := range servers {
			if s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = s
				return true
			}
		}
		return false
	})
	return leader
}
