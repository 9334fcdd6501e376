package mongo

import (
	"bytes"
)

// hintSpec is a query's hint about the index to use.
type hintSpec struct {
	x       *index
	natural int // 1 or -1 to read all documents, forwards or backwards
}

// hinted returns the hint with the index that it gives by name or by key; nil if there is no hint.
func (v *view) hinted(h value) (*hintSpec, error) {
	all := append([]*index{v.c.primary}, v.indexes...)
	switch h.t {
	case tMissing, tNull:
		return nil, nil
	case tString:
		for _, x := range all {
			if x.name == h.str() {
				return &hintSpec{x: x}, nil
			}
		}
	case tDocument:
		if h.doc().isEmpty() {
			return nil, nil
		}
		if e, _ := h.doc().first(); string(e.name) == "$natural" {
			n, ok := e.wholeNumber()
			if !ok || n != 1 && n != -1 {
				return nil, refuse(codeBadValue, "$natural hint must be 1 or -1")
			}
			return &hintSpec{natural: int(n)}, nil
		}
		for _, x := range all {
			if compareFields(x.key, h.doc(), true) == 0 {
				return &hintSpec{x: x}, nil
			}
		}
	default:
		return nil, refuse(codeFailedToParse, "Hint must be a string or an object")
	}
	return nil, refuse(codeBadValue, "error processing query: hint provided does not correspond to an existing index")
}

// planWithHint chooses a plan that follows the hint, if there is one.
func (v *view) planWithHint(f *filter, sort *sortSpec, hint value) (*plan, error) {
	h, err := v.hinted(hint)
	if err != nil {
		return nil, err
	}
	switch {
	case h == nil:
		return v.choose(f, sort, nil), nil
	case h.x != nil:
		return v.choose(f, sort, h.x), nil
	}
	return v.collectionScan(sort, h.natural < 0), nil
}

// query is a find, or the equivalent part of another command.
type query struct {
	filter    *filter
	sort      *sortSpec
	proj      *projection
	hint      value
	skip      int64
	limit     int64 // 0 for none
	batchSize int64
	single    bool // close the cursor after the first batch
}

// parseFind parses a find command.
func (r *request) parseFind() (*query, error) {
	q := &query{batchSize: defaultBatch}
	var filter, sort, proj doc
	batchSet := false
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "filter":
			return true, r.wantDoc(e, &filter)
		case "sort":
			return true, r.wantDoc(e, &sort)
		case "projection":
			return true, r.wantDoc(e, &proj)
		case "hint":
			q.hint = e.value
			return true, nil
		case "skip":
			return true, r.wantCount(e, &q.skip)
		case "limit":
			return true, r.wantCount(e, &q.limit)
		case "batchSize":
			batchSet = e.t != tNull
			return true, r.wantCount(e, &q.batchSize)
		case "singleBatch":
			return true, r.wantBool(e, &q.single)
		case "allowDiskUse", "allowPartialResults", "oplogReplay": // have no effect on this server
			return true, nil
		case "collation":
			return true, collation("find", e)
		case "returnKey", "showRecordId", "tailable", "awaitData", "noCursorTimeout", "min", "max", "let",
			"requestResumeToken", "resumeAfter", "startAt", "term", "ntoreturn", "maxScan", "snapshot":
			return true, r.unset(e)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if !batchSet && q.limit > 0 && q.limit < q.batchSize {
		q.batchSize = q.limit
	}
	if q.filter, err = parseFilter(filter); err != nil {
		return nil, err
	}
	if q.sort, err = naturalOrSort(sort, &q.hint); err != nil {
		return nil, err
	}
	q.proj, err = parseProjection(proj)
	return q, err
}

// naturalOrSort parses a sort document. It turns {$natural: 1} into a hint.
func naturalOrSort(sort doc, hint *value) (*sortSpec, error) {
	if sort != nil {
		if e, _ := sort.first(); e.t != 0 && string(e.name) == "$natural" && sort.len() == 1 {
			*hint = value{tDocument, sort}
			return nil, nil
		}
	}
	return parseSort(sort)
}

// own copies the request's body, because a cursor's filter points into it and may outlive the message.
func (r *request) own() {
	r.body = keepDoc(r.body)
	first, _ := r.body.first()
	r.arg = first.value
}

func (r *request) find() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	r.own()
	q, err := r.parseFind()
	if err != nil {
		return nil, err
	}
	src, err := r.open(ns, q)
	if err != nil {
		return nil, err
	}
	return r.firstBatch(ns, src, q.batchSize, q.single)
}

