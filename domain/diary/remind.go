package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
)

// Remind records that the patient is to be reminded of every window that is open, has no entry, and was not reminded of.
// Only instruments whose schedule asks for it are reminded of. It may be sent at any time.
func Remind(d Diary, who patient.Patient, cmd RemindOfDiaries, call domain.Call) ([]Event, error) {
	var events []Event
	for i := range d.assignments {
		a := &d.assignments[i]
		for number, ok := a.nextToRemind(call.At, who); ok && !a.calendar.Window(number).Opens.After(call.At); number, ok = a.undecidedBefore(number+1, a.asked(who)) {
			events = append(events, ReminderDue{Patient: cmd.Patient, Instrument: a.ID, Window: a.calendar.Window(number)})
		}
	}
	return events, nil
}

// NextReminder returns the moment at which the patient has to be reminded next: when a window opens that has no entry yet,
// or opened already. ok is false where there is none.
func (d Diary) NextReminder(who patient.Patient, now time.Time) (at time.Time, ok bool) {
	for i := range d.assignments {
		a := &d.assignments[i]
		number, some := a.nextToRemind(now, who)
		if !some {
			continue
		}
		if opens := a.calendar.Window(number).Opens; !ok || opens.Before(at) {
			at, ok = opens, true
		}
	}
	return at, ok
}

// nextToRemind returns the first window that has not closed, has no entry, and was not reminded of.
func (a *Assignment) nextToRemind(now time.Time, who patient.Patient) (int, bool) {
	if a.fault != nil || !a.Instrument.Definition().Schedule.Remind {
		return 0, false
	}
	return a.undecidedBefore(max(a.reminded, a.calendar.Closed(now)), a.asked(who))
}

func (a *Assignment) undecidedBefore(number, end int) (int, bool) {
	number, ok := a.nextUndecided(number)
	return number, ok && number < end
}

func (d Diary) hasReminded(e ReminderDue) Diary {
	for i := range d.assignments {
		a := d.assignments[i]
		number, ok := a.number(e.Instrument, e.Window.ID)
		if !ok {
			continue
		}
		a.reminded = max(a.reminded, number+1)
		assignments := slices.Clone(d.assignments)
		assignments[i] = a
		return Diary{assignments: assignments}
	}
	return d
}
