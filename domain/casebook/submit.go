package casebook

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/refuse"
)

// SubmitForm enters values in a form, all or none of them. A form can be submitted in several steps. Values that are there already are
// changed with CorrectItems; one that is sent again as it is stays as it is.
type SubmitForm struct {
	domain.OfPatient
	Form  FormKey `json:"form" minLength:"3" maxLength:"300" doc:"The form"`
	Build int     `json:"build" minimum:"1" doc:"The build that it is captured by"`
	Items []Entry `json:"items,omitempty" maxItems:"1000" doc:"What was entered"`
	// Complete is what whoever submits says. What becomes of the form is derived.
	Complete bool `json:"complete,omitempty" doc:"Whether nothing is missing; refused if a required item is"`
}

// Entry is what was typed for an item.
type Entry struct {
	Key Key `json:"key" minLength:"3" maxLength:"300" doc:"The item"`
	// Base is the version that was seen.
	Base   int      `json:"base,omitempty" minimum:"0" doc:"The version of the item that was seen; 0, or left out, for an empty one"`
	Value  string   `json:"value,omitempty" doc:"What was typed, of every type: 120, true, an option, 2026-03 where the day is not known"`
	Values []string `json:"values,omitempty" maxItems:"100" doc:"The chosen options of an item with several"`
	Unit   string   `json:"unit,omitempty" maxLength:"100" doc:"Unit of a number; the item's own when left out"`
}

// Bases implements Based.
func (c SubmitForm) Bases() map[Key]int {
	bases := make(map[Key]int, len(c.Items))
	for _, it := range c.Items {
		bases[it.Key] = it.Base
	}
	return bases
}

// Submit decides about SubmitForm. What follows from the values is decided with them (see settle).
//
// It refuses malformed_key, not_released, visit_not_recorded, not_collected, max_rows, unknown_item, duplicate_item, derived_item,
// row_removed, stale_value, reason_required for a value that is there already, no_change, required_missing, consent_missing, casebook_full,
// facts_outdated, what the type, the range or the list of an item refuses, and checks with a hard stop (check_holds).
func Submit(c Casebook, facts Facts, cmd SubmitForm, _ domain.Call) ([]Event, error) {
	b, of, err := c.capturedBy(facts, cmd.Form, cmd.Build)
	if err != nil {
		return nil, err
	}
	d := draft{casebook: c, facts: facts, build: b, of: of, form: cmd.Form}
	event := FormSubmitted{Patient: cmd.Patient, Form: cmd.Form, Build: cmd.Build, Complete: cmd.Complete}
	why := cause{patient: cmd.Patient, entered: map[Key]bool{}}
	if cmd.Complete {
		why.completes = cmd.Form
	}
	for n, entry := range cmd.Items {
		at, to, err := d.read(fmt.Sprintf("items[%d]", n), entry)
		if err != nil {
			return nil, err
		}
		was := c.item(at.row, at.id)
		switch {
		case was.version > 0 && was.holds(to, facts.Opened) || was.version == 0 && to.IsEmpty():
			continue
		case was.version > 0:
			return nil, refuse.Because("reason_required", "%s has a value already", entry.Key).At(string(entry.Key)).
				Do("change it with CorrectItems, and say why")
		}
		event.Items = append(event.Items, Entered{Key: entry.Key, Version: was.version + 1, Content: to})
		why.note(at.row, entry.Key)
	}
	if f := c.form(cmd.Form); f.isSubmitted() && len(event.Items) == 0 && f.complete == (f.complete || cmd.Complete) {
		return nil, noChange("items")
	}
	why.touches(cmd.Form, of)
	return settle(c, facts, []Event{event}, why)
}

func noChange(at string) error {
	return refuse.WrongState("no_change", "nothing of it is different from what is recorded").At(at).Do("nothing is left to do")
}

// note notes that an item was entered.
func (w *cause) note(r rowPlace, k Key) {
	w.items, w.entered[k] = append(w.items, k), true
	if !slices.Contains(w.rows, r) {
		w.rows = append(w.rows, r)
	}
}

