package instrument

import (
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/refuse"
)

// QuietHours are hours of the local day in which nobody is reminded. They go over midnight where From is after Until, and there are none
// where both are the same.
type QuietHours struct {
	From  string `json:"from" doc:"Local time HH:MM from which nobody is reminded" example:"22:00"`
	Until string `json:"until" doc:"Local time HH:MM until which nobody is reminded; the same as from for no quiet hours" example:"07:00"`
}

// Validate refuses value_missing and malformed_time. field is where the quiet hours are in the body.
func (q QuietHours) Validate(field string) error {
	return domain.First(checkClock(field+".from", q.From), checkClock(field+".until", q.Until))
}

func checkClock(field, clock string) error {
	if clock == "" {
		return refuse.Malformed("value_missing", "%s is missing", field).At(field).Do("give it")
	}
	_, err := localtime.ParseClock(clock)
	return domain.At(field, err)
}

// EndAfter returns when the quiet hours end in which a moment lies, by the clocks of a zone; false where it lies in none. The hour that
// occurs twice in the night in which the clocks go back is quiet both times.
func (q QuietHours) EndAfter(at time.Time, zone *localtime.Zone) (end time.Time, quiet bool) {
	from, fromErr := localtime.ParseClock(q.From)
	until, untilErr := localtime.ParseClock(q.Until)
	local := zone.In(at)
	now, day := localtime.Clock(local.Hour()*60+local.Minute()), zone.DayAt(at)
	switch {
	case fromErr != nil || untilErr != nil:
		return time.Time{}, false
	case from <= until && (now < from || now >= until), from > until && now < from && now >= until:
		return time.Time{}, false
	case from > until && now >= from:
		day++
	}
	return zone.Resolve(day, until, localtime.Second), true
}
