package form_test

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"casebook/domain/form"
	"casebook/domain/rule"
)

// at returns the place of an item in vitals.
func at(t testing.TB, d *form.Definition, id form.ItemID) *form.Item {
	t.Helper()
	for n := range d.Items {
		if d.Items[n].ID == id {
			return &d.Items[n]
		}
	}
	t.Fatalf("there is no item %s", id)
	return nil
}

func TestCompileRefuses(t *testing.T) {
	item := func(id form.ItemID, change func(*form.Item)) func(*form.Definition) {
		return func(d *form.Definition) { change(at(t, d, id)) }
	}
	numbered := func(n int) (all []form.Option) {
		for i := range n {
			all = append(all, form.Option{Value: strconv.Itoa(i), Label: form.Translation{"en": "x", "de": "x"}})
		}
		return all
	}
	for name, x := range map[string]struct {
		field  string
		change func(*form.Definition)
	}{
		"no id":              {"id", func(d *form.Definition) { d.ID = "" }},
		"a version below 0":  {"version", func(d *form.Definition) { d.Version = -1 }},
		"no title":           {"title", func(d *form.Definition) { d.Title = nil }},
		"a missing language": {"title", func(d *form.Definition) { delete(d.Title, "de") }},
		"an empty language":  {"title.de", func(d *form.Definition) { d.Title["de"] = "" }},
		"a long title":       {"title.en", func(d *form.Definition) { d.Title["en"] = strings.Repeat("x", 301) }},
		"a further language": {"title", func(d *form.Definition) { d.Title["fr"] = "Signes vitaux" }},
		"no language":        {"languages[1]", func(d *form.Definition) { d.Languages[1] = "german!" }},
		"a language twice":   {"languages[1]", func(d *form.Definition) { d.Languages[1] = "en" }},
		"many languages":     {"languages", func(d *form.Definition) { d.Languages = make([]string, 31) }},
		"languages of texts": {"title", func(d *form.Definition) { d.Languages = nil }},

		"no items":            {"items", func(d *form.Definition) { d.Items = nil }},
		"many items":          {"items", func(d *form.Definition) { d.Items = make([]form.Item, 201) }},
		"an item twice":       {"items[2].id", func(d *form.Definition) { d.Items[2].ID = "visit" }},
		"a word of CEL":       {"items[2].id", func(d *form.Definition) { d.Items[2].ID = "in" }},
		"no text":             {"items[2].text", func(d *form.Definition) { d.Items[2].Text = nil }},
		"help in part":        {"items[2].help", func(d *form.Definition) { d.Items[2].Help = form.Translation{"en": "Help"} }},
		"no type":             {"items[2].type", func(d *form.Definition) { d.Items[2].Type = "slider" }},
		"a range of dates":    {"items[0].min", func(d *form.Definition) { d.Items[0].Max = new(1.0) }},
		"a soft range":        {"items[0].softMin", func(d *form.Definition) { d.Items[0].SoftMax = new(1.0) }},
		"a range the far way": {"items[7].min", item("weight", func(it *form.Item) { it.Min = new(401.0) })},
		"a soft far way":      {"items[7].softMin", item("weight", func(it *form.Item) { it.SoftMin = new(151.0) })},
		"a soft min too low":  {"items[7].softMin", item("weight", func(it *form.Item) { it.SoftMin = new(1.0) })},
		"a soft max too high": {"items[7].softMax", item("weight", func(it *form.Item) { it.SoftMax = new(401.0) })},
		"many decimals":       {"items[7].decimals", item("weight", func(it *form.Item) { it.Decimals = new(16) })},
		"decimals of a whole": {"items[10].decimals", item("pulse", func(it *form.Item) { it.Decimals = new(1) })},
		"a long text":         {"items[15].maxChars", item("symptom", func(it *form.Item) { it.MaxChars = 4001 })},
		"no number":           {"items", item("weight", func(it *form.Item) { it.Max = new(math.Inf(1)) })},

		"options of a date":   {"items[0].options", func(d *form.Definition) { d.Items[0].Options = numbered(1) }},
		"a list of a date":    {"items[0].list", func(d *form.Definition) { d.Items[0].List = "symptoms" }},
		"no options":          {"items[3].options", item("sex", func(it *form.Item) { it.Options = nil })},
		"many options":        {"items[3].options", item("sex", func(it *form.Item) { it.Options = numbered(101) })},
		"an option twice":     {"items[3].options[1].value", item("sex", func(it *form.Item) { it.Options[1].Value = "f" })},
		"an untranslated one": {"items[3].options[1].label", item("sex", func(it *form.Item) { it.Options[1].Label = nil })},
		"options and a list":  {"items[3].list", item("sex", func(it *form.Item) { it.List = "symptoms" })},
		"an unknown list":     {"items[14].list", item("symptoms", func(it *form.Item) { it.List = "symptom" })},
		"a list twice":        {"lists[1].id", func(d *form.Definition) { d.Lists = append(d.Lists, d.Lists[0]) }},
		"a nameless list":     {"lists[0].id", func(d *form.Definition) { d.Lists[0].ID = "" }},
		"an empty list":       {"lists[0].options", func(d *form.Definition) { d.Lists[0].Options = nil }},
		"a value twice":       {"lists[0].options[1].value", func(d *form.Definition) { d.Lists[0].Options[1].Value = "fever" }},
		"a long list":         {"lists[0].options", func(d *form.Definition) { d.Lists[0].Options = numbered(1001) }},
		"many lists":          {"lists", func(d *form.Definition) { d.Lists = make([]form.CodeList, 101) }},

		"other and no text":     {"items[14].specifiedBy", item("symptoms", func(it *form.Item) { it.SpecifiedBy = "" })},
		"no other and a text":   {"items[14].specifiedBy", func(d *form.Definition) { d.Lists[0].Options[3].Other = false }},
		"specified by nothing":  {"items[14].specifiedBy", item("symptoms", func(it *form.Item) { it.SpecifiedBy = "other" })},
		"specified by a number": {"items[14].specifiedBy", item("symptoms", func(it *form.Item) { it.SpecifiedBy = "pulse" })},
		"specified by a skip":   {"items[14].specifiedBy", item("symptoms", func(it *form.Item) { it.SpecifiedBy = "notes" })},
		"specified by itself":   {"items[14].specifiedBy", item("symptoms", func(it *form.Item) { it.SpecifiedBy = "symptoms" })},
		"one text for two": {"items[14].specifiedBy", func(d *form.Definition) {
			at(t, d, "sex").SpecifiedBy, at(t, d, "sex").Options[1].Other = "symptom", true
		}},

		"units of a date":     {"items[0].units", func(d *form.Definition) { d.Items[0].Units = []form.Unit{{Unit: "d", Factor: "1"}} }},
		"no unit of its own":  {"items[7].unit", item("weight", func(it *form.Item) { it.Unit = "kilo gram" })},
		"a unit with blanks":  {"items[7].units[0].unit", item("weight", func(it *form.Item) { it.Units[0].Unit = "lb av" })},
		"an open bracket":     {"items[7].units[0].unit", item("weight", func(it *form.Item) { it.Units[0].Unit = "[lb_av" })},
		"crossed brackets":    {"items[7].units[0].unit", item("weight", func(it *form.Item) { it.Units[0].Unit = "[(lb])" })},
		"a unit twice":        {"items[7].units[1].unit", item("weight", func(it *form.Item) { it.Units[1].Unit = "[lb_av]" })},
		"its own unit again":  {"items[7].units[1].unit", item("weight", func(it *form.Item) { it.Units[1].Unit = "kg" })},
		"a factor of nothing": {"items[7].units[0].factor", item("weight", func(it *form.Item) { it.Units[0].Factor = "0.0" })},
		"no factor":           {"items[7].units[0].factor", item("weight", func(it *form.Item) { it.Units[0].Factor = "" })},
		"a large factor":      {"items[7].units[0].factor", item("weight", func(it *form.Item) { it.Units[0].Factor = "1e1000000000" })},
		"a factor over zero":  {"items[7].units[0].factor", item("weight", func(it *form.Item) { it.Units[0].Factor = "1/0" })},
		"no offset":           {"items[9].units[0].offset", item("temperature", func(it *form.Item) { it.Units[0].Offset = "-17,8" })},
		"many units":          {"items[7].units", item("weight", func(it *form.Item) { it.Units = make([]form.Unit, 21) })},

		"a derived list":        {"items[14].derivation", item("symptoms", func(it *form.Item) { it.Derivation = "answers.symptoms" })},
		"a derived file":        {"items[17].derivation", item("scan", func(it *form.Item) { it.Derivation = "answers.notes" })},
		"a required derivation": {"items[6].required", item("bmi", func(it *form.Item) { it.Required = true })},
		"a derivation in units": {"items[6].units", item("bmi",
			func(it *form.Item) { it.Units = []form.Unit{{Unit: "g/m2", Factor: "1/1000"}} })},
		"derived from itself": {"items[6].derivation", item("bmi", func(it *form.Item) { it.Derivation = "answers.bmi + 1.0" })},
		"derived in a circle": {"items[5].derivation", item("weight",
			func(it *form.Item) { it.Units, it.Derivation = nil, "answers.obese ? 100.0 : 50.0" })},
		"a check twice":            {"checks[1].id", func(d *form.Definition) { d.Checks[1].ID = d.Checks[0].ID }},
		"a nameless check":         {"checks[0].id", func(d *form.Definition) { d.Checks[0].ID = "" }},
		"a check of nothing":       {"checks[0].item", func(d *form.Definition) { d.Checks[0].Item = "begin" }},
		"a check without effect":   {"checks[0].effect", func(d *form.Definition) { d.Checks[0].Effect = "warning" }},
		"a check without message":  {"checks[0].message", func(d *form.Definition) { d.Checks[0].Message = nil }},
		"many checks":              {"checks", func(d *form.Definition) { d.Checks = make([]form.Check, 201) }},
		"a check in half a tongue": {"checks[0].message", func(d *form.Definition) { delete(d.Checks[0].Message, "de") }},
	} {
		t.Run(name, func(t *testing.T) {
			d := vitals()
			x.change(d)
			_, err := form.CaseReport.Compile(d)
			if r := refusal(t, err); r.Code != "invalid_form" || r.Field != x.field || r.Remedy == "" ||
				!strings.HasPrefix(r.Sentence, r.Field+": ") {
				t.Errorf("got %+v, want it at %s", r, x.field)
			}
		})
	}
}

