package build

import (
	"slices"

	"casebook/domain"
	"casebook/domain/form"
)

// Definition is what a build consists of: everything that says how data are captured.
type Definition struct {
	// Languages are those that every text is there in; texts are plain without.
	Languages []string        `json:"languages,omitempty"`
	Forms     []Form          `json:"forms,omitempty"`
	Lists     []form.CodeList `json:"lists,omitempty"`
	Schedule  Schedule        `json:"schedule"`
	Checks    []CheckSet      `json:"checks,omitempty"`
}

// Form is one case report form (CRF): groups of items that are filled in together.
type Form struct {
	ID    string           `json:"id" minLength:"1" maxLength:"40" example:"VS" doc:"Name of the form within the build"`
	OID   string           `json:"oid,omitempty" maxLength:"100" doc:"Its OID in ODM; the name when left out"`
	Title form.Translation `json:"title" doc:"What people see as heading"`
	Kind  FormKind         `json:"kind" doc:"Where the form is filled in"`
	// Repeats says that there can be several of the form at a visit, or several log forms.
	Repeats *Repeats `json:"repeats,omitempty" doc:"How often the form can be there; once when left out"`
	Groups  []Group  `json:"groups" minItems:"1" doc:"Its groups of items, in order"`
}

// FormKind says where a form is filled in.
type FormKind string

// The kinds of forms.
const (
	// VisitForm is filled in at the visits that name it.
	VisitForm FormKind = "visit"
	// LogForm goes on through the study, such as that of adverse events. Visits of the kind common name it.
	LogForm FormKind = "log"
)

// Schema implements domain.HasSchema.
func (FormKind) Schema() domain.Schema { return domain.OneOf(VisitForm, LogForm) }

// Group is a group of items of a form. Rules name an item by its group: VS.SYSBP. So a group has its name in the whole
// build, and an item within its group.
type Group struct {
	ID      string           `json:"id" minLength:"1" maxLength:"40" example:"VS" doc:"Name of the group within the build; rules use it"`
	OID     string           `json:"oid,omitempty" maxLength:"100" doc:"Its OID in ODM; the name when left out"`
	Title   form.Translation `json:"title" doc:"What people see as heading"`
	Repeats *Repeats         `json:"repeats,omitempty" doc:"How many rows the group can have; it has no rows when left out"`
	Items   []Item           `json:"items" minItems:"1" doc:"The questions, in order"`
}

// Repeats says how often a form or a group can be there (ODM 2.0, Repeating).
type Repeats struct {
	Kind RepeatKind `json:"kind" doc:"What the rows follow from"`
	Min  int        `json:"min,omitempty" minimum:"0" maximum:"500" doc:"Fewest rows of a complete form"`
	Max  int        `json:"max,omitempty" minimum:"0" maximum:"500" doc:"Most rows; 500 when left out"`
	// Key are the items whose values tell one row from another.
	Key []form.ItemID `json:"key,omitempty" doc:"The items that tell one row from another"`
}

// RepeatKind says what the rows of a group follow from.
type RepeatKind string

// The kinds of repetition.
const (
	// RepeatsSimple rows are added as they are needed.
	RepeatsSimple RepeatKind = "simple"
	// RepeatsDynamic rows are added, each for one option of the key's code list.
	RepeatsDynamic RepeatKind = "dynamic"
	// RepeatsStatic rows are there from the beginning, one for each option of the key's code list.
	RepeatsStatic RepeatKind = "static"
)

// Schema implements domain.HasSchema.
func (RepeatKind) Schema() domain.Schema {
	return domain.OneOf(RepeatsSimple, RepeatsDynamic, RepeatsStatic)
}

// most is how many rows there can be.
func (r *Repeats) most() int {
	if r.Max == 0 {
		return maxRows
	}
	return r.Max
}

