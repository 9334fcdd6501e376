package supply_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// Of every arm, the kit that expires first is held. If the site has no kit of an arm, no kit is held, unless the
// protocol allows a forced allocation.
func TestHold(t *testing.T) {
	both := kitsByArm{x: "K2", y: "K4"}
	given := stockAt(t, site, "K1", "K2", "K3", "K4").When(hold(facts(nil))).Then(stockHeld(anna, both))
	given.When(hold(facts(nil))).Then(stockHeld(anna, both)) // the same hold again
	refused := func(code, reason string) supply.StockRefused {
		return supply.StockRefused{OfStock: site, Patient: anna, Code: code, Reason: personal.Text(reason)}
	}
	short := refused("no_stock", "the site has not enough kits for another patient")
	stockAt(t, site, "K1", "K2").When(hold(facts(nil))).Then(short)
	stockAt(t, site).When(hold(facts(nil))).Then(short)
	forced := facts(func(f *supply.Facts) {
		f.Study = theStudy(func(t *study.Treatment) { t.ForcedAllocation = true })
	})
	stockAt(t, site, "K1", "K2").When(hold(forced)).Then(stockHeld(anna, kitsByArm{x: "K2"}))
	stockAt(t, site).When(hold(forced)).Then(short)
	// A kit of an arm that the scheme does not draw is not needed.
	// Nothing is held for a draw that is not to be, also for a patient whose cohort alone is stopped.
	for _, paused := range []study.Event{
		study.SitePaused{Study: pain, Site: "A", Activities: []study.Activity{study.ActivityRandomisation}},
		study.Suspended{Study: pain, Cohort: study.Cohort{"sex": "f"}, Activities: []study.Activity{study.ActivityRandomisation}},
	} {
		stockAt(t, site, "K1", "K3").When(hold(facts(func(f *supply.Facts) {
			f.Study, f.Dosing.Levels = study.Decider.Evolve(f.Study, paused), map[string]string{"sex": "f"}
		}))).Then(refused("activity_paused", "randomisation is paused for the time being"))
	}

	stockAt(t, site, "K1", "K2").When(hold(facts(func(f *supply.Facts) { f.Drawn = []domain.ArmID{x} }))).
		Then(stockHeld(anna, kitsByArm{x: "K2"}))
	noStudy := facts(func(f *supply.Facts) { f.Study = study.Study{} })
	stockAt(t, site, "K1", "K3").When(hold(noStudy)).Then(refused("site_not_active", "the site is not active"))
	// A kit is not held for two patients.
	given.When(decisionWith(supply.Hold, facts(nil), supply.HoldStock{Study: pain, Site: "A", OfPatient: domain.ForPatient(ben)})).
		Then(stockHeld(ben, kitsByArm{x: "K1", y: "K3"}))
	given.When(releaseHold()).Then(supply.HoldReleased{OfStock: site, Patient: anna, Reason: "r"}).
		When(releaseHold()).Then()
}

func TestR37_NothingUnreleasedRecalledOrNearItsExpiryIsGivenOut(t *testing.T) {
	none := supply.AllocationFailed{OfStock: site, Patient: anna, Code: "no_stock", Reason: "the site has no kit for the patient", Waits: true}
	stockAt(t, site, "K5", "K6").When(allocate(inArm(x), anna, "")).Then(none)
	stockAt(t, site, "K7").When(allocate(inArm(x), anna, "")).Then(kitAllocated(anna, "K7"))
	recalled := facts(func(f *supply.Facts) {
		f.Arm, f.Supply = x, theSupply(supply.LotRecalled{Study: pain, Lot: "L1"})
	})
	stockAt(t, site, "K1").When(allocate(recalled, anna, "")).Then(none)
	// The same holds between the allocation and the dispensing.
	given := stockAt(t, site, "K1").When(allocate(inArm(x), anna, "")).Then(kitAllocated(anna, "K1"))
	dispense := func(f supply.Facts, kit supply.KitNumber, p domain.PatientID, on domain.Date) stockDecision {
		return decisionWith(supply.Dispense, f, dispenseKit(p, kit, on))
	}
	given.When(dispense(recalled, "K1", anna, "2026-03-10")).ThenRefused("lot_recalled")
	late := domain.Call{At: time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)}
	given.When(scenario.SentWithFacts(supply.Dispense, inArm(x), dispenseKit(anna, "K1", "2027-01-01"), late)).ThenRefused("kit_expired")
	given.When(dispense(inArm(x), "K1", anna, "2026-03-10")).Then(kitDispensed(anna, "K1", "2026-03-10"))
	given.When(dispense(inArm(x), "K1", ben, "2026-03-10")).ThenRefused("kit_not_allocated_to_patient")
	given.When(dispense(inArm(x), "K9", anna, "2026-03-10")).ThenRefused("kit_not_at_location")
	given.When(dispense(inArm(x), "K1", anna, "2026-03-12")).ThenRefused("captured_in_future")
	given.When(dispense(facts(notParticipating), "K1", anna, "2026-03-10")).ThenRefused("patient_ended")
	given.When(dispense(facts(withheld(supply.TreatmentHasEnded)), "K1", anna, "2026-03-10")).ThenRefused("treatment_ended")
	given.When(dispense(facts(withheld(supply.DoseIsHeld)), "K1", anna, "2026-03-10")).ThenRefused("dose_held")
	// R8: no kit is dispensed before it is allocated.
	stockAt(t, site, "K1").When(dispense(inArm(x), "K1", anna, "2026-03-10")).ThenRefused("kit_not_allocated_to_patient")
}

