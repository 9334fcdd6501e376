package odm

// Element is an element of a file as it stands there.
type Element struct {
	// Space is the namespace, empty for that of ODM.
	Space string
	// Name is empty for a piece of text between elements.
	Name       string
	Attributes []Attribute
	// Text is what an element without elements holds.
	Text     string
	Children []Element
}

// Attribute is an attribute as it stands in a file.
type Attribute struct {
	// Space is the namespace; attributes of ODM have none.
	Space, Name, Value string
}

// Rest is what a construct holds that its type has no fields for, as it stands in the file.
type Rest struct {
	Attributes []Attribute
	Elements   []Element
}

// get returns the value of an attribute of ODM, or an empty text.
func (e *Element) get(name string) string {
	for _, a := range e.Attributes {
		if a.Space == "" && a.Name == name {
			return a.Value
		}
	}
	return ""
}

// The namespaces that the package knows.
const (
	space13         = "http://www.cdisc.org/ns/odm/v1.3"
	space20         = "http://www.cdisc.org/ns/odm/v2.0"
	spaceCasebook   = "urn:casebook:odm:1"
	spaceXML        = "http://www.w3.org/XML/1998/namespace"
	spaceXLink      = "http://www.w3.org/1999/xlink"
	spaceXHTML      = "http://www.w3.org/1999/xhtml"
	spaceSignature  = "http://www.w3.org/2000/09/xmldsig#"
	spaceEncryption = "http://www.w3.org/2001/04/xmlenc#"
)

// place is where an element stands. Its text is made only for findings.
type place struct {
	within *place
	of     *Element
}

// keys are the attributes that tell an element from its neighbours.
var keys = []string{"OID", "SubjectKey", "StudyEventOID", "FormOID", "ItemGroupOID", "ItemOID", "CodedValue", "StudyOID"}

// repeats are the attributes that tell the rows of one definition apart.
var repeats = []string{"StudyEventRepeatKey", "FormRepeatKey", "ItemGroupRepeatKey"}

// String returns the path, such as /ODM/Study[S.1]/MetaDataVersion[M.1].
func (p *place) String() string {
	if p == nil {
		return ""
	}
	if p.of.Name == "" {
		return p.within.String() // only holds what was read
	}
	text := p.within.String() + "/" + p.of.Name
	for _, name := range keys {
		if key := p.of.get(name); key != "" {
			text += "[" + key
			for _, again := range repeats {
				if row := p.of.get(again); row != "" {
					text += ":" + row
				}
			}
			return text + "]"
		}
	}
	return text
}