func TestCompileRefusesRules(t *testing.T) {
	dear := `answers.notes.contains(answers.notes)`
	for name, x := range map[string]struct {
		field  string
		change func(*form.Definition)
	}{
		"a skip rule of nothing":    {"items[4].askedWhen", func(d *form.Definition) { d.Items[4].AskedWhen = `answers.gender == "f"` }},
		"a skip rule of itself":     {"items[4].askedWhen", func(d *form.Definition) { d.Items[4].AskedWhen = "answers.pregnant" }},
		"a skip rule that is text":  {"items[4].askedWhen", func(d *form.Definition) { d.Items[4].AskedWhen = "answers.sex" }},
		"a misspelt option":         {"items[4].askedWhen", func(d *form.Definition) { d.Items[4].AskedWhen = `answers.sex == "female"` }},
		"a misspelt choice of many": {"checks[1].when", func(d *form.Definition) { d.Checks[1].When = `"fevre" in answers.symptoms` }},
		"a dear skip rule": {"items[4].askedWhen", func(d *form.Definition) {
			d.Items[4].AskedWhen = dear +
				strings.Repeat(" || "+dear, 20)
		}},
		"a derivation of nothing": {"items[6].derivation", func(d *form.Definition) { d.Items[6].Derivation = "answers.mass" }},
		"a derivation of text":    {"items[6].derivation", func(d *form.Definition) { d.Items[6].Derivation = "answers.notes" }},
		"a misspelt derivation": {"items[6].derivation", func(d *form.Definition) {
			d.Items[6].Derivation = `answers.sex == "male" ? 1.0 : 2.0`
		}},
		"a check that is no CEL": {"checks[0].when", func(d *form.Definition) { d.Checks[0].When = "answers.onset >" }},
		"a check without a rule": {"checks[0].when", func(d *form.Definition) { d.Checks[0].When = "" }},
		"a date against a text":  {"checks[0].when", func(d *form.Definition) { d.Checks[0].When = `answers.onset > "2026-03-01"` }},
	} {
		t.Run(name, func(t *testing.T) {
			d := vitals()
			x.change(d)
			_, err := form.CaseReport.Compile(d)
			if r := refusal(t, err); r.Code != "invalid_rule" || r.Field != x.field || r.Remedy == "" {
				t.Errorf("got %+v, want it at %s", r, x.field)
			}
		})
	}
}

