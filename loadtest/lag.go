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

// lookEvery is of how many diaries one is looked for in the view, lookers how many are looked for at a time.
const (
	lookEvery = 40
	lookers   = 8
)

// lag measures how long after its answer a diary is shown to somebody who asks for its position at once: the time of the
// query is in it.
type lag struct {
	places  chan struct{}
	looking sync.WaitGroup
	mu      sync.Mutex
	seen    *hdrhistogram.Histogram
	err     error
}

func newLag() *lag {
	return &lag{places: make(chan struct{}, lookers), seen: hdrhistogram.New(1, int64(requestTimeout/time.Microsecond), 3)}
}

// look begins to look for a diary in its patient's view, if there is a place.
func (l *lag) look(ctx context.Context, c *crowd, id domain.PatientID, position uint64) {
	select {
	case l.places <- struct{}{}:
	default:
		return
	}
	l.looking.Go(func() {
		defer func() { <-l.places }()
		began := time.Now()
		err := c.shows(ctx, "/api/v1/patients/"+string(id), position)
		took := time.Since(began)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			err = l.seen.RecordValue(took.Microseconds())
		}
		if err != nil && l.err == nil && ctx.Err() == nil {
			l.err = fmt.Errorf("look for %d of %s: %w", position, id, err)
		}
	})
}

// result waits for those who look, and begins anew.
func (l *lag) result() (p50, p99 time.Duration, err error) {
	l.looking.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	p50, p99, err = micros(l.seen.ValueAtQuantile(50)), micros(l.seen.ValueAtQuantile(99)), l.err
	l.seen.Reset()
	l.err = nil
	return p50, p99, err
}

// shows asks a query until its view has seen the position.
func (c *crowd) shows(ctx context.Context, path string, position uint64) error {
	for {
		err := c.api.get(ctx, path, c.watcher, position)
		var p *problem
		if !errors.As(err, &p) || p.Code != "view_behind" {
			return err
		}
	}
}
