package safety_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/safety"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

const (
	pain = domain.StudyID("PAIN1")
	one  = safety.AlertID("PAIN1.a1")
)

var call = domain.Call{At: time.Date(2026, 3, 10, 13, 0, 0, 0, time.FixedZone("CET", 3600)), Actor: "manager"}

// withPolicy is a study that says this of alerts; nil is nothing.
func withPolicy(p *study.AlertPolicy) study.Study {
	return study.Decider.Fold(study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, Alerts: p}})
}

type decision = func(safety.Alert) ([]safety.Event, error)

func raising(f safety.Facts, kind safety.Kind) decision {
	return scenario.AskedKnowing(safety.Raise, f, safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: one}, Study: pain, Site: "A", Patient: "PAIN1.S-1", Kind: kind, Severity: safety.Urgent,
		Summary: "An answer crossed a rule.", Source: "e-1", OccurredAt: call.At.Add(-time.Minute)}, call)
}

func raised(kind safety.Kind, within time.Duration) safety.AlertRaised {
	return safety.AlertRaised{Alert: one, Study: pain, Site: "A", Patient: "PAIN1.S-1", Kind: kind, Severity: safety.Urgent,
		Summary: "An answer crossed a rule.", Source: "e-1", OccurredAt: call.At.Add(-time.Minute), ReviewBy: call.At.Add(within).UTC()}
}

func reviewing(note string) decision {
	return scenario.Asked(safety.Review, safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: one}, Note: note}, call)
}

func closing(outcome string) decision {
	return scenario.Asked(safety.Close, safety.CloseAlert{OfAlert: safety.OfAlert{Alert: one}, Outcome: outcome}, call)
}

func escalating(p *study.AlertPolicy, level int) decision {
	return scenario.AskedKnowing(safety.Escalate, withPolicy(p), safety.EscalateAlert{OfAlert: safety.OfAlert{Alert: one}, Level: level}, call)
}

func telling(level int, channel, refused string) decision {
	return scenario.Asked(safety.Tell, safety.RecordNotification{OfAlert: safety.OfAlert{Alert: one}, Level: level, Channel: channel, Message: "m-1", Refused: refused}, call)
}

func given(t testing.TB, events ...safety.Event) scenario.Given[safety.Alert, safety.Event] {
	return scenario.For(t, safety.Decider).Strict().Given(events...)
}

// An alert is raised once, and says in UTC until when somebody has to look.
func TestRaise(t *testing.T) {
	for _, c := range []struct {
		policy *study.AlertPolicy
		within time.Duration
	}{{nil, time.Hour}, {&study.AlertPolicy{ReviewMinutes: 15, MissedInARow: 2}, 15 * time.Minute}} {
		f := safety.Facts{Study: withPolicy(c.policy)}
		up := given(t).When(raising(f, safety.RiskFlagged)).Then(raised(safety.RiskFlagged, c.within))
		up.When(raising(f, safety.RiskFlagged)).Then()
		up.When(raising(f, safety.BlindBroken)).Then()
		up.When(closing("seen")).Then(safety.AlertReviewed{Alert: one}, safety.AlertClosed{Alert: one, Outcome: "seen"}).When(raising(f, safety.RiskFlagged)).Then()
		if by := up.State().ReviewBy; by.Location() != time.UTC {
			t.Errorf("it is to be reviewed by %v", by)
		}
	}
}

