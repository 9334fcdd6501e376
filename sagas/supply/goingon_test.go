package supply

import (
	"reflect"
	"testing"

	"casebook/domain"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/sagas"
)

// Only the rules that what has ended can concern are looked at, and none where no site has one.
func TestWhichRulesAreLookedAt(t *testing.T) {
	o := sagas.Occurrence{}
	plan := func(site domain.SiteID, depot supply.LocationID) any {
		return supply.PlanResupply{AtDepot: supply.AtDepot{Study: "PAIN1", Depot: depot}, Site: site}
	}
	var none goingOn
	s := none
	for site, depot := range map[domain.SiteID]supply.LocationID{"A": "D", "B": "E", "C": "D"} {
		r, reacted := s.ruleSet(supply.ResupplyRuleSet{Study: "PAIN1", Rule: supply.ResupplyRule{Site: site, Depot: depot}}, o)
		if !reacted {
			t.Fatal("a rule is not noted")
		}
		s = r.State
	}
	if _, again := s.ruleSet(supply.ResupplyRuleSet{Study: "PAIN1", Rule: supply.ResupplyRule{Site: "A", Depot: "D", Target: 9}}, o); again {
		t.Error("a rule that changes in its numbers alone is noted again")
	}
	ended, _ := s.ruleEnded(supply.ResupplyEnded{Study: "PAIN1", Site: "C"}, o)
	if _, again := ended.State.ruleEnded(supply.ResupplyEnded{Study: "PAIN1", Site: "C"}, o); again || len(s.Depots) != 3 {
		t.Errorf("the end of a rule leaves %+v of %+v", ended.State, s)
	}
	s = ended.State
	shipping, screening := []study.Activity{study.ActivityShipping}, []study.Activity{study.ActivityScreening}
	at := func(l supply.LocationID) supply.OfStock { return supply.OfStock{Study: "PAIN1", Location: l} }
	for what, one := range map[string]struct {
		of   func(goingOn) (goes, bool)
		want []any
	}{
		"site resumed": {func(s goingOn) (goes, bool) {
			return s.siteResumed(study.SiteResumed{Study: "PAIN1", Site: "B", Activities: shipping}, o)
		}, []any{plan("B", "E")}},
		"site may screen again": {func(s goingOn) (goes, bool) {
			return s.siteResumed(study.SiteResumed{Study: "PAIN1", Site: "B", Activities: screening}, o)
		}, nil},
		"study resumed": {func(s goingOn) (goes, bool) {
			return s.resumed(study.Resumed{Study: "PAIN1", Activities: shipping}, o)
		}, []any{plan("A", "D"), plan("B", "E")}},
		"study may screen again": {func(s goingOn) (goes, bool) {
			return s.resumed(study.Resumed{Study: "PAIN1", Activities: screening}, o)
		}, nil},
		"site activated": {func(s goingOn) (goes, bool) {
			return s.siteActivated(study.SiteActivated{Study: "PAIN1", Site: "A"}, o)
		}, []any{plan("A", "D")}},
		"site reopened": {func(s goingOn) (goes, bool) {
			return s.siteReopened(study.SiteReopened{Study: "PAIN1", Site: "C"}, o)
		}, nil},
		"lot released": {func(s goingOn) (goes, bool) {
			return s.batchReleased(supply.BatchReleased{Study: "PAIN1", Lot: "L"}, o)
		}, []any{plan("A", "D"), plan("B", "E")}},
		"arm resumed": {func(s goingOn) (goes, bool) {
			return s.armResumed(supply.ResupplyOfArmResumed{Study: "PAIN1", Sites: []domain.SiteID{"B", "C"}}, o)
		}, []any{plan("B", "E")}},
		"types resumed": {func(s goingOn) (goes, bool) {
			return s.typesResumed(supply.ResupplyOfKitTypesResumed{Study: "PAIN1", Sites: []domain.SiteID{"B", "C"}}, o)
		}, []any{plan("B", "E")}},
		"delivery": {func(s goingOn) (goes, bool) {
			return arrivesAtDepot(s, supply.DeliveryTakenIn{OfStock: at("D")}, o)
		}, []any{plan("A", "D")}},
		"shipment received at a site": {func(s goingOn) (goes, bool) {
			return arrivesAtDepot(s, supply.ShipmentReceived{OfStock: at("A")}, o)
		}, nil},
	} {
		r, reacted := one.of(s)
		if !reflect.DeepEqual(r.Commands, one.want) || reacted != (one.want != nil) {
			t.Errorf("%s: it sends %+v, want %+v", what, r.Commands, one.want)
		}
		if _, reacted := one.of(none); reacted {
			t.Errorf("%s: it reacts though no site has a rule", what)
		}
	}
}
