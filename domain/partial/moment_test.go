package partial_test

import (
	"fmt"
	"testing"
	"time"

	"casebook/domain/partial"

	"pgregory.net/rapid"
)

type reader = func(string) (partial.Moment, bool)

var readers = map[string]reader{"date": partial.Day, "partialDate": partial.Date, "datetime": partial.DayAndTime,
	"partialDatetime": partial.Datetime, "time": partial.Clock}

// What each type of item takes, and that what is written is what is read.
func TestReading(t *testing.T) {
	for text, types := range map[string][]string{
		"2026-03-01":          {"date", "partialDate", "partialDatetime"},
		"2024-02-29":          {"date", "partialDate", "partialDatetime"},
		"0000-01-01":          {"date", "partialDate", "partialDatetime"},
		"9999-12-31":          {"date", "partialDate", "partialDatetime"},
		"2026-03":             {"partialDate", "partialDatetime"},
		"2026":                {"partialDate", "partialDatetime"},
		"2026---15":           {"partialDate", "partialDatetime"},
		"2026---31":           {"partialDate", "partialDatetime"},
		"2026-03--":           {"partialDate", "partialDatetime"},
		"2026----":            {"partialDate", "partialDatetime"},
		"--03-01":             {"partialDate", "partialDatetime"},
		"--02-29":             {"partialDate", "partialDatetime"},
		"--03--":              {"partialDate", "partialDatetime"},
		"----15":              {"partialDate", "partialDatetime"},
		"2026-03-01T10:30":    {"datetime", "partialDatetime"},
		"2026-03-01T23:59:59": {"datetime", "partialDatetime"},
		"2026-03-01T10":       {"partialDatetime"},
		"10:30":               {"time"},
		"00:00:00":            {"time"},

		"": {}, "-----": {}, "2026-02-29": {}, "2026-2-1": {}, "2026-13": {}, "2026-00": {}, "-001": {}, "-001-01-01": {}, "26": {},
		"20260301": {},
		"2026-03-": {}, "2026---": {}, "2026---32": {}, "2026---00": {}, "--02-30": {}, "--13--": {}, "----32": {}, "---15": {},
		"2026-03-01-": {},
		"2026-03-1x":  {}, "2026---1": {}, "2026---1x": {}, "March": {}, " 2026": {}, "2026 ": {}, "2026-03-01 10:30": {}, "2026-03-01T": {},
		"2026-03-01T24": {}, "2026-03-01T24:00": {}, "2026-03-01T10:60": {}, "2026-03-01T10:30:60": {}, "2026-03-01T10:30Z": {},
		"2026-03-01T10:30:00+01:00": {}, "2026-03T10:30": {}, "2026-03T10": {}, "24:00": {}, "10:3": {}, "10.30": {}, "10:30:": {},
		"10:30:5": {}, "10:30.15": {}, "１０:30": {},
	} {
		takes := map[string]bool{}
		for _, name := range types {
			takes[name] = true
		}
		for name, read := range readers {
			m, ok := read(text)
			if ok != takes[name] {
				t.Errorf("%q as a %s is taken: %v", text, name, ok)
			}
			if ok && m.String() != text {
				t.Errorf("%q as a %s is written %q", text, name, m)
			}
			if !ok && m != (partial.Moment{}) {
				t.Errorf("%q is no %s, and yet something", text, name)
			}
		}
	}
}

func read(t testing.TB, text string) partial.Moment {
	t.Helper()
	for _, name := range []string{"date", "datetime", "time", "partialDate", "partialDatetime"} {
		if m, ok := readers[name](text); ok {
			return m
		}
	}
	t.Fatalf("%q is no moment", text)
	return partial.Moment{}
}

