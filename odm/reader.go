package odm

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The bounds of a file.
const (
	// MaxBytes is the most bytes of a file.
	MaxBytes = 256 << 20
	// MaxDepth is how deep elements may lie in each other.
	MaxDepth = 64
	// maxPart is the most bytes of what is read as a whole: a study, the administrative data, a patient.
	maxPart = 16 << 20
	// maxToken is the most bytes of one tag or text.
	maxToken = 4 << 20
)

// Options say what a file is read against.
type Options struct {
	// Known are studies whose data the file may hold without their definition.
	Known []Study
	// Study is the OID of the study that the file has to be about; any when empty.
	Study string
}

// Read reads a file, and hands out its patients one by one, as soon as each is read. It returns the rest of the file, and
// what becomes of every construct. When the report refuses the file, what was handed out is not all of it: so look at the
// report of a first pass before anything is written in a second. The error is that of the file's reader or of take; what is
// wrong with the file's content is in the report alone.
func Read(file io.Reader, options Options, take func(ClinicalData, Subject) error) (*Document, *Report, error) {
	bounded := &bounded{from: file}
	r := &reader{bounds: bounded, xml: xml.NewDecoder(bounded), options: options, take: take, document: &Document{}, report: &Report{},
		known: newIndexes()}
	for _, s := range options.Known {
		r.known.addStudy(s)
	}
	err := r.file()
	if stop, stopped := errors.AsType[*stopped](err); stopped {
		r.report.refuse(stop.code, stop.construct, stop.at, "%s", stop.why)
		err = nil
	}
	return r.document, r.report, err
}

// stopped is something that a file cannot be read on after.
type stopped struct {
	code, construct, why string
	at                   *place
}

func (s *stopped) Error() string { return s.code + ": " + s.why }

// bounded counts what is read of a file.
type bounded struct {
	from io.Reader
	read int64
	// token and part are where the token and the part began.
	token, part int64
}

func (b *bounded) Read(p []byte) (int, error) {
	switch {
	case b.read >= MaxBytes:
		// One byte more tells a file that ends here from one that is too large.
		n, err := io.ReadFull(b.from, p[:1])
		if n == 0 {
			return 0, err
		}
		return 0, &stopped{code: "too_large", construct: "file", why: fmt.Sprintf("A file has at most %d MiB; split it.", MaxBytes>>20)}
	case b.read-b.token > maxToken:
		return 0, &stopped{code: "text_too_large", construct: "text", why: fmt.Sprintf("A tag or text has at most %d MiB.", maxToken>>20)}
	}
	n, err := b.from.Read(p[:min(int64(len(p)), MaxBytes-b.read)])
	b.read += int64(n)
	return n, err
}

type reader struct {
	bounds   *bounded
	xml      *xml.Decoder
	options  Options
	take     func(ClinicalData, Subject) error
	document *Document
	report   *Report
	version  Version
	depth    int
	// known are the definitions of the file and of the options.
	known *indexes
	// checked is true once the references of the definitions were looked at.
	checked bool
}

// next returns the next token, within the bounds.
func (r *reader) next(at *place) (xml.Token, error) {
	r.bounds.token = r.xml.InputOffset()
	token, err := r.xml.Token()
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		return nil, err
	default:
		if _, known := errors.AsType[*stopped](err); known {
			return nil, err
		}
		if syntax, isSyntax := errors.AsType[*xml.SyntaxError](err); isSyntax {
			return nil, &stopped{"not_well_formed", "file", fmt.Sprintf("Line %d: %s.", syntax.Line, syntax.Msg), at}
		}
		if strings.HasPrefix(err.Error(), "xml: encoding") {
			return nil, &stopped{"encoding_unknown", "file", "A file is in UTF-8.", at}
		}
		return nil, err
	}
	switch t := token.(type) {
	case xml.Directive:
		return nil, &stopped{"doctype", "DOCTYPE", "A file has no document type and no entities; remove it.", at}
	case xml.Comment:
		r.report.add(Ignored, "comment", "comment", at, "")
	case xml.ProcInst:
		if t.Target != "xml" {
			r.report.add(Ignored, "instruction", "?"+t.Target, at, "")
		}
	case xml.StartElement:
		if r.depth++; r.depth > MaxDepth {
			return nil, &stopped{"too_deep", t.Name.Local, fmt.Sprintf("Elements lie at most %d deep in each other.", MaxDepth), at}
		}
		if t.Name.Space == spaceEncryption {
			return nil, &stopped{"encrypted", t.Name.Local, "Encrypted content cannot be read; export the file without it.", at}
		}
		for i, a := range t.Attr {
			for _, b := range t.Attr[:i] {
				if a.Name == b.Name {
					return nil, &stopped{"not_well_formed", t.Name.Local + "@" + a.Name.Local, "The attribute is there twice.", at}
				}
			}
		}
	case xml.EndElement:
		r.depth--
	}
	return token, nil
}

