package odm

import (
	"fmt"
	"slices"
	"strings"
)

// references say which definitions the attributes of ODM name. FormDef is one kind with ItemGroupDef, as in the model.
var references = map[string]string{
	"StudyEventOID": "StudyEventDef", "FormOID": "FormDef", "ItemGroupOID": "ItemGroupDef", "ItemOID": "ItemDef",
	"UnitsItemOID": "ItemDef", "CodeListOID": "CodeList", "RoleCodeListOID": "CodeList", "MethodOID": "MethodDef",
	"CollectionExceptionConditionOID": "ConditionDef", "ConditionOID": "ConditionDef", "StartConditionOID": "ConditionDef",
	"EndConditionOID": "ConditionDef", "MeasurementUnitOID": "MeasurementUnit", "ImputationMethodOID": "ImputationMethod",
	"ArchiveLayoutOID": "ArchiveLayout", "PresentationOID": "Presentation", "CommentOID": "CommentDef",
	"ValueListOID": "ValueListDef", "WhereClauseOID": "WhereClauseDef", "StandardOID": "Standard", "WorkflowOID": "WorkflowDef",
	"StudyEventGroupOID": "StudyEventGroupDef", "ArmOID": "Arm", "EpochOID": "Epoch", "TransitionOID": "Transition",
	"TargetTransitionOID": "Transition", "StudyEndPointOID": "StudyEndPoint", "StudyInterventionOID": "StudyIntervention",
	"StudyTargetPopulationOID": "StudyTargetPopulation", "LeafID": "Leaf", "ArchiveLocationID": "Leaf",
	// Structure may be of any kind.
	"StructuralElementOID": "", "PredecessorOID": "", "SuccessorOID": "", "SourceOID": "", "TargetOID": "", "StartOID": "", "EndOID": "",
}

// people are the definitions of administrative data. What other systems name of them is kept, whether it is in the file or not.
var people = map[string]string{"UserOID": "User", "LocationOID": "Location", "SignatureOID": "SignatureDef"}

// elsewhere are elements that name definitions of other places than the version that they stand in.
var elsewhere = map[string]bool{"SourceItem": true, "Include": true, "MetaDataVersionRef": true, "KeySet": true}

// refusing are the uses, and the definitions, that have a part in a build. What is kept without effect is allowed to name what
// is not there.
var (
	refusingUses = map[string]bool{"StudyEventRef": true, "FormRef": true, "ItemGroupRef": true, "ItemRef": true, "CodeListRef": true,
		"MeasurementUnitRef": true, "AbsoluteTimingConstraint": true, "RelativeTimingConstraint": true}
	refusingKinds = map[string]bool{"StudyEventDef": true, "FormDef": true, "ItemGroupDef": true, "ItemDef": true, "CodeList": true,
		"ConditionDef": true, "MethodDef": true, "MeasurementUnit": true}
)

type definition struct{ kind, oid string }

// reference is the use of a definition that has to be looked at once all are read. Its path is text, so that what was read
// for it can go.
type reference struct {
	definition
	construct, path string
}

// index holds the definitions of one version of a study.
type index struct {
	study    string
	defined  map[definition]bool
	uses     []reference
	includes *definition // kind is the study, oid the version
	included *index
	at       string
	// forms are the OIDs of forms that groups have too (version 1.3.2).
	forms map[string]bool
}

func (x *index) has(d definition) bool {
	for depth := 0; x != nil && depth < MaxDepth; depth++ {
		if x.defined[d] || d.kind == "FormDef" && x.defined[definition{"ItemGroupDef", d.oid}] ||
			d.kind == "ItemGroupDef" && x.defined[definition{"FormDef", d.oid}] {
			return true
		}
		x = x.included
	}
	return false
}

// indexes are the definitions of all versions of all studies.
type indexes struct {
	versions map[[2]string]*index
	// studies hold the definitions of whole studies, which are those of units.
	studies map[string]*index
	admin   map[definition]bool
}

func newIndexes() *indexes {
	return &indexes{versions: map[[2]string]*index{}, studies: map[string]*index{}, admin: map[definition]bool{}}
}

func (i *indexes) study(oid string) *index {
	if i.studies[oid] == nil {
		i.studies[oid] = &index{study: oid, defined: map[definition]bool{}}
	}
	return i.studies[oid]
}

func (i *indexes) version(study, version string) *index { return i.versions[[2]string{study, version}] }

