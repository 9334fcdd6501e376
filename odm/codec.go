package odm

import (
	"slices"
	"strconv"
	"strings"
)

// sameOID is what a form's OID gets that a group of version 1.3.2 has too: in the model, both are groups.
const sameOID = "#form"

func moveFile(c *codec, n *node, f *File) {
	c.attribute(n, "FileType", &f.Type)
	c.attribute(n, "Granularity", &f.Granularity)
	c.attribute(n, "FileOID", &f.OID)
	c.attribute(n, "CreationDateTime", &f.CreatedAt)
	c.attribute(n, "PriorFileOID", &f.PriorOID)
	c.attribute(n, "AsOfDateTime", &f.AsOf)
	version := string(c.version)
	c.attribute(n, "ODMVersion", &version)
	c.attribute(n, "Originator", &f.Originator)
	c.attribute(n, "SourceSystem", &f.SourceSystem)
	c.attribute(n, "SourceSystemVersion", &f.SourceSystemVersion)
	c.rest(n, &f.Rest)
}

func moveText(c *codec, n *node, t *Text) {
	if c.reads {
		for i, a := range n.of.Attributes {
			if a.Space == spaceXML && a.Name == "lang" && a.Value != "" {
				t.Language, n.attributes[i] = a.Value, true
			}
		}
	} else if t.Language != "" {
		n.of.Attributes = append(n.of.Attributes, Attribute{spaceXML, "lang", t.Language})
	}
	plain := func(written string) string { return strings.TrimSuffix(written, "text/plain") }
	c.words(n, "Type", &t.MediaType, plain, func(model string) string {
		if model == "" && !c.v132() {
			return "text/plain"
		}
		return model
	})
	c.text(n, &t.Value)
	c.rest(n, &t.Rest)
}

func moveStudy(c *codec, n *node, s *Study) {
	c.attribute(n, "OID", &s.OID)
	if c.v132() {
		moveGlobalVariables(c, n, s)
		moveBasicDefinitions(c, n, s)
	} else {
		c.attribute(n, "StudyName", &s.Name)
		c.attribute(n, "ProtocolName", &s.Protocol)
		c.texts(n, "Description", &s.Description)
		moveBasicDefinitions(c, n, s)
	}
	many(c, n, "MetaDataVersion", &s.Versions, moveMetaDataVersion)
	c.rest(n, &s.Rest)
}

// moveGlobalVariables moves the names of a study of version 1.3.2, whose description has no language.
func moveGlobalVariables(c *codec, n *node, s *Study) {
	plain := len(s.Description) == 1 && s.Description[0].Language == "" && s.Description[0].MediaType == "" &&
		len(s.Description[0].Elements)+len(s.Description[0].Attributes) == 0 && s.Description[0].Value != ""
	if !c.reads {
		described := ""
		if len(s.Description) > 0 {
			described = s.Description[0].Value
		}
		n.add(Element{Name: "GlobalVariables", Children: []Element{{Name: "StudyName", Text: s.Name},
			{Name: "StudyDescription", Text: described}, {Name: "ProtocolName", Text: s.Protocol}}})
		if !plain {
			c.texts(n, "Description", &s.Description)
		}
		return
	}
	c.texts(n, "Description", &s.Description)
	at := n.find("GlobalVariables")
	if at < 0 {
		return
	}
	e := &n.of.Children[at]
	simple := len(e.Attributes) == 0 && !slices.ContainsFunc(e.Children, func(child Element) bool {
		return child.Space != "" || len(child.Attributes)+len(child.Children) > 0 ||
			!slices.Contains([]string{"StudyName", "StudyDescription", "ProtocolName"}, child.Name)
	})
	for i := range e.Children {
		child := &e.Children[i]
		c.report.add(Becomes, "becomes", child.Name, &place{&place{n.at, e}, child}, "")
		switch child.Name {
		case "StudyName":
			s.Name = child.Text
		case "ProtocolName":
			s.Protocol = child.Text
		case "StudyDescription":
			if len(s.Description) == 0 && child.Text != "" {
				s.Description = []Text{{Value: child.Text}}
			}
		}
	}
	if !simple {
		// An extension in it: kept besides what was read.
		extra := *e
		extra.Children = slices.DeleteFunc(slices.Clone(e.Children), func(child Element) bool {
			return child.Space == "" && slices.Contains([]string{"StudyName", "StudyDescription", "ProtocolName"}, child.Name) &&
				len(child.Attributes)+len(child.Children) == 0
		})
		n.of.Children[at] = extra
		return
	}
	n.children[at] = true
	c.report.add(Becomes, "becomes", e.Name, &place{n.at, e}, "")
}

