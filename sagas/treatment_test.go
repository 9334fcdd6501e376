package sagas_test

import (
	"strings"
	"testing"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
)

// oneArm are kits of a study in which all patients get the same drug.
const oneArm = "1001,BLUE-7f31,L1,2027-01-31\n1002,BLUE-7f31,L1,2027-01-31\n1003,BLUE-7f31,L1,2027-01-31\n1004,BLUE-7f31,L1,2027-01-31\n"

// supplied is a world in which all patients get the same drug, with kits at site A and a patient who has one.
func supplied(t *testing.T) (*world, *courier, domain.PatientID) {
	t.Helper()
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) { t.Randomised = false }, oneArm)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002")
	who := w.request()
	c.mustSettle()
	return w, c, who
}

func (w *world) allocated(at domain.SiteID) []supply.KitAllocated {
	return ofType[supply.KitAllocated](w.events("stock-" + string(w.study) + "." + string(at)))
}

func (w *world) visit(who domain.PatientID) {
	w.t.Helper()
	w.must(w.crc, patient.RecordVisit{OfPatient: domain.ForPatient(who), Visit: "week-4", On: "2026-02-03"})
}

// dispense gives the patient the kit that was allocated last.
func (w *world) dispense(who domain.PatientID) {
	w.t.Helper()
	kits := w.allocated("A")
	w.must(w.crc, supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(who), Kit: kits[len(kits)-1].Kit, On: "2026-02-03"})
}

// The end of the treatment frees the kit that waits for the patient. Visits go on, without kits. An end that was recorded in
// error is undone, and the patient gets a kit again.
func TestTheEndOfTheTreatmentFreesKits(t *testing.T) {
	for name, end := range map[string]struct {
		command any
		step    patient.Step
	}{
		"treatment": {patient.DiscontinueTreatment{On: "2026-02-03", Reason: patient.EndedByAdverseEvent}, patient.StepTreatmentEnd},
		"withdrawal from the treatment": {patient.WithdrawConsent{On: "2026-02-03", Extent: []patient.Extent{patient.ExtentTreatment}},
			patient.StepWithdrawal},
		"lost to follow-up": {patient.EndParticipation{On: "2026-02-03", Reason: patient.EndedByLossToFollowUp}, patient.StepParticipationEnd},
	} {
		t.Run(name, func(t *testing.T) {
			w, c, who := supplied(t)
			of := domain.ForPatient(who)
			switch command := end.command.(type) {
			case patient.DiscontinueTreatment:
				command.OfPatient = of
				end.command = command
			case patient.WithdrawConsent:
				command.OfPatient = of
				end.command = command
			case patient.EndParticipation:
				command.OfPatient = of
				end.command = command
			}
			first := w.allocated("A")[0].Kit
			w.must(w.crc, end.command)
			c.mustSettle()
			aside := ofType[supply.KitsSetAside](w.events("stock-" + string(w.study) + ".A"))
			if len(aside) != 1 || aside[0].Kits[0] != first {
				t.Fatalf("set aside were %+v", aside)
			}
			if _, err := w.do(w.crc, supply.DispenseKit{Site: "A", OfPatient: of, Kit: first, On: "2026-02-03"}); err == nil {
				t.Error("a kit was dispensed after the end")
			}
			if name != "lost to follow-up" {
				w.visit(who)
				c.mustSettle()
				if kits := w.allocated("A"); len(kits) != 1 {
					t.Errorf("after the treatment, allocated were %+v", kits)
				}
			}
			w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: end.step, Reasoned: domain.Because("The wrong patient")})
			c.mustSettle()
			kits := w.allocated("A")
			visited := name != "lost to follow-up" // while the end stood in error, and without a kit
			if visited {
				if len(kits) != 3 || kits[2].Visit != "week-4" {
					t.Fatalf("allocated were %+v", kits)
				}
				kits = kits[:2]
			}
			if len(kits) != 2 || kits[1].Kit != first || kits[1].Replaces != "" || kits[1].Visit != "" { // the kit is still there
				t.Fatalf("allocated were %+v", kits)
			}
			w.dispense(who)
		})
	}
}

// A withdrawal from the future use of data leaves the treatment as it is.
func TestFutureUseLeavesTheKitsAlone(t *testing.T) {
	w, c, who := supplied(t)
	w.must(w.crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(who), On: "2026-02-03",
		Extent: []patient.Extent{patient.ExtentFutureUse}})
	c.mustSettle()
	w.dispense(who)
	w.visit(who)
	c.mustSettle()
	if kits := w.allocated("A"); len(kits) != 2 {
		t.Errorf("allocated were %+v", kits)
	}
}

