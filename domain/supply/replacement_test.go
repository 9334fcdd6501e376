package supply_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

func replace(f supply.Facts, who domain.PatientID, kit supply.KitNumber, cause supply.ReplacementCause) stockDecision {
	return decisionWith(supply.Replace, f, supply.ReplaceKit{Site: "A", OfPatient: domain.ForPatient(who), Kit: kit, Cause: cause,
		Reasoned: domain.Because("r")})
}

func askedInstead(kit supply.KitNumber, cause supply.ReplacementCause) supply.KitReplacementAsked {
	return supply.KitReplacementAsked{OfStock: site, Patient: anna, Kit: kit, Cause: cause, Reason: "r"}
}

func insteadOf(old, kit supply.KitNumber) supply.KitAllocated {
	return supply.KitAllocated{OfStock: site, Patient: anna, Kit: kit, Replaces: old}
}

// A patient who lost, broke or must not use a kit gets another one of the same arm.
func TestReplaceKit(t *testing.T) {
	at := strictStockAt(t, site, "K1", "K2", "K3").Given(kitAllocated(anna, "K2"))
	home := at.Given(kitDispensed(anna, "K2", ""))
	replaced := home.When(replace(inArm(x), anna, "K2", supply.LostByPatient)).Then(askedInstead("K2", supply.LostByPatient),
		insteadOf("K2", "K1"))
	if k, _ := replaced.State().Kits.Get("K2"); k.Status != supply.KitLostByPatient || !k.Replaced {
		t.Errorf("the lost kit is %+v", k)
	}
	replaced.When(replace(inArm(x), anna, "K2", supply.LostByPatient)).ThenRefused("kit_replaced")
	// There is none of the arm left: the patient waits, and is served when there is one.
	waits := replaced.Given(kitDispensed(anna, "K1", "")).When(replace(inArm(x), anna, "K1", supply.KitWasDamaged)).
		Then(askedInstead("K1", supply.KitWasDamaged), supply.AllocationFailed{OfStock: site, Patient: anna, Code: "no_stock",
			Reason: "the site has no kit for the patient", Waits: true})
	waits.Given(supply.ShipmentReceived{OfStock: site, Shipment: "Z-0002", From: "Z", Available: kits("K7"), Contents: contentsOf("K7")}).
		When(allocate(inArm(x), anna, "")).Then(insteadOf("K1", "K7"))
	waits.When(replace(inArm(x), anna, "K1", supply.KitWasDamaged)).ThenRefused("kit_replaced")

	// What was not given out waits in quarantine for a decision, except when it is broken.
	wrong := at.When(replace(inArm(x), anna, "K2", supply.KitMisallocated)).Then(askedInstead("K2", supply.KitMisallocated),
		insteadOf("K2", "K1"))
	if k, _ := wrong.State().Kits.Get("K2"); k.Status != supply.KitQuarantined {
		t.Errorf("the kit is %+v", k)
	}
	wrong.When(releaseKits(facts(nil), "A", "r", "K2")).ThenRefused("kit_replaced")

	// It is not released either while the patient waits for the other one.
	alone := strictStockAt(t, site, "K2").Given(kitAllocated(anna, "K2")).When(replace(inArm(x), anna, "K2", supply.KitMisallocated)).
		Then(askedInstead("K2", supply.KitMisallocated), supply.AllocationFailed{OfStock: site, Patient: anna, Code: "no_stock",
			Reason: "the site has no kit for the patient", Waits: true})
	alone.When(releaseKits(facts(nil), "A", "r", "K2")).ThenRefused("kit_replaced")

	for code, d := range map[string]stockDecision{
		"kit_not_dispensed":            replace(inArm(x), anna, "K2", supply.LostByPatient),
		"kit_not_recalled":             replace(inArm(x), anna, "K2", supply.KitWasRecalled),
		"unknown_code":                 replace(inArm(x), anna, "K2", "theft"),
		"kit_not_allocated_to_patient": replace(inArm(x), ben, "K2", supply.KitWasDamaged),
		"kit_not_at_location":          replace(inArm(x), anna, "K9", supply.KitWasDamaged),
		"patient_ended":                replace(facts(notParticipating), anna, "K2", supply.KitWasDamaged),
		"not_randomised":               replace(facts(nil), anna, "K2", supply.KitWasDamaged),
	} {
		at.When(d).ThenRefused(code)
	}
}

