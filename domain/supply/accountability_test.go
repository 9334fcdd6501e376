package supply_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

func TestQuarantineAndRelease(t *testing.T) {
	given := strictStockAt(t, site, "K1", "K3", "K4").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K4", Visit: "week-4"})
	quarantined := given.When(quarantine(supply.CauseExcursion, "fridge", "K4", "K1")).
		Then(supply.KitsQuarantined{OfStock: site, Kits: kits("K1", "K4"), Cause: supply.CauseExcursion, Reason: "fridge",
			Affected: []supply.Slot{{Patient: anna, Visit: "week-4"}}, Again: kits("K1", "K4")})
	quarantined.When(quarantine(supply.CauseExcursion, "fridge", "K1")).ThenRefused("kit_status")
	given.When(quarantine(supply.CauseRecall, "r", "K1")).ThenRefused("unknown_code") // only the recall of a lot has this cause
	given.When(quarantine("", "r", "K1")).ThenRefused("unknown_code")
	given.When(quarantine(supply.CauseOther, " ", "K1")).ThenRefused("reason_required")
	given.When(quarantine(supply.CauseOther, strings.Repeat("r", 501), "K1")).ThenRefused("value_too_long")
	given.When(quarantine(supply.CauseOther, "r")).ThenRefused("value_out_of_range")
	given.When(quarantine(supply.CauseOther, "r", make([]supply.KitNumber, 1001)...)).ThenRefused("value_out_of_range")
	given.When(quarantine(supply.CauseOther, "r", "K2")).ThenRefused("kit_not_at_location")
	given.When(quarantine(supply.CauseOther, "r", "K1", "K1")).ThenRefused("kit_named_twice")

	release := func(f supply.Facts, reason string, kits ...supply.KitNumber) stockDecision {
		return releaseKits(f, "A", reason, kits...)
	}
	released := quarantined.When(release(facts(nil), "data sheet", "K4", "K1")).
		Then(supply.KitsReleased{OfStock: site, Kits: kits("K1", "K4"),
			Affected: []supply.Slot{{Patient: anna, Visit: "week-4"}}, Reason: "data sheet"})
	for n, want := range map[supply.KitNumber]supply.Kit{
		"K1": {Status: supply.KitAvailable}, "K4": {Status: supply.KitIsAllocated, Patient: anna, Visit: "week-4"},
	} {
		if got, _ := released.State().Kits.Get(n); !reflect.DeepEqual(got, want) {
			t.Errorf("the released kit %s is %+v, not %+v", n, got, want)
		}
	}
	released.When(release(facts(nil), "data sheet", "K1")).ThenRefused("kit_status")
	quarantined.When(release(facts(nil), "", "K1")).ThenRefused("reason_required")
	quarantined.When(release(facts(nil), strings.Repeat("r", 501), "K1")).ThenRefused("value_too_long")
	quarantined.When(release(facts(nil), "r")).ThenRefused("value_out_of_range")
	quarantined.When(release(facts(nil), "r", "K2")).ThenRefused("kit_not_at_location")
	quarantined.When(release(facts(nil), "r", "K1", "K1")).ThenRefused("kit_named_twice")
	quarantined.When(release(facts(nil), "r", "K1", "K3")).ThenRefused("kit_status")
	quarantined.When(release(facts(withRecalled("L2")), "r", "K1", "K4")).ThenRefused("lot_recalled")
	quarantined.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K3", Visit: "week-4", Replaces: "K4"}).
		When(release(facts(nil), "r", "K4")).ThenRefused("kit_replaced")
}

