package mongo

import (
	"errors"
)

// insert, update and delete collect the changes of all their statements in one batch. They commit it at the end, and
// whenever it has grown large. They hold the collection's lock meanwhile, so each statement sees all earlier changes
// and readers never see a part of a statement. If the client wants a sync, the command waits for it after the lock was
// released, so that all waiting commands share one sync.

// finish commits w and releases the collection's lock.
func (r *request) finish(w *writer) error {
	err := w.flush()
	w.close()
	if err == nil && r.durable {
		err = r.s.store.wal.sync()
	}
	return err
}

// writeErrors collects the errors of single statements.
type writeErrors struct {
	ordered bool
	list    *builder
}

// add adds the error of statement i. It returns an error if the whole command must fail, and stop if the later
// statements must not run.
func (e *writeErrors) add(i int, err error) (stop bool, fatal error) {
	if err == nil {
		return false, nil
	}
	var ce *commandError
	if !errors.As(err, &ce) || ce.code == codeInternalError {
		return true, err
	}
	if e.list == nil {
		e.list = newBuilder()
		e.list.array("writeErrors")
	}
	ce.appendWriteError(e.list, i)
	return e.ordered, nil
}

func (e *writeErrors) appendTo(w *builder) {
	if e.list != nil {
		w.val("writeErrors", e.list.end().done().lookup("writeErrors"))
	}
}

// writeOption reads the options that insert, update and delete share.
func (r *request) writeOption(name string, e elem, ordered *bool) (bool, error) {
	switch name {
	case "ordered":
		return true, r.wantBool(e, ordered)
	case "bypassDocumentValidation": // has no effect, because there is no validation
		return true, nil
	case "let", "isTimeseriesNamespace", "encryptionInformation", "stmtIds", "stmtId":
		return true, r.unset(e)
	}
	return false, nil
}

func checkBatch(n int, what string) error {
	if n == 0 || n > maxWriteBatch {
		return refuse(codeInvalidOptions, "write batch sizes must be between 1 and %d. Got %d %s.", maxWriteBatch, n, what)
	}
	return nil
}

func (r *request) insert() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	errs := writeErrors{ordered: true}
	err = r.fields(func(name string, e elem) (bool, error) {
		if name == "documents" {
			return true, nil
		}
		return r.writeOption(name, e, &errs.ordered)
	})
	if err != nil {
		return nil, err
	}
	docs, err := r.docs("documents")
	if err != nil {
		return nil, err
	}
	if err := checkBatch(len(docs), "documents"); err != nil {
		return nil, err
	}
	w, err := r.s.store.write(ns)
	if err != nil {
		return nil, err
	}
	defer w.close()
	n := int32(0)
	for i, d := range docs {
		if i%aheadStatements == 0 {
			if err := w.readAhead(idsOf(docs[i:])); err != nil {
				return nil, err
			}
		}
		err := w.insert(withIDFirst(d))
		if err == nil {
			n++
			err = w.flushIfLarge()
		}
		stop, fatal := errs.add(i, err)
		if fatal != nil {
			return nil, fatal
		}
		if stop {
			break
		}
	}
	if err := r.finish(w); err != nil {
		return nil, err
	}
	answer := newBuilder()
	answer.int32("n", n)
	errs.appendTo(answer)
	return answer.ok().done(), nil
}

// statement is one entry of an update or delete command.
type statement struct {
	filter *filter
	update *updater
	hint   value
	multi  bool
	upsert bool
}

func parseUpdateStatement(d doc) (*statement, error) {
	st := &statement{}
	var q, u value
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		switch name := string(e.name); name {
		case "q":
			q = e.value
		case "u":
			u = e.value
		case "multi":
			st.multi = e.truthy()
		case "upsert":
			st.upsert = e.truthy()
		case "hint":
			st.hint = e.value
		case "collation":
			if err := collation("update", e); err != nil {
				return nil, err
			}
		case "arrayFilters", "c":
			if err := unsetOption("update", e); err != nil {
				return nil, err
			}
		default:
			return nil, refuse(codeUnknownField, "BSON field 'update.updates.%s' is an unknown field.", truncated(name, 64))
		}
	}
	if q.t != tDocument || u.missing() {
		return nil, refuse(codeMissingField, "an update statement needs q, an object, and u")
	}
	var err error
	if st.filter, err = parseFilter(q.doc()); err != nil {
		return nil, err
	}
	if st.update, err = parseUpdate(u); err != nil {
		return nil, err
	}
	if st.multi && st.update.replacement != nil {
		return nil, refuse(codeFailedToParse, "multi update is not supported for replacement-style update")
	}
	return st, nil
}