func moveBasicDefinitions(c *codec, n *node, s *Study) {
	if !c.reads {
		if len(s.Units) > 0 {
			within := Element{Name: "BasicDefinitions"}
			many(c, c.node(&within, nil), "MeasurementUnit", &s.Units, moveUnit)
			n.add(within)
		}
		return
	}
	at := n.find("BasicDefinitions")
	if at < 0 {
		return
	}
	e := &n.of.Children[at]
	within := c.node(e, n.at)
	many(c, within, "MeasurementUnit", &s.Units, moveUnit)
	if len(e.Attributes) == 0 && !slices.Contains(within.children, false) && len(e.Children) > 0 {
		n.children[at] = true
		return
	}
	var left Rest
	c.rest(within, &left)
	n.of.Children[at] = Element{Name: e.Name, Attributes: left.Attributes, Children: left.Elements}
}

func moveUnit(c *codec, n *node, u *Unit) {
	c.attribute(n, "OID", &u.OID)
	c.attribute(n, "Name", &u.Name)
	c.texts(n, "Symbol", &u.Symbol)
	c.rest(n, &u.Rest)
}

func moveMetaDataVersion(c *codec, n *node, v *MetaDataVersion) {
	c.attribute(n, "OID", &v.OID)
	c.attribute(n, "Name", &v.Name)
	if c.v132() {
		moveVersionDescription(c, n, v)
	} else {
		c.texts(n, "Description", &v.Description)
	}
	one(c, n, "Include", &v.Include, moveInclude)
	one(c, n, "Protocol", &v.Protocol, moveProtocol)
	if c.v132() {
		c.forms = sharedOIDs(c, n, v)
	}
	many(c, n, "StudyEventDef", &v.Visits, moveVisit)
	if c.v132() {
		moveForms(c, n, v)
	} else {
		many(c, n, "ItemGroupDef", &v.Groups, moveGroup)
	}
	many(c, n, "ItemDef", &v.Items, moveItem)
	many(c, n, "CodeList", &v.Lists, moveCodeList)
	many(c, n, "ConditionDef", &v.Conditions, moveCondition)
	many(c, n, "MethodDef", &v.Methods, moveMethod)
	c.rest(n, &v.Rest)
}

// moveVersionDescription moves the description of a version of 1.3.2, which is an attribute.
func moveVersionDescription(c *codec, n *node, v *MetaDataVersion) {
	if c.reads {
		c.texts(n, "Description", &v.Description)
		if len(v.Description) == 0 {
			var described string
			if c.attribute(n, "Description", &described); described != "" {
				v.Description = []Text{{Value: described}}
			}
		}
		return
	}
	if d := v.Description; len(d) == 1 && d[0].Language == "" && d[0].MediaType == "" && d[0].Value != "" && len(d[0].Elements) == 0 &&
		len(d[0].Attributes) == 0 {
		c.attribute(n, "Description", &d[0].Value)
		return
	}
	c.texts(n, "Description", &v.Description)
}

// sharedOIDs are the OIDs that a form and a group have both.
func sharedOIDs(c *codec, n *node, v *MetaDataVersion) map[string]bool {
	shared := map[string]bool{}
	if !c.reads {
		for _, g := range v.Groups {
			if oid, both := strings.CutSuffix(g.OID, sameOID); both {
				shared[oid] = true
			}
		}
		return shared
	}
	forms, groups := map[string]bool{}, map[string]bool{}
	for _, e := range n.of.Children {
		switch {
		case e.Space == "" && e.Name == "FormDef":
			forms[e.get("OID")] = true
		case e.Space == "" && e.Name == "ItemGroupDef":
			groups[e.get("OID")] = true
		}
	}
	for oid := range forms {
		if groups[oid] {
			shared[oid] = true
		}
	}
	return shared
}

