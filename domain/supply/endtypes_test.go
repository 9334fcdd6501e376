package supply_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

const (
	xLow, xHigh = x + "-low", x + "-high"
	yLow, yHigh = y + "-low", y + "-high"
)

// typesEnded is the end of types at site A.
func typesEnded(types ...study.Kind) supply.ResupplyOfKitTypesEnded {
	return supply.ResupplyOfKitTypesEnded{Study: pain, Sites: []domain.SiteID{"A"}, Types: blind.Of(supply.KitTypes(types)), Reason: "r"}
}

// lacked returns the kinds of which a depot without kits lacks some for site A.
func lacked(t *testing.T, in study.Study, of supply.Supply) []study.Kind {
	t.Helper()
	f := facts(func(f *supply.Facts) { f.Study, f.Supply = in, of })
	events, err := decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(
		scenario.For(t, supply.StockDecider).State())
	if err != nil {
		t.Fatal(err)
	}
	short, _ := events[len(events)-1].(supply.ResupplyFellShort)
	missing, _ := short.Missing.Open()
	return slices.Sorted(maps.Keys(missing))
}

func TestEndResupplyOfKitTypes(t *testing.T) {
	typed := theStudy(thePlan)
	ofStudy, why := domain.ForStudy(pain), domain.Because("r")
	end := func(site domain.SiteID, country string, types ...study.Kind) supplyDecision {
		return scenario.SentWithFacts(supply.EndTypes, typed, supply.EndResupplyOfKitTypes{InStudy: ofStudy, Types: types, Site: site,
			Country: country, Reasoned: why}, call)
	}
	resume := func(types ...study.Kind) supplyDecision {
		return scenario.SentWithFacts(supply.ResumeTypes, typed, supply.ResumeResupplyOfKitTypes{InStudy: ofStudy, Types: types,
			Reasoned: why}, call)
	}
	given := withDepot(t).Given(supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1,
		OverdueDays: 5}})
	withDepot(t).When(end("", "", xHigh, yHigh)).ThenRefused("no_resupply_rule")
	given.When(end("", "")).ThenRefused("value_out_of_range")
	given.When(end("", "", xHigh, "none")).ThenRefused("unknown_kit_type")
	given.When(end("", "", x)).ThenRefused("unknown_kit_type")
	given.When(end("Z", "", xHigh, yHigh)).ThenRefused("site_not_found")
	given.When(end("", "FR", xHigh, yHigh)).ThenRefused("country_not_found")
	given.When(resume(xHigh)).ThenRefused("resupply_of_types_not_ended")

	// Whoever gets a kit at the second step would be of the other arm.
	given.When(end("", "", xHigh)).ThenRefused("resupply_end_reveals_arm")
	given.When(end("", "", xLow, yHigh)).ThenRefused("resupply_end_reveals_arm")
	given.When(end("", "", xHigh, xLow, yLow, yHigh, "open")).ThenRefused("last_kit_type")

	ended := given.When(end("", "", yHigh, xHigh, yHigh)).Then(typesEnded(xHigh, yHigh))
	ended.When(end("A", "", xHigh)).ThenRefused("resupply_of_types_ended")
	ended.When(end("", "", xLow)).ThenRefused("resupply_end_reveals_arm")
	ended.When(resume(xHigh)).ThenRefused("resupply_end_reveals_arm")
	if got := lacked(t, typed, ended.State()); !slices.Equal(got, []study.Kind{xLow, yLow, "open"}) {
		t.Errorf("after the end, the rule asks for %v", got)
	}
	resumed := ended.When(resume(xHigh, yHigh)).Then(supply.ResupplyOfKitTypesResumed{Study: pain, Sites: []domain.SiteID{"A"},
		Types: blind.Of(supply.KitTypes{xHigh, yHigh}), Reason: "r"})
	if got := lacked(t, typed, resumed.State()); len(got) != 5 {
		t.Errorf("resumed, the rule asks for %v", got)
	}
}

