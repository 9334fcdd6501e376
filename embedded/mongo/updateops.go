package mongo

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

func applySet(t *tree, c *change) error {
	at, err := t.at(c.parts, true)
	if err == nil {
		at.set(c.arg)
	}
	return err
}

func applyUnset(t *tree, c *change) error {
	_, err := t.take(c.parts)
	return err
}

func applyRename(t *tree, c *change) error {
	v, err := t.take(c.parts)
	if err != nil || v.missing() {
		return err
	}
	at, err := t.at(strings.Split(c.arg.str(), "."), true)
	if err == nil {
		at.set(v)
	}
	return err
}

func applyArithmetic(t *tree, c *change) error {
	at, err := t.at(c.parts, true)
	if err != nil {
		return err
	}
	if !at.open && at.v.missing() {
		v := c.arg
		if c.op == "$mul" {
			v = value{c.arg.t, make([]byte, len(c.arg.b))} // zero of the same type
		}
		at.set(v)
		return nil
	}
	switch {
	case at.v.t == tDecimal:
		return refuse(codeNotImplemented, "%s on a decimal is not provided here: the field '%s' holds one", c.op, c.path)
	case !at.v.isNumber():
		return refuse(codeTypeMismatch,
			"Cannot apply %s to a value of non-numeric type. The field '%s' is of type %s", c.op, c.path, at.v.typeName())
	}
	v, ok := arithmetic(c.op, at.v, c.arg)
	if !ok {
		return refuse(codeBadValue,
			"Failed to apply %s operations to current value (%s): the result is beyond 64 bits", c.op, shellValue(at.v))
	}
	at.set(v)
	return nil
}

// arithmetic adds or multiplies. The result has the wider of the two types, and an int32 is widened instead of
// overflowing. It reports false if the result exceeds 64 bits.
func arithmetic(op string, a, b value) (value, bool) {
	ia, okA := asInt(a)
	ib, okB := asInt(b)
	if !okA || !okB {
		fa, fb := asFloat(a), asFloat(b)
		if op == "$mul" {
			return doubleValue(fa * fb), true
		}
		return doubleValue(fa + fb), true
	}
	var n int64
	if op == "$mul" {
		hi, lo := bits.Mul64(magnitude(ia), magnitude(ib))
		negative := (ia < 0) != (ib < 0)
		if hi != 0 || lo > 1<<63 || lo == 1<<63 && !negative {
			return value{}, false
		}
		n = ia * ib
	} else {
		n = ia + ib
		if (n > ia) != (ib > 0) && ib != 0 {
			return value{}, false
		}
	}
	if a.t == tInt32 && b.t == tInt32 && n == int64(int32(n)) {
		return int32Value(int32(n)), true
	}
	return int64Value(n), true
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func asFloat(v value) float64 {
	if v.t == tDouble {
		return v.double()
	}
	if i, ok := asInt(v); ok {
		return float64(i)
	}
	if v.t == tDecimal {
		f, _ := decimalOf(v.b).float()
		return f
	}
	return math.NaN()
}

func applyMinMax(t *tree, c *change) error {
	at, err := t.at(c.parts, true)
	if err != nil {
		return err
	}
	now := at.value()
	if r := compare(c.arg, now); now.missing() || c.op == "$min" && r < 0 || c.op == "$max" && r > 0 {
		at.set(c.arg)
	}
	return nil
}

// pushSpec is the argument of $push or $addToSet.
type pushSpec struct {
	each     []value
	position int64 // where to insert; math.MaxInt64 for the end
	slice    int64
	sliced   bool // slice is set
	sort     *sortSpec
	sortDir  int64 // for elements that are plain values; 0 for no sorting
}

// eachOf parses the argument of $push or $addToSet.
func eachOf(op string, arg value) (*pushSpec, error) {
	p := &pushSpec{position: math.MaxInt64}
	if arg.t != tDocument || arg.doc().lookup("$each").missing() {
		p.each = []value{arg}
		return p, nil
	}
	for e, rest := arg.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		name := string(e.name)
		n, whole := e.wholeNumber()
		switch {
		case name == "$each":
			if e.t != tArray {
				return nil, refuse(codeBadValue, "The argument to $each in %s must be an array but it was of type %s", op, e.typeName())
			}
			for k, krest := e.doc().first(); k.t != 0; k, krest = nextElem(krest) {
				p.each = append(p.each, k.value)
			}
		case op != "$push":
			return nil, refuse(codeBadValue, "Found unexpected fields after $each in %s: %s", op, name)
		case name == "$slice" && whole:
			p.slice, p.sliced = n, true
		case name == "$position" && whole:
			p.position = n
		case name == "$slice" || name == "$position":
			return nil, refuse(codeBadValue, "The value for %s must be a whole number but was given type: %s", name, e.typeName())
		case name == "$sort" && whole && (n == 1 || n == -1):
			p.sortDir = n
		case name == "$sort" && e.t == tDocument:
			s, err := parseSort(e.doc())
			if err != nil {
				return nil, err
			}
			if s == nil {
				return nil, refuse(codeBadValue, "The $sort pattern is empty when it should be a set of fields.")
			}
			p.sort = s
		default:
			return nil, refuse(codeBadValue, "Unrecognized clause in $push: %s", name)
		}
	}
	return p, nil
}

