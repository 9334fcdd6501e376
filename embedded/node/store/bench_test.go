package store

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// diary returns an event of about the size of a submitted diary: 409 bytes of data, 74 of metadata.
func diary(stream string, n int) []Proposed {
	return []Proposed{Propose(stream, number(n), "DiarySubmitted", true, make([]byte, 74), make([]byte, 409))}
}

// appendDiaries appends to the streams in turn, with inFlight appends at a time, and records the latency of each.
func appendDiaries(tb testing.TB, s *Store, from, count, inFlight, streams int) *hdrhistogram.Histogram {
	tb.Helper()
	var mu sync.Mutex
	h := hdrhistogram.New(1000, int64(time.Minute), 3)
	tokens := make(chan struct{}, inFlight)
	for i := from; i < from+count; i++ {
		stream := fmt.Sprint("patient-", i%streams)
		tokens <- struct{}{}
		began := time.Now()
		err := s.Submit(&Append{Stream: stream, Expected: Any, Events: diary(stream, i), Size: 500, Done: func(r Result) {
			if r.Err != nil {
				tb.Error(r.Err)
			}
			took := int64(time.Since(began))
			mu.Lock()
			_ = h.RecordValue(took)
			mu.Unlock()
			<-tokens
		}})
		if err != nil {
			tb.Fatal(err)
		}
	}
	for range inFlight {
		tokens <- struct{}{}
	}
	return h
}

func BenchmarkAppend(b *testing.B) {
	for _, inFlight := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			s := openStore(b, Options{Dir: b.TempDir(), FS: vfs.Default})
			b.ReportAllocs()
			b.ResetTimer()
			h := appendDiaries(b, s, 0, b.N, inFlight, 1000)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(h.ValueAtQuantile(50))/1e3, "p50-us")
			b.ReportMetric(float64(h.ValueAtQuantile(99))/1e3, "p99-us")
		})
	}
}

// BenchmarkCurve shows how costs depend on the size of the log: the rate of the last 10,000 appends, the time to read a
// part of a stream and to open the log, and the memory of the process. Run it with -benchtime 1x. Ten million events
// need some GB of disk; CASEBOOK_BENCH_LARGE=1 includes them.
func BenchmarkCurve(b *testing.B) {
	sizes := []int{10_000, 100_000, 1_000_000}
	if os.Getenv("CASEBOOK_BENCH_LARGE") != "" {
		sizes = append(sizes, 10_000_000)
	}
	for _, size := range sizes {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			for range b.N {
				o := Options{Dir: b.TempDir(), FS: vfs.Default}
				s, err := Open(o)
				if err != nil {
					b.Fatal(err)
				}
				streams := size / 100
				const last = 10_000
				if size > last {
					appendDiaries(b, s, 0, size-last, 256, streams)
				}
				began := time.Now()
				h := appendDiaries(b, s, size-last, last, 64, streams)
				b.ReportMetric(float64(last)/time.Since(began).Seconds(), "appends/s")
				b.ReportMetric(float64(h.ValueAtQuantile(99))/1e3, "p99-us")
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MB")
				b.ReportMetric(float64(s.Stats().DiskBytes)/float64(size), "disk-B/event")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				began = time.Now()
				if s, err = Open(o); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(time.Since(began).Microseconds())/1e3, "open-ms")
				const reads = 2000
				began = time.Now()
				for i := range reads {
					st, err := s.Stream(fmt.Sprint("patient-", i*7919%streams))
					if err != nil {
						b.Fatal(err)
					}
					got, err := s.ReadStreamForward(st.ID, uint64(st.Last)/2, nil, Page{Events: 10, Bytes: 1 << 20})
					if err != nil || len(got) == 0 {
						b.Fatal(len(got), err)
					}
				}
				b.ReportMetric(float64(time.Since(began).Microseconds())/reads, "read10-us")
				b.ReportMetric(0, "ns/op")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
