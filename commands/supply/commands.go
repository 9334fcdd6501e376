// Package supply declares the commands of the context supply: which decision, which facts, which roles.
package supply

import (
	"context"
	"maps"
	"slices"

	"casebook/access"
	"casebook/commands"
	randomisationcommands "casebook/commands/randomisation"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
)

// Commands are the commands on a study's supply as a whole, on the kits of a location, and on a patient's kits.
var Commands = []commands.Command{
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.Open).
		AllowedTo(access.SupplyManagers).
		Described("Add a depot to a study",
			supply.OpenDepot{InStudy: domain.ForStudy("PAIN1"), Depot: "DEPOT", Name: "Central depot"}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.Register).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("Register the kits of a delivery",
			supply.RegisterKits{InStudy: domain.ForStudy("PAIN1"), Depot: "DEPOT",
				CSV: "kit,arm,lot,expiry,units\nK-10017,walk,L-1,2027-06-30,28\nK-10018,usual,L-1,2027-06-30,28\n"}),
	commands.Handle(supply.Decider, supply.Release).
		AllowedTo(access.QualifiedPersons, access.UnblindedSupply).
		Narrowed(whoReleases).
		Described("Release a lot; its kits can be shipped and given out once every lot of their delivery is released or recalled",
			supply.ReleaseBatch{InStudy: domain.ForStudy("PAIN1"), Lot: "L-1", Certificate: "QP-2026-0017"}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.ApproveSite).
		AllowedTo(access.QualifiedPersons).
		Described("Give a site its green light: kits may be shipped to it",
			supply.ApproveShippingToSite{InStudy: domain.ForStudy("PAIN1"), Site: "DE-01", Reference: "TMF 05.02.01, complete"}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.WithdrawSite).
		AllowedTo(access.QualifiedPersons).
		Described("Take a site's green light back",
			supply.WithdrawShippingToSite{InStudy: domain.ForStudy("PAIN1"), Site: "DE-01",
				Reasoned: domain.Because("The refrigerator has failed")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.ApproveCountry).
		AllowedTo(access.QualifiedPersons).
		Described("Give a country its green light: kits may be shipped to its sites that have their own",
			supply.ApproveShippingToCountry{InStudy: domain.ForStudy("PAIN1"), Country: "DE", Reference: "Authorised on 2026-01-12"}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.WithdrawCountry).
		AllowedTo(access.QualifiedPersons).
		Described("Take a country's green light back",
			supply.WithdrawShippingToCountry{InStudy: domain.ForStudy("PAIN1"), Country: "DE", Reasoned: domain.Because("The authority objects")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.SetShipDays).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("Say how long before its expiry a kit is not shipped to a site any more",
			supply.SetDoNotShipDays{InStudy: domain.ForStudy("PAIN1"), Lot: "L-1", Country: "DE", Days: 90,
				Reasoned: domain.Because("Customs take weeks")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.ShowExpiring).
		AllowedTo(access.UnblindedSupply).
		Revealing(commands.Shown(expiring)).
		Described("Show which kits expire until a day; that they were shown is recorded",
			supply.ShowExpiringKits{InStudy: domain.ForStudy("PAIN1"), Through: "2027-03-31", Location: "DE-01"}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.Recall).
		AllowedTo(access.UnblindedSupply).
		Described("Recall a lot: stop all its kits at every location",
			supply.RecallLot{InStudy: domain.ForStudy("PAIN1"), Lot: "L-1", Reasoned: domain.Because("Out of specification at 12 months")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.WithdrawRecall).
		AllowedTo(access.UnblindedSupply).
		Described("End a recall that was made in error; its kits can then be released",
			supply.WithdrawLotRecall{InStudy: domain.ForStudy("PAIN1"), Lot: "L-1", Reasoned: domain.Because("Lot L-2 was meant")}),
	commands.Handle(supply.Decider, supply.Extend).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("Let a lot be used for longer; each of its kits may when it has a new label",
			supply.ExtendExpiry{InStudy: domain.ForStudy("PAIN1"), Lot: "L-1", To: "2027-12-31", Certificate: "S-2026-0004",
				Reasoned: domain.Because("Stability data of 24 months")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.EndArm).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("End that resupply rules send kits of an arm, at a site, in a country or everywhere",
			supply.EndResupplyOfArm{InStudy: domain.ForStudy("PAIN1"), Arm: "walk", Country: "DE", Reasoned: domain.Because("The arm is closed")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.ResumeArm).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("Let resupply rules send kits of an arm again",
			supply.ResumeResupplyOfArm{InStudy: domain.ForStudy("PAIN1"), Arm: "walk", Country: "DE",
				Reasoned: domain.Because("Its patients are treated for longer")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.EndTypes).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("End that resupply rules send kits of some types, at a site, in a country or everywhere",
			supply.EndResupplyOfKitTypes{InStudy: domain.ForStudy("PAIN1"), Types: supply.KitTypes{"active-81", "placebo-81"}, Country: "DE",
				Reasoned: domain.Because("Nobody gets the high dose any more")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.ResumeTypes).
		AllowedTo(access.UnblindedSupply).
		Blinded().
		Described("Let resupply rules send kits of some types again",
			supply.ResumeResupplyOfKitTypes{InStudy: domain.ForStudy("PAIN1"), Types: supply.KitTypes{"active-81", "placebo-81"}, Country: "DE",
				Reasoned: domain.Because("The high dose is given again")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.EndRule).
		AllowedTo(access.SupplyManagers, access.StudyManagers).
		Described("End the resupply of a site, or of a country's sites, by their rules",
			supply.EndResupply{InStudy: domain.ForStudy("PAIN1"), Site: "DE-01", Reasoned: domain.Because("The last patient has ended treatment")}),
	commands.HandleWithFacts(supply.Decider, commands.StudyOf, supply.SetRule).
		AllowedTo(access.SupplyManagers, access.StudyManagers).
		Described("Say when a site is sent kits, and how many",
			supply.SetResupplyRule{InStudy: domain.ForStudy("PAIN1"),
				Rule: supply.ResupplyRule{Site: "DE-01", Depot: "DEPOT", Trigger: 2, Target: 6, OverdueDays: 7}}),
	onStock(supply.AcceptDelivery).
		AllowedTo(access.Processes),
	onStock(supply.Create).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		RecordingRefusals("kits_not_sendable", "enrollment_under_way").
		Described("Create a shipment of kits to another location",
			supply.CreateShipment{FromLocation: fromDepot, To: "DE-01", Kits: exampleKits, Reasoned: domain.Because("Initial supply")}),
	commands.HandleWithFacts(supply.StockDecider, resupplyFacts, supply.Resupply).
		AllowedTo(access.Processes).
		Upcast(domain.Unchanged).
		PreparedBy(func(_ context.Context, c *supply.PlanResupply) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}),
	commands.Handle(supply.StockDecider, supply.Cancel).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		Described("Cancel a shipment that has not left; its kits go back into stock",
			supply.CancelShipment{FromLocation: fromDepot, Shipment: "DEPOT-0001", Reasoned: domain.Because("The site is not open yet")}),
	onStock(supply.Dispatch).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		RecordingRefusals("kits_not_sendable").
		Described("Hand a shipment to the carrier",
			supply.DispatchShipment{FromLocation: fromDepot, Shipment: "DEPOT-0001", On: "2026-01-20", Carrier: "Cold Express 4711"}),
	onStock(supply.Receive).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		Narrowed(whoIsThere).
		Described("Receive a shipment and record the condition of its kits",
			supply.ReceiveShipment{AtLocation: atSite, From: "DEPOT", Shipment: "DEPOT-0001", On: "2026-01-21",
				Damaged: exampleKits[1:], Temperature: supply.TemperatureInRange}),
	onStock(supply.RecordShipmentLoss).
		AllowedTo(access.SupplyManagers).
		Described("Report that a shipment never arrived",
			supply.ReportShipmentLost{AtLocation: atSite, From: "DEPOT", Shipment: "DEPOT-0001",
				Reasoned: domain.Because("The carrier cannot find it")}),
	commands.Handle(supply.StockDecider, supply.Quarantine).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		Described("Put kits into quarantine until somebody decides about them",
			supply.QuarantineKits{AtLocation: atSite, Kits: exampleKits, Cause: supply.CauseExcursion,
				Reasoned: domain.Because("The refrigerator failed overnight")}),
	onStock(supply.QuarantineRecalledLot).
		AllowedTo(access.Processes),
	onStock(supply.EndRecallOfLot).
		AllowedTo(access.Processes),
	onStock(supply.ReleaseFromQuarantine).
		AllowedTo(access.SupplyManagers).
		RecordingRefusals("lot_recalled").
		Described("Release kits from quarantine",
			supply.ReleaseKits{AtLocation: atSite, Kits: exampleKits, Reasoned: domain.Because("Within the stability data, see QA-0042")}),
	commands.Handle(supply.StockDecider, supply.Expire).
		AllowedTo(access.Processes),
	commands.Handle(supply.StockDecider, supply.Approve).
		AllowedTo(access.SupplyManagers).
		Described("Let a site destroy kits",
			supply.ApproveDestruction{AtLocation: atSite, Kits: exampleKits, Reasoned: domain.Because("The site has an incinerator")}),
	commands.HandleWithFacts(supply.StockDecider, destructionFacts, supply.Destroy).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		Narrowed(whoIsThere).
		Described("Record that kits were destroyed: at a site with an approval, and seen by a second person of its staff",
			supply.DestroyKits{AtLocation: supply.AtLocation{Study: "PAIN1", Location: "DEPOT"}, Kits: exampleKits,
				On: "2026-12-01", Certificate: "D-2026-0003"}),
	commands.Handle(supply.StockDecider, supply.RecordKitLoss).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		Described("Report that a kit cannot be found",
			supply.ReportKitLost{AtLocation: atSite, Kit: exampleKits[0], Reasoned: domain.Because("Not found at the inventory")}),
	commands.Handle(supply.StockDecider, supply.Allow).
		AllowedTo(access.SupplyManagers).
		Described("Let kits be replaced again that a site has lost before they were given out",
			supply.AllowReplacements{AtLocation: atSite, Reasoned: domain.Because("The refrigerator had failed; the kits are accounted for")}),
	onStock(supply.RecordFound).
		AllowedTo(access.SupplyManagers, access.SiteStaff).
		Described("Report that a lost kit was found",
			supply.ReportKitFound{AtLocation: atSite, Kit: exampleKits[0], Reasoned: domain.Because("Behind the drawer")}),
	onStock(supply.Relabel).
		AllowedTo(access.UnblindedSupply).
		RecordingRefusals("expiry_not_extended").
		Described("Record that kits have new labels with the later expiry of their lot",
			supply.ConfirmRelabelling{AtLocation: atSite, Kits: exampleKits}),
	onPatientKits(supply.Hold).
		AllowedTo(access.Processes).
		Upcast(domain.Unchanged).
		PreparedBy(func(_ context.Context, c *supply.HoldStock) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}),
	commands.Handle(supply.StockDecider, supply.ReleaseHeld).
		AllowedTo(access.Processes),
	onPatientKits(supply.Allocate).
		AllowedTo(access.Processes).
		PreparedBy(func(_ context.Context, c *supply.AllocateKit) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}),
	onPatientKits(supply.Revise).
		AllowedTo(access.Processes).
		PreparedBy(func(_ context.Context, c *supply.ReviseKits) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}),
	commands.HandleWithFacts(supply.StockDecider, whetherLeft, supply.SetAside).
		AllowedTo(access.Processes).
		Upcast(domain.Unchanged),
	onPatientKits(supply.Dispense).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient was given the allocated kit",
			supply.DispenseKit{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0], On: "2026-02-03"}),
	onPatientKits(supply.Replace).
		AllowedTo(access.SiteStaff).
		PreparedBy(func(_ context.Context, c *supply.ReplaceKit) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}).
		Described("Give a patient another kit in place of one that is lost, broken, recalled or not the patient's",
			supply.ReplaceKit{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0], Cause: supply.LostByPatient,
				Reasoned: domain.Because("Left on the train")}),
	onPatientKits(supply.AskUnscheduled).
		AllowedTo(access.SiteStaff).
		PreparedBy(func(_ context.Context, c *supply.DispenseUnscheduled) (err error) {
			c.Seed, err = commands.NewSeed()
			return err
		}).
		Described("Allocate a kit for a patient between the visits of the protocol",
			supply.DispenseUnscheduled{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"),
				Reasoned: domain.Because("Travels for six weeks")}),
	onStock(supply.PutBack).
		AllowedTo(access.SiteStaff).
		Described("Put an allocated kit back that the patient was not given",
			supply.RecordNotDispensed{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0],
				Reasoned: domain.Because("The patient did not come")}),
	commands.Handle(supply.StockDecider, supply.RecordAction).
		AllowedTo(access.SiteStaff).
		Described("Record what was done about a recalled kit that a patient has at home",
			supply.RecordRecallAction{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0],
				Action: supply.PatientWillReturn, On: "2026-03-03", Note: "Comes tomorrow"}),
	commands.Handle(supply.StockDecider, supply.Return).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient returned a dispensed kit, or some of its doses",
			supply.ReturnKit{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0], On: "2026-03-03"}),
	commands.Handle(supply.StockDecider, supply.NotReturned).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient will not bring a dispensed kit back",
			supply.RecordKitNotReturned{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0], On: "2026-03-03",
				Reasoned: domain.Because("The patient has moved abroad")}),
	commands.Handle(supply.StockDecider, supply.Reconcile).
		AllowedTo(access.SiteStaff).
		Described("Account for the doses of a kit that came back, is broken, or does not come back",
			supply.ReconcileKit{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0],
				Returned: 2, Used: 25, Lost: 1, Note: "One dropped"}),
	commands.Handle(supply.StockDecider, supply.Recount).
		AllowedTo(access.SiteStaff).
		Described("Correct the doses of a kit that were accounted for",
			supply.RecountKit{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0],
				Returned: 3, Used: 24, Lost: 1, Reasoned: domain.Because("The monitor has counted three")}),
	commands.HandleWithFacts(supply.StockDecider, enrolledOn, supply.CorrectDispensing).
		AllowedTo(access.SiteStaff).
		Described("Correct the day on which a patient was given a kit",
			supply.CorrectDispensingDate{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0], From: "2026-02-03",
				To: "2026-02-04", Reasoned: domain.Because("The dispensing log has the fourth")}),
	commands.Handle(supply.StockDecider, supply.CorrectReturn).
		AllowedTo(access.SiteStaff).
		Described("Correct the day on which a patient gave a kit back, or used it last",
			supply.CorrectReturnDate{Site: "DE-01", OfPatient: domain.ForPatient("PAIN1.S-0001"), Kit: exampleKits[0], From: "2026-03-03",
				To: "2026-03-02", Reasoned: domain.Because("The dispensing log has the second")}),
}

