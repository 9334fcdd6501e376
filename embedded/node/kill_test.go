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

// victimDir names the environment variable that makes the test binary run a node in the given directory until it is
// killed.
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

// TestKilledUnderLoad kills a node with appends in flight, dozens of times, and starts the next one in the same
// directory. Three kinds of writers run: some append single events and some append three events at exact revisions,
// which succeed only if no acknowledged event was lost; others append three events at any revision and never repeat an
// append.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	rounds, checkEvery := 60, 15
	if testing.Short() {
		rounds, checkEvery = 10, 5
	}
	const single, three, anyRevision = 4, 2, 2
	k := &killLedger{acked: make([]int, single+three), groups: map[uuid.UUID]bool{}}
	dir := t.TempDir()
	for round := range rounds {
		victim, address := startVictim(t, dir)
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		// Kill it after a random number of acknowledgements, so in a different state each time.
		k.left.Store(int64(1 + rand.IntN(150)))
		var once, killers = sync.Once{}, sync.WaitGroup{}
		k.kill = func() {
			once.Do(func() { killers.Go(func() { _ = victim.Process.Kill(); cancel() }) })
		}
		var writers sync.WaitGroup
		for w := range single + three {
			writers.Go(func() { k.writeAtExactRevisions(ctx, t, conn, w, 1+2*min(1, w/single)) })
		}
		for range anyRevision {
			writers.Go(func() { k.writeAtAnyRevision(ctx, t, conn, round) })
		}
		writers.Wait()
		killers.Wait()
		cancel()
		_ = victim.Wait() // it was killed
		_ = conn.Close()
		if t.Failed() {
			return
		}
		if (round+1)%checkEvery == 0 {
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

// killLedger records which appends the writers sent and which were acknowledged, over all killed nodes.
type killLedger struct {
	acked []int        // acknowledged appends per stream; each stream has one writer
	left  atomic.Int64 // acknowledgements until the node is killed
	kill  func()

	mu     sync.Mutex
	groups map[uuid.UUID]bool // by the first event of an append at any revision: was it acknowledged?
}

func (k *killLedger) acknowledged() {
	if k.left.Add(-1) == 0 {
		k.kill()
	}
}

func killID(writer, n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d-%d", writer, n))
}

// writeAtExactRevisions appends events of this number to the stream of writer w. The append that was in flight when the
// last node was killed may have been stored; the node recognises its repetition.
func (k *killLedger) writeAtExactRevisions(ctx context.Context, t *testing.T, conn *grpc.ClientConn, w, size int) {
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

// writeAtAnyRevision appends to one stream together with other writers. It does not repeat appends of unknown outcome.
func (k *killLedger) writeAtAnyRevision(ctx context.Context, t *testing.T, conn *grpc.ClientConn, round int) {
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

// after returns the id of the n-th event after the first one of an append.
func after(first uuid.UUID, n byte) uuid.UUID {
	first[15] += n
	return first
}

// check opens the log and compares it with the ledger.
func (k *killLedger) check(t *testing.T, dir string, single int) {
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
				t.Fatalf("stream %s: event %d has number %d, or $all has another event there", stream, i, e.Event.EventNumber)
			}
			events = append(events, e.Event)
		}
		if len(events) != len(inLog[stream]) {
			t.Fatalf("stream %s has %d events, but %d in $all", stream, len(events), len(inLog[stream]))
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
			t.Fatalf("stream %d holds %d events, but %d appends of %d were acknowledged", w, len(got), acked, size)
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
		_, sent := k.groups[first]
		if !sent || found[first] || shared[i+1].EventID != after(first, 1) || shared[i+2].EventID != after(first, 2) {
			t.Fatalf("event %d of the shared stream does not begin an append that was sent and is stored once", i)
		}
		found[first] = true
	}
	for first, acked := range k.groups {
		if acked && !found[first] {
			t.Fatal("an acknowledged append is lost")
		}
	}
	t.Logf("%d events are sound", report.Events)
}