// A patient gets one kit for a visit, and another one only if the first was never given out and no longer can be.
func TestAllocate(t *testing.T) {
	given := stockAt(t, site, "K1", "K2", "K3", "K4").Given(stockHeld(anna, kitsByArm{x: "K1", y: "K3"}))
	one := given.When(allocate(inArm(x), anna, "")).Then(kitAllocated(anna, "K1")) // the held kit, although K2 expires first
	one.When(allocate(inArm(x), anna, "")).Then()
	one.When(allocate(inArm(x), anna, "week-4")).Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2", Visit: "week-4"})
	one.When(allocate(inArm(x), ben, "")).Then(kitAllocated(ben, "K2"))
	quarantined := supply.KitsQuarantined{OfStock: site, Kits: kits("K1"), Cause: supply.CauseOther, Reason: "r",
		Affected: []supply.Slot{{Patient: anna}}}
	second := kitAllocated(anna, "K2")
	second.Replaces = "K1"
	replaced := one.When(quarantine(supply.CauseOther, "r", "K1")).Then(quarantined).When(allocate(inArm(x), anna, "")).Then(second)
	release := releaseKits(facts(nil), "A", "good", "K1")
	replaced.When(release).ThenRefused("kit_replaced")
	// A kit that is released before it is replaced is the patient's again.
	again := one.Given(quarantined).When(release).Then(supply.KitsReleased{OfStock: site, Kits: kits("K1"),
		Affected: []supply.Slot{{Patient: anna}}, Reason: "good"})
	if k, _ := again.State().Kits.Get("K1"); k.Status != supply.KitIsAllocated || k.Patient != anna {
		t.Errorf("the released kit is %+v", k)
	}
	for code, f := range map[string]supply.Facts{"not_randomised": facts(nil), "patient_ended": facts(notParticipating),
		"treatment_ended": facts(withheld(supply.TreatmentHasEnded)), "dose_held": facts(withheld(supply.DoseIsHeld))} {
		events, err := allocate(f, anna, "")(given.State())
		if err != nil || len(events) != 1 || events[0].(supply.AllocationFailed).Code != code || events[0].(supply.AllocationFailed).Waits {
			t.Errorf("%s: %v, %v", code, events, err)
		}
	}
	// The allocated kit of a patient who leaves goes to no other patient.
	left := one.When(setAside()).Then(supply.KitsSetAside{OfStock: site, Patient: anna, Kits: kits("K1"), Reason: "left",
		Affected: []supply.Slot{{Patient: anna}}})
	left.When(setAside()).Then()
	// A patient who had left in error gets the kit after all.
	left.When(allocate(inArm(x), anna, "")).Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"})
	left.When(destroy("A", "K1")).Then(supply.KitsDestroyed{OfStock: site, Kits: kits("K1"), On: "2026-03-10", Certificate: "c"})
}

