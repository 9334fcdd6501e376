// Package rule evaluates expressions over the answers and scores of a form: skip rules, risk rules and checks, which
// are true or false, and formulas, which compute an item. They are written in CEL (Common Expression Language), so that
// rules are data of the protocol, and can only compute: they end, cost little, and have no access to anything else.
// Begin reading at Compile and Holds.
//
// # Unanswered items
//
// A rule holds only if the given answers make it true. A comparison with an unanswered item has no result, and neither
// has its negation. A rule without a result does not hold. `a || b` is true if one side is true, even if the other has
// no result; `a && b` is false if one side is false. has(answers.worst) says whether an item was answered. So a missing
// answer never makes a diary fail, and never raises an alarm. A formula without a result computes nothing.
//
// Dates with an unknown part are treated in the same way: a comparison that depends on the unknown part has no result.
package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits of a rule. The static limit is checked when a rule is compiled: it limits the highest possible cost, with the
// longest answers. The runtime limit stops evaluations that cost more than estimated. CEL counts a cost of about one
// for each operation, and one for every ten characters that it reads.
const (
	// MaxChars is the largest number of characters in an expression.
	MaxChars = 1000
	// MaxDepth is the deepest nesting of an expression.
	MaxDepth = 24
	// MaxStaticCost is the highest estimated cost of an expression.
	MaxStaticCost = 20_000
	// MaxRuntimeCost is the cost at which an evaluation is stopped.
	MaxRuntimeCost = 2 * MaxStaticCost
	// MaxTextChars is the length of the longest text answer that the estimate assumes.
	MaxTextChars = 4000
	// MaxTexts is the largest number of texts in a Texts variable.
	MaxTexts = 100
	// MaxTextsChars is the length of the longest of them that the estimate assumes.
	MaxTextsChars = 100
)

// Type is the type of a variable.
type Type int

// The types of variables. In expressions, Integer and Decimal can be compared with each other by < <= > >=. For == and
// for arithmetic, both sides must have the same type: scores.total == 20.0, double(answers.worst) / 2.0. A Date, which
// is a day with or without a time, can be compared with other dates and with date("2026-03-01"); days(answers.end,
// answers.start) counts the days between two dates. A Time is a time of the day, and can be compared with other times
// and with time("10:30").
const (
	Integer Type = iota + 1
	Decimal
	Boolean
	Text
	// Texts are several texts, such as the chosen options of an item: "fever" in answers.symptoms.
	Texts
	Date
	Time
)

// String returns the name of the type in refusals.
func (t Type) String() string {
	switch t {
	case Integer:
		return "integer"
	case Decimal:
		return "decimal"
	case Boolean:
		return "boolean"
	case Texts:
		return "list of texts"
	case Date:
		return "date"
	case Time:
		return "time"
	default:
		return "text"
	}
}

// Variables are the variables that an expression may name, by group and name: {"answers": {"worst": Integer}} declares
// answers.worst.
type Variables map[string]map[string]Type

// Values gives the values of variables: float64 for Integer and Decimal, bool for Boolean, string for Text, []string
// for Texts, partial.Moment for Date and Time. ok is false for a variable that has no value, such as an unanswered
// item.
type Values interface {
	Value(group, name string) (value any, ok bool)
}

// Rule is a compiled expression that is true or false. It never changes and is safe for concurrent use.
type Rule struct{ expression }

// Formula is a compiled expression that computes a value. It never changes and is safe for concurrent use.
type Formula struct {
	expression
	result Type
}

// expression is the common part of rules and formulas.
type expression struct {
	text        string
	program     cel.Program
	comparisons []Comparison
	variables   []Variable
	tree        *Tree
}

// Variable is a variable in an expression.
type Variable struct {
	Group, Name string
	// Visit is the visit of at("V1").VS.SYSBP, Previous says that it is prev().VS.SYSBP, and InRows that it is an item of
	// rows("AE"). The rows themselves are a variable without a name.
	Visit            string
	Previous, InRows bool
}

// Comparison is a text that a rule compares a variable with.
type Comparison struct {
	Group, Name, Text string
}

// String returns the expression as it was written.
func (e *expression) String() string { return e.text }

// Comparisons returns the texts that the expression compares variables with, by ==, != or in. They help to find
// misspelt texts if a variable can have only a few values.
func (e *expression) Comparisons() []Comparison { return slices.Clone(e.comparisons) }

// Variables returns the variables that the expression names, each once, in the order of their first mention.
func (e *expression) Variables() []Variable { return slices.Clone(e.variables) }

// Holds says whether the rule is true for these values. A rule whose result depends on a missing value does not hold
// (see the package comment). An error means that the computation failed, for example by a division by zero.
func (r *Rule) Holds(values Values) (bool, error) {
	result, err := r.evaluate(values)
	return result == types.True, err
}

// Result returns the type of the formula's value.
func (f *Formula) Result() Type { return f.result }

// Compute returns the formula's value for these values, in the form that Values has. ok is false if the result depends
// on a missing value. An error means that the computation failed: by a division by zero, or because a number is too
// large to be stored exactly.
func (f *Formula) Compute(values Values) (value any, ok bool, err error) {
	result, err := f.evaluate(values)
	if err != nil || result == nil {
		return nil, false, err
	}
	value, ok = goValue(result)
	if !ok {
		return nil, false, fmt.Errorf("compute the rule %q: %v cannot be kept", f.text, result)
	}
	return value, true, nil
}

// evaluate returns the result of an expression, or nil if it has none.
func (e *expression) evaluate(values Values) (ref.Val, error) {
	result, _, err := e.program.Eval(&activation{values: values})
	if err != nil {
		if errors.Is(err, errNoValue) {
			return nil, nil
		}
		return nil, fmt.Errorf("compute the rule %q: %w", e.text, err)
	}
	return result, nil
}

// errNoValue says that a variable has no value. CEL handles it like every error: && and || ignore it if the other side
// decides the result.
var errNoValue = errors.New("has no value")

// activation gives CEL access to the groups of variables.
type activation struct {
	values Values
}

// ResolveName returns a group of variables, or what surrounds them.
func (a *activation) ResolveName(name string) (any, bool) {
	if strings.HasPrefix(name, "@") {
		return a.surrounding(name)
	}
	return a.values, true
}

// Parent returns nil, because there are no other variables.
func (a *activation) Parent() cel.Activation { return nil }
