package mongo

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
)

const maxIndexFields = 32

// index is one index of a collection. All fields except multikey never change.
type index struct {
	id      uint32
	name    string
	key     doc // as the client gave it, such as {site: 1, at: -1}
	fields  []indexField
	unique  bool
	primary bool   // the index is the documents themselves, in order of _id
	space   []byte // prefix of all its keys in Pebble
	// nullEmpty says that a path through an empty array leads to null, as in MongoDB. In the indexes of earlier versions it
	// leads to undefined.
	nullEmpty bool

	// multikey has a bit for each field whose path has met an array in any document, also in deleted ones.
	multikey atomic.Uint64
}

type indexField struct {
	path  string
	parts []string
	desc  bool
}

// newIndex returns an index with the given key, without an id.
func newIndex(name string, key doc, unique bool) (*index, error) {
	x := &index{name: name, key: bytes.Clone(key), unique: unique, nullEmpty: true}
	for e, rest := key.first(); e.t != 0; e, rest = nextElem(rest) {
		f := indexField{path: string(e.name), parts: strings.Split(string(e.name), ".")}
		if e.t == tString {
			return nil, refuse(codeCannotCreateIndex, "index type %q of field %q is not provided here: use 1 or -1", e.str(), f.path)
		}
		if !e.isNumber() {
			return nil, refuse(codeCannotCreateIndex,
				"the direction of index field %q is a %s, it must be 1 or -1", f.path, e.typeName())
		}
		switch c := compare(e.value, int32Value(0)); {
		case c == 0 || e.isNaN():
			return nil, refuse(codeCannotCreateIndex, "the direction of index field %q must be 1 or -1", f.path)
		case c < 0:
			f.desc = true
		}
		for _, p := range f.parts {
			switch {
			case p == "":
				return nil, refuse(codeCannotCreateIndex, "index field %q has an empty part", f.path)
			case p[0] == '$':
				return nil, refuse(codeCannotCreateIndex,
					"index field %q has a part that begins with '$'; wildcard indexes are not provided here", f.path)
			case arrayIndex(p) >= 0:
				return nil, refuse(codeCannotCreateIndex, "index field %q goes through an array position, which is not provided here", f.path)
			}
		}
		if slices.ContainsFunc(x.fields, func(o indexField) bool { return o.path == f.path }) {
			return nil, refuse(codeCannotCreateIndex, "index field %q is given twice", f.path)
		}
		x.fields = append(x.fields, f)
	}
	switch {
	case len(x.fields) == 0:
		return nil, refuse(codeCannotCreateIndex, "an index needs at least one field")
	case len(x.fields) > maxIndexFields:
		return nil, refuse(codeCannotCreateIndex, "an index has at most %d fields, this one has %d", maxIndexFields, len(x.fields))
	}
	return x, nil
}

func (x *index) setID(id uint32) {
	x.id, x.space = id, spaceKey(spaceIndex, id)
}

