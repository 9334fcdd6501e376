package supply_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/supply"

	"pgregory.net/rapid"
)

func correctingDispensing(f supply.Facts, kit supply.KitNumber, from, to domain.Date) stockDecision {
	return decisionWith(supply.CorrectDispensing, f, supply.CorrectDispensingDate{Site: "A", OfPatient: domain.ForPatient(anna), Kit: kit,
		From: from, To: to, Reasoned: domain.Because("mistyped")})
}

func correctingReturn(kit supply.KitNumber, from, to domain.Date) stockDecision {
	return decision(supply.CorrectReturn, supply.CorrectReturnDate{Site: "A", OfPatient: domain.ForPatient(anna), Kit: kit, From: from, To: to,
		Reasoned: domain.Because("mistyped")})
}

func dispensingCorrected(from, to domain.Date) supply.DispensingDateCorrected {
	return supply.DispensingDateCorrected{OfStock: site, Patient: anna, Kit: "K1", From: from, To: to, Reason: "mistyped"}
}

func returnCorrected(from, to, backOn, usedUntil domain.Date) supply.ReturnDateCorrected {
	return supply.ReturnDateCorrected{OfStock: site, Patient: anna, Kit: "K1", From: from, To: to, Reason: "mistyped", BackOn: backOn,
		UsedUntil: usedUntil}
}

// The day of dispensing is held to everything to which it was held when it was recorded, and what was held to it.
func TestDispensingDatesAreCorrected(t *testing.T) {
	f := facts(func(f *supply.Facts) { f.EnrolledOn = "2026-02-10" })
	arrived := stockAt(t, site).Strict().Given(supply.ShipmentReceived{OfStock: site, Shipment: "D-0001", From: "D", On: "2026-02-15",
		Available: kits("K1", "K2"), Contents: contentsOf("K1", "K2")}, kitAllocated(anna, "K1"))
	arrived.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-02")).ThenRefused("kit_not_dispensed")
	home := arrived.Given(kitDispensed(anna, "K1", "2026-03-01"))
	moved := home.When(correctingDispensing(f, "K1", "2026-03-01", "2026-02-15")).Then(dispensingCorrected("2026-03-01", "2026-02-15"))
	if k, _ := moved.State().Kits.Get("K1"); k.GivenOn != "2026-02-15" || k.Status != supply.KitIsDispensed {
		t.Errorf("the kit is %+v", k)
	}
	moved.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-02")).ThenRefused("other_value_recorded")
	home.When(correctingDispensing(f, "K1", "2026-03-01", "2026-02-14")).ThenRefused("dispensed_before_receipt")
	home.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-01")).ThenRefused("nothing_to_correct")
	home.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-12")).ThenRefused("captured_in_future")
	home.When(correctingDispensing(f, "K9", "2026-03-01", "2026-03-02")).ThenRefused("kit_not_at_location")
	home.When(correctingDispensing(f, "K2", "2026-03-01", "2026-03-02")).ThenRefused("kit_not_allocated_to_patient")
	f.EnrolledOn = "2026-02-20"
	home.When(correctingDispensing(f, "K1", "2026-03-01", "2026-02-19")).ThenRefused("dispensed_before_enrollment")
	home.When(decisionWith(supply.CorrectDispensing, f, supply.CorrectDispensingDate{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1",
		From: "2026-03-01", To: "2026-03-02"})).ThenRefused("reason_required")

	back := home.Given(partly(2))
	back.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-11")).ThenRefused("before_dispensing")
	back.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-10")).Then(dispensingCorrected("2026-03-01", "2026-03-10"))
	gone := home.Given(supply.KitNotReturned{OfStock: site, Patient: anna, Kit: "K1", On: "2026-03-08", Reason: "moved"})
	gone.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-09")).ThenRefused("before_dispensing")
	gone.Given(supply.KitFound{OfStock: site, Kit: "K1", Reason: "in the garage"}).
		When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-09")).Then(dispensingCorrected("2026-03-01", "2026-03-09"))
	told := home.Given(supply.RecallActionRecorded{OfStock: site, Patient: anna, Kit: "K1", Action: supply.PatientTold, On: "2026-03-05"})
	told.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-06")).ThenRefused("before_dispensing")

	// What has become of the kit since does not matter.
	destroyed := back.Given(kitReturned(anna, "K1", "2026-03-10"), supply.KitsDestroyed{OfStock: site, Kits: kits("K1"), On: "2026-03-11"})
	destroyed.When(correctingDispensing(f, "K1", "2026-03-01", "2026-03-02")).Then(dispensingCorrected("2026-03-01", "2026-03-02"))
	destroyed.When(correctingReturn("K1", "2026-03-10", "2026-03-09")).
		Then(returnCorrected("2026-03-10", "2026-03-09", "2026-03-09", "2026-03-09"))
}