func TestCirclesAreNamed(t *testing.T) {
	d := &form.Definition{ID: "F", Title: form.Plain("F"), Items: []form.Item{
		{ID: "a", Text: form.Plain("A"), Type: form.Decimal, Derivation: "answers.b"},
		{ID: "b", Text: form.Plain("B"), Type: form.Decimal, Derivation: "answers.c + answers.x"},
		{ID: "c", Text: form.Plain("C"), Type: form.Decimal, Derivation: "answers.d"},
		{ID: "d", Text: form.Plain("D"), Type: form.Decimal, Derivation: "answers.b"},
		{ID: "x", Text: form.Plain("X"), Type: form.Decimal},
	}}
	_, err := form.CaseReport.Compile(d)
	if r := refusal(t, err); r.Field != "items[1].derivation" || !strings.Contains(r.Sentence, "b from c from d from b") {
		t.Errorf("got %+v", r)
	}
}

// A form is fixed: what its maker does to the definition afterwards does not reach it. JSON keeps all of it.
func TestCompileCopies(t *testing.T) {
	d := vitals()
	f := compiled(t, d)
	*at(t, d, "weight").Max = 3
	d.Lists[0].Options[0].Value = "chills"
	d.Title["en"] = "Other"
	if e := f.Evaluate(filled()); len(e.Findings()) > 0 {
		t.Errorf("found %+v", e.Findings())
	}
	raw, err := json.Marshal(f.Definition())
	if err != nil {
		t.Fatal(err)
	}
	var back form.Definition
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(compiled(t, &back).Definition())
	if err != nil || string(again) != string(raw) {
		t.Errorf("%v: read back as\n%s\nwritten as\n%s", err, again, raw)
	}
}

