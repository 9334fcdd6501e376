package mongo

import "strings"

// projection is a compiled list of fields to keep or to leave out; nil keeps everything.
type projection struct {
	include bool
	root    *projNode
	keepID  bool
}

// projNode is one part of the projected paths. A node without kids stands for the whole field.
type projNode struct {
	kids map[string]*projNode
}

func parseProjection(d doc) (*projection, error) {
	if d == nil || d.isEmpty() {
		return nil, nil
	}
	p := &projection{root: &projNode{}, keepID: true}
	decided := false
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		path := string(e.name)
		if e.t != tBool && !e.isNumber() {
			return nil, refuse(codeNotImplemented, "projection of %q by an expression or a literal is not provided here: use 1 or 0", truncated(path, 64))
		}
		if strings.HasSuffix(path, ".$") {
			return nil, refuse(codeNotImplemented, "positional projection %q is not provided here", truncated(path, 64))
		}
		if err := checkPath(path); err != nil {
			return nil, err
		}
		include := e.truthy()
		if path == "_id" {
			p.keepID = include
			continue
		}
		if decided && include != p.include {
			if include {
				return nil, refuse(codeProjectionMixInclude, "Cannot do inclusion on field %s in exclusion projection", path)
			}
			return nil, refuse(codeProjectionMixExclude, "Cannot do exclusion on field %s in inclusion projection", path)
		}
		p.include, decided = include, true
		if err := p.root.add(path); err != nil {
			return nil, err
		}
	}
	if !decided { // only _id was named: {_id: 1} keeps it alone, {_id: 0} leaves it alone out
		p.include = p.keepID
	}
	return p, nil
}

func (n *projNode) add(path string) error {
	for rest := path; ; {
		part, after, more := strings.Cut(rest, ".")
		kid := n.kids[part]
		if kid != nil && (!more || len(kid.kids) == 0) {
			return refuse(codeProjectionPathCollision, "Path collision at %s", path)
		}
		if kid == nil {
			if n.kids == nil {
				n.kids = map[string]*projNode{}
			}
			kid = &projNode{}
			n.kids[part] = kid
		}
		if !more {
			return nil
		}
		n, rest = kid, after
	}
}

// apply returns what is left of d; without a projection d itself.
func (p *projection) apply(d doc) doc {
	if p == nil {
		return d
	}
	w := newBuilder()
	p.copy(w, d, p.root, true)
	return w.done()
}

func (p *projection) copy(w *builder, d doc, n *projNode, top bool) {
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		name := string(e.name)
		if top && name == "_id" && n.kids["_id"] == nil {
			if p.keepID {
				w.val(name, e.value)
			}
			continue
		}
		kid := n.kids[name]
		switch {
		case kid == nil:
			if !p.include {
				w.val(name, e.value)
			}
		case len(kid.kids) == 0:
			if p.include {
				w.val(name, e.value)
			}
		case e.t == tDocument:
			w.doc(name)
			p.copy(w, e.doc(), kid, false)
			w.end()
		case e.t == tArray:
			w.array(name)
			p.copyArray(w, e.doc(), kid)
			w.end()
		case !p.include: // a plain value has no such field to leave out
			w.val(name, e.value)
		}
	}
}

// copyArray projects the documents in an array, and in arrays within it.
func (p *projection) copyArray(w *builder, a doc, n *projNode) {
	for e, rest := a.first(); e.t != 0; e, rest = nextElem(rest) {
		switch {
		case e.t == tDocument:
			w.doc("")
			p.copy(w, e.doc(), n, false)
			w.end()
		case e.t == tArray:
			w.array("")
			p.copyArray(w, e.doc(), n)
			w.end()
		case !p.include:
			w.val("", e.value)
		}
	}
}
