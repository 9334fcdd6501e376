// Package diary holds the processes of diaries: the follow-up of windows by the clock, and the alerts about patients who
// miss one after another.
package diary

import (
	"context"
	"fmt"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/eventlog"
	"casebook/sagas"
)

// Processes are the processes of this context.
var Processes = []sagas.Process{FollowUp, Missed}

// followed is what the follow-up knows of a patient.
type followed struct {
	// closeFrom is before when no window is closed; the zero time where that was long ago.
	closeFrom time.Time
}

// FollowUp is the process that has patients reminded of windows that open, where the instrument's schedule asks for it,
// and records windows that ran out unanswered. It works by the clock: for every patient with an instrument it knows when
// the next window opens or runs out, and reads the diary then. A patient whose participation has ended is followed until
// the last window that opened before the end is recorded.
var FollowUp = sagas.DefineByClock("diary-follow-up",
	sagas.Sends(diary.CloseDiaryWindows{}, diary.RemindOfDiaries{}),
	takeTurn,
	sagas.Begin[diary.InstrumentAssigned](sagas.ByPatient, followed.assigned),
)

// assigned begins to follow a patient who was assigned an instrument: at once for reminders, and for closing when devices
// have had their time to send in what they hold, counted from when the assignment was known.
func (f followed) assigned(a diary.InstrumentAssigned, at eventlog.Recorded) (followed, time.Time) {
	if from := at.Metadata.RecordedAt.Add(time.Duration(a.Instrument.Schedule.Late.SyncHours) * time.Hour); from.After(f.closeFrom) {
		f.closeFrom = from
	}
	return f, at.Metadata.RecordedAt
}

// takeTurn closes the windows of a patient that have run out, reminds of those that are open, and returns when the next
// turn is due: never (the zero time) where no window is left.
func takeTurn(ctx context.Context, d *sagas.Desk, of string, f followed) (next time.Time, err error) {
	id := domain.PatientID(of)
	state, who, err := read(ctx, d, id)
	if err != nil {
		return time.Time{}, err
	}
	next = f.closeFrom
	if !d.Now().Before(next) {
		if next, err = closeRunOut(ctx, d, id, state, who); err != nil {
			return time.Time{}, err
		}
	}
	at, ok := state.NextReminder(who, d.Now())
	if ok && !at.After(d.Now()) {
		if err := remind(ctx, d, id, at); err != nil {
			return time.Time{}, err
		}
		if state, who, err = read(ctx, d, id); err != nil {
			return time.Time{}, err
		}
		at, ok = state.NextReminder(who, d.Now())
	}
	if ok && at.After(d.Now()) && (next.IsZero() || at.Before(next)) {
		next = at
	}
	return next, nil
}

// read returns a diary and its patient as the log has them now. A window that a turn misses might never be recorded: the
// patient may not be followed any more.
func read(ctx context.Context, d *sagas.Desk, id domain.PatientID) (diary.Diary, patient.Patient, error) {
	state, err := commands.ReadNewest(ctx, d.Reader(), diary.Decider, string(id))
	if err != nil {
		return state, patient.Patient{}, fmt.Errorf("read the diary: %w", err)
	}
	who, err := commands.ReadNewest(ctx, d.Reader(), patient.Decider, string(id))
	if err != nil {
		return state, who, fmt.Errorf("read the patient: %w", err)
	}
	return state, who, nil
}

// closeRunOut has the patient's windows recorded that have run out, and returns when the next turn is due for that: at
// once where something was due, never (the zero time) where no window is left.
func closeRunOut(ctx context.Context, d *sagas.Desk, id domain.PatientID,
	state diary.Diary, who patient.Patient) (next time.Time, err error) {
	due, ok := state.NextDue(who)
	if !ok {
		return time.Time{}, nil
	}
	now := d.Now()
	if due.After(now) {
		return due, nil
	}
	// Sub-seconds are kept: rounded down, a window would not be closed at the moment that it is due.
	through := now.Add(-state.SyncWait()).UTC()
	_, err = d.Send(ctx, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(id), Through: through},
		fmt.Sprintf("%s/%d/%d", id, due.Unix(), through.UnixNano()), nil)
	if refusal, ok := refuse.As(err); ok {
		d.Logger().Warn("a diary's windows could not be closed", "patient", id, "code", refusal.Code, "reason", refusal.Sentence)
		return due, nil
	}
	return due, err
}

// remind has the patient reminded of what is open since a moment. A refusal is left alone: the next turn comes anyway.
func remind(ctx context.Context, d *sagas.Desk, id domain.PatientID, since time.Time) error {
	_, err := d.Send(ctx, diary.RemindOfDiaries{OfPatient: domain.ForPatient(id)}, fmt.Sprintf("%s/remind/%d", id, since.Unix()), nil)
	if _, refused := refuse.As(err); refused {
		return nil
	}
	return err
}
