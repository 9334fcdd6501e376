package mongo

import (
	"context"
	"strings"
)

// maxStages bounds a pipeline, as MongoDB does.
const maxStages = 1000

// A pipeline is a chain of sources. As many of its first stages as possible become a query, so that they use indexes.

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
		if len(stages) == maxStages {
			return nil, 0, hint, refuse(7749501, "Pipeline length must be no longer than %d stages.", maxStages)
		}
		stages = append(stages, e.doc())
	}
	return stages, batchSize, hint, nil
}

// absorb makes a query of the first stages of a pipeline: of $match, $sort, $skip and $limit, as long as they come in
// the order in which a query applies them. It returns the query and the other stages.
func absorb(stages []doc, hint value) (q *query, rest []doc, err error) {
	q = &query{hint: hint}
	var matches []node
	var filters []doc
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
			filters = append(filters, e.doc())
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
	switch len(filters) {
	case 0:
	case 1:
		src = filters[0]
	default:
		w := newBuilder()
		w.array("$and")
		for _, d := range filters {
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

// aggregateQuery returns the query at the head of the pipeline, for explain.
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
	open, rest, err := r.beginPipeline(ns, stages, hint)
	if err != nil {
		return nil, err
	}
	// Check all stages before the first document is read.
	build := make([]stageBuilder, len(rest))
	for i, st := range rest {
		e, _ := st.first()
		if build[i], err = r.parseStage(string(e.name), e.value); err != nil {
			return nil, err
		}
	}
	src, err := open()
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
	if len(rest) > 0 {
		src = &mapSource{src, checkDepth}
	}
	return r.firstBatch(ns, src, batchSize, false)
}

// beginPipeline returns a function that opens the source of a pipeline's documents, and the remaining stages.
func (r *request) beginPipeline(ns namespace, stages []doc, hint value) (open func() (source, error), rest []doc, err error) {
	if len(stages) > 0 {
		if e, _ := stages[0].first(); string(e.name) == "$collStats" {
			return func() (source, error) { return r.collStatsStage(ns, e.value) }, stages[1:], nil
		}
	}
	q, rest, err := absorb(stages, hint)
	return func() (source, error) { return r.openScan(ns, q) }, rest, err
}

// checkDepth refuses documents that stages have nested deeper than clients can read.
func checkDepth(d doc) (doc, error) {
	if depth := d.depth(); depth > maxBSONDepth {
		return nil, refuse(codeOverflow, "a document of the pipeline has %d levels, at most %d can be sent", depth, maxBSONDepth)
	}
	return d, nil
}

// stageBuilder returns the output of a stage for a source. A stage that needs all documents reads the source to its
// end.
type stageBuilder func(source) (source, error)

// otherStages are the stages of MongoDB that are not provided.
var otherStages = map[string]bool{
	"$addFields": true, "$bucket": true, "$bucketAuto": true, "$changeStream": true, "$densify": true,
	"$documents": true, "$facet": true, "$fill": true, "$geoNear": true, "$graphLookup": true, "$indexStats": true,
	"$lookup": true, "$merge": true, "$out": true, "$redact": true, "$replaceRoot": true, "$replaceWith": true,
	"$sample": true, "$search": true, "$set": true, "$setWindowFields": true, "$sortByCount": true, "$unionWith": true,
	"$unset": true, "$currentOp": true, "$listSessions": true,
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
	case "$unwind":
		return parseUnwind(arg)
	case "$collStats":
		return nil, refuse(40602, "$collStats is only valid as the first stage in a pipeline.")
	}
	if otherStages[name] {
		return nil, refuse(codeNotImplemented, "aggregation stage %s is not provided here", name)
	}
	return nil, refuse(codeUnknownPipelineStage, "Unrecognized pipeline stage name: '%s'", truncated(name, 64))
}

// instead pauses a source that was read to its end, and returns docs as a source in its place.
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
