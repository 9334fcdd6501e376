package form_test

import (
	"testing"

	"casebook/domain/form"
	"casebook/domain/refuse"
)

type entries = map[form.ItemID]form.Entry

// vitals is a case report form with items of every type and rules of every kind.
func vitals() *form.Definition {
	both := func(en, de string) form.Translation { return form.Translation{"en": en, "de": de} }
	option := func(value string) form.Option { return form.Option{Value: value, Label: both(value, value)} }
	item := func(id form.ItemID, t form.ItemType, change ...func(*form.Item)) form.Item {
		it := form.Item{ID: id, Type: t, Text: both("The "+string(id), "Das "+string(id))}
		for _, c := range change {
			c(&it)
		}
		return it
	}
	return &form.Definition{
		ID: "VS", Title: both("Vital signs", "Vitalzeichen"), Languages: []string{"en", "de"},
		Lists: []form.CodeList{{ID: "symptoms", Options: []form.Option{option("fever"), option("cough"), option("rash"),
			{Value: "other", Label: both("other", "andere"), Other: true}}}},
		Items: []form.Item{
			item("visit", form.Date, func(it *form.Item) { it.Required = true }),
			item("at", form.Time),
			item("taken", form.Datetime),
			item("sex", form.Choice, func(it *form.Item) { it.Options, it.Required = []form.Option{option("f"), option("m")}, true }),
			item("pregnant", form.Boolean, func(it *form.Item) { it.AskedWhen, it.Required = `answers.sex == "f"`, true }),
			// Derived items come before what they are derived from.
			item("obese", form.Boolean, func(it *form.Item) { it.Derivation = "answers.bmi >= 30.0" }),
			item("bmi", form.Decimal, func(it *form.Item) {
				it.Unit, it.Derivation, it.Decimals, it.SoftMax = "kg/m2", "answers.weight / (answers.height * answers.height)", new(1), new(60.0)
			}),
			item("weight", form.Decimal, func(it *form.Item) {
				it.Unit, it.Min, it.Max, it.SoftMin, it.SoftMax, it.Decimals = "kg", new(2.0), new(400.0), new(40.0), new(150.0), new(2)
				it.Units = []form.Unit{{Unit: "[lb_av]", Factor: "0.45359237"}, {Unit: "g", Factor: "1/1000"}}
			}),
			item("height", form.Decimal, func(it *form.Item) {
				it.Unit, it.Units = "m", []form.Unit{{Unit: "cm", Factor: "0.01"}, {Unit: "[in_i]", Factor: "0.0254"}}
			}),
			item("temperature", form.Decimal, func(it *form.Item) {
				it.Unit, it.Min, it.Max = "Cel", new(30.0), new(45.0)
				it.Units = []form.Unit{{Unit: "[degF]", Factor: "5/9", Offset: "-160/9"}}
			}),
			item("pulse", form.Integer, func(it *form.Item) { it.Unit, it.SoftMin, it.SoftMax = "/min", new(40.0), new(120.0) }),
			item("onset", form.PartialDate),
			item("ended", form.PartialDatetime),
			item("days", form.Integer, func(it *form.Item) { it.Derivation = "days(answers.visit, answers.onset)" }),
			item("symptoms", form.Multi, func(it *form.Item) { it.List, it.SpecifiedBy = "symptoms", "symptom" }),
			item("symptom", form.Text, func(it *form.Item) { it.MaxChars = 20 }),
			item("notes", form.Text, func(it *form.Item) { it.AskedWhen = "answers.obese" }),
			item("scan", form.File),
		},
		Checks: []form.Check{
			{ID: "onset-after-visit", Item: "onset", When: "answers.onset > answers.visit",
				Message: both("Onset lies after the visit", "Beginn nach der Visite"), Effect: form.EffectQuery},
			{ID: "fever-without-fever", Item: "symptoms", When: `"fever" in answers.symptoms && answers.temperature < 37.5`,
				Message: both("Fever below 37.5", "Fieber unter 37,5"), Effect: form.EffectQuery},
			{ID: "pregnant-obese", Item: "pregnant", When: "answers.pregnant && answers.obese", Message: both("Not eligible", "Nicht geeignet"),
				Effect: form.EffectHardStop},
			{ID: "ratio", Item: "pulse", When: "6 / (answers.pulse - 60) > 2", Message: both("Ratio", "Verhaeltnis"), Effect: form.EffectHardStop},
		},
	}
}

func compiled(t testing.TB, d *form.Definition) *form.Form {
	t.Helper()
	f, err := form.CaseReport.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// filled is a form that nothing is to be said about.
func filled() entries {
	return entries{
		"visit": {Value: "2026-03-15"}, "at": {Value: "10:30"}, "taken": {Value: "2026-03-15T10:30"}, "sex": {Value: "f"},
		"pregnant": {Value: false},
		"weight":   {Value: "72.50"}, "height": {Value: 1.81}, "temperature": {Value: 38.5}, "pulse": {Value: 80.0},
		"onset": {Value: "2026-03-12"},
		"ended": {Value: "2026-03-14T10"}, "symptoms": {Value: []any{"cough", "fever"}},
		"scan": {Value: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
	}
}

func refusal(t testing.TB, err error) *refuse.Refusal {
	t.Helper()
	r, ok := refuse.As(err)
	if !ok {
		t.Fatalf("got %v, want a refusal", err)
	}
	return r
}
