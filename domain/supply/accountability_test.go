package supply_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

func kits(numbers ...supply.KitNumber) []supply.KitNumber { return numbers }

func TestQuarantineAndRelease(t *testing.T) {
	given := strictlyAt(t, site, "K1", "K3", "K4").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K4", Visit: "week-4"})
	quarantining := func(cause supply.Cause, reason string, kits ...supply.KitNumber) stockDecision {
		return scenario.Sent(supply.Quarantine, supply.QuarantineKits{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Kits: kits, Cause: cause, Reasoned: domain.Because(reason)}, call)
	}
	aside := supply.KitsQuarantined{OfStock: site, Kits: kits("K1", "K4"), Cause: supply.CauseExcursion, Reason: "fridge", Affected: []supply.Slot{{Patient: anna, Visit: "week-4"}}}
	set := given.When(quarantining(supply.CauseExcursion, "fridge", "K4", "K1")).Then(aside)
	set.When(quarantining(supply.CauseExcursion, "fridge", "K1")).ThenRefused("kit_status")
	given.When(quarantining(supply.CauseRecall, "r", "K1")).ThenRefused("unknown_code") // a recall is the lot's
	given.When(quarantining("", "r", "K1")).ThenRefused("unknown_code")
	given.When(quarantining(supply.CauseOther, " ", "K1")).ThenRefused("reason_required")
	given.When(quarantining(supply.CauseOther, strings.Repeat("r", 501), "K1")).ThenRefused("value_too_long")
	given.When(quarantining(supply.CauseOther, "r")).ThenRefused("value_out_of_range")
	given.When(quarantining(supply.CauseOther, "r", make([]supply.KitNumber, 1001)...)).ThenRefused("value_out_of_range")
	given.When(quarantining(supply.CauseOther, "r", "K2")).ThenRefused("kit_not_at_location")
	given.When(quarantining(supply.CauseOther, "r", "K1", "K1")).ThenRefused("kit_named_twice")

	freeing := func(f supply.Facts, reason string, kits ...supply.KitNumber) stockDecision {
		return asked(supply.ReleaseFromQuarantine, f, supply.ReleaseKits{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Kits: kits, Reasoned: domain.Because(reason)})
	}
	free := set.When(freeing(facts(nil), "data sheet", "K4", "K1")).Then(supply.KitsReleased{OfStock: site, Kits: kits("K1", "K4"), Reason: "data sheet"})
	for n, want := range map[supply.KitNumber]supply.Kit{"K1": {Status: supply.KitAvailable}, "K4": {Status: supply.KitIsAllocated, Patient: anna, Visit: "week-4"}} {
		if got, _ := free.State().Kits.Get(n); got != want {
			t.Errorf("the released kit %s is %+v, not %+v", n, got, want)
		}
	}
	free.When(freeing(facts(nil), "data sheet", "K1")).ThenRefused("kit_status")
	set.When(freeing(facts(nil), "", "K1")).ThenRefused("reason_required")
	set.When(freeing(facts(nil), strings.Repeat("r", 501), "K1")).ThenRefused("value_too_long")
	set.When(freeing(facts(nil), "r")).ThenRefused("value_out_of_range")
	set.When(freeing(facts(nil), "r", "K2")).ThenRefused("kit_not_at_location")
	set.When(freeing(facts(nil), "r", "K1", "K1")).ThenRefused("kit_named_twice")
	set.When(freeing(facts(nil), "r", "K1", "K3")).ThenRefused("kit_status")
	set.When(freeing(facts(func(f *supply.Facts) { f.Supply = theSupply(supply.LotRecalled{Study: pain, Lot: "L2"}) }), "r", "K1", "K4")).ThenRefused("lot_recalled")
	set.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K3", Visit: "week-4", Replaces: "K4"}).When(freeing(facts(nil), "r", "K4")).ThenRefused("kit_replaced")
}

