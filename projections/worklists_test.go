package projections_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"casebook/domain/process"
	"casebook/domain/safety"
	processprojections "casebook/projections/process"
	safetyprojections "casebook/projections/safety"
	"casebook/readmodels"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"

	"github.com/google/go-cmp/cmp"
)

// later makes each event of the story a minute younger than the one before.
func (s *story) later() *story {
	for i := range s.events {
		s.events[i].Metadata.RecordedAt = recordedAt.Add(time.Duration(i) * time.Minute)
	}
	return s
}

func minute(n int) time.Time { return recordedAt.Add(time.Duration(n) * time.Minute) }

func TestProcessMonitor(t *testing.T) {
	of := process.Instance{Process: "enrollment", Of: "S.1"}
	due := recordedAt.Add(time.Hour)
	s := in("saga-enrollment.S.1").tell(
		process.StepTaken{Instance: of, Study: "S", Site: "01", Trigger: "1", TriggerType: "EnrollmentRequested", Stage: "place",
			Commands: []process.Command{{Name: "ReservePlace"}}},
		process.TimerSet{Instance: of, Name: "answer", At: due},
		process.StepTaken{Instance: of, Study: "S", Site: "01", Trigger: "2", TriggerType: "PlaceReserved", Stage: "stock",
			Commands: []process.Command{{Name: "HoldStock"}, {Name: "HoldStock"}}},
		process.TimerSet{Instance: of, Name: "answer", At: due.Add(time.Hour)},
		process.TimerSet{Instance: of, Name: "daily", At: due},
		process.StepTaken{Instance: of, Study: "S", Site: "01", Trigger: "3", TriggerType: "ConsentWithdrawn", Stage: "stock",
			Note: "the patient has left meanwhile"})
	folded := func() readmodels.Document {
		return fold(t, processprojections.ProcessMonitor, s.later().events)["enrollment.S.1"]
	}
	want := processviews.Process{Header: readmodels.Header{ID: "enrollment.S.1", Position: int64(s.position)}, Process: "enrollment",
		Of: "S.1", Study: "S", Site: "01",
		Stage: "stock", Outcome: process.UnderWay, Note: "the patient has left meanwhile", Since: minute(2),
		Trigger: "ConsentWithdrawn", LastStepAt: minute(5), Steps: 3,
		Asked: []string{}, Timers: []processviews.Timer{{Name: "daily", At: due}, {Name: "answer", At: due.Add(time.Hour)}}}
	if diff := cmp.Diff(readmodels.Document(&want), folded()); diff != "" {
		t.Errorf("under way: %s", diff)
	}
	// Steps now hold the wait for an answer themselves.
	by := due.Add(-time.Minute)
	step := process.StepTaken{Instance: of, Study: "S", Site: "01", Trigger: "3'", TriggerType: "StockHeld", Stage: "draw", AnswerBy: &by}
	asked := *s
	asked.events = slices.Clone(s.events)
	asked.tell(step)
	waits := fold(t, processprojections.ProcessMonitor, asked.later().events)["enrollment.S.1"].(*processviews.Process)
	if diff := cmp.Diff([]processviews.Timer{{Name: "answer", At: by}, {Name: "daily", At: due}}, waits.Timers); diff != "" {
		t.Errorf("it waits: %s", diff)
	}
	step.Trigger, step.TriggerType, step.Stage, step.AnswerBy, step.Answered = "3*", "PatientEnrolled", "enrolled", nil, true
	asked.tell(step)
	done := fold(t, processprojections.ProcessMonitor, asked.later().events)["enrollment.S.1"].(*processviews.Process)
	if diff := cmp.Diff([]processviews.Timer{{Name: "daily", At: due}}, done.Timers); diff != "" {
		t.Errorf("it waits no longer: %s", diff)
	}
	s.tell(process.TimerFired{Instance: of, Name: "daily"},
		process.StepTaken{Instance: of, Study: "S", Site: "01", Trigger: "4", TriggerType: "StockRefused", Stage: "enrolment failed",
			Note: "no_stock", Outcome: process.Failed,
			Commands: []process.Command{{Name: "ReleasePlace"}, {Name: "FailEnrollment"}, {Name: "ReleasePlace"}}},
		process.TimerCancelled{Instance: of, Name: "answer"})
	want.Position, want.Stage, want.Outcome, want.Note, want.Since, want.LastStepAt = int64(s.position), "enrolment failed",
		process.Failed, "no_stock", minute(7), minute(7)
	want.Trigger, want.Steps, want.Asked, want.Timers = "StockRefused", 4, []string{"ReleasePlace", "FailEnrollment"},
		[]processviews.Timer{}
	if diff := cmp.Diff(readmodels.Document(&want), folded()); diff != "" {
		t.Errorf("failed: %s", diff)
	}
}

// TestAResupplyIsOfItsOwnSite, though a shipment that leaves the depot is a step of it.
func TestAResupplyIsOfItsOwnSite(t *testing.T) {
	of := process.Instance{Process: "resupply", Of: "S.01"}
	s := in("saga-resupply.S.01").tell(process.StepTaken{Instance: of, Study: "S", Site: "DEPOT", TriggerType: "ShipmentDispatched",
		Stage: "1 shipments are under way"})
	if p := fold(t, processprojections.ProcessMonitor, s.events)["resupply.S.01"].(*processviews.Process); p.Site != "01" {
		t.Errorf("it is shown at %q", p.Site)
	}
}

