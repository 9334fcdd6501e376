package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// Decider is the decider of patients' diaries.
var Decider = domain.Decider[Diary, Event]{Category: "diary", Key: domain.ByPatient, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

// StreamOf returns the name of the stream of a patient's diary.
func StreamOf(patient domain.PatientID) string { return Decider.Stream(string(patient)) }

// Diary is the state of one patient's diary: the assignments, and which windows are answered or missed. It never
// changes; Evolve returns a new state that shares the unchanged parts with the old one.
type Diary struct {
	assignments []Assignment
}

// Assignment is a range of days on which a patient has to answer an instrument. A newer version of the instrument, or a
// second course of it, is another assignment.
type Assignment struct {
	// ID is the instrument's id.
	ID instrument.ID
	// Instrument is the definition at the time of the assignment. It is nil if this program cannot use the definition.
	Instrument *instrument.Instrument
	// Zone is the IANA zone that the windows follow.
	Zone string
	// From and Until are the first and the last day on which a window opens.
	From, Until domain.Date

	zone     *localtime.Zone
	calendar instrument.Calendar
	// statuses are the statuses of the windows, by their number in the calendar, up to the last one that is not 0.
	statuses []Status
	// undecided is the number of the first window that is neither answered nor missed.
	undecided int
	// reminded is the number of the first window that may still need a reminder.
	reminded int
	// fault is why this program cannot use the recorded definition or zone; usually nil.
	fault error
}

// Calendar returns the windows of the assignment. It has no windows if this program cannot use the assignment.
func (a Assignment) Calendar() instrument.Calendar { return a.calendar }

// Status says whether a window is answered or missed: 0 for neither, Answered, Missed, or both if the entry arrived
// after the window had been recorded as missed.
type Status byte

// The flags of a Status.
const (
	Answered Status = 1 << iota
	Missed
)

// Assignments returns the patient's assignments, in the order of the events.
func (d Diary) Assignments() []Assignment { return slices.Clone(d.assignments) }

// Status returns the status of the window with this id; 0 for an unknown window.
func (d Diary) Status(id instrument.ID, window string) Status {
	if a, number, ok := d.find(id, window); ok {
		return a.status(number)
	}
	return 0
}

// NextDue returns when the next window without an entry should be recorded as missed: the end of the window, plus the
// time in which late entries are accepted, plus SyncWait. ok is false if every window that the patient is expected to
// answer is answered or missed.
func (d Diary) NextDue(who patient.Patient) (due time.Time, ok bool) {
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil {
			continue
		}
		number, open := a.nextUndecided(a.undecided)
		if !open || number >= a.expected(who) {
			continue
		}
		if at := a.acceptsUntil(number); !ok || at.Before(due) {
			due, ok = at, true
		}
	}
	return due.Add(d.SyncWait()), ok
}

// SyncWait is how long the patient's device has to send entries that it captured offline: the longest such time of all
// assignments, because one device holds all diaries and is offline for all of them.
func (d Diary) SyncWait() time.Duration {
	longest := time.Duration(0)
	for i := range d.assignments {
		if d.assignments[i].fault == nil {
			longest = max(longest, d.assignments[i].syncWait())
		}
	}
	return longest
}

func evolve(d Diary, e Event) Diary {
	switch e := e.(type) {
	case InstrumentAssigned:
		return d.withAssignment(e)
	case Submitted:
		return d.withStatus(e.Instrument, e.Window.ID, Answered)
	case WindowMissed:
		return d.withStatus(e.Instrument, e.Window.ID, Missed)
	case ReminderDue:
		return d.withReminder(e)
	case RiskFlagged, Corrected:
		// The state does not hold answers, which these events are about.
		return d
	}
	return d
}

// withAssignment adds an assignment. An assignment of the same instrument that has not ended by the first day of the
// new one ends on the day before.
func (d Diary) withAssignment(e InstrumentAssigned) Diary {
	next := make([]Assignment, 0, len(d.assignments)+1)
	for _, a := range d.assignments {
		if a.ID == e.Instrument.ID && a.Until >= e.From {
			a = a.endingOn(e.From.AddDays(-1))
		}
		next = append(next, a)
	}
	return Diary{assignments: append(next, newAssignment(e))}
}

