package mongo

import (
	"bytes"
	"slices"
	"strings"
)

// notProvided are MongoDB's query operators that are not provided.
var notProvided = map[string]bool{
	"$expr": true, "$where": true, "$text": true, "$jsonSchema": true, "$geoWithin": true, "$geoIntersects": true,
	"$near": true, "$nearSphere": true, "$within": true, "$maxDistance": true, "$minDistance": true, "$geoNear": true,
	"$bitsAllSet": true, "$bitsAllClear": true, "$bitsAnySet": true, "$bitsAnyClear": true, "$rand": true,
	"$sampleRate": true,
}

func parseFilter(d doc) (*filter, error) {
	if d == nil {
		d = emptyDoc
	}
	n, err := parseConditions(d)
	if err != nil {
		return nil, err
	}
	return &filter{root: n, src: d}, nil
}

// parseConditions parses a query document.
func parseConditions(d doc) (allOf, error) {
	all := make(allOf, 0, 2)
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		name := string(e.name)
		if !strings.HasPrefix(name, "$") {
			var err error
			if all, err = parseField(all, name, e.value); err != nil {
				return nil, err
			}
			continue
		}
		switch name {
		case "$and", "$or", "$nor":
			kids, err := parseClauses(name, e.value)
			if err != nil {
				return nil, err
			}
			switch name {
			case "$and":
				all = append(all, kids...)
			case "$or":
				if len(kids) == 1 {
					all = append(all, kids[0])
				} else {
					all = append(all, anyOf(kids))
				}
			default:
				all = append(all, not{anyOf(kids)})
			}
		case "$comment":
		default:
			if notProvided[name] {
				return nil, refuse(codeNotImplemented, "query operator %s is not provided here", name)
			}
			return nil, refuse(codeBadValue, "unknown top level operator: %s", name)
		}
	}
	return flatten(all), nil
}

// flatten moves the parts of nested conjunctions to the top, so that the planner finds them all.
func flatten(all allOf) allOf {
	if !slices.ContainsFunc(all, func(n node) bool { _, nested := n.(allOf); return nested }) {
		return all
	}
	flat := allOf{}
	for _, n := range all {
		if nested, ok := n.(allOf); ok {
			flat = append(flat, flatten(nested)...)
		} else {
			flat = append(flat, n)
		}
	}
	return flat
}

func parseClauses(name string, v value) ([]node, error) {
	if v.t != tArray {
		return nil, refuse(codeBadValue, "%s must be an array", name)
	}
	var kids []node
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if e.t != tDocument {
			return nil, refuse(codeBadValue, "%s entries must be documents", name)
		}
		k, err := parseConditions(e.doc())
		if err != nil {
			return nil, err
		}
		kids = append(kids, k)
	}
	if len(kids) == 0 {
		return nil, refuse(codeBadValue, "%s must be a nonempty array", name)
	}
	return kids, nil
}

// isOperatorDoc reports whether v is a document of operators, not a value to compare with.
func isOperatorDoc(v value) bool {
	if v.t != tDocument {
		return false
	}
	e, _ := v.doc().first()
	if e.t == 0 || len(e.name) == 0 || e.name[0] != '$' {
		return false
	}
	switch string(e.name) {
	case "$ref", "$id", "$db": // a DBRef
		return false
	}
	return true
}

// parseField parses {path: value} or {path: {$op: ...}}, and appends the conditions to nodes.
func parseField(nodes []node, path string, v value) ([]node, error) {
	switch {
	case v.t == tRegex:
		t, err := regexOf(v, "")
		if err != nil {
			return nil, err
		}
		return append(nodes, newLeaf(path, t)), nil
	case v.t == tUndefined:
		return nil, refuse(codeBadValue, "cannot compare %q with undefined", path)
	case !isOperatorDoc(v):
		return append(nodes, newLeaf(path, eqTest{v})), nil
	}
	ops := v.doc()
	for e, rest := ops.first(); e.t != 0; e, rest = nextElem(rest) {
		k, err := parseOperator(path, string(e.name), e.value, ops)
		if err != nil {
			return nil, err
		}
		if k != nil {
			nodes = append(nodes, k)
		}
	}
	return nodes, nil
}

