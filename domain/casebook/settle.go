package casebook

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// cause is what a command did, so that what follows from it can be found.
type cause struct {
	patient domain.PatientID
	// rows were touched; items were entered or changed.
	rows  []rowPlace
	items []Key
	// entered are items that were entered, and that have to be collected.
	entered map[Key]bool
	// completes is the form that is said to be complete.
	completes FormKey
}

// settle returns the events that follow from those of a command: what is derived from the values, and the queries that are raised or
// resolved by them. Whatever path a value came by, what follows from it is found here.
//
// It refuses what a check with a hard stop holds for, derived numbers out of range, not_collected and required_missing. It refuses
// facts_outdated where the facts are older than the casebook, so that nothing is overlooked.
func settle(before Casebook, facts Facts, done []Event, why cause) ([]Event, error) {
	if before.size >= maxEvents {
		return nil, refuse.WrongState("casebook_full", "the casebook has %d events", before.size).At("patient").Do("ask those who run the system")
	}
	after := before
	for _, e := range done {
		after = evolve(after, e)
	}
	w := newWork(facts, after)
	touched := w.affected(why.rows, func(k FormKey) bool {
		return before.form(k).isSubmitted() != after.form(k).isSubmitted()
	})
	derived := w.derive(touched, why)
	for _, e := range derived {
		w.after = evolve(w.after, e)
	}
	w.derived = map[rowPlace]map[form.ItemID]Content{}
	clear(w.asked)
	found, err := w.find(touched, why)
	if w.outdated {
		return nil, refuse.Overload("facts_outdated", "the casebook was changed while the command was decided").At("patient").
			Do("send the command again")
	}
	if err != nil {
		return nil, err
	}
	return slices.Concat(done, derived, w.queries(touched, found, why)), nil
}

// maxEvents is how many events a casebook can have.
const maxEvents = 100_000

// affected returns the rows that rules may find something else for, because rows were touched: those themselves, and all whose rules look
// at them, at however many removes. It may return more than needed.
func (w *work) affected(rows []rowPlace, changed func(FormKey) bool) map[rowPlace]bool {
	affected := map[rowPlace]bool{}
	type at struct{ group, visit string }
	here, anywhere := map[at]bool{}, map[string]bool{}
	newVisit := false
	add := func(r rowPlace) {
		affected[r] = true
		anywhere[r.group] = true
		place, _ := parseForm(r.form)
		here[at{r.group, place.visit}] = true
	}
	for _, r := range rows {
		add(r)
		newVisit = newVisit || changed(r.form)
	}
	for _, r := range w.all { // groups of a new form in which nothing was entered
		if slices.ContainsFunc(rows, func(of rowPlace) bool { return of.form == r.form }) {
			add(r)
		}
	}
	for grew := true; grew; {
		grew = false
		for _, r := range w.all {
			if affected[r] {
				continue
			}
			b, place, ok := w.formOf(r.form)
			if !ok {
				continue
			}
			reads := planOf(b).reads[r.group]
			looks := newVisit && reads.previous
			for group := range reads.here {
				looks = looks || here[at{group, place.visit}]
			}
			for group := range reads.anywhere {
				looks = looks || anywhere[group]
			}
			if looks {
				add(r)
				grew = true
			}
		}
	}
	return affected
}

// in returns those rows that are among others, in the order of the casebook.
func (w *work) in(rows map[rowPlace]bool) (ordered []rowPlace) {
	for _, r := range w.all {
		if rows[r] {
			ordered = append(ordered, r)
		}
	}
	return ordered
}

// derive computes the derived items of rows until nothing changes any more. No build has an item that is derived from itself, so that it
// ends after as many rounds as there are derived items in a chain.
func (w *work) derive(rows map[rowPlace]bool, why cause) []Event {
	for changed := true; changed; {
		changed = false
		for _, r := range w.in(rows) {
			changed = w.deriveRow(r) || changed
		}
	}
	byForm := map[FormKey][]Derived{}
	for r, items := range w.derived {
		for id, to := range items {
			if was := w.after.item(r, id); !was.holds(to, w.facts.Opened) {
				byForm[r.form] = append(byForm[r.form], Derived{Key: r.key(id), Version: was.version + 1, From: was.content(), To: to})
			}
		}
	}
	var events []Event
	for _, k := range slices.Sorted(maps.Keys(byForm)) {
		items := byForm[k]
		slices.SortFunc(items, func(a, b Derived) int { return cmp.Compare(a.Key, b.Key) })
		events = append(events, ItemsDerived{Patient: why.patient, Form: k, Items: items, Cause: why.items})
	}
	return events
}

