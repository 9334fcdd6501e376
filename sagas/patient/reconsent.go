package patient

import (
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/sagas"
)

// awaiting is what the process remembers of a consent that a patient has to sign again.
type awaiting struct {
	Study domain.StudyID `json:"study,omitempty"`
	Site  domain.SiteID  `json:"site,omitempty"`
	// Due is the consent; nil when there is nothing to wait for.
	Due *patient.Reconsent `json:"due,omitempty"`
	// Source is the event that asked for it.
	Source string `json:"source,omitempty"`
	// Alert is the alert that the consent is overdue, and Raised how many there were for this consent.
	Alert  safety.AlertID `json:"alert,omitempty"`
	Raised int            `json:"raised,omitempty"`
	// Refused says that the patient has refused to sign.
	Refused bool `json:"refused,omitempty"`
	// At is where the log has the last event about the wait. What it had before means nothing any more.
	At uint64 `json:"at,omitempty"`
	// Moved is where the log says that the patient was transferred, to Site.
	Moved uint64 `json:"moved,omitempty"`
	// Settled are the last alerts that were settled: one of them may be raised late.
	Settled sagas.Settled `json:"settled,omitempty"`
}

type reaction = sagas.Reaction[awaiting]

// overdueTimer fires when the last day for the signature has ended everywhere.
const overdueTimer = "overdue"

// Reconsent is the process that watches the day until which a patient has to sign the consent again. It raises an alert when the day
// has passed, and settles the alert when the consent is there, when the patient refuses, or when the patient leaves the study. It does
// not matter in which order it is told of all this.
var Reconsent = sagas.Define("reconsent",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}),
	sagas.On[patient.ProtocolVersionApplied](sagas.ByPatient, awaiting.applied),
	sagas.On[patient.ConsentRecorded](sagas.ByPatient, awaiting.signed),
	sagas.On[patient.ConsentVoided](sagas.ByPatient, awaiting.voided),
	sagas.On[patient.ReconsentRefused](sagas.ByPatient, awaiting.refused),
	sagas.On[patient.Transferred](sagas.ByPatient, awaiting.transferred),
	sagas.On[patient.ConsentWithdrawn](sagas.ByPatient, awaiting.withdrawn),
	sagas.On[patient.Discontinued](sagas.ByPatient, left),
	sagas.On[patient.Completed](sagas.ByPatient, left),
	sagas.On[patient.ParticipationEnded](sagas.ByPatient, left),
	sagas.On[patient.StepUndone](sagas.ByPatient, awaiting.undone),
	sagas.On(sagas.AboutPatientOf(safety.ReconsentOverdue), awaiting.alertRaised),
	sagas.OnRefusal[safety.RaiseAlert](awaiting.raiseRefused),
	sagas.OnTimer(awaiting.overdue),
	// Version 1 took events in the order in which they came.
).OfPatients().InGroup("reconsent-3").Upcast(domain.Unchanged)

const (
	stageWaits   = "waits for the consent"
	stageLeft    = "the patient has left"
	stageOverdue = "overdue"
)

func none() (reaction, bool) { return reaction{}, false }

// applied begins to wait. An older consent that is awaited still is replaced.
func (s awaiting) applied(e patient.ProtocolVersionApplied, o sagas.Occurrence) (reaction, bool) {
	if e.Reconsent == nil || o.Position < s.At {
		return none()
	}
	r := s.settled("a later version of the protocol asks for another consent")
	r.State = r.State.awaits(e.Reconsent, o)
	return r.State.wait(r, o), true
}

// awaits returns the state in which a consent is waited for.
func (s awaiting) awaits(due *patient.Reconsent, o sagas.Occurrence) awaiting {
	next := awaiting{Study: o.Study, Site: o.Site, Due: due, Source: o.ID, At: o.Position, Moved: s.Moved, Settled: s.Settled}
	if s.Moved > o.Position {
		next.Site = s.Site
	}
	return next
}

// voided begins to wait again if the consent that was signed again was recorded in error.
func (s awaiting) voided(e patient.ConsentVoided, o sagas.Occurrence) (reaction, bool) {
	if e.Reconsent == nil || o.Position < s.At {
		return none()
	}
	r := reaction{State: s.awaits(e.Reconsent, o)}
	if e.Left {
		r.Stage, r.Outcome, r.Cancel = stageLeft, process.Completed, []string{overdueTimer}
		return r, true
	}
	return r.State.wait(r, o), true
}

// wait sets the timer.
func (s awaiting) wait(r reaction, o sagas.Occurrence) reaction {
	at := o.At
	if day, err := s.Due.By.Time(); err == nil { // every command records a day
		at = day.Add(36 * time.Hour)
	}
	r.Stage, r.Outcome, r.Cancel = stageWaits, "", nil
	r.Set = []process.Timer{{Name: overdueTimer, At: at}}
	return r
}

