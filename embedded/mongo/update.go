package mongo

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// updater is a compiled update: a replacement document, or a list of changes.
type updater struct {
	replacement doc
	changes     []change // in the order of their paths, which is the order in which new fields appear
}

// change is one operator on one path.
type change struct {
	op    string
	path  string
	parts []string
	arg   value
	apply func(t *tree, c *change) error
	pull  node // for $pull: which elements go
}

var updateOperators = map[string]func(*tree, *change) error{
	"$set": applySet, "$setOnInsert": applySet, "$unset": applyUnset, "$inc": applyArithmetic, "$mul": applyArithmetic,
	"$min": applyMinMax, "$max": applyMinMax, "$push": applyPush, "$addToSet": applyAddToSet, "$pop": applyPop,
	"$pull": applyPull, "$pullAll": applyPullAll, "$rename": applyRename, "$currentDate": applyCurrentDate,
}

// parseUpdate reads the u of an update statement.
func parseUpdate(u value) (*updater, error) {
	switch u.t {
	case tDocument:
	case tArray:
		return nil, refuse(codeNotImplemented, "updates by an aggregation pipeline are not provided here: use update operators")
	default:
		return nil, refuse(codeFailedToParse, "update argument must be either an object or an array")
	}
	d := u.doc()
	first, _ := d.first()
	if first.t == 0 || len(first.name) == 0 || first.name[0] != '$' {
		return &updater{replacement: d}, checkReplacement(d)
	}
	up := &updater{}
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		op := string(e.name)
		apply := updateOperators[op]
		switch {
		case op == "$bit":
			return nil, refuse(codeNotImplemented, "update operator $bit is not provided here")
		case apply == nil:
			return nil, refuse(codeFailedToParse, "Unknown modifier: %s. Expected a valid update modifier or pipeline-style update specified as an array", truncated(op, 64))
		case e.t != tDocument:
			return nil, refuse(codeFailedToParse, "Modifiers operate on fields but we found type %s instead. For example: {$mod: {<field>: ...}}", e.typeName())
		}
		for f, frest := e.doc().first(); f.t != 0; f, frest = nextElem(frest) {
			c := change{op: op, path: string(f.name), arg: f.value, apply: apply}
			if err := c.prepare(); err != nil {
				return nil, err
			}
			up.changes = append(up.changes, c)
		}
	}
	slices.SortStableFunc(up.changes, func(a, b change) int { return comparePaths(a.parts, b.parts) })
	return up, up.checkConflicts()
}

func checkReplacement(d doc) error {
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		if len(e.name) > 0 && e.name[0] == '$' {
			return refuse(codeDollarPrefixedFieldName, "The dollar ($) prefixed field '%s' is not allowed in a replacement document: an update has operators only, a replacement has none", truncated(string(e.name), 64))
		}
	}
	return nil
}

// prepare checks a change as far as that needs no document.
func (c *change) prepare() error {
	var err error
	if c.parts, err = updatePath(c.path); err != nil {
		return err
	}
	switch c.op {
	case "$inc", "$mul":
		if !c.arg.isNumber() {
			return refuse(codeTypeMismatch, "Cannot %s with non-numeric argument: {%s: %s}", strings.TrimPrefix(c.op, "$"), c.path, shellValue(c.arg))
		}
		if c.arg.t == tDecimal {
			return refuse(codeNotImplemented, "%s with a decimal is not provided here: use a double or an integer", c.op)
		}
	case "$rename":
		if c.arg.t != tString {
			return refuse(codeBadValue, "The 'to' field for $rename must be a string: %s", c.path)
		}
		to, err := updatePath(c.arg.str())
		if err != nil {
			return err
		}
		if overlaps(c.parts, to) {
			return refuse(codeBadValue, "The source and target field for $rename must differ, and neither may be within the other: %s", c.path)
		}
	case "$pop":
		if n, ok := c.arg.wholeNumber(); !ok || n != 1 && n != -1 {
			return refuse(codeFailedToParse, "$pop expects 1 or -1, found: %s", shellValue(c.arg))
		}
	case "$pullAll":
		if c.arg.t != tArray {
			return refuse(codeBadValue, "$pullAll requires an array argument but was given a %s", c.arg.typeName())
		}
	case "$pull":
		c.pull, err = parsePull(c.arg)
		return err
	case "$push", "$addToSet":
		_, err := eachOf(c.op, c.arg)
		return err
	case "$currentDate":
		return checkCurrentDate(c.arg)
	}
	return nil
}

