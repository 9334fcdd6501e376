package loadtest

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// target is the system that is measured.
type target interface {
	// connect returns connection i of n.
	connect(i, n int) (connection, error)
}

// connection sends one request after the other.
type connection interface {
	send(ctx context.Context) error
	close()
}

// Measurement holds the results of one run.
type Measurement struct {
	// PerSecond is how many requests were answered per second; P50, P99 and Max are how long they took.
	PerSecond     float64       `json:"perSecond"`
	P50, P99, Max time.Duration `json:"-"`
	Requests      int64         `json:"requests"`
	// CatchUp is the time from the last answer until the views showed everything.
	CatchUp time.Duration `json:"-"`
	// Lag50 and Lag99 are quantiles of the time from the answer to a diary until its patient's view showed it.
	Lag50, Lag99 time.Duration `json:"-"`
	// Processor is the processor time of the server for a request, until the views showed it, in microseconds; 0 if unknown.
	Processor float64 `json:"processorMicroseconds,omitempty"`
	// MemoryBytes is the server's resident memory after the run, PeakBytes its maximum; 0 if unknown.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	PeakBytes   int64 `json:"peakBytes,omitempty"`
}

// String returns the measurement in one line.
func (m Measurement) String() string {
	s := fmt.Sprintf("%6.0f/s, p50 %s, p99 %s", m.PerSecond, short(m.P50), short(m.P99))
	if m.Lag99 > 0 {
		s += fmt.Sprintf(", shown after p50 %s, p99 %s", short(m.Lag50), short(m.Lag99))
	}
	if m.CatchUp > 0 {
		s += ", views caught up after " + short(m.CatchUp)
	}
	if m.Processor > 0 {
		s += fmt.Sprintf(", %.0f us of processor time each", m.Processor)
	}
	if m.MemoryBytes > 0 {
		s += fmt.Sprintf(", %d MB", m.MemoryBytes>>20)
	}
	return s
}

func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// measure lets n connections send requests for a time, at most rate requests per second in total if rate is not 0. The
// first failed request ends the run, because failures would distort the figures.
func measure(ctx context.Context, t target, n int, duration time.Duration, rate int) (Measurement, error) {
	ctx, stop := context.WithTimeout(ctx, duration)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	histograms := make([]*hdrhistogram.Histogram, n)
	began := time.Now()
	for i := range n {
		l, err := t.connect(i, n)
		if err != nil {
			return Measurement{}, err
		}
		h := hdrhistogram.New(1, int64(requestTimeout/time.Microsecond), 3)
		histograms[i] = h
		group.Go(func() error {
			defer l.close()
			for k := 0; ctx.Err() == nil; k++ {
				due := time.Now()
				if rate > 0 { // the connections take turns
					due = began.Add(time.Duration(k*n+i) * time.Second / time.Duration(rate))
					if !sleepUntil(ctx, due) {
						return nil
					}
				}
				// A request that was sent before the end of the run is still answered.
				if err := l.send(context.WithoutCancel(ctx)); err != nil {
					return err
				}
				if err := h.RecordValue(time.Since(due).Microseconds()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Measurement{}, err
	}
	took := time.Since(began)
	all := histograms[0]
	for _, h := range histograms[1:] {
		all.Merge(h)
	}
	return Measurement{
		PerSecond: float64(all.TotalCount()) / took.Seconds(), Requests: all.TotalCount(),
		P50: micros(all.ValueAtQuantile(50)), P99: micros(all.ValueAtQuantile(99)), Max: micros(all.Max()),
	}, nil
}

// sleepUntil returns false if the context ends before the due time.
func sleepUntil(ctx context.Context, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
