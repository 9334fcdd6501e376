package sagas_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"
	"casebook/sagas"
	enrollmentprocesses "casebook/sagas/enrollment"
	safetyprocesses "casebook/sagas/safety"
	supplyprocesses "casebook/sagas/supply"

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

// TestStuckEnrolmentRaisesOneAlert: a command of an enrolment cannot be sent. It asks again; when that does not help either it is
// stuck, which raises one alert, however long it lasts. It goes on by itself when the command can be sent.
func TestStuckEnrolmentRaisesOneAlert(t *testing.T) {
	w, c := stocked(t, 2)
	c.runner.Fault = func(point string) error {
		if point == "before HoldStock" {
			return errKilled
		}
		return nil
	}
	who := w.request()
	c.settleWithout(errKilled)
	wait := func() {
		t.Helper()
		w.clock.set(w.clock.Now().Add(sagas.AnswerWithin + time.Second))
		c.fireWithout(errKilled)
		c.settleWithout(errKilled)
	}
	wait()
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
	if len(alerts) != 1 || alerts[0].Patient != who || alerts[0].Site != "A" || alerts[0].Study != w.study ||
		alerts[0].Severity != safety.Urgent {
		t.Errorf("the alerts are %+v", alerts)
	}
	c.runner.Fault = nil
	wait()
	w.verify(who)
	w.expect("patient", w.patientEvents(who), "PatientScreened", "ConsentRecorded", "EnrollmentRequested", "PatientEnrolled")
	if last := w.lastStep(who); last.Outcome != process.Completed {
		t.Errorf("it has ended with %+v", last)
	}
}

// settleWithout settles, and goes on where a process ends with an error.
func (c *courier) settleWithout(expected error) {
	c.w.t.Helper()
	for {
		events := c.fresh()
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			c.past = append(c.past, e)
			if err := c.deal(e); err != nil && !errors.Is(err, expected) {
				c.w.t.Fatal(err)
			}
		}
	}
}

// fireWithout is fire, and goes on where a process ends with an error.
func (c *courier) fireWithout(expected error) {
	c.w.t.Helper()
	for _, e := range c.past {
		of, timer, ok := sagas.TimerOf(e.Event)
		if !ok || timer.At.After(c.w.clock.Now()) {
			continue
		}
		for _, p := range contexts.Processes() {
			if p.Name != of.Process {
				continue
			}
			if err := c.runner.Fire(c.w.t.Context(), p, e); err != nil && !errors.Is(err, expected) {
				c.w.t.Fatal(err)
			}
		}
	}
}

