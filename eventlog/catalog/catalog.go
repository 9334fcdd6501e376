// Package catalog registers every event of the domain under its stable name. A new event is one line here and one
// golden file; a change of an event's shape is an upcast here and one more golden file, and the old ones stay.
package catalog

import (
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/projection"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/security"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
)

// New returns the registry of all events.
func New() *eventlog.Registry {
	r := eventlog.NewRegistry()

	category := study.Decider.Category
	eventlog.Register[study.Created](r, category, "StudyCreated")
	// From version 2 on, a protocol may refer to instruments that were published by themselves. A program that does not know
	// references stops there: it would take the protocol for one without those instruments.
	eventlog.Register[study.ProtocolVersionPublished](r, category, "ProtocolVersionPublished", eventlog.Unchanged)
	eventlog.Register[study.SiteAdded](r, category, "SiteAdded")
	eventlog.Register[study.SiteActivated](r, category, "SiteActivated")
	eventlog.Register[study.SiteClosed](r, category, "SiteClosed")

	category = instrument.Decider.Category
	eventlog.Register[instrument.Published](r, category, "InstrumentPublished")

	category = enrollment.Decider.Category
	eventlog.Register[enrollment.Opened](r, category, "EnrollmentOpened")
	eventlog.Register[enrollment.Closed](r, category, "EnrollmentClosed")
	eventlog.Register[enrollment.TargetSet](r, category, "EnrollmentTargetSet")
	eventlog.Register[enrollment.PlaceReserved](r, category, "PlaceReserved")
	eventlog.Register[enrollment.PlaceRefused](r, category, "PlaceRefused")
	eventlog.Register[enrollment.PlaceReleased](r, category, "PlaceReleased")

	category = patient.Decider.Category
	eventlog.Register[patient.Screened](r, category, "PatientScreened")
	eventlog.Register[patient.Consented](r, category, "ConsentRecorded")
	eventlog.Register[patient.ScreenFailed](r, category, "ScreenFailureRecorded")
	eventlog.Register[patient.EnrollmentRequested](r, category, "EnrollmentRequested")
	eventlog.Register[patient.Enrolled](r, category, "PatientEnrolled")
	eventlog.Register[patient.EnrollmentFailed](r, category, "EnrollmentFailed")
	eventlog.Register[patient.VisitRecorded](r, category, "VisitRecorded")
	eventlog.Register[patient.ConsentWithdrawn](r, category, "ConsentWithdrawn")
	eventlog.Register[patient.Discontinued](r, category, "PatientDiscontinued")
	eventlog.Register[patient.Completed](r, category, "PatientCompleted")

	category = diary.Decider.Category
	eventlog.Register[diary.InstrumentAssigned](r, category, "InstrumentAssigned")
	eventlog.Register[diary.Submitted](r, category, "DiarySubmitted", scoresWithMissing)
	eventlog.Register[diary.RiskFlagged](r, category, "RiskFlagged")
	eventlog.Register[diary.Corrected](r, category, "DiaryCorrected")
	eventlog.Register[diary.WindowMissed](r, category, "DiaryWindowMissed")
	eventlog.Register[diary.ReminderDue](r, category, "DiaryReminderDue")

	category = user.Decider.Category
	eventlog.Register[user.Registered](r, category, "UserRegistered")
	eventlog.Register[user.PasswordSet](r, category, "PasswordSet")
	eventlog.Register[user.RoleGranted](r, category, "RoleGranted")
	eventlog.Register[user.RoleRevoked](r, category, "RoleRevoked")
	eventlog.Register[user.SignedIn](r, category, "SignedIn")
	eventlog.Register[user.SignInFailed](r, category, "SignInFailed")
	eventlog.Register[user.Locked](r, category, "UserLocked")
	eventlog.Register[user.Unlocked](r, category, "UserUnlocked")
	eventlog.Register[user.Deactivated](r, category, "UserDeactivated")

	category = security.Decider.Category
	eventlog.Register[security.AccessRefused](r, category, "AccessRefused")
	eventlog.Register[security.RefusalsDropped](r, category, "RefusalsDropped")

	category = randomisation.Decider.Category
	eventlog.Register[randomisation.ListUploaded](r, category, "ListUploaded")
	eventlog.Register[randomisation.ListGenerated](r, category, "ListGenerated")
	eventlog.Register[randomisation.MinimisationDefined](r, category, "MinimisationDefined")
	eventlog.Register[randomisation.SchemeActivated](r, category, "SchemeActivated")
	eventlog.Register[randomisation.CohortCapsSet](r, category, "CohortCapsSet")
	eventlog.Register[randomisation.PatientRandomised](r, category, "PatientRandomised")
	eventlog.Register[randomisation.EntrySkipped](r, category, "EntrySkipped")
	eventlog.Register[randomisation.RandomisationRefused](r, category, "RandomisationRefused")
	eventlog.Register[randomisation.StratumCorrected](r, category, "StratumCorrected")
	eventlog.Register[randomisation.BlindBroken](r, category, "BlindBroken")
	eventlog.Register[randomisation.SeedRevealed](r, category, "SeedRevealed")

	category = supply.Decider.Category
	eventlog.Register[supply.DepotOpened](r, category, "DepotOpened")
	eventlog.Register[supply.KitsRegistered](r, category, "KitsRegistered")
	eventlog.Register[supply.BatchReleased](r, category, "BatchReleased")
	eventlog.Register[supply.LotRecalled](r, category, "LotRecalled")
	eventlog.Register[supply.ResupplyRuleSet](r, category, "ResupplyRuleSet")

	category = supply.StockDecider.Category
	eventlog.Register[supply.DeliveryTakenIn](r, category, "DeliveryTakenIn")
	eventlog.Register[supply.ShipmentCreated](r, category, "ShipmentCreated")
	eventlog.Register[supply.ResupplyFellShort](r, category, "ResupplyFellShort")
	eventlog.Register[supply.ShipmentCancelled](r, category, "ShipmentCancelled")
	eventlog.Register[supply.ShipmentDispatched](r, category, "ShipmentDispatched")
	eventlog.Register[supply.ShipmentReceived](r, category, "ShipmentReceived")
	eventlog.Register[supply.ShipmentLost](r, category, "ShipmentLost")
	eventlog.Register[supply.KitsQuarantined](r, category, "KitsQuarantined")
	eventlog.Register[supply.KitsReleased](r, category, "KitsReleased")
	eventlog.Register[supply.StockHeld](r, category, "StockHeld")
	eventlog.Register[supply.StockRefused](r, category, "StockRefused")
	eventlog.Register[supply.HoldReleased](r, category, "HoldReleased")
	eventlog.Register[supply.KitAllocated](r, category, "KitAllocated")
	eventlog.Register[supply.AllocationFailed](r, category, "AllocationFailed")
	eventlog.Register[supply.KitsSetAside](r, category, "KitsSetAside")
	eventlog.Register[supply.KitDispensed](r, category, "KitDispensed")
	eventlog.Register[supply.KitReturned](r, category, "KitReturned")
	eventlog.Register[supply.KitReconciled](r, category, "KitReconciled")
	eventlog.Register[supply.KitsExpired](r, category, "KitsExpired")
	eventlog.Register[supply.KitsDestroyed](r, category, "KitsDestroyed")
	eventlog.Register[supply.KitLost](r, category, "KitLost")

	category = safety.Decider.Category
	eventlog.Register[safety.AlertRaised](r, category, "AlertRaised")
	eventlog.Register[safety.AlertReviewed](r, category, "AlertReviewed")
	eventlog.Register[safety.AlertEscalated](r, category, "AlertEscalated")
	eventlog.Register[safety.AlertClosed](r, category, "AlertClosed")
	eventlog.Register[safety.NotificationSent](r, category, "NotificationSent")
	eventlog.Register[safety.NotificationFailed](r, category, "NotificationFailed")

	category = process.Decider.Category
	eventlog.Register[process.StepTaken](r, category, "ProcessStepTaken")
	eventlog.Register[process.TimerSet](r, category, "ProcessTimerSet")
	eventlog.Register[process.TimerFired](r, category, "ProcessTimerFired")
	eventlog.Register[process.TimerCancelled](r, category, "ProcessTimerCancelled")
	category = process.ParkedDecider.Category
	eventlog.Register[process.MessageParked](r, category, "MessageParked")
	eventlog.Register[process.ParkedMessageRetried](r, category, "ParkedMessageRetried")
	eventlog.Register[process.ParkedMessageAbandoned](r, category, "ParkedMessageAbandoned")
	eventlog.Register[process.Advanced](r, process.Category, "ProcessAdvanced")

	category = projection.Decider.Category
	eventlog.Register[projection.RebuildRequested](r, category, "ProjectionRebuildRequested")
	eventlog.Register[projection.RebuildCancelled](r, category, "ProjectionRebuildCancelled")
	eventlog.Register[projection.EventSkipped](r, category, "ProjectionEventSkipped")
	eventlog.Register[projection.Retried](r, category, "ProjectionRetried")
	eventlog.Register[projection.BuildDropped](r, category, "ProjectionBuildDropped")
	return r
}
