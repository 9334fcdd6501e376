package admission

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"casebook/domain/refuse"
)

const (
	// defaultBehind is how far views may be behind before requests that record are held back.
	defaultBehind = 300 * time.Millisecond
	// standsStill is how far views have to be behind to be taken for standing still. Holding requests back does not help them then.
	standsStill = 3 * time.Second
	// markEvery is the least time between two positions that are remembered, and maxMarks how many are.
	markEvery = 5 * time.Millisecond
	maxMarks  = 1024
	// heldPoll is how often one of the requests that are held back looks whether the views have caught up.
	heldPoll = 5 * time.Millisecond
)

// lag knows how far the views of this process are behind what was recorded.
type lag struct {
	shown func() (commit uint64, kept bool)
	most  time.Duration

	mu    sync.Mutex
	marks []mark // of positions that the views have not shown, in their order

	watching chan struct{} // holds one token: the request that has it looks for all
	released chan struct{} // closed when those that wait may go on; guarded by mu
	held     [classes]atomic.Int64
}

// mark is a position of the log, and when it was recorded.
type mark struct {
	commit uint64
	at     time.Time
}

func newLag(shown func() (uint64, bool), most time.Duration) *lag {
	return &lag{shown: shown, most: most, watching: make(chan struct{}, 1), released: make(chan struct{})}
}

// recorded remembers a position that a request has recorded.
func (l *lag) recorded(commit uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.marks) > 0 && commit < l.marks[0].commit && now.Sub(l.marks[0].at) > standsStill {
		l.marks = l.marks[:0] // they are of another past of the log
	}
	if n := len(l.marks); n > 0 && (now.Sub(l.marks[n-1].at) < markEvery || commit <= l.marks[n-1].commit || n == maxMarks) {
		return // others stand for it
	}
	l.marks = append(l.marks, mark{commit, now})
}

// behind returns how long ago the oldest position was recorded that the views do not show; 0 where they show all, and where this process
// keeps no views that have caught up before.
func (l *lag) behind(now time.Time) time.Duration {
	commit, kept := l.shown()
	l.mu.Lock()
	defer l.mu.Unlock()
	first := 0
	for first < len(l.marks) && (!kept || l.marks[first].commit <= commit) {
		first++
	}
	l.marks = l.marks[:copy(l.marks, l.marks[first:])]
	if len(l.marks) == 0 {
		return 0
	}
	return now.Sub(l.marks[0].at)
}

// holds says whether requests that record are held back. Where views stand still, whatever the reason, they are not.
func (l *lag) holds() bool {
	behind := l.behind(time.Now())
	return behind > l.most && behind < standsStill
}

// release lets all go on that wait.
func (l *lag) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.released)
	l.released = make(chan struct{})
}

// next is closed with the next release.
func (l *lag) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released
}

// wait returns when requests are not held back any more; false if that takes too long, or ctx ends before.
func (l *lag) wait(ctx context.Context, most time.Duration) bool {
	late := time.NewTimer(most)
	defer late.Stop()
	for {
		released := l.next()
		if !l.holds() {
			l.release()
			return true
		}
		select {
		case <-released:
			return true
		case l.watching <- struct{}{}:
			select {
			case <-time.After(heldPoll):
			case <-late.C:
				late.Reset(0)
			case <-ctx.Done():
			}
			<-l.watching
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Recorded tells that a request has recorded something at a position of the log.
func (a *Control) Recorded(commit uint64) {
	if a.lag != nil {
		a.lag.recorded(commit, time.Now())
	}
}

// Behind returns how far the views of this process are behind what its requests have recorded.
func (a *Control) Behind() time.Duration {
	if a.lag == nil {
		return 0
	}
	return a.lag.behind(time.Now())
}

// recordsMuch says whether requests of a class are held back while the views are behind: those that record, except where the treatment of
// a patient depends on them.
func recordsMuch(c Class) bool { return c == Commands || c == Diaries }

// hold lets a request wait while the views are too far behind. It waits in the queue of its class, so that a long queue has less important
// requests refused, as any other load does.
func (a *Control) hold(ctx context.Context, p *pool) error {
	if a.lag == nil || !recordsMuch(p.class) || !a.lag.holds() {
		return nil
	}
	if p.waiting.Add(1) > int64(a.queueOf(p)) {
		p.waiting.Add(-1)
		return a.refuse(p)
	}
	defer p.waiting.Add(-1)
	a.lag.held[p.class].Add(1)
	switch {
	case a.lag.wait(ctx, p.Wait):
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	_ = a.refuse(p) // counts and logs it
	return refuse.Overload("views_behind", "more is recorded than the lists show in time, and the request has waited for them in vain").
		Do("send the same request again in a moment, with the same Idempotency-Key")
}