// open returns the results of a query as a source.
func (r *request) open(ns namespace, q *query) (source, error) {
	src, err := r.openScan(ns, q)
	if err != nil || q.proj == nil {
		return src, err
	}
	return &mapSource{src, func(d doc) (doc, error) { return q.proj.apply(d), nil }}, nil
}

// openScan is open without the projection.
func (r *request) openScan(ns namespace, q *query) (source, error) {
	c := r.s.store.lookup(ns)
	var v *view
	if c != nil {
		v = r.s.store.view(c)
	}
	if v == nil {
		return &listSource{}, nil
	}
	p, err := v.planWithHint(q.filter, q.sort, q.hint)
	if err != nil {
		v.Close()
		return nil, err
	}
	limit := q.limit
	if limit == 0 {
		limit = -1
	}
	scan := &scanSource{st: r.s.store, s: v.scan(p, q.filter)}
	if p.sorted {
		if q.skip == 0 && limit < 0 {
			return scan, nil
		}
		return &sliceSource{scan, q.skip, limit}, nil
	}
	docs, err := r.sortAll(scan, q.sort, q.skip, q.limit)
	if perr := scan.pause(); err == nil {
		err = perr
	}
	if err != nil {
		return nil, err
	}
	return &sliceSource{&listSource{docs}, q.skip, limit}, nil
}

// sortAll reads src to its end and sorts it. With a limit it keeps only the first skip+limit documents.
func (r *request) sortAll(src source, sort *sortSpec, skip, limit int64) ([]doc, error) {
	srt := &sorter{spec: sort, max: r.s.opts.SortBytes}
	if limit > 0 && skip+limit > 0 && skip+limit < 1<<31 {
		srt.limit = int(skip + limit)
	}
	for {
		d, err := src.next(r.ctx)
		if err != nil {
			return nil, err
		}
		if d == nil {
			return srt.sorted(), nil
		}
		if err := srt.add(d); err != nil {
			return nil, err
		}
	}
}

// firstBatch answers with the first documents of src and keeps a cursor for the rest.
func (r *request) firstBatch(ns namespace, src source, batchSize int64, single bool) (doc, error) {
	c := &cursor{ns: ns, conn: r.c.id, src: src}
	w := newBuilder()
	w.doc("cursor").array("firstBatch")
	more, err := c.fill(r.ctx, w, batchSize)
	if perr := src.pause(); err == nil {
		err = perr
	}
	if err != nil {
		return nil, err
	}
	w.end()
	if more && !single {
		if err := r.s.cursors.add(c); err != nil {
			return nil, err
		}
	}
	w.int64("id", c.id).str("ns", ns.String()).end()
	return w.ok().done(), nil
}

func (r *request) getMore() (doc, error) {
	if r.arg.t != tInt64 && r.arg.t != tInt32 {
		return nil, refuse(codeTypeMismatch, "BSON field 'getMore.getMore' is the wrong type '%s', expected type 'long'", r.arg.typeName())
	}
	id, _ := r.arg.wholeNumber()
	ns := namespace{db: r.db}
	batchSize := int64(0)
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "collection":
			return true, r.wantString(e, &ns.coll)
		case "batchSize":
			return true, r.wantCount(e, &batchSize)
		case "term", "lastKnownCommittedOpTime":
			return true, r.unset(e)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if batchSize == 0 {
		batchSize = -1
	}
	c, err := r.s.cursors.take(id, ns)
	if err != nil {
		return nil, err
	}
	w := newBuilder()
	w.doc("cursor").array("nextBatch")
	var more bool
	if err = c.src.resume(); err == nil {
		more, err = c.fill(r.ctx, w, batchSize)
		if perr := c.src.pause(); err == nil {
			err = perr
		}
	}
	if err != nil || !more {
		r.s.cursors.remove(id, ns)
		id = 0
	} else {
		r.s.cursors.put(c)
	}
	if err != nil {
		return nil, err
	}
	w.end().int64("id", id).str("ns", ns.String()).end()
	return w.ok().done(), nil
}