// In a study that hides no arm, one type of an arm can end, and the arm gets its other types.
func TestEndOneKitTypeOfAnArm(t *testing.T) {
	open := theStudy(func(of *study.Treatment) {
		thePlan(of)
		of.Randomised = false
	})
	given := withDepot(t).Given(supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1,
		OverdueDays: 5}})
	cmd := supply.EndResupplyOfKitTypes{InStudy: domain.ForStudy(pain), Types: supply.KitTypes{xHigh}, Reasoned: domain.Because("r")}
	ended := given.When(scenario.SentWithFacts(supply.EndTypes, open, cmd, call)).Then(typesEnded(xHigh))
	if got := lacked(t, open, ended.State()); !slices.Contains(got, xLow) || slices.Contains(got, xHigh) {
		t.Errorf("the rule asks for %v", got)
	}
}

// With an alternative that all arms have, the type of one arm can end: its patients get the alternative, which looks the same. The end of
// an arm takes account of the types that have ended.
func TestEndsOfTypesAndArmsTogether(t *testing.T) {
	alternative := theStudy(func(of *study.Treatment) {
		thePlan(of)
		for i, k := range of.Plan.Kits {
			if k.Step == 2 {
				of.Plan.Kits[i].Alternatives = []study.KitSet{{Kits: []study.KitsOf{{Type: k.Arm + "-low", Count: 2}}}}
			}
		}
	})
	rule := supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1, OverdueDays: 5}}
	cmd := supply.EndResupplyOfKitTypes{InStudy: domain.ForStudy(pain), Types: supply.KitTypes{xHigh}, Reasoned: domain.Because("r")}
	withDepot(t).Given(rule).When(scenario.SentWithFacts(supply.EndTypes, alternative, cmd, call)).Then(typesEnded(xHigh))

	three := theStudy(func(of *study.Treatment) {
		thePlan(of)
		of.Plan.Types = append(of.Plan.Types, study.KitType{ID: "third-low", Arm: "third"}, study.KitType{ID: "third-high", Arm: "third"})
		for step, kind := range map[int]string{1: "third-low", 2: "third-high"} {
			of.Plan.Kits = append(of.Plan.Kits, study.PlannedKits{Arm: "third", Step: step, Kits: []study.KitsOf{{Type: kind, Count: 2}}})
		}
	})
	three.Protocol.Arms = append(three.Protocol.Arms, study.Arm{ID: "third"})
	arm := func(arm domain.ArmID) supplyDecision {
		return scenario.SentWithFacts(supply.EndArm, three, supply.EndResupplyOfArm{InStudy: domain.ForStudy(pain), Arm: arm,
			Reasoned: domain.Because("r")}, call)
	}
	// Who waits at the second step would be of the one arm.
	withDepot(t).Given(rule).When(scenario.SentWithFacts(supply.EndTypes, three, cmd, call)).ThenRefused("resupply_end_reveals_arm")
	withDepot(t).Given(rule, typesEnded(xHigh)).When(arm(y)).ThenRefused("resupply_end_reveals_arm") // the third would be left alone
	xEnded := withDepot(t).Given(rule).When(arm(x)).Then(supply.ResupplyOfArmEnded{Study: pain, Sites: []domain.SiteID{"A"}, Arm: blind.Of(x),
		Reason: "r"})
	all := cmd
	all.Types = supply.KitTypes{yHigh, "third-high"}
	xEnded.When(scenario.SentWithFacts(supply.EndTypes, three, all, call)).Then(typesEnded(yHigh, "third-high")).
		When(scenario.SentWithFacts(supply.ResumeArm, three, supply.ResumeResupplyOfArm{InStudy: domain.ForStudy(pain), Arm: x,
			Reasoned: domain.Because("r")}, call)).ThenRefused("resupply_end_reveals_arm")
}

// A program without the blinding keys does not know what has ended.
func TestSealedEndsOfTypesAreNotGuessed(t *testing.T) {
	f := facts(func(f *supply.Facts) {
		f.Study = theStudy(thePlan)
		f.Supply = theSupply(supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1,
			OverdueDays: 5}}, supply.ResupplyOfKitTypesEnded{Study: pain, Sites: []domain.SiteID{"A"}})
	})
	_, err := decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(
		scenario.For(t, supply.StockDecider).State())
	if !errors.Is(err, supply.ErrKeysMissing) {
		t.Errorf("the rule is answered %v", err)
	}
}
