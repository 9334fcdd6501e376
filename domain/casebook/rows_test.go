package casebook_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/casebook"
	"casebook/domain/form"
	"casebook/domain/scenario"
)

func adding(k casebook.FormKey, group string) decision {
	return scenario.SentWithFacts(casebook.Add, facts(), casebook.AddRow{OfPatient: of, Form: k, Build: 1, Group: group}, call)
}

func removing(k casebook.RowKey, because domain.Reasoned) decision {
	return scenario.SentWithFacts(casebook.Remove, facts(), casebook.RemoveRow{OfPatient: of, Row: k, Reasoned: because}, call)
}

func restoring(k casebook.RowKey) decision {
	return scenario.SentWithFacts(casebook.Restore, facts(), casebook.RestoreRow{OfPatient: of, Row: k, Reasoned: why}, call)
}

func TestARowIsRemovedWithItsQueryAndRestored(t *testing.T) {
	sys, dia := casebook.Key("SCR/VS/BP[2]/SYS"), casebook.Key("SCR/VS/BP[2]/DIA")
	raised := func(number int) casebook.QueryRaised {
		return casebook.QueryRaised{Patient: pat, Query: number, Check: "sys-dia", Key: sys, Message: form.Plain("Look at sys-dia"), Build: 1,
			Inputs: []casebook.Input{{Key: sys, Version: 1}, {Key: dia, Version: 1}}}
	}
	given := begun(t).
		When(adding("SCR/VS", "BP")).Then(casebook.RowAdded{Patient: pat, Row: "SCR/VS/BP", Build: 1}).
		When(submit("SCR/VS", entry(sys, "80"), entry(dia, "120"))).
		Then(entered("SCR/VS", one(sys, number("80", "")), one(dia, number("120", ""))), raised(1))
	given.When(removing("SCR/VS/BP[2]", domain.Reasoned{})).ThenRefused("reason_required")
	given.When(removing("SCR/VS/BP[3]", why)).ThenRefused("row_not_found")
	given.When(removing("SCR/VS/VS", why)).ThenRefused("row_not_found") // a group without rows
	given.When(removing("SCR", why)).ThenRefused("malformed_key")
	given.When(restoring("SCR/VS/BP[2]")).ThenRefused("row_not_removed")
	removed := given.When(removing("SCR/VS/BP[2]", why)).Then(casebook.RowRemoved{Patient: pat, Row: "SCR/VS/BP[2]", Reason: why.Reason},
		casebook.QueryResolved{Patient: pat, Query: 1, Check: "sys-dia", Key: sys})
	removed.When(removing("SCR/VS/BP[2]", why)).ThenRefused("row_removed")
	removed.When(correct(change(sys, 1, "130"))).ThenRefused("row_removed")
	// Its number is not used again, and its values come back with it.
	full := removed.When(adding("SCR/VS", "BP")).Then(casebook.RowAdded{Patient: pat, Row: "SCR/VS/BP[3]", Build: 1})
	full.When(restoring("SCR/VS/BP[2]")).
		Then(casebook.RowRestored{Patient: pat, Row: "SCR/VS/BP[2]", Reason: why.Reason}, raised(2)).
		When(adding("SCR/VS", "BP")).ThenRefused("max_rows")
	full.When(adding("SCR/VS", "BP")).Then(casebook.RowAdded{Patient: pat, Row: "SCR/VS/BP[4]", Build: 1}).
		When(restoring("SCR/VS/BP[2]")).ThenRefused("max_rows")
	given.When(adding("SCR/VS", "VS")).ThenRefused("no_rows")
	given.When(adding("V2/VS", "BP")).ThenRefused("visit_not_recorded")
}

func markItem(k casebook.Key, base int, null casebook.NullCode) decision {
	return scenario.SentWithFacts(casebook.MarkItem, facts(), casebook.MarkItemNotDone{OfPatient: of, Key: k, Base: base, Null: null,
		Reasoned: why}, call)
}

func markForm(k casebook.FormKey, null casebook.NullCode) decision {
	return scenario.SentWithFacts(casebook.MarkForm, facts(), casebook.MarkFormNotDone{OfPatient: of, Form: k, Build: 1, Null: null,
		Reasoned: why}, call)
}

func TestWhyThereIsNoValueIsKept(t *testing.T) {
	sex := casebook.Key("SCR/DM/DM/SEX")
	given := begun(t).Given(entered("SCR/DM", one(sex, word("f"))))
	marked := given.When(markItem(sex, 1, casebook.Declined)).
		Then(casebook.ItemMarkedNotDone{Patient: pat, Key: sex, Version: 2, From: casebook.Content{Value: "f"},
			To: casebook.Content{Null: casebook.Declined}, Reason: why.Reason})
	// A required item of which is known why there is none is not missing.
	complete := submission("SCR/DM")
	complete.Complete = true
	done := entered("SCR/DM")
	done.Complete = true
	marked.When(submitWith(facts(), complete)).Then(done)
	marked.When(markItem(sex, 2, casebook.Declined)).ThenRefused("no_change")
	marked.When(submit("SCR/DM", casebook.Entry{Key: sex, Base: 2, Value: "m"})).ThenRefused("reason_required")
	marked.When(correct(change(sex, 2, "m"))).Then(corrected(sex, 3, casebook.Content{Null: casebook.Declined}, word("m")))
	given.When(markItem(sex, 0, casebook.NotDone)).ThenRefused("stale_value")
	given.When(markItem(sex, 1, "X")).ThenRefused("unknown_null")
	given.When(markItem("V1/VS/VS/WEIGHT", 0, casebook.NotDone)).ThenRefused("form_not_submitted")
	given.When(markItem("SCR/DM/DM/XX", 0, casebook.NotDone)).ThenRefused("unknown_item")
}

func TestAFormIsMarkedNotDoneAndFilledInAfterAll(t *testing.T) {
	given := begun(t).When(markForm("SCR/DM", casebook.NotDone)).
		Then(casebook.FormMarkedNotDone{Patient: pat, Form: "SCR/DM", Build: 1, Null: casebook.NotDone, Reason: why.Reason})
	given.When(markForm("SCR/DM", casebook.NotDone)).ThenRefused("no_change")
	given.When(correct(change("SCR/DM/DM/SEX", 0, "f"))).ThenRefused("form_not_submitted")
	given.When(submit("SCR/DM", entry("SCR/DM/DM/SEX", "f"))).Then(entered("SCR/DM", one("SCR/DM/DM/SEX", word("f")))).
		When(markForm("SCR/DM", casebook.NotDone)).ThenRefused("form_has_values")
	begun(t).When(markForm("SCR/DM", "")).ThenRefused("unknown_null")
	begun(t).When(markForm("V2/VS", casebook.NotDone)).ThenRefused("visit_not_recorded")
}
