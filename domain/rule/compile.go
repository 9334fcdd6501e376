package rule

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"casebook/domain/refuse"
	"casebook/domain/rule/bounded"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	celast "cel.dev/cel-go/common/ast"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// rules and formulas cache compiled expressions, because every patient of a study has the same few rules.
var (
	rules    = bounded.New[string, *Rule](4096)
	formulas = bounded.New[string, *Formula](1024)
)

// Compile compiles an expression that may name the declared variables. It refuses, with the code invalid_rule and the
// position of the fault, a text that is not CEL, names an undeclared variable, has another result than true or false,
// or could cost too much.
func Compile(text string, variables Variables) (*Rule, error) {
	if err := refuseLength(text); err != nil {
		return nil, err
	}
	key := fingerprint(text, variables)
	if known, ok := rules.Get(key); ok {
		return known, nil
	}
	e, err := compile(strings.Clone(text), variables, onlyTrueOrFalse(text))
	if err != nil {
		return nil, err
	}
	return rules.Add(key, &Rule{expression: e}), nil
}

// CompileFormula is Compile for an expression that computes a value of one of these types. The type Texts is not
// possible.
func CompileFormula(text string, variables Variables, results ...Type) (*Formula, error) {
	if err := refuseLength(text); err != nil {
		return nil, err
	}
	key := fingerprint(text, variables)
	formula, ok := formulas.Get(key)
	if !ok {
		var computed Type
		e, err := compile(strings.Clone(text), variables, func(result *cel.Type) error {
			var known bool
			if computed, known = typeOf(result); !known {
				return invalid(text, "its result is of type %s, which cannot be computed", result)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		formula = formulas.Add(key, &Formula{expression: e, result: computed})
	}
	if !slices.Contains(results, formula.result) {
		return nil, invalid(text, "its result is of type %s, not %s", formula.result, listed(results))
	}
	return formula, nil
}

// onlyTrueOrFalse refuses an expression with another result than true or false.
func onlyTrueOrFalse(text string) func(result *cel.Type) error {
	return func(result *cel.Type) error {
		if !result.IsExactType(cel.BoolType) {
			return invalid(text, "its result is of type %s, not true or false", result)
		}
		return nil
	}
}

func refuseLength(text string) error {
	if len(text) > 4*MaxChars || utf8.RuneCountInString(text) > MaxChars {
		return invalid(text, "it is longer than %d characters", MaxChars)
	}
	if strings.TrimSpace(text) == "" {
		return invalid(text, "it is empty")
	}
	return nil
}

// compile compiles an expression. The function accept is called with the type of its result, and may refuse it.
func compile(text string, variables Variables, accept func(result *cel.Type) error) (expression, error) {
	env, err := base()
	if hasMoments(variables) {
		env, err = baseWithMoments()
	}
	if err == nil {
		env, err = declare(env, variables)
	}
	if err != nil {
		return expression{}, err
	}
	return compileIn(env, text, accept, func(named []Variable) needs {
		return needs{texts: namesTexts(named, variables), moments: hasMoments(variables), portable: variables}
	})
}

// needs are what the program of an expression has to take into account.
type needs struct {
	// texts says that an evaluation can cost more than was estimated (see namesTexts).
	texts, moments bool
	// portable are the variables of an expression that can be evaluated without CEL (see Tree); nil where it cannot.
	portable Variables
}

// compileIn compiles an expression in an environment with all its variables.
func compileIn(env *cel.Env, text string, accept func(result *cel.Type) error, of func(named []Variable) needs) (expression, error) {
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return expression{}, notCEL(text, issues)
	}
	if err := accept(ast.OutputType()); err != nil {
		return expression{}, err
	}
	tree := ast.NativeRep()
	root := tree.Expr()
	named := variablesIn(root, tree)
	is := of(named)
	if fault := faultIn(root, tree, is.portable == nil); fault != "" {
		return expression{}, invalid(text, "%s", fault)
	}
	cost, err := env.EstimateCost(ast, longestAnswers{})
	if err != nil {
		return expression{}, invalid(text, "its cost cannot be estimated: %v", err)
	}
	if cost.Max > MaxStaticCost {
		return expression{}, invalid(text, "it could cost %d, more than %d", cost.Max, MaxStaticCost)
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if is.texts {
		options = append(options, cel.CostLimit(MaxRuntimeCost))
	}
	if is.moments {
		options = append(options, cel.CustomDecoratorV2(unequalIfKnown))
	}
	program, err := env.Program(ast, options...)
	if err != nil {
		return expression{}, invalid(text, "%v", err)
	}
	compiled := expression{text: text, program: program, comparisons: comparisonsIn(root, tree), variables: named}
	if is.portable != nil {
		compiled.tree = portable{checked: tree, declared: is.portable}.treeOf(root)
	}
	return compiled, nil
}

// namesTexts says whether one of the named variables holds texts. Only then can an evaluation cost more than was estimated: texts
// may be longer than assumed, and everything else costs what it costs. Counting the cost takes as long as the evaluation itself.
func namesTexts(named []Variable, declared Variables) bool {
	return slices.ContainsFunc(named, func(v Variable) bool {
		t := declared[v.Group][v.Name]
		return t == Text || t == Texts
	})
}

func listed(types []Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	return strings.Join(names, " or ")
}

// typeOf returns the type of a result. ok is false if no item can have this type.
func typeOf(result *cel.Type) (t Type, ok bool) {
	for _, t := range []Type{Integer, Decimal, Boolean, Text, Date, Time} {
		if result.IsExactType(celType(t)) {
			return t, true
		}
	}
	return 0, false
}

// functions are the functions of CEL's standard library that rules can use. Rules over answers do not need the others,
// which make the cost or the result hard to predict: regular expressions, time, most conversions, and all macros except
// has, so that there are no loops; only rules over casebooks can look through rows (see Surroundings).
var functions = []string{
	"_&&_", "_||_", "!_", "_?_:_", "@not_strictly_false", "__not_strictly_false__",
	"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "in", "_in_",
	"_+_", "_-_", "_*_", "_/_", "_%_", "-_", "_[_]",
	"size", "contains", "startsWith", "endsWith", "int", "double",
}

// base is the environment without variables, and baseOfCasebooks that of rules that may look at rows. Each is made only
// once, because this indexes the whole library.
var (
	base            = sync.OnceValues(func() (*cel.Env, error) { return environment("has") })
	baseOfCasebooks = sync.OnceValues(func() (*cel.Env, error) { return withMoments(environment("has", "exists", "all", "filter")) })
)

func environment(macros ...string) (*cel.Env, error) {
	included := make([]*celenv.Function, len(functions))
	for i, name := range functions {
		included[i] = celenv.NewFunction(name)
	}
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(&celenv.LibrarySubset{IncludeMacros: macros, IncludeFunctions: included})),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(MaxDepth),
		cel.ExpressionNestingDepthLimit(2*MaxDepth),
		cel.ParserErrorRecoveryLimit(4),
	)
}

// declare adds groups of variables to an environment.
func declare(env *cel.Env, variables Variables) (*cel.Env, error) {
	options := []cel.EnvOption{cel.CustomTypeProvider(newProvider(env.CELTypeProvider(), variables))}
	for group := range variables {
		options = append(options, cel.Variable(group, cel.ObjectType(typeName(group))))
	}
	return env.Extend(options...)
}

// longestAnswers tells the cost estimate how long texts can be, and how many texts a list can have.
type longestAnswers struct{}

// EstimateSize returns the range of sizes of a value that is not a literal in the expression.
func (longestAnswers) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	switch {
	case holdsRows(node.Type()) && node.Type().Kind() == types.ListKind:
		return &checker.SizeEstimate{Min: 0, Max: MaxRows}
	case node.Type().Kind() == types.ListKind:
		return &checker.SizeEstimate{Min: 0, Max: MaxTexts}
	case node.Type().Kind() == types.StructKind:
		return &checker.SizeEstimate{Min: 1, Max: 1} // a date or time, which is compared in one step
	default:
		return &checker.SizeEstimate{Min: 0, Max: MaxTextChars}
	}
}

