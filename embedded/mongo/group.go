package mongo

import (
	"math"
	"strings"
)

// accumulator is one field of a $group: an operator, and the expression that it is applied to for each document.
type accumulator struct {
	name string
	op   string
	expression
}

// parseGroup compiles a $group stage.
func (r *request) parseGroup(arg value) (stageBuilder, error) {
	if arg.t != tDocument {
		return nil, refuse(15947, "a group's fields must be specified in an object")
	}
	var id expression
	hasID := false
	var accs []accumulator
	for e, rest := arg.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		var err error
		if string(e.name) == "_id" {
			if hasID {
				return nil, refuse(15948, "a group's _id may only be specified once")
			}
			if id, err = parseExpression(e.value); err != nil {
				return nil, err
			}
			hasID = true
			continue
		}
		acc, err := parseAccumulator(e)
		if err != nil {
			return nil, err
		}
		for _, other := range accs {
			if other.name == acc.name {
				return nil, refuse(16406, "the group's field %q is given twice", truncated(acc.name, 64))
			}
		}
		accs = append(accs, acc)
	}
	if !hasID {
		return nil, refuse(codeGroupNeedsID, "a group specification must include an _id")
	}
	return func(src source) (source, error) {
		docs, err := r.group(src, id, accs)
		return r.instead(src, docs, err)
	}, nil
}

func parseAccumulator(e elem) (accumulator, error) {
	acc := accumulator{name: string(e.name)}
	if e.t != tDocument || e.doc().len() != 1 {
		return acc, refuse(codeGroupAccumulatorNotDoc, "The field '%s' must be an accumulator object", truncated(acc.name, 64))
	}
	if strings.ContainsAny(acc.name, ".$") {
		return acc, refuse(40235, "The field name '%s' cannot contain '.' or '$'", truncated(acc.name, 64))
	}
	a, _ := e.doc().first()
	acc.op = string(a.name)
	switch acc.op {
	case "$sum", "$min", "$max", "$avg", "$first", "$last", "$push", "$addToSet":
	case "$count":
		if a.t != tDocument || !a.doc().isEmpty() {
			return acc, refuse(codeTypeMismatch, "$count takes no arguments, i.e. $count:{}")
		}
		acc.constant = int32Value(1)
		acc.op = "$sum"
		return acc, nil
	case "$stdDevPop", "$stdDevSamp", "$mergeObjects", "$top", "$topN", "$bottom", "$bottomN", "$firstN", "$lastN", "$maxN",
		"$minN", "$accumulator", "$median", "$percentile":
		return acc, refuse(codeNotImplemented, "group accumulator %s is not provided here", acc.op)
	default:
		return acc, refuse(codeUnknownAccumulator, "unknown group operator '%s'", truncated(acc.op, 64))
	}
	if a.t == tArray {
		return acc, refuse(40237, "The %s accumulator is a unary operator", acc.op)
	}
	var err error
	acc.expression, err = parseExpression(a.value)
	return acc, err
}

// groupState is one group with the states of its accumulators.
type groupState struct {
	id   value
	accs []accumulated
}

// accumulated is the state of one accumulator.
type accumulated struct {
	v    value // of $min, $max, $first and $last
	n    int64 // number of values that $sum, $avg and $first have added
	sum  total
	list *builder            // of $push and $addToSet
	seen map[string]struct{} // of $addToSet
}

func (r *request) group(src source, id expression, accs []accumulator) ([]doc, error) {
	groups := map[string]*groupState{}
	var order []*groupState
	var key []byte
	size := 0
	for {
		d, err := src.next(r.ctx)
		if err != nil {
			return nil, err
		}
		if d == nil {
			break
		}
		gid := id.of(d)
		if gid.missing() {
			gid.t = tNull
		}
		key = appendKey(key[:0], gid)
		g := groups[string(key)]
		if g == nil {
			g = &groupState{id: gid.clone(), accs: make([]accumulated, len(accs))}
			groups[string(key)] = g
			order = append(order, g)
			size += len(key) + len(gid.b) + 192*(1+len(accs))
		}
		for i := range accs {
			grown, err := g.accs[i].add(accs[i].op, accs[i].of(d))
			if err != nil {
				return nil, err
			}
			size += grown
		}
		if size > r.s.opts.SortBytes {
			return nil, refuse(codeSortMemoryExceeded, "$group needs more than %d bytes of memory: narrow the $match before it", r.s.opts.SortBytes)
		}
	}
	docs := make([]doc, len(order))
	for i, g := range order {
		w := newBuilder()
		w.val("_id", g.id)
		for j := range accs {
			w.val(accs[j].name, g.accs[j].result(accs[j].op))
		}
		docs[i] = w.done()
	}
	return docs, nil
}

