package diary

import (
	"sort"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// MaxMissedPerCall bounds how many windows one CloseWindows records, so that an append stays small after a long pause.
const MaxMissedPerCall = 400

// CloseWindows records as missed every window without an entry that took entries, late ones included, only until
// Through. It records at most MaxMissedPerCall windows, the earliest ones of each assignment first. If NextDue minus
// SyncWait is still not after Through, the same command with a new id records more.
//
// A window that opens after the day on which the patient's participation ended is not recorded, because the patient was
// not expected to answer it. An instrument about doses ends with the treatment.
//
// CloseWindows does not wait for devices that are offline: its sender has to choose the time (see NextDue).
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
		due := min(a.calendar.Closed(cmd.Through.Add(-a.acceptLate())), a.expected(who))
		for number, ok := a.nextUndecided(a.undecided); ok && number < due; number, ok = a.nextUndecided(number + 1) {
			if len(events) == MaxMissedPerCall {
				return events, nil
			}
			events = append(events, WindowMissed{Patient: cmd.Patient, Instrument: a.ID, Window: a.calendar.Window(number)})
		}
	}
	return events, nil
}

// MissedInARow counts the windows of an instrument that were missed in a row up to this window. It is 0 if this window
// was not missed or is unknown.
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

// expected returns how many windows the patient is expected to answer: the windows with the numbers below it. These are
// all windows, or those that open until the last day on which the patient is asked, in the assignment's time zone.
func (a *Assignment) expected(who patient.Patient) int {
	last := a.lastDay(who)
	if last == "" {
		return a.calendar.Len()
	}
	return sort.Search(a.calendar.Len(), func(number int) bool {
		return domain.DateOf(a.zone.In(a.calendar.Window(number).Opens)) > last
	})
}

// lastDay returns the last day on which the patient is asked: that of the participation or, for an instrument about doses,
// of the treatment; "" while it goes on.
func (a *Assignment) lastDay(who patient.Patient) domain.Date {
	if a.Instrument.Definition().Dosing {
		return who.LastDoseOn()
	}
	return who.EndedOn
}