// TestOpenTimersAreBounded keeps those that come first.
func TestOpenTimersAreBounded(t *testing.T) {
	of := process.Instance{Process: "resupply", Of: "S.01"}
	s := in("saga-resupply.S.01")
	for n := 300; n > 0; n-- {
		s.tell(process.TimerSet{Instance: of, Name: fmt.Sprint("overdue:", n), At: minute(n)})
	}
	p := fold(t, processprojections.ProcessMonitor, s.events)["resupply.S.01"].(*processviews.Process)
	if len(p.Timers) != 100 || p.Timers[0].At != minute(1) || p.Timers[99].At != minute(100) {
		t.Errorf("%d timers are held, from %v to %v", len(p.Timers), p.Timers[0], p.Timers[len(p.Timers)-1])
	}
}

func TestParkedMessages(t *testing.T) {
	of := process.Parked{Process: "safety", Event: "e-1"}
	parked := process.MessageParked{Parked: of, Study: "S", Stream: "diary-S.1", Revision: 7, Type: "RiskFlagged", Reason: "no such site"}
	begun := processviews.ParkedMessage{Process: "safety", Event: "e-1", Study: "S", Type: "RiskFlagged", Stream: "diary-S.1",
		Revision: 7, Reason: "no such site",
		Status: processviews.ParkedWaiting, Since: minute(0), Times: 1}
	at := minute(1)
	retried := begun
	retried.Status, retried.DecidedBy, retried.DecidedAt, retried.Decision = processviews.ParkedRetried, "crc", &at, "the site is there"
	again := retried
	again.Status, again.Since, again.Times = processviews.ParkedWaiting, minute(2), 2
	end := minute(3)
	abandoned := again
	abandoned.Status, abandoned.DecidedAt, abandoned.Decision = processviews.ParkedAbandoned, &end, "done by hand"
	events := []any{parked, process.ParkedMessageRetried{Parked: of, Study: "S", Reason: "the site is there"}, parked,
		process.ParkedMessageAbandoned{Parked: of, Study: "S", Reason: "done by hand"}}
	for i, want := range []processviews.ParkedMessage{begun, retried, again, abandoned} {
		s := in("parked-safety.e-1").tell(events[:i+1]...).later()
		want.Header = readmodels.Header{ID: "safety.e-1", Position: int64(s.position)}
		if diff := cmp.Diff(map[string]readmodels.Document{"safety.e-1": &want},
			fold(t, processprojections.ParkedMessages, s.events)); diff != "" {
			t.Errorf("after %d events: %s", i+1, diff)
		}
	}
}

func TestAlerts(t *testing.T) {
	by, next := recordedAt.Add(time.Hour), recordedAt.Add(2*time.Hour)
	raised := safety.AlertRaised{Alert: "S.a", Study: "S", Site: "01", Patient: "S.1", Kind: safety.RiskFlagged, Severity: safety.Urgent,
		Summary: "s", Source: "e",
		OccurredAt: recordedAt.Add(-time.Second), ReviewBy: by}
	want := safetyviews.Alert{Alert: "S.a", Study: "S", Site: "01", Patient: "S.1", Kind: safety.RiskFlagged, Severity: safety.Urgent,
		Summary:    "s",
		OccurredAt: recordedAt.Add(-time.Second), RaisedAt: minute(0), Status: safetyviews.AlertOpen, ReviewBy: &by,
		Notifications: []safetyviews.Notification{}, Place: "01", Order: 0}
	s := in("alert-S.a")
	for _, step := range []struct {
		event  any
		change func()
	}{
		{raised, func() {}},
		{safety.NotificationSent{Alert: "S.a", Channel: "e-mail", Message: "m"}, func() {
			want.Notifications = append(want.Notifications, safetyviews.Notification{Channel: "e-mail", Sent: true, At: minute(1)})
		}},
		{safety.AlertEscalated{Alert: "S.a", Level: 1, ReviewBy: next}, func() { want.Level, want.ReviewBy = 1, &next }},
		{safety.NotificationFailed{Alert: "S.a", Level: 1, Channel: "webhook", Message: "m", Reason: "gone"}, func() {
			want.Notifications = append(want.Notifications, safetyviews.Notification{Channel: "webhook", Level: 1, Reason: "gone",
				At: minute(3)})
		}},
		{safety.AlertEscalated{Alert: "S.a", Level: 2}, func() { want.Level, want.ReviewBy = 2, nil }},
		{safety.AlertReviewed{Alert: "S.a", Note: "called"}, func() {
			at := minute(5)
			want.Status, want.ReviewedBy, want.ReviewedAt, want.Note, want.Order = safetyviews.AlertReviewed, "crc", &at, "called", 4
		}},
		{safety.AlertClosed{Alert: "S.a", Outcome: "fine"}, func() {
			at := minute(6)
			want.Status, want.ClosedBy, want.ClosedAt, want.Outcome, want.Order = safetyviews.AlertClosed, "crc", &at, "fine", 8
		}},
	} {
		step.change()
		want.Header = readmodels.Header{ID: "S.a", Position: int64(s.tell(step.event).later().position)}
		if diff := cmp.Diff(map[string]readmodels.Document{"S.a": &want}, fold(t, safetyprojections.Alerts, s.events)); diff != "" {
			t.Errorf("after %T: %s", step.event, diff)
		}
	}
}