func newAssignment(e InstrumentAssigned) Assignment {
	a := Assignment{ID: e.Instrument.ID, Zone: e.Zone, From: e.From, Until: e.Until}
	if a.Instrument, a.fault = instrument.Compile(&e.Instrument); a.fault != nil {
		return a
	}
	if a.zone, a.fault = localtime.Load(e.Zone); a.fault != nil {
		return a
	}
	a.calendar, a.fault = a.Instrument.Calendar(a.zone, a.From, a.Until)
	return a
}

// endingOn returns the assignment with another last day.
func (a Assignment) endingOn(day domain.Date) Assignment {
	a.Until = day
	if a.fault == nil {
		a.calendar, a.fault = a.Instrument.Calendar(a.zone, a.From, a.Until)
	}
	return a
}

// withStatus adds a flag to the status of a window.
func (d Diary) withStatus(id instrument.ID, window string, status Status) Diary {
	for i := range d.assignments {
		a := d.assignments[i]
		number, ok := a.number(id, window)
		if !ok {
			continue
		}
		statuses := make([]Status, max(len(a.statuses), number+1))
		copy(statuses, a.statuses)
		statuses[number] |= status
		a.statuses = statuses
		for a.undecided < len(statuses) && statuses[a.undecided] != 0 {
			a.undecided++
		}
		assignments := slices.Clone(d.assignments)
		assignments[i] = a
		return Diary{assignments: assignments}
	}
	return d
}

// checkUsable refuses instrument_unusable if this program cannot use an assignment of the instrument.
func (d Diary) checkUsable(id instrument.ID) error {
	for i := range d.assignments {
		if d.assignments[i].ID == id && d.assignments[i].fault != nil {
			return d.assignments[i].checkUsable()
		}
	}
	return nil
}

// find returns the assignment that a window belongs to, and the window's number in it.
func (d Diary) find(id instrument.ID, window string) (*Assignment, int, bool) {
	for i := range d.assignments {
		if number, ok := d.assignments[i].number(id, window); ok {
			return &d.assignments[i], number, true
		}
	}
	return nil, 0, false
}

func (a *Assignment) number(id instrument.ID, window string) (int, bool) {
	if a.ID != id || a.fault != nil {
		return 0, false
	}
	return a.calendar.Number(window)
}

// checkUsable refuses instrument_unusable if this program cannot use the definition or the zone, which a newer program
// has recorded.
func (a *Assignment) checkUsable() error {
	if a.fault == nil {
		return nil
	}
	return refuse.WrongState("instrument_unusable", "instrument %s as it was assigned from %s cannot be used here: %v", a.ID, a.From, a.fault).
		Do("update this server")
}

func (a *Assignment) status(number int) Status {
	if number < len(a.statuses) {
		return a.statuses[number]
	}
	return 0
}

// nextUndecided returns the first window from number on that is neither answered nor missed. It leaves out windows that
// the clocks skip, which cannot be answered.
func (a *Assignment) nextUndecided(number int) (int, bool) {
	for ; a.fault == nil && number < a.calendar.Len(); number++ {
		if a.status(number) == 0 && !a.calendar.Empty(number) {
			return number, true
		}
	}
	return 0, false
}

// acceptsUntil is the moment until which a window accepts entries, including late ones.
func (a *Assignment) acceptsUntil(number int) time.Time {
	return a.calendar.Closes(number).Add(a.acceptLate())
}

// acceptLate is how long a window accepts late entries after its end.
func (a *Assignment) acceptLate() time.Duration {
	return time.Duration(a.Instrument.Definition().Schedule.Late.AcceptHours) * time.Hour
}

// syncWait is how long a device has to send entries that it captured offline.
func (a *Assignment) syncWait() time.Duration {
	return time.Duration(a.Instrument.Definition().Schedule.Late.SyncHours) * time.Hour
}
