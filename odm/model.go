package odm

// Document is a file without its patients.
type Document struct {
	File    File
	Studies []Study
	Admin   []Admin
	// Data are the blocks of clinical data, without the patients.
	Data []ClinicalData
}

// File is what a file says of itself.
type File struct {
	// Version is the version of the standard that the file was read from. A writer sets its own.
	Version Version
	// Type is Snapshot or Transactional.
	Type, Granularity, OID, CreatedAt, PriorOID, AsOf, Originator, SourceSystem, SourceSystemVersion string
	Description                                                                                      []Text
	Rest
}

// The types of files.
const (
	Snapshot      = "Snapshot"
	Transactional = "Transactional"
)

// Text is a text in one language.
type Text struct {
	// Language is a tag such as en; empty when the file does not say.
	Language string
	// MediaType is empty for text/plain.
	MediaType string
	Value     string
	Rest
}

// Study is a study with its versions.
type Study struct {
	OID, Name, Protocol string
	Description         []Text
	// Units are the measurement units of version 1.3.2. Version 2.0 has items for them (Ref.UnitsItem).
	Units    []Unit
	Versions []MetaDataVersion
	Rest
}

// Unit is a unit of measurement (MeasurementUnit).
type Unit struct {
	OID, Name string
	Symbol    []Text
	Rest
}

// MetaDataVersion is one version of a study's definition; it becomes a build.
type MetaDataVersion struct {
	OID, Name   string
	Description []Text
	// Include names the version that this one adds to.
	Include    *Include
	Protocol   *Protocol
	Visits     []Visit
	Groups     []Group
	Items      []Item
	Lists      []CodeList
	Conditions []Condition
	Methods    []Method
	Rest
}

// Include names a version of a study.
type Include struct {
	StudyOID, VersionOID string
	Rest
}

// Protocol is the plan of a version: its visits, and when they are.
type Protocol struct {
	Description []Text
	Visits      []Ref
	Timings     []Timing
	Rest
}

// Timing is a named set of timing constraints (StudyTiming).
type Timing struct {
	OID, Name string
	// Absolute are dates of events, Relative are the distances of two.
	Absolute []AbsoluteTiming
	Relative []RelativeTiming
	Rest
}

// AbsoluteTiming is the time of an event of the study. Before and After are durations in the form of ISO 8601.
type AbsoluteTiming struct {
	OID, Name, StudyEventGroup, StudyEvent, Target, Before, After string
	Description                                                   []Text
	Rest
}

// RelativeTiming is the distance of two events. Target, Before and After are durations in the form of ISO 8601.
type RelativeTiming struct {
	OID, Name, Predecessor, Successor, Type, Target, Before, After string
	Description                                                    []Text
	Rest
}

// Visit is the definition of a visit (StudyEventDef).
type Visit struct {
	OID, Name string
	// Repeating is Yes or No.
	Repeating string
	// Type is Scheduled, Unscheduled or Common.
	Type, Category string
	Description    []Text
	Forms          []Ref
	Rest
}

// Group is the definition of a form or of a group of items: FormDef and ItemGroupDef of version 1.3.2, ItemGroupDef of 2.0.
type Group struct {
	OID, Name string
	// Type is Form, Section, Concept or Dataset, or a sponsor's own word.
	Type string
	// Repeating is No, Simple, Dynamic or Static.
	Repeating string
	// Limit is the most repetitions, as the file has it.
	Limit       string
	Description []Text
	// Members are the groups and items, in order.
	Members []Ref
	Rest
}

// The types of groups that a build has a place for.
const (
	TypeForm    = "Form"
	TypeSection = "Section"
)

// RefKind says what a Ref names.
type RefKind string

// The kinds of references.
const (
	VisitRef RefKind = "visit"
	GroupRef RefKind = "group"
	ItemRef  RefKind = "item"
)

// Ref is the use of a definition.
type Ref struct {
	Kind RefKind
	OID  string
	// Mandatory is Yes or No.
	Mandatory, Order string
	// Exception names the condition under which nothing is collected (CollectionExceptionCondition).
	Exception string
	// Method names the method that computes it.
	Method string
	// KeySequence is the item's position in the key of its group.
	KeySequence string
	// UnitsItem names the item that holds the unit.
	UnitsItem string
	Rest
}