func TestR36_DosesAddUp(t *testing.T) {
	given := stockAt(t, site, "K1").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", "2026-03-01"))
	reconcile := func(returned, used, lost int) stockDecision {
		return decision(supply.Reconcile, supply.ReconcileKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1",
			Returned: returned, Used: used, Lost: lost})
	}
	given.When(reconcile(0, 10, 0)).ThenRefused("kit_status")
	given.When(destroy("A", "K1")).ThenRefused("kit_status")
	back := given.When(returnKit(anna, "K1", "2026-03-10")).Then(kitReturned(anna, "K1", "2026-03-10"))
	back.When(destroy("A", "K1")).ThenRefused("kit_not_reconciled")
	for _, wrong := range [][3]int{{1, 8, 0}, {2, 9, 0}, {0, 0, 0}} {
		back.When(reconcile(wrong[0], wrong[1], wrong[2])).ThenRefused("doses_do_not_add_up")
	}
	back.When(reconcile(-1, 11, 0)).ThenRefused("value_out_of_range")
	done := back.When(reconcile(2, 7, 1)).Then(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Returned: 2, Used: 7, Lost: 1})
	done.When(reconcile(2, 7, 1)).ThenRefused("kit_reconciled")
	done.When(destroy("A", "K1")).Then(supply.KitsDestroyed{OfStock: site, Kits: kits("K1"), On: "2026-03-10", Certificate: "c"}).
		When(destroy("A", "K1")).ThenRefused("kit_status")
}

// The sender decides about a shipment until it is dispatched, the receiver from then on.
func TestShipments(t *testing.T) {
	create := func(to supply.LocationID, kits ...supply.KitNumber) stockDecision {
		return createShipment("D", to, "r", kits...)
	}
	stockAt(t, depot, "K1").When(create("Z", "K1")).ThenRefused("location_not_found")
	stockAt(t, depot, "K1").When(create("D", "K1")).ThenRefused("shipment_to_itself")
	stockAt(t, depot, "K1").When(create("A", "K2")).ThenRefused("kit_not_at_location")
	stockAt(t, depot, "K1").When(create("A", "K1", "K1")).ThenRefused("kit_named_twice")
	stockAt(t, depot, "K5").When(create("A", "K5")).ThenRefused("kits_not_sendable")
	stockAt(t, depot, "K6").When(create("A", "K6")).ThenRefused("kits_not_sendable")
	made := shipmentCreated(depot, "D-0001", "A", "K1", "K3")
	packed := stockAt(t, depot, "K1", "K3").When(create("A", "K3", "K1")).Then(made) // in the order of the numbers, which reveals no arm
	packed.When(create("A", "K1")).ThenRefused("kit_status")
	cancel := cancelShipment("D-0001", "r")
	packed.When(cancel).Then(supply.ShipmentCancelled{OfStock: depot, Shipment: "D-0001", Reason: "r"}).
		When(cancel).ThenRefused("shipment_status")
	dispatch := func(f supply.Facts) stockDecision {
		return dispatchShipment(f, "D", "D-0001", "2026-03-09")
	}
	packed.When(dispatch(facts(withRecalled("L1")))).ThenRefused("kits_not_sendable")
	sent := packed.When(dispatch(facts(nil))).Then(shipmentDispatched(depot, "D-0001", "A", "2026-03-09"))
	sent.When(cancel).ThenRefused("shipment_status")

	onItsWay := senderFacts(sent)
	receive := func(f supply.Facts, change func(*supply.ReceiveShipment)) stockDecision {
		return receiveShipment(f, site, "D", change)
	}
	empty := scenario.For(t, supply.StockDecider)
	empty.When(receive(senderFacts(packed), nil)).ThenRefused("shipment_status")
	empty.When(receive(facts(nil), nil)).ThenRefused("shipment_not_found")
	empty.When(receive(onItsWay, func(c *supply.ReceiveShipment) { c.On = "2026-03-08" })).ThenRefused("received_before_dispatch")
	empty.When(receive(onItsWay, func(c *supply.ReceiveShipment) { c.Temperature = "warm" })).ThenRefused("unknown_code")
	empty.When(receive(onItsWay, func(c *supply.ReceiveShipment) { c.Damaged = kits("K2") })).ThenRefused("kit_not_in_shipment")
	got := supply.ShipmentReceived{OfStock: site, Shipment: "D-0001", From: "D", On: "2026-03-10", Contents: contentsOf("K1", "K3")}
	well := got
	well.Available = kits("K1", "K3")
	arrived := empty.When(receive(onItsWay, nil)).Then(well)
	arrived.When(receive(onItsWay, nil)).ThenRefused("shipment_status")
	lose := reportShipmentLost(onItsWay, "D-0001", "r")
	arrived.When(lose).ThenRefused("shipment_status")
	empty.When(lose).Then(supply.ShipmentLost{OfStock: site, Shipment: "D-0001", From: "D", Kits: kits("K1", "K3"), Reason: "r",
		Contents: contentsOf("K1", "K3")}).
		When(receive(onItsWay, nil)).ThenRefused("shipment_status")
	broken := got
	broken.Damaged, broken.Missing = kits("K1"), kits("K3")
	empty.When(receive(onItsWay, func(c *supply.ReceiveShipment) {
		c.Damaged, c.Missing = kits("K1"), kits("K3")
	})).Then(broken)
	for _, found := range []supply.Temperature{supply.TemperatureExcursion, supply.TemperatureUnknown} {
		warm := got
		warm.Excursion, warm.Quarantined = true, kits("K1", "K3")
		empty.When(receive(onItsWay, func(c *supply.ReceiveShipment) { c.Temperature = found })).Then(warm)
	}
	recalled := got
	recalled.Quarantined = kits("K1", "K3")
	afterRecall := onItsWay
	withRecalled("L1")(&afterRecall)
	empty.When(receive(afterRecall, nil)).Then(recalled)
}

