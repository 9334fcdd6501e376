package sagas_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/sagas"
)

// extended is a world in which a patient who has the kit of the enrolment can be drawn for a stage with one arm, whose kits are there.
func extended(t *testing.T) (*world, *courier, domain.OfPatient) {
	t.Helper()
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) { t.Stages = []study.Stage{{ID: "ext", Arms: []string{string(blue)}}} },
		twoOfEach+"1005,BLUE-7f31,L1,2027-01-31\n1006,BLUE-7f31,L1,2027-01-31\n")
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002", "1003", "1004", "1005", "1006")
	of := domain.ForPatient(w.request())
	c.mustSettle()
	w.dispense(of.Patient)
	return w, c, of
}

// extension returns the kits that were allocated with the draw for the stage.
func (w *world) extension() (kits []supply.KitNumber) {
	for _, e := range w.allocated("A") {
		if e.Visit == supply.KitOfStage("ext") {
			kits = append(kits, e.Kit)
		}
	}
	return kits
}

// A draw that an end broke off goes on when the end is undone, whatever it had come to. Until it is confirmed or under way, no kit comes.
func TestADrawGoesOnAfterAnEndThatIsUndone(t *testing.T) {
	leave := patient.EndParticipation{On: "2026-02-03", Reason: patient.EndedByLossToFollowUp}
	for name, consentBefore := range map[string]bool{"drawn, and held for the consent": false, "before the draw": true} {
		t.Run(name, func(t *testing.T) {
			w, c, of := extended(t)
			leave.OfPatient = of
			w.must(w.crc, patient.RequestRandomisation{OfPatient: of, Stage: "ext"})
			if consentBefore {
				w.must(w.crc, leave)
				c.mustSettle()
			} else {
				w.must(w.crc, patient.VoidConsent{OfPatient: of, ConsentVersion: "1.0", Reasoned: domain.Because("another's")})
				c.mustSettle()
				w.must(w.crc, leave)
				c.mustSettle()
			}
			w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("another's")})
			c.mustSettle()
			if !consentBefore {
				w.must(w.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-01"})
				c.mustSettle()
			}
			confirmed := ofType[patient.RandomisationConfirmed](w.events("patient-" + string(of.Patient)))
			if kits := w.extension(); len(kits) != 1 || len(confirmed) != 1 {
				t.Errorf("the kits of the draw are %v, and it was confirmed %d times", kits, len(confirmed))
			}
			if step := w.lastStep(of.Patient); step.Stage != "randomised" {
				t.Errorf("the process has come to %s: %s", step.Stage, step.Note)
			}
			if open := c.waits(of.Patient); len(open) != 0 {
				t.Errorf("the open alerts are %v", open)
			}
		})
	}
}

// A draw that was requested is answered, whatever ends and undoings come between, and in whatever order processes are told. One that was
// not possible can be requested again.
func TestARequestedDrawIsAnsweredWhateverComesBetween(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w, c, of := extended(t)
			c.mustSettle()
			p := &postman{courier: c, t: t, runners: []*sagas.Runner{w.runner(w.part)}, random: rand.New(rand.NewPCG(seed, 30))}
			ask := patient.RequestRandomisation{OfPatient: of, Stage: "ext"}
			w.must(w.crc, ask)
			for range 2 {
				if seed%2 == 1 {
					p.round(true)
				}
				w.must(w.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByLossToFollowUp})
				p.round(true)
				w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("another's")})
				p.round(true)
			}
			p.round(false)
			events := w.events("patient-" + string(of.Patient))
			if patient.Decider.Fold(patientEvents(events)...).Drawing {
				t.Fatalf("the draw is not answered; the process has come to %+v", w.lastStep(of.Patient))
			}
			if len(ofType[patient.RandomisationConfirmed](events)) == 0 {
				w.must(w.crc, ask)
				p.round(false)
			}
			confirmed := ofType[patient.RandomisationConfirmed](w.events("patient-" + string(of.Patient)))
			if step := w.lastStep(of.Patient); len(confirmed) != 1 || step.Stage != "randomised" {
				t.Errorf("it was confirmed %d times, and the process has come to %s: %s", len(confirmed), step.Stage, step.Note)
			}
			if _, err := (&traveller{world: w, postman: p, who: of.Patient}).allocatedKit("A", supply.KitOfStage("ext")); err != nil {
				t.Errorf("the kit of the draw: %v", err)
			}
		})
	}
}

