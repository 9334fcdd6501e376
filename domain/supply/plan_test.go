package supply_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// thePlan has a run-in, two kits of the arm at each visit, another type at the second step, with an alternative, and a rescue.
func thePlan(t *study.Treatment) {
	t.DispensingVisits = []string{"week-4", "run-in"}
	t.Titration = &study.Titration{Steps: 2, Rescue: true}
	t.Plan = &study.DispensingPlan{Types: []study.KitType{{ID: "open", Open: true, LabelGroup: "o"}},
		Kits: []study.PlannedKits{{Visits: []string{"run-in"}, Kits: []study.KitsOf{{Type: "open", Count: 1}}},
			{Rescue: true, Kits: []study.KitsOf{{Type: "open", Count: 1}}}}}
	for _, arm := range []domain.ArmID{x, y} {
		low, high := string(arm)+"-low", string(arm)+"-high"
		t.Plan.Types = append(t.Plan.Types, study.KitType{ID: low, Arm: string(arm), Strength: "54 mg"},
			study.KitType{ID: high, Arm: string(arm)})
		t.Plan.Kits = append(t.Plan.Kits,
			study.PlannedKits{Arm: string(arm), Step: 1, DosesPerDay: 2, Kits: []study.KitsOf{{Type: low, Count: 2}}},
			study.PlannedKits{Arm: string(arm), Step: 2, DosesPerDay: 2, Kits: []study.KitsOf{{Type: high, Count: 2}},
				Alternatives: []study.KitSet{{Kits: []study.KitsOf{{Type: high, Count: 1}, {Type: low, Count: 1}}}}})
	}
}

// withPlan returns the facts of a study with the plan.
func withPlan(change func(*supply.Facts)) supply.Facts {
	return facts(func(f *supply.Facts) {
		f.Study = theStudy(thePlan)
		f.Study.Protocol.Visits = []study.Visit{{ID: "run-in", Day: -7}, {ID: "week-4", Day: 28, DaysAfter: 5}, {ID: "end", Day: 56}}
		f.Arm, f.EnrolledOn = x, "2026-02-10"
		if change != nil {
			change(f)
		}
	})
}

// typedKits brings kits whose numbers begin with their types.
func typedKits(types ...string) supply.ShipmentReceived {
	of, numbers := supply.KitContents{}, []supply.KitNumber{}
	for i, kind := range types {
		n := supply.KitNumber(fmt.Sprintf("%s/%d", kind, i))
		c := supply.Content{Type: kind, Lot: "L1", Expiry: "2027-01-01", Units: 10}
		if arm, _, armed := strings.Cut(kind, "-low"); armed {
			c.Arm = domain.ArmID(arm)
		} else if arm, _, armed := strings.Cut(kind, "-high"); armed {
			c.Arm = domain.ArmID(arm)
		}
		of[n], numbers = c, append(numbers, n)
	}
	slices.Sort(numbers)
	return supply.ShipmentReceived{OfStock: site, Shipment: "Z-0001", From: "Z", Available: numbers, Contents: blind.Of(of)}
}

// typedStock is a stock with these kits.
func typedStock(t *testing.T, types ...string) stock {
	t.Helper()
	return scenario.For(t, supply.StockDecider).Given(typedKits(types...)).Strict()
}

// given lists the types of the kits that events allocate, in their order, with their places; what failed with its code.
func given(events []supply.StockEvent) (all []string) {
	for _, e := range withoutChoices(events) {
		switch e := e.(type) {
		case supply.KitAllocated:
			kind, _, _ := strings.Cut(string(e.Kit), "/")
			all = append(all, fmt.Sprintf("%d:%s", e.Item, kind))
		case supply.AllocationFailed:
			all = append(all, e.Code)
		}
	}
	return all
}