func TestResupply(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 2, OverdueDays: 5}
	with := func(siteStock stock) supply.Facts {
		return facts(func(f *supply.Facts) {
			f.Other, f.Supply = siteStock.State(), theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule})
		})
	}
	plan := func(f supply.Facts) stockDecision {
		return decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A"})
	}
	all := stockAt(t, depot, "K1", "K2", "K3", "K4", "K5", "K6")
	shipment := func(kits ...supply.KitNumber) supply.ShipmentCreated {
		e := shipmentCreated(depot, "D-0001", "A", kits...)
		e.Resupply, e.Reason = true, "resupply"
		return e
	}
	short := func(missing supply.MissingKits) supply.ResupplyFellShort {
		return supply.ResupplyFellShort{OfStock: depot, To: "A", Missing: blind.Of(missing)}
	}
	all.When(plan(facts(nil))).Then() // there is no rule
	nothing := scenario.For(t, supply.StockDecider)
	on := all.When(plan(with(nothing))).Then(shipment("K1", "K2", "K3", "K4"))
	on.When(plan(with(nothing))).Then()                             // the kits are on their way
	all.When(plan(with(stockAt(t, site, "K7", "K2", "K3")))).Then() // one is missing, so that no arm can be below the trigger
	// Two are missing altogether. They could have been of one arm; whether they were shows in nothing, because chance decides
	// of which arms the new ones are.
	all.When(plan(with(stockAt(t, site, "K7", "K3")))).Then(shipment("K2", "K4"))
	all.When(plan(with(stockAt(t, site, "K7")))).Then(shipment("K1", "K2", "K4"))
	stockAt(t, depot, "K1").When(plan(with(nothing))).Then(shipment("K1"), short(supply.MissingKits{x: 1, y: 2}))
	stockAt(t, depot, "K5", "K6").When(plan(with(nothing))).Then(short(supply.MissingKits{x: 2, y: 2}))
}

func TestRecallAndExpiry(t *testing.T) {
	given := stockAt(t, site, "K1", "K2", "K3").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", ""), kitAllocated(ben, "K3"))
	recall := quarantineLot("A", "L1", "impurity")
	given.When(recall).Then(supply.KitsQuarantined{OfStock: site, Kits: kits("K3"), Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1",
		Affected: []supply.Slot{{Patient: anna}, {Patient: ben}}, // Anna, who got a kit of the lot already, is named too
		AtHome:   kits("K1"), Holders: []domain.PatientID{anna}}).
		When(recall).Then()
	first := supply.KitsExpired{OfStock: site, Kits: kits("K2"), Through: "2026-06-01"}
	second := supply.KitsExpired{OfStock: site, Kits: kits("K3"), Through: "2027-02-01", Affected: []supply.Slot{{Patient: ben}}}
	given.When(expire("A", "2026-05-31")).Then()
	given.When(expire("A", "2026-06-01")).Then(first).When(expire("A", "2027-02-01")).Then(second)
	given.When(expire("A", "soon")).ThenRefused("malformed_date")
}

// registerNumbered registers n kits with these numbers and arms.
func registerNumbered(t *testing.T, number func(i int) string, arm func(i int) domain.ArmID, n int) ([]supply.Event, error) {
	t.Helper()
	var lines strings.Builder
	lines.WriteString("kit,arm,lot,expiry,units\n")
	for i := range n {
		fmt.Fprintf(&lines, "%s,%s,L1,2027-01-01,2\n", number(i), arm(i))
	}
	return registering(theStudy(nil), "D", lines.String())(theSupply())
}

