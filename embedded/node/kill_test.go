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
	"sync/atomic"
	"testing"

	"casebook/embedded/node/store"

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

// TestKilledUnderLoad kills a node with appends in flight, hundreds of times, and lets the next one go on in the same
// directory. Writers of three kinds are at work: single events and appends of three at exact revisions, which say by
// being accepted that nothing acknowledged is lost, and appends of three at any revision, which are never repeated.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	rounds, look := 200, 25
	if testing.Short() {
		rounds, look = 10, 5
	}
	const single, three, anywhere = 4, 2, 2
	k := &killed{acked: make([]int, single+three), groups: map[uuid.UUID]bool{}}
	dir := t.TempDir()
	for round := range rounds {
		victim, address := startVictim(t, dir)
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		// Dead after a random number of acknowledgements, so in a different state each time.
		k.left.Store(int64(1 + rand.IntN(150)))
		var once, killers = sync.Once{}, sync.WaitGroup{}
		k.kill = func() {
			once.Do(func() { killers.Go(func() { _ = victim.Process.Kill(); cancel() }) })
		}
		var writers sync.WaitGroup
		for w := range single + three {
			writers.Go(func() { k.writeInOrder(ctx, t, conn, w, 1+2*min(1, w/single)) })
		}
		for range anywhere {
			writers.Go(func() { k.writeAnywhere(ctx, t, conn, round) })
		}
		writers.Wait()
		killers.Wait()
		cancel()
		_ = victim.Wait() // it was killed
		_ = conn.Close()
		if t.Failed() {
			return
		}
		if (round+1)%look == 0 {
			k.check(t, dir, single)
		}
	}
}

func startVictim(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		_ = cmd.Process.Kill()
		t.Fatalf("the node did not start: %q, %v", line, err)
	}
	return cmd, address
}

// killed is what the writers know of the log, over all nodes that were killed.
type killed struct {
	acked []int // appends per stream, each of a writer of its own
	left  atomic.Int64
	kill  func()

	mu     sync.Mutex
	groups map[uuid.UUID]bool // the first events of appends at any revision; true if acknowledged
}

func (k *killed) acknowledged() {
	if k.left.Add(-1) == 0 {
		k.kill()
	}
}

func killID(writer, n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d-%d", writer, n))
}

// writeInOrder appends at exact revisions. What was in flight when the last node died may have been stored: its
// repetition is recognised, and so it tells where to go on.
func (k *killed) writeInOrder(ctx context.Context, t *testing.T, conn *grpc.ClientConn, w, size int) {
	stream := fmt.Sprint("w", w)
	call, err := streams.NewStreamsClient(conn).BatchAppend(ctx)
	if err != nil {
		return
	}
	for {
		first := k.acked[w] * size
		ids := make([]uuid.UUID, size)
		for i := range ids {
			ids[i] = killID(w, first+i)
		}
		if call.Send(batchPart("x", stream, int64(first-1), true, ids...)) != nil {
			return
		}
		answer, err := call.Recv()
		if err != nil {
			return
		}
		if answer.GetSuccess() == nil {
			t.Errorf("%s at %d: %v", stream, first, answer)
			k.kill()
			return
		}
		k.acked[w]++
		k.acknowledged()
	}
}

// writeAnywhere appends to one stream with other writers, and gives up what it does not know the outcome of.
func (k *killed) writeAnywhere(ctx context.Context, t *testing.T, conn *grpc.ClientConn, round int) {
	call, err := streams.NewStreamsClient(conn).BatchAppend(ctx)
	if err != nil {
		return
	}
	for {
		first := uuid.New()
		k.mu.Lock()
		k.groups[first] = false
		k.mu.Unlock()
		if call.Send(batchPart("x", "shared", store.Any, true, first, after(first, 1), after(first, 2))) != nil {
			return
		}
		answer, err := call.Recv()
		if err != nil {
			return
		}
		if answer.GetSuccess() == nil {
			t.Errorf("round %d: %v", round, answer)
			return
		}
		k.mu.Lock()
		k.groups[first] = true
		k.mu.Unlock()
		k.acknowledged()
	}
}

// after is the id of the n-th event behind the first of an append.
func after(first uuid.UUID, n byte) uuid.UUID {
	first[15] += n
	return first
}

// check opens the log and compares it with what the writers know.
func (k *killed) check(t *testing.T, dir string, single int) {
	t.Helper()
	n, err := Open(t.Context(), Options{Dir: dir, Listen: "127.0.0.1:0"})
	must(t, err)
	defer func() { must(t, n.Close()) }()
	report, err := n.Verify(t.Context())
	if err != nil || report.Damage != nil {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	c := connect(t, n)
	defer func() { must(t, c.Close()) }()
	all, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{}, 1<<40)
	inLog := map[string][]*esdb.RecordedEvent{}
	last := uint64(0)
	for _, e := range drain(t, all, err) {
		if e.Event.Position.Commit <= last {
			t.Fatalf("position %d comes after %d", e.Event.Position.Commit, last)
		}
		last = e.Event.Position.Commit
		inLog[e.Event.StreamID] = append(inLog[e.Event.StreamID], e.Event)
	}
	read := func(stream string) []*esdb.RecordedEvent {
		s, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{}, 1<<40)
		var events []*esdb.RecordedEvent
		for i, e := range drain(t, s, err) {
			if e.Event.EventNumber != uint64(i) || e.Event.EventID != inLog[stream][i].EventID {
				t.Fatalf("stream %s: event %d has number %d, or is another in $all", stream, i, e.Event.EventNumber)
			}
			events = append(events, e.Event)
		}
		if len(events) != len(inLog[stream]) {
			t.Fatalf("stream %s has %d events, and %d in $all", stream, len(events), len(inLog[stream]))
		}
		return events
	}
	for w, acked := range k.acked {
		size := 1
		if w >= single {
			size = 3
		}
		got := read(fmt.Sprint("w", w))
		if len(got) != acked*size && len(got) != (acked+1)*size {
			t.Fatalf("stream %d holds %d events, and %d appends of %d were acknowledged", w, len(got), acked, size)
		}
		for i, e := range got {
			if e.EventID != killID(w, i) {
				t.Fatalf("stream %d: event %d is not the one that was appended there", w, i)
			}
		}
	}
	shared := read("shared")
	if len(shared)%3 != 0 {
		t.Fatalf("half an append is visible: %d events", len(shared))
	}
	found := map[uuid.UUID]bool{}
	for i := 0; i < len(shared); i += 3 {
		first := shared[i].EventID
		if _, asked := k.groups[first]; !asked || found[first] || shared[i+1].EventID != after(first, 1) || shared[i+2].EventID != after(first, 2) {
			t.Fatalf("event %d of the shared stream does not begin an append, or one that is there already", i)
		}
		found[first] = true
	}
	for first, acked := range k.groups {
		if acked && !found[first] {
			t.Fatal("an acknowledged append is lost")
		}
	}
	t.Logf("%d events are whole", report.Events)
}
