package supply_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/supply"
)

func returning(kit supply.KitNumber, units int, keepsRest bool) stockDecision {
	return decision(supply.Return, supply.ReturnKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: kit, On: "2026-03-10", Units: units,
		KeepsRest: keepsRest})
}

func partly(units int) supply.KitPartlyReturned {
	return supply.KitPartlyReturned{OfStock: site, Patient: anna, Kit: "K1", On: "2026-03-10", Units: units}
}

func reconciling(returned, used, lost int, note string) stockDecision {
	return decision(supply.Reconcile, supply.ReconcileKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1", Returned: returned,
		Used: used, Lost: lost, Note: personal.Text(note)})
}

func recounting(returned, used, lost int, why string) stockDecision {
	return decision(supply.Recount, supply.RecountKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1", Returned: returned,
		Used: used, Lost: lost, Reasoned: domain.Because(why)})
}

// K1 holds ten doses.
func TestReturnInParts(t *testing.T) {
	home := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", "2026-03-01"))
	home.When(returning("K1", 0, true)).ThenRefused("value_missing")
	home.When(returning("K1", 11, false)).ThenRefused("too_many_doses")
	home.When(returning("K1", -1, false)).ThenRefused("value_out_of_range")
	some := home.When(returning("K1", 2, true)).Then(partly(2))
	if k, _ := some.State().Kits.Get("K1"); k.Status != supply.KitIsDispensed || k.Back != 2 {
		t.Errorf("the kit is %+v", k)
	}
	some.When(returning("K1", 9, false)).ThenRefused("too_many_doses")
	rest := kitReturned(anna, "K1", "2026-03-10")
	rest.Units = 3
	back := some.When(returning("K1", 3, false)).Then(rest)
	back.When(returning("K1", 0, false)).ThenRefused("kit_status")
	late := back.When(returning("K1", 1, false)).Then(partly(1)) // it was in the patient's bag
	late.When(reconciling(5, 5, 0, "")).ThenRefused("count_differs")
	late.When(reconciling(5, 5, 0, "one was counted twice")).
		Then(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Returned: 5, Used: 5, Note: "one was counted twice"})
	late.When(recounting(6, 4, 0, "r")).ThenRefused("kit_not_reconciled")
	done := late.When(reconciling(6, 4, 0, "")).Then(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Returned: 6, Used: 4})
	done.When(returning("K1", 1, false)).ThenRefused("kit_reconciled")
	done.When(recounting(6, 4, 0, "r")).ThenRefused("nothing_to_correct")
	done.When(recounting(7, 4, 0, "r")).ThenRefused("doses_do_not_add_up")
	done.When(recounting(6, 3, 1, " ")).ThenRefused("reason_required")
	again := done.When(recounting(6, 3, 1, "the monitor counts three")).Then(supply.KitRecounted{OfStock: site, Patient: anna, Kit: "K1",
		From: supply.Doses{Returned: 6, Used: 4}, To: supply.Doses{Returned: 6, Used: 3, Lost: 1}, Reason: "the monitor counts three"})
	again.When(recounting(6, 4, 0, "no, four")).Then(supply.KitRecounted{OfStock: site, Patient: anna, Kit: "K1",
		From: supply.Doses{Returned: 6, Used: 3, Lost: 1}, To: supply.Doses{Returned: 6, Used: 4}, Reason: "no, four"})
}

// A kit that the patient will not bring back is accounted for, and no other one replaces it.
func TestKitIsNeverReturned(t *testing.T) {
	giveUp := func(why string) stockDecision {
		return decision(supply.NotReturned, supply.RecordKitNotReturned{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1",
			On: "2026-03-08", Reasoned: domain.Because(why)})
	}
	allocated := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"))
	allocated.When(giveUp("moved")).ThenRefused("kit_not_dispensed")
	home := allocated.Given(kitDispensed(anna, "K1", "2026-03-01"))
	home.When(giveUp("")).ThenRefused("reason_required")
	gone := home.When(giveUp("moved")).
		Then(supply.KitNotReturned{OfStock: site, Patient: anna, Kit: "K1", On: "2026-03-08", Reason: "moved"})
	if k, _ := gone.State().Kits.Get("K1"); k.Status != supply.KitLostByPatient {
		t.Errorf("the kit is %+v", k)
	}
	gone.When(allocate(inArm(x), anna, "")).Then()
	gone.When(giveUp("moved")).ThenRefused("kit_status")
	gone.When(returning("K1", 1, false)).ThenRefused("kit_status")
	counted := gone.When(reconciling(0, 7, 3, "")).Then(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Used: 7, Lost: 3})
	// It turns up after all.
	found := counted.When(decisionWith(supply.RecordFound, facts(nil), supply.ReportKitFound{AtLocation: atLocation("A"), Kit: "K1",
		Reasoned: domain.Because("in the garage")})).Then(supply.KitFound{OfStock: site, Kit: "K1",
		Affected: []supply.Slot{{Patient: anna}}, Reason: "in the garage"})
	found.When(returning("K1", 0, false)).Then(kitReturned(anna, "K1", "2026-03-10")).
		When(reconciling(3, 7, 0, "")).Then(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Returned: 3, Used: 7})
}

// A patient has a kit from the enrolment on at the earliest, and nothing happens to it at home before it was given out.
func TestDaysOfAKitAreInOrder(t *testing.T) {
	allocated := stockAt(t, site, "K1").Given(kitAllocated(anna, "K1"))
	f := facts(func(f *supply.Facts) { f.Arm, f.EnrolledOn = x, "2026-02-10" })
	allocated.When(decisionWith(supply.Dispense, f, dispenseKit(anna, "K1", "2026-02-09"))).ThenRefused("dispensed_before_enrollment")
	allocated.When(decisionWith(supply.Dispense, f, dispenseKit(anna, "K1", "2026-02-10"))).Then(kitDispensed(anna, "K1", "2026-02-10"))
	arrived := stockAt(t, site).Given(supply.ShipmentReceived{OfStock: site, Shipment: "D-0001", From: "D", On: "2026-02-15",
		Available: kits("K1"), Contents: contentsOf("K1")}, kitAllocated(anna, "K1"))
	arrived.When(decisionWith(supply.Dispense, f, dispenseKit(anna, "K1", "2026-02-14"))).ThenRefused("dispensed_before_receipt")
	arrived.When(decisionWith(supply.Dispense, f, dispenseKit(anna, "K1", "2026-02-15"))).Then(kitDispensed(anna, "K1", "2026-02-15"))
	home := allocated.Given(kitDispensed(anna, "K1", "2026-03-01"))
	home.When(returnKit(anna, "K1", "2026-02-28")).ThenRefused("before_dispensing")
	home.When(decision(supply.NotReturned, supply.RecordKitNotReturned{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1",
		On: "2026-02-28", Reasoned: domain.Because("moved")})).ThenRefused("before_dispensing")
	recalled := home.Given(supply.KitsQuarantined{OfStock: site, Kits: kits(), Cause: supply.CauseRecall, Reason: "r", Lot: "L1",
		AtHome: kits("K1")})
	recalled.When(decision(supply.RecordAction, supply.RecordRecallAction{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1",
		Action: supply.PatientTold, On: "2026-02-28"})).ThenRefused("before_dispensing")
	home.When(returnKit(anna, "K1", "2026-03-01")).Then(kitReturned(anna, "K1", "2026-03-01"))
}
