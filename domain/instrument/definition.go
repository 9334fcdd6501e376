// Package instrument defines ePRO questionnaires: a form (domain/form) with scores, risk rules, and a schedule of
// windows in which a patient answers it. Instruments are data that a study publishes. The package knows no particular
// questionnaire, except the two that come with the product (see PainDiary and PHQ9).
//
// A Definition is the published data. Compile turns it into an Instrument, which checks answers, computes scores and
// finds risks. A Calendar has the windows of one assignment as moments. A protocol contains instruments, or refers to
// versions that Publish has recorded in the stream of an instrument. Begin reading at Compile.
package instrument

import (
	"casebook/domain"
	"casebook/domain/form"
)

// ID names an instrument within a study.
type ID string

// ItemID names an item within its instrument. Rules use it as a variable, such as answers.worst.
type ItemID = form.ItemID

// ItemType is the type of an item's answer.
type ItemType = form.ItemType

// The types that an item's answer can have.
const (
	Integer = form.Integer
	Decimal = form.Decimal
	Boolean = form.Boolean
	Text    = form.Text
	Choice  = form.Choice
	DateDay = form.Date
)

// Definition is one version of an instrument. It does not change after its publication: a change is a new version.
type Definition struct {
	ID      ID     `json:"id" doc:"Name of the instrument within the study"`
	Version int    `json:"version" minimum:"1" doc:"Version of the definition; a change is a new version"`
	Title   string `json:"title" doc:"What the patient sees as heading"`
	// Language and Wording are of the texts of the definition itself; definitions from before translations name none.
	Language     string `json:"language,omitempty" doc:"Language of the texts, as a tag (BCP 47); needed for translations"`
	Wording      string `json:"wording,omitempty" doc:"Version of the wording, as its licensor names it"`
	Instructions string `json:"instructions,omitempty" doc:"What the patient reads before the first question"`
	// Source names the instrument's origin and licence.
	Source    string     `json:"source" doc:"Publication and licence of the instrument"`
	Items     []Item     `json:"items" minItems:"1" doc:"The questions, in order"`
	Scores    []Score    `json:"scores,omitempty" doc:"Scores computed by the server when a diary is recorded"`
	RiskRules []RiskRule `json:"riskRules,omitempty" doc:"Rules over answers and scores that flag a risk at once"`
	Schedule  Schedule   `json:"schedule" doc:"When the patient is asked"`
	// MinAnswers is how many items have to be answered; 0 is 1.
	MinAnswers int     `json:"minAnswers,omitempty" minimum:"0" doc:"So many items have to be answered, or the diary is not taken; one where it is left out"`
	Checks     []Check `json:"checks,omitempty" doc:"Rules over several answers that find what contradicts itself"`
	// Dosing says that the instrument is about doses of study drug. Nobody is asked about them after the treatment.
	Dosing bool `json:"dosing,omitempty" doc:"Whether it is about doses of study drug, so that it ends with the patient's treatment"`
	// Translations are the other languages in which it can be shown.
	Translations []Translation `json:"translations,omitempty" doc:"The same texts in other languages, each of them whole"`
}

// Item is one question.
type Item struct {
	ID   ItemID   `json:"id" doc:"Name of the item within the instrument"`
	Text string   `json:"text" doc:"The question as the patient reads it"`
	Type ItemType `json:"type" enum:"integer,decimal,boolean,text,choice,date" doc:"Type of the answer"`
	Unit string   `json:"unit,omitempty" doc:"Unit of a number, UCUM where there is one"`
	// UnitLabel is for units whose code patients do not read, such as /d.
	UnitLabel string   `json:"unitLabel,omitempty" doc:"The unit as the patient reads it; the unit itself when not given"`
	Image     *Image   `json:"image,omitempty" doc:"An image that is shown with the question; PublishImage brings it"`
	Min       *float64 `json:"min,omitempty" doc:"Smallest number allowed"`
	Max       *float64 `json:"max,omitempty" doc:"Largest number allowed"`
	Options   []Option `json:"options,omitempty" doc:"What a choice can be"`
	MaxChars  int      `json:"maxChars,omitempty" doc:"Longest text allowed, in characters; 500 when not given"`
	Required  bool     `json:"required,omitempty" doc:"Whether an asked item must be answered"`
	// AskedWhen is the skip rule: a CEL expression over the answers, which is true if the item is asked. Without one, the
	// item is always asked.
	AskedWhen string `json:"askedWhen,omitempty" doc:"Skip rule: CEL over answers, true when the item is asked"`
}

