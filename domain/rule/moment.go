package rule

import (
	"fmt"
	"reflect"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"casebook/domain/partial"
)

// The CEL types of dates and of times of the day.
var (
	dateType = cel.ObjectType("casebook.Date", traits.ComparerType)
	timeType = cel.ObjectType("casebook.Time", traits.ComparerType)
)

// readers parse the texts in date("2026-03-01") and time("10:30").
var readers = map[string]func(string) (partial.Moment, bool){
	"date": func(text string) (partial.Moment, bool) {
		if m, ok := partial.DayAndTime(text); ok {
			return m, true
		}
		return partial.Date(text)
	},
	"time": partial.Clock,
}

var writtenExample = map[string]string{"date": `date("2026-03-01")`, "time": `time("10:30")`}

func hasMoments(variables Variables) bool {
	for _, names := range variables {
		for _, t := range names {
			if t == Date || t == Time {
				return true
			}
		}
	}
	return false
}

func isMoment(t *cel.Type) bool { return t.IsExactType(dateType) || t.IsExactType(timeType) }

// baseWithMoments is the environment without variables for rules over dates or times.
var baseWithMoments = sync.OnceValues(func() (*cel.Env, error) { return withMoments(base()) })

func withMoments(env *cel.Env, err error) (*cel.Env, error) {
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{
		cel.Function("date", cel.Overload("date_string", []*cel.Type{cel.StringType}, dateType, cel.UnaryBinding(written("date", dateType)))),
		cel.Function("time", cel.Overload("time_string", []*cel.Type{cel.StringType}, timeType, cel.UnaryBinding(written("time", timeType)))),
		cel.Function("days", cel.Overload("days_date_date", []*cel.Type{dateType, dateType}, cel.IntType, cel.BinaryBinding(daysBetween))),
	}
	for _, t := range []*cel.Type{dateType, timeType} {
		for name, operator := range map[string]string{"less": operators.Less, "less_equals": operators.LessEquals,
			"greater": operators.Greater, "greater_equals": operators.GreaterEquals} {
			// CEL's own operators call Compare of every traits.Comparer. They only need overloads for these types.
			options = append(options, cel.Function(operator, cel.Overload(name+"_"+t.TypeName(), []*cel.Type{t, t}, cel.BoolType)))
		}
	}
	return env.Extend(options...)
}

// written returns the function that makes a date or time of a text.
func written(function string, t *cel.Type) func(ref.Val) ref.Val {
	return func(text ref.Val) ref.Val {
		s, _ := text.Value().(string)
		m, ok := readers[function](s)
		if !ok {
			return types.WrapErr(fmt.Errorf("%q is no %s", s, function))
		}
		return moment{Moment: m, celType: t}
	}
}

func daysBetween(end, start ref.Val) ref.Val {
	to, ok1 := end.(moment)
	from, ok2 := start.(moment)
	if !ok1 || !ok2 {
		return types.MaybeNoSuchOverloadErr(end)
	}
	days, known := to.DaysSince(from.Moment)
	if !known {
		return noResult
	}
	return types.Int(days)
}

// noResult is the result of a comparison that depends on an unknown part of a date.
var noResult = types.WrapErr(errNoValue)

// moment is a date or a time as a CEL value.
type moment struct {
	partial.Moment
	celType *cel.Type
}

// ConvertToNative always fails: only this package uses the content of a moment.
func (m moment) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("a date cannot become a %v", to)
}

// ConvertToType fails for every other type than its own.
func (m moment) ConvertToType(to ref.Type) ref.Val {
	if to == m.celType {
		return m
	}
	return types.NewErr("a date cannot become a %s", to.TypeName())
}

// Equal has no result if it depends on an unknown part of a date.
func (m moment) Equal(other ref.Val) ref.Val {
	order := m.Compare(other)
	if types.IsError(order) {
		return order
	}
	return types.Bool(order == types.IntZero)
}

// Compare has no result if it depends on an unknown part of a date.
func (m moment) Compare(other ref.Val) ref.Val {
	o, ok := other.(moment)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	order, known := m.Moment.Compare(o.Moment)
	if !known {
		return noResult
	}
	return types.Int(order)
}

// Type returns the CEL type, of a date or of a time.
func (m moment) Type() ref.Type { return m.celType }

// Value returns the moment.
func (m moment) Value() any { return m.Moment }

// unequalIfKnown replaces CEL's !=, which is true if the equality has no result.
func unequalIfKnown(node interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if call, ok := node.(interpreter.InterpretableCall); ok && call.Function() == operators.NotEquals {
		return unequal{call}, nil
	}
	return node, nil
}

type unequal struct{ interpreter.InterpretableCall }

// Exec implements interpreter.InterpretableV2.
func (u unequal) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	left, right := u.Args()[0].Exec(frame), u.Args()[1].Exec(frame)
	for _, v := range []ref.Val{left, right} {
		if types.IsUnknownOrError(v) {
			return v
		}
	}
	equal := types.Equal(left, right)
	if types.IsError(equal) {
		return equal
	}
	return types.Bool(equal != types.True)
}

// Eval implements interpreter.Interpretable.
func (u unequal) Eval(vars interpreter.Activation) ref.Val { return u.Exec(interpreter.AsFrame(vars)) }