// formOID moves the OID of a form of version 1.3.2.
func (c *codec) formOID(n *node, attribute string, oid *string) {
	if !c.reads {
		written := strings.TrimSuffix(*oid, sameOID)
		c.attribute(n, attribute, &written)
		return
	}
	if c.attribute(n, attribute, oid); c.forms[*oid] {
		*oid += sameOID
		c.report.add(Becomes, "oid_renamed", n.of.Name, n.at, "A group has the same OID. The form's OID ends with "+sameOID+" here.")
	}
}

// moveForms moves the forms and groups of version 1.3.2, which are apart there.
func moveForms(c *codec, n *node, v *MetaDataVersion) {
	if c.reads {
		many(c, n, "FormDef", &v.Groups, moveGroup)
		many(c, n, "ItemGroupDef", &v.Groups, moveGroup)
		return
	}
	for i := range v.Groups {
		name := "ItemGroupDef"
		if v.Groups[i].Type == TypeForm {
			name = "FormDef"
		}
		n.add(put(c, name, &v.Groups[i], moveGroup))
	}
}

func moveInclude(c *codec, n *node, i *Include) {
	c.attribute(n, "StudyOID", &i.StudyOID)
	c.attribute(n, "MetaDataVersionOID", &i.VersionOID)
	c.rest(n, &i.Rest)
}

func moveProtocol(c *codec, n *node, p *Protocol) {
	c.texts(n, "Description", &p.Description)
	moveRefs(c, n, &p.Visits)
	if c.reads {
		if at := n.find("StudyTimings"); at >= 0 {
			within := c.node(&n.of.Children[at], n.at)
			many(c, within, "StudyTiming", &p.Timings, moveTiming)
			if left := (Rest{}); slices.Contains(within.children, false) || len(within.attributes) > 0 || len(within.children) == 0 {
				c.rest(within, &left)
				n.of.Children[at] = Element{Name: "StudyTimings", Attributes: left.Attributes, Children: left.Elements}
			} else {
				n.children[at] = true
			}
		}
	} else if len(p.Timings) > 0 {
		within := Element{Name: "StudyTimings"}
		many(c, c.node(&within, nil), "StudyTiming", &p.Timings, moveTiming)
		n.add(within)
	}
	c.rest(n, &p.Rest)
}

func moveTiming(c *codec, n *node, t *Timing) {
	c.attribute(n, "OID", &t.OID)
	c.attribute(n, "Name", &t.Name)
	many(c, n, "AbsoluteTimingConstraint", &t.Absolute, moveAbsoluteTiming)
	many(c, n, "RelativeTimingConstraint", &t.Relative, moveRelativeTiming)
	c.rest(n, &t.Rest)
}

func moveAbsoluteTiming(c *codec, n *node, t *AbsoluteTiming) {
	c.attribute(n, "OID", &t.OID)
	c.attribute(n, "Name", &t.Name)
	c.attribute(n, "StudyEventGroupOID", &t.StudyEventGroup)
	c.attribute(n, "StudyEventOID", &t.StudyEvent)
	c.attribute(n, "TimepointTarget", &t.Target)
	c.attribute(n, "TimepointPreWindow", &t.Before)
	c.attribute(n, "TimepointPostWindow", &t.After)
	c.texts(n, "Description", &t.Description)
	c.rest(n, &t.Rest)
}

func moveRelativeTiming(c *codec, n *node, t *RelativeTiming) {
	c.attribute(n, "OID", &t.OID)
	c.attribute(n, "Name", &t.Name)
	c.attribute(n, "PredecessorOID", &t.Predecessor)
	c.attribute(n, "SuccessorOID", &t.Successor)
	c.attribute(n, "Type", &t.Type)
	c.attribute(n, "TimepointRelativeTarget", &t.Target)
	c.attribute(n, "TimepointPreWindow", &t.Before)
	c.attribute(n, "TimepointPostWindow", &t.After)
	c.texts(n, "Description", &t.Description)
	c.rest(n, &t.Rest)
}

