package sagas_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	enrollmentprocesses "casebook/sagas/enrollment"
)

// leadIn publishes a protocol with a run-in before the enrolment, in which all patients get the same drug, and registers kits of both.
func leadIn(t *testing.T) (*world, *courier) {
	t.Helper()
	w := newWorld(t, 10)
	one := func(kind string) []study.KitsOf { return []study.KitsOf{{Type: kind, Count: 1}} }
	w.must(w.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(w.study), Protocol: study.Protocol{Version: 2,
		ConsentVersion: "1.0", Arms: []study.Arm{{ID: string(blue)}}, Visits: []study.Visit{{ID: "run-in", Day: -1}, {ID: "week-4", Day: 28}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"run-in", "week-4"}, Plan: &study.DispensingPlan{
			Types: []study.KitType{{ID: "drug", Arm: string(blue)}, {ID: "lead-in"}},
			Kits:  []study.PlannedKits{{Visits: []string{"run-in"}, Kits: one("lead-in")}, {Arm: string(blue), Kits: one("drug")}}}}}})
	w.must(w.supplier(), supply.OpenDepot{InStudy: domain.ForStudy(w.study), Depot: "D", Name: "Depot"})
	w.must(w.supplier(), supply.RegisterKits{InStudy: domain.ForStudy(w.study), Depot: "D", CSV: "kit,type,lot,expiry\n" +
		"1001,lead-in,L1,2027-01-31\n2001,drug,L1,2027-01-31\n2002,drug,L1,2027-01-31\n"})
	w.must(w.supplier(), supply.ReleaseBatch{InStudy: domain.ForStudy(w.study), Lot: "L1", Certificate: "C-1"})
	c := w.courier(w.part)
	c.mustSettle()
	return w, c
}

// endsBeforeTreatment are the steps that end something for a patient who is not treated yet.
func endsBeforeTreatment(of domain.OfPatient) map[patient.Step]any {
	return map[patient.Step]any{
		patient.StepWithdrawal:    patient.WithdrawConsent{OfPatient: of, On: "2026-02-02"},
		patient.StepScreenFailure: patient.RecordScreenFailure{OfPatient: of, On: "2026-02-02", Reasoned: domain.Because("Criterion 3")},
		patient.StepRegistration:  patient.VoidRegistration{OfPatient: of, Reasoned: domain.Because("The wrong person")},
	}
}

// A patient who left before the treatment in error has the kit of the run-in again, and gets kits at later visits.
func TestAnEndBeforeTheTreatmentIsUndone(t *testing.T) {
	for step := range endsBeforeTreatment(domain.OfPatient{}) {
		t.Run(string(step), func(t *testing.T) {
			w, c := leadIn(t)
			w.ship("1001", "2001", "2002")
			who := w.consented()
			of := domain.ForPatient(who)
			w.must(w.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-01"})
			c.mustSettle()
			for range 2 { // an error can be made twice
				w.must(w.crc, endsBeforeTreatment(of)[step])
				c.mustSettle()
				if kit := w.kit("1001"); kit.Status != supply.KitUnavailable {
					t.Fatalf("after the end, the kit is %s", kit.Status)
				}
				w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: step, Reasoned: domain.Because("The wrong patient")})
				c.mustSettle()
				if kit := w.kit("1001"); kit.Status != supply.KitIsAllocated || kit.Visit != "run-in" {
					t.Fatalf("after the undoing, the kit is %+v", kit)
				}
			}
			w.must(w.crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-02"})
			c.mustSettle()
			w.visit(who)
			c.mustSettle()
			if kits := w.allocated("A"); kits[len(kits)-1].Visit != "week-4" {
				t.Errorf("allocated were %+v", kits)
			}
		})
	}
}