// Item is one question of a case report form: what every form asks, and what only the study's build says of it.
type Item struct {
	form.Item
	OID string `json:"oid,omitempty" maxLength:"100" doc:"Its OID in ODM; the name when left out"`
	// Blinding is the class of those who may see the item. Everybody who may see the form may, when it is empty.
	Blinding string `json:"blinding,omitempty" maxLength:"40" doc:"Class of those who may see the item; everybody when left out"`
	// Critical says that source data verification always includes the item.
	Critical   bool   `json:"critical,omitempty" doc:"Whether source data verification always includes it"`
	Dictionary string `json:"dictionary,omitempty" maxLength:"40" doc:"Dictionary that the text is coded with, such as MedDRA"`
	Role       Role   `json:"role,omitempty" doc:"What the item is of an adverse event or a laboratory result"`
	Origin     string `json:"origin,omitempty" maxLength:"40" doc:"Where the value comes from, such as collected or derived"`
}

// Role says what an item is of an adverse event or of a laboratory result.
type Role string

// The roles of items.
const (
	AETerm      Role = "aeTerm"
	AEStart     Role = "aeStart"
	AEEnd       Role = "aeEnd"
	AEGrade     Role = "aeGrade"
	AECriteria  Role = "aeCriteria"
	AECausality Role = "aeCausality"
	AEAction    Role = "aeAction"
	AEOutcome   Role = "aeOutcome"
	AEAwareAt   Role = "aeAwareAt"
	LabTest     Role = "labTest"
	LabResult   Role = "labResult"
	LabSpecimen Role = "labSpecimen"
	LabTakenAt  Role = "labTakenAt"
)

// Roles are all roles.
var Roles = []Role{AETerm, AEStart, AEEnd, AEGrade, AECriteria, AECausality, AEAction, AEOutcome, AEAwareAt, LabTest, LabResult,
	LabSpecimen,
	LabTakenAt}

// Schema implements domain.HasSchema.
func (Role) Schema() domain.Schema { return domain.OneOf(Roles...) }

// Schedule is the schedule of events: the visits, and what is filled in at each.
type Schedule struct {
	Visits []Visit `json:"visits,omitempty" doc:"The visits, in order"`
}

// Visit is a visit of the schedule.
type Visit struct {
	ID    string           `json:"id" minLength:"1" maxLength:"50" example:"V1" doc:"Name of the visit, as RecordVisit has it"`
	OID   string           `json:"oid,omitempty" maxLength:"100" doc:"Its OID in ODM; the name when left out"`
	Title form.Translation `json:"title" doc:"What it is"`
	Kind  VisitKind        `json:"kind" doc:"Whether it is planned"`
	// Anchor is what the days are counted from.
	Anchor *Anchor  `json:"anchor,omitempty" doc:"What the days of a scheduled visit are counted from; the enrolment when left out"`
	Day    int      `json:"day,omitempty" minimum:"-36525" maximum:"36525" doc:"Planned day of a scheduled visit, after its anchor"`
	Before int      `json:"before,omitempty" minimum:"0" maximum:"36525" doc:"How many days it may be early"`
	After  int      `json:"after,omitempty" minimum:"0" maximum:"36525" doc:"How many days it may be late"`
	Forms  []string `json:"forms,omitempty" doc:"The forms that are filled in at it, in order"`
	// Condition is a rule over the casebook; the visit takes place only where it holds.
	Condition string `json:"condition,omitempty" maxLength:"1000" doc:"CEL over the casebook; the visit takes place only where it holds"`
}

// VisitKind says whether a visit is planned.
type VisitKind string

// The kinds of visits.
const (
	VisitScheduled   VisitKind = "scheduled"
	VisitUnscheduled VisitKind = "unscheduled"
	// VisitCommon is no visit but the place of what belongs to none, such as log forms.
	VisitCommon VisitKind = "common"
)

// Schema implements domain.HasSchema.
func (VisitKind) Schema() domain.Schema {
	return domain.OneOf(VisitScheduled, VisitUnscheduled, VisitCommon)
}

// Anchor is what the days of a visit are counted from: another visit, or a day that was entered.
type Anchor struct {
	Visit string      `json:"visit,omitempty" maxLength:"50" doc:"A visit; with a group and an item, the visit at which the day is entered"`
	Group string      `json:"group,omitempty" maxLength:"40" doc:"The group of the item"`
	Item  form.ItemID `json:"item,omitempty" maxLength:"40" doc:"An item of the type date"`
}

