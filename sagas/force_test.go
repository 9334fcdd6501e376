package sagas_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"

	"golang.org/x/sync/errgroup"
)

var errKilled = errors.New("killed")

// kits makes the lines of n kits of each arm, with numbers that tell nothing.
func kits(from, n int) (text string, numbers []supply.KitNumber) {
	shuffled := rand.New(rand.NewPCG(uint64(from), 1)).Perm(2 * n)
	var lines strings.Builder
	for i, k := range shuffled {
		number := fmt.Sprintf("%05d", from+i)
		fmt.Fprintf(&lines, "%s,%s,L1,2027-06-30\n", number, []domain.ArmID{blue, green}[k%2])
		numbers = append(numbers, supply.KitNumber(number))
	}
	return lines.String(), numbers
}

// outcome is what became of one patient's enrolment.
type outcome struct{ places, draws, kits, holds int }

// look reads from the log what a patient has got, by a count of its own.
func (w *world) look(p domain.PatientID) outcome {
	w.t.Helper()
	var o outcome
	for _, e := range w.events(enrollment.Decider.Stream(string(w.study))) {
		switch e := e.(type) {
		case enrollment.PlaceReserved:
			if e.Patient == p {
				o.places++
			}
		case enrollment.PlaceReleased:
			if e.Patient == p {
				o.places--
			}
		}
	}
	for _, e := range w.events(randomisation.Decider.Stream(string(w.study))) {
		if e, ok := e.(randomisation.PatientRandomised); ok && e.Patient == p {
			o.draws++
		}
	}
	for _, e := range w.events(supply.StockDecider.Stream(supply.StockID(w.study, "A"))) {
		switch e := e.(type) {
		case supply.StockHeld:
			if e.Patient == p {
				o.holds = 1 // who asks again is answered with the same hold
			}
		case supply.HoldReleased:
			if e.Patient == p {
				o.holds = 0
			}
		case supply.KitAllocated:
			if e.Patient == p {
				o.kits++
				o.holds = 0
				if e.Replaces != "" {
					o.kits--
				}
			}
		case supply.AllocationFailed:
			if e.Patient == p {
				o.holds = 0
			}
		}
	}
	return o
}

// verify holds an enrolment to what it has to be: one place, one arm, one kit; or all given back and a reason; or, after
// the draw, a hold.
func (w *world) verify(p domain.PatientID) {
	w.t.Helper()
	o, events := w.look(p), w.events(patient.Decider.Stream(string(p)))
	last := events[len(events)-1]
	switch last := last.(type) {
	case patient.Enrolled:
		if o != (outcome{places: 1, draws: 1, kits: 1}) {
			w.t.Errorf("%s is enrolled with %+v", p, o)
		}
	case patient.EnrollmentFailed:
		if o != (outcome{}) || last.Code == "" || last.Reason == "" {
			w.t.Errorf("%s failed with %+v, and left %+v behind", p, last, o)
		}
	case patient.EnrollmentRequested:
		if o != (outcome{places: 1, draws: 1}) {
			w.t.Errorf("%s is held with %+v", p, o)
		}
	case patient.ConsentWithdrawn:
		if o.draws > 1 || o.places != o.draws || o.holds != 0 || o.kits > o.draws {
			w.t.Errorf("%s has left, and has %+v", p, o)
		}
	default:
		w.t.Errorf("%s ends with %T", p, last)
	}
	seen := map[string]bool{}
	for _, e := range ofType[process.StepTaken](w.events("saga-enrollment." + string(p))) {
		if seen[e.Trigger] {
			w.t.Errorf("%s took the step of %s twice", p, e.TriggerType)
		}
		seen[e.Trigger] = true
	}
	w.verifyKits()
}

// verifyKits: no kit has two patients.
func (w *world) verifyKits() {
	w.t.Helper()
	of := map[supply.KitNumber]domain.PatientID{}
	for _, e := range ofType[supply.KitAllocated](w.events(supply.StockDecider.Stream(supply.StockID(w.study, "A")))) {
		if other, has := of[e.Kit]; has && other != e.Patient {
			w.t.Errorf("kit %s has two patients, %s and %s", e.Kit, other, e.Patient)
		}
		of[e.Kit] = e.Patient
	}
}

// course is a way that an enrolment can go: what is done to it at which point, and how it has to end.
type course struct {
	name string
	// at is called at each fault point of the first run with its name.
	at   func(w *world, p domain.PatientID, point string)
	ends string
}

func once(point string, do func(w *world, p domain.PatientID)) func(*world, domain.PatientID, string) {
	done := map[domain.PatientID]bool{}
	return func(w *world, p domain.PatientID, at string) {
		if at == point && !done[p] {
			done[p] = true
			do(w, p)
		}
	}
}

