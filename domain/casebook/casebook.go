// Package casebook decides about the casebook of a patient: all that sites enter on case report forms, and the queries about it.
// One patient has one stream, so that a check over many forms, and what follows from it, is decided at one revision of all of them:
// a value, what is derived from it, and the queries that it opens or closes are one append (ADR 0003).
//
// Begin reading at Submit, which decides on the state Casebook. The state knows the newest version of each value. Former versions stay
// in the events, and so does what was typed.
package casebook

import (
	"maps"
	"unique"

	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/persistent"
	"casebook/domain/personal"
)

// Event is an event of a casebook.
type Event interface{ casebookEvent() }

// events are the events of the stream with their stored names.
var events = []domain.EventType{
	domain.Stored[FormSubmitted]("FormSubmitted"),
	domain.Stored[ItemsCorrected]("ItemsCorrected"),
	domain.Stored[ItemsDerived]("ItemsDerived"),
	domain.Stored[ItemMarkedNotDone]("ItemMarkedNotDone"),
	domain.Stored[FormMarkedNotDone]("FormMarkedNotDone"),
	domain.Stored[RowAdded]("RowAdded"),
	domain.Stored[RowRemoved]("RowRemoved"),
	domain.Stored[RowRestored]("RowRestored"),
	domain.Stored[QueryRaised]("QueryRaised"),
	domain.Stored[QueryResolved]("QueryResolved"),
	domain.Stored[QueryAnswered]("QueryAnswered"),
	domain.Stored[QueryReopened]("QueryReopened"),
	domain.Stored[QueryClosed]("QueryClosed"),
	domain.Stored[QueryCancelled]("QueryCancelled"),
}

// FormSubmitted is a form that was filled in, or more of it.
type FormSubmitted struct {
	Patient domain.PatientID `json:"patient"`
	Form    FormKey          `json:"form"`
	// Build is the build that the form is captured by.
	Build int       `json:"build"`
	Items []Entered `json:"items,omitempty"`
	// Complete says that whoever submits the form says that nothing is missing.
	Complete bool `json:"complete,omitempty"`
}

// Entered is the first value of an item.
type Entered struct {
	Key     Key `json:"key"`
	Version int `json:"version"`
	Content
}

// ItemsCorrected changes values of a form. What they were stays readable, in this event and in those before.
type ItemsCorrected struct {
	Patient domain.PatientID `json:"patient"`
	Form    FormKey          `json:"form"`
	Changes []Corrected      `json:"changes"`
}

// Corrected is a later value of an item, with the reason for it.
type Corrected struct {
	Key Key `json:"key"`
	// Version counts the changes of the item.
	Version int `json:"version"`
	// From is what the item held. What was typed then is in the event that recorded it.
	From Content `json:"from"`
	// To is empty where the value was cleared.
	To     Content       `json:"to"`
	Why    Why           `json:"why"`
	Reason personal.Text `json:"reason,omitempty"`
}

// ItemsDerived changes the derived values of a form, in the append of what they are derived from.
type ItemsDerived struct {
	Patient domain.PatientID `json:"patient"`
	Form    FormKey          `json:"form"`
	Items   []Derived        `json:"items"`
	// Cause are the items that were entered or changed, and the rows that were added or removed.
	Cause []Key `json:"cause"`
}

// Derived is a computed value of an item, empty where nothing can be computed any more.
type Derived struct {
	Key     Key     `json:"key"`
	Version int     `json:"version"`
	From    Content `json:"from"`
	To      Content `json:"to"`
}

func (FormSubmitted) casebookEvent()     {}
func (ItemsCorrected) casebookEvent()    {}
func (ItemsDerived) casebookEvent()      {}
func (QueryRaised) casebookEvent()       {}
func (QueryResolved) casebookEvent()     {}
func (ItemMarkedNotDone) casebookEvent() {}
func (FormMarkedNotDone) casebookEvent() {}
func (RowAdded) casebookEvent()          {}
func (RowRemoved) casebookEvent()        {}
func (RowRestored) casebookEvent()       {}
func (QueryAnswered) casebookEvent()     {}
func (QueryReopened) casebookEvent()     {}
func (QueryClosed) casebookEvent()       {}
func (QueryCancelled) casebookEvent()    {}

// OfForm is an event about one form of a casebook.
type OfForm interface{ OfForm() FormKey }

// OfForm implements OfForm.
func (e FormSubmitted) OfForm() FormKey { return e.Form }

// OfForm implements OfForm.
func (e ItemsCorrected) OfForm() FormKey { return e.Form }

// OfForm implements OfForm.
func (e ItemsDerived) OfForm() FormKey { return e.Form }

// OfForm implements OfForm.
func (e ItemMarkedNotDone) OfForm() FormKey { return e.Key.Form() }

// OfForm implements OfForm.
func (e FormMarkedNotDone) OfForm() FormKey { return e.Form }

// OfForm implements OfForm.
func (e RowAdded) OfForm() FormKey { return e.Row.Form() }

// OfForm implements OfForm.
func (e RowRemoved) OfForm() FormKey { return e.Row.Form() }

// OfForm implements OfForm.
func (e RowRestored) OfForm() FormKey { return e.Row.Form() }

// OfForm implements OfForm.
func (e QueryRaised) OfForm() FormKey {
	if e.Form != "" {
		return e.Form
	}
	return e.Key.Form()
}

// OfForm implements OfForm.
func (e QueryResolved) OfForm() FormKey { return e.Key.Form() }

