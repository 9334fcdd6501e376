package mongo

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
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
	// The readers see only committed documents.
	if err := w.flush(); err != nil {
		return err
	}
	clear(w.known)
	if w.known == nil {
		w.known = make(map[string]doc, len(ids))
	}
	var encoded []byte
	keys := make([][]byte, 0, len(ids))
	for _, id := range ids {
		if id.missing() {
			continue
		}
		start := len(encoded)
		encoded = appendKey(encoded, id)
		key := encoded[start:len(encoded):len(encoded)]
		beyond, err := w.beyond(key)
		if err != nil {
			return err
		}
		if beyond {
			w.known[string(key)] = nil
		} else {
			keys = append(keys, key)
		}
	}
	if len(keys) < aheadLeast {
		return nil
	}
	docs := make([]doc, len(keys))
	read := make([]bool, len(keys))
	var next, size atomic.Int64
	var g errgroup.Group
	for range aheadReaders {
		buffer := aheadBuffers.Get().(*[]byte)
		w.buffers = append(w.buffers, buffer)
		g.Go(func() error {
			into := (*buffer)[:0]
			defer func() { *buffer = into }()
			key := spaceKey(spaceDocs, w.c.id)
			space := len(key)
			for size.Load() < aheadBytes {
				i := int(next.Add(1)) - 1
				if i >= len(keys) {
					return nil
				}
				key = append(key[:space], keys[i]...)
				d, err := w.st.getInto(&into, key)
				if err != nil {
					return err
				}
				docs[i], read[i] = d, true
				size.Add(int64(len(d)))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, k := range keys {
		if read[i] {
			w.known[string(k)] = docs[i]
		}
	}
	return nil
}

// aheadBuffers hold documents that were read ahead, until their writer is closed. The largest that is kept has aheadBuffer bytes.
var aheadBuffers = sync.Pool{New: func() any { return new([]byte) }}

const aheadBuffer = 1 << 20

// forget gives the memory of the documents back that were read ahead.
func (w *writer) forget() {
	w.known = nil
	for _, buffer := range w.buffers {
		if cap(*buffer) <= aheadBuffer {
			aheadBuffers.Put(buffer)
		}
	}
	w.buffers = nil
}

// getInto returns the value of a key; nil if it does not exist. It copies the value behind those in the buffer, or begins a larger
// buffer.
func (st *store) getInto(into *[]byte, key []byte) ([]byte, error) {
	v, closer, err := st.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if cap(*into)-len(*into) < len(v) {
		*into = make([]byte, 0, max(2*cap(*into), len(v), 64<<10))
	}
	start := len(*into)
	*into = append(*into, v...)
	return (*into)[start:len(*into):len(*into)], closer.Close()
}

// beyond reports whether an encoded _id is greater than those of all documents.
func (w *writer) beyond(id []byte) (bool, error) {
	if !w.c.measured {
		it, err := w.st.db.NewIter(&pebble.IterOptions{LowerBound: w.c.primary.space, UpperBound: successor(w.c.primary.space)})
		if err != nil {
			return false, err
		}
		if it.Last() {
			w.c.raise(it.Key()[len(w.c.primary.space):])
		}
		if err := it.Close(); err != nil {
			return false, err
		}
		w.c.measured = true
	}
	return bytes.Compare(id, w.c.greatest) > 0, nil
}

// raise notes the encoded _id of a document.
func (c *collection) raise(id []byte) {
	if bytes.Compare(id, c.greatest) > 0 {
		c.greatest = append(c.greatest[:0], id...)
	}
}

// read returns the document with the encoded _id, including the writer's own changes; nil if there is none.
func (w *writer) read(id []byte) (doc, error) {
	if d, ok := w.known[string(id)]; ok {
		return d, nil
	}
	if d, ok := w.own[string(id)]; ok {
		return d, nil
	}
	if beyond, err := w.beyond(id); beyond || err != nil {
		return nil, err
	}
	return w.st.get(w.c.docKey(id))
}

// wrote records that the document with the encoded _id is now d, or nil if it was deleted.
func (w *writer) wrote(id []byte, d doc) {
	w.c.raise(id)
	if _, ok := w.known[string(id)]; ok {
		w.known[string(id)] = d
		return
	}
	if w.own == nil {
		w.own = map[string]doc{}
	}
	w.own[string(id)] = d
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
