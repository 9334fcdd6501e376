package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"

	"pgregory.net/rapid"
)

// expect fails the test unless err is a refusal with this code, or nil if the code is "". It returns the refusal.
func expect(t *testing.T, err error, code string) *refuse.Refusal {
	t.Helper()
	r, ok := refuse.As(err)
	switch {
	case code == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case code != "" && (!ok || r.Code != code):
		t.Errorf("got %v, want the refusal %s", err, code)
	}
	return r
}

func TestIDs(t *testing.T) {
	for id, good := range map[string]bool{
		"PAIN1": true, "a": true, "9-x": true, strings.Repeat("x", 32): true,
		"-x": false, "x_y": false, "x.y": false, "x y": false, "Ä1": false, "x\n": false, strings.Repeat("x", 33): false,
	} {
		want := "malformed_id"
		if good {
			want = ""
		}
		expect(t, domain.StudyID(id).Validate(), want)
		expect(t, domain.SiteID(id).Validate(), want)
		expect(t, domain.ValidateScreeningNumber(id), want)
		expect(t, domain.PatientID("S."+id).Validate(), want)
		expect(t, domain.PatientID(id+".S").Validate(), want)
	}
	for id, good := range map[domain.UserID]bool{
		"anna": true, "a.b_c-d@example.org": true, "7": true, domain.UserID(strings.Repeat("x", 64)): true,
		"": false, "Anna": false, ".x": false, "x y": false, "process:x": false, "x\n": false, domain.UserID(strings.Repeat("x", 65)): false,
	} {
		if err := id.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestPatientIDs(t *testing.T) {
	id := domain.NewPatientID("PAIN1", "S-0001")
	if id != "PAIN1.S-0001" || id.Study() != "PAIN1" {
		t.Errorf("got %s of %s", id, id.Study())
	}
	expect(t, id.Validate(), "")
	for _, malformed := range []domain.PatientID{"PAIN1", ".", "PAIN1.", ".S-1", "PAIN1.S.1"} {
		expect(t, malformed.Validate(), "malformed_id")
	}
	if study := domain.PatientID("PAIN1").Study(); study != "" {
		t.Errorf("an id without a study belongs to %q", study)
	}
}

// Every id gives back its study and its number, so no two patients can have the same id.
func TestPatientIDsAreUnambiguous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9-]{0,31}`)
		study, number := name.Draw(t, "study"), name.Draw(t, "number")
		id := domain.NewPatientID(domain.StudyID(study), number)
		if err := id.Validate(); err != nil {
			t.Fatal(err)
		}
		if id.Study() != domain.StudyID(study) || strings.TrimPrefix(string(id), study+".") != number {
			t.Fatalf("%s does not read back as %s and %s", id, study, number)
		}
	})
}

// The sentence of a refusal stays short and readable, even if the refused id is long or not UTF-8.
func TestRefusalsOfIDsAreReadable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, ok := refuse.As(domain.UserID(strings.Repeat(rapid.String().Draw(t, "id"), 50) + " ").Validate())
		if !ok || len(r.Sentence) > 1000 || !utf8.ValidString(r.Sentence) {
			t.Fatalf("got %+v", r)
		}
	})
	r, _ := refuse.As(domain.UserID("A" + strings.Repeat("ä", 60)).Validate())
	if strings.Contains(r.Sentence, `\x`) {
		t.Errorf("a character was cut in two: %s", r.Sentence)
	}
}

func TestDates(t *testing.T) {
	for _, date := range []domain.Date{"2026-02-28", "2024-02-29", "1899-12-31", "9999-12-31"} {
		expect(t, date.Validate(), "")
	}
	for _, date := range []domain.Date{"", "2026-02-29", "2026-13-01", "2026-2-1", "26-02-01", "2026-02-01T00:00:00Z",
		"yesterday", domain.Date(strings.Repeat("9", 1000))} {
		expect(t, date.Validate(), "malformed_date")
	}
	day, err := domain.Date("2026-03-01").Time()
	if err != nil || !day.Equal(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("got %v, %v", day, err)
	}
	for _, x := range []struct {
		from domain.Date
		n    int
		want domain.Date
	}{
		{"2026-02-28", 1, "2026-03-01"}, {"2024-02-28", 1, "2024-02-29"}, {"2026-01-01", -1, "2025-12-31"},
		{"2026-03-29", 1, "2026-03-30"}, {"2026-03-01", 0, "2026-03-01"}, {"nothing", 5, "nothing"},
	} {
		if got := x.from.AddDays(x.n); got != x.want {
			t.Errorf("%s plus %d days is %s, want %s", x.from, x.n, got, x.want)
		}
	}
	for _, x := range []struct {
		day, start domain.Date
		want       int
	}{
		{"2026-03-01", "2026-03-01", 0}, {"2026-03-01", "2026-02-28", 1}, {"2026-02-28", "2026-03-01", -1},
		{"2026-01-01", "0001-01-01", 739616}, // more than a Duration can hold
		{"nothing", "2026-01-01", 0}, {"2026-01-01", "nothing", 0},
	} {
		if got := x.day.DaysSince(x.start); got != x.want {
			t.Errorf("%s is %d days after %s, want %d", x.day, got, x.start, x.want)
		}
	}
}

func TestAddDaysAndDaysSinceAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := domain.DateOf(time.Unix(rapid.Int64Range(-60_000_000_000, 200_000_000_000).Draw(t, "second"), 0).UTC())
		n := rapid.IntRange(-20_000, 20_000).Draw(t, "days")
		end := start.AddDays(n)
		if end.DaysSince(start) != n || start.DaysSince(end) != -n || end.AddDays(-n) != start {
			t.Fatalf("%s plus %d days is %s", start, n, end)
		}
		if (n > 0) != (end > start) {
			t.Fatalf("the text of %s and %s does not sort as the days do", start, end)
		}
	})
}

// A day may be recorded as soon as it has begun anywhere: clocks on Kiritimati are 14 hours ahead of the server's UTC.
func TestNotAfterToday(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 59, 59, 0, time.UTC)
	expect(t, domain.Date("2026-03-01").NotAfterToday("on", domain.Call{At: now}), "")
	expect(t, domain.Date("2026-02-01").NotAfterToday("on", domain.Call{At: now}), "")
	r := expect(t, domain.Date("2026-03-02").NotAfterToday("on", domain.Call{At: now}), "captured_in_future")
	if r.Field != "on" || r.Remedy == "" {
		t.Errorf("got %+v", r)
	}
	now = now.Add(time.Second)
	expect(t, domain.Date("2026-03-02").NotAfterToday("on", domain.Call{At: now}), "")
	expect(t, domain.Date("2026-03-03").NotAfterToday("on", domain.Call{At: now}), "captured_in_future")
	for _, zone := range []*time.Location{time.FixedZone("", 14*3600), time.FixedZone("", -12*3600)} {
		expect(t, domain.Date("2026-03-02").NotAfterToday("on", domain.Call{At: now.In(zone)}), "")
		expect(t, domain.Date("2026-03-03").NotAfterToday("on", domain.Call{At: now.In(zone)}), "captured_in_future")
	}
	if r := expect(t, domain.Date("2026-02-30").NotAfterToday("on", domain.Call{At: now}), "malformed_date"); r.Field != "on" {
		t.Errorf("got %+v", r)
	}
	here := domain.Call{At: now, Today: "2026-03-01"} // by the calendar of a site
	expect(t, domain.Date("2026-03-01").NotAfterToday("on", here), "")
	expect(t, domain.Date("2026-03-02").NotAfterToday("on", here), "captured_in_future")
}

func TestFields(t *testing.T) {
	r := expect(t, domain.Text("title", "", 5), "value_missing")
	if r.Field != "title" {
		t.Errorf("got %+v", r)
	}
	expect(t, domain.Text("title", " \t\n\u00a0", 5), "value_missing")
	expect(t, domain.Text("title", "ÄÖÜßé", 5), "")
	expect(t, domain.Text("title", "ÄÖÜßéx", 5), "value_too_long")
	expect(t, domain.OptionalText("title", "", 5), "")
	expect(t, domain.OptionalText("title", "123456", 5), "value_too_long")
	for value, want := range map[int]string{-1: "value_out_of_range", 0: "", 3: "", 4: "value_out_of_range"} {
		expect(t, domain.Between("age", value, 0, 3), want)
	}
	first, second := errors.New("first"), errors.New("second")
	if err := domain.First(nil, first, second); err != first { //nolint:errorlint // the same error, not one that wraps it
		t.Errorf("got %v", err)
	}
	if err := domain.First(nil, nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAtSetsTheFieldOfRefusals(t *testing.T) {
	if r := expect(t, domain.At("grant.site", domain.SiteID("a b").Validate()), "malformed_id"); r.Field != "grant.site" {
		t.Errorf("got %+v", r)
	}
	broken := errors.New("broken")
	if err := domain.At("site", broken); err != broken { //nolint:errorlint // the same error, not one that wraps it
		t.Errorf("a failure became %v", err)
	}
	if err := domain.At("site", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}

func TestRefusalsOfIDsNameTheirField(t *testing.T) {
	for text, code := range map[string]string{"": "value_missing", "a b": "malformed_id"} {
		for field, err := range map[string]error{
			"study": domain.StudyID(text).Validate(), "site": domain.SiteID(text).Validate(), "user": domain.UserID(text).Validate(),
			"patient": domain.PatientID(text).Validate(), "screeningNumber": domain.ValidateScreeningNumber(text),
		} {
			if r := expect(t, err, code); r.Field != field || r.Remedy == "" || text == "" && !strings.Contains(r.Sentence, field) {
				t.Errorf("got %+v, want the field %s", r, field)
			}
		}
	}
}

func TestNotBefore(t *testing.T) {
	for _, x := range []struct {
		day, earliest domain.Date
		want          string
	}{
		{"2026-03-01", "2026-03-01", ""}, {"2026-03-02", "2026-03-01", ""}, {"2026-02-28", "2026-03-01", "too_early"},
		{"2026-03-01", "", ""}, {"9999-12-31", "2026-03-01", ""}, {"2025-12-31", "2026-01-01", "too_early"},
	} {
		r := expect(t, x.day.NotBefore(x.earliest, "too_early", "on", "the end", "the start"), x.want)
		sentence := "the end on " + string(x.day) + " lies before the start on " + string(x.earliest)
		if r != nil && (r.Field != "on" || r.Remedy == "" || r.Sentence != sentence) {
			t.Errorf("got %+v", r)
		}
	}
}

func TestR18_BlankReasonIsRefused(t *testing.T) {
	for reason, want := range map[string]string{"": "reason_required", "  \t": "reason_required", "\u200b": "reason_required",
		"\u2060 \u2800": "reason_required", "x": "", strings.Repeat("ä", 500): "", strings.Repeat("ä", 501): "value_too_long"} {
		if r := expect(t, domain.Reason(personal.Text(reason)), want); want != "" && r.Field != "reason" {
			t.Errorf("got %+v", r)
		}
	}
}

func TestDecider(t *testing.T) {
	sum := domain.Decider[int, int]{Category: "sum", Initial: 10, Evolve: func(s, e int) int { return s + e }}
	if got := sum.Fold(1, 2, 3); got != 16 {
		t.Errorf("1, 2 and 3 fold to %d, want 16", got)
	}
	if got := sum.Fold(); got != 10 {
		t.Errorf("no events fold to %d, want 10", got)
	}
	if got := sum.Stream("a-b.c"); got != "sum-a-b.c" {
		t.Errorf("the stream's name is %s", got)
	}
}

// TestTextsShowWhatIsRecorded: what a reader sees is what is there.
func TestTextsShowWhatIsRecorded(t *testing.T) {
	for _, unseen := range []string{"\x00", "\x1b[2J", "\x7f", "\u0085", "\u202e", "\u2066", "\u2069", "\u2028", "\r", "a\rb"} {
		for name, check := range map[string]error{
			"text": domain.Text("note", "one "+unseen+" two", 1000), "optional": domain.OptionalText("note", unseen, 1000),
			"reason": domain.Reason(personal.Text("because" + unseen + "of it")), "name": domain.Text("note", "x"+unseen, 100),
		} {
			if r, is := refuse.As(check); !is || r.Code != "value_unprintable" || r.Kind != refuse.KindMalformed || r.Field == "" {
				t.Errorf("%s with %q: %v", name, unseen, check)
			}
		}
	}
	for _, fine := range []string{"two\nlines\tand more", "two\r\nlines", "שלום \u200f مرحبا", "👩‍⚕️ ok", "naïve, Ω≤3"} {
		if err := domain.Text("note", fine, 1000); err != nil {
			t.Errorf("%q: %v", fine, err)
		}
	}
	if err := domain.Text("name", "Anna\nWeber", 200); err == nil {
		t.Error("a name has two lines")
	}
}

func TestOtherSpellings(t *testing.T) {
	for number, want := range map[string][]string{
		"7-1": nil, "S-1": {"s-1"}, "aB": {"AB", "Ab", "ab"}, "abcdefg": {"ABCDEFG"}, "aBcdefg-1": {"ABCDEFG-1", "abcdefg-1"},
	} {
		if got := domain.OtherSpellings(number); !slices.Equal(got, want) {
			t.Errorf("%s is also spelled %v, not %v", number, got, want)
		}
	}
	if got := domain.OtherSpellings("abcdef"); len(got) != 63 {
		t.Errorf("six letters have %d other spellings", len(got))
	}
}