// maxExpiring bounds how many kits are shown at once.
const maxExpiring = 1000

// ExpiringKits is what ShowExpiringKits reveals to its sender.
type ExpiringKits struct {
	Kits []supply.ExpiringKit `json:"kits" doc:"The kits, those that expire first in front"`
	More int                  `json:"more,omitempty" doc:"How many there are beyond these"`
}

// expiring reads the stocks of all locations, because a kit in transit is shown where it comes from until it has arrived.
func expiring(ctx context.Context, reader commands.Reader, s supply.Supply, c supply.ShowExpiringKits) (*ExpiringKits, error) {
	in, err := commands.Read(ctx, reader, study.Decider, string(c.Study))
	if err != nil {
		return nil, err
	}
	stocks := map[supply.LocationID]supply.Stock{}
	for _, at := range s.Locations(in) {
		if stocks[at], err = commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(c.Study, at)); err != nil {
			return nil, err
		}
	}
	all, err := supply.Expiring(stocks, c.Through)
	if err != nil {
		return nil, err
	}
	shown := &ExpiringKits{Kits: []supply.ExpiringKit{}}
	for _, k := range all {
		if c.Location == "" || k.Location == c.Location {
			shown.Kits = append(shown.Kits, k)
		}
	}
	if more := len(shown.Kits) - maxExpiring; more > 0 {
		shown.Kits, shown.More = shown.Kits[:maxExpiring], more
	}
	return shown, nil
}