// EstimateCallCost leaves the cost of calls to CEL's own table, except for the search for a text in a list: the table
// counts one for each text of the list, regardless of its length.
func (longestAnswers) EstimateCallCost(_, overload string, _ *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if overload != overloads.InList || args[1].Expr().Kind() == celast.ListKind {
		return nil
	}
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: 0, Max: MaxTexts * MaxTextsChars / 10}}
}

// notCEL refuses a text that is not CEL. It names the first fault with its line and column, which count from 1.
func notCEL(expression string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	return invalid(expression, "line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, first.Message)
}

func invalid(expression, format string, args ...any) error {
	r := refuse.Because("invalid_rule", format, args...)
	r.Sentence = "the rule " + strconv.Quote(refuse.Shortened(expression)) + " cannot be used: " + r.Sentence
	return r.Do("compare declared items, such as answers.worst >= 8; write decimals as 20.0")
}

// fingerprint returns a key that is equal for equal expressions with equal variables only.
func fingerprint(expression string, variables Variables) string {
	var b strings.Builder
	b.WriteString(expression)
	groups := make([]string, 0, len(variables))
	for group := range variables {
		groups = append(groups, group)
	}
	slices.Sort(groups)
	for _, group := range groups {
		b.WriteString("\x00\x00" + group)
		names := make([]string, 0, len(variables[group]))
		for name := range variables[group] {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b.WriteString("\x00" + name + "\x01" + strconv.Itoa(int(variables[group][name])))
		}
	}
	return b.String()
}
