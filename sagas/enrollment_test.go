package sagas_test

import (
	"context"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/sagas"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	blue  = domain.ArmID("BLUE-7f31")
	green = domain.ArmID("GREEN-c204")
)

// statistician has just signed in.
func (w *world) statistician() access.Principal {
	return access.Principal{User: "statistician", Grants: []user.Grant{{Role: user.Statistician, Study: w.study}},
		AuthenticatedAt: w.clock.Now()}
}

// supplier ships kits.
func (w *world) supplier() access.Principal {
	return access.Principal{User: "supplier", Grants: []user.Grant{{Role: user.UnblindedSupplyManager, Study: w.study}}}
}

// treated publishes a protocol that randomises between two arms and gives kits, opens a depot, and registers and releases
// kits there.
func (w *world) treated(change func(*study.Treatment), kits string) {
	w.t.Helper()
	t := study.Treatment{Randomised: true, Kits: true, DoNotDispenseDays: 7, DispensingVisits: []string{"week-4"}}
	if change != nil {
		change(&t)
	}
	arms := []study.Arm{{ID: string(blue)}, {ID: string(green)}}
	if !t.Randomised {
		arms = arms[:1]
	}
	w.must(w.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(w.study),
		Protocol: study.Protocol{Version: 2, ConsentVersion: "1.0",
			Arms: arms, Treatment: &t, Visits: []study.Visit{{ID: "week-4", Day: 28}}}})
	if t.Randomised {
		made, err := w.do(w.statistician(), randomisation.GenerateRandomisationList{InStudy: domain.ForStudy(w.study), Scheme: "list",
			Ratio:      map[domain.ArmID]int{blue: 1, green: 1},
			BlockSizes: []int{2, 4, 6}, PerStratum: max(600, w.perStratum)})
		if err != nil {
			w.t.Fatal(err)
		}
		w.must(w.statistician(), randomisation.ActivateRandomisation{InStudy: domain.ForStudy(w.study), Scheme: "list",
			SHA256: made.Events[0].Data.(randomisation.ListGenerated).SHA256})
	}
	w.must(w.supplier(), supply.OpenDepot{InStudy: domain.ForStudy(w.study), Depot: "D", Name: "Depot"})
	w.must(w.supplier(), supply.RegisterKits{InStudy: domain.ForStudy(w.study), Depot: "D", CSV: "kit,arm,lot,expiry\n" + kits})
	w.must(w.supplier(), supply.ReleaseBatch{InStudy: domain.ForStudy(w.study), Lot: "L1", Certificate: "C-1"})
}

const twoOfEach = "1001,BLUE-7f31,L1,2027-01-31\n1002,GREEN-c204,L1,2027-01-31\n" +
	"1003,GREEN-c204,L1,2026-12-31\n1004,BLUE-7f31,L1,2026-12-31\n"

// ship sends kits from the depot to site A, where they arrive well.
func (w *world) ship(kits ...supply.KitNumber) {
	w.t.Helper()
	answer, err := w.do(w.supplier(), supply.CreateShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, To: "A", Kits: kits,
		Reasoned: domain.Because("initial supply")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.receive(answer.Events[0].Data.(supply.ShipmentCreated).Shipment)
}

func (w *world) receive(id supply.ShipmentID) {
	w.t.Helper()
	w.must(w.supplier(), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, Shipment: id, On: "2026-02-03"})
	w.must(w.crc, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, From: "D", Shipment: id,
		On: "2026-02-03", Temperature: supply.TemperatureInRange})
}

// courier hands the log's events to the processes by hand, so that a test decides what is delivered when.
type courier struct {
	w      *world
	runner *sagas.Runner
	seen   domain.Position
	// arrange changes what is delivered: order, repeats; nil for as it comes.
	arrange func([]eventlog.Recorded) []eventlog.Recorded
	// past are all events that were delivered.
	past []eventlog.Recorded
}

