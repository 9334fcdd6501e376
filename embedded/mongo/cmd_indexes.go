package mongo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// parseIndexSpec parses one entry of createIndexes.
func parseIndexSpec(d doc) (*index, error) {
	var key doc
	name, unique := "", false
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		switch field := string(e.name); field {
		case "key":
			if e.t != tDocument {
				return nil, refuse(codeTypeMismatch, "The field 'key' of an index must be an object, but got %s", e.typeName())
			}
			key = e.doc()
		case "name":
			if e.t != tString {
				return nil, refuse(codeTypeMismatch, "The field 'name' of an index must be a string, but got %s", e.typeName())
			}
			name = e.str()
		case "unique":
			unique = e.truthy()
		case "background", "ns": // have no effect since version 4.2
		case "v":
			if n, ok := e.wholeNumber(); !ok || n != 2 && n != 1 {
				return nil, refuse(codeCannotCreateIndex, "index version %s is not known", shellValue(e.value))
			}
		case "collation":
			if err := collation("createIndexes", e); err != nil {
				return nil, err
			}
		case "sparse", "partialFilterExpression", "expireAfterSeconds", "hidden", "storageEngine", "wildcardProjection",
			"weights", "default_language", "language_override", "textIndexVersion", "2dsphereIndexVersion", "bits", "min",
			"max", "prepareUnique", "clustered", "bucketSize":
			if e.t == tBool && !e.truthy() || field == "sparse" && e.t == tNull { // some drivers' mappers send null for not given
				continue
			}
			return nil, refuse(codeCannotCreateIndex, "index option %s is not provided here", field)
		default:
			return nil, refuse(codeInvalidIndexSpec, "The field '%s' is not valid for an index specification", truncated(field, 64))
		}
	}
	if key == nil {
		return nil, refuse(codeFailedToParse, "The 'key' field is a required property of an index specification")
	}
	if name == "" {
		return nil, refuse(codeFailedToParse, "The 'name' field is a required property of an index specification")
	}
	if name == "*" || strings.ContainsRune(name, 0) {
		return nil, refuse(codeBadValue, "The index name '%s' is not valid", name)
	}
	return newIndex(name, key, unique)
}

// maxIndexes is the largest number of indexes of a collection, including the _id index.
const maxIndexes = 64

func (r *request) createIndexes() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	err = r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "indexes":
			return true, nil
		case "commitQuorum": // has no effect on a single server
			return true, nil
		case "ignoreUnknownIndexOptions":
			return true, r.unset(e)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	specs, err := r.docs("indexes")
	if err != nil {
		return nil, err
	}
	if len(specs) == 0 {
		return nil, refuse(codeBadValue, "Must specify at least one index to create")
	}
	var wanted []*index
	for _, d := range specs {
		x, err := parseIndexSpec(d)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, x)
	}
	_, created, err := r.s.store.create(ns, false)
	if err != nil {
		return nil, err
	}
	before, after, err := r.s.store.createIndexes(r, ns, wanted)
	if err != nil {
		return nil, err
	}
	w := newBuilder()
	w.int32("numIndexesBefore", int32(before)).int32("numIndexesAfter", int32(after)).
		bool("createdCollectionAutomatically", created)
	if before == after {
		w.str("note", "all indexes already exist")
	}
	return w.ok().done(), nil
}

// missingIndexes returns the wanted indexes that do not exist yet. It refuses an index that contradicts an existing
// one.
func missingIndexes(c *collection, wanted []*index) ([]*index, error) {
	have := append([]*index{c.primary}, *c.indexes.Load()...)
	var missing []*index
	for _, x := range wanted {
		if len(x.fields) == 1 && x.fields[0].path == "_id" && !x.fields[0].desc {
			continue // the _id index always exists
		}
		exists := false
		for _, h := range have {
			same := sameKey(h.key, x.key)
			switch {
			case same && h.unique == x.unique && h.name == x.name:
				exists = true
			case same && h.unique == x.unique:
				return nil, refuse(codeIndexOptionsConflict, "Index already exists with a different name: %s", h.name)
			case h.name == x.name && !same:
				return nil, refuse(codeIndexKeySpecsConflict, "An existing index has the same name as the requested index: "+
					"%s is %s, requested is %s. Drop it first or choose another name", h.name, shellText(h.key), shellText(x.key))
			case h.name == x.name:
				return nil, refuse(codeIndexKeySpecsConflict, "An existing index has the same name as the requested index "+
					"but another 'unique' option: %s. Drop it first", h.name)
			case same:
				return nil, refuse(codeIndexOptionsConflict, "Index %s exists with the same key but another 'unique' option", h.name)
			}
		}
		if !exists {
			missing = append(missing, x)
			have = append(have, x)
		}
	}
	if len(have) > maxIndexes {
		return nil, refuse(codeCannotCreateIndex, "a collection has at most %d indexes", maxIndexes)
	}
	return missing, nil
}