func moveVisit(c *codec, n *node, v *Visit) {
	c.attribute(n, "OID", &v.OID)
	c.attribute(n, "Name", &v.Name)
	c.attribute(n, "Repeating", &v.Repeating)
	c.attribute(n, "Type", &v.Type)
	c.attribute(n, "Category", &v.Category)
	c.texts(n, "Description", &v.Description)
	moveRefs(c, n, &v.Forms)
	c.rest(n, &v.Rest)
}

func moveGroup(c *codec, n *node, g *Group) {
	if c.v132() {
		isForm := n.of.Name == "FormDef"
		if isForm {
			c.formOID(n, "OID", &g.OID)
		} else {
			c.attribute(n, "OID", &g.OID)
		}
		c.attribute(n, "Name", &g.Name)
		c.words(n, "Repeating", &g.Repeating, repeatingToModel, repeatingTo132)
		switch {
		case isForm:
			g.Type = TypeForm
		case c.reads:
			if c.attribute(n, "Type", &g.Type); g.Type == "" {
				g.Type = TypeSection
			}
		case g.Type != TypeSection:
			c.attribute(n, "Type", &g.Type)
		}
	} else {
		c.attribute(n, "OID", &g.OID)
		c.attribute(n, "Name", &g.Name)
		c.attribute(n, "Repeating", &g.Repeating)
		c.attribute(n, "Type", &g.Type)
	}
	c.attribute(n, "RepeatingLimit", &g.Limit)
	c.texts(n, "Description", &g.Description)
	moveRefs(c, n, &g.Members)
	if c.reads && (g.Type == "Concept" || g.Type == "Dataset") {
		c.report.add(KeptUnused, "not_a_crf", "ItemGroupDef@Type="+g.Type, n.at, "A group of this type is no part of a case report form.")
	}
	c.rest(n, &g.Rest)
}

// repeatingToModel and repeatingTo132 translate whether a group repeats: version 1.3.2 has only Yes and No.
func repeatingToModel(written string) string {
	if written == "Yes" {
		return "Simple"
	}
	return written
}

func repeatingTo132(model string) string {
	if model == "Simple" || model == "Dynamic" || model == "Static" {
		return "Yes"
	}
	return model
}

// refNames are the elements that use a definition.
var refNames = map[string]struct {
	kind      RefKind
	attribute string
}{
	"StudyEventRef": {VisitRef, "StudyEventOID"},
	"FormRef":       {GroupRef, "FormOID"},
	"ItemGroupRef":  {GroupRef, "ItemGroupOID"},
	"ItemRef":       {ItemRef, "ItemOID"},
}

// moveRefs moves the uses of definitions in an element, in their order. Where version 1.3.2 has a place for one kind alone,
// their positions are written with them.
func moveRefs(c *codec, n *node, refs *[]Ref) {
	if c.reads {
		positions := map[string]int{}
		for i := range n.of.Children {
			e := &n.of.Children[i]
			if _, isRef := refNames[e.Name]; isRef && e.Space == "" {
				n.children[i] = true
				if position := e.get("Position"); position != "" {
					positions[position] = len(*refs)
					e.Attributes = slices.DeleteFunc(e.Attributes, func(a Attribute) bool { return a.Space == "" && a.Name == "Position" })
				}
				*refs = append(*refs, take(c, n, i, moveRef))
			}
		}
		if len(positions) == len(*refs) {
			ordered := make([]Ref, 0, len(*refs))
			for position := range *refs {
				if at, has := positions[strconv.Itoa(position)]; has {
					ordered = append(ordered, (*refs)[at])
				}
			}
			if len(ordered) == len(*refs) && len(ordered) > 0 {
				*refs = ordered
			}
		}
		return
	}
	apart := c.v132() && slices.ContainsFunc(*refs, func(r Ref) bool { return r.Kind != (*refs)[0].Kind })
	for i := range *refs {
		name := "ItemRef"
		switch {
		case (*refs)[i].Kind == VisitRef:
			name = "StudyEventRef"
		case (*refs)[i].Kind == GroupRef && c.v132() && n.of.Name == "StudyEventDef":
			name = "FormRef"
		case (*refs)[i].Kind == GroupRef:
			name = "ItemGroupRef"
		}
		e := put(c, name, &(*refs)[i], moveRef)
		if apart {
			e.Attributes = append(e.Attributes, Attribute{Name: "Position", Value: strconv.Itoa(i)})
		}
		n.add(e)
	}
}

