package casebook_test

import (
	"testing"

	"casebook/domain/casebook"
	"casebook/domain/form"
	"casebook/domain/personal"
)

func corrected(k casebook.Key, version int, from, to casebook.Content) casebook.ItemsCorrected {
	return casebook.ItemsCorrected{Patient: pat, Form: k.Form(), Changes: []casebook.Corrected{{Key: k, Version: version, From: from, To: to,
		Why: casebook.EntryError}}}
}

func TestAQueryOpensAndClosesWithTheValue(t *testing.T) {
	sys, dia := casebook.Key("SCR/VS/BP/SYS"), casebook.Key("SCR/VS/BP/DIA")
	given := begun(t).
		When(submit("SCR/VS", entry(sys, "80"), entry(dia, "120"))).
		Then(entered("SCR/VS", one(sys, number("80", "")), one(dia, number("120", ""))),
			casebook.QueryRaised{Patient: pat, Query: 1, Check: "sys-dia", Key: sys, Message: form.Plain("Look at sys-dia"), Build: 1,
				Inputs: []casebook.Input{{Key: sys, Version: 1}, {Key: dia, Version: 1}}})
	// As long as the check holds, the query stays the same.
	kept := given.When(correct(change(dia, 1, "110"))).
		Then(corrected(dia, 2, casebook.Content{Value: "120"}, number("110", "")))
	mended := kept.When(correct(change(sys, 1, "130"))).
		Then(corrected(sys, 2, casebook.Content{Value: "80"}, number("130", "")),
			casebook.QueryResolved{Patient: pat, Query: 1, Check: "sys-dia", Key: sys})
	if live := mended.State().Queries(); len(live) != 0 {
		t.Errorf("%v are open", live)
	}
	// A new finding has a new query.
	mended.When(correct(change(dia, 2, "140"))).Then(corrected(dia, 3, casebook.Content{Value: "110"}, number("140", "")),
		casebook.QueryRaised{Patient: pat, Query: 2, Check: "sys-dia", Key: sys, Message: form.Plain("Look at sys-dia"), Build: 1,
			Inputs: []casebook.Input{{Key: sys, Version: 2}, {Key: dia, Version: 3}}})
}

func TestAQueryFollowsWhatAnotherVisitHolds(t *testing.T) {
	given := begun(t).Given(
		entered("SCR/VS", one("SCR/VS/VS/WEIGHT", number("60", "kg"))),
		casebook.ItemsDerived{Patient: pat, Form: "SCR/VS", Items: []casebook.Derived{{Key: "SCR/VS/VS/GAIN", Version: 1,
			To: number("0", "")}}},
		entered("V1/VS", one("V1/VS/VS/WEIGHT", number("62", "kg"))),
		casebook.ItemsDerived{Patient: pat, Form: "V1/VS", Items: []casebook.Derived{{Key: "V1/VS/VS/GAIN", Version: 1, To: number("2", "")}}})
	// The screening is corrected. What is derived from it a week later changes, and a check of that holds.
	given.When(correct(change("SCR/VS/VS/WEIGHT", 1, "50"))).Then(
		corrected("SCR/VS/VS/WEIGHT", 2, casebook.Content{Value: "60", Unit: "kg"}, number("50", "kg")),
		casebook.ItemsDerived{Patient: pat, Form: "V1/VS", Items: []casebook.Derived{{Key: "V1/VS/VS/GAIN", Version: 2,
			From: casebook.Content{Value: "2"}, To: casebook.Content{Value: "12", Standard: "12"}}},
			Cause: []casebook.Key{"SCR/VS/VS/WEIGHT"}},
		casebook.QueryRaised{Patient: pat, Query: 1, Check: "gained", Key: "V1/VS/VS/GAIN", Message: form.Plain("Look at gained"), Build: 1,
			Inputs: []casebook.Input{{Key: "V1/VS/VS/GAIN", Version: 2}}})
}

