package form

import (
	"maps"
	"slices"
	"strconv"

	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// Surroundings are what the rules of a form may name beside its own answers, where the form is part of a casebook. The
// zero value is nothing.
type Surroundings struct {
	// Scope compiles rules that name visits and rows (see rule.Surroundings).
	Scope *rule.Scope
	// Groups are groups of variables that rules name by the group alone: those that are filled in together with the form.
	Groups rule.Variables
	// Options returns the values of the options of a choice in another group. ok is false for other items.
	Options func(group, item string) (values []string, ok bool)
}

// with adds the groups that surround a form to the variables of a rule.
func (s Surroundings) with(variables rule.Variables) rule.Variables {
	if len(s.Groups) == 0 {
		return variables
	}
	all := maps.Clone(s.Groups)
	maps.Copy(all, variables)
	return all
}

// misspelt refuses a comparison of a choice in another group with an option that it does not have.
func (s Surroundings) misspelt(expression string, c rule.Comparison) error {
	if s.Options == nil {
		return nil
	}
	values, ok := s.Options(c.Group, c.Name)
	if !ok || slices.Contains(values, c.Text) {
		return nil
	}
	return refuse.Because("invalid_rule", "the rule %s cannot be used: %q is not an option of %s.%s",
		strconv.Quote(shortened(expression)), shortened(c.Text), c.Group, c.Name).Do("compare with an option of its list")
}

// RuleTypes returns the types that the form's answers have in rules, by the item. The map is shared: do not change it.
func (f *Form) RuleTypes() map[string]rule.Type { return f.variables }

// OptionsOf returns the values that an answer to a choice, or to one of several options, can have. ok is false for other
// items, and for those that the form does not have.
func (f *Form) OptionsOf(id ItemID) (values []string, ok bool) {
	n, found := f.index[id]
	if !found || f.items[n].choices == nil {
		return nil, false
	}
	for _, o := range f.items[n].options {
		values = append(values, o.Value)
	}
	return values, true
}

// DerivedFrom returns the variables that the item in this place is derived from, and AskedBy those that its skip rule names.
func (f *Form) DerivedFrom(n int) []rule.Variable {
	if f.items[n].formula == nil {
		return nil
	}
	return f.items[n].formula.Variables()
}

// AskedBy returns the variables that decide whether the item in this place is asked.
func (f *Form) AskedBy(n int) []rule.Variable {
	if f.items[n].specifies >= 0 {
		return []rule.Variable{{Group: Answers, Name: string(f.items[f.items[n].specifies].ID)}}
	}
	if f.items[n].asked == nil {
		return nil
	}
	return f.items[n].asked.Variables()
}

// Checked returns the variables that the check in this place names.
func (f *Form) Checked(n int) []rule.Variable { return f.checks[n].when.Variables() }

// isOwn says whether a variable is an answer of the form itself.
func isOwn(v rule.Variable) bool {
	return v.Group == Answers && v.Visit == "" && !v.Previous && !v.InRows
}
