package mongo

import (
	"context"
	"strings"
)

// unwinding is a compiled $unwind stage.
type unwinding struct {
	parts    []string // of the path
	index    []string // of the path for the element's position, nil for none
	preserve bool     // documents without elements are kept
}

func parseUnwind(arg value) (stageBuilder, error) {
	u := unwinding{}
	path := arg
	switch arg.t {
	case tString:
	case tDocument:
		path = value{}
		for e, rest := arg.doc().first(); e.t != 0; e, rest = nextElem(rest) {
			switch name := string(e.name); name {
			case "path":
				path = e.value
			case "preserveNullAndEmptyArrays":
				if e.t != tBool {
					return nil, refuse(28809, "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got %s", e.typeName())
				}
				u.preserve = e.bool()
			case "includeArrayIndex":
				if e.t != tString || e.str() == "" {
					return nil, refuse(28810, "expected a non-empty string for the includeArrayIndex option to $unwind stage, got %s", e.typeName())
				}
				if e.str()[0] == '$' {
					return nil, refuse(28822, "includeArrayIndex option to $unwind stage should not be prefixed with a '$': %s", truncated(e.str(), 64))
				}
				if err := checkPath(e.str()); err != nil {
					return nil, err
				}
				u.index = strings.Split(e.str(), ".")
			default:
				return nil, refuse(28811, "unrecognized option to $unwind stage: %s", truncated(name, 64))
			}
		}
	default:
		return nil, refuse(15981, "expected either a string or an object as specification for $unwind stage, got %s", arg.typeName())
	}
	switch {
	case path.missing() || path.t == tString && path.str() == "":
		return nil, refuse(28812, "no path specified to $unwind stage")
	case path.t != tString:
		return nil, refuse(28808, "expected a string as the path for $unwind stage, got %s", path.typeName())
	case path.str()[0] != '$':
		return nil, refuse(28818, "path option to $unwind stage should be prefixed with a '$': %s", truncated(path.str(), 64))
	}
	if err := checkPath(path.str()[1:]); err != nil {
		return nil, err
	}
	u.parts = strings.Split(path.str()[1:], ".")
	return func(src source) (source, error) { return &unwindSource{source: src, unwinding: u}, nil }, nil
}

// unwindSource yields one document for each element of an array.
type unwindSource struct {
	source
	unwinding

	doc  doc    // the document whose array is being unwound
	rest []byte // the remaining elements
	n    int64  // position of the next element
}

func (s *unwindSource) next(ctx context.Context) (doc, error) {
	for {
		if s.doc != nil {
			if e, rest := nextElem(s.rest); e.t != 0 {
				d := s.indexed(withValueAt(s.doc, s.parts, e.value), int64Value(s.n))
				s.rest = rest
				s.n++
				return d, nil
			}
			s.doc = nil
		}
		d, err := s.source.next(ctx)
		if err != nil || d == nil {
			return nil, err
		}
		switch v := plainValueAt(d, s.parts); {
		case v.t == tArray && !v.doc().isEmpty():
			s.doc = keepDoc(d) // the source may be paused before the end of the array
			s.rest, s.n = plainValueAt(s.doc, s.parts).b[4:], 0
		case v.t == tArray && s.preserve:
			return s.indexed(withValueAt(d, s.parts, value{}), value{t: tNull}), nil
		case v.t == tArray || v.isNullish() && !s.preserve:
		default: // another value counts as an array of one element
			return s.indexed(d, value{t: tNull}), nil
		}
	}
}

// indexed returns d with the position, if the stage adds it.
func (u *unwinding) indexed(d doc, position value) doc {
	if u.index == nil {
		return d
	}
	return withValueAt(d, u.index, position)
}

// plainValueAt returns the value at a path through documents only, not through arrays.
func plainValueAt(d doc, parts []string) value {
	v := d.lookup(parts[0])
	for _, p := range parts[1:] {
		if v.t != tDocument {
			return value{}
		}
		v = v.doc().lookup(p)
	}
	return v
}

// withValueAt returns d with v at a path: v replaces the existing value or is added at the end. A value on the path
// that is not a document is replaced by one. If v is missing, the field is removed; it must exist then.
func withValueAt(d doc, parts []string, v value) doc {
	w := newBuilder()
	copyWith(w, d, parts, v)
	return w.done()
}

func copyWith(w *builder, d doc, parts []string, v value) {
	set := func(old value) {
		switch {
		case len(parts) > 1:
			inner := emptyDoc
			if old.t == tDocument {
				inner = old.doc()
			}
			w.doc(parts[0])
			copyWith(w, inner, parts[1:], v)
			w.end()
		case !v.missing():
			w.val(parts[0], v)
		}
	}
	found := false
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		if string(e.name) != parts[0] {
			w.val(string(e.name), e.value)
			continue
		}
		found = true
		set(e.value)
	}
	if !found {
		set(value{})
	}
}