func parseDeleteStatement(d doc) (*statement, error) {
	st := &statement{}
	var q, limit value
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		switch name := string(e.name); name {
		case "q":
			q = e.value
		case "limit":
			limit = e.value
		case "hint":
			st.hint = e.value
		case "collation":
			if err := collation("delete", e); err != nil {
				return nil, err
			}
		default:
			return nil, refuse(codeUnknownField, "BSON field 'delete.deletes.%s' is an unknown field.", truncated(name, 64))
		}
	}
	n, ok := limit.wholeNumber()
	if q.t != tDocument || !limit.isNumber() {
		return nil, refuse(codeMissingField, "a delete statement needs q, an object, and limit, a number")
	}
	if !ok || n != 0 && n != 1 {
		return nil, refuse(codeFailedToParse, "The limit field in delete objects must be 0 or 1. Got %s", shellValue(limit))
	}
	st.multi = n == 0
	var err error
	st.filter, err = parseFilter(q.doc())
	return st, err
}

// updateResult is the result of one statement.
type updateResult struct {
	matched, modified int32
	upserted          value // the new _id, missing if no document was inserted
	before, after     doc   // the document before and after the change, for findAndModify
}

func (r *request) update() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	errs := writeErrors{ordered: true}
	err = r.fields(func(name string, e elem) (bool, error) {
		if name == "updates" {
			return true, nil
		}
		return r.writeOption(name, e, &errs.ordered)
	})
	if err != nil {
		return nil, err
	}
	stmts, err := r.docs("updates")
	if err != nil {
		return nil, err
	}
	if err := checkBatch(len(stmts), "updates"); err != nil {
		return nil, err
	}
	w, err := r.writerFor(ns, stmts)
	if err != nil {
		return nil, err
	}
	defer w.close()
	var matched, modified int32
	var upserted *builder
	var next ahead
	for i := range stmts {
		var res updateResult
		st, err := next.statement(w, stmts, i, parseUpdateStatement)
		if err == nil && w != nil {
			res, err = r.runUpdate(w, st)
		}
		matched += res.matched
		modified += res.modified
		if !res.upserted.missing() {
			matched++
			if upserted == nil {
				upserted = newBuilder()
				upserted.array("upserted")
			}
			upserted.doc("").int32("index", int32(i)).val("_id", res.upserted).end()
		}
		if err == nil && w != nil {
			err = w.flushIfLarge()
		}
		stop, fatal := errs.add(i, err)
		if fatal != nil {
			return nil, fatal
		}
		if stop {
			break
		}
	}
	if w != nil {
		if err := r.finish(w); err != nil {
			return nil, err
		}
	}
	answer := newBuilder()
	answer.int32("n", matched)
	if upserted != nil {
		answer.val("upserted", upserted.end().done().lookup("upserted"))
	}
	answer.int32("nModified", modified)
	errs.appendTo(answer)
	return answer.ok().done(), nil
}

// writerFor opens a writer on ns. It creates the collection only if a statement may insert; otherwise it returns nil if
// the collection does not exist.
func (r *request) writerFor(ns namespace, stmts []doc) (*writer, error) {
	for _, d := range stmts {
		if d.lookup("upsert").truthy() {
			return r.s.store.write(ns)
		}
	}
	for {
		c := r.s.store.lookup(ns)
		if c == nil {
			return nil, nil
		}
		if w := r.s.store.writeTo(c); w != nil {
			return w, nil
		}
	}
}

// runUpdate runs one statement of an update command.
func (r *request) runUpdate(w *writer, st *statement) (res updateResult, err error) {
	if st.multi {
		err = r.eachMatch(w, st, func(old doc) error {
			one, err := w.change(st.update, old)
			res.matched += one.matched
			res.modified += one.modified
			return err
		})
	} else {
		var old doc
		if old, err = r.firstMatch(w, st, nil); err == nil && old != nil {
			res, err = w.change(st.update, old)
		}
	}
	if err == nil && res.matched == 0 && st.upsert {
		return w.upsert(st)
	}
	return res, err
}