// start is the element of a start tag, without what it holds.
func (r *reader) start(t xml.StartElement) Element {
	e := Element{Space: t.Name.Space, Name: t.Name.Local}
	if e.Space == r.version.space() {
		e.Space = ""
	} else if e.Space == "" {
		e.Space = "none" // no namespace at all, which is not that of ODM
	}
	for _, a := range t.Attr {
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue // the writer declares the namespaces that it needs
		}
		e.Attributes = append(e.Attributes, Attribute{a.Name.Space, a.Name.Local, a.Value})
	}
	return e
}

// file reads the whole file.
func (r *reader) file() error {
	for rooted := false; ; {
		token, err := r.next(nil)
		if errors.Is(err, io.EOF) && rooted {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return &stopped{code: "not_well_formed", construct: "file", why: "The file is empty."}
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if rooted {
				return &stopped{code: "not_well_formed", construct: t.Name.Local, why: "A file has one root element."}
			}
			rooted = true
			if err := r.root(t); err != nil {
				return err
			}
		case xml.CharData:
			if strings.TrimSpace(string(t)) != "" {
				return &stopped{code: "not_well_formed", construct: "text", why: "There is text outside of the root element."}
			}
		}
	}
}

// root reads the root element: ODM, or, as the examples of version 2.0 have it, a Study or a MetaDataVersion alone.
func (r *reader) root(t xml.StartElement) error {
	switch t.Name.Space {
	case space13:
		r.version = V132
	case space20:
		r.version = V20
	default:
		return &stopped{code: "version_unknown", construct: t.Name.Local,
			why: fmt.Sprintf("The namespace %q is not that of ODM 1.3.2 or 2.0.", short(t.Name.Space))}
	}
	e := r.start(t)
	root := &place{of: &e}
	switch e.Name {
	case "ODM":
		return r.odm(&e, root)
	case "Study", "MetaDataVersion":
		part, err := r.tree(e, nil)
		if err != nil {
			return err
		}
		r.report.add(Becomes, "fragment", e.Name, root, "The file holds a part of a file alone.")
		r.document.File.Version = r.version
		if e.Name == "MetaDataVersion" {
			part = Element{Children: []Element{part}}
		}
		r.study(part, nil)
		r.checkReferences()
		return nil
	default:
		return &stopped{"root_unknown", e.Name, "The root element of a file is ODM.", root}
	}
}

func (r *reader) odm(e *Element, root *place) error {
	stated := e.get("ODMVersion")
	begins := map[Version]string{V132: "1.3", V20: "2.0"}[r.version]
	if stated != "" && !strings.HasPrefix(stated, begins) {
		return &stopped{"version_unknown", "ODM@ODMVersion", fmt.Sprintf("The version %q is not that of the namespace.", short(stated)), root}
	}
	if kind := e.get("FileType"); kind != Snapshot && kind != Transactional {
		return &stopped{"file_type_unknown", "ODM@FileType", fmt.Sprintf("%q is not Snapshot or Transactional.", short(kind)), root}
	}
	r.inspect(e, nil, nil, nil)
	c := r.codec()
	unfit(e)
	moveFile(c, c.node(e, nil), &r.document.File)
	r.document.File.Version = r.version
	for {
		token, err := r.next(root)
		if err != nil {
			return unended(err, root)
		}
		switch t := token.(type) {
		case xml.EndElement:
			r.checkReferences()
			return nil
		case xml.CharData:
			if err := r.blank(t, root); err != nil {
				return err
			}
		case xml.StartElement:
			if err := r.topLevel(r.start(t), root); err != nil {
				return err
			}
		}
	}
}

// blank refuses text where the standard has elements only.
func (r *reader) blank(text xml.CharData, at *place) error {
	if strings.TrimSpace(string(text)) != "" {
		return &stopped{"text_misplaced", at.of.Name, "There is text where only elements can be.", at}
	}
	return nil
}

