package mongo

import (
	"bytes"
	"container/heap"
	"slices"
	"strconv"
	"strings"
)

// sortSpec is a compiled sort document; nil means that no order is requested.
type sortSpec struct {
	fields []indexField
	// through reports that a path may go through a position in an array.
	through bool
}

func parseSort(d doc) (*sortSpec, error) {
	if d == nil || d.isEmpty() {
		return nil, nil
	}
	s := &sortSpec{}
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		path := string(e.name)
		if e.t == tDocument {
			return nil, refuse(codeNotImplemented, "sorting %q by an expression such as $meta is not provided here", path)
		}
		n, ok := e.wholeNumber()
		if !ok || n != 1 && n != -1 {
			return nil, refuse(codeBadValue, "$sort key ordering must be 1 (for ascending) or -1 (for descending), field %q", path)
		}
		if err := checkPath(path); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(s.fields, func(f indexField) bool { return f.path == path }) {
			continue
		}
		s.fields = append(s.fields, indexField{path: path, parts: strings.Split(path, "."), desc: n < 0})
	}
	s.through = slices.ContainsFunc(s.fields, func(f indexField) bool { return throughPosition(f.parts) })
	if len(s.fields) > maxIndexFields {
		return nil, refuse(codeBadValue, "too many sort keys: %d, at most %d", len(s.fields), maxIndexFields)
	}
	return s, nil
}

// checkPath refuses field paths that no document can have.
func checkPath(path string) error {
	if path == "" {
		return refuse(15998, "a field path cannot be empty")
	}
	if strings.Count(path, ".") >= maxBSONDepth {
		return refuse(codeOverflow, "FieldPath %q... has more than %d parts", path[:16], maxBSONDepth)
	}
	for p := range strings.SplitSeq(path, ".") {
		if p == "" {
			return refuse(15998, "FieldPath %q must not have empty parts", path)
		}
		if p[0] == '$' {
			return refuse(16410, "FieldPath %q: field names may not start with '$'", path)
		}
	}
	return nil
}

// appendSortKey appends the sort key of d, whose bytes are compared. A document with an array has a key for each element,
// as in an index, and is sorted by the least one; so by the smallest element, in descending order by the largest. A
// document in which two fields meet different arrays is refused.
func (s *sortSpec) appendSortKey(dst []byte, d doc) ([]byte, error) {
	if s.through {
		return s.appendFieldKeys(dst, d), nil
	}
	start := len(dst)
	for i := range s.fields {
		v, array := leafAt(d, s.fields[i].parts)
		if !array {
			dst = s.fields[i].append(dst, v)
			continue
		}
		x := index{fields: s.fields, nullEmpty: true}
		var keys keySet
		keys.reset(1)
		if err := x.keys(d, &keys, 0); err != nil {
			return nil, refuse(codeBadValue, "cannot sort with keys that are parallel arrays: %s", s.paths())
		}
		return append(dst[:start], keys.of(0)[0]...), nil
	}
	return dst, nil
}

// paths returns the paths of the fields for people.
func (s *sortSpec) paths() string {
	paths := make([]string, len(s.fields))
	for i, f := range s.fields {
		paths[i] = strconv.Quote(f.path)
	}
	return strings.Join(paths, ", ")
}

// appendFieldKeys is appendSortKey for paths that may go through positions, and for elements of an array: each field is
// sorted by its own least value.
func (s *sortSpec) appendFieldKeys(dst []byte, d doc) []byte {
	for i := range s.fields {
		f := &s.fields[i]
		v, array := leafAt(d, f.parts)
		if !array && !throughPosition(f.parts) {
			dst = f.append(dst, v)
			continue
		}
		var best []byte
		eachAt(value{tDocument, d}, f.parts, func(v value) {
			key := f.append(nil, v)
			if best == nil || bytes.Compare(key, best) < 0 { // right for descending keys too, because they are inverted
				best = key
			}
		})
		dst = append(dst, best...)
	}
	return dst
}

// throughPosition reports whether a part of a path may be a position in an array.
func throughPosition(parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return arrayIndex(p) >= 0 })
}

// eachAt calls f with each value at a path, for an array with each element, and at least once. For an empty array it
// calls f with undefined, but with a missing value if the path goes on behind it.
func eachAt(v value, parts []string, f func(value)) {
	if v.t != tArray {
		switch {
		case len(parts) == 0:
			f(v)
		case v.t == tDocument:
			eachAt(v.doc().lookup(parts[0]), parts[1:], f)
		default:
			f(value{})
		}
		return
	}
	if len(parts) > 0 {
		if pos := arrayIndex(parts[0]); pos >= 0 {
			n := 0
			for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
				if n == pos {
					eachAt(e.value, parts[1:], f)
					return
				}
				n++
			}
		}
	}
	if v.doc().isEmpty() {
		if len(parts) > 0 {
			f(value{})
		} else {
			f(value{t: tUndefined})
		}
		return
	}
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		switch {
		case len(parts) == 0:
			f(e.value)
		case e.t == tDocument:
			eachAt(e.doc().lookup(parts[0]), parts[1:], f)
		default:
			f(value{})
		}
	}
}

// sorter sorts documents. With a limit it keeps only the first ones.
type sorter struct {
	spec  *sortSpec
	limit int // 0 for none
	max   int // bytes

	items []sortItem
	bytes int
	seq   int
	buf   []byte
}

type sortItem struct {
	key []byte
	seq int // keeps documents with equal keys in their original order
	doc doc
}

func (a sortItem) compare(b sortItem) int {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	return a.seq - b.seq
}

// The heap has the last item on top, which is dropped when there are too many.

func (s *sorter) Len() int           { return len(s.items) }
func (s *sorter) Less(i, j int) bool { return s.items[i].compare(s.items[j]) > 0 }
func (s *sorter) Swap(i, j int)      { s.items[i], s.items[j] = s.items[j], s.items[i] }
func (s *sorter) Push(x any)         { s.items = append(s.items, x.(sortItem)) }
func (s *sorter) Pop() any {
	last := s.items[len(s.items)-1]
	s.items = s.items[:len(s.items)-1]
	return last
}

// add adds a document; it copies the document if it keeps it.
func (s *sorter) add(d doc) error {
	key, err := s.spec.appendSortKey(s.buf[:0], d)
	if err != nil {
		return err
	}
	s.buf = key
	s.seq++
	if s.limit > 0 && len(s.items) == s.limit {
		if bytes.Compare(s.buf, s.items[0].key) >= 0 {
			return nil
		}
		gone := heap.Pop(s).(sortItem)
		s.bytes -= gone.size()
	}
	it := sortItem{bytes.Clone(s.buf), s.seq, keepDoc(d)}
	if s.bytes += it.size(); s.bytes > s.max {
		return refuse(codeSortMemoryExceeded,
			"sorting in memory needs more than %d bytes: create an index for this order, or ask for fewer documents", s.max)
	}
	if s.limit > 0 {
		heap.Push(s, it)
	} else {
		s.items = append(s.items, it)
	}
	return nil
}

func (a *sortItem) size() int { return len(a.key) + len(a.doc) + 64 }

// sorted returns the documents in order.
func (s *sorter) sorted() []doc {
	slices.SortFunc(s.items, sortItem.compare)
	docs := make([]doc, len(s.items))
	for i, it := range s.items {
		docs[i] = it.doc
	}
	return docs
}