// firstMatch returns the first document in the order of sort that matches; nil if there is none.
func (r *request) firstMatch(w *writer, st *statement, sort *sortSpec) (doc, error) {
	if id, ok := st.filter.idEquals(); ok && st.hint.missing() {
		w.idBuf = appendKey(w.idBuf[:0], id)
		d, err := w.read(w.idBuf)
		if err != nil || d == nil || !st.filter.match(d) {
			return nil, err
		}
		return d, nil
	}
	v, err := w.view()
	if err != nil {
		return nil, err
	}
	p, err := v.planWithHint(st.filter, sort, st.hint)
	if err != nil {
		return nil, err
	}
	scan := v.scan(p, st.filter)
	src := &scanSource{s: scan}
	defer scan.release()
	if p.sorted {
		d, err := src.next(r.ctx)
		return keepDoc(d), err
	}
	srt := &sorter{spec: sort, limit: 1, max: r.s.opts.SortBytes}
	for {
		d, err := src.next(r.ctx)
		if err != nil {
			return nil, err
		}
		if d == nil {
			break
		}
		if err := srt.add(d); err != nil {
			return nil, err
		}
	}
	if docs := srt.sorted(); len(docs) > 0 {
		return docs[0], nil
	}
	return nil, nil
}

// eachMatch calls f with every document that matches when it begins. Changes by f have no effect on the selection.
func (r *request) eachMatch(w *writer, st *statement, f func(doc) error) error {
	// The snapshot must include the command's earlier changes.
	if err := w.flush(); err != nil {
		return err
	}
	v := w.st.view(w.c)
	if v == nil {
		return refuse(codeQueryPlanKilled, "collection %s was dropped meanwhile", w.c.ns.Load())
	}
	defer v.Close()
	p, err := v.planWithHint(st.filter, nil, st.hint)
	if err != nil {
		return err
	}
	scan := v.scan(p, st.filter)
	defer scan.release()
	src := &scanSource{s: scan}
	for {
		d, err := src.next(r.ctx)
		if err != nil || d == nil {
			return err
		}
		if err := f(d); err != nil {
			return err
		}
		if err := w.flushIfLarge(); err != nil {
			return err
		}
	}
}

// change applies an update to one document.
func (w *writer) change(u *updater, old doc) (updateResult, error) {
	d, err := u.apply(old, false)
	if err != nil {
		return updateResult{}, err
	}
	res := updateResult{matched: 1, before: old, after: d}
	if string(d) == string(old) {
		return res, nil
	}
	res.modified = 1
	return res, w.replace(old, d)
}

// upsert inserts the document of an upsert that matched none. If a document with the same _id exists, which did not
// match the rest of the filter, it fails with a duplicate key: this makes a filter such as {_id: 1, position: {$lt: 7}}
// a guard.
func (w *writer) upsert(st *statement) (updateResult, error) {
	base, err := upsertBase(st.filter)
	if err != nil {
		return updateResult{}, err
	}
	if st.update.replacement != nil {
		// A replacement takes only the _id from the filter.
		id := base.lookup("_id")
		if base = emptyDoc; !id.missing() {
			base = newBuilder().val("_id", id).done()
		}
	}
	d, err := st.update.apply(base, true)
	if err != nil {
		return updateResult{}, err
	}
	d = withIDFirst(d)
	if err := w.insert(d); err != nil {
		return updateResult{}, err
	}
	return updateResult{upserted: d.lookup("_id"), after: d}, nil
}

func (r *request) delete() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	errs := writeErrors{ordered: true}
	err = r.fields(func(name string, e elem) (bool, error) {
		if name == "deletes" {
			return true, nil
		}
		return r.writeOption(name, e, &errs.ordered)
	})
	if err != nil {
		return nil, err
	}
	stmts, err := r.docs("deletes")
	if err != nil {
		return nil, err
	}
	if err := checkBatch(len(stmts), "deletes"); err != nil {
		return nil, err
	}
	w, err := r.writerFor(ns, nil)
	if err != nil {
		return nil, err
	}
	defer w.close()
	n := int32(0)
	var next ahead
	for i := range stmts {
		st, err := next.statement(w, stmts, i, parseDeleteStatement)
		if err == nil && w != nil {
			var deleted int32
			deleted, err = r.runDelete(w, st)
			n += deleted
		}
		stop, fatal := errs.add(i, err)
		if fatal != nil {
			return nil, fatal
		}
		if stop {
			break
		}
	}
	if w != nil {
		if err := r.finish(w); err != nil {
			return nil, err
		}
	}
	answer := newBuilder()
	answer.int32("n", n)
	errs.appendTo(answer)
	return answer.ok().done(), nil
}

// runDelete runs one statement of a delete command and returns the number of deleted documents.
func (r *request) runDelete(w *writer, st *statement) (n int32, err error) {
	if st.multi {
		err = r.eachMatch(w, st, func(old doc) error {
			n++
			return w.remove(old)
		})
		return n, err
	}
	old, err := r.firstMatch(w, st, nil)
	if err != nil || old == nil {
		return 0, err
	}
	return 1, w.remove(old)
}
