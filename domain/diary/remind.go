package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
)

// Remind records a due reminder for every window that is open, has no entry, and has no reminder yet. It does so only for instruments with
// reminders in their schedule, and not in quiet hours. RemindOfDiaries may be sent at any time.
func Remind(d Diary, who patient.Patient, cmd RemindOfDiaries, call domain.Call) ([]Event, error) {
	var events []Event
	for i := range d.assignments {
		a := &d.assignments[i]
		for number, ok := a.nextToRemind(call.At, who); ok; number, ok = a.undecidedBefore(number+1, a.expected(who)) {
			window := a.calendar.Window(number)
			if d.remindAt(a, window, call.At).After(call.At) {
				break // a later one is not reminded of before: what was reminded of is known by its number
			}
			events = append(events, ReminderDue{Patient: cmd.Patient, Instrument: a.ID, Window: window})
		}
	}
	return events, nil
}

// NextReminder returns when the patient has to be reminded next: the moment at which a window without an entry opens or has opened, or at
// which quiet hours end. ok is false if no reminder is left.
func (d Diary) NextReminder(who patient.Patient, now time.Time) (at time.Time, ok bool) {
	for i := range d.assignments {
		a := &d.assignments[i]
		number, some := a.nextToRemind(now, who)
		if !some {
			continue
		}
		if due := d.remindAt(a, a.calendar.Window(number), now); !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

// nextToRemind returns the first window that has not closed, has no entry, and has no reminder yet.
func (a *Assignment) nextToRemind(now time.Time, who patient.Patient) (int, bool) {
	if a.fault != nil || !a.Instrument.Definition().Schedule.Remind {
		return 0, false
	}
	return a.undecidedBefore(max(a.reminded, a.calendar.Closed(now)), a.expected(who))
}

// undecidedBefore returns the first window from number on that is neither answered nor missed, if it is before end.
func (a *Assignment) undecidedBefore(number, end int) (int, bool) {
	number, ok := a.nextUndecided(number)
	return number, ok && number < end
}

func (d Diary) withReminder(e ReminderDue) Diary {
	for i := range d.assignments {
		a := d.assignments[i]
		number, ok := a.number(e.Instrument, e.Window.ID)
		if !ok {
			continue
		}
		a.reminded = max(a.reminded, number+1)
		assignments := slices.Clone(d.assignments)
		assignments[i] = a
		d.assignments = assignments
		return d
	}
	return d
}