func TestAllocateByPlan(t *testing.T) {
	low, high := string(x)+"-low", string(x)+"-high"
	atStep := func(step int, rescue bool) supply.Facts {
		return withPlan(func(f *supply.Facts) { f.Dosing = study.Dosing{Step: step, Rescue: rescue} })
	}
	for name, c := range map[string]struct {
		has   []string
		visit string
		facts supply.Facts
		want  []string
	}{
		"n kits":                        {[]string{low, low, low}, "week-4", atStep(1, false), []string{"0:" + low, "1:" + low}},
		"all or none":                   {[]string{low, high}, "week-4", atStep(1, false), []string{"no_stock"}},
		"the second step":               {[]string{low, low, high, high}, "week-4", atStep(2, false), []string{"0:" + high, "1:" + high}},
		"an alternative":                {[]string{low, low, high}, "week-4", atStep(2, false), []string{"0:" + high, "1:" + low}},
		"with a rescue":                 {[]string{low, low, "open"}, "week-4", atStep(1, true), []string{"0:" + low, "1:" + low, "2:open"}},
		"nothing is planned":            {[]string{low, low}, "end", atStep(1, false), []string{"nothing_planned"}},
		"the run-in needs no arm":       {[]string{"open"}, "run-in", withPlan(beforeDraw), []string{"0:open"}},
		"none of the run-in later":      {[]string{"open"}, "run-in", withPlan(treated), []string{"treatment_started"}},
		"no other kits before the draw": {[]string{low, low}, "week-4", withPlan(beforeDraw), []string{"patient_ended"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := typedStock(t, c.has...)
			events, err := allocate(c.facts, anna, c.visit)(s.State())
			if err != nil || !slices.Equal(given(events), c.want) {
				t.Fatalf("got %v, %v; want %v", given(events), err, c.want)
			}
			after := s.Given(events...)
			if again, err := allocate(c.facts, anna, c.visit)(after.State()); err != nil || c.want[0][1] == ':' && len(again) > 0 {
				t.Errorf("asked again, it is %v, %v", again, err)
			}
		})
	}
}

