package rule_test

import (
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
				t.Fatalf("not a refusal of the rule: %v", err)
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
