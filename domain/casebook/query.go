package casebook

import (
	"fmt"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// QueryRaised says that somebody is to look at an item or a form. The program raises a query in the append of the value that gave rise to
// it, because a check of the build holds, or the form finds something else that is to be asked about. People raise others.
type QueryRaised struct {
	Patient domain.PatientID `json:"patient"`
	// Query is its number within the casebook.
	Query int `json:"query"`
	// Check is the check that holds, or the code of what the form finds without one: answer_unexpected, item_not_asked, item_required,
	// not_computed. It is empty for a query by a person.
	Check string `json:"check,omitempty"`
	// Key is the home of the check, in the row for which it holds, or the item that a person asks about; Form is the form that a person
	// asks about as a whole.
	Key     Key              `json:"key,omitempty"`
	Form    FormKey          `json:"form,omitempty"`
	Message form.Translation `json:"message,omitempty"`
	// Build is the build that the check is of, and Inputs are what it looked at.
	Build  int     `json:"build,omitempty"`
	Inputs []Input `json:"inputs,omitempty"`
	// Text is what a person asks, and Roles what lets them: those who have one of these can close the query.
	Text  personal.Text `json:"text,omitempty"`
	Roles []user.Role   `json:"roles,omitempty"`
}

// Input is what a check looked at: an item at a version, or all rows of a group. Version 0 is that of an item without a value.
type Input struct {
	Key Key `json:"key,omitempty"`
	// Rows is a group; Version then counts all changes in all of its rows.
	Rows    string `json:"rows,omitempty"`
	Version int    `json:"version"`
}

// QueryResolved says that what a query asked about is no longer so. The program resolves it, in the append of the value that mended it.
type QueryResolved struct {
	Patient domain.PatientID `json:"patient"`
	Query   int              `json:"query"`
	Check   string           `json:"check"`
	Key     Key              `json:"key"`
}

// OfQuery is part of the events about a query by people.
type OfQuery struct {
	Patient domain.PatientID `json:"patient"`
	Query   int              `json:"query"`
	// Form is the form that the query is about, or that its item is in.
	Form FormKey `json:"form"`
}

// OfForm implements OfForm.
func (q OfQuery) OfForm() FormKey { return q.Form }

// QueryAnswered says what the site answers. It changes no value.
type QueryAnswered struct {
	OfQuery
	Text personal.Text `json:"text"`
}

// QueryReopened says that an answer is not enough.
type QueryReopened struct {
	OfQuery
	Text personal.Text `json:"text"`
}

// QueryClosed says that an answer is enough. Where the check of the query still holds, there is no new query before one of its inputs
// changes.
type QueryClosed struct {
	OfQuery
	// Check, Key and Inputs are those of an automatic query, as they are now.
	Check  string        `json:"check,omitempty"`
	Key    Key           `json:"key,omitempty"`
	Inputs []Input       `json:"inputs,omitempty"`
	Text   personal.Text `json:"text,omitempty"`
}

// QueryCancelled says that a query should not have been there.
type QueryCancelled struct {
	OfQuery
	// Check, Key and Inputs are those of an automatic query, as they are now.
	Check  string        `json:"check,omitempty"`
	Key    Key           `json:"key,omitempty"`
	Inputs []Input       `json:"inputs,omitempty"`
	Reason personal.Text `json:"reason"`
}

// query is what the state knows of a query that has not ended.
type query struct {
	about
	form     FormKey
	answered bool
	// roles are those of whoever raised it.
	roles []user.Role
}

// LiveQuery is a query that has not ended.
type LiveQuery struct {
	Query    int
	Check    string
	Key      Key
	Answered bool
}

// Queries returns the queries that have not ended, in no particular order.
func (c Casebook) Queries() (live []LiveQuery) {
	for n, q := range c.queries.All() {
		live = append(live, LiveQuery{Query: n, Check: q.check, Key: q.key, Answered: q.answered})
	}
	return live
}

func (c Casebook) queried(e Event) Casebook {
	switch e := e.(type) {
	case QueryRaised:
		raised := query{about: about{interned(e.Check), e.Key}, form: e.OfForm(), roles: e.Roles}
		c.queries, c.lastQuery = c.queries.Set(e.Query, raised), e.Query
	case QueryResolved:
		c.queries = c.queries.Delete(e.Query)
	case QueryAnswered:
		c = c.answered(e.Query, true)
	case QueryReopened:
		c = c.answered(e.Query, false)
	case QueryClosed:
		c = c.ended(e.Query, about{e.Check, e.Key}, e.Inputs)
	case QueryCancelled:
		c = c.ended(e.Query, about{e.Check, e.Key}, e.Inputs)
	}
	return c
}

func (c Casebook) answered(number int, answered bool) Casebook {
	if q, ok := c.queries.Get(number); ok {
		q.answered = answered
		c.queries = c.queries.Set(number, q)
	}
	return c
}

func (c Casebook) ended(number int, of about, inputs []Input) Casebook {
	c.queries = c.queries.Delete(number)
	if of.check != "" {
		c.settled = c.settled.Set(about{interned(of.check), of.key}, written(inputs))
	}
	return c
}

// isSettled says whether a person has ended the query about what was found, and none of its inputs was changed since.
func (c Casebook) isSettled(f finding) bool {
	inputs, ok := c.settled.Get(about{f.check, f.key})
	return ok && inputs == written(f.inputs)
}

// written returns inputs as a text that others can be compared with.
func written(inputs []Input) string {
	var b strings.Builder
	for _, in := range inputs {
		fmt.Fprintf(&b, "%s %s %d\n", in.Key, in.Rows, in.Version)
	}
	return b.String()
}

// RaiseQuery asks the site about an item or a form.
type RaiseQuery struct {
	domain.OfPatient
	Key  Key           `json:"key,omitempty" maxLength:"300" doc:"The item"`
	Form FormKey       `json:"form,omitempty" maxLength:"300" doc:"The form, where the query is about it as a whole"`
	Text personal.Text `json:"text" minLength:"1" maxLength:"500" doc:"What is asked"`
	// Roles are those of the sender in the study.
	Roles []user.Role `json:"-"`
}

// AnswerQuery answers a query. A change of the value alone answers none that a person has raised.
type AnswerQuery struct {
	domain.OfPatient
	Query int           `json:"query" minimum:"1" doc:"Number of the query"`
	Text  personal.Text `json:"text" minLength:"1" maxLength:"500" doc:"The answer"`
}

// ReopenQuery asks again, because the answer is not enough.
type ReopenQuery struct {
	domain.OfPatient
	Query int           `json:"query" minimum:"1" doc:"Number of the query"`
	Text  personal.Text `json:"text" minLength:"1" maxLength:"500" doc:"What is still asked"`
	// Roles are those of the sender in the study.
	Roles []user.Role `json:"-"`
}

// CloseQuery ends a query that is answered.
type CloseQuery struct {
	domain.OfPatient
	Query int           `json:"query" minimum:"1" doc:"Number of the query"`
	Text  personal.Text `json:"text,omitempty" maxLength:"500" doc:"A remark"`
	// Roles are those of the sender in the study.
	Roles []user.Role `json:"-"`
}

// CancelQuery ends a query that should not have been there.
type CancelQuery struct {
	domain.OfPatient
	Query int `json:"query" minimum:"1" doc:"Number of the query"`
	domain.Reasoned
	// Roles are those of the sender in the study.
	Roles []user.Role `json:"-"`
}

// Raise decides about RaiseQuery. It refuses value_missing, value_too_long, query_target, malformed_key, form_not_submitted and
// unknown_item.
func Raise(c Casebook, facts Facts, cmd RaiseQuery, _ domain.Call) ([]Event, error) {
	if err := domain.Text("text", cmd.Text, 500); err != nil {
		return nil, err
	}
	if (cmd.Key == "") == (cmd.Form == "") {
		return nil, refuse.Malformed("query_target", "a query is about an item or about a form").At("key").Do("name one of them")
	}
	raised := QueryRaised{Patient: cmd.Patient, Query: c.lastQuery + 1, Key: cmd.Key, Form: cmd.Form, Text: cmd.Text, Roles: cmd.Roles}
	if cmd.Key != "" {
		place, id, ok := parse(cmd.Key)
		if !ok {
			return nil, malformed("key", cmd.Key, "visit[n]/form[n]/group[n]/item")
		}
		d, err := c.draftOf(facts, map[FormKey]*draft{}, "key", cmd.Key)
		if err != nil {
			return nil, err
		}
		g := d.build.Group(place.group)
		if g == nil || g.Of != d.of || g.Item(id) == nil || !g.Item(id).Visible() || place.row > 1 && c.row(place) == nil {
			return nil, unknownItem("key", d.form, cmd.Key)
		}
	} else if _, ok := parseForm(cmd.Form); !ok {
		return nil, malformed("form", cmd.Form, "visit[n]/form[n]")
	} else if c.form(cmd.Form) == nil {
		return nil, notSubmitted("form", cmd.Form)
	}
	return []Event{raised}, nil
}

// Answer decides about AnswerQuery. It refuses value_missing, value_too_long, query_not_open and query_answered.
func Answer(c Casebook, cmd AnswerQuery, _ domain.Call) ([]Event, error) {
	q, err := c.live(cmd.Query)
	if err := domain.First(domain.Text("text", cmd.Text, 500), err); err != nil {
		return nil, err
	}
	if q.answered {
		return nil, refuse.WrongState("query_answered", "query %d is answered", cmd.Query).At("query").Do("nothing is left to do")
	}
	return []Event{QueryAnswered{OfQuery: OfQuery{cmd.Patient, cmd.Query, q.form}, Text: cmd.Text}}, nil
}

// Reopen decides about ReopenQuery. It refuses value_missing, value_too_long, query_not_open, query_not_answered and query_of_others.
func Reopen(c Casebook, cmd ReopenQuery, _ domain.Call) ([]Event, error) {
	q, err := c.live(cmd.Query)
	if err := domain.First(domain.Text("text", cmd.Text, 500), err, q.mayEnd(cmd.Query, cmd.Roles), q.mustBeAnswered(cmd.Query)); err != nil {
		return nil, err
	}
	return []Event{QueryReopened{OfQuery: OfQuery{cmd.Patient, cmd.Query, q.form}, Text: cmd.Text}}, nil
}

// Close decides about CloseQuery. It refuses value_too_long, query_not_open, query_not_answered and query_of_others.
func Close(c Casebook, facts Facts, cmd CloseQuery, _ domain.Call) ([]Event, error) {
	q, err := c.live(cmd.Query)
	if err := domain.First(domain.OptionalText("text", cmd.Text, 500), err, q.mayEnd(cmd.Query, cmd.Roles),
		q.mustBeAnswered(cmd.Query)); err != nil {
		return nil, err
	}
	closed := QueryClosed{OfQuery: OfQuery{cmd.Patient, cmd.Query, q.form}, Text: cmd.Text}
	if q.check != "" {
		closed.Check, closed.Key, closed.Inputs = q.check, q.key, c.inputsOf(facts, q.about)
	}
	return []Event{closed}, nil
}

// Cancel decides about CancelQuery. It refuses reason_required, value_too_long, query_not_open and query_of_others.
func Cancel(c Casebook, facts Facts, cmd CancelQuery, _ domain.Call) ([]Event, error) {
	q, err := c.live(cmd.Query)
	if err := domain.First(domain.Reason(cmd.Reason), err, q.mayEnd(cmd.Query, cmd.Roles)); err != nil {
		return nil, err
	}
	cancelled := QueryCancelled{OfQuery: OfQuery{cmd.Patient, cmd.Query, q.form}, Reason: cmd.Reason}
	if q.check != "" {
		cancelled.Check, cancelled.Key, cancelled.Inputs = q.check, q.key, c.inputsOf(facts, q.about)
	}
	return []Event{cancelled}, nil
}

// live returns a query that has not ended (code query_not_open).
func (c Casebook) live(number int) (query, error) {
	q, ok := c.queries.Get(number)
	if !ok {
		return q, refuse.WrongState("query_not_open", "there is no query %d, or it has ended", number).At("query").
			Do("the query PatientForms names the open ones")
	}
	return q, nil
}

func (q query) mustBeAnswered(number int) error {
	if !q.answered {
		return refuse.WrongState("query_not_answered", "query %d is not answered", number).At("query").
			Do("wait for the answer, or cancel it with CancelQuery")
	}
	return nil
}

// mayEnd refuses those who have neither raised the query nor manage the data (code query_of_others). Those of the program belong to data
// managers.
func (q query) mayEnd(number int, roles []user.Role) error {
	if slices.Contains(roles, user.DataManager) || slices.ContainsFunc(roles, func(r user.Role) bool { return slices.Contains(q.roles, r) }) {
		return nil
	}
	return refuse.Forbidden("query_of_others", "query %d was not raised by somebody of your role", number).At("query").
		Do("ask a data manager, or somebody of the role that has raised it")
}

// inputsOf returns what a check looks at now.
func (c Casebook) inputsOf(facts Facts, of about) []Input {
	place, _, ok := parse(of.key)
	w := newWork(facts, c)
	if !ok || w.group(place) == nil {
		return nil
	}
	found, err := w.find(map[rowPlace]bool{place: true}, cause{})
	if err != nil {
		return nil
	}
	for _, f := range found {
		if (about{f.check, f.key}) == of {
			return f.inputs
		}
	}
	return nil
}
