package supply_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

// withVisits is the study withCountries, whose patients get kits four and eight weeks after the enrolment.
func withVisits() study.Study {
	s := withCountries(false)
	p := *s.Protocol
	t := *p.Treatment
	t.DispensingVisits = []string{"week-4", "week-8"}
	p.Treatment, p.Visits = &t, []study.Visit{{ID: "week-4", Day: 28, DaysAfter: 3}, {ID: "week-8", Day: 56}}
	s.Protocol = &p
	return s
}

// lookingAhead are the facts of a resupply of site A, whose stock is given, by a rule that looks ahead.
func lookingAhead(at supply.Stock, rule supply.ResupplyRule, patients ...supply.Scheduled) supply.Facts {
	return facts(func(f *supply.Facts) {
		f.Study, f.Other = withVisits(), at
		for _, who := range patients {
			if who.Study.Protocol == nil {
				who.Study = f.Study
			}
			f.Patients = append(f.Patients, who)
		}
		f.Supply = theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule})
	})
}

// manyKits are n available kits of each arm.
func manyKits(t *testing.T, at supply.OfStock, prefix string, n int) (stock, supply.KitContents) {
	t.Helper()
	of, numbers := supply.KitContents{}, []supply.KitNumber{}
	for i := range 2 * n {
		kit := supply.KitNumber(fmt.Sprintf("%s-%03d", prefix, i))
		of[kit] = supply.Content{Arm: []domain.ArmID{x, y}[i%2], Lot: "L1", Expiry: "2027-01-01", Units: 1}
		numbers = append(numbers, kit)
	}
	return scenario.For(t, supply.StockDecider).Given(supply.ShipmentReceived{OfStock: at, Shipment: "Z-0001", From: "Z", Available: numbers,
		Contents: blind.Of(of)}), of
}

// What is due is counted by arm, from the schedule of each patient: visits that come or may still take place, and those that took place
// without a kit.
func TestRuleLooksAhead(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 5, PredictDays: 14}
	earlier := withVisits()
	earlier.Protocol.Visits[0].Day = 21
	given := func(patients ...supply.Scheduled) (predicted supply.ResupplyPredicted, sent int) {
		t.Helper()
		at := stockAt(t, site, "K1", "K3").Given(kitAllocated(anna, "K1"), kitAllocated(ben, "K3")).State()
		from, _ := manyKits(t, depot, "M", 20)
		events, err := decisionWith(supply.Resupply, lookingAhead(at, rule, patients...),
			supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(from.State())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			switch e := e.(type) {
			case supply.ResupplyPredicted:
				predicted = e
			case supply.ShipmentCreated:
				sent = len(e.Kits)
			}
		}
		return predicted, sent
	}
	for name, c := range map[string]struct {
		who  supply.Scheduled
		want supply.Due
	}{
		"a visit comes":           {supply.Scheduled{Patient: anna, EnrolledOn: "2026-02-15"}, supply.Due{x: 1}}, // on 2026-03-15
		"it comes later":          {supply.Scheduled{Patient: anna, EnrolledOn: "2026-03-05"}, supply.Due{}},
		"it may still take place": {supply.Scheduled{Patient: anna, EnrolledOn: "2026-02-07"}, supply.Due{x: 1}},
		"it was missed":           {supply.Scheduled{Patient: anna, EnrolledOn: "2026-02-06"}, supply.Due{}},
		"it took place without a kit": {supply.Scheduled{Patient: anna, EnrolledOn: "2026-02-06",
			Visits: map[string]bool{"week-4": true}}, supply.Due{x: 1}},
		"the second one comes": {supply.Scheduled{Patient: ben, EnrolledOn: "2026-01-20"}, supply.Due{y: 1}},
		"it was skipped":       {supply.Scheduled{Patient: anna, EnrolledOn: "2026-02-15", Skipped: []string{"week-4"}}, supply.Due{}},
		"the version that the patient follows has the visit earlier": {supply.Scheduled{Patient: anna, Study: earlier, EnrolledOn: "2026-02-22"},
			supply.Due{x: 1}},
		"a patient who came with the drug of another site": {supply.Scheduled{Patient: "PAIN1.S-9", Arm: y, EnrolledOn: "2026-01-20",
			Visits: map[string]bool{"week-4": true}, Given: map[string]bool{"week-4": true}}, supply.Due{y: 1}},
		"a patient who was drawn again":   {supply.Scheduled{Patient: anna, Arm: y, EnrolledOn: "2026-02-15"}, supply.Due{y: 1}},
		"a patient who never got any kit": {supply.Scheduled{Patient: "PAIN1.S-9", EnrolledOn: "2026-02-15"}, supply.Due{}},
	} {
		t.Run(name, func(t *testing.T) {
			predicted, _ := given(c.who)
			due, _ := predicted.Due.Open()
			if fmt.Sprint(due) != fmt.Sprint(c.want) || predicted.Through != "2026-03-24" {
				t.Errorf("predicted are %v, %+v", due, predicted)
			}
		})
	}
	rule.Trigger, rule.Target = 1, 3
	if predicted, sent := given(); sent != 6 || predicted.Target != 3 {
		t.Errorf("without patients, %d kits are sent, target %d", sent, predicted.Target)
	}
	rule.Enrolments = 4 // of 4 kits, an arm may need 4; with the spare of 2, the target is 6
	if predicted, sent := given(); sent != 12 || predicted.Target != 6 || predicted.Kits != 4 {
		t.Errorf("with enrolments, %d kits are sent, %+v", sent, predicted)
	}
}

