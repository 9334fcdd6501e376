package node

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// victimDir tells a process of the test binary to be a node in that directory, until it is killed.
const victimDir = "CASEBOOK_NODE_TEST_VICTIM"

func runVictim(dir string) {
	n, err := Open(context.Background(), Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("listening", n.Addr())
	select {}
}

// TestKilledUnderLoad kills a node with appends in flight and opens its directory again: what was acknowledged is there.
func TestKilledUnderLoad(t *testing.T) {
	const rounds, writers = 4, 6
	dir := t.TempDir()
	acked := make([]int, writers) // events per stream
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
		if err != nil || !ok {
			t.Fatalf("the node did not start: %q, %v", line, err)
		}
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(t, err)
		// Dead after a random number of acknowledgements, so in a different state each time.
		left := make(chan struct{}, 4000)
		for range 200 + rand.IntN(3000) {
			left <- struct{}{}
		}
		close(left)
		ctx, cancel := context.WithCancel(t.Context())
		var group, killers sync.WaitGroup
		var once sync.Once
		for w := range writers {
			group.Go(func() {
				stream := fmt.Sprint("w", w)
				call, err := streams.NewStreamsClient(conn).BatchAppend(ctx)
				if err != nil {
					return
				}
				for {
					// An append that was in flight when the last round ended may have been stored; its repetition is
					// recognised, and so it tells where to go on.
					if call.Send(batchPart("x", stream, int64(acked[w]-1), true, killID(w, acked[w]))) != nil {
						return
					}
					answer, err := call.Recv()
					if err != nil {
						return
					}
					if answer.GetSuccess() == nil {
						t.Errorf("%s at %d: %v", stream, acked[w], answer)
						return
					}
					acked[w]++
					if _, ok := <-left; !ok {
						once.Do(func() { killers.Go(func() { _ = cmd.Process.Kill(); cancel() }) })
					}
				}
			})
		}
		group.Wait()
		killers.Wait()
		cancel()
		_ = cmd.Wait() // it was killed
		_ = conn.Close()

		n, err := Open(t.Context(), Options{Dir: dir, Listen: "127.0.0.1:0"})
		must(t, err)
		report, err := n.Verify(t.Context())
		if err != nil || report.Damage != nil {
			t.Fatalf("verify: %+v, %v", report, err)
		}
		c := connect(t, n)
		for w := range writers {
			s, err := c.ReadStream(t.Context(), fmt.Sprint("w", w), esdb.ReadStreamOptions{}, 1<<40)
			got := drain(t, s, err)
			if len(got) != acked[w] && len(got) != acked[w]+1 {
				t.Fatalf("stream %d holds %d events, %d were acknowledged", w, len(got), acked[w])
			}
			for i, e := range got {
				if e.Event.EventNumber != uint64(i) || e.Event.EventID != killID(w, i) {
					t.Fatalf("stream %d: event %d has number %d", w, i, e.Event.EventNumber)
				}
			}
		}
		must(t, c.Close())
		must(t, n.Close())
	}
}

func killID(writer, n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d-%d", writer, n))
}
