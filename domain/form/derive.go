package form

import (
	"math/big"
	"strings"

	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// derivations compiles the formulas of derived items, and orders them so that each item comes after those that it is
// derived from. It refuses circles, and derived items that are required or have units to be entered in.
func (c *compiler) derivations() error {
	f := c.form
	for n := range f.items {
		it, at := &f.items[n], indexed("items", n)
		if it.Derivation == "" {
			continue
		}
		results := f.kind.results(it.Type)
		switch {
		case len(results) == 0:
			return c.parts.Invalid(at+".derivation", "an item of type %s cannot be derived", it.Type)
		case it.Required:
			return c.parts.Invalid(at+".required", "%s is derived, and nobody could answer it", it.ID)
		case len(it.Units) > 0:
			return c.parts.Invalid(at+".units", "%s is derived, and nobody enters it in another unit", it.ID)
		case it.SpecifiedBy != "":
			return c.parts.Invalid(at+".specifiedBy", "%s is derived, and nobody says what else it could be", it.ID)
		}
		compile := rule.CompileFormula
		if f.around.Scope != nil {
			compile = f.around.Scope.CompileFormula
		}
		formula, err := compile(it.Derivation, f.around.with(rule.Variables{Answers: f.variables}), results...)
		if err == nil {
			err = f.misspelt(it.Derivation, formula.Comparisons())
		}
		if err != nil {
			return refusedAt(at+".derivation", err)
		}
		it.formula = formula
	}
	return c.orderDerived()
}

// results are the types that a formula for an item can compute; none where it cannot be derived.
func (k Kind) results(t ItemType) []rule.Type {
	switch t {
	case Multi, File:
		return nil
	case Decimal:
		return []rule.Type{rule.Decimal, rule.Integer}
	default:
		return []rule.Type{k.ruleType(t)}
	}
}

// orderDerived visits derived items depth first: an item is taken once everything that it is derived from is.
func (c *compiler) orderDerived() error {
	f := c.form
	const (
		underway = 1
		taken    = 2
	)
	state := make([]int, len(f.items))
	var path []ItemID
	var visit func(n int) error
	visit = func(n int) error {
		it := &f.items[n]
		path = append(path, it.ID)
		defer func() { path = path[:len(path)-1] }()
		if state[n] == underway {
			return c.parts.Invalid(indexed("items", n)+".derivation", "%s is derived from itself: %s", it.ID, circle(path))
		}
		state[n] = underway
		for _, v := range it.formula.Variables() {
			if !isOwn(v) {
				continue
			}
			from := f.index[ItemID(v.Name)]
			if f.items[from].formula == nil || state[from] == taken {
				continue
			}
			if err := visit(from); err != nil {
				return err
			}
		}
		state[n] = taken
		f.derived = append(f.derived, n)
		return nil
	}
	for n := range f.items {
		if f.items[n].formula == nil || state[n] == taken {
			continue
		}
		if err := visit(n); err != nil {
			return err
		}
	}
	return nil
}

// circle writes the end of a path that came back to its last item.
func circle(path []ItemID) string {
	last := path[len(path)-1]
	var names []string
	for n := len(path) - 1; n >= 0; n-- {
		names = append([]string{string(path[n])}, names...)
		if n < len(path)-1 && path[n] == last {
			break
		}
	}
	return strings.Join(names, " from ")
}

// derive computes an item. What cannot be computed, or is no answer to the item, leaves it empty and is asked about; a
// number beyond a hard range refuses what it was derived from.
func (e *Evaluation) derive(n int) {
	it := &e.form.items[n]
	value, ok, err := it.formula.Compute((*context)(e))
	if err != nil {
		e.find(it.ID, n, Queried, notComputed(it.ID, "its derivation cannot be computed for these answers"))
		return
	}
	if !ok {
		return
	}
	recorded, _, err := it.clean(it.derivedForm(value), "", false)
	if err == nil {
		e.recorded[n] = recorded
		e.show(n, recorded, nil)
		return
	}
	if r, isRefusal := refuse.As(err); isRefusal && r.Code != "answer_out_of_range" {
		e.find(it.ID, n, Queried, notComputed(it.ID, "what it is derived to cannot be recorded: "+r.Sentence))
		return
	}
	e.find(it.ID, n, Refused, err)
}

func notComputed(id ItemID, why string) error {
	return refuse.Because("not_computed", "%s is empty, because %s", id, why).Do("look at the items that it is derived from")
}

// derivedForm brings what was computed into the form in which it could have been entered.
func (it *item) derivedForm(value any) any {
	switch v := value.(type) {
	case float64:
		if it.Decimals == nil {
			return v
		}
		return rounded(v, *it.Decimals)
	case interface{ String() string }: // a moment
		return v.String()
	default:
		return value
	}
}

// rounded rounds the decimal that a number stands for, half away from zero.
func rounded(n float64, decimals int) float64 {
	exact, _ := new(big.Rat).SetString(exactly(n).FloatString(decimals))
	f, _ := exact.Float64()
	return f
}