// stockDecision is a decision about the kits of a location.
type stockDecision[C any] = func(supply.Stock, supply.Facts, C, domain.Call) ([]supply.StockEvent, error)

// onStock declares a command on the kits of a location. At a site it needs a role at that site; at a depot, a role in
// the whole study.
func onStock[C any](decide stockDecision[C]) *commands.Declaration[supply.Stock, supply.StockEvent, supply.Facts, C] {
	return commands.HandleWithFacts(supply.StockDecider, stockFacts[C], decide)
}

// onPatientKits declares a command on a patient's kits at a site.
func onPatientKits[C domain.AboutPatient](decide stockDecision[C]) *commands.Declaration[supply.Stock, supply.StockEvent, supply.Facts, C] {
	return commands.HandleWithFacts(supply.StockDecider, func(ctx context.Context, reader commands.Reader, c C) (supply.Facts, error) {
		facts, err := stockFacts(ctx, reader, c)
		if err != nil {
			return facts, err
		}
		who, err := commands.PatientOf(ctx, reader, c)
		if err != nil {
			return facts, err
		}
		facts.Study = who.Follows(facts.Study)
		facts.Enrolled = who.Participating()
		facts.Participating = facts.Enrolled || who.Status == patient.StatusEnrolling
		facts.Screening = who.Status == patient.StatusConsented || who.Status == patient.StatusEnrollmentFailed
		facts.Treated = who.Treatment != patient.TreatmentNotStarted
		facts.EnrolledOn, facts.PatientsSite = who.DayZero(), who.Site
		switch who.Treatment {
		case patient.TreatmentEnded:
			facts.Withheld = supply.TreatmentHasEnded
		case patient.TreatmentHeld:
			facts.Withheld = supply.DoseIsHeld
		case patient.TreatmentNotStarted, patient.TreatmentOn:
		}
		if at, _ := supply.StockOf(c); facts.Withheld == "" && at.Location != supply.LocationID(who.Site) {
			facts.Withheld = supply.PatientIsTransferred
		}
		switch {
		case facts.Withheld != "":
		case (facts.Enrolled || facts.Screening) && len(who.Consents) == 0: // also after an enrolment that has failed
			facts.Withheld = supply.ConsentIsMissing
		case who.Blocked(study.BlocksDispensing):
			facts.Withheld = supply.ReconsentIsDue
		}
		facts.DrawnFor = who.DrawnFor()
		for _, site := range who.FormerSites() {
			former, err := commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(who.Study, supply.LocationID(site)))
			if err != nil {
				return facts, err
			}
			facts.Former = append(facts.Former, former)
		}
		if facts.Visits = who.Visits; facts.Visits == nil {
			facts.Visits = map[string]domain.Date{}
		}
		drawn, err := randomisationcommands.DrawsOf(ctx, reader, who, facts.Study)
		if err != nil {
			return facts, err
		}
		if facts.Arm, facts.Closed, err = randomisationcommands.ArmOf(drawn, who, facts.Study); err != nil {
			return facts, err
		}
		if stage, found := drawn.LastStageOf(who.ID); found && who.AwaitsConfirmation(stage) {
			facts.Unconfirmed = &stage
		}
		levels, _ := drawn.FactorsOf(who.ID)
		if c, is := any(c).(supply.HoldStock); is {
			levels = nil // those of the request are drawn with
			facts.Drawn, err = randomisationcommands.DrawnInto(drawn, c.Stage)
		}
		facts.Dosing = who.Dosing(levels)
		return facts, err
	}, decide)
}