// A recall reaches the patient who has the drug at home: the event names the kit, and the patient gets another one.
func TestRecallReachesThePatient(t *testing.T) {
	recalled := inArm(x)
	withRecalled("L2")(&recalled)
	action := func(a supply.RecallAction, on domain.Date) stockDecision {
		return decision(supply.RecordAction, supply.RecordRecallAction{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K2", Action: a,
			On: on, Note: "by telephone"})
	}
	given := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K2"), kitDispensed(anna, "K2", ""))
	given.When(action(supply.PatientTold, "2026-03-10")).ThenRefused("kit_not_recalled")
	home := given.When(quarantineLot("A", "L2", "impurity")).Then(supply.KitsQuarantined{OfStock: site, Kits: []supply.KitNumber{},
		Cause: supply.CauseRecall, Reason: "impurity", Lot: "L2", Affected: []supply.Slot{{Patient: anna}},
		AtHome: kits("K2"), Holders: []domain.PatientID{anna}})
	home.When(quarantineLot("A", "L2", "impurity")).Then()
	if k, _ := home.State().Kits.Get("K2"); k.Status != supply.KitIsDispensed || !k.Recalled {
		t.Errorf("the kit at home is %+v", k)
	}
	home.When(allocate(recalled, anna, "")).Then(insteadOf("K2", "K1"))
	home.When(replace(recalled, anna, "K2", supply.KitWasRecalled)).Then(askedInstead("K2", supply.KitWasRecalled), insteadOf("K2", "K1"))
	home.When(action(supply.PatientTold, "2026-03-10")).Then(supply.RecallActionRecorded{OfStock: site, Patient: anna, Kit: "K2",
		Action: supply.PatientTold, On: "2026-03-10", Note: "by telephone"}).When(returnKit(anna, "K2", "2026-03-10")).
		Then(kitReturned(anna, "K2", "2026-03-10"))
	home.When(action("forgotten", "2026-03-10")).ThenRefused("unknown_code")
	home.When(action(supply.PatientTold, "2026-03-12")).ThenRefused("captured_in_future")
}

// A false alarm is not a destruction: what was not given out may go to its patient later, and to nobody else.
func TestAKitThatWasNotGivenOutStaysItsPatients(t *testing.T) {
	putBack := decisionWith(supply.PutBack, inArm(x), supply.RecordNotDispensed{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K2",
		Reasoned: domain.Because("r")})
	at := strictStockAt(t, site, "K2", "K1").Given(kitAllocated(anna, "K2"))
	back := at.When(putBack).Then(supply.KitPutBack{OfStock: site, Patient: anna, Kit: "K2", Reason: "r"})
	back.When(putBack).ThenRefused("kit_status")
	back.When(allocate(inArm(x), ben, "")).Then(supply.KitAllocated{OfStock: site, Patient: ben, Kit: "K1"})
	again := back.When(allocate(inArm(x), anna, "week 4")).Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2", Visit: "week 4"})
	given := kitDispensed(anna, "K2", "2026-03-10")
	given.Visit = "week 4"
	again.When(decisionWith(supply.Dispense, inArm(x), dispenseKit(anna, "K2", "2026-03-10"))).Then(given)
	at.Given(kitDispensed(anna, "K2", "")).When(putBack).ThenRefused("kit_status")
}

// Where nobody is drawn, a kit shows nothing, and what was not given out is there for everybody again.
func TestAKitThatShowsNothingGoesBackToTheShelf(t *testing.T) {
	open := facts(func(f *supply.Facts) { f.Study = undrawn(t) })
	putBack := decisionWith(supply.PutBack, open, supply.RecordNotDispensed{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K2",
		Reasoned: domain.Because("r")})
	at := strictStockAt(t, site, "K2").Given(kitAllocated(anna, "K2"))
	back := at.When(putBack).Then(supply.KitPutBack{OfStock: site, Patient: anna, Kit: "K2", Reason: "r", Shelved: true})
	if k, _ := back.State().Kits.Get("K2"); k.Status != supply.KitAvailable || k.Patient != "" || k.Reconciled {
		t.Errorf("the kit is %+v", k)
	}
	back.When(putBack).ThenRefused("kit_not_allocated_to_patient")
	back.When(allocate(inArm(x), ben, "")).Then(supply.KitAllocated{OfStock: site, Patient: ben, Kit: "K2"})
}

// undrawn returns a study whose protocol draws nobody.
func undrawn(t *testing.T) study.Study {
	t.Helper()
	p := *facts(nil).Study.Protocol
	treatment := *p.Treatment
	treatment.Randomised, p.Treatment = false, &treatment
	return study.Decider.Fold(study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: p})
}