func moveRef(c *codec, n *node, r *Ref) {
	name := refNames[n.of.Name]
	r.Kind = name.kind
	if n.of.Name == "FormRef" {
		c.formOID(n, name.attribute, &r.OID)
	} else {
		c.attribute(n, name.attribute, &r.OID)
	}
	c.attribute(n, "Mandatory", &r.Mandatory)
	c.attribute(n, "OrderNumber", &r.Order)
	c.attribute(n, "CollectionExceptionConditionOID", &r.Exception)
	c.attribute(n, "MethodOID", &r.Method)
	c.attribute(n, "KeySequence", &r.KeySequence)
	c.attribute(n, "UnitsItemOID", &r.UnitsItem)
	c.rest(n, &r.Rest)
}

func moveItem(c *codec, n *node, i *Item) {
	c.attribute(n, "OID", &i.OID)
	c.attribute(n, "Name", &i.Name)
	same := func(written string) string { return written }
	c.words(n, "DataType", &i.DataType, same, func(model string) string {
		if c.v132() && model == "decimal" {
			return "float" // the name of exact decimals there
		}
		return model
	})
	c.attribute(n, "Length", &i.Length)
	c.attribute(n, "SignificantDigits", &i.Digits)
	c.texts(n, "Description", &i.Description)
	c.texts(n, "Question", &i.Question)
	if c.reads {
		for at := range n.of.Children {
			if e := &n.of.Children[at]; e.Space == "" && e.Name == "MeasurementUnitRef" && onlyNames(e, "MeasurementUnitOID") {
				i.Units, n.children[at] = append(i.Units, e.Attributes[0].Value), true
			}
		}
	} else {
		for _, unit := range i.Units {
			c.names(n, "MeasurementUnitRef", "MeasurementUnitOID", &unit)
		}
	}
	many(c, n, "RangeCheck", &i.Checks, moveRangeCheck)
	c.names(n, "CodeListRef", "CodeListOID", &i.List)
	if why, narrowed := narrowedTypes[i.DataType]; c.reads && narrowed {
		c.report.add(Becomes, "type_narrowed", "ItemDef@DataType="+i.DataType, n.at, why)
	}
	c.rest(n, &i.Rest)
}

// narrowedTypes are the data types that a build has no type for.
var narrowedTypes = map[string]string{
	"hexBinary": "It is captured as text.", "base64Binary": "It is captured as text.",
	"hexFloat": "It is captured as text.", "base64Float": "It is captured as text.",
	"durationDatetime": "It is captured as text.", "intervalDatetime": "It is captured as text.",
	"double": "It is captured as an exact decimal, without exponent, infinity and NaN.",
}

// dataTypes are the data types of both versions.
var dataTypes = map[string]bool{}

func init() {
	for _, name := range strings.Fields("integer decimal float double date datetime time text string URI boolean hexBinary base64Binary " +
		"hexFloat base64Float partialDate partialTime partialDatetime durationDatetime intervalDatetime incompleteDatetime incompleteDate " +
		"incompleteTime") {
		dataTypes[name] = true
	}
}

func moveRangeCheck(c *codec, n *node, r *RangeCheck) {
	c.attribute(n, "Comparator", &r.Comparator)
	c.attribute(n, "SoftHard", &r.Strength)
	c.plains(n, "CheckValue", &r.Values)
	many(c, n, "FormalExpression", &r.Expressions, moveExpression)
	c.texts(n, "ErrorMessage", &r.Message)
	c.rest(n, &r.Rest)
}

// ContextCEL names the language that expressions are exact in.
const ContextCEL = "casebook-cel"

