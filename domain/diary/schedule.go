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

// Span is the time that a schedule is about. Days are local to the patient.
type Span struct {
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
	// AcceptedUntil is until when an entry may be captured, a late one included.
	AcceptedUntil time.Time
	Standing      Standing
}

// Schedule returns what the patient is asked for, was asked for, and has sent within a span, by assignment. It leaves out windows that
// nobody expects an entry in, as CloseWindows does, and assignments that this program cannot use.
func (d Diary) Schedule(who patient.Patient, span Span) []Scheduled {
	var all []Scheduled
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.fault != nil {
			continue
		}
		windows := a.scheduled(who, span)
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

// scheduled returns the windows of a span.
func (a *Assignment) scheduled(who patient.Patient, span Span) []ScheduledWindow {
	var all []ScheduledWindow
	add := func(w Window, status Status, asked, counts bool) {
		accepted := w.Closes.Add(a.acceptLate())
		within := status&Waiting != 0 || !w.Opens.Before(span.From) && w.Opens.Before(span.Until)
		takes := !w.Opens.After(span.At) && span.At.Before(accepted)
		standing, decided := standingOf(w, status, accepted, span.At)
		switch {
		case !within && !takes, !decided && !asked, standing == StandsPassed && !counts:
		default:
			all = append(all, ScheduledWindow{Window: w, AcceptedUntil: accepted, Standing: standing})
		}
	}
	expected, counted := a.expected(who), 0
	if who.EndedOn == "" && !who.Participating() {
		expected = 0 // no entry would count
	}
	if !a.CountsFrom.IsZero() {
		counted = a.calendar.Opened(a.CountsFrom.Add(-1))
	}
	for n := a.calendar.Closed(span.From.Add(-a.acceptLate())); n < a.calendar.Opened(span.Until); n++ {
		if !a.calendar.Empty(n) {
			add(a.calendar.Window(n), a.status(n), n < expected, n >= counted)
		}
	}
	visits := a.aroundVisits(who)
	for _, w := range visits {
		status := a.otherStatus(w.ID)
		add(w, status, expected != 0 && a.asksOn(who, w), status&Opened != 0)
	}
	for _, o := range a.others { // events, held entries, and what was recorded around a visit that is no more
		if o.status.decided() && !slices.ContainsFunc(visits, func(w Window) bool { return w.ID == o.window.ID }) {
			add(o.window, o.status, false, false)
		}
	}
	slices.SortStableFunc(all, func(x, y ScheduledWindow) int { return x.Opens.Compare(y.Opens) })
	return all
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
