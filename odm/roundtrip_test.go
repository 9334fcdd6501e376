package odm

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// arbitrary draws documents with everything that the model has, each with whatever texts and extensions.
type arbitrary struct {
	*rapid.T
	named, nested int
}

var texts = []string{"", "", "x", "Weight & <height>", "\"quoted\" 'text'", "line\nline\r\n\ttab",
	"Ω é 中 \U0001F9EA", " blank around ", "]]>"}

// oid returns an OID that no definition has yet.
func (a *arbitrary) oid() string {
	a.named++
	return fmt.Sprintf("OID.%d &<", a.named)
}

func (a *arbitrary) text(label string) string { return rapid.SampledFrom(texts).Draw(a.T, label) }

func (a *arbitrary) of(label string, words ...string) string {
	return rapid.SampledFrom(words).Draw(a.T, label)
}

func (a *arbitrary) rest() Rest {
	var rest Rest
	if rapid.IntRange(0, 5).Draw(a.T, "extended") == 0 {
		rest.Attributes = []Attribute{{"urn:vendor", "flag", a.text("flag")}, {"urn:other", "flag", "x"}}
		rest.Elements = []Element{{Space: "urn:vendor", Name: "Note", Text: a.text("note"), Attributes: []Attribute{{Name: "n", Value: "1"}}}}
	}
	return rest
}

// fill draws what a value of the model holds. OIDs are new; what names something is left out, and set afterwards.
func (a *arbitrary) fill(v reflect.Value, label string) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Rest]() {
			v.Set(reflect.ValueOf(a.rest()))
			return
		}
		for i := range v.NumField() {
			a.fill(v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name)
		}
		a.correct(v.Addr().Interface())
	case reflect.Slice:
		if label == "GroupData.Groups" {
			if a.nested == 2 {
				return // groups in groups in groups are enough
			}
			a.nested++
			defer func() { a.nested-- }()
		}
		for range rapid.IntRange(0, 2).Draw(a.T, label) {
			one := reflect.New(v.Type().Elem()).Elem()
			a.fill(one, label)
			v.Set(reflect.Append(v, one))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(a.T, label) {
			v.Set(reflect.New(v.Type().Elem()))
			a.fill(v.Elem(), label)
		}
	case reflect.String:
		v.SetString(a.text(label))
	}
}

// correct gives a drawn value the words that the standard has, and takes out what would name nothing.
func (a *arbitrary) correct(value any) {
	switch x := value.(type) {
	case *Text:
		x.MediaType = a.of("media", "", "text/html")
		if len(x.Elements) > 0 && x.Value == "" {
			x.Value = "text"
		}
	case *Study:
		x.OID = a.oid()
	case *MetaDataVersion:
		x.OID, x.Include = a.oid(), nil
	case *Unit:
		x.OID = a.oid()
	case *Protocol:
		x.Visits = nil
	case *Timing:
		x.OID = a.oid()
	case *AbsoluteTiming:
		x.OID, x.StudyEvent, x.StudyEventGroup = a.oid(), "", ""
	case *RelativeTiming:
		x.OID, x.Predecessor, x.Successor = a.oid(), "", ""
	case *Visit:
		x.OID, x.Repeating, x.Type, x.Forms = a.oid(), a.of("repeating", "Yes", "No"), a.of("type", "Scheduled", "Unscheduled", "Common"), nil
	case *Group:
		x.OID, x.Members = a.oid(), nil
		x.Type, x.Repeating = a.of("type", TypeForm, TypeSection, "Concept"), a.of("repeating", "No", "Simple", "Dynamic", "Static")
	case *Item:
		x.OID, x.Units, x.List = a.oid(), nil, ""
		x.DataType = a.of("type", "integer", "decimal", "float", "text", "partialDate", "hexBinary", "date")
	case *RangeCheck:
		x.Comparator, x.Strength = a.of("comparator", "LT", "IN"), a.of("strength", "Soft", "Hard")
	case *CodeList:
		x.OID, x.DataType = a.oid(), a.of("type", "integer", "decimal", "float", "text", "string")
	case *CodeListItem:
		x.Value = "v" + x.Value
	case *Condition:
		x.OID = a.oid()
	case *Method:
		x.OID = a.oid()
	case *Expression:
		if x.Code == "" || len(x.Elements) > 0 {
			x.Code = "a == 1"
		}
	case *User:
		x.OID = a.oid()
	case *Location:
		x.OID = a.oid()
	case *SignatureDef:
		x.OID = a.oid()
	case *Query:
		x.OID = a.oid()
	case *Trail:
		x.Transaction = a.of("transaction", "", "Insert", "Update", "Remove", "Upsert", "Context")
		x.Hold, x.Verified = a.of("hold", "", "frozen", "locked"), a.of("verified", "", "3")
	case *Value:
		if len(x.Elements) > 0 && x.Text == "" {
			x.Text = "text"
		}
	}
}

// refs draws uses of some of the definitions.
func (a *arbitrary) refs(kind RefKind, oids []string, exceptions, methods []string) []Ref {
	var refs []Ref
	for _, oid := range oids {
		if rapid.Bool().Draw(a.T, "used") {
			r := Ref{Kind: kind, OID: oid, Mandatory: a.of("mandatory", "Yes", "No"), Order: a.text("order"), Rest: a.rest()}
			r.Exception, r.Method = a.of("exception", append(exceptions, "")...), a.of("method", append(methods, "")...)
			refs = append(refs, r)
		}
	}
	return refs
}

