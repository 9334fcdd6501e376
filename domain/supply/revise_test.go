package supply_test

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

func revising(f supply.Facts) stockDecision {
	return decisionWith(supply.Revise, f, supply.ReviseKits{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna)})
}

func settingAside(visit string) stockDecision {
	return settingAsideWith(supply.Facts{}, visit)
}

func settingAsideWith(f supply.Facts, visit string) stockDecision {
	return decisionWith(supply.SetAside, f, supply.SetKitsAside{Study: pain, Site: "A", OfPatient: domain.ForPatient(anna), Visit: visit,
		Reasoned: domain.Because("r")})
}

// kitsAside lists the kits that events set aside.
func kitsAside(events []supply.StockEvent) (all []supply.KitNumber) {
	for _, e := range events {
		if e, is := e.(supply.KitsSetAside); is {
			all = append(all, e.Kits...)
		}
	}
	return all
}

// A dose that is changed after the kits of a visit were allocated, and before they were given out, counts for them.
func TestKitsFollowAChangedDose(t *testing.T) {
	low, high := string(x)+"-low", string(x)+"-high"
	atStep := func(step int, rescue bool) supply.Facts {
		return withPlan(func(f *supply.Facts) { f.Dosing = study.Dosing{Step: step, Rescue: rescue} })
	}
	s := typedStock(t, low, low, high, high)
	first := decided(t, s, allocate(atStep(2, false), anna, "week-4"))
	s = s.Given(first...)
	kit := first[len(first)-1].(supply.KitAllocated).Kit
	dispense := func(f supply.Facts, kit supply.KitNumber) stockDecision {
		return decisionWith(supply.Dispense, f, dispenseKit(anna, kit, "2026-03-10"))
	}

	s.When(revising(atStep(2, false))).Then()
	s.When(revising(atStep(2, true))).Then() // the rescue comes with the next kits
	s.When(dispense(atStep(1, false), kit)).ThenRefused("dose_changed")
	lowered := decided(t, s, revising(atStep(1, false)))
	if aside := kitsAside(lowered); len(aside) != 2 || !slices.Equal(given(lowered), []string{"0:" + low, "1:" + low}) {
		t.Fatalf("the lowered dose leads to %v, and sets %v aside", given(lowered), aside)
	}
	after := s.Given(lowered...)
	after.When(revising(atStep(1, false))).Then()
	after.When(dispense(atStep(1, false), kit)).ThenRefused("kit_status")
	if again := decided(t, after, revising(atStep(2, false))); !slices.Equal(given(again), []string{"0:" + high, "1:" + high}) {
		t.Errorf("back at the second step, the patient gets %v", given(again))
	}

	// One of the kits was given out: a person decides about the other one.
	s.Given(decided(t, s, dispense(atStep(2, false), kit))...).When(revising(atStep(1, false))).Then()

	// A replacement after a change of the dose brings the kits of the new one, so that a kit of the former one needs no replacement.
	dosed := typedStock(t, low, low, high, high)
	former := decided(t, dosed, allocate(atStep(1, false), anna, "week-4"))
	dosed = dosed.Given(former...)
	var of []supply.KitNumber
	for _, e := range former {
		if e, is := e.(supply.KitAllocated); is {
			of = append(of, e.Kit)
			dosed = dosed.Given(decided(t, dosed, dispense(atStep(1, false), e.Kit))...)
		}
	}
	dosed = dosed.Given(decided(t, dosed, replace(atStep(2, false), anna, of[0], supply.KitWasDamaged))...)
	dosed.When(replace(atStep(2, false), anna, of[1], supply.KitMisallocated)).ThenRefused("kit_replaced")

	// Without kits of the new dose, the patient waits, and gets none of the former.
	dry := typedStock(t, high, high)
	dry = dry.Given(decided(t, dry, allocate(atStep(2, false), anna, "week-4"))...)
	events := decided(t, dry, revising(atStep(1, false)))
	if len(kitsAside(events)) != 2 || !slices.Equal(given(events), []string{"no_stock"}) {
		t.Errorf("without kits of the lower dose: %v", events)
	}

	// A rescue that is over is not given out. Kits from before doses were recorded with them are left alone.
	rescued := typedStock(t, low, low, "open")
	rescued = rescued.Given(decided(t, rescued, allocate(atStep(1, true), anna, "week-4"))...)
	if events := decided(t, rescued, revising(atStep(1, false))); !slices.Equal(given(events), []string{"0:" + low, "1:" + low}) {
		t.Errorf("after the rescue, the patient gets %v", given(events))
	}
	older := typedStock(t, high, high).Given(
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: supply.KitNumber(high + "/0"), Visit: "week-4"})
	older.When(revising(atStep(1, false))).Then()
}

