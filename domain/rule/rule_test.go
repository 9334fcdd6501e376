package rule_test

import (
	"testing"

	"casebook/domain/refuse"
	"casebook/domain/rule"
)

type values map[string]any

func (v values) Value(group, name string) (any, bool) {
	value, ok := v[group+"."+name]
	return value, ok
}

var declared = rule.Variables{
	"answers": {"worst": rule.Integer, "least": rule.Integer, "fever": rule.Decimal, "rescue": rule.Boolean, "note": rule.Text},
	"scores":  {"total": rule.Decimal},
}

func TestHolds(t *testing.T) {
	tests := []struct {
		expression string
		values     values
		want       bool
	}{
		{`answers.worst >= 8`, values{"answers.worst": 8.0}, true},
		{`answers.worst >= 8`, values{"answers.worst": 7.0}, false},
		{`answers.worst >= 7.5`, values{"answers.worst": 8.0}, true},
		{`scores.total >= 20`, values{"scores.total": 20.0}, true},
		{`scores.total == 20.0`, values{"scores.total": 20.0}, true},
		{`answers.least > answers.worst`, values{"answers.worst": 2.0, "answers.least": 3.0}, true},
		{`answers.worst - answers.least >= 5`, values{"answers.worst": 9.0, "answers.least": 3.0}, true},
		{`double(answers.worst) / 2.0 > 4.0`, values{"answers.worst": 9.0}, true},
		{`answers.rescue`, values{"answers.rescue": true}, true},
		{`!answers.rescue`, values{"answers.rescue": true}, false},
		{`answers.note in ["a", "b"]`, values{"answers.note": "b"}, true},
		{`answers.note.contains("fall")`, values{"answers.note": "a fall"}, true},
		{`size(answers.note) > 3`, values{"answers.note": "fall"}, true},
		{`has(answers.worst) ? answers.worst > 3 : answers.rescue`, values{"answers.rescue": true}, true},

		// What is not answered decides nothing.
		{`answers.worst >= 8`, values{}, false},
		{`!(answers.worst >= 8)`, values{}, false},
		{`answers.worst != 3`, values{}, false},
		{`answers.least > answers.worst`, values{"answers.least": 3.0}, false},
		{`answers.worst >= 8 || answers.least >= 8`, values{"answers.least": 9.0}, true},
		{`answers.least >= 8 || answers.worst >= 8`, values{"answers.least": 9.0}, true},
		{`answers.worst >= 8 || answers.least >= 8`, values{"answers.least": 1.0}, false},
		{`!(answers.worst >= 8 && answers.least >= 8)`, values{"answers.least": 1.0}, true},
		{`has(answers.worst)`, values{}, false},
		{`!has(answers.worst)`, values{}, true},
		{`has(answers.worst) && answers.worst > 3`, values{"answers.worst": 4.0}, true},
		{`scores.total >= 20`, values{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			r, err := rule.Compile(tt.expression, declared)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Holds(tt.values)
			if err != nil || got != tt.want {
				t.Errorf("holds %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestRefusesWhatIsNotARule(t *testing.T) {
	for _, expression := range []string{
		"", "  ", "answers.worst >", "answers.wrost > 3", "answers.worst", "answers", "worst > 3", "other.worst > 3",
		"answers.worst > 'a'", "scores.total == 20", `answers.note.matches("a")`, `[1,2].all(x, x > 0)`,
		`timestamp("2026-03-01T00:00:00Z") > timestamp("2026-03-01T00:00:00Z")`, `dyn(1) == 1`, `type(1) == int`, "answers == answers", "casebook.answers{worst: 3}.worst == 3",
	} {
		t.Run(expression, func(t *testing.T) {
			_, err := rule.Compile(expression, declared)
			r, ok := refuse.As(err)
			if !ok || r.Code != "invalid_rule" {
				t.Fatalf("got %v", err)
			}
			t.Log(r)
		})
	}
}

func BenchmarkHolds(b *testing.B) {
	r, err := rule.Compile("answers.worst >= 8 && scores.total >= 20", declared)
	if err != nil {
		b.Fatal(err)
	}
	v := values{"answers.worst": 9.0, "scores.total": 21.0}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Holds(v); err != nil {
			b.Fatal(err)
		}
	}
}