// A kind of form has the types, the refusals and the order of its own.
func TestKinds(t *testing.T) {
	plain := func(items ...form.Item) *form.Definition {
		for n := range items {
			items[n].Text = form.Plain("Text")
		}
		return &form.Definition{ID: "F", Version: 2, Title: form.Plain("F"), Items: items}
	}
	topDown := form.Kind{Code: "invalid_quiz", Noun: "quiz", Types: []form.ItemType{form.Integer, form.Date}, TopDown: true, DaysAsText: true}
	skipping := func() *form.Definition {
		return plain(form.Item{ID: "a", Type: form.Integer, AskedWhen: "answers.b > 1"}, form.Item{ID: "b", Type: form.Integer})
	}
	if _, err := topDown.Compile(skipping()); refusal(t, err).Field != "items[0].askedWhen" {
		t.Errorf("a skip rule names a later item: %v", err)
	}
	if _, err := form.CaseReport.Compile(skipping()); err != nil {
		t.Errorf("a skip rule of a case report form cannot name a later item: %v", err)
	}
	if _, err := topDown.Compile(plain(form.Item{ID: "a", Type: form.Text})); refusal(t, err).Code != "invalid_quiz" {
		t.Errorf("got %v", err)
	}
	specified := plain(form.Item{ID: "what", Type: form.Text}, form.Item{ID: "c", Type: form.Choice,
		Options: []form.Option{{Value: "other", Other: true}}, SpecifiedBy: "what"})
	if _, err := form.CaseReport.Compile(specified); err != nil {
		t.Error(err)
	}
	if _, err := (form.Kind{Code: "invalid_quiz", TopDown: true}).Compile(specified); refusal(t, err).Field != "items[1].specifiedBy" {
		t.Errorf("what is asked first depends on what is asked later: %v", err)
	}
	texts := plain(form.Item{ID: "a", Type: form.Date}, form.Item{ID: "b", Type: form.Integer, AskedWhen: `answers.a >= "2026-03-01"`,
		Required: true})
	f, err := topDown.Compile(texts)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Check(map[form.ItemID]any{"a": "2026-03-01"})
	if r := refusal(t, err); r.Code != "item_required" || r.Remedy != "answer it and send the quiz again" {
		t.Errorf("got %+v", r)
	}
	_, err = f.Check(map[form.ItemID]any{"a": "2026-02-28", "c": 1.0})
	if r := refusal(t, err); r.Code != "unknown_item" || r.Sentence != `"c" is not an item of F version 2` {
		t.Errorf("got %+v", r)
	}
}

func TestCompileRuleKnowsMoreThanTheForm(t *testing.T) {
	f := compiled(t, vitals())
	r, err := f.CompileRule("rules[0]", "answers.pulse > 100 && scores.total > 3.0", rule.Variables{"scores": {"total": rule.Decimal}})
	if err != nil || r.String() == "" {
		t.Fatal(err)
	}
	_, err = f.CompileRule("rules[0]", `answers.sex != "x"`, nil)
	if r := refusal(t, err); r.Code != "invalid_rule" || r.Field != "rules[0]" || r.Remedy != "compare with one of f, m" {
		t.Errorf("got %+v", r)
	}
}