// parseOperator parses one operator on a path; ops is the document with all operators on the path.
func parseOperator(path, op string, v value, ops doc) (node, error) {
	switch op {
	case "$not":
		return parseNot(path, v)
	case "$all":
		return parseAll(path, v)
	}
	t, neg, err := parseTest(op, v, ops)
	if err != nil || t == nil {
		return nil, err
	}
	l := newLeaf(path, t)
	if neg {
		return not{l}, nil
	}
	return l, nil
}

func parseNot(path string, v value) (node, error) {
	switch {
	case v.t == tRegex:
		t, err := regexOf(v, "")
		if err != nil {
			return nil, err
		}
		return not{newLeaf(path, t)}, nil
	case v.t != tDocument:
		return nil, refuse(codeBadValue, "$not needs a regex or a document")
	case v.doc().isEmpty():
		return nil, refuse(codeBadValue, "$not cannot be empty")
	case !isOperatorDoc(v):
		e, _ := v.doc().first()
		return nil, refuse(codeBadValue, "unknown operator: %s", e.name)
	}
	kids, err := parseField(nil, path, v)
	if err != nil {
		return nil, err
	}
	return not{allOf(kids)}, nil
}

func parseAll(path string, v value) (node, error) {
	if v.t != tArray {
		return nil, refuse(codeBadValue, "$all needs an array")
	}
	all := allOf{}
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		switch {
		case e.t == tRegex:
			t, err := regexOf(e.value, "")
			if err != nil {
				return nil, err
			}
			all = append(all, newLeaf(path, t))
		case isOperatorDoc(e.value):
			first, _ := e.doc().first()
			if string(first.name) != "$elemMatch" {
				return nil, refuse(codeBadValue, "no %s expressions in $all", first.name)
			}
			t, err := parseElemMatch(first.value)
			if err != nil {
				return nil, err
			}
			all = append(all, newLeaf(path, t))
		default:
			all = append(all, newLeaf(path, eqTest{e.value}))
		}
	}
	if len(all) == 0 {
		return newLeaf(path, never{}), nil
	}
	return all, nil
}

// comparisons are the operators that compare in order.
var comparisons = map[string]cmpOp{"$gt": opGT, "$gte": opGTE, "$lt": opLT, "$lte": opLTE}

// parseTest parses an operator that tests one value; neg means that the test is negated. The test is nil for an
// operator that only modifies another one.
func parseTest(op string, v value, ops doc) (t test, neg bool, err error) {
	if v.t == tUndefined {
		return nil, false, refuse(codeBadValue, "%s cannot compare with undefined", op)
	}
	switch op {
	case "$eq":
		return eqTest{v}, false, nil
	case "$ne":
		if v.t == tRegex {
			return nil, false, refuse(codeBadValue, "can't have regex as arg to $ne")
		}
		return eqTest{v}, true, nil
	case "$gt", "$gte", "$lt", "$lte":
		if v.t == tRegex {
			return nil, false, refuse(codeBadValue, "can't have RegEx as arg to predicate over field: %s", op)
		}
		return cmpTest{comparisons[op], v}, false, nil
	case "$in", "$nin":
		t, err := parseIn(op, v)
		return t, op == "$nin", err
	case "$exists":
		return existsTest{}, !v.truthy(), nil
	case "$regex":
		options := ops.lookup("$options")
		if !options.missing() && options.t != tString {
			return nil, false, refuse(codeBadValue, "$options has to be a string")
		}
		o := ""
		if !options.missing() {
			o = options.str()
		}
		t, err := regexOf(v, o)
		return t, false, err
	case "$options":
		if ops.lookup("$regex").missing() {
			return nil, false, refuse(codeBadValue, "$options needs a $regex")
		}
		return nil, false, nil
	case "$elemMatch":
		t, err := parseElemMatch(v)
		return t, false, err
	case "$size":
		n, ok := v.wholeNumber()
		if !v.isNumber() {
			return nil, false, refuse(codeFailedToParse, "failed to parse $size: expected a number, got a %s", v.typeName())
		}
		if !ok || n < 0 {
			return nil, false, refuse(codeFailedToParse, "failed to parse $size: expected a whole number that is not negative")
		}
		return sizeTest{n}, false, nil
	case "$type":
		t, err := parseType(v)
		return t, false, err
	case "$mod":
		t, err := parseMod(v)
		return t, false, err
	}
	if notProvided[op] {
		return nil, false, refuse(codeNotImplemented, "query operator %s is not provided here", op)
	}
	return nil, false, refuse(codeBadValue, "unknown operator: %s", truncated(op, 64))
}

