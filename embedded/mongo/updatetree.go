package mongo

import (
	"slices"
	"strings"
)

// tree is a value that is being changed. A document or array is expanded only if a change goes into it.
type tree struct {
	v    value
	open bool // the value is expanded: kids are its content, and v has only its type
	kids []branch
}

type branch struct {
	name string
	*tree
}

func (t *tree) set(v value) { *t = tree{v: v} }

// expand splits a document or array into kids.
func (t *tree) expand() {
	if t.open {
		return
	}
	t.open = true
	for e, rest := t.v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		t.kids = append(t.kids, branch{string(e.name), &tree{v: e.value}})
	}
}

// value returns t as one value.
func (t *tree) value() value {
	if !t.open {
		return t.v
	}
	w := &builder{}
	t.appendTo(w)
	return value{t.v.t, w.b}
}

// appendTo writes an expanded document or array.
func (t *tree) appendTo(w *builder) {
	if t.v.t == tArray {
		w.push(0)
	} else {
		w.push(-1)
	}
	t.appendKids(w)
	w.end()
}

func (t *tree) appendKids(w *builder) {
	for _, k := range t.kids {
		switch {
		case !k.open && k.v.missing(): // at created it, but no value was set
		case !k.open:
			w.val(k.name, k.v)
		default:
			w.head(k.v.t, k.name)
			k.appendTo(w)
		}
	}
}

// maxPadding is how many nulls an update may insert before an array position that is beyond the end.
const maxPadding = 1_500_000

// at returns the value at a path. If there is none, it creates the path with a missing value at its end if create is
// set, else it returns nil.
func (t *tree) at(parts []string, create bool) (*tree, error) {
	for i, p := range parts {
		switch t.v.t {
		case tDocument:
			t.expand()
			n := slices.IndexFunc(t.kids, func(k branch) bool { return k.name == p })
			if n < 0 {
				if !create {
					return nil, nil
				}
				t.kids = append(t.kids, branch{p, &tree{}})
				n = len(t.kids) - 1
			}
			t = t.kids[n].tree
		case tArray:
			pos := arrayIndex(p)
			if pos < 0 {
				if !create {
					return nil, nil
				}
				return nil, refuse(codePathNotViable, "Cannot create field '%s' in the array at '%s'", p, strings.Join(parts[:i], "."))
			}
			t.expand()
			if pos >= len(t.kids) {
				if !create {
					return nil, nil
				}
				if pos-len(t.kids) > maxPadding {
					return nil, refuse(codeBadValue, "cannot put %d nulls in front of position %d, at most %d", pos-len(t.kids), pos, maxPadding)
				}
				for len(t.kids) < pos {
					t.kids = append(t.kids, branch{"", &tree{v: value{t: tNull}}})
				}
				t.kids = append(t.kids, branch{"", &tree{}})
			}
			t = t.kids[pos].tree
		default:
			if !create {
				return nil, nil
			}
			return nil, refuse(codePathNotViable, "Cannot create field '%s' in element {%s: %s}", p, strings.Join(parts[:i], "."), shellValue(t.v))
		}
		if create && t.v.missing() && i < len(parts)-1 {
			*t = tree{v: value{t: tDocument}, open: true}
		}
	}
	return t, nil
}

// take removes the value at a path and returns it. Within an array the value becomes null.
func (t *tree) take(parts []string) (value, error) {
	last := len(parts) - 1
	parent, err := t.at(parts[:last], false)
	if parent == nil || err != nil {
		return value{}, err
	}
	at, err := parent.at(parts[last:], false)
	if at == nil || err != nil {
		return value{}, err
	}
	v := at.value()
	if parent.v.t == tArray {
		at.set(value{t: tNull})
	} else {
		parent.kids = slices.DeleteFunc(parent.kids, func(k branch) bool { return k.tree == at })
	}
	return v, nil
}
