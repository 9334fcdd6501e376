package odm

import (
	"slices"
	"strings"
)

// codec moves constructs between elements and the model: from elements when it reads, else into them. What a construct has
// is said once, for both directions and both versions.
type codec struct {
	version Version
	reads   bool
	report  *Report
	// forms are the OIDs of forms that groups have too (version 1.3.2).
	forms map[string]bool
}

// v132 reports whether the file is of version 1.3.2.
func (c *codec) v132() bool { return c.version == V132 }

// node is an element, and what of it the model has fields for.
type node struct {
	of *Element
	at *place
	// attributes and children are true for those that a field holds.
	attributes, children []bool
}

func (c *codec) node(e *Element, within *place) *node {
	return &node{of: e, at: &place{within, e}, attributes: make([]bool, len(e.Attributes)), children: make([]bool, len(e.Children))}
}

// attribute moves an attribute of ODM.
func (c *codec) attribute(n *node, name string, value *string) {
	if !c.reads {
		if *value != "" {
			n.of.Attributes = append(n.of.Attributes, Attribute{Name: name, Value: *value})
		}
		return
	}
	for i, a := range n.of.Attributes {
		// An empty attribute cannot be told from none in the model: it stays what it is in the rest.
		if a.Space == "" && a.Name == name && a.Value != "" {
			*value, n.attributes[i] = a.Value, true
			return
		}
	}
}

// words moves an attribute that this version has other words for than the model. What they do not say, the attribute of
// Casebook says.
func (c *codec) words(n *node, name string, value *string, toModel, toFile func(string) string) {
	if c.reads {
		c.attribute(n, name, value)
		*value = toModel(*value)
		return
	}
	written := toFile(*value)
	c.attribute(n, name, &written)
	if toModel(written) != *value {
		n.of.Attributes = append(n.of.Attributes, Attribute{Space: spaceCasebook, Name: name, Value: *value})
	}
}

// text moves the text of an element.
func (c *codec) text(n *node, value *string) {
	switch {
	case !c.reads:
		n.of.Text = *value
	case len(n.of.Children) > 0 && n.of.Children[0].Name == "":
		*value, n.children[0] = n.of.Children[0].Text, true
	default:
		*value = n.of.Text
	}
}

// find returns the first element of a name that no field holds yet, and -1 when there is none.
func (n *node) find(name string) int {
	for i := range n.of.Children {
		if e := &n.of.Children[i]; e.Space == "" && e.Name == name && !n.children[i] {
			return i
		}
	}
	return -1
}

// add appends an element while writing.
func (n *node) add(e Element) { n.of.Children = append(n.of.Children, e) }

// many moves all elements of a name.
func many[T any](c *codec, n *node, name string, list *[]T, move func(*codec, *node, *T)) {
	if c.reads {
		for at := n.find(name); at >= 0; at = n.find(name) {
			n.children[at] = true
			*list = append(*list, take(c, n, at, move))
		}
		return
	}
	for i := range *list {
		n.add(put(c, name, &(*list)[i], move))
	}
}

// take reads one element that a field holds.
func take[T any](c *codec, n *node, at int, move func(*codec, *node, *T)) T {
	var value T
	e := &n.of.Children[at]
	c.report.add(Becomes, "becomes", e.Name, &place{n.at, e}, "")
	move(c, c.node(e, n.at), &value)
	return value
}

func put[T any](c *codec, name string, value *T, move func(*codec, *node, *T)) Element {
	e := Element{Name: name}
	move(c, c.node(&e, nil), value)
	return e
}

// one moves the first element of a name.
func one[T any](c *codec, n *node, name string, value **T, move func(*codec, *node, *T)) {
	if !c.reads {
		if *value != nil {
			n.add(put(c, name, *value, move))
		}
		return
	}
	if at := n.find(name); at >= 0 {
		n.children[at] = true
		read := take(c, n, at, move)
		*value = &read
	}
}

// plain moves an element that holds nothing but a text.
func (c *codec) plain(n *node, name string, value *string) {
	if !c.reads {
		if *value != "" {
			n.add(Element{Name: name, Text: *value})
		}
		return
	}
	at := n.find(name)
	if at < 0 {
		return
	}
	// Anything else than a text is kept as it stands.
	if e := &n.of.Children[at]; len(e.Attributes) == 0 && len(e.Children) == 0 && e.Text != "" {
		*value, n.children[at] = e.Text, true
		c.report.add(Becomes, "becomes", name, &place{n.at, e}, "")
	}
}

