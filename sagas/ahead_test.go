package sagas_test

import (
	"errors"
	"testing"

	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/eventlog"
	enrollmentprocess "casebook/sagas/enrollment"
)

// stage returns the stage of a patient's enrolment.
func (w *world) stage(i process.Instance) string {
	w.t.Helper()
	stage := ""
	for _, e := range ofType[process.StepTaken](w.events(process.Decider.Stream(i.String()))) {
		stage = e.Stage
	}
	return stage
}

// TestInstancesGoOnAtOnce delivers a request alone: the enrolment goes on with the answers before they are delivered. When they are,
// nothing is left to do.
func TestInstancesGoOnAtOnce(t *testing.T) {
	w := newWorld(t, 10)
	p := w.newPart()
	runner := w.runner(p).Ahead(4)
	id := w.request()
	i := process.Instance{Process: enrollmentprocess.Enrollment.Name, Of: string(id)}
	var delivered []eventlog.Recorded
	for r, err := range w.log.ReadStream(t.Context(), patient.Decider.Stream(string(id)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		delivered = append(delivered, r)
	}
	request := delivered[len(delivered)-1]
	if err := runner.Deal(t.Context(), enrollmentprocess.Enrollment, request); err != nil {
		t.Fatal(err)
	}
	if got := w.stage(i); got != "enrolled" {
		t.Fatalf("after its request alone, the enrolment is at %q", got)
	}
	end, err := w.log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := courier{w: w, runner: runner}
	for _, e := range c.fresh() {
		if err := runner.Deal(t.Context(), enrollmentprocess.Enrollment, e); err != nil {
			t.Error(err)
		}
	}
	if now, err := w.log.End(t.Context()); err != nil || now != end {
		t.Errorf("the deliveries recorded something: %v, %v", err, now)
	}
}

// TestAnInstanceThatCannotGoOnWaitsForTheDelivery has the step that follows at once fail, by an error and by a panic. The delivery of
// the request is not at fault, and that of the answer takes the step.
func TestAnInstanceThatCannotGoOnWaitsForTheDelivery(t *testing.T) {
	for name, fail := range map[string]func() error{
		"an error": func() error { return errors.New("injected") },
		"a panic":  func() error { panic("injected") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			runner := w.runner(w.newPart()).Ahead(4)
			failing := true
			runner.Fault = func(point string) error {
				if failing && point == "before step enrollment PlaceReserved" {
					return fail()
				}
				return nil
			}
			id := w.request()
			i := process.Instance{Process: enrollmentprocess.Enrollment.Name, Of: string(id)}
			c := courier{w: w, runner: runner}
			deal := func() {
				t.Helper()
				for _, e := range c.fresh() {
					if err := runner.Deal(t.Context(), enrollmentprocess.Enrollment, e); err != nil {
						t.Fatal(err)
					}
				}
			}
			deal()
			if got := w.stage(i); got != "place" {
				t.Fatalf("the enrolment is at %q", got)
			}
			failing = false
			deal()
			if got := w.stage(i); got != "enrolled" {
				t.Errorf("after the delivery of the answer, the enrolment is at %q", got)
			}
		})
	}
}