func TestDispense(t *testing.T) {
	dispensing := func(f supply.Facts, on, now string) stockDecision {
		at, err := time.Parse(time.DateOnly, now)
		if err != nil {
			t.Fatal(err)
		}
		return scenario.SentWithFacts(supply.Dispense, f, supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1", On: domain.Date(on)}, domain.Call{At: at})
	}
	given := strictlyAt(t, site, "K1").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4"})
	out := func(on domain.Date) supply.KitDispensed {
		return supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1", Visit: "week-4", On: on}
	}
	given.When(dispensing(facts(nil), "tomorrow", "2026-03-10")).ThenRefused("malformed_date")
	given.When(dispensing(facts(nil), "2026-03-12", "2026-03-10")).ThenRefused("captured_in_future")
	given.When(dispensing(facts(nil), "2026-03-10", "2026-03-10")).Then(out("2026-03-10")).
		When(dispensing(facts(nil), "2026-03-10", "2026-03-10")).ThenRefused("kit_status")
	// The kit expires on the first of January, and goes to nobody in the seven days before. The margin is the protocol's.
	given.When(dispensing(facts(nil), "2026-12-24", "2026-12-24")).Then(out("2026-12-24"))
	given.When(dispensing(facts(nil), "2026-12-25", "2026-12-25")).ThenRefused("kit_expires_soon")
	given.When(dispensing(facts(nil), "2026-12-31", "2026-12-31")).ThenRefused("kit_expires_soon")
	given.When(dispensing(facts(nil), "2027-01-01", "2027-01-01")).ThenRefused("kit_expired")
	given.When(dispensing(facts(nil), "2026-03-10", "2027-01-01")).ThenRefused("kit_expired") // an earlier day does not help
	none := facts(func(f *supply.Facts) { f.Study = theStudy(func(t *study.Treatment) { t.DoNotDispenseDays = 0 }) })
	given.When(dispensing(none, "2026-12-31", "2026-12-31")).Then(out("2026-12-31"))
	given.When(dispensing(none, "2027-01-01", "2027-01-01")).ThenRefused("kit_expired")
}

func TestR8_NothingIsDispensedBeforeItIsDrawnAndAllocated(t *testing.T) {
	dispensing := asked(supply.Dispense, facts(nil), supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1", On: "2026-03-10"})
	given := strictlyAt(t, site, "K1", "K3")
	given.When(dispensing).ThenRefused("kit_not_allocated_to_patient")
	given.Given(held(supply.HeldKits{x: "K1", y: "K3"})).When(dispensing).ThenRefused("kit_not_allocated_to_patient")
	given.When(allocate(facts(nil), anna, "")).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Code: "not_randomised", Reason: "the patient has not been randomised"}).
		When(dispensing).ThenRefused("kit_not_allocated_to_patient")
}

func TestReturnAndReconcile(t *testing.T) {
	returning := func(p domain.PatientID, n supply.KitNumber, on domain.Date) stockDecision {
		return scenario.Sent(supply.Return, supply.ReturnKit{Site: "A", OfPatient: domain.ForPatient(p), Kit: n, On: on}, call)
	}
	allocated := strictlyAt(t, site, "K1", "K3").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1"})
	allocated.When(returning(anna, "K1", "2026-03-10")).ThenRefused("kit_status")
	given := allocated.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1"})
	given.When(returning(anna, "K1", "")).ThenRefused("malformed_date")
	given.When(returning(anna, "K1", "2026-03-12")).ThenRefused("captured_in_future")
	given.When(returning(anna, "K2", "2026-03-10")).ThenRefused("kit_not_at_location")
	given.When(returning(ben, "K1", "2026-03-10")).ThenRefused("kit_not_allocated_to_patient")
	back := given.When(returning(anna, "K1", "2026-03-10")).Then(supply.KitReturned{OfStock: site, Patient: anna, Kit: "K1", On: "2026-03-10"})
	back.When(returning(anna, "K1", "2026-03-10")).ThenRefused("kit_status")

	reconciling := func(change func(*supply.ReconcileKit)) stockDecision {
		c := supply.ReconcileKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1", Used: 10}
		change(&c)
		return scenario.Sent(supply.Reconcile, c, call)
	}
	for code, changes := range map[string][]func(*supply.ReconcileKit){
		"value_out_of_range": {func(c *supply.ReconcileKit) { c.Returned = -1 }, func(c *supply.ReconcileKit) { c.Used = 10_001 },
			func(c *supply.ReconcileKit) { c.Lost, c.Used = -10, 20 }, func(c *supply.ReconcileKit) { c.Used = -1 }},
		"value_too_long":               {func(c *supply.ReconcileKit) { c.Note = strings.Repeat("n", 501) }},
		"kit_not_at_location":                 {func(c *supply.ReconcileKit) { c.Kit = "K2" }},
		"kit_not_allocated_to_patient": {func(c *supply.ReconcileKit) { c.Patient = ben }, func(c *supply.ReconcileKit) { c.Kit = "K3" }},
		"doses_do_not_add_up":          {func(c *supply.ReconcileKit) { c.Lost = 1 }, func(c *supply.ReconcileKit) { c.Used = 9 }},
	} {
		for _, change := range changes {
			if r := back.When(reconciling(change)).ThenRefused(code); code == "doses_do_not_add_up" && strings.Contains(r.Error(), "10") {
				t.Errorf("the refusal says what the kit held: %v", r)
			}
		}
	}
	all := func(c *supply.ReconcileKit) { c.Note = "all taken" }
	back.When(reconciling(all)).Then(supply.KitReconciled{OfStock: site, Patient: anna, Kit: "K1", Used: 10, Note: "all taken"}).When(reconciling(all)).ThenRefused("kit_reconciled")
}

