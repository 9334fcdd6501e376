// Package diary holds a patient's own reports (ePRO): which instruments are assigned, what was answered in which
// window, what was corrected and why, and which windows were missed.
//
// Each patient has one stream. Begin reading at Submit, which decides on the state Diary. The state knows which windows
// are answered, but not the answers: these stay in the events, where Correct reads them with EntryOf.
package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/personal"
)

// Event is an event of a patient's diary.
type Event interface{ diaryEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	// Since version 2, an instrument can be about doses. A program that knows only version 1 must not read such an event, because
	// it would record missed windows after the end of the treatment.
	domain.Stored[InstrumentAssigned]("InstrumentAssigned", domain.Unchanged),
	domain.Stored[Submitted]("DiarySubmitted", scoresWithMissing),
	domain.Stored[RiskFlagged]("RiskFlagged").ForReaders(),
	domain.Stored[CorrectionAsked]("DiaryCorrectionAsked"),
	domain.Stored[CorrectionDeclined]("DiaryCorrectionDeclined"),
	domain.Stored[Corrected]("DiaryCorrected"),
	domain.Stored[CorrectionLapsed]("DiaryCorrectionLapsed"),
	domain.Stored[WindowMissed]("DiaryWindowMissed"),
	domain.Stored[Voided]("DiaryVoided"),
	domain.Stored[Held]("DiaryHeld"),
	domain.Stored[InstrumentStopped]("InstrumentStopped"),
	domain.Stored[LanguageSet]("DiaryLanguageSet"),
	domain.Stored[VisitWindowOpened]("DiaryVisitWindowOpened").InNoView("it is about a window that nobody has answered yet"),
	domain.Stored[RemindersChosen]("DiaryRemindersChosen").InNoView("the schedule of the patient's app is answered from the state"),
	domain.Stored[ReminderDue]("DiaryReminderDue").InNoView("reminders are for the patient's device"),
}

// InstrumentAssigned assigns an instrument to a patient for a range of days. It holds the whole definition of the
// instrument, so that a later amendment never changes the meaning of earlier answers.
type InstrumentAssigned struct {
	Patient    domain.PatientID      `json:"patient"`
	Instrument instrument.Definition `json:"instrument"`
	// Zone is the IANA zone that the windows follow.
	Zone string      `json:"zone"`
	From domain.Date `json:"from"`
	// Until is the last day on which a window opens.
	Until domain.Date `json:"until"`
	// CountsFrom is when the patient was given the instrument. A window that opened before can be answered, but is never missed. It
	// is the zero time in events from before it was recorded: every window counts then.
	CountsFrom time.Time `json:"countsFrom,omitzero"`
	// Phase is the phase for which the protocol assigns the instrument; "" if a person assigned it.
	Phase patient.Phase `json:"phase,omitempty"`
}

// InstrumentStopped ends the assignments of an instrument.
type InstrumentStopped struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	// Until is the last day on which a window opens.
	Until  domain.Date   `json:"until"`
	Reason personal.Text `json:"reason"`
	// ReplacedBy is the instrument that is assigned instead, if there is one.
	ReplacedBy instrument.ID `json:"replacedBy,omitempty"`
	// Phase is the phase that has ended, if it was stopped because of that.
	Phase patient.Phase `json:"phase,omitempty"`
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
	// Late says that it was captured after the window had closed, within the time that the protocol allows.
	Late bool `json:"late,omitempty"`
	// AfterMissed says that it reached the server after the window had been recorded as missed.
	AfterMissed bool `json:"afterMissed,omitempty"`
	Entered
	// Again says that the window has had a diary before, which was voided.
	Again bool `json:"again,omitempty"`
	// MovedFrom is the window in which it was recorded first, if somebody has moved it.
	MovedFrom string `json:"movedFrom,omitempty"`
	// EnteredBy and CapturedZone are of a moved diary: the account that had entered it, and the zone of the device then. Whoever moves it
	// is the actor of this event. Diaries that earlier programs moved do not say so.
	EnteredBy    domain.UserID `json:"enteredBy,omitempty"`
	CapturedZone string        `json:"capturedZone,omitempty"`
	// Queried are the checks of the instrument that hold for the answers and let them in.
	Queried []string `json:"queried,omitempty"`
	// InFuture says that it was held first, because CapturedAt was in the future when it arrived.
	InFuture bool `json:"inFuture,omitempty"`
}

