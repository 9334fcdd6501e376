package projections_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/node/clustertest"
	"casebook/eventlog"
	patientprojections "casebook/projections/patient"
	patientviews "casebook/readmodels/patient"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// laggingNode answers reads with all of the log. Subscriptions catch up at a position before its end, and go on from there
// only a while later.
type laggingNode struct {
	streams.UnimplementedStreamsServer
	serverfeatures.UnimplementedServerFeaturesServer
	log      streams.StreamsClient
	upTo     uint64
	goesOnAt time.Time
}

func (n *laggingNode) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	return &serverfeatures.SupportedMethods{EventStoreServerVersion: "23.10.8", Methods: []*serverfeatures.SupportedMethod{
		{ServiceName: "event_store.client.streams.streams", MethodName: "batchappend"}}}, nil
}

func (n *laggingNode) Read(request *streams.ReadReq, out streams.Streams_ReadServer) error {
	in, err := n.log.Read(out.Context(), request)
	if err != nil {
		return err
	}
	subscribes, told := request.GetOptions().GetSubscription() != nil, false
	for {
		message, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at := max(message.GetEvent().GetEvent().GetCommitPosition(), message.GetCheckpoint().GetCommitPosition())
		if subscribes && time.Now().Before(n.goesOnAt) && (message.GetCaughtUp() != nil || at > n.upTo) {
			if !told {
				told = true
				caughtUp := &streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}}
				if err := out.Send(caughtUp); err != nil {
					return err
				}
			}
			select {
			case <-time.After(time.Until(n.goesOnAt)):
			case <-out.Context().Done():
				return nil
			}
		}
		if err := out.Send(message); err != nil {
			return err
		}
	}
}

func (n *laggingNode) connect(t *testing.T) *eventlog.Log {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	streams.RegisterStreamsServer(server, n)
	serverfeatures.RegisterServerFeaturesServer(server, n)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	address := "esdb://" + listener.Addr().String() + "?tls=false"
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: address, Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

// TestViewFoldsWhatALaggingNodeDeliversLater: a node tells of an end that its subscription has not reached. The view must not
// take what lies between for seen.
func TestViewFoldsWhatALaggingNodeDeliversLater(t *testing.T) {
	w := newWorldAlone(t)
	if !w.alone {
		t.Skip("the log is shared")
	}
	for n := range 5 {
		w.screen(n + 1)
	}
	lagging := &laggingNode{upTo: w.last, goesOnAt: time.Now().Add(3 * time.Second)}
	for n := range 5 {
		w.screen(n + 6)
	}
	address, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	lagging.log = streams.NewStreamsClient(conn)
	w.log = lagging.connect(t)
	defer w.run(patientprojections.PatientList)()
	w.wait(patientviews.PatientLists)
	if n := len(w.rows()); n != 10 {
		t.Errorf("the view has %d rows and says that it has seen the end, want 10", n)
	}
}

// TestChangesOfLeaderLoseNoView: while leaders are frozen and followers lag, views go on, and no view is stopped or lacks
// anything.
func TestChangesOfLeaderLoseNoView(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 100 * time.Millisecond})
	w := newWorldOn(t, c.URL(), mongoURL)
	defer w.run(patientprojections.PatientList)()
	const rounds, each = 3, 5
	for round := range rounds {
		for n := range each {
			w.screen(round*each + n + 1)
		}
		c.Followers()[0].StopReplicating()
		if round%2 == 0 {
			c.Leader().Freeze()
		} else {
			c.MoveLeader(c.Followers()[1])
		}
		if _, err := c.AwaitLeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Members() {
			m.CatchUp()
			if err := m.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.wait(patientviews.PatientLists)
	if n := len(w.rows()); n != rounds*each {
		t.Errorf("the view has %d rows, want %d", n, rounds*each)
	}
}