func (w *work) deriveRow(r rowPlace) (changed bool) {
	g := w.group(r)
	var e *form.Evaluation
	for n := range g.Items {
		it := &g.Items[n]
		if !g.Form.IsDerived(it.ID) || !it.Visible() {
			continue
		}
		if e == nil {
			e = w.evaluate(r, g)
		}
		var to Content
		if v, _, err := g.Form.Read(it.ID, form.Entry{Value: e.Computed(it.ID)}); err == nil {
			to = contentOf(it.Type, v)
		}
		if w.current(r, it.ID).holds(to, w.facts.Opened) {
			continue
		}
		if w.derived[r] == nil {
			w.derived[r] = map[form.ItemID]Content{}
		}
		w.derived[r][it.ID], changed = to, true
	}
	return changed
}

// finding is what is to be asked about an item.
type finding struct {
	check   string
	key     Key
	message form.Translation
	build   int
	inputs  []Input
}

// about names a finding: one query about it can be open.
type about struct {
	check string
	key   Key
}

// find checks rows. It returns what is to be asked, and refuses what cannot be kept.
func (w *work) find(rows map[rowPlace]bool, why cause) (found []finding, err error) {
	for _, r := range w.in(rows) {
		g := w.group(r)
		e := w.evaluate(r, g)
		e.CheckWithin(around{work: w, row: r, collected: true})
		for _, f := range e.Findings() {
			if !w.concerns(r, g, f) {
				continue
			}
			asked, err := w.judge(r, g, f, why)
			if err != nil {
				return nil, err
			}
			if asked {
				found = append(found, w.findingOf(r, g, f))
			}
		}
	}
	return found, w.tooFewRows(why)
}

// concerns says whether a finding is for those who capture the data, at this visit.
func (w *work) concerns(r rowPlace, g *build.CompiledGroup, f form.Finding) bool {
	it := g.Item(f.Item)
	if it == nil || !it.Visible() {
		return false
	}
	if f.Consequence == form.Missing && w.current(r, f.Item).null != "" {
		return false
	}
	ch := checkOf(g, f.Check)
	if ch == nil {
		return true
	}
	place, _ := parseForm(r.form)
	return ch.Blinding == "" && (len(ch.Visits) == 0 || slices.Contains(ch.Visits, place.visit))
}

func checkOf(g *build.CompiledGroup, id string) *build.Check {
	n := checkIndex(g, id)
	if n < 0 {
		return nil
	}
	return g.Checks[n]
}

func checkIndex(g *build.CompiledGroup, id string) int {
	if id == "" {
		return -1
	}
	return slices.IndexFunc(g.Checks, func(c *build.Check) bool { return c.ID == id })
}

// judge says whether somebody is to be asked about a finding, or refuses the command because of it.
func (w *work) judge(r rowPlace, g *build.CompiledGroup, f form.Finding, why cause) (asked bool, err error) {
	key := r.key(f.Item)
	switch f.Consequence {
	case form.Refused:
		if f.Check == "" && !g.Form.IsDerived(f.Item) && !why.entered[key] {
			return true, nil // a value that another build let in
		}
		return false, refuse.Because(f.Code, "%s", f.Sentence).At(string(key)).Do(f.Remedy)
	case form.NotCollected:
		if why.entered[key] {
			return false, refuse.Because("not_collected", "%s is not collected here: %s", key, f.Sentence).At(string(key)).Do("leave it out")
		}
		return true, nil
	case form.Missing:
		if why.completes == r.form {
			return false, requiredMissing(f.Sentence, string(key))
		}
		return w.after.form(r.form).complete, nil
	case form.Queried:
	}
	return true, nil
}

func requiredMissing(sentence, at string) error {
	return refuse.Because("required_missing", "the form is not complete: %s", sentence).At(at).
		Do("enter what is missing, say with MarkItemNotDone why there is none, or submit the form without saying that it is complete")
}

