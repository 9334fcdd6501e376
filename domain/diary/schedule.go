package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
)

// Standing is how a window stands for the patient at a moment.
type Standing string

// The standings of windows.
const (
	// StandsUpcoming windows open later.
	StandsUpcoming Standing = "upcoming"
	// StandsOpen windows take an entry.
	StandsOpen Standing = "open"
	// StandsLate windows have closed, and still take an entry, which is then late.
	StandsLate Standing = "late"
	// StandsPassed windows take no more entries. What was captured before still counts when it arrives.
	StandsPassed Standing = "passed"
	// StandsSent windows have a recorded entry.
	StandsSent Standing = "sent"
	// StandsMissed windows are recorded as missed. What was captured in time still counts when it arrives.
	StandsMissed Standing = "missed"
	// StandsHeld are entries that the site has to decide about.
	StandsHeld Standing = "held"
)

// Schema implements domain.HasSchema.
func (Standing) Schema() domain.Schema {
	return domain.OneOf(StandsUpcoming, StandsOpen, StandsLate, StandsPassed, StandsSent, StandsMissed, StandsHeld)
}

// ScheduleSpan is the time that a schedule is about. Days are local to the patient.
type ScheduleSpan struct {
	// At is the moment at which it is looked at.
	At time.Time
	// From and Until bound when the shown windows open. A window that opened earlier is shown while it takes entries.
	From, Until time.Time
	// First and Last are the days of From and Until, to find assignments without a window.
	First, Last domain.Date
}

// Scheduled is one assignment in a schedule.
type Scheduled struct {
	Assignment
	// Windows are in the order in which they open.
	Windows []ScheduledWindow
}

// ScheduledWindow is a window, or an entry that was captured outside of all windows.
type ScheduledWindow struct {
	Window
	// AcceptedUntil is until when an entry may be captured, a late one included. Once the next window of the day opens, an entry belongs to
	// that one.
	AcceptedUntil time.Time
	Standing      Standing
}

// Schedule returns what the patient is asked for, was asked for, and has sent within a span, by assignment. It leaves out windows that
// nobody expects an entry in, as CloseWindows does, and assignments that this program cannot use.
func (d Diary) Schedule(who patient.Patient, span ScheduleSpan) []Scheduled {
	var all []Scheduled
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil {
			continue
		}
		windows := d.scheduled(a, who, span)
		if len(windows) == 0 && (a.From > span.Last || a.Until < domain.DateOf(a.zone.In(span.At)) || !a.goesOn(who, span.At)) {
			continue
		}
		all = append(all, Scheduled{Assignment: *a, Windows: windows})
	}
	return all
}

// goesOn says whether the patient is still asked on the day of a moment.
func (a *Assignment) goesOn(who patient.Patient, at time.Time) bool {
	last := a.lastDay(who)
	return who.Participating() && (last == "" || domain.DateOf(a.zone.In(at)) <= last)
}