// Item is the definition of an item (ItemDef).
type Item struct {
	OID, Name string
	DataType  string
	// Length and Digits are the most characters and decimals, as the file has them.
	Length, Digits        string
	Description, Question []Text
	// Units name measurement units (version 1.3.2).
	Units  []string
	Checks []RangeCheck
	// List names the code list of the values.
	List string
	Rest
}

// RangeCheck is a check of a value: a comparison with Values, or Expressions.
type RangeCheck struct {
	// Comparator is LT, LE, GT, GE, EQ, NE, IN or NOTIN.
	Comparator string
	// Strength is Soft, for a query, or Hard, for a refusal.
	Strength    string
	Values      []string
	Expressions []Expression
	Message     []Text
	Rest
}

// CodeList is a list of values.
type CodeList struct {
	OID, Name, DataType string
	Description         []Text
	Items               []CodeListItem
	// External is the dictionary that the values are in instead (version 1.3.2).
	External *ExternalList
	Rest
}

// CodeListItem is a value of a list. An EnumeratedItem has no Decode.
type CodeListItem struct {
	Value, Rank, Order string
	Decode             []Text
	Rest
}

// ExternalList is a dictionary that does not stand in the file.
type ExternalList struct {
	Dictionary, Version, Href, Ref string
	Rest
}

// Condition is a named condition (ConditionDef).
type Condition struct {
	OID, Name   string
	Description []Text
	Expressions []Expression
	Rest
}

// Method is a named way to come to a value (MethodDef).
type Method struct {
	OID, Name, Type string
	Description     []Text
	Expressions     []Expression
	Rest
}

// Expression is a formula in the language that Context names.
type Expression struct {
	Context, Code string
	Rest
}

// Admin are the people and places that records name (AdminData).
type Admin struct {
	StudyOID   string
	Users      []User
	Locations  []Location
	Signatures []SignatureDef
	Rest
}

// User is an account.
type User struct {
	OID, Type, FullName string
	Rest
}

// Location is a place, such as a site.
type Location struct {
	OID, Name string
	Rest
}

// SignatureDef is a kind of signatures. Methodology is Digital or Electronic.
type SignatureDef struct {
	OID, Methodology, Meaning, LegalReason string
	Rest
}

// ClinicalData is a block of patients' data by one version of one study.
type ClinicalData struct {
	StudyOID, VersionOID string
	Rest
}

// Trail is what is on record about data, besides the data.
type Trail struct {
	// Transaction is Insert, Update, Remove, Upsert or Context; a snapshot has none.
	Transaction string
	Audit       *AuditRecord
	Signature   *Signature
	Queries     []Query
	// Verified is the version of the value that source data verification looked at.
	Verified string
	// Hold is frozen or locked.
	Hold string
}

// Subject is a patient with all data.
type Subject struct {
	Key          string
	Investigator string
	Site         string
	Visits       []VisitData
	Trail
	Rest
}

// VisitData are the data of one visit (StudyEventData).
type VisitData struct {
	OID, Row string
	Groups   []GroupData
	Trail
	Rest
}

// GroupData are the data of one form or of one row of a group: FormData and ItemGroupData of 1.3.2, ItemGroupData of 2.0.
type GroupData struct {
	OID, Row string
	Groups   []GroupData
	Items    []ItemData
	Trail
	Rest
}

// ItemData is one value.
type ItemData struct {
	OID string
	// Null is Yes when the value is known to be missing.
	Null   string
	Values []Value
	// Typed is the data type in the name of the element, such as Integer of ItemDataInteger (version 1.3.2).
	Typed string
	// Unit names a measurement unit (version 1.3.2).
	Unit string
	Trail
	Rest
}

// Value is a value as the file has it.
type Value struct {
	Number, Text string
	Rest
}

// AuditRecord says who changed what it stands in, when and why.
type AuditRecord struct {
	User, Location, At, Reason, Source string
	// EditPoint is Monitoring, DataManagement or DBAudit.
	EditPoint string
	// Derived is Yes when a method made the value.
	Derived string
	Rest
}

// Signature is an electronic signature over what it stands in.
type Signature struct {
	User, Location, Definition, At string
	Rest
}

// Query is a question about what it stands in (version 2.0).
type Query struct {
	OID, Source, Target, Type, State, UpdatedAt, Name string
	Text                                              *Value
	Audits                                            []AuditRecord
	Rest
}
