package form

import (
	"maps"
	"strconv"

	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// CompileRule compiles a rule over the form's answers and the caller's own groups of variables, such as scores. It refuses
// with the code invalid_rule; part is the part of the definition that holds the rule.
func (f *Form) CompileRule(part, expression string, others rule.Variables) (*rule.Rule, error) {
	variables := maps.Clone(others)
	if variables == nil {
		variables = rule.Variables{}
	}
	variables[Answers] = f.variables
	return f.compileRule(part, expression, variables)
}

func (f *Form) compileRule(part, expression string, variables rule.Variables) (*rule.Rule, error) {
	compile := rule.Compile
	if f.around.Scope != nil {
		compile = f.around.Scope.Compile
	}
	compiled, err := compile(expression, f.around.with(variables))
	if err == nil {
		err = f.misspelt(expression, compiled.Comparisons())
	}
	return compiled, refusedAt(part, err)
}

// misspelt refuses a rule that compares a choice with an option that the choice does not have. Such a rule would always
// hold, or never.
func (f *Form) misspelt(expression string, comparisons []rule.Comparison) error {
	for _, c := range comparisons {
		if c.Group != Answers {
			if err := f.around.misspelt(expression, c); err != nil {
				return err
			}
			continue
		}
		n, ok := f.index[ItemID(c.Name)]
		if !ok || f.items[n].choices == nil {
			continue
		}
		if _, isOption := f.items[n].choices[c.Text]; !isOption {
			return refuse.Because("invalid_rule", "the rule %s cannot be used: %q is not an option of %s",
				strconv.Quote(shortened(expression)), shortened(c.Text), c.Name).Do("compare with " + f.items[n].optionList())
		}
	}
	return nil
}

// refusedAt names the part of the definition that a refusal is about.
func refusedAt(part string, err error) error {
	if r, ok := refuse.As(err); ok {
		return r.At(part)
	}
	return err
}

// ruleType returns the type that answers of an item type have in rules.
func (k Kind) ruleType(t ItemType) rule.Type {
	switch t {
	case Integer:
		return rule.Integer
	case Decimal:
		return rule.Decimal
	case Boolean:
		return rule.Boolean
	case Multi:
		return rule.Texts
	case Date, Datetime, PartialDate, PartialDatetime:
		if !k.DaysAsText {
			return rule.Date
		}
	case Time:
		if !k.DaysAsText {
			return rule.Time
		}
	case Text, Choice, File:
	}
	return rule.Text
}

// AskedTree returns the skip rule of the item in this place for programs without CEL (see rule.Tree); nil for none. ok is false if the
// item has a rule that only CEL can evaluate.
func (f *Form) AskedTree(n int) (tree *rule.Tree, ok bool) {
	if f.items[n].asked == nil {
		return nil, true
	}
	return f.items[n].asked.Tree()
}

// CheckTree returns the rule of the check in this place for programs without CEL (see rule.Tree). ok is false if only CEL can evaluate it.
func (f *Form) CheckTree(n int) (tree *rule.Tree, ok bool) { return f.checks[n].when.Tree() }

// MaxChars returns how many characters a text answer to the item in this place may have.
func (f *Form) MaxChars(n int) int { return f.items[n].longest() }
