package mongo

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
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
	n, err := strconv.ParseUint(part, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
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

// keys adds d's keys in index number i to s. A document has one key, or one for each element of an array that a field's
// path meets. Every document has at least one entry in an index.
func (x *index) keys(d doc, s *keySet, i int) error {
	start := len(s.buf)
	for f := range x.fields {
		v, array := leafAt(d, x.fields[f].parts)
		if array {
			s.buf = s.buf[:start]
			return x.arrayKeys(d, s, i)
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
	for i, p := range parts {
		v = d.lookup(p)
		switch {
		case v.t == tArray:
			return v, true
		case i == len(parts)-1:
			return v, false
		case v.t != tDocument:
			return value{}, false
		}
		d = v.doc()
	}
	return v, false
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

func (x *index) arrayKeys(d doc, s *keySet, i int) error {
	fields := make([]fieldCursor, len(x.fields))
	for f := range fields {
		fields[f] = fieldCursor{v: value{tDocument, d}, parts: x.fields[f].parts}
	}
	if err := x.expand(fields, s, i); err != nil {
		return err
	}
	slices.SortFunc(s.byIndex[i], bytes.Compare)
	s.byIndex[i] = slices.CompactFunc(s.byIndex[i], bytes.Equal)
	return nil
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
