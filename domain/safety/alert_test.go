package safety_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/safety"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

const (
	pain = domain.StudyID("PAIN1")
	one  = safety.AlertID("PAIN1.a1")
)

var ofOne = safety.OfAlert{Alert: one}

var call = domain.Call{At: time.Date(2026, 3, 10, 13, 0, 0, 0, time.FixedZone("CET", 3600)), Actor: "manager"}

// withPolicy is a study whose protocol has this policy for alerts; nil means none.
func withPolicy(p *study.AlertPolicy) study.Study {
	return study.Decider.Fold(study.Created{Study: pain},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, Alerts: p}})
}

type decision = func(safety.Alert) ([]safety.Event, error)

func raising(f safety.Facts, kind safety.Kind) decision {
	return scenario.SentWithFacts(safety.Raise, f, safety.RaiseAlert{OfAlert: ofOne, Study: pain, Site: "A", Patient: "PAIN1.S-1",
		Kind: kind, Severity: safety.Urgent, Summary: "An answer crossed a rule.", Source: "e-1", OccurredAt: call.At.Add(-time.Minute)}, call)
}

func raised(kind safety.Kind, within time.Duration) safety.AlertRaised {
	return safety.AlertRaised{Alert: one, Study: pain, Site: "A", Patient: "PAIN1.S-1", Kind: kind, Severity: safety.Urgent,
		Summary: "An answer crossed a rule.", Source: "e-1", OccurredAt: call.At.Add(-time.Minute), ReviewBy: call.At.Add(within).UTC()}
}

func reviewing(note string) decision {
	return scenario.Sent(safety.Review, safety.ReviewAlert{OfAlert: ofOne, Note: personal.Text(note)}, call)
}

func closing(outcome string) decision {
	return scenario.Sent(safety.Close, safety.CloseAlert{OfAlert: ofOne, Outcome: personal.Text(outcome)}, call)
}

func escalating(p *study.AlertPolicy, level int) decision {
	return scenario.SentWithFacts(safety.Escalate, withPolicy(p), safety.EscalateAlert{OfAlert: ofOne, Level: level}, call)
}

func notifying(level int, channel, refused string) decision {
	cmd := safety.RecordNotification{OfAlert: ofOne, Level: level, Channel: channel, Message: "m-1", Refused: refused}
	return scenario.Sent(safety.RecordOutcome, cmd, call)
}

func given(t testing.TB, events ...safety.Event) scenario.Given[safety.Alert, safety.Event] {
	return scenario.For(t, safety.Decider).Strict().Given(events...)
}

// An alert is raised once, with the time in UTC until which somebody has to review it.
func TestRaise(t *testing.T) {
	for _, c := range []struct {
		policy *study.AlertPolicy
		within time.Duration
	}{{nil, time.Hour}, {&study.AlertPolicy{ReviewMinutes: 15, MissedInARow: 2}, 15 * time.Minute}} {
		f := safety.Facts{Study: withPolicy(c.policy)}
		up := given(t).When(raising(f, safety.RiskFlagged)).Then(raised(safety.RiskFlagged, c.within))
		up.When(raising(f, safety.RiskFlagged)).Then()
		up.When(raising(f, safety.BlindBroken)).Then()
		up.When(closing("seen")).Then(safety.AlertReviewed{Alert: one}, safety.AlertClosed{Alert: one, Outcome: "seen"}).
			When(raising(f, safety.RiskFlagged)).Then()
		if by := up.State().ReviewBy; by.Location() != time.UTC {
			t.Errorf("ReviewBy is %v, not in UTC", by)
		}
	}
}

// Windows missed in a row raise an alert exactly once: when their number reaches the protocol's limit, not before and
// not after.
func TestMissedWindowsRaiseAnAlertAtTheLimit(t *testing.T) {
	for policy, n := range map[*study.AlertPolicy]int{
		nil: 3, {ReviewMinutes: 60, MissedInARow: 1}: 1, {ReviewMinutes: 60, MissedInARow: 5}: 5,
	} {
		for missed := range n + 3 {
			f := safety.Facts{Study: withPolicy(policy), MissedInARow: missed}
			o := given(t).When(raising(f, safety.DiariesMissed))
			if missed == n {
				o.Then(raised(safety.DiariesMissed, time.Hour))
			} else {
				o.Then()
			}
			// Alerts of other kinds do not depend on missed windows.
			given(t).When(raising(f, safety.ShipmentOverdue)).Then(raised(safety.ShipmentOverdue, time.Hour))
		}
	}
}

func TestReviewAndClose(t *testing.T) {
	given(t).When(reviewing("")).ThenRefused("alert_not_found")
	given(t).When(closing("well")).ThenRefused("alert_not_found")
	up := given(t, raised(safety.RiskFlagged, time.Hour))
	up.When(reviewing(strings.Repeat("n", 1001))).ThenRefused("value_too_long")
	up.When(closing(" ")).ThenRefused("value_missing")
	up.When(closing(strings.Repeat("o", 1001))).ThenRefused("value_too_long")

	seen := up.When(reviewing("called the patient")).Then(safety.AlertReviewed{Alert: one, Note: "called the patient"})
	seen.When(reviewing("")).ThenRefused("alert_reviewed")
	done := seen.When(closing("well")).Then(safety.AlertClosed{Alert: one, Outcome: "well"})
	// Closing an alert that nobody has reviewed counts as its review.
	once := up.When(closing("well")).Then(safety.AlertReviewed{Alert: one}, safety.AlertClosed{Alert: one, Outcome: "well"})
	for _, end := range []scenario.Given[safety.Alert, safety.Event]{done, once} {
		end.When(reviewing("")).ThenRefused("alert_closed")
		end.When(closing("well")).ThenRefused("alert_closed")
		if a := end.State(); !a.Reviewed || !a.Closed || !a.Exists() {
			t.Errorf("the alert is %+v", a)
		}
	}
}

