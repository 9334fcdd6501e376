// Package rule holds expressions over a patient's answers and scores: risk rules and skip rules of instruments. They
// are written in CEL (Common Expression Language), so that a protocol can bring its rules as data, and so that a rule
// can do nothing but compute: it ends, it costs little, it reaches nothing outside. Begin reading at Compile and Holds.
//
// # What is not answered
//
// A rule holds only when what was answered makes it true. A comparison with an unanswered item has no result, and
// neither has its negation; what has no result does not hold. `a || b` holds when one side does, whatever is missing in
// the other, and `a && b` is false when one side is. has(answers.worst) asks whether an item was answered. So a missing
// answer never fails a diary, and never raises an alarm by itself.
package rule

import (
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
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
)

// Type is the type of a variable.
type Type int

// The types of variables. In expressions, Integer and Decimal can be compared with one another by < <= > >=; for == and
// for arithmetic they have to be the same: scores.total == 20.0, double(answers.worst) / 2.0.
const (
	Integer Type = iota + 1
	Decimal
	Boolean
	Text
)

// Variables are the variables that an expression may name, by group and name: {"answers": {"worst": Integer}} declares
// answers.worst.
type Variables map[string]map[string]Type

// Values gives the values of variables: float64 for Integer and Decimal, bool for Boolean, string for Text. ok is false
// for a variable that has no value, such as an unanswered item.
type Values interface {
	Value(group, name string) (value any, ok bool)
}

// Rule is a compiled expression. It never changes and is safe for concurrent use.
type Rule struct {
	expression  string
	program     cel.Program
	comparisons []Comparison
}

// Comparison is a text that a rule compares a variable with.
type Comparison struct {
	Group, Name, Text string
}

// String returns the expression as it was written.
func (r *Rule) String() string { return r.expression }

// Comparisons returns the texts that the rule compares variables with, by ==, != or in. Who declares a variable that
// can only be one of a few texts can find a misspelt one with it.
func (r *Rule) Comparisons() []Comparison { return slices.Clone(r.comparisons) }

// Holds says whether the rule is true for these values. A rule whose result depends on a value that is missing does not
// hold (see the package's comment). The error is a failure of the computation itself, such as a division by zero.
func (r *Rule) Holds(values Values) (bool, error) {
	result, _, err := r.program.Eval(&activation{values: values})
	if err != nil {
		if errors.Is(err, errNoValue) {
			return false, nil
		}
		return false, fmt.Errorf("compute the rule %q: %w", r.expression, err)
	}
	return result == types.True, nil
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
