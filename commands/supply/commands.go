package supply

import (
	"context"

	"casebook/access"
	"casebook/commands"
	randomisationcommands "casebook/commands/randomisation"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// The commands on a study's supply as a whole.
var (
	OpenDepot = commands.HandleKnowing(supply.Decider, commands.TheStudy(func(c supply.OpenDepot) domain.StudyID { return c.Study }), supply.Open).
			On(func(c supply.OpenDepot) string { return string(c.Study) }).
			In(commands.InStudy(func(c supply.OpenDepot) domain.StudyID { return c.Study })).
			AllowedTo(access.SupplyManagers)

	RegisterKits = commands.HandleKnowing(supply.Decider, commands.TheStudy(func(c supply.RegisterKits) domain.StudyID { return c.Study }), supply.Register).
			On(func(c supply.RegisterKits) string { return string(c.Study) }).
			In(commands.InStudy(func(c supply.RegisterKits) domain.StudyID { return c.Study })).
			AllowedTo(access.UnblindedSupply).
			Secret()

	ReleaseBatch = commands.Handle(supply.Decider, supply.Release).
			On(func(c supply.ReleaseBatch) string { return string(c.Study) }).
			In(commands.InStudy(func(c supply.ReleaseBatch) domain.StudyID { return c.Study })).
			AllowedTo(access.SupplyManagers)

	RecallLot = commands.HandleKnowing(supply.Decider, commands.TheStudy(func(c supply.RecallLot) domain.StudyID { return c.Study }), supply.Recall).
			On(func(c supply.RecallLot) string { return string(c.Study) }).
			In(commands.InStudy(func(c supply.RecallLot) domain.StudyID { return c.Study })).
			AllowedTo(access.SupplyManagers).
			About(func(c supply.RecallLot, m *eventlog.Metadata) { m.Reason = c.Reason })

	SetResupplyRule = commands.HandleKnowing(supply.Decider, commands.TheStudy(func(c supply.SetResupplyRule) domain.StudyID { return c.Study }), supply.SetRule).
			On(func(c supply.SetResupplyRule) string { return string(c.Study) }).
			In(commands.InStudy(func(c supply.SetResupplyRule) domain.StudyID { return c.Study })).
			AllowedTo(access.SupplyManagers)
)

// The commands on the kits of a place.
var (
	TakeInDelivery = stocking(supply.TakeIn, func(c supply.TakeInDelivery) place { return place{c.Study, c.Depot, ""} }).
			AllowedTo(access.Processes)

	CreateShipment = stocking(supply.Create, func(c supply.CreateShipment) place { return place{c.Study, c.From, ""} }).
			AllowedTo(access.SupplyManagers, access.SiteStaff).
			About(func(c supply.CreateShipment, m *eventlog.Metadata) { m.Reason = c.Reason })

	PlanResupply = stocking(supply.Resupply, func(c supply.PlanResupply) place { return place{c.Study, c.Depot, supply.LocationID(c.Site)} }).
			AllowedTo(access.Processes)

	CancelShipment = stocking(withoutFacts(supply.Cancel), func(c supply.CancelShipment) place { return place{c.Study, c.From, ""} }).
			AllowedTo(access.SupplyManagers, access.SiteStaff).
			About(func(c supply.CancelShipment, m *eventlog.Metadata) { m.Reason = c.Reason })

	DispatchShipment = stocking(supply.Dispatch, func(c supply.DispatchShipment) place { return place{c.Study, c.From, ""} }).
				AllowedTo(access.SupplyManagers, access.SiteStaff)

	ReceiveShipment = stocking(supply.Receive, func(c supply.ReceiveShipment) place { return place{c.Study, c.Location, c.From} }).
			AllowedTo(access.SupplyManagers, access.SiteStaff)

	ReportShipmentLost = stocking(supply.LoseShipment, func(c supply.ReportShipmentLost) place { return place{c.Study, c.Location, c.From} }).
				AllowedTo(access.SupplyManagers).
				About(func(c supply.ReportShipmentLost, m *eventlog.Metadata) { m.Reason = c.Reason })

	QuarantineKits = stocking(withoutFacts(supply.Quarantine), func(c supply.QuarantineKits) place { return place{c.Study, c.Location, ""} }).
			AllowedTo(access.SupplyManagers, access.SiteStaff).
			About(func(c supply.QuarantineKits, m *eventlog.Metadata) { m.Reason = c.Reason })

	QuarantineLot = stocking(withoutFacts(supply.SetLotAside), func(c supply.QuarantineLot) place { return place{c.Study, c.Location, ""} }).
			AllowedTo(access.Processes).
			About(func(c supply.QuarantineLot, m *eventlog.Metadata) { m.Reason = c.Reason })

	ReleaseKits = stocking(supply.ReleaseFromQuarantine, func(c supply.ReleaseKits) place { return place{c.Study, c.Location, ""} }).
			AllowedTo(access.SupplyManagers).
			About(func(c supply.ReleaseKits, m *eventlog.Metadata) { m.Reason = c.Reason })

	ExpireKits = stocking(withoutFacts(supply.Expire), func(c supply.ExpireKits) place { return place{c.Study, c.Location, ""} }).
			AllowedTo(access.Processes)

	DestroyKits = stocking(withoutFacts(supply.Destroy), func(c supply.DestroyKits) place { return place{c.Study, c.Location, ""} }).
			AllowedTo(access.SupplyManagers, access.SiteStaff)

	ReportKitLost = stocking(withoutFacts(supply.Lose), func(c supply.ReportKitLost) place { return place{c.Study, c.Location, ""} }).
			AllowedTo(access.SupplyManagers, access.SiteStaff).
			About(func(c supply.ReportKitLost, m *eventlog.Metadata) { m.Reason = c.Reason })
)

// The commands on a patient's kits.
var (
	HoldStock = supplying(supply.Hold, func(c supply.HoldStock) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.Processes)

	ReleaseHold = supplying(withoutFacts(supply.GiveBack), func(c supply.ReleaseHold) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.Processes).
			About(func(c supply.ReleaseHold, m *eventlog.Metadata) { m.Reason = c.Reason })

	AllocateKit = supplying(supply.Allocate, func(c supply.AllocateKit) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.Processes)

	SetKitsAside = supplying(withoutFacts(supply.SetAside), func(c supply.SetKitsAside) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.Processes).
			About(func(c supply.SetKitsAside, m *eventlog.Metadata) { m.Reason = c.Reason })

	DispenseKit = supplying(supply.Dispense, func(c supply.DispenseKit) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.SiteStaff)

	ReturnKit = supplying(withoutFacts(supply.Return), func(c supply.ReturnKit) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.SiteStaff)

	ReconcileKit = supplying(withoutFacts(supply.Reconcile), func(c supply.ReconcileKit) (domain.SiteID, domain.PatientID) { return c.Site, c.Patient }).
			AllowedTo(access.SiteStaff)
)

// stockDecision is a decision about the kits of a place.
type stockDecision[C any] = func(supply.Stock, supply.Facts, C, domain.Call) ([]supply.StockEvent, error)

func withoutFacts[C any](decide func(supply.Stock, C, domain.Call) ([]supply.StockEvent, error)) stockDecision[C] {
	return func(s supply.Stock, _ supply.Facts, c C, call domain.Call) ([]supply.StockEvent, error) {
		return decide(s, c, call)
	}
}

// place is where a command is decided, and the other place that the decision looks at, if any.
type place struct {
	study     domain.StudyID
	at, other supply.LocationID
}

// stocking declares a command on the kits of a place. Who may do it at a site needs a role there; at a depot, one in the
// whole study.
func stocking[C any](decide stockDecision[C], of func(C) place) *commands.Declaration[supply.Stock, supply.StockEvent, supply.Facts, C] {
	return commands.HandleKnowing(supply.StockDecider, func(ctx context.Context, look commands.Look, c C) (supply.Facts, error) {
		return stockFacts(ctx, look, of(c))
	}, decide).
		On(func(c C) string { return supply.StockID(of(c).study, of(c).at) }).
		In(commands.AtSite(func(c C) (domain.StudyID, domain.SiteID) { return of(c).study, domain.SiteID(of(c).at) }))
}

// supplying declares a command on a patient's kits at a site.
func supplying[C any](decide stockDecision[C], of func(C) (domain.SiteID, domain.PatientID)) *commands.Declaration[supply.Stock, supply.StockEvent, supply.Facts, C] {
	where := func(c C) place {
		site, p := of(c)
		return place{study: p.Study(), at: supply.LocationID(site)}
	}
	return commands.HandleKnowing(supply.StockDecider, func(ctx context.Context, look commands.Look, c C) (supply.Facts, error) {
		facts, err := stockFacts(ctx, look, where(c))
		if err != nil {
			return facts, err
		}
		_, id := of(c)
		who, err := commands.At(ctx, look, patient.Decider, string(id))
		if err != nil {
			return facts, err
		}
		facts.Participating = who.Supplied()
		facts.Arm, err = randomisationcommands.ArmOf(ctx, look, id, facts.Study)
		return facts, err
	}, decide).
		On(func(c C) string { return supply.StockID(where(c).study, where(c).at) }).
		In(commands.OfPatient(func(c C) domain.PatientID {
			_, id := of(c)
			return id
		}))
}

func stockFacts(ctx context.Context, look commands.Look, p place) (f supply.Facts, err error) {
	if f.Study, err = commands.At(ctx, look, study.Decider, string(p.study)); err != nil {
		return f, err
	}
	// A recall holds at once and everywhere, so what is known of lots is read anew.
	if f.Supply, err = commands.Newest(ctx, look, supply.Decider, string(p.study)); err != nil {
		return f, err
	}
	if p.other != "" {
		f.Other, err = commands.Newest(ctx, look, supply.StockDecider, supply.StockID(p.study, p.other))
	}
	return f, err
}

// Commands are the commands of this context.
var Commands = []commands.Command{OpenDepot, RegisterKits, ReleaseBatch, RecallLot, SetResupplyRule, TakeInDelivery, CreateShipment, PlanResupply, CancelShipment, DispatchShipment, ReceiveShipment, ReportShipmentLost, QuarantineKits, QuarantineLot, ReleaseKits, ExpireKits, DestroyKits, ReportKitLost, HoldStock, ReleaseHold, AllocateKit, SetKitsAside, DispenseKit, ReturnKit, ReconcileKit}
