package casebook

import (
	"slices"
	"strings"

	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/personal"
	"casebook/domain/rule"
)

// work is a casebook under decision: what it holds after a command, as rules see it.
type work struct {
	facts Facts
	after Casebook
	// all are the rows of the submitted forms, and the groups without rows that nothing was entered in, in order; ofGroup are the same by
	// the group.
	all     []rowPlace
	ofGroup map[string][]rowPlace
	// visits are those at which a form was submitted.
	visits map[string]bool
	// derived are values that were computed in this decision, and that after does not have.
	derived map[rowPlace]map[form.ItemID]Content
	// asked are evaluations as far as the skip rules.
	asked map[rowPlace]*form.Evaluation
	// outdated says that the facts lack a build, or a text that a rule looks at: the casebook is newer than they are.
	outdated bool
}

func newWork(facts Facts, after Casebook) *work {
	w := &work{facts: facts, after: after, ofGroup: map[string][]rowPlace{}, visits: map[string]bool{},
		derived: map[rowPlace]map[form.ItemID]Content{}, asked: map[rowPlace]*form.Evaluation{}}
	for key, f := range after.forms.All() {
		b, place, ok := w.formOf(key)
		if !ok {
			w.outdated = true
			continue
		}
		if !f.isSubmitted() {
			continue
		}
		w.visits[place.visit] = true
		seen := map[rowName]bool{}
		for name, r := range f.rows {
			if b.Group(name.group) != nil && !r.removed {
				w.all, seen[name] = append(w.all, rowPlace{key, name.group, name.row}), true
			}
		}
		if of := b.Form(place.form); of != nil {
			for n := range of.Groups {
				if name := (rowName{of.Groups[n].ID, 1}); of.Groups[n].Repeats == nil && !seen[name] {
					w.all = append(w.all, rowPlace{key, name.group, name.row})
				}
			}
		}
	}
	slices.SortFunc(w.all, func(a, b rowPlace) int {
		if a.form != b.form {
			return strings.Compare(string(a.form), string(b.form))
		}
		if a.group != b.group {
			return strings.Compare(a.group, b.group)
		}
		return a.row - b.row
	})
	for _, r := range w.all {
		w.ofGroup[r.group] = append(w.ofGroup[r.group], r)
	}
	return w
}

// formOf returns the build of a submitted form. ok is false where the facts do not have it.
func (w *work) formOf(k FormKey) (b *build.Compiled, place formPlace, ok bool) {
	f := w.after.form(k)
	if f == nil {
		return nil, place, false
	}
	place, isKey := parseForm(k)
	b = w.facts.Builds[f.build]
	return b, place, isKey && b != nil
}

// group returns the group of a row as its form's build has it; nil for none.
func (w *work) group(r rowPlace) *build.CompiledGroup {
	b, _, ok := w.formOf(r.form)
	if !ok {
		return nil
	}
	return b.Group(r.group)
}

// current returns what an item holds, what was computed in this decision included.
func (w *work) current(r rowPlace, id form.ItemID) item {
	it := w.after.item(r, id)
	if c, computed := w.derived[r][id]; computed {
		return it.after(it.version+1, c)
	}
	return it
}

// placeholder stands for a text that no rule looks at, so that it was not opened.
const placeholder = "\u2026"

// entry returns an item as package form takes it.
func (w *work) entry(it item, of *build.Item, g *build.CompiledGroup, b *build.Compiled) form.Entry {
	switch {
	case it.null != "" || it.isEmpty():
		return form.Entry{}
	case it.isText:
		text := personal.Text(it.value)
		opened, ok := w.facts.Opened[text]
		switch {
		case ok:
			return form.Entry{Value: opened}
		case text.Sealed():
			w.outdated = w.outdated || planOf(b).texts[build.Home{Group: g.ID, Item: of.ID}]
			return form.Entry{Value: placeholder}
		}
		return form.Entry{Value: it.value}
	case of.Type == form.Boolean:
		return form.Entry{Value: it.value == "true"}
	case of.Type == form.Multi:
		return form.Entry{Value: it.several}
	default:
		return form.Entry{Value: it.value, Unit: it.unit}
	}
}

