package mongo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"
)

// serveEnv names the environment variable that makes TestServeForKill serve the given directory.
const serveEnv = "CASEBOOK_MONGO_TEST_DIR"

// TestServeForKill is the server process of TestKillLosesNothingAcknowledged.
func TestServeForKill(t *testing.T) {
	dir := os.Getenv(serveEnv)
	if dir == "" {
		t.Skip("TestKillLosesNothingAcknowledged runs this as a process of its own")
	}
	// Small memtables, so that tables are written and compacted all the time.
	s, err := Open(context.Background(), Options{Dir: dir, memTableBytes: 256 << 10})
	must(t, err)
	fmt.Println("serving " + s.ConnectionString())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until it is killed, or its parent ends
	must(t, s.Close())
}

// child is a server in a process of its own.
type child struct {
	cmd *exec.Cmd
	uri string
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServeForKill$")
	cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	_, err = cmd.StdinPipe() // the child reads it, and Wait closes it
	must(t, err)
	must(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if uri, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			return &child{cmd, uri}
		}
	}
	_ = cmd.Wait()
	t.Fatal("the server did not start")
	return nil
}

// kill ends the process with SIGKILL.
func (c *child) kill(t *testing.T) {
	t.Helper()
	must(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
}

// state holds a writer's documents: the number of each by its _id.
type state map[string]int64

// load is one writer. Each of its operations is one commit, so after a kill its documents are in the acknowledged state
// or in the state after the operation that was not answered.
type load struct {
	w       int
	rng     *rand.Rand
	last    int64
	acked   state
	pending state // after the operation that is running
}

// content returns the document with an _id and a number. The other fields are derived from these.
func content(w int, id string, n int64) bson.D {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(w)))
	pad := bytes.Repeat([]byte{byte(n)}, rng.IntN(4000))
	return D("_id", id, "w", w, "n", n, "tags", A(n%5, n%7, int64(w)), "pad", bson.Binary{Data: pad})
}

// step runs one operation. It returns an error if the server was killed or refuses the operation.
func (l *load) step(ctx context.Context, c *driver.Collection) error {
	l.last++
	l.pending = maps.Clone(l.acked)
	var err error
	switch l.rng.IntN(6) {
	case 0: // delete the oldest
		old := l.last - int64(l.rng.IntN(30))
		maps.DeleteFunc(l.pending, func(_ string, n int64) bool { return n < old })
		_, err = c.DeleteMany(ctx, D("w", l.w, "n", D("$lt", old)))
	case 1:
		id := fmt.Sprintf("%d-one", l.w)
		l.pending[id] = l.last
		err = c.FindOneAndReplace(ctx, D("_id", id), content(l.w, id, l.last), options.FindOneAndReplace().SetUpsert(true)).Err()
		if errors.Is(err, driver.ErrNoDocuments) { // the document did not exist before
			err = nil
		}
	default:
		var models []driver.WriteModel
		for _, i := range l.rng.Perm(40)[:1+l.rng.IntN(20)] {
			id := fmt.Sprintf("%d-%d", l.w, i)
			l.pending[id] = l.last
			models = append(models, driver.NewReplaceOneModel().SetUpsert(true).
				SetFilter(D("_id", id, "n", D("$lt", l.last))).SetReplacement(content(l.w, id, l.last)))
		}
		_, err = c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	}
	if err == nil {
		l.acked = l.pending
	}
	return err
}

// check compares the writer's documents with the two possible states, and continues from the one that it finds.
func (l *load) check(t *testing.T, c *driver.Collection) {
	t.Helper()
	left := state{}
	for _, d := range find(t, c, D("w", l.w)) {
		id, n := d[0].Value.(string), modelGet(d, "n").(int64)
		left[id] = n
		if !bytes.Equal(raw(d), raw(content(l.w, id, n))) {
			t.Errorf("document %s with number %d differs from what was written", id, n)
		}
	}
	if !maps.Equal(left, l.acked) && !maps.Equal(left, l.pending) {
		t.Errorf("writer %d: stored is\n%v, acknowledged was\n%v, and not answered\n%v", l.w, left, l.acked, l.pending)
	}
	l.acked = left
}

