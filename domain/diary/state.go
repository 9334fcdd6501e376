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
	// chosen is what was chosen for the patient; nil if nothing was. It is apart because states are copied for every entry.
	chosen *choices
	// changes counts the assignments and their ends.
	changes int
	// requests are the corrections that were asked for, by their numbers from 1.
	requests []Request
	// held are the entries that are held, and those that were.
	held []heldEntry
	// seen are all entries from devices.
	seen seenEntries
	// devices are those that have captured entries, the one of the newest entry last.
	devices []DeviceNumbers
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
	// CountsFrom is when the patient was given the instrument: a window that opened before is never missed. It is the zero time if
	// all windows count.
	CountsFrom time.Time
	// Phase is the phase for which the protocol assigned it; "" if a person did.
	Phase patient.Phase
	// phaseEnded says that it was stopped because its phase had ended.
	phaseEnded bool

	zone     *localtime.Zone
	calendar instrument.Calendar
	// statuses are the statuses of the calendar's windows, by their number, up to the last one that is not 0.
	statuses []Status
	// others are the windows that are not in the calendar and have been recorded: around visits, and of events.
	others []otherWindow
	// undecided is the number of the first window of the calendar that is neither answered nor missed.
	undecided int
	// reminded is the number of the first window that may still need a reminder.
	reminded int
	// fault is why this program cannot use the recorded definition or zone; usually nil.
	fault error
}

// otherWindow is a window that is not in the calendar.
type otherWindow struct {
	window Window
	status Status
}

// Calendar returns the windows of the assignment. It has no windows if this program cannot use the assignment.
func (a Assignment) Calendar() instrument.Calendar { return a.calendar }

// Status says whether a window is answered or missed: 0 for neither, Answered, Missed, or both if the entry arrived
// after the window had been recorded as missed. A voided entry leaves them as they were before the entry.
type Status byte

// The flags of a Status.
const (
	Answered Status = 1 << iota
	Missed
	// Waiting is the status of an entry that is held.
	Waiting
	// Emptied is the status of a window that has had a diary which was voided. It says nothing about what the window has now.
	Emptied
	// Opened is the status of a window around a visit that was recorded before the window closed.
	Opened
)

// decided says whether the window is answered or missed.
func (s Status) decided() bool { return s&(Answered|Missed) != 0 }

// isMissed says whether the window is missed, and nobody has answered it after that.
func (s Status) isMissed() bool { return s&(Answered|Missed) == Missed }

// Assignments returns the patient's assignments, in the order of the events.
func (d Diary) Assignments() []Assignment { return slices.Clone(d.assignments) }

// Status returns the status of the window with this id; 0 for an unknown window.
func (d Diary) Status(id instrument.ID, window string) Status {
	status, _ := d.statusOf(id, window)
	return status &^ (Emptied | Opened)
}

// statusOf returns the status of a window or of a held entry, and whether the state has it.
func (d Diary) statusOf(id instrument.ID, window string) (Status, bool) {
	if at := d.heldAt(id, window); at >= 0 {
		return d.held[at].status, true
	}
	p, ok := d.find(id, window)
	if !ok {
		return 0, false
	}
	return p.status(), true
}

// Language returns the language in which the patient is shown diaries; "" if nobody has set one.
func (d Diary) Language() Language { return d.choices().language }

// choices are what was chosen for a patient.
type choices struct {
	language  Language
	reminders RemindersChosen
}

func (d Diary) choices() choices {
	if d.chosen == nil {
		return choices{}
	}
	return *d.chosen
}

func (d Diary) choosing(change func(*choices)) Diary {
	c := d.choices()
	change(&c)
	d.chosen = &c
	return d
}

// Changes counts the assignments and their ends.
func (d Diary) Changes() int { return d.changes }

// NextDue returns when the next window without an entry should be recorded as missed: the end of the window, plus the
// time in which late entries are accepted, plus SyncWait. ok is false if every window that the patient is expected to
// answer is answered or missed.
func (d Diary) NextDue(who patient.Patient) (due time.Time, ok bool) {
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil {
			continue
		}
		for _, w := range a.undecidedAroundVisits(who) {
			if at := w.Closes.Add(a.acceptLate()); !ok || at.Before(due) {
				due, ok = at, true
			}
		}
		number, open := a.nextUndecided(a.firstCounted())
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
	case InstrumentStopped:
		return d.withoutInstrument(e)
	case Submitted:
		if e.MovedFrom == "" { // otherwise its number was noted with the entry, or with the decision to move it
			d = d.withNumber(e.Entered)
		}
		return d.withEntry(e).withStatus(e.Instrument, e.Version, e.Window, func(s Status) Status { return s | Answered })
	case WindowMissed:
		return d.withStatus(e.Instrument, 0, e.Window, func(s Status) Status { return s | Missed })
	case Held:
		if e.Why.Numbered() {
			d = d.withNumber(e.Entered)
		}
		return d.withEntry(e).withHeld(e.Instrument, e.Window.ID, Waiting, e.Why)
	case Voided:
		if e.Held {
			why := d.whyHeld(e.Instrument, e.Window.ID)
			if e.Sequence > 0 && why.NumberedWhenDecided() { // earlier programs name the number of every entry
				d = d.withNumber(Entered{Device: e.Device, Sequence: e.Sequence})
			}
			return d.withHeld(e.Instrument, e.Window.ID, Emptied, why)
		}
		return d.withoutDiary(e).withStatus(e.Instrument, 0, e.Window, func(s Status) Status { return s&^Answered | Emptied })
	case VisitWindowOpened:
		return d.withStatus(e.Instrument, 0, e.Window, func(s Status) Status { return s | Opened })
	case ReminderDue:
		return d.withReminder(e)
	case LanguageSet:
		return d.choosing(func(c *choices) { c.language = e.Language })
	case RemindersChosen:
		return d.choosing(func(c *choices) { c.reminders = e })
	case CorrectionAsked:
		d.requests = append(slices.Clip(d.requests), Request{CorrectionAsked: e})
		return d
	case CorrectionDeclined:
		return d.decided(e.Request)
	case CorrectionLapsed:
		return d.decided(e.Request)
	case Corrected: // the state does not hold the answers
		return d.decided(e.Request)
	case RiskFlagged:
		return d
	}
	return d
}

