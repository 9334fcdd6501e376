package instrument_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/localtime"

	"pgregory.net/rapid"
)

type failer interface{ Fatal(...any) }

func calendar(t failer, zone string, from, until domain.Date, everyDays int, windows ...instrument.DayWindow) instrument.Calendar {
	d := instrument.PainDiary()
	d.Schedule.EveryDays, d.Schedule.Windows = everyDays, windows
	i, err := instrument.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	z, err := localtime.Load(zone)
	if err != nil {
		t.Fatal(err)
	}
	c, err := i.Calendar(z, from, until)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func utc(t *testing.T, s string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func TestCalendarWindows(t *testing.T) {
	tests := []struct {
		name, zone          string
		day                 domain.Date
		opens, closes       string // local times of the window
		opensUTC, closesUTC string
	}{
		{"an evening in Shanghai",
			"Asia/Shanghai", "2026-03-01", "20:00", "23:30", "2026-03-01T12:00:00Z", "2026-03-01T15:30:00Z"},
		{"across midnight",
			"Asia/Shanghai", "2026-03-01", "22:00", "02:00", "2026-03-01T14:00:00Z", "2026-03-01T18:00:00Z"},
		{"a whole day",
			"Asia/Shanghai", "2026-03-01", "12:00", "12:00", "2026-03-01T04:00:00Z", "2026-03-02T04:00:00Z"},
		{"across midnight at the end of the year",
			"UTC", "2026-12-31", "22:00", "02:00", "2026-12-31T22:00:00Z", "2027-01-01T02:00:00Z"},
		{"the repeated hour is one window",
			"America/New_York", "2026-11-01", "01:00", "02:00", "2026-11-01T05:00:00Z", "2026-11-01T07:00:00Z"},
		{"it ends at the second of two equal times",
			"America/New_York", "2026-11-01", "00:30", "01:30", "2026-11-01T04:30:00Z", "2026-11-01T06:30:00Z"},
		{"it begins at the first of two equal times",
			"America/New_York", "2026-11-01", "01:30", "03:00", "2026-11-01T05:30:00Z", "2026-11-01T08:00:00Z"},
		{"across midnight into the repeated hour",
			"America/New_York", "2026-10-31", "22:00", "01:30", "2026-11-01T02:00:00Z", "2026-11-01T06:30:00Z"},
		{"it begins in the skipped hour",
			"Europe/Berlin", "2026-03-29", "02:30", "04:00", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
		{"it ends in the skipped hour",
			"Europe/Berlin", "2026-03-29", "01:00", "02:30", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
		{"it is the skipped hour",
			"Europe/Berlin", "2026-03-29", "02:00", "03:00", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		{"a repeated half hour",
			"Australia/Lord_Howe", "2026-04-05", "01:30", "02:00", "2026-04-04T14:30:00Z", "2026-04-04T15:30:00Z"},
		{"a skipped day",
			"Pacific/Apia", "2011-12-30", "08:00", "20:00", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := calendar(t, tt.zone, tt.day, tt.day, 1, instrument.DayWindow{ID: "w", Opens: tt.opens, Closes: tt.closes})
			got := c.Window(0)
			opens, closes := utc(t, tt.opensUTC), utc(t, tt.closesUTC)
			if c.Len() != 1 || got.ID != string(tt.day)+"/w" || !got.Opens.Equal(opens) || !got.Closes.Equal(closes) {
				t.Errorf("got %d windows, %+v", c.Len(), got)
			}
			if c.Empty(0) != opens.Equal(closes) {
				t.Errorf("empty: %v", c.Empty(0))
			}
		})
	}
}

func TestCalendarNumbers(t *testing.T) {
	morning := instrument.DayWindow{ID: "morning", Opens: "08:00", Closes: "10:00"}
	evening := instrument.DayWindow{ID: "evening", Opens: "20:00", Closes: "22:00"}
	c := calendar(t, "UTC", "2026-03-01", "2026-03-10", 3, morning, evening)
	if c.Len() != 8 {
		t.Fatalf("%d windows", c.Len())
	}
	for number, id := range []string{
		"2026-03-01/morning", "2026-03-01/evening", "2026-03-04/morning", "2026-03-04/evening",
		"2026-03-07/morning", "2026-03-07/evening", "2026-03-10/morning", "2026-03-10/evening",
	} {
		if got, ok := c.Number(id); !ok || got != number || c.Window(number).ID != id {
			t.Errorf("%s is number %d, %v, and %d is %s", id, got, ok, number, c.Window(number).ID)
		}
	}
	for _, id := range []string{
		"", "2026-03-01", "2026-03-01/", "2026-03-01/noon", "2026-03-02/morning", "2026-02-26/morning",
		"2026-03-13/morning", "2026-3-1/morning", "today/morning", "2026-03-01/morning/x",
	} {
		if got, ok := c.Number(id); ok {
			t.Errorf("%q is number %d", id, got)
		}
	}
	if none := calendar(t, "UTC", "2026-03-01", "2026-02-28", 1, morning); none.Len() != 0 || none.Opened(time.Now()) != 0 {
		t.Errorf("%d windows between a day and the day before", none.Len())
	}
}

var someSchedules = rapid.SampledFrom([][]instrument.DayWindow{
	{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
	{{ID: "night", Opens: "22:30", Closes: "03:15"}},
	{{ID: "whole", Opens: "00:00", Closes: "00:00"}},
	{{ID: "midday", Opens: "12:00", Closes: "12:00"}},
	{{ID: "a", Opens: "00:30", Closes: "01:30"}, {ID: "b", Opens: "01:30", Closes: "02:30"}, {ID: "c", Opens: "02:30", Closes: "23:59"}},
	{{ID: "a", Opens: "08:00", Closes: "10:00"}, {ID: "b", Opens: "20:00", Closes: "08:00"}},
})

// someZones are zones with a day shortly before a change of their clocks.
var someZones = rapid.SampledFrom([]struct {
	zone string
	from domain.Date
}{
	{"UTC", "2026-01-01"}, {"Asia/Shanghai", "2026-02-20"},
	{"America/New_York", "2026-10-29"}, {"America/New_York", "2026-03-05"}, {"Europe/Berlin", "2026-10-22"},
	{"Europe/Berlin", "2040-03-20"}, {"Australia/Lord_Howe", "2026-04-02"}, {"Australia/Lord_Howe", "2026-10-01"},
	{"America/St_Johns", "2010-11-04"}, {"America/Sao_Paulo", "2018-11-01"}, {"Africa/Casablanca", "2026-02-12"},
	{"Pacific/Apia", "2011-12-27"}, {"Pacific/Kwajalein", "1993-08-18"}, {"America/Juneau", "1867-10-15"}, {"Asia/Manila", "1844-12-28"},
})

// Counting days finds the same windows as a search through all of them.
func TestCalendarAgreesWithASearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		where, every, days := someZones.Draw(t, "zone"), rapid.IntRange(1, 15).Draw(t, "every days"), rapid.IntRange(0, 40).Draw(t, "days")
		c := calendar(t, where.zone, where.from, where.from.AddDays(days), every, someSchedules.Draw(t, "windows")...)
		start, err := where.from.Time()
		if err != nil {
			t.Fatal(err)
		}
		at := start.Add(time.Duration(rapid.IntRange(-3*96, 45*96).Draw(t, "quarter")) * 15 * time.Minute)
		if rapid.Bool().Draw(t, "exactly at a window") {
			w := c.Window(rapid.IntRange(0, c.Len()-1).Draw(t, "number"))
			at = rapid.SampledFrom([]time.Time{w.Opens, w.Closes, w.Opens.Add(-time.Nanosecond), w.Closes.Add(-time.Nanosecond)}).Draw(t, "edge")
		}
		opened, closed := 0, 0
		for number := range c.Len() {
			w := c.Window(number)
			if number > 0 {
				before := c.Window(number - 1)
				if w.Opens.Before(before.Opens) || w.Closes.Before(before.Closes) {
					t.Fatalf("%+v comes after %+v", w, before)
				}
			}
			if !w.Opens.After(at) {
				opened++
			}
			if !w.Closes.After(at) {
				closed++
			}
			if got, ok := c.Number(w.ID); !ok || got != number {
				t.Fatalf("%s is number %d, want %d", w.ID, got, number)
			}
		}
		if c.Opened(at) != opened || c.Closed(at) != closed {
			t.Fatalf("at %s: opened %d and closed %d, want %d and %d", at, c.Opened(at), c.Closed(at), opened, closed)
		}
	})
}

func BenchmarkCalendarOpened(b *testing.B) {
	c := calendar(b, "America/New_York", "2020-01-01", "2029-12-31", 1, instrument.DayWindow{ID: "evening", Opens: "18:00", Closes: "00:00"})
	at := time.Date(2026, 12, 24, 23, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		c.Opened(at)
	}
}

func BenchmarkCheckScoresRisks(b *testing.B) {
	for _, d := range []*instrument.Definition{instrument.PainDiary(), instrument.PHQ9()} {
		i, err := instrument.Compile(d)
		if err != nil {
			b.Fatal(err)
		}
		given := answers{"worst": 9.0, "least": 6.0, "average": 7.0, "now": 8.0, "rescue": true, "doses": 4.0}
		if d.ID == "phq-9" {
			given = answers{"phq1": "1", "phq2": "1", "phq3": "1", "phq4": "1", "phq5": "1",
				"phq6": "1", "phq7": "1", "phq8": "1", "phq9": "0", "difficulty": "1"}
		}
		b.Run(string(d.ID), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clean, err := i.Check(given)
				if err != nil {
					b.Fatal(err)
				}
				i.Risks(clean, i.Scores(clean))
			}
		})
	}
}
