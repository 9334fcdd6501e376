package mongo

import (
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Most of the cost of many replacements is reading the replaced documents, which are scattered and mostly not in the
// cache. Therefore a writer reads the documents that the next statements name by _id before it runs the statements,
// several at a time, to use more than one core and more than one request to the disk. Others cannot change them
// meanwhile, because the writer holds the collection's lock.

const (
	// aheadStatements is for how many statements documents are read ahead. Earlier writes are committed before.
	aheadStatements = 1000
	// aheadBytes bounds the documents that are read ahead; further statements read their documents themselves.
	aheadBytes = 16 << 20
	// aheadReaders is how many documents are read at the same time.
	aheadReaders = 4
	// aheadLeast is the number of documents from which on reading ahead is worthwhile.
	aheadLeast = 8
)

// readAhead reads the documents with these _ids into w.known and skips missing values. Until the next call the writer
// keeps w.known up to date.
func (w *writer) readAhead(ids []value) error {
	clear(w.known)
	keys := make([][]byte, 0, len(ids))
	for _, id := range ids {
		if !id.missing() {
			keys = append(keys, appendKey(nil, id))
		}
	}
	if len(keys) < aheadLeast {
		return nil
	}
	// The readers see only committed documents.
	if err := w.flush(); err != nil {
		return err
	}
	docs := make([]doc, len(keys))
	read := make([]bool, len(keys))
	var next, bytes atomic.Int64
	var g errgroup.Group
	for range aheadReaders {
		g.Go(func() error {
			key := spaceKey(spaceDocs, w.c.id)
			space := len(key)
			for bytes.Load() < aheadBytes {
				i := int(next.Add(1)) - 1
				if i >= len(keys) {
					return nil
				}
				key = append(key[:space], keys[i]...)
				d, err := w.st.get(key)
				if err != nil {
					return err
				}
				docs[i], read[i] = d, true
				bytes.Add(int64(len(d)))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if w.known == nil {
		w.known = make(map[string]doc, len(keys))
	}
	for i, k := range keys {
		if read[i] {
			w.known[string(k)] = docs[i]
		}
	}
	return nil
}

// read returns the document with the encoded _id, including the writer's own changes; nil if there is none.
func (w *writer) read(id []byte) (doc, error) {
	if d, ok := w.known[string(id)]; ok {
		return d, nil
	}
	return readKey(w.b, w.c.docKey(id))
}

// wrote records in w.known that the document with the encoded _id is now d, or nil if it was deleted.
func (w *writer) wrote(id []byte, d doc) {
	if _, ok := w.known[string(id)]; ok {
		w.known[string(id)] = d
	}
}

// ahead holds the parsed statements of a command that have not run yet.
type ahead struct {
	stmts []*statement
	errs  []error
}

// statement returns statement i of a command. It must be called for one after the other. At every multiple of
// aheadStatements it parses the next statements and has w, unless it is nil, read their documents.
func (a *ahead) statement(w *writer, stmts []doc, i int, parse func(doc) (*statement, error)) (*statement, error) {
	at := i % aheadStatements
	if at == 0 {
		a.stmts, a.errs = a.stmts[:0], a.errs[:0]
		var ids []value
		for _, d := range stmts[i:min(len(stmts), i+aheadStatements)] {
			st, err := parse(d)
			a.stmts, a.errs = append(a.stmts, st), append(a.errs, err)
			if err == nil && !st.multi && st.hint.missing() {
				if id, ok := st.filter.idEquals(); ok {
					ids = append(ids, id)
				}
			}
		}
		if w != nil {
			if err := w.readAhead(ids); err != nil {
				return nil, err
			}
		}
	}
	return a.stmts[at], a.errs[at]
}

// idsOf returns the _ids of the next documents to insert; missing values for documents without one.
func idsOf(docs []doc) []value {
	docs = docs[:min(len(docs), aheadStatements)]
	ids := make([]value, len(docs))
	for i, d := range docs {
		ids[i] = d.lookup("_id")
	}
	return ids
}