// withAssignment adds an assignment. An assignment of the same instrument that has not ended by the first day of the
// new one ends on the day before.
func (d Diary) withAssignment(e InstrumentAssigned) Diary {
	d = d.endingOn(e.Instrument.ID, e.From.AddDays(-1))
	d.assignments = append(d.assignments, newAssignment(e))
	d.changes++
	return d
}

// withoutInstrument ends the assignments of an instrument.
func (d Diary) withoutInstrument(e InstrumentStopped) Diary {
	d = d.endingOn(e.Instrument, e.Until)
	for i := range d.assignments { // endingOn has copied them
		if a := &d.assignments[i]; a.ID == e.Instrument && e.Phase != "" && a.Phase == e.Phase {
			a.phaseEnded = true
		}
	}
	d.changes++
	return d
}

// endingOn returns the diary without windows of the instrument that open after a day.
func (d Diary) endingOn(id instrument.ID, day domain.Date) Diary {
	next := make([]Assignment, 0, len(d.assignments)+1)
	for _, a := range d.assignments {
		if a.ID == id && a.Until > day {
			a = a.endingOn(day)
		}
		next = append(next, a)
	}
	d.assignments = next
	return d
}

func newAssignment(e InstrumentAssigned) Assignment {
	a := Assignment{ID: e.Instrument.ID, Zone: e.Zone, From: e.From, Until: e.Until, CountsFrom: e.CountsFrom, Phase: e.Phase}
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

// withStatus changes the status of a window. version is that of the instrument, for a window that is recorded for the first
// time; 0 is the latest.
func (d Diary) withStatus(id instrument.ID, version int, w Window, change func(Status) Status) Diary {
	p, ok := d.find(id, w.ID)
	if !ok {
		if p, ok = d.addedTo(id, version); !ok {
			return d
		}
	}
	a := d.assignments[p.index]
	if p.other {
		a.others = withOther(a.others, p.number, w, change)
	} else {
		a = a.withStatus(p.number, change)
	}
	d.assignments = slices.Clone(d.assignments)
	d.assignments[p.index] = a
	return d
}

// addedTo returns the place of a window that is not in a calendar: behind the others of the last assignment that has the version.
func (d Diary) addedTo(id instrument.ID, version int) (place, bool) {
	for i := len(d.assignments) - 1; i >= 0; i-- {
		a := &d.assignments[i]
		if a.ID == id && a.fault == nil && (version == 0 || a.Instrument.Definition().Version == version) {
			return place{Assignment: a, index: i, number: len(a.others), other: true}, true
		}
	}
	return place{}, false
}

func withOther(others []otherWindow, number int, w Window, change func(Status) Status) []otherWindow {
	next := make([]otherWindow, max(len(others), number+1))
	copy(next, others)
	next[number] = otherWindow{window: w, status: change(next[number].status)}
	return next
}

// withStatus changes the status of a window of the calendar.
func (a Assignment) withStatus(number int, change func(Status) Status) Assignment {
	statuses := make([]Status, max(len(a.statuses), number+1))
	copy(statuses, a.statuses)
	statuses[number] = change(statuses[number])
	a.statuses = statuses
	if !statuses[number].decided() {
		a.undecided = min(a.undecided, number)
	}
	for a.undecided < len(statuses) && statuses[a.undecided].decided() {
		a.undecided++
	}
	return a
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

// place is where the state has a window.
type place struct {
	*Assignment
	// index is that of the assignment, and number that of the window: in the calendar, or among the others.
	index, number int
	other         bool
}

func (p place) status() Status {
	if p.other {
		return p.others[p.number].status
	}
	return p.Assignment.status(p.number)
}

func (p place) window() Window {
	if p.other {
		return p.others[p.number].window
	}
	return p.calendar.Window(p.number)
}

// find returns where a window is: in the calendar of an assignment, or among its other windows that have been recorded.
func (d Diary) find(id instrument.ID, window string) (place, bool) {
	for i := range d.assignments {
		a := &d.assignments[i]
		if number, ok := a.number(id, window); ok {
			return place{Assignment: a, index: i, number: number}, true
		}
	}
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != id || a.fault != nil {
			continue
		}
		for n := len(a.others) - 1; n >= 0; n-- {
			if a.others[n].window.ID == window {
				return place{Assignment: a, index: i, number: n, other: true}, true
			}
		}
	}
	return place{}, false
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
		if !a.status(number).decided() && !a.calendar.Empty(number) {
			return number, true
		}
	}
	return 0, false
}

// firstCounted returns the number of the first window of the calendar that has no status and counts, if it is not answered: the
// patient had been given the instrument before it opened. A window that is missed anyway does not matter.
func (a *Assignment) firstCounted() int { return max(a.undecided, a.given()) }

// given returns the number of the first window of the calendar that opened when the patient had been given the instrument.
func (a *Assignment) given() int {
	if a.CountsFrom.IsZero() || a.fault != nil {
		return 0
	}
	return a.calendar.Opened(a.CountsFrom.Add(-1))
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
