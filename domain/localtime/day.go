package localtime

import (
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
)

const (
	secondsPerMinute = 60
	secondsPerDay    = 24 * 60 * 60
	minutesPerDay    = 24 * 60
)

// Day is a calendar day as a number, so that days can be counted: 0 is 1970-01-01.
type Day int

// DayOf returns the day of a date. It refuses a malformed date (code malformed_date).
func DayOf(date domain.Date) (Day, error) {
	midnight, err := date.Time()
	if err != nil {
		return 0, err
	}
	return Day(floorDiv(midnight.Unix(), secondsPerDay)), nil
}

// Schema implements domain.HasSchema.
func (Day) Schema() domain.Schema { return domain.Schema{Description: "Days since 1970-01-01"} }

// Date returns the day as a date.
func (d Day) Date() domain.Date {
	return domain.DateOf(time.Unix(int64(d)*secondsPerDay, 0).UTC())
}

// Clock is a wall-clock time in minutes after midnight, 0 to 1439.
type Clock int

// ParseClock reads a time written HH:MM, from 00:00 to 23:59. It refuses anything else (code malformed_time).
func ParseClock(s string) (Clock, error) {
	if len(s) == 5 && s[2] == ':' {
		hour, okHour := twoDigits(s[0], s[1])
		minute, okMinute := twoDigits(s[3], s[4])
		if okHour && okMinute && hour < 24 && minute < 60 {
			return Clock(hour*60 + minute), nil
		}
	}
	if len(s) > 20 {
		s = s[:20] + "..."
	}
	return 0, refuse.Malformed("malformed_time", "%q is not a time of day", s).Do("write it as HH:MM, from 00:00 to 23:59")
}

// String writes the time as HH:MM.
func (c Clock) String() string {
	digits := [5]byte{'0' + byte(c/600), '0' + byte(c/60%10), ':', '0' + byte(c%60/10), '0' + byte(c%10)}
	return string(digits[:])
}

func twoDigits(tens, ones byte) (int, bool) {
	if tens < '0' || tens > '9' || ones < '0' || ones > '9' {
		return 0, false
	}
	return int(tens-'0')*10 + int(ones-'0'), true
}

// floorDiv divides and rounds down, also for negative numbers.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
