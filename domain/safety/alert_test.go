package safety_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/safety"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

var (
	now  = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	call = domain.Call{At: now, Actor: "somebody"}
)

const id = safety.AlertID("PAIN1.x")

func policy(minutes, missed int) study.Study {
	return study.Decider.Fold(study.Created{Study: "PAIN1"}, study.ProtocolVersionPublished{Study: "PAIN1",
		Protocol: study.Protocol{Version: 1, Alerts: &study.AlertPolicy{ReviewMinutes: minutes, MissedInARow: missed}}})
}

func raise(in study.Study, kind safety.Kind, missed int) func(safety.Alert) ([]safety.Event, error) {
	return scenario.AskedKnowing(safety.Raise, safety.Facts{Study: in, MissedInARow: missed}, safety.RaiseAlert{Alert: id, Study: "PAIN1", Site: "A", Kind: kind, Severity: safety.Urgent, Summary: "s", Source: "e", OccurredAt: now}, call)
}

func raised(kind safety.Kind, within time.Duration) safety.AlertRaised {
	return safety.AlertRaised{Alert: id, Study: "PAIN1", Site: "A", Kind: kind, Severity: safety.Urgent, Summary: "s", Source: "e", OccurredAt: now, ReviewBy: now.Add(within)}
}

func TestAnAlertIsRaisedOnce(t *testing.T) {
	nothing := scenario.For(t, safety.Decider)
	given := nothing.When(raise(policy(30, 2), safety.RiskFlagged, 0)).Then(raised(safety.RiskFlagged, 30*time.Minute))
	given.When(raise(policy(30, 2), safety.RiskFlagged, 0)).Then()
	nothing.When(raise(study.Study{}, safety.RiskFlagged, 0)).Then(raised(safety.RiskFlagged, time.Hour)) // where the protocol says nothing
	// A run of missed windows raises one when it has become as long as the protocol says, and not again when it grows.
	for missed, comes := range map[int]bool{0: false, 1: false, 2: true, 3: false} {
		outcome := nothing.When(raise(policy(30, 2), safety.DiariesMissed, missed))
		if comes {
			outcome.Then(raised(safety.DiariesMissed, 30*time.Minute))
		} else {
			outcome.Then()
		}
	}
}

func TestSomebodyLooksOrItIsEscalated(t *testing.T) {
	review := scenario.Asked(safety.Review, safety.ReviewAlert{Alert: id, Note: "n"}, call)
	closing := scenario.Asked(safety.Close, safety.CloseAlert{Alert: id, Outcome: "o"}, call)
	escalate := func(level int) func(safety.Alert) ([]safety.Event, error) {
		return scenario.AskedKnowing(safety.Escalate, policy(30, 2), safety.EscalateAlert{Alert: id, Level: level}, call)
	}
	nothing := scenario.For(t, safety.Decider)
	nothing.When(review).ThenRefused("alert_not_found")
	nothing.When(closing).ThenRefused("alert_not_found")
	nothing.When(escalate(1)).Then()
	given := nothing.Given(raised(safety.RiskFlagged, time.Hour))
	looked := given.When(review).Then(safety.AlertReviewed{Alert: id, Note: "n"})
	looked.When(review).ThenRefused("alert_reviewed")
	looked.When(escalate(1)).Then()
	looked.When(closing).Then(safety.AlertClosed{Alert: id, Outcome: "o"}).When(closing).ThenRefused("alert_closed")
	given.When(closing).Then(safety.AlertReviewed{Alert: id}, safety.AlertClosed{Alert: id, Outcome: "o"}).When(escalate(1)).Then()
	given.When(scenario.Asked(safety.Close, safety.CloseAlert{Alert: id}, call)).ThenRefused("value_missing")
	up := func(level int, by time.Time) safety.AlertEscalated {
		return safety.AlertEscalated{Alert: id, Study: "PAIN1", Site: "A", Level: level, ReviewBy: by}
	}
	given.When(escalate(2)).Then() // one level after the other
	given.When(escalate(1)).Then(up(1, now.Add(30*time.Minute))).When(escalate(1)).Then().
		When(escalate(2)).Then(up(2, time.Time{})).When(escalate(3)).Then()
}

func TestEachChannelIsToldOnceOfEachLevel(t *testing.T) {
	tell := func(channel string, level int, refused string) func(safety.Alert) ([]safety.Event, error) {
		return scenario.Asked(safety.Tell, safety.RecordNotification{Alert: id, Level: level, Channel: channel, Message: "m", Refused: refused}, call)
	}
	nothing := scenario.For(t, safety.Decider)
	nothing.When(tell("broker", 0, "")).ThenRefused("alert_not_found")
	given := nothing.Given(raised(safety.RiskFlagged, time.Hour)).When(tell("broker", 0, "")).Then(safety.NotificationSent{Alert: id, Channel: "broker", Message: "m"})
	given.When(tell("broker", 0, "")).Then()
	given.When(tell("broker", 1, "")).Then(safety.NotificationSent{Alert: id, Level: 1, Channel: "broker", Message: "m"})
	given.When(tell("email", 0, "no such mailbox")).Then(safety.NotificationFailed{Alert: id, Channel: "email", Message: "m", Reason: "no such mailbox"}).
		When(tell("email", 0, "")).Then()
}