// createIndexes builds indexes over the existing documents. Writers to the collection wait meanwhile.
func (st *store) createIndexes(r *request, ns namespace, wanted []*index) (before, after int, err error) {
	c := st.lookup(ns)
	if c == nil {
		return 0, 0, refuse(codeNamespaceNotFound, "collection %s was dropped meanwhile", ns)
	}
	w := st.writeTo(c)
	if w == nil {
		return 0, 0, refuse(codeNamespaceNotFound, "collection %s was dropped meanwhile", ns)
	}
	defer w.close()
	missing, err := missingIndexes(c, wanted)
	before = len(w.indexes) + 1
	if err != nil || len(missing) == 0 {
		return before, before, err
	}
	// Until the indexes are in the catalog, their entries are marked as garbage, in case the process ends.
	if err := st.reserve(missing); err != nil {
		return before, before, err
	}
	err = st.build(r, w, missing)
	b := st.db.NewBatch()
	defer b.Close()
	for _, x := range missing {
		if err != nil {
			err = errors.Join(err, b.DeleteRange(x.space, successor(x.space), nil))
		}
		if e := b.Delete(spaceKey(spaceBuilding, x.id), nil); e != nil {
			return before, before, e
		}
	}
	if err != nil {
		if e := st.commitFreeing(b, false); e != nil {
			err = fmt.Errorf("%w (and: %w)", err, e)
		}
		return before, before, err
	}
	all := append(slices.Clone(w.indexes), missing...)
	if err := b.Set(c.ns.Load().key(), c.record(all), nil); err != nil {
		return before, before, err
	}
	if err := st.commit(b, r.durable); err != nil {
		return before, before, err
	}
	c.indexes.Store(&all)
	return before, len(all) + 1, nil
}

// reserve gives new indexes their ids and marks them as being built.
func (st *store) reserve(xs []*index) error {
	b := st.db.NewBatch()
	defer b.Close()
	st.idMu.Lock()
	defer st.idMu.Unlock()
	for _, x := range xs {
		id, err := st.newID(b)
		if err != nil {
			return err
		}
		x.setID(id)
		if err := b.Set(spaceKey(spaceBuilding, id), nil, nil); err != nil {
			return err
		}
	}
	return st.commit(b, false)
}

