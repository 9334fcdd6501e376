package rule

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"casebook/domain/partial"
)

// provider tells CEL the types of the declared variables, so that a misspelt item is found when the rule is compiled,
// and not when a patient submits a diary.
type provider struct {
	types.Provider
	variables Variables
}

func newProvider(rest types.Provider, variables Variables) *provider {
	return &provider{Provider: rest, variables: variables}
}

// items returns the group that a type stands for, with the types of its variables.
func (p *provider) items(name string) (group string, items map[string]Type, ok bool) {
	if group, ok = strings.CutPrefix(name, typeName("")); ok {
		items, ok = p.variables[group]
	}
	return group, items, ok
}

// fieldType is the type of a variable, with how to get it from Values.
func fieldType(group, name string, declared Type) *types.FieldType {
	return &types.FieldType{
		Type:    celType(declared),
		IsSet:   func(target any) bool { return isSet(target, group, name) },
		GetFrom: func(target any) (any, error) { return get(target, group, name, declared) },
	}
}

// typeName returns the name of a group's CEL type. The prefix distinguishes it from CEL's own types.
func typeName(group string) string { return "casebook." + group }

// FindStructType returns the type of a group.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, _, ok := p.items(name); ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames returns the names of a group's variables.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	_, items, ok := p.items(name)
	if !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	return slices.Collect(maps.Keys(items)), true
}

// FindStructFieldType returns the type of a variable.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	group, items, ok := p.items(name)
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	declared, ok := items[field]
	if !ok {
		return nil, false
	}
	return fieldType(group, field, declared), true
}

func celType(t Type) *cel.Type {
	switch t {
	case Integer:
		return cel.IntType
	case Decimal:
		return cel.DoubleType
	case Boolean:
		return cel.BoolType
	case Texts:
		return textsType
	case Date:
		return dateType
	case Time:
		return timeType
	default:
		return cel.StringType
	}
}

var textsType = cel.ListType(cel.StringType)

func isSet(target any, group, name string) bool {
	values, ok := target.(Values)
	if !ok {
		return false
	}
	_, ok = values.Value(group, name)
	return ok
}

// get returns the value of a variable as a CEL value of its declared type.
func get(target any, group, name string, declared Type) (any, error) {
	values, ok := target.(Values)
	if !ok {
		return nil, fmt.Errorf("%s is not a group of values", group)
	}
	value, ok := values.Value(group, name)
	if !ok {
		return nil, errNoValue
	}
	switch v := value.(type) {
	case float64:
		if declared == Decimal {
			return types.Double(v), nil
		}
		if declared == Integer && v == math.Trunc(v) && math.Abs(v) <= maxWhole {
			return types.Int(v), nil
		}
	case bool:
		if declared == Boolean {
			return types.Bool(v), nil
		}
	case string:
		if declared == Text {
			return types.String(v), nil
		}
	case []string:
		if declared == Texts {
			return types.NewStringList(types.DefaultTypeAdapter, v), nil
		}
	case partial.Moment:
		if declared == Date || declared == Time {
			return moment{Moment: v, celType: celType(declared)}, nil
		}
	}
	return nil, fmt.Errorf("%s.%s is of type %T, which was not declared", group, name, value)
}

// maxWhole is the number up to which a float64 can hold every whole number exactly.
const maxWhole = 1 << 53

// goValue returns a result in the form that Values has. ok is false for NaN, and for a number that a float64 cannot
// hold exactly.
func goValue(result ref.Val) (value any, ok bool) {
	switch v := result.(type) {
	case types.Int:
		return float64(v), v >= -maxWhole && v <= maxWhole
	case types.Double:
		return float64(v), !math.IsNaN(float64(v)) && math.Abs(float64(v)) <= maxWhole
	case types.Bool:
		return bool(v), true
	case types.String:
		return string(v), true
	case moment:
		return v.Moment, true
	default:
		return nil, false
	}
}
