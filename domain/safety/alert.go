// Package safety holds alerts: what people have to review, who was notified, and who has reviewed it. Each alert has
// its own stream.
package safety

import (
	"maps"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// AlertID names an alert: the study, a dot, and an id that is derived from the cause, so that one cause raises one
// alert.
type AlertID string

// Kind is what an alert is about.
type Kind string

// The kinds of alerts.
const (
	// RiskFlagged is a diary answer that crossed a risk rule of its instrument.
	RiskFlagged Kind = "risk_flagged"
	// DiariesMissed is a number of windows in a row that a patient has missed.
	DiariesMissed Kind = "diaries_missed"
	// ShipmentOverdue is a shipment that should have arrived already.
	ShipmentOverdue Kind = "shipment_overdue"
	// ResupplyShort is a depot that does not have the kits that a site needs.
	ResupplyShort Kind = "resupply_short"
	// ResupplyWithheld is a site that needs kits, and may not be sent any.
	ResupplyWithheld Kind = "resupply_withheld"
	// PatientWithoutKit is a patient in an arm for whom the site has no kit.
	PatientWithoutKit Kind = "patient_without_kit"
	// KitsAffected is about patients who have received a kit that was quarantined later.
	KitsAffected Kind = "kits_affected"
	// RecalledKitAtHome is a patient who has a kit at home whose lot was recalled.
	RecalledKitAtHome Kind = "recalled_kit_at_home"
	// KitsSpoiltAgain is about kits that a site with patients has lost or quarantined before anybody was given them.
	KitsSpoiltAgain Kind = "kits_spoilt_again"
	// ActivityPaused is about activities that were stopped, or go on, at a site, in a country or in the whole study.
	ActivityPaused Kind = "activity_paused"
	// ShippingPaused says so of the shipping, which supply managers have to know.
	ShippingPaused Kind = "shipping_paused"
	// ReconsentOverdue is a patient who has not signed the consent again in time.
	ReconsentOverdue Kind = "reconsent_overdue"
	// ListRunsLow is a randomisation list that ends soon, or has no entry for a patient.
	ListRunsLow Kind = "list_runs_low"
	// AllocationForced is a draw that was limited to the arms in stock.
	AllocationForced Kind = "allocation_forced"
	// BlindBroken is an unblinding in an emergency, or by accident.
	BlindBroken Kind = "blind_broken"
	// ProcessStuck is a process, such as an enrolment, that waits beyond its time.
	ProcessStuck Kind = "process_stuck"
)

// Kinds are all kinds of alerts.
var Kinds = []Kind{RiskFlagged, DiariesMissed, ShipmentOverdue, ResupplyShort, PatientWithoutKit, KitsAffected, RecalledKitAtHome,
	ActivityPaused, ShippingPaused, ResupplyWithheld, ReconsentOverdue, ListRunsLow, AllocationForced, BlindBroken, ProcessStuck,
	KitsSpoiltAgain}

// Schema implements domain.HasSchema.
func (Kind) Schema() domain.Schema { return domain.OneOf(Kinds...) }

// Schema implements domain.HasSchema.
func (AlertID) Schema() domain.Schema {
	return domain.Schema{Example: "PAIN1.5f0fce4c-2f0b-5d3c-9a52-8d1f2c9f7b11"}
}

// OfSupply says that the alert is about supply, so that supply managers may handle it too.
func (k Kind) OfSupply() bool {
	return k == ShipmentOverdue || k == ResupplyShort || k == ResupplyWithheld || k == KitsAffected || k == PatientWithoutKit ||
		k == ShippingPaused || k == KitsSpoiltAgain
}

// OfRecall says that the alert is about recalled kits, so that those who recall lots may handle it too.
func (k Kind) OfRecall() bool { return k == RecalledKitAtHome }

// OfArms says that only roles that know arms see the alert, because it could help others to find out who is in the same arm.
func (k Kind) OfArms() bool { return k == ListRunsLow || k == AllocationForced }

// OfSponsor says that the alert is about the study as a whole, so that study managers see it too.
func (k Kind) OfSponsor() bool { return k.OfSupply() || k == ActivityPaused }

// Severity says how urgent an alert is.
type Severity string

// The severities.
const (
	Urgent  Severity = "urgent"
	Routine Severity = "routine"
)

// Event is an event of an alert.
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

// AlertRaised raises an alert.
type AlertRaised struct {
	Alert AlertID        `json:"alert"`
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site,omitempty"`
	// Sites are those that an alert about activities of several sites concerns: those of a country. It is empty for all sites.
	Sites    []domain.SiteID  `json:"sites,omitempty"`
	Patient  domain.PatientID `json:"patient,omitempty"`
	Kind     Kind             `json:"kind"`
	Severity Severity         `json:"severity"`
	// Summary says in a sentence what happened. It may be sent out of the system, so it holds no answers, arms or
	// identity.
	Summary string `json:"summary"`
	// Source is the id of the event that caused the alert; OccurredAt is when that event was recorded.
	Source     string    `json:"source"`
	OccurredAt time.Time `json:"occurredAt"`
	// ReviewBy is when the alert is escalated if nobody has reviewed it.
	ReviewBy time.Time `json:"reviewBy"`
	// Instrument and Window are those of the diary that caused it, or of the last missed window. Rule is the risk rule, and Message what
	// it says to the site. Events of earlier programs have none of them.
	Instrument instrument.ID `json:"instrument,omitempty"`
	Window     string        `json:"window,omitempty"`
	Rule       string        `json:"rule,omitempty"`
	Message    string        `json:"message,omitempty"`
}

// AlertReviewed records that somebody has reviewed the alert.
type AlertReviewed struct {
	Alert AlertID       `json:"alert"`
	Note  personal.Text `json:"note,omitempty"`
}

// AlertEscalated brings the alert to the next level, whose people are notified, because nobody has reviewed it in time.
// Level counts from 1.
type AlertEscalated struct {
	Alert AlertID        `json:"alert"`
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site,omitempty"`
	Level int            `json:"level"`
	// ReviewBy is when the alert is escalated further; it is the zero time at the last level.
	ReviewBy time.Time `json:"reviewBy"`
}

// AlertClosed closes the alert.
type AlertClosed struct {
	Alert   AlertID       `json:"alert"`
	Outcome personal.Text `json:"outcome"`
}

// NotificationSent records that a channel has accepted the message about a level of the alert.
type NotificationSent struct {
	Alert   AlertID `json:"alert"`
	Level   int     `json:"level"`
	Channel string  `json:"channel"`
	Message string  `json:"message"`
}

// NotificationFailed records that a channel has rejected the message, and that trying again would not help.
type NotificationFailed struct {
	Alert   AlertID       `json:"alert"`
	Level   int           `json:"level"`
	Channel string        `json:"channel"`
	Message string        `json:"message"`
	Reason  personal.Text `json:"reason"`
}

func (AlertRaised) alertEvent()        {}
func (AlertReviewed) alertEvent()      {}
func (AlertEscalated) alertEvent()     {}
func (AlertClosed) alertEvent()        {}
func (NotificationSent) alertEvent()   {}
func (NotificationFailed) alertEvent() {}

// AboutAlert returns the alert that the event is about.
func (e AlertRaised) AboutAlert() AlertID { return e.Alert }

// AboutAlert returns the alert that the event is about.
func (e AlertReviewed) AboutAlert() AlertID { return e.Alert }

// AboutAlert returns the alert that the event is about.
func (e AlertEscalated) AboutAlert() AlertID { return e.Alert }

// AboutAlert returns the alert that the event is about.
func (e AlertClosed) AboutAlert() AlertID { return e.Alert }

// Alert is the state of an alert.
type Alert struct {
	AlertRaised
	Level            int
	Reviewed, Closed bool

	// settled are the messages that their channels have accepted or rejected.
	settled map[Notification]bool
}

// Notification is the message about one level of an alert on one channel.
type Notification struct {
	Level   int
	Channel string
}

// Decider is the decider of alerts; a stream's id is the AlertID.
var Decider = domain.Decider[Alert, Event]{Category: "alert", Key: byAlert, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Exists says whether the alert was raised.
func (a Alert) Exists() bool { return a.Alert != "" }

// Settled says whether the channel has accepted or rejected the message about the level.
func (a Alert) Settled(n Notification) bool { return a.settled[n] }

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
		a = a.withSettled(Notification{e.Level, e.Channel})
	case NotificationFailed:
		a = a.withSettled(Notification{e.Level, e.Channel})
	}
	return a
}