func (w *world) courier(p *part) *courier {
	return &courier{w: w, runner: w.runner(p), seen: w.begun}
}

// fresh returns the events that came since the last call.
func (c *courier) fresh() []eventlog.Recorded {
	c.w.t.Helper()
	var events []eventlog.Recorded
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	err := c.w.log.Follow(ctx, eventlog.Subscription{After: c.seen, KeepUnreadable: c.w.shared},
		func(_ context.Context, b eventlog.Batch) error {
			for _, e := range b.Events {
				if c.w.holds(e) {
					events = append(events, e)
				}
			}
			c.seen = b.Through
			if b.Live {
				stop()
			}
			return nil
		})
	if err != nil {
		c.w.t.Fatal(err)
	}
	return events
}

// settle delivers until nothing comes of it any more, and returns the first error.
func (c *courier) settle() error {
	c.w.t.Helper()
	for {
		events := c.fresh()
		if len(events) == 0 {
			return nil
		}
		if c.arrange != nil {
			events = c.arrange(events)
		}
		for _, e := range events {
			c.past = append(c.past, e)
			if err := c.deal(e); err != nil {
				return err
			}
		}
	}
}

func (c *courier) deal(e eventlog.Recorded) error {
	for _, p := range contexts.Processes() {
		if !p.ByClock() {
			if err := c.runner.Deal(context.Background(), p, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *courier) mustSettle() {
	c.w.t.Helper()
	if err := c.settle(); err != nil {
		c.w.t.Fatal(err)
	}
}

// fire fires every timer that is due.
func (c *courier) fire() {
	c.w.t.Helper()
	for _, e := range c.past {
		of, timer, ok := sagas.TimerOf(e.Event)
		if !ok || timer.At.After(c.w.clock.Now()) {
			continue
		}
		for _, p := range contexts.Processes() {
			if p.Name == of.Process {
				if err := c.runner.Fire(context.Background(), p, e); err != nil {
					c.w.t.Fatal(err)
				}
			}
		}
	}
}

func (w *world) patientEvents(p domain.PatientID) []string {
	return w.types(patient.Decider.Stream(string(p)))
}

func (w *world) stockEvents(at supply.LocationID) []string {
	return w.types(supply.StockDecider.Stream(supply.StockID(w.study, at)))
}

func (w *world) expect(what string, got []string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestEnrollmentWithDrawAndKit(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(nil, twoOfEach)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002", "1003", "1004")
	who := w.request()
	c.mustSettle()
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled")
	w.expect("site", w.stockEvents("A"), "ShipmentReceived", "StockSeedRecorded", "StockHeld", "KitAllocated")
	w.expect("places", w.types(enrollment.Decider.Stream(string(w.study))), "EnrollmentOpened", "PlaceReserved")
	w.expect("draws", w.types("randomisation-"+string(w.study)), "ListGenerated", "SchemeActivated", "PatientRandomised")
	// The process's own stream holds the steps, each with the commands that it sent.
	var stages, asked []string
	for _, e := range ofType[process.StepTaken](w.events("saga-enrollment." + string(who))) {
		stages = append(stages, e.Stage)
		for _, c := range e.Commands {
			asked = append(asked, c.Name)
		}
	}
	w.expect("stages", stages, "place", "stock", "draw", "kit", "confirmation", "enrolled")
	w.expect("commands", asked, "ReservePlace", "HoldStock", "RandomisePatient", "AllocateKit", "ConfirmEnrollment")
	// The earliest expiry goes first.
	if kit := ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + ".A"))[0].Kit; kit != "1003" && kit != "1004" {
		t.Errorf("kit %s was allocated", kit)
	}
}

func TestWithoutStockNothingIsDrawnAndAllIsGivenBack(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(nil, twoOfEach)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1004") // one arm alone
	who := w.request()
	c.mustSettle()
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "EnrollmentFailed")
	w.expect("site", w.stockEvents("A"), "ShipmentReceived", "StockRefused")
	w.expect("places", w.types(enrollment.Decider.Stream(string(w.study))), "EnrollmentOpened", "PlaceReserved", "PlaceReleased")
	w.expect("draws", w.types("randomisation-"+string(w.study)), "ListGenerated", "SchemeActivated")
	if f := ofType[patient.EnrollmentFailed](w.events("patient-" + string(who)))[0]; f.Code != "randomisation_not_possible" {
		t.Errorf("it failed with %+v", f)
	}
}

// A draw that was requested does not go on after a suspension. Everything is given back, and the patient can be drawn later.
func TestADrawDoesNotGoOnAfterASuspension(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) {
		t.DrawnLater, t.Factors = true, []study.Factor{{ID: "sex", Levels: []string{"F", "M"}}}
	}, twoOfEach)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002", "1003", "1004")
	who := w.request()
	c.mustSettle()
	ask := patient.RequestRandomisation{OfPatient: domain.ForPatient(who), Factors: map[string]string{"sex": "F"}}
	stop := study.SuspendStudy{InStudy: domain.ForStudy(w.study), Cohort: study.Cohort{"sex": "F"},
		Activities: []study.Activity{study.ActivityRandomisation}, Reasoned: domain.Because("A safety signal in women")}
	w.must(w.crc, ask)
	w.must(w.manager, stop)
	c.mustSettle()
	// It comes between the hold of the kits and the draw.
	w.must(w.manager, study.ResumeStudy{InStudy: stop.InStudy, Cohort: stop.Cohort, Activities: stop.Activities, Reasoned: stop.Reasoned})
	w.must(w.crc, ask)
	w.must(access.Process("enrollment"), supply.HoldStock{Study: w.study, Site: "A", OfPatient: ask.OfPatient})
	w.must(w.manager, stop)
	c.mustSettle()
	w.must(w.manager, study.ResumeStudy{InStudy: stop.InStudy, Cohort: stop.Cohort, Activities: stop.Activities, Reasoned: stop.Reasoned})
	w.must(w.crc, ask)
	c.mustSettle()
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled",
		"RandomisationRequested", "RandomisationNotPossible", "RandomisationRequested", "RandomisationNotPossible",
		"RandomisationRequested", "RandomisationConfirmed")
	w.expect("site", w.stockEvents("A"), "ShipmentReceived", "StockRefused", "StockSeedRecorded", "StockHeld", "StockHeld",
		"HoldReleased", "StockHeld", "KitAllocated")
	w.expect("draws", w.types("randomisation-"+string(w.study)), "ListGenerated", "SchemeActivated", "RandomisationRefused",
		"PatientRandomised")
	for _, f := range ofType[patient.RandomisationNotPossible](w.events("patient-" + string(who))) {
		if f.Code != "randomisation_not_possible" {
			t.Errorf("it failed with %+v", f)
		}
	}
}

