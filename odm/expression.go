package odm

import (
	"regexp"
	"slices"
	"strings"
)

// operand is a translated part of an expression: CEL, and the type that it has there.
type operand struct {
	cel string
	// of is int, double, string or bool; digits is the text of an integer; other is what is not translated.
	of string
	// literal is the value of a literal, as it was written.
	literal   string
	isLiteral bool
}

// named says what a name of an expression stands for; false when nothing has it.
type named func(name string) (operand, bool)

var token = regexp.MustCompile(`^\s*(?:([0-9]+(?:\.[0-9]+)?)|"([^"\\]*)"|'([^'\\]*)'|` +
	`([A-Za-z_][A-Za-z0-9_.\-]*)|(==|!=|<=|>=|&&|\|\||[<>!+\-*/^()]))`)

// translator reads an expression of OpenEDC: comparisons, arithmetic, not, and, or, over the OIDs of items, or of a group and
// an item with a hyphen between.
type translator struct {
	left  string
	names named
	// failed is true once there is something that is not in the subset.
	failed bool
}

// maxExpression is the most characters of a rule in a build.
const maxExpression = 1_000

// translate returns an expression of OpenEDC in CEL, with its type; false when it uses more than is translated.
func translate(expression string, names named) (operand, bool) {
	if len(expression) > maxExpression {
		return operand{}, false
	}
	t := &translator{left: expression, names: names}
	result := t.either()
	return result, !t.failed && strings.TrimSpace(t.left) == "" && result.cel != ""
}

// take takes the next token if it is one of these.
func (t *translator) take(words ...string) string {
	found := token.FindStringSubmatch(t.left)
	if found == nil {
		return ""
	}
	for _, one := range []string{found[4], found[5]} {
		if one != "" && slices.Contains(words, one) {
			t.left = t.left[len(found[0]):]
			return one
		}
	}
	return ""
}

func (t *translator) fail() operand {
	t.failed = true
	return operand{}
}

func (t *translator) either() operand {
	x := t.both()
	for !t.failed && t.take("or", "OR", "||") != "" {
		x = t.logical(x, "||", t.both())
	}
	return x
}

func (t *translator) both() operand {
	x := t.comparison()
	for !t.failed && t.take("and", "AND", "&&") != "" {
		x = t.logical(x, "&&", t.comparison())
	}
	return x
}

func (t *translator) logical(x operand, operator string, y operand) operand {
	if x.of != "bool" || y.of != "bool" {
		return t.fail()
	}
	return operand{cel: "(" + x.cel + " " + operator + " " + y.cel + ")", of: "bool"}
}

func (t *translator) comparison() operand {
	x := t.sum()
	operator := t.take("==", "!=", "<=", ">=", "<", ">")
	if t.failed || operator == "" {
		return x
	}
	y := t.sum()
	if x.isLiteral && !y.isLiteral {
		x, y = y, x
		operator = strings.NewReplacer("<", ">", ">", "<").Replace(operator)
	}
	equal := operator == "==" || operator == "!="
	switch {
	case t.failed:
		return operand{}
	case x.of == "bool" && y.isLiteral && equal:
		holds, known := map[string]bool{"1": true, "true": true, "0": false, "false": false}[y.literal], slices.Contains(
			[]string{"1", "true", "0", "false"}, y.literal)
		if !known {
			return t.fail()
		}
		if holds != (operator == "==") {
			return operand{cel: "!" + x.cel, of: "bool"}
		}
		return x
	case (x.of == "string" || x.of == "digits") && y.isLiteral && equal:
		return operand{cel: x.cel + " " + operator + " " + quoted(y.literal), of: "bool"}
	case x.of == "string" && y.of == "string" && equal:
		return operand{cel: x.cel + " " + operator + " " + y.cel, of: "bool"}
	}
	x, y = t.numbers(x, y, false)
	return operand{cel: x.cel + " " + operator + " " + y.cel, of: "bool"}
}

func (t *translator) sum() operand {
	x := t.product()
	for !t.failed {
		operator := t.take("+", "-")
		if operator == "" {
			break
		}
		x = t.arithmetic(x, operator, t.product())
	}
	return x
}

func (t *translator) product() operand {
	x := t.power()
	for !t.failed {
		operator := t.take("*", "/")
		if operator == "" {
			break
		}
		x = t.arithmetic(x, operator, t.power())
	}
	return x
}

func (t *translator) arithmetic(x operand, operator string, y operand) operand {
	if t.failed {
		return operand{}
	}
	x, y = t.numbers(x, y, operator == "/")
	return operand{cel: "(" + x.cel + " " + operator + " " + y.cel + ")", of: x.of}
}

// power translates a power of two or three, which CEL has no operator for.
func (t *translator) power() operand {
	x := t.single()
	if t.failed || t.take("^") == "" {
		return x
	}
	y := t.single()
	times := map[string]int{"2": 2, "3": 3}[y.literal]
	if x, _ = t.numbers(x, x, false); t.failed || times == 0 {
		return t.fail()
	}
	return operand{cel: "(" + strings.Repeat(x.cel+" * ", times-1) + x.cel + ")", of: x.of}
}

func (t *translator) single() operand {
	if t.take("!", "not") != "" {
		x := t.single()
		if x.of != "bool" {
			return t.fail()
		}
		return operand{cel: "!(" + x.cel + ")", of: "bool"}
	}
	if t.take("(") != "" {
		x := t.either()
		if t.take(")") == "" {
			return t.fail()
		}
		return x
	}
	found := token.FindStringSubmatch(t.left)
	if found == nil {
		return t.fail()
	}
	t.left = t.left[len(found[0]):]
	switch {
	case found[1] != "":
		of := "int"
		if strings.Contains(found[1], ".") {
			of = "double"
		}
		return operand{cel: found[1], of: of, literal: found[1], isLiteral: true}
	case found[4] != "":
		x, known := t.names(found[4])
		if !known {
			return t.fail()
		}
		return x
	case found[5] != "":
		return t.fail()
	default:
		return operand{cel: quoted(found[2] + found[3]), of: "string", literal: found[2] + found[3], isLiteral: true}
	}
}

// numbers brings two operands to one type of numbers, double if one is or has to be.
func (t *translator) numbers(x, y operand, double bool) (operand, operand) {
	x, y = t.number(x), t.number(y)
	if double || x.of != y.of {
		x, y = t.double(x), t.double(y)
	}
	return x, y
}

// number turns a text of digits, such as the value of a list of integers, into a number.
func (t *translator) number(x operand) operand {
	switch {
	case x.of == "int" || x.of == "double":
		return x
	case x.isLiteral && whole.MatchString(x.literal):
		return operand{cel: x.literal, of: "int", literal: x.literal, isLiteral: true}
	case x.isLiteral && decimal.MatchString(x.literal):
		return operand{cel: x.literal, of: "double", literal: x.literal, isLiteral: true}
	case x.of == "digits":
		return operand{cel: "int(" + x.cel + ")", of: "int"}
	default:
		return t.fail()
	}
}

func (t *translator) double(x operand) operand {
	switch {
	case x.of == "double":
		return x
	case x.isLiteral:
		return operand{cel: x.literal + ".0", of: "double", literal: x.literal, isLiteral: true}
	default:
		return operand{cel: "double(" + x.cel + ")", of: "double"}
	}
}

var (
	whole   = regexp.MustCompile(`^-?[0-9]{1,15}$`)
	decimal = regexp.MustCompile(`^-?[0-9]{1,15}\.[0-9]{1,15}$`)
)

// quoted returns a text as CEL has it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}
