package mongo

import (
	"context"
	"strings"
)

// A pipeline is a chain of sources. Its first stages become a query, as far as they can, so that they use indexes.

func (r *request) parseAggregate() (stages []doc, batchSize int64, hint value, err error) {
	batchSize = defaultBatch
	pipeline := value{}
	err = r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "pipeline":
			pipeline = e.value
			return true, nil
		case "cursor":
			return true, r.cursorOption(e, &batchSize)
		case "hint":
			hint = e.value
			return true, nil
		case "collation":
			return true, collation("aggregate", e)
		case "allowDiskUse", "bypassDocumentValidation":
			return true, nil
		case "explain":
			if e.truthy() {
				return true, refuse(codeNotImplemented, "option explain of aggregate is not provided here: use the explain command")
			}
			return true, nil
		case "let", "needsMerge", "fromMongos", "exchange", "isMapReduceCommand":
			return true, r.unset(e)
		}
		return false, nil
	})
	if err != nil {
		return nil, 0, hint, err
	}
	if pipeline.t != tArray {
		return nil, 0, hint, refuse(codeTypeMismatch, "'pipeline' option must be specified as an array")
	}
	for e, rest := pipeline.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if e.t != tDocument {
			return nil, 0, hint, refuse(codeTypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		if e.doc().len() != 1 {
			return nil, 0, hint, refuse(codePipelineStageFields, "A pipeline stage specification object must contain exactly one field.")
		}
		stages = append(stages, e.doc())
	}
	return stages, batchSize, hint, nil
}

// absorb takes the stages at the head of a pipeline that a query can do: $match, $sort, $skip and $limit, in the order
// in which a query applies them.
func absorb(stages []doc, hint value) (q *query, rest []doc, err error) {
	q = &query{hint: hint}
	var matches []node
	var shown []doc
	const sorting, skipping, limited = 1, 2, 3
	done := 0
loop:
	for len(stages) > 0 {
		e, _ := stages[0].first()
		switch name := string(e.name); {
		case name == "$match" && done == 0 && e.t == tDocument:
			f, err := parseFilter(e.doc())
			if err != nil {
				return nil, nil, err
			}
			matches = append(matches, f.root)
			shown = append(shown, e.doc())
		case name == "$sort" && done == 0 && e.t == tDocument && !e.doc().isEmpty():
			if q.sort, err = parseSort(e.doc()); err != nil {
				return nil, nil, err
			}
			done = sorting
		case name == "$skip" && done < skipping:
			if q.skip, err = parseSkip(e.value); err != nil {
				return nil, nil, err
			}
			done = skipping
		case name == "$limit" && done < limited:
			if q.limit, err = parseLimit(e.value); err != nil {
				return nil, nil, err
			}
			done = limited
		default:
			break loop
		}
		stages = stages[1:]
	}
	src := emptyDoc
	switch len(shown) {
	case 0:
	case 1:
		src = shown[0]
	default:
		w := newBuilder()
		w.array("$and")
		for _, d := range shown {
			w.rawDoc("", d)
		}
		w.end()
		src = w.done()
	}
	q.filter = &filter{root: flatten(allOf(matches)), src: src}
	return q, stages, nil
}

func parseSkip(v value) (int64, error) {
	n, ok := v.wholeNumber()
	if !ok || n < 0 {
		return 0, refuse(codeSkipNotNumber, "invalid argument to $skip stage: expected a whole number that is not negative: %s", shellValue(v))
	}
	return n, nil
}

func parseLimit(v value) (int64, error) {
	n, ok := v.wholeNumber()
	if !ok || n <= 0 {
		return 0, refuse(codeLimitNotPositive, "the limit must be a positive whole number: %s", shellValue(v))
	}
	return n, nil
}

// aggregateQuery is the part of the pipeline that explain can speak of.
func (r *request) aggregateQuery() (*query, error) {
	stages, _, hint, err := r.parseAggregate()
	if err != nil {
		return nil, err
	}
	q, _, err := absorb(stages, hint)
	return q, err
}

func (r *request) aggregate() (doc, error) {
	if r.arg.t != tString {
		return nil, refuse(codeNotImplemented, "aggregation without a collection is not provided here")
	}
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	r.own()
	stages, batchSize, hint, err := r.parseAggregate()
	if err != nil {
		return nil, err
	}
	q, rest, err := absorb(stages, hint)
	if err != nil {
		return nil, err
	}
	// All stages are checked before the first document is read.
	build := make([]stageBuilder, len(rest))
	for i, st := range rest {
		e, _ := st.first()
		if build[i], err = r.parseStage(string(e.name), e.value); err != nil {
			return nil, err
		}
	}
	src, err := r.openScan(ns, q)
	if err != nil {
		return nil, err
	}
	for _, b := range build {
		next, err := b(src)
		if err != nil {
			src.pause()
			return nil, err
		}
		src = next
	}
	return r.firstBatch(ns, src, batchSize, false)
}