// Nothing is due at a visit that was recorded in error, and its kits go back, until it takes place after all.
func TestAVoidedVisitNeedsNoKit(t *testing.T) {
	low := string(x) + "-low"
	recorded := func(visits ...string) supply.Facts {
		return withPlan(func(f *supply.Facts) {
			f.Visits = map[string]domain.Date{}
			for _, v := range visits {
				f.Visits[v] = "2026-03-10"
			}
		})
	}
	s := typedStock(t, low, low, low, low)
	s.When(allocate(recorded(), anna, "week-4")).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4",
		Code: "visit_not_recorded", Reason: "the visit was recorded in error"})
	first := decided(t, s, allocate(recorded("week-4"), anna, "week-4"))
	enrolment := decided(t, s.Given(first...), allocate(recorded("week-4"), anna, ""))
	s = s.Given(append(first, enrolment...)...)
	kit := given(first)
	s.When(decisionWith(supply.Dispense, recorded(), dispenseKit(anna, first[len(first)-1].(supply.KitAllocated).Kit, "2026-03-10"))).
		ThenRefused("visit_not_recorded")
	s.When(settingAsideWith(recorded("week-4"), "week-4")).Then() // it was recorded again before anybody heard that it was voided
	aside := decided(t, s, settingAside("week-4"))
	if kits := kitsAside(aside); len(kits) != 2 || len(kit) != 2 {
		t.Fatalf("%v are set aside of %v", kits, kit)
	}
	s = s.Given(aside...)
	s.When(settingAside("week-4")).Then()
	again := decided(t, s, allocate(recorded("week-4"), anna, "week-4"))
	if kits := kitsAside(aside); len(again) != 2 || !slices.Contains(kits, again[0].(supply.KitAllocated).Kit) {
		t.Errorf("the patient gets %v, and not what was kept", again)
	}
}

// Who has no consent any more gets no drug until one is signed.
func TestNoKitWithoutAConsent(t *testing.T) {
	low := string(x) + "-low"
	without := withPlan(func(f *supply.Facts) { f.Withheld = supply.ConsentIsMissing })
	s := typedStock(t, low, low)
	s.When(allocate(without, anna, "week-4")).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4",
		Code: "consent_missing", Reason: "the patient has signed no consent", Withheld: supply.ConsentIsMissing})
	kits := decided(t, s, allocate(withPlan(nil), anna, "week-4"))
	kit := kits[len(kits)-1].(supply.KitAllocated).Kit
	s.Given(kits...).When(decisionWith(supply.Dispense, without, dispenseKit(anna, kit, "2026-03-10"))).
		ThenRefused("consent_missing")
}

// A kit that was kept of one visit, and given out at another, is not the kit of the first.
func TestAKitOfAnotherVisitServesNone(t *testing.T) {
	at := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"))
	at = at.Given(supply.KitPutBack{OfStock: site, Patient: anna, Kit: "K1"},
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "unscheduled-1"})
	aside := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"),
		supply.KitsSetAside{OfStock: site, Patient: anna, Kits: []supply.KitNumber{"K1"}},
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: "unscheduled-1"},
		supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K1", Visit: "unscheduled-1", On: "2026-03-10"})
	for _, s := range []stock{at, aside} {
		events := decided(t, s, allocate(inArm(x), anna, ""))
		if len(events) != 1 {
			t.Fatalf("the patient gets %v", events)
		}
		if e, is := events[0].(supply.KitAllocated); !is || e.Kit != "K2" {
			t.Errorf("the patient gets %+v", events[0])
		}
	}
}