// entries are what was entered in a row.
func (w *work) entries(r rowPlace, g *build.CompiledGroup) map[form.ItemID]form.Entry {
	entries := map[form.ItemID]form.Entry{}
	held := w.after.row(r)
	if held == nil {
		return entries
	}
	b, _, _ := w.formOf(r.form)
	for id, it := range held.items {
		if of := g.Item(id); of != nil && !g.Form.IsDerived(id) {
			entries[id] = w.entry(it, of, g, b)
		}
	}
	return entries
}

// evaluate evaluates a row as far as its skip rules.
func (w *work) evaluate(r rowPlace, g *build.CompiledGroup) *form.Evaluation {
	return g.Form.DeriveWithin(w.entries(r, g), around{work: w, row: r})
}

// isAsked says whether an item is collected.
func (w *work) isAsked(r rowPlace, g *build.CompiledGroup, id form.ItemID) bool {
	b, _, ok := w.formOf(r.form)
	if !ok || !planOf(b).skips[g.ID] {
		return true
	}
	e := w.asked[r]
	if e == nil {
		e = w.evaluate(r, g)
		w.asked[r] = e
	}
	return !e.Of(id).NotCollected
}

// value returns an item as rules see it. Where only collected values count, what a skip rule leaves out has none.
func (w *work) value(r rowPlace, id form.ItemID, collected bool) (any, bool) {
	g := w.group(r)
	if g == nil || g.Item(id) == nil || w.isOut(r) {
		return nil, false
	}
	it := w.current(r, id)
	if it.null != "" || it.isEmpty() || collected && !w.isAsked(r, g, id) {
		return nil, false
	}
	b, _, _ := w.formOf(r.form)
	_, seen, err := g.Form.Read(id, w.entry(it, g.Item(id), g, b))
	return seen, err == nil && seen != nil
}

// isOut says whether what is in a row counts for nothing, because the row was removed, or its form is marked as not done.
func (w *work) isOut(r rowPlace) bool {
	held := w.after.row(r)
	return !w.after.form(r.form).isSubmitted() || held != nil && held.removed
}

// around is what surrounds a row in its casebook, for the rules of the row.
type around struct {
	*work
	row rowPlace
	// collected says that only what is collected counts.
	collected bool
}

// at returns the place of a group without rows at a visit, as the build of a row has it.
func (w *work) at(r rowPlace, visit, group string) (rowPlace, bool) {
	b, _, ok := w.formOf(r.form)
	if !ok || b.Group(group) == nil {
		return rowPlace{}, false
	}
	return rowPlace{formPlace{visit, 1, b.Group(group).Of.ID, 1}.key(), group, 1}, true
}

// Value finds an item of another group at the same visit.
func (a around) Value(group, name string) (any, bool) {
	place, ok := parseForm(a.row.form)
	if !ok {
		return nil, false
	}
	return atVisit{a, place.visit}.Value(group, name)
}

// At implements rule.Casebook.
func (a around) At(visit string) rule.Values { return atVisit{a, visit} }

// Previous implements rule.Casebook. The visit before is the last scheduled one before this in the schedule at which a form was
// submitted.
func (a around) Previous() rule.Values {
	visit := a.before(a.row)
	if visit == "" {
		return nil
	}
	return atVisit{a, visit}
}

func (w *work) before(r rowPlace) string {
	b, place, ok := w.formOf(r.form)
	if !ok {
		return ""
	}
	before := ""
	for n := range b.Definition().Schedule.Visits {
		switch v := &b.Definition().Schedule.Visits[n]; {
		case v.Kind != build.VisitScheduled:
		case v.ID == place.visit:
			return before
		case w.visits[v.ID]:
			before = v.ID
		}
	}
	return ""
}

// Rows implements rule.Casebook: all rows of the group in the casebook.
func (a around) Rows(group string) []rule.Values {
	rows := make([]rule.Values, 0, len(a.ofGroup[group]))
	for _, r := range a.ofGroup[group] {
		rows = append(rows, ofRow{a, r})
	}
	return rows
}

// atVisit are the values of a visit.
type atVisit struct {
	around
	visit string
}

// Value finds an item of a group without rows at the visit.
func (v atVisit) Value(group, name string) (any, bool) {
	place, ok := v.at(v.row, v.visit, group)
	if !ok {
		return nil, false
	}
	return v.value(place, form.ItemID(name), v.collected)
}

// ofRow are the values of a row.
type ofRow struct {
	around
	of rowPlace
}

// Value finds an item of the row.
func (r ofRow) Value(_, name string) (any, bool) {
	return r.value(r.of, form.ItemID(name), r.collected)
}
