package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The benchmarks append events of the size of a submitted diary: 409 bytes of data, 74 of metadata.
var (
	benchData     = []byte(fmt.Sprintf("%-409s", `{"diary":"pain"}`))
	benchMetadata = []byte(fmt.Sprintf("%-74s", `{"actor":"patient"}`))
)

func dialStreams(t testing.TB, n *Node) streams.StreamsClient {
	t.Helper()
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return streams.NewStreamsClient(conn)
}

// report adds the rate of appends, and percentiles of their latencies in microseconds, to the benchmark's result.
func report(b *testing.B, h *hdrhistogram.Histogram) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(h.ValueAtQuantile(50))/1e3, "p50-us")
	b.ReportMetric(float64(h.ValueAtQuantile(99))/1e3, "p99-us")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkBatchAppend(b *testing.B) {
	for _, inFlight := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			n := openNode(b)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			stream, err := dialStreams(b, n).BatchAppend(ctx)
			if err != nil {
				b.Fatal(err)
			}
			started := make([]time.Time, b.N)
			tokens := make(chan struct{}, inFlight)
			h := hdrhistogram.New(1000, int64(10*time.Second), 3)
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan error, 1)
			go func() {
				for range b.N {
					r, err := stream.Recv()
					if err != nil {
						done <- err
						return
					}
					if r.GetSuccess() == nil {
						done <- fmt.Errorf("append failed: %v", r.GetError())
						return
					}
					_ = h.RecordValue(int64(time.Since(started[r.CorrelationId.GetStructured().LeastSignificantBits])))
					<-tokens
				}
				done <- nil
			}()
			for i := range b.N {
				id := uuid.New()
				// Append to a thousand streams in turn, as patients' diaries do.
				options := &streams.BatchAppendReq_Options{
					StreamIdentifier: &shared.StreamIdentifier{StreamName: fmt.Appendf(nil, "diary-%d", i%1000)},
				}
				if i < 1000 {
					options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
				} else {
					options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(i/1000 - 1)}
				}
				request := &streams.BatchAppendReq{
					CorrelationId: &shared.UUID{Value: &shared.UUID_Structured_{
						Structured: &shared.UUID_Structured{LeastSignificantBits: int64(i)},
					}},
					Options: options, IsFinal: true,
					ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{
						Id:             structuredUUID(id),
						Metadata:       map[string]string{"type": "DiarySubmitted", "content-type": "application/json"},
						CustomMetadata: benchMetadata, Data: benchData,
					}},
				}
				select {
				case tokens <- struct{}{}:
				case err := <-done:
					b.Fatal(err)
				}
				started[i] = time.Now()
				if err := stream.Send(request); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			report(b, h)
			st := n.Stats()
			b.ReportMetric(float64(st.CommittedEvents)/float64(st.Commits), "events/sync")
		})
	}
}

func BenchmarkClientAppend(b *testing.B) {
	for _, inFlight := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			n := openNode(b)
			c := connect(b, n)
			mustAppend(b, c, "warm-up", esdb.Any{}, event("T", "{}"))
			h := hdrhistogram.New(1000, int64(10*time.Second), 3)
			var mu sync.Mutex
			b.ReportAllocs()
			b.ResetTimer()
			var workers sync.WaitGroup
			next := make(chan int)
			for w := range inFlight {
				workers.Go(func() {
					stream := fmt.Sprintf("diary-%d", w)
					for range next {
						began := time.Now()
						e := esdb.EventData{EventType: "DiarySubmitted", ContentType: esdb.ContentTypeJson, Data: benchData, Metadata: benchMetadata}
						o := esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}}
						if _, err := c.AppendToStream(context.Background(), stream, o, e); err != nil {
							b.Error(err)
							return
						}
						took := time.Since(began)
						mu.Lock()
						_ = h.RecordValue(int64(took))
						mu.Unlock()
					}
				})
			}
			for i := range b.N {
				next <- i
			}
			close(next)
			workers.Wait()
			b.StopTimer()
			report(b, h)
		})
	}
}

// fill appends this many events, 500 per append.
func fill(b testing.TB, n *Node, events int) {
	b.Helper()
	c := connect(b, n)
	for done := 0; done < events; {
		batch := make([]esdb.EventData, min(500, events-done))
		for i := range batch {
			batch[i] = esdb.EventData{
				EventID: uuid.New(), EventType: "DiarySubmitted", ContentType: esdb.ContentTypeJson,
				Data: benchData, Metadata: benchMetadata,
			}
		}
		mustAppend(b, c, fmt.Sprintf("diary-%d", done/500), esdb.NoStream{}, batch...)
		done += len(batch)
	}
}