func (r *request) killCursors() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	list := value{}
	err = r.fields(func(name string, e elem) (bool, error) {
		list = e.value
		return name == "cursors", nil
	})
	if err != nil {
		return nil, err
	}
	if list.t != tArray {
		return nil, refuse(codeTypeMismatch, "BSON field 'killCursors.cursors' must be an array")
	}
	var killed, unknown []value
	for e, rest := list.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		id, ok := asInt(e.value)
		if !ok {
			return nil, refuse(codeTypeMismatch,
				"BSON field 'killCursors.cursors.%s' is the wrong type '%s', expected type 'long'", e.name, e.typeName())
		}
		if r.s.cursors.remove(id, ns) {
			killed = append(killed, int64Value(id))
		} else {
			unknown = append(unknown, int64Value(id))
		}
	}
	w := newBuilder()
	for _, l := range []struct {
		name string
		ids  []value
	}{{"cursorsKilled", killed}, {"cursorsNotFound", unknown}, {"cursorsAlive", nil}, {"cursorsUnknown", nil}} {
		w.array(l.name)
		for _, id := range l.ids {
			w.val("", id)
		}
		w.end()
	}
	return w.ok().done(), nil
}

func (r *request) count() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	q, err := r.parseCount()
	if err != nil {
		return nil, err
	}
	var n int64
	if c := r.s.store.lookup(ns); c != nil && q.filter.src.isEmpty() && q.hint.missing() {
		// The collection knows the number of its documents.
		n = max(c.count.Load()-q.skip, 0)
		if q.limit > 0 {
			n = min(n, q.limit)
		}
	} else if n, err = r.countScan(ns, q); err != nil {
		return nil, err
	}
	w := newBuilder()
	w.val("n", countValue(n))
	return w.ok().done(), nil
}

func (r *request) parseCount() (*query, error) {
	q := &query{}
	var filter doc
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "query":
			return true, r.wantDoc(e, &filter)
		case "skip":
			return true, r.wantCount(e, &q.skip)
		case "limit":
			if n, ok := e.wholeNumber(); ok && n < 0 { // the sign has no effect
				q.limit = -n
				return true, nil
			}
			return true, r.wantCount(e, &q.limit)
		case "hint":
			q.hint = e.value
			return true, nil
		case "collation":
			return true, collation("count", e)
		case "fields": // old shells send it; it has no effect
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	q.filter, err = parseFilter(filter)
	return q, err
}

func (r *request) countScan(ns namespace, q *query) (n int64, err error) {
	src, err := r.openScan(ns, q)
	if err != nil {
		return 0, err
	}
	defer src.pause()
	for {
		d, err := src.next(r.ctx)
		if err != nil || d == nil {
			return n, err
		}
		n++
	}
}

func (r *request) distinct() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	q := &query{}
	var filter doc
	path := ""
	err = r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "key":
			return true, r.wantString(e, &path)
		case "query":
			return true, r.wantDoc(e, &filter)
		case "hint":
			q.hint = e.value
			return true, nil
		case "collation":
			return true, collation("distinct", e)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, refuse(codeMissingField, "BSON field 'distinct.key' is missing but a required field")
	}
	if q.filter, err = parseFilter(filter); err != nil {
		return nil, err
	}
	src, err := r.openScan(ns, q)
	if err != nil {
		return nil, err
	}
	defer src.pause()
	parts := newLeaf(path, never{}).parts
	seen := map[string]struct{}{}
	w := newBuilder()
	w.array("values")
	var key []byte
	for {
		d, err := src.next(r.ctx)
		if err != nil {
			return nil, err
		}
		if d == nil {
			break
		}
		distinctAt(value{tDocument, d}, parts, func(v value) {
			key = appendKey(key[:0], v)
			if _, dup := seen[string(key)]; !dup {
				seen[string(key)] = struct{}{}
				w.val("", v)
			}
		})
		if len(w.b) > maxDocSize {
			return nil, refuse(17217, "distinct too big, 16mb cap: narrow the query")
		}
	}
	w.end()
	return w.ok().done(), nil
}

// distinctAt calls f with each value at a path; for an array it calls f with each element.
func distinctAt(v value, parts []string, f func(value)) {
	switch {
	case v.t == tArray:
		if len(parts) > 0 {
			if pos := arrayIndex(parts[0]); pos >= 0 {
				if e := v.doc().lookup(parts[0]); !e.missing() {
					distinctAt(e, parts[1:], f)
				}
				return
			}
		}
		for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			if len(parts) == 0 {
				f(e.value)
			} else if e.t == tDocument {
				distinctAt(e.value, parts, f)
			}
		}
	case len(parts) == 0:
		if !v.missing() {
			f(v)
		}
	case v.t == tDocument:
		distinctAt(v.doc().lookup(parts[0]), parts[1:], f)
	}
}

// sameKey reports whether two index keys have the same fields, order and directions.
func sameKey(a, b doc) bool {
	return bytes.Equal(a, b) || compareFields(a, b, true) == 0
}