// touches notes the groups of a form that have no rows, so that what is missing in them is found too.
func (w *cause) touches(k FormKey, of *build.Form) {
	for n := range of.Groups {
		if r := (rowPlace{k, of.Groups[n].ID, 1}); of.Groups[n].Repeats == nil && !slices.Contains(w.rows, r) {
			w.rows = append(w.rows, r)
		}
	}
}

// capturedBy returns the build and the form that is to be filled in.
func (c Casebook) capturedBy(facts Facts, k FormKey, number int) (*build.Compiled, *build.Form, error) {
	place, ok := parseForm(k)
	if !ok {
		return nil, nil, malformed("form", k, "visit[n]/form[n]")
	}
	if by := c.Build(k); by != 0 && by != number {
		return nil, nil, refuse.WrongState("not_released", "the form %s is captured by build %d", k, by).At("build").Do("name that build")
	} else if by == 0 && facts.Released != number {
		return nil, nil, refuse.WrongState("not_released", "build %d is not the one that the site captures new forms by", number).At("build").
			Do(released(facts))
	}
	b := facts.Builds[number]
	if b == nil {
		return nil, nil, refuse.WrongState("not_released", "build %d is not released", number).At("build").Do(released(facts))
	}
	visit, of := b.Visit(place.visit), b.Form(place.form)
	switch {
	case visit == nil || of == nil || !slices.Contains(visit.Forms, of.ID):
		return nil, nil, refuse.Because("not_collected", "build %d has no form %.80q at a visit %.80q", number, place.form, place.visit).
			At("form").Do("use the forms of the build's schedule")
	case place.formN > 1 && of.Repeats == nil:
		return nil, nil, refuse.Because("not_collected", "the form %s is there once", of.ID).At("form").Do("leave its number out")
	case of.Repeats != nil && place.formN > of.Repeats.Most():
		return nil, nil, tooMany("form", of.ID, of.Repeats)
	case visit.Kind == build.VisitCommon && facts.Patient.FirstConsentOn == "":
		return nil, nil, refuse.Because("consent_missing", "the patient has not signed an informed consent").At("form").
			Do("record the consent first (ICH E6(R3) 2.8)")
	case visit.Kind != build.VisitCommon && facts.Patient.Visits[visit.ID] == "", place.visitN > 1:
		return nil, nil, refuse.WrongState("visit_not_recorded", "visit %s is not recorded", numbered(visit.ID, place.visitN)).At("form").
			Do("record the visit first with RecordVisit")
	}
	return b, of, nil
}

func tooMany(at, of string, r *build.Repeats) error {
	return refuse.Because("max_rows", "there can be %d of %s", r.Most(), of).At(at).Do("use the rows that there are")
}

func released(f Facts) string {
	if f.Released == 0 {
		return "have a build released to the site first"
	}
	return fmt.Sprintf("use build %d", f.Released)
}

// draft is a form under entry.
type draft struct {
	casebook Casebook
	facts    Facts
	build    *build.Compiled
	of       *build.Form
	form     FormKey
	seen     map[Key]bool
	// added are the rows that the command adds.
	added map[rowPlace]bool
}

// enters refuses a row that was removed (code row_removed), and a new one where there are as many as there can be (code max_rows).
func (d *draft) enters(r rowPlace, g *build.CompiledGroup, k Key) error {
	if was := d.casebook.row(r); was != nil {
		if was.removed {
			return refuse.WrongState("row_removed", "the row %s was removed", r.rowKey()).At(string(k)).Do("restore it with RestoreRow first")
		}
		return nil
	}
	if g.Repeats == nil || d.added[r] {
		return nil
	}
	rows := d.casebook.rows(r.form, r.group)
	for of := range d.added {
		if of.group == r.group {
			rows++
		}
	}
	if rows >= g.Repeats.Most() {
		return tooMany(string(k), g.ID, g.Repeats)
	}
	if d.added == nil {
		d.added = map[rowPlace]bool{}
	}
	d.added[r] = true
	return nil
}