// A run of missed windows tells somebody once: when it has become as long as the protocol says, not before and not after.
func TestMissedWindowsRaiseAnAlertWhenTheRunIsLongEnough(t *testing.T) {
	for policy, n := range map[*study.AlertPolicy]int{nil: 3, {ReviewMinutes: 60, MissedInARow: 1}: 1, {ReviewMinutes: 60, MissedInARow: 5}: 5} {
		for missed := range n + 3 {
			f := safety.Facts{Study: withPolicy(policy), MissedInARow: missed}
			o := given(t).When(raising(f, safety.DiariesMissed))
			if missed == n {
				o.Then(raised(safety.DiariesMissed, time.Hour))
			} else {
				o.Then()
			}
			given(t).When(raising(f, safety.ShipmentOverdue)).Then(raised(safety.ShipmentOverdue, time.Hour)) // the run is only for missed windows
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
	// Who closes an alert that nobody has looked at has looked at it.
	once := up.When(closing("well")).Then(safety.AlertReviewed{Alert: one}, safety.AlertClosed{Alert: one, Outcome: "well"})
	for _, end := range []scenario.Given[safety.Alert, safety.Event]{done, once} {
		end.When(reviewing("")).ThenRefused("alert_closed")
		end.When(closing("well")).ThenRefused("alert_closed")
		if a := end.State(); !a.Reviewed || !a.Closed || !a.Exists() {
			t.Errorf("the alert is %+v", a)
		}
	}
}

// An alert climbs one level at a time while nobody looks, up to the last.
func TestEscalate(t *testing.T) {
	policy := &study.AlertPolicy{ReviewMinutes: 30, MissedInARow: 3}
	up := given(t, raised(safety.RiskFlagged, time.Hour))
	for _, level := range []int{-1, 0, 2, 3} {
		up.When(escalating(policy, level)).Then()
	}
	first := up.When(escalating(policy, 1)).Then(safety.AlertEscalated{Alert: one, Study: pain, Site: "A", Level: 1, ReviewBy: call.At.Add(30 * time.Minute).UTC()})
	first.When(escalating(policy, 1)).Then() // asked twice
	last := first.When(escalating(policy, 2)).Then(safety.AlertEscalated{Alert: one, Study: pain, Site: "A", Level: safety.LastLevel})
	if a := last.State(); a.Level != safety.LastLevel || !a.ReviewBy.IsZero() {
		t.Errorf("after the last level it is %+v", a)
	}
	last.When(escalating(policy, 3)).Then()
	given(t).When(escalating(policy, 1)).Then()
	up.Given(safety.AlertReviewed{Alert: one}).When(escalating(policy, 1)).Then()
	up.Given(safety.AlertClosed{Alert: one}).When(escalating(policy, 1)).Then()
	first.Given(safety.AlertReviewed{Alert: one}).When(escalating(policy, 2)).Then()
}

// What became of a message is recorded once for each level and channel, whatever it was.
func TestTell(t *testing.T) {
	given(t).When(telling(0, "email", "")).ThenRefused("alert_not_found")
	up := given(t, raised(safety.RiskFlagged, time.Hour))
	sent := func(level int, channel string) safety.NotificationSent {
		return safety.NotificationSent{Alert: one, Level: level, Channel: channel, Message: "m-1"}
	}
	told := up.When(telling(0, "email", "")).Then(sent(0, "email"))
	told.When(telling(0, "email", "")).Then()
	told.When(telling(0, "email", "no such mailbox")).Then()
	told.When(telling(0, "webhook", "")).Then(sent(0, "webhook"))
	told.When(telling(1, "email", "")).Then(sent(1, "email"))
	failed := up.When(telling(0, "email", "no such mailbox")).Then(safety.NotificationFailed{Alert: one, Level: 0, Channel: "email", Message: "m-1", Reason: "no such mailbox"})
	failed.When(telling(0, "email", "")).Then()
	if a := failed.State(); !a.Told(safety.Notice{Level: 0, Channel: "email"}) || a.Told(safety.Notice{Level: 1, Channel: "email"}) || a.Told(safety.Notice{Level: 0, Channel: "webhook"}) {
		t.Error("the alert does not know who was told")
	}
	// Who was told of an alert that is closed by now is recorded all the same.
	up.Given(safety.AlertClosed{Alert: one}).When(telling(0, "email", "")).Then(sent(0, "email"))
}

// Whatever is asked, and however often: an alert is raised, reviewed and closed at most once, levels follow one another,
// nothing escalates after somebody has looked, and nobody is told the same twice.
func TestAlertsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s safety.Alert
		counts, level := map[string]int{}, 0
		told := map[safety.Notice]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			level0 := rapid.IntRange(0, 3).Draw(t, "level")
			decide := rapid.SampledFrom([]decision{
				raising(safety.Facts{Study: withPolicy(nil)}, safety.RiskFlagged), reviewing("n"), closing("o"), escalating(nil, level0),
				telling(level0, "email", ""), telling(level0, "webhook", "gone"),
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
					told[safety.Notice{Level: e.Level, Channel: e.Channel}] = again(t, told, e.Level, e.Channel)
				case safety.NotificationFailed:
					told[safety.Notice{Level: e.Level, Channel: e.Channel}] = again(t, told, e.Level, e.Channel)
				}
				if counts["raised"] != 1 || counts["reviewed"] > 1 || counts["closed"] > counts["reviewed"] {
					t.Fatalf("%T after %v", e, counts)
				}
				s = scenario.Evolve(t, safety.Decider, s, e)
			}
		}
	})
}

func again(t *rapid.T, told map[safety.Notice]bool, level int, channel string) bool {
	if told[safety.Notice{Level: level, Channel: channel}] {
		t.Fatalf("%s is told of level %d again", channel, level)
	}
	return true
}
