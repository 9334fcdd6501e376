package sagas

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/refuse"
	"casebook/eventlog"
)

// DiaryFollowUp records windows that ran out unanswered: it knows for every patient with an instrument when the next
// window does, and asks the diary then. What it knows it reads from the log at every start.
type DiaryFollowUp struct {
	Log     *eventlog.Log
	Handler *commands.Handler
	Logger  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// followUpRest is the least time between two looks at the same patient.
const followUpRest = time.Minute

// Run follows assignments and the clock until ctx ends.
func (f *DiaryFollowUp) Run(ctx context.Context) error {
	if f.Now == nil {
		f.Now = time.Now
	}
	assigned := make(chan eventlog.Recorded, 256)
	followed := make(chan error, 1)
	followCtx, stop := context.WithCancel(ctx)
	go func() {
		defer close(assigned)
		followed <- f.Log.Follow(followCtx, eventlog.Subscription{Types: []string{"InstrumentAssigned"}},
			func(ctx context.Context, b eventlog.Batch) error {
				for _, e := range b.Events {
					select {
					case assigned <- e:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return nil
			})
	}()
	f.watch(ctx, assigned)
	stop()
	for range assigned { // let the follower see that it is stopped
	}
	return <-followed
}

func (f *DiaryFollowUp) watch(ctx context.Context, assigned <-chan eventlog.Recorded) {
	due := &dueList{at: map[domain.PatientID]*dueEntry{}}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next, ok := due.first(); ok {
			timer.Reset(max(0, next.at.Sub(f.Now())))
		}
		select {
		case <-ctx.Done():
			return
		case e, open := <-assigned:
			if !open {
				return
			}
			if a, ok := e.Event.(diary.InstrumentAssigned); ok {
				// Devices get their time to send in what they hold, counted from when the assignment was known.
				grace := time.Duration(a.Instrument.Schedule.Late.SyncHours) * time.Hour
				due.set(a.Patient, e.Metadata.RecordedAt.Add(grace), grace)
			}
		case <-timer.C:
			for {
				next, ok := due.first()
				if !ok || next.at.After(f.Now()) || ctx.Err() != nil {
					break
				}
				f.look(ctx, due, next)
			}
		}
	}
}

// look closes the windows of a patient that have run out, and notes when to look again.
func (f *DiaryFollowUp) look(ctx context.Context, due *dueList, next *dueEntry) {
	state, err := commands.At(ctx, f.Handler.Look(), diary.Decider, string(next.patient))
	if err != nil {
		f.Logger.Error("diary follow-up cannot read a diary; it looks again", "patient", next.patient, "error", err)
		due.set(next.patient, f.Now().Add(followUpRest), next.grace)
		return
	}
	at, ok := diary.NextDue(state)
	switch {
	case !ok:
		due.remove(next.patient)
		return
	case at.After(f.Now()):
		due.set(next.patient, at, next.grace)
		return
	}
	if err := f.close(ctx, next, at); err != nil && ctx.Err() == nil {
		f.Logger.Error("diary follow-up could not close windows; it looks again", "patient", next.patient, "error", err)
	}
	due.set(next.patient, f.Now().Add(followUpRest), next.grace)
}

func (f *DiaryFollowUp) close(ctx context.Context, next *dueEntry, due time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	through := f.Now().Add(-next.grace).UTC().Truncate(time.Second)
	body, err := json.Marshal(diary.CloseDiaryWindows{Patient: next.patient, Through: through})
	if err != nil {
		return err
	}
	_, err = f.Handler.Do(ctx, commands.Request{Name: "CloseDiaryWindows", Body: body, Principal: access.Process("diary-follow-up"),
		Key: fmt.Sprintf("%s/%d/%d", next.patient, due.Unix(), through.Unix())})
	if refusal, ok := refuse.As(err); ok {
		f.Logger.Warn("diary follow-up was refused", "patient", next.patient, "code", refusal.Code, "reason", refusal.Sentence)
		return nil
	}
	return err
}

// dueEntry is when to look at a patient's diary next.
type dueEntry struct {
	patient domain.PatientID
	at      time.Time
	// grace is the longest time that any of the patient's instruments gives devices to send in what they hold.
	grace time.Duration
	index int
}

// dueList orders patients by when they are due.
type dueList struct {
	order dueHeap
	at    map[domain.PatientID]*dueEntry
}

func (l *dueList) set(p domain.PatientID, at time.Time, grace time.Duration) {
	if e, ok := l.at[p]; ok {
		e.at, e.grace = at, max(grace, e.grace)
		heap.Fix(&l.order, e.index)
		return
	}
	e := &dueEntry{patient: p, at: at, grace: grace}
	l.at[p] = e
	heap.Push(&l.order, e)
}

func (l *dueList) remove(p domain.PatientID) {
	if e, ok := l.at[p]; ok {
		heap.Remove(&l.order, e.index)
		delete(l.at, p)
	}
}

func (l *dueList) first() (*dueEntry, bool) {
	if len(l.order) == 0 {
		return nil, false
	}
	return l.order[0], true
}

type dueHeap []*dueEntry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *dueHeap) Push(x any)        { e := x.(*dueEntry); e.index = len(*h); *h = append(*h, e) }
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}