func TestDispense(t *testing.T) {
	dispensing := func(f supply.Facts, on, now string) stockDecision {
		at, err := time.Parse(time.DateOnly, now)
		if err != nil {
			t.Fatal(err)
		}
		return scenario.SentWithFacts(supply.Dispense, f, dispenseKit(anna, "K1", domain.Date(on)), domain.Call{At: at})
	}
	given := strictStockAt(t, site, "K1").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4"})
	dispensed := func(on domain.Date) supply.KitDispensed {
		return supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4", On: on}
	}
	given.When(dispensing(facts(nil), "tomorrow", "2026-03-10")).ThenRefused("malformed_date")
	given.When(dispensing(facts(nil), "2026-03-12", "2026-03-10")).ThenRefused("captured_in_future")
	given.When(dispensing(facts(nil), "2026-03-10", "2026-03-10")).Then(dispensed("2026-03-10")).
		When(dispensing(facts(nil), "2026-03-10", "2026-03-10")).ThenRefused("kit_status")
	// The kit expires on 1 January, and is not given out in the seven days before, which is the margin of the protocol.
	given.When(dispensing(facts(nil), "2026-12-24", "2026-12-24")).Then(dispensed("2026-12-24"))
	given.When(dispensing(facts(nil), "2026-12-25", "2026-12-25")).ThenRefused("kit_expires_soon")
	given.When(dispensing(facts(nil), "2026-12-31", "2026-12-31")).ThenRefused("kit_expires_soon")
	given.When(dispensing(facts(nil), "2027-01-01", "2027-01-01")).ThenRefused("kit_expired")
	// An earlier day of dispensing does not help after the expiry.
	given.When(dispensing(facts(nil), "2026-03-10", "2027-01-01")).ThenRefused("kit_expired")
	none := facts(func(f *supply.Facts) { f.Study = theStudy(func(t *study.Treatment) { t.DoNotDispenseDays = 0 }) })
	given.When(dispensing(none, "2026-12-31", "2026-12-31")).Then(dispensed("2026-12-31"))
	given.When(dispensing(none, "2027-01-01", "2027-01-01")).ThenRefused("kit_expired")
}

func TestR8_NothingIsDispensedBeforeItIsDrawnAndAllocated(t *testing.T) {
	dispensing := decisionWith(supply.Dispense, facts(nil), dispenseKit(anna, "K1", "2026-03-10"))
	given := strictStockAt(t, site, "K1", "K3")
	given.When(dispensing).ThenRefused("kit_not_allocated_to_patient")
	given.Given(stockHeld(anna, kitsByArm{x: "K1", y: "K3"})).When(dispensing).ThenRefused("kit_not_allocated_to_patient")
	failed := supply.AllocationFailed{OfStock: site, Patient: anna, Code: "not_randomised", Reason: "the patient has not been randomised"}
	given.When(allocate(facts(nil), anna, "")).Then(failed).When(dispensing).ThenRefused("kit_not_allocated_to_patient")
}

func TestReturnAndReconcile(t *testing.T) {
	allocated := strictStockAt(t, site, "K1", "K3").Given(kitAllocated(anna, "K1"))
	allocated.When(returnKit(anna, "K1", "2026-03-10")).ThenRefused("kit_not_dispensed")
	given := allocated.Given(kitDispensed(anna, "K1", ""))
	given.When(returnKit(anna, "K1", "")).ThenRefused("malformed_date")
	given.When(returnKit(anna, "K1", "2026-03-12")).ThenRefused("captured_in_future")
	given.When(returnKit(anna, "K2", "2026-03-10")).ThenRefused("kit_not_at_location")
	given.When(returnKit(ben, "K1", "2026-03-10")).ThenRefused("kit_not_allocated_to_patient")
	back := given.When(returnKit(anna, "K1", "2026-03-10")).Then(kitReturned(anna, "K1", "2026-03-10"))
	back.When(returnKit(anna, "K1", "2026-03-10")).ThenRefused("kit_status")

	reconciling := func(change func(*supply.ReconcileKit)) stockDecision {
		c := supply.ReconcileKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1", Used: 10}
		change(&c)
		return decision(supply.Reconcile, c)
	}
	for code, changes := range map[string][]func(*supply.ReconcileKit){
		"value_out_of_range": {func(c *supply.ReconcileKit) { c.Returned = -1 }, func(c *supply.ReconcileKit) { c.Used = 10_001 },
			func(c *supply.ReconcileKit) { c.Lost, c.Used = -10, 20 }, func(c *supply.ReconcileKit) { c.Used = -1 }},
		"value_too_long":               {func(c *supply.ReconcileKit) { c.Note = personal.Text(strings.Repeat("n", 501)) }},
		"kit_not_at_location":          {func(c *supply.ReconcileKit) { c.Kit = "K2" }},
		"kit_not_allocated_to_patient": {func(c *supply.ReconcileKit) { c.Patient = ben }, func(c *supply.ReconcileKit) { c.Kit = "K3" }},
		"doses_do_not_add_up":          {func(c *supply.ReconcileKit) { c.Lost = 1 }, func(c *supply.ReconcileKit) { c.Used = 9 }},
	} {
		for _, change := range changes {
			if r := back.When(reconciling(change)).ThenRefused(code); code == "doses_do_not_add_up" && strings.Contains(r.Error(), "10") {
				t.Errorf("the refusal reveals how many doses the kit held: %v", r)
			}
		}
	}
	all := func(c *supply.ReconcileKit) { c.Note = "all taken" }
	reconciled := supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Used: 10, Note: "all taken"}
	back.When(reconciling(all)).Then(reconciled).When(reconciling(all)).ThenRefused("kit_reconciled")
}

