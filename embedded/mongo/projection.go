package mongo

import "strings"

// projection is a compiled list of fields to include, to exclude or to compute; nil includes all fields.
type projection struct {
	include  bool
	decided  bool // include was given
	root     *projNode
	keepID   bool
	computed []namedExpression // replace the fields of these names; the _id comes first
}

// projNode is one part of the projected paths. A node without kids stands for the whole field.
type projNode struct {
	kids     map[string]*projNode
	computed bool // the document's own field is dropped
}

func parseProjection(d doc) (*projection, error) {
	if d == nil || d.isEmpty() {
		return nil, nil
	}
	p := &projection{root: &projNode{}, keepID: true}
	if err := p.parse("", d); err != nil {
		return nil, err
	}
	if !p.decided { // only _id was given: {_id: 1} includes only it, {_id: 0} excludes only it
		p.include = p.keepID
	}
	return p, nil
}

// parse parses the fields of d; prefix comes before their names.
func (p *projection) parse(prefix string, d doc) error {
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		path := prefix + string(e.name)
		if strings.HasSuffix(path, ".$") {
			return refuse(codeNotImplemented, "positional projection %q is not provided here", truncated(path, 64))
		}
		if err := checkPath(path); err != nil {
			return err
		}
		if e.t == tDocument {
			first, _ := e.doc().first()
			if first.t == 0 {
				return refuse(51270, "An empty sub-projection is not a valid value. Found empty object at path %s", path)
			}
			if len(first.name) == 0 || first.name[0] != '$' {
				if err := p.parse(path+".", e.doc()); err != nil {
					return err
				}
				continue
			}
		}
		if err := p.field(path, e.value); err != nil {
			return err
		}
	}
	return nil
}

// field parses the projection of one path.
func (p *projection) field(path string, v value) error {
	if v.t != tBool && !v.isNumber() {
		return p.compute(path, v)
	}
	include := v.truthy()
	if path == "_id" {
		p.keepID = include
		return nil
	}
	if p.decided && include != p.include {
		if include {
			return refuse(codeProjectionMixInclude, "Cannot do inclusion on field %s in exclusion projection", path)
		}
		return refuse(codeProjectionMixExclude, "Cannot do exclusion on field %s in inclusion projection", path)
	}
	p.include, p.decided = include, true
	return p.root.add(path)
}

// compute parses an expression for a path.
func (p *projection) compute(path string, v value) error {
	if v.t == tDocument {
		first, _ := v.doc().first()
		switch op := string(first.name); op {
		case "$slice", "$elemMatch", "$meta":
			return refuse(codeNotImplemented, "projection operator %s of %q is not provided here", op, truncated(path, 64))
		}
	}
	x, err := parseExpression(v)
	switch {
	case err != nil:
		return err
	case strings.Contains(path, "."):
		return refuse(codeNotImplemented,
			"computing the field %q within another one is not provided here: compute the whole field", truncated(path, 64))
	case p.decided && !p.include:
		return refuse(31310, "Cannot use an expression %s in an exclusion projection", path)
	}
	p.include, p.decided = true, true
	if path == "_id" {
		p.keepID = false
		p.computed = append([]namedExpression{{path, x}}, p.computed...)
		return nil
	}
	p.computed = append(p.computed, namedExpression{path, x})
	if err := p.root.add(path); err != nil {
		return err
	}
	p.root.kids[path].computed = true
	return nil
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

// apply returns the projection of d. A nil projection returns d itself.
func (p *projection) apply(d doc) doc {
	if p == nil {
		return d
	}
	w := newBuilder()
	computed := p.computed
	if len(computed) > 0 && computed[0].name == "_id" {
		p.appendComputed(w, computed[:1], d)
		computed = computed[1:]
	}
	p.copy(w, d, p.root, true)
	p.appendComputed(w, computed, d)
	return w.done()
}

func (p *projection) appendComputed(w *builder, computed []namedExpression, d doc) {
	for i := range computed {
		if v := computed[i].of(d); !v.missing() {
			w.val(computed[i].name, v)
		}
	}
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
			if p.include && !kid.computed {
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
		case !p.include: // a plain value has no fields to exclude
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