// While the dose is held nothing is given out. What was due is allocated when the dose is resumed.
func TestAHeldDoseWaitsForItsKit(t *testing.T) {
	w, c, who := supplied(t)
	of := domain.ForPatient(who)
	w.dispense(who)
	w.must(w.crc, patient.HoldDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils low")})
	w.visit(who)
	c.mustSettle()
	failed := ofType[supply.AllocationFailed](w.events("stock-" + string(w.study) + ".A"))
	if len(failed) != 1 || failed[0].Code != "dose_held" || failed[0].Waits {
		t.Fatalf("refused were %+v", failed)
	}
	w.must(w.crc, patient.ResumeDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils recovered")})
	c.mustSettle()
	if kits := w.allocated("A"); len(kits) != 2 || kits[1].Visit != "week-4" {
		t.Errorf("allocated were %+v", kits)
	}
}

// A transferred patient's rights, kits and follow-up move to the new site. What was given out stays with the former one.
func TestATransferredPatientIsSuppliedByTheNewSite(t *testing.T) {
	w, c, who := supplied(t)
	of := domain.ForPatient(who)
	w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "B"), Name: "Eppendorf", Country: "DE", Zone: "Europe/Berlin"})
	w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "B"), On: "2026-01-01"})
	w.dispense(who)
	w.visit(who)
	c.mustSettle()
	w.must(w.manager, patient.TransferPatient{OfPatient: of, To: "B", On: "2026-02-03", Reasoned: domain.Because("Moved to Hamburg")})
	c.mustSettle()
	aside := ofType[supply.KitsSetAside](w.events("stock-" + string(w.study) + ".A"))
	if len(aside) != 1 || len(aside[0].Kits) != 1 || aside[0].Affected[0].Visit != "week-4" {
		t.Fatalf("set aside were %+v", aside)
	}
	// Site B has no kit yet. The patient waits for one there.
	failed := ofType[supply.AllocationFailed](w.events("stock-" + string(w.study) + ".B"))
	if len(failed) != 1 || failed[0].Code != "no_stock" || !failed[0].Waits || failed[0].Visit != "week-4" {
		t.Fatalf("refused were %+v", failed)
	}
	answer, err := w.do(w.supplier(), supply.CreateShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, To: "B",
		Kits: []supply.KitNumber{"1003", "1004"}, Reasoned: domain.Because("initial supply")})
	if err != nil {
		t.Fatal(err)
	}
	id := answer.Events[0].Data.(supply.ShipmentCreated).Shipment
	w.must(w.supplier(), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, Shipment: id, On: "2026-02-03"})
	newCRC := access.Principal{User: "crc.b", Grants: []user.Grant{{Role: user.CRC, Study: w.study, Site: "B"}}}
	w.must(newCRC, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: w.study, Location: "B"}, From: "D", Shipment: id,
		On: "2026-02-03", Temperature: supply.TemperatureInRange})
	c.mustSettle()
	kits := w.allocated("B")
	if len(kits) != 1 || kits[0].Visit != "week-4" || kits[0].Patient != who {
		t.Fatalf("allocated were %+v", kits)
	}
	dispense := supply.DispenseKit{Site: "B", OfPatient: of, Kit: kits[0].Kit, On: "2026-02-03"}
	if _, err := w.do(w.crc, dispense); err == nil || !strings.Contains(err.Error(), "not_allowed") {
		t.Errorf("the former site may still act: %v", err)
	}
	w.must(newCRC, dispense)
}

// A patient whose end was undone is followed up again.
func TestAnUndoneEndGoesOnWithTheDiaries(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(instrument.PainDiary().ID)
	of := domain.ForPatient(who)
	w.must(w.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByLossToFollowUp})
	f := w.followUp(w.part, who)
	f.at(due(4))
	missed := func() int { return len(ofType[diary.WindowMissed](w.events(diary.StreamOf(who)))) }
	if n := missed(); n != 1 {
		t.Fatalf("%d windows are missed", n)
	}
	w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("The patient called")})
	f = w.followUp(w.part, who)
	f.at(due(5))
	if n := missed(); n != 3 {
		t.Errorf("%d windows are missed after the end was undone", n)
	}
}