// After a later draw, kits from before it are not given out any more, whatever the arms are: they may be of another one.
func TestKitsFromBeforeALaterDraw(t *testing.T) {
	slot := supply.KitOfStage("second")
	at := strictStockAt(t, site, "K1", "K2").Given(kitAllocated(anna, "K1"),
		supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K2", Visit: slot})
	give := func(kit supply.KitNumber) stockDecision {
		return decisionWith(supply.Dispense, inArm(x), dispenseKit(anna, kit, "2026-03-10"))
	}
	at.When(give("K1")).ThenRefused("drawn_again")
	at.When(give("K2")).Then(supply.KitDispensed{OfStock: site, Patient: anna, Kit: "K2", Visit: slot, On: "2026-03-10"})
	revised := at.When(revising(inArm(x))).Then(supply.KitsSetAside{OfStock: site, Patient: anna, Kits: []supply.KitNumber{"K1"},
		Reason: "the patient was drawn again", Affected: []supply.Slot{{Patient: anna}}})
	revised.When(revising(inArm(x))).Then()
	// Nor is one of them replaced: others came with the draw.
	at.Given(supply.KitLost{OfStock: site, Kit: "K1"}).When(allocate(inArm(x), anna, "")).Then(supply.AllocationFailed{OfStock: site,
		Patient: anna, Code: "drawn_again", Reason: "the patient was drawn again since, and got kits then"})
	// Whether K1 was given out later would show whether the arm is another one.
	revised.When(allocate(inArm(x), anna, "week-8")).Then(supply.AllocationFailed{OfStock: site, Patient: anna,
		Visit: "week-8", Code: "no_stock", Reason: "the site has no kit for the patient", Waits: true})
}

// A dose that is changed and changed back, while there are no kits of the new one, leads to the kit that is there.
func TestAChangedDoseAsksForWhatIsWaitedFor(t *testing.T) {
	low := string(x) + "-low"
	atStep := func(step int) supply.Facts {
		return withPlan(func(f *supply.Facts) { f.Dosing = study.Dosing{Step: step} })
	}
	s := typedStock(t, low, low)
	s = s.Given(decided(t, s, allocate(atStep(1), anna, "week-4"))...)
	up := decided(t, s, revising(atStep(2)))
	if got := given(up); !slices.Equal(got, []string{"no_stock"}) || len(kitsAside(up)) != 2 {
		t.Fatalf("without kits of the second step: %v", up)
	}
	s = s.Given(up...)
	s.When(revising(atStep(2))).Then() // nothing has changed
	held := atStep(1)
	held.Withheld = supply.DoseIsHeld
	s.When(revising(held)).Then()
	back := decided(t, s, revising(atStep(1)))
	if got := given(back); !slices.Equal(got, []string{"0:" + low, "1:" + low}) {
		t.Fatalf("back at the first step, the patient gets %v", got)
	}
	s.Given(back...).When(revising(atStep(1))).Then()

	// The same where no kit was there at all.
	dry := typedStock(t, low, low)
	dry = dry.Given(decided(t, dry, allocate(atStep(2), anna, "week-4"))...)
	if got := given(decided(t, dry, revising(atStep(1)))); !slices.Equal(got, []string{"0:" + low, "1:" + low}) {
		t.Errorf("with the lower dose, the patient gets %v", got)
	}
}

// What was given out of the kits of a visit for another dose has no place among those of the present one.
func TestAKitOfAPartlyGivenOutVisitIsReplacedAfterADoseChange(t *testing.T) {
	low, high := string(x)+"-low", string(x)+"-high"
	atStep := func(step int) supply.Facts {
		return withPlan(func(f *supply.Facts) {
			f.Dosing = study.Dosing{Step: step}
			for i, planned := range f.Study.Protocol.Treatment.Plan.Kits {
				if planned.Step == 1 { // fewer than at the second step
					f.Study.Protocol.Treatment.Plan.Kits[i].Kits = []study.KitsOf{{Type: planned.Kits[0].Type, Count: 1}}
				}
			}
		})
	}
	for name, c := range map[string]struct {
		has  []string
		want string
	}{
		"there is one":  {[]string{high, high, low}, "0:" + low},
		"there is none": {[]string{high, high}, "no_stock"},
	} {
		t.Run(name, func(t *testing.T) {
			s := typedStock(t, c.has...)
			kits := decided(t, s, allocate(atStep(2), anna, "week-4"))
			s = s.Given(kits...)
			first, second := kits[len(kits)-2].(supply.KitAllocated).Kit, kits[len(kits)-1].(supply.KitAllocated).Kit
			s = s.Given(decided(t, s, decisionWith(supply.Dispense, atStep(2), dispenseKit(anna, first, "2026-03-10")))...)
			s.When(revising(atStep(1))).Then()
			replaced := decided(t, s, decisionWith(supply.Replace, atStep(1), supply.ReplaceKit{Site: "A", OfPatient: domain.ForPatient(anna),
				Kit: second, Cause: supply.KitMisallocated, Reasoned: domain.Because("r")}))
			if got := given(replaced); !slices.Equal(got, []string{c.want}) {
				t.Fatalf("the patient gets %v", got)
			}
			last, allocated := replaced[len(replaced)-1].(supply.KitAllocated)
			if !allocated {
				return
			}
			if last.Replaces != second {
				t.Errorf("kit %s replaces %q", last.Kit, last.Replaces)
			}
			after := s.Given(replaced...)
			after.When(allocate(atStep(1), anna, "week-4")).Then() // nothing is lacking
		})
	}
}

// What a former site has given out for a visit counts at the present one, and what it has not does not.
func TestKitsOfAVisitAtAFormerSite(t *testing.T) {
	low := string(x) + "-low"
	there := typedStock(t, low, low)
	kits := decided(t, there, allocate(withPlan(nil), anna, "week-4"))
	there = there.Given(kits...)
	first, second := kits[len(kits)-2].(supply.KitAllocated).Kit, kits[len(kits)-1].(supply.KitAllocated).Kit
	give := func(kit supply.KitNumber) supply.KitDispensed {
		return supply.KitDispensed{OfStock: site, Patient: anna, Kit: kit, Visit: "week-4", On: "2026-03-10"}
	}
	lost := supply.KitReplacementAsked{OfStock: site, Patient: anna, Kit: second, Visit: "week-4", Cause: supply.LostByPatient}
	for name, c := range map[string]struct {
		at   stock
		want []string
	}{
		"nothing was given out": {there, []string{"0:" + low, "1:" + low}},
		"one of two":            {there.Given(give(first)), []string{"1:" + low}},
		"all":                   {there.Given(give(first), give(second)), nil},
		"one is to be replaced": {there.Given(give(first), give(second), lost), []string{"1:" + low}},
		"drawn again since": {there.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K9", Visit: supply.KitOfStage("second")}),
			[]string{"drawn_again"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := withPlan(func(f *supply.Facts) { f.Former = []supply.Stock{c.at.State()} })
			here := typedStock(t, low, low, low, low)
			events := decided(t, here, allocate(f, anna, "week-4"))
			if got := given(events); !slices.Equal(got, c.want) {
				t.Fatalf("the patient gets %v, want %v", got, c.want)
			}
			if again := decided(t, here.Given(events...), allocate(f, anna, "week-4")); name != "drawn again since" && len(again) > 0 {
				t.Errorf("asked again, it is %v", again)
			}
		})
	}
}

// What was given out at a former site counts where the patient has come back, and the kits that were here before were set aside.
func TestKitsOfAVisitThereAndBack(t *testing.T) {
	low := string(x) + "-low"
	here := typedStock(t, low, low, low, low)
	kits := decided(t, here, allocate(withPlan(nil), anna, "week-4"))
	here = here.Given(kits...)
	here = here.Given(decided(t, here, settingAside("week-4"))...)
	there := typedStock(t, low, low)
	others := decided(t, there, allocate(withPlan(nil), anna, "week-4"))
	there = there.Given(others...)
	for n := range 3 {
		f := withPlan(func(f *supply.Facts) { f.Former = []supply.Stock{there.State()} })
		if got := given(decided(t, here, allocate(f, anna, "week-4"))); len(got) != 2-n {
			t.Errorf("after %d of 2 kits were given out there, the patient gets %v", n, got)
		}
		if n < 2 {
			there = there.Given(supply.KitDispensed{OfStock: site, Patient: anna, Kit: others[len(others)-2+n].(supply.KitAllocated).Kit,
				Visit: "week-4", On: "2026-03-10"})
		}
	}
}

// The kits of a later draw take the place of what a patient still waited for.
func TestWhatWasWaitedForBeforeALaterDraw(t *testing.T) {
	slot := supply.KitOfStage("second")
	waits := supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4", Code: "no_stock", Waits: true}
	withheld := supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4", Code: "dose_held", Withheld: supply.DoseIsHeld}
	again := supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4", Code: "drawn_again",
		Reason: "the patient was drawn again since, and got kits then"}
	for _, before := range []supply.AllocationFailed{waits, withheld} {
		at := strictStockAt(t, site, "K1", "K2").Given(before, supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: slot})
		at.When(allocate(inArm(x), anna, "week-4")).Then(again)
		at.When(revising(inArm(x))).Then(again)
	}
}