func (a Alert) withSettled(n Notification) Alert {
	settled := map[Notification]bool{n: true}
	maps.Copy(settled, a.settled)
	a.settled = settled
	return a
}

// RaiseAlert raises an alert. Processes send it.
type RaiseAlert struct {
	OfAlert
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site,omitempty"`
	// Country is the one whose sites the alert concerns; "" for no country.
	Country    string           `json:"country,omitempty"`
	Patient    domain.PatientID `json:"patient,omitempty"`
	Kind       Kind             `json:"kind"`
	Severity   Severity         `json:"severity"`
	Summary    string           `json:"summary"`
	Source     string           `json:"source"`
	OccurredAt time.Time        `json:"occurredAt"`
	// Instrument and Window are the last missed window, for DiariesMissed, or those of the diary, for RiskFlagged, with the rule and what
	// it says to the site.
	Instrument instrument.ID `json:"instrument,omitempty"`
	Window     string        `json:"window,omitempty"`
	Rule       string        `json:"rule,omitempty"`
	Message    string        `json:"message,omitempty"`
	// Visit is the one whose kit the patient lacks, "" for the enrolment; nil for other alerts, and for those of earlier programs.
	Visit *string `json:"visit,omitempty"`
}

// Facts are the facts of Raise.
type Facts struct {
	Study study.Study
	// MissedInARow is how many windows in a row were missed, for DiariesMissed.
	MissedInARow int
	// MissedTooOften says that, with this window, the limit of windows within days is reached, for DiariesMissed.
	MissedTooOften bool
	// Over says that what the alert would be about is over: the patient has the kit, has signed, or needs neither any more.
	Over bool
}

