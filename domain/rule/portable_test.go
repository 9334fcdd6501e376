package rule_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"casebook/domain/rule"
)

// onPhones are the variables of the rules that are compared.
var onPhones = rule.Variables{
	"answers": {"worst": rule.Integer, "least": rule.Integer, "weight": rule.Decimal, "fever": rule.Decimal, "rescue": rule.Boolean,
		"smokes": rule.Boolean, "note": rule.Text, "mood": rule.Text, "symptoms": rule.Texts},
	"scores": {"total": rule.Decimal},
}

// drawn draws expressions and answers.
type drawn struct{ *rand.Rand }

func of[T any](d drawn, all ...T) T { return all[d.IntN(len(all))] }

// The kinds of drawn expressions. An expression of any kind has a type that CEL only knows when it computes.
const (
	kindBool = iota
	kindInt
	kindUnsigned
	kindDecimal
	kindText
	kindTexts
	kindNumbers
	kindAny
)

// expression draws an expression. Some are refused, because CEL checks types.
func (d drawn) expression(kind, depth int) string {
	if depth <= 0 {
		return d.leaf(kind)
	}
	sub := func(kind int) string { return d.expression(kind, depth-1-d.IntN(2)) }
	if d.IntN(12) == 0 {
		return fmt.Sprintf("(%s ? %s : %s)", sub(kindBool), sub(kind), sub(kind))
	}
	number := func() string { return sub(of(d, kindInt, kindInt, kindUnsigned, kindDecimal, kindAny)) }
	compares := of(d, "<", "<=", ">", ">=")
	equals := of(d, "==", "!=")
	switch kind {
	case kindBool:
		switch d.IntN(14) {
		case 0, 1, 2:
			return "(" + sub(kindBool) + of(d, " && ", " || ") + sub(kindBool) + ")"
		case 3:
			return "!" + sub(kindBool)
		case 4, 5, 6:
			return "(" + number() + " " + compares + " " + number() + ")"
		case 7:
			both := of(d, kindText, kindBool)
			return "(" + sub(both) + " " + of(d, compares, equals) + " " + sub(both) + ")"
		case 8:
			both := of(d, kindInt, kindDecimal, kindUnsigned, kindTexts, kindNumbers, kindAny)
			return "(" + sub(both) + " " + equals + " " + sub(both) + ")"
		case 9:
			return "(" + sub(kindText) + " in " + sub(kindTexts) + ")"
		case 10, 11:
			return "(" + number() + " in " + sub(kindNumbers) + ")"
		case 12:
			return sub(kindText) + "." + of(d, "contains", "startsWith", "endsWith") + "(" + sub(kindText) + ")"
		}
		return "has(" + d.variable() + ")"
	case kindInt:
		switch d.IntN(8) {
		case 0:
			return "size(" + sub(of(d, kindText, kindTexts, kindNumbers)) + ")"
		case 1:
			return "int(" + sub(of(d, kindDecimal, kindInt, kindUnsigned, kindText, kindAny)) + ")"
		case 2:
			return "-" + sub(kindInt)
		case 3:
			return sub(of(d, kindText, kindTexts)) + ".size()"
		}
		return "(" + sub(kindInt) + of(d, " + ", " - ", " * ", " / ", " % ") + sub(kindInt) + ")"
	case kindUnsigned:
		return "(" + sub(kindUnsigned) + of(d, " + ", " - ", " * ", " / ", " % ") + sub(kindUnsigned) + ")"
	case kindDecimal:
		switch d.IntN(6) {
		case 0:
			return "double(" + sub(of(d, kindInt, kindDecimal, kindUnsigned)) + ")"
		case 1:
			return "-" + sub(kindDecimal)
		}
		return "(" + sub(kindDecimal) + of(d, " + ", " - ", " * ", " / ") + sub(kindDecimal) + ")"
	case kindText:
		if d.IntN(4) == 0 {
			return sub(kindTexts) + "[" + sub(kindInt) + "]"
		}
		return "(" + sub(kindText) + " + " + sub(kindText) + ")"
	case kindTexts:
		if d.IntN(3) == 0 {
			return "(" + sub(kindTexts) + " + " + sub(kindTexts) + ")"
		}
		return d.list(func() string { return sub(kindText) })
	case kindNumbers:
		return d.list(number)
	}
	switch d.IntN(4) {
	case 0:
		return d.list(func() string { return sub(d.IntN(kindAny)) }) + "[" + sub(of(d, kindInt, kindAny)) + "]"
	case 1:
		return "(" + sub(kindAny) + of(d, " + ", " - ", " * ", " / ", " % ") + sub(kindAny) + ")"
	}
	return sub(d.IntN(kindAny))
}