// Three windows missed one after another raise an alert, once; an answer in between begins the count anew.
func TestMissedDiariesRaiseAnAlert(t *testing.T) {
	w := newWorld(t, 10)
	steady, lapsed := w.assign(painDiary), w.assign(painDiary) // from 3 to 5 February: three windows
	w.clock.set(berlin(4, 21, 0, 0))
	w.submit(steady, 4)
	c, f := w.courier(w.part), w.followUp(w.part, steady, lapsed)
	f.at(due(4))
	c.mustSettle()
	raised := func() (all []safety.AlertRaised) {
		for _, e := range c.past {
			if a, ok := e.Event.(safety.AlertRaised); ok {
				all = append(all, a)
			}
		}
		return all
	}
	if got := raised(); len(got) != 0 {
		t.Fatalf("alerts came too early: %+v", got)
	}
	f.at(due(5))
	c.mustSettle()
	if got := raised(); len(got) != 1 || got[0].Patient != lapsed || got[0].Kind != safety.DiariesMissed {
		t.Errorf("raised were %+v", got)
	}
}

// A kit that is recalled after its allocation is replaced, whether it was allocated at the enrolment or at a visit. One
// alert reports the affected kits.
func TestARecalledKitIsReplaced(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(nil, "1001,BLUE-7f31,L1,2027-01-31\n1002,GREEN-c204,L1,2027-01-31\n"+
		"1003,GREEN-c204,L2,2027-12-31\n1004,BLUE-7f31,L2,2027-12-31\n")
	w.must(w.supplier(), supply.ReleaseBatch{InStudy: domain.ForStudy(w.study), Lot: "L2", Certificate: "C-2"})
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002", "1003", "1004")
	who := w.request()
	c.mustSettle()
	w.must(w.supplier(), supply.RecallLot{InStudy: domain.ForStudy(w.study), Lot: "L1", Reasoned: domain.Because("impurity")})
	c.mustSettle()
	allocated := ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + ".A"))
	if len(allocated) != 2 || allocated[1].Replaces != allocated[0].Kit || allocated[1].Patient != who {
		t.Errorf("allocated were %+v", allocated)
	}
	alerts := 0
	for _, e := range c.past {
		if a, ok := e.Event.(safety.AlertRaised); ok && a.Kind == safety.KitsAffected {
			alerts++
		}
	}
	if alerts != 1 {
		t.Errorf("%d alerts tell of it", alerts)
	}
}

