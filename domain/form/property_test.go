package form_test

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"casebook/domain/form"
	"casebook/domain/refuse"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyEntry is something that a site may have entered for an item of the type, right or wrong.
func anyEntry(t *rapid.T, it *form.Item) form.Entry {
	label := string(it.ID)
	values := map[form.ItemType][]any{
		form.Integer: {80.0, "80", 60.0, 61.0, 200.0, 80.5}, form.Decimal: {1.81, 2.0, 39.0, "72.5", 100.0, 113.0, 0.0, 400.5},
		form.Boolean: {true, false},
		form.Text:    {"x", " ", "a text that is rather long"}, form.Choice: {"f", "m", "x"},
		form.Multi: {[]any{"fever"}, []any{"other", "cough"}, []any{"x"}, []any{}},
		form.Date:  {"2026-03-15", "2026-02-30"}, form.Time: {"10:30", "10"}, form.Datetime: {"2026-03-15T10:30", "2026"},
		form.PartialDate: {"2026", "2026-03", "2026-03-16", "2026---15"}, form.PartialDatetime: {"2026-03-15T10", "2026"}, form.File: {"x"},
	}[it.Type]
	if rapid.IntRange(0, 9).Draw(t, label+" is left out") == 0 {
		return form.Entry{}
	}
	e := form.Entry{Value: rapid.SampledFrom(values).Draw(t, label)}
	if len(it.Units) > 0 && rapid.Bool().Draw(t, label+" in another unit") {
		e.Unit = rapid.SampledFrom(it.Units).Draw(t, label+"'s unit").Unit
	}
	return e
}

func anyEntries(t *rapid.T, d *form.Definition) entries {
	all := entries{}
	for n := range d.Items {
		if d.Items[n].Derivation == "" {
			all[d.Items[n].ID] = anyEntry(t, &d.Items[n])
		}
	}
	return all
}

// What was recorded is recorded the same when it is entered again, and is not refused.
func TestWhatIsRecordedStaysAsItIs(t *testing.T) {
	f := compiled(t, vitals())
	rapid.Check(t, func(t *rapid.T) {
		first := f.Evaluate(anyEntries(t, f.Definition()))
		again := entries{}
		for id, answer := range first.Recorded() {
			if v := first.Of(id); !v.Derived {
				again[id] = form.Entry{Value: answer, Unit: v.Unit}
			}
		}
		second := f.Evaluate(again)
		if diff := cmp.Diff(first.Recorded(), second.Recorded()); diff != "" {
			t.Fatalf("recorded otherwise (-first +second):\n%s", diff)
		}
		for _, found := range second.Findings() {
			if found.Consequence == form.Refused && found.Check == "" &&
				!slices.ContainsFunc(first.Findings(), func(f form.Finding) bool { return f.Item == found.Item && f.Code == found.Code }) {
				t.Fatalf("what was recorded is refused: %+v", found)
			}
		}
	})
}

// The order of the items is for people: the same answers derive, skip and find the same in any order.
func TestTheOrderOfItemsChangesNothing(t *testing.T) {
	f := compiled(t, vitals())
	rapid.Check(t, func(t *rapid.T) {
		d := vitals()
		d.Items = rapid.Permutation(d.Items).Draw(t, "order")
		shuffled, err := form.CaseReport.Compile(d)
		if err != nil {
			t.Fatal(err)
		}
		given := anyEntries(t, f.Definition())
		a, b := f.Evaluate(given), shuffled.Evaluate(given)
		for _, it := range f.Definition().Items {
			if diff := cmp.Diff(a.Of(it.ID), b.Of(it.ID)); diff != "" {
				t.Fatalf("%s differs:\n%s", it.ID, diff)
			}
		}
		sorted := func(e *form.Evaluation) []string {
			var all []string
			for _, f := range e.Findings() {
				all = append(all, fmt.Sprint(f.Item, f.Check, f.Consequence, f.Code, f.Sentence))
			}
			slices.Sort(all)
			return all
		}
		if diff := cmp.Diff(sorted(a), sorted(b)); diff != "" {
			t.Fatalf("other findings:\n%s", diff)
		}
	})
}

