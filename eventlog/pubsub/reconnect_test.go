//go:build !race

package pubsub_test

import (
	"errors"
	"net"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"golang.org/x/sync/errgroup"
)

// TestConformanceReconnect is the suite's own test of a server that restarts twice under ten thousand messages. The suite
// reads what its publishers write without a lock, so the race detector is left out here; TestServerRestarts has it.
func TestConformanceReconnect(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about ten seconds")
	}
	n := openNode(t)
	first := n.Node
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var restarts errgroup.Group
	restarts.Go(func() error {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err == nil {
				err = errors.Join(n.restart(), conn.Close())
			}
			if err != nil {
				return err
			}
		}
	})
	features := tests.Features{Persistent: true, RestartServiceCommand: restartCommand(listener.Addr().String())}
	tests.TestReconnect(t, tests.TestContext{TestID: tests.NewTestID(), Features: features}, func(t *testing.T) (message.Publisher, message.Subscriber) {
		return newPublisher(t, first), newSubscriber(t, first)
	})
	must(t, listener.Close())
	must(t, restarts.Wait())
}
