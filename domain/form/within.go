package form

import (
	"slices"

	"casebook/domain/rule"
)

// DeriveWithin begins the evaluation of a form that is part of a casebook, as far as the casebook needs it of every form
// before it can check any: entries are read, derived items computed, and skip rules applied. CheckWithin goes on. What is
// entered for names that are no items is left out.
func (f *Form) DeriveWithin(entries map[ItemID]Entry, around rule.Casebook) *Evaluation {
	e := f.begin()
	e.around = around
	for n := range f.items {
		entry := entries[f.items[n].ID]
		e.read(n, entry.Value, entry.Unit, true)
	}
	for _, n := range f.derived {
		e.derive(n)
	}
	e.computed = slices.Clone(e.recorded)
	e.skip()
	return e
}

// CheckWithin ends an evaluation that DeriveWithin has begun: it finds what is missing, unexpected, or wrong by a check.
// The checks see the casebook that it gives, in which what is not collected counts for nothing.
func (e *Evaluation) CheckWithin(around rule.Casebook) {
	e.around = around
	e.judge()
	e.sort()
}

// Computed returns the recorded form of an answer of an evaluation by DeriveWithin, also where the skip rule leaves a
// derived item out.
func (e *Evaluation) Computed(id ItemID) any {
	n, ok := e.form.index[id]
	if !ok || e.computed == nil {
		return nil
	}
	return e.computed[n]
}

// IsDerived says whether the form computes an item.
func (f *Form) IsDerived(id ItemID) bool {
	n, ok := f.index[id]
	return ok && f.items[n].formula != nil
}

// Read returns what an entry for one item is recorded as, without looking at other items, and the answer as rules see it,
// nil where they see none. An entry for a derived item is read like any other.
//
// It refuses unknown_item, and what an item's type refuses: answer_wrong_type, answer_out_of_range, too_many_decimals,
// unknown_unit, not_an_option, too_many_options and answer_too_long.
func (f *Form) Read(id ItemID, entry Entry) (v Value, seen any, err error) {
	n, ok := f.index[id]
	if !ok {
		return v, nil, f.unknown(id)
	}
	it := &f.items[n]
	recorded, converted, err := it.clean(entry.Value, entry.Unit, true)
	if err != nil || recorded == nil {
		return v, nil, err
	}
	v = Value{Answer: recorded, Derived: it.formula != nil}
	if number, ok := recorded.(float64); ok && it.numeric() {
		v.Unit, v.Standard = it.Unit, exactOf(exactly(number))
		if converted != nil {
			v.Unit, v.Standard = entry.Unit, exactOf(converted)
		}
	}
	return v, it.seen(recorded, converted, f.kind), nil
}
