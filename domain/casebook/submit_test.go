package casebook_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain/casebook"
	"casebook/domain/form"
)

func TestAFormIsSubmittedWithWhatFollows(t *testing.T) {
	given := begun(t).
		When(submit("SCR/DM", entry("SCR/DM/DM/SEX", "f"), entry("SCR/DM/DM/BIRTH", "1980-03"), entry("SCR/DM/DM/ENROLLED", " "),
			entry("SCR/DM/DM/NOTE", "fine"), casebook.Entry{Key: "SCR/DM/DM/RACE", Values: []string{"m", "f"}})).
		Then(entered("SCR/DM", one("SCR/DM/DM/SEX", word("f")), one("SCR/DM/DM/BIRTH", word("1980-03")),
			one("SCR/DM/DM/NOTE", casebook.Content{Text: "fine"}), one("SCR/DM/DM/RACE", casebook.Content{Values: []string{"f", "m"}})))
	// What was typed, the number as it is recorded, its unit and the exact number in the item's own unit are all kept.
	pounds := casebook.Content{Raw: "150.50", Value: "150.5", Unit: "[lb_av]", Standard: "68.265651685"}
	given = given.
		When(submit("SCR/VS", casebook.Entry{Key: "SCR/VS/VS/WEIGHT", Value: "150.50", Unit: "[lb_av]"}, entry("SCR/VS/VS/HEIGHT", "1.6"))).
		Then(entered("SCR/VS", one("SCR/VS/VS/WEIGHT", pounds), one("SCR/VS/VS/HEIGHT", number("1.6", ""))),
			casebook.ItemsDerived{Patient: pat, Form: "SCR/VS", Items: []casebook.Derived{
				{Key: "SCR/VS/VS/BMI", Version: 1, To: casebook.Content{Value: "26.7", Standard: "26.7"}},
				{Key: "SCR/VS/VS/GAIN", Version: 1, To: casebook.Content{Value: "0", Standard: "0"}}},
				Cause: []casebook.Key{"SCR/VS/VS/WEIGHT", "SCR/VS/VS/HEIGHT"}})
	// A form can be submitted in steps, and what is sent again as it is stays as it is.
	given = given.
		When(submit("SCR/VS", casebook.Entry{Key: "SCR/VS/VS/HEIGHT", Base: 1, Value: "1.60"}, entry("SCR/VS/BP[2]/SYS", "120"))).
		Then(entered("SCR/VS", one("SCR/VS/BP[2]/SYS", number("120", ""))))
	given.When(submit("SCR/VS", casebook.Entry{Key: "SCR/VS/VS/HEIGHT", Base: 1, Value: "1.60"})).ThenRefused("no_change")
}

func TestWhatIsRefusedOfAForm(t *testing.T) {
	given := begun(t).Given(entered("SCR/DM", one("SCR/DM/DM/SEX", word("m"))))
	for code, decide := range map[string]decision{
		"malformed_key":      submit("SCR[1]/DM"),
		"not_released":       submitWith(facts(), casebook.SubmitForm{OfPatient: of, Form: "SCR/VS", Build: 2}),
		"visit_not_recorded": submit("V2/VS"),
		"not_collected":      submit("V1/DM"),
		"max_rows": submit("SCR/VS", entry("SCR/VS/BP/SYS", "1"), entry("SCR/VS/BP[2]/SYS", "1"), entry("SCR/VS/BP[3]/SYS", "1"),
			entry("SCR/VS/BP[3]/DIA", "1"), entry("SCR/VS/BP[4]/SYS", "1")),
		"unknown_item":        submit("SCR/VS", entry("SCR/VS/VS/TABLET", "1")), // blinded
		"duplicate_item":      submit("SCR/VS", entry("SCR/VS/VS/WEIGHT", "60"), entry("SCR/VS/VS/WEIGHT", "60")),
		"derived_item":        submit("SCR/VS", entry("SCR/VS/VS/BMI", "20")),
		"answer_wrong_type":   submit("SCR/VS", entry("SCR/VS/VS/WEIGHT", "sixty")),
		"answer_out_of_range": submit("SCR/VS", entry("SCR/VS/VS/WEIGHT", "19.9")),
		"unknown_unit":        submit("SCR/VS", casebook.Entry{Key: "SCR/VS/VS/WEIGHT", Value: "60", Unit: "g"}),
		"not_an_option":       submit("SCR/DM", casebook.Entry{Key: "SCR/DM/DM/RACE", Values: []string{"x"}}),
		"value_unprintable":   submit("SCR/DM", entry("SCR/DM/DM/NOTE", "a\x02b")),
		"stale_value":         submit("SCR/DM", entry("SCR/DM/DM/SEX", "f")),
		"reason_required":     submit("SCR/DM", casebook.Entry{Key: "SCR/DM/DM/SEX", Base: 1, Value: "f"}),
		"check_holds":         submit("SCR/VS", entry("SCR/VS/VS/HEIGHT", "3.5")), // a hard stop
		"no_change":           submit("SCR/DM", casebook.Entry{Key: "SCR/DM/DM/SEX", Base: 1, Value: "m"}),
		"answer_too_long":     submit("SCR/DM", entry("SCR/DM/DM/NOTE", strings.Repeat("x", 501))),
		"required_missing":    submitWith(facts(), casebook.SubmitForm{OfPatient: of, Form: "SCR/VS", Build: 1, Complete: true}),
		"form_not_submitted":  correct(change("V1/VS/VS/WEIGHT", 0, "60")),
		"value_not_entered":   correct(change("SCR/DM/DM/NOTE", 0, "x")),
		"":                    submit("SCR/VS", entry("SCR/VS/VS/WEIGHT", "60")),
	} {
		if code != "" {
			given.When(decide).ThenRefused(code)
		}
	}
	// Items of another form, of a row that the group does not have, and a second instance of a form that is there once.
	for _, k := range []casebook.Key{"V1/VS/VS/WEIGHT", "SCR/VS/VS[2]/WEIGHT", "SCR/VS/DM/SEX", "SCR/VS/XX/SEX", "SCR/VS/VS/XX"} {
		given.When(submit("SCR/VS", entry(k, "60"))).ThenRefused("unknown_item")
	}
	given.When(submit("SCR/VS[2]")).ThenRefused("not_collected")
	given.When(submit("SCR/VS", entry("SCR/VS/VS/PREGNANT", "true"))).ThenRefused("not_collected") // a man
	// All or nothing.
	given.When(submit("SCR/VS", entry("SCR/VS/VS/WEIGHT", "60"), entry("SCR/VS/VS/HEIGHT", "tall"))).ThenRefused("answer_wrong_type")
	// A log needs no visit, but the consent.
	unsigned := facts()
	unsigned.Patient.FirstConsentOn = ""
	given.When(submitWith(unsigned, submission("LOG/AE", entry("LOG/AE/AE/AESER", "true")))).ThenRefused("consent_missing")
	// Facts that are older than the casebook would overlook a form.
	older := facts()
	given.Given(casebook.FormSubmitted{Patient: pat, Form: "V1/QS", Build: 3}).When(submitWith(older, submission("SCR/VS"))).
		ThenRefused("facts_outdated")
	// A form stays with the build that it was begun by, and a new one takes the one that was released.
	later := facts()
	later.Released, later.Builds[2] = 2, compiled
	given.When(submitWith(later, submission("SCR/VS"))).ThenRefused("not_released")
	given.When(submitWith(later, submission("SCR/DM", entry("SCR/DM/DM/NOTE", "x")))).
		Then(entered("SCR/DM", one("SCR/DM/DM/NOTE", casebook.Content{Text: "x"})))
}