// Every day of four centuries, the end of each month and what is no day any more, as the standard library reads them.
func TestDaysAreThoseOfTheCalendar(t *testing.T) {
	epoch, _ := partial.Day("1970-01-01")
	for _, year := range []int{0, 1, 1600, 1899, 1900, 1901, 1969, 1970, 1999, 2000, 2001, 2023, 2024, 2100, 9999} {
		for month := 0; month <= 13; month++ {
			for day := 0; day <= 32; day++ {
				text := fmt.Sprintf("%04d-%02d-%02d", year, month, day)
				want, err := time.Parse(time.DateOnly, text)
				m, ok := partial.Day(text)
				if ok != (err == nil) {
					t.Fatalf("%s is a day: %v; %v", text, ok, err)
				}
				if days, _ := m.DaysSince(epoch); ok && int64(days)*86400 != want.Unix() {
					t.Fatalf("%s is day %d, and second %d", text, days, want.Unix())
				}
			}
		}
	}
}

func TestCompare(t *testing.T) {
	for _, x := range []struct{ a, b, want string }{
		{"2026-03-01", "2026-03-02", "before"},
		{"2026-03-01", "2026-03-01", "same"},
		{"2026-03", "2026-04-01", "before"},
		{"2026-03", "2026-02-28", "after"},
		{"2025", "2026-01", "before"},
		{"2026-03", "2026-03-15", "unknown"},
		{"2026-03", "2026-03-31", "unknown"},
		{"2026-03", "2026-03", "unknown"},
		{"2026", "2026-12", "unknown"},
		{"2026---15", "2027-01-01", "before"},
		{"2026---15", "2026-01-14", "after"},
		{"2026---15", "2026-12-16", "before"},
		{"2026---15", "2026-06-16", "unknown"},
		{"2026---31", "2026-01-30", "after"},
		{"--03-01", "0001-01-01", "unknown"},
		{"--03-01", "9999-12-31", "unknown"},
		{"2026-03-01", "2026-03-01T10:30", "unknown"},
		{"2026-03-01", "2026-03-02T00:00", "before"},
		{"2026-03-01T10:30", "2026-03-01T10:30", "same"},
		{"2026-03-01T10:30", "2026-03-01T10:31", "before"},
		{"2026-03-01T10:30", "2026-03-01T10:30:15", "unknown"},
		{"2026-03-01T10:30:15", "2026-03-01T10:30:15", "same"},
		{"2026-03-01T10", "2026-03-01T11:00", "before"},
		{"2026-03-01T10", "2026-03-01T10:59", "unknown"},
		{"1969-12-31T23:59:59", "1970-01-01T00:00:00", "before"},
		{"10:30", "10:31", "before"},
		{"10:30", "10:30", "same"},
		{"10:30", "10:30:59", "unknown"},
		{"10:30", "1970-01-01", "unknown"},
	} {
		a, b := read(t, x.a), read(t, x.b)
		back := map[string]string{"before": "after", "after": "before"}[x.want]
		if back == "" {
			back = x.want
		}
		if got := relation(a, b); got != x.want {
			t.Errorf("%s is %s %s, want %s", a, got, b, x.want)
		}
		if got := relation(b, a); got != back {
			t.Errorf("%s is %s %s, want %s", b, got, a, back)
		}
	}
	if got := relation(partial.Moment{}, partial.Moment{}); got != "unknown" {
		t.Errorf("no moment is %s no moment", got)
	}
	// The day of a partial date and time is known, its time is not.
	if day, ok := partial.Datetime("2026-03-01"); !ok || relation(day, day) != "unknown" {
		t.Errorf("%s is %s itself", day, relation(day, day))
	}
}

func relation(a, b partial.Moment) string {
	order, known := a.Compare(b)
	if !known {
		return "unknown"
	}
	return map[int]string{-1: "before", 0: "same", 1: "after"}[order]
}