// addAdmin takes in the people and places of a file.
func (i *indexes) addAdmin(e *Element) {
	for n := range e.Children {
		i.admin[definition{e.Children[n].Name, e.Children[n].get("OID")}] = true
	}
}

// addStudy takes in a study that was read before.
func (i *indexes) addStudy(s Study) {
	c := &codec{version: V20}
	e := put(c, "Study", &s, moveStudy)
	r := &reader{version: V20, report: &Report{}, known: i}
	r.inspect(&e, nil, i.study(s.OID), nil)
	i.addForms(s)
	for _, x := range i.versions {
		x.uses = nil // they were looked at when the study was read
	}
}

// addForms takes in what forms are called in the model.
func (i *indexes) addForms(s Study) {
	for _, v := range s.Versions {
		x := i.version(s.OID, v.OID)
		if x == nil {
			continue
		}
		x.forms = map[string]bool{}
		for _, g := range v.Groups {
			plain, both := strings.CutSuffix(g.OID, sameOID)
			if both {
				x.forms[plain] = true
			}
			if g.Type == TypeForm {
				x.defined[definition{"FormDef", plain}] = true
			}
		}
	}
}

// inspect looks at an element as it stands in the file. Definitions and what they name go into the scope of their version;
// what data name is looked up in the version that they are of.
func (r *reader) inspect(e *Element, within *place, scope, data *index) {
	at := &place{within, e}
	if e.Space == "" && e.Name != "" {
		scope = r.define(e, at, scope)
		r.conforms(e, at)
		r.refusals(e, at)
		if !elsewhere[e.Name] {
			r.uses(e, at, scope, data)
		}
	}
	for i := range e.Children {
		r.inspect(&e.Children[i], at, scope, data)
	}
}

// define takes in what an element defines, and returns the scope of what it holds.
func (r *reader) define(e *Element, at *place, scope *index) *index {
	if scope == nil || e.Name == "Study" {
		return scope
	}
	if e.Name == "MetaDataVersion" {
		key := [2]string{scope.study, e.get("OID")}
		if r.known.versions[key] != nil && r.known.versions[key].at != "" {
			r.report.refuse("duplicate_oid", e.Name, at, "The OID is there twice.")
		}
		x := &index{study: scope.study, defined: map[definition]bool{}, included: scope, at: at.String()}
		r.known.versions[key] = x
		return x
	}
	if e.Name == "Include" {
		scope.includes = &definition{e.get("StudyOID"), e.get("MetaDataVersionOID")}
	}
	oid := e.get("OID")
	if e.Name == "Leaf" {
		oid = e.get("ID")
	}
	if oid == "" {
		return scope
	}
	for _, d := range []definition{{e.Name, oid}, {"", oid}} {
		if scope.defined[d] && d.kind != "" {
			outcome := KeptUnused
			if refusingKinds[e.Name] {
				outcome = Refused
			}
			r.report.add(outcome, "duplicate_oid", e.Name, at, fmt.Sprintf("The OID %q is there twice.", short(oid)))
		}
		scope.defined[d] = true
	}
	return scope
}

// conforms names what the standard does not have, and what it demands and is missing.
func (r *reader) conforms(e *Element, at *place) {
	production, known := r.version.grammar()[e.Name]
	if !known {
		if other := (map[Version]Version{V132: V20, V20: V132})[r.version]; other.grammar()[e.Name].rank == nil {
			r.report.add(KeptUnused, "unknown_construct", e.Name, at, "The standard does not have this element.")
		}
		return
	}
	for _, a := range e.Attributes {
		name := qualified(a.Space, a.Name)
		if _, has := production.attributes[name]; !has && a.Space == "" {
			r.report.add(KeptUnused, "unknown_construct", e.Name+"@"+name, at, "The standard does not have this attribute.")
		}
	}
	for _, name := range production.required {
		if strings.Contains(name, ":") || e.get(name) != "" {
			continue
		}
		if strings.HasSuffix(name, "OID") || name == "SubjectKey" || name == "CodedValue" || words[e.Name+"@"+name] != nil {
			if name != "CodedValue" || !e.has(name) {
				r.report.refuse("attribute_missing", e.Name+"@"+name, at, "The attribute %s is missing.", name)
			}
		} else if !e.has(name) {
			r.report.add(KeptUnused, "attribute_missing", e.Name+"@"+name, at, "The standard demands the attribute.")
		}
	}
}