// unended returns what is wrong when a file ends in an element.
func unended(err error, at *place) error {
	if errors.Is(err, io.EOF) {
		return &stopped{"not_well_formed", at.of.Name, "The file ends before the element does.", at}
	}
	return err
}

func (r *reader) topLevel(e Element, root *place) error {
	at := &place{root, &e}
	switch {
	case e.Space == "" && e.Name == "ClinicalData":
		r.checkReferences()
		return r.clinicalData(e, root)
	case e.Space == "" && (e.Name == "ReferenceData" || e.Name == "Association") || e.Space == spaceSignature:
		return r.ignored(at)
	}
	part, err := r.tree(e, root)
	if err == nil {
		r.whole(part, root)
	}
	return err
}

// whole takes in an element of the root.
func (r *reader) whole(e Element, root *place) {
	part := e
	c := r.codec()
	switch {
	case e.Space == spaceCasebook && e.Name == "Construct":
		for _, child := range e.Children {
			r.whole(child, root)
		}
	case e.Space == "" && e.Name == "Study":
		r.study(part, root)
	case e.Space == "" && e.Name == "AdminData":
		r.known.addAdmin(&part)
		r.inspect(&part, root, nil, nil)
		unfit(&part)
		within := Element{Children: []Element{part}}
		many(c, c.node(&within, root), "AdminData", &r.document.Admin, moveAdmin)
	case e.Space == "" && e.Name == "Description":
		unfit(&part)
		within := c.node(&Element{Children: []Element{part}}, root)
		c.texts(within, "Description", &r.document.File.Description)
		c.rest(within, &r.document.File.Rest)
	default:
		r.inspect(&part, root, nil, nil)
		r.document.File.Elements = append(r.document.File.Elements, part)
		c.kept(&part, root)
	}
}

func (r *reader) codec() *codec { return &codec{version: r.version, reads: true, report: r.report} }

// study reads a study, and takes its definitions into the index.
func (r *reader) study(part Element, within *place) {
	at := &place{within, &part}
	if oid := part.get("OID"); r.options.Study != "" && oid != r.options.Study {
		r.report.refuse("other_study", "Study", at, "The file is about the study %q, not %q.", short(oid), short(r.options.Study))
	}
	scope := r.known.study(part.get("OID"))
	r.inspect(&part, within, scope, nil)
	unfit(&part)
	var study Study
	c := r.codec()
	if part.Name != "" {
		r.report.add(Becomes, "becomes", part.Name, at, "")
	}
	moveStudy(c, c.node(&part, within), &study)
	r.document.Studies = append(r.document.Studies, study)
	r.known.addForms(r.document.Studies[len(r.document.Studies)-1])
}

// ignored skips an element that the model does not keep.
func (r *reader) ignored(at *place) error {
	r.report.add(Ignored, "ignored", qualified(at.of.Space, at.of.Name), at, "The model does not keep it.")
	for end := r.depth - 1; r.depth > end; {
		r.bounds.part = r.bounds.read
		token, err := r.next(at)
		if err != nil {
			return unended(err, at)
		}
		if t, isStart := token.(xml.StartElement); isStart {
			e := r.start(t)
			r.report.add(Ignored, "ignored", qualified(e.Space, e.Name), &place{at, &e}, "The model does not keep it.")
		}
	}
	return nil
}

// clinicalData reads a block of clinical data and hands out its patients.
func (r *reader) clinicalData(e Element, root *place) error {
	at := &place{root, &e}
	r.inspect(&e, root, nil, nil)
	scope := r.known.version(e.get("StudyOID"), e.get("MetaDataVersionOID"))
	switch {
	case r.options.Study != "" && e.get("StudyOID") != r.options.Study:
		r.report.refuse("other_study", e.Name, at, "The data are of the study %q, not %q.", short(e.get("StudyOID")), short(r.options.Study))
	case scope == nil:
		r.report.refuse("metadata_missing", e.Name, at, "The MetaDataVersion %q of the study %q is not in the file and not known.",
			short(e.get("MetaDataVersionOID")), short(e.get("StudyOID")))
	}
	var data ClinicalData
	unfit(&e)
	r.report.add(Becomes, "becomes", e.Name, at, "")
	c := r.codec()
	moveClinicalData(c, c.node(&e, root), &data)
	others := Element{Name: e.Name}
	for size := int64(0); ; {
		token, err := r.next(at)
		if err != nil {
			return unended(err, at)
		}
		switch t := token.(type) {
		case xml.EndElement:
			unfit(&others)
			c.rest(c.node(&others, root), &data.Rest)
			r.document.Data = append(r.document.Data, data)
			return nil
		case xml.CharData:
			if err := r.blank(t, at); err != nil {
				return err
			}
		case xml.StartElement:
			begin := r.xml.InputOffset()
			part, err := r.tree(r.start(t), at)
			if err != nil {
				return err
			}
			r.inspect(&part, at, nil, scope)
			if part.Space == "" && part.Name == "SubjectData" {
				if err := r.subject(part, data, at, scope); err != nil {
					return err
				}
				continue
			}
			if size += r.xml.InputOffset() - begin; size > maxPart {
				why := fmt.Sprintf("What a block of data has besides patients is at most %d MiB.", maxPart>>20)
				return &stopped{"part_too_large", part.Name, why, at}
			}
			others.Children = append(others.Children, part)
		}
	}
}