func BenchmarkReadAll(b *testing.B) {
	n := openNode(b)
	fill(b, n, 100_000)
	client := dialStreams(b, n)
	for b.Loop() {
		s, err := client.Read(b.Context(), &streams.ReadReq{Options: &streams.ReadReq_Options{
			StreamOption: &streams.ReadReq_Options_All{
				All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{}},
			},
			CountOption: &streams.ReadReq_Options_Count{Count: 1 << 30},
		}})
		if err != nil {
			b.Fatal(err)
		}
		got := 0
		for {
			if _, err := s.Recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
			got++
		}
		if got != 100_000 {
			b.Fatalf("read %d events", got)
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkCatchUp(b *testing.B) {
	n := openNode(b)
	fill(b, n, 100_000)
	for _, subscribers := range []int{1, 4} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			for b.Loop() {
				var wg sync.WaitGroup
				for range subscribers {
					c := connect(b, n)
					wg.Go(func() {
						sub, err := c.SubscribeToAll(b.Context(), esdb.SubscribeToAllOptions{From: esdb.Start{}})
						if err != nil {
							b.Error(err)
							return
						}
						defer sub.Close()
						for {
							e := sub.Recv()
							if e.CaughtUp != nil {
								return
							}
							if e.SubscriptionDropped != nil {
								b.Error(e.SubscriptionDropped.Error)
								return
							}
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(b.N*subscribers)*100_000/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	n := openNode(b)
	fill(b, n, 100_000)
	for b.Loop() {
		r, err := n.Verify(b.Context())
		if err != nil || r.Events != 100_000 || r.Damage != nil {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkConsumers has the consumers of one group acknowledge every event as they receive it.
func BenchmarkConsumers(b *testing.B) {
	const events = 50_000
	for _, consumers := range []int{1, 4} {
		b.Run(fmt.Sprintf("consumers=%d", consumers), func(b *testing.B) {
			n := openNode(b)
			fill(b, n, events)
			for i := 0; b.Loop(); i++ {
				group := fmt.Sprint("g", i)
				clients := make([]*esdb.Client, consumers)
				for i := range clients {
					clients[i] = connect(b, n)
				}
				fromStart := esdb.PersistentAllSubscriptionOptions{StartFrom: esdb.Start{}}
				if err := clients[0].CreatePersistentSubscriptionToAll(b.Context(), group, fromStart); err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				var settled atomic.Int64
				var wg sync.WaitGroup
				for _, c := range clients {
					wg.Go(func() {
						o := esdb.SubscribeToPersistentSubscriptionOptions{BufferSize: 200}
						sub, err := c.SubscribeToPersistentSubscriptionToAll(ctx, group, o)
						if err != nil {
							b.Error(err)
							return
						}
						for {
							e := sub.Recv()
							if e.SubscriptionDropped != nil {
								return
							}
							if err := sub.Ack(e.EventAppeared.Event); err != nil {
								return
							}
							if settled.Add(1) == events {
								cancel()
							}
						}
					})
				}
				wg.Wait()
				cancel()
			}
			b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkIdleSubscribers keeps 64 appends in flight while subscriptions wait: for streams that nobody writes to, and
// for events of $all that never match a filter.
func BenchmarkIdleSubscribers(b *testing.B) {
	for _, idle := range []struct {
		name         string
		streams, all int
	}{{"none", 0, 0}, {"streams=1000", 1000, 0}, {"streams=1000,filters=100", 1000, 100}} {
		b.Run(idle.name, func(b *testing.B) {
			n := openNode(b)
			c := connect(b, n)
			for i := range idle.streams {
				sub, err := c.SubscribeToStream(b.Context(), fmt.Sprint("quiet-", i), esdb.SubscribeToStreamOptions{})
				if err != nil {
					b.Fatal(err)
				}
				defer sub.Close()
			}
			for range idle.all {
				sub, err := c.SubscribeToAll(b.Context(), esdb.SubscribeToAllOptions{
					From:            esdb.End{},
					Filter:          &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{"quiet-"}},
					MaxSearchWindow: 4096,
				})
				if err != nil {
					b.Fatal(err)
				}
				go func() { // receive the checkpoints
					for sub.Recv().SubscriptionDropped == nil {
					}
				}()
				defer sub.Close()
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			call, err := dialStreams(b, n).BatchAppend(ctx)
			if err != nil {
				b.Fatal(err)
			}
			tokens := make(chan struct{}, 64)
			b.ResetTimer()
			done := make(chan error, 1)
			go func() {
				for range b.N {
					r, err := call.Recv()
					if err != nil || r.GetSuccess() == nil {
						done <- fmt.Errorf("append failed: %v, %w", r.GetError(), err)
						return
					}
					<-tokens
				}
				done <- nil
			}()
			for i := range b.N {
				tokens <- struct{}{}
				id := uuid.New()
				if err := call.Send(batchPart("x", fmt.Sprint("busy-", i%1000), store.Any, true, id)); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(m.HeapAlloc+m.StackInuse)/(1<<20), "heap+stacks-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}
