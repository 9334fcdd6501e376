package mongo

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// put adds c to the maps. The caller holds mu, except while the store is opened.
func (st *store) put(c *collection) {
	ns := c.ns.Load()
	if st.dbs[ns.db] == nil {
		st.dbs[ns.db] = map[string]*collection{}
	}
	st.dbs[ns.db][ns.coll] = c
}

// remove removes a name from the maps. The caller holds mu.
func (st *store) remove(ns namespace) {
	delete(st.dbs[ns.db], ns.coll)
	if len(st.dbs[ns.db]) == 0 {
		delete(st.dbs, ns.db)
	}
}

// lookup returns the collection of that name, or nil.
func (st *store) lookup(ns namespace) *collection {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.dbs[ns.db][ns.coll]
}

// databases returns the sorted names of the databases.
func (st *store) databases() []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return slices.Sorted(maps.Keys(st.dbs))
}

// collections returns the collections of a database, sorted by name.
func (st *store) collections(db string) []*collection {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return slices.SortedFunc(maps.Values(st.dbs[db]), func(a, b *collection) int {
		return cmp.Compare(a.ns.Load().coll, b.ns.Load().coll)
	})
}

// newID returns the next id and adds the change of the counter to b. The caller holds idMu until b is committed.
func (st *store) newID(b *pebble.Batch) (uint32, error) {
	st.nextID++
	return st.nextID, b.Set([]byte{spaceNext}, binary.BigEndian.AppendUint32(nil, st.nextID), nil)
}