// enrolledOn reads the facts of CorrectDispensingDate: the patient's version of the protocol, and the day of the enrolment.
func enrolledOn(ctx context.Context, reader commands.Reader, c supply.CorrectDispensingDate) (f supply.Facts, err error) {
	in, err := commands.StudyOfPatient(ctx, reader, c)
	if err != nil {
		return f, err
	}
	who, err := commands.ReadNewest(ctx, reader, patient.Decider, string(c.Patient))
	f.Study, f.EnrolledOn = who.Follows(in), who.DayZero()
	return f, err
}

// whetherLeft reads the facts of SetKitsAside: whether the patient is still treated, and where, and the patient's visits.
func whetherLeft(ctx context.Context, reader commands.Reader, c supply.SetKitsAside) (f supply.Facts, err error) {
	who, err := commands.ReadNewest(ctx, reader, patient.Decider, string(c.Patient))
	f.Visits, f.Enrolled, f.PatientsSite = who.Visits, who.Participating(), who.Site
	if who.Treatment == patient.TreatmentEnded {
		f.Withheld = supply.TreatmentHasEnded
	}
	return f, err
}

// stockFacts reads the facts of a decision about kits: the study, its lots, and the stock of the other location of a
// shipment, if there is one.
func stockFacts[C any](ctx context.Context, reader commands.Reader, c C) (f supply.Facts, err error) {
	at, _ := supply.StockOf(c)
	// A recall must take effect everywhere at once, so the newest state of the lots is needed. The study is read after it, and is then as
	// new: a process that has kits asked for when a pause ends must not find the pause.
	if f.Supply, err = commands.ReadNewest(ctx, reader, supply.Decider, string(at.Study)); err != nil {
		return f, err
	}
	if f.Study, err = commands.Read(ctx, reader, study.Decider, string(at.Study)); err != nil {
		return f, err
	}
	if c, ok := any(c).(supply.BetweenLocations); ok {
		f.Other, err = commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(at.Study, c.OtherLocation()))
	}
	return f, err
}