// A check never sees what is not asked: with those answers left out, the same checks hold.
func TestChecksDoNotSeeWhatIsNotAsked(t *testing.T) {
	f := compiled(t, vitals())
	checks := func(e *form.Evaluation) (held []string) {
		for _, found := range e.Findings() {
			if found.Check != "" {
				held = append(held, found.Check+" "+found.Code)
			}
		}
		return held
	}
	rapid.Check(t, func(t *rapid.T) {
		given := anyEntries(t, f.Definition())
		all := f.Evaluate(given)
		asked := entries{}
		for id, e := range given {
			if !all.Of(id).NotCollected {
				asked[id] = e
			}
		}
		// Nothing that skips is skipped itself in this form, so that leaving out changes no skip rule.
		if diff := cmp.Diff(checks(all), checks(f.Evaluate(asked))); diff != "" {
			t.Fatalf("other checks hold (-all +asked alone):\n%s", diff)
		}
	})
}

// Check refuses exactly what Evaluate finds more than queries in, the first of it first.
func TestCheckAgreesWithEvaluate(t *testing.T) {
	f := compiled(t, vitals())
	rapid.Check(t, func(t *rapid.T) {
		given, answers := entries{}, map[form.ItemID]any{}
		for id, e := range anyEntries(t, f.Definition()) {
			if _, typed := e.Value.(string); typed && (id == "pulse" || id == "weight" || id == "height" || id == "temperature") {
				continue // Evaluate takes typed numbers, Check does not
			}
			given[id], answers[id] = form.Entry{Value: e.Value}, e.Value
		}
		evaluated := f.Evaluate(given)
		first := slices.IndexFunc(evaluated.Findings(), func(f form.Finding) bool { return f.Consequence != form.Queried })
		clean, err := f.Check(answers)
		if first < 0 {
			if diff := cmp.Diff(evaluated.Recorded(), clean); err != nil || diff != "" {
				t.Fatalf("%v, recorded otherwise:\n%s", err, diff)
			}
			return
		}
		want := evaluated.Findings()[first]
		if r, ok := refuse.As(err); !ok || r.Code != want.Code || r.Sentence != want.Sentence || r.Field != "answers."+string(want.Item) {
			t.Fatalf("refused with %v, want %+v", err, want)
		}
	})
}

// A conversion loses nothing: the number in the item's own unit, converted back, is the number that was entered.
func TestConversionsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		factor := fmt.Sprintf("%d/%d", rapid.IntRange(1, 1_000_000).Draw(t, "numerator"), rapid.IntRange(1, 1_000_000).Draw(t, "denominator"))
		offset := fmt.Sprintf("%d.%d", rapid.IntRange(-1000, 1000).Draw(t, "offset"), rapid.IntRange(0, 999).Draw(t, "thousandths"))
		entered := fmt.Sprintf("%d.%03d", rapid.IntRange(-100_000, 100_000).Draw(t, "entered"), rapid.IntRange(0, 999).Draw(t, "decimals"))
		f, err := form.CaseReport.Compile(&form.Definition{ID: "F", Title: form.Plain("F"),
			Items: []form.Item{{ID: "x", Text: form.Plain("X"), Type: form.Decimal, Unit: "a",
				Units: []form.Unit{{Unit: "b", Factor: form.Exact(factor), Offset: form.Exact(offset)}}}}})
		if err != nil {
			t.Fatal(err)
		}
		got := f.Evaluate(entries{"x": {Value: entered, Unit: "b"}}).Of("x")
		back, ok := new(big.Rat).SetString(string(got.Standard))
		if !ok {
			t.Fatalf("%s b is %q", entered, got.Standard)
		}
		rational := func(text string) *big.Rat { r, _ := new(big.Rat).SetString(text); return r }
		back.Sub(back, rational(offset))
		back.Quo(back, rational(factor))
		if back.Cmp(rational(entered)) != 0 {
			t.Fatalf("%s b with %s and %s is %s, and back %s", entered, factor, offset, got.Standard, back)
		}
	})
}
