package rule

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// MaxRows is how many rows of a group the estimate of a rule's cost assumes. A rule over more rows may be stopped.
const MaxRows = 500

// Surroundings say what rules may name beside the groups of variables that they are given: what a patient's whole casebook
// holds.
//
//   - at("V1").VS.SYSBP is an item of the group VS at the visit V1.
//   - prev().VS.SYSBP is an item at the visit before this one. Which visit that is, the Casebook says.
//   - rows("AE") are the rows of the group AE, for exists, all and filter: rows("AE").exists(r, r.AESER), and for size.
//
// What is missing is treated as elsewhere: a visit that did not take place has no values. Where the result for one row
// depends on a missing value, exists is true if another row makes it so, all is false if another row does, and a filter
// has no result; has(r.AEEND) says whether the row has a value.
type Surroundings struct {
	// Visits are the groups that are collected at each visit, by the visit's id.
	Visits map[string]Variables
	// Previous are the groups that prev() has.
	Previous Variables
	// Rows are the groups of which all rows can be looked at.
	Rows Variables
}

// Casebook gives a rule the values of its surroundings, beside those of its own groups.
type Casebook interface {
	Values
	// At returns the values of a visit, nil where it has none.
	At(visit string) Values
	// Previous returns the values of the visit before, nil where there is none.
	Previous() Values
	// Rows returns the rows of a group, each of them with the values of that group.
	Rows(group string) []Values
}

// Scope compiles rules over surroundings. It never changes and is safe for concurrent use.
type Scope struct {
	env   *cel.Env
	known *surroundings
}

// The prefixes of identifiers that no rule can write. The macros at, prev and rows expand to identifiers with them, so that
// each visit has a type of its own, and a rule that names what is not collected there is refused when it is compiled.
const (
	prefixAt   = "@at:"
	identPrev  = "@prev"
	prefixRows = "@rows:"
	prefixRow  = "@row:"
)

// Within returns the scope of rules with these surroundings. The maps must not change afterwards.
func Within(around Surroundings) (*Scope, error) {
	env, err := baseOfCasebooks()
	if err != nil {
		return nil, err
	}
	known := &surroundings{Provider: env.CELTypeProvider(), Surroundings: around}
	options := []cel.EnvOption{cel.CustomTypeProvider(known), cel.Macros(known.macros()...),
		cel.Variable(identPrev, cel.ObjectType(typeName(identPrev)))}
	for _, visit := range slices.Sorted(maps.Keys(around.Visits)) {
		options = append(options, cel.Variable(prefixAt+visit, cel.ObjectType(typeName(prefixAt+visit))))
	}
	for _, group := range slices.Sorted(maps.Keys(around.Rows)) {
		options = append(options, cel.Variable(prefixRows+group, cel.ListType(rowType(group))))
	}
	if env, err = env.Extend(options...); err != nil {
		return nil, fmt.Errorf("declare the surroundings of rules: %w", err)
	}
	return &Scope{env: env, known: known}, nil
}

// Compile is the function Compile, for a rule that may also name what surrounds it. Nothing is kept of what it compiles.
func (s *Scope) Compile(text string, variables Variables) (*Rule, error) {
	e, err := s.compile(text, variables, onlyTrueOrFalse(text))
	if err != nil {
		return nil, err
	}
	return &Rule{expression: e}, nil
}

