package simulation

import (
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
)

// capture has a phone capture an entry in the evening of each day. What has to become of each follows from what the phone says about
// its time and its zone, because nothing else is known.
func (f *Fleet) capture(p *Phone, first domain.Date) error {
	elsewhere := abroad[p.random.IntN(len(abroad))]
	// Half of the wrong clocks are so far ahead that the last entries lie in the future, the others behind the first day.
	shift := f.Days / 2
	if p.random.IntN(2) == 0 {
		shift = -shift
	}
	for n := range f.Days {
		day, zone := first.AddDays(n), p.Zone
		if p.kind == travelling && n >= f.Days/3 && n < 2*f.Days/3 {
			zone = elsewhere
		}
		if p.kind == wrongClock {
			day = day.AddDays(shift)
		}
		location, err := time.LoadLocation(zone)
		if err != nil {
			return err
		}
		evening, err := time.ParseInLocation("2006-01-02T15:04:05", string(day)+"T18:30:00", location)
		if err != nil {
			return err
		}
		at := evening.Add(time.Duration(p.random.IntN(5*60*60)) * time.Second)
		_, offset := at.Zone()
		if p.kind == wrongZone && n%2 == 0 {
			offset += 3600
		}
		c := &captured{window: string(day) + "/evening", rivals: p.kind == twice}
		switch {
		case p.kind == wrongZone && n%2 == 0:
			c.window, c.why = "", diary.WhyZoneContradicts
		case day < first:
			c.window, c.why = "", diary.WhyTooEarly
		case day > f.Today:
			c.window, c.why = "", diary.WhyInFuture
		case day >= f.Today.AddDays(-1):
			continue // whether that lies in the future depends on the hour
		}
		worst := float64(p.random.IntN(8)) // never severe
		c.command = diary.SubmitDiary{OfPatient: domain.ForPatient(p.Patient), Instrument: instrument.PainDiary().ID,
			CapturedAt: at.In(time.FixedZone("", offset)), Zone: zone, Device: p.Device, Sequence: int64(len(p.kept) + 1),
			MonotonicMs: int64(n+1) * 86_400_000,
			Answers:     diary.Answers{"worst": worst, "least": 0.0, "average": float64(int(worst) / 2), "now": 1.0, "rescue": false}}
		if c.command, err = p.Key.Sign(c.command); err != nil {
			return err
		}
		c.key = fmt.Sprintf("%s-%s-%d", p.Patient, p.Device, c.command.Sequence)
		p.kept = append(p.kept, c)
	}
	return nil
}
