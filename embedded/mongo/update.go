package mongo

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// updater is a compiled update: a replacement document or a list of changes.
type updater struct {
	replacement doc
	changes     []change // sorted by path, which is the order in which new fields are added
}

// change is one operator on one path.
type change struct {
	op    string
	path  string
	parts []string
	arg   value
	apply func(t *tree, c *change) error
	pull  node // for $pull, the condition on the elements to remove
}

var updateOperators = map[string]func(*tree, *change) error{
	"$set": applySet, "$setOnInsert": applySet, "$unset": applyUnset, "$inc": applyArithmetic, "$mul": applyArithmetic,
	"$min": applyMinMax, "$max": applyMinMax, "$push": applyPush, "$addToSet": applyAddToSet, "$pop": applyPop,
	"$pull": applyPull, "$pullAll": applyPullAll, "$rename": applyRename, "$currentDate": applyCurrentDate,
}

// parseUpdate parses the field u of an update statement.
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
			return nil, refuse(codeFailedToParse, "Unknown modifier: %s. "+
				"Expected a valid update modifier or pipeline-style update specified as an array", truncated(op, 64))
		case e.t != tDocument:
			return nil, refuse(codeFailedToParse, "Modifiers operate on fields but we found type %s instead. "+
				"For example: {$mod: {<field>: ...}}", e.typeName())
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
			return refuse(codeDollarPrefixedFieldName, "The dollar ($) prefixed field '%s' is not allowed in a replacement document: "+
				"an update has operators only, a replacement has none", truncated(string(e.name), 64))
		}
	}
	return nil
}

// prepare checks a change as far as possible without a document.
func (c *change) prepare() error {
	var err error
	if c.parts, err = updatePath(c.path); err != nil {
		return err
	}
	switch c.op {
	case "$inc", "$mul":
		if !c.arg.isNumber() {
			return refuse(codeTypeMismatch,
				"Cannot %s with non-numeric argument: {%s: %s}", strings.TrimPrefix(c.op, "$"), c.path, shellValue(c.arg))
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
			return nil, refuse(codeNotImplemented, "the positional operator in the path '%s' is not provided here: "+
				"name the position, or replace the array", truncated(path, 64))
		case p[0] == '$':
			return nil, refuse(codeDollarPrefixedFieldName,
				"The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update.", p, truncated(path, 64))
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

// overlaps reports whether the paths are equal or one is a prefix of the other.
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
	// In this order, overlapping paths are neighbours.
	slices.SortFunc(targets, func(a, b target) int { return comparePaths(a.parts, b.parts) })
	for i := 1; i < len(targets); i++ {
		if a, b := targets[i-1], targets[i]; overlaps(a.parts, b.parts) {
			return refuse(codeConflictingUpdate, "Updating the path '%s' would create a conflict at '%s'", b.path, a.path)
		}
	}
	return nil
}

// apply returns the updated document. insert means that an upsert inserts it.
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
		return nil, refuse(codeOverflow, "the document would have %d levels, at most %d are stored", depth, maxBSONDepth)
	}
	if now := d.lookup("_id"); !id.missing() && !(now.t == id.t && bytes.Equal(now.b, id.b)) {
		return nil, refuse(codeImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'")
	}
	return d, nil
}

// depth returns the number of levels of documents and arrays below d.
func (d doc) depth() int {
	deepest := 0
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		if e.t == tDocument || e.t == tArray {
			deepest = max(deepest, 1+e.doc().depth())
		}
	}
	return deepest
}

// replaceKeepingID returns the replacement with the _id in front. If the replacement has an _id, it must be the same.
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

// withIDFirst moves the _id to the front, and generates one if there is none.
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

// newObjectID generates an ObjectId: time, a random number of the process, a counter.
func newObjectID() value {
	b := binary.BigEndian.AppendUint32(nil, uint32(time.Now().Unix()))
	b = append(b, objectIDMachine[:]...)
	n := objectIDCounter.Add(1)
	return value{tObjectID, append(b, byte(n>>16), byte(n>>8), byte(n))}
}

// upsertBase returns the document that an upsert starts from: the fields that the filter requires to have one value.
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
