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
	celenv "cel.dev/cel-go/common/env"
)

// compiled keeps programs, because the same few rules are met with every patient of a study.
var compiled = bounded.New[string, *Rule](4096)

// Compile checks an expression against the variables that it may name and makes it ready to run. It refuses, with the
// code invalid_rule and the place of the fault, what is not CEL, names something that is not declared, does not come
// out as true or false, or could cost too much.
func Compile(expression string, variables Variables) (*Rule, error) {
	if len(expression) > 4*MaxChars || utf8.RuneCountInString(expression) > MaxChars {
		return nil, invalid(expression, "it is longer than %d characters", MaxChars)
	}
	if strings.TrimSpace(expression) == "" {
		return nil, invalid(expression, "it is empty")
	}
	key := fingerprint(expression, variables)
	if known, ok := compiled.Get(key); ok {
		return known, nil
	}
	r, err := compile(strings.Clone(expression), variables)
	if err != nil {
		return nil, err
	}
	return compiled.Add(key, r), nil
}

func compile(expression string, variables Variables) (*Rule, error) {
	env, err := environment(variables)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, notCEL(expression, issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, invalid(expression, "its result is of type %s, not true or false", ast.OutputType())
	}
	root := ast.NativeRep().Expr()
	if fault := onlyVariables(root); fault != "" {
		return nil, invalid(expression, "%s", fault)
	}
	cost, err := env.EstimateCost(ast, longestAnswers{})
	if err != nil {
		return nil, invalid(expression, "its cost cannot be estimated: %v", err)
	}
	if cost.Max > MaxStaticCost {
		return nil, invalid(expression, "it could cost %d, more than %d", cost.Max, MaxStaticCost)
	}
	program, err := env.Program(ast, cel.CostLimit(MaxRuntimeCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, invalid(expression, "%v", err)
	}
	return &Rule{expression: expression, program: program, comparisons: comparisonsIn(root)}, nil
}

// functions are the functions of CEL's standard library that rules can use. The others are left out because a rule over
// answers does not need them and because they make its cost or its result hard to predict: regular expressions, time,
// most conversions, and all macros except has, so that there are no loops.
var functions = []string{
	"_&&_", "_||_", "!_", "_?_:_", "@not_strictly_false", "__not_strictly_false__",
	"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "in", "_in_",
	"_+_", "_-_", "_*_", "_/_", "_%_", "-_", "_[_]",
	"size", "contains", "startsWith", "endsWith", "int", "double",
}

// base is the environment without variables. It is made only once, because that indexes the whole library.
var base = sync.OnceValues(func() (*cel.Env, error) {
	included := make([]*celenv.Function, len(functions))
	for i, name := range functions {
		included[i] = celenv.NewFunction(name)
	}
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(&celenv.LibrarySubset{IncludeMacros: []string{"has"}, IncludeFunctions: included})),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(MaxDepth),
		cel.ExpressionNestingDepthLimit(2*MaxDepth),
		cel.ParserErrorRecoveryLimit(4),
	)
})

func environment(variables Variables) (*cel.Env, error) {
	env, err := base()
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{cel.CustomTypeProvider(newProvider(env.CELTypeProvider(), variables))}
	for group := range variables {
		options = append(options, cel.Variable(group, cel.ObjectType(typeName(group))))
	}
	return env.Extend(options...)
}

// longestAnswers tells the cost estimate how long texts can be.
type longestAnswers struct{}

// EstimateSize returns the range of sizes of what is not written in the expression itself.
func (longestAnswers) EstimateSize(checker.AstNode) *checker.SizeEstimate {
	return &checker.SizeEstimate{Min: 0, Max: MaxTextChars}
}

// EstimateCallCost leaves the cost of calls to CEL's own table.
func (longestAnswers) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// notCEL names the first fault with its line and column, from 1.
func notCEL(expression string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	return invalid(expression, "line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, first.Message)
}

func invalid(expression, format string, args ...any) error {
	if runes := []rune(expression[:min(len(expression), 400)]); len(runes) > 80 {
		expression = string(runes[:80]) + "..."
	}
	r := refuse.Because("invalid_rule", format, args...)
	r.Sentence = "the rule " + strconv.Quote(expression) + " cannot be used: " + r.Sentence
	return r.Do("compare declared items, such as answers.worst >= 8; write decimals as 20.0")
}

// fingerprint is equal for equal expressions with equal variables, and different for all others.
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
