package form_test

import (
	"strings"
	"testing"

	"casebook/domain/form"
	"casebook/domain/rule"

	"github.com/google/go-cmp/cmp"
)

type values map[string]any

func (v values) Value(group, name string) (any, bool) {
	value, ok := v[group+"."+name]
	return value, ok
}

// book is a casebook with one visit and the rows of one group.
type book struct {
	values
	screening values
	rows      []values
}

func (b book) At(string) rule.Values { return b.screening }
func (b book) Previous() rule.Values { return b.screening }
func (b book) Rows(string) []rule.Values {
	var all []rule.Values
	for _, r := range b.rows {
		all = append(all, r)
	}
	return all
}

func surroundings(t testing.TB) form.Surroundings {
	t.Helper()
	weighed := rule.Variables{"VS": {"weight": rule.Decimal}}
	scope, err := rule.Within(rule.Surroundings{Visits: map[string]rule.Variables{"SCR": weighed}, Previous: weighed,
		Rows: rule.Variables{"AE": {"serious": rule.Boolean, "outcome": rule.Text}}})
	if err != nil {
		t.Fatal(err)
	}
	options := func(group, item string) ([]string, bool) { return []string{"f", "m"}, group == "DM" && item == "sex" }
	return form.Surroundings{Scope: scope, Groups: rule.Variables{"DM": {"sex": rule.Text}}, Options: options}
}

func followUp() *form.Definition {
	return &form.Definition{ID: "VS", Title: form.Plain("Vital signs"),
		Items: []form.Item{
			{ID: "weight", Text: form.Plain("Weight"), Type: form.Decimal, Unit: "kg"},
			{ID: "gained", Text: form.Plain("Gained"), Type: form.Decimal, Derivation: `answers.weight - at("SCR").VS.weight`},
			{ID: "doubled", Text: form.Plain("Doubled"), Type: form.Decimal, Derivation: `answers.gained * 2.0`},
			{ID: "pregnant", Text: form.Plain("Pregnant"), Type: form.Boolean, AskedWhen: `DM.sex == "f"`},
		},
		Checks: []form.Check{
			{ID: "gain", Item: "weight", When: "answers.gained > 10.0", Message: form.Plain("Much"), Effect: form.EffectQuery},
			{ID: "drop", Item: "weight", When: "prev().VS.weight - answers.weight > 10.0", Message: form.Plain("Less"), Effect: form.EffectQuery},
			{ID: "serious", Item: "weight", When: `rows("AE").exists(r, r.serious)`, Message: form.Plain("Serious"), Effect: form.EffectQuery},
		}}
}

func TestAFormSeesWhatSurroundsIt(t *testing.T) {
	f, err := form.CaseReport.CompileWithin(followUp(), surroundings(t))
	if err != nil {
		t.Fatal(err)
	}
	around := book{values: values{"DM.sex": "m", "answers.weight": 1.0}, screening: values{"VS.weight": 70.0},
		rows: []values{{"AE.serious": false}, {"AE.serious": true}}}
	e := f.EvaluateWithin(entries{"weight": {Value: 85.5}, "pregnant": {Value: false}}, around)
	if diff := cmp.Diff(map[form.ItemID]any{"weight": 85.5, "gained": 15.5, "doubled": 31.0, "pregnant": false}, e.Recorded()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	var found []string
	for _, x := range e.Findings() {
		found = append(found, string(x.Item)+" "+x.Check+" "+string(x.Consequence))
	}
	if diff := cmp.Diff([]string{"pregnant  notCollected", "weight gain queried", "weight serious queried"}, found); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	// Alone, the form derives and finds nothing of what depends on the rest, and skips what is only asked because of it.
	alone := f.Evaluate(entries{"weight": {Value: 85.5}})
	if diff := cmp.Diff(map[form.ItemID]any{"weight": 85.5}, alone.Recorded()); diff != "" || len(alone.Findings()) > 0 {
		t.Errorf("alone it records (-want +got):\n%s\nand finds %v", diff, alone.Findings())
	}
}

func TestRulesOverWhatSurroundsAFormAreChecked(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*form.Definition)
		field  string
	}{
		"an option of no list":      {func(d *form.Definition) { d.Items[3].AskedWhen = `DM.sex == "w"` }, "items[3].askedWhen"},
		"a visit that there is not": {func(d *form.Definition) { d.Items[1].Derivation = `at("V9").VS.weight` }, "items[1].derivation"},
		"a group of elsewhere":      {func(d *form.Definition) { d.Checks[0].When = `EX.dose > 1` }, "checks[0].when"},
	} {
		t.Run(name, func(t *testing.T) {
			d := followUp()
			x.change(d)
			_, err := form.CaseReport.CompileWithin(d, surroundings(t))
			if r := refusal(t, err); r.Code != "invalid_rule" || r.Field != x.field {
				t.Errorf("refused %s at %s: %s", r.Code, r.Field, r.Sentence)
			}
		})
	}
}

func TestTheVariablesOfAFormsRules(t *testing.T) {
	f, err := form.CaseReport.CompileWithin(followUp(), surroundings(t))
	if err != nil {
		t.Fatal(err)
	}
	weight := rule.Variable{Group: "answers", Name: "weight"}
	for what, x := range map[string]struct{ want, got []rule.Variable }{
		"derivation":    {[]rule.Variable{weight, {Group: "VS", Name: "weight", Visit: "SCR"}}, f.DerivedFrom(1)},
		"no derivation": {nil, f.DerivedFrom(0)},
		"skip rule":     {[]rule.Variable{{Group: "DM", Name: "sex"}}, f.AskedBy(3)},
		"check":         {[]rule.Variable{{Group: "VS", Name: "weight", Previous: true}, weight}, f.Checked(1)},
	} {
		if diff := cmp.Diff(x.want, x.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if options, ok := f.OptionsOf("weight"); ok || strings.Join(options, "") != "" {
		t.Errorf("a weight has the options %v", options)
	}
}