// Expiry dates may differ between arms. Whoever corrects a day cannot find one out by trying.
func TestACorrectedDayTellsNoExpiry(t *testing.T) {
	home := stockAt(t, site, "K7").Strict().Given(kitAllocated(anna, "K7"), kitDispensed(anna, "K7", "2026-03-01"))
	expires := contents["K7"].Expiry
	later := domain.Call{At: call.At.AddDate(10, 0, 0)}
	after := home.When(scenario.SentWithFacts(supply.CorrectDispensing, facts(nil), supply.CorrectDispensingDate{Site: "A",
		OfPatient: domain.ForPatient(anna), Kit: "K7", From: "2026-03-01", To: expires.AddDays(1), Reasoned: domain.Because("mistyped")}, later))
	after.Then(supply.DispensingDateCorrected{OfStock: site, Patient: anna, Kit: "K7", From: "2026-03-01", To: expires.AddDays(1),
		Reason: "mistyped"})
}

// Each day on which some of a kit came back can be corrected, and the last day of its use.
func TestReturnDatesAreCorrected(t *testing.T) {
	home := strictStockAt(t, site, "K1").Given(kitAllocated(anna, "K1"), kitDispensed(anna, "K1", "2026-03-01"))
	home.When(correctingReturn("K1", "2026-03-10", "2026-03-09")).ThenRefused("kit_not_returned")
	first := supply.KitPartlyReturned{OfStock: site, Patient: anna, Kit: "K1", On: "2026-03-04", Units: 1}
	back := home.Given(first, kitReturned(anna, "K1", "2026-03-08"))
	back.When(correctingReturn("K1", "2026-03-05", "2026-03-09")).ThenRefused("other_value_recorded")
	back.When(correctingReturn("K1", "2026-03-08", "2026-03-08")).ThenRefused("nothing_to_correct")
	back.When(correctingReturn("K1", "2026-03-08", "2026-02-28")).ThenRefused("before_dispensing")
	back.When(correctingReturn("K1", "2026-03-08", "2026-03-12")).ThenRefused("captured_in_future")
	back.When(correctingReturn("K1", "2026-03-08", "2026-03-02")).
		Then(returnCorrected("2026-03-08", "2026-03-02", "2026-03-04", "2026-03-04"))
	back.When(correctingReturn("K1", "2026-03-04", "2026-03-09")).
		Then(returnCorrected("2026-03-04", "2026-03-09", "2026-03-09", "2026-03-09"))

	gone := home.Given(first, supply.KitNotReturned{OfStock: site, Patient: anna, Kit: "K1", On: "2026-03-08", Reason: "moved"})
	gone.When(correctingReturn("K1", "2026-03-08", "2026-03-06")).
		Then(returnCorrected("2026-03-08", "2026-03-06", "2026-03-04", "2026-03-06"))
	gone.When(decision(supply.CorrectReturn, supply.CorrectReturnDate{Site: "A", OfPatient: domain.ForPatient(anna), Kit: "K1",
		From: "2026-03-08", To: "2026-03-06"})).ThenRefused("reason_required")
}