// stageBuilder puts a stage behind a source. A stage that must see all documents reads the source to its end.
type stageBuilder func(source) (source, error)

var otherStages = map[string]bool{
	"$addFields": true, "$bucket": true, "$bucketAuto": true, "$changeStream": true, "$collStats": true, "$densify": true,
	"$documents": true, "$facet": true, "$fill": true, "$geoNear": true, "$graphLookup": true, "$indexStats": true,
	"$lookup": true, "$merge": true, "$out": true, "$redact": true, "$replaceRoot": true, "$replaceWith": true,
	"$sample": true, "$search": true, "$set": true, "$setWindowFields": true, "$sortByCount": true, "$unionWith": true,
	"$unset": true, "$unwind": true, "$currentOp": true, "$listSessions": true,
}

func (r *request) parseStage(name string, arg value) (stageBuilder, error) {
	switch name {
	case "$match":
		if arg.t != tDocument {
			return nil, refuse(codeMatchNotDocument, "the match filter must be an expression in an object")
		}
		f, err := parseFilter(arg.doc())
		return func(src source) (source, error) { return &matchSource{src, f}, nil }, err
	case "$sort":
		if arg.t != tDocument || arg.doc().isEmpty() {
			return nil, refuse(codeSortNotDocument, "the $sort key specification must be an object with at least one field")
		}
		spec, err := parseSort(arg.doc())
		return func(src source) (source, error) {
			docs, err := r.sortAll(src, spec, 0, 0)
			return r.instead(src, docs, err)
		}, err
	case "$skip":
		n, err := parseSkip(arg)
		return func(src source) (source, error) { return &sliceSource{src, n, -1}, nil }, err
	case "$limit":
		n, err := parseLimit(arg)
		return func(src source) (source, error) { return &sliceSource{src, 0, n}, nil }, err
	case "$project":
		if arg.t != tDocument || arg.doc().isEmpty() {
			return nil, refuse(51272, "Invalid $project :: caused by :: projection specification must have at least one field")
		}
		p, err := parseProjection(arg.doc())
		return func(src source) (source, error) {
			return &mapSource{src, func(d doc) (doc, error) { return p.apply(d), nil }}, nil
		}, err
	case "$count":
		field, err := parseCountStage(arg)
		return func(src source) (source, error) { return r.countStage(src, field) }, err
	case "$group":
		return r.parseGroup(arg)
	}
	if otherStages[name] {
		return nil, refuse(codeNotImplemented, "aggregation stage %s is not provided here", name)
	}
	return nil, refuse(codeUnknownPipelineStage, "Unrecognized pipeline stage name: '%s'", truncated(name, 64))
}

// instead closes a source that was read to its end and continues with docs.
func (r *request) instead(src source, docs []doc, err error) (source, error) {
	if perr := src.pause(); err == nil {
		err = perr
	}
	return &listSource{docs}, err
}

type matchSource struct {
	source
	f *filter
}

func (s *matchSource) next(ctx context.Context) (doc, error) {
	for {
		d, err := s.source.next(ctx)
		if d == nil || err != nil || s.f.match(d) {
			return d, err
		}
	}
}

func parseCountStage(arg value) (string, error) {
	if arg.t != tString || arg.str() == "" || arg.str()[0] == '$' || strings.ContainsAny(arg.str(), ".\x00") {
		return "", refuse(codeCountFieldName, "the count field must be a non-empty string without '$' in front and without '.'")
	}
	return arg.str(), nil
}

func (r *request) countStage(src source, field string) (source, error) {
	n := int64(0)
	for {
		d, err := src.next(r.ctx)
		if err != nil {
			return nil, err
		}
		if d == nil {
			break
		}
		n++
	}
	if n == 0 {
		return r.instead(src, nil, nil)
	}
	return r.instead(src, []doc{newBuilder().val(field, countValue(n)).done()}, nil)
}

// operand is what a $group takes from each document: a constant, or the value at a path.
type operand struct {
	constant value
	parts    []string
}

func parseOperand(v value) (operand, error) {
	switch {
	case v.t == tString && strings.HasPrefix(v.str(), "$$"):
		return operand{}, refuse(codeNotImplemented, "aggregation variable %q is not provided here", truncated(v.str(), 64))
	case v.t == tString && strings.HasPrefix(v.str(), "$"):
		path := v.str()[1:]
		return operand{parts: strings.Split(path, ".")}, checkPath(path)
	case v.t == tArray || v.t == tDocument && !v.doc().isEmpty():
		return operand{}, refuse(codeNotImplemented, "aggregation expression %s is not provided here: use a constant or \"$field\"", shellValue(v))
	}
	return operand{constant: v}, nil
}

