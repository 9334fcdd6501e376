package diary

import (
	"sort"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// MaxMissedPerCall is how many windows CloseWindows records at once, so that an append stays small after a long pause.
const MaxMissedPerCall = 400

// CloseWindows records as missed every window without an entry whose last moment for one, late entries included, lies
// at or before Through. Where none does, nothing happens. It records MaxMissedPerCall windows at most, the earliest of
// each assignment first; as long as NextDue less SyncWait does not lie after Through, the same command under a new id
// records more.
//
// Nobody misses what nobody is asked: windows that open after the day on which the patient's participation ended are
// left alone.
//
// It does not wait for devices that are offline: when to send it is the scheduler's business (see NextDue).
//
// Refusals: captured_in_future.
func CloseWindows(d Diary, who patient.Patient, cmd CloseDiaryWindows, call domain.Call) ([]Event, error) {
	if cmd.Through.After(call.At) {
		return nil, refuse.Because("captured_in_future", "windows can be closed until now, not until %s", moment(cmd.Through)).
			At("through").Do("send the command when that time has come")
	}
	var events []Event
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil {
			continue
		}
		due := min(a.calendar.Closed(cmd.Through.Add(-a.acceptLate())), a.asked(who))
		for number, ok := a.nextUndecided(a.undecided); ok && number < due; number, ok = a.nextUndecided(number + 1) {
			if len(events) == MaxMissedPerCall {
				return events, nil
			}
			events = append(events, WindowMissed{Patient: cmd.Patient, Instrument: a.ID, Window: a.calendar.Window(number)})
		}
	}
	return events, nil
}

// MissedInARow counts the windows of an instrument that were missed one after another, up to a window; 0 where that one was
// answered, or is not known.
func (d Diary) MissedInARow(id instrument.ID, window string) int {
	a, number, ok := d.find(id, window)
	run := 0
	for ; ok && number >= 0; number-- {
		if a.calendar.Empty(number) {
			continue
		}
		if a.status(number) != Missed {
			break
		}
		run++
	}
	return run
}

// asked returns how many windows the patient is asked to answer: those with the numbers below it. They are all, or those
// that open until the last day of the participation, by the calendar of the assignment's zone.
func (a *Assignment) asked(who patient.Patient) int {
	if who.EndedOn == "" {
		return a.calendar.Len()
	}
	return sort.Search(a.calendar.Len(), func(number int) bool {
		return domain.DateOf(a.zone.In(a.calendar.Window(number).Opens)) > who.EndedOn
	})
}
