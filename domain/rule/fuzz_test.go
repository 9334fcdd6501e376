package rule_test

import (
	"math"
	"testing"

	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// Every expression compiles or is refused, and a compiled rule can be evaluated without a panic.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		"answers.worst >= 8", "scores.total >= 20 && !answers.rescue", `answers.note in ["a", "b"]`,
		"has(answers.worst) ? 1 > 0 : false", "answers.worst / answers.least > 2", "((((((((1))))))))",
		"-9223372036854775808 == 1", `"\u0000" == answers.note`, "answers.worst >", "[[[[", "a.b.c.d",
		`answers.note + answers.note == "x"`, "9223372036854775807 + answers.worst > 0", `int(answers.note) > 1`,
		"[1, 2][answers.worst] == 1", "1 in {1: 2}", "answers{}", "true ? true : true",
	} {
		f.Add(seed)
	}
	full := values{"answers.worst": 9.0, "answers.least": 0.0, "answers.fever": 37.5, "answers.rescue": true,
		"answers.note": "fall", "scores.total": 20.0}
	f.Fuzz(func(t *testing.T, expression string) {
		r, err := rule.Compile(expression, declared)
		if err != nil {
			if refusal, ok := refuse.As(err); !ok || refusal.Code != "invalid_rule" || len(refusal.Sentence) > 4000 {
				t.Fatalf("not a refusal with the code invalid_rule: %v", err)
			}
			return
		}
		for _, v := range []values{full, {}} {
			holds, err := r.Holds(v)
			if holds && err != nil {
				t.Fatalf("the rule holds, but the evaluation fails: %v", err)
			}
		}
	})
}

// Every formula over all types of variables compiles or is refused, and computes only values that an item can have.
func FuzzCompileFormula(f *testing.F) {
	for _, seed := range []string{
		`answers.weight / (answers.height * answers.height)`, `1.0 / 0.0`, `-9223372036854775807 - 2`, `[1][0] * 9007199254740993`,
		`days(answers.end, answers.start) + 1`, `answers.end != answers.start`, `answers.start != answers.at`, `time("10:30") < answers.at`,
		`date("2026-03") == answers.start ? answers.end : date("----15")`, `date("x")`, `answers.start in [answers.end]`,
		`answers.symptoms[5]`, `"a" in answers.symptoms`, `size(answers.symptoms + ["b"])`, `answers.symptoms == answers.symptoms`,
	} {
		f.Add(seed)
	}
	full := values{
		"answers.weight": 72.5, "answers.height": 0.0, "answers.doses": 3.0, "answers.smokes": true, "answers.note": "fall",
		"answers.symptoms": []string{"a"},
		"answers.start":    date(f, "2026-03"), "answers.end": date(f, "2026-03-15"), "answers.at": date(f, "10:30"),
	}
	f.Fuzz(func(t *testing.T, expression string) {
		formula, err := rule.CompileFormula(expression, computable, rule.Integer, rule.Decimal, rule.Boolean, rule.Text, rule.Date, rule.Time)
		if err != nil {
			if refusal, ok := refuse.As(err); !ok || refusal.Code != "invalid_rule" || len(refusal.Sentence) > 4000 {
				t.Fatalf("not a refusal with the code invalid_rule: %v", err)
			}
			return
		}
		for _, v := range []values{full, {}} {
			value, ok, err := formula.Compute(v)
			if ok != (value != nil) || ok && err != nil {
				t.Fatalf("the formula computes %v, %v, %v", value, ok, err)
			}
			n, isNumber := value.(float64)
			notWhole := formula.Result() == rule.Integer && n != math.Trunc(n)
			if isNumber && (math.IsNaN(n) || math.Abs(n) > 1<<53 || notWhole) {
				t.Fatalf("%v is not a number of type %s", n, formula.Result())
			}
		}
	})
}
