package diary

import (
	"time"

	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// place is the window that an entry belongs to.
type place struct {
	assignment *Assignment
	number     int
	late       bool
}

// placeOf finds the window that was open when the entry was captured, or else the last one before it, if that still
// takes late entries.
func (d Diary) placeOf(cmd SubmitDiary) (place, error) {
	var latest, upcoming *Assignment
	known := false
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != cmd.Instrument {
			continue
		}
		known = true
		if err := a.usable(); err != nil {
			return place{}, err
		}
		if number, open := a.openAt(cmd.CapturedAt); open {
			return place{assignment: a, number: number}, nil
		}
		// Assignments of one instrument follow one another in time.
		if _, closed := a.calendar.Last(a.calendar.Closed(cmd.CapturedAt)); closed {
			latest = a
		} else if upcoming == nil {
			upcoming = a
		}
	}
	if !known {
		return place{}, refuse.Because("instrument_not_assigned", "instrument %s is not assigned to this patient", cmd.Instrument).
			At("instrument").Do("assign it first")
	}
	if latest == nil {
		return place{}, tooEarly(cmd, upcoming)
	}
	return latest.lateAt(cmd.CapturedAt, upcoming)
}

// openAt returns the window that is open at t. In the hour that comes twice two windows can be; the entry then belongs
// to the first of them that is not answered yet.
func (a *Assignment) openAt(t time.Time) (int, bool) {
	first, end := a.calendar.Closed(t), a.calendar.Opened(t)
	for number := first; number < end; number++ {
		if a.status(number)&Answered == 0 || number == end-1 {
			return number, true
		}
	}
	return 0, false
}

// lateAt returns the window before t, or says why it takes no entry any more.
func (a *Assignment) lateAt(t time.Time, upcoming *Assignment) (place, error) {
	number, _ := a.calendar.Last(a.calendar.Closed(t))
	if t.Before(a.lastMoment(number)) {
		return place{assignment: a, number: number, late: true}, nil
	}
	last := a.calendar.Window(number)
	next, hasNext := a.nextAfter(t, upcoming)
	if a.acceptLate() == 0 && hasNext {
		return place{}, refuse.Because("no_window", "no window was open at %s: %s closed at %s, and %s opens at %s",
			moment(a.zone.In(t)), last.ID, moment(a.zone.In(last.Closes)), next.ID, moment(a.zone.In(next.Opens))).
			At("capturedAt").Do("fill in the diary while its window is open")
	}
	sentence := "the window " + last.ID + " took entries until " + moment(a.zone.In(a.lastMoment(number)))
	if hasNext {
		sentence += ", and " + next.ID + " opens at " + moment(a.zone.In(next.Opens))
	}
	return place{}, refuse.Because("diary_too_late", "%s", sentence).At("capturedAt").Do("fill in the diary of the next window in time")
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

// moment writes a time as a refusal's sentence shows it.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
