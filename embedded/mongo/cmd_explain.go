package mongo

// explain describes the plan of a find, count or aggregate. With any verbosity except queryPlanner it runs the query
// and reports how many keys and documents were examined.
func (r *request) explain() (doc, error) {
	if r.arg.t != tDocument {
		return nil, wrongType(r, elem{name: []byte("explain"), value: r.arg}, "object")
	}
	verbosity := "allPlansExecution"
	err := r.fields(func(name string, e elem) (bool, error) {
		if name != "verbosity" {
			return false, nil
		}
		return true, r.wantString(e, &verbosity)
	})
	if err != nil {
		return nil, err
	}
	switch verbosity {
	case "queryPlanner", "executionStats", "allPlansExecution":
	default:
		return nil, refuse(codeBadValue,
			"verbosity %q is not known: use queryPlanner, executionStats or allPlansExecution", truncated(verbosity, 64))
	}
	inner := *r
	inner.body = r.arg.doc()
	first, _ := inner.body.first()
	inner.name, inner.arg = string(first.name), first.value
	ns, err := inner.collection()
	if err != nil {
		return nil, err
	}
	var q *query
	switch inner.name {
	case "find":
		q, err = inner.parseFind()
	case "count":
		q, err = inner.parseCount()
	case "aggregate":
		q, err = inner.aggregateQuery()
	default:
		return nil, refuse(codeNotImplemented, "explain is provided for find, count and aggregate, not for %s", truncated(inner.name, 64))
	}
	if err != nil {
		return nil, err
	}
	return inner.explainQuery(ns, q, verbosity != "queryPlanner")
}

func (r *request) explainQuery(ns namespace, q *query, run bool) (doc, error) {
	w := newBuilder()
	w.str("explainVersion", "1").doc("queryPlanner").str("namespace", ns.String()).rawDoc("parsedQuery", q.filter.src)
	var v *view
	if c := r.s.store.lookup(ns); c != nil {
		v = r.s.store.view(c)
	}
	if v == nil {
		w.doc("winningPlan").str("stage", "EOF").end().array("rejectedPlans").end().end()
		if run {
			w.doc("executionStats").bool("executionSuccess", true).int32("nReturned", 0).int32("totalKeysExamined", 0).
				int32("totalDocsExamined", 0).end()
		}
		return w.ok().done(), nil
	}
	p, err := v.planWithHint(q.filter, q.sort, q.hint)
	if err != nil {
		v.Close()
		return nil, err
	}
	p.describe(w, q)
	w.array("rejectedPlans").end().end()
	scan := &scanSource{st: r.s.store, s: v.scan(p, q.filter)}
	defer scan.pause()
	if run {
		n := int64(0)
		left := int64(-1)
		if q.limit > 0 && p.sorted {
			left = q.skip + q.limit
		}
		for left != 0 {
			d, err := scan.next(r.ctx)
			if err != nil {
				return nil, err
			}
			if d == nil {
				break
			}
			n++
			left--
		}
		n = max(n-q.skip, 0)
		if q.limit > 0 {
			n = min(n, q.limit)
		}
		w.doc("executionStats").bool("executionSuccess", true).val("nReturned", countValue(n)).
			val("totalKeysExamined", countValue(scan.s.keys)).val("totalDocsExamined", countValue(scan.s.docs)).end()
	}
	return w.ok().done(), nil
}

// describe writes the winning plan under MongoDB's names of the stages, the last stage first.
func (p *plan) describe(w *builder, q *query) {
	name, depth := "winningPlan", 0
	enter := func(stage string) {
		w.doc(name).str("stage", stage)
		name = "inputStage"
		depth++
	}
	if q.proj != nil {
		enter("PROJECTION_DEFAULT")
	}
	if q.limit > 0 {
		enter("LIMIT")
		w.int64("limitAmount", q.limit)
	}
	if q.skip > 0 {
		enter("SKIP")
		w.int64("skipAmount", q.skip)
	}
	if !p.sorted {
		enter("SORT")
	}
	direction := "forward"
	if p.reverse {
		direction = "backward"
	}
	switch stage := p.stage(); stage {
	case "IXSCAN":
		enter("FETCH")
		if p.merge {
			enter("SORT_MERGE")
		}
		enter(stage)
		w.str("indexName", p.x.name).rawDoc("keyPattern", p.x.key).bool("isMultiKey", p.mask != 0).
			bool("isUnique", p.x.unique).str("direction", direction).
			int32("boundedFields", int32(p.bounded)).int32("ranges", int32(len(p.ranges)))
	case "IDHACK":
		enter(stage)
		w.str("indexName", p.x.name)
	default:
		enter(stage)
		w.str("direction", direction)
	}
	for range depth {
		w.end()
	}
}
