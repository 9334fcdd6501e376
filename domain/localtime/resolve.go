package localtime

import "time"

// Choice picks one of the two moments of a wall-clock time that occurs twice.
type Choice int

const (
	// First is the earlier moment, before the clocks go back.
	First Choice = iota
	// Second is the later moment, after the clocks have gone back.
	Second
)

// maxOffset is larger than the offset that any zone ever had from UTC (the extremes are -15:56 and +15:13, before
// 1900), in seconds.
const maxOffset = 16 * 60 * 60

// Resolve returns the moment, in UTC, at which the clocks of the zone show this time on this day. If the clocks show
// the time twice, choice picks one of the two moments. If the clocks skip the time, the result is the moment of the
// change. That also holds for a whole skipped day, such as 2011-12-30 in Samoa.
//
// First is the earliest moment at which the local clocks have reached the time, Second the last moment at which they
// reach it. Later local times never resolve to earlier moments.
func (z *Zone) Resolve(day Day, clock Clock, choice Choice) time.Time {
	wall := int64(day)*secondsPerDay + int64(clock)*secondsPerMinute
	if choice == Second {
		return time.Unix(z.lastReaching(wall), 0).UTC()
	}
	return time.Unix(z.firstReaching(wall), 0).UTC()
}

// Showing returns the moment at which the clocks of the zone show what local shows in its own: the same moment where both have the
// same offset then, and otherwise the first such moment.
func (z *Zone) Showing(local time.Time) time.Time {
	_, there := local.Zone()
	if _, here := z.In(local).Zone(); here == there {
		return local
	}
	day := Day(floorDiv(local.Unix()+int64(there), secondsPerDay))
	within := time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	return z.Resolve(day, Clock(local.Hour()*60+local.Minute()), First).Add(within)
}

// firstReaching walks forward through the periods of equal offset, from a moment at which no zone has reached wall yet.
func (z *Zone) firstReaching(wall int64) int64 {
	at := time.Unix(wall-maxOffset, 0).In(z.location)
	for {
		_, offset := at.Zone()
		start, end := at.ZoneBounds()
		moment := wall - int64(offset)
		if moment < start.Unix() {
			return start.Unix()
		}
		if end.IsZero() || moment < end.Unix() {
			return moment
		}
		at = end
	}
}

// lastReaching walks backward through the periods of equal offset, from a moment at which every zone has passed wall.
func (z *Zone) lastReaching(wall int64) int64 {
	at := time.Unix(wall+maxOffset, 0).In(z.location)
	for {
		_, offset := at.Zone()
		start, end := at.ZoneBounds()
		moment := wall - int64(offset)
		if !end.IsZero() && moment > end.Unix() {
			return end.Unix()
		}
		if start.IsZero() || moment >= start.Unix() {
			return moment
		}
		at = start.Add(-time.Second)
	}
}