// The kit of a draw comes while the draw is under way or confirmed, and not because an arm was drawn.
func TestTheKitOfADrawNeedsTheDraw(t *testing.T) {
	slot := supply.KitOfStage("second")
	at := strictStockAt(t, site, "K1", "K2")
	drawn := func(stages ...string) supply.Facts {
		f := inArm(x)
		f.DrawnFor = stages
		return f
	}
	at.When(allocate(drawn(""), anna, slot)).Then(supply.AllocationFailed{OfStock: site, Patient: anna, Visit: slot,
		Code: "draw_not_confirmed", Reason: "the draw that the kit comes with was not confirmed"})
	for _, f := range []supply.Facts{drawn("", "second"), drawn("second")} {
		if got := decided(t, at, allocate(f, anna, slot)); len(got) == 0 || got[len(got)-1].(supply.KitAllocated).Visit != slot {
			t.Errorf("the draw leads to %v", got)
		}
	}
}

// From a draw to its confirmation, the patient gets the kits of the draw alone. Who waited for others before it gets them no more, and
// who was due for some since gets them after it.
func TestFromADrawToItsConfirmationOnlyItsKitsAreGiven(t *testing.T) {
	slot, on := supply.KitOfStage("second"), domain.Date("2026-03-10")
	drawn := func(unconfirmed bool) supply.Facts {
		return facts(func(f *supply.Facts) {
			f.Arm, f.DrawnFor = x, []string{"", "second"}
			if stage := "second"; unconfirmed {
				f.Unconfirmed = &stage
			}
		})
	}
	withheld := supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4", Code: "draw_not_confirmed",
		Reason: "the patient was drawn, and the kits that come with the draw are given first", Withheld: supply.DrawIsNotConfirmed}
	at := strictStockAt(t, site, "K1", "K2", "K5")
	before := at.Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: "K1", Visit: ""})
	for name, refused := range map[string]func(stock) scenario.Outcome[supply.Stock, supply.StockEvent]{
		"the kit of the enrolment is not given out": func(at stock) scenario.Outcome[supply.Stock, supply.StockEvent] {
			return at.When(decisionWith(supply.Dispense, drawn(true), dispenseKit(anna, "K1", on)))
		},
		"nor replaced": func(at stock) scenario.Outcome[supply.Stock, supply.StockEvent] {
			return at.When(decisionWith(supply.Replace, drawn(true), supply.ReplaceKit{Site: "A", OfPatient: domain.ForPatient(anna),
				Kit: "K1", Cause: supply.KitMisallocated, Reasoned: domain.Because("r")}))
		},
		"none is given between visits": func(at stock) scenario.Outcome[supply.Stock, supply.StockEvent] {
			return at.When(decisionWith(supply.AskUnscheduled, drawn(true), supply.DispenseUnscheduled{Site: "A",
				OfPatient: domain.ForPatient(anna), Reasoned: domain.Because("r")}))
		},
	} {
		t.Run(name, func(t *testing.T) { refused(before).ThenRefused("draw_not_confirmed") })
	}
	at.When(allocate(drawn(true), anna, "week-4")).Then(withheld)
	kits := decided(t, before.Given(withheld), allocate(drawn(true), anna, slot))
	if last, is := kits[len(kits)-1].(supply.KitAllocated); !is || last.Visit != slot {
		t.Fatalf("the draw leads to %v", kits)
	}
	confirmed := before.Given(withheld).Given(kits...)
	confirmed.When(decisionWith(supply.Dispense, drawn(false), dispenseKit(anna, "K1", on))).ThenRefused("drawn_again")
	for _, c := range []struct {
		before []supply.StockEvent
		want   string
	}{
		{nil, "no_stock"}, // it is due, and would come
		{[]supply.StockEvent{supply.AllocationFailed{OfStock: site, Patient: anna, Visit: "week-4", Code: "no_stock", Waits: true}},
			"drawn_again"},
	} {
		all := decided(t, before.Given(c.before...).Given(withheld).Given(kits...).Given(supply.KitLost{OfStock: site, Kit: "K2"}),
			allocate(drawn(false), anna, "week-4"))
		if got := given(all); !slices.Equal(got, []string{c.want}) {
			t.Errorf("after %v and the confirmation, the patient gets %v, want %s", c.before, got, c.want)
		}
	}
}