// Option is one answer of a choice.
type Option struct {
	Value string  `json:"value" doc:"What is stored"`
	Label string  `json:"label" doc:"What the patient reads"`
	Score float64 `json:"score,omitempty" doc:"What the option counts in a score"`
	Image *Image  `json:"image,omitempty" doc:"An image that is shown for the option; PublishImage brings it"`
}

// Image is an image of the study that belongs to a question or an option.
type Image struct {
	SHA256 string `json:"sha256" minLength:"64" maxLength:"64" doc:"SHA-256 of the image's bytes, as ImagePublished has it"`
	Alt    string `json:"alt" doc:"What it shows, for those who do not see it, in the language of the texts"`
}

// alt returns what the image shows; "" without one.
func (i *Image) alt() string {
	if i == nil {
		return ""
	}
	return i.Alt
}

// Check finds answers that contradict each other, such as a least pain above the worst.
type Check struct {
	ID      string           `json:"id" doc:"Name of the check within the instrument"`
	Item    ItemID           `json:"item" doc:"The item that the message is about"`
	When    string           `json:"when" doc:"CEL over answers, true when something is wrong"`
	Message string           `json:"message" doc:"What the patient reads"`
	Effect  form.CheckEffect `json:"effect" enum:"query,hardStop" doc:"hardStop refuses the diary, query takes it and marks it for the site"`
}

// ScoreMethod says how a score is computed from its items.
type ScoreMethod string

// The methods of scores.
const (
	Sum  ScoreMethod = "sum"
	Mean ScoreMethod = "mean"
	Max  ScoreMethod = "max"
)

// Score is computed from items. The server computes it, and never takes it from a device.
type Score struct {
	ID     string      `json:"id" doc:"Name of the score"`
	Title  string      `json:"title" doc:"What a reader sees"`
	Method ScoreMethod `json:"method" enum:"sum,mean,max" doc:"How the items make the score"`
	Items  []ItemID    `json:"items" minItems:"1" doc:"The items that count"`
	// MaxMissing is the rule for missing items. With more unanswered items there is no score. Otherwise a sum is scaled up
	// from the mean of the answered items.
	MaxMissing int `json:"maxMissing" minimum:"0" doc:"How many items may be unanswered; a sum is then prorated"`
	// Decimals is the number of decimals that the score is rounded to, half away from zero. nil means no rounding.
	Decimals *int   `json:"decimals,omitempty" minimum:"0" maximum:"6" doc:"Decimals that the score is rounded to; not rounded when not given"`
	Bands    []Band `json:"bands,omitempty" doc:"Names for ranges of the score"`
}

// Band names a range of a score, both ends included.
type Band struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Label string  `json:"label"`
}

// Severity is the severity of a risk rule.
type Severity string

// The severities of a risk rule.
const (
	SeverityWatch  Severity = "watch"
	SeverityUrgent Severity = "urgent"
)

// RiskRule flags a risk if its expression is true.
type RiskRule struct {
	ID       string   `json:"id" doc:"Name of the rule"`
	Severity Severity `json:"severity" enum:"watch,urgent" doc:"How urgent a review is"`
	When     string   `json:"when" doc:"CEL over answers and scores, true when there is a risk"`
	Message  string   `json:"message" doc:"What the site reads"`
}

// ScheduleKind says what asks the patient for an entry.
type ScheduleKind string