// rebuild replaces a collection by another one again and again, like the rebuild of a projection, and creates and drops
// an index meanwhile.
type rebuild struct {
	acked int64 // the live generation; 0 before the first
}

const rebuilt = 10 // number of documents of a generation

func (r *rebuild) step(ctx context.Context, c *driver.Collection) error {
	db := c.Database()
	next := db.Collection("next")
	var docs []any
	for i := range rebuilt {
		docs = append(docs, D("_id", i, "generation", r.acked+1))
	}
	_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("n", 1, "tags", -1), Options: options.Index().SetName("extra")})
	for _, f := range []func() error{
		func() error { return next.Drop(ctx) },
		func() error { _, err := next.InsertMany(ctx, docs); return err },
		func() error { return rename(ctx, db, "next", "live", true) },
		func() error { r.acked++; return c.Indexes().DropOne(ctx, "extra") },
	} {
		if err == nil {
			err = f()
		}
	}
	return err
}

func (r *rebuild) check(t *testing.T, db *driver.Database) {
	t.Helper()
	docs := find(t, db.Collection("live"), bson.D{})
	if r.acked == 0 && len(docs) == 0 {
		return
	}
	if len(docs) != rebuilt {
		t.Fatalf("the live collection has %d documents", len(docs))
	}
	left := docs[0][1].Value.(int64)
	for _, d := range docs {
		if d[1].Value != left {
			t.Errorf("the live collection has documents of generations %d and %v", left, d[1].Value)
		}
	}
	if left != r.acked && left != r.acked+1 {
		t.Errorf("generation %d is live, but %d was acknowledged", left, r.acked)
	}
	r.acked = left
}

// TestKillLosesNothingAcknowledged kills the process at random moments while clients write. Every acknowledged write
// must be stored, unanswered ones completely or not at all, and the indexes must match the documents.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var loads []*load
	for w := range 4 {
		loads = append(loads, &load{w: w, rng: rand.New(rand.NewPCG(seed, uint64(w+1))), acked: state{}})
	}
	var switching rebuild
	for round := range 6 {
		c := startChild(t, dir)
		client := connectTo(t, c.uri+"&serverSelectionTimeoutMS=200")
		coll := client.Database("test").Collection("c")
		if round == 0 {
			_, err := coll.Indexes().CreateMany(ctx, []driver.IndexModel{{Keys: D("w", 1, "n", -1)}, {Keys: D("tags", 1)}})
			must(t, err)
		}
		// Kill after a number of acknowledgements, which every machine reaches. The state of the other writers is random.
		moment := 1 + rng.Int64N([]int64{10, 500}[round%2])
		var acks atomic.Int64
		reached := make(chan struct{})
		var g errgroup.Group
		repeat := func(step func(context.Context, *driver.Collection) error) {
			g.Go(func() error {
				for {
					if err := step(ctx, coll); err != nil {
						var se driver.ServerError
						if errors.As(err, &se) && !se.HasErrorLabel("NetworkError") {
							return err
						}
						return nil // the server was killed
					}
					if acks.Add(1) == moment {
						close(reached)
					}
				}
			})
		}
		for _, l := range loads {
			repeat(l.step)
		}
		repeat(switching.step)
		failed := make(chan error, 1)
		go func() { failed <- g.Wait() }()
		select {
		case <-reached:
			c.kill(t)
			must(t, <-failed)
		case err := <-failed:
			c.kill(t)
			t.Fatalf("the server refuses a write: %v", err)
		}
		must(t, client.Disconnect(ctx))

		s, err := Open(ctx, Options{Dir: dir})
		must(t, err)
		checkStore(t, s.store)
		coll = connect(t, s).Database("test").Collection("c")
		for _, l := range loads {
			l.check(t, coll)
		}
		switching.check(t, coll.Database())
		stop(t, s)
		if t.Failed() {
			t.Fatalf("in round %d, killed after %d acknowledgements", round, moment)
		}
	}
}