func TestKitNumbersMustNotRevealArms(t *testing.T) {
	plain := func(i int) string { return fmt.Sprintf("%05d", i) }
	withLetter := func(i int) string { return []string{"A", "B"}[i%2] + plain(i) }
	withZero := func(i int) string { return strings.Repeat("0", i%2) + plain(i) }
	two := []domain.ArmID{x, y}
	alternating := func(i int) domain.ArmID { return two[i%2] }
	for name, c := range map[string]struct {
		number func(int) string
		arm    func(int) domain.ArmID
		code   string
	}{
		"random": {plain, func() func(int) domain.ArmID {
			p := rand.New(rand.NewPCG(3, 3)).Perm(200)
			return func(i int) domain.ArmID { return two[p[i]%2] }
		}(), ""},
		"one arm after the other": {plain, func(i int) domain.ArmID { return two[i/100] }, "kit_numbers_reveal_arm"},
		"a letter for each arm":   {withLetter, alternating, "kit_numbers_reveal_arm"},
		"a length for each arm":   {withZero, alternating, "kit_numbers_reveal_arm"},
		"unknown arm":             {plain, func(int) domain.ArmID { return "Z" }, "unknown_arm"},
		"a number twice":          {func(int) string { return "1" }, alternating, "malformed_csv"},
	} {
		t.Run(name, func(t *testing.T) {
			given := scenario.For(t, supply.Decider)
			outcome := given.When(func(supply.Supply) ([]supply.Event, error) { return registerNumbered(t, c.number, c.arm, 200) })
			if c.code != "" {
				if r := outcome.ThenRefused(c.code); strings.Contains(r.Sentence, string(x)) || strings.Contains(r.Sentence, "Z") {
					t.Errorf("the refusal names an arm: %s", r.Sentence)
				}
				return
			}
			events, err := registerNumbered(t, c.number, c.arm, 200)
			if err != nil || len(events) != 1 || len(events[0].(supply.KitsRegistered).Kits) != 200 {
				t.Errorf("got %v, %v", events, err)
			}
		})
	}
	refused := 0
	for seed := range uint64(500) {
		p := rand.New(rand.NewPCG(seed, 1)).Perm(60)
		if _, err := registerNumbered(t, plain, func(i int) domain.ArmID { return two[p[i]%2] }, 60); err != nil {
			refused++
		}
	}
	if refused > 1 {
		t.Errorf("%d of 500 random numberings were refused", refused)
	}
}

func TestRegistrationIsAllOrNothing(t *testing.T) {
	for code, csv := range map[string]string{
		"malformed_csv":      "kit,arm,lot\n1,XQ-7,L1\n",
		"malformed_date":     "kit,arm,lot,expiry\n1,XQ-7,L1,soon\n",
		"value_missing":      "kit,arm,lot,expiry\n1,XQ-7,,2027-01-01\n",
		"malformed_id":       "kit,arm,lot,expiry\nno number,XQ-7,L1,2027-01-01\n",
		"value_out_of_range": "kit,arm,lot,expiry,units\n1,XQ-7,L1,2027-01-01,0\n",
	} {
		register := registering(theStudy(nil), "D", csv)
		scenario.For(t, supply.Decider).When(register).ThenRefused("depot_not_found")
		if _, err := register(theSupply()); err == nil || !strings.HasPrefix(err.Error(), code+":") {
			t.Errorf("%s: got %v", code, err)
		}
	}
	known := theSupply(supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("7")})
	again := registering(theStudy(nil), "D", "kit,arm,lot,expiry\n7,XQ-7,L1,2027-01-01\n8,XQ-7,L1,2027-01-01\n")
	if _, err := again(known); err == nil || !strings.HasPrefix(err.Error(), "kit_exists:") {
		t.Errorf("got %v", err)
	}
}

// No printed form of a hold, or of an event, shows the contents of kits.
func TestNothingShowsContents(t *testing.T) {
	given := stockAt(t, site, "K1", "K2", "K3", "K4").Given(stockHeld(anna, kitsByArm{x: "K2", y: "K4"}))
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", given.State().Holds, contentsOf("K1"), stockHeld(anna, nil), contentsOf("K1")),
		fmt.Sprintf("%+v", supply.KitsRegistered{Contents: contentsOf("K1")}),
	} {
		for _, token := range []string{string(x), string(y), "L1", "2027-01-01"} {
			if strings.Contains(text, token) {
				t.Errorf("%s appears in %s", token, text)
			}
		}
	}
}