// RiskFlagged says that a risk rule of the instrument holds for a diary.
type RiskFlagged struct {
	Patient    domain.PatientID    `json:"patient"`
	Instrument instrument.ID       `json:"instrument"`
	Window     string              `json:"window"`
	Rule       string              `json:"rule"`
	Severity   instrument.Severity `json:"severity"`
	Message    string              `json:"message"`
	// ToldWhenHeld says that the diary was held before, and that the site was told of this rule then.
	ToldWhenHeld bool `json:"toldWhenHeld,omitempty"`
}

// CorrectionAsked says that somebody asks for other answers in a diary. Nothing is changed before an investigator has decided.
type CorrectionAsked struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     string           `json:"window"`
	// Request counts the requests about the patient's diaries, from 1.
	Request int `json:"request"`
	// By is who asks, and does not decide.
	By      domain.UserID `json:"by"`
	Changes []Change      `json:"changes"`
	Reason  personal.Text `json:"reason"`
}

// CorrectionDeclined says that a diary stays as it is, and why.
type CorrectionDeclined struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     string           `json:"window"`
	Request    int              `json:"request"`
	Reason     personal.Text    `json:"reason"`
}

// CorrectionLapsed says that a request is closed because its diary does not count in the window any more: it was voided or moved, by the
// events before this one.
type CorrectionLapsed struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     string           `json:"window"`
	Request    int              `json:"request"`
	// MovedTo is the window in which the diary counts instead, if it was moved.
	MovedTo string `json:"movedTo,omitempty"`
	// Reason is why the diary was voided or moved.
	Reason personal.Text `json:"reason"`
}

// Corrected changes answers of a diary. The old answers stay readable in this event and in the events before it.
type Corrected struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     string           `json:"window"`
	Changes    []Change         `json:"changes"`
	// Reason is that of the request.
	Reason personal.Text `json:"reason"`
	// Scores are the scores of the corrected answers.
	Scores []ScoreResult `json:"scores,omitempty"`
	// Request is the request that it answers, and Decision why the investigator agrees. Without a request, a coordinator changed the
	// answers, as could be done before requests were recorded.
	Request  int           `json:"request,omitempty"`
	Decision personal.Text `json:"decision,omitempty"`
}

// WindowMissed says that a window ended without an entry.
type WindowMissed struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     Window           `json:"window"`
	// Again says that the window has had a diary before, which was voided.
	Again bool `json:"again,omitempty"`
}

func (InstrumentAssigned) diaryEvent() {}
func (Submitted) diaryEvent()          {}
func (RiskFlagged) diaryEvent()        {}
func (CorrectionAsked) diaryEvent()    {}
func (CorrectionDeclined) diaryEvent() {}
func (CorrectionLapsed) diaryEvent()   {}
func (Corrected) diaryEvent()          {}
func (WindowMissed) diaryEvent()       {}
func (ReminderDue) diaryEvent()        {}

// AboutPatient returns the patient that the event is about.
func (e InstrumentAssigned) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e Voided) AboutPatient() domain.PatientID { return e.Patient }

// Window is one scheduled time span. Its local times were resolved to moments when it was recorded.
type Window = instrument.Window

// ReminderDue says that a window has opened and the patient should be reminded of it, once.
type ReminderDue struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     Window           `json:"window"`
}

// Answers are the answers by item: numbers, booleans and strings as JSON has them.
type Answers map[instrument.ItemID]any

// Schema implements domain.HasSchema: a number, true or false, or a text for each item, as the item's type says; null for
// an item that is cleared.
func (Answers) Schema() domain.Schema {
	return domain.Schema{Members: []string{"number", "boolean", "string", "null"},
		Example: map[string]any{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}
}

// ScoreResult is a computed score. Value is nil if too many items were unanswered.
type ScoreResult = instrument.ScoreResult

// Change is one corrected item; nil means unanswered.
type Change struct {
	Item instrument.ItemID `json:"item"`
	Old  any               `json:"old" kinds:"number boolean string null"`
	New  any               `json:"new" kinds:"number boolean string null"`
}
