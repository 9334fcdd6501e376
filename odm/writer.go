package odm

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"casebook/domain/refuse"
)

// Writer writes a file: NewWriter what a document says, then Data for each block of clinical data, Subject for each of its
// patients, and Close. Every method returns the first error of the writer below, or the refusal text_unwritable for a text
// with characters that no XML can hold.
type Writer struct {
	to      *bufio.Writer
	version Version
	report  *Report
	// inData is true in a block of clinical data; after is what has to follow its patients.
	inData bool
	after  []Element
	// last is what has to follow everything else in the file.
	last []Element
	err  error
}

// NewWriter begins a file of the version with what the document says: the file itself, its studies and administrative data.
// It does not write Document.Data, which Data is for.
func NewWriter(to io.Writer, version Version, document *Document) (*Writer, error) {
	w := &Writer{to: bufio.NewWriter(to), version: version, report: &Report{}}
	c := w.codec()
	root := Element{Name: "ODM"}
	moveFile(c, c.node(&root, nil), &document.File)
	w.last, root.Children = root.Children, nil
	w.fit(&root, nil)
	w.write(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	w.open(&root, "none")
	w.write("\n")
	parts := Element{Name: "ODM"}
	n := c.node(&parts, nil)
	c.texts(n, "Description", &document.File.Description)
	many(c, n, "Study", &document.Studies, moveStudy)
	many(c, n, "AdminData", &document.Admin, moveAdmin)
	for i := range parts.Children {
		if _, has := version.grammar()["ODM"].rank[parts.Children[i].Name]; !has {
			w.last = append(w.last, parts.Children[i])
			continue
		}
		w.part(&parts.Children[i])
	}
	return w, w.end()
}

func (w *Writer) codec() *codec { return &codec{version: w.version, report: w.report} }

// Report names what the version has no place for, and is written in the namespace of Casebook.
func (w *Writer) Report() *Report { return w.report }

// Data begins a block of clinical data.
func (w *Writer) Data(data ClinicalData) error {
	w.endData()
	c := w.codec()
	e := Element{Name: "ClinicalData"}
	moveClinicalData(c, c.node(&e, nil), &data)
	w.inData, w.after, e.Children = true, e.Children, nil
	w.fit(&e, nil)
	w.open(&e, w.version.space())
	w.write("\n")
	return w.end()
}

// Subject writes a patient into the block of clinical data that Data began.
func (w *Writer) Subject(subject Subject) error {
	e := put(w.codec(), "SubjectData", &subject, moveSubject)
	w.part(&e)
	return w.end()
}

// Close ends the file.
func (w *Writer) Close() error {
	w.endData()
	w.tail("ODM", w.last)
	w.write("</ODM>\n")
	if err := w.end(); err != nil {
		return err
	}
	return w.to.Flush()
}

func (w *Writer) endData() {
	if w.inData {
		w.tail("ClinicalData", w.after)
		w.write("</ClinicalData>\n")
	}
	w.inData, w.after = false, nil
}

// tail writes what comes last in an element.
func (w *Writer) tail(name string, elements []Element) {
	e := Element{Name: name, Children: elements}
	w.fit(&e, nil)
	for i := range e.Children {
		w.element(&e.Children[i], w.version.space())
		w.write("\n")
	}
}

func (w *Writer) part(e *Element) {
	w.fit(e, nil)
	w.element(e, w.version.space())
	w.write("\n")
}

// end returns the first error.
func (w *Writer) end() error { return w.err }

// fit brings what an element holds into the order of the version, and into the namespace of Casebook what the version has
// no place for.
func (w *Writer) fit(e *Element, within *place) {
	production, known := w.version.grammar()[e.Name]
	if e.Space != "" || !known {
		return
	}
	at := &place{within, e}
	e.Attributes = slices.Clone(e.Attributes)
	for i := range e.Attributes {
		if _, has := production.attributes[e.Attributes[i].Name]; !has && e.Attributes[i].Space == "" {
			e.Attributes[i].Space = spaceCasebook
			w.report.add(KeptUnused, "not_in_version", e.Name+"@"+e.Attributes[i].Name, at, "")
		}
	}
	if slices.ContainsFunc(e.Children, func(child Element) bool { return child.Name == "" }) {
		return // text and elements in their order
	}
	var fitting, foreign, others []Element
	for _, child := range e.Children {
		_, has := production.rank[child.Name]
		switch {
		case child.Space != "":
			foreign = append(foreign, child)
		case has:
			w.fit(&child, at)
			fitting = append(fitting, child)
		default:
			w.report.add(KeptUnused, "not_in_version", child.Name, &place{at, &child}, "")
			others = append(others, child)
		}
	}
	slices.SortStableFunc(fitting, func(a, b Element) int { return production.rank[a.Name] - production.rank[b.Name] })
	if len(others) > 0 {
		foreign = append(foreign, Element{Space: spaceCasebook, Name: "Construct", Children: others})
	}
	e.Children = slices.Concat(fitting, foreign)
}

// spaceOf is the namespace of an element in the file.
func (w *Writer) spaceOf(e *Element) string {
	switch e.Space {
	case "":
		return w.version.space()
	case "none":
		return ""
	default:
		return e.Space
	}
}

// open writes a start tag. Outer is the namespace that elements without a prefix have around it.
func (w *Writer) open(e *Element, outer string) {
	w.write("<" + e.Name)
	if space := w.spaceOf(e); space != outer {
		w.write(` xmlns="`)
		w.escaped(space, true)
		w.write(`"`)
	}
	prefixes := map[string]string{"": "", spaceXML: "xml:"}
	for i, a := range e.Attributes {
		prefix, declared := prefixes[a.Space]
		if !declared {
			if prefix = fmt.Sprintf("n%d:", i); a.Space == spaceCasebook {
				prefix = "cb:"
			}
			prefixes[a.Space] = prefix
			w.write(" xmlns:" + strings.TrimSuffix(prefix, ":") + `="`)
			w.escaped(a.Space, true)
			w.write(`"`)
		}
		w.write(" " + prefix + a.Name + `="`)
		w.escaped(a.Value, true)
		w.write(`"`)
	}
	w.write(">")
}

func (w *Writer) element(e *Element, outer string) {
	if e.Name == "" {
		w.escaped(e.Text, false)
		return
	}
	w.open(e, outer)
	inner := w.spaceOf(e)
	w.escaped(e.Text, false)
	mixed := e.Text != "" || slices.ContainsFunc(e.Children, func(child Element) bool { return child.Name == "" })
	for i := range e.Children {
		if !mixed {
			w.write("\n")
		}
		w.element(&e.Children[i], inner)
	}
	if len(e.Children) > 0 && !mixed {
		w.write("\n")
	}
	w.write("</" + e.Name + ">")
}

func (w *Writer) write(s string) {
	if w.err == nil {
		_, w.err = w.to.WriteString(s)
	}
}

// inText and inValue keep what a reader of XML would change: line ends, and all space in attributes.
var (
	inText  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#13;")
	inValue = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "\r", "&#13;", "\n", "&#10;", "\t", "&#9;")
)

func (w *Writer) escaped(s string, value bool) {
	if w.err != nil {
		return
	}
	for _, char := range s {
		if char < ' ' && char != '\t' && char != '\n' && char != '\r' || char == 0xFFFE || char == 0xFFFF || !utf8.ValidString(s) {
			w.err = refuse.Malformed("text_unwritable", "A text holds the character %U, which XML has no place for.", char).
				Do("Correct the text.")
			return
		}
	}
	escape := inText
	if value {
		escape = inValue
	}
	w.write(escape.Replace(s))
}
