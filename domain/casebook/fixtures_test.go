package casebook_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/casebook"
	"casebook/domain/form"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

const pat = domain.PatientID("PAIN1.S-0001")

var (
	of  = domain.ForPatient(pat)
	why = domain.Because("It was so")

	monitor, manager = []user.Role{user.Monitor}, []user.Role{user.DataManager}

	call = domain.Call{Actor: "crc.berlin", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
)

func item(id form.ItemID, t form.ItemType, change ...func(*build.Item)) build.Item {
	it := build.Item{Item: form.Item{ID: id, Type: t, Text: form.Plain("The " + string(id))}}
	for _, c := range change {
		c(&it)
	}
	return it
}

func derived(expression string) func(*build.Item) {
	return func(it *build.Item) { it.Derivation = expression }
}

func askedWhen(expression string) func(*build.Item) {
	return func(it *build.Item) { it.AskedWhen = expression }
}

func required(it *build.Item) { it.Required = true }

// definition is a small study whose rules look over forms, visits and rows.
func definition() *build.Definition {
	plain := form.Plain
	query := func(id, group string, of form.ItemID, when string, visits ...string) build.Check {
		return build.Check{ID: id, Group: group, Item: of, When: when, Message: plain("Look at " + id), Effect: form.EffectQuery, Visits: visits}
	}
	tall := query("tall", "VS", "HEIGHT", "answers.HEIGHT > 3.0")
	tall.Effect = form.EffectHardStop
	return &build.Definition{
		Lists: []form.CodeList{{ID: "sex", Options: []form.Option{{Value: "f", Label: plain("female")}, {Value: "m", Label: plain("male")}}}},
		Forms: []build.Form{
			{ID: "DM", Title: plain("Demographics"), Kind: build.VisitForm,
				Groups: []build.Group{{ID: "DM", Title: plain("Demographics"), Items: []build.Item{
					item("SEX", form.Choice, required, func(it *build.Item) { it.List = "sex" }), item("BIRTH", form.PartialDate),
					item("ENROLLED", form.Date), item("NOTE", form.Text), item("RACE", form.Multi, func(it *build.Item) { it.List = "sex" })}}}},
			{ID: "VS", Title: plain("Vital signs"), Kind: build.VisitForm, Groups: []build.Group{
				{ID: "VS", Title: plain("Vital signs"), Items: []build.Item{
					item("WEIGHT", form.Decimal, func(it *build.Item) {
						it.Unit, it.Units = "kg", []form.Unit{{Unit: "[lb_av]", Factor: "0.45359237"}}
						it.Min, it.Max, it.SoftMin, it.SoftMax = new(20.0), new(300.0), new(40.0), new(150.0)
					}),
					item("HEIGHT", form.Decimal),
					item("BMI", form.Decimal, derived("answers.WEIGHT / (answers.HEIGHT * answers.HEIGHT)"),
						func(it *build.Item) { it.Decimals = new(1) }),
					item("GAIN", form.Decimal, derived(`answers.WEIGHT - at("SCR").VS.WEIGHT`)),
					item("PREGNANT", form.Boolean, askedWhen(`DM.SEX == "f"`)),
					item("TABLET", form.Text, func(it *build.Item) { it.Blinding = "pharmacy" })}},
				{ID: "BP", Title: plain("Blood pressure"), Repeats: &build.Repeats{Kind: build.RepeatsSimple, Min: 1, Max: 3}, Items: []build.Item{
					item("SYS", form.Integer), item("DIA", form.Integer)}}}},
			{ID: "QS", Title: plain("Questionnaire"), Kind: build.VisitForm,
				Groups: []build.Group{{ID: "QS", Title: plain("Questionnaire"), Items: []build.Item{item("SCORE", form.Integer)}}}},
			{ID: "AE", Title: plain("Adverse events"), Kind: build.LogForm,
				Groups: []build.Group{{ID: "AE", Title: plain("Adverse event"), Repeats: &build.Repeats{Kind: build.RepeatsSimple}, Items: []build.Item{
					item("AETERM", form.Text), item("AESTDT", form.PartialDate), item("AESER", form.Boolean)}}}},
		},
		Schedule: build.Schedule{Visits: []build.Visit{
			{ID: "SCR", Title: plain("Screening"), Kind: build.VisitScheduled, Forms: []string{"DM", "VS"}},
			{ID: "V1", Title: plain("Week 1"), Kind: build.VisitScheduled, Day: 7, Forms: []string{"VS", "QS"}},
			{ID: "V2", Title: plain("Week 2"), Kind: build.VisitScheduled, Day: 14, Forms: []string{"VS"}},
			{ID: "LOG", Title: plain("Logs"), Kind: build.VisitCommon, Forms: []string{"AE"}}}},
		Checks: []build.CheckSet{{ID: "all", Checks: []build.Check{
			query("sys-dia", "BP", "SYS", "answers.SYS <= answers.DIA"),
			query("early", "AE", "AESTDT", `answers.AESTDT < at("SCR").DM.ENROLLED`),
			query("lost", "VS", "WEIGHT", `prev().VS.WEIGHT - answers.WEIGHT > 10.0`, "V2"),
			query("gained", "VS", "GAIN", `answers.GAIN > 5.0`),
			query("pregnant", "VS", "PREGNANT", `answers.PREGNANT && rows("AE").exists(r, r.AESER)`),
			query("note", "DM", "NOTE", `answers.NOTE == "wrong"`),
			tall,
		}}},
	}
}

var compiled = func() *build.Compiled {
	c, err := definition().Compile()
	if err != nil {
		panic(err)
	}
	return c
}()

// facts are those of a patient who was at the first two visits.
func facts() casebook.Facts {
	return casebook.Facts{Released: 1, Builds: map[int]*build.Compiled{1: compiled},
		Patient: patient.Patient{ID: pat, FirstConsentOn: "2026-01-05",
			Visits: map[string]domain.Date{"SCR": "2026-01-10", "V1": "2026-01-17"}}}
}

type decision = func(casebook.Casebook) ([]casebook.Event, error)

// entry is a value that nobody has entered before.
func entry(k casebook.Key, value string) casebook.Entry { return casebook.Entry{Key: k, Value: value} }

func submission(k casebook.FormKey, items ...casebook.Entry) casebook.SubmitForm {
	return casebook.SubmitForm{OfPatient: of, Form: k, Build: 1, Items: items}
}

func submit(k casebook.FormKey, items ...casebook.Entry) decision {
	return submitWith(facts(), submission(k, items...))
}

func submitWith(f casebook.Facts, cmd casebook.SubmitForm) decision {
	return scenario.SentWithFacts(casebook.Submit, f, cmd, call)
}

// change is a correction of a value at a version.
func change(k casebook.Key, base int, value string) casebook.Change {
	return casebook.Change{Entry: casebook.Entry{Key: k, Base: base, Value: value}, Why: casebook.EntryError}
}

func correct(changes ...casebook.Change) decision { return correctWith(facts(), changes...) }

func correctWith(f casebook.Facts, changes ...casebook.Change) decision {
	return scenario.SentWithFacts(casebook.Correct, f, casebook.CorrectItems{OfPatient: of, Changes: changes}, call)
}

func begun(t testing.TB) scenario.Given[casebook.Casebook, casebook.Event] {
	return scenario.For(t, casebook.Decider).Strict()
}

// entered is the event of a form's first submission.
func entered(k casebook.FormKey, items ...casebook.Entered) casebook.FormSubmitted {
	return casebook.FormSubmitted{Patient: pat, Form: k, Build: 1, Items: items}
}

// one is the first version of an item.
func one(k casebook.Key, c casebook.Content) casebook.Entered {
	return casebook.Entered{Key: k, Version: 1, Content: c}
}

// number is a number in the item's own unit.
func number(n, unit string) casebook.Content {
	return casebook.Content{Raw: n, Value: n, Unit: unit, Standard: form.Exact(n)}
}

func word(value string) casebook.Content { return casebook.Content{Raw: value, Value: value} }