func TestDestroyAndLose(t *testing.T) {
	destroying := func(change func(*supply.DestroyKits)) stockDecision {
		c := supply.DestroyKits{AtLocation: atLocation("A"), Kits: kits("K1"), On: "2026-03-10", Certificate: "c-1"}
		change(&c)
		return decisionWith(supply.Destroy, asDepot("A"), c)
	}
	given := strictStockAt(t, site, "K1", "K2").Given(supply.KitsQuarantined{OfStock: site, Kits: kits("K1"), Cause: supply.CauseOther})
	for code, changes := range map[string][]func(*supply.DestroyKits){
		"malformed_date":     {func(c *supply.DestroyKits) { c.On = "2026-02-30" }},
		"captured_in_future": {func(c *supply.DestroyKits) { c.On = "2026-03-12" }},
		"value_missing":      {func(c *supply.DestroyKits) { c.Certificate = "" }},
		"value_too_long":     {func(c *supply.DestroyKits) { c.Certificate = strings.Repeat("c", 201) }},
		"value_out_of_range": {
			func(c *supply.DestroyKits) { c.Kits = nil },
			func(c *supply.DestroyKits) { c.Kits = make([]supply.KitNumber, 1001) },
		},
		"kit_not_at_location": {func(c *supply.DestroyKits) { c.Kits = kits("K1", "K9") }},
		"kit_named_twice":     {func(c *supply.DestroyKits) { c.Kits = kits("K1", "K1") }},
		"kit_status":          {func(c *supply.DestroyKits) { c.Kits = kits("K1", "K2") }},
	} {
		for _, change := range changes {
			given.When(destroying(change)).ThenRefused(code)
		}
	}
	unchanged := func(*supply.DestroyKits) {}
	destroyed := given.When(destroying(unchanged)).
		Then(supply.KitsDestroyed{OfStock: site, Kits: kits("K1"), On: "2026-03-10", Certificate: "c-1"})
	destroyed.When(destroying(unchanged)).ThenRefused("kit_status")

	destroyed.When(reportKitLost("K1", "r")).ThenRefused("kit_status")
	given.When(reportKitLost("K1", "")).ThenRefused("reason_required")
	given.When(reportKitLost("K1", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	given.When(reportKitLost("K9", "r")).ThenRefused("kit_not_at_location")
	given.When(reportKitLost("K2", "r")).Then(supply.KitLost{OfStock: site, Kit: "K2", Reason: "r"}).
		When(reportKitLost("K2", "r")).ThenRefused("kit_status")
	// A kit that is lost before it was given out is replaced, and so is the one that the patient got last.
	allocated := given.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2", Visit: "v"})
	lost := supply.KitLost{OfStock: site, Kit: "K2", Affected: []supply.Slot{{Patient: anna, Visit: "v"}}, Reason: "r"}
	allocated.When(reportKitLost("K2", "r")).Then(lost).Given(supply.KitsReleased{OfStock: site, Kits: kits("K1")}).
		When(allocate(inArm(x), anna, "v")).Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "v", Replaces: "K2"})
	allocated.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K2", Visit: "v"}).When(reportKitLost("K2", "r")).Then(lost).
		Given(supply.KitsReleased{OfStock: site, Kits: kits("K1")}).When(allocate(inArm(x), anna, "v")).
		Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "v", Replaces: "K2"})
	// One of a former visit is not.
	allocated.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K2", Visit: "v"}, supply.KitsReleased{OfStock: site,
		Kits: kits("K1")},
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "w"}).When(reportKitLost("K2", "r")).Then(lost).
		When(allocate(inArm(x), anna, "v")).Then()
}

