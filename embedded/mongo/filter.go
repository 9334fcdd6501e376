package mongo

import (
	"strings"
)

// A filter is compiled once per statement into a tree of nodes, which match raw documents without decoding them.

// node is one condition on a document.
type node interface {
	match(d doc) bool
}

// filter is a compiled query document.
type filter struct {
	root node
	src  doc // the query document
}

func (f *filter) match(d doc) bool { return f.root.match(d) }

type allOf []node

func (n allOf) match(d doc) bool {
	for _, k := range n {
		if !k.match(d) {
			return false
		}
	}
	return true
}

type anyOf []node

func (n anyOf) match(d doc) bool {
	for _, k := range n {
		if k.match(d) {
			return true
		}
	}
	return false
}

type not struct{ kid node }

func (n not) match(d doc) bool { return !n.kid.match(d) }

// leaf is a condition on the values at a path.
type leaf struct {
	path  string
	parts []string
	nums  []int // the parts as array positions, -1 for those that are not numbers
	test  test

	onePart [1]string // the memory of parts and nums for a path of one part
	oneNum  [1]int
}

// test is a condition on one value.
type test interface {
	holds(v value) bool
	// whole reports whether an array is tested only as a whole, not also element by element.
	whole() bool
}

func newLeaf(path string, t test) *leaf {
	l := &leaf{path: path, test: t}
	if strings.IndexByte(path, '.') < 0 {
		l.onePart[0], l.oneNum[0] = path, arrayIndex(path)
		l.parts, l.nums = l.onePart[:], l.oneNum[:]
		return l
	}
	l.parts = strings.Split(path, ".")
	for _, p := range l.parts {
		l.nums = append(l.nums, arrayIndex(p))
	}
	return l
}

func (l *leaf) match(d doc) bool { return l.at(d.lookup(l.parts[0]), 0) }

// at tests v, the value at part i of the path.
func (l *leaf) at(v value, i int) bool {
	if i == len(l.parts)-1 {
		if v.t == tArray && !l.test.whole() {
			for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
				if l.test.holds(e.value) {
					return true
				}
			}
		}
		return l.test.holds(v)
	}
	switch v.t {
	case tDocument:
		return l.at(v.doc().lookup(l.parts[i+1]), i+1)
	case tArray:
		// The next part is a field of each document in the array, and may also be a position in the array.
		pos := 0
		for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			if e.t == tDocument && l.at(e.doc().lookup(l.parts[i+1]), i+1) {
				return true
			}
			// A value at the position has no fields of its own, so that a longer path has no value there.
			ends := i+1 == len(l.parts)-1 || e.t == tDocument || e.t == tArray
			if pos == l.nums[i+1] && ends && l.at(e.value, i+1) {
				return true
			}
			pos++
		}
		return false
	}
	return l.test.holds(value{})
}

// The tests.

type eqTest struct{ v value }

func (t eqTest) whole() bool { return false }
func (t eqTest) holds(v value) bool {
	if t.v.isNullish() {
		return v.isNullish()
	}
	return !v.missing() && equal(t.v, v)
}

type cmpOp byte

const (
	opGT cmpOp = iota
	opGTE
	opLT
	opLTE
)

type cmpTest struct {
	op cmpOp
	v  value
}

func (t cmpTest) whole() bool { return false }
func (t cmpTest) holds(v value) bool {
	orEqual := t.op == opGTE || t.op == opLTE
	c := class(t.v.t)
	switch {
	case c == kNull:
		return orEqual && v.isNullish()
	case c == kMinKey || c == kMaxKey: // these compare with values of all types
	case v.missing() || class(v.t) != c:
		return false
	case t.v.isNaN() || v.isNaN():
		return orEqual && t.v.isNaN() && v.isNaN()
	}
	switch r := compare(v, t.v); t.op {
	case opGT:
		return r > 0
	case opGTE:
		return r >= 0
	case opLT:
		return r < 0
	default:
		return r <= 0
	}
}

// inTest holds for each value of a list, and for strings that match a regular expression of the list.
type inTest struct {
	vals    []value // in order, without regular expressions
	keys    map[string]struct{}
	null    bool
	regexes []*regexTest
}

func (t *inTest) whole() bool { return false }
func (t *inTest) holds(v value) bool {
	if v.isNullish() && t.null {
		return true
	}
	if v.missing() {
		return false
	}
	var buf [96]byte
	if _, ok := t.keys[string(appendKey(buf[:0], v))]; ok {
		return true
	}
	for _, r := range t.regexes {
		if r.holds(v) {
			return true
		}
	}
	return false
}

type regexTest struct {
	re               *pcre
	pattern, options string
	prefix           string // with which every match begins, for the planner
}

func (t *regexTest) whole() bool { return false }
func (t *regexTest) holds(v value) bool {
	switch v.t {
	case tString, tSymbol:
		return t.re.match(v.strBytes())
	case tRegex:
		p, o := v.regex()
		return p == t.pattern && o == t.options
	}
	return false
}

type existsTest struct{}

func (existsTest) whole() bool        { return true }
func (existsTest) holds(v value) bool { return !v.missing() }

type sizeTest struct{ n int64 }

func (sizeTest) whole() bool          { return true }
func (t sizeTest) holds(v value) bool { return v.t == tArray && int64(v.doc().len()) == t.n }

type typeTest struct{ types [256]bool }

func (*typeTest) whole() bool          { return false }
func (t *typeTest) holds(v value) bool { return t.types[v.t] }

type modTest struct{ div, rem int64 }

func (modTest) whole() bool { return false }
func (t modTest) holds(v value) bool {
	if v.t == tDouble && !v.isNaN() { // MongoDB truncates fractions
		if f := v.double(); f >= -1<<63 && f < 1<<63 {
			return int64(f)%t.div == t.rem
		}
		return false
	}
	n, ok := v.wholeNumber()
	return ok && n%t.div == t.rem
}

// elemDocTest holds for an array with an element that is a matching document.
type elemDocTest struct{ f node }

func (elemDocTest) whole() bool { return true }
func (t elemDocTest) holds(v value) bool {
	if v.t != tArray {
		return false
	}
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if (e.t == tDocument || e.t == tArray) && t.f.match(e.doc()) {
			return true
		}
	}
	return false
}

// elemValTest holds for an array with an element that passes all tests.
type elemValTest struct{ n valNode }

func (elemValTest) whole() bool { return true }
func (t elemValTest) holds(v value) bool {
	if v.t != tArray {
		return false
	}
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if t.n.holdsFor(e.value) {
			return true
		}
	}
	return false
}

// valNode is a list of tests on one value that all must hold, some of them negated.
type valNode []struct {
	t   test
	neg bool
}

func (n valNode) holdsFor(v value) bool {
	for _, k := range n {
		holds := k.t.holds(v)
		if !holds && v.t == tArray && !k.t.whole() {
			for e, rest := v.doc().first(); e.t != 0 && !holds; e, rest = nextElem(rest) {
				holds = k.t.holds(e.value)
			}
		}
		if holds == k.neg {
			return false
		}
	}
	return true
}

// never holds for no value, as {$in: []} and {$all: []}.
type never struct{}

func (never) whole() bool      { return true }
func (never) holds(value) bool { return false }