// decided returns the events of a decision that is not refused.
func decided(t *testing.T, s stock, decide stockDecision) []supply.StockEvent {
	t.Helper()
	events, err := decide(s.State())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func treated(f *supply.Facts) { f.Treated = true }

// In a run-in, a patient gets between the visits what was planned for the last one.
func TestUnscheduledInARunIn(t *testing.T) {
	s := typedStock(t, "open", "open")
	f := withPlan(beforeDraw)
	ask := decisionWith(supply.AskUnscheduled, f, supply.DispenseUnscheduled{Site: "A", OfPatient: domain.ForPatient(anna),
		Reasoned: domain.Because("travels")})
	s.When(ask).ThenRefused("patient_ended") // nothing is planned for the last visit
	first, err := allocate(f, anna, "run-in")(s.State())
	if err != nil {
		t.Fatal(err)
	}
	events, err := ask(s.Given(first...).State())
	if got := given(events); err != nil || !slices.Equal(got, []string{"0:open"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// The release or the finding of a kit tells whose patient has it again.
func TestWhoHasTheKitAgain(t *testing.T) {
	s := typedStock(t, "open", "open")
	events, err := allocate(withPlan(beforeDraw), anna, "run-in")(s.State())
	if err != nil {
		t.Fatal(err)
	}
	s = s.Given(events...)
	kit := events[len(events)-1].(supply.KitAllocated).Kit
	slot := []supply.Slot{{Patient: anna, Visit: "run-in"}}
	aside := s.Given(decided(t, s, quarantine(supply.CauseOther, "r", kit))...)
	aside.When(releaseKits(withPlan(nil), "A", "r", kit)).
		Then(supply.KitsReleased{OfStock: site, Kits: kits(kit), Affected: slot, Reason: "r"})
	dispensed := s.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: kit, Visit: "run-in", On: "2026-03-01"})
	lost := dispensed.Given(decided(t, dispensed, reportKitLost(kit, "r"))...)
	found := decisionWith(supply.RecordFound, withPlan(nil),
		supply.ReportKitFound{AtLocation: atLocation("A"), Kit: kit, Reasoned: domain.Because("r")})
	lost.When(found).Then(supply.KitFound{OfStock: site, Kit: kit, Affected: slot, Reason: "r"})
}

func beforeDraw(f *supply.Facts) {
	f.Participating, f.Screening, f.Arm, f.EnrolledOn = false, true, "", ""
}

// One of several kits is replaced by one of its kind. After the dose was changed, kits of the former one replace none.
func TestOneOfSeveralKitsIsReplaced(t *testing.T) {
	low, high := string(x)+"-low", string(x)+"-high"
	s := typedStock(t, low, low, low, high, high)
	f := withPlan(nil)
	events, err := allocate(f, anna, "week-4")(s.State())
	if err != nil {
		t.Fatal(err)
	}
	s = s.Given(events...)
	first := events[0].(supply.KitAllocated).Kit
	changed := f
	changed.Dosing.Step = 2
	for name, lose := range map[string]stockDecision{"lost at the site": reportKitLost(first, "r"),
		"quarantined": quarantine(supply.CauseOther, "r", first)} {
		lost, err := lose(s.State())
		if err != nil {
			t.Fatal(err)
		}
		got, err := allocate(f, anna, "week-4")(s.Given(lost...).State())
		if err != nil || !slices.Equal(given(got), []string{"0:" + low}) || withoutChoices(got)[0].(supply.KitAllocated).Replaces != first {
			t.Errorf("%s: it is replaced by %v, %v", name, got, err)
		}
		if got := decided(t, s.Given(lost...), allocate(changed, anna, "week-4")); !slices.Equal(given(got), []string{"0:" + high, "1:" + high}) {
			t.Errorf("%s, after the change of the dose: it is replaced by %v", name, got)
		}
	}
	f = changed
	// Between the visits of the protocol the patient gets what the last one gave, at the step in force.
	got, err := decisionWith(supply.AskUnscheduled, f, supply.DispenseUnscheduled{Site: "A", OfPatient: domain.ForPatient(anna),
		Reasoned: domain.Because("r")})(s.State())
	if err != nil || !slices.Equal(given(got), []string{"0:" + high, "1:" + high}) {
		t.Errorf("unscheduled, the patient gets %v, %v", got, err)
	}
	// One that was put back is given to its patient after all, at its place.
	back, err := decisionWith(supply.PutBack, f, supply.RecordNotDispensed{Site: "A", OfPatient: domain.ForPatient(anna), Kit: first,
		Reasoned: domain.Because("r")})(s.State())
	if err != nil {
		t.Fatal(err)
	}
	f.Dosing.Step = 1
	again, err := allocate(f, anna, "week-4")(s.Given(back...).State())
	if err != nil || len(again) != 1 || again[0].(supply.KitAllocated).Kit != first || again[0].(supply.KitAllocated).Item != 0 {
		t.Errorf("it is given out as %v, %v", again, err)
	}
}

// A hold has all kits of each arm, and the choices can be repeated.
func TestHoldByPlan(t *testing.T) {
	var types []string
	for _, arm := range []domain.ArmID{x, y} {
		types = append(types, string(arm)+"-low", string(arm)+"-low", string(arm)+"-low")
	}
	s := typedStock(t, types...)
	f := withPlan(func(f *supply.Facts) { f.Arm = "" })
	raw := func(decide func(supply.Stock) ([]supply.StockEvent, error)) []supply.StockEvent {
		t.Helper()
		events, err := decide(s.State())
		if err != nil {
			t.Fatal(err)
		}
		s = s.Given(events...)
		return events
	}
	ask := supply.HoldStock{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna), Seed: theSeed}
	held := raw(scenario.SentWithFacts(supply.Hold, f, ask, call))
	hold := held[len(held)-1].(supply.StockHeld)
	first, _ := hold.Kits.Open()
	more, _ := hold.More.Open()
	if len(first) != 2 || len(more[x]) != 1 || len(more[y]) != 1 || first[x] == more[x][0] {
		t.Fatalf("%v and %v are held", first, more)
	}
	ask.OfPatient = domain.ForPatient(ben)
	refused, err := scenario.SentWithFacts(supply.Hold, f, ask, call)(s.State())
	if err != nil || len(refused) != 1 || refused[0].(supply.StockRefused).Code != "no_stock" {
		t.Errorf("the second patient gets %v, %v", refused, err)
	}
	f.Arm = y
	got := raw(scenario.SentWithFacts(supply.Allocate, f,
		supply.AllocateKit{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna)}, call))
	if !slices.Equal(given(got), []string{"0:" + string(y) + "-low", "1:" + string(y) + "-low"}) || s.State().Holds.Len() > 0 {
		t.Errorf("the patient gets %v", got)
	}
	all := append([]supply.StockEvent{typedKits(types...)}, held...)
	if err := supply.ReplayStock([]supply.Event{supply.DepotOpened{Study: pain, Depot: "D"}, supply.BatchReleased{Study: pain, Lot: "L1"},
		supply.BatchReleased{Study: pain, Lot: "L2"}}, append(all, got...)); err != nil {
		t.Errorf("the choices cannot be repeated: %v", err)
	}
}

