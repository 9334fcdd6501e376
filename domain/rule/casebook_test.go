package rule_test

import (
	"fmt"
	"strings"
	"testing"

	"casebook/domain/refuse"
	"casebook/domain/rule"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var vitals = map[string]rule.Type{"SYSBP": rule.Integer, "VSDT": rule.Date, "POS": rule.Text}

var around = rule.Surroundings{
	Visits:   map[string]rule.Variables{"V1": {"VS": vitals, "DM": {"SEX": rule.Text}}, "week 2": {"VS": vitals}},
	Previous: rule.Variables{"VS": vitals},
	Rows: rule.Variables{"AE": {"AETERM": rule.Text, "AESER": rule.Boolean, "AEGRADE": rule.Integer, "AESTDT": rule.Date},
		"CM": {"CMTRT": rule.Text, "CMSTDT": rule.Date}},
}

var own = rule.Variables{"answers": {"SYSBP": rule.Integer, "VSDT": rule.Date}, "DM": {"SEX": rule.Text, "AGE": rule.Integer}}

// casebook is a rule.Casebook of values by visit, and of rows by group.
type casebook struct {
	values
	visits   map[string]values
	previous values
	rows     map[string][]values
}

func (c casebook) At(visit string) rule.Values {
	if v, ok := c.visits[visit]; ok {
		return v
	}
	return nil
}

func (c casebook) Previous() rule.Values {
	if c.previous == nil {
		return nil
	}
	return c.previous
}

func (c casebook) Rows(group string) (all []rule.Values) {
	for _, r := range c.rows[group] {
		all = append(all, r)
	}
	return all
}

func within(t testing.TB) *rule.Scope {
	t.Helper()
	scope, err := rule.Within(around)
	if err != nil {
		t.Fatal(err)
	}
	return scope
}

func TestRulesOverTheCasebook(t *testing.T) {
	full := casebook{
		values:   values{"answers.SYSBP": 150.0, "answers.VSDT": date(t, "2026-03-15"), "DM.SEX": "f"},
		visits:   map[string]values{"V1": {"VS.SYSBP": 120.0, "VS.VSDT": date(t, "2026-03-01"), "VS.POS": "sitting"}},
		previous: values{"VS.SYSBP": 140.0},
		rows: map[string][]values{"AE": {{"AE.AETERM": "Rash", "AE.AESER": false, "AE.AEGRADE": 2.0, "AE.AESTDT": date(t, "2026-02")},
			{"AE.AETERM": "Fever", "AE.AESER": true, "AE.AEGRADE": 3.0, "AE.AESTDT": date(t, "2026-03")}, {"AE.AETERM": "Pain"}}},
	}
	for expression, want := range map[string]bool{
		`answers.SYSBP - at("V1").VS.SYSBP >= 30`:                                                   true,
		`answers.SYSBP > prev().VS.SYSBP && DM.SEX == "f"`:                                          true,
		`days(answers.VSDT, at("V1").VS.VSDT) == 14`:                                                true,
		`at("V1").VS.POS in ["sitting", "supine"]`:                                                  true,
		`at("week 2").VS.SYSBP > 0`:                                                                 false, // the visit has no values
		`!(at("week 2").VS.SYSBP > 0)`:                                                              false,
		`has(at("week 2").VS.SYSBP)`:                                                                false,
		`!has(at("week 2").VS.SYSBP) && has(prev().VS.SYSBP)`:                                       true,
		`size(rows("AE")) == 3`:                                                                     true,
		`size(rows("CM")) == 0`:                                                                     true,
		`rows("AE").exists(r, r.AESER)`:                                                             true, // one row has no answer
		`rows("AE").exists(r, r.AEGRADE > 3)`:                                                       false,
		`!rows("AE").exists(r, r.AEGRADE > 3)`:                                                      false, // one row has no grade
		`rows("AE").all(r, r.AEGRADE >= 2)`:                                                         false,
		`!rows("AE").all(r, r.AEGRADE >= 3)`:                                                        true,
		`rows("CM").all(r, r.CMTRT == "x")`:                                                         true,
		`size(rows("AE").filter(r, has(r.AEGRADE) && r.AEGRADE >= 2)) == 2`:                         true,
		`size(rows("AE").filter(r, r.AEGRADE >= 2)) == 2`:                                           false, // no result
		`rows("AE").filter(r, has(r.AESTDT)).exists(r, r.AESTDT < at("V1").VS.VSDT)`:                true,
		`rows("AE").filter(r, has(r.AESTDT)).exists(r, r.AESTDT > at("V1").VS.VSDT)`:                false, // 2026-03 is no date yet
		`rows("AE").exists(r, rows("CM").exists(c, c.CMTRT == r.AETERM))`:                           false,
		`rows("AE").exists(answers, answers.AETERM == "Fever")`:                                     true,
		`size(rows("AE").filter(r, r.AETERM in ["Fever", "Pain"])) >= 2 && answers.SYSBP in [150]`:  true,
		`rows("AE").exists(r, has(r.AESTDT) && r.AESER && r.AESTDT != date("2026-02") && 1 in [1])`: true,
	} {
		t.Run(expression, func(t *testing.T) {
			r, err := within(t).Compile(expression, own)
			if strings.Contains(expression, `rows("CM").exists(c`) {
				if refusal, ok := refuse.As(err); !ok || refusal.Code != "invalid_rule" || !strings.Contains(refusal.Sentence, "cost") {
					t.Fatalf("rows against rows cost too much, and got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.Holds(full); err != nil || got != want {
				t.Errorf("Holds returns %v, %v; want %v", got, err, want)
			}
			// Where there is no casebook around the values, nothing fails.
			if _, err := r.Holds(values{}); err != nil {
				t.Errorf("without a casebook: %v", err)
			}
		})
	}
}

func TestRulesThatNameWhatTheCasebookDoesNotHaveAreRefused(t *testing.T) {
	for expression, why := range map[string]string{
		`at("V9").VS.SYSBP > 1`:                         "no visit",
		`at("week 2").DM.SEX == "f"`:                    "DM", // not collected there
		`at("V1").VS.PULSE > 1`:                         "PULSE",
		`at("V" + "1").VS.SYSBP > 1`:                    "written name",
		`at(DM.SEX).VS.SYSBP > 1`:                       "written name",
		`prev().DM.SEX == "f"`:                          "DM",
		`rows("XX").exists(r, true)`:                    "no group",
		`rows("AE").exists(r, r.AETRM == "x")`:          "AETRM",
		`has(at("V1").VS)`:                              "other than",
		`at("V1").VS == at("week 2").VS`:                "",
		`at("V1") == at("V1")`:                          "compared",
		`rows("AE") == rows("AE")`:                      "compared",
		`rows("AE")[0].AESER`:                           "other than",
		`rows("AE").exists(r, r in rows("AE"))`:         "compared",
		`rows("AE").exists(r, r == r)`:                  "compared",
		`rows("AE").map(r, r.AEGRADE) == [1]`:           "map",
		`rows("AE").exists_one(r, r.AESER)`:             "exists_one",
		`rows("AE")`:                                    "true or false",
		`answers`:                                       "true or false",
		`answers == answers`:                            "as a whole",
		`AE.AETERM == "x"`:                              "undeclared",
		`rows("AE").exists(r, r.AETERM.matches("a"))`:   "matches",
		`at("V1", "V2").VS.SYSBP > 1`:                   "",
		`rows("AE").all(r, rows("AE").all(s, r.AESER))`: "cost",
		`casebook.answers{SYSBP: 1}.SYSBP == 1`:         "",
		`{"a": 1}["a"] == 1`:                            "other than",
	} {
		t.Run(expression, func(t *testing.T) {
			_, err := within(t).Compile(expression, own)
			r, ok := refuse.As(err)
			if !ok || r.Code != "invalid_rule" || r.Remedy == "" {
				t.Fatalf("got %v", err)
			}
			if why == "compared" && strings.Contains(r.Sentence, "as a whole") {
				return
			}
			if !strings.Contains(r.Sentence, why) {
				t.Errorf("the refusal does not say %q: %s", why, r.Sentence)
			}
		})
	}
}

func TestVariablesOfRulesOverTheCasebook(t *testing.T) {
	r, err := within(t).Compile(`answers.SYSBP > at("V1").VS.SYSBP && prev().VS.POS == "sitting" && DM.AGE > 1 &&
		rows("AE").exists(r, r.AETERM == "Fever" && r.AESER) && has(at("week 2").VS.POS)`, own)
	if err != nil {
		t.Fatal(err)
	}
	want := []rule.Variable{{Group: "answers", Name: "SYSBP"}, {Group: "VS", Name: "SYSBP", Visit: "V1"},
		{Group: "VS", Name: "POS", Previous: true},
		{Group: "DM", Name: "AGE"}, {Group: "AE", InRows: true}, {Group: "AE", Name: "AETERM", InRows: true},
		{Group: "AE", Name: "AESER", InRows: true},
		{Group: "VS", Name: "POS", Visit: "week 2"}}
	if diff := cmp.Diff(want, r.Variables()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	compared := []rule.Comparison{{Group: "VS", Name: "POS", Text: "sitting"}, {Group: "AE", Name: "AETERM", Text: "Fever"}}
	if diff := cmp.Diff(compared, r.Comparisons()); diff != "" {
		t.Errorf("comparisons (-want +got):\n%s", diff)
	}
	if _, portable := r.Tree(); portable {
		t.Error("a rule over the casebook is said to be computed without CEL")
	}
}

func TestFormulasOverTheCasebook(t *testing.T) {
	const expression = `size(rows("AE").filter(r, has(r.AESER) && r.AESER)) + answers.SYSBP - at("V1").VS.SYSBP`
	f, err := within(t).CompileFormula(expression, own, rule.Integer)
	if err != nil {
		t.Fatal(err)
	}
	book := casebook{values: values{"answers.SYSBP": 150.0}, visits: map[string]values{"V1": {"VS.SYSBP": 120.0}},
		rows: map[string][]values{"AE": {{"AE.AESER": true}, {}}}}
	if got, ok, err := f.Compute(book); err != nil || !ok || got != 31.0 {
		t.Errorf("computed %v, %v, %v; want 31", got, ok, err)
	}
	if got, ok, err := f.Compute(values{"answers.SYSBP": 150.0}); err != nil || ok {
		t.Errorf("computed %v, %v, %v; want nothing", got, ok, err)
	}
	if _, err := within(t).CompileFormula(`rows("AE")`, own, rule.Integer); err == nil {
		t.Error("rows are the result of a formula")
	}
}

// A rule over more rows than the estimate assumes is stopped before it can hold everybody up, and says so.
func TestARuleOverTooManyRowsIsStopped(t *testing.T) {
	r, err := within(t).Compile(`rows("AE").all(r, r.AETERM != "x" && r.AEGRADE < 5)`, own)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]values, 100*rule.MaxRows)
	for n := range rows {
		rows[n] = values{"AE.AETERM": "Rash", "AE.AEGRADE": 1.0}
	}
	if holds, err := r.Holds(casebook{rows: map[string][]values{"AE": rows}}); err == nil || holds {
		t.Errorf("Holds returns %v, %v; want an error", holds, err)
	}
	if holds, err := r.Holds(casebook{rows: map[string][]values{"AE": rows[:rule.MaxRows]}}); err != nil || !holds {
		t.Errorf("over %d rows, Holds returns %v, %v", rule.MaxRows, holds, err)
	}
}

// For any rows, exists and all say what a person would who knows of each row whether it fulfils the condition, or that nobody
// knows: exists holds when one row does, all when every row does, and not(...) of them only when that is certain.
func TestQuantifiersOverRowsWithMissingValues(t *testing.T) {
	scope := within(t)
	holds := func(t *rapid.T, expression string, book casebook) bool {
		r, err := scope.Compile(expression, own)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Holds(book)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	rapid.Check(t, func(t *rapid.T) {
		grades := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 6).Draw(t, "grades") // 0: not known
		limit := rapid.IntRange(1, 3).Draw(t, "limit")
		var rows []values
		var yes, above, no, unknown int
		for _, g := range grades {
			switch {
			case g == 0:
				rows, unknown = append(rows, values{}), unknown+1
				continue
			case g >= limit:
				yes++
				if g > limit {
					above++
				}
			default:
				no++
			}
			rows = append(rows, values{"AE.AEGRADE": float64(g)})
		}
		book := casebook{rows: map[string][]values{"AE": rows}}
		for expression, want := range map[string]bool{
			fmt.Sprintf(`rows("AE").exists(r, r.AEGRADE >= %d)`, limit):                                        yes > 0,
			fmt.Sprintf(`!rows("AE").exists(r, r.AEGRADE >= %d)`, limit):                                       yes == 0 && unknown == 0,
			fmt.Sprintf(`rows("AE").all(r, r.AEGRADE >= %d)`, limit):                                           no == 0 && unknown == 0,
			fmt.Sprintf(`!rows("AE").all(r, r.AEGRADE >= %d)`, limit):                                          no > 0,
			fmt.Sprintf(`size(rows("AE").filter(r, has(r.AEGRADE) && r.AEGRADE >= %d)) == %d`, limit, yes):     true,
			fmt.Sprintf(`size(rows("AE").filter(r, !has(r.AEGRADE))) == %d`, unknown):                          true,
			fmt.Sprintf(`size(rows("AE")) == %d`, len(grades)):                                                 true,
			fmt.Sprintf(`size(rows("AE").filter(r, r.AEGRADE >= %d)) == %d`, limit, yes):                       unknown == 0,
			fmt.Sprintf(`rows("AE").filter(r, has(r.AEGRADE)).all(r, r.AEGRADE >= %d) || false`, limit):        no == 0,
			fmt.Sprintf(`rows("AE").filter(r, has(r.AEGRADE)).exists(r, r.AEGRADE < %d) && 1 == 1`, limit):     no > 0,
			fmt.Sprintf(`rows("AE").exists(r, has(r.AEGRADE) && r.AEGRADE >= %d) == %t`, limit, yes > 0):       true,
			fmt.Sprintf(`rows("AE").exists(r, !has(r.AEGRADE)) || rows("AE").all(r, r.AEGRADE < %d)`, limit+1): unknown > 0 || above == 0,
		} {
			if got := holds(t, expression, book); got != want {
				t.Fatalf("%s is %v over %v", expression, got, grades)
			}
		}
	})
}

// Every expression over a casebook compiles or is refused, and what compiles can be evaluated without a panic.
func FuzzCompileWithin(f *testing.F) {
	for _, seed := range []string{
		`at("V1").VS.SYSBP > 1`, `prev().VS.POS == "x"`, `rows("AE").exists(r, r.AESER)`, `at("V1")`, `at()`, `prev(1)`, `rows(1)`,
		`rows("AE")[0]`,
		`rows("AE").filter(r, r.AESER).all(r, r == r)`, `size([rows("AE")])`, `(true ? rows("AE") : rows("AE")).exists(a, a.AESER)`,
		`[at("V1")]`, `rows("AE") + rows("AE")`, `rows("AE").exists(at, at.AESER)`, `@prev.VS`, `"a".all(x, x)`,
		`[[1]].exists(x, x.exists(y, y > 0))`,
		`days(prev().VS.VSDT, at("V1").VS.VSDT) > 1`, `has(rows("AE").AESER)`, `has(prev().VS.POS.X)`,
		`rows("AE").exists(r, [r].exists(s, s.AESER))`,
	} {
		f.Add(seed)
	}
	scope := within(f)
	full := casebook{values: values{"answers.SYSBP": 150.0, "DM.SEX": "f"},
		visits:   map[string]values{"V1": {"VS.SYSBP": 120.0, "VS.POS": "x"}},
		previous: values{"VS.SYSBP": 140.0}, rows: map[string][]values{"AE": {{"AE.AESER": true, "AE.AETERM": "Rash"}, {}}}}
	f.Fuzz(func(t *testing.T, expression string) {
		r, err := scope.Compile(expression, own)
		if err != nil {
			if refusal, ok := refuse.As(err); !ok || refusal.Code != "invalid_rule" || len(refusal.Sentence) > 4000 {
				t.Fatalf("not a refusal with the code invalid_rule: %v", err)
			}
			return
		}
		for _, v := range []rule.Values{full, values{}} {
			if holds, err := r.Holds(v); holds && err != nil {
				t.Fatalf("the rule holds, but the evaluation fails: %v", err)
			}
		}
	})
}