func TestDestroyAndLose(t *testing.T) {
	destroying := func(change func(*supply.DestroyKits)) stockDecision {
		c := supply.DestroyKits{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Kits: kits("K1"), On: "2026-03-10", Certificate: "c-1"}
		change(&c)
		return scenario.Sent(supply.Destroy, c, call)
	}
	same := func(*supply.DestroyKits) {}
	given := strictlyAt(t, site, "K1", "K2").Given(supply.KitsQuarantined{OfStock: site, Kits: kits("K1"), Cause: supply.CauseOther})
	for code, changes := range map[string][]func(*supply.DestroyKits){
		"malformed_date":     {func(c *supply.DestroyKits) { c.On = "2026-02-30" }},
		"captured_in_future": {func(c *supply.DestroyKits) { c.On = "2026-03-12" }},
		"value_missing":      {func(c *supply.DestroyKits) { c.Certificate = "" }},
		"value_too_long":     {func(c *supply.DestroyKits) { c.Certificate = strings.Repeat("c", 201) }},
		"value_out_of_range": {func(c *supply.DestroyKits) { c.Kits = nil }, func(c *supply.DestroyKits) { c.Kits = make([]supply.KitNumber, 1001) }},
		"kit_not_at_location":       {func(c *supply.DestroyKits) { c.Kits = kits("K1", "K9") }},
		"kit_named_twice":    {func(c *supply.DestroyKits) { c.Kits = kits("K1", "K1") }},
		"kit_status":         {func(c *supply.DestroyKits) { c.Kits = kits("K1", "K2") }},
	} {
		for _, change := range changes {
			given.When(destroying(change)).ThenRefused(code)
		}
	}
	gone := given.When(destroying(same)).Then(supply.KitsDestroyed{OfStock: site, Kits: kits("K1"), On: "2026-03-10", Certificate: "c-1"})
	gone.When(destroying(same)).ThenRefused("kit_status")

	losing := func(n supply.KitNumber, reason string) stockDecision {
		return scenario.Sent(supply.RecordKitLoss, supply.ReportKitLost{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Kit: n, Reasoned: domain.Because(reason)}, call)
	}
	gone.When(losing("K1", "r")).ThenRefused("kit_status")
	given.When(losing("K1", "")).ThenRefused("reason_required")
	given.When(losing("K1", strings.Repeat("r", 501))).ThenRefused("value_too_long")
	given.When(losing("K9", "r")).ThenRefused("kit_not_at_location")
	given.When(losing("K2", "r")).Then(supply.KitLost{OfStock: site, Kit: "K2", Reason: "r"}).When(losing("K2", "r")).ThenRefused("kit_status")
	// What is lost before it was given out is replaced; what the patient has lost is not.
	allocated := given.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2", Visit: "v"})
	lost := supply.KitLost{OfStock: site, Kit: "K2", Affected: []supply.Slot{{Patient: anna, Visit: "v"}}, Reason: "r"}
	allocated.When(losing("K2", "r")).Then(lost).Given(supply.KitsReleased{OfStock: site, Kits: kits("K1")}).
		When(allocate(inArm(x), anna, "v")).Then(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "v", Replaces: "K2"})
	allocated.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K2", Visit: "v"}).When(losing("K2", "r")).Then(lost).
		Given(supply.KitsReleased{OfStock: site, Kits: kits("K1")}).When(allocate(inArm(x), anna, "v")).Then()
}

// Setting a lot aside again does something only where there is something to do.
func TestSetLotAsideAgain(t *testing.T) {
	recall := scenario.Sent(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Lot: "L1", Reasoned: domain.Because("impurity")}, call)
	late := supply.ShipmentReceived{OfStock: site, Shipment: "Z-0002", From: "Z", Available: kits("K3"), Contents: holding("K3")}
	aside := func(kits ...supply.KitNumber) supply.KitsQuarantined {
		return supply.KitsQuarantined{OfStock: site, Kits: kits, Cause: supply.CauseRecall, Reason: "impurity", Lot: "L1"}
	}
	at(t, site, "K2").When(recall).Then().Given(late).When(recall).Then(aside("K3"))
	at(t, site, "K1", "K2").When(recall).Then(aside("K1")).When(recall).Then().Given(late).When(recall).Then(aside("K3")).When(recall).Then()
}

// KitsOf tells which kits were a patient's.
func TestKitsOfAPatient(t *testing.T) {
	s := at(t, site, "K1", "K2", "K3").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2"}, supply.KitAllocated{OfStock: site, Patient: ben, Kit: "K3"},
		supply.KitLost{OfStock: site, Kit: "K2"}, supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Replaces: "K2"}).State()
	if got := s.KitsOf(anna); !slices.Equal(got, kits("K1", "K2")) {
		t.Errorf("Anna had %v", got)
	}
	if got := s.KitsOf("PAIN1.S-9"); len(got) > 0 {
		t.Errorf("nobody had %v", got)
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
			t.Errorf("%+v: the arm of all is %q", c.p, got)
		}
	}
}

