// Package rule holds expressions over the answers and scores of a form: skip rules, risk rules and checks, which hold or
// do not hold, and formulas, which compute an item. They are written in CEL (Common Expression Language), so that a
// protocol can bring its rules as data, and so that a rule can do nothing but compute: it ends, it costs little, it
// reaches nothing outside. Begin reading at Compile and Holds.
//
// # What is not answered
//
// A rule holds only when what was answered makes it true. A comparison with an unanswered item has no result, and
// neither has its negation; what has no result does not hold. `a || b` holds when one side does, whatever is missing in
// the other, and `a && b` is false when one side is. has(answers.worst) asks whether an item was answered. So a missing
// answer never fails a diary, and never raises an alarm by itself. A formula without a result computes nothing.
//
// Dates of which a part is unknown are treated alike: a comparison that depends on what is unknown has no result.
package rule

import (
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits of a rule. The static limit is checked when a rule is compiled: it bounds the highest possible cost, with the
// longest answers. The runtime limit stops evaluations that cost more than estimated. CEL counts about one for each
// operation and one for every ten characters read.
const (
	// MaxChars is the largest number of characters in an expression.
	MaxChars = 1000
	// MaxDepth is how deeply an expression may be nested.
	MaxDepth = 24
	// MaxStaticCost is the highest estimated cost of an expression.
	MaxStaticCost = 20_000
	// MaxRuntimeCost is the cost at which an evaluation is stopped.
	MaxRuntimeCost = 2 * MaxStaticCost
	// MaxTextChars is the length of the longest text answer in the estimate.
	MaxTextChars = 4000
	// MaxTexts is how many texts a Texts variable holds at most.
	MaxTexts = 100
	// MaxTextsChars is how long each of them is.
	MaxTextsChars = 100
)

// Type is the type of a variable.
type Type int

// The types of variables. In expressions, Integer and Decimal can be compared with one another by < <= > >=; for == and
// for arithmetic they have to be the same: scores.total == 20.0, double(answers.worst) / 2.0. A Date, which is a day with
// or without its time, is compared with other dates and with date("2026-03-01"); days(answers.end, answers.start) counts
// the days between two. A Time is a time of the day, compared with other times and with time("10:30").
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

// String names the type as refusals do.
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

// Values gives the values of variables: float64 for Integer and Decimal, bool for Boolean, string for Text, []string for
// Texts, partial.Moment for Date and Time. ok is false for a variable that has no value, such as an unanswered item.
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

// expression is what rules and formulas have in common.
type expression struct {
	text        string
	program     cel.Program
	comparisons []Comparison
	variables   []Variable
}

// Variable is a variable that an expression names.
type Variable struct {
	Group, Name string
}

// Comparison is a text that a rule compares a variable with.
type Comparison struct {
	Group, Name, Text string
}

// String returns the expression as it was written.
func (e *expression) String() string { return e.text }

// Comparisons returns the texts that the expression compares variables with, by ==, != or in. Who declares a variable
// that can only be one of a few texts can find a misspelt one with it.
func (e *expression) Comparisons() []Comparison { return slices.Clone(e.comparisons) }

// Variables returns the variables that the expression names, each once, in the order of their first mention.
func (e *expression) Variables() []Variable { return slices.Clone(e.variables) }

// Holds says whether the rule is true for these values. A rule whose result depends on a value that is missing does not
// hold (see the package's comment). The error is a failure of the computation itself, such as a division by zero.
func (r *Rule) Holds(values Values) (bool, error) {
	result, err := r.evaluate(values)
	return result == types.True, err
}

// Result is the type of what the formula computes.
func (f *Formula) Result() Type { return f.result }

// Compute returns what the formula computes from these values, in the form that Values has it in. ok is false where the
// result depends on a value that is missing. The error is a failure of the computation itself: a division by zero, or a
// number that is too large to be kept exactly.
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

// evaluate returns nil for an expression without a result.
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

// errNoValue passes through CEL's logic like any error: && and || ignore it if the other side decides the result.
var errNoValue = errors.New("has no value")

// activation gives CEL the groups of variables.
type activation struct {
	values Values
}

// ResolveName finds a group of variables.
func (a *activation) ResolveName(string) (any, bool) { return a.values, true }

// Parent returns nil: there are only the declared variables.
func (a *activation) Parent() cel.Activation { return nil }
