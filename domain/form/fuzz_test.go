package form_test

import (
	"encoding/json"
	"testing"

	"casebook/domain/form"
	"casebook/domain/refuse"

	"github.com/google/go-cmp/cmp"
)

// A definition is refused with its part named, or it can be evaluated on any entries, twice with the same outcome.
func FuzzForm(f *testing.F) {
	entered := map[form.ItemID]any{}
	for id, e := range filled() {
		entered[id] = e.Value
	}
	for _, d := range []*form.Definition{vitals(), {}, {ID: "F", Title: form.Plain("F"),
		Items: []form.Item{{ID: "a", Text: form.Plain("A"), Type: form.Decimal, Derivation: "answers.a"}}}} {
		definition, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		answers, err := json.Marshal(entered)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(definition, answers, "[lb_av]")
	}
	kinds := []form.Kind{form.CaseReport, {Code: "invalid_quiz", Noun: "quiz", TopDown: true, DaysAsText: true}}
	f.Fuzz(func(t *testing.T, definition, sent []byte, unit string) {
		var d form.Definition
		var answers map[form.ItemID]any
		if json.Unmarshal(definition, &d) != nil || json.Unmarshal(sent, &answers) != nil {
			return
		}
		for _, kind := range kinds {
			compiled, err := kind.Compile(&d)
			if err != nil {
				if r, ok := refuse.As(err); !ok || r.Field == "" || r.Remedy == "" || len(r.Sentence) > 4000 || r.Code != kind.Code &&
					r.Code != "invalid_rule" {
					t.Fatalf("not a refusal that names its part: %v", err)
				}
				continue
			}
			given := entries{}
			for id, answer := range answers {
				given[id] = form.Entry{Value: answer}
				if _, isNumber := answer.(float64); isNumber {
					given[id] = form.Entry{Value: answer, Unit: unit}
				}
			}
			first, second := compiled.Evaluate(given), compiled.Evaluate(given)
			if diff := cmp.Diff(first.Recorded(), second.Recorded()); diff != "" || said(first) != said(second) {
				t.Fatalf("the second time: %s\n%s", said(second), diff)
			}
			if clean, err := compiled.Check(answers); err != nil {
				if _, ok := refuse.As(err); !ok || clean != nil {
					t.Fatalf("failed: %v", err)
				}
			}
		}
	})
}