// quarantineAll takes everything that can be given out at the site from under an enrolment.
func quarantineAll(w *world, _ domain.PatientID) {
	w.t.Helper()
	stock := supply.StockDecider.Fold(stockOf(w, "A")...)
	var all []supply.KitNumber
	for n, k := range stock.Kits.All() {
		if k.Status == supply.KitAvailable {
			all = append(all, n)
		}
	}
	if len(all) > 0 {
		w.must(w.crc, supply.QuarantineKits{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kits: all,
			Cause: supply.CauseExcursion, Reasoned: domain.Because("the fridge failed")})
	}
}

func stockOf(w *world, at supply.LocationID) []supply.StockEvent {
	var all []supply.StockEvent
	for _, e := range w.events(supply.StockDecider.Stream(supply.StockID(w.study, at))) {
		all = append(all, e.(supply.StockEvent))
	}
	return all
}

// restock releases what is in quarantine.
func restock(w *world) {
	w.t.Helper()
	stock := supply.StockDecider.Fold(stockOf(w, "A")...)
	var all []supply.KitNumber
	for n, k := range stock.Kits.All() {
		if k.Status == supply.KitQuarantined && !k.Replaced {
			all = append(all, n)
		}
	}
	if len(all) > 0 {
		w.must(w.supplier(), supply.ReleaseKits{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kits: all,
			Reasoned: domain.Because("still good")})
	}
}

// courses are made for each run of the test, because they note to whom they have happened.
func courses() []course {
	return []course{
		{name: "as planned", ends: "PatientEnrolled"},
		{name: "the last kit goes before the hold", at: once("before HoldStock", quarantineAll), ends: "EnrollmentFailed"},
		{name: "the last kit goes after the draw", at: once("before AllocateKit", quarantineAll), ends: "EnrollmentRequested"},
		{name: "the last place goes", at: once("before ReservePlace", func(w *world, _ domain.PatientID) {
			w.must(w.manager, enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(w.study), Caps: enrollment.Caps{Target: 1, Study: 1}})
		}), ends: "EnrollmentFailed"},
		{name: "the patient withdraws before the draw", at: once("before HoldStock", withdraw), ends: "ConsentWithdrawn"},
		{name: "the patient withdraws at the draw", at: once("before RandomisePatient", withdraw), ends: "ConsentWithdrawn"},
		{name: "the patient withdraws after the draw", at: once("before AllocateKit", withdraw), ends: "ConsentWithdrawn"},
		{name: "the patient withdraws before the confirmation", at: once("before ConfirmEnrollment", withdraw), ends: "ConsentWithdrawn"},
	}
}

func withdraw(w *world, p domain.PatientID) {
	w.t.Helper()
	w.must(w.crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(p), On: "2026-02-03"})
}

// stocked is a world with n kits of each arm at site A.
func stocked(t *testing.T, n int) (*world, *courier) {
	w := newWorld(t, 1000)
	text, numbers := kits(10_000, n)
	w.treated(nil, text)
	c := w.courier(w.part)
	c.mustSettle()
	w.ship(numbers...)
	w.request() // one who has a place already
	c.mustSettle()
	return w, c
}

// The program is killed at every point of an enrolment, before and after each append and each command, and begins again
// knowing nothing, with everything delivered to it once more, as where no acknowledgement got through.
func TestKilledAtEveryStep(t *testing.T) {
	for _, course := range courses() {
		t.Run(course.name, func(t *testing.T) {
			t.Parallel()
			w, c := stocked(t, 30)
			for point := 0; ; point++ {
				w.must(w.manager, enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(w.study), Caps: enrollment.Caps{Target: 1, Study: 1000}})
				restock(w)
				c.mustSettle()
				who := w.request()
				from := c.seen
				passed := 0
				first := w.courier(w.newPart())
				first.seen = from
				first.runner.Fault = func(name string) error {
					if course.at != nil {
						course.at(w, who, name)
					}
					if passed++; passed > point {
						return errKilled
					}
					return nil
				}
				err := first.settle()
				if err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				second := w.courier(w.newPart())
				second.seen = from
				second.runner.Fault = func(name string) error {
					if course.at != nil {
						course.at(w, who, name)
					}
					return nil
				}
				second.mustSettle()
				events := w.patientEvents(who)
				if got := events[len(events)-1]; got != course.ends {
					t.Errorf("killed at point %d it ends with %s", point, got)
				}
				w.verify(who)
				c.mustSettle()
				if course.ends == "EnrollmentRequested" { // held: as soon as there are kits, it goes on by itself
					restock(w)
					c.mustSettle()
					events := w.patientEvents(who)
					if got := events[len(events)-1]; got != "PatientEnrolled" {
						t.Errorf("killed at point %d, the hold ends with %s", point, got)
					}
					w.verify(who)
				}
				if err == nil {
					if point < 8 {
						t.Errorf("there were only %d points", point)
					}
					return
				}
			}
		})
	}
}