func moveExpression(c *codec, n *node, x *Expression) {
	c.attribute(n, "Context", &x.Context)
	switch {
	case c.v132():
		c.text(n, &x.Code)
	case c.reads:
		c.plain(n, "Code", &x.Code)
		if at := n.find("Code"); at >= 0 && len(n.of.Children[at].Attributes)+len(n.of.Children[at].Children) == 0 {
			n.children[at] = true // the empty code that the standard demands
		}
	case x.Code != "" || len(x.Elements) == 0:
		n.add(Element{Name: "Code", Text: x.Code})
	}
	if c.reads && x.Context != ContextCEL && x.Context != "OpenEDC" {
		c.report.add(KeptUnused, "expression_inert", "FormalExpression@Context="+x.Context, n.at,
			"Expressions in this language are not executed; write the rule in CEL.")
	}
	c.rest(n, &x.Rest)
}

func moveCodeList(c *codec, n *node, l *CodeList) {
	c.attribute(n, "OID", &l.OID)
	c.attribute(n, "Name", &l.Name)
	same := func(written string) string { return written }
	c.words(n, "DataType", &l.DataType, same, func(model string) string {
		switch {
		case c.v132() && model == "decimal":
			return "float"
		case !c.v132() && model == "float":
			return "decimal"
		}
		return model
	})
	c.texts(n, "Description", &l.Description)
	if c.reads {
		for i := range n.of.Children {
			if e := &n.of.Children[i]; e.Space == "" && (e.Name == "CodeListItem" || e.Name == "EnumeratedItem") {
				n.children[i] = true
				l.Items = append(l.Items, take(c, n, i, moveCodeListItem))
			}
		}
	} else {
		for i := range l.Items {
			name := "CodeListItem"
			item := l.Items[i]
			decoded := func(other CodeListItem) bool { return len(other.Decode) > 0 }
			switch {
			case !c.v132() || decoded(item):
			case !slices.ContainsFunc(l.Items, decoded):
				name = "EnumeratedItem"
			default:
				// Version 1.3.2 has the values of a list all decoded, or none.
				item.Decode = []Text{{Value: item.Value}}
				item.Attributes = append(slices.Clone(item.Attributes), Attribute{Space: spaceCasebook, Name: "Undecoded", Value: "Yes"})
			}
			n.add(put(c, name, &item, moveCodeListItem))
		}
	}
	one(c, n, "ExternalCodeList", &l.External, moveExternalList)
	c.rest(n, &l.Rest)
}

func moveCodeListItem(c *codec, n *node, i *CodeListItem) {
	c.attribute(n, "CodedValue", &i.Value)
	c.attribute(n, "Rank", &i.Rank)
	c.attribute(n, "OrderNumber", &i.Order)
	c.texts(n, "Decode", &i.Decode)
	if c.reads {
		var undecoded string
		if c.attribute(n, "Undecoded", &undecoded); undecoded != "" {
			i.Decode = nil
		}
	}
	c.rest(n, &i.Rest)
}

func moveExternalList(c *codec, n *node, x *ExternalList) {
	c.attribute(n, "Dictionary", &x.Dictionary)
	c.attribute(n, "Version", &x.Version)
	c.attribute(n, "href", &x.Href)
	c.attribute(n, "ref", &x.Ref)
	c.rest(n, &x.Rest)
}

func moveCondition(c *codec, n *node, d *Condition) {
	c.attribute(n, "OID", &d.OID)
	c.attribute(n, "Name", &d.Name)
	c.texts(n, "Description", &d.Description)
	many(c, n, "FormalExpression", &d.Expressions, moveExpression)
	moveMethodSignature(c, n, &d.Rest)
}

func moveMethod(c *codec, n *node, m *Method) {
	c.attribute(n, "OID", &m.OID)
	c.attribute(n, "Name", &m.Name)
	c.attribute(n, "Type", &m.Type)
	c.texts(n, "Description", &m.Description)
	many(c, n, "FormalExpression", &m.Expressions, moveExpression)
	moveMethodSignature(c, n, &m.Rest)
}

// moveMethodSignature moves the rest of a condition or method. Version 2.0 demands a MethodSignature, and an empty one says
// nothing.
func moveMethodSignature(c *codec, n *node, rest *Rest) {
	if c.reads {
		if at := n.find("MethodSignature"); at >= 0 {
			e := &n.of.Children[at]
			n.children[at] = len(e.Attributes)+len(e.Children) == 0 && strings.TrimSpace(e.Text) == ""
		}
	} else if !c.v132() && !slices.ContainsFunc(rest.Elements, func(e Element) bool { return e.Name == "MethodSignature" }) {
		n.add(Element{Name: "MethodSignature"})
	}
	c.rest(n, rest)
}

