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

// capture is when an instrument was answered.
type capture struct {
	instrument instrument.ID
	at         time.Time
	// zone is where the device was; nil if that is not known.
	zone *localtime.Zone
}

// on returns the moment by which an entry belongs to a window of the assignment: a traveller's evening is the evening of the day where
// the traveller is. It is when the clocks where the patient lives show what those of the device showed.
func (c capture) on(a *Assignment) time.Time {
	if c.zone == nil || a.zone == nil {
		return c.at
	}
	return a.zone.Showing(c.zone.In(c.at))
}

// entryWindow is the window that an entry belongs to, with its status before the entry.
type entryWindow struct {
	assignment *Assignment
	window     Window
	status     Status
	late       bool
}

// inCalendar returns a window of the assignment's calendar as the one that an entry belongs to.
func (a *Assignment) inCalendar(number int, late bool) entryWindow {
	return entryWindow{assignment: a, window: a.calendar.Window(number), status: a.status(number), late: late}
}

// windowOf returns the window that was open when the entry was captured, or else the last window before, if it still
// accepts late entries. It refuses instrument_not_assigned, instrument_unusable, diary_too_early, no_window and
// diary_too_late.
func (d Diary) windowOf(c capture, who patient.Patient) (entryWindow, error) {
	var latest, upcoming, other *Assignment
	var late *entryWindow
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != c.instrument {
			continue
		}
		if err := a.checkUsable(); err != nil {
			return entryWindow{}, err
		}
		if kind := a.Instrument.Definition().Schedule.Kind; kind != instrument.ByTime {
			found, ok := a.otherAt(kind, c, who)
			if ok && !found.late {
				return found, nil
			}
			if ok {
				late = &found
			}
			other = a
			continue
		}
		at := c.on(a)
		if number, open := a.openAt(at); open {
			return a.inCalendar(number, false), nil
		}
		// The assignments of one instrument do not overlap and are in the order of time.
		if _, closed := a.calendar.Last(a.calendar.Closed(at)); closed {
			latest = a
		} else if upcoming == nil {
			upcoming = a
		}
	}
	switch {
	case late != nil:
		return *late, nil
	case other != nil:
		return entryWindow{}, other.withoutCalendar(c.on(other))
	case latest != nil:
		return latest.lateAt(c.on(latest), upcoming)
	case upcoming != nil:
		return entryWindow{}, tooEarly(c, upcoming)
	}
	return entryWindow{}, refuse.Because("instrument_not_assigned", "instrument %s is not assigned to this patient",
		refuse.Shortened(string(c.instrument))).At("instrument").Do(d.assignFirst())
}

// assignFirst says what is assigned in place of an instrument that is not.
func (d Diary) assignFirst() string {
	var ids []instrument.ID
	for _, a := range d.assignments {
		if !slices.Contains(ids, a.ID) {
			ids = append(ids, a.ID)
		}
	}
	if len(ids) == 0 {
		return "assign it first with AssignInstrument: the patient has no instrument"
	}
	slices.Sort(ids)
	return "assign it first with AssignInstrument, or name one that is or was assigned: " + domain.Either(ids...)
}

// otherAt returns the window of an entry to an instrument that is not asked by the time of the day. An event is the moment itself,
// wherever it was.
func (a *Assignment) otherAt(kind instrument.ScheduleKind, c capture, who patient.Patient) (entryWindow, bool) {
	if kind == instrument.ByEvent {
		return a.eventAt(c.at)
	}
	return a.visitAt(c.on(a), who)
}

// openAt returns the window that is open at t. In the hour that occurs twice, two windows can be open; the entry then
// belongs to the first of them that is not answered yet.
func (a *Assignment) openAt(t time.Time) (int, bool) {
	first, end := a.calendar.Closed(t), a.calendar.Opened(t)
	for number := first; number < end; number++ {
		if a.status(number)&Answered == 0 || number == end-1 {
			return number, true
		}
	}
	return 0, false
}

// lateAt returns the last window before t. It refuses no_window or diary_too_late if the window does not accept entries
// any more.
func (a *Assignment) lateAt(t time.Time, upcoming *Assignment) (entryWindow, error) {
	number, _ := a.calendar.Last(a.calendar.Closed(t))
	if t.Before(a.acceptsUntil(number)) {
		return a.inCalendar(number, true), nil
	}
	last := a.calendar.Window(number)
	next, hasNext := a.nextAfter(t, upcoming)
	if a.acceptLate() == 0 && hasNext {
		return entryWindow{}, refuse.Because("no_window", "no window was open at %s: %s closed at %s, and %s opens at %s",
			moment(a.zone.In(t)), last.ID, moment(a.zone.In(last.Closes)), next.ID, moment(a.zone.In(next.Opens))).
			At("capturedAt").Do("fill in the diary while its window is open")
	}
	sentence := "the window " + last.ID + " accepted entries until " + moment(a.zone.In(a.acceptsUntil(number)))
	if hasNext {
		sentence += ", and " + next.ID + " opens at " + moment(a.zone.In(next.Opens))
	}
	return entryWindow{}, refuse.Because("diary_too_late", "%s", sentence).At("capturedAt").Do("fill in the diary of the next window in time")
}

// nextAfter returns the window that opens next after t.
func (a *Assignment) nextAfter(t time.Time, upcoming *Assignment) (instrument.Window, bool) {
	if number, ok := a.calendar.Next(a.calendar.Opened(t)); ok {
		return a.calendar.Window(number), true
	}
	if upcoming == nil {
		return instrument.Window{}, false
	}
	number, ok := upcoming.calendar.Next(0)
	if !ok {
		return instrument.Window{}, false
	}
	return upcoming.calendar.Window(number), true
}

func tooEarly(c capture, upcoming *Assignment) error {
	refusal := refuse.Because("diary_too_early", "instrument %s has no window that can be answered", c.instrument).At("capturedAt")
	if number, ok := upcoming.calendar.Next(0); ok {
		first := upcoming.calendar.Window(number)
		refusal.Sentence = "the first window, " + first.ID + ", opens at " + moment(upcoming.zone.In(first.Opens))
	}
	return refusal.Do("fill in the diary when its window is open")
}

// moment formats a time for a refusal's sentence.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
