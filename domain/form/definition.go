package form

import "casebook/domain"

// ItemID names an item within its form; rules use it as a variable: answers.worst.
type ItemID string

// Schema implements domain.HasSchema.
func (ItemID) Schema() domain.Schema { return domain.Schema{Example: "worst"} }

// ItemType is the type of an item's answer.
type ItemType string

// The types that an item's answer can have, and how it is recorded.
const (
	// Integer is a whole number, recorded as float64.
	Integer ItemType = "integer"
	// Decimal is a number, recorded as float64: the decimal that reads as it, of 15 digits at most where it was typed.
	Decimal ItemType = "decimal"
	Text    ItemType = "text"
	Boolean ItemType = "boolean"
	// Choice is one option of a code list, recorded as its value.
	Choice ItemType = "choice"
	// Multi is several options of a code list, recorded as their values, []string in the order of the list.
	Multi ItemType = "multi"
	// Date is a day, YYYY-MM-DD.
	Date ItemType = "date"
	// Time is a time of the day, HH:MM or HH:MM:SS.
	Time ItemType = "time"
	// Datetime is a day with its time, YYYY-MM-DDTHH:MM or with seconds, local to the site.
	Datetime ItemType = "datetime"
	// PartialDate is a day of which a part may be unknown, such as 2026-03 or 2026---15 (see package partial).
	PartialDate ItemType = "partialDate"
	// PartialDatetime is a day with its time of which a part may be unknown, such as 2026-03-01T10.
	PartialDatetime ItemType = "partialDatetime"
	// File is a file that is kept elsewhere, recorded as its SHA-256 in lower-case hexadecimal.
	File ItemType = "file"
)

// Definition is one form. It is fixed once published.
type Definition struct {
	ID string `json:"id" doc:"Name of the form"`
	// Version is the version of the definition, 0 where versions are counted elsewhere.
	Version int         `json:"version,omitempty" minimum:"0" doc:"Version of the definition"`
	Title   Translation `json:"title" doc:"What people see as heading"`
	// Languages are the languages that every text is there in, the first being the one that others fall back to. Without
	// languages, texts are plain.
	Languages []string   `json:"languages,omitempty" doc:"Languages of all texts, such as de and en-GB; texts are plain without"`
	Lists     []CodeList `json:"lists,omitempty" doc:"Code lists that several items use"`
	Items     []Item     `json:"items" minItems:"1" doc:"The questions, in order"`
	Checks    []Check    `json:"checks,omitempty" doc:"Rules over the whole form that find what is wrong"`
}

// Item is one question.
type Item struct {
	ID   ItemID      `json:"id" doc:"Name of the item within the form"`
	Text Translation `json:"text" doc:"The question"`
	Help Translation `json:"help,omitempty" doc:"What helps to answer it"`
	Type ItemType    `json:"type" doc:"Type of the answer"`
	// Unit is the unit that the ranges, and the rules, see the number in.
	Unit  string `json:"unit,omitempty" doc:"Unit of a number, UCUM where there is one"`
	Units []Unit `json:"units,omitempty" doc:"Other units in which the number may be entered"`
	// Min and Max bound what is taken; SoftMin and SoftMax bound what is taken without a question. Both ends are included.
	Min      *float64 `json:"min,omitempty" doc:"Smallest number allowed"`
	Max      *float64 `json:"max,omitempty" doc:"Largest number allowed"`
	SoftMin  *float64 `json:"softMin,omitempty" doc:"Smallest number that raises no query"`
	SoftMax  *float64 `json:"softMax,omitempty" doc:"Largest number that raises no query"`
	Decimals *int     `json:"decimals,omitempty" minimum:"0" maximum:"15" doc:"Most decimals of a number; a derived number is rounded to them"`
	// Options are the item's own code list; List names one that the form's items share.
	Options []Option `json:"options,omitempty" doc:"What a choice can be"`
	List    string   `json:"list,omitempty" doc:"Code list of a choice, in place of options"`
	// SpecifiedBy is the text item that says what is meant where the option "other" is chosen. It is asked, and required,
	// exactly then.
	SpecifiedBy ItemID `json:"specifiedBy,omitempty" doc:"The text item that says what an option like other stands for"`
	MaxChars    int    `json:"maxChars,omitempty" doc:"Longest text allowed, in characters; 500 when not given"`
	Required    bool   `json:"required,omitempty" doc:"Whether an asked item must be answered"`
	// AskedWhen is the skip rule: a CEL expression over the answers, true when the item is asked. Empty: always asked.
	AskedWhen string `json:"askedWhen,omitempty" doc:"Skip rule: CEL over answers, true when the item is asked"`
	// Derivation computes the item from others: a CEL expression over the answers. Nobody can enter a derived item.
	Derivation string `json:"derivation,omitempty" doc:"CEL over answers that computes the item"`
}

// Unit is a unit in which a number may be entered beside the item's own. Factor and Offset are those of the item, so that
// one analyte's molar mass is not another's.
type Unit struct {
	Unit string `json:"unit" doc:"UCUM code"`
	// In the item's own unit, the number is Factor times the entered number plus Offset.
	Factor Exact `json:"factor" doc:"How many of the item's own unit are one of this, exactly"`
	Offset Exact `json:"offset,omitempty" doc:"What is added then; 0 when not given"`
}

// CodeList is a list of options that several items use.
type CodeList struct {
	ID      string   `json:"id" doc:"Name of the list within the form"`
	Options []Option `json:"options" minItems:"1" doc:"What can be chosen"`
}

// Option is one answer of a choice.
type Option struct {
	Value string      `json:"value" doc:"What is stored"`
	Label Translation `json:"label" doc:"What people read"`
	// Rank is the option's place on a scale; it is what the option counts in a score.
	Rank *float64 `json:"rank,omitempty" doc:"What the option counts as a number"`
	// Other marks the option for everything that the list does not have.
	Other bool `json:"other,omitempty" doc:"Whether the option stands for what the list does not have"`
}

// CheckEffect says what becomes of an entry that a check holds for.
type CheckEffect string

// The effects of checks.
const (
	// EffectQuery lets the entry in and raises a query.
	EffectQuery CheckEffect = "query"
	// EffectHardStop refuses the entry.
	EffectHardStop CheckEffect = "hardStop"
)

// Check finds what is wrong in a form as a whole.
type Check struct {
	ID   string `json:"id" doc:"Name of the check within the form"`
	Item ItemID `json:"item" doc:"The item that the message is about"`
	// When is true when something is wrong.
	When    string      `json:"when" doc:"CEL over answers, true when something is wrong"`
	Message Translation `json:"message" doc:"What is asked or said"`
	Effect  CheckEffect `json:"effect" enum:"query,hardStop" doc:"What becomes of the entry"`
}

// Kind is what a kind of form makes of this package.
type Kind struct {
	// Code is the code of refusals of a definition. A rule that cannot be used has the code invalid_rule in every kind.
	Code string
	// Noun is how refusals call an entry: send the diary again.
	Noun string
	// Types are the item types that there are; all of them where it is empty.
	Types []ItemType
	// TopDown forms are filled in from the top: a skip rule can only name earlier items.
	TopDown bool
	// DaysAsText shows dates to rules as texts, not as moments that may be known in part.
	DaysAsText bool
}

// CaseReport is the kind of a case report form (CRF).
var CaseReport = Kind{Code: "invalid_form", Noun: "form"}
