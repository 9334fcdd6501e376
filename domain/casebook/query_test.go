package casebook_test

import (
	"testing"

	"casebook/domain/casebook"
	"casebook/domain/form"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/user"
)

func answer(number int, text personal.Text) decision {
	return scenario.Sent(casebook.Answer, casebook.AnswerQuery{OfPatient: of, Query: number, Text: text}, call)
}

func reopen(number int, roles []user.Role) decision {
	return scenario.Sent(casebook.Reopen, casebook.ReopenQuery{OfPatient: of, Query: number, Text: "Why?", Roles: roles}, call)
}

func closing(number int, roles []user.Role) decision {
	return scenario.SentWithFacts(casebook.Close, facts(), casebook.CloseQuery{OfPatient: of, Query: number, Roles: roles}, call)
}

func cancelling(number int, roles []user.Role) decision {
	return scenario.SentWithFacts(casebook.Cancel, facts(), casebook.CancelQuery{OfPatient: of, Query: number, Roles: roles, Reasoned: why},
		call)
}

func raising(cmd casebook.RaiseQuery) decision {
	cmd.OfPatient, cmd.Roles = of, monitor
	return scenario.SentWithFacts(casebook.Raise, facts(), cmd, call)
}

func about(number int, k casebook.FormKey) casebook.OfQuery {
	return casebook.OfQuery{Patient: pat, Query: number, Form: k}
}

func TestAPersonAsksAndTheSiteAnswers(t *testing.T) {
	const weight = casebook.Key("SCR/VS/VS/WEIGHT")
	given := begun(t).Given(entered("SCR/VS", one(weight, number("60", "kg")))).
		When(raising(casebook.RaiseQuery{Key: weight, Text: "Is it so?"})).
		Then(casebook.QueryRaised{Patient: pat, Query: 1, Key: weight, Text: "Is it so?", Roles: monitor}).
		When(raising(casebook.RaiseQuery{Form: "SCR/VS", Text: "Where is the source?"})).
		Then(casebook.QueryRaised{Patient: pat, Query: 2, Form: "SCR/VS", Text: "Where is the source?", Roles: monitor})
	given.When(closing(1, monitor)).ThenRefused("query_not_answered")
	given.When(reopen(1, monitor)).ThenRefused("query_not_answered")
	given.When(answer(3, "It is.")).ThenRefused("query_not_open")
	given.When(answer(1, " ")).ThenRefused("value_missing")
	// A change of the value answers nothing.
	changed := given.When(correct(change(weight, 1, "61"))).Then(corrected(weight, 2, casebook.Content{Value: "60", Unit: "kg"},
		number("61", "kg")), casebook.ItemsDerived{Patient: pat, Form: "SCR/VS", Cause: []casebook.Key{weight},
		Items: []casebook.Derived{{Key: "SCR/VS/VS/GAIN", Version: 1, To: casebook.Content{Value: "0", Standard: "0"}}}})
	answered := changed.When(answer(1, "It is.")).Then(casebook.QueryAnswered{OfQuery: about(1, "SCR/VS"), Text: "It is."})
	answered.When(answer(1, "It is.")).ThenRefused("query_answered")
	answered.When(closing(1, []user.Role{user.SafetyOfficer})).ThenRefused("query_of_others")
	answered.When(reopen(1, monitor)).Then(casebook.QueryReopened{OfQuery: about(1, "SCR/VS"), Text: "Why?"}).
		When(closing(1, monitor)).ThenRefused("query_not_answered")
	ended := answered.When(closing(1, monitor)).Then(casebook.QueryClosed{OfQuery: about(1, "SCR/VS")})
	ended.When(answer(1, "It is.")).ThenRefused("query_not_open")
	ended.When(cancelling(2, []user.Role{user.SafetyOfficer})).ThenRefused("query_of_others")
	ended.When(cancelling(2, manager)).Then(casebook.QueryCancelled{OfQuery: about(2, "SCR/VS"), Reason: why.Reason})
}

func TestWhatNobodyCanBeAskedAbout(t *testing.T) {
	given := begun(t).Given(entered("SCR/VS"))
	for code, cmd := range map[string]casebook.RaiseQuery{
		"query_target":       {Text: "x"},
		"value_missing":      {Key: "SCR/VS/VS/WEIGHT"},
		"malformed_key":      {Key: "SCR", Text: "x"},
		"unknown_item":       {Key: "SCR/VS/VS/TABLET", Text: "x"},
		"form_not_submitted": {Form: "V1/VS", Text: "x"},
	} {
		given.When(raising(cmd)).ThenRefused(code)
	}
}

func TestAValueThatIsRightIsAskedAboutAgainWhenAnInputChanges(t *testing.T) {
	sys, dia := casebook.Key("SCR/VS/BP/SYS"), casebook.Key("SCR/VS/BP/DIA")
	raised := func(number, versionOfDia int) casebook.QueryRaised {
		return casebook.QueryRaised{Patient: pat, Query: number, Check: "sys-dia", Key: sys, Message: form.Plain("Look at sys-dia"), Build: 1,
			Inputs: []casebook.Input{{Key: sys, Version: 1}, {Key: dia, Version: versionOfDia}}}
	}
	given := begun(t).Given(entered("SCR/VS", one(sys, number("80", "")), one(dia, number("120", ""))), raised(1, 1)).
		When(answer(1, "It is so.")).Then(casebook.QueryAnswered{OfQuery: about(1, "SCR/VS"), Text: "It is so."})
	given.When(closing(1, monitor)).ThenRefused("query_of_others")
	closed := given.When(closing(1, manager)).Then(casebook.QueryClosed{OfQuery: about(1, "SCR/VS"), Check: "sys-dia", Key: sys,
		Inputs: []casebook.Input{{Key: sys, Version: 1}, {Key: dia, Version: 1}}})
	// Something else in the same row is entered: the check is not asked about again.
	kept := closed.When(submit("SCR/VS", entry("SCR/VS/VS/HEIGHT", "1.6"))).Then(entered("SCR/VS", one("SCR/VS/VS/HEIGHT", number("1.6", ""))))
	kept.When(correct(change(dia, 1, "110"))).Then(corrected(dia, 2, casebook.Content{Value: "120"}, number("110", "")), raised(2, 2))
	// An answered query is resolved by the value that mends it.
	given.When(correct(change(dia, 1, "60"))).Then(corrected(dia, 2, casebook.Content{Value: "120"}, number("60", "")),
		casebook.QueryResolved{Patient: pat, Query: 1, Check: "sys-dia", Key: sys})
}