func moveAdmin(c *codec, n *node, a *Admin) {
	c.attribute(n, "StudyOID", &a.StudyOID)
	many(c, n, "User", &a.Users, moveUser)
	many(c, n, "Location", &a.Locations, moveLocation)
	many(c, n, "SignatureDef", &a.Signatures, moveSignatureDef)
	c.rest(n, &a.Rest)
}

func moveUser(c *codec, n *node, u *User) {
	c.attribute(n, "OID", &u.OID)
	c.attribute(n, "UserType", &u.Type)
	c.plain(n, "FullName", &u.FullName)
	c.rest(n, &u.Rest)
}

func moveLocation(c *codec, n *node, l *Location) {
	c.attribute(n, "OID", &l.OID)
	c.attribute(n, "Name", &l.Name)
	c.rest(n, &l.Rest)
}

func moveSignatureDef(c *codec, n *node, s *SignatureDef) {
	c.attribute(n, "OID", &s.OID)
	c.attribute(n, "Methodology", &s.Methodology)
	c.plain(n, "Meaning", &s.Meaning)
	c.plain(n, "LegalReason", &s.LegalReason)
	c.rest(n, &s.Rest)
}

func moveClinicalData(c *codec, n *node, d *ClinicalData) {
	c.attribute(n, "StudyOID", &d.StudyOID)
	c.attribute(n, "MetaDataVersionOID", &d.VersionOID)
	c.rest(n, &d.Rest)
}

func moveTrail(c *codec, n *node, t *Trail) {
	c.attribute(n, "TransactionType", &t.Transaction)
	c.attribute(n, "Verified", &t.Verified)
	c.attribute(n, "Hold", &t.Hold)
	one(c, n, "AuditRecord", &t.Audit, moveAuditRecord)
	one(c, n, "Signature", &t.Signature, moveSignature)
	many(c, n, "Query", &t.Queries, moveQuery)
}

func moveSubject(c *codec, n *node, s *Subject) {
	c.attribute(n, "SubjectKey", &s.Key)
	c.names(n, "InvestigatorRef", "UserOID", &s.Investigator)
	c.names(n, "SiteRef", "LocationOID", &s.Site)
	many(c, n, "StudyEventData", &s.Visits, moveVisitData)
	moveTrail(c, n, &s.Trail)
	c.rest(n, &s.Rest)
}

func moveVisitData(c *codec, n *node, v *VisitData) {
	c.attribute(n, "StudyEventOID", &v.OID)
	c.attribute(n, "StudyEventRepeatKey", &v.Row)
	if c.v132() {
		many(c, n, "FormData", &v.Groups, moveGroupData)
	} else {
		many(c, n, "ItemGroupData", &v.Groups, moveGroupData)
	}
	moveTrail(c, n, &v.Trail)
	c.rest(n, &v.Rest)
}

func moveGroupData(c *codec, n *node, g *GroupData) {
	if n.of.Name == "FormData" {
		c.formOID(n, "FormOID", &g.OID)
		c.attribute(n, "FormRepeatKey", &g.Row)
	} else {
		c.attribute(n, "ItemGroupOID", &g.OID)
		c.attribute(n, "ItemGroupRepeatKey", &g.Row)
	}
	many(c, n, "ItemGroupData", &g.Groups, moveGroupData)
	if c.reads {
		for i := range n.of.Children {
			e := &n.of.Children[i]
			if _, isData := strings.CutPrefix(e.Name, "ItemData"); isData && e.Space == "" {
				n.children[i] = true
				g.Items = append(g.Items, take(c, n, i, moveItemData))
			}
		}
	} else {
		for i := range g.Items {
			name := "ItemData"
			if c.v132() && g.Items[i].plain() {
				name += g.Items[i].Typed
			}
			n.add(put(c, name, &g.Items[i], moveItemData))
		}
	}
	moveTrail(c, n, &g.Trail)
	c.rest(n, &g.Rest)
}

