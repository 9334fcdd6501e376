package eventlog_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"casebook/embedded/node"
	"casebook/eventlog"

	"github.com/google/uuid"
	"google.golang.org/grpc"
)

// countingReads counts the reads that are begun over a connection, subscriptions included.
type countingReads struct {
	grpc.ClientConnInterface
	begun atomic.Int64
}

func (c *countingReads) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	if strings.HasSuffix(method, "Streams/Read") {
		c.begun.Add(1)
	}
	return c.ClientConnInterface.NewStream(ctx, desc, method, options...)
}

// TestASubscriptionByTypeReadsNothingForTheEventsThatItGets: it knows the mark of an event that it is given.
func TestASubscriptionByTypeReadsNothingForTheEventsThatItGets(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	counted := &countingReads{ClientConnInterface: n.InProcess()}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: n.ConnectionString(), InProcess: counted, Registry: registry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	batches, ended := make(chan eventlog.Batch), make(chan error, 1)
	go func() {
		ended <- log.Follow(ctx, eventlog.Subscription{Types: []string{"Noted"}}, func(ctx context.Context, b eventlog.Batch) error {
			select {
			case batches <- b:
			case <-ctx.Done(): // the test wants no more; empty batches come at any time
			}
			return nil
		})
	}()
	for b := range batches {
		if b.Live {
			break
		}
	}
	before := counted.begun.Load()
	tail := eventlog.EmptyTail
	name := stream("note")
	for range 5 {
		appended, err := log.Append(t.Context(), name, tail, uuid.New(), eventlog.Metadata{}, noted{"x"})
		if err != nil {
			t.Fatal(err)
		}
		tail = appended.Tail
		b := <-batches
		for len(b.Events) == 0 {
			b = <-batches
		}
		if len(b.Events) != 1 || b.Last != b.Events[0].Mark() || b.Through != b.Events[0].Position || !b.Live {
			t.Errorf("it was given %+v", b)
		}
	}
	if reads := counted.begun.Load() - before; reads != 0 {
		t.Errorf("it has read the log %d times", reads)
	}
	stop()
	if err := errors.Join(<-ended, log.Close(), n.Close()); err != nil {
		t.Error(err)
	}
}