// build writes the entries of xs for all documents of w's collection.
func (st *store) build(r *request, w *writer, xs []*index) error {
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: w.c.primary.space, UpperBound: successor(w.c.primary.space)})
	if err != nil {
		return err
	}
	defer it.Close()
	b := st.db.NewBatch()
	defer func() { b.Close() }()
	var set keySet
	n := 0
	for it.First(); it.Valid(); it.Next() {
		if n++; n%128 == 0 {
			if err := interrupted(r.ctx); err != nil {
				return err
			}
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		id := it.Key()[len(w.c.primary.space):]
		idLen := binary.AppendUvarint(nil, uint64(len(id)))
		set.reset(len(xs))
		for i, x := range xs {
			if err := x.keys(doc(v), &set, i); err != nil {
				return err
			}
			x.multikey.Or(set.multi[i])
			for _, k := range set.of(i) {
				if err := b.Set(x.entry(k, id), idLen, nil); err != nil {
					return err
				}
			}
		}
		if b.Len() >= flushBytes {
			if err := st.commit(b, false); err != nil {
				return err
			}
			b.Close()
			b = st.db.NewBatch()
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	if err := st.commit(b, false); err != nil {
		return err
	}
	for _, x := range xs {
		if x.unique {
			if err := st.checkUnique(w, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkUnique refuses a new index in which two documents have the same key. Their entries are neighbours.
func (st *store) checkUnique(w *writer, x *index) error {
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: x.space, UpperBound: successor(x.space)})
	if err != nil {
		return err
	}
	defer it.Close()
	var last []byte
	for it.First(); it.Valid(); it.Next() {
		id, ok := entryID(it.Key(), it.Value())
		if !ok {
			return fmt.Errorf("an entry of the new index %s is damaged", x.name)
		}
		key := it.Key()[:len(it.Key())-len(id)]
		if last != nil && bytes.Equal(key, last) {
			d, err := st.get(w.c.docKey(id))
			if err != nil {
				return err
			}
			return duplicateKey(*w.c.ns.Load(), x, d)
		}
		last = append(last[:0], key...)
	}
	return it.Error()
}

func (r *request) dropIndexes() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	which := value{}
	err = r.fields(func(name string, e elem) (bool, error) {
		which = e.value
		return name == "index", nil
	})
	if err != nil {
		return nil, err
	}
	c := r.s.store.lookup(ns)
	if c == nil {
		return nil, refuse(codeNamespaceNotFound, "ns not found %s", ns)
	}
	before, err := r.s.store.dropIndexes(c, which, r.durable)
	if err != nil {
		return nil, err
	}
	return newBuilder().int32("nIndexesWas", int32(before)).ok().done(), nil
}

// dropIndexes drops the indexes given by "*", a name, an array of names, or a key. It returns their number before.
func (st *store) dropIndexes(c *collection, which value, durable bool) (before int, err error) {
	w := st.writeTo(c)
	if w == nil {
		return 0, refuse(codeNamespaceNotFound, "the collection was dropped meanwhile")
	}
	defer w.close()
	before = len(w.indexes) + 1
	gone := map[*index]bool{}
	byName := func(name string) error {
		if name == "_id_" {
			return refuse(codeInvalidOptions, "cannot drop _id index")
		}
		for _, x := range w.indexes {
			if x.name == name {
				gone[x] = true
				return nil
			}
		}
		return refuse(codeIndexNotFound, "index not found with name [%s]", truncated(name, 128))
	}
	switch which.t {
	case tString:
		if which.str() != "*" {
			err = byName(which.str())
			break
		}
		for _, x := range w.indexes {
			gone[x] = true
		}
	case tArray:
		for e, rest := which.doc().first(); e.t != 0 && err == nil; e, rest = nextElem(rest) {
			if e.t != tString {
				return before, refuse(codeTypeMismatch, "dropIndexes takes an array of names only")
			}
			err = byName(e.str())
		}
	case tDocument:
		if sameKey(which.doc(), c.primary.key) {
			return before, refuse(codeInvalidOptions, "cannot drop _id index")
		}
		for _, x := range w.indexes {
			if sameKey(x.key, which.doc()) {
				gone[x] = true
			}
		}
		if len(gone) == 0 {
			err = refuse(codeIndexNotFound, "can't find index with key: %s", shellText(which.doc()))
		}
	default:
		err = refuse(codeTypeMismatch, "BSON field 'dropIndexes.index' must be a string, an array of strings or an object")
	}
	if err != nil || len(gone) == 0 {
		return before, err
	}
	keep := slices.DeleteFunc(slices.Clone(w.indexes), func(x *index) bool { return gone[x] })
	b := st.db.NewBatch()
	defer b.Close()
	if err := b.Set(c.ns.Load().key(), c.record(keep), nil); err != nil {
		return before, err
	}
	for x := range gone {
		if err := b.DeleteRange(x.space, successor(x.space), nil); err != nil {
			return before, err
		}
	}
	c.indexes.Store(&keep) // before the entries are deleted, because view relies on it
	if err := st.commitFreeing(b, durable); err != nil {
		all := w.indexes
		c.indexes.Store(&all)
		return before, err
	}
	return before, nil
}
