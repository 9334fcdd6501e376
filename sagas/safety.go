package sagas

import (
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// alerts derives the ids of alerts from what they come from, so that nothing raises two.
var alerts = uuid.MustParse("a3a3f2de-7c43-4c07-8f43-a5fdb8b05a1e")

func alertID(study domain.StudyID, source string) safety.AlertID {
	return safety.AlertID(string(study) + "." + uuid.NewSHA1(alerts, []byte(source)).String())
}

// watching is what the process of an alert remembers.
type watching struct {
	Alert safety.AlertID `json:"alert,omitempty"`
	Level int            `json:"level,omitempty"`
}

const reviewTimer = "review"

// Safety is the process of an alert: what has to be seen by people raises one, and one that nobody looks at in time is
// escalated. Its messages are sent by the Notifier.
var Safety = Define("safety", []string{"RiskFlagged", "AllocationFailed", "KitsQuarantined", "ResupplyFellShort", "BlindBroken",
	"AlertRaised", "AlertEscalated", "AlertReviewed", "AlertClosed"},
	func(e eventlog.Recorded) []string {
		switch a := e.Event.(type) {
		case safety.AlertRaised:
			return one(a.Alert)
		case safety.AlertEscalated:
			return one(a.Alert)
		case safety.AlertReviewed:
			return one(a.Alert)
		case safety.AlertClosed:
			return one(a.Alert)
		case supply.AllocationFailed:
			if !a.Waits {
				return nil
			}
		case supply.KitsQuarantined:
			if len(a.Affected) == 0 {
				return nil
			}
		}
		return one(alertID(e.Metadata.Study, e.ID.String()))
	}, reactToAlert)

func reactToAlert(s watching, o Occurrence) (Reaction[watching], bool) {
	raise := func(kind safety.Kind, severity safety.Severity, site domain.SiteID, patient domain.PatientID, summary string) (Reaction[watching], bool) {
		return Reaction[watching]{State: s, Stage: "raising", Commands: []any{safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: alertID(o.Study, o.ID)}, Study: o.Study,
			Site: site, Patient: patient, Kind: kind, Severity: severity, Summary: summary, Source: o.ID, OccurredAt: o.At}}}, true
	}
	waits := func(by time.Time) (Reaction[watching], bool) {
		r := Reaction[watching]{State: s, Stage: "waits for somebody to look"}
		if !by.IsZero() {
			r.Set = []process.Timer{{Name: reviewTimer, At: by}}
		}
		return r, true
	}
	switch e := o.Event.(type) {
	case diary.RiskFlagged:
		// What was answered stays inside: messages leave the system.
		severity := safety.Routine
		if e.Severity == instrument.SeverityUrgent {
			severity = safety.Urgent
		}
		return raise(safety.RiskFlagged, severity, o.Site, e.Patient, fmt.Sprintf("A diary of patient %s crossed a risk rule.", e.Patient))
	case supply.AllocationFailed:
		return raise(safety.PatientWithoutKit, safety.Urgent, domain.SiteID(e.Location), e.Patient, fmt.Sprintf("There is no kit for patient %s at site %s.", e.Patient, e.Location))
	case supply.KitsQuarantined:
		return raise(safety.KitsAffected, safety.Urgent, domain.SiteID(e.Location), "",
			fmt.Sprintf("Kits that were allocated or given to %d patients of site %s were set aside (%s).", len(patientsOf(e.Affected)), e.Location, e.Cause))
	case supply.ResupplyFellShort:
		return raise(safety.ResupplyShort, safety.Routine, "", "", fmt.Sprintf("Depot %s has not enough kits for site %s.", e.Location, e.To))
	case randomisation.BlindBroken:
		return raise(safety.BlindBroken, safety.Urgent, o.Site, e.Patient, fmt.Sprintf("The treatment of patient %s was unblinded in an emergency.", e.Patient))
	case safety.AlertRaised:
		s.Alert = e.Alert
		return waits(e.ReviewBy)
	case safety.AlertEscalated:
		s.Level = e.Level
		return waits(e.ReviewBy)
	case safety.AlertReviewed:
		return Reaction[watching]{State: s, Stage: "looked at", Cancel: []string{reviewTimer}, Outcome: process.Completed}, true
	case safety.AlertClosed:
		return Reaction[watching]{State: s, Stage: "closed", Cancel: []string{reviewTimer}, Outcome: process.Completed}, true
	case Fired:
		return Reaction[watching]{State: s, Stage: "nobody has looked in time", Commands: []any{safety.EscalateAlert{OfAlert: safety.OfAlert{Alert: s.Alert}, Level: s.Level + 1}}}, true
	}
	return Reaction[watching]{}, false
}

// missed is what the follow-up of a missed window remembers: nothing.
type missed struct{}

// MissedDiaries is the part of the diary follow-up that has the site told of a patient who misses one window after
// another. How many it were is for the decision to count.
var MissedDiaries = Define("missed-diaries", []string{"DiaryWindowMissed"},
	func(e eventlog.Recorded) []string { return one(alertID(e.Metadata.Study, e.ID.String())) },
	func(s missed, o Occurrence) (Reaction[missed], bool) {
		e, ok := o.Event.(diary.WindowMissed)
		if !ok {
			return Reaction[missed]{}, false
		}
		return Reaction[missed]{State: s, Stage: "looked at", Outcome: process.Completed, Commands: []any{
			safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: alertID(o.Study, o.ID)}, Study: o.Study, Site: o.Site, Patient: e.Patient, Kind: safety.DiariesMissed, Severity: safety.Routine,
				Summary: fmt.Sprintf("Patient %s misses one diary after another.", e.Patient), Source: o.ID, OccurredAt: o.At,
				Instrument: e.Instrument, Window: e.Window.ID}}}, true
	})
