package mongo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"casebook/embedded/diskguard/disktest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func pingFails(t *testing.T, c *driver.Client) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := c.Database("admin").RunCommand(ctx, D("ping", 1)).Err()
	if err != nil && !hasCode(err, codeOutOfDiskSpace) {
		t.Fatalf("ping: %v", err)
	}
	return err != nil
}

// within fails the test if f does not return in time.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s: not done after %s", what, limit)
	}
}

func TestAlmostFullDiskRefusesWrites(t *testing.T) {
	ctx := context.Background()
	disk := &disktest.Limited{FS: vfs.NewMem()}
	disk.Free.Store(1 << 30)
	s := startServer(t, func(o *Options) { o.FS, o.MinFreeBytes = disk, 1<<29 })
	client := connect(t, s)
	c := client.Database("test").Collection("c")
	_, err := c.InsertOne(ctx, D("_id", 1))
	must(t, err)
	must(t, client.Database("test").CreateCollection(ctx, "second"))
	disk.Free.Store(1<<29 - 1)
	_, err = c.InsertOne(ctx, D("_id", 2))
	wantCode(t, err, codeOutOfDiskSpace)
	_, err = c.UpdateOne(ctx, D("_id", 1), D("$set", D("x", 1)))
	wantCode(t, err, codeOutOfDiskSpace)
	wantCode(t, client.Database("test").CreateCollection(ctx, "third"), codeOutOfDiskSpace)
	if !pingFails(t, client) || s.Failure() == nil {
		t.Error("the server says nothing of its full disk")
	}
	if got := find(t, c, D()); len(got) != 1 {
		t.Errorf("%v", got)
	}
	must(t, client.Database("test").Collection("second").Drop(ctx)) // which frees space
	disk.Free.Store(1 << 29)
	_, err = c.InsertOne(ctx, D("_id", 2))
	must(t, err)
	if pingFails(t, client) || s.Failure() != nil {
		t.Errorf("with room on the disk: %v", s.Failure())
	}
}

// diskLoad replaces documents in several collections until it is stopped. It notes the last acknowledged version of each.
type diskLoad struct {
	acked  [4]atomic.Int64
	failed atomic.Int64
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

func startLoad(t *testing.T, client *driver.Client, padding int) *diskLoad {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &diskLoad{stop: cancel}
	for w := range l.acked {
		c := client.Database("test").Collection(fmt.Sprint("c", w))
		l.wg.Go(func() {
			pad := strings.Repeat("x", padding)
			for n := int64(1); ctx.Err() == nil; {
				try, done := context.WithTimeout(ctx, 10*time.Second)
				d := D("_id", fmt.Sprint(n%50), "n", n, "pad", pad)
				_, err := c.ReplaceOne(try, D("_id", fmt.Sprint(n%50)), d, options.Replace().SetUpsert(true))
				done()
				switch {
				case err == nil:
					l.acked[w].Store(n)
					n++
				case ctx.Err() != nil:
				case hasCode(err, codeOutOfDiskSpace):
					l.failed.Add(1)
					time.Sleep(5 * time.Millisecond)
				case driver.IsNetworkError(err):
				default:
					t.Errorf("a write failed otherwise: %v", err)
					return
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); l.wg.Wait() })
	return l
}

func (l *diskLoad) total() (n int64) {
	for i := range l.acked {
		n += l.acked[i].Load()
	}
	return n
}

// check expects every acknowledged write, or a later one.
func (l *diskLoad) check(t *testing.T, client *driver.Client) {
	t.Helper()
	for w := range l.acked {
		acked := l.acked[w].Load()
		var d bson.D
		c := client.Database("test").Collection(fmt.Sprint("c", w))
		err := c.FindOne(t.Context(), D(), options.FindOne().SetSort(D("n", -1))).Decode(&d)
		if err != nil && acked > 0 {
			t.Errorf("collection %d: %v", w, err)
			continue
		}
		for _, e := range d {
			if e.Key == "n" && e.Value.(int64) < acked {
				t.Errorf("collection %d ends at %d, but %d was acknowledged", w, e.Value, acked)
			}
		}
	}
}

// patience is how long a busy machine may take for what is awaited.
const patience = time.Minute

func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// TestFullDiskLosesNothingAcknowledged has all writes fail from a certain one on, in each round at another moment, and lets
// them succeed again later. Nothing may hang meanwhile, and the server must heal by itself.
func TestFullDiskLosesNothingAcknowledged(t *testing.T) {
	for round := range 6 {
		room := atomic.Int64{} // writes until the disk is full
		room.Store(1 << 40)
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate,
				errorfs.OpFilePreallocate, errorfs.OpMkdirAll, errorfs.OpLink:
				if room.Add(-1) < 0 {
					return syscall.ENOSPC
				}
			}
			return nil
		}))
		s := startServer(t, func(o *Options) { o.FS, o.memTableBytes = fs, 64<<10 })
		client := connect(t, s)
		l := startLoad(t, client, 700)
		eventually(t, patience, "the first writes", func() bool { return l.total() > 20 })
		room.Store(int64(20 + round*90))
		eventually(t, patience, "the failure", func() bool { return s.Failure() != nil && l.failed.Load() > 0 })
		if !pingFails(t, client) {
			t.Error("ping says nothing of the failure")
		}
		within(t, 10*time.Second, "reads on a full disk", func() { l.check(t, client) })
		room.Store(1 << 40)
		eventually(t, patience, "the healing", func() bool { return s.Failure() == nil })
		before := l.total()
		eventually(t, patience, "further writes", func() bool { return l.total() > before+50 })
		l.stop()
		l.wg.Wait()
		l.check(t, client)
		checkStore(t, s.store)
		within(t, closeLimit, "close", func() { stop(t, s) })
	}
}

// TestRealFullDisk fills a small disk under a load, once with the check of free space and once without.
func TestRealFullDisk(t *testing.T) {
	for name, minFree := range map[string]int64{"with room kept free": 8 << 20, "to the last byte": -1} {
		t.Run(name, func(t *testing.T) {
			disk := disktest.Mount(t, 96<<20)
			dir := filepath.Join(disk, "data")
			s := startServer(t, func(o *Options) { o.FS, o.Dir, o.MinFreeBytes, o.memTableBytes = vfs.Default, dir, minFree, 2<<20 })
			client := connect(t, s)
			l := startLoad(t, client, 20_000)
			eventually(t, patience, "the first writes", func() bool { return l.total() > 50 })
			for range 3 {
				refused := l.failed.Load()
				ballast := disktest.Fill(t, disk)
				eventually(t, patience, "the refusals", func() bool { return l.failed.Load() > refused+20 })
				if !pingFails(t, client) || s.Failure() == nil {
					t.Error("the server says nothing of its full disk")
				}
				within(t, 10*time.Second, "reads on a full disk", func() { l.check(t, client) })
				must(t, os.Remove(ballast))
				eventually(t, patience, "the healing", func() bool { return s.Failure() == nil })
				before := l.total()
				eventually(t, patience, "further writes", func() bool { return l.total() > before+50 })
			}
			// A server that closes on a full disk closes all the same.
			disktest.Fill(t, disk)
			eventually(t, patience, "the refusals", func() bool { return s.Failure() != nil })
			l.stop()
			l.wg.Wait()
			within(t, closeLimit+time.Second, "close", func() {
				_ = client.Disconnect(context.Background())
				_ = s.Close()
			})
		})
	}
}