// The failure of a draw that an end broke off does not answer the one that goes on after the undoing.
func TestALateFailureDoesNotAnswerTheDrawThatGoesOn(t *testing.T) {
	w, c, of := extended(t)
	c.mustSettle()
	w.must(w.crc, patient.RequestRandomisation{OfPatient: of, Stage: "ext"})
	w.must(w.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByLossToFollowUp})
	w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("another's")})
	asked := c.fresh()
	for i, e := range asked { // those of the undoing come late
		if _, undone := e.Event.(patient.StepUndone); undone {
			for _, e := range c.fresh() {
				if err := c.deal(e); err != nil {
					t.Fatal(err)
				}
			}
			for _, e := range asked[i:] {
				if err := c.deal(e); err != nil {
					t.Fatal(err)
				}
			}
			break
		}
		if err := c.deal(e); err != nil {
			t.Fatal(err)
		}
	}
	c.mustSettle()
	events := w.events("patient-" + string(of.Patient))
	if n := len(ofType[patient.RandomisationNotPossible](events)); n != 0 || len(ofType[patient.RandomisationConfirmed](events)) != 1 {
		t.Errorf("the draw failed %d times; the process has come to %+v", n, w.lastStep(of.Patient))
	}
}

// patientEvents are events of a patient's stream.
func patientEvents(events []any) (all []patient.Event) {
	for _, e := range events {
		all = append(all, e.(patient.Event))
	}
	return all
}

// Supply is told of kits that a site loses one after another before they are given out, and lets them be replaced again.
func TestSupplyDecidesAboutKitsThatAreLostAgainAndAgain(t *testing.T) {
	w := newWorld(t, 10)
	kits := twoOfEach
	var numbers []supply.KitNumber
	for i := range 12 {
		kits += fmt.Sprintf("20%02d,%s,L1,2027-01-31\n", i, []domain.ArmID{blue, green}[i%2])
		numbers = append(numbers, supply.KitNumber(fmt.Sprintf("20%02d", i)))
	}
	w.treated(nil, kits)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship(numbers...)
	who := w.request()
	c.mustSettle()
	told := func() (all []safety.AlertID) {
		return c.openAlerts(func(e safety.AlertRaised) bool { return e.Kind == safety.KitsSpoiltAgain })
	}
	for i := range supply.MaxSpoilt + 1 {
		given := w.allocated("A")
		if kit := given[len(given)-1].Kit; i == 2 { // then its patient is told of, beside the series
			w.must(w.supplier(), supply.QuarantineKits{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kits: []supply.KitNumber{kit},
				Cause: supply.CauseExcursion, Reasoned: domain.Because("too warm")})
		} else {
			w.lost(kit)
		}
		c.mustSettle()
		if affected := c.openAlerts(func(e safety.AlertRaised) bool { return e.Kind == safety.KitsAffected }); i == 2 && len(affected) != 1 {
			t.Fatalf("of the quarantined kit tell the open alerts %v", affected)
		}
		if open := told(); len(open) != min(i, 1) {
			t.Fatalf("after %d kits, the open alerts are %v", i+1, open)
		}
	}
	if n := len(w.allocated("A")); n != supply.MaxSpoilt+1 || len(c.waits(who)) != 1 {
		t.Fatalf("%d kits were allocated, and the open alerts are %v", n, c.waits(who))
	}
	w.must(w.supplier(), supply.AllowReplacements{AtLocation: supply.AtLocation{Study: w.study, Location: "A"},
		Reasoned: domain.Because("the refrigerator had failed")})
	c.mustSettle()
	if n := len(w.allocated("A")); n != supply.MaxSpoilt+2 || len(c.waits(who)) != 0 || len(told()) != 0 {
		t.Errorf("%d kits were allocated, and the open alerts are %v, %v", n, c.waits(who), told())
	}
}

// From a draw to its confirmation the patient gets the kits of the draw alone: an arm that was drawn is the patient's at once, and the
// kits of two slots would be twice the drug. What was due since the draw comes after the confirmation.
func TestKitsOfOtherSlotsWaitForTheConfirmationOfADraw(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) { t.Stages = []study.Stage{{ID: "ext", Arms: []string{string(blue)}}} },
		twoOfEach+"1005,BLUE-7f31,L1,2027-01-31\n1006,BLUE-7f31,L1,2027-01-31\n1007,BLUE-7f31,L1,2027-01-31\n")
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001", "1002", "1003", "1004", "1005", "1006", "1007")
	of := domain.ForPatient(w.request())
	c.mustSettle()
	w.must(w.crc, patient.RequestRandomisation{OfPatient: of, Stage: "ext"})
	c.untilDrawn(2)
	w.must(w.crc, patient.HoldDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("fever")})
	c.mustSettle()
	w.must(w.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByLossToFollowUp})
	c.mustSettle()
	w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("another's")})
	w.must(w.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-02-03"})
	c.mustSettle()
	w.must(w.crc, patient.ResumeDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("well again")})
	c.mustSettle()
	bySlot := map[string]int{}
	for _, e := range w.allocated("A") {
		bySlot[e.Visit]++
	}
	if want := map[string]int{"": 1, "week-4": 1, supply.KitOfStage("ext"): 1}; !maps.Equal(bySlot, want) {
		t.Errorf("kits were allocated for %v, want %v", bySlot, want)
	}
	for n, k := range supply.StockDecider.Fold(stockOf(w, "A")...).Kits.All() {
		if k.Patient == of.Patient && k.Visit == "" && k.Status == supply.KitIsAllocated {
			t.Errorf("kit %s of the enrolment can still be given out", n)
		}
	}
	if open := c.waits(of.Patient); len(open) != 0 {
		t.Errorf("the open alerts are %v", open)
	}
}