// tooFewRows refuses a complete form with fewer rows than its groups have.
func (w *work) tooFewRows(why cause) error {
	b, place, ok := w.formOf(why.completes)
	if !ok {
		return nil
	}
	of := b.Form(place.form)
	for n := range of.Groups {
		g := &of.Groups[n]
		if g.Repeats == nil {
			continue
		}
		rows := 0
		for _, r := range w.ofGroup[g.ID] {
			if r.form == why.completes {
				rows++
			}
		}
		if rows < g.Repeats.Min {
			return requiredMissing(fmt.Sprintf("%s has %d rows, and needs %d", g.ID, rows, g.Repeats.Min), string(why.completes))
		}
	}
	return nil
}

func (w *work) findingOf(r rowPlace, g *build.CompiledGroup, f form.Finding) finding {
	found := finding{check: f.Check, key: r.key(f.Item), message: f.Message, build: w.after.form(r.form).build}
	place, _ := g.Form.Index(f.Item)
	looked := []rule.Variable{{Group: form.Answers, Name: string(f.Item)}}
	switch {
	case f.Check != "":
		looked = g.Form.Checked(checkIndex(g, f.Check))
	case f.Consequence == form.NotCollected:
		looked = append(looked, g.Form.AskedBy(place)...)
	case g.Form.IsDerived(f.Item):
		looked = append(looked, g.Form.DerivedFrom(place)...)
	}
	if f.Check == "" {
		found.check, found.message = f.Code, form.Plain(f.Sentence)
	}
	found.inputs = w.inputs(r, looked)
	return found
}

// inputs returns what the variables of a rule are in a row, each once.
func (w *work) inputs(r rowPlace, variables []rule.Variable) (inputs []Input) {
	ofForm, _ := parseForm(r.form)
	add := func(in Input) {
		if !slices.ContainsFunc(inputs, func(other Input) bool { return other.Key == in.Key && other.Rows == in.Rows }) {
			inputs = append(inputs, in)
		}
	}
	for _, v := range variables {
		visit := ofForm.visit
		switch {
		case v.InRows:
			changes := 0
			for _, of := range w.ofGroup[v.Group] {
				changes += w.after.row(of).changes()
			}
			add(Input{Rows: v.Group, Version: changes})
			continue
		case v.Visit != "":
			visit = v.Visit
		case v.Previous:
			if visit = w.before(r); visit == "" {
				continue
			}
		}
		of, id := r, form.ItemID(v.Name)
		if v.Group != form.Answers || v.Visit != "" || v.Previous {
			var ok bool
			if of, ok = w.at(r, visit, v.Group); !ok {
				continue
			}
		}
		add(Input{Key: of.key(id), Version: w.current(of, id).version})
	}
	return inputs
}

// changes counts all changes in a row, 0 for one that is not there.
func (r *row) changes() (n int) {
	if r == nil {
		return 0
	}
	for _, it := range r.items {
		n += it.version
	}
	return n + r.version
}

// queries returns the events by which exactly what was found has a query, as far as rows were checked.
func (w *work) queries(rows map[rowPlace]bool, found []finding, why cause) (events []Event) {
	open := map[about]bool{}
	holds := map[about]bool{}
	for _, f := range found {
		holds[about{f.check, f.key}] = true
	}
	live := w.after.queries.Plain()
	for _, n := range slices.Sorted(maps.Keys(live)) {
		q := live[n]
		of, _, ok := parse(q.key)
		switch {
		case !ok || q.check == "" || !rows[of]:
		case holds[q.about]:
			open[q.about] = true
		default:
			events = append(events, QueryResolved{Patient: why.patient, Query: n, Check: q.check, Key: q.key})
		}
	}
	next := w.after.lastQuery
	for _, f := range found {
		if open[about{f.check, f.key}] || w.after.isSettled(f) {
			continue
		}
		open[about{f.check, f.key}] = true
		next++
		events = append(events, QueryRaised{Patient: why.patient, Query: next, Check: f.check, Key: f.key, Message: f.message, Build: f.build,
			Inputs: f.inputs})
	}
	return events
}