func TestDaysSince(t *testing.T) {
	for _, x := range []struct {
		to, from string
		days     int
		known    bool
	}{
		{"2026-03-01", "2026-03-01", 0, true},
		{"2026-03-01", "2026-02-28", 1, true},
		{"2026-02-28", "2026-03-01", -1, true},
		{"1969-12-31", "1970-01-01", -1, true},
		{"2026-03-01T00:01", "2026-02-28T23:59", 1, true},
		{"1969-12-31T00:01", "1969-12-31T23:59", 0, true},
		{"2026-03-02T10", "2026-03-01", 1, true},
		{"9999-12-31", "0001-01-01", 3652058, true},
		{"2026-03", "2026-02-28", 0, false},
		{"2026---15", "2026-02-28", 0, false},
		{"--03-01", "2026-02-28", 0, false},
		{"10:30", "10:31", 0, false},
	} {
		days, known := read(t, x.to).DaysSince(read(t, x.from))
		if known != x.known || known && days != x.days {
			t.Errorf("%s lies %d days after %s, known: %v", x.to, days, x.from, known)
		}
	}
}

// written is a moment that a true second could have been written as, with more or less of it known.
func written(t *rapid.T, second time.Time, label string) partial.Moment {
	text := second.Format(rapid.SampledFrom([]string{"2006", "2006-01", "2006-01-02", "2006-01-02T15", "2006-01-02T15:04",
		"2006-01-02T15:04:05",
		"2006---02", "2006-01--", "2006----", "--01-02", "--01--", "----02"}).Draw(t, label))
	m, ok := partial.Datetime(text)
	if !ok {
		t.Fatalf("%s was written as %q, and is not read", second, text)
	}
	return m
}

func anySecond(t *rapid.T, label string) time.Time {
	// Close together, so that moments often overlap.
	return time.Unix(rapid.Int64Range(1_770_000_000, 1_780_000_000).Draw(t, label), 0).UTC()
}

// The order of two moments is only said to be known where it holds for every second that they can stand for.
func TestAnswersHoldForEveryTrueMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anySecond(t, "a"), anySecond(t, "b")
		x, y := written(t, a, "a is written"), written(t, b, "b is written")
		if order, known := x.Compare(y); known && order != 0 && order != a.Compare(b) {
			t.Fatalf("%s is said to be %d to %s, and stands for %s and %s", x, order, y, a, b)
		}
		days := int(a.Truncate(24*time.Hour).Sub(b.Truncate(24*time.Hour)) / (24 * time.Hour))
		if got, known := x.DaysSince(y); known && got != days {
			t.Fatalf("%s is said to lie %d days after %s, it is %d", x, got, y, days)
		}
		order, known := x.Compare(y)
		back, knownBack := y.Compare(x)
		if known != knownBack || order != -back {
			t.Fatalf("%s and %s: %d, %v one way, %d, %v the other", x, y, order, known, back, knownBack)
		}
	})
}

// Any text is read or refused. What is read keeps its text, and is never before or after itself.
func FuzzReading(f *testing.F) {
	for _, seed := range []string{"2026-03-01", "2026---15", "--03-01", "2026-03-01T10:30:15", "-----", "2026-03-01T", "0000", "----"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, read := range readers {
			m, ok := read(text)
			if !ok {
				continue
			}
			again, _ := read(text)
			if order, _ := m.Compare(again); order != 0 || m.String() != text {
				t.Errorf("%q as a %s is %q, and %d to itself", text, name, m, order)
			}
			if days, known := m.DaysSince(again); known && days != 0 {
				t.Errorf("%q lies %d days after itself", text, days)
			}
		}
	})
}

func ExampleMoment_Compare() {
	onset, _ := partial.Date("2026-03")
	for _, visit := range []string{"2026-02-27", "2026-03-15", "2026-04-01"} {
		day, _ := partial.Day(visit)
		order, known := onset.Compare(day)
		fmt.Println(visit, order, known)
	}
	// Output:
	// 2026-02-27 1 true
	// 2026-03-15 0 false
	// 2026-04-01 -1 true
}