func parseIn(op string, v value) (test, error) {
	if v.t != tArray {
		return nil, refuse(codeBadValue, "%s needs an array", op)
	}
	t := &inTest{keys: map[string]struct{}{}}
	var key []byte
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		switch {
		case e.t == tRegex:
			r, err := regexOf(e.value, "")
			if err != nil {
				return nil, err
			}
			t.regexes = append(t.regexes, r)
			continue
		case isOperatorDoc(e.value):
			return nil, refuse(codeBadValue, "cannot nest $ under %s", op)
		case e.t == tUndefined:
			return nil, refuse(codeBadValue, "%s cannot compare with undefined", op)
		case e.t == tNull:
			t.null = true
		}
		key = appendKey(key[:0], e.value)
		if _, dup := t.keys[string(key)]; !dup {
			t.keys[string(key)] = struct{}{}
			t.vals = append(t.vals, e.value)
		}
	}
	return t, nil
}

func parseElemMatch(v value) (test, error) {
	if v.t != tDocument {
		return nil, refuse(codeBadValue, "$elemMatch needs an Object")
	}
	first, _ := v.doc().first()
	name := string(first.name)
	if !isOperatorDoc(v) || name == "$and" || name == "$or" || name == "$nor" || name == "$where" || name == "$expr" {
		f, err := parseConditions(v.doc())
		return elemDocTest{f}, err
	}
	n, err := parseValNode(v.doc())
	return elemValTest{n}, err
}

// parseValNode parses the operators of an $elemMatch on plain values.
func parseValNode(ops doc) (valNode, error) {
	var n valNode
	add := func(t test, neg bool) {
		n = append(n, struct {
			t   test
			neg bool
		}{t, neg})
	}
	for e, rest := ops.first(); e.t != 0; e, rest = nextElem(rest) {
		switch op := string(e.name); op {
		case "$not":
			if e.t == tRegex {
				t, err := regexOf(e.value, "")
				if err != nil {
					return nil, err
				}
				add(t, true)
				continue
			}
			if !isOperatorDoc(e.value) {
				return nil, refuse(codeBadValue, "$not needs a regex or a document")
			}
			inner, err := parseValNode(e.doc())
			if err != nil {
				return nil, err
			}
			add(groupTest{inner}, true)
		case "$all":
			return nil, refuse(codeNotImplemented, "$all within $elemMatch is not provided here")
		default:
			t, neg, err := parseTest(op, e.value, ops)
			if err != nil {
				return nil, err
			}
			if t != nil {
				add(t, neg)
			}
		}
	}
	return n, nil
}

// groupTest combines several tests, so that they can be negated together.
type groupTest struct{ n valNode }

func (groupTest) whole() bool          { return true }
func (t groupTest) holds(v value) bool { return t.n.holdsFor(v) }

