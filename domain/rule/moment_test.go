package rule_test

import (
	"testing"

	"casebook/domain/partial"
	"casebook/domain/refuse"
	"casebook/domain/rule"
)

var withDates = rule.Variables{"answers": {"onset": rule.Date, "visit": rule.Date, "from": rule.Time, "until": rule.Time,
	"pain": rule.Integer}}

func date(t testing.TB, text string) partial.Moment {
	t.Helper()
	if m, ok := partial.Datetime(text); ok {
		if full, isDate := partial.Day(text); isDate {
			return full
		}
		return m
	}
	m, ok := partial.Clock(text)
	if !ok {
		t.Fatalf("%q is not a date", text)
	}
	return m
}

// A comparison that depends on the unknown part of a date has no result, and neither has its negation.
func TestComparisonsOfUnknownPartsHaveNoResult(t *testing.T) {
	const visit = "2026-03-15"
	for _, x := range []struct {
		onset string
		holds string // which of the rules below hold
	}{
		{"2026-02", "< <= != !(>) !(==)"},
		{"2026-03-14", "< <= != !(>) !(==) days"},
		{"2026-03-15", "<= >= == !(>) !(!=)"},
		{"2026-03-16", "> >= != !(==)"},
		{"2026-04", "> >= != !(==)"},
		{"2026-03", ""},
		{"2026", ""},
		{"2026---15", ""},
		{"2026-03-15T10:30", ""},
		{"", ""},
	} {
		v := values{"answers.visit": date(t, visit)}
		if x.onset != "" {
			v["answers.onset"] = date(t, x.onset)
		}
		got := ""
		for _, r := range []struct{ name, expression string }{
			{"<", "answers.onset < answers.visit"}, {"<=", "answers.onset <= answers.visit"},
			{">", "answers.onset > answers.visit"}, {">=", "answers.onset >= answers.visit"},
			{"==", "answers.onset == answers.visit"}, {"!=", "answers.onset != answers.visit"},
			{"!(>)", "!(answers.onset > answers.visit)"}, {"!(==)", "!(answers.onset == answers.visit)"},
			{"!(!=)", "!(answers.onset != answers.visit)"},
			{"days", "days(answers.visit, answers.onset) > 0"},
		} {
			compiled, err := rule.Compile(r.expression, withDates)
			if err != nil {
				t.Fatal(err)
			}
			holds, err := compiled.Holds(v)
			if err != nil {
				t.Fatal(err)
			}
			if holds {
				got += " " + r.name
			}
		}
		if want := x.holds; got != "" && got[1:] != want || got == "" && want != "" {
			t.Errorf("onset %q, visit %s: the rules %s hold; want %s", x.onset, visit, got, want)
		}
	}
}

func TestRulesOverDatesAndTimes(t *testing.T) {
	for _, tt := range []struct {
		expression string
		values     values
		want       bool
	}{
		{`answers.onset < date("2026-03-01")`, values{"answers.onset": date(t, "2026-02")}, true},
		{`answers.onset < date("2026-03-01")`, values{"answers.onset": date(t, "2026")}, false},
		{`answers.onset >= date("2026")`, values{"answers.onset": date(t, "2027-01-01")}, true},
		{`answers.onset >= date("2026-03-01T10:30")`, values{"answers.onset": date(t, "2026-03-01T10:31")}, true},
		{`answers.onset == date("2026-03-01")`, values{"answers.onset": date(t, "2026-03-01")}, true},
		{`date("2026-03-01") != answers.onset`, values{"answers.onset": date(t, "2026-03")}, false},
		{`answers.onset != date("2026-03-01") || answers.pain > 3`, values{"answers.onset": date(t, "2026-03"), "answers.pain": 4.0}, true},
		{`answers.pain != 3`, values{"answers.pain": 4.0}, true},
		{`answers.pain != 3`, values{"answers.pain": 3.0}, false},
		{`answers.pain != 3`, values{}, false},
		{`has(answers.onset) && !has(answers.visit)`, values{"answers.onset": date(t, "2026")}, true},
		{`days(answers.visit, answers.onset) <= 28`, values{"answers.onset": date(t, "2026-02-28"), "answers.visit": date(t, "2026-03-28")},
			true},
		{`days(answers.visit, answers.onset) <= 28`, values{"answers.onset": date(t, "2026-02-28"), "answers.visit": date(t, "2026-03-29")},
			false},
		{`days(answers.visit, answers.onset) <= 28`, values{"answers.onset": date(t, "2026-02"), "answers.visit": date(t, "2026-03-01")}, false},
		{`answers.from < answers.until`, values{"answers.from": date(t, "10:30"), "answers.until": date(t, "10:31")}, true},
		{`answers.from < time("12:00")`, values{"answers.from": date(t, "10:30:15")}, true},
		{`(answers.pain > 5 ? answers.onset : answers.visit) == date("2026-03-01")`,
			values{"answers.pain": 6.0, "answers.onset": date(t, "2026-03-01")}, true},
	} {
		r, err := rule.Compile(tt.expression, withDates)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Holds(tt.values); err != nil || got != tt.want {
			t.Errorf("%s with %v holds: %v, %v", tt.expression, tt.values, got, err)
		}
	}
}

func TestInvalidRulesOverDatesAreRefused(t *testing.T) {
	for _, expression := range []string{
		`answers.onset < "2026-03-01"`, `answers.onset == "2026-03-01"`, `answers.onset < answers.from`, `answers.onset == answers.from`,
		`answers.onset in [date("2026-03-01")]`, `[answers.onset] == [answers.visit]`, `answers.onset > date("2026-02-30")`,
		`answers.onset > date("")`,
		`answers.onset > date(true ? "2026" : "2027")`, `answers.from > time("24:00")`, `answers.from > time("2026-01-01")`,
		`days(answers.onset) > 3`, `days(answers.from, answers.until) > 3`,
		`answers.onset + answers.visit == answers.visit`, `answers.onset`, `size(answers.onset) > 3`, `answers.onset.text == "x"`,
		`-answers.onset == answers.onset`,
	} {
		_, err := rule.Compile(expression, withDates)
		if r, ok := refuse.As(err); !ok || r.Code != "invalid_rule" {
			t.Errorf("%s: %v", expression, err)
		}
	}
	// Without dates among the variables, these functions do not exist, so that older expressions keep their meaning.
	if _, err := rule.Compile(`days(date("2026-01-01"), date("2026-01-01")) == 0`, declared); err == nil {
		t.Error("a rule over texts and numbers knows days")
	}
}
