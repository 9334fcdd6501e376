// Package safety holds alerts: what somebody has to look at, who was told, and who has looked. One stream per alert.
package safety

import (
	"maps"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// AlertID names an alert: the study, a dot, and an id derived from what raised it, so that nothing raises two.
type AlertID string

// Kind is what an alert is about.
type Kind string

// The kinds of alerts.
const (
	// RiskFlagged is a diary answer that crossed a risk rule of its instrument.
	RiskFlagged Kind = "risk_flagged"
	// DiariesMissed is a run of windows that a patient left unanswered.
	DiariesMissed Kind = "diaries_missed"
	// ShipmentOverdue is a shipment that should have arrived.
	ShipmentOverdue Kind = "shipment_overdue"
	// ResupplyShort is a depot that cannot fill what a site needs.
	ResupplyShort Kind = "resupply_short"
	// PatientWithoutKit is a patient who is in an arm and has no kit.
	PatientWithoutKit Kind = "patient_without_kit"
	// KitsAffected are patients who have got a kit that was set aside.
	KitsAffected Kind = "kits_affected"
	// BlindBroken is an emergency unblinding.
	BlindBroken Kind = "blind_broken"
)

// Kinds are all kinds of alerts.
var Kinds = []Kind{RiskFlagged, DiariesMissed, ShipmentOverdue, ResupplyShort, PatientWithoutKit, KitsAffected, BlindBroken}

// Schema implements domain.Described.
func (Kind) Schema() domain.Schema { return domain.OneOf(Kinds...) }

// Schema implements domain.Described.
func (AlertID) Schema() domain.Schema {
	return domain.Schema{Example: "PAIN1.5f0fce4c-2f0b-5d3c-9a52-8d1f2c9f7b11"}
}

// OfSupply says that the alert is about drug: those who move it see to it.
func (k Kind) OfSupply() bool {
	return k == ShipmentOverdue || k == ResupplyShort || k == KitsAffected || k == PatientWithoutKit
}

// Severity orders alerts.
type Severity string

// The severities.
const (
	Urgent  Severity = "urgent"
	Routine Severity = "routine"
)

// Event is what can happen to an alert.
type Event interface{ alertEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[AlertRaised]("AlertRaised"),
	domain.Stored[AlertReviewed]("AlertReviewed"),
	domain.Stored[AlertEscalated]("AlertEscalated"),
	domain.Stored[AlertClosed]("AlertClosed"),
	domain.Stored[NotificationSent]("NotificationSent"),
	domain.Stored[NotificationFailed]("NotificationFailed"),
}

// AlertRaised begins an alert.
type AlertRaised struct {
	Alert    AlertID          `json:"alert"`
	Study    domain.StudyID   `json:"study"`
	Site     domain.SiteID    `json:"site,omitempty"`
	Patient  domain.PatientID `json:"patient,omitempty"`
	Kind     Kind             `json:"kind"`
	Severity Severity         `json:"severity"`
	// Summary says what happened in a sentence that is fit to leave the system: without answers, arms or identity.
	Summary string `json:"summary"`
	// Source is the id of the event that it comes from; OccurredAt is when that was recorded.
	Source     string    `json:"source"`
	OccurredAt time.Time `json:"occurredAt"`
	// ReviewBy is when it is escalated unless somebody has looked at it.
	ReviewBy time.Time `json:"reviewBy"`
}

// AlertReviewed records that somebody has looked at it.
type AlertReviewed struct {
	Alert AlertID `json:"alert"`
	Note  string  `json:"note,omitempty"`
}

// AlertEscalated tells the next people, because nobody has looked in time. Level counts from 1.
type AlertEscalated struct {
	Alert AlertID        `json:"alert"`
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site,omitempty"`
	Level int            `json:"level"`
	// ReviewBy is when it is escalated further; the zero time where this was the last level.
	ReviewBy time.Time `json:"reviewBy"`
}

// AlertClosed ends an alert.
type AlertClosed struct {
	Alert   AlertID `json:"alert"`
	Outcome string  `json:"outcome"`
}

// NotificationSent records that a channel has taken the message about a level of the alert.
type NotificationSent struct {
	Alert   AlertID `json:"alert"`
	Level   int     `json:"level"`
	Channel string  `json:"channel"`
	Message string  `json:"message"`
}

// NotificationFailed records that a channel has refused the message for good.
type NotificationFailed struct {
	Alert   AlertID `json:"alert"`
	Level   int     `json:"level"`
	Channel string  `json:"channel"`
	Message string  `json:"message"`
	Reason  string  `json:"reason"`
}

func (AlertRaised) alertEvent()        {}
func (AlertReviewed) alertEvent()      {}
func (AlertEscalated) alertEvent()     {}
func (AlertClosed) alertEvent()        {}
func (NotificationSent) alertEvent()   {}
func (NotificationFailed) alertEvent() {}

// Alert is the state of an alert.
type Alert struct {
	AlertRaised
	Level            int
	Reviewed, Closed bool

	told map[Notice]bool
}

// Notice is one message: an alert's level on a channel.
type Notice struct {
	Level   int
	Channel string
}

// Decider is how an alert's stream works; its id is the AlertID.
var Decider = domain.Decider[Alert, Event]{Category: "alert", Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Exists says whether the alert was raised.
func (a Alert) Exists() bool { return a.Alert != "" }

// Told says whether the channel has taken, or for good refused, the message about the level.
func (a Alert) Told(n Notice) bool { return a.told[n] }

func evolve(a Alert, event Event) Alert {
	switch e := event.(type) {
	case AlertRaised:
		a.AlertRaised = e
	case AlertReviewed:
		a.Reviewed = true
	case AlertEscalated:
		a.Level, a.ReviewBy = e.Level, e.ReviewBy
	case AlertClosed:
		a.Closed = true
	case NotificationSent:
		a = a.after(Notice{e.Level, e.Channel})
	case NotificationFailed:
		a = a.after(Notice{e.Level, e.Channel})
	}
	return a
}

func (a Alert) after(n Notice) Alert {
	told := map[Notice]bool{n: true}
	maps.Copy(told, a.told)
	a.told = told
	return a
}

// RaiseAlert is sent by process managers.
type RaiseAlert struct {
	Alert      AlertID          `json:"alert"`
	Study      domain.StudyID   `json:"study"`
	Site       domain.SiteID    `json:"site,omitempty"`
	Patient    domain.PatientID `json:"patient,omitempty"`
	Kind       Kind             `json:"kind"`
	Severity   Severity         `json:"severity"`
	Summary    string           `json:"summary"`
	Source     string           `json:"source"`
	OccurredAt time.Time        `json:"occurredAt"`
	// Instrument and Window are what was missed, for DiariesMissed.
	Instrument instrument.ID `json:"instrument,omitempty"`
	Window     string        `json:"window,omitempty"`
}

// Facts are what the decision to raise an alert knows besides.
type Facts struct {
	Study study.Study
	// MissedInARow counts the windows that were missed one after another, for DiariesMissed.
	MissedInARow int
}

// ReviewAlert records that one has looked at an alert.
type ReviewAlert struct {
	Alert AlertID `json:"alert" doc:"The alert"`
	Note  string  `json:"note,omitempty" maxLength:"1000" doc:"What was found or done"`
}

// CloseAlert ends an alert.
type CloseAlert struct {
	Alert   AlertID `json:"alert" doc:"The alert"`
	Outcome string  `json:"outcome" minLength:"1" maxLength:"1000" doc:"How it ended"`
}

// EscalateAlert is sent by the safety process when nobody has looked in time.
type EscalateAlert struct {
	Alert AlertID `json:"alert"`
	Level int     `json:"level"`
}

// RecordNotification is sent by the safety process when a channel has taken a message, or refused it for good.
type RecordNotification struct {
	Alert   AlertID `json:"alert"`
	Level   int     `json:"level"`
	Channel string  `json:"channel"`
	Message string  `json:"message"`
	// Refused is why the channel will never take it; empty where it has.
	Refused string `json:"refused,omitempty"`
}

// LastLevel is the highest level of escalation.
const LastLevel = 2

// Raise begins an alert, once. A run of missed windows raises one when it has become as long as the protocol says.
func Raise(a Alert, f Facts, cmd RaiseAlert, call domain.Call) ([]Event, error) {
	policy := f.Study.AlertPolicy()
	if a.Exists() || cmd.Kind == DiariesMissed && f.MissedInARow != policy.MissedInARow {
		return nil, nil
	}
	return []Event{AlertRaised{Alert: cmd.Alert, Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Kind: cmd.Kind, Severity: cmd.Severity,
		Summary: cmd.Summary, Source: cmd.Source, OccurredAt: cmd.OccurredAt, ReviewBy: call.At.Add(policy.ReviewWithin()).UTC()}}, nil
}

// Review records that somebody has looked. It refuses alert_not_found, alert_closed, alert_reviewed and value_too_long.
func Review(a Alert, cmd ReviewAlert, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.OptionalText("note", cmd.Note, 1000), a.mustBeOpen(cmd.Alert)); err != nil {
		return nil, err
	}
	if a.Reviewed {
		return nil, refuse.WrongState("alert_reviewed", "alert %s has been looked at already", cmd.Alert).At("alert").Do("close it when it is dealt with")
	}
	return []Event{AlertReviewed(cmd)}, nil
}

// Close ends an alert; who closes it has looked at it. It refuses alert_not_found, alert_closed, value_missing and
// value_too_long.
func Close(a Alert, cmd CloseAlert, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("outcome", cmd.Outcome, 1000), a.mustBeOpen(cmd.Alert)); err != nil {
		return nil, err
	}
	if !a.Reviewed {
		return []Event{AlertReviewed{Alert: cmd.Alert}, AlertClosed(cmd)}, nil
	}
	return []Event{AlertClosed(cmd)}, nil
}