// Whatever the schedules and arms of patients are, a site that a rule looks ahead for has the kits that its visits need, as long as the
// depot has them. How many kits are sent follows from the number of visits alone, as long as no arm needs many more than the others.
func TestRuleThatLooksAheadHasWhatVisitsNeed(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: rapid.IntRange(1, 3).Draw(r, "trigger"), OverdueDays: 5,
			PredictDays: rapid.IntRange(1, 60).Draw(r, "days"), Enrolments: rapid.IntRange(0, 4).Draw(r, "enrolments")}
		rule.Target = rule.Trigger + rapid.IntRange(2, 4).Draw(r, "more")
		from, _ := manyKits(t, depot, "M", 60)
		first, of := manyKits(t, site, "S", 15)
		at := first.State()
		var patients []supply.Scheduled
		for i, n := range slices.Sorted(func(yield func(supply.KitNumber) bool) {
			for n := range of {
				if !yield(n) {
					return
				}
			}
		}) {
			if rapid.Bool().Draw(r, "given") {
				who := domain.NewPatientID(pain, fmt.Sprint("P-", i))
				at = supply.StockDecider.Evolve(at, supply.KitAllocated{OfStock: site, Patient: who, Kit: n})
				patients = append(patients, supply.Scheduled{Patient: who,
					EnrolledOn: domain.Date("2026-01-01").AddDays(rapid.IntRange(0, 60).Draw(r, "enrolled"))})
			} else {
				at = supply.StockDecider.Evolve(at, supply.KitLost{OfStock: site, Kit: n})
			}
		}
		events, err := decisionWith(supply.Resupply, lookingAhead(at, rule, patients...),
			supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(from.State())
		if err != nil {
			r.Fatal(err)
		}
		sent := map[domain.ArmID]int{}
		var due supply.Due
		for _, e := range events {
			switch e := e.(type) {
			case supply.ShipmentCreated:
				contents, _ := e.Contents.Open()
				for _, c := range contents {
					sent[c.Arm]++
				}
				if arms := 2; e.Raises == 0 && len(e.Kits)%arms != 0 {
					r.Fatalf("an empty site gets %v", sent)
				}
			case supply.ResupplyPredicted:
				due, _ = e.Due.Open()
			case supply.ResupplyFellShort:
				r.Fatal("the depot falls short")
			}
		}
		for arm, n := range due {
			if sent[arm] < n {
				r.Fatalf("%d kits of an arm are due, and %d are sent", n, sent[arm])
			}
		}
	})
}