// plains moves all elements of a name that hold nothing but a text.
func (c *codec) plains(n *node, name string, values *[]string) {
	if !c.reads {
		for _, value := range *values {
			n.add(Element{Name: name, Text: value})
		}
		return
	}
	for i := range n.of.Children {
		if e := &n.of.Children[i]; e.Space == "" && e.Name == name && len(e.Attributes) == 0 && len(e.Children) == 0 {
			*values, n.children[i] = append(*values, e.Text), true
			c.report.add(Becomes, "becomes", name, &place{n.at, e}, "")
		}
	}
}

// names moves an element that holds nothing but one attribute.
func (c *codec) names(n *node, name, attribute string, value *string) {
	if !c.reads {
		if *value != "" {
			n.add(Element{Name: name, Attributes: []Attribute{{Name: attribute, Value: *value}}})
		}
		return
	}
	if at := n.find(name); at >= 0 && onlyNames(&n.of.Children[at], attribute) {
		*value, n.children[at] = n.of.Children[at].Attributes[0].Value, true
		c.report.add(Becomes, "becomes", name, &place{n.at, &n.of.Children[at]}, "")
	}
}

// onlyNames reports whether an element holds nothing but one attribute of ODM that is not empty.
func onlyNames(e *Element, attribute string) bool {
	return len(e.Children) == 0 && strings.TrimSpace(e.Text) == "" && len(e.Attributes) == 1 &&
		e.Attributes[0].Space == "" && e.Attributes[0].Name == attribute && e.Attributes[0].Value != ""
}

// texts moves an element that holds translated texts.
func (c *codec) texts(n *node, name string, list *[]Text) {
	if !c.reads {
		if len(*list) > 0 {
			within := Element{Name: name}
			many(c, c.node(&within, nil), "TranslatedText", list, moveText)
			n.add(within)
		}
		return
	}
	at := n.find(name)
	if at < 0 {
		return
	}
	e := &n.of.Children[at]
	other := func(child Element) bool { return child.Space != "" || child.Name != "TranslatedText" }
	if len(e.Attributes) > 0 || len(e.Children) == 0 || slices.ContainsFunc(e.Children, other) {
		return
	}
	n.children[at] = true
	c.report.add(Becomes, "becomes", name, &place{n.at, e}, "")
	many(c, c.node(e, n.at), "TranslatedText", list, moveText)
}

// rest moves what no field holds. It comes last.
func (c *codec) rest(n *node, rest *Rest) {
	if !c.reads {
		n.of.Attributes = append(n.of.Attributes, rest.Attributes...)
		n.of.Children = append(n.of.Children, rest.Elements...)
		return
	}
	for i, a := range n.of.Attributes {
		if !n.attributes[i] {
			rest.Attributes = append(rest.Attributes, a)
			c.report.add(KeptUnused, "kept_unused", n.of.Name+"@"+qualified(a.Space, a.Name), n.at, "")
		}
	}
	for i := range n.of.Children {
		if e := &n.of.Children[i]; !n.children[i] {
			rest.Elements = append(rest.Elements, *e)
			c.kept(e, n.at)
		}
	}
}

// inert says why some constructs are kept.
var inert = map[string]struct{ code, why string }{
	"TransitionTimingConstraint": {"timing_kept", "The time of a transition gives no window for a visit."},
	"DurationTimingConstraint":   {"timing_kept", "How long something lasts gives no window for a visit."},
	"WorkflowDef":                {"workflow_inert", "Which visits follow is not executed; visits follow from the schedule."},
	"WorkflowRef":                {"workflow_inert", "Which visits follow is not executed; visits follow from the schedule."},
	"Signature":                  {"signature_foreign", "A signature of another system is history here, and signs nothing."},
	"Query":                      {"signature_foreign", "A query of another system is history here."},
}

func (c *codec) kept(e *Element, within *place) {
	if e.Name == "" {
		return
	}
	at := &place{within, e}
	found, special := inert[e.Name]
	if !special || e.Space != "" {
		found.code, found.why = "kept_unused", ""
	}
	c.report.add(KeptUnused, found.code, qualified(e.Space, e.Name), at, found.why)
	for i := range e.Children {
		c.kept(&e.Children[i], at)
	}
}
