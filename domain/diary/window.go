package diary

import (
	"time"

	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// entryWindow is the window that an entry belongs to.
type entryWindow struct {
	assignment *Assignment
	number     int
	late       bool
}

// windowOf returns the window that was open when the entry was captured, or else the last window before, if it still
// accepts late entries. It refuses instrument_not_assigned, instrument_unusable, diary_too_early, no_window and
// diary_too_late.
func (d Diary) windowOf(cmd SubmitDiary) (entryWindow, error) {
	var latest, upcoming *Assignment
	known := false
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != cmd.Instrument {
			continue
		}
		known = true
		if err := a.checkUsable(); err != nil {
			return entryWindow{}, err
		}
		if number, open := a.openAt(cmd.CapturedAt); open {
			return entryWindow{assignment: a, number: number}, nil
		}
		// The assignments of one instrument do not overlap and are in the order of time.
		if _, closed := a.calendar.Last(a.calendar.Closed(cmd.CapturedAt)); closed {
			latest = a
		} else if upcoming == nil {
			upcoming = a
		}
	}
	if !known {
		return entryWindow{}, refuse.Because("instrument_not_assigned", "instrument %s is not assigned to this patient", cmd.Instrument).
			At("instrument").Do("assign it first")
	}
	if latest == nil {
		return entryWindow{}, tooEarly(cmd, upcoming)
	}
	return latest.lateAt(cmd.CapturedAt, upcoming)
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
		return entryWindow{assignment: a, number: number, late: true}, nil
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

func tooEarly(cmd SubmitDiary, upcoming *Assignment) error {
	refusal := refuse.Because("diary_too_early", "instrument %s has no window that can be answered", cmd.Instrument).At("capturedAt")
	if number, ok := upcoming.calendar.Next(0); ok {
		first := upcoming.calendar.Window(number)
		refusal.Sentence = "the first window, " + first.ID + ", opens at " + moment(upcoming.zone.In(first.Opens))
	}
	return refusal.Do("fill in the diary when its window is open")
}

// moment formats a time for a refusal's sentence.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
