// Package safety declares the commands of the context safety: which decision, which facts, which roles.
package safety

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// alertHandlers may review and close alerts of every kind.
var alertHandlers = access.To(access.SiteStaff, access.SafetyOfficers)

// Commands are the commands on alerts.
var Commands = []commands.Command{
	commands.HandleWithFacts(safety.Decider, alertFacts, safety.Raise).
		Scoped(func(_ context.Context, _ commands.Reader, c safety.RaiseAlert) (domain.Scope, error) {
			return domain.Scope{Study: c.Study, Site: c.Site, Patient: c.Patient}, nil
		}).
		AllowedTo(access.Processes).
		// Since version 2, it can name a country, since version 3 a visit, and since version 4 a risk rule.
		Upcast(domain.Unchanged, domain.Unchanged, domain.Unchanged),
	commands.Handle(safety.Decider, safety.Review).
		Scoped(scopeOfAlert).
		AllowedTo(alertHandlers, access.SupplyManagers, access.Statisticians).
		Narrowed(byKind).
		Described("Record that one has looked at an alert",
			safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: exampleAlert}, Note: "Called the patient"}),
	commands.Handle(safety.Decider, safety.Close).
		Scoped(scopeOfAlert).
		AllowedTo(alertHandlers, access.SupplyManagers, access.Statisticians).
		Narrowed(byKind).
		Described("End an alert",
			safety.CloseAlert{OfAlert: safety.OfAlert{Alert: exampleAlert}, Outcome: "The rescue medication was increased"}),
	commands.Handle(safety.Decider, safety.Settle).
		Scoped(scopeOfRaised).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(safety.Decider, studyOfAlert, safety.Escalate).
		Scoped(scopeOfAlert).
		AllowedTo(access.Processes),
	commands.Handle(safety.Decider, safety.RecordOutcome).
		Scoped(scopeOfAlert).
		AllowedTo(access.Processes),
}

// alertFacts reads the facts of RaiseAlert: the study, as the patient's version of the protocol has it if the alert is about a patient,
// and for an alert about missed diaries how many the patient has missed.
func alertFacts(ctx context.Context, reader commands.Reader, c safety.RaiseAlert) (f safety.Facts, err error) {
	if f.Study, err = commands.Read(ctx, reader, study.Decider, string(c.Study)); err != nil {
		return f, err
	}
	if c.Patient != "" {
		who, err := commands.ReadNewest(ctx, reader, patient.Decider, string(c.Patient))
		if err != nil {
			return f, err
		}
		f.Study = who.Follows(f.Study)
		if f.Over, err = isOver(ctx, reader, who, c); err != nil {
			return f, err
		}
	}
	if c.Kind != safety.DiariesMissed {
		return f, nil
	}
	d, err := commands.ReadNewest(ctx, reader, diary.Decider, string(c.Patient))
	f.MissedInARow = d.MissedInARow(c.Instrument, c.Window)
	if within := f.Study.AlertPolicy().MissedWithin; within != nil {
		f.MissedTooOften = d.MissedTooOften(c.Instrument, c.Window, within.Missed, within.Days)
	}
	return f, err
}

// isOver says whether what an alert is about is over. Alerts about kits and signatures are about what lasts until something ends it.
func isOver(ctx context.Context, reader commands.Reader, who patient.Patient, c safety.RaiseAlert) (bool, error) {
	switch {
	case c.Kind == safety.ReconsentOverdue:
		return who.Reconsent == nil || who.ReconsentRefusedOn != "" || !who.InStudy(), nil
	case c.Kind != safety.PatientWithoutKit || c.Visit == nil:
		return false, nil
	case !who.InStudy() || who.Treatment == patient.TreatmentEnded:
		return true, nil
	}
	stock, err := commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(c.Study, supply.LocationID(c.Site)))
	return stock.NeedsNone(supply.Slot{Patient: c.Patient, Visit: *c.Visit}, who.Visits), err
}

// scopeOfRaised is scopeOfAlert for an alert that may not have been raised yet: the process that settles it may be the faster one.
func scopeOfRaised(ctx context.Context, reader commands.Reader, c safety.SettleAlert) (domain.Scope, error) {
	scope, err := scopeOfAlert(ctx, reader, c)
	if refusal, refused := refuse.As(err); refused && refusal.Code == "alert_not_found" {
		return scope, nil
	}
	return scope, err
}

// scopeOfAlert returns the scope of a command on an alert. It refuses malformed_id and alert_not_found.
func scopeOfAlert[C safety.AboutAlert](ctx context.Context, reader commands.Reader, c C) (domain.Scope, error) {
	id := c.AboutAlert()
	if len(id) > 200 {
		return domain.Scope{}, refuse.Malformed("malformed_id", "the alert's id has %d characters", len(id)).At("alert").
			Do("use an id that the list of alerts has")
	}
	a, err := commands.Read(ctx, reader, safety.Decider, string(id))
	if err != nil {
		return domain.Scope{}, err
	}
	if !a.Exists() {
		return domain.Scope{Study: domain.PatientID(id).Study()}, refuse.NotFound("alert_not_found", "there is no alert %.80s", string(id)).
			At("alert").Do("check the id")
	}
	return domain.Scope{Study: a.Study, Site: a.Site, Patient: a.Patient}, nil
}

// byKind allows supply managers to handle alerts about supply only. Those that only some may see are handled by these.
func byKind[C safety.AboutAlert](ctx context.Context, reader commands.Reader, c C) (access.Permission, error) {
	a, err := commands.Read(ctx, reader, safety.Decider, string(c.AboutAlert()))
	if a.Kind.OfArms() {
		return access.KnowingArms, err
	}
	if a.Kind.OfRecall() {
		return access.To(alertHandlers, access.UnblindedSupply), err
	}
	if a.Kind.OfSupply() {
		return access.To(alertHandlers, access.SupplyManagers), err
	}
	return alertHandlers, err
}

// studyOfAlert reads the state of the study that the alert belongs to. The alert's id begins with the study's id.
func studyOfAlert[C safety.AboutAlert](ctx context.Context, reader commands.Reader, c C) (study.Study, error) {
	return commands.Read(ctx, reader, study.Decider, string(domain.PatientID(c.AboutAlert()).Study()))
}

// exampleAlert is an alert's id, as the list of alerts shows it.
const exampleAlert = "PAIN1.5f0fce4c-2f0b-5d3c-9a52-8d1f2c9f7b11"
