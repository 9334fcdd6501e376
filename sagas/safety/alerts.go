package safety

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// watching is what the process of an alert remembers.
type watching struct {
	Alert safety.AlertID `json:"alert,omitempty"`
	Level int            `json:"level,omitempty"`
}

type reaction = sagas.Reaction[watching]

const reviewTimer = "review"

// Alerts is the process of an alert: what people have to see raises one, and one that nobody looks at in time is
// escalated. Its messages are sent by the notifiers.
var Alerts = sagas.Define("safety",
	sagas.Sends(safety.RaiseAlert{}, safety.EscalateAlert{}),
	sagas.On(riskToTell, watching.riskFlagged),
	sagas.On(heldRiskToTell, watching.heldAtRisk),
	sagas.Delivered[supply.AllocationFailed, watching](), // the process of patients without a kit raises these alerts
	sagas.On(patientsAffected, watching.kitsAffected),
	sagas.On[supply.ResupplyFellShort](byNewAlert, watching.resupplyShort),
	sagas.On[supply.ResupplyWithheld](byNewAlert, watching.resupplyWithheld),
	sagas.On(unblindingToTell, watching.blindBroken),
	sagas.On(func(e study.SitePaused, at eventlog.Recorded) []string { return byActivities(e.Activities, at) }, watching.sitePaused),
	sagas.On(func(e study.SiteResumed, at eventlog.Recorded) []string { return byActivities(e.Activities, at) }, watching.siteResumed),
	sagas.On(func(e study.Suspended, at eventlog.Recorded) []string { return byActivities(e.Activities, at) }, watching.studySuspended),
	sagas.On(func(e study.Resumed, at eventlog.Recorded) []string { return byActivities(e.Activities, at) }, watching.studyResumed),
	sagas.On(listMustBeTold, watching.listRunsLow),
	sagas.On[randomisation.AllocationForced](byNewAlert, watching.allocationForced),
	sagas.On[safety.AlertRaised](byAlert, watching.raised),
	sagas.On[safety.AlertEscalated](byAlert, watching.escalated),
	sagas.On[safety.AlertReviewed](byAlert, watching.reviewed),
	sagas.On[safety.AlertClosed](byAlert, watching.closed),
	sagas.OnTimer(watching.notReviewed),
).InGroup("safety-3")

// byAlert names the instance of an alert that was raised.
func byAlert[E safety.AboutAlert](e E, _ eventlog.Recorded) []string {
	return sagas.Instance(e.AboutAlert())
}

// byNewAlert names the instance of the alert that an event raises.
func byNewAlert[E any](_ E, at eventlog.Recorded) []string {
	return sagas.Instance(sagas.AlertFrom(at.Metadata.Study, at.ID.String()).Alert)
}

// riskToTell names the instance of the alert about a risk that was flagged. There is one already if the diary was held, and the site was
// told then.
func riskToTell(e diary.RiskFlagged, at eventlog.Recorded) []string {
	if e.ToldWhenHeld {
		return nil
	}
	return byNewAlert(e, at)
}

// heldRiskToTell names the instance of the alert about a diary that is held: a patient who is at risk does not wait until the site has
// decided whether the diary counts.
func heldRiskToTell(e diary.Held, at eventlog.Recorded) []string {
	if len(e.UrgentRisks) == 0 {
		return nil
	}
	return byNewAlert(e, at)
}

// unblindingToTell names the instance of the alert about an unblinding that nobody had planned. There is none about one for a
// safety report: alerts and their messages reach the site, which must not hear of it (Regulation (EU) 536/2014, Annex III, 2.4).
func unblindingToTell(e randomisation.BlindBroken, at eventlog.Recorded) []string {
	if e.Kind == study.UnblindedForSafetyReport || e.Kind == study.UnblindedAsPlanned {
		return nil
	}
	return byNewAlert(e, at)
}

// patientsAffected names the instance of the alert about a site's patients. The process of recalled kits raises those about each patient
// who has one at home.
func patientsAffected(e supply.KitsQuarantined, at eventlog.Recorded) []string {
	if len(e.Affected) == 0 {
		return nil
	}
	return byNewAlert(e, at)
}

// byActivities names the instances of the alerts that activities were stopped, or go on: one about the shipping, which supply managers
// see, and one about the others.
func byActivities(activities []study.Activity, at eventlog.Recorded) (all []string) {
	if len(withoutShipping(activities)) > 0 {
		all = byNewAlert(activities, at)
	}
	if slices.Contains(activities, study.ActivityShipping) {
		all = append(all, string(aboutShipping(at.Metadata.Study, at.ID.String()).Alert))
	}
	return all
}