// arrayAt returns the expanded array at the change's path. If there is none, it creates one if create is set, else it
// returns nil.
func arrayAt(t *tree, c *change, create bool) (*tree, error) {
	at, err := t.at(c.parts, create)
	if at == nil || err != nil {
		return nil, err
	}
	if !at.open && at.v.missing() {
		at.set(value{tArray, emptyDoc})
	}
	if at.v.t != tArray {
		return nil, refuse(codeBadValue,
			"The field '%s' must be an array but is of type %s, which %s cannot change", c.path, at.v.typeName(), c.op)
	}
	at.expand()
	return at, nil
}

func applyPush(t *tree, c *change) error {
	p, err := eachOf(c.op, c.arg)
	if err != nil {
		return err
	}
	at, err := arrayAt(t, c, true)
	if err != nil {
		return err
	}
	added := make([]branch, len(p.each))
	for i, v := range p.each {
		added[i].tree = &tree{v: v}
	}
	n := int64(len(at.kids))
	pos := min(p.position, n)
	if pos < 0 {
		pos = max(n+pos, 0)
	}
	at.kids = slices.Insert(at.kids, int(pos), added...)
	switch {
	case p.sort != nil:
		slices.SortStableFunc(at.kids, func(a, b branch) int {
			return bytes.Compare(p.sort.elementKey(a.value()), p.sort.elementKey(b.value()))
		})
	case p.sortDir != 0:
		slices.SortStableFunc(at.kids, func(a, b branch) int { return int(p.sortDir) * compare(a.value(), b.value()) })
	}
	if n := int64(len(at.kids)); p.sliced {
		if p.slice >= 0 {
			at.kids = at.kids[:min(p.slice, n)]
		} else {
			at.kids = at.kids[max(n+p.slice, 0):]
		}
	}
	return nil
}

// elementKey returns the sort key of an array's element. An element that is not a document counts as an empty one.
func (s *sortSpec) elementKey(v value) []byte {
	if v.t != tDocument {
		return s.appendFieldKeys(nil, emptyDoc)
	}
	return s.appendFieldKeys(nil, v.doc())
}

func applyAddToSet(t *tree, c *change) error {
	p, err := eachOf(c.op, c.arg)
	if err != nil {
		return err
	}
	at, err := arrayAt(t, c, true)
	if err != nil {
		return err
	}
	for _, v := range p.each {
		if !slices.ContainsFunc(at.kids, func(k branch) bool { return equal(k.value(), v) }) {
			at.kids = append(at.kids, branch{"", &tree{v: v}})
		}
	}
	return nil
}

func applyPop(t *tree, c *change) error {
	at, err := arrayAt(t, c, false)
	if at == nil || err != nil || len(at.kids) == 0 {
		return err
	}
	if n, _ := c.arg.wholeNumber(); n < 0 {
		at.kids = at.kids[1:]
	} else {
		at.kids = at.kids[:len(at.kids)-1]
	}
	return nil
}

// elementField is the name of the field in which an element is wrapped, so that a condition can test the element
// itself.
const elementField = "e"

// parsePull parses the condition of $pull: elements that equal a value or match a condition are removed.
func parsePull(arg value) (node, error) {
	if arg.t == tDocument && !isOperatorDoc(arg) {
		return parseConditions(arg.doc())
	}
	kids, err := parseField(nil, elementField, arg)
	return allOf(kids), err
}

func applyPull(t *tree, c *change) error {
	at, err := arrayAt(t, c, false)
	if at == nil || err != nil {
		return err
	}
	onFields := c.arg.t == tDocument && !isOperatorDoc(c.arg)
	at.kids = slices.DeleteFunc(at.kids, func(k branch) bool {
		v := k.value()
		if onFields {
			return v.t == tDocument && c.pull.match(v.doc())
		}
		return c.pull.match(newBuilder().val(elementField, v).done())
	})
	return nil
}

func applyPullAll(t *tree, c *change) error {
	at, err := arrayAt(t, c, false)
	if at == nil || err != nil {
		return err
	}
	at.kids = slices.DeleteFunc(at.kids, func(k branch) bool {
		for e, rest := c.arg.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			if equal(k.value(), e.value) {
				return true
			}
		}
		return false
	})
	return nil
}

func checkCurrentDate(arg value) error {
	if arg.t == tBool {
		return nil
	}
	if arg.t == tDocument && arg.doc().len() == 1 {
		if t := arg.doc().lookup("$type"); t.t == tString && (t.str() == "date" || t.str() == "timestamp") {
			return nil
		}
	}
	return refuse(codeBadValue, "$currentDate expects true, {$type: \"date\"} or {$type: \"timestamp\"}")
}

func applyCurrentDate(t *tree, c *change) error {
	at, err := t.at(c.parts, true)
	if err != nil {
		return err
	}
	now := time.Now()
	if c.arg.t == tDocument && c.arg.doc().lookup("$type").str() == "timestamp" {
		at.set(value{tTimestamp, binary.LittleEndian.AppendUint64(nil, uint64(now.Unix())<<32|1)})
	} else {
		at.set(value{tDate, binary.LittleEndian.AppendUint64(nil, uint64(now.UnixMilli()))})
	}
	return nil
}
