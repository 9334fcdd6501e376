package node

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestIdleConnectionIsKept pings on an idle connection as often as the node allows. With default settings a gRPC server
// takes that for an attack and closes the connection at the third ping.
func TestIdleConnectionIsKept(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.Addr())
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(http2.ClientPreface))
	must(t, err)
	framer := http2.NewFramer(conn, conn)
	must(t, framer.WriteSettings())
	every := time.NewTicker(1100 * time.Millisecond) // real time: the server measures the distance between pings
	defer every.Stop()
	for i := range byte(5) {
		<-every.C
		must(t, framer.WritePing(false, [8]byte{i}))
		for acknowledged := false; !acknowledged; {
			frame, err := framer.ReadFrame()
			must(t, err)
			switch f := frame.(type) {
			case *http2.GoAwayFrame:
				t.Fatalf("the connection was closed after %d pings: %v %s", i+1, f.ErrCode, f.DebugData())
			case *http2.PingFrame:
				acknowledged = f.IsAck() && f.Data[0] == i
			}
		}
	}
}

// TestSilentConnectionIsEnded: a client that is frozen answers no pings, and would hold the events of its groups until then.
func TestSilentConnectionIsEnded(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.Addr())
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(http2.ClientPreface))
	must(t, err)
	must(t, http2.NewFramer(conn, conn).WriteSettings())
	began := time.Now()
	must(t, conn.SetReadDeadline(began.Add(30*time.Second)))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection of a silent client is kept")
	}
	if after := time.Since(began); after > 10*time.Second {
		t.Errorf("the connection was ended after %s", after)
	}
}
