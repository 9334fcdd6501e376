package instrument

import (
	"sort"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
)

// Window is one scheduled time span, resolved to instants. It takes entries from Opens until just before Closes.
type Window struct {
	// ID is the local day and the name of the window in the day: 2026-03-01/evening.
	ID     string    `json:"id"`
	Opens  time.Time `json:"opens"`
	Closes time.Time `json:"closes"`
}

// Calendar is the row of windows of one assignment, numbered from 0 in the order of time. Numbers, ids and instants are
// found by counting days, not by searching from the start. Both the openings and the closes of a calendar never go back
// as the numbers grow, daylight saving or not (see localtime.Resolve).
//
// A window is empty when the clocks skip the whole of it: 02:00 to 03:00 on the night of the change, or a day that a
// zone left out. Nobody can answer it, and it counts for nothing.
type Calendar struct {
	zone    *localtime.Zone
	first   localtime.Day
	every   int
	windows []dayWindow
	count   int
}

// Calendar returns the windows that open on the asked days from the day from to the day until, both included. It
// refuses a malformed date (code malformed_date).
func (i *Instrument) Calendar(zone *localtime.Zone, from, until domain.Date) (Calendar, error) {
	first, err := localtime.DayOf(from)
	if err != nil {
		return Calendar{}, err
	}
	last, err := localtime.DayOf(until)
	if err != nil {
		return Calendar{}, err
	}
	c := Calendar{zone: zone, first: first, every: i.definition.Schedule.EveryDays, windows: i.windows}
	if last >= first {
		c.count = (int(last-first)/c.every + 1) * len(c.windows)
	}
	return c, nil
}

// Len returns how many windows there are, the empty ones included.
func (c Calendar) Len() int { return c.count }

// Window returns the window with this number, 0 to Len()-1.
func (c Calendar) Window(number int) Window {
	day, w := c.locate(number)
	return Window{ID: string(day.Date()) + "/" + w.id, Opens: c.opens(number), Closes: c.closes(number)}
}

// Number returns the number of the window with this id; ok is false where the calendar has no such window.
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

// Opened returns how many windows have opened at or before t: those with the numbers below it.
func (c Calendar) Opened(t time.Time) int { return c.upTo(t, c.opens) }

// Closed returns how many windows have closed at or before t: those with the numbers below it. The windows that are
// open at t have the numbers from Closed(t) to Opened(t)-1; that is one or none, or two in the hour that comes twice.
// The windows whose last moment lies after a and not after b are those from Closed(a) to Closed(b)-1.
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

// upTo counts the windows whose moment is at or before t. The local day of t gives the neighbourhood: windows that open
// or close more than slack days away cannot be in doubt, even where a zone repeats or skips a day.
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

func (c Calendar) clamped(turn int) int { return min(max(turn*len(c.windows), 0), c.count) }

func (c Calendar) locate(number int) (localtime.Day, dayWindow) {
	turn, n := number/len(c.windows), number%len(c.windows)
	return c.first + localtime.Day(turn*c.every), c.windows[n]
}

// opens is the first of two equal times, so that nobody loses time.
func (c Calendar) opens(number int) time.Time {
	day, w := c.locate(number)
	return c.zone.Resolve(day, w.opens, localtime.First)
}

// closes is the second of two equal times, so that nobody loses time.
func (c Calendar) closes(number int) time.Time {
	day, w := c.locate(number)
	if w.nextDay {
		day++
	}
	return c.zone.Resolve(day, w.closes, localtime.Second)
}
