package mongo

import (
	"bytes"
	"container/heap"
	"slices"
	"strings"
)

// sortSpec is a compiled sort document; nil means no order is asked for.
type sortSpec struct {
	fields []indexField
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

// appendSortKey appends what d is sorted by, as bytes to compare. An array counts with its smallest element, or its
// largest in descending order.
func (s *sortSpec) appendSortKey(dst []byte, d doc) []byte {
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
			if best == nil || bytes.Compare(key, best) < 0 { // descending keys are inverted, so less is right for both
				best = key
			}
		})
		dst = append(dst, best...)
	}
	return dst
}

func throughPosition(parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return arrayIndex(p) >= 0 })
}

// eachAt calls f with every value at a path, arrays taken apart, at least once; an empty array counts as undefined.
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
		f(value{t: tUndefined})
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

// sorter takes documents and gives them back in order. With a limit it keeps no more than it must.
type sorter struct {
	spec  *sortSpec
	limit int // 0: none
	max   int // bytes

	items []sortItem
	bytes int
	seq   int
	buf   []byte
}

type sortItem struct {
	key []byte
	seq int // keeps equal ones in the order they came in
	doc doc
}

func (a sortItem) compare(b sortItem) int {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	return a.seq - b.seq
}

// The heap has the last item on top, which is the one to go when there are too many.

func (s *sorter) Len() int           { return len(s.items) }
func (s *sorter) Less(i, j int) bool { return s.items[i].compare(s.items[j]) > 0 }
func (s *sorter) Swap(i, j int)      { s.items[i], s.items[j] = s.items[j], s.items[i] }
func (s *sorter) Push(x any)         { s.items = append(s.items, x.(sortItem)) }
func (s *sorter) Pop() any {
	last := s.items[len(s.items)-1]
	s.items = s.items[:len(s.items)-1]
	return last
}

// add takes a document, which it copies if it keeps it.
func (s *sorter) add(d doc) error {
	s.buf = s.spec.appendSortKey(s.buf[:0], d)
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
		return refuse(codeSortMemoryExceeded, "sorting in memory needs more than %d bytes: create an index for this order, or ask for fewer documents", s.max)
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