// A repeated QuarantineLot has an effect only if kits of the lot have arrived since.
func TestQuarantineLotAgain(t *testing.T) {
	recall := quarantineLot("A", "L1", "impurity")
	late := supply.ShipmentReceived{OfStock: site, Shipment: "Z-0002", From: "Z", Available: kits("K3"), Contents: contentsOf("K3")}
	quarantined := func(kits ...supply.KitNumber) supply.KitsQuarantined {
		return supply.KitsQuarantined{OfStock: site, Kits: kits, Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1"}
	}
	stockAt(t, site, "K2").When(recall).Then().Given(late).When(recall).Then(quarantined("K3"))
	stockAt(t, site, "K1", "K2").When(recall).Then(quarantined("K1")).When(recall).Then().
		Given(late).When(recall).Then(quarantined("K3")).When(recall).Then()
}

// KitsOf lists every kit that was ever allocated to a patient.
func TestKitsOfAPatient(t *testing.T) {
	s := stockAt(t, site, "K1", "K2", "K3").Given(kitAllocated(anna, "K2"), kitAllocated(ben, "K3"),
		supply.KitLost{OfStock: site, Kit: "K2"}, supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Replaces: "K2"}).State()
	if got := s.KitsOf(anna); !slices.Equal(got, kits("K1", "K2")) {
		t.Errorf("Anna had %v", got)
	}
	if got := s.KitsOf("PAIN1.S-9"); len(got) > 0 {
		t.Errorf("a patient without kits had %v", got)
	}
}

func TestArmOfAll(t *testing.T) {
	protocol := func(randomised bool, arms ...study.Arm) *study.Protocol {
		return &study.Protocol{Arms: arms, Treatment: &study.Treatment{Randomised: randomised}}
	}
	for _, c := range []struct {
		p    *study.Protocol
		want domain.ArmID
	}{{nil, ""}, {&study.Protocol{Arms: []study.Arm{{ID: "a"}}}, ""}, {protocol(true, study.Arm{ID: "a"}), ""}, {protocol(false), ""},
		{protocol(false, study.Arm{ID: "a"}, study.Arm{ID: "b"}), ""}, {protocol(false, study.Arm{ID: "a"}), "a"}} {
		if got := supply.ArmOfAll(c.p); got != c.want {
			t.Errorf("%+v: the only arm is %q", c.p, got)
		}
	}
}

