package sagas_test

import (
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"
	enrollmentprocesses "casebook/sagas/enrollment"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// lastStep returns the last step of a patient's enrolment.
func (w *world) lastStep(who domain.PatientID) process.StepTaken {
	w.t.Helper()
	steps := ofType[process.StepTaken](w.events("saga-enrollment." + string(who)))
	if len(steps) == 0 {
		w.t.Fatalf("the enrolment of %s has taken no step", who)
	}
	return steps[len(steps)-1]
}

// stuckAlerts are the alerts about stuck processes.
func (w *world) stuckAlerts(c *courier) (all []safety.AlertRaised) {
	for _, e := range c.past {
		if raised, is := e.Event.(safety.AlertRaised); is && raised.Kind == safety.ProcessStuck {
			all = append(all, raised)
		}
	}
	return all
}

// TestStuckEnrolmentRaisesOneAlert: a stranger takes the answers to an enrolment out of its group. It asks again; when that does
// not help either it is stuck, which raises one alert, however long it lasts. It goes on by itself when an answer comes.
func TestStuckEnrolmentRaisesOneAlert(t *testing.T) {
	w, c := stocked(t, 2)
	c.arrange = func(events []eventlog.Recorded) []eventlog.Recorded {
		return slices.DeleteFunc(slices.Clone(events), func(e eventlog.Recorded) bool { return e.Type == "StockHeld" })
	}
	who := w.request()
	c.mustSettle()
	wait := func() {
		t.Helper()
		w.clock.set(w.clock.Now().Add(enrollmentprocesses.AnswerWithin + time.Second))
		c.fire()
		c.mustSettle()
	}
	wait() // it asks again, and the answer, which records the hold once more, is taken too
	if last := w.lastStep(who); last.Outcome == process.Stuck || len(w.stuckAlerts(c)) != 0 {
		t.Errorf("after the first time it is %+v, with %d alerts", last, len(w.stuckAlerts(c)))
	}
	for range 3 {
		wait()
		if last := w.lastStep(who); last.Outcome != process.Stuck || last.Stage != "stock" {
			t.Errorf("it is not stuck: %+v", last)
		}
	}
	alerts := w.stuckAlerts(c)
	if len(alerts) != 1 || alerts[0].Patient != who || alerts[0].Site != "A" || alerts[0].Study != w.study {
		t.Errorf("the alerts are %+v", alerts)
	}
	c.arrange = nil
	wait()
	w.verify(who)
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled")
	if last := w.lastStep(who); last.Outcome != process.Completed {
		t.Errorf("it has ended with %+v", last)
	}
}

// TestPersonRetriesAProcess: an enrolment whose answer was taken by a stranger goes on when a person has it retried, before its
// time has come, and nothing is done twice.
func TestPersonRetriesAProcess(t *testing.T) {
	w, c := stocked(t, 2)
	c.arrange = func(events []eventlog.Recorded) []eventlog.Recorded {
		return slices.DeleteFunc(slices.Clone(events), func(e eventlog.Recorded) bool { return e.Type == "PatientRandomised" })
	}
	who := w.request()
	c.mustSettle()
	if last := w.lastStep(who); last.Stage != "draw" {
		t.Fatalf("it does not wait for the draw: %+v", last)
	}
	retry := process.RetryProcess{InStudy: domain.ForStudy(w.study), Process: "enrollment", Of: string(who),
		Reasoned: domain.Because("a test program took part in the consumer group")}
	if _, err := w.do(w.crc, retry); err == nil {
		t.Error("a coordinator may retry a process")
	}
	settings := pubsub.DefaultSettings()
	settings.MessageTimeout, settings.CheckpointAfter = 5_000, 1000               // as a drive wants them
	w.makeGroup(w.client(), enrollmentprocesses.Enrollment, settings, esdb.End{}) // it has delivered all that is recorded
	w.drive()
	w.must(w.manager, retry)
	w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == who })
	w.verify(who)
	if n := len(ofType[randomisation.PatientRandomised](w.events("randomisation-" + string(w.study)))); n != 2 {
		t.Errorf("%d arms were drawn for two patients", n)
	}
	w.wait("ProcessStepTaken", func(e any) bool {
		s, ok := e.(process.StepTaken)
		return ok && s.Of == string(who) && s.Stage == "enrolled"
	})
	_, err := w.do(w.manager, retry)
	if refusal, ok := refuse.As(err); !ok || refusal.Code != "process_ended" {
		t.Errorf("an enrolment that has ended is retried: %v", err)
	}
}