// Every event comes twice, late and in any order; two programs race for all of it.
func TestTwiceLateInAnyOrderAndByTwo(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			w, first := stocked(t, 6) // too few for all: some fail, some are held
			w.must(w.manager, enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(w.study), Caps: enrollment.Caps{Target: 1, Study: 8}})
			first.mustSettle()
			second := w.courier(w.newPart())
			second.seen = first.seen
			var mu sync.Mutex
			for _, c := range []*courier{first, second} {
				var late []eventlog.Recorded
				c.arrange = func(events []eventlog.Recorded) []eventlog.Recorded {
					mu.Lock()
					defer mu.Unlock()
					all := slices.Concat(late, events, events)
					random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
					late = append(late, events...) // and again with whatever comes next
					return all
				}
			}
			var who []domain.PatientID
			for range 10 {
				who = append(who, w.request())
			}
			withdraw(w, who[3])
			for range 3 {
				var both errgroup.Group
				both.Go(first.settle)
				both.Go(second.settle)
				if err := both.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			first.arrange = nil
			for _, e := range slices.Concat(first.past, second.past) { // once more, from the beginning
				if err := first.deal(e); err != nil {
					t.Fatal(err)
				}
			}
			first.mustSettle()
			ends := map[string]int{}
			for _, p := range who {
				w.verify(p)
				events := w.patientEvents(p)
				ends[events[len(events)-1]]++
			}
			if ends["EnrollmentRequested"] > 0 || ends["PatientEnrolled"] == 0 || ends["EnrollmentFailed"] == 0 {
				t.Errorf("they ended as %v", ends)
			}
		})
	}
}

// In a study without randomisation a failed allocation goes back the whole way.
func TestWithoutRandomisationAFailedAllocationGoesBack(t *testing.T) {
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) { t.Randomised = false }, "1001,BLUE-7f31,L1,2027-01-31\n")
	c := w.courier(w.part)
	c.mustSettle()
	w.ship("1001")
	who := w.request()
	c.runner.Fault = func(point string) error {
		if point == "before AllocateKit" {
			quarantineAll(w, who)
		}
		return nil
	}
	c.mustSettle()
	w.verify(who)
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "EnrollmentFailed")
	c.runner.Fault = nil
	restock(w)
	w.must(w.crc, patient.EnrollPatient{OfPatient: domain.ForPatient(who), On: "2026-02-03"})
	c.mustSettle()
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "EnrollmentFailed",
		"EnrollmentRequested", "PatientEnrolled")
}

// TestEnrolmentAsksAgainForAMissingAnswer: before the draw too, an enrolment asks again for an answer that does not come in time.
// The answer that comes later changes nothing.
func TestEnrolmentAsksAgainForAMissingAnswer(t *testing.T) {
	w, c := stocked(t, 2)
	who := w.request()
	var held []eventlog.Recorded
	c.arrange = func(events []eventlog.Recorded) []eventlog.Recorded {
		return slices.DeleteFunc(slices.Clone(events), func(e eventlog.Recorded) bool {
			if e.Type == "StockHeld" {
				held = append(held, e)
			}
			return e.Type == "StockHeld"
		})
	}
	c.mustSettle()
	c.fire()
	if steps := ofType[process.StepTaken](w.events("saga-enrollment." + string(who))); steps[len(steps)-1].Stage != "stock" {
		t.Fatalf("it did not wait for its time: %+v", steps)
	}
	w.clock.set(w.clock.Now().Add(sagas.AnswerWithin))
	c.fire()
	c.fire() // the second time there is nothing to fire
	c.arrange = nil
	c.mustSettle()
	for _, e := range held {
		if err := c.deal(e); err != nil {
			t.Fatal(err)
		}
	}
	c.mustSettle()
	w.verify(who)
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled")
	saga := w.events("saga-enrollment." + string(who))
	if n := len(ofType[process.TimerFired](saga)); n != 1 {
		t.Errorf("%d timers fired", n)
	}
	for _, step := range ofType[process.StepTaken](saga) {
		if step.Outcome == process.Stuck {
			t.Errorf("it was stuck at %s", step.Stage)
		}
	}
}
