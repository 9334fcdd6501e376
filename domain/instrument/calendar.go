package instrument

import (
	"sort"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
)

// Window is one scheduled time span, resolved to moments. It takes entries from Opens until just before Closes.
type Window struct {
	// ID is the local day and the name of the window in the day: 2026-03-01/evening.
	ID     string    `json:"id"`
	Opens  time.Time `json:"opens"`
	Closes time.Time `json:"closes"`
}

// IsEvent says that the window is no time span: it is the moment of an entry that nothing had asked for (see ByEvent).
func (w Window) IsEvent() bool { return w.Opens.Equal(w.Closes) }

// Calendar has the windows of one assignment, numbered from 0 in the order of time. It finds numbers, ids and moments
// by counting days, without a search from the beginning. With growing numbers, neither the openings nor the closings
// ever go back in time, also when the clocks change (see localtime.Resolve).
//
// A window is empty if the clocks skip all of it: 02:00 to 03:00 in the night of a change, or a day that a zone left
// out. Nobody can answer an empty window, and it is not counted as missed.
type Calendar struct {
	zone    *localtime.Zone
	first   localtime.Day
	every   int
	windows []dayWindow
	count   int
}

// Calendar returns the windows from the day from to the day until, both included. It refuses a malformed date (code
// malformed_date).
func (i *Instrument) Calendar(zone *localtime.Zone, from, until domain.Date) (Calendar, error) {
	first, err := localtime.DayOf(from)
	if err != nil {
		return Calendar{}, err
	}
	last, err := localtime.DayOf(until)
	if err != nil {
		return Calendar{}, err
	}
	c := Calendar{zone: zone, first: first, every: max(1, i.definition.Schedule.EveryDays), windows: i.windows}
	if last >= first {
		c.count = (int(last-first)/c.every + 1) * len(c.windows)
	}
	return c, nil
}

// Len returns the number of windows, including the empty ones.
func (c Calendar) Len() int { return c.count }

// Window returns the window with this number, 0 to Len()-1.
func (c Calendar) Window(number int) Window {
	day, w := c.locate(number)
	return Window{ID: string(day.Date()) + "/" + w.id, Opens: c.opens(number), Closes: c.closes(number)}
}

// Number returns the number of the window with this id. ok is false if the calendar has no such window.
func (c Calendar) Number(id string) (number int, ok bool) {
	date, name, ok := strings.Cut(id, "/")
	if !ok {
		return 0, false
	}
	day, err := localtime.DayOf(domain.Date(date))
	if err != nil || day < c.first || int(day-c.first)%c.every != 0 {
		return 0, false
	}
	for n, w := range c.windows {
		if w.id == name {
			number = int(day-c.first)/c.every*len(c.windows) + n
			return number, number < c.count
		}
	}
	return 0, false
}

// Empty says whether the clocks skip the whole window.
func (c Calendar) Empty(number int) bool { return !c.opens(number).Before(c.closes(number)) }

// Closes returns the moment at which the window has closed.
func (c Calendar) Closes(number int) time.Time { return c.closes(number) }

// Opened returns how many windows have opened at or before t. These are the windows with lower numbers than the result.
func (c Calendar) Opened(t time.Time) int { return c.upTo(t, c.opens) }

// Closed returns how many windows have closed at or before t. These are the windows with lower numbers than the result.
// The windows that are open at t have the numbers from Closed(t) to Opened(t)-1: one window, none, or two in an hour
// that occurs twice. The windows that close after a and not after b have the numbers from Closed(a) to Closed(b)-1.
func (c Calendar) Closed(t time.Time) int { return c.upTo(t, c.closes) }

// Last returns the number of the last window before number that is not empty.
func (c Calendar) Last(number int) (int, bool) {
	for number = min(number, c.count) - 1; number >= 0; number-- {
		if !c.Empty(number) {
			return number, true
		}
	}
	return 0, false
}

// Next returns the number of the first window from number on that is not empty.
func (c Calendar) Next(number int) (int, bool) {
	for number = max(number, 0); number < c.count; number++ {
		if !c.Empty(number) {
			return number, true
		}
	}
	return 0, false
}

// upTo counts the windows whose moment is at or before t. It searches only the windows near the local day of t: the
// answer is clear for windows that are more than slack days away, even if a zone repeats or skips a day.
func (c Calendar) upTo(t time.Time, moment func(int) time.Time) int {
	if c.count == 0 {
		return 0
	}
	const slack = 3
	days := int(c.zone.DayAt(t) - c.first)
	from := c.clamped((days-slack)/c.every - 1)
	to := c.clamped((days+slack)/c.every + 1)
	return from + sort.Search(to-from, func(n int) bool { return moment(from + n).After(t) })
}

// clamped returns the number of the first window in the round, which is the asked day counted from 0, within the
// calendar.
func (c Calendar) clamped(round int) int { return min(max(round*len(c.windows), 0), c.count) }

func (c Calendar) locate(number int) (localtime.Day, dayWindow) {
	round, n := number/len(c.windows), number%len(c.windows)
	return c.first + localtime.Day(round*c.every), c.windows[n]
}

// opens returns the first moment if the local time occurs twice, so that no patient loses time.
func (c Calendar) opens(number int) time.Time {
	day, w := c.locate(number)
	return c.zone.Resolve(day, w.opens, localtime.First)
}

// closes returns the second moment if the local time occurs twice, so that no patient loses time.
func (c Calendar) closes(number int) time.Time {
	day, w := c.locate(number)
	if w.nextDay {
		day++
	}
	return c.zone.Resolve(day, w.closes, localtime.Second)
}
