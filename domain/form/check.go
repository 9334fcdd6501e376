package form

import (
	"slices"

	"casebook/domain/refuse"
)

// Check takes answers as a whole or refuses them, for forms that are handed in once. It returns the answers as they are
// recorded: nothing for what was left empty. The answers that it is given stay as they are.
//
// It refuses the first fault in the order of the form, with Field set to answers.<item>: unknown_item, derived_item, those
// of the item's type, item_required (asked, required and not answered), item_not_asked (answered although the skip rule
// leaves it out), and checks with a hard stop. Queries refuse nothing.
func (f *Form) Check(answers map[ItemID]any) (map[ItemID]any, error) {
	clean, _, err := f.Examine(answers)
	return clean, err
}

// Examine is Check. queried are the checks that let the answers in, and of which somebody has to say why the answers are right, in the
// order of the form.
func (f *Form) Examine(answers map[ItemID]any) (clean map[ItemID]any, queried []string, err error) {
	for id := range answers {
		if _, ok := f.index[id]; !ok {
			return nil, nil, f.firstUnknown(answers)
		}
	}
	e, ok := f.idle.Get().(*Evaluation)
	if !ok {
		e = f.begin()
	}
	defer f.putBack(e)
	for n := range f.items {
		if answer := answers[f.items[n].ID]; answer != nil {
			e.read(n, answer, "", false)
		}
	}
	e.complete()
	if len(e.findings) > 0 {
		e.sort()
		for _, found := range e.findings {
			if found.Consequence != Queried {
				return nil, nil, refuse.Because(found.Code, "%s", found.Sentence).At(field(found.Item)).Do(found.Remedy)
			}
			if found.Check != "" {
				queried = append(queried, found.Check)
			}
		}
	}
	clean = make(map[ItemID]any, len(answers))
	for n, answer := range e.recorded {
		if answer != nil {
			clean[f.items[n].ID] = answer
		}
	}
	return clean, queried, nil
}

// putBack empties an evaluation that nobody else has seen, so that the next Check can use it. This saves three allocations
// per diary. Units need not be emptied, because Check takes none.
func (f *Form) putBack(e *Evaluation) {
	clear(e.recorded)
	clear(e.flags)
	if !f.plain {
		clear(e.known)
	}
	e.findings = nil
	f.idle.Put(e)
}

func (f *Form) firstUnknown(answers map[ItemID]any) error {
	var unknown []ItemID
	for id := range answers {
		if _, ok := f.index[id]; !ok {
			unknown = append(unknown, id)
		}
	}
	return f.unknown(slices.Min(unknown))
}

func (f *Form) unknown(id ItemID) *refuse.Refusal {
	r := refuse.Because("unknown_item", "%q is not an item of %s", shortened(string(id)), f.definition.ID)
	if f.definition.Version > 0 {
		r = refuse.Because("unknown_item", "%q is not an item of %s version %d", shortened(string(id)), f.definition.ID, f.definition.Version)
	}
	return r.At(shortened(field(id))).Do("use the item ids of this version")
}