// A program without the blinding keys folds the same events. A decision that needs the contents of kits fails there: it
// returns an error that is not a refusal, and no events.
func TestDecisionsFailWithoutBlindingKeys(t *testing.T) {
	sealed := func(p supply.OfStock, kits ...supply.KitNumber) stock {
		return scenario.For(t, supply.StockDecider).Given(supply.ShipmentReceived{OfStock: p, Shipment: "Z-0001", From: "Z", Available: kits})
	}
	atSite := sealed(site, "K1", "K2").Given(kitAllocated(anna, "K2"))
	holds := stockAt(t, site, "K1", "K3").Given(supply.StockHeld{OfStock: site, Patient: ben})
	packed := sealed(depot, "K1").Given(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "A", Kits: kits("K1")})
	sent := packed.Given(shipmentDispatched(depot, "D-0001", "A", "2026-03-09"))
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1}
	ruled := func(other supply.Stock) supply.Facts {
		return facts(func(f *supply.Facts) {
			f.Other, f.Supply = other, theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule})
		})
	}
	plan := supply.PlanResupply{AtDepot: atDepot, Site: "A"}
	back := atSite.Given(kitDispensed(anna, "K2", ""), kitReturned(anna, "K2", ""))
	registered := facts(func(f *supply.Facts) {
		f.Supply = theSupply(supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("K1")})
	})
	takeIn := supply.TakeInDelivery{AtDepot: atDepot, Delivery: 1}
	quarantined := atSite.Given(supply.KitsQuarantined{OfStock: site, Kits: kits("K1")})
	reconcile := supply.ReconcileKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K2"}
	for name, outcome := range map[string]struct {
		s      stock
		decide stockDecision
	}{
		"taking in":            {scenario.For(t, supply.StockDecider), decisionWith(supply.AcceptDelivery, registered, takeIn)},
		"creating":             {atSite, createShipment("A", "D", "r", "K1")},
		"dispatching":          {packed, dispatchShipment(facts(nil), "D", "D-0001", "2026-03-10")},
		"receiving":            {scenario.For(t, supply.StockDecider), receiveShipment(senderFacts(sent), site, "D", nil)},
		"planning":             {sealed(depot, "K1"), decisionWith(supply.Resupply, ruled(supply.Stock{}), plan)},
		"planning for sealed":  {stockAt(t, depot, "K1"), decisionWith(supply.Resupply, ruled(atSite.State()), plan)},
		"planning with sent":   {sent, decisionWith(supply.Resupply, ruled(supply.Stock{}), plan)},
		"holding":              {sealed(site, "K1"), hold(facts(nil))},
		"holding beside holds": {holds, hold(facts(nil))},
		"allocating":           {atSite, allocate(inArm(x), ben, "")},
		"dispensing":           {atSite, decisionWith(supply.Dispense, facts(nil), dispenseKit(anna, "K2", "2026-03-10"))},
		"quarantining a lot":   {atSite, quarantineLot("A", "L1", "")},
		"releasing":            {quarantined, releaseKits(facts(nil), "A", "r", "K1")},
		"reconciling":          {back, decision(supply.Reconcile, reconcile)},
		"expiring":             {atSite, expire("A", "2030-01-01")},
	} {
		events, err := outcome.decide(outcome.s.State())
		if err == nil || !strings.Contains(err.Error(), "without the blinding keys") || len(events) > 0 {
			t.Errorf("%s without keys: %v, %v", name, events, err)
		}
	}
	if _, err := holds.State().HeldArms(ben); err == nil {
		t.Error("HeldArms opens a sealed hold")
	}
	arms, err := stockAt(t, site, "K1", "K3").Given(stockHeld(anna, kitsByArm{y: "K3", x: "K1"})).State().HeldArms(anna)
	if err != nil || !slices.Equal(arms, []domain.ArmID{x, y}) {
		t.Errorf("the held arms are %v, %v", arms, err)
	}
	if arms, err := (supply.Stock{}).HeldArms(anna); err != nil || arms == nil || len(arms) > 0 {
		t.Errorf("the held arms are %v, %v", arms, err)
	}
}

// What comes late changes nothing: who is treated here again keeps the kits, and a lot whose recall was withdrawn is used.
func TestWhatComesTooLateChangesNothing(t *testing.T) {
	aside := supply.SetKitsAside{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna), Reasoned: domain.Because("ended")}
	has := stockAt(t, site, "K1").Given(kitAllocated(anna, "K1"))
	here := supply.Facts{Enrolled: true, PatientsSite: "A"}
	has.When(decisionWith(supply.SetAside, here, aside)).Then()
	ended, away := here, here
	ended.Withheld, away.PatientsSite = supply.TreatmentHasEnded, "B"
	for _, f := range []supply.Facts{{}, ended, away} {
		has.When(decisionWith(supply.SetAside, f, aside)).Then(supply.KitsSetAside{OfStock: site, Patient: anna, Kits: kits("K1"),
			Reason: "ended", Affected: []supply.Slot{{Patient: anna}}})
	}
	quarantine := supply.QuarantineLot{AtLocation: atLocation("A"), Lot: "L1", Reasoned: domain.Because("impurity")}
	stockAt(t, site, "K1").When(decisionWith(supply.QuarantineRecalledLot, supply.Facts{}, quarantine)).Then()
}