// Escalate tells the next people, unless somebody has looked. It may be sent twice.
func Escalate(a Alert, in study.Study, cmd EscalateAlert, call domain.Call) ([]Event, error) {
	if !a.Exists() || a.Reviewed || a.Closed || cmd.Level != a.Level+1 || cmd.Level > LastLevel {
		return nil, nil
	}
	e := AlertEscalated{Alert: cmd.Alert, Study: a.Study, Site: a.Site, Level: cmd.Level}
	if cmd.Level < LastLevel {
		e.ReviewBy = call.At.Add(in.AlertPolicy().ReviewWithin()).UTC()
	}
	return []Event{e}, nil
}

// Tell records what became of a message, once for each channel and level. It refuses alert_not_found.
func Tell(a Alert, cmd RecordNotification, _ domain.Call) ([]Event, error) {
	if !a.Exists() {
		return nil, alertNotFound(cmd.Alert)
	}
	if a.Told(Notice{cmd.Level, cmd.Channel}) {
		return nil, nil
	}
	if cmd.Refused != "" {
		return []Event{NotificationFailed{Alert: cmd.Alert, Level: cmd.Level, Channel: cmd.Channel, Message: cmd.Message, Reason: cmd.Refused}}, nil
	}
	return []Event{NotificationSent{Alert: cmd.Alert, Level: cmd.Level, Channel: cmd.Channel, Message: cmd.Message}}, nil
}

func (a Alert) mustBeOpen(id AlertID) error {
	switch {
	case !a.Exists():
		return alertNotFound(id)
	case a.Closed:
		return refuse.WrongState("alert_closed", "alert %s is closed", id).At("alert").Do("nothing is left to do")
	}
	return nil
}

func alertNotFound(id AlertID) error {
	return refuse.NotFound("alert_not_found", "there is no alert %.80s", string(id)).At("alert").Do("check the id")
}