// add adds one value. It returns by how many bytes the memory grew.
func (a *accumulated) add(op string, v value) (grown int, err error) {
	switch op {
	case "$sum", "$avg":
		if v.t == tDecimal {
			return 0, refuse(codeNotImplemented, "%s of decimals is not provided here: store doubles or integers", op)
		}
		if v.isNumber() {
			a.n++
			a.sum.add(v)
		}
	case "$min":
		if !v.isNullish() && (a.v.missing() || compare(v, a.v) < 0) {
			grown = a.keep(v)
		}
	case "$max":
		if !v.isNullish() && (a.v.missing() || compare(v, a.v) > 0) {
			grown = a.keep(v)
		}
	case "$first":
		if a.n++; a.n == 1 {
			grown = a.keep(v)
		}
	case "$last":
		grown = a.keep(v)
	case "$push", "$addToSet":
		grown = a.append(op, v)
	}
	return grown, nil
}

// keep stores v as the value. It returns by how many bytes the memory grew.
func (a *accumulated) keep(v value) int {
	grown := len(v.b) - len(a.v.b)
	a.v = v.clone()
	return grown
}

func (a *accumulated) append(op string, v value) (grown int) {
	if v.missing() {
		return 0
	}
	if op == "$addToSet" {
		key := string(appendKey(nil, v))
		if _, dup := a.seen[key]; dup {
			return 0
		}
		if a.seen == nil {
			a.seen = map[string]struct{}{}
		}
		a.seen[key] = struct{}{}
		grown = len(key) + 32
	}
	if a.list == nil {
		a.list = newArrayBuilder()
	}
	before := len(a.list.b)
	a.list.val("", v)
	return grown + len(a.list.b) - before
}

// result returns the result of the accumulator. It may be called only once.
func (a *accumulated) result(op string) value {
	switch {
	case op == "$sum":
		return a.sum.value()
	case op == "$avg" && a.n > 0:
		return doubleValue(a.sum.float() / float64(a.n))
	case op == "$push" || op == "$addToSet":
		if a.list == nil {
			a.list = newArrayBuilder()
		}
		return value{tArray, a.list.done()}
	case a.v.missing():
		return value{t: tNull}
	}
	return a.v
}

// total is a sum with MongoDB's rules: it has the widest type that was added and is exact for integers. Doubles are
// summed with compensation of rounding errors (Neumaier), so that a thousand times 0.1 is 100.
type total struct {
	i          int64   // sum of integers, as long as it fits
	f, lost    float64 // sum of doubles and of integers beyond 64 bits, and its compensation
	long, real bool    // an int64 or a double was added
}

func (t *total) add(v value) {
	switch v.t {
	case tDouble:
		t.real = true
		t.addFloat(v.double())
	default:
		i, _ := asInt(v)
		t.long = t.long || v.t == tInt64
		sum := t.i + i
		if (sum > t.i) != (i > 0) && i != 0 {
			t.addFloat(float64(t.i))
			t.real = true
			sum = i
		}
		t.i = sum
	}
}

func (t *total) addFloat(f float64) {
	sum := t.f + f
	if math.Abs(t.f) >= math.Abs(f) {
		t.lost += t.f - sum + f
	} else {
		t.lost += f - sum + t.f
	}
	t.f = sum
}

func (t *total) float() float64 {
	u := *t
	u.addFloat(float64(u.i))
	if math.IsNaN(u.lost) || math.IsInf(u.lost, 0) { // infinities need no compensation
		return u.f
	}
	return u.f + u.lost
}

func (t *total) value() value {
	switch {
	case t.real:
		return doubleValue(t.float())
	case t.long || t.i != int64(int32(t.i)):
		return int64Value(t.i)
	}
	return int32Value(int32(t.i))
}
