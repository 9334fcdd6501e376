package sagas_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
)

// waits returns the open alerts that say that a patient has no kit.
func (c *courier) waits(who domain.PatientID) []safety.AlertID {
	return c.openAlerts(func(e safety.AlertRaised) bool { return e.Kind == safety.PatientWithoutKit && e.Patient == who })
}

// openAlerts returns the alerts that are open, of those that somebody looks for.
func (c *courier) openAlerts(lookedFor func(safety.AlertRaised) bool) (open []safety.AlertID) {
	for _, e := range c.past {
		switch e := e.Event.(type) {
		case safety.AlertRaised:
			if lookedFor(e) {
				open = append(open, e.Alert)
			}
		case safety.AlertClosed:
			open = slices.DeleteFunc(open, func(id safety.AlertID) bool { return id == e.Alert })
		}
	}
	return open
}

// A patient without a kit has one open alert until there is a kit, however often it is asked for, and the treatment's end settles it.
func TestAPatientWithoutAKitHasOneAlert(t *testing.T) {
	w, c, who := supplied(t) // 1001 and 1002 are at the site
	of := domain.ForPatient(who)
	w.dispense(who)
	other := w.request()
	c.mustSettle()
	w.visit(who)
	c.mustSettle()
	if open := c.waits(who); len(open) != 1 || len(c.waits(other)) != 0 {
		t.Fatalf("the open alerts are %v and %v", open, c.waits(other))
	}
	w.must(w.crc, patient.DiscontinueTreatment{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByAdverseEvent})
	c.mustSettle()
	if open := c.waits(who); len(open) != 0 {
		t.Fatalf("after the end of the treatment the open alerts are %v", open)
	}
	w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepTreatmentEnd, Reasoned: domain.Because("The wrong patient")})
	c.mustSettle()
	if open := c.waits(who); len(open) != 1 {
		t.Fatalf("after the undoing the open alerts are %v", open)
	}
	w.ship("1003")
	c.mustSettle()
	kits := w.allocated("A")
	if open := c.waits(who); len(open) != 0 || kits[len(kits)-1].Kit != "1003" {
		t.Errorf("with the kit the open alerts are %v, allocated were %+v", open, kits)
	}
}

// A patient who waits for a kit and is transferred is asked for at the new site, whose alert it is then.
func TestTheNewSiteIsAskedForWhatATransferredPatientLacks(t *testing.T) {
	w, c, who := supplied(t)
	w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "B"), Name: "Eppendorf", Country: "DE", Zone: "Europe/Berlin"})
	w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "B"), On: "2026-01-01"})
	w.dispense(who)
	w.request()
	c.mustSettle()
	w.visit(who)
	c.mustSettle()
	before := c.waits(who)
	w.must(w.manager, patient.TransferPatient{OfPatient: domain.ForPatient(who), To: "B", On: "2026-02-03", Reasoned: domain.Because("Moved")})
	c.mustSettle()
	after := c.waits(who)
	failed := ofType[supply.AllocationFailed](w.events("stock-" + string(w.study) + ".B"))
	if len(before) != 1 || len(after) != 1 || after[0] == before[0] || len(failed) != 1 || failed[0].Visit != "week-4" {
		t.Errorf("the alerts are %v and then %v; at the new site %+v", before, after, failed)
	}
}

