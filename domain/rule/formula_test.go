package rule_test

import (
	"strings"
	"testing"

	"casebook/domain/refuse"
	"casebook/domain/rule"

	"github.com/google/go-cmp/cmp"
)

var computable = rule.Variables{"answers": {"weight": rule.Decimal, "height": rule.Decimal, "doses": rule.Integer, "smokes": rule.Boolean,
	"note":     rule.Text,
	"symptoms": rule.Texts, "start": rule.Date, "end": rule.Date, "at": rule.Time}}

func TestCompute(t *testing.T) {
	given := values{"answers.weight": 72.5, "answers.height": 1.81, "answers.doses": 3.0, "answers.smokes": true, "answers.note": "fall",
		"answers.symptoms": []string{"fever", "cough"}, "answers.start": date(t, "2026-03-01"), "answers.end": date(t, "2026-03-15"),
		"answers.at": date(t, "10:30")}
	for _, tt := range []struct {
		expression string
		result     rule.Type
		want       any
	}{
		{`answers.weight / (answers.height * answers.height)`, rule.Decimal, 72.5 / (1.81 * 1.81)},
		{`answers.doses * 2`, rule.Integer, 6.0},
		{`size(answers.symptoms)`, rule.Integer, 2.0},
		{`days(answers.end, answers.start)`, rule.Integer, 14.0},
		{`"fever" in answers.symptoms && answers.smokes`, rule.Boolean, true},
		{`answers.doses > 2 ? "many" : "few"`, rule.Text, "many"},
		{`answers.note + "!"`, rule.Text, "fall!"},
		{`answers.doses > 2 ? answers.end : answers.start`, rule.Date, date(t, "2026-03-15")},
		{`answers.at`, rule.Time, date(t, "10:30")},
	} {
		f, err := rule.CompileFormula(tt.expression, computable, tt.result)
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := f.Compute(given)
		if err != nil || !ok || got != tt.want || f.Result() != tt.result {
			t.Errorf("%s is %v of type %s, %v, %v; want %v of type %s", tt.expression, got, f.Result(), ok, err, tt.want, tt.result)
		}
		// Without answers, the formula has no result.
		if got, ok, err := f.Compute(values{}); err != nil || ok || got != nil {
			t.Errorf("without answers, %s is %v, %v, %v", tt.expression, got, ok, err)
		}
	}
}

func TestComputeFails(t *testing.T) {
	for expression, v := range map[string]values{
		`1.0 / answers.weight`:                  {"answers.weight": 0.0},
		`answers.weight - answers.weight / 0.0`: {"answers.weight": 1.0},
		`answers.doses / (answers.doses - 3)`:   {"answers.doses": 3.0},
		`answers.doses * 9007199254740992`:      {"answers.doses": 3.0},
		`answers.weight * 9007199254740992.0`:   {"answers.weight": 3.0},
	} {
		f, err := rule.CompileFormula(expression, computable, rule.Integer, rule.Decimal)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok, err := f.Compute(v); err == nil || ok || got != nil {
			t.Errorf("%s is %v, %v, %v", expression, got, ok, err)
		}
	}
}

func TestRefusesFormulas(t *testing.T) {
	for expression, says := range map[string]string{
		"":                               "empty",
		`answers.weight +`:               "line 1",
		`answers.mass * 2.0`:             "mass",
		`answers.weight > 3.0`:           "type boolean, not integer or decimal",
		`answers.note`:                   "type text, not integer or decimal",
		`answers.start`:                  "type date, not integer or decimal",
		`answers.symptoms`:               "cannot be computed",
		`[answers.weight]`:               "cannot be computed",
		`null`:                           "cannot be computed",
		`answers.weight * answers.doses`: "no matching overload",
		strings.Repeat("1.0 + ", 300):    "longer",
	} {
		_, err := rule.CompileFormula(expression, computable, rule.Integer, rule.Decimal)
		if r, ok := refuse.As(err); !ok || r.Code != "invalid_rule" || !strings.Contains(r.Sentence, says) {
			t.Errorf("%s: %v; want an error with %q", expression, err, says)
		}
	}
}

// A formula with the same variables is compiled once, also if other types of results are allowed.
func TestFormulasAreCached(t *testing.T) {
	first, err := rule.CompileFormula(`answers.doses * 2`, computable, rule.Integer)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := rule.CompileFormula(`answers.doses * 2`, computable, rule.Decimal, rule.Integer); err != nil || again != first {
		t.Errorf("compiled again: %v", err)
	}
	if _, err := rule.CompileFormula(`answers.doses * 2`, computable, rule.Text); err == nil {
		t.Error("the result of a kept formula is not looked at")
	}
}

func TestSeveralTexts(t *testing.T) {
	for _, tt := range []struct {
		expression string
		values     values
		want       bool
	}{
		{`"fever" in answers.symptoms`, values{"answers.symptoms": []string{"cough", "fever"}}, true},
		{`"fever" in answers.symptoms`, values{"answers.symptoms": []string{"cough"}}, false},
		{`!("fever" in answers.symptoms)`, values{}, false},
		{`size(answers.symptoms) > 1`, values{"answers.symptoms": []string{"cough", "fever"}}, true},
		{`answers.symptoms == ["cough"]`, values{"answers.symptoms": []string{"cough"}}, true},
		{`answers.symptoms[0] == "cough"`, values{"answers.symptoms": []string{"cough"}}, true},
	} {
		r, err := rule.Compile(tt.expression, computable)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Holds(tt.values); err != nil || got != tt.want {
			t.Errorf("%s with %v holds: %v, %v", tt.expression, tt.values, got, err)
		}
	}
	// The search in the longest list counts with its full cost, not as one step.
	dear := `"fever" in answers.symptoms` + strings.Repeat(` || "fever" in answers.symptoms`, 25)
	if _, err := rule.Compile(dear, computable); err == nil {
		t.Error("many looks through a list are taken for cheap")
	}
	if _, err := rule.Compile(`"a" in answers.symptoms || "b" in answers.symptoms || "c" in answers.symptoms`, computable); err != nil {
		t.Error(err)
	}
}

func TestVariablesAndComparisons(t *testing.T) {
	f, err := rule.CompileFormula(`has(answers.doses) && "fever" in answers.symptoms ? answers.doses + answers.doses : size(answers.note)`,
		computable, rule.Integer)
	if err != nil {
		t.Fatal(err)
	}
	want := []rule.Variable{{Group: "answers", Name: "doses"}, {Group: "answers", Name: "symptoms"}, {Group: "answers", Name: "note"}}
	if diff := cmp.Diff(want, f.Variables()); diff != "" {
		t.Errorf("variables differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]rule.Comparison{{Group: "answers", Name: "symptoms", Text: "fever"}}, f.Comparisons()); diff != "" {
		t.Errorf("comparisons differ (-want +got):\n%s", diff)
	}
}