func TestEndResupplyOfCountriesAndArms(t *testing.T) {
	three := withCountries(false)
	p := *three.Protocol
	p.Version, p.Arms = p.Version+1, append(slices.Clone(p.Arms), study.Arm{ID: "third"})
	three = study.Decider.Evolve(three, study.ProtocolVersionPublished{Study: pain, Protocol: p})
	rule := func(site domain.SiteID) supply.ResupplyRuleSet {
		return supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: site, Depot: "D", Trigger: 1, Target: 1, OverdueDays: 5}}
	}
	ofStudy, why := domain.ForStudy(pain), domain.Because("r")
	ending := func(site domain.SiteID, country string) supplyDecision {
		return scenario.SentWithFacts(supply.EndRule, three, supply.EndResupply{InStudy: ofStudy, Site: site, Country: country,
			Reasoned: why}, call)
	}
	given := withDepot(t).Given(rule("A"), rule("B"))
	given.When(ending("", "")).ThenRefused("value_missing")
	given.When(ending("A", "DE")).ThenRefused("value_missing")
	given.When(ending("", "FR")).ThenRefused("country_not_found")
	given.When(ending("", "AT")).Then(supply.ResupplyEnded{Study: pain, Site: "B", Depot: "D", Reason: "r"}).
		When(ending("", "AT")).ThenRefused("no_resupply_rule")

	arm := func(arm domain.ArmID, site domain.SiteID, country string) supplyDecision {
		return scenario.SentWithFacts(supply.EndArm, three, supply.EndResupplyOfArm{InStudy: ofStudy, Arm: arm, Site: site, Country: country,
			Reasoned: why}, call)
	}
	given.When(arm("none", "", "")).ThenRefused("unknown_arm")
	given.When(arm(x, "Z", "")).ThenRefused("site_not_found")
	given.When(arm(x, "", "FR")).ThenRefused("country_not_found")
	withDepot(t).When(arm(x, "", "")).ThenRefused("no_resupply_rule")
	ended := given.When(arm(x, "", "DE")).Then(supply.ResupplyOfArmEnded{Study: pain, Sites: []domain.SiteID{"A"},
		Arm: blind.Of(x), Reason: "r"})
	ended.When(arm(x, "A", "")).ThenRefused("resupply_of_arm_ended")
	ended.When(arm(y, "A", "")).ThenRefused("resupply_end_reveals_arm") // the third would be left alone
	ended.When(arm(x, "", "")).Then(supply.ResupplyOfArmEnded{Study: pain, Sites: []domain.SiteID{"B"}, Arm: blind.Of(x), Reason: "r"})
	resume := scenario.SentWithFacts(supply.ResumeArm, three, supply.ResumeResupplyOfArm{InStudy: ofStudy, Arm: x, Reasoned: why}, call)
	given.When(resume).ThenRefused("resupply_of_arm_not_ended")
	ended.When(resume).Then(supply.ResupplyOfArmResumed{Study: pain, Sites: []domain.SiteID{"A"}, Arm: blind.Of(x), Reason: "r"}).
		When(resume).ThenRefused("resupply_of_arm_not_ended")

	// The rule sends kits of the other arms.
	f := facts(func(f *supply.Facts) { f.Study, f.Supply = three, ended.State() })
	f.Supply = supply.Decider.Evolve(f.Supply, supply.BatchReleased{Study: pain, Lot: "L1"})
	sent := shipmentCreated(depot, "D-0001", "A", "K3")
	sent.Resupply, sent.Reason = true, "resupply"
	stockAt(t, depot, "K1", "K3").When(decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})).
		Then(sent, supply.ResupplyFellShort{OfStock: depot, To: "A", Missing: blind.Of(supply.MissingKits{"third": 1})})
}