func updatePath(path string) ([]string, error) {
	parts := strings.Split(path, ".")
	for _, p := range parts {
		switch {
		case p == "":
			return nil, refuse(56, "The update path '%s' contains an empty field name, which is not allowed.", truncated(path, 64))
		case p == "$" || strings.HasPrefix(p, "$["):
			return nil, refuse(codeNotImplemented, "the positional operator in the path '%s' is not provided here: name the position, or replace the array", truncated(path, 64))
		case p[0] == '$':
			return nil, refuse(codeDollarPrefixedFieldName, "The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update.", p, truncated(path, 64))
		}
	}
	return parts, nil
}

// comparePaths orders paths part by part, array positions by number.
func comparePaths(a, b []string) int {
	return slices.CompareFunc(a, b, func(x, y string) int {
		if i, j := arrayIndex(x), arrayIndex(y); i >= 0 && j >= 0 {
			return cmp.Compare(i, j)
		}
		return cmp.Compare(x, y)
	})
}

// overlaps says whether one path is the other or leads to it.
func overlaps(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

func (u *updater) checkConflicts() error {
	type target struct {
		path  string
		parts []string
	}
	var targets []target
	for _, c := range u.changes {
		targets = append(targets, target{c.path, c.parts})
		if c.op == "$rename" {
			targets = append(targets, target{c.arg.str(), strings.Split(c.arg.str(), ".")})
		}
	}
	// In this order, paths that overlap are neighbours.
	slices.SortFunc(targets, func(a, b target) int { return comparePaths(a.parts, b.parts) })
	for i := 1; i < len(targets); i++ {
		if a, b := targets[i-1], targets[i]; overlaps(a.parts, b.parts) {
			return refuse(codeConflictingUpdate, "Updating the path '%s' would create a conflict at '%s'", b.path, a.path)
		}
	}
	return nil
}

// apply returns what becomes of old. insert says that old is being made by an upsert.
func (u *updater) apply(old doc, insert bool) (doc, error) {
	id := old.lookup("_id")
	if u.replacement != nil {
		return replaceKeepingID(u.replacement, id)
	}
	t := &tree{v: value{tDocument, old}}
	for i := range u.changes {
		c := &u.changes[i]
		if c.op == "$setOnInsert" && !insert {
			continue
		}
		if err := c.apply(t, c); err != nil {
			return nil, err
		}
	}
	if !t.open {
		return old, nil
	}
	w := &builder{}
	t.appendTo(w)
	d := doc(w.b)
	if depth := d.depth(); depth > maxBSONDepth {
		return nil, refuse(15, "the document would have %d levels, at most %d are stored", depth, maxBSONDepth)
	}
	if now := d.lookup("_id"); !id.missing() && !(now.t == id.t && bytes.Equal(now.b, id.b)) {
		return nil, refuse(codeImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'")
	}
	return d, nil
}

// depth is the number of documents within each other below d.
func (d doc) depth() int {
	deepest := 0
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		if e.t == tDocument || e.t == tArray {
			deepest = max(deepest, 1+e.doc().depth())
		}
	}
	return deepest
}

// replaceKeepingID returns the replacement with the _id in front. An _id of its own must be the same.
func replaceKeepingID(r doc, id value) (doc, error) {
	own := r.lookup("_id")
	switch {
	case id.missing():
		return withIDFirst(r), nil
	case !own.missing() && !equal(own, id):
		return nil, refuse(codeImmutableField, "the (immutable) field '_id' was found to have been altered to _id: %s", shellValue(own))
	case !own.missing() && own.t == id.t:
		return withIDFirst(r), nil
	}
	return prependID(r, id), nil
}

// withIDFirst moves the _id to the front, and makes one when there is none.
func withIDFirst(d doc) doc {
	e, _ := d.first()
	if e.t != 0 && string(e.name) == "_id" {
		return d
	}
	id := d.lookup("_id")
	if id.missing() {
		id = newObjectID()
	}
	return prependID(d, id)
}

// prependID puts id in front of d's other fields.
func prependID(d doc, id value) doc {
	w := newBuilder()
	w.val("_id", id)
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		if string(e.name) != "_id" {
			w.val(string(e.name), e.value)
		}
	}
	return w.done()
}