// scheduled returns the windows of an assignment within a span.
func (d Diary) scheduled(a *Assignment, who patient.Patient, span ScheduleSpan) []ScheduledWindow {
	var all []ScheduledWindow
	add := func(w Window, accepted time.Time, status Status, asked, counts bool) {
		within := status&Waiting != 0 || !w.Opens.Before(span.From) && w.Opens.Before(span.Until)
		takes := !w.Opens.After(span.At) && span.At.Before(accepted)
		standing, decided := standingOf(w, status, accepted, span.At)
		switch {
		case !within && !takes, !decided && !asked, standing == StandsPassed && !counts:
		default:
			all = append(all, ScheduledWindow{Window: w, AcceptedUntil: accepted, Standing: standing})
		}
	}
	asks := who.EndedOn != "" || who.Participating() // otherwise no entry would count
	expected, counted := a.expected(who), 0
	if !a.CountsFrom.IsZero() {
		counted = a.calendar.Opened(a.CountsFrom.Add(-1))
	}
	for n := a.calendar.Closed(span.From.Add(-a.acceptLate())); n < a.calendar.Opened(span.Until); n++ {
		if !a.calendar.Empty(n) {
			w := a.calendar.Window(n)
			add(w, d.takesUntil(a, n, w), a.status(n), asks && n < expected, n >= counted)
		}
	}
	visits := a.aroundVisits(who)
	for _, w := range visits {
		status := a.otherStatus(w.ID)
		add(w, w.Closes.Add(a.acceptLate()), status, asks && a.asksOn(who, w), status&Opened != 0)
	}
	if d.lastAssigned(a.ID) == a { // a held entry belongs to no assignment
		for _, h := range d.held {
			if at := h.capturedAt(); h.instrument == a.ID && h.status == Waiting && !at.IsZero() {
				add(Window{ID: h.id, Opens: at, Closes: at}, at, h.status, false, false)
			}
		}
	}
	for _, o := range a.others { // events, and what was recorded around a visit that is no more
		if o.status.decided() && !slices.ContainsFunc(visits, func(w Window) bool { return w.ID == o.window.ID }) {
			add(o.window, o.window.Closes, o.status, false, false)
		}
	}
	slices.SortStableFunc(all, func(x, y ScheduledWindow) int { return x.Opens.Compare(y.Opens) })
	return all
}

// takesUntil returns until when an entry is one of this window of a calendar: as long as the protocol takes late ones, and until the next
// window of the instrument opens.
func (d Diary) takesUntil(a *Assignment, number int, w Window) time.Time {
	until := w.Closes.Add(a.acceptLate())
	next, ok := a.calendar.Next(number + 1)
	opens := time.Time{}
	if ok {
		opens = a.calendar.Window(next).Opens
	} else {
		for i := range d.assignments {
			later := &d.assignments[i]
			if first, some := later.calendar.Next(0); later.ID == a.ID && later.fault == nil && later.From > a.Until && some && !ok {
				opens, ok = later.calendar.Window(first).Opens, true
			}
		}
	}
	if !ok || opens.After(until) {
		return until
	}
	if opens.Before(w.Closes) { // in an hour that occurs twice
		return w.Closes
	}
	return opens
}

// standingOf says how a window stands, and whether something is recorded about it.
func standingOf(w Window, status Status, accepted, at time.Time) (standing Standing, decided bool) {
	switch {
	case status&Answered != 0:
		return StandsSent, true
	case status&Waiting != 0:
		return StandsHeld, true
	case status&Missed != 0:
		return StandsMissed, true
	case at.Before(w.Opens):
		return StandsUpcoming, false
	case at.Before(w.Closes):
		return StandsOpen, false
	case at.Before(accepted):
		return StandsLate, false
	}
	return StandsPassed, false
}

// ChangesAt returns the next moment, after this one, at which a window stands differently if nothing is recorded; the zero time for
// never.
func (w ScheduledWindow) ChangesAt(at time.Time) time.Time {
	if w.Standing == StandsSent || w.Standing == StandsHeld || w.Standing == StandsMissed {
		return time.Time{}
	}
	for _, next := range []time.Time{w.Opens, w.Closes, w.AcceptedUntil} {
		if next.After(at) {
			return next
		}
	}
	return time.Time{}
}

// Version returns the version of the assigned instrument.
func (s Scheduled) Version() int { return s.Instrument.Definition().Version }

// Kind returns what asks for an entry.
func (s Scheduled) Kind() instrument.ScheduleKind { return s.Instrument.Definition().Schedule.Kind }

// Reminds says whether the patient is reminded when a window opens.
func (s Scheduled) Reminds() bool { return s.Instrument.Definition().Schedule.Remind }

// Quiet are the quiet hours of the instrument; nil if it has none.
func (s Scheduled) Quiet() *instrument.QuietHours { return s.Instrument.Definition().Schedule.Quiet }