func (d drawn) list(element func() string) string {
	all := make([]string, d.IntN(4))
	for i := range all {
		all[i] = element()
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (d drawn) variable() string {
	return of(d, "answers.worst", "answers.least", "answers.weight", "answers.fever", "answers.rescue", "answers.smokes", "answers.note",
		"answers.mood", "answers.symptoms", "scores.total")
}

var someTexts = []string{"", "a", "fall", "b\u00e4r", "\uffff", "\U0001F600", "\U0001F600a", "7", "-12", "+3", "1e3", "9223372036854775808",
	" 7", "fa", "Infinity", "\ufb01"}

func (d drawn) leaf(kind int) string {
	switch kind {
	case kindBool:
		return of(d, "true", "false", "answers.rescue", "answers.smokes", "answers.rescue")
	case kindInt:
		return of(d, "0", "1", "-1", "2", "7", "10", "answers.worst", "answers.least", "answers.worst", "9007199254740993", "9223372036854775807",
			"-9223372036854775808")
	case kindUnsigned:
		return of(d, "0u", "1u", "7u", "18446744073709551615u", "9007199254740993u")
	case kindDecimal:
		return of(d, "0.0", "-0.0", "1.0", "7.5", "1e300", "1e-300", "9007199254740992.0", "9223372036854775807.0", "-9223372036854775808.0",
			"18446744073709551615.0", "answers.weight", "answers.fever", "scores.total")
	case kindText:
		return of(d, strconv.Quote(of(d, someTexts...)), "answers.note", "answers.mood")
	case kindTexts:
		return of(d, "answers.symptoms", `["a", "fall"]`, `[]`, `["\U0001F600"]`)
	case kindNumbers:
		return of(d, "[1, 2, 7]", "[1, 2.0]", "[]", "[7u, 7.5]", "[9007199254740992.0]", "[9007199254740993]", "[1, null]")
	}
	return of(d, "null", "[1][0]", `["a", 1][0]`, "[2.0, 1u][1]")
}

// answers draws some answers; others are missing.
func (d drawn) answers() values {
	v := values{}
	set := func(name string, value any) {
		if d.IntN(4) > 0 {
			v[name] = value
		}
	}
	decimal := func() float64 {
		return of(d, 0, 1, -1, 7.5, 1e300, -1e300, 5e-324, 9007199254740992, 2.5, 7, d.Float64()*100, 9.3e18)
	}
	integer := func() float64 {
		return of(d, 0, 1, -1, 2, 7, 10, 9007199254740992, -9007199254740992, float64(d.IntN(20)))
	}
	set("answers.worst", integer())
	set("answers.least", integer())
	set("answers.weight", decimal())
	set("answers.fever", decimal())
	set("scores.total", decimal())
	set("answers.rescue", d.IntN(2) == 0)
	set("answers.smokes", d.IntN(2) == 0)
	set("answers.note", of(d, someTexts...))
	set("answers.mood", of(d, someTexts...))
	symptoms := make([]string, d.IntN(4))
	for i := range symptoms {
		symptoms[i] = of(d, someTexts...)
	}
	set("answers.symptoms", symptoms)
	if d.IntN(20) == 0 {
		v["answers.worst"] = 2.5 // which no form records
	}
	return v
}

// grouped are values as the module takes them.
func (v values) grouped() map[string]map[string]any {
	all := map[string]map[string]any{"answers": {}, "scores": {}}
	for name, value := range v {
		group, name, _ := strings.Cut(name, ".")
		all[group][name] = value
	}
	return all
}

// compared is one evaluation for the module, and what CEL has found: "true", "false", "failed", or "missing".
type compared struct {
	Tree   *rule.Tree                `json:"tree"`
	Values map[string]map[string]any `json:"values"`
	Wants  string                    `json:"wants"`
	Rule   string                    `json:"rule"`
}

// runner reads evaluations from the standard input and writes those that come out differently.
const runner = `
import { createInterface } from "node:readline";
const { evaluate } = await import("data:text/javascript;base64," + process.argv[1]);
for await (const line of createInterface({ input: process.stdin })) {
  const { tree, values, wants, rule } = JSON.parse(line);
  const got = evaluate(tree, values);
  const is = got.missing ? "missing" : got.failed !== undefined ? "failed" : String(got.value);
  if (is === wants) continue;
  console.log(rule + "  with  " + JSON.stringify(values) + "  is " + is + " " + (got.failed ?? "") + ", and " + wants + " by CEL");
}
`

// TestPhonesComputeWhatCELComputes evaluates random rules over random answers by CEL, and their trees by the ES module in Node.js. Without
// Node.js it proves nothing: it is skipped, or fails in CI.
func TestPhonesComputeWhatCELComputes(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		missing := t.Skip
		if os.Getenv("CI") == "true" {
			missing = t.Fatal
		}
		missing("there is no Node.js (node) here, so nothing was compared; install it to prove that phones compute what CEL computes")
	}
	seed, wanted := rand.Uint64(), 20_000
	if n, err := strconv.Atoi(os.Getenv("CASEBOOK_TEST_EVALUATIONS")); err == nil {
		wanted = n
	}
	if n, err := strconv.ParseUint(os.Getenv("CASEBOOK_TEST_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("seed %d", seed)
	d := drawn{rand.New(rand.NewPCG(seed, 0))} // #nosec G404 -- a test
	var input bytes.Buffer
	lines := json.NewEncoder(&input)
	found, refused, none := map[string]int{}, 0, 0
	for n := 0; n < wanted; {
		text := d.expression(kindBool, 1+d.IntN(5))
		r, err := rule.CompileFormula(text, onPhones, rule.Boolean)
		if err != nil {
			refused++
			continue
		}
		tree, ok := r.Tree()
		if !ok {
			none++
			continue
		}
		for range 3 {
			v := d.answers()
			wants := outcome(r, v)
			found[wants]++
			if err := lines.Encode(compared{Tree: tree, Values: v.grouped(), Wants: wants, Rule: text}); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	t.Logf("%v; %d expressions were refused, %d have no tree", found, refused, none)
	for _, outcome := range []string{"true", "false", "missing", "failed"} {
		if found[outcome] < wanted/100 {
			t.Errorf("only %d of %d evaluations are %s, so little is compared", found[outcome], wanted, outcome)
		}
	}
	if different := runModule(t, node, &input); len(different) > 0 {
		t.Errorf("%d evaluations come out differently on a phone, such as\n%s", len(different),
			strings.Join(different[:min(10, len(different))], "\n"))
	}
}

// outcome is what CEL makes of a rule: true, false, missing or failed.
func outcome(r *rule.Formula, v values) string {
	value, ok, err := r.Compute(v)
	switch {
	case err != nil:
		return "failed"
	case !ok:
		return "missing"
	}
	return fmt.Sprint(value)
}

// runModule runs evaluations in Node.js, and returns those that come out differently.
func runModule(t *testing.T, node string, input io.Reader) []string {
	t.Helper()
	module := base64.StdEncoding.EncodeToString([]byte(rule.Evaluator))
	run := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", runner, module)
	var errors bytes.Buffer
	run.Stdin, run.Stderr = input, &errors
	output, err := run.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errors.String())
	}
	return slices.DeleteFunc(strings.Split(string(output), "\n"), func(line string) bool { return line == "" })
}