var (
	objectIDMachine = func() (b [5]byte) { rand.Read(b[:]); return }() //nolint:errcheck // crypto/rand does not fail
	objectIDCounter atomic.Uint32
)

// newObjectID makes an _id: time, a random number per process, a counter.
func newObjectID() value {
	b := binary.BigEndian.AppendUint32(nil, uint32(time.Now().Unix()))
	b = append(b, objectIDMachine[:]...)
	n := objectIDCounter.Add(1)
	return value{tObjectID, append(b, byte(n>>16), byte(n>>8), byte(n))}
}

// upsertBase is the document that an upsert begins with: the fields that the filter wants to be equal to something.
func upsertBase(f *filter) (doc, error) {
	t := &tree{v: value{tDocument, emptyDoc}, open: true}
	for _, n := range f.root.(allOf) {
		l, ok := n.(*leaf)
		if !ok {
			continue
		}
		var v value
		switch test := l.test.(type) {
		case eqTest:
			v = test.v
		case *inTest:
			if len(test.vals) != 1 || len(test.regexes) > 0 {
				continue
			}
			v = test.vals[0]
		default:
			continue
		}
		at, err := t.at(l.parts, true)
		if err != nil {
			return nil, err
		}
		if !at.v.missing() {
			return nil, refuse(codeNotExactValueFieldUpsert, "cannot infer query fields to set, path '%s' is matched twice", l.path)
		}
		at.set(v)
	}
	w := &builder{}
	t.appendTo(w)
	return w.b, nil
}

// tree is a value that is being changed. A document or array is taken apart only where a change reaches into it.
type tree struct {
	v    value
	open bool // kids count, and of v only the type
	kids []branch
}

type branch struct {
	name string
	*tree
}

func (t *tree) set(v value) { *t = tree{v: v} }

// expand takes a document or array apart.
func (t *tree) expand() {
	if t.open {
		return
	}
	t.open = true
	for e, rest := t.v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		t.kids = append(t.kids, branch{string(e.name), &tree{v: e.value}})
	}
}

// value returns t as one value again.
func (t *tree) value() value {
	if !t.open {
		return t.v
	}
	w := &builder{}
	t.appendTo(w)
	return value{t.v.t, w.b}
}

// appendTo writes an open document or array.
func (t *tree) appendTo(w *builder) {
	if t.v.t == tArray {
		w.push(0)
	} else {
		w.push(-1)
	}
	t.appendKids(w)
	w.end()
}

func (t *tree) appendKids(w *builder) {
	for _, k := range t.kids {
		switch {
		case !k.open && k.v.missing(): // was made on the way, and nothing came of it
		case !k.open:
			w.val(k.name, k.v)
		default:
			w.head(k.v.t, k.name)
			k.appendTo(w)
		}
	}
}

// maxPadding is how many nulls an update may put in front of an array position that lies beyond the end.
const maxPadding = 1_500_000