// The kinds of schedules.
const (
	// ByTime is a schedule with windows in the patient's local day.
	ByTime ScheduleKind = ""
	// ByVisit is a schedule with one window around each visit that took place.
	ByVisit ScheduleKind = "visit"
	// ByEvent is a schedule without windows: the patient makes an entry whenever something happens, such as an attack. Nothing can
	// be missed.
	ByEvent ScheduleKind = "event"
)

// Schema implements domain.HasSchema.
func (ScheduleKind) Schema() domain.Schema { return domain.OneOf(ByVisit, ByEvent) }

// Schedule says when the patient answers the instrument.
type Schedule struct {
	Kind ScheduleKind `json:"kind,omitempty" doc:"What asks for an entry: visit for windows around visits, event for entries whenever something happens; left out for windows of the day"`
	// EveryDays and Windows are for ByTime.
	EveryDays int         `json:"everyDays,omitempty" minimum:"1" doc:"1 for daily, 7 for weekly; counted from the first day of the assignment; only for windows of the day"`
	Windows   []DayWindow `json:"windows,omitempty" doc:"The windows of a day on which it is asked, one or more; only for windows of the day"`
	// AroundVisits is for ByVisit.
	AroundVisits *AroundVisits `json:"aroundVisits,omitempty" doc:"Around which visits it is asked; only for windows around visits"`
	// Remind says that the patient is reminded when a window opens.
	Remind bool `json:"remind,omitempty" doc:"Whether the patient is reminded when a window opens; only for windows of the day"`
	// Quiet is for patients who have chosen no quiet hours of their own.
	Quiet *QuietHours `json:"quiet,omitempty" doc:"When patients are not reminded who have not chosen for themselves: a reminder waits until the end of the quiet hours, unless its window closes before"`
	Late  LatePolicy  `json:"late" doc:"What becomes of entries after the window"`
}

// AroundVisits are windows around visits. A window takes whole days, local to the patient.
type AroundVisits struct {
	Visits     []string `json:"visits,omitempty" doc:"Ids of the visits; left out for every visit"`
	DaysBefore int      `json:"daysBefore,omitempty" minimum:"0" doc:"How many days before the visit the window opens; 0 for the day of the visit"`
	DaysAfter  int      `json:"daysAfter,omitempty" minimum:"0" doc:"How many days after the visit the window closes; 0 for the day of the visit"`
}

// DayWindow is a window of the patient's local day. It opens at Opens and ends just before Closes. If Closes is not
// after Opens, it ends on the next day. When the clocks go back, the window begins at the first and ends at the second
// of two equal times, so that no patient loses time. When they go forward, a time that does not exist means the moment
// of the change.
type DayWindow struct {
	ID     string `json:"id" doc:"Name of the window within the day, such as evening"`
	Opens  string `json:"opens" doc:"Local time HH:MM"`
	Closes string `json:"closes" doc:"Local time HH:MM"`
}

// LatePolicy says what the protocol allows after a window has closed (FDA guidance on patient-reported outcomes, 2009:
// the protocol states when entries are to be made and how it is ensured).
type LatePolicy struct {
	// AcceptHours is the time after the close of a window in which a late entry is accepted and flagged, in hours.
	AcceptHours int `json:"acceptHours" minimum:"0" maximum:"168" doc:"Hours after the close in which a late entry is accepted and flagged; 0 for none"`
	// SyncHours is the time, in hours, for which the server waits for offline devices after the last moment for an entry,
	// before it records the window as missed.
	SyncHours int `json:"syncHours" minimum:"0" maximum:"336" doc:"Hours to wait for offline devices before the window is recorded as missed"`
	// Hold is of definitions from when an entry without a window was refused unless they said that it was held. Every entry that cannot
	// count is held, so that it says nothing any more.
	Hold bool `json:"hold,omitempty" doc:"Says nothing any more: an entry that cannot count is always held for the site"`
}
