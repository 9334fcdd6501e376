package rule_test

import (
	"strconv"
	"strings"
	"sync"
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

		// A comparison with an unanswered item has no result.
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
				t.Errorf("Holds returns %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestInvalidRulesAreRefused(t *testing.T) {
	for _, expression := range []string{
		"", "  ", "answers.worst >", "answers.wrost > 3", "answers.worst", "answers", "worst > 3", "other.worst > 3",
		"answers.worst > 'a'", "scores.total == 20", `answers.note.matches("a")`, `[1,2].all(x, x > 0)`,
		`timestamp("2026-03-01T00:00:00Z") > timestamp("2026-03-01T00:00:00Z")`, `dyn(1) == 1`, `type(1) == int`,
		"answers == answers", "casebook.answers{worst: 3}.worst == 3",
	} {
		t.Run(expression, func(t *testing.T) {
			_, err := rule.Compile(expression, declared)
			r, ok := refuse.As(err)
			if !ok || r.Code != "invalid_rule" {
				t.Fatalf("got %v", err)
			}
			if r.Sentence == "" || r.Remedy == "" {
				t.Errorf("the refusal lacks a sentence or a remedy: %v", r)
			}
		})
	}
}

func TestRefusalsNameLineAndColumn(t *testing.T) {
	_, err := rule.Compile("answers.worst >= 8 &&\n answers.wrost > 3", declared)
	r, _ := refuse.As(err)
	if r == nil || !strings.Contains(r.Sentence, "line 2, column 9") || !strings.Contains(r.Sentence, "wrost") {
		t.Errorf("got %v", err)
	}
}

// An expression that is too long, too deeply nested or too costly is refused before it can be evaluated.
func TestLimits(t *testing.T) {
	contains := `answers.note.contains(answers.note)`
	tests := map[string]string{
		"too long":            strings.Repeat("answers.worst > 1 || ", 100) + "true",
		"too long in bytes":   strings.Repeat("ä", 100_000),
		"too deep":            strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200),
		"too deep in nots":    strings.Repeat("!(", 100) + "true" + strings.Repeat(")", 100),
		"too many list parts": strings.Repeat("[", 100) + strings.Repeat("]", 100) + " == []",
		"too costly":          contains + strings.Repeat(" || "+contains, 20),
	}
	for name, expression := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := rule.Compile(expression, declared)
			if r, ok := refuse.As(err); !ok || r.Code != "invalid_rule" || len(r.Sentence) > 1000 {
				t.Fatalf("got %v", err)
			}
		})
	}
	if _, err := rule.Compile("answers.worst > 1"+strings.Repeat(" || answers.worst > 1", 40), declared); err != nil {
		t.Errorf("a long list of alternatives is refused: %v", err)
	}
}

// An evaluation that costs more than estimated is stopped.
func TestRuntimeLimit(t *testing.T) {
	r, err := rule.Compile(`answers.note.contains("`+strings.Repeat("x", 100)+`")`, declared)
	if err != nil {
		t.Fatal(err)
	}
	if holds, err := r.Holds(values{"answers.note": strings.Repeat("y", 10_000_000)}); err == nil || holds {
		t.Errorf("Holds returns %v, %v", holds, err)
	}
}

// A rule that cannot be computed fails and does not hold.
func TestFailures(t *testing.T) {
	for expression, v := range map[string]values{
		"answers.worst / answers.least > 2":       {"answers.worst": 4.0, "answers.least": 0.0},
		"answers.worst + 9223372036854775807 > 0": {"answers.worst": 4.0},
		`int(answers.note) > 2`:                   {"answers.note": "many"},
		"answers.worst > 2":                       {"answers.worst": "a text"},
		"answers.least > 2":                       {"answers.least": 2.5},
	} {
		r, err := rule.Compile(expression, declared)
		if err != nil {
			t.Fatal(err)
		}
		if holds, err := r.Holds(v); err == nil || holds {
			t.Errorf("%s: Holds returns %v, %v", expression, holds, err)
		}
	}
}

// A rule with the same variables is compiled once. With other variables it is another rule.
func TestCompileReusesPrograms(t *testing.T) {
	first, err := rule.Compile("answers.worst >= 8", declared)
	if err != nil {
		t.Fatal(err)
	}
	again, err := rule.Compile("answers.worst >= 8", declared)
	if err != nil || again != first {
		t.Errorf("compiled again, %v", err)
	}
	other, err := rule.Compile("answers.worst >= 8", rule.Variables{"answers": {"worst": rule.Decimal}})
	if err != nil || other == first {
		t.Errorf("other variables do not make another rule, %v", err)
	}
}

func TestComparisons(t *testing.T) {
	r, err := rule.Compile(`!(answers.note == "a") || "b" != answers.note || answers.worst > 3 && answers.note in ["c", "d"] ||
		has(answers.note) == true || answers.note.contains("e")`, declared)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, c := range r.Comparisons() {
		found += c.Group + "." + c.Name + "=" + c.Text + " "
	}
	if want := "answers.note=a answers.note=b answers.note=c answers.note=d "; found != want {
		t.Errorf("got %q, want %q", found, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for k := range 50 {
				r, err := rule.Compile("answers.worst >= "+strconv.Itoa(k%10), declared)
				if err != nil {
					t.Error(err)
					return
				}
				if holds, err := r.Holds(values{"answers.worst": float64(n)}); err != nil || holds != (n >= k%10) {
					t.Errorf("%d >= %d: %v, %v", n, k%10, holds, err)
				}
			}
		})
	}
	all.Wait()
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

func BenchmarkCompile(b *testing.B) {
	k := 0
	for b.Loop() {
		k++
		if _, err := rule.Compile("answers.worst >= "+strconv.Itoa(k), declared); err != nil {
			b.Fatal(err)
		}
	}
}
