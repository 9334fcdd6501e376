// Package diary holds a patient's own reports (ePRO): which instruments are assigned, what was answered in which
// window, what was corrected and why, and which windows passed unanswered.
//
// One stream per patient holds it. Begin reading at Submit; Diary is the state that it decides on. The state knows which
// windows are answered, not what the answers were: those stay in the events, where Correct reads them with EntryOf.
package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
)

// Event is what can happen to a patient's diary.
type Event interface{ diaryEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[InstrumentAssigned]("InstrumentAssigned"),
	domain.Stored[Submitted]("DiarySubmitted", scoresWithMissing),
	domain.Stored[RiskFlagged]("RiskFlagged").ForReaders(),
	domain.Stored[Corrected]("DiaryCorrected").ForReaders(),
	domain.Stored[WindowMissed]("DiaryWindowMissed"),
	domain.Stored[ReminderDue]("DiaryReminderDue"),
}

// InstrumentAssigned lets a patient answer an instrument from a day on. It carries the definition as it is published
// on that day, so that a later amendment never changes what a past answer meant.
type InstrumentAssigned struct {
	Patient    domain.PatientID      `json:"patient"`
	Instrument instrument.Definition `json:"instrument"`
	// Zone is the IANA zone that the windows follow.
	Zone string      `json:"zone"`
	From domain.Date `json:"from"`
	// Until is the last day on which a window opens.
	Until domain.Date `json:"until"`
}

// Submitted is one filled-in instrument.
type Submitted struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Version    int              `json:"version"`
	Window     Window           `json:"window"`
	CapturedAt time.Time        `json:"capturedAt"`
	Answers    Answers          `json:"answers"`
	Scores     []ScoreResult    `json:"scores,omitempty"`
	// Late: captured after the window had closed, within what the protocol allows.
	Late bool `json:"late,omitempty"`
	// AfterMissed: it reached the server when the window had already been recorded as missed.
	AfterMissed bool `json:"afterMissed,omitempty"`
}

// RiskFlagged says that a risk rule of the instrument holds for a diary.
type RiskFlagged struct {
	Patient    domain.PatientID    `json:"patient"`
	Instrument instrument.ID       `json:"instrument"`
	Window     string              `json:"window"`
	Rule       string              `json:"rule"`
	Severity   instrument.Severity `json:"severity"`
	Message    string              `json:"message"`
}

// Corrected changes answers of a diary; the old ones stay readable here and in the events before.
type Corrected struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     string           `json:"window"`
	Changes    []Change         `json:"changes"`
	Reason     string           `json:"reason"`
	// Scores are the scores of the corrected answers.
	Scores []ScoreResult `json:"scores,omitempty"`
}

// WindowMissed says that a window passed unanswered.
type WindowMissed struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     Window           `json:"window"`
}

func (InstrumentAssigned) diaryEvent() {}
func (Submitted) diaryEvent()          {}
func (RiskFlagged) diaryEvent()        {}
func (Corrected) diaryEvent()          {}
func (WindowMissed) diaryEvent()       {}
func (ReminderDue) diaryEvent()        {}

// Window is one scheduled time span, resolved to instants when it was recorded.
type Window = instrument.Window

// ReminderDue says that a window has opened and the patient is to be reminded of it, once.
type ReminderDue struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     Window           `json:"window"`
}

// Answers are the answers by item: numbers, booleans and strings as JSON has them.
type Answers map[instrument.ItemID]any

// Schema implements domain.Described: a number, true or false, or a text for each item, as the item's type says; null for
// an item that is cleared.
func (Answers) Schema() domain.Schema {
	return domain.Schema{Members: []string{"number", "boolean", "string", "null"},
		Example: map[string]any{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}
}

// ScoreResult is a computed score. Value is nil where too many items were unanswered.
type ScoreResult = instrument.ScoreResult

// Change is one corrected item; nil stands for unanswered.
type Change struct {
	Item instrument.ItemID `json:"item"`
	Old  any               `json:"old"`
	New  any               `json:"new"`
}