func TestDispenseUnscheduled(t *testing.T) {
	asking := func(f supply.Facts) stockDecision {
		return decisionWith(supply.AskUnscheduled, f, supply.DispenseUnscheduled{Site: "A", OfPatient: domain.ForPatient(anna),
			Reasoned: domain.Because("travels")})
	}
	asked := func(visit string) supply.UnscheduledKitAsked {
		return supply.UnscheduledKitAsked{OfStock: site, Patient: anna, Visit: visit, Reason: "travels"}
	}
	given := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K2"), kitDispensed(anna, "K2", ""))
	given.When(asking(inArm(x))).
		Then(asked("unscheduled-1"), supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "unscheduled-1"}).
		When(asking(inArm(x))).ThenRefused("unscheduled_kit_waiting")
	given.Given(asked("unscheduled-1"), supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "unscheduled-1"},
		supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1", Visit: "unscheduled-1", On: "2026-03-10"}).
		When(asking(inArm(x))).
		Then(asked("unscheduled-2"), supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "unscheduled-2", Code: "no_stock",
			Reason: "the site has no kit for the patient", Waits: true})
	given.When(asking(facts(notParticipating))).ThenRefused("patient_ended")
	given.When(asking(facts(nil))).ThenRefused("not_randomised")
}

// A kit that is found waits for a decision, or is with its patient again.
func TestFoundKits(t *testing.T) {
	found := func(kit supply.KitNumber) stockDecision {
		return decisionWith(supply.RecordFound, facts(nil),
			supply.ReportKitFound{AtLocation: atLocation("A"), Kit: kit, Reasoned: domain.Because("r")})
	}
	lost := supply.KitLost{OfStock: site, Kit: "K1", Reason: "r"}
	at := strictStockAt(t, site, "K1", "K2")
	at.When(found("K1")).ThenRefused("kit_status")
	at.Given(lost).When(found("K1")).Then(supply.KitFound{OfStock: site, Kit: "K1", Reason: "r"}).
		When(allocate(inArm(y), anna, "")).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Code: "no_stock",
		Reason: "the site has no kit for the patient", Waits: true}).
		When(releaseKits(facts(nil), "A", "r", "K1")).Then(supply.KitsReleased{OfStock: site, Kits: kits("K1"), Reason: "r"}).
		When(createShipment("A", "D", "r", "K1")).Then(shipmentCreated(site, "A-0001", "D", "K1"))
	at.Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), lost).When(found("K1")).
		Then(supply.KitFound{OfStock: site, Kit: "K1", Affected: []supply.Slot{{Patient: anna}}, Reason: "r"}).
		When(returnKit(anna, "K1", "2026-03-10")).Then(kitReturned(anna, "K1", "2026-03-10"))
	// What was lost on the way is found too.
	sent := senderFacts(firstShipment(stockAt(t, depot, "K1", "K3"), depot, "A", "K1", "K3"))
	scenario.For(t, supply.StockDecider).When(reportShipmentLost(sent, "D-0001", "r")).
		Then(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", From: "D", Kits: kits("K1", "K3"), Reason: "r",
			Contents: contentsOf("K1", "K3")}).
		When(found("K1")).Then(supply.KitFound{OfStock: site, Kit: "K1", Reason: "r"})
	// Losses that were recorded by earlier programs do not say what the kits hold.
	scenario.For(t, supply.StockDecider).Given(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", From: "D", Kits: kits("K1")}).
		When(found("K1")).ThenRefused("kit_status")
}

// A kit whose lot was recalled while nobody knew where it was, and that is found, is recalled as those at home were.
func TestAKitThatIsFoundAfterItsRecall(t *testing.T) {
	recalled := facts(func(f *supply.Facts) {
		f.Supply = theSupply(supply.LotRecalled{Study: pain, Lot: "L1", Reason: "impurity"})
	})
	find := decisionWith(supply.RecordFound, recalled, supply.ReportKitFound{AtLocation: atLocation("A"), Kit: "K1",
		Reasoned: domain.Because("r")})
	lost := supply.KitLost{OfStock: site, Kit: "K1", Reason: "r"}
	home := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""))
	atHome := supply.KitsQuarantined{OfStock: site, Kits: kits(), Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1",
		Affected: []supply.Slot{{Patient: anna}}, AtHome: kits("K1"), Holders: []domain.PatientID{anna}}
	found := supply.KitFound{OfStock: site, Kit: "K1", Reason: "r"}
	home.Given(lost).When(find).Then(found, atHome)
	// One that was recalled before it was lost has been told already.
	home.Given(atHome, lost).When(find).Then(found)
	// One that nobody had waits in quarantine, and is not released.
	strictStockAt(t, site, "K1").Given(lost).When(find).Then(found).When(releaseKits(recalled, "A", "r", "K1")).ThenRefused("lot_recalled")
}

