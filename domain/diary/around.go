package diary

import (
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// aroundVisits returns the windows around the patient's visits, as far as the visits took place while the instrument was assigned,
// in the order of time. They follow corrections of the visits' days, and a visit that was voided has none.
func (a *Assignment) aroundVisits(who patient.Patient) []Window {
	if a.fault != nil || a.Instrument.Definition().Schedule.Kind != instrument.ByVisit {
		return nil
	}
	s := &a.Instrument.Definition().Schedule
	var all []Window
	for visit, on := range who.Visits {
		if !s.Around(visit) || on < a.From || on > a.Until {
			continue
		}
		day, err := localtime.DayOf(on)
		if err != nil {
			continue // cannot be: a visit's day is checked when it is recorded
		}
		opens := a.zone.Resolve(day-localtime.Day(s.AroundVisits.DaysBefore), 0, localtime.First)
		closes := a.zone.Resolve(day+localtime.Day(s.AroundVisits.DaysAfter)+1, 0, localtime.Second)
		all = append(all, Window{ID: visitPrefix + visit, Opens: opens, Closes: closes})
	}
	slices.SortFunc(all, func(x, y Window) int {
		if c := x.Opens.Compare(y.Opens); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	})
	return all
}

// visitPrefix begins the ids of windows around visits, which end with the visit's id.
const visitPrefix = "visit/"

// OpenVisitWindows records the windows around the patient's visits that are open, so that they are missed if nobody answers. The diary
// follow-up sends it when a visit was recorded. A window that had closed when the visit was recorded did not exist for the patient: it
// can be answered late, and is not missed.
type OpenVisitWindows struct {
	domain.OfPatient
}

// VisitWindowOpened says that a visit was recorded while the window around it was open, or before.
type VisitWindowOpened struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     Window           `json:"window"`
}

func (VisitWindowOpened) diaryEvent() {}

// OpenWindows decides about OpenVisitWindows.
func OpenWindows(d Diary, who patient.Patient, cmd OpenVisitWindows, call domain.Call) ([]Event, error) {
	var events []Event
	for i := range d.assignments {
		a := &d.assignments[i]
		for _, w := range a.aroundVisits(who) {
			status := a.otherStatus(w.ID)
			if status&Opened == 0 && !status.decided() && call.At.Before(w.Closes) && !w.Opens.Before(a.CountsFrom) && a.asksOn(who, w) {
				events = append(events, VisitWindowOpened{Patient: cmd.Patient, Instrument: a.ID, Window: w})
			}
		}
	}
	return events, nil
}

// undecidedAroundVisits returns the windows around visits that are neither answered nor missed, and that the patient is expected to
// answer.
func (a *Assignment) undecidedAroundVisits(who patient.Patient) []Window {
	return slices.DeleteFunc(a.aroundVisits(who), func(w Window) bool {
		status := a.otherStatus(w.ID)
		return status&Opened == 0 || status.decided() || !a.asksOn(who, w)
	})
}

// asksOn says whether the window opens until the last day on which the patient is asked.
func (a *Assignment) asksOn(who patient.Patient, w Window) bool {
	last := a.lastDay(who)
	return last == "" || domain.DateOf(a.zone.In(w.Opens)) <= last
}

func (a *Assignment) otherStatus(window string) Status {
	for i := len(a.others) - 1; i >= 0; i-- {
		if a.others[i].window.ID == window {
			return a.others[i].status
		}
	}
	return 0
}

// visitAt returns the window around a visit that an entry of this moment belongs to: one that was open, or else the last one that
// still takes late entries. Windows without an entry come first.
func (a *Assignment) visitAt(t time.Time, who patient.Patient) (found entryWindow, ok bool) {
	best := 0
	for _, w := range a.aroundVisits(who) {
		if t.Before(w.Opens) || !t.Before(w.Closes.Add(a.acceptLate())) {
			continue
		}
		e := entryWindow{assignment: a, window: w, status: a.otherStatus(w.ID), late: !t.Before(w.Closes)}
		rank := 1
		if e.status&Answered == 0 {
			rank += 2
		}
		if !e.late {
			rank++
		}
		if rank > best || rank == best && e.late {
			found, best = e, rank
		}
	}
	return found, best > 0
}

// eventAt returns the window of an entry about an event: the moment of its capture. There is one for each second in which an entry
// was captured.
func (a *Assignment) eventAt(t time.Time) (entryWindow, bool) {
	local := a.zone.In(t).Truncate(time.Second)
	day := domain.DateOf(local)
	if day < a.From || day > a.Until {
		return entryWindow{}, false
	}
	w := Window{ID: string(day) + "/" + local.Format("15:04:05Z07:00"), Opens: local, Closes: local}
	return entryWindow{assignment: a, window: w, status: a.otherStatus(w.ID)}, true
}

// withoutCalendar refuses an entry for which an assignment without a calendar has no window (codes no_window, diary_too_early and
// diary_too_late).
func (a *Assignment) withoutCalendar(at time.Time) error {
	day := domain.DateOf(a.zone.In(at))
	switch {
	case day < a.From:
		return refuse.Because("diary_too_early", "instrument %s is assigned from %s", a.ID, a.From).At("capturedAt").
			Do("fill in the diary from that day on")
	case day > a.Until:
		return refuse.Because("diary_too_late", "instrument %s was assigned until %s", a.ID, a.Until).At("capturedAt").
			Do("ask the site, if it should go on")
	}
	return refuse.Because("no_window", "no visit is recorded around which instrument %s is asked at %s", a.ID, moment(a.zone.In(at))).
		At("capturedAt").Do("have the site record the visit, and send the diary again")
}
