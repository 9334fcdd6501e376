package domain

import (
	"regexp"
	"time"

	"casebook/domain/refuse"
)

// Date is a calendar day without a time or zone, written YYYY-MM-DD. Sites record days like this on paper.
type Date string

// DateOf returns the day that t falls on, in t's own location.
func DateOf(t time.Time) Date { return Date(t.Format(time.DateOnly)) }

// Time returns midnight UTC of the day, for arithmetic between days.
func (d Date) Time() (time.Time, error) {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil && isWrittenAsDay(string(d)) {
		return time.Time{}, refuse.Malformed("malformed_date", "there is no such day as %s", d).Do("check the day and the month")
	}
	if err != nil {
		return time.Time{}, refuse.Malformed("malformed_date", "%q is not a date", shortened(string(d))).
			Do("write the day as YYYY-MM-DD, such as 2026-03-01")
	}
	return t, nil
}

// isWrittenAsDay is of what could be a day in another month or year, such as 2026-02-30.
var isWrittenAsDay = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`).MatchString

// Schema implements HasSchema.
func (Date) Schema() Schema { return Schema{Format: "date", Example: "2026-03-01"} }

// Validate refuses anything but a day of the calendar (code malformed_date).
func (d Date) Validate() error {
	_, err := d.Time()
	return err
}

// AddDays returns the day n days later; n may be negative. It returns a malformed date unchanged.
func (d Date) AddDays(n int) Date {
	t, err := d.Time()
	if err != nil {
		return d
	}
	return DateOf(t.AddDate(0, 0, n))
}

const secondsPerDay = 24 * 60 * 60

// DaysSince returns how many days d is after start: 0 on the same day, negative before it, 0 if either is malformed.
func (d Date) DaysSince(start Date) int {
	to, err1 := d.Time()
	from, err2 := start.Time()
	if err1 != nil || err2 != nil {
		return 0
	}
	return int((to.Unix() - from.Unix()) / secondsPerDay) // a Duration cannot hold more than 292 years
}

// NotBefore refuses, with the given code, a day before the day of an earlier step; an earliest of "" allows every day.
// Both must be valid days, whose text sorts as the days do. what and earliestWhat name the two days in the sentence,
// for example "the end" and "the enrolment".
func (d Date) NotBefore(earliest Date, code, field, what, earliestWhat string) error {
	if d >= earliest {
		return nil
	}
	return refuse.Because(code, "%s on %s lies before %s on %s", what, d, earliestWhat, earliest).At(field).Do("check both days")
}

// NotAfterToday refuses a day that has not begun where the command takes place, or anywhere on Earth if that is not known (code
// captured_in_future), because what has happened cannot be in the future. It also refuses a malformed date (malformed_date). field
// names the day in both refusals.
func (d Date) NotAfterToday(field string, call Call) error {
	if err := d.Validate(); err != nil {
		return At(field, err)
	}
	today := call.Today
	if today == "" {
		today = DateOf(call.At.In(time.FixedZone("UTC+14", 14*3600)))
	}
	if d > today {
		return refuse.Because("captured_in_future", "%s is %s, which lies in the future", field, d).
			At(field).Do("check the date; what has not happened yet is not recorded")
	}
	return nil
}