// Decider decides on a casebook's stream.
var Decider = domain.Decider[Casebook, Event]{Category: "casebook", Key: domain.ByPatient, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Casebook is the state of a casebook's stream. It never changes; Evolve returns a new one.
type Casebook struct {
	forms persistent.Map[FormKey, *filledIn]
	// queries are those that have not ended, by their number.
	queries   persistent.Map[int, query]
	lastQuery int
	// settled are automatic queries that people have ended although their checks hold, with the inputs that they were ended for.
	settled persistent.Map[about, string]
	// size is how many events the stream has.
	size int
}

// filledIn is a form that was submitted. It is shared by states: nobody changes it.
type filledIn struct {
	build    int
	complete bool
	notDone  NullCode
	rows     map[rowName]*row
}

type rowName struct {
	group string
	row   int
}

// row is a group of a form, or one of its rows.
type row struct {
	removed bool
	// version counts how often it was added, removed and restored.
	version int
	items   map[form.ItemID]item
}

// Build returns the build that a form is captured by, 0 where it was not submitted.
func (c Casebook) Build(k FormKey) int {
	if f := c.form(k); f != nil {
		return f.build
	}
	return 0
}

// Builds returns the builds that the forms are captured by.
func (c Casebook) Builds() map[int]bool {
	builds := map[int]bool{}
	for _, f := range c.forms.All() {
		builds[f.build] = true
	}
	return builds
}

// Version returns how often an item was changed, 0 where it never had a value.
func (c Casebook) Version(k Key) int {
	place, id, ok := parse(k)
	if !ok {
		return 0
	}
	return c.item(place, id).version
}

func (c Casebook) form(k FormKey) *filledIn {
	f, _ := c.forms.Get(k)
	return f
}

func (c Casebook) row(place rowPlace) *row {
	f := c.form(place.form)
	if f == nil {
		return nil
	}
	return f.rows[rowName{place.group, place.row}]
}

func (c Casebook) item(place rowPlace, id form.ItemID) item {
	r := c.row(place)
	if r == nil {
		return item{}
	}
	return r.items[id]
}

// isSubmitted says whether something of the form counts.
func (f *filledIn) isSubmitted() bool { return f != nil && f.notDone == "" }

func evolve(c Casebook, e Event) Casebook {
	c.size++
	switch e := e.(type) {
	case FormSubmitted:
		next := c.changing(e.Form)
		next.form.build, next.form.complete, next.form.notDone = e.Build, next.form.complete || e.Complete, ""
		for _, it := range e.Items {
			next.set(it.Key, it.Version, it.Content)
		}
		c.forms = c.forms.Set(e.Form, next.form)
	case ItemsCorrected:
		next := c.changing(e.Form)
		for _, it := range e.Changes {
			next.set(it.Key, it.Version, it.To)
		}
		c.forms = c.forms.Set(e.Form, next.form)
	case ItemsDerived:
		next := c.changing(e.Form)
		for _, it := range e.Items {
			next.set(it.Key, it.Version, it.To)
		}
		c.forms = c.forms.Set(e.Form, next.form)
	case ItemMarkedNotDone:
		next := c.changing(e.Key.Form())
		next.set(e.Key, e.Version, e.To)
		c.forms = c.forms.Set(e.Key.Form(), next.form)
	case FormMarkedNotDone:
		next := c.changing(e.Form)
		next.form.build, next.form.notDone, next.form.complete = e.Build, e.Null, false
		c.forms = c.forms.Set(e.Form, next.form)
	case RowAdded:
		next := c.changing(e.Row.Form())
		next.form.build, next.form.notDone = e.Build, ""
		next.mark(e.Row, false)
		c.forms = c.forms.Set(e.Row.Form(), next.form)
	case RowRemoved:
		next := c.changing(e.Row.Form())
		next.mark(e.Row, true)
		c.forms = c.forms.Set(e.Row.Form(), next.form)
	case RowRestored:
		next := c.changing(e.Row.Form())
		next.mark(e.Row, false)
		c.forms = c.forms.Set(e.Row.Form(), next.form)
	default:
		c = c.queried(e)
	}
	return c
}

// mark adds, removes or restores a row.
func (c change) mark(k RowKey, removed bool) {
	place, ok := parseRow(k)
	if !ok {
		return
	}
	r := c.row(rowName{place.group, place.row})
	r.removed, r.version = removed, r.version+1
}

// change is a form under change: a copy, with copies of the rows that were touched.
type change struct {
	form    *filledIn
	touched map[rowName]bool
}

func (c Casebook) changing(k FormKey) change {
	next := &filledIn{}
	if f := c.form(k); f != nil {
		*next = *f
	}
	next.rows = maps.Clone(next.rows)
	if next.rows == nil {
		next.rows = map[rowName]*row{}
	}
	return change{form: next, touched: map[rowName]bool{}}
}

// row returns a row that may be changed.
func (c change) row(name rowName) *row {
	r := c.form.rows[name]
	if c.touched[name] {
		return r
	}
	next := &row{}
	if r != nil {
		*next = *r
	}
	next.items = maps.Clone(next.items)
	if next.items == nil {
		next.items = map[form.ItemID]item{}
	}
	name.group = interned(name.group)
	c.form.rows[name], c.touched[name] = next, true
	return next
}

func (c change) set(k Key, version int, to Content) {
	place, id, ok := parse(k)
	if !ok {
		return
	}
	r := c.row(rowName{place.group, place.row})
	id = form.ItemID(interned(string(id)))
	r.items[id] = r.items[id].after(version, to)
}

// interned returns the one copy of a name that all casebooks share: the same few names are in each of them.
func interned(name string) string { return unique.Make(name).Value() }
