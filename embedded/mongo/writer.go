package mongo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// writer collects the changes of one command to one collection. It holds the collection's mu until close. Reads through
// the writer include its own changes.
type writer struct {
	st      *store
	c       *collection
	indexes []*index
	delta   int64 // change of the number of documents
	bytes   int64 // change of their bytes
	marked  bool  // an index became multikey, so the catalog record changes
	closed  bool

	// entries are the changes that have not been committed, with size bytes. b also has those before settled, for readers who need
	// an order; it is nil while there are none.
	*scratch
	size  int
	b     *pebble.Batch
	roots rootFields

	known   map[string]doc // by encoded _id, the documents that readAhead has read
	buffers []*[]byte      // the memory of these documents
	own     map[string]doc // by encoded _id, the documents of entries; nil for those that were deleted
}

// scratch is memory that one writer after the other uses.
type scratch struct {
	entries       [][]entry // those of documents first, then those of each index
	arena         []byte    // the keys of entries
	vals, oldVals []value   // the fields of a document that indexes begin with, by their number in roots
	keys, oldKeys keySet
	idBuf         []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

const (
	// keepEntries is the largest number of entries of an index for which memory is kept, and keepArena that of the bytes of keys.
	keepEntries = 4096
	keepArena   = 1 << 20
)

// takeScratch returns memory for a number of groups of entries.
func takeScratch(groups int) *scratch {
	s := scratches.Get().(*scratch)
	for len(s.entries) < groups {
		s.entries = append(s.entries, nil)
	}
	s.arena = s.arena[:0]
	return s
}

// give leaves the memory to another writer.
func (s *scratch) give() {
	for group, entries := range s.entries {
		if cap(entries) > keepEntries {
			s.entries[group] = nil
			continue
		}
		clear(entries) // so that the documents can be collected
		s.entries[group] = entries[:0]
	}
	if cap(s.arena) > keepArena {
		s.arena = nil
	}
	clear(s.vals)
	clear(s.oldVals)
	scratches.Put(s)
}

// entry is the change of one key: its new value, or nil for none.
type entry struct{ key, value []byte }

// put notes the change of a key: group 0 is for documents, and group i+1 for entries of index i.
func (w *writer) put(group int, value []byte, key ...[]byte) {
	start := len(w.arena)
	for _, part := range key {
		w.arena = append(w.arena, part...)
	}
	e := entry{w.arena[start:len(w.arena):len(w.arena)], value}
	w.entries[group] = append(w.entries[group], e)
	w.size += len(e.key) + len(e.value) + entryOverhead
}

// entryOverhead is what an entry has in a batch beside its key and its value, roughly.
const entryOverhead = 12

// settle moves the entries to a batch that can be read in the order of its keys.
func (w *writer) settle() error {
	if w.b == nil {
		w.b = w.st.db.NewIndexedBatch()
	}
	return w.fill(w.b)
}

// fill moves the entries to a batch. They are sorted, because Pebble finds the place of a key in a fraction of the time where that of
// the key before it is near. Of the changes of one key the last one counts.
func (w *writer) fill(b *pebble.Batch) error {
	for group, entries := range w.entries {
		order := func(a, b entry) int { return bytes.Compare(a.key, b.key) }
		if !slices.IsSortedFunc(entries, order) {
			slices.SortStableFunc(entries, order)
		}
		for _, e := range entries {
			change := b.Set
			if e.value == nil {
				change = func(key, _ []byte, o *pebble.WriteOptions) error { return b.Delete(key, o) }
			}
			if err := change(e.key, e.value, nil); err != nil {
				return err
			}
		}
		clear(entries)
		w.entries[group] = entries[:0]
	}
	w.arena, w.size = w.arena[:0], 0
	return nil
}

// write opens a writer on ns, and creates the collection if it does not exist.
func (st *store) write(ns namespace) (*writer, error) {
	for {
		c, _, err := st.create(ns, false)
		if err != nil {
			return nil, err
		}
		if w := st.writeTo(c); w != nil {
			return w, nil
		}
	}
}

// writeTo opens a writer on c; it returns nil if c was dropped meanwhile.
func (st *store) writeTo(c *collection) *writer {
	c.mu.Lock()
	if c.dropped.Load() {
		c.mu.Unlock()
		return nil
	}
	indexes := *c.indexes.Load()
	return &writer{st: st, c: c, indexes: indexes, roots: rootsOf(indexes), scratch: takeScratch(1 + len(indexes))}
}

// close releases the collection's lock and drops changes that were not flushed. Whoever opens a writer defers it, so that
// the lock is released on every path, also if the command panics. It may be called more than once.
func (w *writer) close() {
	if w == nil || w.closed {
		return
	}
	w.closed = true
	defer w.c.mu.Unlock()
	w.forget()
	w.give()
	w.scratch = nil
	if w.b != nil {
		w.b.Close()
	}
}

// view returns a view of the collection that includes the writer's changes.
func (w *writer) view() (*view, error) {
	if err := w.settle(); err != nil {
		return nil, err
	}
	return &view{w.b, w.c, w.indexes}, nil
}

// flush commits the collected changes.
func (w *writer) flush() error {
	if w.size == 0 && (w.b == nil || w.b.Empty()) {
		return nil
	}
	if w.b == nil {
		w.b = w.st.db.NewBatch()
	}
	defer func() {
		w.b.Close()
		w.b = nil
	}()
	if err := w.fill(w.b); err != nil {
		return err
	}
	if n := uint64(w.c.count.Load() + w.delta); w.delta != 0 {
		if err := w.b.Set(spaceKey(spaceCount, w.c.id), binary.BigEndian.AppendUint64(nil, n), nil); err != nil {
			return err
		}
	}
	if w.delta != 0 || w.bytes != 0 {
		// With the number of documents, by which a later start sees whether an earlier version has written meanwhile.
		sum := binary.BigEndian.AppendUint64(nil, uint64(w.c.count.Load()+w.delta))
		sum = binary.BigEndian.AppendUint64(sum, uint64(w.c.bytes.Load()+w.bytes))
		if err := w.b.Set(spaceKey(spaceBytes, w.c.id), sum, nil); err != nil {
			return err
		}
	}
	if w.marked {
		if err := w.b.Set(w.c.ns.Load().key(), w.c.record(w.indexes), nil); err != nil {
			return err
		}
	}
	if err := w.st.commit(w.b, false); err != nil {
		return err
	}
	w.c.count.Add(w.delta)
	w.c.bytes.Add(w.bytes)
	w.delta, w.bytes, w.marked = 0, 0, false
	clear(w.own)
	return nil
}

// flushIfLarge commits a large batch, to bound the memory of a command.
func (w *writer) flushIfLarge() error {
	if size := w.size; size < flushBytes && (w.b == nil || size+w.b.Len() < flushBytes) {
		return nil
	}
	return w.flush()
}

// idKey checks and encodes a document's _id. The result is valid until the next call.
func (w *writer) idKey(d doc) ([]byte, error) {
	id := d.lookup("_id")
	if err := checkID(id); err != nil {
		return nil, err
	}
	w.idBuf = appendKey(w.idBuf[:0], id)
	return w.idBuf, nil
}

func checkID(id value) error {
	switch id.t {
	case tArray, tRegex, tUndefined, tMissing:
		return refuse(codeInvalidIDField, "the '_id' value cannot be of type %s", id.typeName())
	case tDocument:
		for e, rest := id.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			if len(e.name) > 0 && e.name[0] == '$' {
				return refuse(codeDollarPrefixedFieldName, "_id fields may not begin with '$': %q", e.name)
			}
		}
	}
	return nil
}

