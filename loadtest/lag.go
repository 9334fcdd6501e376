package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"casebook/domain"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// One of sampleEvery diaries is sampled, and at most concurrentSamples at a time.
const (
	sampleEvery       = 40
	concurrentSamples = 8
)

// lagSampler measures the time from the answer to a diary until a query shows it. The query is sent right after the
// answer, and its own duration is part of the time.
type lagSampler struct {
	slots   chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	delays  *hdrhistogram.Histogram // microseconds
	err     error
}

func newLagSampler() *lagSampler {
	delays := hdrhistogram.New(1, int64(requestTimeout/time.Microsecond), 3)
	return &lagSampler{slots: make(chan struct{}, concurrentSamples), delays: delays}
}

// sample starts to measure when a patient's view shows a diary, unless too many samples are running.
func (l *lagSampler) sample(ctx context.Context, c *cohort, id domain.PatientID, position uint64) {
	select {
	case l.slots <- struct{}{}:
	default:
		return
	}
	l.running.Go(func() {
		defer func() { <-l.slots }()
		began := time.Now()
		err := c.waitShown(ctx, "/api/v1/patients/"+string(id), position)
		took := time.Since(began)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			err = l.delays.RecordValue(took.Microseconds())
		}
		if err != nil && l.err == nil && ctx.Err() == nil {
			l.err = fmt.Errorf("wait until the view of %s shows %d: %w", id, position, err)
		}
	})
}

// result waits for the running samples, returns the quantiles, and resets them.
func (l *lagSampler) result() (p50, p99 time.Duration, err error) {
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	p50, p99, err = micros(l.delays.ValueAtQuantile(50)), micros(l.delays.ValueAtQuantile(99)), l.err
	l.delays.Reset()
	l.err = nil
	return p50, p99, err
}

// waitShown sends a query until its view has reached the position.
func (c *cohort) waitShown(ctx context.Context, path string, position uint64) error {
	for {
		err := c.api.get(ctx, path, c.manager, position)
		var p *problem
		if !errors.As(err, &p) || p.Code != "view_behind" {
			return err
		}
	}
}