func TestAValueThatIsNotCollectedAnyMoreStaysAndIsAskedAbout(t *testing.T) {
	sex, pregnant := casebook.Key("SCR/DM/DM/SEX"), casebook.Key("SCR/VS/VS/PREGNANT")
	given := begun(t).Given(entered("SCR/DM", one(sex, word("f"))), entered("SCR/VS", one(pregnant, word("true")))).
		When(correct(change(sex, 1, "m"))).Then(corrected(sex, 2, casebook.Content{Value: "f"}, word("m")),
		casebook.QueryRaised{Patient: pat, Query: 1, Check: "item_not_asked", Key: pregnant,
			Message: form.Plain(`PREGNANT was answered, although it is only asked when DM.SEX == "f"`), Build: 1,
			Inputs: []casebook.Input{{Key: pregnant, Version: 1}, {Key: sex, Version: 2}}})
	// It can be cleared, and nothing else.
	given.When(correct(change(pregnant, 1, "false"))).ThenRefused("not_collected")
	given.When(correct(change(pregnant, 1, ""))).Then(corrected(pregnant, 2, casebook.Content{Value: "true"}, casebook.Content{}),
		casebook.QueryResolved{Patient: pat, Query: 1, Check: "item_not_asked", Key: pregnant})
}

func TestRowsOfALogAreLookedAt(t *testing.T) {
	given := begun(t).Given(entered("SCR/DM", one("SCR/DM/DM/SEX", word("f")), one("SCR/DM/DM/ENROLLED", word("2026-01-10"))),
		entered("SCR/VS", one("SCR/VS/VS/PREGNANT", word("true"))))
	// A date of which the day is not known is before the enrolment only where it is certain.
	uncertain := given.When(submit("LOG/AE", entry("LOG/AE/AE/AESTDT", "2026-01"), entry("LOG/AE/AE/AESER", "false"))).
		Then(entered("LOG/AE", one("LOG/AE/AE/AESTDT", word("2026-01")), one("LOG/AE/AE/AESER", word("false"))))
	uncertain.When(submit("LOG/AE", entry("LOG/AE/AE[2]/AESTDT", "2025-12"), entry("LOG/AE/AE[2]/AESER", "true"))).Then(
		entered("LOG/AE", one("LOG/AE/AE[2]/AESTDT", word("2025-12")), one("LOG/AE/AE[2]/AESER", word("true"))),
		casebook.QueryRaised{Patient: pat, Query: 1, Check: "early", Key: "LOG/AE/AE[2]/AESTDT", Message: form.Plain("Look at early"), Build: 1,
			Inputs: []casebook.Input{{Key: "LOG/AE/AE[2]/AESTDT", Version: 1}, {Key: "SCR/DM/DM/ENROLLED", Version: 1}}},
		casebook.QueryRaised{Patient: pat, Query: 2, Check: "pregnant", Key: "SCR/VS/VS/PREGNANT", Message: form.Plain("Look at pregnant"),
			Build: 1, Inputs: []casebook.Input{{Key: "SCR/VS/VS/PREGNANT", Version: 1}, {Rows: "AE", Version: 4}}})
}

func TestARuleSeesASealedTextAsItWasWritten(t *testing.T) {
	sealed := personal.SealedText("key", []byte("x"), []byte("place"))
	note := casebook.Key("SCR/DM/DM/NOTE")
	given := begun(t).Given(entered("SCR/DM", one(note, casebook.Content{Text: sealed})))
	if texts := given.State().TextsToOpen(facts().Builds); len(texts) != 1 || texts[0] != sealed {
		t.Errorf("to open are %q", texts)
	}
	given.When(submit("SCR/DM", entry("SCR/DM/DM/BIRTH", "1980"))).ThenRefused("facts_outdated")
	f := facts()
	f.Opened = map[personal.Text]string{sealed: "wrong"}
	given.When(submitWith(f, submission("SCR/DM", entry("SCR/DM/DM/BIRTH", "1980")))).
		Then(entered("SCR/DM", one("SCR/DM/DM/BIRTH", word("1980"))), casebook.QueryRaised{Patient: pat, Query: 1, Check: "note", Key: note,
			Message: form.Plain("Look at note"), Build: 1, Inputs: []casebook.Input{{Key: note, Version: 1}}})
	// The same text again is no change, although it is sealed.
	given.When(correctWith(f, change(note, 1, "wrong"))).ThenRefused("no_change")
}