// document draws a file with a study, and patients with data of it.
func (a *arbitrary) document() (*Document, []Subject) {
	d := &Document{Studies: make([]Study, 1), Data: make([]ClinicalData, 1)}
	a.fill(reflect.ValueOf(&d.File).Elem(), "file")
	d.File.Version, d.File.Type, d.File.OID, d.File.CreatedAt = V20, Transactional, "F.1", "2026-03-01T10:00:00Z"
	a.fill(reflect.ValueOf(&d.Studies[0]).Elem(), "study")
	a.fill(reflect.ValueOf(&d.Admin).Elem(), "admin")
	a.fill(reflect.ValueOf(&d.Data[0].Rest).Elem(), "data")
	s := &d.Studies[0]
	if len(s.Versions) == 0 {
		s.Versions = append(s.Versions, MetaDataVersion{OID: a.oid()})
	}
	if len(s.Versions) > 1 {
		s.Versions[1].Include = &Include{StudyOID: s.OID, VersionOID: s.Versions[0].OID, Rest: a.rest()}
	}
	for i := range s.Versions {
		a.connect(&s.Versions[i], s.Units)
	}
	v := s.Versions[0]
	d.Data[0].StudyOID, d.Data[0].VersionOID = s.OID, v.OID
	var subjects []Subject
	for n := range rapid.IntRange(0, 2).Draw(a.T, "patients") {
		var subject Subject
		a.fill(reflect.ValueOf(&subject).Elem(), "patient")
		subject.Key = fmt.Sprint(n)
		a.name(&subject, v, s.Units)
		subjects = append(subjects, subject)
	}
	return d, subjects
}

func oids[T any](list []T, of func(T) (string, bool)) []string {
	var found []string
	for _, one := range list {
		if oid, ok := of(one); ok {
			found = append(found, oid)
		}
	}
	return found
}

// connect lets the definitions of a version use each other. Groups come in the order of version 1.3.2, which has forms apart.
func (a *arbitrary) connect(v *MetaDataVersion, units []Unit) {
	slices.SortStableFunc(v.Groups, func(x, y Group) int {
		return map[bool]int{true: -1}[x.Type == TypeForm] - map[bool]int{true: -1}[y.Type == TypeForm]
	})
	conditions := oids(v.Conditions, func(c Condition) (string, bool) { return c.OID, true })
	methods := oids(v.Methods, func(m Method) (string, bool) { return m.OID, true })
	items := oids(v.Items, func(i Item) (string, bool) { return i.OID, true })
	forms := oids(v.Groups, func(g Group) (string, bool) { return g.OID, g.Type == TypeForm })
	groups := oids(v.Groups, func(g Group) (string, bool) { return g.OID, g.Type != TypeForm })
	for i := range v.Groups {
		members := append(a.refs(ItemRef, items, conditions, methods), a.refs(GroupRef, groups, conditions, methods)...)
		v.Groups[i].Members = rapid.Permutation(members).Draw(a.T, "members")
		if len(members) == 0 {
			v.Groups[i].Members = nil
		}
	}
	for i := range v.Visits {
		v.Visits[i].Forms = a.refs(GroupRef, forms, conditions, methods)
	}
	if v.Protocol != nil {
		v.Protocol.Visits = a.refs(VisitRef, oids(v.Visits, func(x Visit) (string, bool) { return x.OID, true }), conditions, methods)
	}
	for i := range v.Items {
		v.Items[i].List = a.of("list", append(oids(v.Lists, func(l CodeList) (string, bool) { return l.OID, true }), "")...)
		v.Items[i].Units = oids(units, func(u Unit) (string, bool) { return u.OID, true })
	}
}

// name lets data be of the definitions, as far as there are some.
func (a *arbitrary) name(s *Subject, v MetaDataVersion, units []Unit) {
	forms := oids(v.Groups, func(g Group) (string, bool) { return g.OID, g.Type == TypeForm })
	groups := oids(v.Groups, func(g Group) (string, bool) { return g.OID, g.Type != TypeForm })
	if len(v.Visits) == 0 {
		s.Visits = nil
	}
	var group func(g *GroupData, of []string)
	group = func(g *GroupData, of []string) {
		if g.OID = a.of("group", of...); len(groups) == 0 {
			g.Groups = nil
		}
		if len(v.Items) == 0 {
			g.Items = nil
		}
		for i := range g.Groups {
			group(&g.Groups[i], groups)
		}
		for i := range g.Items {
			item := &g.Items[i]
			item.OID, item.Null, item.Typed = v.Items[0].OID, a.of("null", "", "Yes"), ""
			item.Unit = a.of("unit", append(oids(units, func(u Unit) (string, bool) { return u.OID, true }), "")...)
			if item.plain() {
				item.Typed = a.of("typed", "", "Integer", "Any")
			}
		}
	}
	for i := range s.Visits {
		s.Visits[i].OID = v.Visits[0].OID
		if len(forms) == 0 {
			s.Visits[i].Groups = nil
		}
		for j := range s.Visits[i].Groups {
			group(&s.Visits[i].Groups[j], forms)
		}
	}
}

// What is written is what is read, in both versions, whatever is in it, history included.
func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := &arbitrary{T: r}
		document, subjects := a.document()
		for _, version := range []Version{V20, V132} {
			sameAgain(r, version, document, subjects, nil)
		}
	})
}