// A program without keys folds the same events, and fails where a decision needs to know what kits hold: that is no
// refusal, and nothing is decided.
func TestWithoutKeysNothingIsDecidedBlindly(t *testing.T) {
	sealed := func(p supply.OfStock, kits ...supply.KitNumber) stock {
		return scenario.For(t, supply.StockDecider).Given(supply.ShipmentReceived{OfStock: p, Shipment: "Z-0001", From: "Z", Available: kits})
	}
	here := sealed(site, "K1", "K2").Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2"})
	holds := at(t, site, "K1", "K3").Given(supply.StockHeld{OfStock: site, Patient: ben})
	packed := sealed(depot, "K1").Given(supply.ShipmentCreated{OfStock: depot, Shipment: "D-0001", To: "A", Kits: kits("K1")})
	sent := packed.Given(supply.ShipmentDispatched{OfStock: depot, Shipment: "D-0001", To: "A", On: "2026-03-09"})
	ruled := func(other supply.Stock) supply.Facts {
		return facts(func(f *supply.Facts) {
			f.Other, f.Supply = other, theSupply(supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1}})
		})
	}
	plan := supply.PlanResupply{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Site: "A"}
	back := here.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K2"}, supply.KitReturned{OfStock: site, Patient: anna, Kit: "K2"})
	taken := facts(func(f *supply.Facts) {
		f.Supply = theSupply(supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("K1")})
	})
	for name, outcome := range map[string]struct {
		s      stock
		decide stockDecision
	}{
		"taking in":             {scenario.For(t, supply.StockDecider), asked(supply.AcceptDelivery, taken, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: pain, Depot: "D"}, Delivery: 1})},
		"creating":              {here, creating("A", "D", "r", "K1")},
		"creating beside holds": {holds, creating("A", "D", "r", "K1")},
		"dispatching":           {packed, asked(supply.Dispatch, facts(nil), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: pain, From: "D"}, Shipment: "D-0001", On: "2026-03-10"})},
		"receiving":             {scenario.For(t, supply.StockDecider), receiving(from(sent), site, "D", nil)},
		"planning":              {sealed(depot, "K1"), asked(supply.Resupply, ruled(supply.Stock{}), plan)},
		"planning for sealed":   {at(t, depot, "K1"), asked(supply.Resupply, ruled(here.State()), plan)},
		"planning with sent":    {sent, asked(supply.Resupply, ruled(supply.Stock{}), plan)},
		"holding":               {sealed(site, "K1"), hold(facts(nil))},
		"holding beside holds":  {holds, hold(facts(nil))},
		"allocating":            {here, allocate(inArm(x), ben, "")},
		"dispensing":            {here, asked(supply.Dispense, facts(nil), supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K2", On: "2026-03-10"})},
		"setting a lot aside":   {here, scenario.Sent(supply.QuarantineKitsOfLot, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Lot: "L1"}, call)},
		"releasing":             {here.Given(supply.KitsQuarantined{OfStock: site, Kits: kits("K1")}), asked(supply.ReleaseFromQuarantine, facts(nil), supply.ReleaseKits{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Kits: kits("K1"), Reasoned: domain.Because("r")})},
		"reconciling":           {back, scenario.Sent(supply.Reconcile, supply.ReconcileKit{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K2"}, call)},
		"expiring":              {here, scenario.Sent(supply.Expire, supply.ExpireKits{AtLocation: supply.AtLocation{Study: pain, Location: "A"}, Through: "2030-01-01"}, call)},
	} {
		events, err := outcome.decide(outcome.s.State())
		if err == nil || !strings.Contains(err.Error(), "without the blinding keys") || len(events) > 0 {
			t.Errorf("%s without keys: %v, %v", name, events, err)
		}
	}
	if _, err := holds.State().HeldArms(ben); err == nil {
		t.Error("it knows which arms are held")
	}
	arms, err := at(t, site, "K1", "K3").Given(supply.StockHeld{OfStock: site, Patient: anna, Kits: blind.Of(supply.HeldKits{y: "K3", x: "K1"})}).State().HeldArms(anna)
	if err != nil || !slices.Equal(arms, []domain.ArmID{x, y}) {
		t.Errorf("held are %v, %v", arms, err)
	}
	if arms, err := (supply.Stock{}).HeldArms(anna); err != nil || arms == nil || len(arms) > 0 {
		t.Errorf("held are %v, %v", arms, err)
	}
}