// A kit that is lost before it was given out is replaced, and so is one that expires in the patient's name.
func TestALostOrExpiredKitIsReplaced(t *testing.T) {
	for name, lose := range map[string]func(w *world, c *courier, kit supply.KitNumber){
		"lost": func(w *world, _ *courier, kit supply.KitNumber) {
			w.must(w.crc, supply.ReportKitLost{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kit: kit,
				Reasoned: domain.Because("not found")})
		},
		"expired": func(w *world, c *courier, _ supply.KitNumber) {
			w.clock.set(time.Date(2027, 2, 1, 12, 0, 0, 0, time.UTC)) // the kits that expire first have gone first
			c.fire()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			w.treated(nil, "1001,BLUE-7f31,L1,2027-01-31\n1002,GREEN-c204,L1,2027-01-31\n"+
				"1003,GREEN-c204,L1,2027-12-31\n1004,BLUE-7f31,L1,2027-12-31\n")
			c := w.courier(w.part)
			c.mustSettle()
			w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
				Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 3}})
			w.ship("1001", "1002", "1003", "1004")
			who := w.request()
			c.mustSettle()
			first := ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + ".A"))[0]
			lose(w, c, first.Kit)
			c.mustSettle()
			allocated := ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + ".A"))
			if len(allocated) != 2 || allocated[1].Replaces != first.Kit || allocated[1].Patient != who {
				t.Errorf("allocated were %+v", allocated)
			}
		})
	}
}