// An enrolment that has failed leaves the kit of the run-in. Nobody gets it, or another one, whose only consent was recorded in error.
func TestNobodyGetsAKitOfTheRunInWithoutAConsent(t *testing.T) {
	w, c := leadIn(t)
	w.ship("1001") // there is no kit for the enrolment, which fails
	who := w.consented()
	of := domain.ForPatient(who)
	w.must(w.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-01"})
	c.mustSettle()
	w.must(w.crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-02"})
	c.mustSettle()
	if failed := ofType[patient.EnrollmentFailed](w.events("patient-" + string(who))); len(failed) != 1 {
		t.Fatalf("the enrolment has failed %d times", len(failed))
	}
	w.must(w.crc, patient.VoidConsent{OfPatient: of, ConsentVersion: "1.0", Reasoned: domain.Because("Another patient's form")})
	give := supply.DispenseKit{Site: "A", OfPatient: of, Kit: "1001", On: "2026-02-03"}
	for _, command := range []any{give, supply.DispenseUnscheduled{Site: "A", OfPatient: of, Reasoned: domain.Because("Travels")}} {
		_, err := w.do(w.crc, command)
		if refusal, refused := refuse.As(err); !refused || refusal.Code != "consent_missing" {
			t.Errorf("%T: %v", command, err)
		}
	}
	w.must(w.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-01"})
	w.must(w.crc, give)
}

// kit returns a kit of site A.
func (w *world) kit(n supply.KitNumber) supply.Kit {
	w.t.Helper()
	k, _ := supply.StockDecider.Fold(stockEvents(w.events("stock-" + string(w.study) + ".A"))...).Kits.Get(n)
	return k
}

// Nobody lacks the kit of a run-in after the screening has failed, or the person was never meant.
func TestWhoLeavesBeforeTheTreatmentLacksNoKit(t *testing.T) {
	w, c := leadIn(t)
	for step := range endsBeforeTreatment(domain.OfPatient{}) {
		who := w.consented()
		of := domain.ForPatient(who)
		w.must(w.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-01"})
		c.mustSettle()
		before := c.waits(who)
		w.must(w.crc, endsBeforeTreatment(of)[step])
		c.mustSettle()
		left := c.waits(who)
		w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: step, Reasoned: domain.Because("The wrong patient")})
		c.mustSettle()
		if back := c.waits(who); len(before) != 1 || len(left) != 0 || len(back) != 1 {
			t.Errorf("%s: the open alerts are %v, then %v, then %v", step, before, left, back)
		}
	}
}

// lost reports a kit of site A lost.
func (w *world) lost(n supply.KitNumber) {
	w.t.Helper()
	w.must(w.crc, supply.ReportKitLost{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kit: n, Reasoned: domain.Because("gone")})
}

// The kit of the enrolment that is lost while the dose is held is replaced when it is resumed, also at another site.
func TestTheKitOfTheEnrolmentWaitsForTheDose(t *testing.T) {
	w, c, who := supplied(t)
	of := domain.ForPatient(who)
	w.must(w.crc, patient.HoldDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils low")})
	w.lost(w.allocated("A")[0].Kit)
	c.mustSettle()
	if kits := w.allocated("A"); len(kits) != 1 {
		t.Fatalf("while the dose is held, allocated were %+v", kits)
	}
	w.must(w.crc, patient.ResumeDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils recovered")})
	c.mustSettle()
	if kits := w.allocated("A"); len(kits) != 2 || kits[1].Visit != "" || kits[1].Patient != who {
		t.Errorf("allocated were %+v", kits)
	}
}

// A patient who gets no kit before the consent is signed again lacks it: somebody is told until there is one, also when the patient
// refuses. It waits for the signature, be it that of the enrolment.
func TestTheSignatureIsAwaited(t *testing.T) {
	w, c, who := supplied(t)
	of := domain.ForPatient(who)
	w.must(w.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(w.study), Protocol: study.Protocol{Version: 3,
		ConsentVersion: "2.0", PublishedOn: "2026-02-02", Arms: []study.Arm{{ID: string(blue)}}, Visits: []study.Visit{{ID: "week-4", Day: 28}},
		Reconsent: &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 14, Blocks: []study.Blocked{study.BlocksDispensing}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"week-4"}}}})
	w.must(w.crc, patient.ApplyProtocolVersion{OfPatient: of, Version: 3, On: "2026-02-03"})
	w.lost(w.allocated("A")[0].Kit)
	c.mustSettle()
	due := c.waits(who)
	w.must(w.crc, patient.RecordReconsentRefusal{OfPatient: of, On: "2026-02-03"})
	c.mustSettle()
	refused := c.waits(who)
	w.must(w.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "2.0", On: "2026-02-03"})
	c.mustSettle()
	signed := c.waits(who)
	if kits := w.allocated("A"); len(due) != 1 || len(refused) != 1 || len(signed) != 0 || len(kits) != 2 || kits[1].Visit != "" {
		t.Errorf("the open alerts are %v, then %v, then %v; allocated were %+v", due, refused, signed, kits)
	}
}