// insert adds d, which has an _id.
func (w *writer) insert(d doc) error {
	id, err := w.idKey(d)
	if err != nil {
		return err
	}
	if err := checkSize(d); err != nil {
		return err
	}
	if old, err := w.read(id); err != nil {
		return err
	} else if old != nil {
		return w.duplicate(w.c.primary, d)
	}
	if err := w.reindex(id, nil, d); err != nil {
		return err
	}
	w.delta++
	w.bytes += int64(len(d))
	w.wrote(id, d)
	w.put(0, d, w.c.primary.space, id)
	return nil
}

// replace replaces old by d; both have the same _id.
func (w *writer) replace(old, d doc) error {
	id, err := w.idKey(d)
	if err != nil {
		return err
	}
	if err := checkSize(d); err != nil {
		return err
	}
	if err := w.reindex(id, old, d); err != nil {
		return err
	}
	w.bytes += int64(len(d) - len(old))
	w.wrote(id, d)
	w.put(0, d, w.c.primary.space, id)
	return nil
}

// remove deletes old.
func (w *writer) remove(old doc) error {
	id, err := w.idKey(old)
	if err != nil {
		return err
	}
	if err := w.reindex(id, old, nil); err != nil {
		return err
	}
	w.delta--
	w.bytes -= int64(len(old))
	w.wrote(id, nil)
	w.put(0, nil, w.c.primary.space, id)
	return nil
}