// aboutShipping names the alert that the shipping was stopped, or goes on.
func aboutShipping(study domain.StudyID, event string) safety.OfAlert {
	return sagas.AlertFrom(study, event+"/shipping")
}

func withoutShipping(activities []study.Activity) []study.Activity {
	return slices.DeleteFunc(slices.Clone(activities), func(a study.Activity) bool { return a == study.ActivityShipping })
}

// listMustBeTold names the instance of the alert that a list ends soon. It is told once, and again at the end.
func listMustBeTold(e randomisation.ListRanLow, at eventlog.Recorded) []string {
	if !e.Tell {
		return nil
	}
	return byNewAlert(e, at)
}

// riskFlagged raises an alert that does not say what was answered: messages leave the system.
func (s watching) riskFlagged(e diary.RiskFlagged, o sagas.Occurrence) (reaction, bool) {
	severity := safety.Routine
	if e.Severity == instrument.SeverityUrgent {
		severity = safety.Urgent
	}
	return s.raise(safety.RaiseAlert{Site: o.Site, Patient: e.Patient, Kind: safety.RiskFlagged, Severity: severity,
		Summary:    fmt.Sprintf("A diary of patient %s crossed a risk rule.", e.Patient),
		Instrument: e.Instrument, Window: e.Window, Rule: e.Rule, Message: e.Message}, o)
}

// heldAtRisk raises an alert that does not say what was answered either. The worklist of held diaries has it.
func (s watching) heldAtRisk(e diary.Held, o sagas.Occurrence) (reaction, bool) {
	rule, message := e.UrgentRisks[0], ""
	for _, risk := range e.Risks {
		if risk.Rule == rule {
			message = risk.Message
		}
	}
	return s.raise(safety.RaiseAlert{Site: o.Site, Patient: e.Patient, Kind: safety.RiskFlagged, Severity: safety.Urgent,
		Instrument: e.Instrument, Window: e.Window.ID, Rule: rule, Message: message,
		Summary: fmt.Sprintf("A diary of patient %s that is held crossed a risk rule.", e.Patient)}, o)
}

func (s watching) kitsAffected(e supply.KitsQuarantined, o sagas.Occurrence) (reaction, bool) {
	return s.raise(safety.RaiseAlert{Site: domain.SiteID(e.Location), Kind: safety.KitsAffected, Severity: safety.Urgent,
		Summary: fmt.Sprintf("Kits that were allocated or given to %d patients of site %s were set aside (%s).",
			len(supply.PatientsOf(e.Affected)), e.Location, e.Cause)}, o)
}

func (s watching) resupplyShort(e supply.ResupplyFellShort, o sagas.Occurrence) (reaction, bool) {
	return s.raise(safety.RaiseAlert{Kind: safety.ResupplyShort, Severity: safety.Routine,
		Summary: fmt.Sprintf("Depot %s has not enough kits for site %s.", e.Location, e.To)}, o)
}

func (s watching) resupplyWithheld(e supply.ResupplyWithheld, o sagas.Occurrence) (reaction, bool) {
	return s.raise(safety.RaiseAlert{Site: domain.SiteID(e.To), Kind: safety.ResupplyWithheld, Severity: safety.Routine,
		Summary: fmt.Sprintf("Site %s needs kits, and depot %s may not send them: %s.", e.To, e.Location, e.Reason)}, o)
}

func (s watching) blindBroken(e randomisation.BlindBroken, o sagas.Occurrence) (reaction, bool) {
	summary := fmt.Sprintf("The treatment of patient %s was unblinded in an emergency.", e.Patient)
	if e.Kind == study.UnblindedByAccident {
		summary = fmt.Sprintf("The treatment of patient %s has become known by accident.", e.Patient)
	}
	return s.raise(safety.RaiseAlert{Site: o.Site, Patient: e.Patient, Kind: safety.BlindBroken, Severity: safety.Urgent,
		Summary: summary}, o)
}

// listRunsLow raises an alert that does not name the stratum: messages leave the system. The worklist has it.
func (s watching) listRunsLow(e randomisation.ListRanLow, o sagas.Occurrence) (reaction, bool) {
	if e.Exhausted || e.Remaining == 0 {
		return s.raise(safety.RaiseAlert{Kind: safety.ListRunsLow, Severity: safety.Urgent,
			Summary: fmt.Sprintf("The randomisation list %s has a stratum without entries. Extend it.", e.Scheme)}, o)
	}
	return s.raise(safety.RaiseAlert{Kind: safety.ListRunsLow, Severity: safety.Routine,
		Summary: fmt.Sprintf("The randomisation list %s has a stratum that ends soon. Extend it.", e.Scheme)}, o)
}