// A recall that was withdrawn ends for what patients have at home, and a later one of the same lot tells all of them again.
func TestARecallAfterAWithdrawnRecall(t *testing.T) {
	recalled := func(kits ...supply.KitNumber) supply.KitsQuarantined {
		return supply.KitsQuarantined{OfStock: site, Kits: append([]supply.KitNumber{}, kits...), Cause: supply.CauseRecall, Reason: "r",
			Lot: "L1", Affected: []supply.Slot{{Patient: anna}}, AtHome: []supply.KitNumber{"K1"}, Holders: []domain.PatientID{anna}}
	}
	ending := func(f supply.Facts) stockDecision {
		return decisionWith(supply.EndRecallOfLot, f, supply.EndLotRecall{AtLocation: atLocation("A"), Lot: "L1",
			Reasoned: domain.Because("by error")})
	}
	ended := supply.LotRecallEnded{OfStock: site, Lot: "L1", Reason: "by error", AtHome: kits("K1"), Holders: []domain.PatientID{anna},
		Affected: []supply.Slot{{Patient: anna}}}
	home := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", "")).
		When(quarantineLot("A", "L1", "r")).Then(recalled())
	home.When(ending(facts(withRecalled("L1")))).Then() // it is recalled again by now
	after := home.When(ending(facts(nil))).Then(ended)
	after.When(ending(facts(nil))).Then()
	after.When(allocate(inArm(x), anna, "")).Then() // the patient's kit can be used
	after.When(quarantineLot("A", "L1", "r")).Then(recalled())
	// What came back meanwhile is not at home any more, and the later recall says who had it.
	back := home.Given(kitReturned(anna, "K1", "")).When(ending(facts(nil))).Then(ended)
	again := recalled()
	again.AtHome, again.Holders = nil, nil
	back.When(quarantineLot("A", "L1", "r")).Then(again)
	// An earlier program recorded nobody who has a kit at home. When its recall is withdrawn and made again, they are told.
	old, endedForNobody := recalled(), ended
	old.AtHome, old.Holders = nil, nil
	endedForNobody.AtHome, endedForNobody.Holders, endedForNobody.Affected = nil, nil, nil
	strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), old).
		When(ending(facts(nil))).Then(endedForNobody).When(quarantineLot("A", "L1", "r")).Then(recalled())
	// What never came back may still be at home.
	strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""),
		supply.KitNotReturned{OfStock: site, Patient: anna, Kit: "K1", Reason: "r"}).
		When(quarantineLot("A", "L1", "r")).Then(recalled())
}

// A patient who was transferred gets another kit from the present site in place of one that the former site gave out.
func TestReplaceKitOfAFormerSite(t *testing.T) {
	transferred := inArm(x)
	transferred.Withheld, transferred.PatientsSite = supply.PatientIsTransferred, "B"
	asked := askedInstead("K2", supply.LostByPatient)
	asked.At = "B"
	at := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K2"))
	at.When(replace(transferred, anna, "K2", supply.KitWasDamaged)).ThenRefused("patient_transferred") // it stayed at the former site
	home := at.Given(kitDispensed(anna, "K2", ""))
	home.When(replace(transferred, anna, "K2", supply.LostByPatient)).Then(asked).
		When(replace(transferred, anna, "K2", supply.LostByPatient)).ThenRefused("kit_replaced")
	home.When(replace(transferred, ben, "K2", supply.LostByPatient)).ThenRefused("patient_transferred")
	left := transferred
	left.Participating = false
	home.When(replace(left, anna, "K2", supply.LostByPatient)).ThenRefused("patient_ended")
}

