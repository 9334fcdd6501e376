package sagas_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
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