// untilDrawn delivers what comes until there have been n draws, and no more.
func (c *courier) untilDrawn(n int) {
	c.w.t.Helper()
	for range 10 {
		if len(ofType[randomisation.PatientRandomised](c.w.events("randomisation-"+string(c.w.study)))) == n {
			return
		}
		for _, e := range c.fresh() {
			if err := c.deal(e); err != nil {
				c.w.t.Fatal(err)
			}
		}
	}
	c.w.t.Fatal("nobody is drawn")
}

// An arm that was drawn before an end stands when the patient is enrolled after all, and so does the place.
func TestAnEnrolmentGoesOnWithTheArmThatWasDrawn(t *testing.T) {
	for name, heard := range map[string]bool{"the process has heard of the end": true, "it has not": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			w.treated(nil, twoOfEach)
			c := w.courier(w.part)
			c.mustSettle()
			w.ship("1001", "1002", "1003", "1004")
			of := domain.ForPatient(w.request())
			c.untilDrawn(1)
			w.must(w.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByLossToFollowUp})
			if heard {
				c.mustSettle()
			}
			w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("another's")})
			w.must(w.crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-02"})
			c.mustSettle()
			if step := w.lastStep(of.Patient); step.Stage != "enrolled" {
				t.Errorf("the process has come to %s: %s", step.Stage, step.Note)
			}
			who := patient.Decider.Fold(patientEvents(w.events("patient-" + string(of.Patient)))...)
			if who.PatientNumber != string(w.study)+"-00001" {
				t.Errorf("the patient is %s with the number %q", who.Status, who.PatientNumber)
			}
		})
	}
}

// An enrolment that an end broke off can be asked for again when the end is undone, whatever it had come to, and in whatever order
// processes are told. The patient has one place, one arm and one kit.
func TestAnEnrolmentIsAskedForAgainAfterAnEndThatIsUndone(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 10)
			w.treated(nil, twoOfEach)
			c := w.courier(w.part)
			c.mustSettle()
			w.ship("1001", "1002", "1003", "1004")
			who := w.consented()
			c.mustSettle()
			of := domain.ForPatient(who)
			p := &postman{courier: c, t: t, runners: []*sagas.Runner{w.runner(w.part)}, random: rand.New(rand.NewPCG(seed, 40))}
			tr := &traveller{world: w, postman: p, who: who}
			enrol := func() error { return tr.send(w.crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-02"}) }
			if err := enrol(); err != nil {
				t.Fatal(err)
			}
			for range 1 + seed%3 {
				for range seed {
					p.round(true)
				}
				// It may have come through, or have failed, before.
				if tr.send(w.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByLossToFollowUp}) == nil {
					if seed%4 == 0 {
						p.round(true)
					}
					w.must(w.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepParticipationEnd, Reasoned: domain.Because("another's")})
				}
				_ = enrol()
			}
			p.round(false)
			now := func() patient.Patient {
				return patient.Decider.Fold(patientEvents(w.events("patient-" + string(who)))...)
			}
			for range 2 {
				if now().Status == patient.StatusEnrollmentFailed {
					if err := enrol(); err != nil {
						t.Fatal(err)
					}
					p.round(false)
				}
			}
			if now().Status != patient.StatusEnrolled || w.lastStep(who).Stage != "enrolled" {
				t.Fatalf("the patient is %s; the process has come to %+v", now().Status, w.lastStep(who))
			}
			places := enrollment.Decider.Fold(ofEnrollment(w.events("enrollment-" + string(w.study)))...)
			kits := 0
			for _, k := range supply.StockDecider.Fold(stockOf(w, "A")...).Kits.All() {
				if k.Patient == who && k.Status == supply.KitIsAllocated {
					kits++
				}
			}
			if kits != 1 || places.Taken != 1 {
				t.Errorf("the patient has %d kits and %d places", kits, places.Taken)
			}
		})
	}
}

// ofEnrollment are events of a study's places.
func ofEnrollment(events []any) (all []enrollment.Event) {
	for _, e := range events {
		all = append(all, e.(enrollment.Event))
	}
	return all
}
