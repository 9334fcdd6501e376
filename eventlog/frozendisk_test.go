package eventlog_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casebook/embedded/node"
	"casebook/eventlog"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/uuid"
)

// gate holds the syncs of a disk while it is closed.
type gate struct{ closed atomic.Pointer[chan struct{}] }

func (*gate) String() string { return "a disk that hangs" }

func (g *gate) MaybeError(op errorfs.Op) error {
	if until := g.closed.Load(); until != nil && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
		<-*until
	}
	return nil
}

// TestAppendsGoOnAfterADiskThatHung: more appends wait for a disk than a stream of appends takes. Each returns at its deadline, over the
// network and within the process, and when the disk is back, appends go on.
func TestAppendsGoOnAfterADiskThatHung(t *testing.T) {
	for name, inside := range map[string]bool{"within the process": true, "over the network": false} {
		t.Run(name, func(t *testing.T) {
			disk := &gate{}
			n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", FS: errorfs.Wrap(vfs.Default, disk)})
			if err != nil {
				t.Fatal(err)
			}
			options := eventlog.Options{URL: n.ConnectionString(), Registry: registry()}
			if inside {
				options.InProcess = n.InProcess()
			}
			log, err := eventlog.Connect(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(log.Close(), n.Close()); err != nil {
					t.Error(err)
				}
			})
			back := make(chan struct{})
			disk.closed.Store(&back)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			var waiting sync.WaitGroup
			var unknown atomic.Int64
			for range 6000 {
				waiting.Go(func() {
					_, err := log.Append(ctx, stream("note"), eventlog.EmptyTail, uuid.New(), eventlog.Metadata{}, noted{"x"})
					if errors.Is(err, eventlog.ErrUnknownOutcome) || errors.Is(err, context.DeadlineExceeded) {
						unknown.Add(1)
					}
				})
			}
			waiting.Wait()
			if unknown.Load() == 0 {
				t.Error("the disk did not hang")
			}
			disk.closed.Store(nil)
			close(back)
			if _, err := log.Append(t.Context(), stream("note"), eventlog.EmptyTail, uuid.New(), eventlog.Metadata{}, noted{"x"}); err != nil {
				t.Error(err)
			}
		})
	}
}
