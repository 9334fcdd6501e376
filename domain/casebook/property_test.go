package casebook_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/casebook"
	"casebook/domain/refuse"
	"casebook/domain/scenario"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// typed are values that somebody may type for each item, wrong ones among them; "" clears.
var typed = map[string][]string{
	"SEX": {"f", "m", "x", ""}, "BIRTH": {"1980", "1980-02-30", ""}, "ENROLLED": {"2026-01-10", "2025-01-01", ""},
	"NOTE": {"fine", "wrong", ""}, "WEIGHT": {"60", "45.5", "100", "10", "39", ""}, "HEIGHT": {"1.6", "1.7", "0", "3.5", ""},
	"PREGNANT": {"true", "false", ""}, "SYS": {"80", "120", ""}, "DIA": {"80", "120", "100", ""},
	"SCORE": {"3", "4"}, "AETERM": {"Headache", ""}, "AESTDT": {"2026-01", "2025-12-24", "2026---15", ""}, "AESER": {"true", "false", ""},
}

var groups = map[string][]string{"DM": {"SEX", "BIRTH", "ENROLLED", "NOTE"}, "VS": {"WEIGHT", "HEIGHT", "PREGNANT"}, "BP": {"SYS", "DIA"},
	"QS": {"SCORE"},
	"AE": {"AETERM", "AESTDT", "AESER"}}

// places are the groups that are filled in, with their forms.
var places = []struct{ form, group string }{{"SCR/DM", "DM"}, {"SCR/VS", "VS"}, {"SCR/VS", "BP"}, {"SCR/VS", "BP[2]"}, {"V1/VS", "VS"},
	{"V1/QS", "QS"},
	{"V2/VS", "VS"}, {"V2/VS", "BP[3]"}, {"LOG/AE", "AE"}, {"LOG/AE", "AE[2]"}}

// walk is a casebook that commands are sent to at random, with what its events say.
type walk struct {
	state  casebook.Casebook
	events []casebook.Event
	facts  casebook.Facts
}

func (w *walk) entry(t *rapid.T, form, group string) casebook.Entry {
	name, _, _ := cut(group)
	of := rapid.SampledFrom(groups[name]).Draw(t, "item")
	k := casebook.Key(form + "/" + group + "/" + of)
	base := w.state.Version(k)
	if rapid.IntRange(0, 9).Draw(t, "is stale") == 0 {
		base = max(0, base-1)
	}
	return casebook.Entry{Key: k, Base: base, Value: rapid.SampledFrom(typed[of]).Draw(t, "value")}
}

func cut(group string) (name, rest string, found bool) {
	for n, r := range group {
		if r == '[' {
			return group[:n], group[n:], true
		}
	}
	return group, "", false
}

// send decides, and keeps the events of a command that is not refused.
func (w *walk) send(t *rapid.T, decide decision) {
	events, err := decide(w.state)
	if err != nil {
		if _, refused := refuse.As(err); !refused {
			t.Fatalf("it fails: %v", err)
		}
		return
	}
	for _, e := range events {
		w.state = scenario.Evolve(t, casebook.Decider, w.state, e)
	}
	w.events = append(w.events, events...)
}

func (w *walk) submit(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	cmd := submission(casebook.FormKey(p.form))
	for range rapid.IntRange(0, 3).Draw(t, "items") {
		cmd.Items = append(cmd.Items, w.entry(t, p.form, p.group))
	}
	cmd.Complete = rapid.IntRange(0, 4).Draw(t, "complete") == 0
	w.send(t, submitWith(w.facts, cmd))
}

func (w *walk) correct(t *rapid.T) {
	var changes []casebook.Change
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		p := rapid.SampledFrom(places).Draw(t, "place")
		changes = append(changes, casebook.Change{Entry: w.entry(t, p.form, p.group), Why: casebook.SourceCorrected})
	}
	w.send(t, correctWith(w.facts, changes...))
}

func (w *walk) markItem(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	e := w.entry(t, p.form, p.group)
	w.send(t, scenario.SentWithFacts(casebook.MarkItem, w.facts, casebook.MarkItemNotDone{OfPatient: of, Key: e.Key, Base: e.Base,
		Null: rapid.SampledFrom(casebook.NullCodes).Draw(t, "null"), Reasoned: why}, call))
}

func (w *walk) markForm(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	w.send(t, scenario.SentWithFacts(casebook.MarkForm, w.facts, casebook.MarkFormNotDone{OfPatient: of, Form: casebook.FormKey(p.form),
		Build: 1, Null: casebook.NotDone, Reasoned: why}, call))
}

func (w *walk) addRow(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	group, _, _ := cut(p.group)
	w.send(t, scenario.SentWithFacts(casebook.Add, w.facts, casebook.AddRow{OfPatient: of, Form: casebook.FormKey(p.form), Build: 1,
		Group: group}, call))
}

func (w *walk) removeRow(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	w.send(t, scenario.SentWithFacts(casebook.Remove, w.facts, casebook.RemoveRow{OfPatient: of,
		Row: casebook.RowKey(p.form + "/" + p.group), Reasoned: why}, call))
}

func (w *walk) restoreRow(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	w.send(t, scenario.SentWithFacts(casebook.Restore, w.facts, casebook.RestoreRow{OfPatient: of,
		Row: casebook.RowKey(p.form + "/" + p.group), Reasoned: why}, call))
}

// someQuery is one of the queries that are not ended.
func (w *walk) someQuery(t *rapid.T) int {
	numbers := []int{1}
	for _, q := range w.state.Queries() {
		numbers = append(numbers, q.Query)
	}
	slices.Sort(numbers)
	return rapid.SampledFrom(numbers).Draw(t, "query")
}