// At a visit that dispenses, the next kit is allocated; a site without kits gets some by its rule, and the patient the kit.
func TestDispensingAndResupply(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(nil, twoOfEach)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1003", "1004") // one of each arm
	who := w.request()
	c.mustSettle()
	w.must(w.crc, patient.RecordVisit{OfPatient: domain.ForPatient(who), Visit: "week-4", On: "2026-02-03"})
	c.mustSettle()
	w.expect("site", w.stockEvents("A"), "ShipmentReceived", "StockSeedRecorded", "StockHeld", "KitAllocated", "AllocationFailed")
	w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
		Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 3}})
	c.mustSettle()
	sent := ofType[supply.ShipmentCreated](w.events("stock-" + string(w.study) + ".D"))
	if len(sent) != 2 || !sent[1].Resupply {
		t.Fatalf("shipments are %+v", sent)
	}
	w.must(w.supplier(), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, Shipment: sent[1].Shipment,
		On: "2026-02-03"})
	c.mustSettle()
	w.clock.set(w.clock.Now().AddDate(0, 0, 3)) // it is overdue
	c.fire()
	c.mustSettle()
	overdue := 0
	for _, e := range c.past {
		if a, ok := e.Event.(safety.AlertRaised); ok && a.Kind == safety.ShipmentOverdue {
			overdue++
		}
	}
	if overdue != 1 {
		t.Errorf("%d alerts tell of the overdue shipment", overdue)
	}
	for _, e := range c.past { // who moves drug sees to alerts about drug
		if a, ok := e.Event.(safety.AlertRaised); ok {
			if _, err := w.do(w.supplier(), safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: a.Alert}}); err != nil {
				t.Errorf("the supply manager looks at %s: %v", a.Kind, err)
			}
		}
	}
	w.must(w.crc, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, From: "D", Shipment: sent[1].Shipment,
		On: "2026-02-05", Temperature: supply.TemperatureInRange})
	c.mustSettle()
	allocated := ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + ".A"))
	if len(allocated) != 2 || allocated[1].Visit != "week-4" || allocated[1].Patient != who {
		t.Errorf("allocated were %+v", allocated)
	}
	// Kits that expire are taken out by the clock.
	w.clock.set(w.clock.Now().AddDate(2, 0, 0))
	c.fire()
	if expired := ofType[supply.KitsExpired](w.events("stock-" + string(w.study) + ".A")); len(expired) == 0 {
		t.Error("nothing has expired after two years")
	}
	withdraw := patient.WithdrawConsent{OfPatient: domain.ForPatient(who), On: "2026-02-06"}
	w.must(w.crc, withdraw)
	c.mustSettle()
}

// When what kept kits from a site has ended, they are sent at once, and not after the next night.
func TestAResupplyGoesOnAtOnce(t *testing.T) {
	rule := func(w *world, site domain.SiteID) {
		w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
			Rule: supply.ResupplyRule{Site: site, Depot: "D", Trigger: 1, Target: 3, OverdueDays: 3}})
	}
	shipping, because := []study.Activity{study.ActivityShipping}, domain.Because("A SUSAR is being assessed")
	for name, one := range map[string]struct{ stop, goOn func(w *world) }{
		"site resumed": {func(w *world) {
			w.must(w.manager, study.PauseSite{AtSite: domain.ForSite(w.study, "A"), Activities: shipping, Reasoned: because})
			rule(w, "A")
		}, func(w *world) {
			w.must(w.manager, study.ResumeSite{AtSite: domain.ForSite(w.study, "A"), Activities: shipping, Reasoned: because})
		}},
		"country resumed": {func(w *world) {
			w.must(w.manager, study.SuspendStudy{InStudy: domain.ForStudy(w.study), Country: "DE", Activities: shipping, Reasoned: because})
			rule(w, "A")
		}, func(w *world) {
			w.must(w.manager, study.ResumeStudy{InStudy: domain.ForStudy(w.study), Country: "DE", Activities: shipping, Reasoned: because})
		}},
		"site activated": {func(w *world) {
			w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "B"), Name: "Bonn", Country: "DE", Zone: "Europe/Berlin"})
			rule(w, "B")
		}, func(w *world) {
			w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "B"), On: "2026-01-01"})
		}},
		"batch released": {func(w *world) {
			w.must(w.supplier(), supply.OpenDepot{InStudy: domain.ForStudy(w.study), Depot: "E", Name: "Depot"})
			w.must(w.supplier(), supply.RegisterKits{InStudy: domain.ForStudy(w.study), Depot: "E",
				CSV: "kit,arm,lot,expiry\n2001,BLUE-7f31,L2,2027-01-31\n2002,GREEN-c204,L2,2027-01-31\n"})
			w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
				Rule: supply.ResupplyRule{Site: "A", Depot: "E", Trigger: 1, Target: 3, OverdueDays: 3}})
		}, func(w *world) {
			w.must(w.supplier(), supply.ReleaseBatch{InStudy: domain.ForStudy(w.study), Lot: "L2", Certificate: "C-2"})
		}},
		"delivery taken in": {func(w *world) {
			w.must(w.supplier(), supply.OpenDepot{InStudy: domain.ForStudy(w.study), Depot: "E", Name: "Depot"})
			w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
				Rule: supply.ResupplyRule{Site: "A", Depot: "E", Trigger: 1, Target: 3, OverdueDays: 3}})
		}, func(w *world) {
			w.must(w.supplier(), supply.RegisterKits{InStudy: domain.ForStudy(w.study), Depot: "E",
				CSV: "kit,arm,lot,expiry\n2001,BLUE-7f31,L1,2027-01-31\n2002,GREEN-c204,L1,2027-01-31\n"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			w.treated(nil, twoOfEach)
			c := w.courier(w.part)
			sent := func() int {
				c.mustSettle()
				return len(ofType[supply.ShipmentCreated](w.events("stock-"+string(w.study)+".D"))) +
					len(ofType[supply.ShipmentCreated](w.events("stock-"+string(w.study)+".E")))
			}
			one.stop(w)
			if n := sent(); n != 0 {
				t.Fatalf("%d shipments are packed", n)
			}
			one.goOn(w)
			if n := sent(); n != 1 {
				t.Errorf("%d shipments are packed", n)
			}
		})
	}
}