func (o *operand) of(d doc) value {
	if o.parts == nil {
		return o.constant
	}
	return valueAt(d, o.parts)
}

// valueAt is the value of a field path in an expression: through an array it is the array of the values in it.
func valueAt(d doc, parts []string) value {
	v := d.lookup(parts[0])
	switch {
	case len(parts) == 1:
		return v
	case v.t == tDocument:
		return valueAt(v.doc(), parts[1:])
	case v.t == tArray:
		w := newBuilder()
		w.array("")
		for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			if e.t == tDocument {
				if inner := valueAt(e.doc(), parts[1:]); !inner.missing() {
					w.val("", inner)
				}
			}
		}
		return w.end().done().lookup("")
	}
	return value{}
}

type accumulator struct {
	name string
	op   string
	operand
}

// groupState is one group and what its accumulators have so far.
type groupState struct {
	id   value
	vals []value
	n    []int64 // numbers seen, for $avg
}

func (r *request) parseGroup(arg value) (stageBuilder, error) {
	if arg.t != tDocument {
		return nil, refuse(15947, "a group's fields must be specified in an object")
	}
	var id operand
	hasID := false
	var accs []accumulator
	for e, rest := arg.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		name := string(e.name)
		if name == "_id" {
			var err error
			if id, err = parseOperand(e.value); err != nil {
				return nil, err
			}
			hasID = true
			continue
		}
		if e.t != tDocument || e.doc().len() != 1 {
			return nil, refuse(codeGroupAccumulatorNotDoc, "The field '%s' must be an accumulator object", truncated(name, 64))
		}
		if strings.ContainsAny(name, ".$") {
			return nil, refuse(40235, "The field name '%s' cannot contain '.' or '$'", truncated(name, 64))
		}
		a, _ := e.doc().first()
		acc := accumulator{name: name, op: string(a.name)}
		switch acc.op {
		case "$sum", "$min", "$max", "$avg", "$first", "$last":
		case "$push", "$addToSet", "$stdDevPop", "$stdDevSamp", "$mergeObjects", "$top", "$topN", "$bottom", "$bottomN",
			"$firstN", "$lastN", "$maxN", "$minN", "$accumulator", "$count":
			return nil, refuse(codeNotImplemented, "group accumulator %s is not provided here", acc.op)
		default:
			return nil, refuse(codeUnknownAccumulator, "unknown group operator '%s'", truncated(acc.op, 64))
		}
		var err error
		if acc.operand, err = parseOperand(a.value); err != nil {
			return nil, err
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

func (r *request) group(src source, id operand, accs []accumulator) ([]doc, error) {
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
		key = key[:0]
		if !gid.missing() { // which is another group than null
			key = appendKey(key, gid)
		}
		g := groups[string(key)]
		if g == nil {
			g = &groupState{id: gid.clone(), vals: make([]value, len(accs)), n: make([]int64, len(accs))}
			groups[string(key)] = g
			order = append(order, g)
			if size += len(key) + len(gid.b) + 128*(1+len(accs)); size > r.s.opts.SortBytes {
				return nil, refuse(codeSortMemoryExceeded, "$group needs more than %d bytes of memory: narrow the $match before it", r.s.opts.SortBytes)
			}
		}
		for i := range accs {
			g.add(i, accs[i].op, accs[i].of(d))
		}
	}
	docs := make([]doc, len(order))
	for i, g := range order {
		w := newBuilder()
		if g.id.missing() {
			g.id.t = tNull
		}
		w.val("_id", g.id)
		for j := range accs {
			w.val(accs[j].name, g.result(j, accs[j].op))
		}
		docs[i] = w.done()
	}
	return docs, nil
}

func (g *groupState) add(i int, op string, v value) {
	now := &g.vals[i]
	switch op {
	case "$sum", "$avg":
		if !v.isNumber() || v.t == tDecimal {
			return
		}
		g.n[i]++
		switch sum, ok := arithmetic("$inc", *now, v); {
		case now.missing():
			*now = v.clone()
		case ok:
			*now = sum
		default: // beyond 64 bits
			*now = doubleValue(asFloat(*now) + asFloat(v))
		}
	case "$min":
		if !v.isNullish() && (now.missing() || compare(v, *now) < 0) {
			*now = v.clone()
		}
	case "$max":
		if !v.isNullish() && (now.missing() || compare(v, *now) > 0) {
			*now = v.clone()
		}
	case "$first":
		if g.n[i]++; g.n[i] == 1 {
			*now = v.clone()
		}
	case "$last":
		*now = v.clone()
	}
}

func (g *groupState) result(i int, op string) value {
	v := g.vals[i]
	switch {
	case op == "$sum" && v.missing():
		return int32Value(0)
	case op == "$avg" && !v.missing():
		return doubleValue(asFloat(v) / float64(g.n[i]))
	case v.missing():
		return value{t: tNull}
	}
	return v
}