func checkSize(d doc) error {
	if len(d) > maxDocSize {
		return refuse(codeBSONObjectTooLarge, "the document has %d bytes, at most %d are stored: split it", len(d), maxDocSize)
	}
	return nil
}

// reindex replaces the index entries of old by those of d; either may be nil. It checks all unique indexes before it
// writes anything, so that a refused statement changes nothing.
func (w *writer) reindex(id []byte, old, d doc) error {
	if len(w.indexes) == 0 {
		return nil
	}
	w.vals, w.oldVals = w.roots.of(d, w.vals), w.roots.of(old, w.oldVals)
	w.keys.reset(len(w.indexes))
	w.oldKeys.reset(len(w.indexes))
	for i, x := range w.indexes {
		fields := w.roots.fields[i]
		if old != nil && d != nil && alike(fields, w.vals, w.oldVals) {
			continue // and so are the keys
		}
		if d != nil {
			if err := x.keysFrom(fields, w.vals, &w.keys, i); err != nil {
				return err
			}
		}
		if old != nil {
			// A stored document was indexed before, so this does not fail.
			if err := x.keysFrom(fields, w.oldVals, &w.oldKeys, i); err != nil {
				return err
			}
		}
	}
	for i, x := range w.indexes {
		if !x.unique {
			continue
		}
		for _, k := range w.keys.of(i) {
			if w.oldKeys.has(i, k) {
				continue
			}
			taken, err := w.taken(x, k, id)
			if err != nil {
				return err
			}
			if taken {
				return w.duplicate(x, d)
			}
		}
	}
	idLen := binary.AppendUvarint(nil, uint64(len(id)))
	for i, x := range w.indexes {
		for _, k := range w.oldKeys.of(i) {
			if !w.keys.has(i, k) {
				w.put(i+1, nil, x.space, k, id)
			}
		}
		for _, k := range w.keys.of(i) {
			if !w.oldKeys.has(i, k) {
				w.put(i+1, idLen, x.space, k, id)
			}
		}
		if mask := w.keys.multi[i]; mask&^x.multikey.Load() != 0 {
			x.multikey.Or(mask)
			w.marked = true
		}
	}
	return nil
}

// taken reports whether a document with another _id than id has the key k in the unique index x.
func (w *writer) taken(x *index, k, id []byte) (bool, error) {
	if err := w.settle(); err != nil {
		return false, err
	}
	from := append(bytes.Clone(x.space), k...)
	it, err := w.b.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: successor(from)})
	if err != nil {
		return false, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if !bytes.Equal(it.Key()[len(from):], id) {
			return true, nil
		}
	}
	return false, it.Error()
}

// duplicate returns the error of a duplicate key of d in the unique index x.
func (w *writer) duplicate(x *index, d doc) error {
	return duplicateKey(*w.c.ns.Load(), x, d)
}

func duplicateKey(ns namespace, x *index, d doc) error {
	kv := newBuilder()
	for _, f := range x.fields {
		v := firstAt(d, f.parts)
		if v.missing() {
			v = value{t: tNull}
		}
		kv.val(f.path, v)
	}
	keyValue := kv.done()
	return &commandError{
		code: codeDuplicateKey, keyPattern: x.key, keyValue: keyValue,
		msg: fmt.Sprintf("E11000 duplicate key error collection: %s index: %s dup key: %s", ns, x.name, shellText(keyValue)),
	}
}