// at returns the value at a path. With create it makes what is not there, with a missing value at the end; without, it
// returns nil.
func (t *tree) at(parts []string, create bool) (*tree, error) {
	for i, p := range parts {
		switch t.v.t {
		case tDocument:
			t.expand()
			n := slices.IndexFunc(t.kids, func(k branch) bool { return k.name == p })
			if n < 0 {
				if !create {
					return nil, nil
				}
				t.kids = append(t.kids, branch{p, &tree{}})
				n = len(t.kids) - 1
			}
			t = t.kids[n].tree
		case tArray:
			pos := arrayIndex(p)
			if pos < 0 {
				if !create {
					return nil, nil
				}
				return nil, refuse(codePathNotViable, "Cannot create field '%s' in the array at '%s'", p, strings.Join(parts[:i], "."))
			}
			t.expand()
			if pos >= len(t.kids) {
				if !create {
					return nil, nil
				}
				if pos-len(t.kids) > maxPadding {
					return nil, refuse(codeBadValue, "cannot put %d nulls in front of position %d, at most %d", pos-len(t.kids), pos, maxPadding)
				}
				for len(t.kids) < pos {
					t.kids = append(t.kids, branch{"", &tree{v: value{t: tNull}}})
				}
				t.kids = append(t.kids, branch{"", &tree{}})
			}
			t = t.kids[pos].tree
		default:
			if !create {
				return nil, nil
			}
			return nil, refuse(codePathNotViable, "Cannot create field '%s' in element {%s: %s}", p, strings.Join(parts[:i], "."), shellValue(t.v))
		}
		if create && t.v.missing() && i < len(parts)-1 {
			*t = tree{v: value{t: tDocument}, open: true}
		}
	}
	return t, nil
}

// take removes the value at a path, which becomes null within an array, and returns it.
func (t *tree) take(parts []string) (value, error) {
	last := len(parts) - 1
	parent, err := t.at(parts[:last], false)
	if parent == nil || err != nil {
		return value{}, err
	}
	at, err := parent.at(parts[last:], false)
	if at == nil || err != nil {
		return value{}, err
	}
	v := at.value()
	if parent.v.t == tArray {
		at.set(value{t: tNull})
	} else {
		parent.kids = slices.DeleteFunc(parent.kids, func(k branch) bool { return k.tree == at })
	}
	return v, nil
}

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
		return refuse(codeTypeMismatch, "Cannot apply %s to a value of non-numeric type. The field '%s' is of type %s", c.op, c.path, at.v.typeName())
	}
	v, ok := arithmetic(c.op, at.v, c.arg)
	if !ok {
		return refuse(codeBadValue, "Failed to apply %s operations to current value (%s): the result is beyond 64 bits", c.op, shellValue(at.v))
	}
	at.set(v)
	return nil
}

// arithmetic adds or multiplies; the result has the wider type of the two, and int32 widens rather than overflows.
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
	sliced   bool
	sort     *sortSpec
	sortDir  int64 // for elements that are plain values; 0: not sorted
}

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

// arrayAt returns the array at the change's path, taken apart; an absent one is made when create is set, else nil.
func arrayAt(t *tree, c *change, create bool) (*tree, error) {
	at, err := t.at(c.parts, create)
	if at == nil || err != nil {
		return nil, err
	}
	if !at.open && at.v.missing() {
		at.set(value{tArray, emptyDoc})
	}
	if at.v.t != tArray {
		return nil, refuse(codeBadValue, "The field '%s' must be an array but is of type %s, which %s cannot change", c.path, at.v.typeName(), c.op)
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

// elementKey is the sort key of an array's element, which need not be a document.
func (s *sortSpec) elementKey(v value) []byte {
	if v.t != tDocument {
		return s.appendSortKey(nil, emptyDoc)
	}
	return s.appendSortKey(nil, v.doc())
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

// elementField is the field under which an element is shown to a condition that speaks of the element itself.
const elementField = "e"

// parsePull reads what $pull removes: elements equal to a value, or that match a condition.
func parsePull(arg value) (node, error) {
	if arg.t == tDocument && !isOperatorDoc(arg) {
		return parseConditions(arg.doc())
	}
	kids, err := parseField(elementField, arg)
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