func (w *walk) raise(t *rapid.T) {
	p := rapid.SampledFrom(places).Draw(t, "place")
	w.send(t, scenario.SentWithFacts(casebook.Raise, w.facts, casebook.RaiseQuery{OfPatient: of, Key: w.entry(t, p.form, p.group).Key,
		Text: "Is it so?", Roles: monitor}, call))
}

func (w *walk) answer(t *rapid.T) {
	w.send(t, scenario.Sent(casebook.Answer, casebook.AnswerQuery{OfPatient: of, Query: w.someQuery(t), Text: "It is."}, call))
}

func (w *walk) closeQuery(t *rapid.T) {
	w.send(t, scenario.SentWithFacts(casebook.Close, w.facts, casebook.CloseQuery{OfPatient: of, Query: w.someQuery(t), Roles: manager}, call))
}

func (w *walk) cancel(t *rapid.T) {
	w.send(t, scenario.SentWithFacts(casebook.Cancel, w.facts, casebook.CancelQuery{OfPatient: of, Query: w.someQuery(t), Roles: manager,
		Reasoned: why}, call))
}

// versions are the contents of each item in the order of their versions, as the events have them.
func versions(t *rapid.T, events []casebook.Event) map[casebook.Key][]casebook.Content {
	all := map[casebook.Key][]casebook.Content{}
	add := func(k casebook.Key, version int, from, to casebook.Content) {
		before := all[k]
		if version != len(before)+1 {
			t.Fatalf("%s has version %d after %d", k, version, len(before))
		}
		if len(before) > 0 && !sameValue(before[len(before)-1], from) {
			t.Fatalf("version %d of %s was %+v, and the next says %+v", version-1, k, before[len(before)-1], from)
		}
		all[k] = append(before, to)
	}
	for _, e := range events {
		switch e := e.(type) {
		case casebook.FormSubmitted:
			for _, it := range e.Items {
				add(it.Key, it.Version, casebook.Content{}, it.Content)
			}
		case casebook.ItemsCorrected:
			for _, it := range e.Changes {
				add(it.Key, it.Version, it.From, it.To)
			}
		case casebook.ItemsDerived:
			for _, it := range e.Items {
				add(it.Key, it.Version, it.From, it.To)
			}
		case casebook.ItemMarkedNotDone:
			add(e.Key, e.Version, e.From, e.To)
		}
	}
	return all
}

func sameValue(a, b casebook.Content) bool {
	return a.Value == b.Value && a.Text == b.Text && a.Unit == b.Unit && a.Null == b.Null && slices.Equal(a.Values, b.Values)
}

// live are the queries that the events leave open.
func live(t *rapid.T, events []casebook.Event) []string {
	open := map[string]int{}
	for _, e := range events {
		switch e := e.(type) {
		case casebook.QueryRaised:
			if e.Check == "" {
				continue
			}
			name := fmt.Sprint(e.Check, " at ", e.Key)
			if open[name] != 0 {
				t.Fatalf("%s has the queries %d and %d", name, open[name], e.Query)
			}
			open[name] = e.Query
		case casebook.QueryResolved:
			name := fmt.Sprint(e.Check, " at ", e.Key)
			if open[name] != e.Query {
				t.Fatalf("query %d is resolved, and %s has the query %d", e.Query, name, open[name])
			}
			delete(open, name)
		case casebook.QueryClosed:
			delete(open, fmt.Sprint(e.Check, " at ", e.Key))
		case casebook.QueryCancelled:
			delete(open, fmt.Sprint(e.Check, " at ", e.Key))
		}
	}
	var names []string
	for name := range open {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (w *walk) check(t *rapid.T) {
	for k, contents := range versions(t, w.events) {
		if w.state.Version(k) != len(contents) {
			t.Fatalf("%s has %d changes, and version %d", k, len(contents), w.state.Version(k))
		}
	}
	holding, derived, err := casebook.FromScratch(w.state, w.facts)
	if err != nil {
		t.Fatalf("what is recorded is refused: %v", err)
	}
	if len(derived) > 0 {
		t.Fatalf("derived values have drifted: %+v", derived)
	}
	want := []string(nil)
	for _, q := range holding {
		want = append(want, fmt.Sprint(q.Check, " at ", q.Key))
	}
	slices.Sort(want)
	if diff := gocmp.Diff(want, live(t, w.events)); diff != "" {
		t.Fatalf("live queries are not the checks that hold (-want +got):\n%s", diff)
	}
	var kept []string
	for _, q := range w.state.Queries() {
		if q.Check == "" {
			continue // a person has raised it, and only people end it
		}
		kept = append(kept, fmt.Sprint(q.Check, " at ", q.Key))
	}
	slices.SortFunc(kept, cmp.Compare[string])
	if diff := gocmp.Diff(want, kept); diff != "" {
		t.Fatalf("the state has other queries (-want +got):\n%s", diff)
	}
}

// TestWhateverIsEnteredNothingIsLostAndNothingDrifts enters and corrects values at random. After each command, n changes of an item have
// left n versions of it in the events besides the empty one, each following from the one before, and the open queries are exactly the
// checks that hold over the whole casebook, but for those that a person has ended and of which no input was changed since.
func TestWhateverIsEnteredNothingIsLostAndNothingDrifts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{facts: facts()}
		w.facts.Patient.Visits["V2"] = domain.Date("2026-01-24")
		t.Repeat(map[string]func(*rapid.T){"submit": w.submit, "correct": w.correct, "mark an item": w.markItem,
			"mark a form": w.markForm, "add a row": w.addRow, "remove a row": w.removeRow, "restore a row": w.restoreRow, "raise": w.raise,
			"answer": w.answer, "close": w.closeQuery, "cancel": w.cancel, "": w.check})
	})
}