// whoReleases lets a qualified person alone release batches where the protocol asks for green lights. Elsewhere unblinded supply
// managers may do so too, as they always could.
func whoReleases(ctx context.Context, reader commands.Reader, c supply.ReleaseBatch) (access.Permission, error) {
	in, err := commands.Read(ctx, reader, study.Decider, string(c.Study))
	if err != nil || in.Treatment().GreenLights {
		return access.QualifiedPersons, err
	}
	return access.To(access.QualifiedPersons, access.UnblindedSupply), nil
}

// resupplyFacts reads the facts of PlanResupply: those of the stock and, if the site's rule looks ahead, the patients who are
// treated there. They are found by the kits that they got, or the command names them because they have come from other sites.
func resupplyFacts(ctx context.Context, reader commands.Reader, c supply.PlanResupply) (supply.Facts, error) {
	f, err := stockFacts(ctx, reader, c)
	if err != nil || f.Supply.Rules[c.Site].PredictDays == 0 {
		return f, err
	}
	drawn, err := commands.Read(ctx, reader, randomisation.Decider, string(c.Study))
	if err != nil {
		return f, err
	}
	patients := slices.Clone(c.Patients)
	for id := range f.Other.Newest.All() {
		if !slices.Contains(c.Patients, id) {
			patients = append(patients, id)
		}
	}
	for _, id := range patients {
		who, err := commands.Read(ctx, reader, patient.Decider, string(id))
		if err != nil {
			return f, err
		}
		if who.Site != c.Site || !who.Participating() || who.Treatment == patient.TreatmentEnded {
			continue
		}
		levels, _ := drawn.FactorsOf(id)
		scheduled := supply.Scheduled{Patient: id, Study: who.Follows(f.Study), Dosing: who.Dosing(levels), EnrolledOn: who.EnrolledOn,
			Visits: map[string]bool{}, Skipped: who.Skipped, Given: map[string]bool{}}
		if scheduled.Arm, _, err = randomisationcommands.ArmOf(drawn, who, scheduled.Study); err != nil {
			return f, err
		}
		for _, site := range who.FormerSites() {
			former, err := commands.Read(ctx, reader, supply.StockDecider, supply.StockID(c.Study, supply.LocationID(site)))
			if err != nil {
				return f, err
			}
			maps.Copy(scheduled.Given, former.GivenTo(id))
		}
		for visit := range who.Visits {
			scheduled.Visits[visit] = true
		}
		f.Patients = append(f.Patients, scheduled)
	}
	return f, nil
}

