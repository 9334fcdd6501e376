package mongo

import (
	"strings"
)

func (r *request) listDatabases() (doc, error) {
	if err := r.needAdmin(); err != nil {
		return nil, err
	}
	var filterDoc doc
	nameOnly := false
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "filter":
			return true, r.wantDoc(e, &filterDoc)
		case "nameOnly":
			return true, r.wantBool(e, &nameOnly)
		case "authorizedDatabases":
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	f, err := parseFilter(filterDoc)
	if err != nil {
		return nil, err
	}
	w := newBuilder()
	w.array("databases")
	total := int64(0)
	for _, name := range r.s.store.databases() {
		one := newBuilder()
		one.str("name", name)
		size := int64(0)
		if !nameOnly {
			for _, c := range r.s.store.collections(name) {
				size += c.bytes.Load()
				for _, x := range *c.indexes.Load() {
					size += r.s.store.sizeOf(c, x)
				}
			}
			one.int64("sizeOnDisk", size).bool("empty", false)
		}
		if d := one.done(); f.match(d) {
			w.rawDoc("", d)
			total += size
		}
	}
	w.end()
	if !nameOnly {
		w.int64("totalSize", total).int64("totalSizeMb", total>>20)
	}
	return w.ok().done(), nil
}

// cursorOption reads the option {cursor: {batchSize: n}} of commands that answer with a cursor.
func (r *request) cursorOption(e elem, batchSize *int64) error {
	if e.t != tDocument {
		return wrongType(r, e, "object")
	}
	for o, rest := e.doc().first(); o.t != 0; o, rest = nextElem(rest) {
		if string(o.name) != "batchSize" {
			return refuse(codeUnknownField, "BSON field 'cursor.%s' is an unknown field.", truncated(string(o.name), 64))
		}
		if err := r.wantCount(o, batchSize); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) listCollections() (doc, error) {
	var filterDoc doc
	nameOnly := false
	batchSize := int64(1 << 30)
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "filter":
			return true, r.wantDoc(e, &filterDoc)
		case "nameOnly":
			return true, r.wantBool(e, &nameOnly)
		case "cursor":
			return true, r.cursorOption(e, &batchSize)
		case "authorizedCollections":
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	f, err := parseFilter(filterDoc)
	if err != nil {
		return nil, err
	}
	var docs []doc
	for _, c := range r.s.store.collections(r.db) {
		w := newBuilder()
		w.str("name", c.ns.Load().coll).str("type", "collection")
		if !nameOnly {
			w.doc("options").end().doc("info").bool("readOnly", false).val("uuid", uuidValue(c.uuid)).end().
				rawDoc("idIndex", c.primary.describe())
		}
		if d := w.done(); f.match(d) {
			docs = append(docs, d)
		}
	}
	return r.firstBatch(namespace{r.db, "$cmd.listCollections"}, &listSource{docs}, batchSize, false)
}

// describe returns the index as listIndexes shows it.
func (x *index) describe() doc {
	w := newBuilder()
	w.int32("v", 2).rawDoc("key", x.key).str("name", x.name)
	if x.unique && !x.primary {
		w.bool("unique", true)
	}
	return w.done()
}

func (r *request) listIndexes() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	batchSize := int64(1 << 30)
	err = r.fields(func(name string, e elem) (bool, error) {
		if name != "cursor" {
			return false, nil
		}
		return true, r.cursorOption(e, &batchSize)
	})
	if err != nil {
		return nil, err
	}
	c := r.s.store.lookup(ns)
	if c == nil {
		return nil, refuse(codeNamespaceNotFound, "ns does not exist: %s", ns)
	}
	docs := []doc{c.primary.describe()}
	for _, x := range *c.indexes.Load() {
		docs = append(docs, x.describe())
	}
	return r.firstBatch(ns, &listSource{docs}, batchSize, false)
}

func (r *request) create() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	err = r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "collation":
			return true, collation("create", e)
		case "capped", "size", "max", "viewOn", "pipeline", "timeseries", "validator", "clusteredIndex",
			"expireAfterSeconds", "changeStreamPreAndPostImages", "encryptedFields", "autoIndexId", "storageEngine", "temp":
			return true, r.unset(e)
		case "validationLevel", "validationAction", "indexOptionDefaults", "idIndex", "flags":
			return true, nil // have no effect without the options above
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	_, created, err := r.s.store.create(ns, r.durable)
	if err != nil {
		return nil, err
	}
	if !created {
		return nil, refuse(codeNamespaceExists, "Collection %s already exists.", ns)
	}
	return newBuilder().ok().done(), nil
}

func noFields(string, elem) (bool, error) { return false, nil }

func (r *request) drop() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	if err := r.fields(noFields); err != nil {
		return nil, err
	}
	gone, err := r.s.store.drop([]namespace{ns}, r.durable)
	if err != nil {
		return nil, err
	}
	w := newBuilder()
	if len(gone) > 0 { // since version 7.0 dropping a missing collection is no error
		w.int32("nIndexesWas", int32(len(*gone[0].indexes.Load())+1)).str("ns", ns.String())
	}
	return w.ok().done(), nil
}

func (r *request) dropDatabase() (doc, error) {
	if err := r.fields(noFields); err != nil {
		return nil, err
	}
	var names []namespace
	for _, c := range r.s.store.collections(r.db) {
		names = append(names, *c.ns.Load())
	}
	if _, err := r.s.store.drop(names, r.durable); err != nil {
		return nil, err
	}
	w := newBuilder()
	if len(names) > 0 {
		w.str("dropped", r.db)
	}
	return w.ok().done(), nil
}

func (r *request) renameCollection() (doc, error) {
	if err := r.needAdmin(); err != nil {
		return nil, err
	}
	to := ""
	dropTarget := false
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "to":
			return true, r.wantString(e, &to)
		case "dropTarget":
			return true, r.wantBool(e, &dropTarget)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if r.arg.t != tString {
		return nil, wrongType(r, elem{name: []byte("renameCollection"), value: r.arg}, "string")
	}
	fromDB, fromColl, ok1 := strings.Cut(r.arg.str(), ".")
	toDB, toColl, ok2 := strings.Cut(to, ".")
	if !ok1 || !ok2 {
		return nil, refuse(codeInvalidNamespace, "renameCollection takes two names of the form database.collection")
	}
	if err := r.s.store.rename(namespace{fromDB, fromColl}, namespace{toDB, toColl}, dropTarget, r.durable); err != nil {
		return nil, err
	}
	return newBuilder().ok().done(), nil
}