// A kit that was put back leaves its patient without one. Somebody is told until the patient gets a kit, or the next visit has its own.
func TestAPatientWhoseKitWasPutBackHasAnAlert(t *testing.T) {
	w, c, who := supplied(t)
	of := domain.ForPatient(who)
	w.dispense(who)
	w.visit(who)
	c.mustSettle()
	kit := w.allocated("A")[1].Kit
	putBack := supply.RecordNotDispensed{Site: "A", OfPatient: of, Kit: kit, Reasoned: domain.Because("The patient did not come")}
	unscheduled := supply.DispenseUnscheduled{Site: "A", OfPatient: of, Reasoned: domain.Because("Came a day later")}
	void := patient.VoidVisit{OfPatient: of, Visit: "week-4", Reasoned: domain.Because("The patient did not come")}
	for _, step := range []struct {
		command any
		want    int
	}{
		{putBack, 1},
		{unscheduled, 0}, // the same kit, for its patient
		{putBack, 1},     // nor was it given then
		{void, 0},
		{patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-02-03"}, 0},
		{putBack, 1},
		{patient.DiscontinueTreatment{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByAdverseEvent}, 0},
		{patient.UndoPatientStep{OfPatient: of, Step: patient.StepTreatmentEnd, Reasoned: domain.Because("Another patient's")}, 0},
		{putBack, 1},
	} {
		w.must(w.crc, step.command)
		c.mustSettle()
		if open := c.waits(who); len(open) != step.want {
			t.Fatalf("after %+v, the open alerts are %v", step.command, open)
		}
		if all := w.allocated("A"); all[len(all)-1].Kit != kit {
			t.Fatalf("after %+v, the patient gets %s", step.command, all[len(all)-1].Kit)
		}
	}
}

// Whatever happens, nobody on treatment is without a due kit and without an open alert, and nobody else has one.
func TestNobodyOnTreatmentLacksAKitAndAnAlert(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // the same on every run
			w, c, first := supplied(t)
			w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "B"), Name: "Eppendorf", Country: "DE", Zone: "Europe/Berlin"})
			w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "B"), On: "2026-01-01"})
			staff := access.Principal{User: "crc", Grants: []user.Grant{{Role: user.CRC, Study: w.study, Site: "A"},
				{Role: user.CRC, Study: w.study, Site: "B"}}}
			people, left := []domain.PatientID{first}, []supply.KitNumber{"1003", "1004"}
			stocks := func() map[domain.SiteID]supply.Stock {
				return map[domain.SiteID]supply.Stock{"A": supply.StockDecider.Fold(stockOf(w, "A")...),
					"B": supply.StockDecider.Fold(stockOf(w, "B")...)}
			}
			kitOf := func(at domain.SiteID, who domain.PatientID) supply.KitNumber {
				kits := stocks()[at].KitsOf(who)
				if len(kits) == 0 {
					return "none"
				}
				return kits[r.IntN(len(kits))]
			}
			suspended := false
			for step := range 25 {
				who := people[r.IntN(len(people))]
				of, at, by := domain.ForPatient(who), []domain.SiteID{"A", "B"}[r.IntN(2)], staff
				var command any
				switch r.IntN(14) {
				case 0:
					if len(people) < 4 {
						people = append(people, w.request())
					}
				case 1:
					command = patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-02-03"}
				case 2:
					command = supply.ReportKitLost{AtLocation: supply.AtLocation{Study: w.study, Location: supply.LocationID(at)}, Kit: kitOf(at, who),
						Reasoned: domain.Because("gone")}
				case 3:
					if len(left) > 0 && r.IntN(3) == 0 {
						w.ship(left[0])
						left = left[1:]
					}
				case 4:
					command = patient.DiscontinueTreatment{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByAdverseEvent}
				case 5:
					command = patient.UndoPatientStep{OfPatient: of, Step: patient.StepTreatmentEnd, Reasoned: domain.Because("error")}
				case 6:
					command = supply.DispenseKit{Site: at, OfPatient: of, Kit: kitOf(at, who), On: "2026-02-03"}
				case 7:
					command = supply.ReplaceKit{Site: at, OfPatient: of, Kit: kitOf(at, who), Cause: supply.KitWasDamaged,
						Reasoned: domain.Because("torn")}
				case 8:
					command = patient.HoldDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils low")}
				case 9, 10:
					command = patient.ResumeDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils recovered")}
				case 11:
					command, by = patient.TransferPatient{OfPatient: of, To: at, On: "2026-02-03", Reasoned: domain.Because("Moved")}, w.manager
				case 12:
					command = patient.VoidVisit{OfPatient: of, Visit: "week-4", Reasoned: domain.Because("The wrong patient")}
				case 13:
					by = w.manager
					if all := []study.Activity{study.ActivityDispensing}; suspended {
						command = study.ResumeStudy{InStudy: domain.ForStudy(w.study), Activities: all, Reasoned: domain.Because("No signal")}
					} else {
						command = study.SuspendStudy{InStudy: domain.ForStudy(w.study), Activities: all, Reasoned: domain.Because("A signal")}
					}
				}
				if command != nil {
					_, err := w.do(by, command)
					if _, refused := refuse.As(err); err != nil && !refused {
						t.Fatal(err)
					}
					if _, dispensed := command.(supply.DispenseKit); dispensed && err == nil && suspended {
						t.Fatalf("step %d: a kit was given out while dispensing is suspended", step)
					}
					switch command.(type) {
					case study.SuspendStudy, study.ResumeStudy:
						if err != nil {
							t.Fatal(err)
						}
						suspended = !suspended
					}
				}
				c.mustSettle()
				for _, who := range people {
					w.mustHaveKitOrAlert(c, stocks(), who, fmt.Sprintf("step %d, %T", step, command))
				}
			}
		})
	}
}

// mustHaveKitOrAlert fails unless a patient on treatment has each kit that is due, from any site, or an open alert, and not both. While
// the dose is held, nothing is due.
func (w *world) mustHaveKitOrAlert(c *courier, stocks map[domain.SiteID]supply.Stock, who domain.PatientID, after string) {
	w.t.Helper()
	p := patient.Decider.Initial
	due := []string{""}
	for _, e := range w.events("patient-" + string(who)) {
		p = patient.Decider.Evolve(p, e.(patient.Event))
		switch e := e.(type) {
		case patient.VisitRecorded:
			if e.Dispense || e.WouldDispense {
				due = append(due, e.Visit)
			}
		case patient.VisitVoided:
			due = slices.DeleteFunc(due, func(visit string) bool { return visit == e.Visit })
		}
	}
	lacks := 0
	for i, visit := range due {
		has := false
		for _, s := range stocks {
			kits, _ := s.Allocated.Get(supply.Slot{Patient: who, Visit: visit})
			for _, n := range kits {
				k, _ := s.Kits.Get(n)
				former := supersededBy(stocks, who, due[i+1:]) && k.Dispensed && !k.Wanted // what a patient had for a former visit is not replaced
				if !former && k.Status != supply.KitIsAllocated && k.Status != supply.KitIsDispensed {
					kits = nil
				}
			}
			has = has || len(kits) > 0
		}
		if !has {
			lacks++
		}
	}
	if p.Treatment == patient.TreatmentHeld {
		return
	}
	if open := len(c.waits(who)); p.Treatment == patient.TreatmentOn && open != lacks || p.Treatment != patient.TreatmentOn && open > 0 {
		w.t.Fatalf("after %s, %s, whose treatment is %q, lacks %d of the kits for %q and has %d open alerts", after, who, p.Treatment, lacks,
			due, open)
	}
}

// supersededBy says whether a patient was allocated a kit for a later visit.
func supersededBy(stocks map[domain.SiteID]supply.Stock, who domain.PatientID, later []string) bool {
	for _, s := range stocks {
		for _, visit := range later {
			if _, got := s.Allocated.Get(supply.Slot{Patient: who, Visit: visit}); got {
				return true
			}
		}
	}
	return false
}

// stockEvents are events as those of a stock.
func stockEvents(all []any) (events []supply.StockEvent) {
	for _, e := range all {
		events = append(events, e.(supply.StockEvent))
	}
	return events
}
