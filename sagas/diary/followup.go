// Package diary holds the processes of diaries: the follow-up of windows by the clock, and the alerts about patients who
// miss one after another.
package diary

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/eventlog"
	"casebook/sagas"
)

// Processes are the processes of this context.
var Processes = []sagas.Process{FollowUp, Missed, Phases}

// followed is what the follow-up knows of a patient.
type followed struct {
	// closeFrom is the time before which no window is closed, because devices may still send in what they hold.
	closeFrom time.Time
}

// FollowUp is the process that reminds patients of open windows, if the instrument's schedule asks for reminders, and
// records windows that ran out unanswered. It works by the clock: for every patient with an instrument it knows when the
// next window opens or runs out, and reads the diary then. After the end of a participation it follows the patient until
// the last window that opened before the end is recorded, and it begins again if the end is undone.
var FollowUp = sagas.DefineByClock("diary-follow-up",
	sagas.Sends(diary.CloseDiaryWindows{}, diary.RemindOfDiaries{}, diary.OpenVisitWindows{}),
	takeTurn,
	sagas.Begin[diary.InstrumentAssigned](sagas.ByPatient, followed.assigned),
	// A patient is followed again whose participation, or treatment, has not ended after all.
	sagas.Begin[patient.StepUndone](sagas.ByPatient, again[followed, patient.StepUndone]),
	// What is missed may change with these.
	sagas.Begin[diary.Voided](sagas.ByPatient, again[followed, diary.Voided]),
	sagas.Begin[patient.VisitRecorded](sagas.ByPatient, again[followed, patient.VisitRecorded]),
	// Quiet hours change when the patient is reminded.
	sagas.Begin[diary.RemindersChosen](sagas.ByPatient, again[followed, diary.RemindersChosen]),
	sagas.Begin[patient.VisitDateCorrected](sagas.ByPatient, again[followed, patient.VisitDateCorrected]),
)

// assigned begins to follow a patient who was assigned an instrument. Reminders begin at once. Windows are closed only
// after the devices' time to send in their diaries, counted from when the assignment was recorded.
func (f followed) assigned(a diary.InstrumentAssigned, at eventlog.Recorded) (followed, time.Time) {
	if from := at.Metadata.RecordedAt.Add(time.Duration(a.Instrument.Schedule.Late.SyncHours) * time.Hour); from.After(f.closeFrom) {
		f.closeFrom = from
	}
	return f, at.Metadata.RecordedAt
}

// again takes a turn because of an event.
func again[Known, E any](known Known, _ E, at eventlog.Recorded) (Known, time.Time) {
	return known, at.Metadata.RecordedAt
}

// takeTurn closes the windows of a patient that have run out, reminds of those that are open, and returns when the next
// turn is due: never (the zero time) where no window is left.
func takeTurn(ctx context.Context, d *sagas.Desk, of string, f followed) (next time.Time, err error) {
	id := domain.PatientID(of)
	state, who, err := read(ctx, d, id)
	if err != nil {
		return time.Time{}, err
	}
	if state, who, err = open(ctx, d, id, state, who); err != nil {
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
		if err := remind(ctx, d, id, at, state.Changes()); err != nil {
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

// read returns a diary and its patient as the log has them now. With an older state, a turn could overlook a window and
// stop following the patient, and the window would never be recorded.
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

// open records the windows around visits that the patient can answer from now on, and returns the diary after it.
func open(ctx context.Context, d *sagas.Desk, id domain.PatientID, state diary.Diary, who patient.Patient) (diary.Diary, patient.Patient,
	error) {
	cmd := diary.OpenVisitWindows{OfPatient: domain.ForPatient(id)}
	opened, err := diary.OpenWindows(state, who, cmd, domain.Call{At: d.Now()})
	if err != nil || len(opened) == 0 {
		return state, who, err
	}
	keys := make([]string, len(opened))
	for i, e := range opened {
		if w, ok := e.(diary.VisitWindowOpened); ok {
			keys[i] = string(w.Instrument) + "/" + w.Window.ID
		}
	}
	// A repeat under the same key records nothing; which windows they are fits into no key.
	key := fmt.Sprintf("%s/open/%x", id, sha256.Sum256([]byte(strings.Join(keys, "\n"))))
	if _, err := d.Send(ctx, cmd, key, nil); err != nil {
		return state, who, err
	}
	return read(ctx, d, id)
}

// closeRunOut records the patient's windows that have run out, and returns when the next turn is due: at once if a window
// was due now, never (the zero time) if no window is left.
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
	// Fractions of a second are kept: if they were cut off, a window would not be closed at the moment when it is due.
	through := now.Add(-state.SyncWait()).UTC()
	_, err = d.Send(ctx, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(id), Through: through},
		fmt.Sprintf("%s/%d/%d", id, due.Unix(), through.UnixNano()), nil)
	return due, err
}

// remind reminds the patient of the windows that are open since a moment. What was assigned after that moment is another reminder.
func remind(ctx context.Context, d *sagas.Desk, id domain.PatientID, since time.Time, changes int) error {
	key := fmt.Sprintf("%s/remind/%d/%d", id, since.Unix(), changes)
	_, err := d.Send(ctx, diary.RemindOfDiaries{OfPatient: domain.ForPatient(id)}, key, nil)
	return err
}
