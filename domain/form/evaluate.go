package form

import (
	"cmp"
	"math"
	"math/big"
	"slices"

	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// Entry is what was entered for one item.
type Entry struct {
	// Value is a number, true or false, a text, or a list of texts, as JSON has them; nil where nothing was entered. A
	// number may be a text, as it was typed.
	Value any
	// Unit is the unit that a number was entered in; "" is the item's own.
	Unit string
}

// Value is what a form holds for one item after an evaluation.
type Value struct {
	// Answer is the answer in its recorded form, nil for none (see the item types).
	Answer any
	// Unit is the unit that a number was entered in, Standard the number in the item's own unit. Both are empty for other
	// types.
	Unit     string
	Standard Exact
	// Derived says that the form computed the answer.
	Derived bool
	// NotCollected says that the skip rule leaves the item out. An answer that was entered stays readable, and counts for
	// nothing.
	NotCollected bool
}

// Consequence is what follows from a finding.
type Consequence string

// The consequences of findings.
const (
	// Refused entries cannot be kept: they are no answer to the item, or a check with a hard stop holds.
	Refused Consequence = "refused"
	// Missing answers are required; a form that they are missing from is not complete.
	Missing Consequence = "missing"
	// NotCollected answers belong to items that are not asked. A new one is refused. One that was recorded earlier stays, and
	// can only be cleared.
	NotCollected Consequence = "notCollected"
	// Queried entries are kept, and somebody is asked about them.
	Queried Consequence = "queried"
)

// Finding is one thing that is to be said about an entry.
type Finding struct {
	// Item is the item that it is about.
	Item ItemID
	// Check is the check that holds, "" where it is something else.
	Check       string
	Consequence Consequence
	// Code is stable; Sentence says what was found, and Remedy what to do.
	Code, Sentence, Remedy string
	// Message is the check's own, in all languages of the form.
	Message Translation

	place int
}

// Evaluation is what a form makes of what was entered.
type Evaluation struct {
	form *Form
	// around is the casebook that the form is part of, nil for a form of its own.
	around rule.Casebook
	// recorded are the answers by the places of their items, known the same as rules see them.
	recorded, known []any
	flags           []flags
	// units and standards are nil where no item has units.
	units     []string
	standards []*big.Rat
	// computed are the recorded answers before skip rules were applied; nil but after DeriveWithin.
	computed []any
	findings []Finding
}

// flags are what an evaluation finds out about an item, and what the item demands of its answer.
type flags byte

const (
	faulty flags = 1 << iota
	notAsked
	// uncertain: whether the item is asked could not be computed.
	uncertain
	// mandatory: where it is asked, it has to be answered.
	mandatory
	// expected: a number outside the soft range raises a query.
	expected
)

// Evaluate says what becomes of what was entered, and everything that is to be said about it. It refuses nothing: what
// the findings mean is for the caller to decide. An entry under a name that is no item is a finding as well.
func (f *Form) Evaluate(entries map[ItemID]Entry) *Evaluation { return f.EvaluateWithin(entries, nil) }

// EvaluateWithin is Evaluate for a form that is part of a casebook. The casebook gives what the rules name beside the
// answers of this form; it is not asked for them.
func (f *Form) EvaluateWithin(entries map[ItemID]Entry, around rule.Casebook) *Evaluation {
	e := f.begin()
	e.around = around
	for n := range f.items {
		entry := entries[f.items[n].ID]
		e.read(n, entry.Value, entry.Unit, true)
	}
	e.complete()
	for id := range entries {
		if _, ok := f.index[id]; !ok {
			e.find(id, -1, Refused, f.unknown(id))
		}
	}
	e.sort()
	return e
}

// Findings returns what is to be said, in the order of the form's items; unknown items come first, checks last.
func (e *Evaluation) Findings() []Finding { return slices.Clone(e.findings) }

// Has says whether something was found that has one of these consequences.
func (e *Evaluation) Has(consequences ...Consequence) bool {
	return slices.ContainsFunc(e.findings, func(f Finding) bool { return slices.Contains(consequences, f.Consequence) })
}

// Of returns what the form holds for an item. The answer of a list of options is shared: do not change it.
func (e *Evaluation) Of(id ItemID) Value {
	n, ok := e.form.index[id]
	if !ok {
		return Value{}
	}
	it := &e.form.items[n]
	v := Value{Answer: e.recorded[n], Derived: it.formula != nil, NotCollected: e.flags[n]&notAsked != 0}
	if number, ok := v.Answer.(float64); ok && it.numeric() {
		v.Unit, v.Standard = it.Unit, exactOf(exactly(number))
		if e.standards != nil && e.standards[n] != nil {
			v.Unit, v.Standard = e.units[n], exactOf(e.standards[n])
		}
	}
	return v
}

// Recorded returns the answers in their recorded form, those that were derived included.
func (e *Evaluation) Recorded() map[ItemID]any {
	answers := make(map[ItemID]any, len(e.recorded))
	for n, answer := range e.recorded {
		if answer != nil {
			answers[e.form.items[n].ID] = answer
		}
	}
	return answers
}

// begin returns an evaluation of a form in which nothing is entered. The order is fixed: read every item, then complete.
func (f *Form) begin() *Evaluation {
	e := &Evaluation{form: f, recorded: make([]any, len(f.items)), flags: make([]flags, len(f.items))}
	e.known = e.recorded
	if !f.plain {
		e.known = make([]any, len(f.items))
	}
	if f.units {
		e.units, e.standards = make([]string, len(f.items)), make([]*big.Rat, len(f.items))
	}
	return e
}

// complete derives, skips and checks. Its findings are not sorted.
func (e *Evaluation) complete() {
	for _, n := range e.form.derived {
		e.derive(n)
	}
	e.skip()
	e.judge()
}

// judge finds what is missing, unexpected or wrong by a check, once it is known what is asked.
func (e *Evaluation) judge() {
	for n, flags := range e.flags {
		demands := e.form.items[n].demands
		if flags != 0 || demands&mandatory != 0 && e.recorded[n] == nil || demands&expected != 0 {
			e.require(n)
		}
	}
	e.check()
}

func (e *Evaluation) read(n int, value any, unit string, typed bool) {
	it := &e.form.items[n]
	if it.formula != nil {
		if value != nil {
			e.find(it.ID, n, Refused, refuse.Because("derived_item", "%s is derived from other items", it.ID).Do("leave it out"))
		}
		return
	}
	recorded, converted, err := it.clean(value, unit, typed)
	if err != nil {
		e.find(it.ID, n, Refused, err)
		e.flags[n] |= faulty
		return
	}
	e.recorded[n] = recorded
	if recorded != nil && !e.form.plain {
		e.show(n, recorded, converted)
	}
	if converted != nil {
		e.units[n], e.standards[n] = unit, converted
	}
}

// show keeps an answer as rules see it.
func (e *Evaluation) show(n int, recorded any, converted *big.Rat) {
	e.known[n] = e.form.items[n].seen(recorded, converted, e.form.kind)
}

// seen returns a recorded answer as rules see it, nil where they see none.
func (it *item) seen(recorded any, converted *big.Rat, k Kind) any {
	if converted != nil {
		own, _ := converted.Float64()
		if it.Type == Integer && own != math.Trunc(own) {
			return nil // whole in the unit it was entered in, but not in the item's own
		}
		return own
	}
	if text, ok := recorded.(string); ok && !k.DaysAsText && it.hasMoment() {
		moment, _ := it.moment(text)
		return moment
	}
	return recorded
}

func (it *item) hasMoment() bool {
	switch it.Type {
	case Date, Time, Datetime, PartialDate, PartialDatetime:
		return true
	default:
		return false
	}
}

// skip computes the skip rules, all of them over the same values; what is not asked then counts for nothing.
func (e *Evaluation) skip() {
	f := e.form
	for _, n := range f.skippable {
		asked, err := f.items[n].asked.Holds((*context)(e))
		switch {
		case err != nil:
			// A skip rule that cannot be computed (a division by zero) must not cost anybody the entry: the item may then be
			// answered or left out.
			e.flags[n] |= uncertain
		case !asked:
			e.flags[n] |= notAsked
		}
	}
	for _, n := range f.specifying {
		choice := f.items[n].specifies
		if e.flags[choice]&notAsked != 0 || !f.items[choice].choosesOther(e.recorded[choice]) {
			e.flags[n] |= notAsked
		}
	}
	if f.plain {
		return
	}
	for n, flags := range e.flags {
		if flags&notAsked == 0 {
			continue
		}
		e.known[n] = nil
		if f.items[n].formula != nil {
			e.recorded[n] = nil
		}
	}
}

// require finds an answer that is missing, or should not be there, or is outside what is expected.
func (e *Evaluation) require(n int) {
	it, answer, flags := &e.form.items[n], e.recorded[n], e.flags[n]
	switch {
	case flags&faulty != 0:
	case answer == nil && it.demands&mandatory != 0 && flags&(notAsked|uncertain) == 0:
		r := refuse.Because("item_required", "%s must be answered", it.ID)
		e.find(it.ID, n, Missing, r.Do("answer it and send the "+e.form.kind.Noun+" again"))
	case answer != nil && flags&notAsked != 0:
		r := refuse.Because("item_not_asked", "%s was answered, although it is only asked when %s", it.ID, e.form.askedWhen(it))
		e.find(it.ID, n, NotCollected, r.Do("leave it out"))
	case answer != nil && it.unexpected(answer, e.standard(n)):
		r := refuse.Because("answer_unexpected", "%s is outside what is expected of %s%s", e.shown(n), it.ID, it.softRangeText())
		e.find(it.ID, n, Queried, r.Do("check it; correct it, or confirm that it is right"))
	}
}

// shown is a number as it was entered.
func (e *Evaluation) shown(n int) string {
	number, _ := e.recorded[n].(float64)
	if e.units == nil || e.units[n] == "" {
		return decimal(number)
	}
	return decimal(number) + " " + e.units[n]
}

func (e *Evaluation) standard(n int) *big.Rat {
	if e.standards == nil {
		return nil
	}
	return e.standards[n]
}

func (f *Form) askedWhen(it *item) string {
	if it.specifies >= 0 {
		return string(f.items[it.specifies].ID) + " is something that its list does not have"
	}
	return it.AskedWhen
}

// check finds the checks that hold. One that cannot be computed for these answers is shown to a person and stops nobody:
// what was perhaps overlooked has to be looked at.
func (e *Evaluation) check() {
	for n := range e.form.checks {
		c := &e.form.checks[n]
		holds, err := c.when.Holds((*context)(e))
		if err == nil && !holds {
			continue
		}
		found := Finding{Item: c.Item, Check: c.ID, Consequence: Queried, Code: "check_holds", Message: c.Message,
			Remedy: "correct the form, or say why it is right", place: len(e.form.items) + n}
		found.Sentence = c.Message.In(e.form.language(), plain)
		switch {
		case err != nil:
			found.Code = "check_not_computed"
			found.Sentence += " (this check could not be computed for these answers; look at them)"
		case c.Effect == EffectHardStop:
			found.Consequence, found.Remedy = Refused, "correct the form"
		}
		e.findings = append(e.findings, found)
	}
}

// language is the form's first, "" where it has none.
func (f *Form) language() string {
	if len(f.definition.Languages) == 0 {
		return plain
	}
	return f.definition.Languages[0]
}

// find keeps what a refusal says about an item. Its field is the item's; Check sets it.
func (e *Evaluation) find(id ItemID, place int, c Consequence, err error) {
	r, isRefusal := refuse.As(err)
	if !isRefusal {
		r = refuse.Because("not_computed", "%v", err).Do("check the answers from which it is computed")
	}
	e.findings = append(e.findings, Finding{Item: id, Consequence: c, Code: r.Code, Sentence: r.Sentence, Remedy: r.Remedy, place: place})
}

func (e *Evaluation) sort() {
	slices.SortStableFunc(e.findings, func(a, b Finding) int {
		return cmp.Or(a.place-b.place, cmp.Compare(a.Item, b.Item))
	})
}

// context is an evaluation as rules see it.
type context Evaluation

// Value finds answers.<item>, and items of other groups in the casebook.
func (c *context) Value(group, name string) (any, bool) {
	if group != Answers {
		if c.around == nil {
			return nil, false
		}
		return c.around.Value(group, name)
	}
	n, ok := c.form.index[ItemID(name)]
	if !ok || c.known[n] == nil {
		return nil, false
	}
	return c.known[n], true
}

// At implements rule.Casebook.
func (c *context) At(visit string) rule.Values {
	if c.around == nil {
		return nil
	}
	return c.around.At(visit)
}

// Previous implements rule.Casebook.
func (c *context) Previous() rule.Values {
	if c.around == nil {
		return nil
	}
	return c.around.Previous()
}

// Rows implements rule.Casebook.
func (c *context) Rows(group string) []rule.Values {
	if c.around == nil {
		return nil
	}
	return c.around.Rows(group)
}