// Somebody lacks a kit until the kit itself comes back.
func TestAKitThatComesBackIsThere(t *testing.T) {
	at := supply.AtLocation{Location: "A"}
	for name, c := range map[string]struct{ goes, comes any }{
		"released": {supply.QuarantineKits{AtLocation: at, Cause: supply.CauseExcursion, Reasoned: domain.Because("warm")},
			supply.ReleaseKits{AtLocation: at, Reasoned: domain.Because("within the data")}},
		"found": {supply.ReportKitLost{AtLocation: at, Reasoned: domain.Because("gone")},
			supply.ReportKitFound{AtLocation: at, Reasoned: domain.Because("behind the sofa")}},
	} {
		t.Run(name, func(t *testing.T) {
			w, courier, who := supplied(t)
			kit := w.allocated("A")[0].Kit
			w.lost(map[supply.KitNumber]supply.KitNumber{"1001": "1002", "1002": "1001"}[kit])
			of := supply.AtLocation{Study: w.study, Location: "A"}
			switch goes := c.goes.(type) {
			case supply.QuarantineKits:
				goes.AtLocation, goes.Kits = of, []supply.KitNumber{kit}
				w.must(w.crc, goes)
			case supply.ReportKitLost:
				w.dispense(who)
				goes.AtLocation, goes.Kit = of, kit
				w.must(w.crc, goes)
			}
			courier.mustSettle()
			without := courier.waits(who)
			switch comes := c.comes.(type) {
			case supply.ReleaseKits:
				comes.AtLocation, comes.Kits = of, []supply.KitNumber{kit}
				w.must(w.supplier(), comes)
			case supply.ReportKitFound:
				comes.AtLocation, comes.Kit = of, kit
				w.must(w.crc, comes)
			}
			courier.mustSettle()
			if with := courier.waits(who); len(without) != 1 || len(with) != 0 {
				t.Errorf("the open alerts are %v, and then %v", without, with)
			}
		})
	}
}

// Who dies between the draw and the first kit is not enrolled any more, and the enrolment does not wait for the kit.
func TestAPatientDiesBeforeTheFirstKit(t *testing.T) {
	w, c := stocked(t, 2)
	c.runner.Fault = func(point string) error {
		if point == "before AllocateKit" {
			return errKilled
		}
		return nil
	}
	who := w.request()
	c.settleWithout(errKilled)
	stock := supply.StockDecider.Fold(stockEvents(w.events("stock-" + string(w.study) + ".A"))...)
	for n, kit := range stock.Kits.All() { // all kits are lost before one is allocated
		if kit.Status == supply.KitAvailable {
			w.lost(n)
		}
	}
	c.runner.Fault = nil
	w.must(w.manager, process.RetryProcess{InStudy: domain.ForStudy(w.study), Process: "enrollment", Of: string(who),
		Reasoned: domain.Because("it waits")})
	retried := w.wait("ProcessRetried", func(any) bool { return true })
	if err := c.runner.Retry(t.Context(), enrollmentprocesses.Enrollment, retried); err != nil {
		t.Fatal(err)
	}
	c.mustSettle()
	if last := w.lastStep(who); last.Stage != "kit" {
		t.Fatalf("the enrolment has come to %s, %s", last.Stage, last.Note)
	}
	w.must(w.crc, patient.EndParticipation{OfPatient: domain.ForPatient(who), On: "2026-02-03", Reason: patient.EndedByDeath})
	c.mustSettle()
	if last := w.lastStep(who); last.Stage != "ended" {
		t.Errorf("the enrolment has ended with %+v", last)
	}
	if open := c.waits(who); len(open) != 0 {
		t.Errorf("the open alerts are %v", open)
	}
}