// TestEveryProcessThatWaitsIsStuckAndRetried: the answers to a dispensing, a raised alert and an escalated one do not come, because
// the commands cannot be sent. Each is stuck after its time, raises one alert and goes on when a person has it retried.
func TestEveryProcessThatWaitsIsStuckAndRetried(t *testing.T) {
	visit := func(w *world, who domain.PatientID) {
		w.must(w.crc, patient.RecordVisit{OfPatient: domain.ForPatient(who), Visit: "week-4", On: "2026-02-03"})
	}
	risk := func(w *world, who domain.PatientID) {
		doctor := access.Principal{User: "doctor", Grants: []user.Grant{{Role: user.Investigator, Study: w.study, Site: "A"}},
			AuthenticatedAt: w.clock.Now()}
		w.must(doctor, randomisation.BreakBlind{Patient: who, Reasoned: domain.Because("overdose")})
	}
	for _, c := range []struct {
		command string
		process sagas.Process
		happens func(*world, domain.PatientID)
		// before passes before the command is sent; stuck and after are the stages.
		before       time.Duration
		stuck, after string
	}{
		{"AllocateKit", supplyprocesses.Dispensing, visit, 0, "kit asked for", "kit allocated"},
		{"RaiseAlert", safetyprocesses.Alerts, risk, 0, "raising", "waits for somebody to look"},
		{"EscalateAlert", safetyprocesses.Alerts, risk, 2 * time.Hour, "nobody has looked in time", "waits for somebody to look"},
	} {
		t.Run(c.command, func(t *testing.T) {
			w, courier := stocked(t, 4)
			who := w.request()
			courier.mustSettle()
			courier.runner.Fault = func(point string) error {
				if point == "before "+c.command {
					return errKilled
				}
				return nil
			}
			c.happens(w, who)
			courier.settleWithout(errKilled)
			pass := func(d time.Duration) {
				w.clock.set(w.clock.Now().Add(d))
				courier.fireWithout(errKilled)
				courier.settleWithout(errKilled)
			}
			pass(c.before)
			for range 4 {
				pass(sagas.AnswerWithin + time.Second)
			}
			stuck := w.stuckInstances(courier, c.process)
			alerts := w.stuckAlerts(courier)
			if len(stuck) != 1 || len(alerts) != 1 || alerts[0].Severity != safety.Urgent || alerts[0].Study != w.study {
				t.Fatalf("%v are stuck, and the alerts are %+v", stuck, alerts)
			}
			last := w.lastStepOf(stuck[0])
			if last.Stage != c.stuck {
				t.Errorf("it is stuck at %s", last.Stage)
			}
			courier.runner.Fault = nil
			w.must(w.manager, process.RetryProcess{InStudy: domain.ForStudy(w.study), Process: stuck[0].Process, Of: stuck[0].Of,
				Reasoned: domain.Because("the store is back")})
			retried := w.wait("ProcessRetried", func(any) bool { return true })
			if err := courier.runner.Retry(t.Context(), c.process, retried); err != nil {
				t.Fatal(err)
			}
			courier.mustSettle()
			if last = w.lastStepOf(stuck[0]); last.Stage != c.after || last.Outcome == process.Stuck {
				t.Errorf("after the retry it is %+v", last)
			}
			for range 3 {
				pass(sagas.AnswerWithin + time.Second)
			}
			if stuck := w.stuckInstances(courier, c.process); len(stuck) != 0 {
				t.Errorf("later %v are stuck", stuck)
			}
		})
	}
}

// lastStepOf returns the last step of an instance.
func (w *world) lastStepOf(i process.Instance) process.StepTaken {
	w.t.Helper()
	steps := ofType[process.StepTaken](w.events("saga-" + i.String()))
	return steps[len(steps)-1]
}

// stuckInstances are the instances of a process that are stuck now.
func (w *world) stuckInstances(c *courier, p sagas.Process) (all []process.Instance) {
	w.t.Helper()
	seen := map[process.Instance]bool{}
	for _, e := range c.past {
		step, is := e.Event.(process.StepTaken)
		if is && step.Process == p.Name && !seen[step.Instance] {
			seen[step.Instance] = true
			if w.lastStepOf(step.Instance).Outcome == process.Stuck {
				all = append(all, step.Instance)
			}
		}
	}
	return all
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

// TestTheTimersAskAgainAfterARestart: a step holds until when its answer has to come. Programs that begin later ask again then, and
// raise the alert.
func TestTheTimersAskAgainAfterARestart(t *testing.T) {
	type nothing struct{}
	w := newWorld(t, 10)
	asking := []sagas.Process{sagas.Define("asking", sagas.Sends(),
		sagas.On(byScreened, func(s nothing, _ patient.Screened, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return sagas.Reaction[nothing]{State: s, Stage: "asked", Awaits: true}, true
		}))}
	stop := w.driveThese(asking)
	who := w.screen()
	first := w.wait("ProcessStepTaken", func(any) bool { return true }).Event.(process.StepTaken)
	if first.AnswerBy == nil || !first.AnswerBy.Equal(w.clock.Now().Add(sagas.AnswerWithin)) {
		t.Fatalf("the step is %+v", first)
	}
	for _, due := range []string{process.AnswerTimer, process.AskedTimer} {
		stop()
		w.clock.set(w.clock.Now().Add(sagas.AnswerWithin))
		stop = w.driveThese(asking)
		w.wait("ProcessTimerFired", func(e any) bool { return e.(process.TimerFired).Name == due })
	}
	w.wait("AlertRaised", func(e any) bool { return e.(safety.AlertRaised).Kind == safety.ProcessStuck })
	stop()
	w.expect("the instance", w.types("saga-asking."+string(who)), "ProcessStepTaken",
		"ProcessTimerFired", "ProcessStepTaken", "ProcessTimerSet", "ProcessTimerFired", "ProcessStepTaken", "ProcessTimerSet")
}