func (r *reader) subject(part Element, data ClinicalData, at *place, scope *index) error {
	unfit(&part)
	c := r.codec()
	if scope != nil {
		c.forms = scope.forms
	}
	within := Element{Children: []Element{part}}
	var subjects []Subject
	many(c, c.node(&within, at), "SubjectData", &subjects, moveSubject)
	if r.take == nil {
		return nil
	}
	return r.take(data, subjects[0])
}

// tree reads an element as a whole.
func (r *reader) tree(e Element, within *place) (Element, error) {
	r.bounds.part = r.xml.InputOffset()
	err := r.fill(&e, &place{within, &e})
	return e, err
}

func (r *reader) fill(e *Element, at *place) error {
	var text strings.Builder
	mixed := false
	flush := func() {
		if text.Len() > 0 {
			e.Children = append(e.Children, Element{Text: text.String()})
			mixed = mixed || strings.TrimSpace(text.String()) != ""
			text.Reset()
		}
	}
	for {
		token, err := r.next(at)
		if err != nil {
			return unended(err, at)
		}
		if r.xml.InputOffset()-r.bounds.part > maxPart {
			return &stopped{"part_too_large", e.Name, fmt.Sprintf("A study, and a patient, has at most %d MiB.", maxPart>>20), at}
		}
		switch t := token.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.StartElement:
			flush()
			child := r.start(t)
			if err := r.fill(&child, &place{at, &child}); err != nil {
				return err
			}
			e.Children = append(e.Children, child)
		case xml.EndElement:
			if p, known := r.version.grammar()[e.Name]; known && !p.text && e.Space == "" {
				if err := r.blank(xml.CharData(text.String()), at); err != nil {
					return err
				}
				if mixed {
					return &stopped{"text_misplaced", e.Name, "There is text where only elements can be.", at}
				}
			}
			if len(e.Children) == 0 {
				e.Text = text.String()
				if !r.version.grammar()[e.Name].text && e.Space == "" && strings.TrimSpace(e.Text) == "" {
					e.Text = "" // the space in an element that can hold elements only
				}
				return nil
			}
			flush()
			if !mixed {
				// The space between elements.
				kept := e.Children[:0]
				for _, child := range e.Children {
					if child.Name != "" {
						kept = append(kept, child)
					}
				}
				e.Children = kept
			}
			return nil
		}
	}
}

// unfit puts back in its place what was written in the namespace of Casebook.
func unfit(e *Element) {
	for i := range e.Attributes {
		if a := e.Attributes[i]; a.Space == spaceCasebook {
			e.Attributes = append(e.Attributes[:i:i], e.Attributes[i+1:]...)
			replaced := false
			for j := range e.Attributes {
				if e.Attributes[j].Space == "" && e.Attributes[j].Name == a.Name {
					e.Attributes[j].Value, replaced = a.Value, true
				}
			}
			if !replaced {
				e.Attributes = append(e.Attributes, Attribute{Name: a.Name, Value: a.Value})
			}
			unfit(e)
			return
		}
	}
	var children []Element
	for i := range e.Children {
		child := &e.Children[i]
		if child.Space == spaceCasebook && child.Name == "Construct" {
			for j := range child.Children {
				unfit(&child.Children[j])
			}
			children = append(children, child.Children...)
			continue
		}
		unfit(child)
		children = append(children, *child)
	}
	e.Children = children
}

// short bounds what a finding repeats of a file.
func short(s string) string {
	if len(s) <= 100 {
		return s
	}
	return strings.ToValidUTF8(s[:100], "") + "..."
}