func TestWhatIsRefusedOfACorrection(t *testing.T) {
	given := begun(t).Given(entered("SCR/VS", one("SCR/VS/VS/WEIGHT", number("60", "kg")), one("SCR/VS/VS/HEIGHT", number("1.6", ""))))
	reasonless, other := change("SCR/VS/VS/WEIGHT", 1, "61"), change("SCR/VS/VS/WEIGHT", 1, "61")
	reasonless.Why, other.Why = "", casebook.OtherReason
	given.When(correct(reasonless)).ThenRefused("reason_required")
	given.When(correct(other)).ThenRefused("reason_required")
	given.When(correct()).ThenRefused("no_change")
	given.When(correct(change("SCR/VS/VS/WEIGHT", 1, "60.0"))).ThenRefused("no_change")
	given.When(correct(change("SCR/VS/VS/WEIGHT", 0, "61"))).ThenRefused("stale_value")
	given.When(correct(change("SCR/VS/VS/WEIGHT", 1, "301"))).ThenRefused("answer_out_of_range")
	given.When(correct(change("SCR/VS/VS/HEIGHT", 1, "3.5"))).ThenRefused("check_holds")
	given.When(correct(change("SCR/VS/VS/BMI", 0, "20"))).ThenRefused("derived_item")
	given.When(correct(change("SCR", 0, "20"))).ThenRefused("malformed_key")
	given.When(correct(change("SCR/VS/VS/WEIGHT", 1, "61"), change("SCR/VS/VS/HEIGHT", 2, "1.7"))).ThenRefused("stale_value") // all or nothing
}

func TestTheVisitBeforeIsTheOneThatTookPlace(t *testing.T) {
	f := facts()
	f.Patient.Visits["V2"] = "2026-01-24"
	lost := casebook.QueryRaised{Patient: pat, Query: 1, Check: "lost", Key: "V2/VS/VS/WEIGHT", Message: form.Plain("Look at lost"), Build: 1,
		Inputs: []casebook.Input{{Key: "SCR/VS/VS/WEIGHT", Version: 1}, {Key: "V2/VS/VS/WEIGHT", Version: 1}}}
	given := begun(t).
		Given(entered("SCR/VS", one("SCR/VS/VS/WEIGHT", number("100", "kg"))),
			casebook.ItemsDerived{Patient: pat, Form: "SCR/VS", Items: []casebook.Derived{{Key: "SCR/VS/VS/GAIN", Version: 1,
				To: number("0", "")}}}).
		When(submitWith(f, submission("V2/VS", entry("V2/VS/VS/WEIGHT", "80")))).
		Then(entered("V2/VS", one("V2/VS/VS/WEIGHT", number("80", "kg"))),
			casebook.ItemsDerived{Patient: pat, Form: "V2/VS", Cause: []casebook.Key{"V2/VS/VS/WEIGHT"},
				Items: []casebook.Derived{{Key: "V2/VS/VS/GAIN", Version: 1, To: casebook.Content{Value: "-20", Standard: "-20"}}}}, lost)
	// Another visit in between, at which nobody was weighed, is the one before now.
	given.When(submitWith(f, submission("V1/QS", entry("V1/QS/QS/SCORE", "3")))).
		Then(entered("V1/QS", one("V1/QS/QS/SCORE", number("3", ""))),
			casebook.QueryResolved{Patient: pat, Query: 1, Check: "lost", Key: "V2/VS/VS/WEIGHT"})
}