// onLocation is a command on the kits of a location.
type onLocation interface{ InLocation() supply.OfStock }

// whoIsThere allows a command at a site to its staff alone, and at a depot to those who keep it: who records what happens at a place
// is there.
func whoIsThere[C onLocation](ctx context.Context, reader commands.Reader, c C) (access.Permission, error) {
	at := c.InLocation()
	in, err := commands.Read(ctx, reader, supply.Decider, string(at.Study))
	if _, depot := in.Depots[at.Location]; depot {
		return access.SupplyManagers, err
	}
	return access.SiteStaff, err
}

// destructionFacts reads the facts of DestroyKits: those of the stock, and whether the witness is of the site's staff.
func destructionFacts(ctx context.Context, reader commands.Reader, c supply.DestroyKits) (supply.Facts, error) {
	f, err := stockFacts(ctx, reader, c)
	if err != nil || c.Witness == "" {
		return f, err
	}
	witness, err := commands.Read(ctx, reader, user.Decider, string(c.Witness))
	f.WitnessAtSite = !witness.Deactivated && slices.ContainsFunc(witness.Grants, func(g user.Grant) bool {
		return g.Study == c.Study && g.Site == domain.SiteID(c.Location) && slices.Contains(access.SiteStaff, g.Role)
	})
	return f, err
}

// What the examples of commands share.
var (
	// exampleKits are kit numbers, as labels show them.
	exampleKits = []supply.KitNumber{"K-10017", "K-10018"}
	fromDepot   = supply.FromLocation{Study: "PAIN1", From: "DEPOT"}
	atSite      = supply.AtLocation{Study: "PAIN1", Location: "DE-01"}
)