// Kits expire at a site that people supply, and that never had a resupply rule.
func TestKitsExpireWithoutARule(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(nil, twoOfEach)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1003", "1004")
	c.mustSettle()
	w.clock.set(w.clock.Now().AddDate(2, 0, 0))
	c.fire()
	if expired := ofType[supply.KitsExpired](w.events("stock-" + string(w.study) + ".A")); len(expired) != 1 || len(expired[0].Kits) != 2 {
		t.Errorf("after two years there has expired %+v", expired)
	}
}

// A patient who waits has one alert also when the resupply of the site is ended, and a kit settles it.
func TestTheEndOfAResupplyRaisesNoSecondAlert(t *testing.T) {
	w, c, who := supplied(t)
	w.dispense(who)
	w.request()
	c.mustSettle()
	w.visit(who)
	c.mustSettle()
	w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
		Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 3}})
	c.mustSettle()
	w.must(w.supplier(), supply.EndResupply{InStudy: domain.ForStudy(w.study), Site: "A", Reasoned: domain.Because("r")})
	c.mustSettle()
	if open := c.waits(who); len(open) != 1 {
		t.Errorf("the open alerts are %v", open)
	}
}

// TestMissedAnswersAreHeardOfByAskingAgain: a stranger takes the answers to an enrolment out of its group, so that they never
// come. When the enrolment has waited too long it asks again, hears what was recorded, and ends with one draw and one kit.
func TestMissedAnswersAreHeardOfByAskingAgain(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(nil, twoOfEach)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002", "1003", "1004")
	c.arrange = func(events []eventlog.Recorded) (rest []eventlog.Recorded) {
		for _, e := range events {
			switch e.Event.(type) {
			case randomisation.PatientRandomised, supply.KitAllocated:
			default:
				rest = append(rest, e)
			}
		}
		return rest
	}
	who := w.request()
	c.mustSettle()
	for range 3 {
		w.clock.set(w.clock.Now().Add(sagas.AnswerWithin + time.Minute))
		c.fire()
		c.mustSettle()
	}
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled")
	w.expect("draws", w.types("randomisation-"+string(w.study)), "ListGenerated", "SchemeActivated", "PatientRandomised")
	if n := len(ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + ".A"))); n != 1 {
		t.Errorf("%d kits were allocated, want 1", n)
	}
	steps := ofType[process.StepTaken](w.events("saga-enrollment." + string(who)))
	if last := steps[len(steps)-1]; last.Stage != "enrolled" {
		t.Errorf("the enrolment stands at %s: %s", last.Stage, last.Note)
	}
}