func TestACompleteFormLacksNothing(t *testing.T) {
	complete := func(k casebook.FormKey, items ...casebook.Entry) decision {
		cmd := submission(k, items...)
		cmd.Complete = true
		return submitWith(facts(), cmd)
	}
	begun(t).When(complete("SCR/DM", entry("SCR/DM/DM/NOTE", "x"))).ThenRefused("required_missing")
	begun(t).When(complete("SCR/VS", entry("SCR/VS/VS/WEIGHT", "60"))).ThenRefused("required_missing") // no row of BP
	done := entered("SCR/DM", one("SCR/DM/DM/SEX", word("f")))
	done.Complete = true
	given := begun(t).When(complete("SCR/DM", entry("SCR/DM/DM/SEX", "f"))).Then(done)
	// What is missing later is asked about.
	given.When(correct(change("SCR/DM/DM/SEX", 1, ""))).Then(
		casebook.ItemsCorrected{Patient: pat, Form: "SCR/DM", Changes: []casebook.Corrected{{Key: "SCR/DM/DM/SEX", Version: 2,
			From: casebook.Content{Value: "f"}, Why: casebook.EntryError}}},
		casebook.QueryRaised{Patient: pat, Query: 1, Check: "item_required", Key: "SCR/DM/DM/SEX", Message: form.Plain("SEX must be answered"),
			Build: 1, Inputs: []casebook.Input{{Key: "SCR/DM/DM/SEX", Version: 2}}})
}

func TestAStaleValueShowsBothValues(t *testing.T) {
	given := begun(t).Given(entered("SCR/VS", one("SCR/VS/VS/WEIGHT", number("60", "kg"))),
		casebook.ItemsCorrected{Patient: pat, Form: "SCR/VS", Changes: []casebook.Corrected{{Key: "SCR/VS/VS/WEIGHT", Version: 2,
			From: number("60", "kg"), To: number("61", "kg"), Why: casebook.EntryError}}})
	cmd := casebook.CorrectItems{OfPatient: of, Changes: []casebook.Change{change("SCR/VS/VS/WEIGHT", 1, "62")}}
	if stale := given.State().Stale(cmd); len(stale) != 1 || stale[0] != "SCR/VS/VS/WEIGHT" {
		t.Errorf("stale are %v", stale)
	}
	f := facts()
	f.Last = map[casebook.Key]casebook.Last{"SCR/VS/VS/WEIGHT": {By: "dr.lindner", At: time.Date(2026, 2, 1, 8, 30, 0, 0, time.UTC)}}
	r := given.When(correctWith(f, cmd.Changes...)).ThenRefused("stale_value")
	for _, part := range []string{`"61 kg"`, `"62"`, "dr.lindner", "2026-02-01 08:30:00 UTC", "version 2", "version 1"} {
		if !strings.Contains(r.Sentence, part) {
			t.Errorf("%q does not say %s", r.Sentence, part)
		}
	}
	// What somebody wrote is not repeated.
	text := begun(t).Given(entered("SCR/DM", one("SCR/DM/DM/NOTE", casebook.Content{Text: "Anna Weber"})))
	if r := text.When(submit("SCR/DM", entry("SCR/DM/DM/NOTE", "Boris"))).ThenRefused("stale_value"); strings.Contains(r.Sentence, "Anna") ||
		strings.Contains(r.Sentence, "Boris") {
		t.Errorf("%q repeats a text", r.Sentence)
	}
}
