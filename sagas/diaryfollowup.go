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
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/eventlog"
)

// DiaryFollowUp has patients reminded of windows that open, where the instrument's schedule asks for it, and records
// windows that ran out unanswered: it knows for every patient with an instrument when the next window does, and asks the
// diary then. A patient whose participation has ended is followed until the last window that
// opened before the end is recorded. What it knows it reads from the log at every start.
type DiaryFollowUp struct {
	Log     *eventlog.Log
	Handler *commands.Handler
	Logger  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

const (
	// followUpTick is how often it looks at the clock. It does not wait for the next moment that is due, because a
	// waiting timer does not notice when the clock is set, or the machine was suspended.
	followUpTick = time.Second
	// followUpRest is how long it leaves a patient alone about whom nothing could be recorded.
	followUpRest = time.Minute
)

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
		followed <- f.Log.Follow(followCtx, eventlog.Subscription{Types: []string{"InstrumentAssigned"},
			OnError: func(err error) { f.Logger.Warn("diary follow-up waits for the log", "error", err) }},
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
	ticker := time.NewTicker(followUpTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-assigned:
			if !open {
				return
			}
			if a, ok := e.Event.(diary.InstrumentAssigned); ok {
				due.assigned(a, e.Metadata.RecordedAt)
			}
		case <-ticker.C:
			for {
				next, ok := due.first()
				if !ok || next.at.After(f.Now()) || ctx.Err() != nil {
					break
				}
				f.look(ctx, due, next.patient)
			}
		}
	}
}

// look closes the windows of a patient that have run out, and notes when to look again.
func (f *DiaryFollowUp) look(ctx context.Context, due *dueList, id domain.PatientID) {
	recorded, next, err := 0, due.at[id].closeFrom, error(nil)
	if !f.Now().Before(next) {
		recorded, next, err = f.closeRunOut(ctx, id)
	}
	if err == nil {
		next, err = f.remind(ctx, id, next)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		f.Logger.Error("diary follow-up could not close windows; it looks again", "patient", id, "error", err)
		due.set(id, f.Now().Add(followUpRest))
	case err != nil:
	case next.IsZero():
		due.remove(id)
	case recorded == 0 && !next.After(f.Now()):
		due.set(id, f.Now().Add(followUpRest))
	default:
		due.set(id, next)
	}
}

// closeRunOut has the patient's windows recorded that have run out. It returns how many events that made, and when the
// next look is due: at once after something was recorded, never (the zero time) where no window is left.
func (f *DiaryFollowUp) closeRunOut(ctx context.Context, id domain.PatientID) (recorded int, next time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	state, err := commands.At(ctx, f.Handler.Look(), diary.Decider, string(id))
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read the diary: %w", err)
	}
	who, err := commands.At(ctx, f.Handler.Look(), patient.Decider, string(id))
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read the patient: %w", err)
	}
	due, ok := state.NextDue(who)
	if !ok {
		return 0, time.Time{}, nil
	}
	now := f.Now()
	if due.After(now) {
		return 0, due, nil
	}
	// Sub-seconds are kept: rounded down, a window would not be closed at the moment that it is due.
	through := now.Add(-state.SyncWait()).UTC()
	body, err := json.Marshal(diary.CloseDiaryWindows{OfPatient: domain.ForPatient(id), Through: through})
	if err != nil {
		return 0, time.Time{}, err
	}
	answer, err := f.Handler.Do(ctx, commands.Request{Name: "CloseDiaryWindows", Body: body, Principal: access.Process("diary-follow-up"),
		Key: fmt.Sprintf("%s/%d/%d", id, due.Unix(), through.UnixNano())})
	if refusal, ok := refuse.As(err); ok {
		f.Logger.Warn("diary follow-up was refused", "patient", id, "code", refusal.Code, "reason", refusal.Sentence)
		return 0, due, nil
	}
	return len(answer.Events), due, err
}

// remind has the patient reminded of what is open, and returns the earlier of the next moments for that and for closing.
func (f *DiaryFollowUp) remind(ctx context.Context, id domain.PatientID, next time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	for range 2 { // what has just been reminded of is not due again
		state, err := commands.Newest(ctx, f.Handler.Look(), diary.Decider, string(id))
		if err != nil {
			return next, fmt.Errorf("read the diary: %w", err)
		}
		who, err := commands.At(ctx, f.Handler.Look(), patient.Decider, string(id))
		if err != nil {
			return next, fmt.Errorf("read the patient: %w", err)
		}
		at, ok := state.NextReminder(who, f.Now())
		if !ok {
			return next, nil
		}
		if at.After(f.Now()) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			return next, nil
		}
		body, err := json.Marshal(diary.RemindOfDiaries{OfPatient: domain.ForPatient(id)})
		if err != nil {
			return next, err
		}
		_, err = f.Handler.Do(ctx, commands.Request{Name: "RemindOfDiaries", Body: body, Principal: access.Process("diary-follow-up"),
			Key: fmt.Sprintf("%s/remind/%d", id, at.Unix())})
		if _, refused := refuse.As(err); err != nil && !refused {
			return next, err
		}
	}
	return next, nil
}

// dueEntry is when to look at a patient's diary next.
type dueEntry struct {
	patient domain.PatientID
	at      time.Time
	// closeFrom is before when no window is closed; the zero time where that was long ago.
	closeFrom time.Time
	index     int
}

// dueList orders patients by when they are due.
type dueList struct {
	order dueHeap
	at    map[domain.PatientID]*dueEntry
}

// assigned has a patient looked at who was assigned an instrument: at once for reminders, and for closing when devices
// have had their time to send in what they hold, counted from when the assignment was known.
func (l *dueList) assigned(a diary.InstrumentAssigned, recordedAt time.Time) {
	closeFrom := recordedAt.Add(time.Duration(a.Instrument.Schedule.Late.SyncHours) * time.Hour)
	l.set(a.Patient, closeFrom)
	if a.Instrument.Schedule.Remind {
		l.set(a.Patient, recordedAt)
	}
	l.at[a.Patient].closeFrom = closeFrom
}

func (l *dueList) set(p domain.PatientID, at time.Time) {
	if e, ok := l.at[p]; ok {
		e.at = at
		heap.Fix(&l.order, e.index)
		return
	}
	e := &dueEntry{patient: p, at: at}
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

// dueHeap is a heap.Interface over entries, the earliest first.
type dueHeap []*dueEntry

// Len implements heap.Interface.
func (h dueHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

// Swap implements heap.Interface; every entry knows its place.
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) { e := x.(*dueEntry); e.index = len(*h); *h = append(*h, e) }

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