// CheckSet is a named set of checks.
type CheckSet struct {
	ID     string  `json:"id" minLength:"1" maxLength:"64" example:"vital-signs" doc:"Name of the set within the build"`
	Checks []Check `json:"checks" minItems:"1" doc:"The checks"`
}

// Check finds what is wrong in a casebook. Its rule names the items of its home group as answers, those of the other groups
// that are filled in at the same visit by their group, and everything else with at, prev and rows.
type Check struct {
	ID string `json:"id" minLength:"1" maxLength:"64" example:"systolic-above-diastolic" doc:"Name of the check within the build"`
	// Group and Item are the check's home: the item that its query is raised on.
	Group string      `json:"group" minLength:"1" maxLength:"40" doc:"The group that the check is about"`
	Item  form.ItemID `json:"item" doc:"The item that its message is about"`
	// When is true when something is wrong.
	When    string           `json:"when" minLength:"1" maxLength:"1000" doc:"CEL, true when something is wrong"`
	Message form.Translation `json:"message" doc:"What is asked or said"`
	Effect  form.CheckEffect `json:"effect" enum:"query,hardStop" doc:"What becomes of the entry"`
	// Visits is the scope of the check.
	Visits []string `json:"visits,omitempty" doc:"The visits at which it is checked; all at which its form is filled in when left out"`
	// Blinding is the class of those who may see the check's queries.
	Blinding string `json:"blinding,omitempty" maxLength:"40" doc:"Class of those who may see its queries; everybody when left out"`
}

// PartKind is a kind of parts of a build.
type PartKind string

// The kinds of parts.
const (
	PartForm     PartKind = "form"
	PartList     PartKind = "list"
	PartSchedule PartKind = "schedule"
	PartChecks   PartKind = "checks"
)

// PartKinds are all kinds of parts.
var PartKinds = []PartKind{PartForm, PartList, PartSchedule, PartChecks}

// Schema implements domain.HasSchema.
func (PartKind) Schema() domain.Schema { return domain.OneOf(PartKinds...) }

// put returns the parts with one put in the place of that with its id, or at the end. The parts that it gets stay as they are.
func put[T any](parts []T, part T, id func(T) string) []T {
	n := slices.IndexFunc(parts, func(one T) bool { return id(one) == id(part) })
	parts = slices.Clone(parts)
	if n < 0 {
		return append(parts, part)
	}
	parts[n] = part
	return parts
}

func without[T any](parts []T, part string, id func(T) string) []T {
	return slices.DeleteFunc(slices.Clone(parts), func(one T) bool { return id(one) == part })
}

func find[T any](parts []T, part string, id func(T) string) *T {
	for n := range parts {
		if id(parts[n]) == part {
			return &parts[n]
		}
	}
	return nil
}

func formID(f Form) string          { return f.ID }
func listID(l form.CodeList) string { return l.ID }
func setID(s CheckSet) string       { return s.ID }

// Form returns a form of the definition, nil if it has none of that name.
func (d *Definition) Form(id string) *Form { return find(d.Forms, id, formID) }

// List returns a code list of the definition, nil if it has none of that name.
func (d *Definition) List(id string) *form.CodeList { return find(d.Lists, id, listID) }

// CheckSet returns a set of checks of the definition, nil if it has none of that name.
func (d *Definition) CheckSet(id string) *CheckSet { return find(d.Checks, id, setID) }

// VisibleTo returns the form as those of a blinding class see it: without the items of other classes, and without groups
// that have no items left.
func (f Form) VisibleTo(class string) Form {
	groups := f.Groups
	f.Groups = []Group{}
	for _, g := range groups {
		items := g.Items
		g.Items = nil
		for _, it := range items {
			if it.visibleTo(class) {
				g.Items = append(g.Items, it)
			}
		}
		if len(g.Items) > 0 {
			f.Groups = append(f.Groups, g)
		}
	}
	return f
}