// TestRetryGivesTheAnswerThatWasMissed: the program itself gives an instance that is retried the recorded answer. No group
// delivers it.
func TestRetryGivesTheAnswerThatWasMissed(t *testing.T) {
	for _, missed := range []string{"PlaceReserved", "StockHeld", "PatientRandomised", "KitAllocated"} {
		t.Run(missed, func(t *testing.T) {
			w, c := stocked(t, 2)
			c.arrange = func(events []eventlog.Recorded) []eventlog.Recorded {
				return slices.DeleteFunc(slices.Clone(events), func(e eventlog.Recorded) bool { return e.Type == missed })
			}
			who := w.request()
			c.mustSettle()
			before := w.lastStep(who)
			w.must(w.manager, process.RetryProcess{InStudy: domain.ForStudy(w.study), Process: "enrollment", Of: string(who),
				Reasoned: domain.Because("it waits")})
			retried := w.wait("ProcessRetried", func(any) bool { return true })
			for range 2 { // as two programs do
				if err := w.runner(w.newPart()).Retry(t.Context(), enrollmentprocesses.Enrollment, retried); err != nil {
					t.Fatal(err)
				}
			}
			if after := w.lastStep(who); after.Stage == before.Stage {
				t.Errorf("it still waits for %s", after.Stage)
			}
			c.mustSettle()
			w.verify(who)
			w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled")
			if who := retried.Metadata.Actor; who != w.manager.User {
				t.Errorf("%s had it retried", who)
			}
		})
	}
}

// TestGroupMadeAnewRepairsWhatAStrangerTook: a foreign program takes the request of an enrolment out of the group, so that no
// process is begun. When it has left, an operator deletes the group, which the program makes anew.
func TestGroupMadeAnewRepairsWhatAStrangerTook(t *testing.T) {
	w := newWorld(t, 10)
	client, group := w.client(), enrollmentprocesses.Enrollment.Group()
	w.makeGroup(client, enrollmentprocesses.Enrollment, pubsub.DefaultSettings(), esdb.Start{})
	stranger, err := client.SubscribeToPersistentSubscriptionToAll(t.Context(), group, esdb.SubscribeToPersistentSubscriptionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := w.request()
	for taken := false; !taken; {
		e := stranger.Recv().EventAppeared
		if e == nil {
			t.Fatal("the stranger was dropped")
		}
		if err := stranger.Ack(e.Event); err != nil {
			t.Fatal(err)
		}
		taken = e.Event.Event.EventType == "EnrollmentRequested"
	}
	for processed := int64(0); processed == 0; time.Sleep(5 * time.Millisecond) {
		info, err := client.GetPersistentSubscriptionInfoToAll(t.Context(), group, esdb.GetPersistentSubscriptionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		processed = info.Connections[0].TotalItemsProcessed
	}
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	w.drive()
	after := w.request()
	enrolled := func(who domain.PatientID) {
		t.Helper()
		w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == who })
	}
	enrolled(after)
	if steps := w.events("saga-enrollment." + string(before)); len(steps) != 0 {
		t.Fatalf("the stranger has left the process %d steps", len(steps))
	}
	if err := client.DeletePersistentSubscriptionToAll(t.Context(), group, esdb.DeletePersistentSubscriptionOptions{}); err != nil {
		t.Fatal(err)
	}
	enrolled(before)
	if n := len(ofType[patient.Enrolled](w.events("patient-" + string(after)))); n != 1 {
		t.Errorf("the other patient was enrolled %d times", n)
	}
}