// CompileFormula is the function CompileFormula, for a formula that may also name what surrounds it.
func (s *Scope) CompileFormula(text string, variables Variables, results ...Type) (*Formula, error) {
	var computed Type
	e, err := s.compile(text, variables, func(result *cel.Type) error {
		var known bool
		if computed, known = typeOf(result); !known || !slices.Contains(results, computed) {
			return invalid(text, "its result is of type %s, not %s", result, listed(results))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Formula{expression: e, result: computed}, nil
}

func (s *Scope) compile(text string, variables Variables, accept func(*cel.Type) error) (expression, error) {
	if err := refuseLength(text); err != nil {
		return expression{}, err
	}
	env, err := declare(s.env, variables)
	if err != nil {
		return expression{}, err
	}
	return compileIn(env, strings.Clone(text), accept, func(named []Variable) (n needs) {
		n.moments = true
		n.texts = slices.ContainsFunc(named, func(v Variable) bool {
			declared := s.known.typeOf(v, variables)
			return v.InRows || declared == Text || declared == Texts
		})
		return n
	})
}

// surroundings tell CEL the types of visits and rows.
type surroundings struct {
	types.Provider
	Surroundings
}

func (s *surroundings) typeOf(v Variable, own Variables) Type {
	switch {
	case v.InRows:
		return s.Rows[v.Group][v.Name]
	case v.Previous:
		return s.Previous[v.Group][v.Name]
	case v.Visit != "":
		return s.Visits[v.Visit][v.Group][v.Name]
	default:
		return own[v.Group][v.Name]
	}
}

// groups returns the groups that a type such as that of at("V1") has.
func (s *surroundings) groups(name string) (Variables, bool) {
	if name == typeName(identPrev) {
		return s.Previous, true
	}
	visit, ok := strings.CutPrefix(name, typeName(prefixAt))
	if !ok {
		return nil, false
	}
	groups, ok := s.Visits[visit]
	return groups, ok
}

// items returns the group, and the types of its items, that a type stands for: that of a row, or of a group at a visit.
func (s *surroundings) items(name string) (group string, items map[string]Type, ok bool) {
	if group, ok = strings.CutPrefix(name, typeName(prefixRow)); ok {
		items, ok = s.Rows[group]
		return group, items, ok
	}
	holder, group, ok := strings.Cut(name, "/")
	if !ok {
		return "", nil, false
	}
	groups, ok := s.groups(holder)
	if !ok {
		return "", nil, false
	}
	items, ok = groups[group]
	return group, items, ok
}

// FindStructType returns the type of a visit, a group at it, or a row.
func (s *surroundings) FindStructType(name string) (*types.Type, bool) {
	_, isHolder := s.groups(name)
	_, _, hasItems := s.items(name)
	if isHolder || hasItems {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return s.Provider.FindStructType(name)
}

// FindStructFieldNames returns the names of the groups of a visit, or of the items of a group or row.
func (s *surroundings) FindStructFieldNames(name string) ([]string, bool) {
	if groups, ok := s.groups(name); ok {
		return slices.Sorted(maps.Keys(groups)), true
	}
	if _, items, ok := s.items(name); ok {
		return slices.Sorted(maps.Keys(items)), true
	}
	return s.Provider.FindStructFieldNames(name)
}

// FindStructFieldType returns the type of a group of a visit, or of an item of a group or row.
func (s *surroundings) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if groups, ok := s.groups(name); ok {
		if _, ok := groups[field]; !ok {
			return nil, false
		}
		return &types.FieldType{Type: cel.ObjectType(name + "/" + field), IsSet: func(any) bool { return true },
			GetFrom: func(target any) (any, error) { return target, nil }}, true
	}
	if group, items, ok := s.items(name); ok {
		declared, ok := items[field]
		if !ok {
			return nil, false
		}
		return fieldType(group, field, declared), true
	}
	return s.Provider.FindStructFieldType(name, field)
}

// macros expand at("V1"), prev() and rows("AE").
func (s *surroundings) macros() []cel.Macro {
	named := func(function, what string, prefix string, known func(string) bool) cel.Macro {
		return cel.GlobalMacro(function, 1, func(eh cel.MacroExprFactory, _ celast.Expr, args []celast.Expr) (celast.Expr, *cel.Error) {
			var name string
			isText := args[0].Kind() == celast.LiteralKind
			if isText {
				name, isText = args[0].AsLiteral().Value().(string)
			}
			if !isText {
				return nil, eh.NewError(args[0].ID(), function+"() takes the written name of a "+what)
			}
			if !known(name) {
				return nil, eh.NewError(args[0].ID(), fmt.Sprintf("there is no %s %.80q", what, name))
			}
			return eh.NewIdent(prefix + name), nil
		})
	}
	return []cel.Macro{
		named("at", "visit", prefixAt, func(name string) bool { _, ok := s.Visits[name]; return ok }),
		named("rows", "group with rows", prefixRows, func(name string) bool { _, ok := s.Rows[name]; return ok }),
		cel.GlobalMacro("prev", 0, func(eh cel.MacroExprFactory, _ celast.Expr, _ []celast.Expr) (celast.Expr, *cel.Error) {
			return eh.NewIdent(identPrev), nil
		}),
	}
}

func rowType(group string) *cel.Type { return cel.ObjectType(typeName(prefixRow + group)) }

// surrounding resolves an identifier of a macro.
func (a *activation) surrounding(name string) (any, bool) {
	book, _ := a.values.(Casebook)
	if group, ok := strings.CutPrefix(name, prefixRows); ok {
		var rows []Values
		if book != nil {
			rows = book.Rows(group)
		}
		list := make([]ref.Val, len(rows))
		for n, values := range rows {
			list[n] = row{Values: values, celType: rowType(group)}
		}
		return types.NewRefValList(types.DefaultTypeAdapter, list), true
	}
	var values Values
	if visit, ok := strings.CutPrefix(name, prefixAt); ok && book != nil {
		values = book.At(visit)
	} else if name == identPrev && book != nil {
		values = book.Previous()
	}
	if values == nil {
		values = nothing{}
	}
	return values, true
}

// nothing is a visit without values.
type nothing struct{}

// Value finds nothing.
func (nothing) Value(string, string) (any, bool) { return nil, false }

// row is a row of a group as a CEL value. Rules see only its items.
type row struct {
	Values
	celType *cel.Type
}

// ConvertToNative always fails: rules compute with items, not with rows.
func (r row) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("a row cannot become a %v", to)
}

// ConvertToType fails for every other type than its own.
func (r row) ConvertToType(to ref.Type) ref.Val {
	if to == r.celType {
		return r
	}
	return types.NewErr("a row cannot become a %s", to.TypeName())
}

// Equal has no result: compiled rules do not compare rows.
func (r row) Equal(ref.Val) ref.Val { return noResult }

// Type returns the CEL type of rows of its group.
func (r row) Type() ref.Type { return r.celType }

// Value returns what has the row's items.
func (r row) Value() any { return r.Values }

// faultInCasebook returns why an expression over surroundings is CEL but not a rule, or "": it uses a visit, a group or
// a row as a whole in another way than the macros do, or makes an object or a map.
func faultInCasebook(e celast.Expr, tree *celast.AST) string {
	switch e.Kind() {
	case celast.LiteralKind:
		return ""
	case celast.IdentKind:
		if isGroup(tree.GetType(e.ID())) {
			return "it uses " + named(e.AsIdent()) + " as a whole"
		}
		return ""
	case celast.SelectKind:
		if _, ok := variableOf(e, tree); !ok {
			return "it uses something other than items of groups, numbers, texts and lists of them"
		}
		return ""
	case celast.ListKind:
		return firstFault(e.AsList().Elements(), tree)
	case celast.CallKind:
		return faultInCall(e.AsCall(), tree)
	case celast.ComprehensionKind:
		c := e.AsComprehension()
		return firstFault([]celast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()}, tree)
	default:
		return "it uses something other than items of groups, numbers, texts and lists of them"
	}
}

func firstFault(parts []celast.Expr, tree *celast.AST) string {
	for _, part := range parts {
		if fault := faultInCasebook(part, tree); fault != "" {
			return fault
		}
	}
	return ""
}

func faultInCall(call celast.CallExpr, tree *celast.AST) string {
	parts := call.Args()
	if call.IsMemberFunction() {
		parts = append(slices.Clone(parts), call.Target())
	}
	switch call.FunctionName() {
	case "_==_", "_!=_", "@in", "_[_]":
		for _, part := range parts {
			if holdsRows(tree.GetType(part.ID())) {
				return "rows can be looked through with exists, all and filter, and counted with size; they cannot be compared or picked by number"
			}
		}
	}
	return firstFault(parts, tree)
}

// isGroup says whether a type is that of a group of variables, a visit, or a group at a visit. A row is none.
func isGroup(t *cel.Type) bool {
	return t.Kind() == types.StructKind && !isMoment(t) && !strings.HasPrefix(t.TypeName(), typeName(prefixRow))
}

func holdsRows(t *cel.Type) bool {
	if t.Kind() == types.ListKind {
		return slices.ContainsFunc(t.Parameters(), holdsRows)
	}
	return t.Kind() == types.StructKind && strings.HasPrefix(t.TypeName(), typeName(prefixRow))
}

// named writes an identifier as it was written in the rule.
func named(ident string) string {
	if visit, ok := strings.CutPrefix(ident, prefixAt); ok {
		return fmt.Sprintf("at(%q)", visit)
	}
	if ident == identPrev {
		return "prev()"
	}
	return ident
}

// rowsOf returns the rows that an expression is.
func rowsOf(e celast.Expr) (Variable, bool) {
	if e.Kind() != celast.IdentKind {
		return Variable{}, false
	}
	group, ok := strings.CutPrefix(e.AsIdent(), prefixRows)
	return Variable{Group: group, InRows: true}, ok
}

// visitIn returns the visit that a type such as that of at("V1") stands for.
func visitIn(t *cel.Type) (visit string, previous, ok bool) {
	if t.TypeName() == typeName(identPrev) {
		return "", true, true
	}
	visit, ok = strings.CutPrefix(t.TypeName(), typeName(prefixAt))
	return visit, false, ok
}