// allocationForced raises an alert that names neither site nor patient: whoever knows them could compare.
func (s watching) allocationForced(e randomisation.AllocationForced, o sagas.Occurrence) (reaction, bool) {
	return s.raise(safety.RaiseAlert{Kind: safety.AllocationForced, Severity: safety.Routine,
		Summary: fmt.Sprintf("Draw %d was limited to the arms in stock.", e.Number)}, o)
}

func (s watching) sitePaused(e study.SitePaused, o sagas.Occurrence) (reaction, bool) {
	return s.raiseOf(e.Activities, safety.RaiseAlert{Site: e.Site, Severity: safety.Urgent,
		Summary: fmt.Sprintf("Paused at site %s: ", e.Site)}, o)
}

func (s watching) siteResumed(e study.SiteResumed, o sagas.Occurrence) (reaction, bool) {
	return s.raiseOf(e.Activities, safety.RaiseAlert{Site: e.Site, Severity: safety.Routine,
		Summary: fmt.Sprintf("Going on at site %s: ", e.Site)}, o)
}

func (s watching) studySuspended(e study.Suspended, o sagas.Occurrence) (reaction, bool) {
	return s.raiseOf(e.Activities, safety.RaiseAlert{Country: e.Country, Severity: safety.Urgent,
		Summary: fmt.Sprintf("Suspended %s: ", where(e.Country, e.Cohort))}, o)
}

func (s watching) studyResumed(e study.Resumed, o sagas.Occurrence) (reaction, bool) {
	return s.raiseOf(e.Activities, safety.RaiseAlert{Country: e.Country, Severity: safety.Routine,
		Summary: fmt.Sprintf("Going on %s: ", where(e.Country, e.Cohort))}, o)
}

// raiseOf raises the alert of the instance about activities: the shipping, or the others.
func (s watching) raiseOf(activities []study.Activity, a safety.RaiseAlert, o sagas.Occurrence) (reaction, bool) {
	a.Kind = safety.ActivityPaused
	told := withoutShipping(activities)
	of := sagas.AlertFrom(o.Study, o.ID)
	if shipping := aboutShipping(o.Study, o.ID); string(shipping.Alert) == o.Of {
		a.Kind, told, of = safety.ShippingPaused, []study.Activity{study.ActivityShipping}, shipping
	}
	a.Summary += listed(told) + "."
	return s.raiseAs(of, a, o)
}

func where(country string, cohort study.Cohort) string {
	switch {
	case len(cohort) > 0:
		return "for the cohort " + cohort.String()
	case country == "":
		return "in the whole study"
	}
	return "at the sites in " + country
}

func listed(activities []study.Activity) string {
	var names []string
	for _, a := range activities {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

// raise raises an alert about the event of the occurrence.
func (s watching) raise(a safety.RaiseAlert, o sagas.Occurrence) (reaction, bool) {
	return s.raiseAs(sagas.AlertFrom(o.Study, o.ID), a, o)
}

func (s watching) raiseAs(of safety.OfAlert, a safety.RaiseAlert, o sagas.Occurrence) (reaction, bool) {
	a.OfAlert, a.Study, a.Source, a.OccurredAt = of, o.Study, o.ID, o.At
	return reaction{State: s, Stage: "raising", Commands: []any{a}, Awaits: true}, true
}

func (s watching) raised(e safety.AlertRaised, _ sagas.Occurrence) (reaction, bool) {
	s.Alert = e.Alert
	return s.awaitReview(e.ReviewBy), true
}

func (s watching) escalated(e safety.AlertEscalated, _ sagas.Occurrence) (reaction, bool) {
	s.Level = e.Level
	return s.awaitReview(e.ReviewBy), true
}

func (s watching) awaitReview(by time.Time) reaction {
	r := reaction{State: s, Stage: "waits for somebody to look"}
	if !by.IsZero() {
		r.Set = []process.Timer{{Name: reviewTimer, At: by}}
	}
	return r
}

func (s watching) reviewed(safety.AlertReviewed, sagas.Occurrence) (reaction, bool) {
	return reaction{State: s, Stage: "looked at", Cancel: []string{reviewTimer}, Outcome: process.Completed}, true
}

func (s watching) closed(safety.AlertClosed, sagas.Occurrence) (reaction, bool) {
	return reaction{State: s, Stage: "closed", Cancel: []string{reviewTimer}, Outcome: process.Completed}, true
}

func (s watching) notReviewed(sagas.Fired, sagas.Occurrence) (reaction, bool) {
	escalate := safety.EscalateAlert{OfAlert: safety.OfAlert{Alert: s.Alert}, Level: s.Level + 1}
	return reaction{State: s, Stage: "nobody has looked in time", Commands: []any{escalate}, Awaits: true}, true
}