func (s awaiting) overdue(_ sagas.Fired, o sagas.Occurrence) (reaction, bool) {
	if s.Due == nil || s.Refused || s.Alert != "" {
		return none()
	}
	return s.raise(o), true
}

// raise raises an alert at the site where the patient is now.
func (s awaiting) raise(o sagas.Occurrence) reaction {
	s.Raised++
	of := sagas.AlertFrom(s.Study, fmt.Sprintf("%s/reconsent/%d", s.Source, s.Raised))
	s.Alert = of.Alert
	return reaction{State: s, Stage: stageOverdue, Outcome: process.Held, Commands: []any{safety.RaiseAlert{OfAlert: of, Study: s.Study,
		Site: s.Site, Patient: domain.PatientID(o.Of), Kind: safety.ReconsentOverdue, Severity: safety.Routine,
		Summary: fmt.Sprintf("Patient %s has not signed consent version %s, which was due by %s.", o.Of, s.Due.ConsentVersion, s.Due.By),
		Source:  s.Source, OccurredAt: o.At}}}
}

func (s awaiting) signed(e patient.ConsentRecorded, o sagas.Occurrence) (reaction, bool) {
	if s.Due == nil || !e.Again || o.Position < s.At {
		return none()
	}
	s.At = o.Position
	r := s.settled(fmt.Sprintf("The patient signed consent version %s on %s.", e.ConsentVersion, e.On))
	r.State.Due, r.State.Refused, r.Stage = nil, false, "signed"
	return r, true
}

func (s awaiting) refused(e patient.ReconsentRefused, o sagas.Occurrence) (reaction, bool) {
	if s.Due == nil || o.Position < s.At {
		return none()
	}
	s.At = o.Position
	r := s.settled(fmt.Sprintf("The patient refused on %s to sign consent version %s.", e.On, e.ConsentVersion))
	r.State.Refused, r.Stage = true, "refused"
	return r, true
}

// transferred has a later alert raised at the new site. One that is open moves there.
func (s awaiting) transferred(e patient.Transferred, o sagas.Occurrence) (reaction, bool) {
	if o.Position < s.Moved {
		return none()
	}
	s.Site, s.Moved = e.To, o.Position
	if s.Alert != "" {
		settle := s.Settled.Settle(s.Alert, fmt.Sprintf("The patient was transferred to site %s, which is told.", e.To))
		r := s.raise(o)
		r.Commands, r.Note = append([]any{settle}, r.Commands...), "the patient is at another site"
		return r, true
	}
	r := reaction{State: s, Stage: o.Stage, Outcome: o.Outcome, Note: "the patient is at another site"}
	if r.Stage == "" {
		r.Stage, r.Outcome = "transferred", process.Completed
	}
	return r, true
}

// alertRaised settles an alert that was raised when it had been settled.
func (s awaiting) alertRaised(e safety.AlertRaised, o sagas.Occurrence) (reaction, bool) {
	if !s.Settled.Has(e.Alert) {
		return none()
	}
	return reaction{State: s, Stage: o.Stage, Outcome: o.Outcome,
		Commands: []any{sagas.Settle(e.Alert, "The consent is not awaited any more.")}}, true
}

// raiseRefused forgets an alert whose cause is gone: what has ended the wait is told late, or was told too early to be understood.
func (s awaiting) raiseRefused(_ *refuse.Refusal, o sagas.Occurrence) (reaction, bool) {
	if raise, is := o.Event.(sagas.Refused).Body.(safety.RaiseAlert); !is || raise.Alert != s.Alert {
		return reaction{State: s, Stage: o.Stage, Outcome: o.Outcome}, true // another one is raised meanwhile
	}
	s.Alert = ""
	return reaction{State: s, Stage: "the consent is not awaited any more", Outcome: process.Completed}, true
}

func (s awaiting) withdrawn(e patient.ConsentWithdrawn, o sagas.Occurrence) (reaction, bool) {
	if !e.EndsParticipation {
		return none()
	}
	return left(s, e, o)
}

func left[E any](s awaiting, _ E, o sagas.Occurrence) (reaction, bool) {
	if s.Due == nil || o.Position < s.At {
		return none()
	}
	s.At = o.Position
	r := s.settled("The patient's participation has ended.")
	r.Stage = stageLeft
	return r, true
}

// undone waits again if the patient is in the study again.
func (s awaiting) undone(e patient.StepUndone, o sagas.Occurrence) (reaction, bool) {
	if s.Due == nil || s.Refused || o.Position < s.At || e.EndedOn != "" || e.From == e.Status {
		return none()
	}
	s.At = o.Position
	return s.wait(reaction{State: s, Note: "the end is undone"}, o), true
}

// settled ends the wait, and the alert if there is one.
func (s awaiting) settled(outcome string) reaction {
	r := reaction{Outcome: process.Completed, Cancel: []string{overdueTimer}}
	if s.Alert != "" {
		r.Commands = []any{s.Settled.Settle(s.Alert, outcome)}
	}
	s.Alert = ""
	r.State = s
	return r
}