// No alert is raised about what is over by now; one that was raised stays.
func TestWhatIsOverRaisesNoAlert(t *testing.T) {
	over := safety.Facts{Study: withPolicy(nil), Over: true}
	given(t).When(raising(over, safety.PatientWithoutKit)).ThenRefused("cause_is_gone")
	given(t, raised(safety.PatientWithoutKit, time.Hour)).When(raising(over, safety.PatientWithoutKit)).Then()
}

// As long as nobody reviews an alert, it is escalated one level at a time, up to the last level.
func TestEscalate(t *testing.T) {
	policy := &study.AlertPolicy{ReviewMinutes: 30, MissedInARow: 3}
	up := given(t, raised(safety.RiskFlagged, time.Hour))
	for _, level := range []int{-1, 0, 2, 3} {
		up.When(escalating(policy, level)).Then()
	}
	first := up.When(escalating(policy, 1)).
		Then(safety.AlertEscalated{Alert: one, Study: pain, Site: "A", Level: 1, ReviewBy: call.At.Add(30 * time.Minute).UTC()})
	first.When(escalating(policy, 1)).Then() // sent twice
	last := first.When(escalating(policy, 2)).Then(safety.AlertEscalated{Alert: one, Study: pain, Site: "A", Level: safety.LastLevel})
	if a := last.State(); a.Level != safety.LastLevel || !a.ReviewBy.IsZero() {
		t.Errorf("at the last level the alert is %+v", a)
	}
	last.When(escalating(policy, 3)).Then()
	given(t).When(escalating(policy, 1)).Then()
	up.Given(safety.AlertReviewed{Alert: one}).When(escalating(policy, 1)).Then()
	up.Given(safety.AlertClosed{Alert: one}).When(escalating(policy, 1)).Then()
	first.Given(safety.AlertReviewed{Alert: one}).When(escalating(policy, 2)).Then()
}

// Whether a message was accepted or rejected is recorded once for each level and channel.
func TestTell(t *testing.T) {
	given(t).When(notifying(0, "email", "")).ThenRefused("alert_not_found")
	up := given(t, raised(safety.RiskFlagged, time.Hour))
	sent := func(level int, channel string) safety.NotificationSent {
		return safety.NotificationSent{Alert: one, Level: level, Channel: channel, Message: "m-1"}
	}
	told := up.When(notifying(0, "email", "")).Then(sent(0, "email"))
	told.When(notifying(0, "email", "")).Then()
	told.When(notifying(0, "email", "no such mailbox")).Then()
	told.When(notifying(0, "webhook", "")).Then(sent(0, "webhook"))
	told.When(notifying(1, "email", "")).Then(sent(1, "email"))
	failed := up.When(notifying(0, "email", "no such mailbox")).
		Then(safety.NotificationFailed{Alert: one, Level: 0, Channel: "email", Message: "m-1", Reason: "no such mailbox"})
	failed.When(notifying(0, "email", "")).Then()
	a, notice := failed.State(), func(level int, channel string) safety.Notification {
		return safety.Notification{Level: level, Channel: channel}
	}
	if !a.Settled(notice(0, "email")) || a.Settled(notice(1, "email")) || a.Settled(notice(0, "webhook")) {
		t.Error("the state does not have exactly the one settled message")
	}
	// Notifications are also recorded after the alert was closed.
	up.Given(safety.AlertClosed{Alert: one}).When(notifying(0, "email", "")).Then(sent(0, "email"))
}

// For any commands in any order: an alert is raised, reviewed and closed at most once, its levels follow one another,
// it is not escalated after a review, and no message is recorded twice.
func TestAlertsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s safety.Alert
		counts, level := map[string]int{}, 0
		settled := map[safety.Notification]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			level0 := rapid.IntRange(0, 3).Draw(t, "level")
			decide := rapid.SampledFrom([]decision{
				raising(safety.Facts{Study: withPolicy(nil)}, safety.RiskFlagged), reviewing("n"), closing("o"), escalating(nil, level0),
				notifying(level0, "email", ""), notifying(level0, "webhook", "gone"),
			}).Draw(t, "ask")
			events, _ := decide(s)
			for _, e := range events {
				switch e := e.(type) {
				case safety.AlertRaised:
					counts["raised"]++
				case safety.AlertReviewed:
					counts["reviewed"]++
				case safety.AlertClosed:
					counts["closed"]++
				case safety.AlertEscalated:
					if level++; e.Level != level || e.Level > safety.LastLevel || counts["reviewed"] > 0 {
						t.Fatalf("level %d after %d, reviewed %d times", e.Level, level-1, counts["reviewed"])
					}
				case safety.NotificationSent:
					settle(t, settled, safety.Notification{Level: e.Level, Channel: e.Channel})
				case safety.NotificationFailed:
					settle(t, settled, safety.Notification{Level: e.Level, Channel: e.Channel})
				}
				if counts["raised"] != 1 || counts["reviewed"] > 1 || counts["closed"] > counts["reviewed"] {
					t.Fatalf("%T after %v", e, counts)
				}
				s = scenario.Evolve(t, safety.Decider, s, e)
			}
		}
	})
}

// settle adds a message to the settled ones, and fails the test if it is one of them already.
func settle(t *rapid.T, settled map[safety.Notification]bool, n safety.Notification) {
	if settled[n] {
		t.Fatalf("the message about level %d on %s is recorded twice", n.Level, n.Channel)
	}
	settled[n] = true
}