// Kits that wait follow what is planned: after a change of the weight or of the protocol they are exchanged, those of other arms or of
// no change are not. A kit whose plan is not known, such as in older logs, is given out as it was allocated.
func TestKitsThatWaitFollowThePlan(t *testing.T) {
	low := string(x) + "-low"
	byWeight := func(t *study.Treatment) {
		thePlan(t)
		t.Titration = nil
		t.Plan.Kits = nil
		for _, arm := range []domain.ArmID{x, y} {
			for count, kg := range map[int][2]float64{2: {0, 60}, 3: {60, 1000}} {
				t.Plan.Kits = append(t.Plan.Kits, study.PlannedKits{Arm: string(arm), FromKg: kg[0], BelowKg: kg[1],
					Kits: []study.KitsOf{{Type: string(arm) + "-low", Count: count}}})
			}
		}
	}
	at := func(kg float64, change func(*study.Treatment)) supply.Facts {
		return withPlan(func(f *supply.Facts) {
			protocol := f.Study.Protocol
			f.Study = theStudy(func(t *study.Treatment) {
				byWeight(t)
				if change != nil {
					change(t)
				}
			})
			f.Study.Protocol.Visits, f.Dosing.WeightKg = protocol.Visits, kg
		})
	}
	s := typedStock(t, low, low, low, low, low, low, low, low, low, low)
	s = s.Given(decided(t, s, allocate(at(50, nil), anna, "week-4"))...)
	kit := s.Events()[len(s.Events())-1].(supply.KitAllocated).Kit
	s.When(revising(at(55, nil))).Then()
	s.When(decisionWith(supply.Dispense, at(70, nil), dispenseKit(anna, kit, "2026-03-10"))).ThenRefused("dose_changed")
	for _, kg := range []float64{70, 50, 70} {
		events := decided(t, s, revising(at(kg, nil)))
		want := []string{"0:" + low, "1:" + low, "2:" + low}
		if kg == 50 {
			want = want[:2]
		}
		if got := given(events); !slices.Equal(got, want) {
			t.Fatalf("at %v kg, the patient gets %v", kg, got)
		}
		s = s.Given(events...)
		s.When(allocate(at(kg, nil), anna, "week-4")).Then() // nothing is lacking
		s.When(revising(at(kg, nil))).Then()
	}
	amended := func(arm domain.ArmID) supply.Facts {
		return at(70, func(t *study.Treatment) {
			for i := range t.Plan.Kits {
				if t.Plan.Kits[i].Arm == string(arm) {
					t.Plan.Kits[i].DosesPerDay = 2
				}
			}
		})
	}
	for _, arm := range []domain.ArmID{x, y} { // of whichever arm, patients of all arms have their kits exchanged
		if got := given(decided(t, s, revising(amended(arm)))); len(got) != 3 {
			t.Errorf("after an amendment for arm %s, the patient gets %v", arm, got)
		}
	}
	old := typedStock(t, low, low).Given(supply.KitAllocated{OfStock: site, Patient: anna, Kit: supply.KitNumber(low + "/0"), Visit: "week-4"})
	old.When(revising(at(70, nil))).Then()
}