// Planned doses follow the corrected days: also where a kit was given out before its day was remembered by kit.
func TestDosesFollowCorrectedDays(t *testing.T) {
	otherDay := func(what supply.DosingStepKind, kit supply.KitNumber, was, on domain.Date) supply.DosingStep {
		return supply.DosingStep{What: what, Kit: kit, Was: was, On: on}
	}
	begun := []supply.DosingStep{givenOn("week-0", "K-1", "2026-03-01"), givenOn("week-0", "K-2", "2026-03-03"),
		backOn("K-1", "2026-03-11"), backOn("K-2", "2026-03-09"), countedAs("K-1", 4), countedAs("K-2", 4)}
	planned := func(want float64, from, until domain.Date, more ...supply.DosingStep) {
		t.Helper()
		d := dosed(append(append([]supply.DosingStep{}, begun...), more...)...)
		if got := d.Doses("week-0"); got.Planned != want || got.Until != until || d.Intervals["week-0"].From != from || !got.Known {
			t.Errorf("%+v from %s, not %g from %s to %s", got, d.Intervals["week-0"].From, want, from, until)
		}
	}
	planned(10, "2026-03-01", "2026-03-11")
	planned(8, "2026-03-03", "2026-03-11", otherDay(supply.GivenOnDay, "K-1", "2026-03-01", "2026-03-05"))
	planned(12, "2026-02-27", "2026-03-11", otherDay(supply.GivenOnDay, "K-2", "2026-03-03", "2026-02-27"))
	planned(8, "2026-03-01", "2026-03-09", otherDay(supply.BackOnDay, "K-1", "2026-03-11", "2026-03-02"))
	planned(13, "2026-03-01", "2026-03-14", otherDay(supply.BackOnDay, "K-2", "2026-03-09", "2026-03-14"))
	planned(10, "2026-03-01", "2026-03-11", otherDay(supply.GivenOnDay, "K-9", "2026-03-03", "2026-02-27"))

	before := supply.Dosing{Intervals: map[string]supply.DosingInterval{"week-0": {From: "2026-03-01", DosesPerDay: 1,
		Kits: map[supply.KitNumber]supply.UsedKit{"K-1": {Back: "2026-03-11"}}}}}
	if got := before.After(otherDay(supply.GivenOnDay, "K-1", "2026-03-01", "2026-03-05")).Doses("week-0"); got.Planned != 6 {
		t.Errorf("%+v", got)
	}
	// A kit that its patient has again is not back.
	home := dosed(append(begun, supply.DosingStep{What: supply.KitThere, Kit: "K-1"},
		otherDay(supply.BackOnDay, "K-1", "2026-03-11", "2026-03-08"))...)
	if k := home.Intervals["week-0"].Kits["K-1"]; k.Back != "" || k.Given != "2026-03-01" {
		t.Errorf("the kit is %+v", k)
	}
}

// home is a patient with the stock of the site, and what the events of both say of the doses.
type home struct {
	who     patient.Patient
	stock   supply.Stock
	dosing  supply.Dosing
	reached map[string]int
}

// act draws a step with the kits of a patient, or a correction of a day of either.
func (w *home) act(t *rapid.T) {
	on := domain.Date("2026-02-01").AddDays(rapid.IntRange(0, 40).Draw(t, "day"))
	n := rapid.SampledFrom(kits("K1", "K2")).Draw(t, "kit")
	kit, _ := w.stock.Kits.Get(n)
	f := facts(func(f *supply.Facts) { f.Arm, f.EnrolledOn = x, w.who.DayZero() })
	recorded := func(days ...domain.Date) domain.Date {
		return rapid.SampledFrom(append(days, on)).Draw(t, "from")
	}
	ofKit := func(decide stockDecision) func() {
		return func() {
			events, err := decide(w.stock)
			must(t, err)
			for _, e := range events {
				w.stock = scenario.Evolve(t, supply.StockDecider, w.stock, e)
				if step, is := supply.DosingStepOf(e, on); is {
					if step.DosesPerDay = 1; step.What != supply.KitGiven {
						step.DosesPerDay = 0
					}
					w.dosing = w.dosing.After(step)
					w.reached[string(step.What)]++
				}
			}
		}
	}
	ofPatient := func(events []patient.Event, err error) {
		must(t, err)
		for _, e := range events {
			w.who = scenario.Evolve(t, patient.Decider, w.who, e)
			switch e.(type) {
			case patient.ScreeningDateCorrected:
				w.reached["screening"]++
			case patient.EnrollmentDateCorrected:
				w.reached["enrolment"]++
			}
		}
	}
	why, of := domain.Because("mistyped"), domain.ForPatient(anna)
	switch rapid.IntRange(0, 9).Draw(t, "act") {
	case 0, 1:
		ofKit(decisionWith(supply.Dispense, f, dispenseKit(anna, n, on)))()
	case 2:
		ofKit(decision(supply.Return, supply.ReturnKit{Site: "A", OfPatient: of, Kit: n, On: on, Units: 1, KeepsRest: true}))()
	case 3:
		ofKit(decision(supply.NotReturned, supply.RecordKitNotReturned{Site: "A", OfPatient: of, Kit: n, On: on, Reasoned: why}))()
	case 4:
		ofKit(returnKit(anna, n, on))()
	case 5, 6:
		ofKit(correctingDispensing(f, n, recorded(kit.GivenOn), on))()
	case 7:
		ofKit(correctingReturn(n, recorded(append(kit.ReturnedOn[:len(kit.ReturnedOn):len(kit.ReturnedOn)], kit.LastUsedOn)...), on))()
	case 8:
		ofPatient(patient.CorrectScreening(w.who, patient.Rescreening{Study: f.Study},
			patient.CorrectScreeningDate{OfPatient: of, From: recorded(w.who.ScreenedOn), To: on, Reasoned: why}, call))
	case 9:
		facts := patient.Redating{Study: f.Study, GivenOn: w.stock.FirstGivenOn(anna, f.Study.GivesBeforeDraw)}
		ofPatient(patient.CorrectEnrollment(w.who, facts,
			patient.CorrectEnrollmentDate{OfPatient: of, From: recorded(w.who.EnrolledOn), To: on, Reasoned: why}, call))
	}
}

