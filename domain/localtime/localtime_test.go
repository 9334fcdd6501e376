package localtime_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/refuse"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *localtime.Zone {
	t.Helper()
	z, err := localtime.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func day(t testing.TB, date domain.Date) localtime.Day {
	t.Helper()
	d, err := localtime.DayOf(date)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func clock(t testing.TB, s string) localtime.Clock {
	t.Helper()
	c, err := localtime.ParseClock(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestResolve(t *testing.T) {
	tests := []struct {
		zone, date, clock string
		first, second     string
	}{
		{"Asia/Shanghai", "2026-03-01", "20:30", "2026-03-01T12:30:00Z", ""},
		{"UTC", "2026-03-01", "20:30", "2026-03-01T20:30:00Z", ""},
		{"Europe/Berlin", "2026-01-15", "18:00", "2026-01-15T17:00:00Z", ""},
		{"Europe/Berlin", "2026-07-15", "18:00", "2026-07-15T16:00:00Z", ""},

		// Berlin goes forward at 02:00 on 29 March and back at 03:00 on 25 October.
		{"Europe/Berlin", "2026-03-29", "01:59", "2026-03-29T00:59:00Z", ""},
		{"Europe/Berlin", "2026-03-29", "02:00", "2026-03-29T01:00:00Z", ""},
		{"Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:00:00Z", ""},
		{"Europe/Berlin", "2026-03-29", "03:00", "2026-03-29T01:00:00Z", ""},
		{"Europe/Berlin", "2026-10-25", "01:59", "2026-10-24T23:59:00Z", ""},
		{"Europe/Berlin", "2026-10-25", "02:00", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
		{"Europe/Berlin", "2026-10-25", "02:59", "2026-10-25T00:59:00Z", "2026-10-25T01:59:00Z"},
		{"Europe/Berlin", "2026-10-25", "03:00", "2026-10-25T02:00:00Z", ""},

		{"America/New_York", "2026-11-01", "00:59", "2026-11-01T04:59:00Z", ""},
		{"America/New_York", "2026-11-01", "01:00", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
		{"America/New_York", "2026-11-01", "01:30", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"},
		{"America/New_York", "2026-11-01", "02:00", "2026-11-01T07:00:00Z", ""},
		{"America/New_York", "2026-03-08", "02:30", "2026-03-08T07:00:00Z", ""},

		// Lord Howe Island moves by half an hour.
		{"Australia/Lord_Howe", "2026-04-05", "01:29", "2026-04-04T14:29:00Z", ""},
		{"Australia/Lord_Howe", "2026-04-05", "01:30", "2026-04-04T14:30:00Z", "2026-04-04T15:00:00Z"},
		{"Australia/Lord_Howe", "2026-04-05", "01:45", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"},
		{"Australia/Lord_Howe", "2026-04-05", "02:00", "2026-04-04T15:30:00Z", ""},
		{"Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03T15:30:00Z", ""},

		// Samoa left out a whole day when it crossed the date line.
		{"Pacific/Apia", "2011-12-29", "23:59", "2011-12-30T09:59:00Z", ""},
		{"Pacific/Apia", "2011-12-30", "00:00", "2011-12-30T10:00:00Z", ""},
		{"Pacific/Apia", "2011-12-30", "12:00", "2011-12-30T10:00:00Z", ""},
		{"Pacific/Apia", "2011-12-31", "00:00", "2011-12-30T10:00:00Z", ""},
		{"Pacific/Apia", "2011-12-31", "00:01", "2011-12-30T10:01:00Z", ""},

		// Alaska had the same day twice, and Newfoundland changed its clocks a minute after midnight.
		{"America/Juneau", "1867-10-19", "12:00", "1867-10-18T20:57:41Z", "1867-10-19T20:57:41Z"},
		{"America/St_Johns", "2010-11-06", "23:30", "2010-11-07T02:00:00Z", "2010-11-07T03:00:00Z"},
		{"America/St_Johns", "2010-11-07", "00:00", "2010-11-07T02:30:00Z", "2010-11-07T03:30:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.zone+" "+tt.date+" "+tt.clock, func(t *testing.T) {
			if tt.second == "" {
				tt.second = tt.first
			}
			z, d, c := zone(t, tt.zone), day(t, domain.Date(tt.date)), clock(t, tt.clock)
			if got := z.Resolve(d, c, localtime.First).Format(time.RFC3339); got != tt.first {
				t.Errorf("first %s, want %s", got, tt.first)
			}
			if got := z.Resolve(d, c, localtime.Second).Format(time.RFC3339); got != tt.second {
				t.Errorf("second %s, want %s", got, tt.second)
			}
		})
	}
}

var someZones = rapid.SampledFrom([]string{
	"UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Sao_Paulo", "America/Havana",
	"Australia/Lord_Howe", "Asia/Shanghai", "Asia/Kolkata", "Asia/Gaza", "Africa/Casablanca", "Pacific/Apia",
	"Pacific/Kwajalein", "Antarctica/Troll", "Asia/Kathmandu",
})

// The days are from 1960 to 2060, to test the tables of the past as well as the rules for the future.
var someDays = rapid.Map(rapid.IntRange(-3650, 32850), func(n int) localtime.Day { return localtime.Day(n) })

var someClocks = rapid.Map(rapid.IntRange(0, 1439), func(n int) localtime.Clock { return localtime.Clock(n) })

// The wall-clock time of a moment resolves to that moment again, with First or with Second.
func TestResolveReversesTheWallClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, err := localtime.Load(someZones.Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(60*rapid.Int64Range(-5e6, 47e6).Draw(t, "minute"), 0).UTC()
		local := z.In(at)
		if local.Second() != 0 {
			t.Skip("an offset with seconds")
		}
		d, c := z.DayAt(at), localtime.Clock(local.Hour()*60+local.Minute())
		if d.Date() != domain.DateOf(local) {
			t.Fatalf("DayAt returns %s, the clocks show %s", d.Date(), local)
		}
		first, second := z.Resolve(d, c, localtime.First), z.Resolve(d, c, localtime.Second)
		if !first.Equal(at) && !second.Equal(at) {
			t.Fatalf("%s resolves to %s and %s, not to %s", local, first, second, at)
		}
	})
}

// First is the earliest moment at which the clocks have reached a time, Second the moment after which they always have.
// The test checks every minute of three days.
func TestResolveAgreesWithTheClocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, err := localtime.Load(someZones.Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		d, c := someDays.Draw(t, "day"), someClocks.Draw(t, "clock")
		wall := d.Date()
		want := string(wall) + " " + c.String()
		shows := func(at time.Time) string { return z.In(at).Format("2006-01-02 15:04") }

		first, second := z.Resolve(d, c, localtime.First), z.Resolve(d, c, localtime.Second)
		if first.After(second) {
			t.Fatalf("the first moment, %s, is after the second, %s", first, second)
		}
		for minute := -36 * 60; minute <= 36*60; minute++ {
			at := first.Add(time.Duration(minute) * time.Minute)
			if at.Before(first) && shows(at) >= want {
				t.Fatalf("at %s, before the first moment %s, the clocks have already reached %s", at, first, want)
			}
			if !at.Before(second) && shows(at) < want {
				t.Fatalf("at %s, after the second moment %s, the clocks show %s, before %s", at, second, shows(at), want)
			}
		}
		if shows(first) < want || shows(second) < want {
			t.Fatalf("the clocks show %s and %s, before %s", shows(first), shows(second), want)
		}
	})
}

// Later times of a zone never resolve to earlier moments, even if the clocks change in between.
func TestResolveKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, err := localtime.Load(someZones.Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		d, c := someDays.Draw(t, "day"), someClocks.Draw(t, "clock")
		later := int(c) + rapid.IntRange(0, 3*1440).Draw(t, "minutes later")
		d2, c2 := d+localtime.Day(later/1440), localtime.Clock(later%1440)
		for _, choice := range []localtime.Choice{localtime.First, localtime.Second} {
			if a, b := z.Resolve(d, c, choice), z.Resolve(d2, c2, choice); b.Before(a) {
				t.Fatalf("%s %s is %s, but %s %s is %s", d.Date(), c, a, d2.Date(), c2, b)
			}
		}
	})
}

func TestDayOfReversesDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := localtime.Day(rapid.IntRange(-700_000, 2_900_000).Draw(t, "day"))
		back, err := localtime.DayOf(d.Date())
		if err != nil || back != d {
			t.Fatalf("%s is day %d, %v; want %d", d.Date(), back, err, d)
		}
	})
	if got := day(t, "1970-01-02"); got != 1 {
		t.Errorf("1970-01-02 is day %d", got)
	}
}

func TestUnknownZonesAreRefused(t *testing.T) {
	for _, name := range []string{"", "Local", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "europe\\berlin",
		strings.Repeat("a", 10_000), "\x00"} {
		_, err := localtime.Load(name)
		if r, ok := refuse.As(err); !ok || r.Code != "unknown_zone" || len(r.Sentence) > 400 {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	if z := zone(t, "Europe/Berlin"); z.Name() != "Europe/Berlin" || z != zone(t, "Europe/Berlin") {
		t.Errorf("got %s", z.Name())
	}
}

func TestMalformedTimesAreRefused(t *testing.T) {
	for _, s := range []string{"", "8:00", "24:00", "12:60", "1200", "12:0", "12-00", "ab:cd", "12:00:00", "１2:00"} {
		_, err := localtime.ParseClock(s)
		if r, ok := refuse.As(err); !ok || r.Code != "malformed_time" {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"00:00", "09:05", "23:59"} {
		if got := clock(t, s).String(); got != s {
			t.Errorf("%s is written %s", s, got)
		}
	}
	if _, err := localtime.DayOf("2026-02-30"); err == nil {
		t.Error("30 February is accepted as a day")
	}
}

func TestZonesCanBeLoadedConcurrently(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, name := range []string{"Europe/Paris", "Asia/Tokyo", "America/Lima"} {
				z, err := localtime.Load(name)
				if err != nil {
					t.Error(err)
					return
				}
				z.Resolve(20_000, 600, localtime.First)
			}
		})
	}
	all.Wait()
}

func BenchmarkResolve(b *testing.B) {
	z, d := zone(b, "America/New_York"), day(b, "2026-03-01")
	for b.Loop() {
		z.Resolve(d, 20*60, localtime.First)
	}
}
