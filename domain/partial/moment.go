// Package partial holds dates and times of which a part may be unknown, as sites learn them: "in March 2026", "on the
// 15th, the month is not known". What is unknown is never filled in: a Moment is the span in which the true moment lies,
// and two moments are only compared where every true moment that they could stand for gives the same answer.
//
// Dates are written as ODM writes its partialDate, incompleteDate and partialDatetime. They have no zone: they are local
// to the site that recorded them. Begin reading at Moment.
package partial

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Moment is a date, a date with its time, or a time of the day. The zero value is no moment. It never changes.
type Moment struct {
	text string
	kind kind
	// exact is what the moment is known to; where it is not known to anything, it lies anywhere between first and last.
	exact precision
	// first and last are the first and the last second that the moment can be: since 1970-01-01T00:00:00, or since
	// midnight for a time of the day.
	first, last int64
}

type kind byte

const (
	ofDate kind = iota + 1
	ofDay
)

type precision byte

const (
	unknownPart precision = iota
	toTheDay
	toTheMinute
	toTheSecond
)

const (
	secondsPerMinute = 60
	secondsPerDay    = 24 * 60 * secondsPerMinute
)

// Day reads a day, YYYY-MM-DD.
func Day(text string) (Moment, bool) {
	day, ok := dayNumber(text)
	if !ok {
		return Moment{}, false
	}
	return dayMoment(text, day), true
}

// Date reads a day of which a part may be unknown: YYYY-MM-DD, YYYY-MM, YYYY, or with a single hyphen in the place
// of each unknown part, such as 2026---15 (month unknown) and --03-01 (year unknown). At least one part is known.
func Date(text string) (Moment, bool) {
	if m, ok := Day(text); ok {
		return m, true
	}
	if m, ok := monthOrYear(text); ok {
		return m, true
	}
	return incompleteDate(text)
}

// DayAndTime reads a day with its time: YYYY-MM-DDTHH:MM or YYYY-MM-DDTHH:MM:SS.
func DayAndTime(text string) (Moment, bool) {
	date, clock, ok := strings.Cut(text, "T")
	if !ok {
		return Moment{}, false
	}
	day, ok := dayNumber(date)
	if !ok {
		return Moment{}, false
	}
	m, ok := Clock(clock)
	if !ok {
		return Moment{}, false
	}
	midnight := day * secondsPerDay
	return Moment{text: text, kind: ofDate, exact: m.exact, first: midnight + m.first, last: midnight + m.last}, true
}

// Datetime reads a day with its time of which a part may be unknown: a DayAndTime, a day with the hour alone,
// YYYY-MM-DDTHH, or a Date, of which the time is unknown.
func Datetime(text string) (Moment, bool) {
	date, hour, timed := strings.Cut(text, "T")
	if !timed {
		m, ok := Date(text)
		m.exact = unknownPart
		return m, ok
	}
	if m, ok := DayAndTime(text); ok {
		return m, true
	}
	day, ok := dayNumber(date)
	h, isHour := twoDigits(hour, 23)
	if !ok || !isHour {
		return Moment{}, false
	}
	first := day*secondsPerDay + h*60*secondsPerMinute
	return Moment{text: text, kind: ofDate, first: first, last: first + 60*secondsPerMinute - 1}, true
}

// Clock reads a time of the day: HH:MM or HH:MM:SS.
func Clock(text string) (Moment, bool) {
	if len(text) != len("15:04") && len(text) != len("15:04:05") || text[2] != ':' {
		return Moment{}, false
	}
	h, isHour := twoDigits(text[:2], 23)
	m, isMinute := twoDigits(text[3:5], 59)
	if !isHour || !isMinute {
		return Moment{}, false
	}
	first := (h*60 + m) * secondsPerMinute
	if len(text) == len("15:04") {
		return Moment{text: text, kind: ofDay, exact: toTheMinute, first: first, last: first + secondsPerMinute - 1}, true
	}
	s, isSecond := twoDigits(text[6:], 59)
	if text[5] != ':' || !isSecond {
		return Moment{}, false
	}
	return Moment{text: text, kind: ofDay, exact: toTheSecond, first: first + s, last: first + s}, true
}

// String returns the moment as it was written.
func (m Moment) String() string { return m.text }

// Compare says whether m lies before other (-1), after it (+1) or is the same (0). known is false where the spans of the
// two overlap, so that the answer depends on what is unknown. Two moments are the same when both are known to the same
// precision and are equal in it: two equal days, two equal minutes.
func (m Moment) Compare(other Moment) (order int, known bool) {
	switch {
	case m.kind != other.kind || m.kind == 0:
		return 0, false
	case m.last < other.first:
		return -1, true
	case m.first > other.last:
		return 1, true
	default:
		return 0, m.exact != unknownPart && m.exact == other.exact && m.first == other.first
	}
}