func parseType(v value) (test, error) {
	t := &typeTest{}
	add := func(v value) error {
		switch {
		case v.t == tString && v.str() == "number":
			t.types[tInt32], t.types[tInt64], t.types[tDouble], t.types[tDecimal] = true, true, true, true
			return nil
		case v.t == tString:
			b, ok := typeAliases[v.str()]
			if !ok {
				return refuse(codeBadValue, "unknown type name alias: %s", truncated(v.str(), 64))
			}
			t.types[b] = true
			return nil
		case v.isNumber():
			n, ok := v.wholeNumber()
			if ok && n == -1 {
				n = int64(tMinKey)
			} else if !ok || n <= 0 || n > int64(tDecimal) && n != int64(tMaxKey) {
				return refuse(codeBadValue, "invalid numerical type code in $type")
			}
			t.types[n] = true
			return nil
		}
		return refuse(codeTypeMismatch, "type must be represented as a number or a string")
	}
	if v.t != tArray {
		return t, add(v)
	}
	if v.doc().isEmpty() {
		return nil, refuse(codeFailedToParse, "$type must match at least one type")
	}
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if err := add(e.value); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func parseMod(v value) (test, error) {
	if v.t != tArray || v.doc().len() != 2 {
		return nil, refuse(codeBadValue, "malformed mod, needs to be an array of two numbers")
	}
	e, rest := v.doc().first()
	e2, _ := nextElem(rest)
	div, ok1 := e.wholeNumber()
	rem, ok2 := e2.wholeNumber()
	if !ok1 || !ok2 {
		return nil, refuse(codeBadValue, "malformed mod, divisor and remainder must be whole numbers")
	}
	if div == 0 {
		return nil, refuse(codeBadValue, "divisor cannot be 0")
	}
	return modTest{div, rem}, nil
}

// maxPattern bounds the bytes of a regular expression. RE2 matches in linear time, but compiling takes memory.
const maxPattern = 32 << 10

// regexOf compiles a pattern that is a string or a BSON regular expression. It uses options unless they are empty, else
// those of the regular expression.
func regexOf(v value, options string) (*regexTest, error) {
	var pattern string
	switch v.t {
	case tString:
		pattern = v.str()
	case tRegex:
		p, o := v.regex()
		if o != "" && options != "" {
			return nil, refuse(codeBadRegex, "options set in both $regex and $options")
		}
		pattern = p
		if options == "" {
			options = o
		}
	default:
		return nil, refuse(codeBadValue, "$regex has to be a string")
	}
	if len(pattern) > maxPattern {
		return nil, refuse(codeBadRegex, "Regular expression is invalid: it has more than %d bytes", maxPattern)
	}
	flags := ""
	for _, o := range options {
		switch o {
		case 'i', 'm', 's':
			if !strings.ContainsRune(flags, o) {
				flags += string(o)
			}
		case 'u': // has no effect, because strings are always UTF-8
		case 'x':
			return nil, refuse(codeNotImplemented, "regular expression option x is not provided here: write the pattern without spaces and comments")
		default:
			return nil, refuse(codeBadRegex, "invalid flag in regex options: %c", o)
		}
	}
	full := pattern
	if flags != "" {
		full = "(?" + flags + ")" + pattern
	}
	re, err := compilePCRE(full)
	if err != nil {
		return nil, refuse(codeBadRegex, "Regular expression is invalid: %s (patterns are RE2: no look-around, no back-references)", err)
	}
	t := &regexTest{re: re, pattern: pattern, options: options}
	if flags == "" || flags == "s" {
		t.prefix = literalPrefix(pattern)
	}
	return t, nil
}

// literalPrefix returns a prefix of all strings that match pattern. It recognises simple patterns only and else returns
// "".
func literalPrefix(pattern string) string {
	rest, anchored := strings.CutPrefix(pattern, "^")
	if !anchored || strings.Contains(pattern, "|") {
		return ""
	}
	n := strings.IndexAny(rest, `\.+*?()[]{}^$`)
	switch {
	case n < 0:
		return rest
	case strings.IndexByte("*?{", rest[n]) >= 0:
		// The character before the operator is optional.
		for n--; n > 0 && rest[n]&0xC0 == 0x80; n-- {
		}
	}
	return rest[:max(n, 0)]
}

// idEquals returns the _id that a filter requires, if it requires one.
func (f *filter) idEquals() (value, bool) {
	for _, n := range f.root.(allOf) {
		if l, ok := n.(*leaf); ok && l.path == "_id" {
			if t, ok := l.test.(eqTest); ok && t.v.t != tArray {
				return t.v, true
			}
		}
	}
	return value{}, false
}

// keepDoc copies a document, so that it can outlive the message or the scan that it points into.
func keepDoc(d doc) doc { return doc(bytes.Clone(d)) }