// A kit of a former visit is not replaced, and the one of the last visit is, also when one event names both: each is answered by itself.
func TestTwoKitsOfAPatientAreRecalled(t *testing.T) {
	w, c, who := supplied(t)
	w.dispense(who)
	w.visit(who)
	c.mustSettle()
	w.dispense(who)
	c.mustSettle()
	w.must(w.supplier(), supply.RecallLot{InStudy: domain.ForStudy(w.study), Lot: "L1", Reasoned: domain.Because("impurity")})
	c.mustSettle()
	if stage := w.stage(process.Instance{Process: "dispensing", Of: string(who)}); stage != "waits for a kit" {
		t.Errorf("the dispensing says %q", stage)
	}
	if kits, open := w.allocated("A"), c.waits(who); len(kits) != 2 || len(open) != 1 {
		t.Errorf("allocated are %+v, and the open alerts are %v", kits, open)
	}
}

// toldOfRecalls returns the open alerts of a site that a patient has recalled kits at home.
func (c *courier) toldOfRecalls(at domain.SiteID) []safety.AlertID {
	return c.openAlerts(func(e safety.AlertRaised) bool { return e.Kind == safety.RecalledKitAtHome && e.Site == at })
}

// Each recall has an alert of its own, also at the site to which the patient was transferred: one that is withdrawn leaves the other.
func TestTwoRecallsOfATransferredPatient(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) { t.Randomised = false }, "1001,BLUE-7f31,L1,2027-01-31\n1002,BLUE-7f31,L2,2027-02-28\n")
	w.must(w.supplier(), supply.ReleaseBatch{InStudy: domain.ForStudy(w.study), Lot: "L2", Certificate: "C-2"})
	w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "B"), Name: "Eppendorf", Country: "DE", Zone: "Europe/Berlin"})
	w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "B"), On: "2026-01-01"})
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002")
	who := w.request()
	c.mustSettle()
	w.dispense(who)
	w.visit(who)
	c.mustSettle()
	w.dispense(who)
	for _, lot := range []string{"L1", "L2"} {
		w.must(w.supplier(), supply.RecallLot{InStudy: domain.ForStudy(w.study), Lot: lot, Reasoned: domain.Because("impurity")})
		c.mustSettle()
	}
	if open := c.toldOfRecalls("A"); len(open) != 2 {
		t.Fatalf("the open alerts are %v", open)
	}
	w.must(w.manager, patient.TransferPatient{OfPatient: domain.ForPatient(who), To: "B", On: "2026-02-03", Reasoned: domain.Because("Moved")})
	c.mustSettle()
	both := c.toldOfRecalls("B")
	if former := c.toldOfRecalls("A"); len(both) != 2 || len(former) != 0 {
		t.Fatalf("after the transfer, the open alerts are %v, and at the former site %v", both, former)
	}
	withdraw := func(lot string) []safety.AlertID {
		w.must(w.supplier(), supply.WithdrawLotRecall{InStudy: domain.ForStudy(w.study), Lot: lot, Reasoned: domain.Because("Another was meant")})
		c.mustSettle()
		return c.toldOfRecalls("B")
	}
	if one, none := withdraw("L2"), withdraw("L1"); len(one) != 1 || len(none) != 0 {
		t.Errorf("after one recall was withdrawn, the open alerts are %v, and after the other %v", one, none)
	}
}