// ReviewAlert records that the sender has reviewed an alert.
type ReviewAlert struct {
	OfAlert
	Note personal.Text `json:"note,omitempty" maxLength:"1000" doc:"What was found or done"`
}

// CloseAlert closes an alert.
type CloseAlert struct {
	OfAlert
	Outcome personal.Text `json:"outcome" minLength:"1" maxLength:"1000" doc:"How it ended"`
}

// SettleAlert closes an alert because its cause is gone. The process that has raised it sends it, and may send it again.
type SettleAlert struct {
	OfAlert
	Outcome personal.Text `json:"outcome"`
}

// EscalateAlert escalates an alert to a level. The safety process sends it when nobody has reviewed the alert in time.
type EscalateAlert struct {
	OfAlert
	Level int `json:"level"`
}

// RecordNotification records what a channel has done with a message. The safety process sends it when the channel has
// accepted or rejected the message.
type RecordNotification struct {
	OfAlert
	Level   int    `json:"level"`
	Channel string `json:"channel"`
	Message string `json:"message"`
	// Refused is why the channel has rejected the message; it is empty if the channel has accepted it.
	Refused string `json:"refused,omitempty"`
}

// LastLevel is the highest level of escalation.
const LastLevel = 2

// Raise raises an alert. It records nothing if the alert exists already. It raises an alert about missed diaries only
// when the number of windows missed in a row, or within some days, reaches the protocol's limit. It refuses (code cause_is_gone) an
// alert about a kit or a signature that is there by now: the process may be told late of what it raises the alert about.
func Raise(a Alert, f Facts, cmd RaiseAlert, call domain.Call) ([]Event, error) {
	policy := f.Study.AlertPolicy()
	if a.Exists() || cmd.Kind == DiariesMissed && f.MissedInARow != policy.MissedInARow && !f.MissedTooOften {
		return nil, nil
	}
	if f.Over {
		return nil, refuse.WrongState("cause_is_gone", "what the alert is about is over").At("patient").Do("nothing is left to do")
	}
	var sites []domain.SiteID
	if cmd.Country != "" { // some sites may have none
		sites = f.Study.SitesIn(cmd.Country)
	}
	return []Event{AlertRaised{Alert: cmd.Alert, Study: cmd.Study, Site: cmd.Site, Sites: sites, Patient: cmd.Patient,
		Kind: cmd.Kind, Severity: cmd.Severity, Summary: cmd.Summary, Source: cmd.Source, OccurredAt: cmd.OccurredAt,
		ReviewBy: call.At.Add(policy.ReviewWithin()).UTC(), Instrument: cmd.Instrument, Window: cmd.Window, Rule: cmd.Rule,
		Message: cmd.Message}}, nil
}