// arrayIndex parses a part of a path as a position in an array; it returns -1 if the part is not one.
func arrayIndex(part string) int {
	if part == "" || len(part) > 9 || len(part) > 1 && part[0] == '0' {
		return -1
	}
	n := 0
	for _, c := range []byte(part) {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// entry returns the Pebble key of an entry: space, encoded fields and encoded _id.
func (x *index) entry(k, id []byte) []byte {
	b := make([]byte, 0, len(x.space)+len(k)+len(id))
	b = append(b, x.space...)
	b = append(b, k...)
	return append(b, id...)
}

// entryID returns the encoded _id of an entry; false if the entry is damaged.
func entryID(key, val []byte) ([]byte, bool) {
	n, k := binary.Uvarint(val)
	if k <= 0 || n > uint64(len(key)) {
		return nil, false
	}
	return key[len(key)-int(n):], true
}

// keySet holds the keys of one document in each index of a collection. Its memory is reused.
type keySet struct {
	byIndex [][][]byte
	multi   []uint64 // by index, the fields that met an array
	buf     []byte
}

func (s *keySet) reset(n int) {
	for len(s.byIndex) < n {
		s.byIndex, s.multi = append(s.byIndex, nil), append(s.multi, 0)
	}
	for i := range s.byIndex {
		s.byIndex[i], s.multi[i] = s.byIndex[i][:0], 0
	}
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	s.buf = s.buf[:0]
}

// of returns the keys of index i, sorted and without duplicates.
func (s *keySet) of(i int) [][]byte { return s.byIndex[i] }

func (s *keySet) has(i int, k []byte) bool {
	_, found := slices.BinarySearchFunc(s.byIndex[i], k, bytes.Compare)
	return found
}

// cut adds the bytes of buf from start on as a key of index i.
func (s *keySet) cut(i, start int) {
	s.byIndex[i] = append(s.byIndex[i], s.buf[start:len(s.buf):len(s.buf)])
}

// rootFields are the fields of a document at which the paths of indexes begin. A document is searched for all of them at once.
type rootFields struct {
	names  []string
	fields [][]int // by index and by its fields, the number of the name
}

func rootsOf(indexes []*index) rootFields {
	r := rootFields{fields: make([][]int, len(indexes))}
	for i, x := range indexes {
		for _, f := range x.fields {
			n := slices.Index(r.names, f.parts[0])
			if n < 0 {
				n = len(r.names)
				r.names = append(r.names, f.parts[0])
			}
			r.fields[i] = append(r.fields[i], n)
		}
	}
	return r
}

// of returns the values of the root fields in d, which may be nil. It uses the memory of vals.
func (r *rootFields) of(d doc, vals []value) []value {
	vals = slices.Grow(vals[:0], len(r.names))[:len(r.names)]
	clear(vals)
	if d == nil {
		return vals
	}
	left := len(r.names)
	for e, rest := d.first(); e.t != 0 && left > 0; e, rest = nextElem(rest) {
		for n, name := range r.names {
			if string(e.name) == name {
				if vals[n].missing() { // of fields with the same name the first counts
					vals[n] = e.value
					left--
				}
				break
			}
		}
	}
	return vals
}

// alike says whether two documents have the same values in the root fields of an index.
func alike(fields []int, a, b []value) bool {
	for _, n := range fields {
		if a[n].t != b[n].t || !bytes.Equal(a[n].b, b[n].b) {
			return false
		}
	}
	return true
}

// keys adds d's keys in index number i to s. A document has one key, or one for each element of an array that a field's
// path meets. Every document has at least one entry in an index.
func (x *index) keys(d doc, s *keySet, i int) error {
	roots := rootsOf([]*index{x})
	return x.keysFrom(roots.fields[0], roots.of(d, nil), s, i)
}

// keysFrom is keys for a document of which vals has the root fields: fields are the numbers of those of this index.
func (x *index) keysFrom(fields []int, vals []value, s *keySet, i int) error {
	start := len(s.buf)
	for f := range x.fields {
		v, array := leafFrom(vals[fields[f]], x.fields[f].parts[1:])
		if array {
			s.buf = s.buf[:start]
			return x.arrayKeys(fields, vals, s, i)
		}
		s.buf = x.fields[f].append(s.buf, v)
	}
	s.cut(i, start)
	return nil
}

func (f *indexField) append(dst []byte, v value) []byte {
	start := len(dst)
	dst = appendKey(dst, v)
	if f.desc {
		invert(dst[start:])
	}
	return dst
}

// leafAt returns the value at a path through sub-documents. array reports that the path met an array; v is then the
// array.
func leafAt(d doc, parts []string) (v value, array bool) {
	return leafFrom(d.lookup(parts[0]), parts[1:])
}

// leafFrom is leafAt for the value of the first field on the path, and the rest of the path.
func leafFrom(v value, parts []string) (leaf value, array bool) {
	for _, p := range parts {
		switch v.t {
		case tArray:
			return v, true
		case tDocument:
			v = v.doc().lookup(p)
		default:
			return value{}, false
		}
	}
	return v, v.t == tArray
}

// firstAt returns the value at a path, or the first array on the path.
func firstAt(d doc, parts []string) value {
	v, _ := leafAt(d, parts)
	return v
}

// fieldCursor is the state of one field while the keys of a document are built.
type fieldCursor struct {
	v     value
	parts []string // the rest of the path
	done  bool     // v is the value to be indexed
}

func (x *index) arrayKeys(fields []int, vals []value, s *keySet, i int) error {
	if !x.arrayOfLeaves(fields, vals, s, i) {
		cursors := make([]fieldCursor, len(x.fields))
		for f := range cursors {
			cursors[f] = fieldCursor{v: vals[fields[f]], parts: x.fields[f].parts[1:]}
		}
		if err := x.expand(cursors, s, i); err != nil {
			return err
		}
	}
	slices.SortFunc(s.byIndex[i], bytes.Compare)
	s.byIndex[i] = slices.CompactFunc(s.byIndex[i], bytes.Equal)
	return nil
}

// arrayOfLeaves adds the keys where just one field meets an array, at the end of its path, which is what most arrays in indexes are. It
// reports whether that was so.
func (x *index) arrayOfLeaves(fields []int, vals []value, s *keySet, i int) bool {
	at := -1
	var elements doc
	for f := range x.fields {
		v, array := leafFrom(vals[fields[f]], x.fields[f].parts[1:])
		if !array {
			continue
		}
		if at >= 0 || len(x.fields[f].parts) > 1 {
			return false // a longer path may meet the array before its end
		}
		at, elements = f, v.doc()
	}
	if at < 0 {
		return false
	}
	add := func(element value) {
		start := len(s.buf)
		for f := range x.fields {
			v := element
			if f != at {
				v, _ = leafFrom(vals[fields[f]], x.fields[f].parts[1:])
			}
			s.buf = x.fields[f].append(s.buf, v)
		}
		s.cut(i, start)
	}
	s.multi[i] |= 1 << at
	if elements.isEmpty() {
		add(value{t: tUndefined})
		return true
	}
	for e, rest := elements.first(); e.t != 0; e, rest = nextElem(rest) {
		add(e.value)
	}
	return true
}

// expand follows every field to its value or to the first array. If fields meet different arrays, the document is
// refused. Then expand follows each element of the array.
func (x *index) expand(fields []fieldCursor, s *keySet, i int) error {
	fields = slices.Clone(fields)
	var array []byte
	arrayPath := ""
	for f := range fields {
		c := &fields[f]
		for !c.done && c.v.t != tArray {
			switch {
			case len(c.parts) == 0:
				c.done = true
			case c.v.t != tDocument:
				c.v, c.done = value{}, true
			default:
				c.v, c.parts = c.v.doc().lookup(c.parts[0]), c.parts[1:]
			}
		}
		if c.done {
			continue
		}
		s.multi[i] |= 1 << f
		if array == nil {
			array, arrayPath = c.v.b, x.fields[f].path
		} else if &array[0] != &c.v.b[0] {
			return refuse(codeCannotIndexParallel,
				"cannot index parallel arrays: index %s has arrays at %q and %q", x.name, arrayPath, x.fields[f].path)
		}
	}
	if array == nil {
		start := len(s.buf)
		for f := range fields {
			s.buf = x.fields[f].append(s.buf, fields[f].v)
		}
		s.cut(i, start)
		return nil
	}
	next := make([]fieldCursor, len(fields))
	follow := func(e value, empty bool) error {
		for f := range fields {
			next[f] = fields[f]
			if next[f].done {
				continue
			}
			switch {
			case empty && len(next[f].parts) > 0 && x.nullEmpty:
				next[f] = fieldCursor{done: true}
			case empty:
				next[f] = fieldCursor{v: value{t: tUndefined}, done: true}
			case len(next[f].parts) == 0:
				next[f] = fieldCursor{v: e, done: true}
			case e.t == tDocument:
				next[f].v = e
			default:
				next[f] = fieldCursor{done: true}
			}
		}
		return x.expand(next, s, i)
	}
	if doc(array).isEmpty() {
		return follow(value{}, true)
	}
	for e, rest := doc(array).first(); e.t != 0; e, rest = nextElem(rest) {
		if err := follow(e.value, false); err != nil {
			return err
		}
	}
	return nil
}