// A kit that does not last until the end of the window of the next visit is neither allocated nor given out.
func TestDrugHasToLast(t *testing.T) {
	until := func(f *supply.Facts) {
		f.Study.Protocol.Treatment.UntilNextVisit, f.EnrolledOn = true, "2026-03-10" // week-4 may be 12 April
	}
	for expiry, lasts := range map[domain.Date]bool{"2026-04-12": false, "2026-04-13": true} {
		content := supply.Content{Type: string(x) + "-low", Arm: x, Lot: "L1", Expiry: expiry, Units: 10}
		of := blind.Of(supply.KitContents{"K1": content, "K2": content})
		s := scenario.For(t, supply.StockDecider).Given(supply.ShipmentReceived{OfStock: site, Shipment: "Z-0001", From: "Z",
			Available: kits("K1", "K2"), Contents: of}).Strict()
		events, err := allocate(withPlan(until), anna, "")(s.State())
		if err != nil || (given(events)[0] != "no_stock") != lasts {
			t.Errorf("a kit that expires on %s: %v, %v", expiry, given(events), err)
		}
		// One that was allocated before the rule is not given out.
		_, err = decisionWith(supply.Dispense, withPlan(until), dispenseKit(anna, "K1", "2026-03-10"))(s.Given(kitAllocated(anna, "K1")).State())
		if r, refused := refuse.As(err); refused == lasts || refused && r.Code != "kit_expires_soon" {
			t.Errorf("a kit that expires on %s is given out: %v", expiry, err)
		}
	}
}

func TestDispensingSaysHowManyDosesADay(t *testing.T) {
	low := string(x) + "-low"
	s := typedStock(t, low, low)
	events, err := allocate(withPlan(nil), anna, "week-4")(s.State())
	if err != nil {
		t.Fatal(err)
	}
	s = s.Given(events...)
	for _, e := range events {
		kit := e.(supply.KitAllocated).Kit
		s = s.When(decisionWith(supply.Dispense, withPlan(nil), dispenseKit(anna, kit, "2026-03-10"))).
			Then(supply.KitDispensed{OfStock: site, Patient: anna, Kit: kit, Visit: "week-4", On: "2026-03-10", DosesPerDay: 2})
	}
}

// All columns of the file are known, and agree with the types of the plan.
func TestRegisterTypedKits(t *testing.T) {
	with := scenario.For(t, supply.Decider).Strict().Given(supply.DepotOpened{Study: pain, Depot: "D"})
	register := func(s study.Study, csv string) func(supply.Supply) ([]supply.Event, error) {
		return scenario.SentWithFacts(supply.Register, s, supply.RegisterKits{InStudy: domain.ForStudy(pain), Depot: "D", CSV: csv}, call)
	}
	typed, plain := theStudy(thePlan), theStudy(nil)
	low := string(x) + "-low"
	events, err := register(typed, "kit,type,arm,strength,blinding,lot,expiry,units\nK1,"+low+","+string(x)+
		",54 mg,blinded,L1,2027-01-01,10\n"+
		"K2,open,,,open,L1,2027-01-01,5\n")(with.State())
	if err != nil {
		t.Fatal(err)
	}
	contents, _ := events[0].(supply.KitsRegistered).Contents.Open()
	if contents["K1"] != (supply.Content{Type: low, Arm: x, Lot: "L1", Expiry: "2027-01-01", Units: 10}) ||
		contents["K2"] != (supply.Content{Type: "open", Lot: "L1", Expiry: "2027-01-01", Units: 5}) {
		t.Errorf("the kits are %v", contents)
	}
	for csv, code := range map[string]string{
		"kit,lot,expiry\nK1,L1,2027-01-01\n":                                        "malformed_csv",
		"kit,type,lot,expiry\nK1,other,L1,2027-01-01\n":                             "unknown_kit_type",
		"kit,type,arm,lot,expiry\nK1," + low + "," + string(y) + ",L1,2027-01-01\n": "kit_type_contradicted",
		"kit,type,lot,expiry,temperature\nK1," + low + ",L1,2027-01-01,5\n":         "unknown_column",
	} {
		with.When(register(typed, csv)).ThenRefused(code)
	}
	_, err = register(plain, "kit,arm,lot,expiry,strength\nK1,"+string(x)+",L1,2027-01-01,5\n")(with.State())
	if r, refused := refuse.As(err); !refused || r.Code != "unknown_column" || !strings.Contains(r.Sentence, `"strength"`) {
		t.Errorf("an unknown column is answered with %v", err)
	}
}