func must(t *rapid.T, err error) {
	if _, refused := refuse.As(err); err != nil && !refused {
		t.Fatalf("an error that is not a refusal: %v", err)
	}
}

// In every order of steps and corrections: screening, enrolment, dispensing and return are on days in this order, and doses are planned
// as if the right days had been recorded at once.
func TestDaysOfPatientsAndKitsStayInOrder(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := &home{reached: reached}
		for _, e := range []patient.Event{
			patient.Screened{Patient: anna, Study: pain, Site: "A", ScreeningNumber: "S-1", On: "2026-02-05", Zone: "Europe/Berlin"},
			patient.ConsentRecorded{Patient: anna, ConsentVersion: "1.0", On: "2026-02-05", Protocol: 1},
			patient.EnrollmentRequested{Patient: anna, Study: pain, Site: "A", On: "2026-02-10"},
			patient.Enrolled{Patient: anna, On: "2026-02-10", PatientNumber: "1"}} {
			w.who = scenario.Evolve(t, patient.Decider, w.who, e)
		}
		second := kitAllocated(anna, "K2")
		second.Item = 1
		for _, e := range []supply.StockEvent{supply.ShipmentReceived{OfStock: site, Shipment: "Z-0001", From: "Z", On: "2026-02-03",
			Available: kits("K1", "K2"), Contents: contentsOf("K1", "K2")}, kitAllocated(anna, "K1"), second} {
			w.stock = scenario.Evolve(t, supply.StockDecider, w.stock, e)
		}
		for range rapid.IntRange(20, 60).Draw(t, "acts") {
			w.act(t)
			w.inOrder(t)
		}
	})
	for _, what := range []string{"screening", "enrolment", string(supply.GivenOnDay), string(supply.BackOnDay)} {
		if reached[what] == 0 {
			t.Errorf("no order has had a corrected day: %s", what)
		}
	}
}

func (w *home) inOrder(t *rapid.T) {
	if w.who.EnrolledOn < w.who.ScreenedOn {
		t.Fatalf("enrolled on %s, screened on %s", w.who.EnrolledOn, w.who.ScreenedOn)
	}
	var right supply.Dosing
	for _, n := range kits("K1", "K2") {
		k, _ := w.stock.Kits.Get(n)
		if !k.Dispensed {
			continue
		}
		right = right.After(givenOn("", n, k.GivenOn))
		if k.GivenOn < w.who.EnrolledOn || k.GivenOn < k.ArrivedOn {
			t.Fatalf("kit %s is given on %s, before the enrolment on %s or its receipt", n, k.GivenOn, w.who.EnrolledOn)
		}
		for _, on := range append([]domain.Date{k.LastUsedOn}, k.ReturnedOn...) {
			if on == "" {
				continue
			}
			right = right.After(backOn(n, on))
			if on < k.GivenOn {
				t.Fatalf("kit %s is back on %s, before it is given on %s", n, on, k.GivenOn)
			}
		}
	}
	if is, want := w.dosing.Doses(""), right.Doses(""); is != want || w.dosing.Intervals[""].From != right.Intervals[""].From {
		t.Fatalf("the doses are %+v from %s, not %+v from %s", is, w.dosing.Intervals[""].From, want, right.Intervals[""].From)
	}
}
