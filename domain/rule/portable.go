package rule

import (
	_ "embed"
	"strconv"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"casebook/domain"
)

// Evaluator is the ES module that evaluates trees where there is no CEL, such as on a phone. It needs nothing else.
//
//go:embed evaluate.mjs
var Evaluator string

// Op says what a Tree computes.
type Op string

// The operations of trees. Their results, and when they have none, are those of CEL (see the package comment); differential tests compare
// the two.
const (
	// OpBoolean, OpDecimal, OpText and OpNull are Value as it is; OpInteger and OpUnsigned are written as texts, because programs that read
	// JSON may have no whole numbers of 64 bits.
	OpBoolean  Op = "boolean"
	OpInteger  Op = "integer"
	OpUnsigned Op = "unsigned"
	OpDecimal  Op = "decimal"
	OpText     Op = "text"
	OpNull     Op = "null"
	// OpList is a list of its arguments.
	OpList Op = "list"
	// OpAnswer is the variable Group.Name, and OpHas says whether it has a value.
	OpAnswer Op = "answer"
	OpHas    Op = "has"
	// OpIf is the second argument where the first is true, and else the third.
	OpIf         Op = "if"
	OpAnd        Op = "&&"
	OpOr         Op = "||"
	OpNot        Op = "!"
	OpEqual      Op = "=="
	OpUnequal    Op = "!="
	OpLess       Op = "<"
	OpAtMost     Op = "<="
	OpMore       Op = ">"
	OpAtLeast    Op = ">="
	OpAdd        Op = "+"
	OpSubtract   Op = "-"
	OpMultiply   Op = "*"
	OpDivide     Op = "/"
	OpModulo     Op = "%"
	OpNegate     Op = "negate"
	OpIn         Op = "in"
	OpIndex      Op = "index"
	OpSize       Op = "size"
	OpContains   Op = "contains"
	OpStartsWith Op = "startsWith"
	OpEndsWith   Op = "endsWith"
	OpToInteger  Op = "toInteger"
	OpToDecimal  Op = "toDecimal"
)

// Schema implements domain.HasSchema.
func (Op) Schema() domain.Schema {
	return domain.OneOf(OpBoolean, OpInteger, OpUnsigned, OpDecimal, OpText, OpNull, OpList, OpAnswer, OpHas, OpIf, OpAnd, OpOr, OpNot,
		OpEqual, OpUnequal, OpLess, OpAtMost, OpMore, OpAtLeast, OpAdd, OpSubtract, OpMultiply, OpDivide, OpModulo, OpNegate, OpIn, OpIndex,
		OpSize, OpContains, OpStartsWith, OpEndsWith, OpToInteger, OpToDecimal)
}

// Tree is an expression that programs without CEL can evaluate (see Evaluator).
type Tree struct {
	Op Op `json:"op" doc:"What is computed, as the ES module at /rules.mjs does it"`
	// Args are the operands, the receiver of a method first.
	Args  []Tree `json:"args,omitempty" doc:"The operands, in their order"`
	Value any    `json:"value,omitempty" kinds:"number boolean string" doc:"The value of a constant; whole numbers are written as texts"`
	Group string `json:"group,omitempty" doc:"The group of a variable: answers"`
	Name  string `json:"name,omitempty" doc:"The item that a variable is the answer to"`
	// Type is how the value of a variable is read: the numbers 3 and 3.0 are the same in JSON, and not in a rule.
	Type string `json:"type,omitempty" doc:"The type of a variable: integer, decimal, boolean, text or texts"`
}

// Tree returns the expression for programs without CEL. ok is false for one that has none: with dates that may be known in part, with
// literal bytes, or one that reads decimals from texts, which programs do in many ways. The tree is shared: do not change it.
func (e *expression) Tree() (tree *Tree, ok bool) { return e.tree, e.tree != nil }

// operations are the functions of rules, by the names that CEL has for them.
var operations = map[string]Op{
	"_&&_": OpAnd, "_||_": OpOr, "!_": OpNot, "_?_:_": OpIf, "_==_": OpEqual, "_!=_": OpUnequal, "_<_": OpLess, "_<=_": OpAtMost,
	"_>_": OpMore, "_>=_": OpAtLeast, "_+_": OpAdd, "_-_": OpSubtract, "_*_": OpMultiply, "_/_": OpDivide, "_%_": OpModulo, "-_": OpNegate,
	"@in": OpIn, "_[_]": OpIndex, "size": OpSize, "contains": OpContains, "startsWith": OpStartsWith, "endsWith": OpEndsWith,
	"int": OpToInteger, "double": OpToDecimal,
}

// portable makes trees of a checked expression.
type portable struct {
	checked  *celast.AST
	declared Variables
}

// treeOf returns the tree of a part of the expression; nil if it has none.
func (p portable) treeOf(e celast.Expr) *Tree {
	switch e.Kind() {
	case celast.LiteralKind:
		return constant(e)
	case celast.SelectKind:
		t := &Tree{Op: OpHas, Group: e.AsSelect().Operand().AsIdent(), Name: e.AsSelect().FieldName()}
		if e.AsSelect().IsTestOnly() {
			return t
		}
		t.Op, t.Type = OpAnswer, treeTypes[p.declared[t.Group][t.Name]]
		if t.Type == "" {
			return nil
		}
		return t
	case celast.ListKind:
		return p.withArgs(OpList, e.AsList().Elements())
	case celast.CallKind:
		return p.call(e.AsCall())
	default:
	}
	return nil
}

func (p portable) call(call celast.CallExpr) *Tree {
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]celast.Expr{call.Target()}, args...)
	}
	op, ok := operations[call.FunctionName()]
	if !ok || op == OpToDecimal && !isNumber(p.checked.GetType(args[0].ID())) {
		return nil
	}
	return p.withArgs(op, args)
}

func isNumber(t *types.Type) bool {
	return t.IsExactType(types.IntType) || t.IsExactType(types.UintType) || t.IsExactType(types.DoubleType)
}

// treeTypes are the types of variables that trees can have.
var treeTypes = map[Type]string{Integer: "integer", Decimal: "decimal", Boolean: "boolean", Text: "text", Texts: "texts"}

func (p portable) withArgs(op Op, args []celast.Expr) *Tree {
	t := &Tree{Op: op}
	for _, arg := range args {
		of := p.treeOf(arg)
		if of == nil {
			return nil
		}
		t.Args = append(t.Args, *of)
	}
	return t
}

func constant(e celast.Expr) *Tree {
	switch v := e.AsLiteral().(type) {
	case types.Bool:
		return &Tree{Op: OpBoolean, Value: bool(v)}
	case types.Int:
		return &Tree{Op: OpInteger, Value: strconv.FormatInt(int64(v), 10)}
	case types.Uint:
		return &Tree{Op: OpUnsigned, Value: strconv.FormatUint(uint64(v), 10)}
	case types.Double:
		return &Tree{Op: OpDecimal, Value: float64(v)}
	case types.String:
		return &Tree{Op: OpText, Value: string(v)}
	case types.Null:
		return &Tree{Op: OpNull}
	}
	return nil
}
