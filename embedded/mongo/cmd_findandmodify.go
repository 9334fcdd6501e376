package mongo

func (r *request) findAndModify() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	var query, fields, sortDoc doc
	var u value
	var remove, returnNew bool
	st := &statement{}
	err = r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "query":
			return true, r.wantDoc(e, &query)
		case "sort":
			return true, r.wantDoc(e, &sortDoc)
		case "fields":
			return true, r.wantDoc(e, &fields)
		case "remove":
			return true, r.wantBool(e, &remove)
		case "new":
			return true, r.wantBool(e, &returnNew)
		case "upsert":
			return true, r.wantBool(e, &st.upsert)
		case "update":
			u = e.value
			return true, nil
		case "hint":
			st.hint = e.value
			return true, nil
		case "collation":
			return true, collation(r.name, e)
		case "arrayFilters":
			return true, r.unset(e)
		}
		var ordered bool
		return r.writeOption(name, e, &ordered)
	})
	if err != nil {
		return nil, err
	}
	if remove == !u.missing() {
		return nil, refuse(codeFailedToParse, "findAndModify needs either an update or remove: true")
	}
	if remove && (st.upsert || returnNew) {
		return nil, refuse(codeFailedToParse, "findAndModify cannot remove and upsert, or remove and return the new document")
	}
	sort, err := parseSort(sortDoc)
	if err != nil {
		return nil, err
	}
	proj, err := parseProjection(fields)
	if err != nil {
		return nil, err
	}
	if st.filter, err = parseFilter(query); err != nil {
		return nil, err
	}
	if !remove {
		if st.update, err = parseUpdate(u); err != nil {
			return nil, err
		}
	}
	w, err := r.writerFor(ns, []doc{r.body})
	if err != nil {
		return nil, err
	}
	defer w.close()
	var res updateResult
	if w != nil {
		res, err = r.modifyOne(w, st, sort, remove)
		if ferr := r.finish(w); err == nil {
			err = ferr
		}
		if err != nil {
			return nil, err
		}
	}
	answer := newBuilder()
	n := res.matched
	if !res.upserted.missing() {
		n++
	}
	answer.doc("lastErrorObject").int32("n", n)
	if !remove {
		answer.bool("updatedExisting", res.matched > 0)
		if !res.upserted.missing() {
			answer.val("upserted", res.upserted)
		}
	}
	answer.end()
	result := res.before
	if returnNew {
		result = res.after
	}
	if result == nil {
		answer.val("value", value{t: tNull})
	} else {
		answer.rawDoc("value", proj.apply(result))
	}
	return answer.ok().done(), nil
}

func (r *request) modifyOne(w *writer, st *statement, sort *sortSpec, remove bool) (updateResult, error) {
	old, err := r.firstMatch(w, st, sort)
	switch {
	case err != nil:
		return updateResult{}, err
	case old != nil && remove:
		return updateResult{matched: 1, before: old}, w.remove(old)
	case old != nil:
		return w.change(st.update, old)
	case st.upsert:
		return w.upsert(st)
	}
	return updateResult{}, nil
}
