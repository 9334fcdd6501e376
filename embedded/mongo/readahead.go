package mongo

import (
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Most of what a bulk of replacements costs is reading the documents that are replaced: they lie anywhere, and most of
// them are not in the cache. A writer therefore reads those that the next statements name by _id before it runs the
// statements, several at a time, so that more than one core and more than one request to the disk are at work. Nobody
// else can change them meanwhile, the collection is the writer's.

const (
	// aheadStatements is how many statements are looked at at a time. What was written before them is committed first.
	aheadStatements = 1000
	// aheadBytes bounds the documents that are read ahead; statements beyond read their own.
	aheadBytes = 16 << 20
	// aheadReaders is how many documents are read at the same time.
	aheadReaders = 4
	// aheadLeast is the number of documents from which on it is worth the trouble.
	aheadLeast = 8
)

// readAhead reads the documents with these _ids, a missing value standing for none. Until the next call what is known
// of them is kept up to date with what the writer writes.
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
	// The readers look at what is committed only.
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

// read returns the document with the encoded _id as the writer sees it; nil when there is none.
func (w *writer) read(id []byte) (doc, error) {
	if d, ok := w.known[string(id)]; ok {
		return d, nil
	}
	return readKey(w.b, w.c.docKey(id))
}

// wrote takes note that the document with the encoded _id is d now, nil when it is gone.
func (w *writer) wrote(id []byte, d doc) {
	if _, ok := w.known[string(id)]; ok {
		w.known[string(id)] = d
	}
}

// ahead holds the statements of a command that were parsed but not run yet.
type ahead struct {
	stmts []*statement
	errs  []error
}

// statement returns statement i of a command, which asks for one after the other. Every so often it parses the next
// ones and has w, unless it is nil, read their documents.
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

// idsOf returns the _ids of the documents that are inserted next, as far as they have one.
func idsOf(docs []doc) []value {
	docs = docs[:min(len(docs), aheadStatements)]
	ids := make([]value, len(docs))
	for i, d := range docs {
		ids[i] = d.lookup("_id")
	}
	return ids
}