// DaysSince returns how many days m lies after other, negative where it lies before. known is false where the day of one
// of them is not known.
func (m Moment) DaysSince(other Moment) (days int, known bool) {
	to, ok1 := m.day()
	from, ok2 := other.day()
	return int(to - from), ok1 && ok2
}

// day returns the day since 1970-01-01, where it is known.
func (m Moment) day() (int64, bool) {
	first, last := floor(m.first, secondsPerDay), floor(m.last, secondsPerDay)
	return first, m.kind == ofDate && first == last
}

func dayMoment(text string, day int64) Moment {
	return Moment{text: text, kind: ofDate, exact: toTheDay, first: day * secondsPerDay, last: (day+1)*secondsPerDay - 1}
}

// dayNumber reads YYYY-MM-DD as the days since 1970-01-01. It is what time.Parse does, at a third of the time: every diary
// with a date passes here.
func dayNumber(text string) (int64, bool) {
	if len(text) != len("2006-01-02") || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	century, ok1 := twoDigits(text[:2], 99)
	years, ok2 := twoDigits(text[2:4], 99)
	month, ok3 := twoDigits(text[5:7], 12)
	day, ok4 := twoDigits(text[8:], 31)
	if !ok1 || !ok2 || !ok3 || !ok4 || month == 0 || day == 0 {
		return 0, false
	}
	year := century*100 + years
	if day > 28 && day > daysIn(year, month) {
		return 0, false
	}
	// The year begins in March here, so that the day that leap years add is its last.
	if month <= 2 {
		year, month = year-1, month+12
	}
	leaps := floor(year, 4) - floor(year, 100) + floor(year, 400)
	const daysTo1970 = 719_469 // by this count, up to 1970-01-01
	return year*365 + leaps + (153*(month-3)+2)/5 + day - daysTo1970, true
}

func daysIn(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	default:
		return 31
	}
}

func floor(n, by int64) int64 {
	if n < 0 {
		return (n - by + 1) / by
	}
	return n / by
}

// monthOrYear reads YYYY-MM or YYYY.
func monthOrYear(text string) (Moment, bool) {
	if len(text) != len("2006-01") && len(text) != len("2006") {
		return Moment{}, false
	}
	first, err := time.Parse("2006-01"[:len(text)], text)
	if err != nil {
		return Moment{}, false
	}
	next := first.AddDate(1, 0, 0)
	if len(text) == len("2006-01") {
		next = first.AddDate(0, 1, 0)
	}
	return Moment{text: text, kind: ofDate, first: first.Unix(), last: next.Unix() - 1}, true
}

// incompleteDate reads a date with a single hyphen in the place of each unknown part. A span has no gaps, so that a day
// of an unknown month lies anywhere from the first to the last month that has it.
func incompleteDate(text string) (Moment, bool) {
	year, rest, ok1 := part(text, 4)
	month, day, ok2 := part(rest, 2)
	if !ok1 || !ok2 || year == "-" && month == "-" && day == "-" {
		return Moment{}, false
	}
	if year == "-" {
		// A leap year has every day that a year can have.
		if _, ok := spanInYear("2000", month, day); !ok {
			return Moment{}, false
		}
		return Moment{text: text, kind: ofDate, first: math.MinInt64, last: math.MaxInt64}, true
	}
	m, ok := spanInYear(year, month, day)
	if ok {
		m.text = text
	}
	return m, ok
}

// part cuts the next part of a date and the hyphen after it: "-" where the part is unknown, else its digits.
func part(text string, digits int) (found, rest string, ok bool) {
	if strings.HasPrefix(text, "--") {
		return "-", text[2:], true
	}
	if len(text) <= digits || text[digits] != '-' {
		return "", "", false
	}
	return text[:digits], text[digits+1:], true
}

func spanInYear(year, month, day string) (Moment, bool) {
	if month != "-" {
		if day != "-" {
			return Day(year + "-" + month + "-" + day)
		}
		return monthOrYear(year + "-" + month)
	}
	if day == "-" {
		return monthOrYear(year)
	}
	var span Moment
	for n := 1; n <= 12; n++ {
		m, ok := Day(fmt.Sprintf("%s-%02d-%s", year, n, day))
		if !ok {
			continue
		}
		if span.kind == 0 {
			span = Moment{kind: ofDate, first: m.first}
		}
		span.last = m.last
	}
	return span, span.kind != 0
}

func twoDigits(text string, most int64) (int64, bool) {
	if len(text) != 2 || text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9' {
		return 0, false
	}
	n := int64(text[0]-'0')*10 + int64(text[1]-'0')
	return n, n <= most
}