func (e *Element) has(name string) bool {
	for _, a := range e.Attributes {
		if a.Space == "" && a.Name == name {
			return true
		}
	}
	return false
}

// words are those that an attribute can have, where a build follows from it.
var words = map[string][]string{
	"StudyEventDef@Repeating": {"Yes", "No"},
	"StudyEventDef@Type":      {"Scheduled", "Unscheduled", "Common"},
	"FormDef@Repeating":       {"Yes", "No"},
	"ItemGroupDef@Repeating":  {"No", "Yes", "Simple", "Dynamic", "Static"},
	"ItemGroupDef@Type":       {}, // sponsors have words of their own
	"StudyEventRef@Mandatory": {"Yes", "No"},
	"FormRef@Mandatory":       {"Yes", "No"},
	"ItemGroupRef@Mandatory":  {"Yes", "No"},
	"ItemRef@Mandatory":       {"Yes", "No"},
	"RangeCheck@Comparator":   {"LT", "LE", "GT", "GE", "EQ", "NE", "IN", "NOTIN"},
	"RangeCheck@SoftHard":     {"Soft", "Hard"},
	"ItemData@IsNull":         {"Yes"},
}

// refusals names what cannot be imported.
func (r *reader) refusals(e *Element, at *place) {
	for _, a := range e.Attributes {
		known := words[e.Name+"@"+a.Name]
		if a.Space != "" || len(known) == 0 || a.Value == "" {
			continue
		}
		if !slices.Contains(known, a.Value) || e.Name == "ItemGroupDef" && (r.version == V20) == (a.Value == "Yes") && a.Value != "No" {
			r.report.refuse("value_unknown", e.Name+"@"+a.Name, at, "%q is not a value of %s.", short(a.Value), a.Name)
		}
	}
	switch {
	case e.Name == "ItemDef" && !dataTypes[e.get("DataType")]:
		r.report.refuse("data_type_unknown", "ItemDef@DataType", at, "%q is not a data type of ODM.", short(e.get("DataType")))
	case e.get("TransactionType") == "Remove" && r.document != nil && r.document.File.Type == Snapshot:
		r.report.refuse("remove_in_snapshot", e.Name+"@TransactionType", at, "A snapshot says what is there; nothing can be removed in it.")
	}
}

// uses looks at what an element names.
func (r *reader) uses(e *Element, at *place, scope, data *index) {
	for _, a := range e.Attributes {
		if a.Space != "" || a.Value == "" {
			continue
		}
		if kind, isPerson := people[a.Name]; isPerson {
			if d := (definition{kind, a.Value}); data != nil && !r.known.admin[d] {
				r.report.add(KeptUnused, "admin_unresolved", e.Name+"@"+a.Name, at, "The administrative data of the file do not have it; it is kept.")
			}
			continue
		}
		kind, isReference := references[a.Name]
		if !isReference {
			continue
		}
		d := definition{kind, a.Value}
		switch {
		case data != nil:
			if !data.has(d) {
				r.report.refuse("dangling_oid", e.Name+"@"+a.Name, at, "The version does not define %s %q.", a.Name, short(a.Value))
			}
		case scope != nil && scope.at != "" && !scope.has(d):
			scope.uses = append(scope.uses, reference{d, e.Name + "@" + a.Name, at.String()})
		}
	}
}

// checkReferences looks at what definitions name, once all of them are read.
func (r *reader) checkReferences() {
	if r.checked {
		return
	}
	r.checked = true
	for _, x := range r.known.versions {
		if x.includes == nil {
			continue
		}
		if x.included = r.known.version(x.includes.kind, x.includes.oid); x.included == nil || x.included == x {
			r.report.addAt(Refused, "include_missing", "Include", x.at, fmt.Sprintf("The version %q of the study %q is not in the file.",
				short(x.includes.oid), short(x.includes.kind)))
			x.included = r.known.study(x.study)
		}
	}
	for _, x := range r.known.versions {
		for _, use := range x.uses {
			if x.has(use.definition) {
				continue
			}
			outcome := KeptUnused
			if element, _, _ := strings.Cut(use.construct, "@"); refusingUses[element] && refusingKinds[use.kind] {
				outcome = Refused
			}
			r.report.addAt(outcome, "dangling_oid", use.construct, use.path, fmt.Sprintf("Nothing in the version defines %q.", short(use.oid)))
		}
		x.uses = nil
	}
}