// Another kit for an older visit does not make that visit the newest one.
func TestAReplacementForAnOlderVisit(t *testing.T) {
	at := strictStockAt(t, site, "K1", "K2", "K7").Given(
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4"},
		supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4"},
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2", Visit: "week-8"},
		supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K2", Visit: "week-8"})
	older := at.Given(supply.KitReplacementAsked{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4", Cause: supply.KitWasDamaged},
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K7", Visit: "week-4", Replaces: "K1"})
	none := supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-8", Code: "no_stock",
		Reason: "the site has no kit for the patient", Waits: true}
	older.Given(supply.KitLost{OfStock: site, Kit: "K2"}).When(allocate(inArm(x), anna, "week-8")).Then(none)
}

// A site destroys what it was allowed to destroy, and somebody else has to see it. A depot decides by itself.
func TestASiteDestroysWithApprovalAndWitness(t *testing.T) {
	approving := decision(supply.Approve, supply.ApproveDestruction{AtLocation: atLocation("A"), Kits: kits("K1"),
		Reasoned: domain.Because("r")})
	destroying := func(witness domain.UserID, atSite bool) stockDecision {
		return decisionWith(supply.Destroy, facts(func(f *supply.Facts) { f.WitnessAtSite = atSite }),
			supply.DestroyKits{AtLocation: atLocation("A"), Kits: kits("K1"), On: "2026-03-10", Certificate: "c", Witness: witness})
	}
	expired := strictStockAt(t, site, "K1", "K2").Given(supply.KitsExpired{OfStock: site, Kits: kits("K1")})
	strictStockAt(t, site, "K1").When(approving).ThenRefused("kit_status")
	expired.When(destroying("second", true)).ThenRefused("destruction_not_approved")
	approved := expired.When(approving).Then(supply.DestructionApproved{OfStock: site, Kits: kits("K1"), Reason: "r"})
	approved.When(approving).ThenRefused("kit_status")
	approved.When(destroying("", true)).ThenRefused("witness_required")
	approved.When(destroying(call.Actor, true)).ThenRefused("witness_required")
	approved.When(destroying("stranger", false)).ThenRefused("witness_required")
	approved.When(destroying("second", true)).Then(supply.KitsDestroyed{OfStock: site, Kits: kits("K1"), On: "2026-03-10", Certificate: "c",
		Witness: "second"})
	returned := strictStockAt(t, site, "K1").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), kitReturned(anna, "K1", ""))
	returned.When(approving).ThenRefused("kit_not_reconciled")
}

// A lot may be used for longer, and each of its kits as soon as it has a new label.
func TestExtendedExpiry(t *testing.T) {
	given := withDepot(t).Given(supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("K2", "K4"),
		Contents: contentsOf("K2", "K4")})
	extending := func(lot string, to domain.Date) func(supply.Supply) ([]supply.Event, error) {
		return scenario.Sent(supply.Extend, supply.ExtendExpiry{InStudy: domain.ForStudy(pain), Lot: lot, To: to, Certificate: "S-1",
			Reasoned: domain.Because("stability data")}, call)
	}
	extended := supply.LotExpiryExtended{Study: pain, Lot: "L2", To: blind.Of(domain.Date("2026-12-01")), Certificate: "S-1",
		Reason: "stability data"}
	after := given.When(extending("L2", "2026-12-01")).Then(extended)
	after.When(extending("L2", "2026-12-01")).ThenRefused("expiry_not_later")
	given.When(extending("L2", "2026-06-01")).ThenRefused("expiry_not_later")
	given.When(extending("L7", "2026-12-01")).ThenRefused("lot_not_found")
	given.When(extending("L2", "soon")).ThenRefused("malformed_date")

	f := inArm(x)
	f.Supply = theSupply(extended)
	relabelling := func(kits ...supply.KitNumber) stockDecision {
		return decisionWith(supply.Relabel, f, supply.ConfirmRelabelling{AtLocation: atLocation("A"), Kits: kits})
	}
	at := strictStockAt(t, site, "K1", "K2", "K4")
	at.When(relabelling("K1")).ThenRefused("expiry_not_extended")
	labelled := at.When(relabelling("K2")).
		Then(supply.KitsRelabelled{OfStock: site, To: blind.Of(supply.Expiries{"K2": "2026-12-01"})})
	labelled.When(relabelling("K2")).ThenRefused("expiry_not_extended")
	// The kit with the old label expires, and the other one can be given out.
	labelled.When(expire("A", "2026-06-01")).Then(supply.KitsExpired{OfStock: site, Kits: kits("K4"), Through: "2026-06-01"}).
		When(allocate(f, anna, "")).Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2"})

	// One that got its label after its former expiry waits for a decision; one that is packed leaves with its label.
	waits := []supply.StockEvent{supply.KitsRelabelled{OfStock: site, To: blind.Of(supply.Expiries{"K4": "2026-12-01"})},
		supply.KitsQuarantined{OfStock: site, Kits: kits("K4"), Cause: supply.CauseOther, Reason: "new labels after the former expiry"}}
	late := at.Given(supply.KitsExpired{OfStock: site, Kits: kits("K4")}).When(relabelling("K4")).Then(waits...).
		When(releaseKits(f, "A", "r", "K4")).Then(supply.KitsReleased{OfStock: site, Kits: kits("K4"), Reason: "r"})
	if k, _ := late.State().Kits.Get("K4"); k.Status != supply.KitAvailable {
		t.Errorf("the kit with the new label is %+v", k)
	}
	theirs := at.Given(kitAllocated(anna, "K4"), supply.KitsExpired{OfStock: site, Kits: kits("K4")}).When(relabelling("K4")).Then(waits...).
		When(releaseKits(f, "A", "r", "K4")).Then(supply.KitsReleased{OfStock: site, Kits: kits("K4"), Reason: "r"})
	if k, _ := theirs.State().Kits.Get("K4"); k.Status != supply.KitUnavailable || k.Patient != anna {
		t.Errorf("the patient's kit with the new label is %+v", k)
	}
	at.Given(shipmentCreated(site, "A-0001", "D", "K2")).When(relabelling("K2")).
		Then(supply.KitsRelabelled{OfStock: site, To: blind.Of(supply.Expiries{"K2": "2026-12-01"})})
}