// create creates an empty collection; created is false if it existed already.
func (st *store) create(ns namespace, durable bool) (c *collection, created bool, err error) {
	if c := st.lookup(ns); c != nil {
		return c, false, nil
	}
	if err := checkNamespace(ns); err != nil {
		return nil, false, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if c := st.dbs[ns.db][ns.coll]; c != nil {
		return c, false, nil
	}
	for other := range st.dbs {
		if other != ns.db && strings.EqualFold(other, ns.db) {
			return nil, false, refuse(13297,
				"database %q cannot be created: %q exists already, and names may not differ by case only", ns.db, other)
		}
	}
	b := st.db.NewBatch()
	defer b.Close()
	st.idMu.Lock()
	defer st.idMu.Unlock()
	id, err := st.newID(b)
	if err != nil {
		return nil, false, err
	}
	c = newCollection(id, ns)
	if _, err := rand.Read(c.uuid[:]); err != nil {
		return nil, false, err
	}
	c.uuid[6], c.uuid[8] = c.uuid[6]&0x0F|0x40, c.uuid[8]&0x3F|0x80
	if err := b.Set(ns.key(), c.record(nil), nil); err != nil {
		return nil, false, err
	}
	if err := st.commit(b, durable); err != nil {
		return nil, false, err
	}
	st.put(c)
	return c, true, nil
}

// checkNamespace refuses the names that MongoDB refuses.
func checkNamespace(ns namespace) error {
	switch {
	case ns.db == "" || len(ns.db) > 63 || strings.ContainsAny(ns.db, "/\\. \"$*<>:|?\x00"):
		return refuse(codeInvalidNamespace,
			"database name %q is not valid: use 1 to 63 bytes without any of /\\. \"$*<>:|?", truncated(ns.db, 80))
	case ns.coll == "" || strings.ContainsAny(ns.coll, "$\x00") || strings.HasPrefix(ns.coll, "."):
		return refuse(codeInvalidNamespace,
			"collection name %q is not valid: it may not be empty, contain $ or NUL, or begin with a dot", truncated(ns.coll, 80))
	case len(ns.db)+1+len(ns.coll) > 255:
		return refuse(codeInvalidNamespace, "namespace %q is not valid: it has more than 255 bytes", truncated(ns.String(), 80))
	case strings.HasPrefix(ns.coll, "system."):
		return refuse(codeInvalidNamespace, "collection %q is not valid: names that begin with system. are reserved", ns.coll)
	}
	return nil
}

// lockAll locks the named collections for writing, and the catalog. It returns nil for collections that do not exist.
// It waits for their writers before it locks the catalog, so that a long write to one collection does not block the
// others.
func (st *store) lockAll(names ...namespace) (colls []*collection, unlock func()) {
	for {
		colls = make([]*collection, len(names))
		for i, ns := range names {
			colls[i] = st.lookup(ns)
		}
		locked := slices.Compact(slices.SortedFunc(slices.Values(colls), byID)) // always in the same order, to avoid deadlocks
		locked = slices.DeleteFunc(locked, func(c *collection) bool { return c == nil })
		for _, c := range locked {
			c.mu.Lock()
		}
		st.mu.Lock()
		unlock = func() {
			st.mu.Unlock()
			for _, c := range locked {
				c.mu.Unlock()
			}
		}
		same := true
		for i, ns := range names {
			same = same && st.dbs[ns.db][ns.coll] == colls[i]
		}
		if same {
			return colls, unlock
		}
		unlock() // a collection was created, dropped or renamed meanwhile: try again
	}
}

func byID(a, b *collection) int {
	id := func(c *collection) uint32 {
		if c == nil {
			return 0
		}
		return c.id
	}
	return cmp.Compare(id(a), id(b))
}

// drop removes the named collections in one batch and skips those that do not exist. It returns the dropped ones.
func (st *store) drop(names []namespace, durable bool) ([]*collection, error) {
	colls, unlock := st.lockAll(names...)
	defer unlock()
	b := st.db.NewBatch()
	defer b.Close()
	gone := slices.DeleteFunc(colls, func(c *collection) bool { return c == nil })
	for _, c := range gone {
		if err := eraseInto(b, c); err != nil {
			return nil, err
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	// Mark the collections before their documents vanish, because view checks the mark.
	for _, c := range gone {
		c.dropped.Store(true)
	}
	if err := st.commitFreeing(b, durable); err != nil {
		for _, c := range gone {
			c.dropped.Store(false)
		}
		return nil, err
	}
	for _, c := range gone {
		st.remove(*c.ns.Load())
	}
	return gone, nil
}

// eraseInto adds to b the removal of everything that belongs to c.
func eraseInto(b *pebble.Batch, c *collection) error {
	docs := spaceKey(spaceDocs, c.id)
	err := errors.Join(
		b.Delete(c.ns.Load().key(), nil), b.Delete(spaceKey(spaceCount, c.id), nil),
		b.Delete(spaceKey(spaceBytes, c.id), nil), b.DeleteRange(docs, successor(docs), nil))
	for _, x := range *c.indexes.Load() {
		err = errors.Join(err, b.DeleteRange(x.space, successor(x.space), nil))
	}
	return err
}

// rename renames a collection. With dropTarget an existing collection of the new name is dropped in the same batch, so
// that readers, and a crash, always find one of the two complete.
func (st *store) rename(from, to namespace, dropTarget, durable bool) error {
	if err := checkNamespace(to); err != nil {
		return err
	}
	if from == to {
		return refuse(codeIllegalOperation, "can't rename %s to itself", from)
	}
	colls, unlock := st.lockAll(from, to)
	defer unlock()
	c, target := colls[0], colls[1]
	if c == nil {
		return refuse(codeNamespaceNotFound, "source namespace %s does not exist", from)
	}
	b := st.db.NewBatch()
	defer b.Close()
	if target != nil {
		if !dropTarget {
			return refuse(codeNamespaceExists, "target namespace %s exists; pass dropTarget to replace it", to)
		}
		if err := eraseInto(b, target); err != nil {
			return err
		}
	}
	err := errors.Join(b.Delete(from.key(), nil), b.Set(to.key(), c.record(*c.indexes.Load()), nil))
	if err != nil {
		return err
	}
	if target != nil {
		target.dropped.Store(true)
	}
	if err := st.commit(b, durable); err != nil {
		if target != nil {
			target.dropped.Store(false)
		}
		return err
	}
	st.remove(from)
	c.ns.Store(&to)
	st.put(c)
	return nil
}