// rows counts the rows of a group of a form, without those that were removed.
func (c Casebook) rows(k FormKey, group string) (n int) {
	f := c.form(k)
	if f == nil {
		return 0
	}
	for name, r := range f.rows {
		if name.group == group && !r.removed {
			n++
		}
	}
	return n
}

// placed is an item in its row.
type placed struct {
	row rowPlace
	id  form.ItemID
}

// read reads an entry, without looking at what follows from it.
func (d *draft) read(at string, entry Entry) (placed, Content, error) {
	p, g, it, err := d.find(at+".key", entry.Key)
	if err != nil {
		return p, Content{}, err
	}
	if err := d.casebook.mustBeSeen(d.facts, p, entry); err != nil {
		return p, Content{}, err
	}
	if err := domain.Printable(at+".value", entry.Value); err != nil {
		return p, Content{}, err
	}
	v, _, err := g.Form.Read(it.ID, entryOf(it, entry.Value, entry.Values, entry.Unit))
	if r, refused := refuse.As(err); refused {
		return p, Content{}, r.At(string(entry.Key))
	} else if err != nil {
		return p, Content{}, err
	}
	to := contentOf(it.Type, v)
	if to.Text == "" && !to.IsEmpty() {
		to.Raw = entry.Value
	}
	return p, to, nil
}

// find returns the item of a key, which has to be one that is entered, in a row that is there or is the next one.
func (d *draft) find(at string, k Key) (p placed, g *build.CompiledGroup, it *build.Item, err error) {
	var ok bool
	if p.row, p.id, ok = parse(k); !ok {
		return p, nil, nil, malformed(at, k, "visit[n]/form[n]/group[n]/item")
	}
	if d.seen[k] {
		return p, nil, nil, refuse.Malformed("duplicate_item", "%s is there twice", k).At(at).Do("send it once")
	}
	if d.seen == nil {
		d.seen = map[Key]bool{}
	}
	d.seen[k] = true
	g = d.build.Group(p.row.group)
	if g != nil && p.row.form == d.form && g.Of == d.of {
		it = g.Item(p.id)
	}
	switch {
	case it == nil || !it.Visible() || p.row.row > 1 && g.Repeats == nil:
		return p, nil, nil, unknownItem(at, d.form, k)
	case g.Form.IsDerived(it.ID):
		return p, nil, nil, refuse.Because("derived_item", "%s is derived from other items", k).At(string(k)).Do("leave it out")
	}
	return p, g, it, d.enters(p.row, g, k)
}

func unknownItem(at string, of FormKey, k Key) error {
	return refuse.Because("unknown_item", "the form %s has no item %.80q", of, k).At(at).Do("use the items of the build's form")
}

// mustBeSeen refuses an entry for an item of which its sender has not seen the newest version (code stale_value).
func (c Casebook) mustBeSeen(facts Facts, p placed, entry Entry) error {
	was := c.item(p.row, p.id)
	if was.version == entry.Base {
		return nil
	}
	now := was.shown()
	if last, known := facts.Last[entry.Key]; known {
		now += fmt.Sprintf(", which %s recorded at %s", last.By, last.At.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	sent := "its own text"
	if !was.isText {
		sent = shown(entry.Value, entry.Values, entry.Unit)
	}
	return refuse.WrongState("stale_value", "%s has version %d, and the command has seen version %d: the value is %s, and the command has %s",
		entry.Key, was.version, entry.Base, now, sent).At(string(entry.Key)).Do("look at the value, and send the command again with its version")
}

// shown returns a value for a sentence. A text that somebody wrote is not repeated in one.
func (it item) shown() string {
	switch {
	case it.null != "":
		return string(it.null)
	case it.isText:
		return "a text"
	}
	return shown(it.value, it.several, it.unit)
}

func shown(value string, several []string, unit string) string {
	if len(several) > 0 {
		return refuse.Shortened(fmt.Sprintf("%q", several))
	}
	if value == "" {
		return "empty"
	}
	if unit != "" {
		value += " " + unit
	}
	return fmt.Sprintf("%q", refuse.Shortened(value))
}
