package rule

import (
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// faultIn returns why an expression is CEL but not a rule, or "" if it is a rule. It finds the faults of onlyVariables,
// dates in lists, and dates that are not made from a literal text.
func faultIn(root celast.Expr, tree *celast.AST, overCasebook bool) string {
	fault := ""
	if overCasebook {
		fault = faultInCasebook(root, tree)
	} else {
		fault = onlyVariables(root)
	}
	if fault != "" {
		return fault
	}
	celast.PreOrderVisit(root, celast.NewExprVisitor(func(e celast.Expr) {
		switch {
		case fault != "":
		case e.Kind() == celast.ListKind && e.AsList().Size() > 0 && isMoment(tree.GetType(e.AsList().Elements()[0].ID())):
			fault = "dates and times cannot be listed; compare them one by one"
		case e.Kind() == celast.CallKind && readers[e.AsCall().FunctionName()] != nil:
			fault = faultInWritten(e.AsCall())
		}
	}))
	return fault
}

// faultInWritten returns why a date(...) or time(...) is not allowed: its argument must be a literal date or time.
func faultInWritten(call celast.CallExpr) string {
	name := call.FunctionName()
	if len(call.Args()) != 1 || call.Args()[0].Kind() != celast.LiteralKind {
		return name + "() takes a written text, such as " + writtenExample[name]
	}
	text, ok := call.Args()[0].AsLiteral().Value().(string)
	if _, readable := readers[name](text); !ok || !readable {
		return "it has a " + name + "() that is none; write it as " + writtenExample[name]
	}
	return ""
}

// variablesIn lists the variables in an expression, each once.
func variablesIn(root celast.Expr, tree *celast.AST) []Variable {
	var found []Variable
	celast.PreOrderVisit(root, celast.NewExprVisitor(func(e celast.Expr) {
		v, ok := variableOf(e, tree)
		if !ok {
			v, ok = rowsOf(e)
		}
		if ok && !slices.Contains(found, v) {
			found = append(found, v)
		}
	}))
	return found
}

// variableOf returns the variable that an expression is.
func variableOf(e celast.Expr, tree *celast.AST) (Variable, bool) {
	if e.Kind() != celast.SelectKind {
		return Variable{}, false
	}
	holder, name := e.AsSelect().Operand(), e.AsSelect().FieldName()
	if holder.Kind() == celast.IdentKind {
		t := tree.GetType(holder.ID())
		if _, _, isVisit := visitIn(t); isVisit || t.Kind() != types.StructKind {
			return Variable{}, false
		}
		group, inRows := strings.CutPrefix(t.TypeName(), typeName(prefixRow))
		return Variable{Group: strings.TrimPrefix(group, typeName("")), Name: name, InRows: inRows}, true
	}
	if holder.Kind() != celast.SelectKind || holder.AsSelect().IsTestOnly() || holder.AsSelect().Operand().Kind() != celast.IdentKind {
		return Variable{}, false
	}
	visit, previous, ok := visitIn(tree.GetType(holder.AsSelect().Operand().ID()))
	return Variable{Group: holder.AsSelect().FieldName(), Name: name, Visit: visit, Previous: previous}, ok
}

// onlyVariables returns a fault if an expression uses more than single variables: a group as a whole, a new object, or
// a map. It returns "" if there is no such fault.
func onlyVariables(e celast.Expr) string {
	switch e.Kind() {
	case celast.LiteralKind:
		return ""
	case celast.SelectKind:
		if e.AsSelect().Operand().Kind() == celast.IdentKind {
			return ""
		}
	case celast.CallKind:
		call := e.AsCall()
		parts := call.Args()
		if call.IsMemberFunction() {
			parts = append(slices.Clone(parts), call.Target())
		}
		return onlyVariablesIn(parts)
	case celast.ListKind:
		return onlyVariablesIn(e.AsList().Elements())
	case celast.IdentKind:
		return "it uses " + e.AsIdent() + " as a whole"
	default:
	}
	return "it uses something other than single variables, numbers, texts and lists of them"
}

func onlyVariablesIn(parts []celast.Expr) string {
	for _, part := range parts {
		if fault := onlyVariables(part); fault != "" {
			return fault
		}
	}
	return ""
}

// comparisonsIn lists the comparisons of variables with literal texts.
func comparisonsIn(e celast.Expr, tree *celast.AST) []Comparison {
	switch e.Kind() {
	case celast.ListKind:
		return comparisonsInAll(e.AsList().Elements(), tree)
	case celast.CallKind:
		call := e.AsCall()
		found := comparisonsInAll(call.Args(), tree)
		switch call.FunctionName() {
		case "_==_", "_!=_":
			left, right := call.Args()[0], call.Args()[1]
			return append(append(found, compared(left, right, tree)...), compared(right, left, tree)...)
		case "@in":
			if list := call.Args()[1]; list.Kind() == celast.ListKind {
				for _, element := range list.AsList().Elements() {
					found = append(found, compared(call.Args()[0], element, tree)...)
				}
			} else {
				found = append(found, compared(list, call.Args()[0], tree)...)
			}
		}
		return found
	case celast.ComprehensionKind:
		return comparisonsInAll([]celast.Expr{e.AsComprehension().IterRange(), e.AsComprehension().LoopStep()}, tree)
	default:
		return nil
	}
}

func comparisonsInAll(parts []celast.Expr, tree *celast.AST) []Comparison {
	var found []Comparison
	for _, part := range parts {
		found = append(found, comparisonsIn(part, tree)...)
	}
	return found
}

// compared returns the comparison if the first expression is a variable and the second a literal text.
func compared(variable, text celast.Expr, tree *celast.AST) []Comparison {
	v, ok := variableOf(variable, tree)
	if !ok || variable.AsSelect().IsTestOnly() || text.Kind() != celast.LiteralKind {
		return nil
	}
	value, isText := text.AsLiteral().Value().(string)
	if !isText {
		return nil
	}
	return []Comparison{{Group: v.Group, Name: v.Name, Text: value}}
}
