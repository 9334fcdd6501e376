package diary

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// MaxMissedPerCall is how many windows CloseWindows records at once, so that an append stays small after a long pause.
const MaxMissedPerCall = 400

// CloseWindows records as missed every window without an entry whose last moment for one, late entries included, lies
// at or before Through. Where none does, nothing happens. It records MaxMissedPerCall windows at most, the earliest of
// each assignment first; as long as NextDue does not lie after Through, the same command under a new id records more.
//
// It does not wait for devices that are offline: when to send it is the scheduler's business (see NextDue).
//
// Refusals: captured_in_future.
func CloseWindows(d Diary, cmd CloseDiaryWindows, call domain.Call) ([]Event, error) {
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
		due := a.calendar.Closed(cmd.Through.Add(-a.acceptLate()))
		for number, ok := a.nextUndecided(a.undecided); ok && number < due; number, ok = a.nextUndecided(number + 1) {
			if len(events) == MaxMissedPerCall {
				return events, nil
			}
			events = append(events, WindowMissed{Patient: cmd.Patient, Instrument: a.ID, Window: a.calendar.Window(number)})
		}
	}
	return events, nil
}