// The look-ahead counts the kits of the plan, by the step of each patient.
func TestRuleLooksAheadByThePlan(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1, OverdueDays: 5, PredictDays: 14}
	for step, want := range map[int]supply.Due{0: {x + "-low": 2}, 2: {x + "-high": 2}} {
		at := typedStock(t, string(x)+"-low").Given(kitAllocated(anna, supply.KitNumber(x+"-low/0"))).State()
		f := withPlan(func(f *supply.Facts) {
			f.Other = at
			f.Patients = []supply.Scheduled{{Patient: anna, Study: f.Study, EnrolledOn: "2026-02-15", Dosing: study.Dosing{Step: step}}}
			f.Supply = theSupply(supply.ResupplyRuleSet{Study: pain, Rule: rule})
		})
		events, err := decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(
			scenario.For(t, supply.StockDecider).State())
		if err != nil {
			t.Fatal(err)
		}
		predicted, _ := events[0].(supply.ResupplyPredicted)
		if due, _ := predicted.Due.Open(); fmt.Sprint(due) != fmt.Sprint(want) {
			t.Errorf("at step %d, due are %v of %v", step, due, events)
		}
	}
}

// A study whose protocol has no arms may have a rule that looks ahead: there is nothing to send yet.
func TestRuleLooksAheadWithoutArms(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 5, PredictDays: 14, Enrolments: 2}
	f := lookingAhead(supply.Stock{}, rule)
	bare := study.Decider.Fold(study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1,
		Treatment: &study.Treatment{Kits: true}}}, study.SiteAdded{Study: pain, Site: "A"}, study.SiteActivated{Study: pain, Site: "A"})
	f.Study = bare
	scenario.For(t, supply.StockDecider).When(decisionWith(supply.Resupply, f,
		supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})).Then()
}

// An arm that an amendment has dropped is still supplied, so its resupply can be ended, with its kit types.
func TestResupplyOfADroppedArmCanBeEnded(t *testing.T) {
	in := theStudy(thePlan)
	later := *in.Protocol
	later.Version, later.Arms = 2, []study.Arm{{ID: string(y)}, {ID: "third"}}
	plan := *in.Protocol.Treatment
	plan.Plan = &study.DispensingPlan{Types: []study.KitType{{ID: "y-new", Arm: string(y)}, {ID: "third-new", Arm: "third"}}}
	later.Treatment = &plan
	in = study.Decider.Evolve(in, study.ProtocolVersionPublished{Study: pain, Protocol: later})
	ended := withDepot(t).Given(supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1,
		OverdueDays: 5}}).When(scenario.SentWithFacts(supply.EndArm, in, supply.EndResupplyOfArm{InStudy: domain.ForStudy(pain), Arm: x,
		Reasoned: domain.Because("r")}, call)).Then(supply.ResupplyOfArmEnded{Study: pain, Sites: []domain.SiteID{"A"}, Arm: blind.Of(x),
		Reason: "r"})
	f := facts(func(f *supply.Facts) { f.Study, f.Supply = in, ended.State() })
	events, err := decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(
		scenario.For(t, supply.StockDecider).State())
	if err != nil {
		t.Fatal(err)
	}
	short, _ := events[len(events)-1].(supply.ResupplyFellShort)
	missing, _ := short.Missing.Open()
	want := []domain.ArmID{y + "-high", y + "-low", "open", "third-new", "y-new"}
	if kinds := slices.Sorted(maps.Keys(missing)); !slices.Equal(kinds, want) {
		t.Errorf("the depot lacks kits of %v", kinds)
	}
}

func TestRulesThatLookAheadAreChecked(t *testing.T) {
	rule := supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 5, PredictDays: 28, Enrolments: 2}
	given := withDepot(t)
	given.When(settingRule(rule)).Then(supply.ResupplyRuleSet{Study: pain, Rule: rule})
	rule.PredictDays = 0
	given.When(settingRule(rule)).ThenRefused("invalid_resupply_rule")
	rule.PredictDays = 366
	given.When(settingRule(rule)).ThenRefused("value_out_of_range")
}