// A recall in error is withdrawn. The kits can then be released.
func TestARecallIsWithdrawn(t *testing.T) {
	given := withDepot(t).Given(supply.BatchReleased{Study: pain, Lot: "L1", Together: true}, supply.LotRecalled{Study: pain, Lot: "L1"})
	withdrawing := func(lot string) func(supply.Supply) ([]supply.Event, error) {
		return scenario.SentWithFacts(supply.WithdrawRecall, theStudy(nil), supply.WithdrawLotRecall{InStudy: domain.ForStudy(pain), Lot: lot,
			Reasoned: domain.Because("another lot was meant")}, call)
	}
	withdrawn := given.When(withdrawing("L1")).Then(supply.LotRecallWithdrawn{Study: pain, Lot: "L1", Reason: "another lot was meant",
		Locations: []supply.LocationID{"A", "B", "D"}})
	withdrawn.When(withdrawing("L1")).ThenRefused("lot_not_recalled")
	if lot := withdrawn.State().Lots["L1"]; lot.Recalled || !lot.Released {
		t.Errorf("the lot is %+v", lot)
	}
	recalled := supply.KitsQuarantined{OfStock: site, Kits: kits("K1"), Cause: supply.CauseRecall, Lot: "L1"}
	at := strictStockAt(t, site, "K1").Given(recalled)
	at.When(releaseKits(facts(withRecalled("L1")), "A", "r", "K1")).ThenRefused("lot_recalled")
	at.When(releaseKits(facts(nil), "A", "r", "K1")).Then(supply.KitsReleased{OfStock: site, Kits: kits("K1"), Reason: "r"})
}

// A site that is closed to enrolment is supplied until its resupply is ended.
func TestAClosedSiteIsSupplied(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 7}
	ending := scenario.SentWithFacts(supply.EndRule, theStudy(nil),
		supply.EndResupply{InStudy: domain.ForStudy(pain), Site: "A", Reasoned: domain.Because("r")}, call)
	ended := supply.ResupplyEnded{Study: pain, Site: "A", Depot: "D", Reason: "r"}
	withDepot(t).When(ending).ThenRefused("no_resupply_rule")
	withDepot(t).Given(supply.ResupplyRuleSet{Study: pain, Rule: rule}).When(ending).Then(ended).When(ending).ThenRefused("no_resupply_rule")

	closed := facts(func(f *supply.Facts) {
		f.Study, f.Supply = closedAt(f.Study), theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule})
		f.Other = stockAt(t, site).State()
	})
	plan := func(f supply.Facts) stockDecision {
		return decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A"})
	}
	at := stockAt(t, depot, "K1", "K3")
	if events, err := plan(closed)(at.State()); err != nil || len(events) == 0 {
		t.Errorf("the closed site is sent %v, %v", events, err)
	}
	closed.Supply = theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule}, ended)
	at.When(plan(closed)).Then()
}
