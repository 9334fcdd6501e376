package safety

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/eventlog"
)

// alertReaders are told of alerts, and see to them.
var alertReaders = access.To(access.SiteStaff, access.SafetyOfficers)

// The commands on alerts.
var (
	RaiseAlert = commands.HandleKnowing(safety.Decider, alertFacts, safety.Raise).
			On(func(c safety.RaiseAlert) string { return string(c.Alert) }).
			In(func(_ context.Context, _ commands.Look, c safety.RaiseAlert) (domain.Scope, error) {
			return domain.Scope{Study: c.Study, Site: c.Site, Patient: c.Patient}, nil
		}).
		AllowedTo(access.Processes)

	ReviewAlert = commands.Handle(safety.Decider, safety.Review).
			On(func(c safety.ReviewAlert) string { return string(c.Alert) }).
			In(ofAlert(func(c safety.ReviewAlert) safety.AlertID { return c.Alert })).
			AllowedTo(alertReaders, access.SupplyManagers).
			Narrowed(byKind(func(c safety.ReviewAlert) safety.AlertID { return c.Alert }))

	CloseAlert = commands.Handle(safety.Decider, safety.Close).
			On(func(c safety.CloseAlert) string { return string(c.Alert) }).
			In(ofAlert(func(c safety.CloseAlert) safety.AlertID { return c.Alert })).
			AllowedTo(alertReaders, access.SupplyManagers).
			Narrowed(byKind(func(c safety.CloseAlert) safety.AlertID { return c.Alert })).
			About(func(c safety.CloseAlert, m *eventlog.Metadata) { m.Reason = c.Outcome })

	EscalateAlert = commands.HandleKnowing(safety.Decider, studyOfAlert(func(c safety.EscalateAlert) safety.AlertID { return c.Alert }), safety.Escalate).
			On(func(c safety.EscalateAlert) string { return string(c.Alert) }).
			In(ofAlert(func(c safety.EscalateAlert) safety.AlertID { return c.Alert })).
			AllowedTo(access.Processes)

	RecordNotification = commands.Handle(safety.Decider, safety.Tell).
				On(func(c safety.RecordNotification) string { return string(c.Alert) }).
				In(ofAlert(func(c safety.RecordNotification) safety.AlertID { return c.Alert })).
				AllowedTo(access.Processes)
)

// alertFacts are the study, and how many windows a patient has missed in a row where the alert is about that.
func alertFacts(ctx context.Context, look commands.Look, c safety.RaiseAlert) (f safety.Facts, err error) {
	if f.Study, err = commands.At(ctx, look, study.Decider, string(c.Study)); err != nil || c.Kind != safety.DiariesMissed {
		return f, err
	}
	d, err := commands.Newest(ctx, look, diary.Decider, string(c.Patient))
	f.MissedInARow = d.MissedInARow(c.Instrument, c.Window)
	return f, err
}

// ofAlert is the scope of a command on an alert, which must exist (code alert_not_found).
func ofAlert[C any](of func(C) safety.AlertID) func(context.Context, commands.Look, C) (domain.Scope, error) {
	return func(ctx context.Context, look commands.Look, c C) (domain.Scope, error) {
		id := of(c)
		if len(id) > 200 {
			return domain.Scope{}, refuse.Malformed("malformed_id", "the alert's id has %d characters", len(id)).At("alert").Do("use an id that the list of alerts has")
		}
		a, err := commands.At(ctx, look, safety.Decider, string(id))
		if err != nil {
			return domain.Scope{}, err
		}
		if !a.Exists() {
			return domain.Scope{Study: domain.PatientID(id).Study()}, refuse.NotFound("alert_not_found", "there is no alert %.80s", string(id)).At("alert").Do("check the id")
		}
		return domain.Scope{Study: a.Study, Site: a.Site, Patient: a.Patient}, nil
	}
}

// byKind keeps those who move drug from all other alerts.
func byKind[C any](of func(C) safety.AlertID) func(context.Context, commands.Look, C) (access.Permission, error) {
	return func(ctx context.Context, look commands.Look, c C) (access.Permission, error) {
		a, err := commands.At(ctx, look, safety.Decider, string(of(c)))
		if a.Kind.OfSupply() {
			return access.To(alertReaders, access.SupplyManagers), err
		}
		return alertReaders, err
	}
}

func studyOfAlert[C any](of func(C) safety.AlertID) func(context.Context, commands.Look, C) (study.Study, error) {
	return commands.TheStudy(func(c C) domain.StudyID { return domain.PatientID(of(c)).Study() })
}

// Commands are the commands of this context.
var Commands = []commands.Command{RaiseAlert, ReviewAlert, CloseAlert, EscalateAlert, RecordNotification}
