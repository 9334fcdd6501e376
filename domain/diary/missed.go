package diary

import (
	"iter"
	"slices"
	"sort"
	"time"

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
// not expected to answer it. An instrument about doses ends with the treatment. A window that opened before the patient was given
// the instrument is not recorded either.
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
		for w, status := range a.ranOut(who, cmd.Through) {
			if len(events) == MaxMissedPerCall {
				return events, nil
			}
			events = append(events, WindowMissed{Patient: cmd.Patient, Instrument: a.ID, Window: w, Again: status&Emptied != 0})
		}
	}
	return events, nil
}

// ranOut are the windows, with their statuses, that were asked for, took entries only until a time, and are neither answered nor missed.
func (a *Assignment) ranOut(who patient.Patient, through time.Time) iter.Seq2[Window, Status] {
	return func(yield func(Window, Status) bool) {
		for _, w := range a.undecidedAroundVisits(who) {
			if !w.Closes.Add(a.acceptLate()).After(through) && !yield(w, a.otherStatus(w.ID)) {
				return
			}
		}
		due := min(a.calendar.Closed(through.Add(-a.acceptLate())), a.expected(who))
		for number, ok := a.nextUndecided(a.firstCounted()); ok && number < due; number, ok = a.nextUndecided(number + 1) {
			if !yield(a.calendar.Window(number), a.status(number)) {
				return
			}
		}
	}
}

// MissedInARow counts the windows of an instrument that were missed in a row up to this window. It is 0 if this window
// was not missed or is unknown.
func (d Diary) MissedInARow(id instrument.ID, window string) int {
	p, ok := d.find(id, window)
	if !ok {
		return 0
	}
	run := 0
	for w := range d.upTo(p) {
		if !w.status().isMissed() {
			break
		}
		run++
	}
	return run
}

// MissedTooOften says that, with this window, so many windows of an instrument were missed within so many days, the day of this
// window included, and that they were not as many already with the window that was missed before. The site is then told once,
// and again when it happens anew.
func (d Diary) MissedTooOften(id instrument.ID, window string, missed, days int) bool {
	p, ok := d.find(id, window)
	if !ok || !p.status().isMissed() {
		return false
	}
	var opened []domain.Date // of the missed windows, the latest first
	for w := range d.upTo(p) {
		day := domain.DateOf(w.zone.In(w.window().Opens))
		if len(opened) > 0 && opened[min(1, len(opened)-1)].DaysSince(day) >= days {
			break
		}
		if w.status().isMissed() {
			opened = append(opened, day)
		}
	}
	within := func(days int, of []domain.Date) int {
		n := 0
		for n < len(of) && of[0].DaysSince(of[n]) < days {
			n++
		}
		return n
	}
	return within(days, opened) >= missed && within(days, opened[1:]) < missed
}

// upTo returns a window and those of the instrument before it, the latest first: also those of earlier assignments, because a renewal or
// a newer version is still the same diary. Windows that the clocks skip, and those that nobody expects to be answered, are left out.
func (d Diary) upTo(p place) iter.Seq[place] {
	if p.other {
		return slices.Values(d.othersUpTo(p))
	}
	return func(yield func(place) bool) {
		for ; p.Assignment != nil; p = d.before(p) {
			for ; p.number >= 0; p.number-- {
				if !p.calendar.Empty(p.number) && (p.status() != 0 || p.number >= p.given()) && !yield(p) {
					return
				}
			}
		}
	}
}

// before returns the last window of the assignment of the same instrument that began before that of a window; its assignment is nil if
// there is none.
func (d Diary) before(p place) (found place) {
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID == p.ID && a.fault == nil && a.From < p.From && (found.Assignment == nil || a.From > found.From) {
			found = place{Assignment: a, index: i, number: a.calendar.Len() - 1}
		}
	}
	return found
}

// othersUpTo is upTo for a window that is in no calendar.
func (d Diary) othersUpTo(p place) (all []place) {
	last := p.window().Opens
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != p.ID || a.fault != nil {
			continue
		}
		for n, o := range a.others {
			if !o.window.Opens.After(last) && o.status&(Answered|Missed) != 0 {
				all = append(all, place{Assignment: a, index: i, number: n, other: true})
			}
		}
	}
	slices.SortStableFunc(all, func(x, y place) int { return y.window().Opens.Compare(x.window().Opens) })
	return all
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