// OfManySites says that an alert of this kind without a site concerns sites: activities were stopped there, or go on.
func (k Kind) OfManySites() bool { return k == ActivityPaused || k == ShippingPaused }

// Review records that somebody has reviewed the alert. It refuses alert_not_found, alert_closed, alert_reviewed and
// value_too_long.
func Review(a Alert, cmd ReviewAlert, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.OptionalText("note", cmd.Note, 1000), a.mustBeOpen(cmd.Alert)); err != nil {
		return nil, err
	}
	if a.Reviewed {
		return nil, refuse.WrongState("alert_reviewed", "alert %s has been reviewed already", cmd.Alert).At("alert").
			Do("close it when it is settled")
	}
	return []Event{AlertReviewed{Alert: cmd.Alert, Note: cmd.Note}}, nil
}

// Close closes an alert. If nobody has reviewed the alert yet, the closing counts as the review. Close refuses
// alert_not_found, alert_closed, value_missing and value_too_long.
func Close(a Alert, cmd CloseAlert, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("outcome", cmd.Outcome, 1000), a.mustBeOpen(cmd.Alert)); err != nil {
		return nil, err
	}
	if !a.Reviewed {
		return []Event{AlertReviewed{Alert: cmd.Alert}, AlertClosed{Alert: cmd.Alert, Outcome: cmd.Outcome}}, nil
	}
	return []Event{AlertClosed{Alert: cmd.Alert, Outcome: cmd.Outcome}}, nil
}

// Settle closes an alert whose cause is gone. It records nothing if there is no such alert, or if it is closed.
func Settle(a Alert, cmd SettleAlert, _ domain.Call) ([]Event, error) {
	if !a.Exists() || a.Closed {
		return nil, nil
	}
	return []Event{AlertClosed{Alert: cmd.Alert, Outcome: cmd.Outcome}}, nil
}

// Escalate brings an alert to the next level. It records nothing if somebody has reviewed the alert, or if the level is
// not the next one, so that EscalateAlert may be sent twice.
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

// RecordOutcome records whether a channel has accepted or rejected a message, once for each channel and level. It refuses
// alert_not_found.
func RecordOutcome(a Alert, cmd RecordNotification, _ domain.Call) ([]Event, error) {
	if !a.Exists() {
		return nil, alertNotFound(cmd.Alert)
	}
	if a.Settled(Notification{cmd.Level, cmd.Channel}) {
		return nil, nil
	}
	if cmd.Refused != "" {
		return []Event{NotificationFailed{Alert: cmd.Alert, Level: cmd.Level, Channel: cmd.Channel, Message: cmd.Message,
			Reason: personal.Text(cmd.Refused)}}, nil
	}
	return []Event{NotificationSent{Alert: cmd.Alert, Level: cmd.Level, Channel: cmd.Channel, Message: cmd.Message}}, nil
}

// mustBeOpen refuses alert_not_found and alert_closed.
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

// OfAlert is embedded by commands about one alert.
type OfAlert struct {
	Alert AlertID `json:"alert" doc:"The alert"`
}

// AboutAlert is a command, or an event, about one alert.
type AboutAlert interface{ AboutAlert() AlertID }

// AboutAlert returns the alert that the command is about.
func (o OfAlert) AboutAlert() AlertID { return o.Alert }

// byAlert is the Key of Decider.
func byAlert(command any) (id string, ok bool) {
	c, ok := command.(AboutAlert)
	if !ok {
		return "", false
	}
	return string(c.AboutAlert()), true
}

// GivenReason returns the outcome, which is recorded as the reason.
func (c SettleAlert) GivenReason() personal.Text { return c.Outcome }

// GivenReason returns the outcome, which is recorded as the reason.
func (c CloseAlert) GivenReason() personal.Text { return c.Outcome }
