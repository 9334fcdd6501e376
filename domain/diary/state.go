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

// Decider folds the stream of one patient's diary.
var Decider = domain.Decider[Diary, Event]{Category: "diary", Key: domain.ByPatient, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// StreamOf names the stream of a patient's diary.
func StreamOf(patient domain.PatientID) string { return Decider.Stream(string(patient)) }

// Diary is the state of one patient's diary: what is assigned, and what became of each window. It never changes; Evolve
// returns a new one that shares what did not change.
type Diary struct {
	assignments []Assignment
}

// Assignment is one stretch of days on which a patient is asked an instrument. A newer version of the instrument, or a
// second course of it, is an assignment of its own.
type Assignment struct {
	// ID is the instrument's id.
	ID instrument.ID
	// Instrument is the definition as it was published when it was assigned; nil where this program cannot use it.
	Instrument *instrument.Instrument
	// Zone is the IANA zone that the windows follow.
	Zone string
	// From and Until are the first and the last day on which a window opens.
	From, Until domain.Date

	zone     *localtime.Zone
	calendar instrument.Calendar
	// statuses are the windows up to the last recorded one, by their number in the calendar.
	statuses []Status
	// undecided is the number of the first window of which nothing is recorded.
	undecided int
	// reminded is how many windows have been reminded of, or need it no more.
	reminded int
	// fault is why the recorded definition cannot be used, nil as a rule.
	fault error
}

// Calendar returns the windows of the assignment; it has none where Instrument is nil.
func (a Assignment) Calendar() instrument.Calendar { return a.calendar }

// Status is what is recorded of one window: nothing (0), Answered, Missed, or both when an entry came in after the
// window had been recorded as missed.
type Status byte

// What can be recorded of a window.
const (
	Answered Status = 1 << iota
	Missed
)

// Assignments returns what is assigned to the patient, in the order of the events.
func (d Diary) Assignments() []Assignment { return slices.Clone(d.assignments) }

// Status returns what is recorded of a window, by its id; 0 where nothing is, or where there is no such window.
func (d Diary) Status(id instrument.ID, window string) Status {
	if a, number, ok := d.find(id, window); ok {
		return a.status(number)
	}
	return 0
}

// NextDue returns the moment at which the next window without an entry should be recorded as missed: its close, plus
// the time in which late entries are accepted, plus SyncWait. ok is false when there is none left: every window that
// the patient is asked to answer is recorded.
func (d Diary) NextDue(who patient.Patient) (due time.Time, ok bool) {
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil {
			continue
		}
		number, open := a.nextUndecided(a.undecided)
		if !open || number >= a.asked(who) {
			continue
		}
		if at := a.lastMoment(number); !ok || at.Before(due) {
			due, ok = at, true
		}
	}
	return due.Add(d.SyncWait()), ok
}

// SyncWait is how long the patient's device is given to send in what it captured offline: the longest time that any of
// the assignments gives. One device holds all of the diaries, so it is offline for all of them.
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
		return d.assigned(e)
	case Submitted:
		return d.recorded(e.Instrument, e.Window.ID, Answered)
	case WindowMissed:
		return d.recorded(e.Instrument, e.Window.ID, Missed)
	case ReminderDue:
		return d.hasReminded(e)
	case RiskFlagged, Corrected:
		// They change what is known of an answer, which the state does not hold.
		return d
	}
	return d
}

// assigned adds an assignment. One of the same instrument that would still run on the first day of the new one ends on
// the day before.
func (d Diary) assigned(e InstrumentAssigned) Diary {
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

func (a Assignment) endingOn(day domain.Date) Assignment {
	a.Until = day
	if a.fault == nil {
		a.calendar, a.fault = a.Instrument.Calendar(a.zone, a.From, a.Until)
	}
	return a
}

// recorded adds to the status of a window, on copies of what it touches.
func (d Diary) recorded(id instrument.ID, window string, status Status) Diary {
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

// usable refuses when an assignment of the instrument cannot be decided on (code instrument_unusable).
func (d Diary) usable(id instrument.ID) error {
	for i := range d.assignments {
		if d.assignments[i].ID == id && d.assignments[i].fault != nil {
			return d.assignments[i].usable()
		}
	}
	return nil
}

// find returns the assignment that holds a window, and the window's number.
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

// usable refuses what cannot be decided on (code instrument_unusable): a definition or a zone that was recorded by a
// program that knew more than this one.
func (a *Assignment) usable() error {
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

// nextUndecided returns the first window from number on of which nothing is recorded and which can be answered at all.
func (a *Assignment) nextUndecided(number int) (int, bool) {
	for ; a.fault == nil && number < a.calendar.Len(); number++ {
		if a.status(number) == 0 && !a.calendar.Empty(number) {
			return number, true
		}
	}
	return 0, false
}

// lastMoment is when a window stops to take entries, late ones included.
func (a *Assignment) lastMoment(number int) time.Time {
	return a.calendar.Closes(number).Add(a.acceptLate())
}

func (a *Assignment) acceptLate() time.Duration {
	return time.Duration(a.Instrument.Definition().Schedule.Late.AcceptHours) * time.Hour
}

func (a *Assignment) syncWait() time.Duration {
	return time.Duration(a.Instrument.Definition().Schedule.Late.SyncHours) * time.Hour
}