func moveItemData(c *codec, n *node, i *ItemData) {
	c.attribute(n, "ItemOID", &i.OID)
	c.attribute(n, "IsNull", &i.Null)
	typed := strings.TrimPrefix(n.of.Name, "ItemData")
	switch {
	case typed != "" && c.reads:
		i.Typed, i.Values = typed, []Value{{Text: n.of.Text}}
	case typed != "":
		if len(i.Values) > 0 {
			n.of.Text = i.Values[0].Text
		}
	case c.v132():
		c.attribute(n, "Typed", &i.Typed)
		moveValue132(c, n, i)
	default:
		c.attribute(n, "Typed", &i.Typed)
		many(c, n, "Value", &i.Values, moveValue)
	}
	c.names(n, "MeasurementUnitRef", "MeasurementUnitOID", &i.Unit)
	moveTrail(c, n, &i.Trail)
	c.rest(n, &i.Rest)
}

// plain reports whether an element that holds nothing but a text can hold the item.
func (i ItemData) plain() bool {
	return i.Audit == nil && i.Signature == nil && len(i.Queries)+len(i.Elements) == 0 && i.Unit == "" && i.Null == "" &&
		len(i.Values) == 1 && i.Values[0].Number == "" && len(i.Values[0].Attributes)+len(i.Values[0].Elements) == 0
}

// moveValue132 moves the value of an ItemData of version 1.3.2, which is an attribute.
func moveValue132(c *codec, n *node, i *ItemData) {
	if !c.reads {
		values := i.Values
		if len(values) > 0 && values[0].Number == "" && len(values[0].Attributes)+len(values[0].Elements) == 0 {
			n.of.Attributes = append(n.of.Attributes, Attribute{Name: "Value", Value: values[0].Text})
			values = values[1:]
		}
		many(c, n, "Value", &values, moveValue)
		return
	}
	for at, a := range n.of.Attributes {
		if a.Space == "" && a.Name == "Value" {
			i.Values, n.attributes[at] = append(i.Values, Value{Text: a.Value}), true
			break
		}
	}
	many(c, n, "Value", &i.Values, moveValue)
}

func moveValue(c *codec, n *node, v *Value) {
	c.attribute(n, "SeqNum", &v.Number)
	c.text(n, &v.Text)
	c.rest(n, &v.Rest)
}

func moveAuditRecord(c *codec, n *node, a *AuditRecord) {
	c.attribute(n, "EditPoint", &a.EditPoint)
	derived := "UsedMethod"
	if c.v132() {
		derived = "UsedImputationMethod"
	}
	c.attribute(n, derived, &a.Derived)
	c.names(n, "UserRef", "UserOID", &a.User)
	c.names(n, "LocationRef", "LocationOID", &a.Location)
	c.plain(n, "DateTimeStamp", &a.At)
	c.plain(n, "ReasonForChange", &a.Reason)
	c.plain(n, "SourceID", &a.Source)
	c.rest(n, &a.Rest)
}

func moveSignature(c *codec, n *node, s *Signature) {
	c.names(n, "UserRef", "UserOID", &s.User)
	c.names(n, "LocationRef", "LocationOID", &s.Location)
	c.names(n, "SignatureRef", "SignatureOID", &s.Definition)
	c.plain(n, "DateTimeStamp", &s.At)
	if c.reads {
		c.report.add(KeptUnused, "signature_foreign", n.of.Name, n.at, inert["Signature"].why)
	}
	c.rest(n, &s.Rest)
}

func moveQuery(c *codec, n *node, q *Query) {
	c.attribute(n, "OID", &q.OID)
	c.attribute(n, "Source", &q.Source)
	c.attribute(n, "Target", &q.Target)
	c.attribute(n, "Type", &q.Type)
	c.attribute(n, "State", &q.State)
	c.attribute(n, "LastUpdateDatetime", &q.UpdatedAt)
	c.attribute(n, "Name", &q.Name)
	one(c, n, "Value", &q.Text, moveValue)
	many(c, n, "AuditRecord", &q.Audits, moveAuditRecord)
	if c.reads {
		c.report.add(KeptUnused, "signature_foreign", n.of.Name, n.at, inert["Query"].why)
	}
	c.rest(n, &q.Rest)
}
